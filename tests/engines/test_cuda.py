"""The CUDA engine, on a GPU or in Triton's interpreter: the same files and pixels as the other engines, no harm done by
bad data, clear errors. And every kernel compiles, whether there is a GPU or not."""

# ruff: noqa: E402  # the engine can be imported only where the packages skipped for are

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from images import noise, photograph, smooth
from numpy.typing import NDArray
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from hypothesis import HealthCheck, given, settings
from test_engines import Case, amounts, images, random_adaptation, random_model, random_models

import llicti_core.torch
from llicti_core import encoder, engines, models, pyramid
from llicti_core.adaptation import NOT_ADAPTED
from llicti_core.engines import cuda
from llicti_core.engines.base import CodedTile, TiledImage, TileRect
from llicti_core.engines.cuda import CudaEngine, checksum, launch
from llicti_core.engines.cuda.layout import Picture
from llicti_core.engines.native import NativeEngine
from llicti_core.engines.reference import ReferenceEngine
from llicti_core.errors import DeviceError, FormatError
from llicti_core.view import TileGrid

pytestmark = [pytest.mark.cuda, pytest.mark.slow]

GPU = torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not GPU, reason="no GPU")

NARROW = random_model(16, 1, 60, (32, 200), 0)
ENGINE = CudaEngine()

# An example takes seconds in the interpreter.
few = settings(
    max_examples=int(os.environ.get("CUDA_EXAMPLES", 200 if GPU else 2)),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize="CUDA_EXAMPLES" not in os.environ,
)


def check(case: Case) -> None:
    """The engine writes what the native one does, and decodes it."""
    coded = case.encode(NativeEngine(), 1)
    assert case.encode(ENGINE, 1) == coded
    assert (case.decode(ENGINE, coded, 1) == case.pixels).all()


@pytest.mark.parametrize(("width", "depth", "size"), [(31, 3, (3, 4)), (130, 2, (2, 2))])
def test_colour_with_corrections_and_several_hidden_layers(width: int, depth: int, size: tuple[int, int]) -> None:
    model = random_model(width, depth, 127, (1, 20000), 1)
    case = Case(smooth(*size), model, random_adaptation(model, 2, 1))
    coded = case.encode(ReferenceEngine(), 1)
    assert case.encode(ENGINE, 1) == coded
    assert (case.decode(ENGINE, coded, 1) == case.pixels).all()


def test_grey() -> None:
    check(Case(noise(4, 9, 1).reshape(4, 9, 1), NARROW, random_adaptation(NARROW, 5, 5, 1)))


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 3, 1), (2, 1, 3)])
def test_smallest(shape: tuple[int, int, int]) -> None:
    check(Case(noise(*shape).reshape(shape), NARROW))


def test_constant_channels() -> None:
    pixels = noise(2, 2)
    pixels[..., 0] = pixels[..., 2]  # Co is 0 everywhere
    check(Case(pixels, NARROW))
    check(Case(np.full((1, 33, 3), 77, np.uint8), NARROW))


def test_streams_and_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyramid, "SYMBOLS_PER_STREAM", 6)
    check(Case(smooth(3, 5, 1).reshape(3, 5, 1), NARROW, tile_log2=2))


@few
@given(images(24 if GPU else 6), random_models, amounts)
def test_random_images_models_and_corrections(
    pixels: NDArray[np.uint8], model: Any, corrected: tuple[int, int, int]
) -> None:
    check(Case(pixels, model, random_adaptation(model, *corrected)))


def pictures(sizes: list[tuple[int, int]], channels: int) -> tuple[list[NDArray[np.uint8]], list[Picture]]:
    """Pictures in tiles of 8 x 8 pixels, each with corrections of its own."""
    pixels = [smooth(*size, channels, seed).reshape(*size, channels) for seed, size in enumerate(sizes)]
    grids = [list(TileGrid(width, height, 1 << 3)) for height, width in sizes]
    return pixels, [
        Picture(*size, grid, random_adaptation(NARROW, number % 3, 1, number))
        for number, (size, grid) in enumerate(zip(sizes, grids, strict=True))
    ]


def test_pictures_together(monkeypatch: pytest.MonkeyPatch) -> None:
    # A tile by itself, then one of each picture.
    monkeypatch.setattr(cuda, "MOST_AT_ONCE", 17)
    sizes = [(2, 9), (1, 2), (2, 2)]
    pixels, layout = pictures(sizes, 1)
    coded = [
        NativeEngine().encode(TiledImage(memoryview(part), picture.tiles, NARROW, picture.adaptation), 1)
        for part, picture in zip(pixels, layout, strict=True)
    ]
    assert ENGINE.encode_pictures(pixels, layout, NARROW) == coded
    for part, decoded in zip(pixels, ENGINE.decode_pictures(1, layout, coded, NARROW), strict=True):
        assert (decoded.cpu().numpy() == part).all()


@pytest.mark.parametrize(("scale", "size"), [(1, (6, 4)), (3, (24, 16)), (5, (97, 70))])
def test_scales_and_regions(scale: int, size: tuple[int, int]) -> None:
    case = Case(smooth(*size), NARROW, tile_log2=7)
    coded = [tile._replace(segments=tile.segments[: 5 - scale]) for tile in case.encode(NativeEngine(), 1)]
    step = 1 << scale
    # The tile begins two scaled rows above and a scaled column to the left of the region, and goes on behind it.
    region = case.pixels[2 * step :: step, step::step][:1, :1]
    decoded = np.zeros(region.shape, np.uint8)
    place = TileRect(-2 * step, -step, *size)
    ENGINE.decode(TiledImage(memoryview(decoded), [place], NARROW, NOT_ADAPTED), coded, 1, scale)
    assert (decoded == region).all()


def damaged(tile: CodedTile, index: int, segment: bytes) -> CodedTile:
    segments = [list(scale) for scale in tile.segments]
    segments[index][0] = segment
    return tile._replace(segments=segments)


def test_bad_data_is_refused_and_read_no_further() -> None:
    case = Case(noise(3, 5, 1).reshape(3, 5, 1), NARROW)
    (tile,) = case.encode(NativeEngine(), 1)
    first, last = tile.segments[0][0], tile.segments[4][0]
    for bad in (
        damaged(tile, 0, first[:-1]),
        damaged(tile, 0, first[:6]),
        damaged(tile, 0, bytes(len(first))),
        damaged(tile, 4, last + b"\1"),
        damaged(tile, 4, last + b"\1\2"),
        damaged(tile, 4, bytes(b ^ 255 for b in last[2:])),
    ):
        with pytest.raises(FormatError, match="stream"):
            case.decode(ENGINE, [bad], 1)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 100, 3000])
def test_checksums(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(checksum, "CHUNK", 16)
    data = noise(1, size, 1)
    assert checksum.crc32(torch.from_numpy(data).flatten().to(ENGINE.device)) == zlib.crc32(data)


def test_a_missing_device_is_reported_and_auto_takes_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="no CUDA device"):
        engines.on("cuda")
    with pytest.raises(DeviceError, match="no CUDA device"):
        engines.get("cuda")
    case = Case(smooth(20, 30), NARROW)
    assert case.encode(engines.on("auto"), 1) == case.encode(NativeEngine(), 1)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("too much"), RuntimeError("no such kernel")])
def test_failures_on_the_device_are_reported_and_auto_goes_on(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(launch, "start", fail)
    case = Case(smooth(20, 30), NARROW)
    expected = case.encode(NativeEngine(), 1)
    with pytest.raises(DeviceError, match=str(error)):
        case.encode(ENGINE, 1)
    with pytest.raises(DeviceError, match=str(error)):
        case.decode(ENGINE, expected, 1)
    auto = engines.on("auto")
    assert case.encode(auto, 1) == expected
    assert (case.decode(auto, expected, 1) == case.pixels).all()


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest images, too, are coded by a model."""
    monkeypatch.setattr(encoder, "may_be_fallback", lambda *arguments: False)


@pytest.mark.usefixtures("learned")
def test_tensors_from_files_of_every_kind() -> None:
    files = {
        "colour": smooth(2, 3),
        "grey": smooth(3, 2, 1),
        "grey kept as colour": np.repeat(smooth(2, 2, 1)[..., None], 3, axis=2),
        "alpha": np.stack((smooth(2, 2, 1), np.full((2, 2), 255, np.uint8)), axis=2),
        "constant": np.zeros((3, 4, 3), np.uint8),
    }
    data = [llicti_core.encode(pixels, effort=0) for pixels in files.values()]
    for pixels, tensor in zip(files.values(), llicti_core.torch.decode_batch(data), strict=True):
        expected = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        assert tensor.is_contiguous()
        assert tensor.cpu().numpy().dtype == expected.dtype
        assert np.array_equal(tensor.cpu().numpy(), expected)
        assert llicti_core.torch.encode(tensor, effort=0, device="cpu") in data


@pytest.mark.usefixtures("learned")
def test_tensors_of_a_batch_become_the_same_files() -> None:
    pixels = [smooth(2, 3), smooth(3, 2, 1)]
    tensors = [torch.from_numpy(one if one.ndim == 2 else one.transpose(2, 0, 1)) for one in pixels]
    files = [llicti_core.encode(one) for one in pixels]
    assert llicti_core.torch.encode_batch(tensors, threads=2) == files


@pytest.mark.usefixtures("learned")
def test_damaged_files_give_no_tensors() -> None:
    data = llicti_core.encode(smooth(3, 3), effort=0)
    for damaged in (data[:-9], data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]):
        with pytest.raises(FormatError):
            llicti_core.torch.decode(damaged)


@pytest.mark.usefixtures("learned")
def test_wrong_pixels_are_found_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksum, "crc32", lambda data: 1)
    with pytest.raises(FormatError, match="checksum"):
        llicti_core.torch.decode(llicti_core.encode(smooth(2, 2), effort=0))


def test_tensors_on_auto_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    pixels = smooth(20, 30)
    data = llicti_core.torch.encode(torch.from_numpy(pixels).permute(2, 0, 1), device="auto")
    assert data == llicti_core.encode(pixels)
    assert np.array_equal(llicti_core.torch.decode(data, device="auto").numpy(), pixels.transpose(2, 0, 1))
    with pytest.raises(DeviceError, match="no CUDA device"):
        llicti_core.torch.decode(data)


@pytest.mark.usefixtures("learned")
def test_libraries_take_a_device() -> None:
    pixels = smooth(2, 2, 1)
    expected = llicti_core.encode(pixels, effort=0)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "LLC", effort=0, device="cuda")
    assert written.getvalue() == expected
    assert iio.imwrite("<bytes>", pixels, extension=".llc", effort=0, device="cuda") == expected
    assert np.array_equal(iio.imread(expected, extension=".llc", device="cuda"), pixels)
    with pytest.raises(ValueError, match="tpu"):
        Image.fromarray(pixels).save(io.BytesIO(), "LLC", device="tpu")


def test_unknown_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="no device called 'tpu'"):
        engines.on("tpu")


def test_every_kernel_compiles(tmp_path: Path) -> None:
    script = Path(__file__).parent / "compile_kernels.py"
    command = [sys.executable, "-W", "ignore", script, "90", "192", "quick"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    compiled = [json.loads(line) for line in run.stdout.splitlines()]
    names = {kernel["kernel"] for kernel in compiled}
    assert len(names) == 10
    # The network runs on tensor cores; a decoder's lane is a thread, and threads share nothing.
    assert {kernel["kernel"] for kernel in compiled if kernel["tensor cores"]} == {"encode_band", "predict_band"}
    assert all(kernel["shared"] == 0 for kernel in compiled if kernel["kernel"] == "decode_band")


@needs_gpu
def test_a_photograph_with_the_default_model() -> None:
    check(Case(photograph(400, 500), models.load(), tile_log2=8))


@needs_gpu
def test_the_suite_passes_on_the_gpu(tmp_path: Path) -> None:
    tests = Path(__file__).parents[1]
    names = [
        "core/test_codec.py",
        "core/test_format.py",
        "engines/test_fit.py",
        "plugins/test_pillow.py",
        "plugins/test_imageio.py",
        "plugins/test_cli.py",
    ]
    command = [sys.executable, "-P", "-m", "pytest", "-c", tests.parent / "pyproject.toml", *(tests / n for n in names)]
    environment = {**os.environ, "LLICTI_ENGINE": "cuda"}
    run = subprocess.run(command, cwd=tests.parent, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
