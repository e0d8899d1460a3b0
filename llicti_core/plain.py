"""Plain bits: a lower plane's values as they are, in the order of the pyramid (docs/format.md, 8.6).

The lower bits of deep photographs are noise that no coder makes smaller. In this order the beginning of a file holds a
small version of them too, and a region is read without the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from llicti_core.errors import FormatError
from llicti_core.payloads import Payload
from llicti_core.pyramid import level_size
from llicti_core.spec import plain_tag
from llicti_core.view import TileGrid, View, paste

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llicti_core.engines.base import TileRect


def pack(values: NDArray[np.uint8], bits: int, grid: TileGrid, levels: Sequence[int]) -> list[tuple[bytes, ...]]:
    """Tags and payloads of the sections of `levels`, all that there are, coarsest first (pyramid.section_levels).

    values: [height, width, channels], of so many bits, 1 to 8.
    """
    import numpy as np

    coarsest = len(levels) - 1
    sections: list[tuple[bytes, ...]] = []
    for section in levels:
        level, parts = min(section, coarsest), []
        for y, x, height, width in grid:
            lattice = values[y : y + height : 1 << level, x : x + width : 1 << level]
            added = lattice[_added(lattice, level < coarsest)]
            each = np.unpackbits(added[..., np.newaxis] << np.uint8(8 - bits), axis=-1, count=bits)
            parts.append(np.packbits(each).tobytes())
        sections.append((plain_tag(section), b"".join(parts)))
    return sections


def unpack(
    payloads: Mapping[int, Payload], coarsest: int, bits: int, channels: int, grid: TileGrid, view: View
) -> bytearray:
    """The values of a view, a byte each, row by row, channels interleaved.

    payloads: by level, from COARSE_LEVEL to the view's or to 0. coarsest: the level of the first of them, 3 or, of a
    small image, less. Raises FormatError or TruncatedError.
    """
    import numpy as np

    values = bytearray(view.rows * view.columns * channels)
    out = np.frombuffer(values, np.uint8).reshape(view.rows, view.columns, channels)
    finest = min(view.level, coarsest)
    starts = dict.fromkeys(payloads, 0)
    for tile in grid:
        touched = view.touches(tile)
        known = np.empty((*_lattice(tile, finest), channels), np.uint8) if touched else None
        for section, payload in payloads.items():
            level = min(section, coarsest)
            pixels = _pixels(tile, level) - (_pixels(tile, level + 1) if level < coarsest else 0)
            size = (pixels * channels * bits + 7) // 8
            if known is not None:
                lattice = known[:: 1 << (level - finest), :: 1 << (level - finest)]
                data = np.frombuffer(payload.take(starts[section], size), np.uint8)
                lattice[_added(lattice, level < coarsest)] = _values(data, bits, channels, pixels)
            starts[section] += size
        if known is not None:
            step, place = 1 << (view.level - finest), view.place(tile)
            paste(known[::step, ::step], place.y >> view.level, place.x >> view.level, out)
    for section, payload in payloads.items():
        if starts[section] != payload.size:
            msg = f"{payload.name} has {payload.size} bytes, {starts[section]} were expected"
            raise FormatError(msg)
    return values


def _lattice(tile: TileRect, level: int) -> tuple[int, int]:
    """Rows and columns of a tile's every 2**level-th pixel."""
    return level_size(tile.height, level), level_size(tile.width, level)


def _pixels(tile: TileRect, level: int) -> int:
    rows, columns = _lattice(tile, level)
    return rows * columns


def _added(lattice: NDArray[np.uint8], finer: bool) -> NDArray[np.bool_]:
    """Which pixels of a level's lattice, [rows, columns], its section has: those that no coarser level has."""
    import numpy as np

    added = np.ones(lattice.shape[:2], np.bool_)
    if finer:
        added[::2, ::2] = False
    return added


def _values(data: NDArray[np.uint8], bits: int, channels: int, pixels: int) -> NDArray[np.uint8]:
    """The values [pixels, channels] of `data`, which ends in up to seven bits that are 0. Raises FormatError."""
    import numpy as np

    each = np.unpackbits(data)
    used = pixels * channels * bits
    if each[used:].any():
        msg = "plain bits are followed by bits that are not 0"
        raise FormatError(msg)
    places = np.zeros((pixels * channels, 8), np.uint8)
    places[:, 8 - bits :] = each[:used].reshape(-1, bits)
    return np.packbits(places, axis=-1).reshape(pixels, channels)
