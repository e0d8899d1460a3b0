"""The native engine: C++ kernels for the instruction sets that this processor has, threads over tiles and streams."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from llicti_core.engines.base import CodedTile, TiledImage, TileRect
from llicti_core.engines.native import _native
from llicti_core.errors import FormatError
from llicti_core.models import Model
from llicti_core.pyramid import level_size, stream_count
from llicti_core.spec import BANDS, LEVELS, PHASES, Band

if TYPE_CHECKING:
    from llicti_core.adaptation import FitPlan


class NativeEngine:
    """Runs the fastest kernels this processor has, or those of `isa`, or of the LLICTI_ISA environment variable."""

    name = "native"

    def __init__(self, isa: str | None = None) -> None:
        """isa: one of `instruction_sets()`."""
        self.isa = isa or _wanted_isa()

    def encode(self, image: TiledImage, threads: int) -> list[CodedTile]:
        """See Engine.encode."""
        coded = _native.encode(image.pixels, _jobs(image), image.adaptation, _packed(image.model), threads, self.isa)
        return [
            CodedTile(bounds, _lowpass(image.pixels, tile), segments)
            for tile, (bounds, segments) in zip(image.tiles, coded, strict=True)
        ]

    def decode(self, image: TiledImage, coded: Sequence[CodedTile], threads: int, level: int = 0) -> None:
        """See Engine.decode."""
        parts = []
        for tile, (_, _, h, w) in zip(coded, image.tiles, strict=True):
            shape = (level_size(h, LEVELS), level_size(w, LEVELS), image.channels)
            parts.append((tile.bounds, memoryview(tile.lowpass).cast("B", shape), tile.segments))
        model = _packed(image.model)
        problem = _native.decode(image.pixels, _jobs(image), parts, image.adaptation, model, level, threads, self.isa)
        if problem:
            raise FormatError(problem)


def fit(image: TiledImage, plan: FitPlan, threads: int, isa: str | None = None) -> tuple[bytes, bytes]:
    """The search behind adaptation.fit: the fields of AdaptedParameters."""
    return _native.fit(image.pixels, _jobs(image), _packed(image.model), list(plan), threads, isa or _wanted_isa())


def instruction_sets() -> list[str]:
    """Names of the instruction sets that this processor and this build have kernels for, fastest first."""
    return list(_native.instruction_sets())


def _wanted_isa() -> str:
    return os.environ.get("LLICTI_ISA", "")


def _lowpass(pixels: memoryview, tile: TileRect) -> bytes:
    """The coarsest phase 00 of a tile, as it is stored."""
    import numpy as np

    step = 1 << LEVELS
    return np.asarray(pixels)[tile.y : tile.y + tile.height : step, tile.x : tile.x + tile.width : step].tobytes()


def _jobs(image: TiledImage) -> list[tuple[int, ...]]:
    """Every tile with its number of streams."""
    return [(*tile, stream_count(tile.height, tile.width, image.channels)) for tile in image.tiles]


@lru_cache(maxsize=8)
def _packed(model: Model) -> _native.PackedModel:
    """`model` as the kernels want it."""
    return _native.PackedModel([_packed_band(model, band) for band in BANDS])


def _packed_band(model: Model, band: Band) -> tuple[object, ...]:
    neighbours = [
        (PHASES.index(phase), (band.row + dy - int(phase[0])) // 2, (band.column + dx - int(phase[1])) // 2)
        for phase, dy, dx in band.neighbours
    ]
    layers = [(layer.weight, layer.bias, layer.multiplier) for layer in model.layers(band.name)]
    return PHASES.index(band.name), neighbours, list(band.nearest), layers
