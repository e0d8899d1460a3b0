"""Training as the paper does it (section IV), or on single contexts; and the estimate that validation reports."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from llicti_core.paper.config import Config
from llicti_core.paper.data import Crops, from_contexts, image_paths, read_image
from llicti_core.paper.mixture import Mixture
from llicti_core.paper.network import (
    CHANNELS,
    UNIT,
    Network,
    initialise,
    load_checkpoint,
    load_weights,
    phase_of,
    to_planes,
)
from llicti_core.spec import BANDS
from llicti_core.training.data import Photographs, cumulative_shares

LEAST_LEARNING_RATE = 2.5e-5
PATIENCE = 2
"""Validations without a gain before the learning rate is halved. The paper does not say how many."""

LARGEST_GRADIENT = 5.0

LAST = "checkpoint.pth.tar"
BEST = "model_best.pth.tar"


def image_bits(network: Network, planes: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """Scale, band and estimated bits, [batch * pixels, 3], of images' bands: int16 planes [batch, 3, height, width]."""
    scaled = planes.float() / UNIT
    for level in reversed(range(network.levels)):
        for index, band in enumerate(BANDS):
            values = phase_of(scaled, level, band.row, band.column).movedim(1, -1).reshape(-1, CHANNELS)
            if len(values):
                yield level, index, Mixture.of(network.outputs(scaled, level, index)).bits(values)


def estimate(network: Network, paths: Iterable[Path]) -> Iterator[tuple[Path, float]]:
    """Each image and its estimated bits per sub-pixel; the lowpass counts 8."""
    device = next(network.parameters()).device
    for path in paths:
        planes = torch.from_numpy(to_planes(read_image(path))).to(device).unsqueeze(0)
        step = 1 << network.levels
        bits = 8.0 * planes[..., ::step, ::step].numel()
        with torch.no_grad():
            bits += sum(part.double().sum().item() for _, _, part in image_bits(network, planes))
        yield path, bits / planes.numel()


class Training:
    """A run: network, optimiser, schedule, the epoch it is in; all of it goes into a checkpoint."""

    def __init__(self, config: Config, device: torch.device | str = "cpu") -> None:
        """Raises ValueError where a folder or the checkpoint to resume from is missing."""
        torch.manual_seed(config.seed)
        self.config, self.device = config, torch.device(device)
        self.network = Network(config.channels, config.levels)
        initialise(self.network)
        self.network.to(device)
        self.optimiser = torch.optim.Adam(self.network.parameters(), config.learning_rate)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser, factor=0.5, patience=PATIENCE, min_lr=LEAST_LEARNING_RATE
        )
        self.epoch, self.batches, self.best = 0, 0, math.inf
        self.validation = image_paths(config.data("valid_data"))
        self.loader, self.photographs = None, None
        if config.contexts:
            self.photographs = _photographs(config, self.device)
            self.generator = torch.Generator(self.device).manual_seed(config.seed)
        else:
            self.loader = _loader(config, self.device)
        if config.resume_training:
            self._load(config.checkpoint)

    def run(self) -> Iterator[str]:
        """Train to the end; yields lines to print. Checkpoints go to the run's folder, the best on validation apart."""
        while self.epoch < self.config.max_epoch:
            yield from self._epoch()
            self.epoch += 1
            yield self._finish_epoch()

    def _epoch(self) -> Iterator[str]:
        """One epoch; yields a line every loss_prnt_iters batches and at the end."""
        bits, count, started = 0.0, 0, time.perf_counter()
        for index, batch in enumerate(self._batches(), 1):
            bits += self._accumulate_contexts() if batch is None else self._accumulate_crops(batch)
            count += 1
            self.batches += 1
            last = index == self._epoch_length()
            # What is left at the end of an epoch makes a step of its own.
            if last or index % self.config.grad_acc_iters == 0:
                self._step()
            if last or index % self.config.loss_prnt_iters == 0:
                seconds = (time.perf_counter() - started) / count
                yield f"epoch {self.epoch + 1}, batch {index}: {bits / count:.4f} bits per sub-pixel, {seconds:.2f} s"
                bits, count, started = 0.0, 0, time.perf_counter()

    def _step(self) -> None:
        """One optimiser step on the gradients of the batches since the last."""
        if self.config.contexts:
            self._set_cosine()
        torch.nn.utils.clip_grad_value_(self.network.parameters(), LARGEST_GRADIENT)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def _finish_epoch(self) -> str:
        """Validate where that is due, write checkpoints; returns a line to print."""
        line, better = f"epoch {self.epoch}/{self.config.max_epoch}", False
        if self.epoch == self.config.max_epoch or self.epoch % self.config.validate_every == 0:
            bits = [value for _, value in estimate(self.network, self.validation)]
            mean = sum(bits) / len(bits)
            better, self.best = mean < self.best, min(mean, self.best)
            if not self.config.contexts:
                self.plateau.step(mean)
            rate = self.optimiser.param_groups[0]["lr"]
            line += f", validation {mean:.4f} bits per sub-pixel, learning rate {rate:.2e}"
        self._save(self.config.folder / LAST)
        if better:
            self._save(self.config.folder / BEST)
        return line

    def _batches(self) -> Iterable[Tensor | None]:
        """Crops, or nothing as often as an epoch has batches of contexts, which are drawn when they are needed."""
        return [None] * self.config.steps_per_epoch if self.loader is None else self.loader

    def _epoch_length(self) -> int:
        return self.config.steps_per_epoch if self.loader is None else len(self.loader)

    def _accumulate_crops(self, planes: Tensor) -> float:
        """Add a batch's gradients, band by band to save memory; returns its mean bits of a coded sub-pixel."""
        planes = planes.to(self.device)
        step = 1 << self.network.levels
        coded = planes.numel() - planes[..., ::step, ::step].numel()
        total = 0.0
        for _, _, bits in image_bits(self.network, planes):
            loss = bits.sum() / coded
            (loss / self.config.grad_acc_iters).backward()
            total += loss.item()
        return total

    def _accumulate_contexts(self) -> float:
        """The same of a batch of single contexts, drawn here."""
        assert self.photographs is not None
        shares = cumulative_shares([4.0**-level for level in range(self.network.levels)])  # as often as in an image
        contexts = self.photographs.draw(self.config.contexts, shares.to(self.photographs.device), self.generator)
        total = 0.0
        for index in range(len(BANDS)):
            neighbours, values = from_contexts(contexts, index)
            bits = Mixture.of(self.network.band(index).of_contexts(neighbours)).bits(values)
            loss = bits.mean() / len(BANDS)
            (loss / self.config.grad_acc_iters).backward()
            total += loss.item()
        return total

    def _set_cosine(self) -> None:
        """Half a cosine from the learning rate to zero over the whole run."""
        done = (self.batches - 1) / (self.config.max_epoch * self.config.steps_per_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def _save(self, path: Path) -> None:
        """Write a checkpoint beside `path` and put it in place at once, so that a kill leaves the old or the new."""
        state = {
            "epoch": self.epoch,
            "batches": self.batches,
            "best": self.best,
            "state_dict": self.network.state_dict(),
            "optimizer": self.optimiser.state_dict(),
            "plateau": self.plateau.state_dict(),
            "random": torch.get_rng_state(),
            "generator": self.generator.get_state() if self.config.contexts else None,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        torch.save(state, partial)
        os.replace(partial, path)

    def _load(self, path: Path) -> None:
        """Go on from a checkpoint; from its weights alone where it is not one of ours."""
        state = load_checkpoint(path, self.device)
        load_weights(self.network, state["state_dict"], path)
        if "plateau" not in state:
            return
        self.epoch, self.batches, self.best = state["epoch"], state["batches"], state["best"]
        self.optimiser.load_state_dict(state["optimizer"])
        self.plateau.load_state_dict(state["plateau"])
        torch.set_rng_state(state["random"].cpu())
        if self.config.contexts and state["generator"] is not None:
            self.generator.set_state(state["generator"].cpu())


def _photographs(config: Config, device: torch.device) -> Photographs:
    """Every image to train on, in memory."""
    paths = [path for folder in config.training_folders() for path in image_paths(folder)]
    return Photographs([read_image(path) for path in paths], device)


def _loader(config: Config, device: torch.device) -> torch.utils.data.DataLoader:
    """Batches of crops, int16 planes [batch_size, 3, patch_size, patch_size], in random order."""
    paths = [path for folder in config.training_folders() for path in image_paths(folder)]
    crops = Crops(paths, config.patch_size, config.patches_per_img)
    # A GPU would wait for images to be decoded; a CPU has no cores to spare.
    workers = min(8, os.cpu_count() or 1) if device.type == "cuda" else 0
    return torch.utils.data.DataLoader(crops, config.batch_size, shuffle=True, num_workers=workers)
