"""One image: pixels to sections and back, coarse to fine, the same for every engine (docs/format.md, 3)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from llicti_core import models
from llicti_core.container import (
    MAX_SIZE,
    Header,
    Reader,
    pack_varint,
    read_header,
    read_sections,
    write_file,
)
from llicti_core.engines import CORRECTIONS_PER_SCALE, Corrections, EncodedTile, Engine, Rectangle
from llicti_core.errors import FormatError, TruncatedError, UnsupportedError
from llicti_core.pyramid import SCALES, scale_size, stream_count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TILE_LOG2 = 10
"""Tiles the encoder makes: 1024 x 1024 pixels."""

CHANNEL_RANGES = ((-128, 127), (-255, 255), (-255, 255))
"""Values that Y, Co and Cg can take."""

MAX_EFFORT = 3

_CORRECTIONS = b"CORR"
_COARSE = b"COAR"
_MODES = {1: "L", 3: "RGB"}


class ImageInfo(NamedTuple):
    """What a file says of itself in its header.

    width, height: pixels. mode: "L" (grey) or "RGB". bit_depth: bits of a sub-pixel.
    tile_size: side of a tile in pixels. model: name of the model. model_identity: the first 8 bytes of its
    hash, in hex.
    """

    width: int
    height: int
    mode: str
    bit_depth: int
    tile_size: int
    model: str
    model_identity: str


def encode(pixels: NDArray[np.uint8], model: str, effort: int, threads: int, engine: Engine) -> bytes:
    """A `.llc` file of uint8 `pixels`, [height, width] or [height, width, 3]."""
    if not 0 <= effort <= MAX_EFFORT:
        msg = f"effort must be 0 to {MAX_EFFORT}, not {effort}"
        raise ValueError(msg)
    planes = _checked(pixels)
    height, width, channels = planes.shape
    weights = models.load(model)
    rectangles = list(tile_grid(width, height, TILE_LOG2))
    corrections = engine.fit(planes, rectangles, weights, effort, threads)
    tiles = engine.encode(planes, rectangles, corrections, weights, threads)
    header = Header(
        width=width,
        height=height,
        mode=_MODES[channels],
        bit_depth=8,
        tile_log2=TILE_LOG2,
        model=weights.spec.name,
        identity=weights.identity,
        checksum=zlib.crc32(planes),
    )
    sections = [(_CORRECTIONS, zlib.compress(corrections, 9))] if corrections else []
    sections.append((_COARSE, b"".join(_pack_coarse(tile) for tile in tiles)))
    for index in range(SCALES):
        sections.append((_scale_tag(index), _pack_scale([tile.segments[index] for tile in tiles])))
    return write_file(header, sections)


def decode(data: bytes | memoryview, threads: int, engine: Engine) -> tuple[ImageInfo, bytearray]:
    """The pixels of a `.llc` file, row by row, channels interleaved, and what its header says."""
    header, reader = read_header(data)
    weights = models.load_exact(header.model, header.identity)
    rectangles = list(_checked_grid(header, reader.left))
    corrections, tiles = _read_sections(header, reader, rectangles)
    shape = (header.height, header.width, header.channels)
    pixels = bytearray(shape[0] * shape[1] * shape[2])
    engine.decode(memoryview(pixels).cast("B", shape), rectangles, tiles, corrections, weights, threads)
    if zlib.crc32(pixels) != header.checksum:
        msg = "decoded pixels do not match the checksum in the header"
        raise FormatError(msg)
    return _info(header), pixels


def inspect(data: bytes | memoryview) -> ImageInfo:
    """What the header of a `.llc` file says; a prefix that holds the header is enough."""
    return _info(read_header(data)[0])


def _info(header: Header) -> ImageInfo:
    return ImageInfo(
        header.width,
        header.height,
        header.mode,
        header.bit_depth,
        1 << header.tile_log2,
        header.model,
        header.identity.hex(),
    )


def tile_grid(width: int, height: int, tile_log2: int) -> Iterator[Rectangle]:
    """The tiles of an image, row by row."""
    size = 1 << tile_log2
    for y in range(0, height, size):
        for x in range(0, width, size):
            yield Rectangle(y, x, min(size, height - y), min(size, width - x))


def _checked(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`pixels` as contiguous [height, width, channels]. Raises UnsupportedError."""
    import numpy as np

    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        kind = getattr(pixels, "dtype", type(pixels).__name__)
        msg = f"cannot encode {kind} pixels: only uint8 arrays are supported"
        raise UnsupportedError(msg)
    planes = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    if planes.ndim != 3 or planes.shape[2] not in _MODES:
        msg = f"cannot encode pixels of shape {pixels.shape}: only (height, width) and (height, width, 3)"
        raise UnsupportedError(msg)
    if not all(1 <= size <= MAX_SIZE for size in planes.shape[:2]):
        msg = f"cannot encode an image of {planes.shape[1]}x{planes.shape[0]} pixels"
        raise UnsupportedError(msg)
    return np.ascontiguousarray(planes)


def _checked_grid(header: Header, payload: int) -> Iterator[Rectangle]:
    """The tiles of an image whose coarsest phase could be held by `payload` bytes. Raises TruncatedError.

    Nothing in proportion to the size that the header states is allocated before this.
    """
    least = scale_size(header.width, SCALES) * scale_size(header.height, SCALES) * header.channels
    if least > payload:
        msg = f"file ends early: {header.width}x{header.height} pixels take more than the {payload} bytes left"
        raise TruncatedError(msg)
    return tile_grid(header.width, header.height, header.tile_log2)


def _pack_coarse(tile: EncodedTile) -> bytes:
    """A tile's part of the COAR section: the range of each channel, then the coarsest phase as it is."""
    return b"".join(struct.pack("<hh", *limits) for limits in tile.ranges) + tile.coarse


def _pack_scale(tiles: list[list[bytes]]) -> bytes:
    """A scale's section: the length of every segment, then the segments."""
    segments = [segment for tile in tiles for segment in tile]
    return b"".join([*(pack_varint(len(segment)) for segment in segments), *segments])


def _scale_tag(index: int) -> bytes:
    """Tag of the `index`th scale from the coarsest: SCL4 ... SCL0."""
    return b"SCL%d" % (SCALES - 1 - index)


def _read_sections(
    header: Header, reader: Reader, rectangles: list[Rectangle]
) -> tuple[Corrections, list[EncodedTile]]:
    """The corrections, and every tile's coded data. Raises FormatError or TruncatedError."""
    sections = read_sections(reader)
    first = next(sections, None)
    corrections = b""
    if first and first[0] == _CORRECTIONS:
        corrections = _read_corrections(first[1])
        first = next(sections, None)
    payload = _expect(iter((first,) if first else ()), _COARSE)
    coarse = [_read_coarse(payload, rectangle, header.channels) for rectangle in rectangles]
    payload.finish()
    tiles = [EncodedTile(ranges, phase, []) for ranges, phase in coarse]
    for index in range(SCALES):
        payload = _expect(sections, _scale_tag(index))
        for tile, segments in zip(tiles, _read_scale(payload, rectangles, header.channels), strict=True):
            tile.segments.append(segments)
    for tag, _ in sections:
        msg = f"section {tag!r} behind the last scale"
        raise FormatError(msg)
    return corrections, tiles


def _read_corrections(payload: memoryview) -> Corrections:
    """The corrections of the finest scales, one or more. Raises FormatError."""
    inflater = zlib.decompressobj()
    try:
        stored = inflater.decompress(payload, SCALES * CORRECTIONS_PER_SCALE + 1)
    except zlib.error as error:
        msg = f"section {_CORRECTIONS!r} cannot be decompressed: {error}"
        raise FormatError(msg) from error
    scales, rest = divmod(len(stored), CORRECTIONS_PER_SCALE)
    if rest or not 1 <= scales <= SCALES or not inflater.eof or inflater.unused_data:
        msg = f"section {_CORRECTIONS!r} holds {len(stored)} corrections, expected {CORRECTIONS_PER_SCALE} a scale"
        raise FormatError(msg)
    return stored


def _expect(sections: Iterator[tuple[bytes, memoryview]], tag: bytes) -> Reader:
    """A reader of the next section, which must be `tag`."""
    found, payload = next(sections, (b"", memoryview(b"")))
    if not found:
        msg = f"file ends before section {tag!r}"
        raise TruncatedError(msg)
    if found != tag:
        msg = f"section {found!r} where {tag!r} was expected"
        raise FormatError(msg)
    return Reader(payload, f"section {tag!r}")


def _read_coarse(reader: Reader, rectangle: Rectangle, channels: int) -> tuple[list[tuple[int, int]], bytes]:
    """A tile's channel ranges and coarsest phase."""
    ranges: list[tuple[int, int]] = []
    for least, most in CHANNEL_RANGES[:channels]:
        low, high = struct.unpack("<hh", reader.take(4))
        if not least <= low <= high <= most:
            msg = f"a channel's range is {low}..{high}, outside {least}..{most}"
            raise FormatError(msg)
        ranges.append((low, high))
    size = scale_size(rectangle.height, SCALES) * scale_size(rectangle.width, SCALES) * channels
    return ranges, bytes(reader.take(size))


def _read_scale(reader: Reader, rectangles: list[Rectangle], channels: int) -> list[list[bytes]]:
    """Every tile's segments of one scale."""
    counts = [stream_count(tile.height, tile.width, channels) for tile in rectangles]
    lengths = [[reader.varint() for _ in range(count)] for count in counts]
    segments = [[bytes(reader.take(length)) for length in row] for row in lengths]
    reader.finish()
    return segments
