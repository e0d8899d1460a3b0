"""The training loop: random contexts, Adam on a cosine schedule, averaged weights, exactly resumed checkpoints."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llicti_core.models.registry import Model
from llicti_core.training.data import Photographs, cumulative_shares, validation_batch
from llicti_core.training.network import Contexts, Network
from llicti_core.training.pruning import EVERY, Pruning

REPLAYS = 50
"""Steps that a captured CUDA graph is replayed for before learning rate and averaging are set anew."""


@dataclass(frozen=True)
class TrainingConfig:
    """What decides the result of a run.

    name: of the exported model. luma, chroma: width and depth of the networks, see ModelSpec. steps: optimiser steps.
    minutes: where given, the run ends, its schedule with it, after this time of training at the latest. batch:
    contexts a band and step. learning_rate: peak of the cosine schedule. warmup: steps to reach it. level_weights:
    how often each level is drawn, finest first. average: decay of the averaged weights. quantise_from: share of the
    run after which weights and activations are quantised in the loop. keep: share of the blocks of weights that the
    model keeps, see `pruning`; those that are 0 in what a run starts from stay so.
    """

    name: str = "custom"
    luma: tuple[int, int] = (64, 2)
    chroma: tuple[int, int] = (56, 2)
    steps: int = 190_000
    minutes: float | None = None
    batch: int = 8192
    learning_rate: float = 6e-3
    warmup: int = 1000
    level_weights: tuple[float, ...] = (0.68, 0.2, 0.07, 0.03, 0.02)
    average: float = 0.9995
    quantise_from: float = 0.7
    keep: float = 1.0
    seed: int = 0

    @classmethod
    def read(cls, path: str | Path) -> TrainingConfig:
        """From a JSON file. Raises ValueError where a key is unknown."""
        values: dict[str, Any] = json.loads(Path(path).read_text())
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            msg = f"{path}: unknown keys {', '.join(unknown)}"
            raise ValueError(msg)
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**values)


class Trainer:
    """A run: network, averaged network, optimiser and random state; all of it goes into a checkpoint."""

    def __init__(
        self,
        config: TrainingConfig,
        photographs: Photographs,
        checkpoint: Path | None = None,
        start: Path | Model | None = None,
    ) -> None:
        """checkpoint: where the run is kept, and resumed from where it exists.

        start: what a new run starts from: a checkpoint of another run, whose averaged weights are taken, or a model, of
        the same shape. Raises ValueError where it has another.
        """
        device = photographs.device
        torch.manual_seed(config.seed)
        self.config, self.photographs, self.checkpoint = config, photographs, checkpoint
        self.network = Network(config.luma, config.chroma).to(device)
        if start:
            self._start_from(start)
        self.averaged = copy.deepcopy(self.network).requires_grad_(False)
        self.pruning = Pruning(self.network, config.keep)
        cuda = device.type == "cuda"
        # On a GPU, what changes from step to step is kept there, so that a captured step can be replayed.
        self.rate = torch.zeros((), device=device)
        self.share = torch.zeros((), device=device)
        rate: Any = self.rate if cuda else config.learning_rate
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), rate, betas=(0.9, 0.99), capturable=cuda, fused=True if cuda else None
        )
        self.cumulative = cumulative_shares(config.level_weights, device)
        self.bits = torch.zeros((), device=device)
        self.step, self.seconds = 0, 0.0
        self._replay: tuple[bool, torch.cuda.CUDAGraph] | None = None
        self._draw = photographs.draw
        if cuda:  # hundreds of small kernels become tens
            self.network.compile_loss()
            self._draw = torch.compile(photographs.draw, dynamic=False)
        if checkpoint and checkpoint.exists():
            self._load(checkpoint)

    def _start_from(self, start: Path | Model) -> None:
        """Take the weights of `start`. Raises ValueError where it is of another shape."""
        if isinstance(start, Model):
            weights = Network.from_model(start).state_dict()
        else:
            weights = torch.load(start, weights_only=True, map_location=self.photographs.device)["averaged"]
        own = self.network.state_dict()
        if {key: value.shape for key, value in weights.items()} != {key: value.shape for key, value in own.items()}:
            name = start.spec.name if isinstance(start, Model) else start
            luma, chroma = list(self.config.luma), list(self.config.chroma)
            msg = f'{name} has networks of another shape than those configured, "luma": {luma} and "chroma": {chroma}'
            raise ValueError(msg)
        self.network.load_state_dict(weights)

    def run(self, validation: Photographs | None = None, report_every: int = 250) -> Iterator[dict[str, float]]:
        """Train to the end; yields a report every `report_every` steps and at the end, the checkpoint written."""
        batch = validation_batch(validation, 16384) if validation else None
        started, first = time.monotonic(), self.step
        while self.progress() < 1:
            began = time.monotonic()
            self._train(min(REPLAYS, report_every - self.step % report_every, self.config.steps - self.step))
            self.seconds += time.monotonic() - began
            if self.step % report_every and self.progress() < 1:
                continue
            if self.checkpoint:
                self._save(self.checkpoint)
            done = self.step - first
            report = {"step": float(self.step), "progress": self.progress(), "training": self.bits.item() / done}
            report["steps_per_second"] = done / (time.monotonic() - started)
            if batch:
                report["validation"] = estimate(self.averaged, batch)
            yield report
            self.bits.zero_()
            started, first = time.monotonic(), self.step

    def _train(self, steps: int) -> None:
        """So many optimiser steps, on a CPU one alone; their bits are added to `self.bits`."""
        quantised = self.progress() >= self.config.quantise_from
        self.network.set_quantised(quantised)
        rate = self.config.learning_rate * self._schedule()
        if self.step % EVERY == 0:
            self.pruning.choose(self.progress())
        self.rate.fill_(rate)
        self.share.fill_(1 - min(self.config.average, (self.step + 1) / (self.step + 11)))
        if self.photographs.device.type == "cuda":
            if self._replay is None or self._replay[0] != quantised:
                self._replay = quantised, self._capture()
            for _ in range(steps):
                self._replay[1].replay()
            torch.cuda.synchronize()  # so that time is counted where it is spent
            self.step += steps
            return
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self._one_step()
        self.step += 1

    def _one_step(self) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            contexts = Contexts(*self._draw(self.config.batch, self.cumulative))
        bits = self.network(contexts).mean()
        bits.backward()
        self.pruning.note()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0, foreach=True)
        self.optimiser.step()
        self.pruning.apply(self.network)
        with torch.no_grad():
            averaged = list(self.averaged.parameters())
            change = torch._foreach_sub(list(self.network.parameters()), averaged)
            torch._foreach_mul_(change, self.share)
            torch._foreach_add_(averaged, change)
            self.pruning.apply(self.averaged)
            self.bits += bits.detach()

    def _capture(self) -> torch.cuda.CUDAGraph:
        """A step as a CUDA graph, which takes a tenth of the time of launching its kernels one by one.

        The steps that warm up leave no trace but in the optimiser's moments and in what blocks of weights are worth:
        learning rate and averaging are off.
        """
        rate, share, bits = self.rate.item(), self.share.item(), self.bits.clone()
        self.rate.zero_()
        self.share.zero_()
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._one_step()
        torch.cuda.current_stream().wait_stream(side)
        self.optimiser.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._one_step()
        self.rate.fill_(rate)
        self.share.fill_(share)
        self.bits.copy_(bits)
        return graph

    def progress(self) -> float:
        """Share of the run that is done, by steps or by time, whichever is further."""
        by_time = self.seconds / (60 * self.config.minutes) if self.config.minutes else 0.0
        return min(1.0, max(self.step / self.config.steps, by_time))

    def _schedule(self) -> float:
        """Share of the peak learning rate at this step: linear warm-up, then half a cosine to zero."""
        warmth = min(1.0, (self.step + 1) / max(1, self.config.warmup))
        return warmth * 0.5 * (1 + math.cos(math.pi * self.progress()))

    def _save(self, path: Path) -> None:
        """Write a checkpoint beside `path` and put it in place at once, so that a kill leaves the old or the new."""
        state = {
            "config": asdict(self.config),
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "pruning": self.pruning.state(),
            "random": self._random_state(),
        }
        partial = path.with_name(path.name + ".partial")
        torch.save(state, partial)
        os.replace(partial, path)

    def _load(self, path: Path) -> None:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        config = asdict(self.config)
        differing = [key for key, value in state["config"].items() if config[key] != value]
        if differing:
            msg = f"{path} is a checkpoint of another run; differing: {', '.join(differing)}"
            raise ValueError(msg)
        self.step, self.seconds = state["step"], state["seconds"]
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.pruning.load(state["pruning"])
        if self.photographs.device.type == "cuda":
            torch.cuda.set_rng_state(state["random"], self.photographs.device)
        else:
            torch.set_rng_state(state["random"])

    def _random_state(self) -> Tensor:
        """Of the generator that contexts are drawn with."""
        cuda = self.photographs.device.type == "cuda"
        return torch.cuda.get_rng_state(self.photographs.device) if cuda else torch.get_rng_state()


def estimate(network: Network, batch: Contexts, at_once: int = 4096) -> float:
    """Estimated bits per sub-pixel of coded pixels. at_once: contexts a band whose activations are held together."""
    with torch.no_grad():
        pieces = zip(*(tensor.split(at_once, dim=1) for tensor in batch), strict=True)
        bits = torch.cat([network(Contexts(*piece)) for piece in pieces], dim=1)
    return float(bits.mean())
