"""LLICTI: lossless image coding by a small learned interpolation model, integer arithmetic throughout."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from llicti_core import codec as _codec
from llicti_core import engines as _engines
from llicti_core.codec import MAX_BYTES, Frame, ImageInfo, Palette
from llicti_core.container import MAX_HEADER_BYTES, SIGNATURE
from llicti_core.errors import FormatError, LLCError, TruncatedError, UnknownModelError, UnsupportedError

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

__all__ = [
    "MAX_BYTES",
    "MAX_HEADER_BYTES",
    "SIGNATURE",
    "FormatError",
    "Frame",
    "ImageInfo",
    "LLCError",
    "Palette",
    "TruncatedError",
    "UnknownModelError",
    "UnsupportedError",
    "decode",
    "decode_bytes",
    "encode",
    "inspect",
    "read_palette",
    "verify",
]


def encode(
    pixels: NDArray[Any],
    /,
    *,
    mode: str | None = None,
    palette: Palette | None = None,
    model: str = "default",
    effort: int = 1,
    threads: int | None = None,
) -> bytes:
    """Code an image without loss.

    pixels: array of uint8, uint16, int32, float32 or bool, (height, width) or (height, width, channels), any size
        from 1x1, 1 to 255 channels, in any order of bytes. Floats come back bit by bit, whatever they are.
    mode: what the pixels mean, one of Pillow's modes such as "RGBA", "CMYK" or "P"; it has to fit the array. By
        default the simplest that does, or none.
    palette: of modes "P" and "PA".
    model: name of an installed model.
    effort: how much work goes into fitting the model to the image, 0 (none) to 3. Decoding is as
        fast whatever it is.
    threads: how many to use; by default as many as this process may run on. The bytes do not depend on it.

    Returns the bytes of a `.llc` file. Raises UnsupportedError for other pixels, UnknownModelError for an
    unknown model.
    """
    engine = _engines.get()
    return _codec.encode(pixels, model, effort, _thread_count(threads), engine, mode=mode, palette=palette)


def decode(
    data: bytes | bytearray | memoryview, /, *, threads: int | None = None, max_bytes: int | None = MAX_BYTES
) -> NDArray[Any]:
    """The pixels of a `.llc` file, checked against the checksums in it.

    data: the whole file. threads: as for `encode`. max_bytes: the most that the array may take, None for no limit:
    an image of one colour has any size in a few bytes.

    Returns an array of the shape and type that were encoded, in the native order of bytes. Raises LLCError:
    FormatError where the data is not a valid file, TruncatedError where it ends early, UnknownModelError where its
    model is not installed, UnsupportedError where it needs a newer version or more than max_bytes.
    """
    import numpy as np

    info, pixels, _ = decode_bytes(data, threads=threads, max_bytes=max_bytes)
    dtype = np.dtype(info.dtype)
    return np.frombuffer(pixels, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(info.shape)


def decode_bytes(
    data: bytes | bytearray | memoryview, /, *, threads: int | None = None, max_bytes: int | None = MAX_BYTES
) -> Frame:
    """What `decode` gives, without NumPy: the header's information, and the samples row by row, channels interleaved,
    little endian, bools as bytes; and the palette of modes P and PA."""
    return _codec.decode(_bytes_view(data), _thread_count(threads), _engines.get(), max_bytes)


def inspect(data: bytes | bytearray | memoryview, /) -> ImageInfo:
    """What the header says. The first MAX_HEADER_BYTES bytes of a file are enough. Raises LLCError."""
    return _codec.inspect(_bytes_view(data))


def read_palette(data: bytes | bytearray | memoryview, /) -> Palette | None:
    """The palette of a file of mode P or PA, else None. A prefix that holds it is enough. Raises LLCError."""
    return _codec.read_palette(_bytes_view(data))


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
