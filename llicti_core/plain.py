"""Plain bits: a lower plane's values as they are, in the order of the pyramid (docs/format.md, 8.6).

The lower bits of deep photographs are noise that no coder makes smaller. In this order the beginning of a file holds a
small version of them too, and a region is read without the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from llicti_core.engines import native
from llicti_core.errors import FormatError
from llicti_core.payloads import Payload
from llicti_core.spec import plain_tag
from llicti_core.view import TileGrid, View

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def pack(values: NDArray[np.uint8], bits: int, grid: TileGrid, levels: Sequence[int]) -> list[tuple[bytes, ...]]:
    """Tags and payloads of the sections of `levels`, all that there are, coarsest first (pyramid.section_levels).

    values: contiguous, [height, width, channels], of so many bits, 1 to 8.
    """
    coarsest, pixels = len(levels) - 1, memoryview(values)
    sections: list[tuple[bytes, ...]] = []
    for section in levels:
        level = min(section, coarsest)
        parts = [native.pack_plain(pixels, tile, level, level == coarsest, bits) for tile in grid]
        sections.append((plain_tag(section), *parts))
    return sections


def unpack(
    payloads: Mapping[int, Payload], coarsest: int, bits: int, channels: int, grid: TileGrid, view: View
) -> bytearray:
    """The values of a view, a byte each, row by row, channels interleaved.

    payloads: by level, from COARSE_LEVEL to the view's or to 0. coarsest: the level of the first of them, 3 or, of a
    small image, less. Raises FormatError or TruncatedError.
    """
    shape = view.rows, view.columns, channels
    values = bytearray(view.rows * view.columns * channels)
    pixels = memoryview(values).cast("B", shape)
    for section, payload in payloads.items():
        level, start = min(section, coarsest), 0
        for tile in grid:
            size = native.plain_size(tile, channels, level, level == coarsest, bits)
            if size and view.touches(tile):
                data = payload.take(start, size)
                native.unpack_plain(data, view.place(tile), level, level == coarsest, bits, pixels, view.level)
            start += size
        if start != payload.size:
            msg = f"{payload.name} has {payload.size} bytes, {start} were expected"
            raise FormatError(msg)
    return values
