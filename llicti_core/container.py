"""The container: signature, header, length-prefixed sections with checksums (docs/format.md, 2); bytes, not pixels."""

from __future__ import annotations

import struct
import zlib
from _thread import RLock
from array import array
from collections.abc import Iterable, Iterator, Sequence

from llicti_core.compression import inflate
from llicti_core.errors import FormatError, TruncatedError, UnsupportedError
from llicti_core.names import is_model_name
from llicti_core.pyramid import level_count, section_levels
from llicti_core.records import NamedTuple
from llicti_core.samples import (
    MODES,
    PALETTE_MODES,
    SAMPLE_TYPES,
    ChannelGroup,
    SampleType,
    channel_groups,
    channel_sets,
    may_be_flat,
    plane_groups,
)
from llicti_core.source import Source, exactly
from llicti_core.spec import (
    ADAPTED,
    ADPT,
    COARSE_LEVEL,
    CONSTANT,
    COPIED,
    DEEP,
    DEEP_BITS,
    EQUAL_CHANNELS,
    FALLBACK,
    GENR,
    HAS_VALUE_TABLE,
    HEAD,
    IDENTITY_BYTES,
    JOINED,
    LEARNED,
    LEVL,
    MAX_CHANNELS,
    MAX_HEADER_BYTES,
    MAX_SIZE,
    MAX_TILE_LOG2,
    MIN_TILE_LOG2,
    PLAIN,
    PLTE,
    SIGNATURE,
    VERSION,
    level_tag,
    plain_tag,
)

_CHECKSUM_BYTES = 4

_MAX_BEFORE_PAYLOAD = 13
"""Bytes of a section's tag and length, at most."""

_MAX_HEADER = MAX_HEADER_BYTES - len(SIGNATURE) - 1
"""Bytes of a section HEAD, at most: with the signature and the version before it, MAX_HEADER_BYTES."""

_MAX_SMALL = MAX_HEADER_BYTES // 2
"""Bytes of a header with other sections' payloads in it, about: all of it is read where the file is opened."""

_LEVELS = range(COARSE_LEVEL + 1)

_TAGS = frozenset((HEAD, PLTE, LEVL, GENR, ADPT, *map(level_tag, _LEVELS), *map(plain_tag, _LEVELS)))
"""Of all sections that are not ancillary."""

_CHECKED_AT_ONCE = 1 << 20
"""Bytes that are held in memory to compare a checksum."""

_NUMBERS = {mode: number for number, mode in enumerate(("", *MODES))}


class Coding(NamedTuple):
    """How a channel group is coded.

    kind: one of the seven of spec.py. equal: whether its three channels are equal and coded as one. values: those of a
    constant group, one or a byte for each channel. deep: whether a learned group, or what a copy is of, has ten bits.
    """

    kind: int
    equal: bool = False
    values: bytes = b""
    deep: bool = False

    @property
    def learned(self) -> bool:
        """Whether a model codes the group."""
        return self.kind in (LEARNED, ADAPTED)

    def stored(self, group: ChannelGroup) -> int:
        """Channels that are coded."""
        return 1 if self.equal else group.channels

    def pack(self) -> bytes:
        """What the header says of it."""
        deep = DEEP if self.deep and self.learned else 0
        return bytes((self.kind | deep | (EQUAL_CHANNELS if self.equal else 0),)) + self.values


class Header(NamedTuple):
    """What a HEAD section says of a frame.

    width, height: pixels, 1 or more. mode: Pillow's name, or none. sample_type: what a sample is. channels: samples
    of a pixel. bits: of an index, where there is a value table; else 0. frames_after: frames that follow this one.
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
    def groups(self) -> list[ChannelGroup]:
        """The groups that `codings` are of."""
        top = self.codings[: len(channel_sets(self.channels))]
        return channel_groups(self.bits or self.sample_type.bits, self.channels, [coding.deep for coding in top])

    @property
    def learned(self) -> int:
        """How many groups are."""
        return sum(coding.learned for coding in self.codings)

    @property
    def by_level(self) -> int:
        """How many groups have a section for each level."""
        return sum(coding.learned or coding.kind == PLAIN for coding in self.codings)

    @property
    def layout(self) -> list[tuple[bytes, int]]:
        """The sections that follow the header, in order: the tag, and the number of the group, -1 for none."""
        kinds = [coding.kind for coding in self.codings]
        learned = [number for number, coding in enumerate(self.codings) if coding.learned]
        plain = [number for number, kind in enumerate(kinds) if kind == PLAIN]
        fallback = [(GENR, number) for number, kind in enumerate(kinds) if kind == FALLBACK]
        top = sum(group.top for group in self.groups)
        found = [(PLTE, -1)] if self.mode in PALETTE_MODES else []
        found += [(LEVL, -1)] if self.bits else []
        found += [section for section in fallback if section[1] < top]
        found += [(ADPT, number) for number in learned if kinds[number] == ADAPTED]
        for level in self.section_levels if learned else ():
            found += [(level_tag(level), number) for number in learned]
            found += [(plain_tag(level), number) for number in plain]
        return found + [section for section in fallback if section[1] >= top]

    @property
    def section_levels(self) -> list[int]:
        """The levels that a learned group has sections of, see pyramid.section_levels; the first tile has the most."""
        height, width = (min(size, 1 << self.tile_log2) for size in (self.height, self.width))
        return section_levels(level_count(height, width))

    @property
    def scalable(self) -> bool:
        """Whether the beginning of the frame can hold a small version: no fallback group follows the finest level."""
        lower = (coding for group, coding in zip(self.groups, self.codings, strict=True) if not group.top)
        return self.learned > 0 and not any(coding.kind == FALLBACK for coding in lower)

    def pack(self) -> bytes:
        """The payload of the HEAD section, without those of other sections."""
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
        parts += [coding.pack() for coding in self.codings]
        if self.learned:
            parts += [bytes((self.tile_log2,)), pack_text(self.model), self.identity]
        return b"".join(parts)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Header:
        """Read the payload of a HEAD section that has no other sections' in it. Raises as `read`."""
        reader = Reader(payload, "header")
        header = cls.read(reader)
        reader.finish()
        return header

    @classmethod
    def read(cls, reader: Reader) -> Header:
        """Read what `pack` gave; more may follow it. Raises FormatError or UnsupportedError."""
        try:
            return cls._read(reader)
        except TruncatedError as error:  # of the header, not of the file
            raise FormatError(str(error)) from error

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
        codings = _read_codings(reader, bits or sample_type.bits, channels)
        fields = (width, height, mode, sample_type, channels, bits, frames_after, checksum, tuple(codings))
        if not any(coding.learned for coding in codings):
            if any(coding.kind == PLAIN for coding in codings):
                msg = "header says plain bits without a learned group"
                raise FormatError(msg)
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


def _read_codings(reader: Reader, bits: int, channels: int) -> list[Coding]:
    """How the groups of an image are coded whose ordinals have so many bits. Raises FormatError or UnsupportedError."""
    codings: list[Coding] = []
    before: tuple[ChannelGroup, Coding] | None = None
    for first, count in channel_sets(channels):
        group = plane_groups(bits, first, count)[0]
        codings.append(_read_coding(reader, group, bits, before))
        before = group, codings[-1]
    top = len(codings)
    layout = channel_groups(bits, channels, [coding.deep for coding in codings])
    for last, group in zip(layout[top - 1 :], layout[top:], strict=False):
        before = (last, codings[-1]) if last[:2] == group[:2] else None
        codings.append(_read_coding(reader, group, bits, before))
    return codings


def _read_coding(reader: Reader, group: ChannelGroup, bits: int, before: tuple[ChannelGroup, Coding] | None) -> Coding:
    """How `group` is coded, in an image whose ordinals have so many bits.

    before: the group before it in its plane, if that has the same bits. Raises FormatError or UnsupportedError.
    """
    byte = reader.byte()
    kind, equal, deep = byte & ~(EQUAL_CHANNELS | DEEP), bool(byte & EQUAL_CHANNELS), bool(byte & DEEP)
    learned = kind in (LEARNED, ADAPTED)
    if kind > PLAIN or (deep and not learned) or (equal and kind in (COPIED, JOINED)):
        msg = f"header says coding {byte}, which is not supported by this version"
        raise UnsupportedError(msg)
    if kind == COPIED and not (before and before[0].channels == group.channels):
        msg = "header has a copied group without one like it before"
        raise FormatError(msg)
    if kind == JOINED and not (before and before[1].kind == FALLBACK):
        msg = "header has a joined group without a fallback-coded one before"
        raise FormatError(msg)
    impossible = (learned and not group.top) or (kind == PLAIN and group.top)
    if impossible or (deep and bits < DEEP_BITS) or (equal and group.channels < 2):
        msg = f"header says coding {byte} for a group that cannot have it"
        raise FormatError(msg)
    if kind != CONSTANT:
        return Coding(kind, equal, deep=before[1].deep if kind == COPIED and before else deep)
    values = bytes(reader.take(1 if equal else group.channels))
    if max(values) >> group.bits:
        msg = f"header says value {max(values)}, which does not fit in {group.bits} bits"
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
                msg = f"{self.name} has non-canonical LEB128 before byte {self.at}"
                raise FormatError(msg)
        msg = f"{self.name} has LEB128 of more than 63 bits before byte {self.at}"
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
        """What all bytes left inflate to, one raw deflate stream of `size` bytes. Raises FormatError."""
        unpacked = inflate(self.take(self.left), size, self.name)
        if len(unpacked) != size:
            msg = f"{self.name} inflates to {len(unpacked)} bytes, {size} were expected"
            raise FormatError(msg)
        return unpacked

    @property
    def left(self) -> int:
        """Bytes not yet taken."""
        return len(self.data) - self.at

    def finish(self) -> None:
        """Raises FormatError where bytes are left."""
        if self.left:
            msg = f"{self.name} has {self.left} bytes of trailing data"
            raise FormatError(msg)


def pack_varint(value: int) -> bytes:
    """LEB128: 7 bits a byte, least significant first, high bit set on all but the last."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def pack_section(tag: bytes, *payload: bytes) -> bytes:
    """A section: tag of 4 letters, length, payload, which may be in parts, CRC-32 of all three."""
    return b"".join(_section_parts(tag, *payload))


def _section_parts(tag: bytes, *payload: bytes) -> tuple[bytes, ...]:
    """The same in parts: a large payload is not copied."""
    start = tag + pack_varint(sum(map(len, payload)))
    checksum = 0
    for part in (start, *payload):
        checksum = zlib.crc32(part, checksum)
    return start, *payload, struct.pack("<I", checksum)


def write_start() -> bytes:
    """What comes before the first section: signature and version."""
    return SIGNATURE + bytes((VERSION,))


def read_start(source: Source) -> int:
    """Check signature and version; returns where the first section begins.

    Raises FormatError, TruncatedError or UnsupportedError.
    """
    start = bytes(source.upto(0, len(SIGNATURE) + 1))
    if not start.startswith(SIGNATURE):
        if SIGNATURE.startswith(start):
            msg = f"file ends at byte {len(start)}, inside the signature"
            raise TruncatedError(msg)
        msg = "not a .llc file: wrong signature"
        raise FormatError(msg)
    if len(start) == len(SIGNATURE):
        msg = f"file ends at byte {len(start)}, before its version"
        raise TruncatedError(msg)
    if start[-1] != VERSION:
        msg = f"format version {start[-1]} is not supported by this version, which reads {VERSION}"
        raise UnsupportedError(msg)
    return len(start)


def write_frame(header: Header, sections: Iterable[tuple[bytes, ...]]) -> bytes:
    """A frame: its header and `sections` of (tag, payload), or of (tag, parts of the payload ...)."""
    return b"".join(_frame_parts(header, sections))


def write_file(header: Header, sections: Sequence[tuple[bytes, ...]]) -> bytes:
    """A file of one frame, the payloads of whose sections are in HEAD where clause 2.3 allows it and they are short.

    Not where some are ancillary: at the end of a file, where they would be then, damage can make them bytes that mean
    nothing.
    """
    size = len(header.pack()) + sum(len(part) for _, *payload in sections for part in payload)
    if header.learned or size > _MAX_SMALL or any(tag[:1].islower() for tag, *_ in sections):
        return b"".join((write_start(), *_frame_parts(header, sections)))
    return write_start() + pack_head(header, [b"".join(payload) for _, *payload in sections])


def _frame_parts(header: Header, sections: Iterable[tuple[bytes, ...]]) -> Iterator[bytes]:
    for section in ((HEAD, header.pack()), *sections):
        yield from _section_parts(*section)


def pack_head(header: Header, payloads: Sequence[bytes | memoryview] = ()) -> bytes:
    """The HEAD section. payloads: of all sections of the header's layout, where they are to be in it."""
    parts: list[bytes | memoryview] = [header.pack()]
    for payload in payloads:
        parts += [pack_varint(len(payload)), payload]
    if payloads:
        del parts[-2]  # the last one takes the rest
    return pack_section(HEAD, b"".join(parts))


class Section(NamedTuple):
    """Where a section is in a file: the first byte of its tag, that of its payload, the first one after it.

    in_head: whether it is no more than a payload, which is in HEAD and covered by its checksum.
    """

    tag: bytes
    start: int
    payload: int
    end: int
    in_head: bool = False

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return self.end - self.payload - (0 if self.in_head else _CHECKSUM_BYTES)

    @property
    def ancillary(self) -> bool:
        """Whether who does not know its tag may pass it over."""
        return self.tag[:1].islower()


def find_section(source: Source, at: int) -> Section:
    """The section that begins at byte `at`; it may run past the end of the file. Raises FormatError."""
    reader = Reader(source.upto(at, _MAX_BEFORE_PAYLOAD), f"section at byte {at}")
    try:
        tag, length = bytes(reader.take(4)), reader.varint()
    except TruncatedError as error:
        msg = f"file ends at byte {source.size}, inside the section at byte {at}"
        raise TruncatedError(msg) from error
    payload = at + reader.at
    return Section(tag, at, payload, payload + length + _CHECKSUM_BYTES)


def read_section(source: Source, section: Section) -> memoryview:
    """The payload of a section, its checksum compared; that of HEAD has been. Raises FormatError."""
    if section.in_head:
        return memoryview(exactly(source, section.payload, section.end))
    data = memoryview(exactly(source, section.start, section.end))
    body, stored = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    _compare(section, zlib.crc32(body), stored)
    return body[section.payload - section.start :]


def check_section(source: Source, section: Section) -> None:
    """Compare a section's checksum, without holding all of it in memory. Raises FormatError."""
    end, checksum = section.end - _CHECKSUM_BYTES, 0
    for at in range(section.start, end, _CHECKED_AT_ONCE):
        checksum = zlib.crc32(exactly(source, at, min(end, at + _CHECKED_AT_ONCE)), checksum)
    _compare(section, checksum, exactly(source, end, section.end))


def _compare(section: Section, checksum: int, stored: bytes | memoryview) -> None:
    if checksum != int.from_bytes(stored, "little"):
        msg = f"section {section.tag!r} at byte {section.start} is damaged: its checksum does not match"
        raise FormatError(msg)


def read_header(source: Source, at: int) -> tuple[Header, list[Section], int]:
    """The header of the frame that begins at byte `at`, the sections in it, and where the next one begins.

    Raises LLCError.
    """
    section = find_section(source, at)
    if section.tag != HEAD:
        msg = f"section {section.tag!r} where {HEAD!r} was expected"
        raise FormatError(msg)
    if section.end - at > _MAX_HEADER:
        msg = f"header at byte {at} takes {section.end - at} bytes, at most {_MAX_HEADER} are allowed"
        raise FormatError(msg)
    payload = read_section(source, section)
    reader = Reader(payload, "header")
    header = Header.read(reader)
    return header, _sections_in_head(header, reader, section.payload), section.end


def _sections_in_head(header: Header, reader: Reader, start: int) -> list[Section]:
    """The sections whose payloads follow the header in HEAD's payload, which begins at byte `start` of the file.

    Raises FormatError.
    """
    if header.learned or not header.layout:
        reader.finish()
    if not reader.left:
        return []
    found: list[Section] = []
    try:
        for number, (tag, _) in enumerate(header.layout, 1):
            size = reader.left if number == len(header.layout) else reader.varint()
            payload = start + reader.at
            reader.take(size)
            found.append(Section(tag, payload, payload, payload + size, in_head=True))
    except TruncatedError as error:  # of the header, not of the file
        raise FormatError(str(error)) from error
    return found


def find_head(source: Source, at: int) -> int | None:
    """Where the next frame begins, of which all that is known is that it is at or after the section at byte `at`.

    None where the file ends before. Only tags and lengths are looked at. Raises FormatError.
    """
    try:
        while at < source.size:
            section = find_section(source, at)
            if section.tag == HEAD:
                return at
            at = section.end
    except TruncatedError:
        pass
    return None


class Sections:
    """The sections of a frame after its header, found one by one; nothing that is in them is read.

    Several threads may ask at the same time: each method that finds sections does so alone.
    """

    def __init__(
        self, source: Source, at: int, layout: Sequence[bytes], in_head: Sequence[Section] = (), *, last: bool
    ) -> None:
        """at: where the first section after the header begins. layout: tags of those that the frame must have.

        in_head: all of these, where they are in the header. last: whether no frame follows.
        """
        self.source, self.start, self.layout, self.in_head = source, at, layout, in_head
        self._ends_with_head = last and bool(in_head)
        self._at = at
        self._found = list(in_head)
        # Ancillary sections that were passed over, by where they begin: there may be very many.
        self._passed = array("Q")
        self._checked = 0
        self._compared: set[int] = set()
        self._front: int | None = None
        self._lock = RLock()

    def front(self) -> Iterator[Section]:
        """The ancillary sections right after the header. Raises FormatError."""
        with self._lock:
            if self._front is None:
                self._pass_ancillary()
                self._front = len(self._passed)
            return (find_section(self.source, start) for start in self._passed[: self._front])

    def nth(self, number: int) -> Section:
        """Where section `number` of the layout is.

        Raises FormatError or UnsupportedError where another one is in its place.
        """
        with self._lock:
            self.front()
            while len(self._found) <= number:
                tag = self.layout[len(self._found)]
                self._pass_ancillary()
                if self._at >= self.source.size:
                    msg = f"file ends before section {tag!r}"
                    raise TruncatedError(msg)
                section = find_section(self.source, self._at)
                if section.tag != tag:
                    raise self._unexpected(section, f"where {tag!r} was expected")
                self._found.append(section)
                self._at = section.end
            return self._found[number]

    def complete(self) -> int:
        """How many of the layout's sections the file holds from beginning to end. Raises FormatError."""
        for number in range(len(self.layout)):
            try:
                if self.nth(number).end > self.source.size:
                    return number
            except TruncatedError:
                return number
        return len(self.layout)

    def next_frame(self) -> int:
        """Where the next frame begins, or the file ends, after all sections of the layout.

        Raises FormatError or UnsupportedError where another section is in between.
        """
        with self._lock:
            self._to_last()
            self._pass_ancillary()
            tag = bytes(self.source.upto(self._at, 4))
            if not HEAD.startswith(tag):
                raise self._unexpected(find_section(self.source, self._at), "after the last of its frame")
            return min(self._at, self.source.size)

    def _unexpected(self, section: Section, place: str) -> FormatError | UnsupportedError:
        """The error for a section in a place that is not its own: another one if this version does not know it.

        Raises FormatError where an unknown section is damaged.
        """
        if section.tag not in _TAGS:
            check_section(self.source, section)
            return UnsupportedError(f"section {section.tag!r} is not supported by this version")
        return FormatError(f"section {section.tag!r} {place}")

    def pass_trailing(self) -> int:
        """Where the last frame of a file ends: after its layout and any undamaged ancillary sections that follow."""
        with self._lock:
            self._to_last()
            try:
                while self._at < self.source.size:
                    section = find_section(self.source, self._at)
                    if not section.ancillary or self._means_nothing(section):
                        break
                    check_section(self.source, section)
                    self._passed.append(section.start)
                    self._at = section.end
            except FormatError:
                pass  # bytes that mean nothing
            return self._at

    def check(self, number: int) -> None:
        """Compare the checksum of section `number` of the layout, once for all that ask. Raises FormatError."""
        section = self.nth(number)
        with self._lock:
            if number not in self._compared:
                check_section(self.source, section)
                self._compared.add(number)

    def check_ancillary(self) -> None:
        """Compare the checksums of ancillary sections that were passed over and not yet checked. Raises FormatError."""
        with self._lock:
            for start in self._passed[self._checked :]:
                check_section(self.source, find_section(self.source, start))
            self._checked = len(self._passed)

    def front_is_checked(self) -> None:
        """Say that all sections of `front` have been read, and so checked."""
        with self._lock:
            self._checked = max(self._checked, self._front or 0)

    def all(self) -> Iterator[Section]:
        """Every section found so far after the header, in the order of the file."""
        with self._lock:
            found = [] if self.in_head else [section.start for section in self._found]
            starts = sorted([*self._passed, *found])
        return (find_section(self.source, start) for start in starts)

    def _to_last(self) -> None:
        if self.layout:
            self.nth(len(self.layout) - 1)
        else:
            self.front()

    def _pass_ancillary(self) -> None:
        while bytes(self.source.upto(self._at, 1)).islower():
            try:
                section = find_section(self.source, self._at)
            except FormatError:
                if self._ends_with_head:
                    break
                raise
            if self._means_nothing(section):
                break
            self._passed.append(section.start)
            self._at = section.end

    def _means_nothing(self, section: Section) -> bool:
        """Whether what follows a file's last section, HEAD, has not even the form of an ancillary one."""
        return self._ends_with_head and (section.end > self.source.size or not section.tag.isalnum())


def pack_text(text: str) -> bytes:
    """Length byte and ASCII."""
    encoded = text.encode("ascii")
    return bytes((len(encoded),)) + encoded
