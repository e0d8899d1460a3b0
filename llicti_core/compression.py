"""Deflate (RFC 1950 and 1951): packing, and unpacking to no more than is allowed."""

from __future__ import annotations

import zlib

from llicti_core.errors import FormatError

_RAW, _WITH_HEADER = -15, 15


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
