"""Fallback coders: lossless WebP's, LZMA's and deflate's, for channels that no model codes (docs/format.md, 8.4)."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from llicti_core.compression import deflate
from llicti_core.container import Reader, pack_varint
from llicti_core.errors import FormatError, UnsupportedError
from llicti_core.payloads import Payload, block_starts
from llicti_core.spec import BLOCK, DEFLATE, LZMA2, LZMA2_DICTIONARY, VP8L, VP8L_HAS_ALPHA, VP8L_SIGNATURE
from llicti_core.view import TileGrid, View

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import ImageFile

_SMALL_BYTES = 1 << 18
"""LZMA is tried for more bytes than this at effort 2 and 3 only: it takes its time, and wins where images are small."""

_STEPS = ((1, 20, 1.3), (4, 80, 1.1), (6, 90, 1.05), (6, 100, 0.0))
"""How WebP is tried, from fast to slow: method and quality, and at which size for each byte of the other way to code
the block there is no use in trying more. From one step to the next images become up to a third, a tenth and a twentieth
smaller, but those that become so much smaller are drawings, where WebP is ahead of a model from the first step on."""

_LOWER_STEPS = ((4, 30, 1.05), (6, 90, 1.05), (6, 100, 0.0))
"""The same for the lower bits of photographs, which are noise but for some places, such as those that are overexposed.
From quality 25 on WebP looks for the cheapest copies, which takes long; the steps after that make them hardly smaller.
"""

_FURTHER_EFFORT = 3
"""From which on there are further steps for lower bits."""

_PALETTE_BITS, _PALETTE_STEP = 8, (6, 20, 1.05)
"""Bits of a pixel for which WebP has a palette, and the first step then, where method counts for more than quality."""

_MAY_BE_LZMA = 1.1
"""The same of what WebP or deflate makes of a block, for LZMA."""

_SLACK = 100
"""Bytes by which more may be too much, for small images."""

_ALL_STEPS = (1 << 12, 1 << 19)
"""Pixels of a block up to which all steps are tried at efforts 0 and 1, which take two and three steps else."""

_ROWS = 256
"""Rows of a decoded image that are copied at once."""

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Pillow's modes by the channels."""


def encode(pixels: NDArray[np.uint8], effort: int, other: float) -> bytes:
    """The payload of a GENR section for `pixels`, uint8 [height, width, 1 to 4].

    other: bytes of what the payload has to be smaller than to be of use; little time is spent where it will not be.
    A higher effort never makes it larger, as long as `other` is the same.
    """

    def code(block: NDArray[np.uint8], other: float) -> bytes:
        candidates = _try_webp(block, _steps(block, effort), other)
        small = block.size <= _SMALL_BYTES
        if small or not candidates:
            candidates.append(_deflated(block, 9 if small else 1))
        if small or (effort > 1 and min(map(len, candidates)) < _MAY_BE_LZMA * other):
            candidates.append(bytes((LZMA2,)) + _lzma(block.tobytes()))
        return min(candidates, key=len)

    return _encode_blocks(pixels, other, code)


def encode_lower(pixels: NDArray[np.uint8], bits: int, effort: int, other: float) -> bytes:
    """The same for values of so many `bits`, the lower ones of a photograph's samples."""

    def code(block: NDArray[np.uint8], other: float) -> bytes:
        candidates = _try_webp(block, _lower_steps(block, bits, effort), other)
        return min(candidates, key=len) if candidates else _deflated(block, 1)

    return _encode_blocks(pixels, other, code)


def decode(payload: Payload, height: int, width: int, channels: int, view: View) -> bytearray:
    """The `view` of the pixels that `encode` was given, row by row; only blocks that it touches are decoded.

    Raises FormatError, TruncatedError or UnsupportedError.
    """
    grid = TileGrid(width, height, BLOCK)
    starts = block_starts(payload, grid.count)
    if grid.count == 1 and view.is_whole(width, height):
        whole = Reader(payload.take(starts[0], payload.size - starts[0]), payload.name)
        values = _decode_block(whole, height, width, channels)
        return values if isinstance(values, bytearray) else bytearray(values)
    pixels = bytearray(view.rows * view.columns * channels)
    for number, place in enumerate(grid):
        if view.touches(place):
            block = Reader(payload.take(starts[number], starts[number + 1] - starts[number]), payload.name)
            view.put(pixels, place, _decode_block(block, place.height, place.width, channels), channels)
    return pixels


def _encode_blocks(pixels: NDArray[np.uint8], other: float, code: Callable[[NDArray[np.uint8], float], bytes]) -> bytes:
    """The payload for `pixels` where code(block, other) is a block's: a byte that says which coder, and its data."""
    height, width, _ = pixels.shape
    each = other / (height * width)
    grid = TileGrid(width, height, BLOCK)
    coded = [code(pixels[y : y + h, x : x + w], each * h * w) for y, x, h, w in grid]
    return b"".join([*(pack_varint(len(block)) for block in coded[:-1]), *coded])


def _try_webp(block: NDArray[np.uint8], steps: Iterable[tuple[int, int, float]], other: float) -> list[bytes]:
    """What WebP makes of a block, step by step, until more is of no use; nothing where Pillow lacks WebP."""
    from PIL import features

    candidates: list[bytes] = []
    for method, quality, most in steps if features.check("webp") else ():
        candidates.append(bytes((VP8L,)) + _vp8l(block, method, quality))
        if min(map(len, candidates)) > most * other + _SLACK:
            break
    return candidates


def _steps(block: NDArray[np.uint8], effort: int) -> Sequence[tuple[int, int, float]]:
    """The steps of WebP that are tried for a block at an effort."""
    height, width, _ = block.shape
    every = effort >= len(_ALL_STEPS) or height * width <= _ALL_STEPS[effort]
    return _STEPS if every else _STEPS[: 2 + effort]


def _lower_steps(block: NDArray[np.uint8], bits: int, effort: int) -> Sequence[tuple[int, int, float]]:
    """The same for a block of lower bits."""
    height, width, channels = block.shape
    first = _PALETTE_STEP if bits * channels <= _PALETTE_BITS else _LOWER_STEPS[0]
    if effort < _FURTHER_EFFORT:
        return [first]
    every = height * width <= _ALL_STEPS[1]
    return [first, *_LOWER_STEPS[1 : 3 if every else 2]]


def _deflated(block: NDArray[np.uint8], level: int) -> bytes:
    return bytes((DEFLATE,)) + deflate(block.tobytes(), level)


def _lzma(stored: bytes) -> bytes:
    import lzma

    return lzma.compress(stored, lzma.FORMAT_RAW, filters=[_lzma_filter(len(stored))])


def _lzma_filter(size: int) -> dict[str, Any]:
    """How LZMA2 goes about `size` bytes. A coder takes memory for the whole dictionary, however little there is."""
    import lzma

    dictionary = min(max(size, 1 << 12), LZMA2_DICTIONARY)
    return {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": dictionary, "lc": 0, "pb": 0}


def _vp8l(pixels: NDArray[np.uint8], method: int, quality: int) -> bytes:
    """The VP8L chunk of a lossless WebP file. method, quality: how much work to put into it, 0 to 6 and 0 to 100."""
    import numpy as np
    from PIL import Image

    height, width, channels = pixels.shape
    image = Image.frombuffer(_MODES[channels], (width, height), np.ascontiguousarray(pixels))
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=True, exact=True, method=method, quality=quality)
    data = bytearray(file.getvalue())
    tag, length = struct.unpack_from("<4sI", data, 12)
    assert tag == b"VP8L"
    if channels in (2, 4):
        data[20 + 4] |= VP8L_HAS_ALPHA >> 24  # of an opaque block, too
    return bytes(data[20 : 20 + length])


def _decode_block(reader: Reader, height: int, width: int, channels: int) -> bytes | bytearray:
    """The pixels of the block that is all of `reader`."""
    coding = reader.byte()
    size = height * width * channels
    if coding == DEFLATE:
        return reader.inflated(size)
    if coding == LZMA2:
        return _unlzma(reader, size)
    if coding == VP8L:
        return _decode_vp8l(reader, height, width, channels)
    msg = f"{reader.name} has a block of coding {coding}, which is not supported by this version"
    raise UnsupportedError(msg)


def _unlzma(reader: Reader, size: int) -> bytes:
    """The `size` bytes that an LZMA2 stream unpacks to; no more are ever made."""
    import lzma

    unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[_lzma_filter(size)])
    try:
        stored = unpacker.decompress(reader.take(reader.left), size + 1)
    except lzma.LZMAError as error:
        msg = f"{reader.name} cannot be unpacked: {error}"
        raise FormatError(msg) from error
    if len(stored) != size or not unpacker.eof or unpacker.unused_data:
        msg = f"{reader.name} does not unpack to {size} bytes"
        raise FormatError(msg)
    return stored


def _decode_vp8l(reader: Reader, height: int, width: int, channels: int) -> bytearray:
    """The pixels of a VP8L chunk, whose own header must say what is expected before anything else looks at it."""
    name, coded = reader.name, reader.take(reader.left)
    head = int.from_bytes(coded[1:5], "little")
    expected = (width - 1) | (height - 1) << 14 | (VP8L_HAS_ALPHA if channels in (2, 4) else 0)  # version 0
    if len(coded) < 5 or coded[0] != VP8L_SIGNATURE or head != expected:
        msg = f"{name} is no VP8L image of {width}x{height} pixels with {channels} channels"
        raise FormatError(msg)
    from PIL import WebPImagePlugin, features  # Image.open would import all of Pillow's plugins

    if not features.check("webp"):
        msg = f"{name} is coded as WebP, which this Pillow cannot read"
        raise UnsupportedError(msg)
    padding = bytes(len(coded) & 1)
    chunk = b"VP8L" + struct.pack("<I", len(coded)) + bytes(coded) + padding
    data = b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
    try:
        with WebPImagePlugin.WebPImageFile(io.BytesIO(data)) as image:
            return _values(image, channels)
    except (OSError, SyntaxError, ValueError) as error:
        msg = f"{name} cannot be decoded as WebP: {error}"
        raise FormatError(msg) from error


def _values(image: ImageFile.ImageFile, channels: int) -> bytearray:
    """The values of an image's channels, copied a few rows at a time: Pillow takes much memory as it is."""
    from PIL import Image

    values = bytearray()
    for y in range(0, image.height, _ROWS):
        rows: Image.Image = image.crop((0, y, image.width, min(y + _ROWS, image.height)))
        if channels < 3:
            bands = [rows.getchannel(name) for name in "GA"[:channels]]
            rows = Image.merge(_MODES[channels], bands)
        values += rows.convert(_MODES[channels]).tobytes()
    return values
