"""Engines: the reference and every instruction set of the native engine write the same bytes and read each other's."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import noise, smooth
from numpy.typing import NDArray

from llicti_core import models, pyramid
from llicti_core.adaptation import NOT_ADAPTED, OUTPUTS_PER_LEVEL, AdaptedParameters, hidden_per_level
from llicti_core.engines.base import CodedTile, Engine, TiledImage, TileRect
from llicti_core.engines.native import NativeEngine, instruction_sets
from llicti_core.engines.reference import ReferenceEngine
from llicti_core.models import Model, ModelSpec
from llicti_core.spec import ACTIVATION_MAX, HIDDEN_SHIFT, LEVELS
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
        coarse = [tile._replace(segments=tile.segments[: LEVELS - part.level]) for tile in coded]
        engine.decode(self._image(pixels, tiles), coarse, threads, part.level)
        return pixels

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


@lru_cache(maxsize=32)
def random_model(width: int, depth: int, weight: int, multipliers: tuple[int, int], seed: int) -> Model:
    """A model of random integers as large as the overflow proof lets them be.

    weight: the greatest magnitude of weights, at most 127.
    """
    rng = np.random.default_rng(seed)
    spec = ModelSpec("random", width, depth)
    tensors = {}
    for name, (shape, form) in spec.tensor_shapes().items():
        kind = name.rsplit(".", 1)[1]
        if kind == "weight":
            tensors[name] = rng.integers(-weight, weight + 1, shape, np.int8)
        elif kind == "bias":
            tensors[name] = rng.integers(-8000, 8001, shape, form)
        else:
            weights, biases = tensors[name.replace(kind, "weight")], tensors[name.replace(kind, "bias")]
            peak = 128 if biases.ndim == 2 else ACTIVATION_MAX
            reach = np.abs(weights.astype(np.int64)).sum(axis=1) * peak
            reach += np.abs(biases.astype(np.int64)).reshape(-1, len(reach)).max(axis=0)
            most = (2**31 - 2**HIDDEN_SHIFT - 1 - 2**22) // (reach + 1)  # with room for hidden_bias_delta
            tensors[name] = np.clip(rng.integers(*multipliers, shape), 1, np.maximum(most, 1)).astype(form)
    model = Model(spec, tensors)
    model.check_bounds()
    return model


random_models = st.builds(
    random_model,
    st.sampled_from([1, 2, 3, 5, 8, 15, 16, 17, 31, 40, 66, 130]),
    st.integers(1, 4),
    st.sampled_from([1, 12, 60, 127]),
    # Small ones need 32 bits to requantise, the next fit in 16, some of the last do not.
    st.sampled_from([(1, 32), (32, 200), (100, 8192), (1, 20000)]),
    st.integers(0, 3),
)


@st.composite
def parts(draw: st.DrawFn, height: int, width: int) -> Part:
    """Any part of an image of this size."""
    level = draw(st.integers(0, LEVELS))
    y, x = (draw(st.integers(0, (size - 1) >> level)) << level for size in (height, width))
    return Part(level, y, x, draw(st.integers(1, height - y)), draw(st.integers(1, width - x)))


def random_adaptation(model: Model, levels: int, deep: int, seed: int = 0) -> AdaptedParameters:
    """Any change of the outputs of `levels` levels, and of the hidden biases of up to `deep` of them."""
    rng = np.random.default_rng(seed)
    sizes = levels * OUTPUTS_PER_LEVEL, min(levels, deep) * hidden_per_level(model)
    return AdaptedParameters(*(rng.integers(-128, 128, size, np.int8).tobytes() for size in sizes))


amounts = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 100))
"""Of random_adaptation, for any model."""


@few
@given(images(), st.integers(1, 3))
def test_engines_agree_on_images(pixels: NDArray[np.uint8], threads: int) -> None:
    check(Case(pixels, models.load()), threads)


@few
@given(images(16), random_models, amounts)
def test_engines_agree_on_models_and_adaptations(
    pixels: NDArray[np.uint8], model: Model, adapted: tuple[int, int, int]
) -> None:
    check(Case(pixels, model, random_adaptation(model, *adapted)))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(images(80), random_models, amounts, st.integers(1, 3))
def test_instruction_sets_agree_on_models_and_adaptations(
    pixels: NDArray[np.uint8], model: Model, adapted: tuple[int, int, int], threads: int
) -> None:
    check(Case(pixels, model, random_adaptation(model, *adapted)), threads, reference=False)


@few
@given(pixels=images(30), symbols=st.integers(50, 600), tile_log2=st.integers(3, 5), threads=st.integers(1, 4))
def test_engines_agree_on_tiles_and_streams(
    monkeypatch: pytest.MonkeyPatch, pixels: NDArray[np.uint8], symbols: int, tile_log2: int, threads: int
) -> None:
    monkeypatch.setattr(pyramid, "SYMBOLS_PER_STREAM", symbols)
    check(Case(pixels, random_model(8, 1, 60, (32, 200), 0), tile_log2=tile_log2), threads)


@pytest.mark.parametrize("channels", [1, 3])
def test_engines_agree_whatever_the_threads(monkeypatch: pytest.MonkeyPatch, channels: int) -> None:
    # Bands of this image are large enough for a thread to each stream.
    monkeypatch.setattr(pyramid, "SYMBOLS_PER_STREAM", 3000)
    pixels = smooth(131, 140, channels, 5).reshape(131, 140, channels)
    case = Case(pixels, random_model(8, 2, 60, (32, 200), 0), tile_log2=8)
    check(case, threads=1)
    for threads in (2, 3, 7):
        check(case, threads, reference=False)


@pytest.mark.slow
@few
@given(images(80), amounts, st.sampled_from([5, 6]), st.integers(1, 3), st.data())
def test_any_part_at_any_level_is_what_the_whole_has_there(
    pixels: NDArray[np.uint8], adapted: tuple[int, int, int], tile_log2: int, threads: int, data: st.DataObject
) -> None:
    model = random_model(8, 1, 60, (32, 200), 0)
    case = Case(pixels, model, random_adaptation(model, *adapted), tile_log2)
    coded = case.encode(NATIVE[-1], 1)
    for part in data.draw(st.lists(parts(*pixels.shape[:2]), min_size=1, max_size=6)):
        engines: list[Engine] = [ReferenceEngine(), *NATIVE]
        for engine in engines:
            assert (case.decode_part(engine, coded, part, threads) == part.of(pixels)).all(), (engine.name, part)


@pytest.mark.parametrize("level", range(LEVELS + 1))
@pytest.mark.parametrize("channels", [1, 3])
def test_small_versions_of_several_tiles_and_streams(
    monkeypatch: pytest.MonkeyPatch, channels: int, level: int
) -> None:
    monkeypatch.setattr(pyramid, "SYMBOLS_PER_STREAM", 3000)
    case = Case(smooth(131, 200, channels, 5).reshape(131, 200, channels), models.load(), tile_log2=7)
    coded, part = case.encode(NATIVE[0], 2), Part(level, 0, 0, 131, 200)
    for engine in NATIVE:
        assert (case.decode_part(engine, coded, part, 2) == part.of(case.pixels)).all(), engine.isa


@pytest.mark.slow
def test_default_model_codes_alike_at_every_thread_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyramid, "SYMBOLS_PER_STREAM", 20_000)
    case = Case(smooth(150, 180, 3, 1), models.load(), tile_log2=8)
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
