"""Files to PyTorch tensors and back."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import llicti_core
from llicti_core import engines
from llicti_core.file import Data, LlcFile
from llicti_core.options import MAX_BYTES, MAX_PIXELS, DecodeOptions
from llicti_core.threads import thread_count

if TYPE_CHECKING:
    from numpy.typing import NDArray


def decode(
    data: Data,
    /,
    *,
    device: str = "cuda",
    threads: int | None = None,
    max_bytes: int | None = MAX_BYTES,
    max_pixels: int | None = MAX_PIXELS,
) -> Tensor:
    """The samples of a `.llc` file of one image: a contiguous tensor [channels, height, width] on `device`.

    device, threads, max_bytes, max_pixels: as for `llicti_core.decode`. No CUDA device can be used yet: "cuda" raises
    DeviceError, "auto" decodes on the CPU.
    The type is that of the samples, uint8 for most. Raises LLCError as `llicti_core.decode` does.
    """
    return decode_batch([data], device=device, threads=threads, max_bytes=max_bytes, max_pixels=max_pixels)[0]


def decode_batch(
    data: Sequence[Data],
    /,
    *,
    device: str = "cuda",
    threads: int | None = None,
    max_bytes: int | None = MAX_BYTES,
    max_pixels: int | None = MAX_PIXELS,
) -> list[Tensor]:
    """What `decode` gives for each of `data`, whose sizes and modes may differ.

    max_bytes, max_pixels: for each. Raises LLCError where one of them cannot be decoded.
    """
    engines.on(device)  # raises where it cannot be used
    options = DecodeOptions(max_bytes, max_pixels, threads)
    return [_decode_on_host(one, options) for one in data]


def encode(
    samples: Tensor,
    /,
    *,
    mode: str | None = None,
    model: str = "default",
    effort: int = 1,
    threads: int | None = None,
    device: str = "cuda",
) -> bytes:
    """The bytes of a `.llc` file of `samples` [channels, height, width] or [height, width], wherever they are.

    device: where the model runs; what remains, and fitting the model to the image, is done on the CPU. The bytes do
    not depend on it. Other arguments, and errors: as for `llicti_core.encode`.
    """
    array = samples.detach().cpu()
    array = array.movedim(0, -1) if array.ndim == 3 else array
    pixels = (array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array).contiguous().numpy()
    return llicti_core.encode(pixels, mode=mode, model=model, effort=effort, threads=threads, device=device)


def encode_batch(
    samples: Sequence[Tensor],
    /,
    *,
    mode: str | None = None,
    model: str = "default",
    effort: int = 1,
    threads: int | None = None,
    device: str = "cuda",
) -> list[bytes]:
    """What `encode` gives for each of `samples`, several at a time: as many as `threads`."""

    def work(one: Tensor) -> bytes:
        return encode(one, mode=mode, model=model, effort=effort, threads=1, device=device)

    with ThreadPoolExecutor(thread_count(threads)) as pool:
        return list(pool.map(work, samples))


def _decode_on_host(data: Data, options: DecodeOptions) -> Tensor:
    """The samples in memory, decoded by way of it."""
    with LlcFile(data) as file:
        return _as_tensor(file[0].decode(options=options))


def _as_tensor(array: NDArray[Any]) -> Tensor:
    samples: Tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    return samples.unsqueeze(0) if samples.ndim == 2 else samples.movedim(-1, 0).contiguous()
