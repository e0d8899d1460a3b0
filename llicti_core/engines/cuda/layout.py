"""Where the tiles and streams of many pictures lie in the buffers that the kernels share (kernels.py says how)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llicti_core.adaptation import OUTPUTS_PER_LEVEL, AdaptedParameters
from llicti_core.engines.base import TileRect
from llicti_core.pyramid import level_size, phase_size, stream_count
from llicti_core.spec import BANDS, LANES, LEVELS, Band

Ints = NDArray[np.int64]


PARAMETERS = 16 * LANES
"""Numbers that a batch of 32 pixels takes in a buffer of parameters."""


class Step(NamedTuple):
    """The coding of one band of one scale: 0 the finest."""

    scale: int
    band: int


STEPS = [Step(scale, band) for scale in range(LEVELS - 1, -1, -1) for band in range(len(BANDS))]
"""In the order in which they are decoded."""


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


def flights(pictures: Sequence[Picture], scale: int, at_once: int) -> Iterator[list[FlightTile]]:
    """All tiles, in order, in lists of at most `at_once` pixels of the subsampled tiles, or of one tile."""
    flight: list[FlightTile] = []
    pixels = 0
    for number, picture in enumerate(pictures):
        for tile, (_, _, height, width) in enumerate(picture.tiles):
            size = level_size(height, scale) * level_size(width, scale)
            if flight and pixels + size > at_once:
                yield flight
                flight, pixels = [], 0
            flight.append(FlightTile(number, tile))
            pixels += size
    if flight:
        yield flight


class Layout:
    """The tables of the tiles that are in flight together.

    tiles int64 [tiles, 11], streams int64 [streams, 4]: see kernels.py. outputs int8 [pictures, 5, 3, 2, 60]:
    adapted parameters, zeros where a picture has none. adaptations: of each picture. runs int64
    [15, streams]: pixels of each stream in each step. batches int64 [16, streams]: where each step begins in the buffer
    of intervals, and where the last ends.
    pixels: of all tiles. largest: of the largest tile. lowpass: of the largest tile's coarsest phase. room: batches of
    the buffers of parameters. intervals: batches of that of intervals.
    """

    def __init__(
        self, pictures: Sequence[Picture], flight: Sequence[FlightTile], channels: int, scale: int = 0
    ) -> None:
        first = flight[0].picture
        shown = pictures[first : flight[-1].picture + 1]
        bytes_before = np.cumsum([0, *(picture.rows * picture.columns * channels for picture in pictures)])
        self._full = [pictures[number].tiles[tile] for number, tile in flight]
        self.tiles = np.zeros((len(flight), 11), np.int64)
        self.pixels = self.largest = self.lowpass = lowpass_bytes = 0
        for row, (number, _), (y, x, height, width) in zip(self.tiles, flight, self._full, strict=True):
            picture = pictures[number]
            rows, columns = level_size(height, scale), level_size(width, scale)
            row[:3] = rows, columns, stream_count(height, width, channels)
            row[3:6] = self.pixels, number - first, lowpass_bytes
            row[6:] = bytes_before[number], y >> scale, x >> scale, picture.rows, picture.columns
            lowpass = level_size(height, LEVELS) * level_size(width, LEVELS)
            self.pixels += rows * columns
            lowpass_bytes += lowpass * channels
            self.largest, self.lowpass = max(self.largest, rows * columns), max(self.lowpass, lowpass)
        self.outputs = np.zeros((len(shown), LEVELS * OUTPUTS_PER_LEVEL), np.int8)
        for stored, picture in zip(self.outputs, shown, strict=True):
            stored[: len(picture.adaptation.outputs)] = np.frombuffer(picture.adaptation.outputs, np.int8)
        self.adaptations = [picture.adaptation for picture in shown]

        counts = self.tiles[:, 2]
        tile_of = np.repeat(np.arange(len(flight)), counts)
        number_of = np.arange(len(tile_of)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.runs = np.stack([self._runs(tile_of, number_of, step.scale, BANDS[step.band]) for step in STEPS])
        batches = -(-self.runs // LANES)
        # Parameters of one band at a time, of those that are coded at all.
        room = batches[: 3 * (LEVELS - scale)].max(axis=0, initial=0)
        ends = np.cumsum(batches, axis=0)
        before = np.cumsum(ends[-1]) - ends[-1]
        self.batches = np.concatenate((before[np.newaxis], before + ends))
        first_batch = np.cumsum(room) - room
        self.streams = np.stack((tile_of, number_of, first_batch, first_batch * PARAMETERS), axis=1)
        self.room, self.intervals = int(room.sum()), int(ends[-1].sum())

    def _runs(self, tile: Ints, number: Ints, scale: int, band: Band) -> Ints:
        """Pixels of every stream in a band."""
        sizes = [
            phase_size(height, scale, band.row) * phase_size(width, scale, band.column)
            for _, _, height, width in self._full
        ]
        pixels, count = np.array(sizes)[tile], self.tiles[tile, 2]
        runs: Ints = (number + 1) * pixels // count - number * pixels // count
        return runs

    def lanes(self, bounds: NDArray[np.int32]) -> list[int]:
        """Lanes whose states each stream stores, for bounds [tiles, channels, 2]: none where all is constant."""
        coded = np.any(bounds[..., 0] < bounds[..., 1], axis=1)
        lanes: list[int] = np.where(coded[self.streams[:, 0]], np.minimum(self.runs.max(axis=0), LANES), 0).tolist()
        return lanes
