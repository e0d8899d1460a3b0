"""The training loop: random contexts, Adam on a cosine schedule, averaged weights, exactly resumed checkpoints."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llicti_core.spec import BANDS, LEVELS
from llicti_core.training.data import Contexts, Photographs, validation_batches, without_colour
from llicti_core.training.network import Network, mixture_bits

log = logging.getLogger(__name__)

RANGES = (256, 256, 256)
"""Values of each channel that the loss keeps codable: typical of a photograph."""


@dataclass(frozen=True)
class TrainingConfig:
    """What decides the result of a run.

    name: of the exported model. width, depth: see ModelSpec. steps: optimiser steps. minutes: where given, the run
    ends, its schedule with it, after this time of training at the latest. batch: contexts a band and step.
    learning_rate: peak of the cosine schedule. warmup: steps to reach it. scale_weights: how often each scale
    is drawn, finest first. grey: share of contexts shown without colour. average: decay of the averaged weights.
    quantise_from: share of the run after which weights and activations are quantised in the loop.
    """

    name: str = "custom"
    width: int = 96
    depth: int = 3
    steps: int = 9000
    minutes: float | None = None
    batch: int = 8192
    learning_rate: float = 3e-3
    warmup: int = 200
    scale_weights: tuple[float, ...] = (0.68, 0.2, 0.07, 0.03, 0.02)
    grey: float = 1 / 32
    average: float = 0.999
    quantise_from: float = 0.0
    seed: int = 0

    @classmethod
    def read(cls, path: str | Path) -> TrainingConfig:
        """From a JSON file. Raises ValueError where a key is unknown."""
        values = json.loads(Path(path).read_text())
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            msg = f"{path}: unknown keys {', '.join(unknown)}"
            raise ValueError(msg)
        if "scale_weights" in values:
            values["scale_weights"] = tuple(values["scale_weights"])
        return cls(**values)


class Trainer:
    """A run: network, averaged network, optimiser and random state; all of it goes into a checkpoint."""

    def __init__(
        self,
        config: TrainingConfig,
        photographs: Photographs,
        checkpoint: Path | None = None,
        start: Path | None = None,
    ) -> None:
        """checkpoint: where the run is kept, and resumed from where it exists.

        start: checkpoint of another run of the same width and depth, whose averaged weights a new run starts from.
        """
        device = photographs.device
        torch.manual_seed(config.seed)
        self.config, self.photographs, self.checkpoint = config, photographs, checkpoint
        self.network = Network(config.width, config.depth).to(device)
        if start:
            self.network.load_state_dict(torch.load(start, weights_only=True, map_location=device)["averaged"])
        self.averaged = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = torch.optim.Adam(self.network.parameters(), config.learning_rate, betas=(0.9, 0.99))
        self.generator = torch.Generator(device).manual_seed(config.seed)
        self.step, self.seconds = 0, 0.0
        if checkpoint and checkpoint.exists():
            self._load(checkpoint)

    def run(self, validation: Photographs | None = None, report_every: int = 250) -> Iterator[dict[str, float]]:
        """Train to the end; yields a report every `report_every` steps and at the end, the checkpoint written."""
        batches = validation_batches(validation, 16384) if validation else None
        # Summed up where it is computed, so that a GPU need not be waited for in every step.
        bits, started, done = torch.zeros((), device=self.photographs.device), time.monotonic(), 0
        while self.progress() < 1:
            began = time.monotonic()
            bits += self._train_step()
            self.seconds += time.monotonic() - began
            done += 1
            if self.step % report_every and self.progress() < 1:
                continue
            if self.checkpoint:
                self._save(self.checkpoint)
            report = {"step": float(self.step), "progress": self.progress(), "training": bits.item() / done}
            report["steps_per_second"] = done / (time.monotonic() - started)
            if batches:
                report["validation"] = estimate(self.averaged, batches)
            yield report
            bits, started, done = torch.zeros_like(bits), time.monotonic(), 0

    def _train_step(self) -> Tensor:
        """One optimiser step; returns the batch's bits per sub-pixel, on the device."""
        config = self.config
        self.network.set_quantised(self.progress() >= config.quantise_from)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * self._schedule()
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.photographs.device)
        for band in BANDS:
            batch = self.photographs.draw(band, config.batch, config.scale_weights, self.generator)
            grey = round(config.grey * config.batch)
            without_colour(batch, grey)
            loss = _bits(self.network, band.name, batch, grey)
            loss.backward()
            total += loss.detach() / len(BANDS)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(config.average, self.step / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.network.parameters()), 1 - decay)
        return total

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
            "generator": self.generator.get_state(),
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
        self.generator.set_state(state["generator"])


@cache
def _multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for it: without them it is ten times slower than float32."""
    ask = getattr(torch.cpu, "get_capabilities", None)  # not in old versions
    capabilities = ask() if ask else {}
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def _bits(network: Network, band: str, batch: Contexts, grey: int) -> Tensor:
    """Mean bits per coded sub-pixel of a batch whose first `grey` contexts have no colour."""
    dtype = torch.bfloat16 if batch.inputs.device.type == "cpu" and _multiplies_bfloat16() else torch.float32
    parameters = network.bands[band](batch.inputs, batch.scale, dtype)
    bits = mixture_bits(parameters, batch.residual, RANGES)
    return (bits[:grey, 0].sum() + bits[grey:].sum()) / (bits.numel() - 2 * grey)


def estimate(network: Network, batches: dict[str, Contexts]) -> float:
    """Estimated bits per sub-pixel of whole images: the coded pixels, and the coarsest phase at 8 bits."""
    raw = 4.0**-LEVELS
    with torch.no_grad():
        coded: float = sum(_bits(network, band, batch, 0).item() for band, batch in batches.items()) / len(batches)
    return coded * (1 - raw) + 8 * raw
