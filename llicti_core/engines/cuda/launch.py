"""CUDA devices: choosing one, starting kernels on it, and what goes wrong there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from torch import Tensor

from llicti_core.errors import DeviceError, LLCError

CAPABILITY = (8, 0)
"""The least compute capability whose tensor cores multiply bytes as Triton wants them."""


def usable(device: str | torch.device | None) -> torch.device:
    """`device`, checked. Raises DeviceError."""
    if triton.knobs.runtime.interpret:
        return torch.device("cpu")
    try:
        chosen = torch.device(device or "cuda")
        if chosen.type != "cuda":
            msg = f"{chosen} is no CUDA device"
            raise DeviceError(msg)
        if torch.version.cuda is None or not torch.cuda.is_available():
            msg = "no CUDA device can be used: there is none, or no driver, or PyTorch was built without CUDA"
            raise DeviceError(msg)
        index = torch.cuda.current_device() if chosen.index is None else chosen.index
        there = torch.cuda.get_device_capability(index)
    except (RuntimeError, AssertionError) as error:
        msg = f"CUDA device {device or ''!r} cannot be used: {error}"
        raise DeviceError(msg) from error
    if there < CAPABILITY:
        least, found = (".".join(map(str, version)) for version in (CAPABILITY, there))
        msg = f"CUDA device {index} has compute capability {found}, {least} is the least that can be used"
        raise DeviceError(msg)
    return torch.device("cuda", index)


def capability(device: torch.device) -> tuple[int, int]:
    """The compute capability of a device that is usable."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else CAPABILITY


def current(device: torch.device) -> Any:
    """A context in which kernels are started on `device`."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@contextmanager
def reported(device: torch.device) -> Iterator[None]:
    """Turn whatever goes wrong on the device into a DeviceError, errors in the data excepted."""
    try:
        yield
    except LLCError:
        raise
    except torch.OutOfMemoryError as error:
        msg = f"out of memory on {device}: {error}"
        raise DeviceError(msg) from error
    except (RuntimeError, triton.TritonError) as error:
        msg = f"{device} failed: {error}"
        raise DeviceError(msg) from error


def start(kernel: Any, programs: int, *arguments: Tensor | int, **options: int) -> None:
    """Start `programs` programs of a kernel on the current device; they run when those started before have ended."""
    kernel[(programs,)](*arguments, **options)


def put(array: NDArray[Any], device: torch.device) -> Tensor:
    """A copy of `array` on `device`, made while the CPU goes on where that is a GPU; for the current stream alone."""
    return put_joined([array], device).view(array.shape)


def put_joined(arrays: Sequence[NDArray[Any]], device: torch.device) -> Tensor:
    """Copies of arrays of one type, one after the other, as `put` makes them."""
    dtype = torch.from_numpy(np.empty(0, arrays[0].dtype)).dtype
    # Arrays may be read only, which PyTorch does not take. Pinned memory is taken again only after the copy from it.
    host = torch.empty(sum(array.size for array in arrays), dtype=dtype, pin_memory=device.type == "cuda")
    np.concatenate([array.ravel() for array in arrays], out=host.numpy())
    return host.to(device, non_blocking=True)


def fetch(tensors: Sequence[Tensor]) -> list[NDArray[Any]]:
    """Copies of tensors in memory. On a GPU, this is where the host waits for what has been started before, once."""
    if not tensors or tensors[0].device.type != "cuda":
        return [tensor.numpy().copy() for tensor in tensors]
    copies = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors]
    for copy, tensor in zip(copies, tensors, strict=True):
        copy.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensors[0].device).synchronize()
    return [copy.numpy() for copy in copies]


def free_bytes(device: torch.device) -> int:
    """Memory of a GPU that PyTorch can still give."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
