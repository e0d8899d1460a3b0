"""What the sections of a frame hold, to bytes and back, in pairs (docs/format.md, 3.3, 3.4, 8.4 and 8.5)."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate

from llicti_core.compression import deflate, inflate
from llicti_core.container import Reader, Section, pack_varint, read_section
from llicti_core.engines.base import CodedTile, TileRect
from llicti_core.errors import FormatError, TruncatedError, UnsupportedError
from llicti_core.pyramid import level_count, level_size, network_count, section_levels, stream_count
from llicti_core.records import NamedTuple
from llicti_core.source import Source, exactly
from llicti_core.spec import (
    MAX_PALETTE,
    PALETTE_CHANNELS,
    PALETTE_DEFLATED,
    PALETTE_DIFFERENCES,
    PALETTE_STORED,
    channel_bounds,
    level_tag,
)

_BOUNDS_BYTES = 4
"""Least and greatest value of a channel."""

LEAST_LOWPASS = _BOUNDS_BYTES + 1
"""Bytes of a channel's bounds and lowpass in a tile, at least."""


class Payload:
    """A section's payload: all of it, its checksum compared; or, of an open file, no more than is taken."""

    def __init__(self, source: Source, section: Section, *, whole: bool = True) -> None:
        """whole: whether to read all of it at once. Raises FormatError."""
        self.name, self.size = f"section {section.tag!r}", section.size
        self._source, self._start = source, section.payload
        self._data = read_section(source, section) if whole or source.in_memory else None

    @property
    def is_checked(self) -> bool:
        """Whether all of it has been read, and its checksum compared."""
        return self._data is not None

    def take(self, at: int, count: int) -> bytes | memoryview:
        """`count` bytes from byte `at` on. Raises TruncatedError."""
        if at + count > self.size:
            msg = f"{self.name} ends at byte {self.size}, {count} bytes were expected at byte {at}"
            raise TruncatedError(msg)
        if self._data is not None:
            return self._data[at : at + count]
        return exactly(self._source, self._start + at, self._start + at + count)

    def reader(self) -> Reader:
        """A reader of all of it."""
        return Reader(self.take(0, self.size), self.name)


class Palette(NamedTuple):
    """The colors of an image of mode P or PA.

    mode: Pillow's name of what an entry is, such as "RGB" or "RGBA". colors: the entries, a byte a channel.
    """

    mode: str
    colors: bytes

    def check(self) -> None:
        """Raises UnsupportedError where it has no known mode, too many colors, or part of one."""
        channels = PALETTE_CHANNELS.get(self.mode)
        if channels is None:
            msg = f"palettes of mode {self.mode!r} are not supported"
            raise UnsupportedError(msg)
        size = len(self.colors)
        if size > MAX_PALETTE * channels or size % channels:
            msg = f"a palette has {size} bytes, {channels} for each of at most {MAX_PALETTE} colors are allowed"
            raise UnsupportedError(msg)


def pack_palette(palette: Palette) -> bytes:
    """The payload of the PLTE section: of the ways to pack the entries the shortest."""
    number, channels = list(PALETTE_CHANNELS).index(palette.mode), PALETTE_CHANNELS[palette.mode]
    planes = [palette.colors[channel::channels] for channel in range(channels)]
    packed = {
        PALETTE_STORED: palette.colors,
        PALETTE_DEFLATED: deflate(b"".join(planes)),
        PALETTE_DIFFERENCES: deflate(b"".join(map(_differences, planes))),
    }
    how = min(packed, key=lambda way: len(packed[way]))
    return bytes((number, how)) + packed[how]


def unpack_palette(reader: Reader) -> Palette:
    """The reverse of pack_palette. Raises FormatError or UnsupportedError."""
    number, how = reader.byte(), reader.byte()
    if number >= len(PALETTE_CHANNELS) or how > PALETTE_DIFFERENCES:
        msg = f"a palette of kind {number}, packed in way {how}, is not supported by this version"
        raise UnsupportedError(msg)
    mode, channels = list(PALETTE_CHANNELS.items())[number]
    data = reader.take(reader.left)
    values = bytes(data) if how == PALETTE_STORED else inflate(data, MAX_PALETTE * channels, reader.name)
    if len(values) > MAX_PALETTE * channels or len(values) % channels:
        msg = f"{reader.name} has {len(values)} bytes, {channels} for each of at most {MAX_PALETTE} colors are allowed"
        raise FormatError(msg)
    if how == PALETTE_STORED:
        return Palette(mode, values)
    colors, count = bytearray(len(values)), len(values) // channels
    for channel in range(channels):
        plane = values[channel * count : (channel + 1) * count]
        if how == PALETTE_DIFFERENCES:
            plane = bytes(total & 0xFF for total in accumulate(plane))
        colors[channel::channels] = plane
    return Palette(mode, bytes(colors))


def _differences(values: bytes) -> bytes:
    """Of each value from the one before it, the first from 0; modulo 256."""
    return bytes((value - before) & 0xFF for before, value in zip(b"\0" + values, values, strict=False))


def pack_levels(tiles: Sequence[CodedTile], channels: int) -> list[tuple[bytes, ...]]:
    """The sections of all levels of a learned group, coarsest first: of each its tag and the parts of its payload."""
    first, *finer = section_levels(_finer_levels(tiles[0], channels))
    parts: list[bytes] = []
    for tile in tiles:
        parts += [struct.pack("<hh", *bounds) for bounds in tile.bounds]
        parts.append(tile.lowpass)
    parts += _pack_segments([[tile.segments[0]] for tile in tiles])
    sections: list[tuple[bytes, ...]] = [(level_tag(first), *parts)]
    for level in finer:
        segments = [_level_segments(tile, level, channels) for tile in tiles]
        sections.append((level_tag(level), *_pack_segments(segments)))
    return sections


def _finer_levels(tile: CodedTile, channels: int) -> int:
    """How many levels a coded tile has beside those of the first section."""
    return (len(tile.segments) - 1) // network_count(channels)


def _level_segments(tile: CodedTile, level: int, channels: int) -> list[list[bytes]]:
    """The segments of a level, by network and stream; empty ones where the tile does not have the level."""
    networks = network_count(channels)
    start = 1 + (_finer_levels(tile, channels) - 1 - level) * networks
    if start < 1:
        return [[b""] * len(tile.segments[0])] * networks
    return tile.segments[start : start + networks]


def _pack_segments(tiles: Sequence[Sequence[Sequence[bytes]]]) -> list[bytes]:
    """The segments of each tile, by network and stream, in parts: the lengths of each stream's, then each network's."""
    streams = [stream for tile in tiles for stream in zip(*tile, strict=True)]
    parts = [b"".join(pack_varint(len(segment)) for stream in streams for segment in stream)]
    for network in zip(*tiles, strict=True):
        parts += [segment for tile in network for segment in tile]
    return parts


def lowpass_size(tile: TileRect, channels: int, bits: int) -> int:
    """Bytes of a tile's bounds and lowpass, of values of so many bits, in the section of the coarsest levels."""
    levels = level_count(tile.height, tile.width)
    pixels = level_size(tile.height, levels) * level_size(tile.width, levels)
    return channels * (_BOUNDS_BYTES + pixels * (2 if bits > 8 else 1))


def unpack_lowpass(
    payload: Payload, at: int, tile: TileRect, channels: int, bits: int
) -> tuple[list[tuple[int, int]], bytes]:
    """The bounds and the lowpass of a tile, whose lowpass_size bytes are at byte `at`.

    Raises FormatError or TruncatedError.
    """
    stored = payload.take(at, lowpass_size(tile, channels, bits))
    bounds: list[tuple[int, int]] = []
    for channel, (least, most) in enumerate(channel_bounds(bits)[:channels]):
        low, high = struct.unpack_from("<hh", stored, channel * _BOUNDS_BYTES)
        if not least <= low <= high <= most:
            msg = f"a channel's bounds are {low}..{high}, outside {least}..{most}"
            raise FormatError(msg)
        bounds.append((low, high))
    lowpass = bytes(stored[channels * _BOUNDS_BYTES :])
    if bits > 8 and max(lowpass[1::2]) >> (bits - 8):
        msg = f"{payload.name} has a value that does not fit in {bits} bits"
        raise FormatError(msg)
    return bounds, lowpass


class StreamIndex:
    """Which streams are a tile's: the first of tile n is stream `first[n]` of all."""

    def __init__(self, tiles: Iterable[TileRect]) -> None:
        self.first = array("Q", [0])
        for tile in tiles:
            self.first.append(self.first[-1] + stream_count(tile.height))


class LevelSegments:
    """The segments in a level's section, which are read when they are asked for."""

    def __init__(self, payload: Payload, at: int, index: StreamIndex, networks: int) -> None:
        """at: where their lengths begin. networks: how many segments a stream has.

        Raises FormatError where the payload is not exactly as long as its segments.
        """
        self._payload, self._index = payload, index
        streams = index.first[-1]
        lengths, end = _lengths(payload, at, streams * networks)
        if end + sum(lengths) != payload.size:
            msg = f"{payload.name} has {payload.size} bytes, its segments end at byte {end + sum(lengths)}"
            raise FormatError(msg)
        self._starts: list[array[int]] = []
        """By network: where each stream's segment begins, and where the last one ends."""
        for network in range(networks):
            starts = array("Q", [end])
            for length in lengths[network::networks]:
                starts.append(end := end + length)
            self._starts.append(starts)

    def of(self, tile: int) -> list[list[bytes]]:
        """The segments of a tile, by network and stream."""
        first, last = self._index.first[tile], self._index.first[tile + 1]
        segments: list[list[bytes]] = []
        for starts in self._starts:
            start = starts[first]
            together = bytes(self._payload.take(start, starts[last] - start))
            segments.append([together[starts[n] - start : starts[n + 1] - start] for n in range(first, last)])
        return segments

    def check_empty(self, tile: int) -> None:
        """Raises FormatError where a tile has any byte, of a level that it does not have."""
        first, last = self._index.first[tile], self._index.first[tile + 1]
        if any(starts[first] != starts[last] for starts in self._starts):
            msg = f"{self._payload.name} has data of tile {tile}, which is too small for this level"
            raise FormatError(msg)


def block_starts(payload: Payload, blocks: int) -> Sequence[int]:
    """Where each block of a GENR section begins, and its end. Raises FormatError or TruncatedError."""
    lengths, at = _lengths(payload, 0, blocks - 1)
    starts = array("Q", [at])
    for length in lengths:
        at += length
        if at > payload.size:
            msg = f"{payload.name} has {payload.size} bytes, fewer than its {blocks - 1} lengths say"
            raise FormatError(msg)
        starts.append(at)
    starts.append(payload.size)
    return starts


def _lengths(payload: Payload, at: int, count: int) -> tuple[array[int], int]:
    """The `count` lengths at byte `at` of a payload, and where they end."""
    left = payload.size - at
    if count > left:
        msg = f"{payload.name} ends before its {count} lengths do"
        raise TruncatedError(msg)
    guess = min(left, 3 * count + 16)
    while True:
        reader = Reader(payload.take(at, guess), payload.name)
        try:
            return array("Q", (reader.varint() for _ in range(count))), at + reader.at
        except TruncatedError:
            if guess == left:
                raise
            guess = min(left, 2 * guess)
