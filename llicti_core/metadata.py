"""Metadata: what a file says of an image beside its pixels, to ancillary sections and back (docs/format.md, 2.5)."""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from llicti_core.compression import deflate, inflate
from llicti_core.container import Reader, pack_varint
from llicti_core.errors import FormatError, UnsupportedError
from llicti_core.records import NamedTuple
from llicti_core.spec import (
    BLOB_DEFLATED,
    BLOB_STORED,
    MAX_METADATA_BYTES,
    MAX_TEXT_BYTES,
    MAX_TEXTS,
    METADATA_TAGS,
    OWN_METADATA_TAGS,
)


class Metadata(NamedTuple):
    """What is known of an image beside its pixels; nothing here changes any of them. None: not known.

    icc_profile, exif, xmp, comment: kept byte for byte, whatever is in them. dpi: horizontal and vertical
    resolution in pixels per inch. text: texts by name, such as "Title" and "Author" in PNG files.
    transparency: the one pixel value that is transparent (a grey level or a palette index, or red, green and
    blue), or the alpha of every palette entry as bytes. background: a pixel value to show around the image.
    gamma: as in PNG files. loop: how often frames are to be shown, 0 without end. duration: how long a frame
    is to be shown, in milliseconds. Whole numbers of dpi and duration come back as int, others as float.

    In a file of several frames, those after the first have its metadata where they have none of a kind
    themselves, but for transparency and duration.
    """

    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    comment: bytes | None = None
    text: Mapping[str, str] | None = None
    dpi: tuple[float, float] | None = None
    gamma: float | None = None
    transparency: bytes | int | tuple[int, ...] | None = None
    background: int | tuple[int, ...] | None = None
    loop: int | None = None
    duration: float | None = None

    def sections(self) -> list[tuple[bytes, bytes]]:
        """The sections to store, (tag, payload) each, none for what is None or empty. Raises UnsupportedError."""
        left = stored = MAX_METADATA_BYTES
        packed = []
        for name, value in zip(self._fields, self, strict=True):
            if value is None or value in (b"", {}):
                continue
            field = _FIELDS[name]
            try:
                raw = field.pack(value)
            except (AttributeError, TypeError, ValueError, OverflowError, struct.error) as error:
                msg = f"cannot store {name} {value!r:.80}: {error}"
                raise UnsupportedError(msg) from error
            payload = _deflated(raw) if field.deflated else raw
            left, stored = left - len(raw), stored - len(payload)
            if min(left, stored) < 0 or (name == "text" and len(raw) > MAX_TEXT_BYTES):
                msg = f"cannot store {name}: {len(raw)} bytes are too much metadata"
                raise UnsupportedError(msg)
            packed.append((METADATA_TAGS[name], payload))
        return packed

    @classmethod
    def from_sections(cls, sections: Iterable[tuple[bytes, bytes | memoryview]]) -> Metadata:
        """Read what `sections` gave; tags that mean nothing here are passed over. Raises FormatError."""
        return cls(**read_kinds(sections))


def read_kinds(sections: Iterable[tuple[bytes, bytes | memoryview]]) -> dict[str, Any]:
    """The kinds of metadata that have a section, None where that is empty. Raises as Metadata.from_sections."""
    left = stored = MAX_METADATA_BYTES
    found: dict[str, Any] = {}
    for tag, payload in sections:
        name = _NAMES.get(tag)
        if name is None:
            continue
        if name in found:
            msg = f"section {tag!r} occurs twice"
            raise FormatError(msg)
        found[name] = None
        stored -= len(payload)
        if not len(payload):
            continue
        raw: bytes | memoryview = payload
        if _FIELDS[name].deflated:
            raw = _inflated(payload, tag, MAX_TEXT_BYTES if name == "text" else left)
        left -= len(raw)
        reader = Reader(raw, f"section {tag!r}")
        try:
            found[name] = _FIELDS[name].unpack(reader)
            reader.finish()
        except FormatError:
            raise
        except (struct.error, ValueError) as error:
            msg = f"section {tag!r} cannot be read: {error}"
            raise FormatError(msg) from error
    if min(left, stored) < 0:
        msg = f"metadata has more than {MAX_METADATA_BYTES} bytes"
        raise FormatError(msg)
    return found


class _Field(NamedTuple):
    """How one kind of metadata is stored. deflated: its payload is packed by `_deflated`."""

    pack: Callable[[Any], bytes]
    unpack: Callable[[Reader], Any]
    deflated: bool = False


def _deflated(raw: bytes) -> bytes:
    """A byte that says how, then `raw` as it is or deflated, whichever is shorter."""
    packed = deflate(raw)
    return bytes((BLOB_DEFLATED,)) + packed if len(packed) < len(raw) else bytes((BLOB_STORED,)) + raw


def _inflated(payload: bytes | memoryview, tag: bytes, limit: int) -> bytes | memoryview:
    """What `_deflated` packed. Raises FormatError where that is damaged or more than `limit` bytes."""
    how, packed = payload[0], payload[1:]
    if how == BLOB_DEFLATED:
        return inflate(packed, limit, f"section {tag!r}")
    if how != BLOB_STORED:
        msg = f"section {tag!r} is packed in the unknown way {how}"
        raise FormatError(msg)
    if len(packed) > limit:
        msg = f"section {tag!r} has more than {limit} bytes"
        raise FormatError(msg)
    return packed


def _pack_blob(value: bytes) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        msg = "bytes are needed"
        raise TypeError(msg)
    return bytes(value)


def _unpack_blob(reader: Reader) -> bytes:
    return bytes(reader.take(reader.left))


def _pack_text(texts: Mapping[str, str]) -> bytes:
    """Names and texts in turn: length, UTF-8."""
    if len(texts) > MAX_TEXTS:
        msg = f"at most {MAX_TEXTS} texts can be stored"
        raise ValueError(msg)
    encoded = [part.encode() for pair in texts.items() for part in pair]
    return b"".join(pack_varint(len(part)) + part for part in encoded)


def _unpack_text(reader: Reader) -> dict[str, str]:
    texts: dict[str, str] = {}
    while reader.left:
        name, text = (str(reader.take(reader.varint()), "utf-8") for _ in range(2))
        if name in texts or len(texts) == MAX_TEXTS:
            msg = f"the name {name!r:.40} occurs twice" if name in texts else f"more than {MAX_TEXTS} texts"
            raise ValueError(msg)
        texts[name] = text
    return texts


def _pack_measures(*values: float) -> bytes:
    measures = [float(value) for value in values]
    if not all(map(_is_measure, measures)):
        msg = "numbers must be finite and not negative"
        raise ValueError(msg)
    return struct.pack(f"<{len(measures)}d", *measures)


def _is_measure(value: float) -> bool:
    return math.isfinite(value) and value >= 0


def _pack_resolution(dpi: tuple[float, float]) -> bytes:
    horizontal, vertical = dpi
    return _pack_measures(horizontal, vertical)


def _unpack_measures(reader: Reader, count: int) -> tuple[float, ...]:
    values: tuple[float, ...] = struct.unpack(f"<{count}d", reader.take(8 * count))
    if not all(map(_is_measure, values)):
        msg = "numbers must be finite and not negative"
        raise ValueError(msg)
    return values


def _unpack_measure(reader: Reader) -> float:
    return _unpack_measures(reader, 1)[0]


def _unpack_resolution(reader: Reader) -> tuple[float, ...]:
    return tuple(map(_whole, _unpack_measures(reader, 2)))


def _unpack_duration(reader: Reader) -> float:
    return _whole(_unpack_measure(reader))


def _whole(value: float) -> float:
    """`value`, as an int where it is a whole number: writers of other formats take no float of it."""
    return int(value) if value.is_integer() and value < 2**53 else value


def _pack_value(value: bytes | int | Sequence[int]) -> bytes:
    """A pixel value: how many numbers of 16 bits, and these; or 0, and bytes."""
    if isinstance(value, (bytes, bytearray)):
        if len(value) > 256:
            msg = "a palette has at most 256 entries"
            raise ValueError(msg)
        return b"\0" + bytes(value)
    numbers = tuple(map(operator.index, value)) if isinstance(value, Sequence) else (operator.index(value),)
    if not (2 if isinstance(value, Sequence) else 1) <= len(numbers) <= 4:
        msg = "it takes a number, or two to four of them"
        raise ValueError(msg)
    return struct.pack(f"<B{len(numbers)}H", len(numbers), *numbers)


def _unpack_value(reader: Reader) -> bytes | int | tuple[int, ...]:
    count = reader.take(1)[0]
    if not count:
        if reader.left > 256:
            msg = "more than 256 alphas"
            raise ValueError(msg)
        return _unpack_blob(reader)
    if count > 4:
        msg = f"a pixel value of {count} numbers"
        raise ValueError(msg)
    numbers: tuple[int, ...] = struct.unpack(f"<{count}H", reader.take(2 * count))
    return numbers[0] if count == 1 else numbers


def _pack_count(value: int) -> bytes:
    if not 0 <= value < 2**63:
        msg = "a number of 0 to 2**63-1 is needed"
        raise ValueError(msg)
    return pack_varint(operator.index(value))


_FIELDS = {
    "icc_profile": _Field(_pack_blob, _unpack_blob, deflated=True),
    "exif": _Field(_pack_blob, _unpack_blob, deflated=True),
    "xmp": _Field(_pack_blob, _unpack_blob, deflated=True),
    "comment": _Field(_pack_blob, _unpack_blob, deflated=True),
    "text": _Field(_pack_text, _unpack_text, deflated=True),
    "dpi": _Field(_pack_resolution, _unpack_resolution),
    "gamma": _Field(_pack_measures, _unpack_measure),
    "transparency": _Field(_pack_value, _unpack_value),
    "background": _Field(_pack_value, _unpack_value),
    "loop": _Field(_pack_count, Reader.varint),
    "duration": _Field(_pack_measures, _unpack_duration),
}
_NAMES = {tag: name for name, tag in METADATA_TAGS.items()}

TAGS = frozenset(_NAMES)
"""Sections of metadata."""

SHARED_TAGS = TAGS - OWN_METADATA_TAGS
"""Those that hold for the frames after the first, too, where it has them."""

SHARED_KINDS = frozenset(_NAMES[tag] for tag in SHARED_TAGS)
"""The same, by their names."""
