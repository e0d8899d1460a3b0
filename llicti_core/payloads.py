"""What the sections of a frame hold, to bytes and back, in pairs (docs/format.md, 3.3, 3.4, 8.4 and 8.5)."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from llicti_core.container import Reader, Section, pack_text, pack_varint, read_section
from llicti_core.engines.base import CodedTile, TileRect
from llicti_core.errors import FormatError, TruncatedError, UnsupportedError
from llicti_core.pyramid import level_size, stream_count
from llicti_core.source import Source, exactly
from llicti_core.spec import CHANNEL_BOUNDS, LEVELS, MAX_PALETTE, PALETTE_CHANNELS

_BOUNDS_BYTES = 4
"""Least and greatest value of a channel."""


class Payload:
    """A section's payload: all of it, its checksum compared; or, of an open file, no more than is taken."""

    def __init__(self, source: Source, section: Section, *, whole: bool = True) -> None:
        """whole: whether to read all of it at once. Raises FormatError."""
        self.name, self.size = f"section {section.tag!r}", section.size
        self._source, self._start = source, section.payload
        self._data = read_section(source, section) if whole or source.in_memory else None

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
    """The payload of the PLTE section."""
    return pack_text(palette.mode) + palette.colors


def unpack_palette(reader: Reader) -> Palette:
    """The reverse of pack_palette. Raises FormatError or UnsupportedError."""
    palette = Palette(reader.text(), bytes(reader.take(reader.left)))
    palette.check()
    return palette


def pack_lowpass(tiles: Iterable[CodedTile]) -> bytes:
    """The payload of the COAR section: of each tile the bounds of every channel, then its lowpass."""
    parts: list[bytes] = []
    for tile in tiles:
        parts += [struct.pack("<hh", *bounds) for bounds in tile.bounds]
        parts.append(tile.lowpass)
    return b"".join(parts)


def lowpass_size(tile: TileRect, channels: int) -> int:
    """Bytes that a tile has in the COAR section."""
    return channels * (_BOUNDS_BYTES + level_size(tile.height, LEVELS) * level_size(tile.width, LEVELS))


def unpack_lowpass(payload: Payload, at: int, tile: TileRect, channels: int) -> tuple[list[tuple[int, int]], bytes]:
    """The bounds and the lowpass of a tile, of which the COAR section has lowpass_size bytes from byte `at` on.

    Raises FormatError or TruncatedError.
    """
    stored = payload.take(at, lowpass_size(tile, channels))
    bounds: list[tuple[int, int]] = []
    for channel, (least, most) in enumerate(CHANNEL_BOUNDS[:channels]):
        low, high = struct.unpack_from("<hh", stored, channel * _BOUNDS_BYTES)
        if not least <= low <= high <= most:
            msg = f"a channel's bounds are {low}..{high}, outside {least}..{most}"
            raise FormatError(msg)
        bounds.append((low, high))
    return bounds, bytes(stored[channels * _BOUNDS_BYTES :])


def pack_level(tiles: Iterable[Sequence[bytes]]) -> bytes:
    """The payload of a level's section, of each tile's segments: the length of every segment, then the segments."""
    segments = [segment for tile in tiles for segment in tile]
    return b"".join([*(pack_varint(len(segment)) for segment in segments), *segments])


class StreamIndex:
    """Which segments of a level's section are a tile's: the first of tile n is segment `first[n]`."""

    def __init__(self, tiles: Iterable[TileRect], channels: int) -> None:
        self.first = array("Q", [0])
        for tile in tiles:
            self.first.append(self.first[-1] + stream_count(tile.height, tile.width, channels))


class LevelSegments:
    """The segments in a level's section, which are read when they are asked for."""

    def __init__(self, payload: Payload, index: StreamIndex) -> None:
        """Raises FormatError where the payload is not exactly as long as its segments."""
        self._payload, self._index = payload, index
        self._starts = _starts(payload, index.first[-1])
        if self._starts[-1] != payload.size:
            msg = f"{payload.name} has {payload.size} bytes, its segments end at byte {self._starts[-1]}"
            raise FormatError(msg)

    def of(self, tile: int) -> list[bytes]:
        """The segments of a tile, stream by stream."""
        first, last = self._index.first[tile], self._index.first[tile + 1]
        start = self._starts[first]
        together = bytes(self._payload.take(start, self._starts[last] - start))
        if last == first + 1:
            return [together]
        return [together[self._starts[n] - start : self._starts[n + 1] - start] for n in range(first, last)]


def block_starts(payload: Payload, blocks: int) -> Sequence[int]:
    """Where each block of a GENR section begins, and its end. Raises FormatError or TruncatedError."""
    starts = _starts(payload, blocks - 1)
    starts.append(payload.size)
    return starts


def _starts(payload: Payload, count: int) -> array[int]:
    """Where the pieces begin whose `count` lengths a payload begins with, and where the last of them ends."""
    if count > payload.size:
        msg = f"{payload.name} ends before its {count} lengths do"
        raise TruncatedError(msg)
    guess = min(payload.size, 3 * count + 16)
    while True:
        try:
            return _read_starts(Reader(payload.take(0, guess), payload.name), count, payload.size)
        except TruncatedError:
            if guess == payload.size:
                raise
            guess = min(payload.size, 2 * guess)


def _read_starts(reader: Reader, count: int, size: int) -> array[int]:
    lengths = array("Q", (reader.varint() for _ in range(count)))
    starts, at = array("Q", [reader.at]), reader.at
    for length in lengths:
        at += length
        if at > size:
            msg = f"{reader.name} has {size} bytes, fewer than its {count} lengths say"
            raise FormatError(msg)
        starts.append(at)
    return starts
