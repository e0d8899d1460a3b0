"""The CUDA engine, on a GPU or in Triton's interpreter: the same files and pixels as the other engines, no harm done by
bad data, clear errors. And every kernel compiles, whether there is a GPU or not.

The interpreter takes about 20 ms a step, so that images are tiny, and each covers as much as it can.
"""

# ruff: noqa: E402  # the engine can be imported only where the packages skipped for are

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from images import noise, photograph, smooth, ten_bits
from random_models import random_adaptation, random_model

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from engine_cases import SMALL, Case, Part, Pixels, adaptations, adapted, images, random_models
from hypothesis import HealthCheck, given, settings

import llicti_core.torch
from llicti_core import encoder, engines, models, pyramid, spec
from llicti_core.engines import cuda
from llicti_core.engines.base import NOT_ADAPTED, CodedTile, TiledImage, TileRect
from llicti_core.engines.cuda import CudaEngine, checksum, kernels, launch
from llicti_core.engines.cuda.layout import Picture
from llicti_core.engines.native import NativeEngine
from llicti_core.engines.reference import ReferenceEngine
from llicti_core.errors import DeviceError, FormatError
from llicti_core.models import Model
from llicti_core.view import TileGrid

pytestmark = [pytest.mark.cuda, pytest.mark.slow]

GPU = torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not GPU, reason="no GPU")

ENGINE = CudaEngine()


def check(case: Case) -> None:
    """The engine writes what the native one does, and decodes it."""
    coded = case.encode(NativeEngine(), 1)
    assert case.encode(ENGINE, 1) == coded
    assert (case.decode(ENGINE, coded, 1) == case.pixels).all()


def grey(pixels: Pixels) -> Pixels:
    return pixels.reshape(*pixels.shape[:2], -1)[..., :1].copy()


@pytest.mark.parametrize("pixels", [smooth(4, 6), ten_bits(smooth(4, 6))], ids=["8 bits", "10 bits"])
def test_colour_with_adaptation_and_several_hidden_layers_as_the_reference(pixels: Pixels) -> None:
    model = random_model((31, 3), (70, 2), 127, (1, 20000), 1)
    case = Case(pixels, model, random_adaptation(model, 3, 2, 1))
    coded = case.encode(ReferenceEngine(), 1)
    assert case.encode(ENGINE, 1) == coded
    assert (case.decode(ENGINE, coded, 1) == case.pixels).all()


def test_the_widest_network() -> None:
    model = random_model((256, 2), (1, 1), 20, (32, 200), 2)
    check(Case(grey(smooth(3, 5)), model, random_adaptation(model, 1, 1)))


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 5, 3), (2, 5, 1)])
def test_smallest(shape: tuple[int, int, int]) -> None:
    check(Case(noise(*shape).reshape(shape), SMALL))


def test_constant_channels() -> None:
    pixels = noise(1, 6)
    pixels[..., 0] = pixels[..., 2]  # Co is 0 everywhere
    check(Case(pixels, SMALL))
    check(Case(np.full((1, 5, 3), 77, np.uint8), SMALL))


def test_the_greatest_differences_of_ten_bits() -> None:
    """Bounds are -512..511 and -1023..1023, as far apart as any; a constant channel, and pixels that are all alike."""
    pixels = noise(2, 5).astype(np.uint16) // 128 * np.uint16(1023)
    pixels[0, :4] = [[0, 0, 0], [1023, 1023, 1023], [1023, 0, 0], [0, 0, 1023]]
    pixels[1, :2] = [[0, 1023, 0], [1023, 0, 1023]]
    case = Case(pixels, SMALL)
    (tile,) = case.encode(ReferenceEngine(), 1)
    assert tile.bounds == [(-512, 511), (-1023, 1023), (-1023, 1023)]
    check(case)
    pixels[..., 0] = pixels[..., 2]
    check(Case(pixels, SMALL))
    check(Case(np.full((1, 5, 1), 777, np.uint16), SMALL))


def test_a_row_group_sees_the_one_above_it() -> None:
    case = Case(grey(smooth(67, 3) // 128), SMALL, tile_log2=7)
    coded = case.encode(NativeEngine(), 1)
    assert (case.decode(ENGINE, coded, 1) == case.pixels).all()


def test_a_stream_does_not_see_the_one_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyramid, "GROUPS_PER_STREAM", 1)
    case = Case(grey(smooth(67, 1) // 128), SMALL, tile_log2=7)
    coded = case.encode(ReferenceEngine(), 1)
    assert len(coded[0].segments[0]) == 2
    assert case.encode(ENGINE, 1) == coded


def test_pictures_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures in tiles of at most 8 x 8 pixels, some of them with an adaptation, and not all of them at once."""
    sizes = [(3, 9), (1, 2), (5, 2)]
    pixels = [grey(smooth(*size, seed=seed)) for seed, size in enumerate(sizes)]
    changed = random_adaptation(SMALL, 1, 2)
    pictures = [
        Picture(*size, list(TileGrid(size[1], size[0], 8)), adaptation)
        for size, adaptation in zip(sizes, (NOT_ADAPTED, changed, changed), strict=True)
    ]
    coded = [
        NativeEngine().encode(TiledImage(memoryview(part), picture.tiles, SMALL, picture.adaptation), 1)
        for part, picture in zip(pixels, pictures, strict=True)
    ]
    assert ENGINE.encode_pictures(pixels, pictures, SMALL) == coded
    for at_once in (cuda.MOST_AT_ONCE, 1):
        monkeypatch.setattr(cuda, "MOST_AT_ONCE", at_once)
        for part, decoded in zip(pixels, ENGINE.decode_pictures(1, pictures, coded, SMALL), strict=True):
            assert (decoded.cpu().numpy() == part).all()


@pytest.mark.parametrize(("level", "size"), [(1, (10, 7)), (3, (40, 20)), (4, (3, 40)), (5, (80, 20))])
@pytest.mark.parametrize("bits", [8, 10])
def test_levels_and_regions(level: int, size: tuple[int, int], bits: int) -> None:
    pixels = smooth(*size)
    case = Case(grey(ten_bits(pixels) if bits > 8 else pixels), SMALL, tile_log2=7)
    coded = case.encode(NativeEngine(), 1)
    step = 1 << level
    part = Part(level, 0, step, size[0], size[1] - step) if size[1] > step else Part(level, 0, 0, *size)
    assert (case.decode_part(ENGINE, coded, part, 1) == part.of(case.pixels)).all()


def test_tiles_leave_other_pixels_as_they_are() -> None:
    pixels = grey(smooth(4, 4))
    (tile,) = NativeEngine().encode(TiledImage(memoryview(pixels), [TileRect(0, 0, 4, 4)], SMALL, NOT_ADAPTED), 1)
    decoded = np.full((4, 9, 1), 99, np.uint8)
    ENGINE.decode(TiledImage(memoryview(decoded), [TileRect(0, 5, 4, 4)], SMALL, NOT_ADAPTED), [tile], 1)
    assert (decoded[:, :5] == 99).all()
    assert (decoded[:, 5:] == pixels).all()


def damaged(tile: CodedTile, index: int, segment: bytes) -> CodedTile:
    segments = [list(kind) for kind in tile.segments]
    segments[index][0] = segment
    return tile._replace(segments=segments)


def test_bad_data_is_refused_and_read_no_further() -> None:
    case = Case(noise(3, 5, 1).reshape(3, 5, 1), SMALL)
    (tile,) = case.encode(NativeEngine(), 1)
    first, last = tile.segments[0][0], tile.segments[1][0]
    for bad in (
        damaged(tile, 0, first[:-1]),
        damaged(tile, 0, first[:6]),
        damaged(tile, 0, bytes(len(first))),
        damaged(tile, 1, last + b"\1"),
        damaged(tile, 1, last + b"\1\2"),
        damaged(tile, 1, bytes(b ^ 255 for b in last[2:])),
    ):
        with pytest.raises(FormatError, match="stream"):
            case.decode(ENGINE, [bad], 1)
    with pytest.raises(FormatError, match="ADPT"):
        Case(case.pixels, SMALL, b"\1").encode(ENGINE, 1)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 100, 3000])
def test_checksums(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(checksum, "CHUNK", 16)
    data = noise(1, size, 1)
    (chunks,) = launch.fetch([checksum.start(torch.from_numpy(data).flatten().to(ENGINE.device))])
    assert checksum.finish(chunks, size) == zlib.crc32(data)


def test_kernels_have_the_numbers_of_the_format() -> None:
    assert kernels.LANES.value == spec.LANES == spec.ROW_GROUP
    assert kernels.COMPONENTS.value == spec.COMPONENTS
    assert (spec.LANE_DELAY, spec.GROUP_PAD, spec.MIN_GROUP_STEPS, spec.BIAS_LEVELS) == (2, 4, 64, 5)
    assert (spec.HIDDEN_SHIFT, spec.OUTPUT_SHIFT, spec.FINE_SHIFT + spec.GAIN_SHIFT) == (14, 12, 10)
    assert (spec.MAX_SPREAD_INDEX, spec.MAX_MEAN, spec.MAX_POSITION) == (87, 16383, 4095)
    assert (spec.MAX_LOGIT_DIFFERENCE, spec.RECIPROCAL_SHIFT, spec.STATE_MIN) == (191, 27, 65536)
    assert (spec.COEFFICIENT_MIN, spec.COEFFICIENT_MAX, spec.Y_OFFSET) == (-256, 255, 128)


def test_a_missing_device_is_reported_and_auto_takes_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="no CUDA device"):
        engines.on("cuda")
    with pytest.raises(DeviceError, match="no CUDA device"):
        engines.get("cuda")
    case = Case(smooth(20, 30), SMALL)
    assert case.encode(engines.on("auto"), 1) == case.encode(NativeEngine(), 1)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("too much"), RuntimeError("no such kernel")])
def test_failures_on_the_device_are_reported_and_auto_goes_on(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(launch, "start", fail)
    case = Case(smooth(20, 30), SMALL)
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
        "colour": smooth(2, 5),
        "grey": smooth(5, 2, 1),
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
    pixels = [smooth(2, 5), smooth(5, 2, 1)]
    tensors = [torch.from_numpy(one if one.ndim == 2 else one.transpose(2, 0, 1)) for one in pixels]
    files = [llicti_core.encode(one, effort=0) for one in pixels]
    assert llicti_core.torch.encode_batch(tensors, threads=2, effort=0) == files


@pytest.mark.usefixtures("learned")
def test_a_tensor_of_sixteen_bits() -> None:
    """The upper ten are learned, the lower six plain."""
    pixels = (9000 + 4 * np.arange(33) + noise(1, 33, 1, seed=2) % 64).astype(np.uint16)
    pixels[:, :6] += 20000
    data = llicti_core.encode(pixels, effort=0)
    assert [group.bits for group in llicti_core.open(data)[0].header.groups] == [10, 6]
    decoded = llicti_core.torch.decode(data).cpu()
    assert decoded.dtype == torch.uint16
    assert np.array_equal(decoded.numpy(), pixels[np.newaxis])


@pytest.mark.usefixtures("learned")
def test_wrong_pixels_are_found_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksum, "finish", lambda chunks, size: 1)
    with pytest.raises(FormatError, match="checksum"):
        llicti_core.torch.decode(llicti_core.encode(smooth(2, 2), effort=0))


@pytest.mark.usefixtures("learned")
@pytest.mark.parametrize("tag", [b"PLTE", b"iccp"])
def test_damage_beside_the_pixels_is_found(tag: bytes) -> None:
    palette, metadata = llicti_core.Palette("RGB", bytes(range(48))), llicti_core.Metadata(icc_profile=b"profile")
    data = llicti_core.encode(smooth(5, 6, 1), mode="P", palette=palette, metadata=metadata, effort=0)
    assert llicti_core.inspect(data).model
    damaged = bytearray(data)
    damaged[data.index(tag) + 6] ^= 1
    for device in ("cpu", "cuda"):
        with pytest.raises(FormatError, match=tag.decode()):
            llicti_core.torch.decode(damaged, device=device)


def test_tensors_on_auto_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    pixels = smooth(20, 30)
    used: list[Any] = []
    encode = llicti_core.encode

    def counted(*arguments: Any, threads: int, **options: Any) -> bytes:
        used.append(threads)
        return encode(*arguments, threads=threads, **options)

    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    with monkeypatch.context() as patch:
        patch.setattr(llicti_core, "encode", counted)
        data = llicti_core.torch.encode(tensor, device="auto", threads=4)
        assert llicti_core.torch.encode_batch([tensor] * 3, device="auto", threads=7) == 3 * [data]
    assert used == [4, 2, 2, 2]
    assert data == llicti_core.encode(pixels)
    assert np.array_equal(llicti_core.torch.decode(data, device="auto").numpy(), pixels.transpose(2, 0, 1))
    with pytest.raises(DeviceError, match="no CUDA device"):
        llicti_core.torch.decode(data)


def test_unknown_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="no device called 'tpu'"):
        engines.on("tpu")


@pytest.mark.parametrize("capability", ["80", "90"])
def test_every_kernel_compiles(tmp_path: Path, capability: str) -> None:
    tests = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (tests, tests.parent / "support")))}
    command = [sys.executable, "-W", "ignore", tests / "compile_kernels.py", capability, "64", "quick"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    compiled = [json.loads(line) for line in run.stdout.splitlines()]
    assert len({kernel["kernel"] for kernel in compiled}) == 8
    # Networks run on tensor cores.
    assert {kernel["kernel"] for kernel in compiled if kernel["tensor cores"]} == {"encode_pass", "decode_pass"}
    passes = [kernel for kernel in compiled if kernel["kernel"] == "decode_pass"]
    assert all(kernel["visible"] for kernel in passes)
    assert {kernel["options"]["EXTRA"] for kernel in passes} == {0, spec.DEEP_BITS - 8}
    # The search for a value has none: it would have some at each of its nine turns, or eleven.
    assert max(kernel["barriers"] for kernel in passes) < 80


@needs_gpu
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(images(80), random_models, adaptations)
def test_random_images_models_and_adaptations(pixels: Pixels, model: Model, adaptation: tuple[int, int] | None) -> None:
    check(Case(pixels, model, adapted(model, pixels, adaptation)))


@needs_gpu
def test_a_photograph_with_the_default_model() -> None:
    check(Case(photograph(400, 500), models.load(), tile_log2=8))
