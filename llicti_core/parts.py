"""Parts of an image: a region, every so manieth pixel of it, and which tiles it touches."""

from __future__ import annotations

from operator import index
from typing import NamedTuple

from llicti_core import spec
from llicti_core.engines.base import TileRect
from llicti_core.pyramid import level_size

SCALES = tuple(1 << scale for scale in range(spec.LEVELS + 1))
"""At which an image can be decoded: 1 for all pixels, 2 for every second of each row and column, up to 32."""

Region = tuple[int, int, int, int]
"""x, y, width and height, in pixels of the image."""


class Part(NamedTuple):
    """The pixels of a region whose row and column in it are multiples of 2**scale.

    x, y, width, height: the region, in pixels of the image. scale: 0 to 5.
    """

    x: int
    y: int
    width: int
    height: int
    scale: int

    @property
    def rows(self) -> int:
        """Rows of pixels that it has."""
        return level_size(self.height, self.scale)

    @property
    def columns(self) -> int:
        """Pixels in a row."""
        return level_size(self.width, self.scale)

    def is_whole(self, width: int, height: int) -> bool:
        """Whether it is all of an image of this size."""
        return (self.width, self.height, self.scale) == (width, height, 0)

    def touches(self, tile: TileRect) -> bool:
        """Whether any pixel of `tile` lies in the region."""
        inside = tile.y < self.y + self.height and tile.x < self.x + self.width
        return inside and self.y < tile.y + tile.height and self.x < tile.x + tile.width

    def place(self, tile: TileRect) -> TileRect:
        """`tile` as seen from the region's first pixel."""
        return tile._replace(y=tile.y - self.y, x=tile.x - self.x)

    def put(self, out: bytearray, tile: TileRect, values: bytes | bytearray, channels: int) -> None:
        """Copy what it has of `values`, a tile's bytes, into `out`, its own; row by row, channels interleaved."""
        step = 1 << self.scale
        columns = self._known(tile.x - self.x, tile.width, self.columns)
        count = len(columns)
        if not count:
            return
        for row in self._known(tile.y - self.y, tile.height, self.rows):
            target = (row * self.columns + columns.start) * channels
            start = ((row * step + self.y - tile.y) * tile.width + columns.start * step + self.x - tile.x) * channels
            stop = start + ((count - 1) * step + 1) * channels
            if step == 1:
                out[target : target + count * channels] = values[start:stop]
                continue
            for channel in range(channels):
                found = values[start + channel : stop : step * channels]
                out[target + channel : target + count * channels : channels] = found

    def _known(self, first: int, size: int, count: int) -> range:
        """Which of its `count` rows (or columns) are among `size` of the image from `first` on, seen from its own."""
        return range(max(0, -(-first >> self.scale)), min(count, -(-(first + size) >> self.scale)))


def part_of(width: int, height: int, factor: int, region: Region | None) -> Part:
    """A part of an image of this size. factor: one of SCALES; region: all of the image where it is None.

    Raises ValueError where the image has no such part.
    """
    if factor not in SCALES:
        msg = f"scale must be one of {', '.join(map(str, SCALES))}, not {factor}"
        raise ValueError(msg)
    x, y, wide, high = (0, 0, width, height) if region is None else map(index, region)
    if not (0 <= x < x + wide <= width and 0 <= y < y + high <= height):
        msg = f"region of {wide}x{high} pixels at {x}, {y} is empty or reaches beyond the image of {width}x{height}"
        raise ValueError(msg)
    if x % factor or y % factor:
        msg = f"region at {x}, {y}: at scale {factor} x and y must be multiples of it"
        raise ValueError(msg)
    return Part(x, y, wide, high, factor.bit_length() - 1)
