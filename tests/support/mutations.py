"""Mutations of files that keep their sections and checksums right, and what must hold of any file whatever."""

from __future__ import annotations

import contextlib
import io
import lzma
import os
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from math import inf
from random import Random
from typing import Any
from unittest import mock

import golden
import images
import numpy as np
from coding import decode_prefix, decode_with
from numpy.typing import NDArray
from PIL import Image

import llicti_core
from llicti_core import engines, models, plain
from llicti_core.container import Coding, Header, Reader, pack_section, pack_varint, write_frame, write_start
from llicti_core.engines.base import CodedTile
from llicti_core.ordinals import little_endian
from llicti_core.payloads import pack_levels
from llicti_core.pyramid import coded_lanes, level_count, level_size, section_levels, segment_kinds, stream_count
from llicti_core.samples import SAMPLE_TYPES, channel_groups
from llicti_core.spec import BLOCK, CONSTANT, DEEP_BITS, DEFLATE, FALLBACK, LEARNED, LZMA2, PLAIN, VP8L
from llicti_core.view import TileGrid

START = len(llicti_core.SIGNATURE) + 1
"""Bytes in front of the first section."""

NUMBERS = (0, 1, 2, 3, 31, 32, 33, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1)
"""Where numbers begin to need another byte, or sizes stop to fit."""

TAGS = (
    b"HEAD",
    b"PLTE",
    b"LEVL",
    b"GENR",
    b"ADPT",
    b"LVL3",
    b"LVL2",
    b"LVL0",
    b"BIT3",
    b"BIT0",
    b"MORE",
    b"note",
    b"text",
    b"trns",
)

MAX_BYTES = 1 << 22
"""The largest images that are decoded."""

LIMITS: dict[str, Any] = {"max_bytes": MAX_BYTES, "max_pixels": MAX_BYTES}

OPTIONS = llicti_core.DecodeOptions(threads=1, **LIMITS)

MAX_FRAMES = 5
"""The most frames of a file that are looked at."""

REFERENCE_BYTES = 4000
"""The largest images that are decoded by the reference engine too, which is slow."""

Section = tuple[bytes, bytes]
Mutate = Callable[[bytes, Random], bytes]


def seeds() -> dict[str, bytes]:
    """Small files to begin with: golden ones that the model codes, and one for each other thing a file can hold."""
    found = {path.stem: path.read_bytes() for path in golden.files() if path.stat().st_size < 3200}
    pixels = images.smooth(13, 11)
    deep = images.smooth(9, 12, seed=1).astype(np.uint16) * 257 + pixels[:9, :11].repeat(2, 1)[:, :12]
    colours = llicti_core.Palette("RGBA", bytes(range(64)))
    found["alpha"] = _encoded(np.dstack((pixels, pixels[..., :1] // 100)))
    found["opaque"] = _encoded(np.dstack((pixels, pixels[..., :1] | 255)))
    found["palette"] = _encoded(pixels[..., 0] % 13, mode="P", palette=colours)
    found["bilevel"] = _encoded(pixels[..., 0] > 120)
    found["sixteen"] = _encoded(deep)
    found["table"] = _encoded(deep[..., 0] // 5000 * 5000)
    found["integers"] = _encoded(deep[..., 1].astype(np.int32) * -70000)
    found["floats"] = _encoded((deep[..., 2] / 7).astype(np.float32))
    found["doubles"] = _encoded(deep[..., 2] // 700 / 7)
    found["five"] = _encoded(np.dstack((pixels, pixels[..., :2] // 9)))
    found["grey"] = _encoded(pixels[..., :1].repeat(3, 2))
    found["drawing"] = _encoded(pixels // 64 * 64)
    found["constant"] = _encoded(np.full((200, 300, 3), 7, np.uint8))
    blobs: dict[str, Any] = {"icc_profile": b"profile" * 9, "exif": b"II*", "xmp": b"<x/>", "text": {"a": "b" * 50}}
    numbers: dict[str, Any] = {"dpi": (72.0, 72.5), "gamma": 0.45, "transparency": 3, "loop": 2, "duration": 40.0}
    found["described"] = _encoded(pixels[..., 0], metadata=llicti_core.Metadata(**blobs, **numbers, background=(1, 2)))
    found["animation"] = llicti_core.join([found["described"], found["palette"], found["drawing"], found["table"]])
    return found


def _encoded(pixels: NDArray[Any], **options: Any) -> bytes:
    """A file coded by a model that takes next to no time, even with sanitizers."""
    with mock.patch.dict(os.environ, LLICTI_MODEL_PATH=str(golden.FIXTURES)):
        return llicti_core.encode(pixels, model="fixture-b", effort=0, threads=1, **options)


def split(data: bytes) -> tuple[bytes, list[Section], bytes]:
    """What is in front of the sections, each one's tag and payload, and what follows the last that is whole."""
    sections, at = [], START
    while at + 5 <= len(data):
        length, place = 0, at + 4
        for shift in range(0, 63, 7):
            byte = data[place] if place < len(data) else 0x80
            place += 1
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        else:
            break
        if place + length + 4 > len(data):
            break
        sections.append((data[at : at + 4], data[place : place + length]))
        at = place + length + 4
    return data[:START], sections, data[at:]


def join(start: bytes, sections: Sequence[Section], rest: bytes = b"") -> bytes:
    """A file of these, every section's checksum right."""
    return b"".join((start, *(pack_section(tag, payload) for tag, payload in sections), rest))


def mutate(data: bytes, rng: Random, others: Sequence[bytes] = (), mutate_bytes: Mutate | None = None) -> bytes:
    """One to three changes of a file's sections, with their checksums right again.

    others: files to take sections from. mutate_bytes: how the bytes of a payload change, in place of `changed_bytes`.
    """
    start, sections, rest = split(data)
    if rng.random() < 0.7:
        sections = apart(sections)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if not sections or rng.random() < 0.25:
            _change_sections(sections, rng, others)
            continue
        place = rng.randrange(len(sections))
        if sections[place][0] != b"HEAD" and rng.random() < 0.2:
            place = 0
        tag, payload = sections[place]
        change = rng.random()
        if change < 0.04:
            payload = payload[: rng.randrange(4)] + bomb(rng.choice(BOMBS), rng.choice((10_000, 1_000_000)))
        elif change < 0.3 and tag == b"HEAD":
            payload = _other_header(payload, rng)
        elif change < 0.6:
            payload = _changed_inside(tag, payload, rng, mutate_bytes or changed_bytes)
        else:
            payload = (mutate_bytes or changed_bytes)(payload, rng)
        sections[place] = tag, payload
    if rng.random() < 0.4:
        sections = _together(sections)
    changed = join(start, sections, rest)
    return changed_bytes(changed, rng) if rng.random() < 0.03 else changed


def apart(sections: Sequence[Section]) -> list[Section]:
    """Payloads that are in HEAD as sections of their own."""
    found: list[Section] = []
    for tag, payload in sections:
        try:
            found += golden.apart(payload) if tag == b"HEAD" else [(tag, payload)]
        except llicti_core.LLCError:
            found.append((tag, payload))
    return found


def _together(sections: Sequence[Section]) -> list[Section]:
    """The reverse: the payloads of sections that are not ancillary in the HEAD before them."""
    found: list[Section] = []
    inside: list[bytes] = []

    def end_frame() -> None:
        for place in range(len(found) - 1, -1, -1):
            if found[place][0] == b"HEAD" and inside:
                lengths = [*(pack_varint(len(payload)) for payload in inside[:-1]), b""]
                more = b"".join(length + payload for length, payload in zip(lengths, inside, strict=True))
                found[place] = b"HEAD", found[place][1] + more
                break
        inside.clear()

    for tag, payload in sections:
        if tag == b"HEAD" or tag[:1].islower() or not found:
            end_frame() if tag == b"HEAD" else None
            found.append((tag, payload))
        else:
            inside.append(payload)
    end_frame()
    return found


def _change_sections(sections: list[Section], rng: Random, others: Sequence[bytes]) -> None:
    """Take one away, repeat one, move one, rename one, add one, or put another file's in place of one."""
    place = rng.randrange(len(sections) + 1)
    one = rng.choice(sections) if sections else (b"HEAD", b"")
    change = rng.randrange(6)
    if change == 0 or (change == 1 and others):
        foreign = split(rng.choice(others))[1] if others else [(rng.choice(TAGS), rng.randbytes(rng.randrange(9)))]
        same = [other for other in foreign if other[0] == one[0]]
        found = rng.choice(same or foreign or [one])
        if change and one in sections:
            sections[sections.index(one)] = found
        else:
            sections.insert(place, found)
    elif change == 2:
        sections[:] = sections[:place] + sections[place + 1 :]
    elif change == 3:
        sections.insert(place, one)
    elif change == 4:
        sections.insert(place, sections.pop(rng.randrange(len(sections)))) if sections else None
    elif sections:
        place = rng.randrange(len(sections))
        sections[place] = rng.choice(TAGS), sections[place][1]


def changed_bytes(data: bytes, rng: Random) -> bytes:
    """One change of some bytes: a bit, a byte, a number, some more or less of them."""
    changed = bytearray(data)
    at = rng.randrange(len(changed) + 1)
    end = min(len(changed), at + rng.choice((1, 1, 2, 4, 8, 40)))
    change = rng.randrange(8)
    if change == 0 and end > at:
        changed[at] ^= 1 << rng.randrange(8)
    elif change == 1 and end > at:
        changed[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    elif change == 2:
        changed[at:end] = pack_varint(rng.choice(NUMBERS))
    elif change == 3:
        number = rng.choice(NUMBERS) & 0xFFFFFFFF
        changed[at : at + 4] = struct.pack("<I", number)
    elif change == 4:
        changed[at:end] = rng.randbytes(end - at)
    elif change == 5:
        del changed[at:end]
    elif change == 6:
        changed[at:at] = changed[at:end] * rng.choice((1, 2, 50))
    else:
        changed[at:at] = rng.randbytes(rng.randrange(1, 9))
    return bytes(changed)


def _changed_inside(tag: bytes, payload: bytes, rng: Random, mutate_bytes: Mutate) -> bytes:
    """A payload changed in what is compressed in it, if it is, and compressed again, its own checksums right."""
    start, kind = 0, "deflate"
    if tag == b"LEVL":
        start = 1 + next((at for at, byte in enumerate(payload) if byte < 0x80), 0)
    elif tag == b"PLTE" and payload[1:2] in (b"\1", b"\2"):
        start = 2
    elif tag == b"GENR":
        start, kind = 1, "lzma" if payload[:1] == b"\1" else "deflate"
    elif tag[:1].islower() and payload[:1] == b"\1":
        start = 1
    else:
        return mutate_bytes(payload, rng)
    try:
        content = _unpack(kind, payload[start:])
    except (zlib.error, lzma.LZMAError, EOFError):
        return mutate_bytes(payload, rng)
    return payload[:start] + pack(kind, mutate_bytes(content, rng))


def _other_header(payload: bytes, rng: Random) -> bytes:
    """A header with another width, height or both, a little off or far; or other codings; or another type's samples."""
    reader = Reader(payload, "header")
    try:
        header = Header.read(reader)
    except llicti_core.LLCError:
        return payload
    after = payload[reader.at :]
    if not header.mode and rng.random() < 0.3:
        kind = rng.choice([kind for kind in SAMPLE_TYPES if kind.size == header.sample_type.size])
        return header._replace(sample_type=kind, flat=rng.random() < 0.5).pack() + after
    if rng.random() < 0.3:
        return header._replace(codings=_other_codings(header.codings, rng)).pack() + after
    sizes = [header.width, header.height]
    place = rng.randrange(2)
    sizes[place] = rng.choice(
        (*NUMBERS, sizes[place] + 1, max(1, sizes[place] - 1), sizes[place] * 2, sizes[1 - place])
    )
    if rng.random() < 0.2:
        sizes.reverse()
    try:
        return header._replace(width=sizes[0], height=sizes[1]).pack() + after
    except struct.error:  # more than the field holds
        return payload


def _other_codings(codings: Sequence[Coding], rng: Random) -> tuple[Coding, ...]:
    """Codings one of which is another, or one more or less than there are."""
    changed = list(codings)
    place = rng.randrange(len(changed))
    one = changed[place]
    change = rng.randrange(5)
    if change == 0 or (change == 1 and one.learned):
        changed[place] = one._replace(deep=not one.deep)
    elif change == 1:
        changed[place] = one._replace(equal=not one.equal)
    elif change == 2:
        changed[place] = one._replace(kind=rng.randrange(PLAIN + 1), deep=rng.random() < 0.5)
    elif change == 3:
        changed.insert(place, one)
    else:
        del changed[place]
    return tuple(changed)


BOMBS = ("deflate", "lzma")


_LZMA: list[dict[str, Any]] = [{"id": lzma.FILTER_LZMA2, "preset": 6}]

_LZMA_PACKED: list[dict[str, Any]] = [{"id": lzma.FILTER_LZMA2, "preset": 0}]
"""With a small dictionary: that of preset 6 makes an encoder of 94 MiB, too much beside what the fuzzer holds."""

UNPACKED = 1 << 20
"""The most bytes of a section that are unpacked to be changed."""


def pack(kind: str, *contents: bytes) -> bytes:
    """`contents`, one after the other, compressed in one of the ways of the format."""
    if kind == "lzma":
        return lzma.compress(b"".join(contents), lzma.FORMAT_RAW, filters=_LZMA_PACKED)
    packer = zlib.compressobj(9, wbits=-15)
    return b"".join((*map(packer.compress, contents), packer.flush()))


def _unpack(kind: str, packed: bytes) -> bytes:
    """The beginning of what is compressed. Raises what the libraries raise."""
    if kind == "lzma":
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_LZMA).decompress(packed, UNPACKED)
    return zlib.decompressobj(-15).decompress(packed, UNPACKED)


@cache
def bomb(kind: str, size: int) -> bytes:
    """`size` zeros, compressed."""
    return pack(kind, bytes(size))


def costly(rng: Random) -> bytes:
    """A file that costs much for its size, and is right in all else, or nearly: what it states is there, compressed."""
    return rng.choice((_costly_table, _costly_fallback, _costly_tile, _costly_strip, _costly_container))(rng)


def _costly_table(rng: Random) -> bytes:
    """An image of one value of a large value table."""
    kind = rng.choice([kind for kind in SAMPLE_TYPES if kind.size > 1])
    count = rng.choice((1 << 16, 1 << 20, 1 << 22, 1 << 24, (1 << 24) + 1, rng.randint(2, 1 << 18)))
    count, bits = (count, (count - 1).bit_length()) if kind.size > 2 else (1 << 15, 15)
    gaps = pack("deflate", bytes((rng.randint(1, 3),)) * count, *(bytes(count) for _ in range(kind.size - 1)))
    channels = rng.randint(1, 5)
    codings = [Coding(CONSTANT, values=bytes(group.channels)) for group in channel_groups(bits, channels)]
    header = Header(count, rng.randint(1, 9), "", kind, channels, bits, 0, 0, tuple(codings))
    return write_start() + write_frame(header, [(b"LEVL", pack_varint(count) + gaps)])


def _costly_fallback(rng: Random) -> bytes:
    """A large image of zeros by any of the fallback coders."""
    kind, channels = rng.choice(SAMPLE_TYPES), rng.choice((1, 1, 3, 4, 30))
    width, height = rng.choice((500, 4096, 9000)), rng.choice((1, 500, 3000))
    payloads = []
    for group in channel_groups(kind.bits, channels):
        coder, name = rng.choice(((DEFLATE, "deflate"), (DEFLATE, "deflate"), (LZMA2, "lzma"), (VP8L, "")))
        widths = [min(BLOCK, width - x) for x in range(0, width, BLOCK)]
        column = height * group.channels
        packed = [bomb(name, wide * column) if name else _black(wide, height) for wide in widths]
        blocks = [bytes((coder,)) + block for block in packed]
        payloads.append((b"GENR", b"".join((*(pack_varint(len(block)) for block in blocks[:-1]), *blocks))))
    header = Header(width, height, "", kind, channels, 0, 0, 0, (Coding(FALLBACK),) * len(payloads))
    return write_start() + write_frame(header, payloads)


@cache
def _black(width: int, height: int) -> bytes:
    """The chunk VP8L of a black image."""
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "WEBP", lossless=True)
    (length,) = struct.unpack_from("<I", file.getvalue(), 16)
    return file.getvalue()[20 : 20 + length]


def _costly_tile(rng: Random) -> bytes:
    """A large image by a model: of one value, or of random words that are decoded for as long as they last."""
    with mock.patch.dict(os.environ, LLICTI_MODEL_PATH=str(golden.FIXTURES)):
        model = models.load("fixture-b")
    tile_log2 = rng.choice((10, 12, 13, 15))
    channels, deep = rng.choice((1, 3)), rng.random() < 0.3
    width, height = rng.randint(1, 1 << 13), rng.choice((40, 1 << 10, 1 << 13))
    if deep:  # whose plain bits are there
        width, height = min(width, 800), min(height, 800)
    high = rng.choice((0, 1, 5))
    tiles: list[CodedTile] = []
    grid = TileGrid(width, height, 1 << tile_log2)
    for tile in grid:
        levels, streams = level_count(tile.height, tile.width), stream_count(tile.height)
        middle = (1 << DEEP_BITS - 1).to_bytes(2, "little") if deep else b"\x80"
        lowpass = middle * (channels * level_size(tile.height, levels) * level_size(tile.width, levels))
        segments = [
            [rng.randbytes(2 * rng.randrange(20)) if high else b"" for _ in range(streams)]
            for _ in segment_kinds(levels, channels)
        ]
        if high:
            states = [struct.pack("<I", 1 << 20) * coded_lanes(*tile[2:], stream) for stream in range(streams)]
            segments[0] = [state + words for state, words in zip(states, segments[0], strict=True)]
        tiles.append(CodedTile([(0, high)] * channels, lowpass, segments))
    payloads: list[tuple[bytes, ...]] = pack_levels(tiles, channels)
    codings, kind = [Coding(LEARNED, deep=deep)], SAMPLE_TYPES[0]
    if deep:
        codings.append(Coding(PLAIN))
        kind = next(kind for kind in SAMPLE_TYPES if kind.name == "uint16")
        shown = section_levels(level_count(*next(iter(grid))[2:]))
        zeros = np.zeros((height, width, channels), np.uint8)
        below = plain.pack(zeros, kind.bits - DEEP_BITS, grid, shown)
        payloads = [section for same_level in zip(payloads, below, strict=True) for section in same_level]
    identity = {"tile_log2": tile_log2, "model": model.spec.name, "identity": model.identity}
    header = Header(width, height, "", kind, channels, 0, 0, 0, tuple(codings), **identity)
    return write_start() + write_frame(header, payloads)


def _costly_strip(rng: Random) -> bytes:
    """An image a pixel wide or high, of one value: of tiles there is nothing but their number."""
    tile_log2 = rng.choice((6, 6, 7, 15))
    length = rng.choice((1 << 10, 1 << 16, 1 << 19))
    with mock.patch.dict(os.environ, LLICTI_MODEL_PATH=str(golden.FIXTURES)):
        model = models.load("fixture-b")
    width, height = rng.choice(((1, length), (length, 1)))
    tiles: list[CodedTile] = []
    for tile in TileGrid(width, height, 1 << tile_log2):
        levels = level_count(tile.height, tile.width)
        lowpass = b"\x80" * level_size(max(tile.height, tile.width), levels)
        tiles.append(CodedTile([(0, 0)], lowpass, [[b""] * stream_count(tile.height)] * len(segment_kinds(levels, 1))))
    payloads = pack_levels(tiles, 1)
    identity = {"tile_log2": tile_log2, "model": model.spec.name, "identity": model.identity}
    checksum = zlib.crc32(b"\x80" * length)
    header = Header(width, height, "", SAMPLE_TYPES[0], 1, 0, 0, checksum, (Coding(LEARNED),), **identity)
    return write_start() + write_frame(header, payloads)


def _costly_container(rng: Random) -> bytes:
    """Many frames, or frames that are not there; many ancillary sections; metadata that unpacks to much."""
    header = Header(1, 1, "L", SAMPLE_TYPES[0], 1, 0, 0, zlib.crc32(b"\7"), (Coding(CONSTANT, values=b"\7"),))
    count = rng.choice((1, 2, 3000))
    missing = rng.choice((0, 1, 2**62))
    small = [(rng.choice((b"aaaa", b"cmnt", b"time")), b"")] * rng.choice((0, 1, 10_000))
    large = [(b"text", b"\1" + bomb("deflate", rng.choice((1 << 10, 1 << 24, 1 << 25))))] * rng.randint(0, 2)
    parts = [write_start()]
    for index in range(count):
        stated = header._replace(frames_after=count - 1 - index + missing)
        parts.append(write_frame(stated, [*(large if index < 3 else ()), *(small if index < 3 else ())]))
    return b"".join(parts)


def with_right_checksums(data: bytes) -> bytes:
    """The same file, its headers stating the checksums of the pixels that it really decodes to, where it does."""
    start, sections, rest = split(data)
    for _ in range(sum(tag == b"HEAD" for tag, _ in sections)):
        seen: list[int] = []

        def recorded(content: Any, *rest: Any, seen: list[int] = seen) -> int:
            seen.append(_crc32(content, *rest))
            return seen[-1]

        with mock.patch("zlib.crc32", recorded):
            try:
                data = join(start, sections, rest)
                for frame in range(min(MAX_FRAMES, llicti_core.inspect(data).n_frames)):
                    llicti_core.decode(data, frame=frame, threads=1, **LIMITS)
            except llicti_core.LLCError as error:
                if "checksum in the header" not in str(error):
                    break
            else:
                break
        for place, (tag, payload) in enumerate(sections):
            if tag == b"HEAD":
                reader = Reader(payload, "header")
                header = Header.read(reader)
                if header.checksum not in seen:
                    sections[place] = tag, header._replace(checksum=seen[-1]).pack() + payload[reader.at :]
                    break
    return join(start, sections, rest)


_crc32 = zlib.crc32


def check(data: bytes, seconds: float = inf) -> bool:
    """Whether a file decodes, all of it that is looked at. Raises what is no LLCError, and AssertionError where what
    it decodes to is no image, or a frame takes longer than so many seconds of processor time."""
    try:
        count = llicti_core.inspect(data).n_frames
    except llicti_core.LLCError:
        return False
    decoded = [_check_frame(data, index, seconds) for index in range(min(count, MAX_FRAMES))]
    if all(decoded) and count <= MAX_FRAMES:
        try:
            joined = llicti_core.join([data, data])
        except llicti_core.LLCError:
            _assert_not_verified(data)
            return True
        for index in (0, count, 2 * count - 1):
            for read in (_described, llicti_core.read_metadata):
                assert repr(read(joined, frame=index)) == repr(read(data, frame=index % count)), (
                    "joining changes frames"
                )
    return all(decoded)


def _assert_not_verified(data: bytes) -> None:
    """What decodes and cannot be joined has something in it that `verify` tells of."""
    try:
        llicti_core.verify(data)
    except llicti_core.LLCError:
        return
    msg = "a file without a fault cannot be joined"
    raise AssertionError(msg)


def _described(data: bytes, frame: int) -> object:
    """What a frame holds but for the number of frames, which joining changes."""
    found = llicti_core.open(data)[frame]
    return found.info._replace(n_frames=0), found.decode_bytes(options=OPTIONS), found.palette


def _check_frame(data: bytes, index: int, seconds: float) -> bool:
    """Whether a frame decodes."""
    info = pixels = None
    start = time.process_time()
    try:
        info = llicti_core.inspect(data, frame=index)
        metadata = llicti_core.read_metadata(data, frame=index)
        palette = llicti_core.read_palette(data, frame=index)
        pixels = llicti_core.decode(data, frame=index, threads=1, **LIMITS)
    except llicti_core.LLCError:
        pass
    took = time.process_time() - start
    assert took <= seconds, f"decoding takes {took:.1f} s"
    if pixels is not None:
        _check_again(data, index, pixels, palette, metadata)
    if info:
        _check_parts(data, index, info, pixels, Random(data))
    return pixels is not None


def _check_again(
    data: bytes, index: int, pixels: NDArray[Any], palette: llicti_core.Palette | None, metadata: llicti_core.Metadata
) -> None:
    """An image that has been decoded is one that can be encoded; all engines decode the same."""
    mode = llicti_core.inspect(data, frame=index).mode or None
    coded = _encoded(pixels, mode=mode, palette=palette, metadata=metadata)
    assert same(llicti_core.decode(coded, threads=1), pixels), "does not survive being coded again"
    assert llicti_core.read_palette(coded) == palette, "does not survive being coded again"
    described = {name: value for name, value in metadata._asdict().items() if value not in (None, b"", {})}
    kept = {name: value for name, value in llicti_core.read_metadata(coded)._asdict().items() if value is not None}
    assert described == kept, "metadata does not survive being stored again"
    if pixels.nbytes <= REFERENCE_BYTES:
        reference = decode_with(engines.get("reference"), data, frame=index)
        assert reference == little_endian(np.ascontiguousarray(pixels)).tobytes(), "engines differ"


def _check_parts(
    data: bytes, index: int, info: llicti_core.ImageInfo, pixels: NDArray[Any] | None, rng: Random
) -> None:
    """Small versions, regions and beginnings are parts of the whole, where that decodes."""
    scale = rng.choice(llicti_core.SCALES)
    x, y = rng.randrange(info.width) // scale * scale, rng.randrange(info.height) // scale * scale
    width, height = rng.randint(1, info.width - x), rng.randint(1, info.height - y)
    if rng.random() < 0.3:  # of an image of any size
        width, height = min(width, 60), min(height, 60)
    part = pixels is not None and pixels[y : y + height : scale, x : x + width : scale]
    try:
        region = x, y, width, height
        for source in (data, io.BytesIO(data)):  # of an open file no more is read than it takes
            found = llicti_core.decode(source, frame=index, scale=scale, region=region, threads=1, **LIMITS)
            assert pixels is None or same(found, part), "a part is not of the whole"
    except llicti_core.LLCError:
        assert pixels is None, "a part of what decodes does not"
    if index:
        return
    try:
        found, scale = decode_prefix(data[: rng.randint(0, len(data))], threads=1, **LIMITS)
        assert pixels is None or same(found, pixels[::scale, ::scale]), "a beginning is not of the whole"
    except llicti_core.LLCError:
        pass


def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays are the same bit for bit."""
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def check_pillow(data: bytes) -> None:
    """Open and load a file with Pillow. Raises what is neither OSError nor Pillow's own concern about size."""
    allowed = OSError, Image.DecompressionBombError, Image.DecompressionBombWarning
    limited = mock.patch.object(Image, "MAX_IMAGE_PIXELS", MAX_BYTES // 4)
    with limited, contextlib.suppress(*allowed), Image.open(io.BytesIO(data)) as image:
        image.load()
        for index in range(1, min(MAX_FRAMES, getattr(image, "n_frames", 1))):
            image.seek(index)
            image.load()
