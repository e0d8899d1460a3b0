"""Fitting to the image: its gradient, what it saves, and that every engine reads what it writes."""

from __future__ import annotations

import zlib

import golden
import numpy as np
import pytest
from coding import decode_with, encode_with, header_of
from images import noise, photograph, smooth
from numpy.typing import NDArray
from test_engines import Case, random_adaptation

import llicti_core
from llicti_core import FormatError, adaptation, engines, models
from llicti_core.adaptation import MAX_EFFORT, NOT_ADAPTED, AdaptedParameters, hidden_per_level
from llicti_core.container import Coding, write_frame, write_start
from llicti_core.engines import native, reference
from llicti_core.engines.base import TiledImage, TileRect
from llicti_core.engines.native import _native
from llicti_core.models import Model
from llicti_core.spec import ADAPTED, BANDS

HIDDEN = hidden_per_level(models.load())


NAMES = [pytest.param("default", marks=pytest.mark.slow), "fast"]
"""Models; the reference takes seconds with the larger one."""


@pytest.mark.parametrize(("levels", "deep"), [(0, 0), (1, 0), (1, 1), (3, 2), (5, 5)])
@pytest.mark.parametrize("name", NAMES)
def test_engines_agree_on_any_adaptation(name: str, levels: int, deep: int) -> None:
    model = models.load(name)
    case = Case(photograph(70, 66), model, random_adaptation(model, levels, deep), tile_log2=7)
    judge = engines.get("reference")
    expected = case.encode(judge, 1)
    for isa in native.instruction_sets():
        engine = native.NativeEngine(isa)
        coded = case.encode(engine, 2)
        assert coded == expected
        for other in (engine, judge):
            assert (case.decode(other, coded, 2) == case.pixels).all()


@pytest.mark.parametrize("effort", range(MAX_EFFORT + 1))
def test_every_effort_comes_back(effort: int) -> None:
    for pixels in (
        photograph(256, 260),
        photograph(200, 150)[..., 1],
        noise(140, 150),
        smooth(5, 7),
        smooth(300, 200, 1),
    ):
        data = llicti_core.encode(pixels, effort=effort)
        assert (llicti_core.decode(data) == pixels).all()


@pytest.mark.parametrize("name", NAMES)
def test_each_effort_pays_on_a_photograph(name: str) -> None:
    pixels = photograph(512, 512)
    sizes = [len(llicti_core.encode(pixels, model=name, effort=effort)) for effort in range(MAX_EFFORT + 1)]
    assert sizes == sorted(set(sizes), reverse=True)


def whole(pixels: NDArray[np.uint8], model: Model) -> TiledImage:
    """`pixels` as one tile."""
    return TiledImage(memoryview(pixels), [TileRect(0, 0, *pixels.shape[:2])], model, NOT_ADAPTED)


@pytest.mark.parametrize("effort", range(MAX_EFFORT + 1))
@pytest.mark.parametrize("name", NAMES)
def test_at_every_effort_all_engines_write_the_same_file(
    name: str, effort: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = photograph(140, 132)
    data = llicti_core.encode(pixels, model=name, effort=effort)
    assert any(tag == b"CORR" for tag, _ in golden.sections(data)) == (effort > 0)
    monkeypatch.setenv("LLICTI_ENGINE", "reference")
    assert llicti_core.encode(pixels, model=name, effort=effort) == data


def test_a_fitted_file_does_not_depend_on_threads() -> None:
    pixels = photograph(300, 400)
    assert len({llicti_core.encode(pixels, threads=threads) for threads in (1, 2, 5)}) == 1


@pytest.mark.slow
def test_the_reference_reads_a_fitted_file() -> None:
    pixels = photograph(140, 150)
    assert any(adaptation.fit(whole(pixels, models.load()), 2, 1).outputs)
    data = encode_with(native.NativeEngine(), pixels, "default", 2)
    assert decode_with(engines.get("reference"), data) == pixels.tobytes()


@pytest.mark.parametrize("isa", native.instruction_sets())
def test_hidden_biases_pay_where_there_are_pixels_enough(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLICTI_ISA", isa)
    model = models.load("fast")
    image = whole(photograph(512, 512), model)
    fitted = adaptation.fit(image, 1, 2)
    assert len(fitted.hidden) == 2 * hidden_per_level(model)
    assert any(fitted.hidden)
    sizes = [
        sum(len(segment) for level in tile.segments for segment in level)
        for parameters in (fitted, fitted._replace(hidden=b""))
        for tile in native.NativeEngine().encode(image._replace(adaptation=parameters), 2)
    ]
    assert sizes[0] + len(zlib.compress(fitted.hidden, 9)) < sizes[1]


@pytest.mark.parametrize(("levels", "deep"), [(1, 0), (1, 1), (5, 2), (5, 5)])
def test_adapted_parameters_are_what_they_were_packed_from(levels: int, deep: int) -> None:
    model = models.load("fast")
    parameters = random_adaptation(model, levels, deep)
    assert AdaptedParameters.unpack(parameters.pack(model), model) == parameters


@pytest.mark.slow
def test_a_file_with_hidden_biases_comes_back() -> None:
    pixels = photograph(320, 320)
    data = llicti_core.encode(pixels, model="fast")
    payload = dict(golden.sections(data))[b"CORR"]
    assert zlib.decompress(payload)[0] == 2  # levels that have them
    assert (llicti_core.decode(data) == pixels).all()
    assert decode_with(engines.get("reference"), data) == pixels.tobytes()


def test_images_too_small_to_fit_are_not_adapted() -> None:
    with golden.learned():
        data = llicti_core.encode(photograph(64, 64), effort=3)
        assert data == llicti_core.encode(photograph(64, 64), effort=0)


@pytest.mark.parametrize("effort", [-1, MAX_EFFORT + 1])
def test_impossible_efforts_are_refused(effort: int) -> None:
    with pytest.raises(ValueError, match="effort"):
        llicti_core.encode(smooth(4, 4), effort=effort)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"no deflate stream",
        zlib.compress(b""),
        zlib.compress(bytes(1)),
        zlib.compress(bytes(360)),
        zlib.compress(bytes(1 + 6 * 360)),
        zlib.compress(bytes(1 + 360))[:-1],
        zlib.compress(bytes(1 + 360)) + b"more",
        zlib.compress(b"\x01" + bytes(360)),
        zlib.compress(b"\x02" + bytes(360 + 2 * HIDDEN)),
        zlib.compress(b"\xff" + bytes(1800 + 5 * HIDDEN)),
        zlib.compress(bytes(50_000_000)),
    ],
    ids=range(12),
)
def test_damaged_parameters_are_refused(payload: bytes) -> None:
    with golden.learned():
        data = llicti_core.encode(photograph(40, 40))
    header = header_of(data)._replace(codings=(Coding(ADAPTED),))
    lying = write_start() + write_frame(header, [(b"CORR", payload), *golden.sections(data)[1:]])
    with pytest.raises(FormatError, match="CORR"):
        llicti_core.decode(lying)


def test_adapted_parameters_alone_are_no_file() -> None:
    header = header_of(llicti_core.encode(photograph(70, 70)))._replace(codings=(Coding(ADAPTED),))
    with pytest.raises(llicti_core.TruncatedError):
        llicti_core.decode(write_start() + write_frame(header, [(b"CORR", zlib.compress(bytes(361)))]))


@pytest.mark.parametrize("isa", native.instruction_sets())
@pytest.mark.parametrize("channels", [1, 3])
def test_the_gradient_is_torch_s(isa: str, channels: int) -> None:
    """Bits and slopes of a sample of activations, against automatic differentiation of the training loss."""
    torch = pytest.importorskip("torch")
    from llicti_core.training.network import mixture_bits

    rng = np.random.default_rng(3)
    planes = rng.integers(-60, 60, (64, 64, channels)).astype(np.int16)
    planes = np.cumsum(planes // 20, axis=1).clip(-120, 120).astype(np.int16)
    _, base = reference._context(planes, 0, BANDS[0])
    target = reference._phase(planes, 0, "11").reshape(-1, channels)
    model = models.load()
    last = reference._layers(model, BANDS[0])[-1]
    residual = np.zeros((512, 3))
    residual[:, :channels] = (target - base[:, :channels])[:512]
    sampled = rng.normal(0, 100, (model.spec.width, 512)).round().astype(np.int16)
    gain, bias, hidden = rng.normal(1, 0.1, 60), rng.normal(0, 1, 60), rng.normal(0, 3, model.spec.width)
    bits, *slopes = _native.estimate(
        native._packed(model),
        0,
        sampled,
        residual.T.astype(np.float32).copy(),
        [(-128, 127), (-99, 100), (-255, 255)][:channels],
        gain.astype(np.float32),
        bias.astype(np.float32),
        hidden.astype(np.float32),
        isa,
    )
    g, b, h = (torch.tensor(numbers, requires_grad=True) for numbers in (gain, bias, hidden))
    activation = (torch.tensor(sampled.T) / 4 + h).clamp(0, 127)
    totals = activation @ torch.tensor(last.weight.T).double() + torch.tensor(last.bias)
    outputs = totals * torch.tensor(last.multiplier / 2**16)
    expected = mixture_bits(outputs * g + b, torch.tensor(residual), (256, 200, 511))[:, :channels].sum()
    expected.backward()
    assert np.isclose(bits, expected.item(), rtol=1e-4)
    for slope, parameter in zip(slopes, (g, b, h), strict=True):
        exact = parameter.grad.numpy()
        assert np.allclose(slope, exact, rtol=2e-3, atol=2e-3 * np.abs(exact).max())
