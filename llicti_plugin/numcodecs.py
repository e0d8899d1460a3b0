"""The format for numcodecs: each chunk of an array is one `.llc` file. Zarr's arrays of version 2 use it too."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_contiguous_ndarray, ensure_ndarray, ndarray_copy

import llicti_core
from llicti_core import MAX_BYTES, MAX_PIXELS, DecodeOptions, models
from llicti_core.adaptation import MAX_EFFORT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_CHANNELS = 4
"""A last axis of at most this many is taken for that of the channels."""


class Llc(Codec):
    """Codes chunks as images: (..., height, width) or (..., height, width, channels) with 1 to 4 channels.

    Of any type that `llicti_core.encode` takes, in C order and the machine's order of bytes. Leading axes count the
    frames of a file. model, effort: as for `llicti_core.encode`; decoding needs neither. Other chunks raise
    `llicti_core.UnsupportedError`, damaged ones `llicti_core.LLCError`; options by which nothing can be encoded
    TypeError, ValueError or `llicti_core.UnknownModelError` at once.
    """

    codec_id = "llc"

    def __init__(self, model: str = "default", effort: int = 1) -> None:
        check_options(model, effort)
        self.model = model
        self.effort = effort

    def encode(self, buf: Any) -> bytes:
        """The chunk as a `.llc` file."""
        # One thread, since those who store arrays code many chunks at once.
        images = _images(ensure_ndarray(buf))
        files = [llicti_core.encode(image, model=self.model, effort=self.effort, threads=1) for image in images]
        return files[0] if len(files) == 1 else llicti_core.join(files)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The pixels, (height, width) or (height, width, channels), with a leading axis where there are several
        frames; or `out` filled with them."""
        if out is None:
            return decode_chunk(buf, MAX_BYTES, MAX_PIXELS)
        return ndarray_copy(decode_chunk(buf, ensure_ndarray(out).nbytes), out)


def check_options(model: str, effort: int) -> None:
    """Raises TypeError, ValueError or UnknownModelError where nothing can be encoded with these options."""
    if not isinstance(model, str) or not isinstance(effort, int) or isinstance(effort, bool):
        msg = f"model must be a name and effort a whole number, not {model!r} and {effort!r}"
        raise TypeError(msg)
    if not 0 <= effort <= MAX_EFFORT:
        msg = f"effort must be 0 to {MAX_EFFORT}, not {effort}"
        raise ValueError(msg)
    models.load(model)


def decode_chunk(data: Any, max_bytes: int, max_pixels: int | None = None) -> NDArray[Any]:
    """The pixels of a chunk, which may take no more than `max_bytes`, each of its images no more than `max_pixels`.

    Raises LLCError.
    """
    images: list[NDArray[Any]] = []
    for frame in llicti_core.open(memoryview(ensure_contiguous_ndarray(data))):
        left = max_bytes - sum(image.nbytes for image in images)
        images.append(frame.decode(options=DecodeOptions(left, max_pixels, threads=1)))
    if len({(image.shape, image.dtype) for image in images}) > 1:
        msg = "a chunk has images of different shapes or types"
        raise llicti_core.FormatError(msg)
    return np.stack(images) if len(images) > 1 else images[0]


def _images(chunk: NDArray[Any]) -> Sequence[NDArray[Any]]:
    """The images in a chunk. Raises UnsupportedError."""
    # Decoding cannot know of another order: bytes would come back as they lie in a file, and in the wrong places.
    if not chunk.flags.c_contiguous or not chunk.dtype.isnative:
        msg = "cannot encode a chunk that is not in C order, or not in the machine's order of bytes"
        raise llicti_core.UnsupportedError(msg)
    axes = 3 if chunk.ndim > 2 and chunk.shape[-1] <= _CHANNELS else 2
    if chunk.ndim < 2 or not chunk.size:
        msg = (
            f"cannot encode a chunk of shape {chunk.shape}: only (..., height, width) and (..., height, width, 1 to 4)"
        )
        raise llicti_core.UnsupportedError(msg)
    images = chunk.reshape(-1, *chunk.shape[-axes:])
    if chunk.nbytes > MAX_BYTES or math.prod(images.shape[1:3]) > MAX_PIXELS:
        msg = f"cannot encode a chunk of shape {chunk.shape}: decoders take {MAX_BYTES} bytes and {MAX_PIXELS} pixels"
        raise llicti_core.UnsupportedError(msg)
    return list(images)
