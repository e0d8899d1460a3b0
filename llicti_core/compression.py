"""Deflate (RFC 1950 and 1951): packing, and unpacking to no more than is allowed."""

from __future__ import annotations

import zlib

from llicti_core.errors import FormatError

_RAW, _WITH_HEADER = -15, 15

_INPUT, _SKIP = 1 << 12, 1 << 16
"""Bytes that are given to zlib at a time, and bytes that are unpacked and dropped at a time."""


def deflate(data: bytes, level: int = 9) -> bytes:
    """A raw deflate stream. level: zlib's, 0 to 9."""
    packer = zlib.compressobj(level, zlib.DEFLATED, _RAW)
    return packer.compress(data) + packer.flush()


def inflate(data: bytes | memoryview, limit: int, name: str, *, with_header: bool = False) -> bytes:
    """What a deflate stream that is all of `data` unpacks to, `limit` bytes at most; no more is ever unpacked.

    name: of what holds the stream, for messages. with_header: whether it has zlib's header and checksum. Raises
    FormatError where the stream is damaged, ends early or late, or holds more.
    """
    inflater = zlib.decompressobj(_WITH_HEADER if with_header else _RAW)
    try:
        unpacked = inflater.decompress(data, limit + 1)
    except zlib.error as error:
        msg = f"{name} cannot be inflated: {error}"
        raise FormatError(msg) from error
    if len(unpacked) > limit:
        msg = f"{name} inflates to more than {limit} bytes"
        raise FormatError(msg)
    if not inflater.eof or inflater.unused_data:
        msg = f"{name} does not end where its deflate stream does"
        raise FormatError(msg)
    return unpacked


class InflateStream:
    """Reads a raw deflate stream piece by piece, in memory that does not depend on what it unpacks to."""

    def __init__(self, data: memoryview, name: str) -> None:
        """data: the stream, which is all of it. name: of what holds it, for messages."""
        self._data, self._name, self._at = data, name, 0
        self._stream = zlib.decompressobj(_RAW)

    def copy(self) -> InflateStream:
        """Another reader standing at the same place."""
        other = InflateStream(self._data, self._name)
        other._at, other._stream = self._at, self._stream.copy()
        return other

    def read(self, count: int) -> bytes:
        """The next `count` bytes. Raises FormatError where there are fewer, or where the stream is damaged."""
        parts, left = [], count
        while left:
            part = self._some(left)
            if not part and (self._stream.eof or not self._pending()):
                msg = f"{self._name} inflates to fewer bytes than expected"
                raise FormatError(msg)
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def skip(self, count: int) -> None:
        """Pass over the next `count` bytes. Raises as `read`."""
        for start in range(0, count, _SKIP):
            self.read(min(_SKIP, count - start))

    def finish(self) -> None:
        """Raises FormatError where the stream goes on, is cut off, or has trailing data."""
        more, pending = b"", True
        while pending and not more and not self._stream.eof:
            pending = self._pending()
            more = self._some(1)
        if more or not self._stream.eof or self._stream.unused_data or self._at < len(self._data):
            msg = f"{self._name} inflates to more bytes than expected, or does not end where its deflate stream does"
            raise FormatError(msg)

    def _pending(self) -> bool:
        return bool(self._stream.unconsumed_tail) or self._at < len(self._data)

    def _some(self, count: int) -> bytes:
        """At most `count` bytes, perhaps none, of a little more of the data."""
        given: bytes | memoryview = self._stream.unconsumed_tail
        if not given:
            given = self._data[self._at : self._at + _INPUT]
            self._at += len(given)
        try:
            return self._stream.decompress(given, count)
        except zlib.error as error:
            msg = f"{self._name} cannot be inflated: {error}"
            raise FormatError(msg) from error
