"""The container: signature, header, length-prefixed sections with checksums (docs/format.md, 2); bytes, not pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from llicti_core.errors import FormatError, TruncatedError, UnsupportedError
from llicti_core.names import is_model_name

SIGNATURE = b"\x89LLC\r\n\x1a\n"
VERSION = 1
MAX_HEADER_BYTES = 1024
"""Signature, version and header section always fit in this many bytes."""

MAX_SIZE = 2**31 - 1
"""Largest width or height."""

_CHANNELS = {"L": 1, "RGB": 3}
_MIN_TILE_LOG2, _MAX_TILE_LOG2 = 6, 15


class Header(NamedTuple):
    """What the HEAD section says.

    width, height: pixels, 1 or more. mode: "L" or "RGB". bit_depth: bits of a sub-pixel, 8.
    tile_log2: tiles are squares of 2**tile_log2 pixels. model, identity: name of the model and the first
    8 bytes of its hash. checksum: CRC-32 of the pixels, row by row, channels interleaved.
    """

    width: int
    height: int
    mode: str
    bit_depth: int
    tile_log2: int
    model: str
    identity: bytes
    checksum: int

    @property
    def channels(self) -> int:
        """Sub-pixels of a pixel."""
        return _CHANNELS[self.mode]

    def pack(self) -> bytes:
        """The payload of the HEAD section."""
        return b"".join(
            (
                struct.pack("<II", self.width, self.height),
                _pack_text(self.mode),
                struct.pack("<BB", self.bit_depth, self.tile_log2),
                _pack_text(self.model),
                self.identity,
                struct.pack("<I", self.checksum),
            )
        )

    @classmethod
    def unpack(cls, payload: bytes) -> Header:
        """Read the payload of the HEAD section. Raises FormatError or UnsupportedError."""
        try:
            width, height = struct.unpack_from("<II", payload)
            mode, at = _unpack_text(payload, 8)
            bit_depth, tile_log2 = struct.unpack_from("<BB", payload, at)
            model, at = _unpack_text(payload, at + 2)
            identity = payload[at : at + 8]
            (checksum,) = struct.unpack_from("<I", payload, at + 8)
        except (struct.error, UnicodeDecodeError) as error:
            msg = f"header cannot be read: {error}"
            raise FormatError(msg) from error
        if at + 12 != len(payload):
            msg = f"header has {len(payload)} bytes, expected {at + 12}"
            raise FormatError(msg)
        if not (1 <= width <= MAX_SIZE and 1 <= height <= MAX_SIZE):
            msg = f"header says an image of {width}x{height} pixels"
            raise FormatError(msg)
        if not is_model_name(model):
            msg = f"header names a model {model!r}, which no model can be called"
            raise FormatError(msg)
        if mode not in _CHANNELS or bit_depth != 8:
            msg = f"mode {mode!r} at {bit_depth} bits is not supported by this version"
            raise UnsupportedError(msg)
        if not _MIN_TILE_LOG2 <= tile_log2 <= _MAX_TILE_LOG2:
            msg = f"header says tiles of 2**{tile_log2} pixels"
            raise FormatError(msg)
        return cls(width, height, mode, bit_depth, tile_log2, model, identity, checksum)


class Reader:
    """Reads numbers and runs of bytes off a buffer, in order."""

    def __init__(self, data: bytes | memoryview, name: str) -> None:
        """name: what the buffer is, for messages."""
        self.data, self.name, self.at = memoryview(data), name, 0

    def take(self, count: int) -> memoryview:
        """The next `count` bytes. Raises TruncatedError where there are fewer."""
        if count > len(self.data) - self.at:
            msg = f"{self.name} ends at byte {len(self.data)}, {count} bytes were expected at byte {self.at}"
            raise TruncatedError(msg)
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self) -> int:
        """The next LEB128 number, at most 63 bits. Raises FormatError or TruncatedError."""
        value = 0
        for shift in range(0, 63, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80 and (byte or not shift):
                return value
            if not byte:
                msg = f"{self.name} has a number with zeros to spare before byte {self.at}"
                raise FormatError(msg)
        msg = f"{self.name} has a number of more than 63 bits before byte {self.at}"
        raise FormatError(msg)

    @property
    def left(self) -> int:
        """Bytes not yet taken."""
        return len(self.data) - self.at

    def finish(self) -> None:
        """Raises FormatError where bytes are left."""
        if self.left:
            msg = f"{self.name} has {self.left} bytes too many"
            raise FormatError(msg)


def pack_varint(value: int) -> bytes:
    """LEB128: 7 bits a byte, least significant first, high bit set on all but the last."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def pack_section(tag: bytes, payload: bytes) -> bytes:
    """A section: tag of 4 letters, length, payload, CRC-32 of all three."""
    body = tag + pack_varint(len(payload)) + payload
    return body + struct.pack("<I", zlib.crc32(body))


def write_file(header: Header, sections: list[tuple[bytes, bytes]]) -> bytes:
    """A whole file: signature, version, header and `sections` of (tag, payload)."""
    parts = [SIGNATURE, bytes((VERSION,)), pack_section(b"HEAD", header.pack())]
    parts += [pack_section(tag, payload) for tag, payload in sections]
    return b"".join(parts)


def read_header(data: bytes | memoryview) -> tuple[Header, Reader]:
    """The header, and the reader standing behind it. Raises FormatError, TruncatedError or UnsupportedError."""
    reader = Reader(data, "file")
    signature = bytes(reader.data[: len(SIGNATURE)])
    if signature != SIGNATURE:
        if SIGNATURE.startswith(signature):
            msg = f"file ends at byte {len(signature)}, inside the signature"
            raise TruncatedError(msg)
        msg = "not a .llc file: wrong signature"
        raise FormatError(msg)
    reader.take(len(SIGNATURE))
    version = reader.take(1)[0]
    if version != VERSION:
        msg = f"format version {version} is not supported by this version, which reads {VERSION}"
        raise UnsupportedError(msg)
    tag, payload = _read_section(reader, MAX_HEADER_BYTES)
    if tag != b"HEAD":
        msg = f"first section is {tag!r}, expected b'HEAD'"
        raise FormatError(msg)
    return Header.unpack(bytes(payload)), reader


def read_sections(reader: Reader) -> Iterator[tuple[bytes, memoryview]]:
    """The sections behind the header that matter to a decoder, (tag, payload) each, checked.

    Those whose tag begins with a small letter are left out: they may be skipped by who does not know them.
    """
    while reader.left:
        tag, payload = _read_section(reader, reader.left)
        if not tag[:1].islower():
            yield tag, payload


def _read_section(reader: Reader, limit: int) -> tuple[bytes, memoryview]:
    """The next section, its checksum compared; `limit` is the longest payload allowed."""
    start = reader.at
    tag = bytes(reader.take(4))
    length = reader.varint()
    if length > limit and reader.left > limit:
        msg = f"section {tag!r} at byte {start} is {length} bytes long, at most {limit} are allowed"
        raise FormatError(msg)
    payload = reader.take(length)
    body = reader.data[start : reader.at]
    (checksum,) = struct.unpack("<I", reader.take(4))
    if zlib.crc32(body) != checksum:
        msg = f"section {tag!r} at byte {start} is damaged: its checksum does not match"
        raise FormatError(msg)
    return tag, payload


def _pack_text(text: str) -> bytes:
    """Length byte and ASCII."""
    encoded = text.encode("ascii")
    return bytes((len(encoded),)) + encoded


def _unpack_text(payload: bytes, at: int) -> tuple[str, int]:
    """The text packed at `at`, and where it ends."""
    (length,) = struct.unpack_from("<B", payload, at)
    (text,) = struct.unpack_from(f"<{length}s", payload, at + 1)
    return text.decode("ascii"), at + 1 + length
