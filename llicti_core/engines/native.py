"""The native engine: C++ kernels for the instruction sets that this processor has, threads over tiles and streams."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from llicti_core import tables
from llicti_core.engines import NO_CORRECTIONS, Corrections, EncodedTile, Rectangle, _native
from llicti_core.errors import FormatError
from llicti_core.models import Model
from llicti_core.pyramid import BANDS, PHASES, SCALES, Band, scale_size, stream_count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FIT_PLANS = {1: [2, 6144, 192, 160], 2: [3, 24576, 512, 256], 3: [4, 65536, 1024, 400]}
"""By effort: finest scales that are fitted, pixels of each band that are fitted to, pixels and number of steps of the
optimiser."""


class NativeEngine:
    """Runs the fastest kernels this processor has, or those of `isa`, or of the LLICTI_ISA environment variable."""

    name = "native"

    def __init__(self, isa: str | None = None) -> None:
        """isa: one of `instruction_sets()`."""
        self.isa = isa or os.environ.get("LLICTI_ISA", "")

    def fit(
        self, pixels: NDArray[np.uint8], tiles: Sequence[Rectangle], model: Model, effort: int, threads: int
    ) -> Corrections:
        """See Engine.fit."""
        if not effort:
            return NO_CORRECTIONS
        jobs = _jobs(tiles, pixels.shape[2])
        return Corrections(*_native.fit(pixels, jobs, _packed(model), FIT_PLANS[effort], threads, self.isa))

    def encode(
        self,
        pixels: NDArray[np.uint8],
        tiles: Sequence[Rectangle],
        corrections: Corrections,
        model: Model,
        threads: int,
    ) -> list[EncodedTile]:
        """See Engine.encode."""
        jobs = _jobs(tiles, pixels.shape[2])
        coded = _native.encode(pixels, jobs, corrections, _packed(model), threads, self.isa)
        step = 1 << SCALES
        return [
            EncodedTile(ranges, pixels[y : y + h : step, x : x + w : step].tobytes(), segments)
            for (y, x, h, w), (ranges, segments) in zip(tiles, coded, strict=True)
        ]

    def decode(
        self,
        pixels: memoryview,
        tiles: Sequence[Rectangle],
        coded: Sequence[EncodedTile],
        corrections: Corrections,
        model: Model,
        threads: int,
        scale: int = 0,
    ) -> None:
        """See Engine.decode."""
        assert pixels.shape is not None
        channels = pixels.shape[2]
        jobs = _jobs(tiles, channels)
        parts = []
        for tile, (_, _, h, w) in zip(coded, tiles, strict=True):
            shape = (scale_size(h, SCALES), scale_size(w, SCALES), channels)
            parts.append((tile.ranges, memoryview(tile.coarse).cast("B", shape), tile.segments))
        problem = _native.decode(pixels, jobs, parts, corrections, _packed(model), scale, threads, self.isa)
        if problem:
            raise FormatError(problem)


def instruction_sets() -> list[str]:
    """Names of the instruction sets that this processor and this build have kernels for, fastest first."""
    return list(_native.instruction_sets())


def _jobs(tiles: Sequence[Rectangle], channels: int) -> list[tuple[int, ...]]:
    """Every tile with its number of streams."""
    return [(*tile, stream_count(tile.height, tile.width, channels)) for tile in tiles]


@lru_cache(maxsize=8)
def _packed(model: Model) -> _native.PackedModel:
    """`model` as the kernels want it."""
    numbers = [list(tables.CDF_TAIL), list(tables.SCALE_MANTISSA), list(tables.WEIGHT_EXP)]
    return _native.PackedModel(numbers, [_packed_band(model, band) for band in BANDS])


def _packed_band(model: Model, band: Band) -> tuple[object, ...]:
    neighbours = [
        (PHASES.index(phase), (band.row + dy - int(phase[0])) // 2, (band.column + dx - int(phase[1])) // 2)
        for phase, dy, dx in band.neighbours
    ]
    layers = [(layer.weight, layer.bias, layer.multiplier) for layer in model.layers(band.name)]
    return PHASES.index(band.name), neighbours, list(band.nearest), layers
