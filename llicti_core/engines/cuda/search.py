"""The search for adaptations of a model to images, on a device, in PyTorch: what native/src/adapt/optimiser.cpp does,
for all bands of several images side by side.

Adam (Kingma and Ba, 2015) on bits of the image and of the numbers together, rounding within the loop towards the end,
then leaving out what does not pay. What is found may differ from what the CPU finds: floats are added in other orders.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llicti_core.adaptation import (
    HIDDEN_BIAS,
    WEIGHT,
    FitPlan,
    fit_plans,
)
from llicti_core.engines.base import NOT_ADAPTED, AdaptedParameters, TiledImage
from llicti_core.engines.cuda.contexts import SETS, Contexts, SampledImages, joined
from llicti_core.engines.cuda.launch import current, fetch, free_bytes, put, reported, usable
from llicti_core.engines.cuda.twin import PRECISION, Array, Twin
from llicti_core.engines.native import pack_numbers
from llicti_core.pyramid import network_count
from llicti_core.spec import ADAPTED_MAX, ADAPTED_MIN, BANDS, NETWORKS

BLOCK = 64
"""Pixels of the blocks in which plans count."""

IMAGES = 64
"""That are searched side by side, at most."""

_IMAGE_BYTES, _PIXEL_BYTES = 1 << 27, 12
"""Of the device, that the search for an image takes at most, about, and each of its pixels beside that."""

_DRAWN = 4096
"""Pixels of each network that are gathered, or judged, together, about."""

_PAYLOAD_BITS = 8 * 24
"""Of an adaptation that changes nothing."""

_CERTAINTY = 1
"""Standard errors of what pixels say that an adaptation saves, which it has to save beyond what it takes."""

# Adam, in the numbers' units.
_MEAN_BETA, _SQUARE_BETA = 0.6, 0.99
_WARM_UP = 10
"""Steps."""
_ROUNDED = 0.4
"""Share of the steps, the last ones, that see numbers rounded."""
_DEAD_ZONE = 0.2
"""By how much rounding favours zero."""
_PRICE = 6 / math.log(2)
"""Of a number, in bits times log(1 + |number|)."""


class _Rates(NamedTuple):
    """How far a number goes in a step. output: gains and shifts."""

    weight: float
    hidden_bias: float
    output: float


_OUTPUT_RATES, _ALL_RATES = _Rates(0.18, 0.9, 1.5), _Rates(0.12, 0.12, 0.5)
"""Where outputs alone are open, and where all numbers are."""


def fit(images: Sequence[TiledImage], effort: int, device: str | torch.device) -> list[AdaptedParameters]:
    """What `adaptation.fit` says, for each of `images`; those of as many pixels are searched together.

    device: as of CudaEngine. Raises DeviceError.
    """
    found = [NOT_ADAPTED] * len(images)
    chosen = usable(device)
    alike: defaultdict[tuple[tuple[FitPlan, FitPlan], int, int, int, bytes], list[int]] = defaultdict(list)
    for number, image in enumerate(images):
        pixels = sum(tile.height * tile.width for tile in image.tiles)
        plans = fit_plans(effort, pixels, image.channels)
        if plans:
            alike[plans, pixels, image.channels, image.bits, image.model.identity].append(number)
    with reported(chosen), current(chosen):
        for (plans, pixels, *_), numbers in alike.items():
            together = _images_at_once(chosen, pixels)
            for first in range(0, len(numbers), together):
                part = numbers[first : first + together]
                for number, payload in zip(part, fit_together([images[n] for n in part], plans, chosen), strict=True):
                    found[number] = payload
    return found


def fit_together(
    images: Sequence[TiledImage], plans: Sequence[FitPlan], device: torch.device
) -> list[AdaptedParameters]:
    """Adaptations of images of one model, number of channels and of bits. The host waits for the device once.

    plans: of luma and of chroma.
    """
    sampled = SampledImages(images, device)
    used = max(_round(plan) * plan.output_batch for plan in plans)
    searches = [
        NetworkSearch(sampled, Twin(images[0].model, network, len(images), device), plan, used)
        for network, plan in zip(NETWORKS[: network_count(sampled.channels)], plans, strict=False)
    ]
    found = [search.run() for search in searches]
    *fetched, pay = fetch([*(numbers for numbers, _, _ in found), _pays(found, len(images), plans[-1].judged)])
    payloads = []
    for number, pays in enumerate(pay):
        if not pays:
            payloads.append(NOT_ADAPTED)
            continue
        arrays: list[NDArray[np.int8]] = []
        for search, values in zip(searches, fetched, strict=True):
            for band in range(len(BANDS)):
                arrays += search.twin.of_band(values[number * len(BANDS) + band], band)
        payloads.append(pack_numbers(SETS, PRECISION, arrays))
    return payloads


class Found(NamedTuple):
    """Numbers int8 [networks, size], 0 where no change pays; bits that they take, [networks]; and of the images those
    that they save, as each pixel that judges says of those that it stands for, [networks, n]."""

    numbers: Tensor
    own: Tensor
    saved: Tensor


def _pays(found: Sequence[Found], images: int, judged: int) -> Tensor:
    """Of which images adaptations save more than they take: surely, as far as pixels tell. bool [images]."""
    saved = sum(each.saved for each in found).unflatten(0, (images, -1)).double()
    own = sum(each.own for each in found).unflatten(0, (images, -1)).sum(1)
    total, variance = saved.sum((1, 2)), torch.zeros_like(own)
    for part in saved.split(_pixels_of_sets(judged), 2):
        if part.shape[2] > 1:
            variance += part.var(2).sum(1) * part.shape[2]
    return total - _CERTAINTY * variance.sqrt() > own + _PAYLOAD_BITS


class Candidate(NamedTuple):
    """Whole numbers, int64 [networks, size], bits that they take, [networks], and those of the whole images, as each
    pixel that judges says of those that it stands for, [networks, n]."""

    numbers: Tensor
    own: Tensor
    pixels: Tensor

    def bits(self) -> Tensor:
        return self.own + self.pixels.sum(1, dtype=torch.float64)

    def better(self, other: Candidate) -> Candidate:
        """Of each network the one that takes fewer bits; this one, where both take as many."""
        fewer = other.bits() < self.bits()
        return Candidate(
            *(
                torch.where(fewer.view(-1, *(1,) * (mine.ndim - 1)), its, mine)
                for mine, its in zip(self, other, strict=True)
            )
        )


class NetworkSearch:
    """The search for the luma or the chroma networks of images."""

    def __init__(self, sampled: SampledImages, twin: Twin, plan: FitPlan, used: int) -> None:
        """used: blocks that outputs of any network are fitted to."""
        self.sampled, self.twin, self.plan, self.used = sampled, twin, plan, used
        values = sampled.values[:, :1] if twin.network == "luma" else sampled.values[:, 1:]
        share = torch.where(values > 1, 1 - values / 65536, 0)
        self.share = share.repeat_interleave(len(BANDS), 0)

    def run(self) -> Found:
        numbers = torch.zeros(len(self.sampled.counts), self.twin.size, device=self.sampled.device)
        judging = self._judging(cached=True)
        best = unadapted = self._judged(numbers.long(), judging, cached=True)
        self._fit_outputs(numbers)
        best = best.better(self._choose(numbers, judging, cached=True))
        if self.plan.steps:
            judging = self._judging(cached=False)
            self._fit_all(numbers)
            best = best.better(self._choose(numbers, judging, cached=False))
        # A band without pixels in the finest level is left alone.
        there = self.sampled.counts[:, 0] > 0
        saved = (unadapted.pixels - best.pixels) * there[:, None]
        return Found((best.numbers * there[:, None]).to(torch.int8), best.own * there, saved)

    def _fit_outputs(self, numbers: Tensor) -> None:
        """Search on from `numbers` for those of the output layer and of the biases of the hidden layer before it."""
        batch, steps = self.plan.output_batch, _round(self.plan)
        pixels = _pixels_of_sets(steps * batch)
        drawn = self.twin.products(self.sampled.draw(self.twin.network, (0, 0), pixels, again=True))
        sets = drawn.part(0, pixels[0]), drawn.part(pixels[0], sum(pixels))

        def contexts(step: int) -> Contexts:
            return _of_step(sets, step % steps, batch)

        rates = {array: _OUTPUT_RATES.output for array in self.twin.arrays if array.layer == self.twin.depth}
        hidden_biases = self.twin.arrays_of(HIDDEN_BIAS, self.twin.depth - 1)
        rates |= dict.fromkeys(hidden_biases, _OUTPUT_RATES.hidden_bias)
        rates |= dict.fromkeys(self.twin.arrays_of(WEIGHT, self.twin.depth), _OUTPUT_RATES.weight)
        self._descend(numbers, self.plan.output_steps, contexts, rates, cached=True)

    def _fit_all(self, numbers: Tensor) -> None:
        """Search on from `numbers` for all of them, with all pixels in turn, those that judge among them."""
        batch = self.plan.batch
        steps = 4 * max(1, _DRAWN // (4 * BLOCK * batch))  # whose pixels are gathered together
        pixels = _pixels_of_sets(steps * batch)
        sets: list[Contexts] = []

        def contexts(step: int) -> Contexts:
            if step % steps == 0:
                drawn = self.sampled.draw(self.twin.network, [step // steps * n for n in pixels], pixels, again=True)
                sets[:] = drawn.part(0, pixels[0]), drawn.part(pixels[0], sum(pixels))
            return _of_step(sets, step % steps, batch)

        of_kind = {WEIGHT: _ALL_RATES.weight, HIDDEN_BIAS: _ALL_RATES.hidden_bias}
        rates = {array: of_kind.get(array.kind, _ALL_RATES.output) for array in self.twin.arrays}
        self._descend(numbers, self.plan.steps, contexts, rates, cached=False)

    def _descend(
        self,
        numbers: Tensor,
        steps: int,
        contexts: Callable[[int], Contexts],
        rates: Mapping[Array, float],
        cached: bool,
    ) -> None:
        """Adam, with half a cosine; `numbers` are changed in place, those without a rate not at all."""
        device = numbers.device
        rate = np.zeros(numbers.shape[1], np.float32)
        for array, of_array in rates.items():
            rate[array.first : array.stop] = of_array
        each_rate = put(rate, device)
        mean, square = torch.zeros_like(numbers), torch.zeros_like(numbers)
        price = _PRICE / self.sampled.whole.sum(1, keepdim=True).clamp(min=1)
        for step in range(steps):
            # Slopes are taken at rounded numbers, and change what was not rounded ("straight through").
            seen = _rounded(numbers) if step >= (1 - _ROUNDED) * steps else numbers.clone()
            seen.requires_grad_()
            batch = contexts(step)
            with torch.enable_grad():
                bits = self.twin.bits(self.twin.smooth(seen, cached), batch, self.share)
                (slope,) = torch.autograd.grad(bits.sum(), seen)
            counted = batch.counted.sum(1, keepdim=True)
            slope += price * counted * numbers.sign() / (1 + numbers.abs())
            mean.lerp_(slope, 1 - _MEAN_BETA)
            square.lerp_(slope * slope, 1 - _SQUARE_BETA)
            scheduled = min(1.0, (step + 1) / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))
            mean_scale = scheduled / (1 - _MEAN_BETA ** (step + 1))
            root = (square / (1 - _SQUARE_BETA ** (step + 1))).sqrt_().add_(1e-12)
            numbers.sub_(each_rate * mean_scale * mean / root).clamp_(ADAPTED_MIN, ADAPTED_MAX)

    def _choose(self, numbers: Tensor, judging: list[Contexts], cached: bool) -> Candidate:
        """Rounds, and leaves out arrays that do not pay."""
        best = self._judged(_rounded(numbers).long(), judging, cached)
        for array in self.twin.arrays:
            fewer = best.numbers.clone()
            fewer[:, array.first : array.stop] = 0
            best = best.better(self._judged(fewer, judging, cached))
        return best

    def _judged(self, numbers: Tensor, judging: list[Contexts], cached: bool) -> Candidate:
        """What the pixels that judge say that the whole images take."""
        numbers = self.twin.within_bounds(numbers)
        network = self.twin.exact(numbers, cached)
        counted = torch.zeros(len(numbers), SETS, device=numbers.device)
        for part in judging:
            counted[:, 0 if part.first else 1] += part.counted.sum(1)
        each = self.sampled.whole / counted.clamp(min=1)  # pixels that one stands for
        pixels = [self.twin.bits(network, part, self.share) * each[:, 0 if part.first else 1, None] for part in judging]
        return Candidate(numbers, self.twin.cost(numbers), torch.cat(pixels, 1))

    def _judging(self, cached: bool) -> list[Contexts]:
        """What says what pays, in parts of one set each: pixels that outputs are not fitted to or, where an image has
        no others, some that they are."""
        used = np.array(_pixels_of_sets(self.used))
        fresh = (self.sampled.counted > used).any(axis=1)
        first = put(np.where(fresh[:, np.newaxis], used, 0), self.sampled.device)
        count = _pixels_of_sets(self.plan.judged)
        drawn = self.sampled.draw(self.twin.network, [first[:, :1], first[:, 1:]], count, again=False)
        parts = []
        for start, stop in ((0, count[0]), (count[0], sum(count))):
            for at in range(start, stop, _DRAWN):
                part = drawn.part(at, min(stop, at + _DRAWN))
                parts.append(self.twin.products(part) if cached else part)
        return parts


def _pixels_of_sets(blocks: int) -> list[int]:
    """How many pixels of each set are in so many blocks: the last of each four is of set 1."""
    return [BLOCK * (blocks - blocks // 4), BLOCK * (blocks // 4)]


def _round(plan: FitPlan) -> int:
    """Steps that see all blocks that outputs are fitted to."""
    return -(-plan.output_blocks // plan.output_batch)


def _of_step(sets: Sequence[Contexts], step: int, batch: int) -> Contexts:
    """The pixels of a step's blocks, of those of all steps."""
    first, last = (_pixels_of_sets(number * batch) for number in (step, step + 1))
    return joined(*(part.part(*ends) for part, *ends in zip(sets, first, last, strict=True)))


def _rounded(numbers: Tensor) -> Tensor:
    return numbers.sign() * (numbers.abs() + (0.5 - _DEAD_ZONE)).floor()


def _images_at_once(device: torch.device, pixels: int) -> int:
    """As many as the memory that is left on the device has room for, of so many pixels each."""
    room = IMAGES
    if device.type == "cuda":
        room = free_bytes(device) // 2 // (_IMAGE_BYTES + _PIXEL_BYTES * pixels)
    return max(1, min(IMAGES, room, (2**31 - 1) // pixels))
