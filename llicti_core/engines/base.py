"""What an engine is: it codes the tiles of a channel group, to the same bits as every other engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from llicti_core.records import NamedTuple

if TYPE_CHECKING:
    from llicti_core.models import Model

AdaptedParameters = bytes
"""An image's own change of the networks, as a file has it: the payload of ADPT (docs/format.md, 5.2); empty where
nothing is changed. adaptation.py makes and reads it."""

NOT_ADAPTED: AdaptedParameters = b""


class TileRect(NamedTuple):
    """A tile's place in the image, in pixels."""

    y: int
    x: int
    height: int
    width: int


class CodedTile(NamedTuple):
    """A coded tile.

    bounds: least and greatest value of each channel (Y, Co, Cg, or Y alone).
    lowpass: the pixels of the coarsest phase 00, row by row, channels interleaved; of ten bits two
        bytes each, little endian.
    segments: by kind, in decoding order, then by stream: a rANS stream's bytes (docs/format.md, 7). The kinds are the
        levels from 3 on together, then, of levels 2, 1 and 0, as far as the tile has them, each one's luma and, with
        three channels, its chroma (pyramid.segment_kinds). To decode a subsampled image, the finer levels may be
        missing.
    """

    bounds: list[tuple[int, int]]
    lowpass: bytes
    segments: list[list[bytes]]


class TiledImage(NamedTuple):
    """What an engine codes: the pixels of a channel group, how they are cut into tiles, and what predicts them.

    pixels: contiguous, [height, width, 1 or 3], bytes (format "B"), or 16 bits in native order (format "H") where
        values have ten bits; to be decoded into, they must be writable. A memory view, since importing NumPy would
        be most of the time that decoding a small image takes.
    tiles: without overlap, in the order of the file.
    adaptation: an engine checks it.
    bits: of a value, 8 (or fewer) or 10.
    """

    pixels: memoryview
    tiles: Sequence[TileRect]
    model: Model
    adaptation: AdaptedParameters
    bits: int = 8

    @property
    def channels(self) -> int:
        """1 or 3."""
        assert self.pixels.shape is not None
        return self.pixels.shape[2]


class Engine(Protocol):
    """Codes the tiles of an image. Files and pixels do not depend on which engine does it, nor on `threads`."""

    name: str

    def encode(self, image: TiledImage, threads: int) -> list[CodedTile]:
        """Code all tiles of `image`."""
        ...

    def decode(self, image: TiledImage, coded: Sequence[CodedTile], threads: int, level: int = 0) -> None:
        """Decode `coded` into the pixels of `image`.

        level: 0 to 5; the pixels are every 2**level'th of each row and column, and `coded` need hold no more than the
            levels from the coarsest to this one. Tiles are always as large as they were coded, and placed in units of
            the pixels not subsampled, from the first of `image.pixels`: at multiples of 2**level, which may be
            negative. What of a tile lies outside the pixels is left out.

        Raises FormatError where no encoder can have written the data, or the adaptation.
        """
        ...
