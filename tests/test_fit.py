"""Fitting to the image: its gradient, what it saves, and that every engine reads what it writes."""

from __future__ import annotations

import zlib

import golden
import numpy as np
import pytest
from images import noise, photograph, smooth

import llicti_core
from llicti_core import FormatError, codec, engines, models
from llicti_core.container import CORRECTED, Coding, read_header, read_start, write_frame, write_start
from llicti_core.engines import CORRECTIONS_PER_SCALE, Corrections, Rectangle, _native, native, reference
from llicti_core.pyramid import BANDS


def random_corrections(scales: int, seed: int = 0) -> Corrections:
    rng = np.random.default_rng(seed)
    return rng.integers(-128, 128, scales * CORRECTIONS_PER_SCALE).astype(np.int8).tobytes()


@pytest.mark.parametrize("scales", [0, 1, 3, 5])
def test_engines_agree_on_any_corrections(scales: int) -> None:
    pixels = photograph(70, 66)
    tiles = [Rectangle(0, 0, 70, 66)]
    corrections = random_corrections(scales)
    model = models.load()
    judge = engines.get("reference")
    expected = judge.encode(pixels, tiles, corrections, model, 1)[0].segments
    for isa in native.instruction_sets():
        engine = native.NativeEngine(isa)
        coded = engine.encode(pixels, tiles, corrections, model, 2)
        assert coded[0].segments == expected
        for other in (engine, judge):
            decoded = np.zeros_like(pixels)
            other.decode(memoryview(decoded), tiles, coded, corrections, model, 2)
            assert (decoded == pixels).all()


@pytest.mark.parametrize("effort", range(codec.MAX_EFFORT + 1))
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


def test_effort_pays_on_a_photograph() -> None:
    pixels = photograph(512, 512)
    sizes = [len(llicti_core.encode(pixels, effort=effort)) for effort in (0, 1, 2)]
    assert sizes[0] > sizes[1] > sizes[2]


def test_a_fitted_file_does_not_depend_on_threads() -> None:
    pixels = photograph(300, 400)
    assert len({llicti_core.encode(pixels, threads=threads) for threads in (1, 2, 5)}) == 1


def test_the_reference_reads_a_fitted_file() -> None:
    pixels = photograph(140, 150)
    model = models.load()
    tiles = [Rectangle(0, 0, 140, 150)]
    corrections = native.NativeEngine().fit(pixels, tiles, model, 2, 1)
    assert any(corrections)
    data = codec.encode(pixels, "default", 2, 1, native.NativeEngine())
    assert codec.decode(data, 1, engines.get("reference"))[1] == pixels.tobytes()


def test_images_too_small_to_fit_have_no_corrections() -> None:
    with golden.learned():
        data = llicti_core.encode(photograph(64, 64), effort=3)
        assert data == llicti_core.encode(photograph(64, 64), effort=0)


@pytest.mark.parametrize("effort", [-1, codec.MAX_EFFORT + 1])
def test_impossible_efforts_are_refused(effort: int) -> None:
    with pytest.raises(ValueError, match="effort"):
        llicti_core.encode(smooth(4, 4), effort=effort)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"no deflate stream",
        zlib.compress(b""),
        zlib.compress(bytes(359)),
        zlib.compress(bytes(6 * 360)),
        zlib.compress(bytes(360))[:-1],
        zlib.compress(bytes(360)) + b"more",
        zlib.compress(bytes(50_000_000)),
    ],
    ids=range(8),
)
def test_damaged_corrections_are_refused(payload: bytes) -> None:
    with golden.learned():
        data = llicti_core.encode(photograph(40, 40))
    header = read_header(read_start(data))._replace(codings=(Coding(CORRECTED),))
    lying = write_start() + write_frame(header, [(b"CORR", payload), *golden.sections(data)[1:]])
    with pytest.raises(FormatError, match="CORR"):
        llicti_core.decode(lying)


def test_corrections_alone_are_no_file() -> None:
    header = read_header(read_start(llicti_core.encode(photograph(70, 70))))._replace(codings=(Coding(CORRECTED),))
    with pytest.raises(llicti_core.TruncatedError):
        llicti_core.decode(write_start() + write_frame(header, [(b"CORR", zlib.compress(bytes(360)))]))


@pytest.mark.parametrize("isa", native.instruction_sets())
@pytest.mark.parametrize("channels", [1, 3])
def test_the_gradient_is_torch_s(isa: str, channels: int) -> None:
    """Bits and slopes of a sample of outputs, against automatic differentiation of the training loss."""
    torch = pytest.importorskip("torch")
    from llicti_core.training.network import mixture_bits

    rng = np.random.default_rng(3)
    planes = rng.integers(-60, 60, (64, 64, channels)).astype(np.int16)
    planes = np.cumsum(planes // 20, axis=1).clip(-120, 120).astype(np.int16)
    inputs, base = reference._context(planes, 0, BANDS[0])
    target = reference._phase(planes, 0, "11").reshape(-1, channels)
    outputs = reference._network(inputs, reference._layers(models.load(), BANDS[0]), 0).reshape(60, -1)[:, :512] / 16
    residual = np.zeros((512, 3))
    residual[:, :channels] = (target - base[:, :channels])[:512]
    gain, bias = rng.normal(1, 0.1, 60), rng.normal(0, 1, 60)
    bits, gain_slope, bias_slope = _native.estimate(
        outputs.astype(np.float32),
        residual.T.astype(np.float32).copy(),
        [(-128, 127), (-99, 100), (-255, 255)][:channels],
        gain.astype(np.float32),
        bias.astype(np.float32),
        isa,
    )
    g = torch.tensor(gain).view(4, 1, 15).requires_grad_()
    b = torch.tensor(bias).view(4, 1, 15).requires_grad_()
    o = torch.tensor(outputs).view(4, 15, -1).transpose(1, 2)
    expected = mixture_bits((o * g + b).reshape(4, 512, 15), torch.tensor(residual), (256, 200, 511))[
        :, :channels
    ].sum()
    expected.backward()
    assert np.isclose(bits, expected.item(), rtol=1e-4)
    for slope, parameter in ((gain_slope, g), (bias_slope, b)):
        exact = parameter.grad.numpy().reshape(-1)
        assert np.allclose(slope, exact, rtol=2e-3, atol=2e-3 * np.abs(exact).max())
