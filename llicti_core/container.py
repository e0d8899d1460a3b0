"""The container: signature, header, length-prefixed sections with checksums (docs/format.md, 2); bytes, not pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from llicti_core.errors import FormatError, TruncatedError, UnsupportedError
from llicti_core.names import is_model_name
from llicti_core.samples import MODES, SAMPLE_TYPES, Group, SampleType, groups, may_be_flat
from llicti_core.spec import (
    ADAPTED,
    CONSTANT,
    COPIED,
    EQUAL_CHANNELS,
    FALLBACK,
    HAS_VALUE_TABLE,
    HEAD,
    IDENTITY_BYTES,
    LEARNED,
    MAX_CHANNELS,
    MAX_HEADER_BYTES,
    MAX_SIZE,
    MAX_TILE_LOG2,
    MIN_TILE_LOG2,
    SIGNATURE,
    VERSION,
)

_NUMBERS = {mode: number for number, mode in enumerate(("", *MODES))}


class Coding(NamedTuple):
    """How a group of channels is coded.

    kind: one of the five above. equal: whether its three channels are equal and coded as one. values: those of a
    constant group, one or a byte for each channel.
    """

    kind: int
    equal: bool = False
    values: bytes = b""

    @property
    def learned(self) -> bool:
        """Whether a model codes the group."""
        return self.kind in (LEARNED, ADAPTED)

    def stored(self, group: Group) -> int:
        """Channels that are coded."""
        return 1 if self.equal else group.channels

    def pack(self) -> bytes:
        """What the header says of it."""
        return bytes((self.kind | (EQUAL_CHANNELS if self.equal else 0),)) + self.values


class Header(NamedTuple):
    """What a HEAD section says of a frame.

    width, height: pixels, 1 or more. mode: Pillow's name, or none. sample_type: what a sample is. channels: samples
    of a pixel. bits: of an index, where there is a value table; else 0. frames_after: frames behind this one.
    checksum: CRC-32 of the samples, row by row, channels interleaved, little endian. codings: of each group.
    tile_log2: tiles of learned groups are squares of 2**tile_log2 pixels. model, identity: name of the model of learned
    groups and the first 8 bytes of its hash. These three are 0 and empty where no group is learned. flat: whether the
    array of an image without a mode has no axis for its one channel.
    """

    width: int
    height: int
    mode: str
    sample_type: SampleType
    channels: int
    bits: int
    frames_after: int
    checksum: int
    codings: tuple[Coding, ...]
    tile_log2: int = 0
    model: str = ""
    identity: bytes = b""
    flat: bool = False

    @property
    def groups(self) -> list[Group]:
        """The groups that `codings` are of."""
        return groups(self.bits or self.sample_type.bits, self.channels)

    @property
    def learned(self) -> int:
        """How many groups are."""
        return sum(coding.learned for coding in self.codings)

    @property
    def scalable(self) -> bool:
        """Whether the beginning of the frame can hold a small version: no generic group stands behind SCL0."""
        lower = (coding for group, coding in zip(self.groups, self.codings, strict=True) if not group.top)
        return self.learned > 0 and not any(coding.kind == FALLBACK for coding in lower)

    def pack(self) -> bytes:
        """The payload of the HEAD section."""
        number = _NUMBERS.get(self.mode, len(_NUMBERS))
        parts = [
            pack_varint(self.width),
            pack_varint(self.height),
            bytes((number | (HAS_VALUE_TABLE if self.bits else 0),)),
            b"" if number else bytes((SAMPLE_TYPES.index(self.sample_type),)),
            b"" if number else pack_varint(0 if self.flat else self.channels),
            bytes((self.bits,)) if self.bits else b"",
            pack_varint(self.frames_after),
            struct.pack("<I", self.checksum),
        ]
        parts += [
            bytes((coding.kind | (EQUAL_CHANNELS if coding.equal else 0),)) + coding.values for coding in self.codings
        ]
        if self.learned:
            parts += [bytes((self.tile_log2,)), pack_text(self.model), self.identity]
        return b"".join(parts)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Header:
        """Read the payload of a HEAD section. Raises FormatError or UnsupportedError."""
        reader = Reader(payload, "header")
        try:
            header = cls._read(reader)
        except TruncatedError as error:  # of the header, not of the file
            raise FormatError(str(error)) from error
        reader.finish()
        return header

    @classmethod
    def _read(cls, reader: Reader) -> Header:
        width, height = reader.varint(), reader.varint()
        if not (1 <= width <= MAX_SIZE and 1 <= height <= MAX_SIZE):
            msg = f"header says an image of {width}x{height} pixels"
            raise FormatError(msg)
        number = reader.byte()
        mode, sample_type, channels = _read_samples(reader, number & ~HAS_VALUE_TABLE)
        flat, channels = not channels, channels or 1
        bits = reader.byte() if number & HAS_VALUE_TABLE else 0
        if number & HAS_VALUE_TABLE and not 1 <= bits <= sample_type.bits:
            msg = f"header says a value table of {bits} bits for {sample_type.name} samples"
            raise FormatError(msg)
        frames_after = reader.varint()
        (checksum,) = struct.unpack("<I", reader.take(4))
        layout = groups(bits or sample_type.bits, channels)
        codings: list[Coding] = []
        for place, group in enumerate(layout):
            coding = _read_coding(reader, group)
            before = layout[place - 1]
            if coding.kind == COPIED and (not place or before[:2] != group[:2] or before.channels != group.channels):
                msg = "header has a copied group without one like it in front"
                raise FormatError(msg)
            codings.append(coding)
        fields = (width, height, mode, sample_type, channels, bits, frames_after, checksum, tuple(codings))
        if not any(coding.learned for coding in codings):
            return cls(*fields, flat=flat)
        tile_log2, model = reader.byte(), reader.text()
        if not is_model_name(model):
            msg = f"header names a model {model!r}, which no model can be called"
            raise FormatError(msg)
        if not MIN_TILE_LOG2 <= tile_log2 <= MAX_TILE_LOG2:
            msg = f"header says tiles of 2**{tile_log2} pixels"
            raise FormatError(msg)
        return cls(*fields, tile_log2, model, bytes(reader.take(IDENTITY_BYTES)), flat)


def _read_samples(reader: Reader, number: int) -> tuple[str, SampleType, int]:
    """The mode of that number, its sample type and channels, 0 where one has no axis. Raises as Header.unpack."""
    if number >= len(_NUMBERS):
        msg = f"mode {number} is not supported by this version"
        raise UnsupportedError(msg)
    if number:
        mode = list(_NUMBERS)[number]
        name, channels = MODES[mode]
        return mode, next(kind for kind in SAMPLE_TYPES if kind.name == name), channels
    kind, channels = reader.byte(), reader.varint()
    if kind >= len(SAMPLE_TYPES):
        msg = f"samples of type {kind} are not supported by this version"
        raise UnsupportedError(msg)
    if not (0 if may_be_flat(SAMPLE_TYPES[kind].name) else 1) <= channels <= MAX_CHANNELS:
        msg = f"header says {channels} channels, 1 to {MAX_CHANNELS} are allowed"
        raise FormatError(msg)
    return "", SAMPLE_TYPES[kind], channels


def _read_coding(reader: Reader, group: Group) -> Coding:
    """How `group` is coded. Raises FormatError or UnsupportedError."""
    byte = reader.byte()
    kind, equal = byte & ~EQUAL_CHANNELS, bool(byte & EQUAL_CHANNELS)
    if kind > COPIED:
        msg = f"header says coding {kind}, which is not supported by this version"
        raise UnsupportedError(msg)
    impossible = kind in (LEARNED, ADAPTED) and not group.top
    if impossible or (equal and (group.channels < 2 or kind == COPIED)):
        msg = f"header says coding {byte} for a group that cannot have it"
        raise FormatError(msg)
    if kind != CONSTANT:
        return Coding(kind, equal)
    values = bytes(reader.take(1 if equal else group.channels))
    if max(values) >> group.bits:
        msg = f"header has a value of {max(values)} where {group.bits} bits are all"
        raise FormatError(msg)
    return Coding(kind, equal, values)


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
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80 and (byte or not shift):
                return value
            if not byte:
                msg = f"{self.name} has a number with zeros to spare before byte {self.at}"
                raise FormatError(msg)
        msg = f"{self.name} has a number of more than 63 bits before byte {self.at}"
        raise FormatError(msg)

    def byte(self) -> int:
        """The next byte. Raises TruncatedError."""
        return self.take(1)[0]

    def text(self) -> str:
        """The next text: a byte that says its length, and ASCII. Raises FormatError or TruncatedError."""
        encoded = bytes(self.take(self.byte()))
        try:
            return encoded.decode("ascii")
        except UnicodeDecodeError as error:
            msg = f"{self.name} has a text that is not ASCII: {encoded!r}"
            raise FormatError(msg) from error

    def inflated(self, size: int) -> bytes:
        """What all bytes left inflate to, one raw deflate stream of `size` bytes. Raises FormatError.

        No more than that is ever unpacked.
        """
        inflater = zlib.decompressobj(-15)
        try:
            unpacked = inflater.decompress(self.take(self.left), size + 1)
        except zlib.error as error:
            msg = f"{self.name} cannot be inflated: {error}"
            raise FormatError(msg) from error
        if len(unpacked) != size or not inflater.eof or inflater.unused_data:
            msg = f"{self.name} does not inflate to {size} bytes"
            raise FormatError(msg)
        return unpacked

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


def pack_deflated(data: bytes, level: int = 9) -> bytes:
    """A raw deflate stream."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def pack_section(tag: bytes, payload: bytes) -> bytes:
    """A section: tag of 4 letters, length, payload, CRC-32 of all three."""
    body = tag + pack_varint(len(payload)) + payload
    return body + struct.pack("<I", zlib.crc32(body))


def write_start() -> bytes:
    """What stands in front of the first section: signature and version."""
    return SIGNATURE + bytes((VERSION,))


def read_start(data: bytes | memoryview) -> Reader:
    """A reader standing in front of the first section. Raises FormatError, TruncatedError or UnsupportedError."""
    reader = Reader(data, "file")
    signature = bytes(reader.data[: len(SIGNATURE)])
    if signature != SIGNATURE:
        if SIGNATURE.startswith(signature):
            msg = f"file ends at byte {len(signature)}, inside the signature"
            raise TruncatedError(msg)
        msg = "not a .llc file: wrong signature"
        raise FormatError(msg)
    reader.take(len(SIGNATURE))
    version = reader.byte()
    if version != VERSION:
        msg = f"format version {version} is not supported by this version, which reads {VERSION}"
        raise UnsupportedError(msg)
    return reader


def write_frame(header: Header, sections: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A frame: its header and `sections` of (tag, payload)."""
    return b"".join((pack_section(HEAD, header.pack()), *(pack_section(*section) for section in sections)))


def read_header(reader: Reader) -> Header:
    """The header of the frame that `reader` stands in front of. Raises LLCError."""
    tag, payload = _read_section(reader, MAX_HEADER_BYTES)
    if tag != HEAD:
        msg = f"section {tag!r} where {HEAD!r} was expected"
        raise FormatError(msg)
    return Header.unpack(payload)


class Sections:
    """The sections of a frame behind its header, read off one by one and checked."""

    def __init__(self, reader: Reader) -> None:
        """reader: standing behind the header of a frame."""
        self.reader = reader

    def take(self, tag: bytes) -> Reader:
        """A reader of the next section but ancillary ones, which must be `tag`. Raises FormatError."""
        self._expect(tag)
        return Reader(_read_section(self.reader, self.reader.left)[1], f"section {tag!r}")

    def skip(self, tag: bytes) -> None:
        """Pass the next section but ancillary ones, which must be `tag`, without looking into it. Raises as `take`."""
        self._expect(tag)
        _, length = _open_section(self.reader, self.reader.left)
        self.reader.take(length + 4)

    def count(self) -> int:
        """Pass all sections that are whole, up to the end or the next frame; returns how many are not ancillary.

        Raises FormatError where one is damaged.
        """
        count = 0
        try:
            while self._next() not in (b"", HEAD):
                _read_section(self.reader, self.reader.left)
                count += 1
        except TruncatedError:
            pass
        return count

    def in_front(self) -> Iterator[tuple[bytes, memoryview]]:
        """Read the ancillary sections in front of the next that is not, (tag, payload) each.

        Their tags begin with a small letter: they may be skipped by who does not know them.
        """
        while self._tag()[:1].islower():
            yield _read_section(self.reader, self.reader.left)

    def finish(self) -> None:
        """Go to the next frame or the end. Raises FormatError where another section stands in between."""
        found = self._next()
        if not HEAD.startswith(found):
            msg = f"section {found!r} behind the last of its frame"
            raise FormatError(msg)

    def _expect(self, tag: bytes) -> None:
        """Go to the next section but ancillary ones, which must be `tag`."""
        found = self._next()
        if len(found) < len(tag):
            msg = f"file ends before section {tag!r}"
            raise TruncatedError(msg)
        if found != tag:
            msg = f"section {found!r} where {tag!r} was expected"
            raise FormatError(msg)

    def _next(self) -> bytes:
        """Tag of the next section that is not ancillary, in front of which the reader then stands; cut by the end."""
        for _ in self.in_front():
            pass
        return self._tag()

    def _tag(self) -> bytes:
        return bytes(self.reader.data[self.reader.at : self.reader.at + 4])


def _read_section(reader: Reader, limit: int) -> tuple[bytes, memoryview]:
    """The next section, its checksum compared; `limit` is the longest payload allowed."""
    start = reader.at
    tag, length = _open_section(reader, limit)
    payload = reader.take(length)
    body = reader.data[start : reader.at]
    (checksum,) = struct.unpack("<I", reader.take(4))
    if zlib.crc32(body) != checksum:
        msg = f"section {tag!r} at byte {start} is damaged: its checksum does not match"
        raise FormatError(msg)
    return tag, payload


def _open_section(reader: Reader, limit: int) -> tuple[bytes, int]:
    """The tag of the next section and the length of its payload, in front of which `reader` then stands."""
    start = reader.at
    tag = bytes(reader.take(4))
    length = reader.varint()
    if length > limit and reader.left > limit:
        msg = f"section {tag!r} at byte {start} is {length} bytes long, at most {limit} are allowed"
        raise FormatError(msg)
    return tag, length


def pack_text(text: str) -> bytes:
    """Length byte and ASCII."""
    encoded = text.encode("ascii")
    return bytes((len(encoded),)) + encoded
