"""The bytes of a file, read where they are needed: from memory, or from an open file."""

from __future__ import annotations

import os
from _thread import allocate_lock
from typing import IO, Protocol

from llicti_core.errors import TruncatedError

_BLOCK = 4096
"""Bytes that are read of a file at once where fewer are asked for: tags and lengths come in short pieces."""


class Source(Protocol):
    """Bytes 0 to `size` - 1 of a file. in_memory: whether reading costs nothing."""

    size: int
    in_memory: bool

    def upto(self, at: int, count: int) -> bytes | memoryview:
        """The `count` bytes from byte `at` on, fewer at the end of the file."""
        ...


class MemorySource:
    """A file that is in memory, of which nothing is copied."""

    in_memory = True

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = data
        self._held = memoryview(data).cast("B")  # as long as there is one, a bytearray keeps its size
        self.size = len(self._held)

    def upto(self, at: int, count: int) -> memoryview:
        """See Source.upto."""
        # A view of its own for each call: where there is no global interpreter lock, threads that take slices of one
        # view lose count of them, and then it counts as released (Python 3.13 to 3.15, CPython issue 155606).
        return memoryview(self._data).cast("B")[at : at + count]


class FileSource:
    """A file that is open for reading bytes, can seek, and stays the caller's; its position is that of byte 0.

    Threads that read through the same object do so one after the other.
    """

    in_memory = False

    def __init__(self, file: IO[bytes]) -> None:
        # Not every file's `seek` returns where it went: that of mmap objects does so from Python 3.13 on.
        self._file, self._offset = file, file.tell()
        file.seek(0, os.SEEK_END)
        self.size = max(0, file.tell() - self._offset)
        self._block, self._block_start = b"", 0
        self._lock = allocate_lock()  # of the file's position, and of the block

    def upto(self, at: int, count: int) -> bytes:
        """See Source.upto."""
        count = max(0, min(count, self.size - at))
        if not count:
            return b""  # a section can claim an end that no file can seek to
        with self._lock:
            if count > _BLOCK:
                return self._read(at, count)
            skip = at - self._block_start
            if not 0 <= skip <= skip + count <= len(self._block):
                self._block, self._block_start, skip = self._read(at, min(_BLOCK, self.size - at)), at, 0
            return self._block[skip : skip + count]

    def _read(self, at: int, count: int) -> bytes:
        """Bytes from `at` on, fewer only where the file has become shorter. Files without a buffer read in pieces."""
        self._file.seek(self._offset + at)
        data = self._file.read(count) or b""
        if len(data) == count or not data:
            return data
        parts, left = [data], count - len(data)
        while left and (data := self._file.read(left) or b""):
            parts.append(data)
            left -= len(data)
        return b"".join(parts)


def source_of(data: bytes | bytearray | memoryview | IO[bytes]) -> Source:
    """The bytes of `data`, or of an open file from its position on. Raises TypeError for anything else."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return MemorySource(data)
    if hasattr(data, "read") and hasattr(data, "seek"):
        return FileSource(data)
    return MemorySource(memoryview(data))  # type: ignore[arg-type]  # any other buffer, such as an array of bytes


def exactly(source: Source, start: int, end: int) -> bytes | memoryview:
    """Bytes `start` to `end` - 1. Raises TruncatedError where the file ends before."""
    data = source.upto(start, end - start)
    if len(data) < end - start:
        msg = f"file ends at byte {start + len(data)}, {end - start} bytes were expected at byte {start}"
        raise TruncatedError(msg)
    return data
