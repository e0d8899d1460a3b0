"""A decoder of `.llc` files written from docs/format.md alone: plain Python, slow, proof that the document is complete.

    python tests/support/format_decoder.py photo.llc model.safetensors photo.raw

Numbers in comments are clauses of the document. VP8L (8.4) is left to Pillow, LZMA2 and deflate to
Python's library.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import re
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from operator import mul
from typing import NamedTuple

from PIL import Image

SIGNATURE = bytes.fromhex("89 4C 4C 43 0D 0A 1A 0A")
SCALES = (b"SCL4", b"SCL3", b"SCL2", b"SCL1", b"SCL0")
BITS = (8, 16, 32, 32, 1, 8, 16, 32, 16, 64)
BYTES = (1, 2, 4, 4, 1, 1, 2, 4, 2, 8)
U8, U16, I32, F32, BIT, I8, I16, U32, F16, F64 = range(10)
MODES = {
    "1": (BIT, 1),
    "L": (U8, 1),
    "LA": (U8, 2),
    "La": (U8, 2),
    "P": (U8, 1),
    "PA": (U8, 2),
    "RGB": (U8, 3),
    "RGBA": (U8, 4),
    "RGBa": (U8, 4),
    "RGBX": (U8, 4),
    "CMYK": (U8, 4),
    "YCbCr": (U8, 3),
    "LAB": (U8, 3),
    "HSV": (U8, 3),
    "I;16": (U16, 1),
    "I;16L": (U16, 1),
    "I;16B": (U16, 1),
    "I;16N": (U16, 1),
    "I": (I32, 1),
    "F": (F32, 1),
}
CONSTANT, GENERIC, LEARNED, CORRECTED, COPIED = range(5)
LIMITS = ((-128, 127), (-255, 255), (-255, 255))
LANES = 32
STATE_MIN = 65536
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")

ODD, EVEN = (-3, -1, 1, 3), (-2, 0, 2)
PARTS = {
    "11": (("00", ODD, ODD),),
    "01": (("00", EVEN, ODD), ("11", ODD, EVEN)),
    "10": (("00", ODD, EVEN), ("11", EVEN, ODD), ("01", ODD, ODD)),
}
NEAREST = {"11": (5, 6, 9, 10), "01": (5, 6, 16, 19), "10": (4, 7, 17, 18)}
INPUTS = {"11": 51, "01": 75, "10": 123}

# fmt: off
TAIL = (
    32767, 30723, 28693, 26695, 24743, 22849, 21025, 19282, 17625, 16062, 14595, 13226, 11955, 10782,
    9702, 8714, 7812, 6992, 6249, 5577, 4971, 4427, 3938, 3500, 3108, 2758, 2446, 2168, 1921, 1701,
    1506, 1333, 1179, 1042, 922, 815, 720, 636, 562, 497, 439, 387, 342, 302, 267, 236, 208, 184,
    162, 143, 126, 111, 98, 87, 77, 68, 60, 53, 47, 41, 36, 32, 28, 25, 0,
)
MANTISSA = (4095, 3756, 3444, 3158, 2896, 2656, 2435, 2233)
EXP = (
    2048, 1924, 1807, 1698, 1595, 1498, 1408, 1322, 1242, 1167, 1096, 1030, 967, 909, 854, 802, 753,
    708, 665, 625, 587, 551, 518, 486, 457, 429, 403, 379, 356, 334, 314, 295, 277, 260, 245, 230,
    216, 203, 190, 179, 168, 158, 148, 139, 131, 123, 116, 109, 102, 96, 90, 85, 79, 75, 70, 66, 62,
    58, 55, 51, 48, 45, 43, 40, 38, 35, 33, 31, 29, 27, 26, 24, 23, 21, 20, 19, 18, 17, 16, 15, 14,
    13, 12, 11, 11, 10, 9, 9, 8, 8, 7, 7, 7, 6, 6, 5, 5, 5, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2,
    2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
)
# fmt: on


class Refused(ValueError):
    """The file is not one that this decoder may decode (9)."""


def require(condition: bool, message: str) -> None:
    if not condition:
        raise Refused(message)


def clamp(x: int, low: int, high: int) -> int:
    return low if x < low else high if x > high else x


class Bytes:
    """Takes numbers off a run of bytes (1)."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        require(count <= len(self.data) - self.at, "data ends early")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, kind: str) -> int:
        kind = "<" + kind
        return int(struct.unpack(kind, self.take(struct.calcsize(kind)))[0])

    def real(self) -> float:
        value = float(struct.unpack("<d", self.take(8))[0])
        require(0 <= value < float("inf"), "number out of bounds")
        return value

    def leb128(self) -> int:
        value = 0
        for place in range(9):
            byte = self.take(1)[0]
            value |= (byte & 127) << (7 * place)
            if byte < 128:
                require(byte > 0 or place == 0, "number not as short as it can be")
                return value
        raise Refused("number of more than 9 bytes")

    def text(self) -> str:
        encoded = self.take(self.number("B"))
        require(encoded.isascii(), "text that is not ASCII")
        return encoded.decode("ascii")

    def finish(self) -> None:
        require(self.at == len(self.data), "bytes left over")


# Models (7.3).


class Layer(NamedTuple):
    """weight[o][k], bias[s][o] (one s only behind layer 0), multiplier[o]."""

    weight: list[list[int]]
    bias: list[list[int]]
    multiplier: list[int]


@dataclass
class Model:
    name: str
    width: int
    depth: int
    identity: bytes
    bands: dict[str, list[Layer]]


def chunks(flat: list[int], size: int) -> list[list[int]]:
    return [flat[i : i + size] for i in range(0, len(flat), size)]


def read_model(data: bytes) -> Model:
    """A model from the bytes of its safetensors file."""
    file = Bytes(data)
    head = json.loads(file.take(file.number("Q")))
    content = data[file.at :]
    text = head["__metadata__"]["llicti"]
    spec = json.loads(text)
    name, width, depth = spec["name"], spec["width"], spec["depth"]
    require(text == f'{{"depth":{depth},"name":"{name}","width":{width}}}', "spec not as the identity has it")
    require(NAME.fullmatch(name) is not None and 1 <= width <= 256 and 1 <= depth <= 16, "spec out of bounds")
    digest = hashlib.sha256(text.encode("ascii"))

    def tensor(key: str, kind: str, *shape: int) -> list[int]:
        entry = head[key]
        require(entry["dtype"] == kind and entry["shape"] == list(shape), f"tensor {key} of wrong shape")
        begin, end = entry["data_offsets"]
        count = 1
        for size in shape:
            count *= size
        encoded = content[begin:end]
        require(len(encoded) == count * (1 if kind == "I8" else 4), f"tensor {key} of wrong length")
        digest.update(encoded)
        return list(struct.unpack(f"<{count}{'b' if kind == 'I8' else 'i'}", encoded))

    bands: dict[str, list[Layer]] = {}
    for band in ("11", "01", "10"):
        bands[band] = []
        for number in range(depth + 1):
            k = INPUTS[band] if number == 0 else width
            o = 60 if number == depth else width
            scales = (5,) if number == 0 else ()
            weight = tensor(f"{band}.{number}.weight", "I8", o, k)
            bias = tensor(f"{band}.{number}.bias", "I32", *scales, o)
            multiplier = tensor(f"{band}.{number}.multiplier", "I32", o)
            layer = Layer(chunks(weight, k), chunks(bias, o), multiplier)
            check_bound(layer, 128 if number == 0 else 127, last_hidden=number == depth - 1)
            bands[band].append(layer)
    return Model(name, width, depth, digest.digest()[:8], bands)


def check_bound(layer: Layer, peak: int, last_hidden: bool) -> None:
    for o, (row, multiplier) in enumerate(zip(layer.weight, layer.multiplier, strict=True)):
        reach = peak * sum(map(abs, row)) + max(abs(bias[o]) for bias in layer.bias)
        require(min(row) >= -127, "weight below -127")
        require(multiplier >= 1, "multiplier below 1")
        if last_hidden:
            reach += 2**22 // multiplier + 1
        require(3 * reach < 2**31 and reach * multiplier < 2**31 - 2**14, "model can overflow")


# Container (2).


class Group(NamedTuple):  # 8.3
    """Channels of a plane: `first` and those behind it, `channels` in all; the plane's bits start at bit `shift`."""

    shift: int
    bits: int
    first: int
    channels: int
    top: bool


@dataclass
class Coding:
    """kind as in 2.3; stored channels; the constant's values."""

    kind: int
    stored: int
    values: bytes = b""


@dataclass
class Header:
    width: int
    height: int
    mode: str
    kind: int
    channels: int
    flat: bool
    table: bool
    groups: list[tuple[Group, Coding]]
    after: int
    checksum: int
    tile_log2: int = 0
    model: str = ""
    identity: bytes = b""

    @property
    def learned(self) -> list[tuple[Group, Coding]]:
        return [pair for pair in self.groups if pair[1].kind in (LEARNED, CORRECTED)]


def read_section(file: Bytes) -> tuple[bytes, Bytes]:
    """Tag and payload."""
    start = file.at
    tag = file.take(4)
    payload = file.take(file.leb128())
    checksum = zlib.crc32(file.data[start : file.at])
    require(file.number("I") == checksum, f"section {tag!r} is damaged")
    return tag, Bytes(payload)


def next_section(file: Bytes, expected: bytes) -> Bytes:
    """The payload of the next section that is not ancillary."""
    while True:
        tag, payload = read_section(file)
        if not b"a" <= tag[:1] <= b"z":
            require(tag == expected, f"section {tag!r} where {expected!r} was expected")
            return payload


def finish(file: Bytes, after: int) -> None:
    """Only ancillary sections may come before the next frame, if there is one; without one nothing more is read."""
    while after and file.at < len(file.data):
        if file.data[file.at : file.at + 4] == b"HEAD":
            return
        tag, _ = read_section(file)
        require(b"a" <= tag[:1] <= b"z", f"section {tag!r} behind the last")


def frame_places(data: bytes) -> list[int]:  # 2.4
    """Where the frames' HEADs begin, found from tags and lengths alone; the frames count themselves right."""
    file, places = Bytes(data), []
    require(file.take(8) == SIGNATURE, "wrong signature")
    require(file.number("B") == 1, "unknown version")
    after = -1  # before the first frame
    while after:
        start, tag = file.at, file.take(4)
        require(start > 9 or tag == b"HEAD", "first section not HEAD")
        file.take(file.leb128() + 4)
        if tag == b"HEAD":
            places.append(start)
            stated = read_header(Bytes(data[start:])).after
            require(after in (-1, stated + 1), "frames miscounted")
            after = stated
    return places


def list_groups(bits: int, channels: int) -> list[Group]:  # 8.3
    sizes = {3: [3], 4: [3, 1]}.get(channels, [1] * channels)
    groups, left = [], bits
    while left > 0:
        width = min(8, left)
        for i, size in enumerate(sizes):
            groups.append(Group(left - width, width, sum(sizes[:i]), size, left == bits))
        left -= width
    return groups


def read_codings(head: Bytes, groups: list[Group]) -> list[Coding]:  # 2.3
    codings: list[Coding] = []
    for i, group in enumerate(groups):
        byte = head.number("B")
        kind, equal = byte & 127, byte >= 128
        require(kind <= COPIED, "unknown coding")
        require(not equal or (group.channels == 3 and kind != COPIED), "equal channels of a group that has one")
        require(kind not in (LEARNED, CORRECTED) or group.top, "learned lower plane")
        if kind == COPIED:
            like = i > 0 and groups[i - 1].shift == group.shift and groups[i - 1].channels == group.channels
            require(like, "nothing to copy")
        stored = 1 if equal else group.channels
        values = head.take(stored) if kind == CONSTANT else b""
        require(all(value < 1 << group.bits for value in values), "constant out of bounds")
        codings.append(Coding(kind, stored, values))
    return codings


def read_header(file: Bytes) -> Header:
    tag, head = read_section(file)
    require(tag == b"HEAD", f"section {tag!r} where HEAD was expected")
    width, height = head.leb128(), head.leb128()
    require(1 <= width < 2**31 and 1 <= height < 2**31, "size out of bounds")
    byte = head.number("B")
    number, table, flat = byte & 127, byte >= 128, False
    require(number <= len(MODES), "unknown mode")
    if number:
        mode = list(MODES)[number - 1]
        kind, channels = MODES[mode]
    else:
        mode, kind, channels = "", head.number("B"), head.leb128()
        require(kind < len(BITS), "unknown samples")
        flat = channels == 0 and kind in (I8, I16, U32, F16, F64)
        channels = 1 if flat else channels
        require(1 <= channels <= 255, "channels out of bounds")
    bits = head.number("B") if table else BITS[kind]
    require(1 <= bits <= BITS[kind], "bits out of bounds")
    after = head.leb128()
    checksum = head.number("I")
    groups = list_groups(bits, channels)
    pairs = list(zip(groups, read_codings(head, groups), strict=True))
    header = Header(width, height, mode, kind, channels, flat, table, pairs, after, checksum)
    if header.learned:
        header.tile_log2 = head.number("B")
        require(6 <= header.tile_log2 <= 15, "tile size out of bounds")
        header.model = head.text()
        require(NAME.fullmatch(header.model) is not None, "model name out of bounds")
        header.identity = head.take(8)
    head.finish()
    return header


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


Values = list[list[int]]
Watch = Callable[[dict[str, object]], None]
"""Gets what was computed for every pixel and every symbol: for the worked example of the document."""


@dataclass
class Tile:
    """What a file holds of a tile, and its three channels, [row][column], while they are decoded."""

    y: int
    x: int
    height: int
    width: int
    ranges: list[tuple[int, int]] = field(default_factory=list)
    segments: list[list[bytes]] = field(default_factory=list)
    planes: list[Values] = field(default_factory=list)

    def streams(self, channels: int) -> int:  # 3.4
        return max(1, (self.height * self.width * channels + 160000) // 320000)


class Decoded(NamedTuple):
    """samples: in raster order, channels side by side, little endian. palette: its mode and its colours."""

    header: Header
    samples: bytes
    palette: tuple[str, bytes] | None


def decode(data: bytes, model: Model | None, watch: Watch | None = None, frame: int = 0) -> Decoded:
    file = Bytes(data)
    file.at = frame_places(data)[frame]
    header = read_header(file)
    if header.learned:
        require(
            model is not None and (header.model, header.identity) == (model.name, model.identity),
            f"the file needs model {header.model} {header.identity.hex()}",
        )
    phase = ceil_div(header.width, 32) * ceil_div(header.height, 32)
    least = phase * sum(coding.stored for _, coding in header.learned)
    require(least <= len(data) - file.at, "file too short for its size")
    palette = None
    if header.mode in ("P", "PA"):
        section = next_section(file, b"PLTE")
        palette = section.text(), section.data[section.at :]
        size = {"RGB": 3, "RGBA": 4, "CMYK": 4}.get(palette[0], 0)
        require(size and len(palette[1]) <= 256 * size and len(palette[1]) % size == 0, "no palette")
    table = read_table(next_section(file, b"LEVL"), header) if header.table else None
    found: dict[Group, bytes] = {}
    for group, coding in header.groups:
        if group.top and coding.kind == GENERIC:
            found[group] = read_generic(next_section(file, b"GENR"), header.height, header.width, coding.stored)
    if model and header.learned:
        found |= read_learned(file, header, model, watch)
    for group, coding in header.groups:
        if not group.top and coding.kind == GENERIC:
            found[group] = read_generic(next_section(file, b"GENR"), header.height, header.width, coding.stored)
    finish(file, header.after)
    samples = join(header, found, table)
    require(zlib.crc32(samples) == header.checksum, "samples do not match their checksum")
    return Decoded(header, samples, palette)


def read_learned(file: Bytes, header: Header, model: Model, watch: Watch | None) -> dict[Group, bytes]:
    learned = header.learned
    corrections = [
        read_corrections(next_section(file, b"CORR").data, model) if coding.kind == CORRECTED else Corrections({}, {})
        for _, coding in learned
    ]
    images = [make_tiles(header) for _ in learned]
    for (_, coding), tiles in zip(learned, images, strict=True):
        section = next_section(file, b"COAR")
        for tile in tiles:
            read_coarse(section, tile, coding.stored)
        section.finish()
    for tag in SCALES:
        for (_, coding), tiles in zip(learned, images, strict=True):
            section = next_section(file, tag)
            lengths = [[section.leb128() for _ in range(tile.streams(coding.stored))] for tile in tiles]
            for tile, row in zip(tiles, lengths, strict=True):
                tile.segments.append([section.take(length) for length in row])
            section.finish()
    found = {}
    for (group, coding), tiles, corrected in zip(learned, images, corrections, strict=True):
        channels = coding.stored
        pixels = bytearray(header.width * header.height * channels)
        for tile in tiles:
            decode_tile(tile, Prediction(model, corrected), channels, watch)
            for y in range(tile.height):
                at = ((tile.y + y) * header.width + tile.x) * channels
                for values in zip(*(plane[y] for plane in tile.planes), strict=True):
                    pixels[at : at + channels] = to_pixel(*values, channels=channels)
                    at += channels
        found[group] = bytes(pixels)
    return found


# Metadata (2.5).

METADATA = ("iccp", "exif", "xmpp", "cmnt", "text", "dpix", "gama", "trns", "back", "loop", "time")
OWN = ("trns", "time")
BLOBS = METADATA[:5]


def read_metadata(data: bytes, frame: int = 0) -> dict[str, object]:
    """What a frame has, its own or the first one's, by tag."""
    places = frame_places(data)
    found = metadata_sections(data, places[frame])
    if frame:
        first = metadata_sections(data, places[0])
        found = {tag: payload for tag, payload in first.items() if tag not in OWN} | found
    found = {tag: payload for tag, payload in found.items() if payload}
    require(sum(map(len, found.values())) <= 2**26, "too much metadata")
    for tag in BLOBS:
        if tag in found:
            found[tag] = blob(Bytes(found[tag]))
    require(sum(map(len, found.values())) <= 2**26, "too much metadata")
    return {tag: metadata_value(tag, Bytes(payload)) for tag, payload in found.items()}


def metadata_sections(data: bytes, place: int) -> dict[str, bytes]:
    file, found = Bytes(data), {}
    file.at = place
    read_section(file)
    while file.at < len(data) and b"a" <= data[file.at : file.at + 1] <= b"z":
        tag, payload = read_section(file)
        name = tag.decode("latin-1")
        require(name not in found, f"section {name} twice")
        if name in METADATA:
            found[name] = payload.data
    return found


def blob(source: Bytes) -> bytes:
    how = source.number("B")
    require(how in (0, 1), "blob packed in an unknown way")
    if how == 0:
        return source.take(len(source.data) - source.at)
    stream = zlib.decompressobj(-15)
    try:
        data = stream.decompress(source.take(len(source.data) - source.at), 2**26 + 1)
    except zlib.error as error:
        raise Refused(f"blob cannot be inflated: {error}") from error
    require(len(data) <= 2**26 and stream.eof and not stream.unused_data, "blob inflates to a wrong size")
    return data


def metadata_value(tag: str, source: Bytes) -> object:
    if tag == "text":
        require(len(source.data) <= 2**24, "too much text")
        parts = []
        while source.at < len(source.data):
            encoded = source.take(source.leb128())
            try:
                parts.append(encoded.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise Refused(f"text that is not UTF-8: {error}") from error
        names = parts[::2]
        require(len(parts) % 2 == 0 and len(set(names)) == len(names) <= 4096, "names and texts do not pair")
        return dict(zip(names, parts[1::2], strict=True))
    if tag in BLOBS:
        return source.data
    value: object
    if tag in ("trns", "back"):
        count = source.number("B")
        require(count <= 4, "pixel value of too many numbers")
        value = tuple(source.number("H") for _ in range(count)) or source.take(len(source.data) - source.at)
        require(count > 0 or len(source.data) <= 257, "more alphas than a palette has colours")
    elif tag == "loop":
        value = source.leb128()
    else:
        value = tuple(source.real() for _ in range(2 if tag == "dpix" else 1))
    source.finish()
    return value


# Samples (8.1 to 8.3).


def read_table(section: Bytes, header: Header) -> list[int]:
    size, bits = BYTES[header.kind], sum(group.bits for group, _ in header.groups if group.first == 0)
    count = section.leb128()
    require(2 ** (bits - 1) < count <= 2**bits and count <= 2**24, "value table of a wrong size")
    require(count <= header.width * header.height * header.channels, "more values than samples")
    stored = inflated(section, count * size)
    table, last = [], 0
    for i in range(count):
        gap = int.from_bytes(stored[i::count], "little")
        require(gap > 0 or i == 0, "values that do not ascend")
        last += gap
        table.append(last)
    require(last < 2 ** BITS[header.kind], "ordinal out of bounds")
    return table


def inflated(source: Bytes, size: int) -> bytes:
    """What all that is left inflates to."""
    stream = zlib.decompressobj(-15)
    try:
        data = stream.decompress(source.take(len(source.data) - source.at), size + 1)
    except zlib.error as error:
        raise Refused(f"cannot be inflated: {error}") from error
    require(len(data) == size and stream.eof and not stream.unused_data, "inflates to a wrong size")
    return data


def join(header: Header, found: dict[Group, bytes], table: list[int] | None) -> bytes:
    """The samples of the values of the groups."""
    ordinals = [0] * (header.width * header.height * header.channels)
    last: list[bytes] = []
    for group, coding in header.groups:
        if coding.kind == CONSTANT:
            last = [bytes((value,)) * (header.width * header.height) for value in coding.values]
        elif coding.kind != COPIED:
            last = [found[group][c :: coding.stored] for c in range(coding.stored)]
        for c in range(group.channels):
            for i, value in enumerate(last[c % len(last)]):
                require(value < 1 << group.bits, "value out of bounds")
                ordinals[i * header.channels + group.first + c] |= value << group.shift
    if table is not None:
        require(max(ordinals) < len(table), "index not in the table")
        ordinals = [table[index] for index in ordinals]
    bits = BITS[header.kind]
    half = 2 ** (bits - 1)
    if header.kind in (I8, I16, I32):
        ordinals = [ordinal ^ half for ordinal in ordinals]
    if header.kind in (F16, F32, F64):
        ordinals = [ordinal - half if ordinal >= half else 2**bits - 1 - ordinal for ordinal in ordinals]
    return struct.pack(f"<{len(ordinals)}{' BH I   Q'[BYTES[header.kind]]}", *ordinals)


# Generic coding (8.4).


def read_generic(section: Bytes, height: int, width: int, channels: int) -> bytes:
    tiles = [
        (y, x, min(4096, height - y), min(4096, width - x))
        for y in range(0, height, 4096)
        for x in range(0, width, 4096)
    ]
    lengths = [section.leb128() for _ in tiles[:-1]]
    lengths.append(len(section.data) - section.at - sum(lengths))
    require(lengths[-1] >= 0, "tiles longer than their section")
    pixels = bytearray(height * width * channels)
    for (y, x, h, w), length in zip(tiles, lengths, strict=True):
        values = read_generic_tile(Bytes(section.take(length)), h, w, channels)
        for row in range(h):
            at = ((y + row) * width + x) * channels
            pixels[at : at + w * channels] = values[row * w * channels : (row + 1) * w * channels]
    return bytes(pixels)


def read_generic_tile(tile: Bytes, height: int, width: int, channels: int) -> bytes:
    coder = tile.number("B")
    require(coder <= 2, "unknown generic coder")
    size = height * width * channels
    if coder == 0:
        return inflated(tile, size)
    data = tile.take(len(tile.data) - tile.at)
    if coder == 1:
        stream = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 2**24}])
        try:
            values = stream.decompress(data, size + 1)
        except lzma.LZMAError as error:
            raise Refused(f"cannot be unpacked: {error}") from error
        require(len(values) == size and stream.eof and not stream.unused_data, "unpacks to a wrong size")
        return values
    require(data[:1] == b"\x2f" and len(data) >= 5, "no VP8L")
    require(int.from_bytes(data[1:5], "little") == (width - 1) | (height - 1) << 14, "VP8L of another size or kind")
    chunk = b"VP8L" + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    try:
        with Image.open(io.BytesIO(b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk)) as image:
            rgb = image.convert("RGB").tobytes()
    except OSError as error:
        raise Refused(f"bad VP8L: {error}") from error
    return rgb if channels == 3 else rgb[1::3]


# Tiles (3).


def make_tiles(header: Header) -> list[Tile]:
    side = 1 << header.tile_log2
    return [
        Tile(y, x, min(side, header.height - y), min(side, header.width - x))
        for y in range(0, header.height, side)
        for x in range(0, header.width, side)
    ]


def read_coarse(section: Bytes, tile: Tile, channels: int) -> None:
    for least, most in LIMITS[:channels]:
        low, high = section.number("h"), section.number("h")
        require(least <= low <= high <= most, "range out of bounds")
        tile.ranges.append((low, high))
    tile.planes = [[[0] * tile.width for _ in range(tile.height)] for _ in range(3)]
    for y in range(0, tile.height, 32):
        for x in range(0, tile.width, 32):
            for c, value in enumerate(from_pixel(section.take(channels))):
                tile.planes[c][y][x] = value


def from_pixel(pixel: bytes) -> tuple[int, int, int]:
    if len(pixel) == 1:
        return pixel[0] - 128, 0, 0
    r, g, b = pixel
    co = r - b
    t = b + (co >> 1)
    cg = g - t
    return t + (cg >> 1) - 128, co, cg


def to_pixel(y: int, co: int, cg: int, *, channels: int) -> bytes:
    if channels == 1:
        return bytes(((y + 128) & 255,))
    t = y + 128 - (cg >> 1)
    g = t + cg
    b = t - (co >> 1)
    r = b + co
    return bytes((r & 255, g & 255, b & 255))


# Pyramid (4).


class Phase:
    """The place of a phase of a scale in a tile."""

    def __init__(self, tile: Tile, scale: int, name: str) -> None:
        self.r, self.c, self.scale = int(name[0]), int(name[1]), scale
        self.rows = max(0, ceil_div(tile.height - (self.r << scale), 2 << scale))
        self.columns = max(0, ceil_div(tile.width - (self.c << scale), 2 << scale))

    def row(self, i: int) -> int:
        """The tile's row of the phase's row nearest to i."""
        return (2 * clamp(i, 0, self.rows - 1) + self.r) << self.scale

    def column(self, j: int) -> int:
        return (2 * clamp(j, 0, self.columns - 1) + self.c) << self.scale


def decode_tile(tile: Tile, prediction: Prediction, channels: int, watch: Watch | None) -> None:
    count = tile.streams(channels)
    streams = [Stream(stored_lanes(tile, count, k)) for k in range(count)]
    for index, scale in enumerate((4, 3, 2, 1, 0)):
        for stream, segment in zip(streams, tile.segments[index], strict=True):
            stream.open(segment, first=scale == 4)
        for band in ("11", "01", "10"):
            contexts = band_contexts(tile, scale, band)  # every pixel's, in raster order
            for stream, (start, stop) in zip(streams, runs(Phase(tile, scale, band), count), strict=True):
                for first in range(start, stop, LANES):
                    group = [
                        Pixel(tile, prediction, scale, band, *next(contexts))
                        for _ in range(first, min(first + LANES, stop))
                    ]
                    decode_group(tile, group, stream, watch)
        for stream in streams:
            stream.close(last=scale == 0)


def runs(phase: Phase, streams: int) -> list[tuple[int, int]]:  # 4.2
    n = phase.rows * phase.columns
    return [(k * n // streams, (k + 1) * n // streams) for k in range(streams)]


def stored_lanes(tile: Tile, streams: int, k: int) -> int:  # 7.2
    if all(low == high for low, high in tile.ranges):
        return 0
    longest = 0
    for scale in range(5):
        for band in PARTS:
            start, stop = runs(Phase(tile, scale, band), streams)[k]
            longest = max(longest, stop - start)
    return min(longest, LANES)


Context = tuple[tuple[int, int], list[int], list[int]]


def band_contexts(tile: Tile, scale: int, band: str) -> Iterator[Context]:
    """Of every pixel of a band: its place in the tile, its base and the network's inputs (4.3, 4.4)."""
    own = Phase(tile, scale, band)
    sources = []
    for name, dys, dxs in PARTS[band]:
        r, c = int(name[0]), int(name[1])
        phase = Phase(tile, scale, name)
        if not phase.rows or not phase.columns:
            phase = Phase(tile, scale, "00")
        sources += [(phase, (own.r + dy - r) // 2, (own.c + dx - c) // 2) for dy in dys for dx in dxs]
    columns = [[phase.column(j + dj) for phase, _, dj in sources] for j in range(own.columns)]
    n1, n2, n3, n4 = NEAREST[band]
    for i in range(own.rows):
        rows = [[plane[phase.row(i + di)] for phase, di, _ in sources] for plane in tile.planes]
        for j in range(own.columns):
            bases, inputs = [], []
            for lines in rows:
                v = [line[x] for line, x in zip(lines, columns[j], strict=True)]
                base = (v[n1] + v[n2] + v[n3] + v[n4] + 2) >> 2
                bases.append(base)
                inputs += [-128 if value < base - 128 else min(value - base, 127) for value in v]
            yield (own.row(i), own.column(j)), bases, [*inputs, bases[0], bases[1] >> 1, bases[2] >> 1]


# Network (5).


class Corrections(NamedTuple):
    """By scale and band: gains and biases of the 60 outputs; hidden of the last hidden layer's channels."""

    outputs: dict[tuple[int, str], tuple[list[int], list[int]]]
    hidden: dict[tuple[int, str], list[int]]


class Prediction(NamedTuple):
    """What an image is predicted with."""

    model: Model
    corrections: Corrections

    def parameters(self, scale: int, band: str, inputs: list[int]) -> list[int]:
        """out[o]"""
        hidden = self.corrections.hidden.get((scale, band), [0] * self.model.width)
        fine = network(self.model.bands[band], scale, inputs, hidden)
        gains, biases = self.corrections.outputs.get((scale, band), ([0] * 60, [0] * 60))
        return [
            clamp((value * (64 + gain) + 512 * bias + 512) >> 10, -32768, 32767)
            for value, gain, bias in zip(fine, gains, biases, strict=True)
        ]


def read_corrections(payload: bytes, model: Model) -> Corrections:  # 5.2
    deep_size = 3 * model.width
    stream = zlib.decompressobj()
    try:
        stored = stream.decompress(payload, 1 + 5 * (360 + deep_size) + 1)
    except zlib.error as error:
        raise Refused(f"corrections cannot be unpacked: {error}") from error
    require(stream.eof and not stream.unused_data, "corrections are not one zlib stream")
    require(len(stored) > 0, "corrections do not say how many there are")
    deep, numbers = stored[0], list(struct.unpack(f"{len(stored) - 1}b", stored[1:]))
    end = len(numbers) - deep * deep_size
    require(end in range(360, 5 * 360 + 1, 360), "corrections of no whole number of scales")
    require(deep <= end // 360, "a scale has corrections of hidden biases only")
    rows, hidden = chunks(numbers[:end], 60), chunks(numbers[end:], model.width)
    places = [(scale, band) for scale in range(5) for band in ("11", "01", "10")]
    return Corrections(
        {place: (rows[2 * n], rows[2 * n + 1]) for n, place in enumerate(places[: end // 120])},
        dict(zip(places, hidden, strict=False)),
    )


def network(layers: list[Layer], scale: int, inputs: list[int], hidden: list[int]) -> list[int]:
    """fine[o]"""
    x = inputs
    for number, layer in enumerate(layers):
        bias = layer.bias[scale if number == 0 else 0]
        total = [b + sum(map(mul, row, x)) for b, row in zip(bias, layer.weight, strict=True)]
        if number == len(layers) - 2:
            moves = zip(hidden, layer.multiplier, strict=True)
            total = [t + (h * 32768 + (m >> 1)) // m for t, (h, m) in zip(total, moves, strict=True)]
        scaled = map(mul, total, layer.multiplier)
        if number < len(layers) - 1:
            x = [clamp((value + 8192) >> 14, 0, 127) for value in scaled]
        else:
            x = [(value + 2048) >> 12 for value in scaled]
    return x


# Mixture (6).


def logistic(distance: int, index: int) -> int:
    position = min((abs(distance) * MANTISSA[index & 7]) >> ((index >> 3) + 2), 8191)
    j, f = position >> 7, position & 127
    tail = TAIL[j] - (((TAIL[j] - TAIL[j + 1]) * f) >> 7)
    return tail if distance < 0 else 65535 - tail


class Pixel:
    """A pixel's place, base, mixture parameters, and the values of its channels so far."""

    def __init__(
        self,
        tile: Tile,
        prediction: Prediction,
        scale: int,
        band: str,
        place: tuple[int, int],
        base: list[int],
        inputs: list[int],
    ) -> None:
        self.ranges, self.prediction, self.scale_number, self.band = tile.ranges, prediction, scale, band
        self.place, self.base, self.inputs = place, base, inputs
        self.value: list[int] = []

    @cached_property
    def out(self) -> list[int]:
        """Computed only if a channel is coded."""
        return self.prediction.parameters(self.scale_number, self.band, self.inputs)

    def mixture(self, c: int) -> Mixture:
        """The mixture of channel c, once the channels before it are decoded."""
        low, high = self.ranges[c]
        scales, means, logits = (self.out[15 * g + 5 * c : 15 * g + 5 * c + 5] for g in range(3))
        top = max(logits)
        share = [EXP[min(top - logit, 127)] for logit in logits]
        unit = (((2**27 - 1) // sum(share)) * (65536 - (high - low + 1))) >> 16
        weight = [(s * unit) >> 11 for s in share]
        a, b, d = chunks([clamp(out, -256, 255) for out in self.out[45:]], 5)
        residual = [value - base for value, base in zip(self.value, self.base, strict=False)]
        if c == 0:
            shift = [0] * 5
        elif c == 1:
            shift = [a[k] * residual[0] for k in range(5)]
        else:
            shift = [b[k] * residual[0] + d[k] * residual[1] for k in range(5)]
        centre = [clamp(means[k] + ((shift[k] + 2) >> 2), -16383, 16383) for k in range(5)]
        scale = [clamp(index, 0, 87) for index in scales]
        return Mixture(low, high, self.base[c], weight, centre, scale)


class Mixture(NamedTuple):
    low: int
    high: int
    base: int
    weight: list[int]
    centre: list[int]
    scale: list[int]

    def cumulative(self, value: int) -> int:
        if value == self.low:
            return 0
        if value == self.high + 1:
            return 65536
        origin = 16 * (value - self.base) - 8
        below = value - self.low
        for weight, centre, scale in zip(self.weight, self.centre, self.scale, strict=True):
            below += (weight * logistic(origin - centre, scale)) >> 16
        return below


# Entropy coder (7).


class Stream:
    def __init__(self, lanes: int) -> None:
        self.lanes, self.state = lanes, [STATE_MIN] * LANES
        self.segment = Bytes(b"")

    def open(self, segment: bytes, *, first: bool) -> None:
        self.segment = Bytes(segment)
        if first:
            self.state[: self.lanes] = [self.segment.number("I") for _ in range(self.lanes)]
            require(min(self.state) >= STATE_MIN, "state below 65536")
        require((len(segment) - self.segment.at) % 2 == 0, "half a word")

    def close(self, *, last: bool) -> None:
        self.segment.finish()
        require(not last or set(self.state) == {STATE_MIN}, "lanes do not end where they began")

    def symbol(self, lane: int, mixture: Mixture) -> int:
        state = self.state[lane]
        slot = state & 65535
        low, high = mixture.low, mixture.high  # cumulative(low) <= slot < cumulative(high + 1)
        while low < high:
            middle = (low + high + 1) // 2
            if mixture.cumulative(middle) <= slot:
                low = middle
            else:
                high = middle - 1
        below = mixture.cumulative(low)
        state = (mixture.cumulative(low + 1) - below) * (state >> 16) + slot - below
        if state < STATE_MIN:
            state = (state << 16) | self.segment.number("H")
        self.state[lane] = state
        return low


def decode_group(tile: Tile, group: list[Pixel], stream: Stream, watch: Watch | None) -> None:
    for c, (low, high) in enumerate(tile.ranges):
        for lane, pixel in enumerate(group):
            if low == high:
                value = low
            else:
                mixture = pixel.mixture(c)
                before, at = stream.state[lane], stream.segment.at
                value = stream.symbol(lane, mixture)
                if watch:
                    step = {"pixel": pixel, "channel": c, "lane": lane, "mixture": mixture, "value": value}
                    watch(step | {"before": before, "after": stream.state[lane], "words": stream.segment.at - at})
            pixel.value.append(value)
            tile.planes[c][pixel.place[0]][pixel.place[1]] = value


def main(source: str, model: str, target: str) -> None:
    with open(model, "rb") as file:
        weights = read_model(file.read())
    with open(source, "rb") as file:
        _, samples, _ = decode(file.read(), weights)
    with open(target, "wb") as file:
        file.write(samples)


if __name__ == "__main__":
    main(*sys.argv[1:])
