"""No CUDA engine can code this version of the format yet: asked for one, everything says so or uses the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from images import smooth

import llicti_core
from llicti_core import DeviceError, engines


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_cuda_device_cannot_be_used_yet(device: str) -> None:
    pixels = smooth(9, 7)
    data = llicti_core.encode(pixels)
    with pytest.raises(DeviceError, match=rf"'{device}' cannot be used: no CUDA engine"):
        llicti_core.decode(data, device=device)
    with pytest.raises(DeviceError, match="no CUDA engine"):
        llicti_core.encode(pixels, device=device)


def test_the_engine_of_the_environment_cannot_be_used_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLICTI_ENGINE", "cuda")
    with pytest.raises(DeviceError, match="no CUDA engine"):
        engines.get()


def test_auto_is_the_cpu() -> None:
    pixels = smooth(40, 30)
    data = llicti_core.encode(pixels, device="auto")
    assert data == llicti_core.encode(pixels)
    assert np.array_equal(llicti_core.decode(data, device="auto"), pixels)


@pytest.mark.parametrize("shape", [(13, 11), (13, 11, 3)])
def test_tensors(shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    import llicti_core.torch

    pixels = smooth(13, 11, 3 if len(shape) == 3 else 1).reshape(shape)
    data = llicti_core.encode(pixels)
    samples = torch.from_numpy(pixels).movedim(-1, 0) if pixels.ndim == 3 else torch.from_numpy(pixels)
    for device in ("cpu", "auto"):
        assert llicti_core.torch.encode(samples, device=device) == data
        assert llicti_core.torch.encode_batch([samples, samples], device=device, threads=2) == [data, data]
        found = llicti_core.torch.decode(data, device=device)
        assert torch.equal(found, samples.reshape(found.shape))
        assert torch.equal(llicti_core.torch.decode_batch([data, data], device=device)[1], found)
    for call in (llicti_core.torch.decode, llicti_core.torch.encode):
        with pytest.raises(DeviceError, match="no CUDA engine"):
            call(data if call is llicti_core.torch.decode else samples)
