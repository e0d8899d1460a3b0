"""Views of an image: a region, every scale-th pixel of it, and which tiles it touches."""

from __future__ import annotations

from collections.abc import Iterator
from operator import index
from typing import TYPE_CHECKING

from llicti_core.engines.base import TileRect
from llicti_core.pyramid import level_size
from llicti_core.records import NamedTuple
from llicti_core.spec import MAX_VIEW_LEVEL

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

SCALES = tuple(1 << level for level in range(MAX_VIEW_LEVEL + 1))
"""At which an image can be decoded: 1 for all pixels, 2 for every second of each row and column, up to 32."""

Region = tuple[int, int, int, int]
"""x, y, width and height, in pixels of the image."""


class View(NamedTuple):
    """The pixels of a region whose row and column in it are multiples of 2**level.

    x, y, width, height: the region, in pixels of the image. level: 0 to 5.
    """

    x: int
    y: int
    width: int
    height: int
    level: int

    @classmethod
    def of(cls, width: int, height: int, scale: int = 1, region: Region | None = None) -> View:
        """A view of an image of this size. scale: one of SCALES; region: all of the image where it is None.

        Raises ValueError where the image has no such view.
        """
        if scale not in SCALES:
            msg = f"scale must be one of {', '.join(map(str, SCALES))}, not {scale}"
            raise ValueError(msg)
        x, y, wide, high = (0, 0, width, height) if region is None else map(index, region)
        if not (0 <= x < x + wide <= width and 0 <= y < y + high <= height):
            msg = f"region of {wide}x{high} pixels at {x}, {y} is empty or reaches beyond the image of {width}x{height}"
            raise ValueError(msg)
        if x % scale or y % scale:
            msg = f"region at {x}, {y}: at scale {scale} x and y must be multiples of it"
            raise ValueError(msg)
        return cls(x, y, wide, high, scale.bit_length() - 1)

    @property
    def rows(self) -> int:
        """Rows of pixels that it has."""
        return level_size(self.height, self.level)

    @property
    def columns(self) -> int:
        """Pixels in a row."""
        return level_size(self.width, self.level)

    def is_whole(self, width: int, height: int) -> bool:
        """Whether it is all of an image of this size."""
        return (self.width, self.height, self.level) == (width, height, 0)

    def touches(self, tile: TileRect) -> bool:
        """Whether any pixel of `tile` lies in the region."""
        inside = tile.y < self.y + self.height and tile.x < self.x + self.width
        return inside and self.y < tile.y + tile.height and self.x < tile.x + tile.width

    def place(self, tile: TileRect) -> TileRect:
        """`tile` as seen from the region's first pixel."""
        return tile._replace(y=tile.y - self.y, x=tile.x - self.x)

    def put(self, out: bytearray, tile: TileRect, values: bytes | bytearray, channels: int) -> None:
        """Copy what it has of `values`, a tile's bytes, into `out`, its own; row by row, channels interleaved."""
        step = 1 << self.level
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
        return range(max(0, -(-first >> self.level)), min(count, -(-(first + size) >> self.level)))


class TileGrid:
    """The squares of `size` pixels a side that an image is cut into; those at the right and lower edges are smaller."""

    def __init__(self, width: int, height: int, size: int) -> None:
        self.width, self.height, self.size = width, height, size

    def __iter__(self) -> Iterator[TileRect]:
        """The tiles, row by row."""
        for y in range(0, self.height, self.size):
            for x in range(0, self.width, self.size):
                yield TileRect(y, x, min(self.size, self.height - y), min(self.size, self.width - x))

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return -(-self.width // self.size) * -(-self.height // self.size)

    def touched_pixels(self, view: View) -> int:
        """Pixels at the view's level of all tiles that it touches."""
        return self._extent(view.x, view.width, self.width, view.level) * self._extent(
            view.y, view.height, self.height, view.level
        )

    def _extent(self, first: int, count: int, limit: int, level: int) -> int:
        """Rows (or columns), at `level`, of the tiles that `count` pixels from `first` on touch."""
        start = first // self.size * self.size
        stop = min(limit, -(-(first + count) // self.size) * self.size)
        return level_size(stop - start, level)


def paste(pixels: NDArray[Any], top: int, left: int, out: NDArray[Any]) -> None:
    """Copy [rows, columns, channels] into `out`, their first row and column to `top` and `left`, which may be negative.

    What would lie outside is left out.
    """
    inside = pixels[max(0, -top) :, max(0, -left) :]
    part = out[max(0, top) :, max(0, left) :][: inside.shape[0], : inside.shape[1]]
    part[...] = inside[: part.shape[0], : part.shape[1]]
