"""The search for adaptations in PyTorch, on the CPU: its gradient, what it saves, that what it finds can be used."""

# ruff: noqa: E402  # the search can be imported only where the packages skipped for are

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engine_cases import Pixels
from images import noise, photograph, smooth, ten_bits
from numpy.typing import NDArray
from random_models import random_model

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

import llicti_core.torch
from llicti_core import adaptation, models
from llicti_core.adaptation import adapted_model, unpack
from llicti_core.engines import native
from llicti_core.engines.base import NOT_ADAPTED, CodedTile, TiledImage
from llicti_core.engines.cuda import CudaEngine, contexts, search
from llicti_core.engines.cuda.contexts import SETS, SampledImages
from llicti_core.engines.cuda.twin import PRECISION, Twin
from llicti_core.engines.native import _native
from llicti_core.errors import DeviceError
from llicti_core.models import Model
from llicti_core.spec import BANDS, NETWORKS
from llicti_core.view import TileGrid

pytestmark = [pytest.mark.cuda, pytest.mark.slow]

CPU = torch.device("cpu")


def tiled(pixels: Pixels, model: Model, adapted: bytes = NOT_ADAPTED, side: int = 1024) -> TiledImage:
    """`pixels`, uint8 or, of ten bits, uint16 [height, width, channels], in tiles."""
    tiles = list(TileGrid(pixels.shape[1], pixels.shape[0], side))
    return TiledImage(memoryview(pixels), tiles, model, adapted, 8 if pixels.dtype == np.uint8 else 10)


def grey(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[..., 1:2])


def size(image: TiledImage, adapted: bytes = NOT_ADAPTED) -> int:
    """Bytes of an image and of the change of its model."""
    coded = native.NativeEngine().encode(image._replace(adaptation=adapted), 2)
    return len(adapted) + sum(len(part) for tile in coded for kind in tile.segments for part in kind)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("level", "shape", "bits"), [(0, (41, 70), 8), (1, (16, 11), 8), (0, (41, 70), 10)])
def test_bits_and_slopes_are_the_native_search_s(network: str, level: int, shape: tuple[int, int], bits: int) -> None:
    """Of all pixels of a level, by every number of all bands; levels are sets where there are but two."""
    model = models.load()
    pixels: Pixels = np.ascontiguousarray(photograph(200, 200)[: shape[0], 100 : 100 + shape[1]])
    if bits > 8:
        pixels = ten_bits(pixels)
    sampled = SampledImages([tiled(pixels, model)], CPU)
    twin = Twin(model, network, 1, CPU)
    numbers = torch.from_numpy(np.random.default_rng(1).normal(0, 1, (len(BANDS), twin.size)).astype(np.float32))
    numbers.requires_grad_()
    count = [0, 0]
    count[level] = int(sampled.counted[:, level].max())
    contexts = sampled.draw(network, (0, 0), count, again=False)
    share = torch.full((len(BANDS), twin.coded), 1 - 256 / 65536)
    taken = twin.bits(twin.smooth(numbers, cached=False), contexts, share).sum(1)
    (slopes,) = torch.autograd.grad(taken.sum(), numbers)
    for band in range(len(BANDS)):
        own = [array.ravel() for array in twin.of_band(numbers.detach().numpy()[band], band)]
        *_, expected, expected_slopes = _native.fit_slopes(
            memoryview(pixels), native._packed(model), NETWORKS.index(network), band, level,
            np.concatenate(own).tolist(), SETS, PRECISION, "",
        )  # fmt: skip
        assert np.isclose(taken[band].item(), expected, rtol=1e-4)
        found = np.concatenate([array.ravel() for array in twin.of_band(slopes.numpy()[band], band)])
        right = np.frombuffer(expected_slopes, np.float32)
        # Where a total lies at the middle between two integers, the two round it apart.
        assert np.linalg.norm(found - right) <= 3e-3 * np.linalg.norm(right)


def test_exact_networks_take_the_bits_of_a_file() -> None:
    """What is said of whole numbers is what the native engine's tiles take with them, in colour, in grey and of ten
    bits."""
    model, pixels = models.load(), photograph(120, 150)
    for part in (pixels, grey(pixels), grey(ten_bits(pixels))):
        image = tiled(part, model, side=128)
        sampled = SampledImages([image], CPU)
        total = 0.0
        arrays: list[NDArray[np.int8]] = []
        rng = np.random.default_rng(2)
        for network in NETWORKS[: 2 if part.shape[2] == 3 else 1]:
            twin = Twin(model, network, 1, CPU)
            numbers = torch.from_numpy(rng.integers(-2, 3, (len(BANDS), twin.size)))
            contexts = sampled.draw(network, (0, 0), sampled.counted.max(axis=0).tolist(), again=False)
            values = sampled.values[:, :1] if network == "luma" else sampled.values[:, 1:]
            share = (1 - values / 65536).repeat_interleave(len(BANDS), 0)
            total += float(twin.bits(twin.exact(numbers, cached=False), contexts, share).sum()) / 8
            for band in range(len(BANDS)):
                arrays += twin.of_band(numbers[band].to(torch.int8).numpy(), band)
        adapted = native.pack_numbers(SETS, PRECISION, arrays)
        expected = size(image, adapted) - len(adapted)
        # A lane's state takes two bytes more than it holds; there are two tiles of one stream each.
        assert abs(total + 2 * 32 * 2 - expected) < 0.015 * expected


def test_it_saves_what_the_native_search_does() -> None:
    """Of two photographs at once and of one of ten bits, at each effort; and more with more effort."""
    model = models.load()
    first, second = photograph(256, 256), np.ascontiguousarray(photograph(512, 512)[256:, :256])
    images = [tiled(part, model) for part in (first, second, grey(ten_bits(first)))]
    plain = [size(image) for image in images]
    before = sum(plain)
    assert search.IMAGES > 1
    for effort in (1, 2):
        found = search.fit(images, effort, "cuda")
        sizes = [size(image, adapted) for image, adapted in zip(images, found, strict=True)]
        for image, own, taken in zip(images, plain, sizes, strict=True):
            assert abs(taken - size(image, adaptation.fit(image, effort, 2))) < 0.003 * own
        assert sum(sizes) < before
        before = sum(sizes)


def test_payloads_are_those_of_the_format() -> None:
    model, pixels = models.load(), photograph(160, 200)
    for part, channels in ((pixels, 3), (grey(pixels), 1)):
        (adapted,) = search.fit([tiled(part, model)], 2, "cuda")
        arrays, sets, precision = unpack(adapted, model, channels)
        assert any(array.any() for array in arrays)
        assert adaptation.pack(arrays, sets, precision, model, channels) == adapted


def test_models_near_the_bounds_stay_within_them() -> None:
    model = random_model((8, 2), (6, 1), 127, (30000, 60000), 0)
    (adapted,) = search.fit([tiled(photograph(64, 90), model)], 3, "cuda")
    adapted_model(model, adapted)


def test_every_kind_of_image_comes_back() -> None:
    """All in one call; none is larger than unadapted."""
    model = models.load()
    pictures: list[Pixels] = [
        photograph(90, 110),
        ten_bits(photograph(90, 110)),
        grey(photograph(80, 90)),
        noise(40, 50),
        smooth(1, 1200),
        smooth(1100, 1, 1)[..., np.newaxis],
        np.full((40, 50, 1), 7, np.uint8),
        smooth(5, 7),
    ]
    images = [tiled(pixels, model) for pixels in pictures]
    found = search.fit(images, 2, "cuda")
    assert found[-1] == found[-2] == NOT_ADAPTED
    assert found[0]
    assert found[1]
    for pixels, image, adapted in zip(pictures, images, found, strict=True):
        assert size(image, adapted) <= size(image)
        decoded = np.zeros_like(pixels)
        coded = native.NativeEngine().encode(image._replace(adaptation=adapted), 1)
        native.NativeEngine().decode(tiled(decoded, model, adapted), coded, 1)
        assert (decoded == pixels).all()


def test_large_images_are_looked_at_whole_and_larger_ones_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    image = tiled(np.zeros((512, 1024, 1), np.uint8), models.load(), side=128)
    whole = SampledImages([image], CPU)
    assert whole.counted[:, 0].sum() == 512 * 1024 * 3 // 4
    monkeypatch.setattr(contexts, "_MOST_PIXELS", 200_000)
    some = SampledImages([image], CPU)
    assert some.counted[:, 0].sum() == 11 * 128 * 128 * 3 // 4
    for sampled in (whole, some):
        assert sampled.whole[:, 0].sum().item() == pytest.approx(512 * 1024 * 3 / 4, rel=1e-3)


def test_nothing_is_searched_where_there_is_nothing_to_gain() -> None:
    images = [tiled(photograph(30, 34), models.load())]
    assert search.fit(images, 3, "cuda") == search.fit([tiled(photograph(), models.load())], 0, "cuda") == [NOT_ADAPTED]


@pytest.fixture
def native_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles are coded by the native engine, as Triton's interpreter would take minutes."""

    def encode(self: CudaEngine, images: list[TiledImage]) -> list[list[CodedTile]]:
        return [native.NativeEngine().encode(image, 1) for image in images]

    monkeypatch.setattr(CudaEngine, "encode_images", encode)


@pytest.mark.usefixtures("native_tiles")
def test_tensors_become_adapted_files() -> None:
    sums = photograph(180, 220).reshape(90, 2, 110, 2, 3).sum((1, 3), np.uint16)  # ten bits
    images: list[NDArray[Any]] = [
        photograph(90, 110),
        photograph(110, 90),
        photograph(40, 90)[..., 1],
        np.dstack([photograph(60, 70), noise(60, 70, 1)]),
        photograph(60, 70)[..., 0].astype(np.int16) * 7,
        sums * np.uint16(64) + noise(90, 110) % np.uint16(64),
        np.full((40, 50, 3), 7, np.uint8),
    ]
    tensors = [torch.from_numpy(one if one.ndim == 2 else one.transpose(2, 0, 1).copy()) for one in images]
    files = llicti_core.torch.encode_batch(tensors, threads=2)
    for one, tensor, data in zip(images, tensors, files, strict=True):
        assert np.array_equal(llicti_core.decode(data), one)
        assert len(data) <= len(llicti_core.encode(one, effort=0))
        assert torch.equal(llicti_core.torch.decode(data, device="cpu"), tensor if one.ndim == 3 else tensor[None])
    assert [group.bits for group in llicti_core.open(files[5])[0].header.groups] == [10, 6]
    assert len(files[0]) < len(llicti_core.encode(images[0], effort=0))
    assert llicti_core.encode(images[0], device="cuda") == llicti_core.torch.encode(tensors[0])
    assert llicti_core.torch.encode_batch([]) == []


@pytest.mark.usefixtures("native_tiles")
def test_a_failing_search_is_reported_and_auto_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        msg = "too much"
        raise torch.OutOfMemoryError(msg)

    monkeypatch.setattr(search, "fit_together", fail)
    image = tiled(photograph(90, 110), models.load())
    with pytest.raises(DeviceError, match="too much"):
        adaptation.fit(image, 1, 1, "cuda")
    assert adaptation.fit(image, 1, 1, "auto") == adaptation.fit(image, 1, 1)
    tensor = torch.from_numpy(photograph(90, 110)).permute(2, 0, 1)
    with pytest.raises(DeviceError, match="too much"):
        llicti_core.torch.encode(tensor)
    assert llicti_core.torch.encode(tensor, device="auto") == llicti_core.encode(photograph(90, 110))
