"""The lazy wavelet: sizes of phases and levels, and how pixels are dealt to streams (docs/format.md, 4)."""

from __future__ import annotations

from llicti_core.spec import BANDS, LANES, LEVELS, SYMBOLS_PER_STREAM


def phase_size(size: int, level: int, parity: int) -> int:
    """Rows (or columns) of a phase of `parity` at `level` in an image of `size` rows (or columns)."""
    first = parity << level
    return 0 if size <= first else (size - first - 1) // (2 << level) + 1


def level_size(size: int, level: int) -> int:
    """Rows (or columns) of the image subsampled by 2**level."""
    return -(-size >> level)


def stream_count(height: int, width: int, channels: int) -> int:
    """Streams that a tile's symbols are dealt to."""
    return max(1, (height * width * channels + SYMBOLS_PER_STREAM // 2) // SYMBOLS_PER_STREAM)


def stream_range(pixels: int, streams: int, stream: int) -> tuple[int, int]:
    """The run [start, stop) of a band's pixels, in raster order, that `stream` codes."""
    return stream * pixels // streams, (stream + 1) * pixels // streams


def coded_lanes(height: int, width: int, streams: int, stream: int) -> int:
    """Lanes of `stream` that code anything in a tile of which some channel is coded."""
    longest = 0
    for level in range(LEVELS):
        for band in BANDS:
            pixels = phase_size(height, level, band.row) * phase_size(width, level, band.column)
            start, stop = stream_range(pixels, streams, stream)
            longest = max(longest, stop - start)
    return min(LANES, longest)
