"""Where the tiles and streams of many pictures lie in the buffers that the kernels share (kernels.py says how)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llicti_core.engines.base import AdaptedParameters, TileRect
from llicti_core.engines.cuda import kernels
from llicti_core.pyramid import (
    coded_lanes,
    group_steps,
    level_count,
    level_size,
    network_count,
    phase_size,
    row_groups,
    segment_kinds,
    stream_count,
    stream_groups,
)
from llicti_core.spec import BANDS, COARSE_LEVEL, LANE_DELAY, LANES, PHASES, ROW_GROUP

Ints = NDArray[np.int64]

_BESIDE = 74
"""Slots of a skewed plane beside those of its columns: margins, and the delay of the lanes."""


class Pass(NamedTuple):
    """The coding of one band of one level by one network: 0 luma, 1 chroma."""

    level: int
    network: int
    band: int

    @property
    def kind(self) -> tuple[int, int]:
        """Of pyramid.segment_kinds, the one that has it."""
        return (self.level, self.network) if self.level < COARSE_LEVEL else (COARSE_LEVEL, 0)


class Picture(NamedTuple):
    """Pixels that an engine reads or writes, their tiles (see Engine.decode), and what the model is changed by."""

    rows: int
    columns: int
    tiles: Sequence[TileRect]
    adaptation: AdaptedParameters


class FlightTile(NamedTuple):
    """A tile that is in flight: number of its picture, and of the tile in it."""

    picture: int
    tile: int


def flights(pictures: Sequence[Picture], channels: int, level: int, at_once: int) -> Iterator[list[FlightTile]]:
    """All tiles, in order, in lists of those that take at most `at_once` bytes of the device, or of one tile."""
    flight: list[FlightTile] = []
    taken = 0
    for number, picture in enumerate(pictures):
        for tile, rect in enumerate(picture.tiles):
            size = _bytes_taken(rect, channels, min(level, COARSE_LEVEL))
            if flight and taken + size > at_once:
                yield flight
                flight, taken = [], 0
            flight.append(FlightTile(number, tile))
            taken += size
    if flight:
        yield flight


def _bytes_taken(rect: TileRect, channels: int, scale: int) -> int:
    """Memory on the device that a tile takes, about: pixels, dense and skewed planes, intervals and words."""
    pixels = level_size(rect.height, scale) * level_size(rect.width, scale)
    slots = row_groups(rect.height, scale) * group_steps(rect.width, scale) + _BESIDE
    size: int = 15 * pixels + (8 * channels * kernels.PITCH.value + 24 * channels * LANES) * slots
    return size


class LevelTables(NamedTuple):
    """Tables of one level, int64 [tiles or streams, FIELDS], and what takes their tiles.

    steps: int64 [bands, streams]. skewed: numbers of all skewed planes. largest: of the largest one.
    """

    level: int
    tiles: Ints
    streams: Ints
    steps: Ints
    skewed: int
    largest: int


class Layout:
    """The tables of the tiles that are in flight together.

    levels: of those that are coded, coarsest first. places: int64 [tiles, PLACE_FIELDS]. adaptations: those of
    the tiles' pictures, each once. dense: pixels of all tiles. largest: of the largest.
    """

    def __init__(
        self, pictures: Sequence[Picture], flight: Sequence[FlightTile], channels: int, level: int = 0
    ) -> None:
        """level: of the small version that is wanted."""
        adaptations = [pictures[number].adaptation for number, _ in flight]
        self.adaptations = list(dict.fromkeys(adaptations))
        self.channels = channels
        self.scale = min(level, COARSE_LEVEL)
        """That of the dense planes; of their pixels, the version has every 2**beyond-th."""
        self.beyond = level - self.scale
        self.rects = [pictures[number].tiles[tile] for number, tile in flight]
        self.level_counts = [level_count(rect.height, rect.width) for rect in self.rects]
        self.sizes = [(level_size(h, self.scale), level_size(w, self.scale)) for _, _, h, w in self.rects]
        pixels = np.array([rows * columns for rows, columns in self.sizes], np.int64)
        self.dense_at = np.cumsum(pixels) - pixels
        self.dense, self.largest = int(pixels.sum()), int(pixels.max())
        self.stream_counts = [stream_count(rect.height) for rect in self.rects]
        self.adaptation_of = [self.adaptations.index(one) for one in adaptations]
        values_before = np.cumsum([0, *(picture.rows * picture.columns * channels for picture in pictures)])
        self.places = np.array(
            [
                (
                    values_before[number],
                    rect.y >> level,
                    rect.x >> level,
                    pictures[number].rows,
                    pictures[number].columns,
                )
                for (number, _), rect in zip(flight, self.rects, strict=True)
            ],
            np.int64,
        )
        deepest = max(self.level_counts)
        self.levels = [self._tables(level) for level in range(deepest - 1, self.scale - 1, -1)]
        self.kinds = [kind for kind in segment_kinds(deepest, channels) if kind[0] >= self.scale]
        """Kinds of segments, in decoding order, that some tile has."""

    @property
    def streams(self) -> int:
        """Streams of all tiles."""
        return sum(self.stream_counts)

    def passes(self, tables: LevelTables) -> list[Pass]:
        """Those of a level, in decoding order."""
        networks = range(network_count(self.channels))
        return [Pass(tables.level, network, band) for network in networks for band in range(len(BANDS))]

    def tile_kinds(self, tile: int) -> list[int]:
        """Which of `kinds` a tile has."""
        own = segment_kinds(self.level_counts[tile], self.channels)
        return [number for number, kind in enumerate(self.kinds) if kind in own]

    def lanes(self, bounds: NDArray[np.int32]) -> list[int]:
        """Lanes whose states each stream stores, for bounds [tiles, channels, 2]: none where all is constant."""
        coded = np.any(bounds[..., 0] < bounds[..., 1], axis=1)
        return [
            coded_lanes(rect.height, rect.width, stream) if varies else 0
            for rect, count, varies in zip(self.rects, self.stream_counts, coded, strict=True)
            for stream in range(count)
        ]

    def first_rows(self) -> Ints:
        """Where each stream's rows of intervals of each pass begin, in decoding order, and the last end: [passes + 1,
        streams]."""
        counts = [tables.steps[one.band] * (1 + one.network) for tables in self.levels for one in self.passes(tables)]
        ends = np.cumsum([np.zeros(self.streams, np.int64), *counts], axis=0)
        rows: Ints = ends + (np.cumsum(ends[-1]) - ends[-1])
        return rows

    def _tables(self, level: int) -> LevelTables:
        count = kernels.FIELDS.value
        tiles = np.zeros((len(self.rects), count), np.int64)
        streams = np.zeros((self.streams, count), np.int64)
        steps = np.zeros((len(BANDS), self.streams), np.int64)
        skewed = largest = stream = 0
        for number, ((_, _, height, width), size) in enumerate(zip(self.rects, self.sizes, strict=True)):
            groups = row_groups(height, level) if level < self.level_counts[number] else 0
            pace, columns = group_steps(width, level), phase_size(width, level, 0)
            slots = (groups - 1) * pace + columns + _BESIDE if groups else 0
            row = (*size, self.dense_at[number], skewed, slots, 0, groups, number, self.adaptation_of[number])
            tiles[number] = row
            skewed += len(PHASES) * self.channels * slots * kernels.PITCH.value
            largest = max(largest, slots * kernels.PITCH.value)
            for one in range(self.stream_counts[number]):
                first, last = stream_groups(groups, self.stream_counts[number], one)
                streams[stream] = row
                streams[stream, kernels.FIRST.value], streams[stream, kernels.GROUPS.value] = first, last - first
                for band, found in enumerate(BANDS):
                    rows = phase_size(height, level, found.row)
                    steps[band, stream] = _steps(first, last, rows, phase_size(width, level, found.column), pace)
                stream += 1
        return LevelTables(level, tiles, streams, steps, skewed, largest)


def _steps(first: int, last: int, rows: int, columns: int, pace: int) -> int:
    """Steps of a stream with the row groups [first, last) in a band, as kernels._steps has them."""
    last = min(last, -(-rows // ROW_GROUP))
    if first >= last or not columns:
        return 0
    lanes = min(ROW_GROUP, rows - ROW_GROUP * (last - 1))
    return (last - 1 - first) * pace + LANE_DELAY * (lanes - 1) + columns
