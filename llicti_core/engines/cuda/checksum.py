"""CRC-32 of bytes that are on a device (docs/format.md, 1)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from torch import Tensor

from llicti_core.engines.cuda import kernels, launch

CHUNK = 1024
"""Bytes that a thread goes through."""

_LANES = 128
_POLYNOMIAL = 0xEDB88320
_ONES = 0xFFFFFFFF

Words = NDArray[np.uint32]


def start(data: Tensor) -> Tensor:
    """What `finish` makes the CRC-32 of uint8 `data` [bytes] of, computed on its device: int32 [chunks]."""
    size = data.numel()
    chunks = triton.cdiv(size, CHUNK)
    remainders = torch.empty(chunks, dtype=torch.int32, device=data.device)
    table = launch.put(_byte_table().view(np.int32), data.device)
    arguments = (data, table, remainders, size, chunks)
    launch.start(kernels.chunk_remainders, triton.cdiv(chunks, _LANES), *arguments, CHUNK=CHUNK, BLOCK=_LANES)
    return remainders


def finish(chunks: NDArray[np.int32], size: int) -> int:
    """The CRC-32 of `size` bytes from the remainders of their chunks, copied to memory.

    A remainder is linear: that of A behind which B stands is A's, moved on by the length of B, and B's, added without
    carries. Zeros in front change none.
    """
    remainders: Words = chunks.view(np.uint32)
    length = CHUNK
    while len(remainders) > 1:
        if len(remainders) % 2:
            remainders = np.concatenate((np.zeros(1, np.uint32), remainders))
        remainders = _moved_on(remainders[0::2], length) ^ remainders[1::2]
        length *= 2
    start = np.array([_ONES], np.uint32)
    for bit in range(size.bit_length()):
        if size >> bit & 1:
            start = _moved_on(start, 1 << bit)
    return int(remainders[0] ^ start[0]) ^ _ONES


def _moved_on(remainders: Words, zeros: int) -> Words:
    """Remainders when 2**n zero bytes follow."""
    moved = np.zeros_like(remainders)
    for byte, table in enumerate(_move_tables(zeros)):
        moved ^= table[(remainders >> np.uint32(8 * byte)) & np.uint32(255)]
    return moved


@lru_cache(maxsize=64)
def _move_tables(zeros: int) -> Words:
    """What each byte of a remainder becomes when `zeros` zero bytes follow, [4, 256]; `zeros` is a power of two."""
    values = np.arange(256, dtype=np.uint32) << (8 * np.arange(4, dtype=np.uint32))[:, np.newaxis]
    if zeros == 1:
        table = _byte_table()
        moved: Words = (values >> np.uint32(8)) ^ table[values & np.uint32(255)]
        return moved
    half = zeros // 2
    return _moved_on(_moved_on(values, half), half)


@lru_cache(maxsize=1)
def _byte_table() -> Words:
    """The remainder of every byte."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ np.where(table & np.uint32(1), np.uint32(_POLYNOMIAL), np.uint32(0))
    return table
