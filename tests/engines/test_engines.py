"""Engines: the reference and every instruction set of the native engine write the same bytes and read each other's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from engine_cases import SMALL, Case, Part, Pixels, adaptations, adapted, images, parts, pixels_of, random_models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import photograph, smooth
from random_models import random_adaptation

from llicti_core import models
from llicti_core.engines.base import NOT_ADAPTED, Engine, TiledImage
from llicti_core.engines.native import NativeEngine, instruction_sets
from llicti_core.engines.reference import ReferenceEngine
from llicti_core.models import Model
from llicti_core.spec import MAX_VIEW_LEVEL

NATIVE = [NativeEngine(isa) for isa in instruction_sets()]

few = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
"""The reference is slow."""


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


@few
@given(images(), st.integers(1, 3))
def test_engines_agree_on_images(pixels: Pixels, threads: int) -> None:
    check(Case(pixels, models.load()), threads)


@few
@given(images(16), random_models, adaptations)
def test_engines_agree_on_models_and_adaptations(
    pixels: Pixels, model: Model, adaptation: tuple[int, int] | None
) -> None:
    check(Case(pixels, model, adapted(model, pixels, adaptation)))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(images(80), random_models, adaptations, st.integers(1, 3))
def test_instruction_sets_agree_on_models_and_adaptations(
    pixels: Pixels, model: Model, adaptation: tuple[int, int] | None, threads: int
) -> None:
    check(Case(pixels, model, adapted(model, pixels, adaptation)), threads, reference=False)


@few
@given(images(30), st.integers(3, 5), st.integers(1, 4))
def test_engines_agree_on_tiles(pixels: Pixels, tile_log2: int, threads: int) -> None:
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
    pixels: Pixels, adaptation: tuple[int, int] | None, tile_log2: int, threads: int, data: st.DataObject
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


def test_an_image_without_tiles_has_nothing_to_code() -> None:
    pixels = smooth(8, 8)
    image = TiledImage(memoryview(pixels), [], models.load(), NOT_ADAPTED)
    engines: list[Engine] = [ReferenceEngine(), *NATIVE]
    for engine in engines:
        assert engine.encode(image, 2) == []
        engine.decode(image, [], 2)
    assert (pixels == smooth(8, 8)).all()


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
