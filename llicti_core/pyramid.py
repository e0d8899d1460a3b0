"""The lazy wavelet: scales, bands, streams, and the neighbours a band is predicted from (docs/format.md, 4)."""

from __future__ import annotations

from typing import NamedTuple

SCALES = 5
"""Scales of the pyramid; 0 is the finest."""

PHASES = ("00", "11", "01", "10")
"""The four phases of a scale in coding order, named by the parity of (row, column)."""

LANES = 32
"""Interleaved rANS lanes of a stream."""

SYMBOLS_PER_STREAM = 320_000
"""About this many symbols go to one stream of a tile: some 10,000 a lane."""

_ODD = (-3, -1, 1, 3)
_EVEN = (-2, 0, 2)


class Band(NamedTuple):
    """One predicted phase of a scale.

    `neighbours` are (phase, dy, dx), offsets from the predicted pixel in units of half the scale's step;
    `nearest` are the indices of the four whose rounded mean is the base of the prediction.
    """

    name: str
    row: int
    column: int
    neighbours: tuple[tuple[str, int, int], ...]
    nearest: tuple[int, int, int, int]


def _band(name: str, *parts: tuple[str, tuple[int, ...], tuple[int, ...]]) -> Band:
    neighbours = tuple((phase, dy, dx) for phase, rows, columns in parts for dy in rows for dx in columns)
    diagonal = name == "11"
    nearest = tuple(
        index for index, (phase, dy, dx) in enumerate(neighbours) if dy * dy + dx * dx == (2 if diagonal else 1)
    )
    a, b, c, d = nearest
    return Band(name, int(name[0]), int(name[1]), neighbours, (a, b, c, d))


BANDS = (
    _band("11", ("00", _ODD, _ODD)),
    _band("01", ("00", _EVEN, _ODD), ("11", _ODD, _EVEN)),
    _band("10", ("00", _ODD, _EVEN), ("11", _EVEN, _ODD), ("01", _ODD, _ODD)),
)
"""The predicted bands in coding order, with the paper's windows (section III)."""


def phase_size(size: int, scale: int, parity: int) -> int:
    """Rows (or columns) of a phase of `parity` at `scale` in an image of `size` rows (or columns)."""
    first = parity << scale
    return 0 if size <= first else (size - first - 1) // (2 << scale) + 1


def scale_size(size: int, scale: int) -> int:
    """Rows (or columns) of the image subsampled by 2**scale."""
    return -(-size >> scale)


def stream_count(height: int, width: int, channels: int) -> int:
    """Streams that a tile's symbols are dealt to."""
    return max(1, (height * width * channels + SYMBOLS_PER_STREAM // 2) // SYMBOLS_PER_STREAM)


def stream_range(pixels: int, streams: int, stream: int) -> tuple[int, int]:
    """The run [start, stop) of a band's pixels, in raster order, that `stream` codes."""
    return stream * pixels // streams, (stream + 1) * pixels // streams


def coded_lanes(height: int, width: int, streams: int, stream: int) -> int:
    """Lanes of `stream` that code anything in a tile of which some channel is coded."""
    longest = 0
    for scale in range(SCALES):
        for band in BANDS:
            pixels = phase_size(height, scale, band.row) * phase_size(width, scale, band.column)
            start, stop = stream_range(pixels, streams, stream)
            longest = max(longest, stop - start)
    return min(LANES, longest)
