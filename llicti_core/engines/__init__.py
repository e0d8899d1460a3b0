"""The choice of an engine; what one is: base.py."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llicti_core.errors import DeviceError

if TYPE_CHECKING:
    from llicti_core.engines.base import Engine, TiledImage


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
        try:
            first = _cuda("cuda")
        except DeviceError as error:
            import logging

            logging.getLogger(__name__).debug("on the CPU: %s", error)
            return get()
        from llicti_core.engines.auto import AutoEngine

        return AutoEngine(first, get())
    if device.partition(":")[0] == "cuda":
        return _cuda(device)
    msg = f"no device called {device!r}: there are cpu, cuda, cuda:0, cuda:1 ..., and auto"
    raise ValueError(msg)


def fit_on(device: str, images: Sequence[TiledImage], effort: int) -> list[bytes]:
    """Adaptations of `images`, found on a CUDA device, or on the current one for "auto": see adaptation.fit.

    Raises DeviceError.
    """
    with _needing_torch(device):
        from llicti_core.engines.cuda import search
    return search.fit(images, effort, "cuda" if device == "auto" else device)


def _cuda(device: str) -> Engine:
    """The engine of a CUDA device. Raises DeviceError."""
    with _needing_torch(device):
        from llicti_core.engines.cuda import CudaEngine
    return CudaEngine(device)


@contextmanager
def _needing_torch(device: str) -> Iterator[None]:
    """Turn what an import raises into a DeviceError."""
    try:
        yield
    except ImportError as error:
        msg = f"device {device!r} needs PyTorch and Triton (pip install torch): {error}"
        raise DeviceError(msg) from error
