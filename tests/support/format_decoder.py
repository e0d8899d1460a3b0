"""A decoder of `.llc` files written from docs/format.md alone: plain Python, slow, proof that the document is complete.

    python tests/support/format_decoder.py photo.llc model.safetensors photo.raw

Numbers in comments are clauses of the document. VP8L (8.4) is left to Pillow, LZMA2 and deflate to
Python's library.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import lzma
import re
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import mul
from typing import NamedTuple

from PIL import Image

SIGNATURE = bytes.fromhex("89 4C 4C 43 0D 0A 1A 0A")
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
CONSTANT, GENERIC, LEARNED, ADAPTED, COPIED, JOINED, PLAIN = range(7)
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
INPUTS = {"luma": {"11": 22, "01": 30, "10": 46}, "chroma": {"11": 82, "01": 98, "10": 142}}
OUTPUTS = {"luma": 15, "chroma": 35}
KINDS = {
    "luma": ("spread", "mean", "logit"),
    "chroma": ("spread", "spread", "mean", "mean", "logit", "logit", "coefficient"),
}
WEIGHT_EXPONENTS = {"spread": 10, "mean": 13, "logit": 11, "coefficient": 12}
BACK = ((0, -1), (0, -2), (-1, -1), (-1, 0), (-1, 1))

TAIL = (32767, 24743, 17625, 11955, 7812, 4971, 3108, 1921, 1179, 720, 439, 267, 162, 98, 60, 36, 0)
MANTISSA = (65535, 60097, 55109, 50535, 46341, 42495, 38968, 35734)
SHARE = (2048, 1961, 1878, 1798, 1722, 1649, 1579, 1512, 1448, 1387, 1328, 1272, 1218, 1166, 1117, 1069)


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
    """weight[o][k], bias[s][o] for five levels s, multiplier[o]."""

    weight: list[list[int]]
    bias: list[list[int]]
    multiplier: list[int]


@dataclass
class Network:
    """gain[s][o] and shift[s][o] (5.1), for five levels s."""

    layers: list[Layer]
    gain: list[list[int]]
    shift: list[list[int]]

    def outputs(self, level: int, inputs: list[int]) -> list[int]:
        """out[o] (5.1)"""
        x, s = inputs, min(level, 4)
        for number, layer in enumerate(self.layers):
            total = [bias + sum(map(mul, row, x)) for bias, row in zip(layer.bias[s], layer.weight, strict=True)]
            scaled = map(mul, total, layer.multiplier)
            if number < len(self.layers) - 1:
                x = [clamp((value + 8192) >> 14, 0, 127) for value in scaled]
            else:
                x = [(value + 2048) >> 12 for value in scaled]
        return [
            clamp((fine * (64 + gain) + 512 * shift + 512) >> 10, -32768, 32767)
            for fine, gain, shift in zip(x, self.gain[s], self.shift[s], strict=True)
        ]

    def check_bound(self) -> None:  # 7.3
        for number, (weight, biases, multipliers) in enumerate(self.layers):
            for o, (row, multiplier) in enumerate(zip(weight, multipliers, strict=True)):
                reach = (127 if number else 128) * sum(map(abs, row)) + max(abs(bias[o]) for bias in biases)
                require(min(row) >= -127, "weight below -127")
                require(multiplier >= 1, "multiplier below 1")
                require(3 * reach < 2**31 and reach * multiplier < 2**31 - 2**14, "model can overflow")


Networks = dict[tuple[str, str], Network]


@dataclass
class Model:
    name: str
    identity: bytes
    networks: Networks


def chunks(flat: list[int], size: int) -> list[list[int]]:
    return [flat[i : i + size] for i in range(0, len(flat), size)]


def read_model(data: bytes) -> Model:
    """A model from the bytes of its safetensors file."""
    file = Bytes(data)
    head = json.loads(file.take(file.number("Q")))
    content = data[file.at :]
    text = head["__metadata__"]["llicti"]
    spec = json.loads(text)
    name, shapes = spec["name"], {network: spec[network] for network in ("luma", "chroma")}
    (w, d), (v, e) = shapes["luma"], shapes["chroma"]
    require(text == f'{{"chroma":[{v},{e}],"luma":[{w},{d}],"name":"{name}"}}', "spec not as the identity has it")
    require(NAME.fullmatch(name) is not None, "name out of bounds")
    require(all(1 <= width <= 256 and 1 <= depth <= 16 for width, depth in shapes.values()), "spec out of bounds")
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

    networks: Networks = {}
    for network, (width, depth) in shapes.items():
        for band in PARTS:
            layers: list[Layer] = []
            for number in range(depth + 1):
                k = width if number else INPUTS[network][band]
                o = OUTPUTS[network] if number == depth else width
                key = f"{network}.{band}.{number}"
                weight = tensor(f"{key}.weight", "I8", o, k)
                bias = tensor(f"{key}.bias", "I32", *([] if number else [5]), o)
                multiplier = tensor(f"{key}.multiplier", "I32", o)
                layers.append(Layer(chunks(weight, k), chunks(bias * 5 if number else bias, o), multiplier))
            gain, shift = ([[0] * OUTPUTS[network] for _ in range(5)] for _ in range(2))
            networks[network, band] = Network(layers, gain, shift)
            networks[network, band].check_bound()
    return Model(name, digest.digest()[:8], networks)


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
    """kind as in 2.3; stored channels; the constant's values; whether the group is deep, or a copy of one that is."""

    kind: int
    stored: int
    values: bytes = b""
    deep: bool = False


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
    inside: list[Bytes] = field(default_factory=list)
    """The payloads of other sections that follow in that of HEAD."""

    @property
    def learned(self) -> list[tuple[Group, Coding]]:
        return [pair for pair in self.groups if pair[1].kind in (LEARNED, ADAPTED)]

    @property
    def plain(self) -> list[tuple[Group, Coding]]:
        return [pair for pair in self.groups if pair[1].kind == PLAIN]


def read_section(file: Bytes) -> tuple[bytes, Bytes]:
    """Tag and payload."""
    start = file.at
    tag = file.take(4)
    payload = file.take(file.leb128())
    checksum = zlib.crc32(file.data[start : file.at])
    require(file.number("I") == checksum, f"section {tag!r} is damaged")
    return tag, Bytes(payload)


def next_section(file: Bytes, expected: bytes, inside: list[Bytes] | None = None) -> Bytes:
    """The payload of the next section that is not ancillary; those in HEAD are taken off `inside`."""
    if inside:
        return inside.pop(0)
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
    require(file.number("B") == 0, "unknown version")
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


def read_groups(head: Bytes, bits: int, channels: int) -> list[tuple[Group, Coding]]:  # 2.3, 8.3
    sizes = {3: [3], 4: [3, 1]}.get(channels, [1] * channels)
    left = [bits] * len(sizes)  # bits of each channel group that are in no plane yet
    found: list[tuple[Group, Coding]] = []
    while any(left):
        for i, size in enumerate(sizes):
            if left[i]:
                before = found[-1] if found and i else None
                group, coding = read_coding(head, left[i], bits, sum(sizes[:i]), size, before)
                found.append((group, coding))
                left[i] = group.shift
    return found


def read_coding(
    head: Bytes, left: int, bits: int, first: int, channels: int, before: tuple[Group, Coding] | None
) -> tuple[Group, Coding]:
    byte, top = head.number("B"), left == bits
    kind, equal, deep = byte & 0b01101111, byte >= 128, byte & 16 > 0
    require(kind <= PLAIN, "unknown coding")
    require(not equal or (channels == 3 and kind not in (COPIED, JOINED)), "equal channels of a group that has one")
    require(kind not in (LEARNED, ADAPTED) or top, "learned lower plane")
    require(kind != PLAIN or not top, "plain top plane")
    require(not deep or (kind in (LEARNED, ADAPTED) and bits >= 10), "group that cannot be deep")
    if kind == COPIED:
        deep = before is not None and before[1].deep
    width = min(10 if deep and top else 8, left)
    group = Group(left - width, width, first, channels, top)
    if kind == COPIED:
        like = before is not None and before[0][:2] == group[:2] and before[0].channels == channels
        require(like, "nothing to copy")
    if kind == JOINED:
        beside = before is not None and before[0][:2] == group[:2] and before[1].kind == GENERIC
        require(beside, "nothing to join")
    stored = 1 if equal else channels
    values = head.take(stored) if kind == CONSTANT else b""
    require(all(value < 1 << width for value in values), "constant out of bounds")
    return group, Coding(kind, stored, values, deep)


def read_header(file: Bytes) -> Header:
    start = file.at
    tag, head = read_section(file)
    require(tag == b"HEAD", f"section {tag!r} where HEAD was expected")
    require(file.at - start <= 8183, "HEAD out of bounds")
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
    pairs = read_groups(head, bits, channels)
    header = Header(width, height, mode, kind, channels, flat, table, pairs, after, checksum)
    require(not header.plain or header.learned, "plain bits without a learned group")
    if header.learned:
        header.tile_log2 = head.number("B")
        require(6 <= header.tile_log2 <= 15, "tile size out of bounds")
        header.model = head.text()
        require(NAME.fullmatch(header.model) is not None, "model name out of bounds")
        header.identity = head.take(8)
    elif head.at < len(head.data):
        count = (mode in ("P", "PA")) + table + sum(coding.kind == GENERIC for _, coding in pairs)
        header.inside = [Bytes(head.take(head.leb128())) for _ in range(count - 1)]
        if count:
            header.inside.append(Bytes(head.take(len(head.data) - head.at)))
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
    e: int = 0  # bits beyond eight (3)
    bounds: list[tuple[int, int]] = field(default_factory=list)
    segments: list[list[bytes]] = field(default_factory=list)
    planes: list[Values] = field(default_factory=list)

    @property
    def levels(self) -> int:  # 3.2
        n = 0
        while ceil_div(max(self.height, self.width), 2**n) > 4:
            n += 1
        return n

    def row_groups(self, level: int) -> int:  # 4.2
        return ceil_div(Phase(self, level, "00").rows, 32)

    @property
    def streams(self) -> int:  # 4.2
        return max(1, (self.row_groups(0) + 1) // 2) if self.levels else 1

    def stream_groups(self, level: int, k: int) -> range:
        """The row groups of stream k (4.2)."""
        return range(k * self.row_groups(level) // self.streams, (k + 1) * self.row_groups(level) // self.streams)


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
    palette = None
    if header.mode in ("P", "PA"):
        palette = read_palette(next_section(file, b"PLTE", header.inside))
    table = read_table(next_section(file, b"LEVL", header.inside), header) if header.table else None
    found: dict[Group, Sequence[int]] = {**read_generic_groups(file, header, top=True)}
    if model and header.learned:
        found |= read_learned(file, header, model, watch)
    found |= read_generic_groups(file, header, top=False)
    finish(file, header.after)
    samples = join(header, found, table)
    require(zlib.crc32(samples) == header.checksum, "samples do not match their checksum")
    return Decoded(header, samples, palette)


def read_learned(file: Bytes, header: Header, model: Model, watch: Watch | None) -> dict[Group, Sequence[int]]:
    """What the sections of levels hold: learned groups, and plain ones."""
    learned = header.learned
    networks = [
        adapted_networks(next_section(file, b"ADPT"), model, coding.stored)
        if coding.kind == ADAPTED
        else model.networks
        for _, coding in learned
    ]
    images: list[list[Tile]] = []
    for _, coding in learned:
        section = next_section(file, b"LVL3")
        # Every tile takes some bytes of it: to look no further than they last keeps a small file from many tiles.
        images.append([])
        for tile in make_tiles(header):
            tile.e = 2 if coding.deep else 0
            read_lowpass(section, tile, coding.stored)
            images[-1].append(tile)
        read_segments(section, images[-1], 1, level=3)
    plain = {group: [0] * (header.width * header.height * coding.stored) for group, coding in header.plain}
    found: dict[Group, Sequence[int]] = {**plain}
    for level in (3, *range(min(images[0][0].levels, 3) - 1, -1, -1)):
        for (_, coding), image in zip(learned if level < 3 else [], images, strict=level < 3):
            read_segments(next_section(file, b"LVL%d" % level), image, 1 if coding.stored == 1 else 2, level)
        for group, coding in header.plain:
            read_plain(next_section(file, b"BIT%d" % level), header, group.bits, coding.stored, level, plain[group])
    for (group, coding), image, changed in zip(learned, images, networks, strict=True):
        channels = coding.stored
        pixels = [0] * (header.width * header.height * channels)
        for tile in image:
            decode_tile(tile, changed, channels, watch)
            for y in range(tile.height):
                at = ((tile.y + y) * header.width + tile.x) * channels
                for values in zip(*(plane[y] for plane in tile.planes), strict=True):
                    pixels[at : at + channels] = to_pixel(*values, channels=channels, e=tile.e)
                    at += channels
        found[group] = pixels
    return found


def read_plain(section: Bytes, header: Header, n: int, channels: int, level: int, values: list[int]) -> None:  # 8.6
    coarsest = min(3, next(make_tiles(header)).levels)
    step = 2 ** min(level, coarsest)
    for tile in make_tiles(header):
        places = [
            ((tile.y + y) * header.width + tile.x + x) * channels + c
            for y in range(0, tile.height, step)
            for x in range(0, tile.width, step)
            if level == 3 or y % (2 * step) or x % (2 * step)
            for c in range(channels)
        ]
        count = len(places) * n
        size = ceil_div(count, 8)
        bits = int.from_bytes(section.take(size), "big")
        require(bits % 2 ** (8 * size - count) == 0, "plain bits followed by others than 0")
        for i, place in enumerate(places):
            values[place] = (bits >> (8 * size - (i + 1) * n)) % 2**n
    section.finish()


def read_segments(section: Bytes, tiles: list[Tile], networks: int, level: int) -> None:  # 3.3, 3.4
    """Luma and chroma of a level, or all that is in LVL3 as one."""
    lengths = [[[section.leb128() for _ in range(networks)] for _ in range(tile.streams)] for tile in tiles]
    for network in range(networks):
        for tile, streams in zip(tiles, lengths, strict=True):
            segments = [section.take(stream[network]) for stream in streams]
            if level == 3 or level < tile.levels:
                tile.segments.append(segments)
            else:
                require(not any(segments), "segment of a level that the tile lacks")
    section.finish()


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


def join(header: Header, found: dict[Group, Sequence[int]], table: list[int] | None) -> bytes:
    """The samples of the values of the groups."""
    ordinals = [0] * (header.width * header.height * header.channels)
    last: list[Sequence[int]] = []
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


# Palettes (8.5).


def read_palette(section: Bytes) -> tuple[str, bytes]:
    """What an entry is, and the entries."""
    kind, how = section.number("B"), section.number("B")
    require(kind <= 2 and how <= 2, "unknown palette")
    size = (3, 4, 4)[kind]
    data = section.take(len(section.data) - section.at)
    if how:
        stream = zlib.decompressobj(-15)
        try:
            data = stream.decompress(data, 256 * size + 1)
        except zlib.error as error:
            raise Refused(f"palette cannot be inflated: {error}") from error
        require(stream.eof and not stream.unused_data, "palette inflates to a wrong size")
    require(len(data) <= 256 * size and len(data) % size == 0, "no palette")
    if how:
        count = len(data) // size
        channels = [list(data[c * count : (c + 1) * count]) for c in range(size)]
        for channel in channels:
            for i in range(1, count if how == 2 else 0):
                channel[i] = (channel[i] + channel[i - 1]) % 256
        data = bytes(channel[i] for i in range(count) for channel in channels)
    return ("RGB", "RGBA", "CMYK")[kind], data


# Generic coding (8.4).


def read_generic_groups(file: Bytes, header: Header, *, top: bool) -> dict[Group, bytes]:
    """The values of the groups of the top plane or of the lower ones that are coded so."""
    found: dict[Group, bytes] = {}
    for i, (group, coding) in enumerate(header.groups):
        if group.top == top and coding.kind == GENERIC:
            after, other = header.groups[i + 1] if i + 1 < len(header.groups) else (group, coding)
            joined, first = other.kind == JOINED, coding.stored
            channels = first + other.stored * joined
            section = next_section(file, b"GENR", header.inside)
            values = read_generic(section, header.height, header.width, channels)
            found[group] = bytes(values[i] for i in range(len(values)) if i % channels < first)
            if joined:
                found[after] = bytes(values[i] for i in range(len(values)) if i % channels >= first)
    return found


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
    alpha = channels in (2, 4)
    expected = (width - 1) | (height - 1) << 14 | alpha << 28
    require(int.from_bytes(data[1:5], "little") == expected, "VP8L of another size or kind")
    chunk = b"VP8L" + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    try:
        with Image.open(io.BytesIO(b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk)) as image:
            pixels = image.convert("RGBA" if alpha else "RGB").tobytes()
    except OSError as error:
        raise Refused(f"bad VP8L: {error}") from error
    if channels == 2:
        return bytes(pixels[i + c] for i in range(0, len(pixels), 4) for c in (1, 3))
    return pixels[1::3] if channels == 1 else pixels


# Tiles (3).


def make_tiles(header: Header) -> Iterator[Tile]:
    side = 1 << header.tile_log2
    for y in range(0, header.height, side):
        for x in range(0, header.width, side):
            yield Tile(y, x, min(side, header.height - y), min(side, header.width - x))


def read_lowpass(section: Bytes, tile: Tile, channels: int) -> None:  # 3.3
    half = 128 << tile.e
    for least, most in ((-half, half - 1), (1 - 2 * half, 2 * half - 1), (1 - 2 * half, 2 * half - 1))[:channels]:
        low, high = section.number("h"), section.number("h")
        require(least <= low <= high <= most, "bounds out of bounds")
        tile.bounds.append((low, high))
    step = 2**tile.levels
    pixels = [
        (y, x, [section.number("H" if tile.e else "B") for _ in range(channels)])
        for y in range(0, tile.height, step)
        for x in range(0, tile.width, step)
    ]
    tile.planes = [[[0] * tile.width for _ in range(tile.height)] for _ in range(3)]
    for y, x, pixel in pixels:
        require(max(pixel) < 256 << tile.e, "value out of bounds")
        for c, value in enumerate(from_pixel(pixel, tile.e)):
            tile.planes[c][y][x] = value


def from_pixel(pixel: list[int], e: int) -> tuple[int, int, int]:
    if len(pixel) == 1:
        return pixel[0] - (128 << e), 0, 0
    r, g, b = pixel
    co = r - b
    t = b + (co >> 1)
    cg = g - t
    return t + (cg >> 1) - (128 << e), co, cg


def to_pixel(y: int, co: int, cg: int, *, channels: int, e: int) -> list[int]:
    modulo = 256 << e
    if channels == 1:
        return [(y + (128 << e)) % modulo]
    t = y + (128 << e) - (cg >> 1)
    g = t + cg
    b = t - (co >> 1)
    r = b + co
    return [r % modulo, g % modulo, b % modulo]


# Pyramid (4).


class Phase:
    """The place of a phase of a level in a tile."""

    def __init__(self, tile: Tile, level: int, name: str) -> None:
        self.r, self.c, self.level = int(name[0]), int(name[1]), level
        self.rows = max(0, ceil_div(tile.height - (self.r << level), 2 << level))
        self.columns = max(0, ceil_div(tile.width - (self.c << level), 2 << level))

    def row(self, i: int) -> int:
        """The tile's row of the phase's row nearest to i."""
        return (2 * clamp(i, 0, self.rows - 1) + self.r) << self.level

    def column(self, j: int) -> int:
        return (2 * clamp(j, 0, self.columns - 1) + self.c) << self.level


class Places:
    """For every pixel of a band: the tile's row and column of some places around it (4.3)."""

    def __init__(self, tile: Tile, own: Phase, wanted: list[tuple[str, int, int]]) -> None:
        """wanted: phase, dy, dx."""
        sources = []
        for name, dy, dx in wanted:
            phase = Phase(tile, own.level, name)
            if not phase.rows or not phase.columns:
                phase = Phase(tile, own.level, "00")
            sources.append((phase, (own.r + dy - int(name[0])) // 2, (own.c + dx - int(name[1])) // 2))
        self.rows = [[phase.row(i + di) for phase, di, _ in sources] for i in range(own.rows)]
        self.columns = [[phase.column(j + dj) for phase, _, dj in sources] for j in range(own.columns)]

    def values(self, plane: Values, i: int, j: int) -> list[int]:
        return [plane[y][x] for y, x in zip(self.rows[i], self.columns[j], strict=True)]


class Pass:
    """The luma or the chroma of a band of a level (4.1)."""

    def __init__(self, tile: Tile, level: int, network: str, band: str, networks: Networks) -> None:
        self.tile, self.level, self.band, self.weights = tile, level, band, networks[network, band]
        self.own = own = Phase(tile, level, band)
        self.channels = (0,) if network == "luma" else (1, 2)
        known = [(name, dy, dx) for name, dys, dxs in PARTS[band] for dy in dys for dx in dxs]
        self.known = Places(tile, own, known)
        inside = {(dy, dx) for _, dy, dx in known}
        square = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) not in inside]
        self.square = Places(tile, own, [(f"{(own.r + dy) & 1}{(own.c + dx) & 1}", dy, dx) for dy, dx in square])

    def context(self, i: int, j: int, stream_rows: range) -> tuple[list[int], list[int]]:
        """Base of every channel, and the network's inputs (4.4)."""
        planes, own, e, base, inputs = self.tile.planes, self.own, self.tile.e, [], []
        for c in range(3 if self.channels == (1, 2) else 1):
            v = self.known.values(planes[c], i, j)
            base.append((sum(v[n] for n in NEAREST[self.band]) + 2) >> 2)
            inputs += [difference(value, base[c], e) for value in v]
        if self.channels == (1, 2):
            inputs += [difference(value, base[0], e) for value in self.square.values(planes[0], i, j)]
        for c in self.channels:
            for di, dj in BACK:
                y, x = i + di, j + dj
                there = y in stream_rows and 0 <= y < own.rows and 0 <= x < own.columns
                inputs.append(difference(planes[c][own.row(y)][own.column(x)], base[c], e) if there else 0)
        return base, [*inputs, base[0] >> e, *(value >> (1 + e) for value in base[1:])]

    def steps(self, groups: range) -> Iterator[list[tuple[int, int, int]]]:
        """Step by step the lanes that have a pixel, with its row and column (4.2)."""
        period = max(64, Phase(self.tile, self.level, "00").columns + 4)
        for t in range((len(groups) - 1) * period + 2 * 31 + self.own.columns if groups else 0):
            found = []
            for lane in range(LANES):
                for number, group in enumerate(groups):
                    row, column = 32 * group + lane, t - number * period - 2 * lane
                    if row < self.own.rows and 0 <= column < self.own.columns:
                        found.append((lane, row, column))
            yield found


def difference(value: int, base: int, e: int) -> int:
    return clamp((value - base + ((1 << e) >> 1)) >> e, -128, 127)


def decode_tile(tile: Tile, networks: Networks, channels: int, watch: Watch | None) -> None:
    streams = [Stream(stored_lanes(tile, k)) for k in range(tile.streams)]
    for number, passes in enumerate(segment_passes(tile.levels, channels)):
        for stream, segment in zip(streams, tile.segments[number], strict=True):
            stream.open(segment, first=number == 0)
        for level, network, band in passes:
            decode_pass(Pass(tile, level, network, band, networks), streams, watch)
        for stream in streams:
            stream.close()
    require(all(set(stream.state) == {STATE_MIN} for stream in streams), "lanes do not end where they began")


def segment_passes(levels: int, channels: int) -> list[list[tuple[int, str, str]]]:  # 7.2
    """Level, network and band of the passes of each segment."""

    def passes(level: int, network: str) -> list[tuple[int, str, str]]:
        return [(level, network, band) for band in PARTS]

    kinds = ("luma", "chroma") if channels == 3 else ("luma",)
    first = [one for level in range(levels - 1, 2, -1) for network in kinds for one in passes(level, network)]
    return [first, *(passes(level, network) for level in (2, 1, 0) if level < levels for network in kinds)]


def stored_lanes(tile: Tile, k: int) -> int:  # 7.2
    if all(low == high for low, high in tile.bounds):
        return 0
    lanes = 0
    for level in range(tile.levels):
        groups = tile.stream_groups(level, k)
        if groups:
            lanes = max(lanes, min(32, Phase(tile, level, "00").rows - 32 * groups[0]))
    return lanes


def decode_pass(coded: Pass, streams: list[Stream], watch: Watch | None) -> None:
    tile, own = coded.tile, coded.own
    for c in coded.channels:
        low, high = tile.bounds[c]
        if low == high:
            for i in range(own.rows):
                for j in range(own.columns):
                    tile.planes[c][own.row(i)][own.column(j)] = low
    varying = [c for c in coded.channels if tile.bounds[c][0] < tile.bounds[c][1]]
    for k, stream in enumerate(streams if varying else []):
        groups = tile.stream_groups(coded.level, k)
        rows = range(32 * groups.start, 32 * groups.stop)
        for step in coded.steps(groups):
            pixels = [(lane, Pixel(coded, i, j, rows)) for lane, i, j in step]
            for c in varying:
                for lane, pixel in pixels:
                    pixel.decode(c, lane, stream, watch)


# Adaptation (5.2).


class Array(NamedTuple):
    """Some of the numbers of an adaptation: what they change, in which layer, at which levels (up to 4)."""

    name: str
    network: Network
    kind: str
    layer: int
    levels: list[int]
    size: int


def list_arrays(name: str, network: Network, sets: int) -> Iterator[Array]:
    by_set = [[s for s in range(5) if min(s, sets - 1) == number] for number in range(sets)]
    last = len(network.layers) - 1
    for number, (weight, _, _) in enumerate(network.layers):
        yield Array(name, network, "weight", number, [], len(weight) * len(weight[0]))
    for number, layer in enumerate(network.layers[:last]):
        for levels in by_set:
            yield Array(name, network, "bias", number, levels, len(layer.weight))
    for kind in ("gain", "shift"):
        for levels in by_set:
            yield Array(name, network, kind, last, levels, OUTPUTS[name])


def apply(array: Array, numbers: list[int], precision: int) -> None:
    weight, bias, multiplier = array.network.layers[array.layer]
    if array.kind == "weight":
        for o, values in enumerate(chunks(numbers, len(weight[0]))):
            exponent, m = 11 if array.layer == 0 else 10, multiplier[o]
            if array.layer == len(array.network.layers) - 1:
                exponent = WEIGHT_EXPONENTS[KINDS[array.name][o // 5]]
            moves = [(v * 2 ** (exponent - precision) + (m >> 1)) // m for v in values]
            weight[o] = [clamp(w + move, -127, 127) for w, move in zip(weight[o], moves, strict=True)]
    for s in array.levels:
        if array.kind == "bias":
            moves = [(v * 2 ** (15 - precision) + (m >> 1)) // m for v, m in zip(numbers, multiplier, strict=True)]
            bias[s] = [b + move for b, move in zip(bias[s], moves, strict=True)]
        elif array.kind == "gain":
            array.network.gain[s] = numbers
        else:
            array.network.shift[s] = numbers


def adapted_networks(section: Bytes, model: Model, channels: int) -> Networks:
    networks = {key: copy.deepcopy(network) for key, network in model.networks.items()}
    sets, precision = section.number("B"), section.number("B")
    require(1 <= sets <= 5 and precision <= 4, "adaptation out of bounds")
    arrays: list[Array] = []
    for (name, _), network in networks.items():
        if name == "luma" or channels == 3:
            arrays += list_arrays(name, network, sets)
    bits = int.from_bytes(section.take(ceil_div(len(arrays), 8)), "little")
    require(bits < 1 << len(arrays), "arrays that there are not")
    present = [array for a, array in enumerate(arrays) if bits >> a & 1]
    spreads = section.take(len(present))
    require(all(spread <= 87 for spread in spreads), "spread out of bounds")
    if present:
        stream = Stream(1)
        stream.open(section.take(len(section.data) - section.at), first=True)
        for array, spread in zip(present, spreads, strict=True):
            distribution = Distribution(spread)
            apply(array, [stream.symbol(0, distribution) for _ in range(array.size)], precision)
        stream.close()
        require(stream.state[0] == STATE_MIN, "adaptation does not end where it began")
    section.finish()
    for network in networks.values():
        network.check_bound()
    return networks


class Distribution(NamedTuple):
    """Of the numbers of an array."""

    spread: int
    low: int = -128
    high: int = 127

    def cumulative(self, v: int) -> int:
        if v in (-128, 128):
            return 0 if v < 0 else 65536
        return v + 128 + ((65280 * logistic(16 * v - 8, self.spread)) >> 16)


# Mixture (6).


def logistic(distance: int, index: int) -> int:
    position = min((abs(distance) * (MANTISSA[index & 7] >> (index >> 3))) >> 7, 4095)
    j, f = position >> 8, position & 255
    tail = TAIL[j] - (((TAIL[j] - TAIL[j + 1]) * f) >> 8)
    return tail if distance < 0 else 65535 - tail


class Pixel:
    """A pixel of a pass: its place in the band and in the tile, the base of its channels, inputs, outputs."""

    def __init__(self, coded: Pass, i: int, j: int, stream_rows: range) -> None:
        self.coded, self.i, self.j = coded, i, j
        self.place = coded.own.row(i), coded.own.column(j)
        self.base, self.inputs = coded.context(i, j, stream_rows)
        self.out = coded.weights.outputs(coded.level, self.inputs)

    def mixture(self, c: int) -> Mixture:
        """The mixture of channel c, for Cg once Co is decoded."""
        rows = chunks(self.out, 5)
        count = len(self.coded.channels)
        spread, mean, logit = (rows[kind * count + self.coded.channels.index(c)] for kind in range(3))
        (low, high), e = self.coded.tile.bounds[c], self.coded.tile.e
        top = max(logit)
        diff = [min(top - value, 191) for value in logit]
        share = [SHARE[d & 15] >> (d >> 4) for d in diff]
        unit = (((2**27 - 1) // sum(share)) * (65536 - (high - low + 1))) >> 16
        weight = [(s * unit) >> 11 for s in share]
        move = [0] * 5
        if c == 2:
            co = self.value(1) - self.base[1]
            move = [(clamp(coefficient, -256, 255) * co + (2 << e)) >> (2 + e) for coefficient in rows[6]]
        centre = [clamp(m + d, -16383, 16383) for m, d in zip(mean, move, strict=True)]
        return Mixture(low, high, self.base[c], e, weight, centre, [clamp(index, 0, 87) for index in spread])

    def value(self, c: int) -> int:
        return self.coded.tile.planes[c][self.place[0]][self.place[1]]

    def decode(self, c: int, lane: int, stream: Stream, watch: Watch | None) -> None:
        mixture = self.mixture(c)
        before, at = stream.state[lane], stream.segment.at
        value = stream.symbol(lane, mixture)
        self.coded.tile.planes[c][self.place[0]][self.place[1]] = value
        if watch:
            step = {"pixel": self, "channel": c, "lane": lane, "mixture": mixture, "value": value}
            watch(step | {"before": before, "after": stream.state[lane], "words": stream.segment.at - at})


class Mixture(NamedTuple):
    low: int
    high: int
    base: int
    e: int
    weight: list[int]
    centre: list[int]
    spread: list[int]

    def cumulative(self, value: int) -> int:
        if value == self.low:
            return 0
        if value == self.high + 1:
            return 65536
        origin = (16 * (value - self.base) - 8) >> self.e
        below = value - self.low
        for weight, centre, spread in zip(self.weight, self.centre, self.spread, strict=True):
            below += (weight * logistic(origin - centre, spread)) >> 16
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

    def close(self) -> None:
        self.segment.finish()

    def symbol(self, lane: int, mixture: Mixture | Distribution) -> int:
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


def main(source: str, model: str, target: str) -> None:
    with open(model, "rb") as file:
        weights = read_model(file.read())
    with open(source, "rb") as file:
        _, samples, _ = decode(file.read(), weights)
    with open(target, "wb") as file:
        file.write(samples)


if __name__ == "__main__":
    main(*sys.argv[1:])
