"""LLICTI: lossless image coding by a small learned interpolation model, integer arithmetic throughout."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from llicti_core import codec as _codec
from llicti_core import engines as _engines
from llicti_core.codec import ImageInfo
from llicti_core.container import MAX_HEADER_BYTES, SIGNATURE
from llicti_core.errors import FormatError, LLCError, TruncatedError, UnknownModelError, UnsupportedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "MAX_HEADER_BYTES",
    "SIGNATURE",
    "FormatError",
    "ImageInfo",
    "LLCError",
    "TruncatedError",
    "UnknownModelError",
    "UnsupportedError",
    "decode",
    "decode_bytes",
    "encode",
    "inspect",
    "verify",
]


def encode(
    pixels: NDArray[np.uint8], /, *, model: str = "default", effort: int = 1, threads: int | None = None
) -> bytes:
    """Code an image without loss.

    pixels: uint8 array, (height, width) grey or (height, width, 3) RGB, any size from 1x1.
    model: name of an installed model.
    effort: how much work goes into fitting the model to the image, 0 (none) to 3. Decoding is as
        fast whatever it is.
    threads: how many to use; by default as many as this process may run on. The bytes do not depend on it.

    Returns the bytes of a `.llc` file. Raises UnsupportedError for other pixels, UnknownModelError for an
    unknown model.
    """
    return _codec.encode(pixels, model, effort, _thread_count(threads), _engines.get())


def decode(data: bytes | bytearray | memoryview, /, *, threads: int | None = None) -> NDArray[np.uint8]:
    """The pixels of a `.llc` file, checked against the checksums in it.

    data: the whole file. threads: as for `encode`.

    Returns a uint8 array, (height, width) or (height, width, 3). Raises LLCError: FormatError where the data is
    not a valid file, TruncatedError where it ends early, UnknownModelError where its model is not installed,
    UnsupportedError where it needs a newer version.
    """
    import numpy as np

    info, pixels = decode_bytes(data, threads=threads)
    shape = (info.height, info.width) if info.mode == "L" else (info.height, info.width, 3)
    return np.frombuffer(pixels, np.uint8).reshape(shape)


def decode_bytes(data: bytes | bytearray | memoryview, /, *, threads: int | None = None) -> tuple[ImageInfo, bytearray]:
    """What `decode` gives, without NumPy: the header's information, and the pixels row by row, channels interleaved."""
    return _codec.decode(_bytes_view(data), _thread_count(threads), _engines.get())


def inspect(data: bytes | bytearray | memoryview, /) -> ImageInfo:
    """What the header says. The first MAX_HEADER_BYTES bytes of a file are enough. Raises LLCError."""
    return _codec.inspect(_bytes_view(data))


def verify(data: bytes | bytearray | memoryview, /) -> None:
    """Decode `data` and compare every checksum. Raises LLCError where anything is wrong."""
    decode_bytes(data)


def _bytes_view(data: bytes | bytearray | memoryview) -> memoryview:
    """`data` as a flat view of bytes. Raises TypeError."""
    return memoryview(data).cast("B")


def _thread_count(threads: int | None) -> int:
    """`threads`, or the number of processors this process may run on. Raises ValueError."""
    if threads is None:
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else os.cpu_count() or 1
    if threads < 1:
        msg = f"threads must be 1 or more, not {threads}"
        raise ValueError(msg)
    return threads
