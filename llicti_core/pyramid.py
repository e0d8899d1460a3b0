"""The lazy wavelet: levels, sizes of phases, and how a band's rows are dealt to streams (docs/format.md, 4)."""

from __future__ import annotations

from llicti_core.spec import (
    COARSE_LEVEL,
    GROUP_PAD,
    GROUPS_PER_STREAM,
    LANES,
    MAX_LOWPASS,
    MIN_GROUP_STEPS,
    ROW_GROUP,
)


def level_count(height: int, width: int) -> int:
    """Levels of a tile: as many as it takes for no side of its lowpass to be longer than MAX_LOWPASS."""
    return ((max(height, width) - 1) // MAX_LOWPASS).bit_length()


def phase_size(size: int, level: int, parity: int) -> int:
    """Rows (or columns) of a phase of `parity` at `level` in an image of `size` rows (or columns)."""
    first = parity << level
    return 0 if size <= first else (size - first - 1) // (2 << level) + 1


def level_size(size: int, level: int) -> int:
    """Rows (or columns) of the image subsampled by 2**level."""
    return -(-size >> level)


def row_groups(height: int, level: int) -> int:
    """Row groups of a tile's bands at `level`."""
    return -(-phase_size(height, level, 0) // ROW_GROUP)


def group_steps(width: int, level: int) -> int:
    """Steps from the start of a row group to that of the next one of the same stream."""
    return max(MIN_GROUP_STEPS, phase_size(width, level, 0) + GROUP_PAD)


def stream_count(height: int) -> int:
    """Streams of a tile."""
    return max(1, (row_groups(height, 0) + GROUPS_PER_STREAM - 1) // GROUPS_PER_STREAM)


def stream_groups(groups: int, streams: int, stream: int) -> tuple[int, int]:
    """The row groups [first, last) of a level's `groups` that `stream` codes."""
    return stream * groups // streams, (stream + 1) * groups // streams


def coded_lanes(height: int, width: int, stream: int) -> int:
    """Lanes of `stream` that code anything in a tile of which some channel is coded."""
    most = 0
    for level in range(level_count(height, width)):
        first, last = stream_groups(row_groups(height, level), stream_count(height), stream)
        if first < last:
            most = max(most, min(LANES, phase_size(height, level, 0) - ROW_GROUP * first))
    return most


def section_levels(levels: int) -> list[int]:
    """Levels of the sections of a tile with so many levels, coarsest first.

    That of COARSE_LEVEL is always there: it holds the lowpass, and all levels from COARSE_LEVEL on.
    """
    return [COARSE_LEVEL, *range(min(levels, COARSE_LEVEL) - 1, -1, -1)]


def network_count(channels: int) -> int:
    """How many of luma and chroma a tile of so many stored channels has."""
    return 1 if channels == 1 else 2


def segment_kinds(levels: int, channels: int) -> list[tuple[int, int]]:
    """(level, network) of the segments of a tile with so many levels, in decoding order.

    network: 0 luma, 1 chroma. The first segment, (COARSE_LEVEL, 0), holds both of all levels from COARSE_LEVEL on.
    """
    first, *finer = section_levels(levels)
    return [(first, 0), *((level, network) for level in finer for network in range(network_count(channels)))]
