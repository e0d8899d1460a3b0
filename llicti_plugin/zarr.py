"""The format for zarr's arrays of version 3: a codec that makes each chunk one `.llc` file."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from zarr.abc.codec import ArrayBytesCodec

import llicti_core
from llicti_core.samples import SAMPLE_NAMES, refused_dtype

from .numcodecs import Llc, check_options, decode_chunk

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer


@dataclass(frozen=True)
class LlcCodec(ArrayBytesCodec):
    """Codes the chunks that `llicti_plugin.numcodecs.Llc` does, with the same options.

    In an array's metadata: `{"name": "llc", "configuration": {"model": "default", "effort": 1}}`.
    """

    is_fixed_size = False

    model: str = "default"
    effort: int = 1

    def __post_init__(self) -> None:
        """Raises as `Llc` does where nothing can be encoded with these options."""
        check_options(self.model, self.effort)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LlcCodec:
        """The codec that an array's metadata asks for."""
        return cls(**data.get("configuration", {}))

    def to_dict(self) -> dict[str, Any]:
        """What an array's metadata says of the codec."""
        return {"name": "llc", "configuration": {"model": self.model, "effort": self.effort}}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Raises UnsupportedError where no chunk of an array could be coded."""
        if (name := dtype.to_native_dtype().name) not in SAMPLE_NAMES:
            msg = f"cannot encode chunks as LLC: {refused_dtype(name)}"
            raise llicti_core.UnsupportedError(msg)
        if len(shape) < 2:
            msg = f"cannot encode an array of shape {shape} as LLC: an image has height and width"
            raise llicti_core.UnsupportedError(msg)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Not known beforehand."""
        raise NotImplementedError

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        chunk = chunk_data.as_numpy_array()
        pixels = np.ascontiguousarray(chunk, chunk.dtype.newbyteorder("="))
        encoded = await asyncio.to_thread(Llc(self.model, self.effort).encode, pixels)
        return chunk_spec.prototype.buffer.from_bytes(encoded)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        dtype = chunk_spec.dtype.to_native_dtype()
        size = math.prod(chunk_spec.shape)
        pixels = await asyncio.to_thread(decode_chunk, chunk_data.as_numpy_array(), size * dtype.itemsize)
        if pixels.size != size or pixels.dtype.name != dtype.name:
            msg = f"a chunk of {dtype} of shape {chunk_spec.shape} holds {pixels.dtype} pixels of shape {pixels.shape}"
            raise llicti_core.FormatError(msg)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(pixels.reshape(chunk_spec.shape))
