"""What engines code in the tests: images, models and adaptations of every kind, and parts of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from images import noise, smooth, ten_bits
from numpy.typing import NDArray
from random_models import random_adaptation, random_model

from llicti_core.engines.base import NOT_ADAPTED, AdaptedParameters, CodedTile, Engine, TiledImage, TileRect
from llicti_core.models import Model
from llicti_core.pyramid import level_count, segment_kinds
from llicti_core.spec import COARSE_LEVEL, MAX_VIEW_LEVEL
from llicti_core.view import TileGrid

Pixels = NDArray[np.unsignedinteger]
"""uint8, of eight bits, or uint16, of ten."""


@dataclass(frozen=True)
class Case:
    """What an engine codes, and how."""

    pixels: Pixels
    model: Model
    adaptation: AdaptedParameters = NOT_ADAPTED
    tile_log2: int = 6

    def encode(self, engine: Engine, threads: int) -> list[CodedTile]:
        return engine.encode(self._image(self.pixels, self._tiles()), threads)

    def decode(self, engine: Engine, coded: list[CodedTile], threads: int) -> Pixels:
        pixels = np.full_like(self.pixels, 99)
        engine.decode(self._image(pixels, self._tiles()), coded, threads)
        return pixels

    def decode_part(self, engine: Engine, coded: list[CodedTile], part: Part, threads: int) -> Pixels:
        """`part` of the image, from the levels alone that it takes."""
        pixels = np.full_like(part.of(self.pixels), 99)
        tiles = [tile._replace(y=tile.y - part.y, x=tile.x - part.x) for tile in self._tiles()]
        coarse = [self._prefix(tile, rect, part.level) for tile, rect in zip(coded, tiles, strict=True)]
        engine.decode(self._image(pixels, tiles), coarse, threads, part.level)
        return pixels

    def _prefix(self, tile: CodedTile, rect: TileRect, level: int) -> CodedTile:
        """What a file cut after the section of `level` has of a tile."""
        kinds = segment_kinds(level_count(rect.height, rect.width), self.pixels.shape[2])
        needed = [
            segments for kind, segments in zip(kinds, tile.segments, strict=True) if kind[0] >= min(level, COARSE_LEVEL)
        ]
        return tile._replace(segments=needed)

    def _image(self, pixels: Pixels, tiles: list[TileRect]) -> TiledImage:
        return TiledImage(memoryview(pixels), tiles, self.model, self.adaptation, 8 if pixels.dtype == np.uint8 else 10)

    def _tiles(self) -> list[TileRect]:
        height, width, _ = self.pixels.shape
        return list(TileGrid(width, height, 1 << self.tile_log2))


@dataclass(frozen=True)
class Part:
    """A region of an image, subsampled by 2**level."""

    level: int
    y: int
    x: int
    height: int
    width: int

    def of(self, pixels: Pixels) -> Pixels:
        step = 1 << self.level
        part = pixels[self.y : self.y + self.height : step, self.x : self.x + self.width : step]
        return np.ascontiguousarray(part)


@st.composite
def images(draw: st.DrawFn, most: int = 24) -> Pixels:
    """Small images [height, width, channels] of every kind that stresses a different part of the arithmetic."""
    size = st.integers(1, most)
    height, width = draw(st.tuples(size, size) | st.tuples(st.just(1), size) | st.tuples(size, st.just(1)))
    return draw(pixels_of(height, width))


@st.composite
def pixels_of(draw: st.DrawFn, height: int, width: int) -> Pixels:
    """Images of this size, of eight bits or of ten."""
    channels, seed = draw(st.sampled_from([1, 3])), draw(st.integers(0, 1000))
    kind = draw(st.sampled_from(["smooth", "noise", "extreme", "constant channel", "edge"]))
    if kind == "smooth":
        pixels = smooth(height, width, channels, seed)
    else:
        pixels = noise(height, width, channels, seed)
    pixels = pixels.reshape(height, width, channels)
    if kind == "extreme":
        pixels = pixels // 128 * 255
    elif kind == "constant channel":
        pixels[..., draw(st.integers(0, channels - 1))] = draw(st.integers(0, 255))
    elif kind == "edge":
        pixels[:, width // 2 :] = 255 - pixels[:, width // 2 :] // 8
    if draw(st.booleans()):
        return ten_bits(pixels, seed + 1)
    return np.ascontiguousarray(pixels)


shapes = st.tuples(st.sampled_from([1, 2, 3, 5, 8, 15, 16, 17, 31, 40, 66, 130]), st.integers(1, 4))
"""Width and depth of a network."""

random_models = st.builds(
    random_model,
    shapes,
    shapes,
    st.sampled_from([1, 12, 60, 127]),
    # Small ones need 32 bits to requantise, the next fit in 16, some of the last do not.
    st.sampled_from([(1, 32), (32, 200), (100, 8192), (1, 20000)]),
    st.integers(0, 3),
)

SMALL = random_model((8, 1), (6, 2), 60, (32, 200), 0)


@st.composite
def parts(draw: st.DrawFn, height: int, width: int) -> Part:
    """Any part of an image of this size."""
    level = draw(st.integers(0, MAX_VIEW_LEVEL))
    y, x = (draw(st.integers(0, (size - 1) >> level)) << level for size in (height, width))
    return Part(level, y, x, draw(st.integers(1, height - y)), draw(st.integers(1, width - x)))


adaptations = st.none() | st.tuples(st.integers(1, 5), st.integers(0, 100))
"""Sets and seed of random_adaptation, for any model; or no adaptation."""


def adapted(model: Model, pixels: Pixels, adaptation: tuple[int, int] | None) -> AdaptedParameters:
    return random_adaptation(model, pixels.shape[2], *adaptation) if adaptation else NOT_ADAPTED
