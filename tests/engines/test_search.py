"""The search for an adaptation: its inputs and its gradient, what it saves, and that it is safe to use."""

from __future__ import annotations

from typing import Any, NamedTuple

import golden
import numpy as np
import pytest
from images import noise, photograph, smooth, ten_bits
from numpy.typing import NDArray
from random_models import random_model, without_blocks

import llicti_core
from llicti_core import adaptation, color, engines, models
from llicti_core.adaptation import MAX_EFFORT, adapted_model, array_places, fit_plans, unpack
from llicti_core.engines import native, reference
from llicti_core.engines.base import NOT_ADAPTED, TiledImage, TileRect
from llicti_core.engines.native import _native
from llicti_core.models import Model
from llicti_core.models.blocks import empty
from llicti_core.spec import BANDS, NETWORKS

Floats = NDArray[np.float32]


def whole(pixels: NDArray[np.uint8], model: Model, adapted: bytes = NOT_ADAPTED) -> TiledImage:
    """`pixels`, uint8 [height, width, channels], as one tile."""
    return TiledImage(memoryview(pixels), [TileRect(0, 0, *pixels.shape[:2])], model, adapted)


def coded_size(image: TiledImage) -> int:
    return sum(len(part) for tile in native.NativeEngine().encode(image, 2) for kind in tile.segments for part in kind)


class Slopes(NamedTuple):
    """See fit_slopes.cpp."""

    inputs: Floats
    upper: Floats
    lower: Floats
    residual: Floats
    bits: float
    slopes: Floats


def slopes_of(
    pixels: NDArray[np.uint8],
    model: Model,
    network: int,
    band: int,
    level: int,
    numbers: Floats,
    sets: int,
    precision: int,
    isa: str,
) -> Slopes:
    packed = native._packed(model)
    found = _native.fit_slopes(memoryview(pixels), packed, network, band, level, numbers.tolist(), sets, precision, isa)
    *parts, bits, slope_bytes = found
    inputs, *edges, residual = (np.frombuffer(part, np.float32) for part in parts)
    slopes = np.frombuffer(slope_bytes, np.float32)
    return Slopes(inputs.reshape(len(residual), -1), np.stack(edges[:2]), np.stack(edges[2:]), residual, bits, slopes)


def size_of(model: Model, network: int, band: int, sets: int) -> int:
    places = array_places(model.spec, 3, sets)
    where = NETWORKS[network], BANDS[band].name
    return sum(int(np.prod(place.shape)) for place in places if (place.network, place.band) == where)


@pytest.mark.parametrize("isa", [*native.instruction_sets(), ""])
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("shape", [(41, 70), (6, 5)])
def test_inputs_are_those_of_the_reference(isa: str, shape: tuple[int, int], bits: int) -> None:
    model = models.load()
    pixels: NDArray[np.unsignedinteger] = np.ascontiguousarray(photograph(200, 200)[: shape[0], 100 : 100 + shape[1]])
    if bits > 8:
        pixels = ten_bits(pixels, seed=1)
    planes = color.rgb_to_ycocg(pixels, bits)
    bounds = [(int(planes[..., c].min()), int(planes[..., c].max())) for c in range(3)]
    networks = adapted_model(model, NOT_ADAPTED)
    for level in range(3):
        for number, name in enumerate(NETWORKS):
            for b, band in enumerate(BANDS):
                predictor = reference._Predictor(planes, bits, bounds, level, band, name, networks)
                rows, columns, _ = predictor.pixels.shape
                if not rows or not columns:
                    continue
                row, column = (part.ravel() for part in np.mgrid[:rows, :columns])
                expected = [part[row, column] for part in predictor.before]
                expected += [predictor._back(row, column, (0, rows), channel) for channel in predictor.coded]
                expected.append(predictor.after[row, column])
                numbers = np.zeros(size_of(model, number, b, 2), np.float32)
                found = slopes_of(pixels, model, number, b, level, numbers, 2, 1, isa)
                assert (found.inputs == np.concatenate(expected, axis=1)).all()
                value = (
                    predictor.pixels[row, column][:, predictor.coded.start]
                    - predictor.base[row, column][:, predictor.coded.start]
                )
                assert (found.residual == value / 2 ** (bits - 8)).all()


@pytest.mark.parametrize("isa", [*native.instruction_sets(), ""])
@pytest.mark.parametrize("network", [0, 1])
def test_the_gradient_is_torch_s(isa: str, network: int) -> None:
    """By every number of a network, against automatic differentiation through rounded activations."""
    torch = pytest.importorskip("torch")
    model, band, level, sets, precision = models.load(), 2, 1, 2, 1
    rng = np.random.default_rng(1)
    numbers = rng.normal(0, 1, size_of(model, network, band, sets)).astype(np.float32)
    pixels = np.ascontiguousarray(photograph(120, 120))
    found = slopes_of(pixels, model, network, band, level, numbers, sets, precision, isa)

    places = [
        p for p in array_places(model.spec, 3, sets) if (p.network, p.band) == (NETWORKS[network], BANDS[band].name)
    ]
    cuts = np.cumsum([int(np.prod(p.shape)) for p in places])[:-1]
    arrays = [
        torch.tensor(part.reshape(p.shape).astype(np.float64), requires_grad=True)
        for part, p in zip(np.split(numbers, cuts), places, strict=True)
    ]
    of = {(p.kind, p.layer, p.level_set): array for p, array in zip(places, arrays, strict=True)}
    layers = list(model.layers(NETWORKS[network], BANDS[band].name))

    def through(x: Any) -> Any:
        return x + (torch.floor(x + 0.5) - x).detach()

    x = torch.tensor(found.inputs.astype(np.float64))
    for number, layer in enumerate(layers):
        last = number == len(layers) - 1
        weight, bias, multiplier = (np.asarray(part).astype(np.float64) for part in layer)
        unit = multiplier / 2 ** (12 if last else 14)
        shifts = adaptation.weight_shifts(NETWORKS[network], number, last, len(weight)) - precision
        step = torch.tensor((2.0**shifts / 2 ** (12 if last else 14))[:, None] * ~empty(layer.weight))
        most = torch.tensor(127 * unit)[:, None]
        changed = torch.tensor(weight * unit[:, None]) + step * of["weight", number, 0]
        changed = changed + (torch.minimum(torch.maximum(changed, -most), most) - changed).detach()
        total = x @ changed.T + torch.tensor((bias[level] if bias.ndim == 2 else bias) * unit)
        if last:
            gain, shift = of["gain", number, 1], of["shift", number, 1]
            value = through(total * (64 + gain) / 1024 + shift / 2)
        else:
            total = total + 2.0 ** (15 - precision) / 2**14 * of["hidden bias", number, 1]
            rounded = torch.floor(total.detach().clamp(0, 127) + 0.5)
            inside = (rounded > 0) & (rounded < 127)
            x = torch.where(inside, total + (rounded - total).detach(), rounded)
    channels = 1 + network
    kinds = value.view(len(value), -1, 5)
    bits = torch.zeros(())
    for c in range(channels):
        spread, mean, logit = (kinds[:, kind * channels + c] for kind in range(3))
        mean = mean / 16
        if c:
            mean = mean + kinds[:, 6].clamp(-256, 255) / 64 * torch.tensor(found.residual.astype(np.float64))[:, None]
        inverse = torch.exp2((32 - spread.clamp(0, 87)) / 8)
        upper, lower = (torch.tensor(e[c].astype(np.float64))[:, None] for e in (found.upper, found.lower))
        mass = torch.sigmoid((upper - mean) * inverse) - torch.sigmoid((lower - mean) * inverse)
        share = torch.softmax(logit / 16 * np.log(2), 1)
        bits = bits - torch.log2((share * mass).sum(1) * (1 - 256 / 65536) + 1 / 65536).sum()
    bits.backward()
    assert np.isclose(found.bits, bits.item(), rtol=1e-4)
    for place, array, slopes in zip(places, arrays, np.split(found.slopes, cuts), strict=True):
        exact = np.zeros(place.shape) if array.grad is None else array.grad.numpy()
        # Where a total lies at the middle between two integers, floats and doubles round it apart.
        wrong = np.linalg.norm(slopes.reshape(place.shape) - exact)
        assert wrong <= 2e-3 * np.linalg.norm(exact), place


@pytest.mark.parametrize("isa", [*native.instruction_sets(), ""])
def test_each_effort_pays_on_a_photograph(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLICTI_ISA", isa)
    pixels = photograph(320, 320)
    sizes = [len(llicti_core.encode(pixels, effort=effort)) for effort in range(MAX_EFFORT)]
    assert sizes == sorted(set(sizes), reverse=True)


@pytest.mark.parametrize("effort", range(MAX_EFFORT + 1))
def test_every_effort_comes_back(effort: int) -> None:
    for pixels in (
        photograph(150, 160),
        photograph(120, 150)[..., 1],
        noise(60, 70),
        smooth(5, 7),
        smooth(1, 1200),
        smooth(1200, 1, 1),
        np.full((40, 50, 3), 7, np.uint8),
        np.repeat(photograph(60, 70)[..., :1], 3, axis=2),
    ):
        data = llicti_core.encode(pixels, effort=effort)
        assert (llicti_core.decode(data) == pixels).all()


def test_a_search_does_not_depend_on_threads() -> None:
    image = whole(photograph(200, 220), models.load())
    (adapted,) = {adaptation.fit(image, 2, threads) for threads in (1, 2, 7)}
    assert adapted


def test_what_is_found_is_read_by_the_reference() -> None:
    model, pixels = models.load(), photograph(200, 220)
    adapted = adaptation.fit(whole(pixels, model), 2, 2)
    arrays, sets, precision = unpack(adapted, model)
    assert any(array.any() for array in arrays)
    assert adaptation.pack(arrays, sets, precision, model) == adapted
    coded = native.NativeEngine().encode(whole(pixels, model, adapted), 2)
    assert engines.get("reference").encode(whole(pixels, model, adapted), 1) == coded


def test_empty_blocks_of_weights_stay_empty() -> None:
    """Which kernels skip: of a model without a third of its blocks, which would pay to fill."""
    model = without_blocks(models.load(), 1 / 3, seed=1)
    arrays, sets, _ = unpack(adaptation.fit(whole(photograph(200, 220), model), 2, 2), model)
    changed = 0
    for place, array in zip(array_places(model.spec, 3, sets), arrays, strict=True):
        if place.kind == adaptation.WEIGHT:
            weight = model.layers(place.network, place.band)[place.layer].weight
            assert empty(weight).mean() > 0.25
            assert not array[empty(weight)].any()
            changed += int(np.count_nonzero(array))
    assert changed > 100


def test_estimates_are_those_of_real_files() -> None:
    """A change that is taken saves about what its search said: more than its own bytes."""
    model, pixels = models.load(), photograph(400, 400)
    adapted = adaptation.fit(whole(pixels, model), 1, 2)
    assert coded_size(whole(pixels, model, adapted)) + len(adapted) < 0.995 * coded_size(whole(pixels, model))


def test_what_is_in_doubt_is_left_out() -> None:
    """Of small pictures, of which some can pay for an adaptation: none becomes larger."""
    model, pixels = models.load(), photograph(400, 400)
    found = []
    for side in (40, 56, 80, 112):
        for y, x in ((0, 0), (100, 200), (280, 20)):
            part = np.ascontiguousarray(pixels[y : y + side, x : x + side])
            adapted = adaptation.fit(whole(part, model), 1, 1)
            assert coded_size(whole(part, model, adapted)) + len(adapted) <= coded_size(whole(part, model))
            found.append(bool(adapted))
    assert any(found)
    assert not all(found)


def test_all_tiles_of_a_large_image_are_looked_at() -> None:
    """What pays in one part alone is weighed against what it takes in the others."""
    model = models.load()
    part = photograph(320, 320)
    strange = 255 - noise(320, 320) // 8
    pixels = np.ascontiguousarray(np.concatenate([part] + [strange] * 7, axis=1))
    tiles = [TileRect(0, 320 * n, 320, 320) for n in range(8)]
    image = TiledImage(memoryview(pixels), tiles, model, NOT_ADAPTED)
    adapted = adaptation.fit(image, 1, 2)
    assert adapted
    assert coded_size(image._replace(adaptation=adapted)) < 0.97 * coded_size(image)


def test_models_near_the_bounds_stay_within_them() -> None:
    """Of multipliers and weights so large that a change can break the bounds: files open."""
    model = random_model((8, 2), (6, 1), 127, (30000, 60000), 0)
    pixels = photograph(64, 90)
    adapted = adaptation.fit(whole(pixels, model), 3, 2)
    adapted_model(model, adapted)


def test_the_smallest_images_are_left_alone() -> None:
    assert fit_plans(3, 31 * 33, 3) is None
    with golden.learned():
        pixels = photograph(30, 34)
        assert llicti_core.encode(pixels, effort=3) == llicti_core.encode(pixels, effort=0)


def test_work_is_bounded() -> None:
    for effort in range(1, MAX_EFFORT + 1):
        largest = fit_plans(effort, 10**9, 3)
        assert largest == fit_plans(effort, 10**7, 3)
        assert largest is not None
        assert max(plan.judged for plan in largest) <= 256


def test_luma_has_less_work_than_chroma_but_in_grey_images_all() -> None:
    colour, grey = fit_plans(1, 10**6, 3), fit_plans(1, 10**6, 1)
    assert colour
    assert grey
    luma, chroma = colour
    assert luma.output_steps < chroma.output_steps
    assert luma.output_blocks < chroma.output_blocks
    assert grey == (chroma, chroma)


@pytest.mark.parametrize("effort", [-1, MAX_EFFORT + 1])
def test_impossible_efforts_are_refused(effort: int) -> None:
    with pytest.raises(ValueError, match="effort"):
        llicti_core.encode(smooth(4, 4), effort=effort)
