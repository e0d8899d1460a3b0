"""Every mode and type of sample, through Pillow, imageio and the core: what comes back, its size, what is refused."""

from __future__ import annotations

import io
import lzma
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import golden
import imageio.v3 as iio
import numpy as np
import pytest
from coding import header_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from images import noise, photograph, smooth
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

import llicti_core
import llicti_plugin
from llicti_core import FormatError, LLCError, Palette, UnsupportedError, fallback, ordinals, samples, value_table
from llicti_core.compression import deflate
from llicti_core.container import (
    Coding,
    Header,
    find_section,
    pack_section,
    pack_varint,
    write_frame,
    write_start,
)
from llicti_core.payloads import Payload
from llicti_core.samples import SAMPLE_NAMES, SAMPLE_TYPES
from llicti_core.source import MemorySource
from llicti_core.spec import CONSTANT, COPIED, FALLBACK
from llicti_core.view import View

llicti_plugin.register()

SIZES = [(1, 1), (1, 3), (2, 1), (37, 29)]
DTYPES = list(SAMPLE_NAMES)
U8, U16, BIT = (SAMPLE_TYPES[DTYPES.index(name)] for name in ("uint8", "uint16", "bool"))


def any_values(dtype: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[Any]:
    """Any bits, so floats of all kinds."""
    kind = np.dtype(dtype)
    bits = np.random.default_rng(seed).integers(0, 256, (*shape, kind.itemsize), np.uint8)
    return (
        (bits[..., 0] % 2).astype(bool) if dtype == "bool" else bits.view(kind.newbyteorder("<"))[..., 0].astype(kind)
    )


def assert_same(a: NDArray[Any], b: NDArray[Any]) -> None:
    """Same type, shape and bits."""
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert a.tobytes() == b.tobytes()


# Pillow


def image_of(mode: str, size: tuple[int, int]) -> Image.Image:
    """An image of any samples."""
    if mode == "1":
        return Image.fromarray(noise(size[1], size[0], 1)).convert("1")
    count = len(Image.new(mode, size).tobytes())
    image = Image.frombytes(mode, size, np.random.default_rng(count).integers(0, 256, count, np.uint8).tobytes())
    if mode in samples.PALETTE_MODES:
        image.putpalette(bytes(range(256)) * 3)
    return image


def reopened(image: Image.Image, **options: Any) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "LLC", **options)
    found = Image.open(file)
    assert (found.mode, found.size) == (image.mode, image.size)  # before it is loaded too
    found.load()
    return found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", samples.MODES)
def test_pillow(mode: str, size: tuple[int, int]) -> None:
    image = image_of(mode, size)
    found = reopened(image)
    assert (found.mode, found.size) == (image.mode, image.size)
    assert found.tobytes() == image.tobytes()
    assert found.getpalette(None) == image.getpalette(None)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("entries", [1, 2, 100, 256])
def test_palettes(mode: str, entries: int) -> None:
    image = Image.frombytes("P", (5, 5), noise(5, 5, 1).tobytes())
    image.putpalette(noise(1, entries, len(mode)).tobytes(), mode)
    found = reopened(image)
    assert found.palette is not None
    assert found.palette.mode == mode
    assert found.getpalette(None) == image.getpalette(None)
    assert found.convert("RGBA").tobytes() == image.convert("RGBA").tobytes()
    assert reopened(found.copy()).getpalette(None) == image.getpalette(None)


def test_colours_below_full_transparency_are_kept() -> None:
    pixels = noise(40, 30, 4)
    pixels[10:30, 5:25, 3] = 0
    assert_same(np.asarray(reopened(Image.fromarray(pixels))), pixels)


@pytest.mark.filterwarnings("ignore:The legacy:DeprecationWarning")  # of others that imageio asks before
def test_pillow_says_what_it_has_no_mode_for() -> None:
    file = io.BytesIO(llicti_core.encode(any_values("uint16", (4, 4, 3))))
    with pytest.raises(UnidentifiedImageError, match="3 channels of uint16"):
        Image.open(file)
    assert iio.imread(file).shape == (4, 4, 3)  # which asks Pillow first


# Arrays


ARRAYS = [(1, 1), (5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (7, 5, 4), (3, 2, 5)]
MOST_CHANNELS = [(dtype, (2, 2, 255)) for dtype in ("bool", "uint8", "float64")]  # the last takes seconds


@pytest.mark.parametrize(
    ("dtype", "shape"), [*((dtype, shape) for dtype in DTYPES for shape in ARRAYS), *MOST_CHANNELS]
)
def test_arrays(dtype: str, shape: tuple[int, ...]) -> None:
    pixels = any_values(dtype, shape)
    data = llicti_core.encode(pixels)
    assert_same(llicti_core.decode(data), pixels)
    info = llicti_core.inspect(data[: llicti_core.MAX_HEADER_BYTES])
    assert (info.dtype, info.shape) == (dtype, shape)
    assert_same(iio.imread(iio.imwrite("<bytes>", pixels, extension=".llc"), extension=".llc"), pixels)


@pytest.mark.parametrize("dtype", [name for name in DTYPES if np.dtype(name).itemsize > 1])
def test_any_order_of_bytes(dtype: str) -> None:
    pixels = any_values(dtype, (6, 5))
    for order in "<>":
        swapped = pixels.astype(pixels.dtype.newbyteorder(order))
        assert_same(llicti_core.decode(llicti_core.encode(swapped)), pixels)
        assert_same(iio.imread(iio.imwrite("<bytes>", swapped, extension=".llc"), extension=".llc"), pixels)


SHAPES = hnp.array_shapes(min_dims=2, max_dims=3, max_side=9)
VALUES = {
    "uint8": st.integers(0, 255),
    "uint16": st.integers(0, 2**16 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "float32": st.floats(width=32),
    "bool": st.booleans(),
    "int8": st.integers(-(2**7), 2**7 - 1),
    "int16": st.integers(-(2**15), 2**15 - 1),
    "uint32": st.integers(0, 2**32 - 1),
    "float16": st.floats(width=16),
    "float64": st.floats(),
}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_array(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    pixels = data.draw(hnp.arrays(dtype, SHAPES, elements=VALUES[dtype], fill=st.nothing()))
    few = data.draw(hnp.arrays(dtype, 3, elements=VALUES[dtype]))  # a value table, constants, equal channels
    for image in (pixels, few[any_values("uint8", pixels.shape) % 3]):
        assert_same(llicti_core.decode(llicti_core.encode(image, effort=0)), image)


# Exponent bits all set: infinities, and NaNs with any payload, quiet and signalling.
FLOAT_BITS = {
    "float16": [0x7C00, 0x7E00, 0x7C01, 0x7FFF, 0x3C00],
    "float32": [0x7F800000, 0x7FC00000, 0x7F800001, 0x7FC12345, 0x3F800000],
    "float64": [0x7FF << 52, 0x7FF8 << 48, (0x7FF << 52) + 1, (1 << 63) - 1, 0x7FF0123456789ABC, 0x3FF << 52],
}


@pytest.mark.parametrize("dtype", FLOAT_BITS)
def test_floats_come_back_bit_by_bit(dtype: str) -> None:
    size = np.dtype(dtype).itemsize
    bits = [0, 1, *FLOAT_BITS[dtype]]
    signed = [*bits, *(word | 1 << (8 * size - 1) for word in bits)]
    pixels = np.array([signed], f"u{size}").view(dtype)
    for image in (pixels, np.tile(pixels, (40, 30))):  # coded as they are, and by a value table
        data = llicti_core.encode(image)
        assert_same(llicti_core.decode(data), image)
    assert header_of(data).bits == len(signed).bit_length() - (len(signed) & (len(signed) - 1) == 0)


@pytest.mark.parametrize("dtype", [name for name in DTYPES if name not in ("bool", "uint8")])
def test_ordinals_are_in_the_order_of_values(dtype: str) -> None:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        info = np.finfo(kind)
        edges = [-np.inf, info.min, -1.5, -1, -info.tiny, -info.smallest_subnormal, -0.0, 0.0, info.tiny, 1, np.inf]
    else:
        limits = np.iinfo(kind)
        edges = [limits.min, limits.min + 1, limits.max // 3, limits.max - 1, limits.max]
    found = ordinals.to_ordinals(np.array(edges, kind))
    assert found.dtype.kind == "u"
    assert found.itemsize == kind.itemsize
    assert [int(ordinal) for ordinal in found] == sorted({int(ordinal) for ordinal in found})


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_values(dtype: str) -> None:
    kind = np.dtype(dtype)
    info = np.iinfo(np.uint8) if dtype == "bool" else np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    extremes = np.array([info.min, info.max, 0, 1], kind)
    for shape in ((1, 4), (4, 1), (33, 65), (7, 5, 3)):
        image = extremes[np.arange(np.prod(shape)).reshape(shape) * 7 // 3 % 4]
        assert_same(llicti_core.decode(llicti_core.encode(image)), image)


@pytest.mark.parametrize(
    ("dtype", "advice"),
    [
        ("uint64", "astype\\('uint32'\\)"),
        ("int64", "astype\\('int32'\\)"),
        ("complex64", "view\\('float32'\\)"),
        ("complex128", "view\\('float64'\\)"),
        ("datetime64[s]", "only of uint8"),
    ],
)
def test_other_types_are_refused_with_advice(dtype: str, advice: str) -> None:
    with pytest.raises(UnsupportedError, match=advice):
        llicti_core.encode(np.zeros((4, 4), dtype))


def test_the_header_of_any_image_is_short_enough() -> None:
    """That of the most groups there can be, all constant: 255 channels of eight planes."""
    pixels = np.zeros((2, 3, 255), np.float64) + np.random.default_rng(0).uniform(1, 2, 255)
    pixels[..., :100] = any_values("float64", (2, 3, 100))
    for image in (pixels, pixels[:1, :1]):
        assert_same(llicti_core.decode(llicti_core.encode(image)), image)
    codings = (Coding(CONSTANT, values=b"a"),) * (255 * 8)
    header = Header(2**31 - 1, 2**31 - 1, "", SAMPLE_TYPES[DTYPES.index("float64")], 255, 0, 2**62, 0, codings)
    assert header_of(write_start() + write_frame(header, [])) == header


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [2, 3, 4, 5])
def test_equal_channels(dtype: str, channels: int) -> None:
    """All of them, those of the color alone, and the first and the last: groups that are, or look like, copies."""
    one, other = any_values(dtype, (7, 9)), any_values(dtype, (7, 9), seed=1)
    for last in (one, other):
        image = np.stack([one] * (channels - 1) + [last], axis=2)
        assert_same(llicti_core.decode(llicti_core.encode(image, effort=0)), image)
    image = np.stack([one] + [other] * (channels - 2) + [one], axis=2)
    assert_same(llicti_core.decode(llicti_core.encode(image, effort=0)), image)


@pytest.mark.parametrize("dtype", DTYPES)
def test_parts_of_every_type(dtype: str) -> None:
    few = any_values(dtype, (3,), seed=5)
    for image in (any_values(dtype, (21, 34)), few[any_values("uint8", (90, 70, 2)) % 3]):
        data = llicti_core.encode(image)
        found = llicti_core.decode(data, region=(4, 8, 9, 10), scale=2)
        assert_same(found, np.ascontiguousarray(image[8:18:2, 4:13:2]))


@pytest.mark.parametrize("mode", ["RGBX", "RGB", "P", "XYZ", "I;16", "1"])
def test_modes_that_do_not_fit_are_refused(mode: str) -> None:
    with pytest.raises(UnsupportedError, match=r"cannot encode|palette"):
        llicti_core.encode(noise(4, 4, 1), mode=mode)
    with pytest.raises(UnsupportedError, match="no palette"):
        llicti_core.encode(noise(4, 4, 1), mode="L", palette=Palette("RGB", bytes(3)))


# What it costs


def deep_photograph() -> NDArray[np.uint16]:
    """A photograph of 16 bits: steps between its values, and noise of three bits."""
    pixels = photograph(150, 200).astype(np.uint16)
    return pixels * np.uint16(257) + np.random.default_rng(0).integers(0, 8, pixels.shape, np.uint16)


@pytest.mark.parametrize("channels", [1, 3])
def test_photographs_of_16_bits_are_smaller_than_their_high_bytes_and_noise(channels: int) -> None:
    pixels = deep_photograph()[..., :channels].squeeze()
    data = llicti_core.encode(pixels)
    assert_same(llicti_core.decode(data), pixels)
    file = io.BytesIO()
    Image.fromarray((pixels >> 8).astype(np.uint8)).save(file, "WEBP", lossless=True)
    assert len(data) < len(file.getvalue()) + pixels.size


@pytest.mark.parametrize("shift", [0, 4])
def test_12_bits_in_16_are_coded_as_12(shift: int) -> None:
    values = smooth(150, 150, 1).astype(np.uint16) << 4 | noise(150, 150, 1) >> 4
    data = llicti_core.encode(values << np.uint16(shift))
    assert header_of(data).bits in (11, 12)
    assert_same(llicti_core.decode(data), values << np.uint16(shift))


@pytest.mark.parametrize(
    "expand", [lambda p: p * np.uint16(257), lambda p: p / np.float32(255), lambda p: p.astype("i")]
)
def test_8_bits_in_more_cost_about_the_same(expand: Any) -> None:
    pixels = photograph(120, 160)
    wide = llicti_core.encode(expand(pixels))
    assert_same(llicti_core.decode(wide), expand(pixels))
    assert len(wide) < 1.02 * len(llicti_core.encode(pixels)) + 700


def test_what_is_constant_or_equal_costs_bytes() -> None:
    colour = photograph(120, 160)
    grey = colour[..., 1]
    plain, alone = len(llicti_core.encode(colour)), len(llicti_core.encode(grey))
    opaque = np.dstack((colour, np.full_like(grey, 255)))
    assert len(llicti_core.encode(opaque)) < plain + 8
    assert len(llicti_core.encode(np.dstack((grey, grey, grey)))) < alone + 8
    assert len(llicti_core.encode(np.dstack((grey, grey)))) < alone + 8
    assert len(llicti_core.encode(np.full((600, 500, 4), 7, np.float32))) < 60


def test_drawings_are_no_larger_than_webp() -> None:
    y, x = np.mgrid[:300, :400]
    pixels = np.where(((x // 40 + y // 30) % 2)[..., np.newaxis], (200, 30, 90), (250, 250, 255)).astype(np.uint8)
    pixels[100:200, 100:300] = (0, 0, 0)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True)
    data = llicti_core.encode(pixels)
    assert header_of(data).codings[0].kind == FALLBACK
    assert len(data) < len(file.getvalue()) + 30


def test_noise_costs_no_more_than_itself() -> None:
    for pixels in (noise(200, 200, 1), noise(200, 200, 3), any_values("uint16", (200, 200))):
        assert len(llicti_core.encode(pixels)) < pixels.nbytes * 1.002 + 100


# Generic coding


def pictures() -> list[NDArray[np.uint8]]:
    return [noise(3, 4, 1), smooth(40, 30, 3), np.repeat(noise(5, 30, 3), 9, axis=0), np.zeros((9, 9), np.uint8)]


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("tile", [4096, 7])
def test_generic(tile: int, thorough: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "BLOCK", tile)
    for pixels in pictures():
        planes = pixels.reshape(*pixels.shape[:2], -1)
        source = MemorySource(pack_section(b"GENR", fallback.encode(planes, 3 if thorough else 0, planes.size)))
        payload = Payload(source, find_section(source, 0))
        height, width, channels = planes.shape
        assert fallback.decode(payload, height, width, channels, View.of(width, height)) == pixels.tobytes()


def file_of(
    payloads: list[tuple[bytes, bytes]], codings: tuple[Coding, ...], pixels: bytes = b"", **fields: Any
) -> bytes:
    """A file of 4 x 3 pixels whose header says this and whose sections are those."""
    defaults: dict[str, Any] = {"mode": "L", "sample_type": U8, "channels": 1, "bits": 0, "frames_after": 0}
    header = Header(4, 3, checksum=zlib.crc32(pixels), codings=codings, **(defaults | fields))
    return write_start() + write_frame(header, payloads)


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def xz(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}])


def vp8l(*shape: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise(*shape)).save(file, "WEBP", lossless=True, exact=True)
    (length,) = struct.unpack_from("<I", file.getvalue(), 16)
    return file.getvalue()[20 : 20 + length]


GOOD = bytes(range(12))
BAD_PAYLOADS = {
    "nothing": b"",
    "no data": b"\0",
    "unknown coder": b"\x03" + GOOD,
    "no deflate": b"\0garbage",
    "too few": b"\0" + deflated(GOOD[:-1]),
    "too many": b"\0" + deflated(GOOD + b"x"),
    "bomb": b"\0" + deflated(bytes(10**8)),
    "cut": b"\0" + deflated(GOOD)[:-1],
    "more behind": b"\0" + deflated(GOOD) + b"x",
    "no lzma": b"\1garbage",
    "too few lzma": b"\1" + xz(GOOD[:-1]),
    "lzma bomb": b"\1" + xz(bytes(10**8)),
    "cut lzma": b"\1" + xz(GOOD)[:-1],
    "more behind lzma": b"\1" + xz(GOOD) + b"x",
    "no webp": b"\2garbage",
    "webp signature alone": b"\2\x2f",
    "webp of another size": b"\2" + vp8l(4, 3, 1),
    "large webp": b"\2" + vp8l(400, 300, 1),
    "webp with alpha": b"\2" + vp8l(3, 4, 4),
    "cut webp": b"\2" + vp8l(3, 4, 1)[:-5],
    "webp header alone": b"\2" + vp8l(3, 4, 1)[:5],
    "other values": b"\0" + deflated(bytes(12)),
}


def test_good_payloads_are_taken() -> None:
    for payload in (b"\0" + deflated(GOOD), b"\1" + xz(GOOD)):
        data = file_of([(b"GENR", payload)], (Coding(FALLBACK),), GOOD)
        assert llicti_core.decode(data).tobytes() == GOOD
    pixels = noise(3, 4, 1)
    data = file_of([(b"GENR", b"\2" + vp8l(3, 4, 1))], (Coding(FALLBACK),), pixels.tobytes())
    assert_same(llicti_core.decode(data), pixels)


@pytest.mark.parametrize("name", BAD_PAYLOADS)
def test_bad_payloads_are_refused(name: str) -> None:
    with pytest.raises(LLCError):
        llicti_core.decode(file_of([(b"GENR", BAD_PAYLOADS[name])], (Coding(FALLBACK),), GOOD))


def test_tiles_longer_than_their_section_are_refused() -> None:
    for lengths in (b"\x05", b"\xff\xff\xff\xff\x0f", b""):
        header = Header(4097, 1, "L", U8, 1, 0, 0, 0, (Coding(FALLBACK),))
        data = write_start() + write_frame(header, [(b"GENR", lengths + b"\0abc")])
        with pytest.raises(FormatError):
            llicti_core.decode(data)


# Value tables, other sections


def table_of(values: list[int], size: int = 2) -> bytes:
    """A LEVL payload."""
    gaps = [b - a for a, b in zip([0, *values], values, strict=False)]
    stored = b"".join(bytes(gap >> 8 * i & 255 for gap in gaps) for i in range(size))
    return pack_varint(len(values)) + deflated(stored)


TABLE = [5, 700, 40000]
INDICES = bytes((0, 1, 2, 0) * 3)
SAMPLES = struct.pack("<12H", *(TABLE[index] for index in INDICES))


def deep_file(table: bytes, indices: bytes = INDICES, bits: int = 2) -> bytes:
    sections = [(b"LEVL", table), (b"GENR", b"\0" + deflated(indices))]
    return file_of(sections, (Coding(FALLBACK),), SAMPLES, mode="I;16", sample_type=U16, bits=bits)


def test_a_good_table_is_taken() -> None:
    assert llicti_core.decode(deep_file(table_of(TABLE))).tobytes() == SAMPLES


@pytest.mark.parametrize(
    ("table", "indices", "bits"),
    [
        (b"", INDICES, 2),
        (b"\3", INDICES, 2),
        (b"\3garbage", INDICES, 2),
        (pack_varint(2**60) + deflated(b""), INDICES, 2),
        (pack_varint(3) + deflated(bytes(10**7)), INDICES, 2),
        (table_of(TABLE)[:-1], INDICES, 2),
        (table_of(TABLE) + b"x", INDICES, 2),
        (pack_varint(3) + deflated(b"\5\xb7\x84\0\2\x99more"), INDICES, 2),
        *((pack_varint(3) + deflated(b"\5\xb7\x84\0\2\x99" + bytes(more)), INDICES, 2) for more in (1, 2, 300)),
        (table_of(TABLE, 1), INDICES, 2),
        (table_of([5, 700]), INDICES, 2),
        (table_of(TABLE), INDICES, 3),
        (table_of([5, 5, 40000]), INDICES, 2),
        (table_of([5, 700, 70000], 2)[:-1] + b"", INDICES, 2),
        (pack_varint(3) + deflated(b"\0\0\0\xff\xff\xff"), INDICES, 2),
        (table_of(list(range(13))), INDICES, 4),
        (table_of(TABLE), bytes((3,)) + INDICES[1:], 2),
        (table_of(TABLE), bytes((4,)) + INDICES[1:], 2),
        (table_of(TABLE), bytes((255,)) + INDICES[1:], 2),
    ],
    ids=range(21),
)
def test_bad_tables_are_refused(table: bytes, indices: bytes, bits: int) -> None:
    with pytest.raises(FormatError):
        llicti_core.decode(deep_file(table, indices, bits))


def even_table(count: int, size: int) -> bytes:
    """A LEVL payload of the ordinals 3, 6, 9 and so on, `count` of them of `size` bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    planes = [packer.compress(b"\3" * count), *(packer.compress(bytes(count)) for _ in range(size - 1))]
    return pack_varint(count) + b"".join(planes) + packer.flush()


def constant_by_table(dtype: str, payload: bytes, bits: int, index: int, width: int) -> bytes:
    """A file of an image of one row, all of it the same entry of a value table."""
    groups = samples.channel_groups(bits, 1)
    codings = tuple(Coding(CONSTANT, values=bytes((index >> group.shift & (1 << group.bits) - 1,))) for group in groups)
    header = Header(width, 1, "", SAMPLE_TYPES[DTYPES.index(dtype)], 1, bits, 0, 0, codings)
    return write_start() + write_frame(header, [(b"LEVL", payload)])


@pytest.mark.parametrize(("dtype", "size"), [("uint16", 2), ("float32", 4), ("float64", 8)])
@pytest.mark.parametrize("count", [2, 1000, 40_000, 300_000])
def test_tables_are_read_block_by_block(dtype: str, size: int, count: int) -> None:
    """Whole ones, and of those that have more values than are looked up only what occurs."""
    count = min(count, 60_000) if size == 2 else count
    rng = np.random.default_rng(count)
    table = np.unique(rng.integers(0, 2 ** (8 * size), count, f"u{size}", endpoint=False))
    for wanted in (5, 3 * count):
        indices = rng.integers(0, len(table), wanted).astype(np.uint32)
        indices[-1] = len(table) - 1
        reader = llicti_core.container.Reader(value_table.pack_table(table), "test")
        kind, bits = SAMPLE_TYPES[DTYPES.index(dtype)], (len(table) - 1).bit_length()
        found = np.empty(wanted, f"<u{size}")
        value_table.ValueTable.read(reader, bits, kind, 10**6).look_up(indices, found)
        assert_same(found, table[indices].astype(found.dtype))


@pytest.mark.parametrize("dtype", ["float64", "uint32"])
def test_tables_that_leave_their_bits_are_refused_wherever_that_is(dtype: str) -> None:
    """Values that wrap around or do not ascend, at the edges of blocks too."""
    size, count = np.dtype(dtype).itemsize, (1 << 18) + 10
    for at in (1, 5, (1 << 18) - 1, 1 << 18, count - 1):
        for gap in (0, 2 ** (8 * size) - 3):
            gaps = np.ones(count, f"<u{size}")
            gaps[at] = gap
            payload = pack_varint(count) + deflated(gaps.view(np.uint8).reshape(count, size).T.tobytes())
            reader = llicti_core.container.Reader(payload, "test")
            table = value_table.ValueTable.read(reader, 19, SAMPLE_TYPES[DTYPES.index(dtype)], count)
            with pytest.raises(FormatError, match="ascend"):
                table.look_up(np.zeros(1, np.uint8), np.zeros(1, f"u{size}"))


def test_tables_of_more_than_their_bytes_or_any_file_can_hold_are_refused() -> None:
    payload = even_table(2**20, 8)
    with pytest.raises(FormatError, match="more than its"):
        llicti_core.decode(constant_by_table("float64", payload[: 8 * 2**20 // 1032], 20, 0, 2**20))
    with pytest.raises(FormatError, match="fewer bytes"):
        llicti_core.decode(constant_by_table("float64", payload[:-5], 20, 0, 2**20))
    with pytest.raises(FormatError, match="16777217 values"):
        llicti_core.decode(constant_by_table("uint32", even_table(2**24 + 1, 4), 25, 0, 2**26))


def decoded_alone(path: Path, **options: Any) -> tuple[bytes, int]:
    """The first sample of a file decoded in a process of its own, and bytes of memory that this takes at its peak."""
    program = f"""
from pathlib import Path
import numpy as np
import llicti_core
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) << 10
llicti_core.decode(llicti_core.encode(np.tile(np.float64([[1, 2, 3]]), (50, 50))), region=(0, 0, 1, 1))
data = Path({path.name!r}).read_bytes()
before = peak()
found = llicti_core.decode(data, threads=1, **{options!r})
print(found[0, 0].tobytes().hex(), peak() - before)
"""
    command = [sys.executable, "-c", program]
    process = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=True)
    sample, memory = process.stdout.split()
    return bytes.fromhex(sample), int(memory)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux of its own process")
def test_a_large_table_takes_little_memory_for_a_small_part(tmp_path: Path) -> None:
    """The largest table there can be, 128 MiB of it, for a region of one pixel."""
    path = tmp_path / "table.llc"
    path.write_bytes(constant_by_table("float64", even_table(2**24, 8), 24, 5000, 2**24))
    sample, memory = decoded_alone(path, region=(70, 0, 1, 1), max_bytes=1_000_000)
    assert int.from_bytes(sample, sys.byteorder) == 2**64 - 1 - 3 * 5001
    assert memory < 24 << 20


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux of its own process")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_image_takes_three_times_its_size_at_most(tmp_path: Path, dtype: str) -> None:
    """Where it has a value table of a quarter as many values, the worst there is."""
    kind = SAMPLE_TYPES[DTYPES.index(dtype)]
    indices = np.arange(2**22, dtype=np.uint32) // 4
    payloads = [(b"LEVL", even_table(2**20, kind.size))]
    for group in samples.channel_groups(20, 1):
        values = ordinals.plane(indices.reshape(2048, 2048, 1), group)
        payloads.append((b"GENR", b"\0" + deflate(values.tobytes(), 1)))
    header = Header(2048, 2048, "", kind, 1, 20, 0, 0, (Coding(FALLBACK),) * 3)
    path = tmp_path / "image.llc"
    path.write_bytes(write_start() + write_frame(header, payloads))
    _, memory = decoded_alone(path, region=(0, 0, 2048, 2047))
    assert memory < 3 * kind.size * 2**22 + (12 << 20)


def test_values_that_do_not_fit_their_bits_are_refused() -> None:
    data = file_of(
        [(b"GENR", b"\0" + deflated(b"\2" * 12))], (Coding(FALLBACK),), b"\2" * 12, mode="1", sample_type=BIT
    )
    with pytest.raises(FormatError, match="1 bits"):
        llicti_core.decode(data)
    data = file_of([], (Coding(CONSTANT, values=b"\2"),), b"\2" * 12, mode="1", sample_type=BIT)
    with pytest.raises(FormatError, match="1 bits"):
        llicti_core.decode(data)


@pytest.mark.parametrize(
    "codings",
    [
        (Coding(COPIED), Coding(CONSTANT, values=b"a")),
        (Coding(CONSTANT, values=b"abc"), Coding(COPIED)),
    ],
    ids=str,
)
def test_copies_of_nothing_are_refused(codings: tuple[Coding, ...]) -> None:
    for channels in (2, 4):
        with pytest.raises(LLCError):
            llicti_core.decode(file_of([], codings, mode="", channels=channels))


def test_a_palette_is_there_where_it_belongs() -> None:
    good = llicti_core.encode(noise(4, 4, 1), mode="P", palette=Palette("RGB", bytes(768)))
    first, *others = golden.sections(good)
    head, (palette, values) = golden.assembled([first]), (pack_section(*section) for section in others)
    for data in (head + values, head + values + palette, head + palette + palette + values):
        with pytest.raises(FormatError):
            llicti_core.decode(data)
    assert llicti_core.read_palette(head + palette) == Palette("RGB", bytes(768))


# Sizes without data


def enormous(width: int, height: int) -> bytes:
    header = Header(width, height, "L", U8, 1, 0, 0, 0, (Coding(CONSTANT, values=b"a"),))
    return write_start() + write_frame(header, [])


def test_enormous_images_of_one_colour_are_refused() -> None:
    for width, height in ((2**31 - 1, 2**31 - 1), (2**31 - 1, 3), (65536, 65537)):
        with pytest.raises(UnsupportedError, match="allowed"):
            llicti_core.decode(enormous(width, height))


def test_the_limit_can_be_set() -> None:
    data = llicti_core.encode(np.full((100, 50), 7, np.uint16))
    with pytest.raises(UnsupportedError, match="10000 bytes"):
        llicti_core.decode(data, max_bytes=9999)
    assert llicti_core.decode(data, max_bytes=10000).shape == (100, 50)
    assert llicti_core.decode(data, max_bytes=None).shape == (100, 50)


def test_pillow_s_own_limit_holds() -> None:
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(enormous(40000, 40000)))


@pytest.mark.parametrize("path", [path for path in golden.files() if path.stem.startswith(("mode", "gen", "chan"))])
def test_damage_is_told(path: Any) -> None:
    """A flipped bit in any byte of a section's content, behind a good checksum; and every truncation."""
    data = path.read_bytes()
    for length in range(0, len(data), 1 + len(data) // 40):
        with pytest.raises(LLCError):
            llicti_core.decode(data[:length])
    head, *sections = golden.sections(data)
    good = llicti_core.decode(data).tobytes()
    for number, (tag, payload) in enumerate(sections):
        for at in range(0, len(payload), 1 + len(payload) // 25):
            changed = bytearray(payload)
            changed[at] ^= 1 << at % 8
            lying = [head, *sections[:number], (tag, bytes(changed)), *sections[number + 1 :]]
            try:  # bits that WebP and LZMA do not look at change nothing, and colours of a palette are not samples
                assert llicti_core.decode(golden.assembled(lying)).tobytes() == good
            except LLCError:
                continue


@pytest.mark.parametrize("palette", [("RGB", bytes(4)), ("RGBA", bytes(1028)), ("HSV", bytes(3)), ("", b"")], ids=str)
def test_palettes_that_no_image_can_have(palette: tuple[str, bytes]) -> None:
    pixels = np.zeros((2, 3), np.uint8)
    with pytest.raises(UnsupportedError, match="palette"):
        llicti_core.encode(pixels, mode="P", palette=llicti_core.Palette(*palette))
    good = golden.sections(llicti_core.encode(pixels, mode="P", palette=llicti_core.Palette("RGB", b"")))
    payload = bytes((["RGB", "RGBA", "CMYK", "HSV", ""].index(palette[0]), 0)) + palette[1]
    bad = golden.assembled([(tag, payload if tag == b"PLTE" else content) for tag, content in good])
    error, message = (FormatError, "colors are allowed") if palette[1][3:] else (UnsupportedError, "a palette of kind")
    with pytest.raises(error, match=message):
        llicti_core.decode(bad)
