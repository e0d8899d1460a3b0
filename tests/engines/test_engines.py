"""Engines: the reference and every instruction set of the native engine write the same bytes and read each other's."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import noise, photograph, smooth
from numpy.typing import NDArray
from random_models import random_adaptation, random_model

from llicti_core import models
from llicti_core.adaptation import NOT_ADAPTED, AdaptedParameters
from llicti_core.engines.base import CodedTile, Engine, TiledImage, TileRect
from llicti_core.engines.native import NativeEngine, instruction_sets
from llicti_core.engines.reference import ReferenceEngine
from llicti_core.models import Model
from llicti_core.pyramid import level_count, segment_kinds
from llicti_core.spec import COARSE_LEVEL, MAX_VIEW_LEVEL
from llicti_core.view import TileGrid

NATIVE = [NativeEngine(isa) for isa in instruction_sets()]

few = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
"""The reference is slow."""


@dataclass(frozen=True)
class Case:
    """What an engine codes, and how."""

    pixels: NDArray[np.uint8]
    model: Model
    adaptation: AdaptedParameters = NOT_ADAPTED
    tile_log2: int = 6

    def encode(self, engine: Engine, threads: int) -> list[CodedTile]:
        return engine.encode(self._image(self.pixels, self._tiles()), threads)

    def decode(self, engine: Engine, coded: list[CodedTile], threads: int) -> NDArray[np.uint8]:
        pixels = np.full_like(self.pixels, 99)
        engine.decode(self._image(pixels, self._tiles()), coded, threads)
        return pixels

    def decode_part(self, engine: Engine, coded: list[CodedTile], part: Part, threads: int) -> NDArray[np.uint8]:
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

    def _image(self, pixels: NDArray[np.uint8], tiles: list[TileRect]) -> TiledImage:
        return TiledImage(memoryview(pixels), tiles, self.model, self.adaptation)

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

    def of(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        step = 1 << self.level
        part = pixels[self.y : self.y + self.height : step, self.x : self.x + self.width : step]
        return np.ascontiguousarray(part)


def check(case: Case, threads: int = 1, reference: bool = True) -> None:
    """All engines write what the first one does, and decode it; the reference too, where it is asked."""
    first = ReferenceEngine() if reference else NATIVE[-1]
    expected = case.encode(first, 1)
    if reference:
        assert (case.decode(first, expected, 1) == case.pixels).all()
    for engine in NATIVE:
        for one, other in zip(expected, case.encode(engine, threads), strict=True):
            assert other.bounds == one.bounds, engine.isa
            assert other.lowpass == one.lowpass, engine.isa
            assert other.segments == one.segments, engine.isa
        assert (case.decode(engine, expected, threads) == case.pixels).all(), engine.isa


@st.composite
def images(draw: st.DrawFn, most: int = 24) -> NDArray[np.uint8]:
    """Small images [height, width, channels] of every kind that stresses a different part of the arithmetic."""
    size = st.integers(1, most)
    height, width = draw(st.tuples(size, size) | st.tuples(st.just(1), size) | st.tuples(size, st.just(1)))
    return draw(pixels_of(height, width))


@st.composite
def pixels_of(draw: st.DrawFn, height: int, width: int) -> NDArray[np.uint8]:
    """Images of this size."""
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


def adapted(model: Model, pixels: NDArray[np.uint8], adaptation: tuple[int, int] | None) -> AdaptedParameters:
    return random_adaptation(model, pixels.shape[2], *adaptation) if adaptation else NOT_ADAPTED


@few
@given(images(), st.integers(1, 3))
def test_engines_agree_on_images(pixels: NDArray[np.uint8], threads: int) -> None:
    check(Case(pixels, models.load()), threads)


@few
@given(images(16), random_models, adaptations)
def test_engines_agree_on_models_and_adaptations(
    pixels: NDArray[np.uint8], model: Model, adaptation: tuple[int, int] | None
) -> None:
    check(Case(pixels, model, adapted(model, pixels, adaptation)))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(images(80), random_models, adaptations, st.integers(1, 3))
def test_instruction_sets_agree_on_models_and_adaptations(
    pixels: NDArray[np.uint8], model: Model, adaptation: tuple[int, int] | None, threads: int
) -> None:
    check(Case(pixels, model, adapted(model, pixels, adaptation)), threads, reference=False)


@few
@given(images(30), st.integers(3, 5), st.integers(1, 4))
def test_engines_agree_on_tiles(pixels: NDArray[np.uint8], tile_log2: int, threads: int) -> None:
    check(Case(pixels, SMALL, tile_log2=tile_log2), threads)


@settings(few, max_examples=12)
@given(st.data(), st.integers(129, 400), st.integers(1, 12), st.integers(1, 4))
def test_engines_agree_on_streams(data: st.DataObject, height: int, width: int, threads: int) -> None:
    check(Case(data.draw(pixels_of(height, width)), SMALL, tile_log2=10), threads)


@pytest.mark.parametrize("shape", [(65, 33, 3), (200, 130, 3), (200, 130, 1), (66, 300, 1)])
def test_engines_agree_on_photographs(shape: tuple[int, int, int]) -> None:
    pixels = photograph(*shape[:2])[..., : shape[2]]
    check(Case(np.ascontiguousarray(pixels), models.load(), random_adaptation(models.load(), shape[2], 3), 7), 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_engines_agree_whatever_the_threads(channels: int) -> None:
    pixels = smooth(520, 40, channels, 5).reshape(520, 40, channels)
    case = Case(pixels, SMALL, tile_log2=10)
    check(case, threads=1, reference=False)
    for threads in (2, 3, 7):
        check(case, threads, reference=False)


@pytest.mark.slow
@few
@given(images(80), adaptations, st.sampled_from([5, 6]), st.integers(1, 3), st.data())
def test_any_part_at_any_level_is_what_the_whole_has_there(
    pixels: NDArray[np.uint8], adaptation: tuple[int, int] | None, tile_log2: int, threads: int, data: st.DataObject
) -> None:
    case = Case(pixels, SMALL, adapted(SMALL, pixels, adaptation), tile_log2)
    coded = case.encode(NATIVE[-1], 1)
    engines: list[Engine] = [*NATIVE] if pixels.size > 2000 else [ReferenceEngine(), *NATIVE]
    for part in data.draw(st.lists(parts(*pixels.shape[:2]), min_size=1, max_size=6)):
        for engine in engines:
            assert (case.decode_part(engine, coded, part, threads) == part.of(pixels)).all(), (engine.name, part)


@pytest.mark.parametrize("level", range(MAX_VIEW_LEVEL + 1))
@pytest.mark.parametrize("channels", [1, 3])
def test_small_versions_of_several_tiles_and_streams(channels: int, level: int) -> None:
    case = Case(smooth(291, 400, channels, 5).reshape(291, 400, channels), models.load(), tile_log2=8)
    coded, part = case.encode(NATIVE[0], 2), Part(level, 0, 0, 291, 400)
    for engine in NATIVE:
        assert (case.decode_part(engine, coded, part, 2) == part.of(case.pixels)).all(), engine.isa


@pytest.mark.slow
def test_default_model_codes_alike_at_every_thread_count() -> None:
    case = Case(smooth(300, 180, 3, 1), models.load(), tile_log2=9)
    for threads in (1, 2, 5):
        check(case, threads, reference=False)


def test_the_environment_chooses_the_instruction_set(tmp_path: Path) -> None:
    code = "from llicti_core.engines.native import NativeEngine; print(NativeEngine().isa)"
    environment = {**os.environ, "LLICTI_ISA": "generic"}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "generic"


def test_unknown_instruction_sets_are_refused() -> None:
    case = Case(smooth(8, 8), models.load())
    with pytest.raises(ValueError, match="no kernels for 'vax'"):
        case.encode(NativeEngine("vax"), 1)


def test_generic_kernels_are_always_there() -> None:
    assert instruction_sets()[-1] == "generic"
