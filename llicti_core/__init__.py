"""LLICTI: lossless image coding by a small learned interpolation model, integer arithmetic throughout."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from llicti_core import codec as _codec
from llicti_core import engines as _engines
from llicti_core.codec import MAX_BYTES, Frame, ImageInfo, Palette
from llicti_core.errors import DeviceError, FormatError, LLCError, TruncatedError, UnknownModelError, UnsupportedError
from llicti_core.frames import Frames, join
from llicti_core.metadata import Metadata
from llicti_core.parts import SCALES, Region, part_of
from llicti_core.spec import MAX_HEADER_BYTES, SIGNATURE
from llicti_core.threads import set_threads, thread_count

if TYPE_CHECKING:
    from typing import IO, Any

    from numpy.typing import NDArray

    __version__: str
else:

    def __getattr__(name: str) -> str:
        """The version of the installed package, looked up only when it is asked for."""
        if name != "__version__":
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("llicti")
        except PackageNotFoundError as error:
            msg = "llicti_core has no version, since the package llicti is not installed"
            raise AttributeError(msg) from error


__all__ = [
    "MAX_BYTES",
    "MAX_HEADER_BYTES",
    "SCALES",
    "SIGNATURE",
    "DeviceError",
    "FormatError",
    "Frame",
    "Frames",
    "ImageInfo",
    "LLCError",
    "Metadata",
    "Palette",
    "TruncatedError",
    "UnknownModelError",
    "UnsupportedError",
    "best_scale",
    "decode",
    "decode_bytes",
    "decode_prefix",
    "encode",
    "inspect",
    "join",
    "read_metadata",
    "read_palette",
    "set_threads",
    "verify",
]


def encode(
    pixels: NDArray[Any],
    /,
    *,
    mode: str | None = None,
    palette: Palette | None = None,
    metadata: Metadata | None = None,
    model: str = "default",
    effort: int = 1,
    threads: int | None = None,
    device: str = "cpu",
) -> bytes:
    """Code an image without loss.

    pixels: array of uint8, uint16, uint32, int8, int16, int32, float16, float32, float64 or bool, (height, width) or
        (height, width, channels), any size from 1x1, 1 to 255 channels, in any order of bytes. Floats come back bit by
        bit, whatever they are.
    mode: what the pixels mean, one of Pillow's modes such as "RGBA", "CMYK" or "P"; it has to fit the array. By
        default the simplest that does, or none.
    palette: of modes "P" and "PA".
    metadata: to be kept with the pixels.
    model: name of an installed model.
    effort: how much work goes into fitting the model to the image, 0 (none) to 3. Decoding is as
        fast whatever it is.
    threads: how many to use; by default see `set_threads`. The bytes do not depend on it.
    device: "cpu"; "cuda", or "cuda:1" and so on, which takes `pip install 'llicti[cuda]'`; "auto" for a GPU where one
        can be used. The bytes do not depend on it.

    Returns the bytes of a `.llc` file of one image; `join` makes one of many. Raises UnsupportedError for other
    pixels and for metadata that cannot be stored, UnknownModelError for an unknown model, DeviceError where the GPU
    cannot be used or fails.
    """
    threads, engine = thread_count(threads), _engines.on(device)
    return _codec.encode(pixels, model, effort, threads, engine, mode=mode, palette=palette, metadata=metadata)


def decode(
    data: bytes | bytearray | memoryview | IO[bytes],
    /,
    *,
    frame: int = 0,
    scale: int = 1,
    region: Region | None = None,
    threads: int | None = None,
    device: str = "cpu",
    max_bytes: int | None = MAX_BYTES,
) -> NDArray[Any]:
    """The pixels of an image in a `.llc` file, or a part of them, checked against the checksums in it.

    data: the file; or one open for reading bytes that can seek, standing where it begins, of which no more is read
        than needed. At a scale above 1 its beginning can be enough (see `best_scale`).
    threads, device: as for `encode`.
    frame: which image, in a file of several. What stands behind it is not looked at, and may be missing.
    scale: one of SCALES, for every so manieth pixel of each row and column: `pixels[::scale, ::scale]`.
    region: (x, y, width, height), for the pixels in it alone. With a scale: every so manieth of each row and column
        of the region, whose x and y must be multiples of the scale.
    max_bytes: the most that the array may take, None for no limit: an image of one colour has any size in a few bytes.

    What a model has coded takes work and memory in proportion to the scaled image and to the tiles that the region
    touches. All pixels together are compared with their checksum; a part's are not, only the checksums of the sections
    that were read for it.

    Returns an array of the type that was encoded, in the native order of bytes, of the shape that was encoded or of
    the part. Raises ValueError where the image has no such part, IndexError where the file says that there is no such
    frame, and LLCError: FormatError where the data is not a valid file, TruncatedError where it ends early,
    UnknownModelError where its model is not installed, UnsupportedError where it needs a newer version or more than
    max_bytes, DeviceError where the GPU cannot be used or fails.
    """
    import numpy as np

    info, pixels, _ = decode_bytes(
        data, frame=frame, scale=scale, region=region, threads=threads, device=device, max_bytes=max_bytes
    )
    part = part_of(info.width, info.height, scale, region)
    dtype = np.dtype(info.dtype)
    samples = np.frombuffer(pixels, dtype.newbyteorder("<")).astype(dtype, copy=False)
    return samples.reshape(part.rows, part.columns, *info.shape[2:])


def decode_prefix(
    data: bytes | bytearray | memoryview, /, *, threads: int | None = None, max_bytes: int | None = MAX_BYTES
) -> tuple[NDArray[Any], int]:
    """The pixels that the beginning of a file holds, at the least scale that it is enough for; and that scale.

    threads, max_bytes: as for `decode`, which takes the scale. Raises TruncatedError where the beginning is too short
    for the smallest version, and LLCError as `decode` does.
    """
    scale = best_scale(data)
    return decode(data, scale=scale, threads=threads, max_bytes=max_bytes), scale


def best_scale(data: bytes | bytearray | memoryview, /) -> int:
    """The least scale that the beginning of a file is enough for (see `decode`). Raises LLCError as `decode_prefix`.

    Of an image whose samples have more than 8 bits, or that no model has coded, only all of the file is enough.
    """
    return _codec.best_factor(_bytes_view(data))


def decode_bytes(
    data: bytes | bytearray | memoryview | IO[bytes],
    /,
    *,
    frame: int = 0,
    scale: int = 1,
    region: Region | None = None,
    threads: int | None = None,
    device: str = "cpu",
    max_bytes: int | None = MAX_BYTES,
) -> Frame:
    """What `decode` gives, without NumPy: the header's information, and the samples row by row, channels interleaved,
    little endian, bools as bytes; and the palette of modes P and PA."""
    needed, engine = _needed(data, frame, scale), _engines.on(device)
    return _codec.decode(needed, thread_count(threads), engine, max_bytes, scale, region)


def inspect(data: bytes | bytearray | memoryview, /, *, frame: int = 0) -> ImageInfo:
    """What the header of an image says. For the first the first MAX_HEADER_BYTES bytes of a file are enough.

    Raises LLCError, and IndexError where the file says that there is no such frame.
    """
    view = _bytes_view(data)
    if not frame:
        return _codec.inspect(view)
    frames = _frames(data)
    return _codec.inspect(frames.head(frame))._replace(n_frames=frames.count)


def read_metadata(data: bytes | bytearray | memoryview, /, *, frame: int = 0) -> Metadata:
    """The metadata of an image. For the first, a prefix that holds them is enough. Raises as `inspect` does."""
    view = _bytes_view(data)
    return _codec.read_metadata(_frames(data).head(frame) if frame else view)


def read_palette(data: bytes | bytearray | memoryview, /, *, frame: int = 0) -> Palette | None:
    """The palette of an image of mode P or PA, else None. For the first, a prefix that holds it is enough.

    Raises as `inspect` does.
    """
    view = _bytes_view(data)
    return _codec.read_palette(_frames(data).head(frame) if frame else view)


def verify(data: bytes | bytearray | memoryview, /) -> None:
    """Decode every image in `data`, read its metadata, compare all checksums. Raises LLCError where any is wrong."""
    frames = _frames(data)
    for index in range(frames.count):
        single = frames.single(index)
        read_metadata(single)
        decode_bytes(single)


def _needed(data: bytes | bytearray | memoryview | IO[bytes], frame: int, scale: int) -> memoryview:
    """A file of one image that holds what decoding image `frame` of `data` at `scale` takes. Raises LLCError."""
    try:
        view = _bytes_view(data)  # type: ignore[arg-type]
    except TypeError:
        if not hasattr(data, "read"):
            raise
        return memoryview(Frames(data).single(frame, scale))  # type: ignore[arg-type]
    return memoryview(_frames(view).single(frame, scale)) if frame else view


def _frames(data: bytes | bytearray | memoryview) -> Frames:
    """The frames in `data`, of which nothing is copied if they are bytes."""
    return Frames(io.BytesIO(data))


def _bytes_view(data: bytes | bytearray | memoryview) -> memoryview:
    """`data` as a flat view of bytes. Raises TypeError."""
    return memoryview(data).cast("B")
