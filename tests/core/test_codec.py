"""The public face of llicti_core: every size and kind of image comes back, whatever the engine and threads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from coding import decode_with, encode_with
from images import SIZES, noise, photograph, smooth

import llicti_core
from llicti_core import adaptation, encoder, engines, models
from llicti_core.encoder import Encoder
from llicti_core.engines import native
from llicti_core.engines.base import CodedTile, Engine, TiledImage, TileRect
from llicti_core.errors import UnknownModelError, UnsupportedError
from llicti_core.samples import SAMPLE_NAMES


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and bool((a == b).all())


def decoded(data: bytes, engine: Engine) -> np.ndarray:
    samples = decode_with(engine, data, threads=2)
    return np.frombuffer(samples, np.uint8).reshape(llicti_core.inspect(data).shape)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_every_size_comes_back(size: tuple[int, int], channels: int) -> None:
    for pixels in (smooth(*size, channels), noise(*size, channels)):
        assert same(llicti_core.decode(llicti_core.encode(pixels)), pixels)


@pytest.mark.parametrize("value", [0, 17, 255])
def test_constant_images_cost_next_to_nothing(value: int) -> None:
    pixels = np.full((300, 500, 3), value, np.uint8)
    data = llicti_core.encode(pixels)
    assert same(llicti_core.decode(data), pixels)
    assert len(data) < 50


def test_photograph_is_smaller_than_raw_by_far() -> None:
    pixels = photograph()
    data = llicti_core.encode(pixels)
    assert same(llicti_core.decode(data), pixels)
    assert len(data) < 0.6 * pixels.size


def test_extreme_values_come_back() -> None:
    pixels = noise(40, 50) // 128 * 255
    assert same(llicti_core.decode(llicti_core.encode(pixels)), pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_one_channel_may_vary_alone(channels: int) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[..., channels - 1] = noise(20, 30, 1)
    assert same(llicti_core.decode(llicti_core.encode(pixels)), pixels)


def test_several_tiles_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "TILE_LOG2", 6)
    pixels = photograph(130, 200)
    data = llicti_core.encode(pixels, threads=2)
    assert llicti_core.inspect(data).tile_size == 64
    assert same(llicti_core.decode(data, threads=2), pixels)


def test_bytes_do_not_depend_on_threads() -> None:
    pixels = photograph(500, 500)  # several streams in one tile
    files = {llicti_core.encode(pixels, threads=threads) for threads in (1, 2, 3, 8)}
    assert len(files) == 1
    data = files.pop()
    assert all(same(llicti_core.decode(data, threads=threads), pixels) for threads in (1, 2, 5))


@pytest.mark.parametrize("model", ["default", "best"])
def test_engines_write_the_same_file_and_read_each_other(model: str) -> None:
    pixels = photograph(75, 101)
    reference, native = engines.get("reference"), engines.get("native")
    data = encode_with(reference, pixels, model)
    assert Encoder(model, 0, 2, native).encode(pixels) == data
    assert same(decoded(data, reference), pixels)
    assert same(decoded(data, native), pixels)


PHOTOS = Path(os.environ.get("PHOTOS", ""))


@pytest.mark.skipif("PHOTOS" not in os.environ, reason="PHOTOS names no folder of photographs")
def test_engines_agree_on_photographs_of_odd_sizes() -> None:
    from PIL import Image

    reference, native = engines.get("reference"), engines.get("native")
    for number, path in enumerate(sorted(PHOTOS.glob("*.png"))):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))[101 : 152 + 2 * (number % 7), 53 : 122 + 2 * (number % 5)]
        data = encode_with(reference, pixels)
        assert Encoder("default", 0, 2, native).encode(pixels) == data, path
        assert same(decoded(data, native), pixels), path


def test_any_array_layout_is_taken() -> None:
    pixels = photograph(40, 60)
    for view in (pixels[:, ::-1], pixels[::2, ::3], np.asfortranarray(pixels), pixels[..., 1]):
        assert same(llicti_core.decode(llicti_core.encode(view)), np.ascontiguousarray(view))


def test_any_buffer_is_decoded() -> None:
    pixels = smooth(9, 9)
    data = llicti_core.encode(pixels)
    for buffer in (data, bytearray(data), memoryview(data), np.frombuffer(data, np.uint8)):
        assert same(llicti_core.decode(buffer), pixels)  # type: ignore[arg-type]


def test_inspect_needs_only_the_start_of_a_file() -> None:
    info = llicti_core.inspect(llicti_core.encode(photograph(70, 90))[: llicti_core.MAX_HEADER_BYTES])
    assert (info.width, info.height, info.mode, info.channels, info.dtype) == (90, 70, "RGB", 3, "uint8")
    assert (info.tile_size, info.n_frames) == (1024, 1)
    assert info.model_identity
    assert len(bytes.fromhex(info.model_identity)) == 8
    assert llicti_core.inspect(llicti_core.encode(smooth(3, 4, 1))).mode == "L"


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.int64),
        np.zeros((4, 4), np.uint64),
        np.zeros((4, 4), np.complex64),
        np.zeros((4, 4), object),
        np.zeros((4, 4, 0), np.uint8),
        np.zeros((4, 4, 256), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
        [[1, 2], [3, 4]],
    ],
    ids=lambda pixels: f"{getattr(pixels, 'dtype', 'list')}{getattr(pixels, 'shape', '')}",
)
def test_other_pixels_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(UnsupportedError, match="cannot encode"):
        llicti_core.encode(pixels)


def test_a_mask_is_not_dropped() -> None:
    masked = np.ma.masked_less(smooth(4, 4, 1), 128)
    assert masked.mask.any()
    with pytest.raises(UnsupportedError, match=r"MaskedArray.*mask would be lost"):
        llicti_core.encode(masked)
    for whole in (masked.data, np.ma.array(smooth(4, 4, 1))):
        assert np.array_equal(llicti_core.decode(llicti_core.encode(whole)), smooth(4, 4, 1))


def test_unknown_model_is_named() -> None:
    with pytest.raises(UnknownModelError, match="no-such-model"):
        llicti_core.encode(smooth(4, 4), model="no-such-model")


@pytest.mark.parametrize("threads", [0, -1])
def test_impossible_thread_counts_are_refused(threads: int) -> None:
    with pytest.raises(ValueError, match="threads"):
        llicti_core.encode(smooth(4, 4), threads=threads)


@pytest.mark.parametrize("dtype", SAMPLE_NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_lines_of_one_pixel(dtype: str, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing takes the mean of no pixels, which would be a warning, and so an error here."""
    monkeypatch.setattr(encoder, "_SMALL_PIXELS", 1000)  # as though large: WebP takes seconds for longer lines
    steps = np.random.default_rng(0).integers(-3, 4, (1500, channels))
    line = (100 + np.cumsum(steps, axis=0) % 100).astype(dtype)
    for pixels in (line[:, np.newaxis], line[np.newaxis]):
        np.testing.assert_array_equal(llicti_core.decode(llicti_core.encode(pixels, effort=0)), pixels)


@pytest.mark.parametrize("tile_log2", [6, 10])
def test_an_adaptation_that_does_not_pay_is_left_out(monkeypatch: pytest.MonkeyPatch, tile_log2: int) -> None:
    """Where all tiles are looked at, and where some of 20."""
    pixels = photograph(256, 300)
    monkeypatch.setattr(encoder, "TILE_LOG2", tile_log2)
    plain = llicti_core.encode(pixels, effort=0)
    model = models.load("default")
    random = np.random.default_rng(0)
    places = adaptation.array_places(model.spec, 3, 1)
    arrays = [random.integers(-30, 31, place.shape) * (place.kind == adaptation.GAIN) for place in places]
    adapted = adaptation.pack(arrays, 1, 0, model)
    monkeypatch.setattr(adaptation, "fit", lambda _, effort, *others: adapted if effort else b"")
    data = llicti_core.encode(pixels, effort=2)
    assert data == plain
    assert same(llicti_core.decode(data), pixels)
    assert len(llicti_core.encode(pixels, effort=1)) > len(plain)  # the search's own judgement is taken there


@pytest.mark.parametrize("pays", [True, False])
@pytest.mark.parametrize("effort", [1, 2])
def test_no_tile_is_coded_twice_alike(monkeypatch: pytest.MonkeyPatch, effort: int, pays: bool) -> None:
    """Nor, at the default effort, in two ways."""
    pixels = photograph(256, 300)
    monkeypatch.setattr(encoder, "TILE_LOG2", 6)
    engine = native.NativeEngine()
    coded: list[tuple[TileRect, bytes]] = []

    class Recorder:
        name = "recorder"

        def encode(self, image: TiledImage, threads: int) -> list[CodedTile]:
            coded.extend((tile, image.adaptation) for tile in image.tiles)
            return engine.encode(image, threads)

        def decode(self, image: TiledImage, tiles: Sequence[CodedTile], threads: int, level: int = 0) -> None:
            engine.decode(image, tiles, threads, level)

    if not pays:
        model = models.load("default")
        places = adaptation.array_places(model.spec, 3, 1)
        arrays = [np.full(place.shape, 30 * (place.kind == adaptation.GAIN), np.int64) for place in places]
        adapted = adaptation.pack(arrays, 1, 0, model)
        monkeypatch.setattr(adaptation, "fit", lambda _, effort, *others: adapted if effort else b"")
    data = encoder.Encoder(effort=effort, engine=Recorder()).encode(pixels)
    assert same(llicti_core.decode(data), pixels)
    assert len(coded) == len(set(coded))
    if effort == 1:
        assert len(coded) == len({tile for tile, _ in coded}) == 20
