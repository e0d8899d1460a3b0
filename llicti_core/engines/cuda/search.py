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
    BIAS,
    GAIN,
    HIDDEN_BIAS,
    WEIGHT,
    FitPlan,
    fit_plan,
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

_IMAGE_BYTES = 1 << 27
"""Of the device, that the search for an image takes at most, about."""

_DRAWN = 4096
"""Pixels of each network that are gathered, or judged, together, about."""

_PAYLOAD_BITS = 8 * 24
"""Of an adaptation that changes nothing."""

# Adam, in the numbers' units.
_MEAN_BETA, _SQUARE_BETA = 0.9, 0.997
_WEIGHT_RATE = 0.12
"""Of weights and, where all numbers are open, of hidden biases."""
_OUTPUT_RATE, _LATER_RATE = 1.2, 0.5
"""Of gains and biases, at first and when all numbers are open."""
_WARM_UP = 10
"""Steps."""
_ROUNDED = 0.4
"""Share of the steps, the last ones, that see numbers rounded."""
_DEAD_ZONE = 0.2
"""By how much rounding favours zero."""
_PRICE = 6 / math.log(2)
"""Of a number, in bits times log(1 + |number|)."""


def fit(images: Sequence[TiledImage], effort: int, device: str | torch.device) -> list[AdaptedParameters]:
    """What `adaptation.fit` says, for each of `images`; those of the same size are searched together.

    device: as of CudaEngine. Raises DeviceError.
    """
    found = [NOT_ADAPTED] * len(images)
    chosen = usable(device)
    alike: defaultdict[tuple[FitPlan, int, int, bytes], list[int]] = defaultdict(list)
    for number, image in enumerate(images):
        plan = fit_plan(effort, sum(tile.height * tile.width for tile in image.tiles))
        if plan:
            alike[plan, image.channels, image.bits, image.model.identity].append(number)
    with reported(chosen), current(chosen):
        for (plan, *_), numbers in alike.items():
            together = _images_at_once(chosen)
            for first in range(0, len(numbers), together):
                part = numbers[first : first + together]
                for number, payload in zip(part, fit_together([images[n] for n in part], plan, chosen), strict=True):
                    found[number] = payload
    return found


def fit_together(images: Sequence[TiledImage], plan: FitPlan, device: torch.device) -> list[AdaptedParameters]:
    """Adaptations of images of one model, number of channels and of bits. The host waits for the device once."""
    sampled = SampledImages(images, device)
    searches = [
        NetworkSearch(sampled, Twin(images[0].model, network, len(images), device), plan)
        for network in NETWORKS[: network_count(sampled.channels)]
    ]
    found = [search.run() for search in searches]
    fetched = fetch([tensor for pair in found for tensor in pair])
    numbers, saved = fetched[0::2], fetched[1::2]
    payloads = []
    for number in range(len(images)):
        networks = range(number * len(BANDS), (number + 1) * len(BANDS))
        if sum(float(bits[network]) for bits in saved for network in networks) <= _PAYLOAD_BITS:
            payloads.append(NOT_ADAPTED)
            continue
        arrays: list[NDArray[np.int8]] = []
        for search, values in zip(searches, numbers, strict=True):
            for band, network in enumerate(networks):
                arrays += search.twin.of_band(values[network], band)
        payloads.append(pack_numbers(SETS, PRECISION, arrays))
    return payloads


class Candidate(NamedTuple):
    """Whole numbers, int64 [networks, size], and bits that they and the pixels take, [networks]."""

    numbers: Tensor
    bits: Tensor

    def better(self, other: Candidate) -> Candidate:
        """Of each network the one that takes fewer bits; this one, where both take as many."""
        fewer = other.bits < self.bits
        return Candidate(
            torch.where(fewer[:, None], other.numbers, self.numbers), torch.where(fewer, other.bits, self.bits)
        )


class NetworkSearch:
    """The search for the luma or the chroma networks of images."""

    def __init__(self, sampled: SampledImages, twin: Twin, plan: FitPlan) -> None:
        self.sampled, self.twin, self.plan = sampled, twin, plan
        values = sampled.values[:, :1] if twin.network == "luma" else sampled.values[:, 1:]
        share = torch.where(values > 1, 1 - values / 65536, 0)
        self.share = share.repeat_interleave(len(BANDS), 0)
        self.round = -(-plan.output_blocks // plan.output_batch)
        """Steps that see all blocks that outputs are fitted to."""

    def run(self) -> tuple[Tensor, Tensor]:
        """Numbers int8 [networks, size], 0 where no change pays, and bits float [networks] that they save."""
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
        saved = torch.where(there, unadapted.bits - best.bits, 0)
        return (best.numbers * there[:, None]).to(torch.int8), saved

    def _fit_outputs(self, numbers: Tensor) -> None:
        """Search on from `numbers` for those of the output layer and of the biases of the hidden layer before it."""
        batch = self.plan.output_batch
        pixels = _pixels_of_sets(self.round * batch)
        drawn = self.twin.products(self.sampled.draw(self.twin.network, (0, 0), pixels, again=True))
        sets = drawn.part(0, pixels[0]), drawn.part(pixels[0], sum(pixels))

        def contexts(step: int) -> Contexts:
            first, last = (_pixels_of_sets((step % self.round + n) * batch) for n in range(2))
            return joined(*(part.part(*ends) for part, *ends in zip(sets, first, last, strict=True)))

        rates = {array: _OUTPUT_RATE for array in self.twin.arrays if array.layer == self.twin.depth}
        rates |= dict.fromkeys(self.twin.arrays_of(HIDDEN_BIAS, self.twin.depth - 1), _OUTPUT_RATE)
        rates |= dict.fromkeys(self.twin.arrays_of(WEIGHT, self.twin.depth), _WEIGHT_RATE)
        self._descend(numbers, self.plan.output_steps, contexts, rates, cached=True)

    def _fit_all(self, numbers: Tensor) -> None:
        """Search on from `numbers` for all of them."""
        pixels = _pixels_of_sets(self.plan.batch)
        steps = max(1, _DRAWN // sum(pixels))  # whose pixels are gathered together
        sets: list[Contexts] = []

        def contexts(step: int) -> Contexts:
            if step % steps == 0:
                first, count = ([number * many for many in pixels] for number in (step, steps))
                drawn = self.sampled.draw(self.twin.network, first, count, again=True)
                sets[:] = drawn.part(0, count[0]), drawn.part(count[0], sum(count))
            at = step % steps
            return joined(*(part.part(at * many, (at + 1) * many) for part, many in zip(sets, pixels, strict=True)))

        rates = {array: _LATER_RATE if array.kind in (GAIN, BIAS) else _WEIGHT_RATE for array in self.twin.arrays}
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
        bits = torch.zeros(len(numbers), SETS, dtype=torch.float64, device=numbers.device)
        counted = torch.zeros_like(bits)
        for part in judging:
            number = 0 if part.first else 1
            bits[:, number] += self.twin.bits(network, part, self.share).sum(1)
            counted[:, number] += part.counted.sum(1)
        total = (bits * self.sampled.whole / counted.clamp(min=1)).sum(1)
        return Candidate(numbers, total + self.twin.cost(numbers))

    def _judging(self, cached: bool) -> list[Contexts]:
        """What says what pays, in parts of one set each: pixels that outputs are not fitted to or, where an image has
        no others, some that they are."""
        used = np.array(_pixels_of_sets(self.round * self.plan.output_batch))
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


def _rounded(numbers: Tensor) -> Tensor:
    return numbers.sign() * (numbers.abs() + (0.5 - _DEAD_ZONE)).floor()


def _images_at_once(device: torch.device) -> int:
    """As many as the memory that is left on the device has room for."""
    if device.type != "cuda":
        return IMAGES
    return max(1, min(IMAGES, free_bytes(device) // 2 // _IMAGE_BYTES))
