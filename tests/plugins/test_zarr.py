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
from llicti_core.samples import SAMPLE_NAMES

numcodecs = pytest.importorskip("numcodecs")

SHAPES = [
    (17, 23),
    (17, 23, 3),
    (1, 1, 20, 30),
    (1, 9, 11, 3),
    (1, 5, 3),
    (4, 3),
    (1, 1),
    (9, 8, 4),
    (3, 7, 11),
    (2, 2, 5, 6, 1),
]
DTYPES = SAMPLE_NAMES


@pytest.fixture
def zarr() -> Any:
    return pytest.importorskip("zarr")


def pixels_of(shape: tuple[int, ...], dtype: str = "uint8") -> np.ndarray[Any, np.dtype[Any]]:
    """Noise of any shape and type."""
    return np.random.default_rng(len(shape)).integers(0, 256, shape).astype(dtype)


# numcodecs


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_codec(shape: tuple[int, ...], dtype: str) -> None:
    codec = numcodecs.get_codec({"id": "llc", "effort": 0})
    pixels = pixels_of(shape, dtype)
    encoded = codec.encode(pixels)
    decoded = codec.decode(encoded)
    assert decoded.dtype == pixels.dtype
    np.testing.assert_array_equal(decoded.reshape(shape), pixels)
    out = np.empty(shape, dtype)
    codec.decode(bytearray(encoded), out)
    np.testing.assert_array_equal(out, pixels)


def test_codec_options() -> None:
    codec = numcodecs.get_codec({"id": "llc", "model": "default", "effort": 0})
    assert codec.get_config() == {"id": "llc", "model": "default", "effort": 0}
    assert codec == numcodecs.get_codec(json.loads(json.dumps(codec.get_config())))
    pixels = smooth(20, 30)
    assert codec.encode(pixels) == llicti_core.encode(pixels, effort=0)


BAD_OPTIONS = [
    ({"effort": 4}, ValueError, "effort"),
    ({"effort": -1}, ValueError, "effort"),
    ({"effort": "1"}, TypeError, "effort"),
    ({"effort": 1.5}, TypeError, "effort"),
    ({"effort": True}, TypeError, "effort"),
    ({"model": "no-such-model"}, llicti_core.UnknownModelError, "no-such-model"),
    ({"model": "../no"}, llicti_core.UnknownModelError, "no"),
    ({"model": None}, TypeError, "model"),
    ({"level": 9}, TypeError, "level"),
]


@pytest.mark.parametrize(("options", "kind", "message"), BAD_OPTIONS)
def test_options_refused(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        numcodecs.get_codec({"id": "llc", **options})


@pytest.mark.parametrize(("options", "kind", "message"), BAD_OPTIONS)
@pytest.mark.parametrize("version", [2, 3])
def test_arrays_of_bad_options_are_not_made(
    zarr: Any, tmp_path: Path, version: int, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    compressor = {"id": "llc", **options}
    serializer = {"name": "llc", "configuration": options}
    arguments = {"serializer": serializer, "compressors": None} if version == 3 else {"compressors": compressor}
    with pytest.raises(kind, match=message):
        zarr.create_array(tmp_path, shape=(8, 8), dtype="uint8", zarr_format=version, **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "chunk",
    [
        np.zeros(8, np.uint8),
        np.zeros((8, 8), np.dtype(np.uint16).newbyteorder()),
        np.zeros((8, 8), np.int64),
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
    pixels = smooth(8, 8)
    with pytest.raises(llicti_core.LLCError):
        codec.decode(codec.encode(pixels)[:-1])
    with pytest.raises(llicti_core.UnsupportedError, match="allowed"):
        codec.decode(codec.encode(pixels), np.empty((8, 7, 3), np.uint8))
    with pytest.raises(llicti_core.FormatError, match="different"):
        codec.decode(llicti_core.join([codec.encode(pixels), codec.encode(pixels[1:])]))


def test_nothing_is_encoded_that_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = numcodecs.get_codec({"id": "llc", "effort": 0})
    encoded = codec.encode(smooth(20, 30))
    monkeypatch.setattr("llicti_plugin.numcodecs.MAX_PIXELS", 599)
    with pytest.raises(llicti_core.UnsupportedError, match="decoders take"):
        codec.encode(smooth(20, 30))
    with pytest.raises(llicti_core.UnsupportedError, match="pixels"):
        codec.decode(encoded)
    out = np.empty((20, 30, 3), np.uint8)
    codec.decode(encoded, out)  # whose size says what is expected
    np.testing.assert_array_equal(out, smooth(20, 30))
    monkeypatch.setattr("llicti_plugin.numcodecs.MAX_PIXELS", 600)
    np.testing.assert_array_equal(codec.decode(codec.encode(np.stack([out, out]))), [out, out])
    monkeypatch.setattr("llicti_plugin.numcodecs.MAX_BYTES", 3599)
    with pytest.raises(llicti_core.UnsupportedError, match="decoders take"):
        codec.encode(np.stack([out, out]))


def test_chunks_of_several_images_have_frames() -> None:
    pixels = pixels_of((2, 3, 9, 8, 3))
    encoded = numcodecs.get_codec({"id": "llc"}).encode(pixels)
    assert llicti_core.inspect(encoded).n_frames == 6
    np.testing.assert_array_equal(llicti_core.decode(encoded, frame=5), pixels[1, 2])


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
        ((5, 20, 30, 3), {"chunks": (2, 16, 16, 3)}),
        *(((20, 30), {"chunks": (16, 30), "dtype": dtype}) for dtype in DTYPES[1:]),
        *(((20, 30), {"chunks": (16, 30), "dtype": dtype}) for dtype in (">u2", ">i2", ">f8")),
    ],
)
def test_array(zarr: Any, tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any]) -> None:
    pixels = noise(shape[-3], shape[-2], 3) if shape[-1] == 3 else smooth(shape[-2], shape[-1], 1)
    pixels = np.broadcast_to(pixels, shape).astype(options.get("dtype", "uint8"))
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
    for options in ({"dtype": "int64"}, {"shape": (8,), "chunks": (8,)}):
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
    for mistaken in (smooth(16, 17, 1), smooth(16, 16, 3), smooth(8, 16, 1), smooth(8, 16, 1).astype(np.uint16)):
        chunk.write_bytes(llicti_core.encode(mistaken))
        with pytest.raises(llicti_core.LLCError, match=r"holds|allowed"):
            array[:]


# The golden store


def test_golden_store(zarr: Any) -> None:
    with Image.open(FIXTURES / "zarr" / "pixels.png") as image:
        pixels = np.asarray(image)
    np.testing.assert_array_equal(zarr.open_array(FIXTURES / "zarr", mode="r")[0], pixels)
    chunk = numcodecs.get_codec({"id": "llc"}).decode((FIXTURES / "zarr" / "c/0/1/0/0").read_bytes())
    np.testing.assert_array_equal(chunk[:8], pixels[16:, :20])
