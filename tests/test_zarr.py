"""The format in arrays: numcodecs' codec, zarr's codec, and a store that every later version must read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden import FIXTURES
from images import noise, smooth
from PIL import Image

import llicti_core

numcodecs = pytest.importorskip("numcodecs")

SHAPES = [(17, 23), (17, 23, 3), (1, 1, 20, 30), (1, 9, 11, 3), (1, 5, 3), (4, 3), (1, 1)]


@pytest.fixture
def zarr() -> Any:
    return pytest.importorskip("zarr")


def pixels_of(shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Noise of any shape."""
    return np.random.default_rng(len(shape)).integers(0, 256, shape, np.uint8)


# numcodecs


@pytest.mark.parametrize("shape", SHAPES)
def test_codec(shape: tuple[int, ...]) -> None:
    codec = numcodecs.get_codec({"id": "llc"})
    pixels = pixels_of(shape)
    encoded = codec.encode(pixels)
    decoded = codec.decode(encoded)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded.reshape(shape), pixels)
    np.testing.assert_array_equal(llicti_core.decode(encoded).reshape(shape), pixels)
    out = np.empty(shape, np.uint8)
    codec.decode(bytearray(encoded), out)
    np.testing.assert_array_equal(out, pixels)


def test_codec_options() -> None:
    codec = numcodecs.get_codec({"id": "llc", "model": "default", "effort": 0})
    assert codec.get_config() == {"id": "llc", "model": "default", "effort": 0}
    assert codec == numcodecs.get_codec(json.loads(json.dumps(codec.get_config())))
    pixels = smooth(20, 30)
    assert codec.encode(pixels) == llicti_core.encode(pixels, effort=0)


@pytest.mark.parametrize(
    "chunk",
    [
        np.zeros(8, np.uint8),
        np.zeros((2, 8, 8, 3), np.uint8),
        np.zeros((2, 8, 8), np.uint8),
        np.zeros((8, 8), np.float64),
        np.zeros((8, 9, 3), np.uint8, order="F"),
        np.zeros((0, 8), np.uint8),
        b"bytes",
    ],
    ids=lambda chunk: str(getattr(chunk, "shape", "bytes")),
)
def test_codec_refuses(chunk: object) -> None:
    with pytest.raises(llicti_core.UnsupportedError, match="cannot encode"):
        numcodecs.get_codec({"id": "llc"}).encode(chunk)


def test_codec_damaged() -> None:
    codec = numcodecs.get_codec({"id": "llc"})
    with pytest.raises(llicti_core.LLCError):
        codec.decode(codec.encode(smooth(8, 8))[:-1])


def test_zarr_version_2(zarr: Any, tmp_path: Path) -> None:
    pixels = smooth(50, 70)
    codec = numcodecs.get_codec({"id": "llc"})
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=pixels.shape, chunks=(32, 32, 3), dtype="uint8", compressors=codec, zarr_format=2
    )
    array[:] = pixels
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr", mode="r")[:], pixels)


# zarr


def create(zarr: Any, folder: Path, shape: tuple[int, ...], chunks: tuple[int, ...], **options: Any) -> Any:
    """A new array in a folder, its chunks coded as `.llc` files."""
    options = {"dtype": "uint8", "serializer": {"name": "llc"}, "compressors": None, **options}
    store = zarr.storage.LocalStore(folder)
    return zarr.create_array(store, shape=shape, chunks=chunks, **options)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((50, 70), {"chunks": (32, 32)}),
        ((50, 70, 3), {"chunks": (50, 70, 3)}),
        ((3, 50, 70, 3), {"chunks": (1, 32, 40, 3)}),
        ((2, 2, 9, 11), {"chunks": (1, 1, 9, 11), "fill_value": 7}),
        ((64, 64, 3), {"chunks": (16, 16, 3), "shards": (32, 64, 3)}),
        ((40, 30), {"chunks": (32, 32), "compressors": {"name": "crc32c"}}),
    ],
)
def test_array(zarr: Any, tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any]) -> None:
    pixels = noise(*shape[-3:-1], 3) if shape[-1] == 3 else smooth(*shape[-2:], 1)
    pixels = np.ascontiguousarray(np.broadcast_to(pixels, shape))
    create(zarr, tmp_path, shape, **options)[:] = pixels
    reopened = zarr.open_array(tmp_path, mode="r")
    np.testing.assert_array_equal(reopened[:], pixels)
    np.testing.assert_array_equal(reopened[..., 3:9, 1:2], pixels[..., 3:9, 1:2])


def test_chunks_are_files(zarr: Any, tmp_path: Path) -> None:
    pixels = smooth(40, 64)
    create(zarr, tmp_path, (40, 64, 3), (40, 32, 3), serializer={"name": "llc", "configuration": {"effort": 0}})[:] = (
        pixels
    )
    assert json.loads((tmp_path / "zarr.json").read_bytes())["codecs"] == [
        {"name": "llc", "configuration": {"model": "default", "effort": 0}}
    ]
    assert (tmp_path / "c/0/1/0").read_bytes() == llicti_core.encode(pixels[:, 32:], effort=0)


def test_writing_part_of_a_chunk(zarr: Any, tmp_path: Path) -> None:
    pixels = smooth(33, 45)
    array = create(zarr, tmp_path, pixels.shape, (20, 20, 3))
    array[:] = pixels
    array[5:30, 7:9] = pixels[5:30, 7:9] = 200
    np.testing.assert_array_equal(zarr.open_array(tmp_path)[:], pixels)


def test_arrays_refused(zarr: Any, tmp_path: Path) -> None:
    for options in ({"dtype": "float64"}, {"shape": (8,), "chunks": (8,)}):
        with pytest.raises(llicti_core.UnsupportedError, match="cannot encode"):
            create(zarr, tmp_path, **{"shape": (8, 8), "chunks": (8, 8), **options})
    assert not list(tmp_path.iterdir())


def test_damaged_and_mistaken_chunks(zarr: Any, tmp_path: Path) -> None:
    array = create(zarr, tmp_path, (16, 16), (16, 16))
    array[:] = smooth(16, 16, 1)
    chunk = tmp_path / "c/0/0"
    data = chunk.read_bytes()
    chunk.write_bytes(data[:-1])
    with pytest.raises(llicti_core.LLCError):
        array[:]
    for mistaken in (smooth(16, 17, 1), smooth(16, 16, 3)):
        chunk.write_bytes(llicti_core.encode(mistaken))
        with pytest.raises(llicti_core.LLCError, match="holds an image"):
            array[:]


# The golden store


def test_golden_store(zarr: Any) -> None:
    with Image.open(FIXTURES / "zarr" / "pixels.png") as image:
        pixels = np.asarray(image)
    np.testing.assert_array_equal(zarr.open_array(FIXTURES / "zarr", mode="r")[0], pixels)
    chunk = numcodecs.get_codec({"id": "llc"}).decode((FIXTURES / "zarr" / "c/0/1/0/0").read_bytes())
    np.testing.assert_array_equal(chunk[:8], pixels[16:, :20])
