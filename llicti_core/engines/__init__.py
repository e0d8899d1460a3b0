"""The choice of an engine; what one is: base.py."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from llicti_core.errors import DeviceError

if TYPE_CHECKING:
    from llicti_core.engines.base import Engine


def get(name: str | None = None) -> Engine:
    """The engine called `name`: "native", "reference" or "cuda"; by default LLICTI_ENGINE's, or native.

    Raises ValueError for another name, DeviceError where "cuda" cannot be used.
    """
    name = name or os.environ.get("LLICTI_ENGINE", "native")
    if name == "native":
        from llicti_core.engines.native import NativeEngine

        return NativeEngine()
    if name == "reference":
        from llicti_core.engines.reference import ReferenceEngine

        return ReferenceEngine()
    if name == "cuda":
        return _cuda("cuda")
    msg = f"no engine called {name!r}: there are native, reference and cuda"
    raise ValueError(msg)


def on(device: str) -> Engine:
    """The engine for `device`: "cpu"; "cuda", or "cuda:1" and so on; or "auto", which is CUDA where that works and the
    CPU where it does not. Raises ValueError for another device, DeviceError where a CUDA device cannot be used."""
    if device == "cpu":
        return get()
    if device == "auto":
        from llicti_core.engines.auto import AutoEngine

        return AutoEngine(lambda: _cuda("cuda"), get())
    if device.partition(":")[0] == "cuda":
        return _cuda(device)
    msg = f"no device called {device!r}: there are cpu, cuda, cuda:0, cuda:1 ..., and auto"
    raise ValueError(msg)


def _cuda(device: str) -> Engine:
    """The engine of a CUDA device. Raises DeviceError."""
    try:
        from llicti_core.engines.cuda import CudaEngine
    except ImportError as error:
        msg = f"device {device!r} needs PyTorch and Triton (pip install torch): {error}"
        raise DeviceError(msg) from error
    return CudaEngine(device)
