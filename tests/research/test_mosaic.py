"""The mosaic of photographs for the benchmark."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PATH = Path(__file__).parents[2] / "benchmarks" / "mosaic.py"


@pytest.fixture(scope="module")
def mosaic():  # type: ignore[no-untyped-def]  # a module that no package holds
    spec = importlib.util.spec_from_file_location("mosaic", PATH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def photograph(width: int, height: int, seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def test_tiles_are_the_largest_that_there_are_enough_of(mosaic) -> None:  # type: ignore[no-untyped-def]
    large, wide = photograph(24, 18, 1), photograph(30, 10, 2)
    assert np.array_equal(mosaic.mosaic([wide, large], 24, 18), large)

    parts = [photograph(12, 9, seed) for seed in range(4)]
    found = np.asarray(mosaic.mosaic(parts, 24, 18))
    expected = np.vstack([np.hstack(parts[:2]), np.hstack(parts[2:])])
    assert np.array_equal(found, expected)


def test_no_tile_occurs_twice_and_photographs_take_turns(mosaic) -> None:  # type: ignore[no-untyped-def]
    first, second = photograph(36, 27, 1), photograph(24, 36, 2)  # 9 and 8 tiles of 12 x 9
    found = np.asarray(mosaic.mosaic([first, second], 48, 36))
    tiles = [found[y : y + 9, x : x + 12] for y in range(0, 36, 9) for x in range(0, 48, 12)]
    assert len({tile.tobytes() for tile in tiles}) == 16
    assert np.array_equal(tiles[0], np.asarray(first)[:9, :12])
    assert np.array_equal(tiles[1], np.asarray(second)[:9, :12])
    assert np.array_equal(tiles[2], np.asarray(first)[:9, 12:24])


def test_too_few_pixels_are_refused(mosaic, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    photograph(100, 100, 1).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("no image")
    assert mosaic.main(str(tmp_path), str(tmp_path / "out.png")) == 1
    assert "1 photographs do not fill" in capsys.readouterr().err
