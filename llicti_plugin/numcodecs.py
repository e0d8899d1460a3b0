"""The format for numcodecs: each chunk of an array is one `.llc` file. Zarr's arrays of version 2 use it too."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from numcodecs.abc import Codec
from numcodecs.compat import ensure_ndarray, ndarray_copy

import llicti_core

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Llc(Codec):
    """Codes chunks as images: uint8, C order, (..., height, width) or (..., height, width, 3).

    The axes in front are of length 1. model, effort: as for `llicti_core.encode`; decoding needs neither. Other
    chunks raise `llicti_core.UnsupportedError`, damaged ones `llicti_core.LLCError`.
    """

    codec_id = "llc"

    def __init__(self, model: str = "default", effort: int = 1) -> None:
        self.model = model
        self.effort = effort

    def encode(self, buf: Any) -> bytes:
        """The chunk as a `.llc` file."""
        # One thread, since those who store arrays code many chunks at once.
        return llicti_core.encode(chunk_image(ensure_ndarray(buf)), model=self.model, effort=self.effort, threads=1)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The pixels, (height, width) or (height, width, 3), or `out` filled with them."""
        return ndarray_copy(llicti_core.decode(ensure_ndarray(buf), threads=1), out)


def chunk_image(chunk: NDArray[Any]) -> NDArray[Any]:
    """A chunk without the axes in front of its image's. Raises UnsupportedError where there is more than one image."""
    # Decoding cannot know of another order: bytes would come back as they lie in a file, and in the wrong places.
    if not chunk.flags.c_contiguous:
        msg = "cannot encode a chunk that is not in C order"
        raise llicti_core.UnsupportedError(msg)
    axes = 3 if chunk.ndim > 2 and chunk.shape[-1] == 3 else 2
    if chunk.ndim < 2 or math.prod(chunk.shape[:-axes]) != 1:
        msg = f"cannot encode a chunk of shape {chunk.shape}: only (..., height, width) and (..., height, width, 3)"
        raise llicti_core.UnsupportedError(msg)
    return chunk.reshape(chunk.shape[-axes:])
