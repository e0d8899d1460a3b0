"""One image: pixels to sections and back, coarse to fine, the same for every engine (docs/format.md, 3)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple

from llicti_core import adaptation, generic, models, ordinals, samples, value_table
from llicti_core.adaptation import MAX_EFFORT, NOT_ADAPTED, AdaptedParameters
from llicti_core.container import (
    Coding,
    Header,
    Reader,
    Sections,
    pack_text,
    pack_varint,
    read_header,
    read_start,
    write_frame,
    write_start,
)
from llicti_core.engines.base import CodedTile, Engine, TiledImage, TileRect
from llicti_core.errors import FormatError, TruncatedError, UnsupportedError
from llicti_core.metadata import Metadata
from llicti_core.ordinals import Values, join_samples
from llicti_core.parts import Part, Region, part_of
from llicti_core.pyramid import level_size, stream_count
from llicti_core.samples import SAMPLE_NAMES, SAMPLE_TYPES, Group
from llicti_core.spec import (
    ADAPTED,
    CHANNEL_BOUNDS,
    COAR,
    CONSTANT,
    COPIED,
    CORR,
    FALLBACK,
    GENR,
    LEARNED,
    LEVELS,
    LEVL,
    MAX_CHANNELS,
    MAX_PALETTE,
    MAX_SIZE,
    PALETTE_CHANNELS,
    PLTE,
    level_tag,
)
from llicti_core.value_table import ValueTable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TILE_LOG2 = 10
"""Tiles the encoder makes: 1024 x 1024 pixels."""

SMALL = 2**14
"""Pixels of an image that is coded every way there is, to see which is the smallest."""

EQUAL_NEIGHBOURS = 0.25
"""Where more pixels than this are equal to the one on their left, the image may be a drawing."""

_FEW_ROWS = 61
"""Each of so many rows is looked at first. The first rows alone are often those of a frame around the picture."""

MAX_BYTES = 2**32
"""What a decoder allows an image's samples to take, unless it is told otherwise."""


class ImageInfo(NamedTuple):
    """What a file says of itself in its header.

    width, height: pixels. mode: Pillow's name, such as "L" or "RGB", or "" for an array that none fits.
    dtype: name of NumPy's type of the samples. channels: samples of a pixel. n_frames: images in the file.
    tile_size: side of a tile in pixels. model: name of the model. model_identity: the first 8 bytes of its
    hash, in hex. These three are None where no part of the image is coded by a model. flat: whether the array of an
    image without a mode has no axis for its one channel.
    """

    width: int
    height: int
    mode: str
    dtype: str
    channels: int
    n_frames: int
    tile_size: int | None
    model: str | None
    model_identity: str | None
    flat: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the image's array: (height, width), or (height, width, channels)."""
        if self.channels == 1 and (self.mode or self.flat):
            return self.height, self.width
        return self.height, self.width, self.channels


class Palette(NamedTuple):
    """The colours of an image of mode P or PA.

    mode: Pillow's name of what an entry is, such as "RGB" or "RGBA". colours: the entries, a byte a channel.
    """

    mode: str
    colours: bytes


class Frame(NamedTuple):
    """One decoded image of a file.

    pixels: the samples, row by row, channels interleaved, little endian. palette: of modes P and PA.
    """

    info: ImageInfo
    pixels: bytearray
    palette: Palette | None


def encode(
    pixels: NDArray[Any],
    model: str,
    effort: int,
    threads: int,
    engine: Engine,
    *,
    mode: str | None = None,
    palette: Palette | None = None,
    metadata: Metadata | None = None,
) -> bytes:
    """A `.llc` file of one image, `pixels`, [height, width] or [height, width, channels]."""
    if not 0 <= effort <= MAX_EFFORT:
        msg = f"effort must be 0 to {MAX_EFFORT}, not {effort}"
        raise ValueError(msg)
    sections = metadata.sections() if metadata else []
    array, mode = _checked(pixels, mode, palette)
    height, width, channels = array.shape
    weights = models.load(model)
    values = ordinals.to_ordinals(array)
    sample_type = next(kind for kind in SAMPLE_TYPES if kind.name == array.dtype.name)
    coded, bits = [], 0
    if palette:
        sections.append((PLTE, _pack_palette(palette)))
    found = value_table.find_table(values) if sample_type.size > 1 else None
    if found is None or height * width <= SMALL:
        coded = _encode_groups(values, sample_type.bits, weights, effort, threads, engine)
    if found is not None:
        (table, payload), least = found, value_table.index_bits(len(found[0]))
        dense = _encode_groups(value_table.to_indices(values, table), least, weights, effort, threads, engine)
        if not coded or _size(dense) + len(payload) + 10 < _size(coded):
            coded, bits = dense, least
            sections.append((LEVL, payload))
    header = Header(
        width=width,
        height=height,
        mode=mode,
        sample_type=sample_type,
        channels=channels,
        bits=bits,
        frames_after=0,
        checksum=zlib.crc32(ordinals.little_endian(array)),
        codings=tuple(group.coding for group in coded),
        flat=not mode and pixels.ndim == 2,
    )
    if header.learned:
        header = header._replace(tile_log2=TILE_LOG2, model=weights.spec.name, identity=weights.identity)
    return write_start() + write_frame(header, sections + _group_sections(coded))


def decode(
    data: bytes | memoryview,
    threads: int,
    engine: Engine,
    max_bytes: int | None = MAX_BYTES,
    factor: int = 1,
    region: Region | None = None,
) -> Frame:
    """The first image in a `.llc` file, or a part of it (see part_of). Of further ones nothing is looked at.

    max_bytes: the most that the samples may take, None for no limit. Nothing in proportion to the size that the header
    states is allocated before it is checked.
    """
    frame = read_frame(read_start(data), max_bytes, factor, region)
    part = frame.part
    decoded: dict[Group, bytes | bytearray] = {}
    for group, channels, places, tiles, adapted in frame.learned:
        assert frame.weights
        decoded[group] = bytearray(part.rows * part.columns * channels)
        view = memoryview(decoded[group]).cast("B", (part.rows, part.columns, channels))
        engine.decode(TiledImage(view, places, frame.weights, adapted), tiles, threads, part.scale)
    return _finish_frame(frame, decoded)


class LearnedGroup(NamedTuple):
    """What an engine decodes a group from; see Engine.decode. channels: those that are stored."""

    group: Group
    channels: int
    places: list[TileRect]
    tiles: list[CodedTile]
    adaptation: AdaptedParameters


class CodedFrame(NamedTuple):
    """A frame, or a part of it, whose learned groups are still coded. values: of the generic ones. table: of the
    ordinals, where groups hold indices into it, not read yet."""

    header: Header
    part: Part
    palette: Palette | None
    table: ValueTable | None
    values: dict[Group, bytes | bytearray]
    learned: list[LearnedGroup]
    weights: models.Model | None


def read_frame(
    reader: Reader, max_bytes: int | None = MAX_BYTES, factor: int = 1, region: Region | None = None
) -> CodedFrame:
    """All that `decode` does before it takes an engine, of the frame whose header `reader` stands in front of."""
    header = read_header(reader)
    part = part_of(header.width, header.height, factor, region)
    needed = part.rows * part.columns * header.channels * header.sample_type.size
    if max_bytes is not None and needed > max_bytes:
        msg = f"image takes {needed} bytes, more than the {max_bytes} allowed"
        raise UnsupportedError(msg)
    weights = models.load_exact(header.model, header.identity) if header.learned else None
    _check_payload(header, reader.left)
    sections = Sections(reader)
    palette = _read_palette(sections.take(PLTE)) if header.mode in samples.PALETTE_MODES else None
    table = None
    if header.bits:
        count = header.width * header.height * header.channels
        table = ValueTable.read(sections.take(LEVL), header.bits, header.sample_type, count)
    groups = list(zip(header.groups, header.codings, strict=True))
    values: dict[Group, bytes | bytearray] = {}
    for group, coding in groups:
        if group.top and coding.kind == FALLBACK:
            values[group] = _decode_generic(sections, header, group, coding, part)
    learned = _read_learned(sections, header, part, weights) if weights else []
    if not header.scalable:
        for scale in range(part.scale - 1, -1, -1):
            for _ in range(header.learned):
                sections.skip(level_tag(scale))
    for group, coding in groups:
        if not group.top and coding.kind == FALLBACK:
            values[group] = _decode_generic(sections, header, group, coding, part)
    if not part.scale:
        sections.finish()
        if reader.left and not header.frames_after:
            msg = f"{reader.name} goes on behind its last frame"
            raise FormatError(msg)
    return CodedFrame(header, part, palette, table, values, learned, weights)


def _finish_frame(frame: CodedFrame, decoded: dict[Group, bytes | bytearray]) -> Frame:
    """The image of a frame whose learned groups are `decoded`."""
    header, part, decoded = frame.header, frame.part, frame.values | decoded
    parts: list[Values] = []
    for group, coding in zip(header.groups, header.codings, strict=True):
        if coding.kind == COPIED:
            parts.append(parts[-1]._replace(group=group))
        else:
            constant = coding.kind == CONSTANT
            values = coding.values if constant else _checked_values(decoded.pop(group), group)
            parts.append(Values(group, values, coding.stored(group), constant))
    pixels = join_samples(parts, (part.rows, part.columns, header.channels), header.sample_type, frame.table)
    if part.is_whole(header.width, header.height) and zlib.crc32(pixels) != header.checksum:
        msg = "decoded pixels do not match the checksum in the header"
        raise FormatError(msg)
    return Frame(_info(header), pixels, frame.palette)


def best_factor(data: bytes | memoryview) -> int:
    """The least scale factor that the beginning of a `.llc` file is enough for. Raises LLCError."""
    reader = read_start(data)
    header = read_header(reader)
    missing = _section_count(header) - Sections(reader).count()
    if missing <= 0:
        return 1
    scale = -(-missing // header.learned) if header.scalable else LEVELS + 1
    if scale > LEVELS:
        msg = f"{reader.name} ends at byte {len(reader.data)}, before the smallest version of its image does"
        raise TruncatedError(msg)
    return 1 << scale


def _section_count(header: Header) -> int:
    """How many sections a frame has, but for ancillary ones and its header."""
    kinds = [coding.kind for coding in header.codings]
    count = (header.mode in samples.PALETTE_MODES) + bool(header.bits)
    return count + kinds.count(FALLBACK) + kinds.count(ADAPTED) + (1 + LEVELS) * header.learned


def inspect(data: bytes | memoryview) -> ImageInfo:
    """What the header of a `.llc` file says; a prefix that holds the header is enough."""
    return _info(read_header(read_start(data)))


def read_palette(data: bytes | memoryview) -> Palette | None:
    """The palette of the image in a `.llc` file, if it has one; a prefix that holds it is enough."""
    reader = read_start(data)
    header = read_header(reader)
    return _read_palette(Sections(reader).take(PLTE)) if header.mode in samples.PALETTE_MODES else None


def read_metadata(data: bytes | memoryview) -> Metadata:
    """The metadata of the first image in a `.llc` file; a prefix that holds it is enough."""
    reader = read_start(data)
    read_header(reader)
    return Metadata.from_sections(Sections(reader).in_front())


def _info(header: Header) -> ImageInfo:
    model: tuple[int | None, str | None, str | None] = (None, None, None)
    if header.learned:
        model = (1 << header.tile_log2, header.model, header.identity.hex())
    return ImageInfo(
        header.width,
        header.height,
        header.mode,
        header.sample_type.name,
        header.channels,
        1 + header.frames_after,
        *model,
        header.flat,
    )


def tile_grid(width: int, height: int, tile_log2: int) -> Iterator[TileRect]:
    """The tiles of an image, row by row."""
    size = 1 << tile_log2
    for y in range(0, height, size):
        for x in range(0, width, size):
            yield TileRect(y, x, min(size, height - y), min(size, width - x))


def _checked(pixels: NDArray[Any], mode: str | None, palette: Palette | None) -> tuple[NDArray[Any], str]:
    """`pixels` as contiguous [height, width, channels] in native order of bytes, and their mode.

    Raises UnsupportedError.
    """
    import numpy as np

    if not isinstance(pixels, np.ndarray):
        msg = f"cannot encode a {type(pixels).__name__}: only NumPy's arrays are supported"
        raise UnsupportedError(msg)
    if pixels.dtype.name not in SAMPLE_NAMES:
        msg = f"cannot encode pixels: {samples.refused_dtype(pixels.dtype.name)}"
        raise UnsupportedError(msg)
    array = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    if array.ndim != 3 or not 1 <= array.shape[2] <= MAX_CHANNELS:
        msg = f"cannot encode pixels of shape {pixels.shape}: only (height, width) and (height, width, channels)"
        raise UnsupportedError(msg)
    height, width, channels = array.shape
    if not (1 <= height <= MAX_SIZE and 1 <= width <= MAX_SIZE):
        msg = f"cannot encode an image of {width}x{height} pixels"
        raise UnsupportedError(msg)
    if mode is None:
        mode = samples.array_mode(array.dtype.name, channels, pixels.ndim)
    elif (pixels.ndim, *samples.MODES.get(mode, ())) != (2 if channels == 1 else 3, array.dtype.name, channels):
        msg = f"cannot encode {pixels.dtype} pixels of shape {pixels.shape} as mode {mode!r}"
        raise UnsupportedError(msg)
    if (mode in samples.PALETTE_MODES) != (palette is not None):
        msg = f"mode {mode!r} {'needs a' if palette is None else 'has no'} palette"
        raise UnsupportedError(msg)
    if palette:
        _check_palette(palette)
    if array.dtype == np.bool_:
        array = array.view(np.uint8) != 0  # True can be any byte, and is 255 in what Pillow gives
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")), mode


class _CodedGroup(NamedTuple):
    """A group as the sections have it.

    values: what was coded, uint8 [height, width, stored channels]. payload: of GENR, or of CORR. tiles: of a learned
    group.
    """

    group: Group
    values: NDArray[np.uint8]
    coding: Coding
    payload: bytes = b""
    tiles: list[CodedTile] = []  # noqa: RUF012  # never changed


def _encode_groups(
    values: NDArray[np.unsignedinteger], bits: int, weights: models.Model, effort: int, threads: int, engine: Engine
) -> list[_CodedGroup]:
    """All groups of [height, width, channels] `values`, ordinals or indices of so many bits."""
    coded: list[_CodedGroup] = []
    for group in samples.groups(bits, values.shape[2]):
        previous = coded[-1] if coded else None
        coded.append(_encode_group(ordinals.plane(values, group), group, previous, weights, effort, threads, engine))
    return coded


def _size(coded: list[_CodedGroup]) -> int:
    """Bytes of the sections of groups."""
    return sum(9 + len(payload) for _, payload in _group_sections(coded))


def _encode_group(
    values: NDArray[np.uint8],
    group: Group,
    previous: _CodedGroup | None,
    weights: models.Model,
    effort: int,
    threads: int,
    engine: Engine,
) -> _CodedGroup:
    """A group coded the way that makes it smallest; `previous` is the one before it in the list of groups."""
    equal = _channels_equal(values)
    if equal:
        values = values[..., :1].copy()
    if is_constant(values):
        return _CodedGroup(group, values, Coding(CONSTANT, equal, values[0, 0].tobytes()))
    if previous and previous.group[:2] == group[:2] and _same(previous.values, values):
        return _CodedGroup(group, values, Coding(COPIED))
    candidates = []
    if group.top:
        height, width, _ = values.shape
        image = TiledImage(memoryview(values), list(tile_grid(width, height, TILE_LOG2)), weights, NOT_ADAPTED)
        adapted = adaptation.fit(image, effort, threads)
        tiles = engine.encode(image._replace(adaptation=adapted), threads)
        coding = Coding(ADAPTED if adapted else LEARNED, equal)
        candidates.append(_CodedGroup(group, values, coding, adapted.pack(weights), tiles))
    if not group.top or may_be_generic(values, _size(candidates)):
        payload = generic.encode(values, thorough=effort > 1)
        candidates.append(_CodedGroup(group, values, Coding(FALLBACK, equal), payload))
    return min(candidates, key=lambda candidate: _size([candidate]))


def _channels_equal(values: NDArray[np.uint8]) -> bool:
    """Whether the channels of a group are equal everywhere."""
    import numpy as np

    return values.shape[2] > 1 and _everywhere(lambda part: np.array_equal(part[..., :-1], part[..., 1:]), values)


def is_constant(values: NDArray[np.uint8]) -> bool:
    """Whether all pixels of `values`, uint8 [height, width, channels], are equal."""
    return _everywhere(lambda part: bool((part == values[0, 0]).all()), values)


def _same(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    import numpy as np

    return a.shape == b.shape and _everywhere(np.array_equal, a, b)


def _everywhere(holds: Callable[..., bool], *values: NDArray[np.uint8]) -> bool:
    """Whether something holds for all rows of `values`; a few rows are looked at first, and mostly tell that not."""
    return all(holds(*(array[::step] for array in values)) for step in (_FEW_ROWS, 1))


def may_be_generic(values: NDArray[np.uint8], size: int) -> bool:
    """Whether to try the generic coding of a group that takes `size` bytes learned: not of an ordinary photograph.

    That is where it costs little, where the model does very well or badly, and where many neighbours are equal: in
    photographs up to a fifth of them are (in grey ones a third), in drawings and screenshots hardly less than that.
    """
    height, width, _ = values.shape
    if height * width <= SMALL or not values.size / 8 < size < values.size * 7 / 8:
        return True
    rows = values[:: max(1, height // 64)]
    return bool((rows[:, 1:] == rows[:, :-1]).all(axis=2).mean() > EQUAL_NEIGHBOURS)


def _group_sections(coded: list[_CodedGroup]) -> list[tuple[bytes, bytes]]:
    """The sections of groups, in order: from a prefix all of them can be shown small."""
    learned = [group for group in coded if group.coding.learned]
    generic_groups = [group for group in coded if group.coding.kind == FALLBACK]
    sections = [(GENR, group.payload) for group in generic_groups if group.group.top]
    sections += [(CORR, group.payload) for group in learned if group.coding.kind == ADAPTED]
    sections += [(COAR, b"".join(map(_pack_coarse, group.tiles))) for group in learned]
    for index in range(LEVELS):
        tag = level_tag(LEVELS - 1 - index)
        sections += [(tag, _pack_scale([tile.segments[index] for tile in group.tiles])) for group in learned]
    return sections + [(GENR, group.payload) for group in generic_groups if not group.group.top]


def _check_payload(header: Header, payload: int) -> None:
    """Raises TruncatedError where `payload` bytes cannot hold the coarsest phases of the learned groups."""
    phase = level_size(header.width, LEVELS) * level_size(header.height, LEVELS)
    pairs = zip(header.groups, header.codings, strict=True)
    least = phase * sum(coding.stored(group) for group, coding in pairs if coding.learned)
    if least > payload:
        msg = f"file ends early: {header.width}x{header.height} pixels take more than the {payload} bytes left"
        raise TruncatedError(msg)


def _decode_generic(sections: Sections, header: Header, group: Group, coding: Coding, part: Part) -> bytearray:
    return generic.decode(sections.take(GENR), header.height, header.width, coding.stored(group), part)


def _read_learned(sections: Sections, header: Header, part: Part, weights: models.Model) -> list[LearnedGroup]:
    """The learned groups; only the scales and tiles that `part` takes are read."""
    rectangles = list(tile_grid(header.width, header.height, header.tile_log2))
    touched = [part.touches(rectangle) for rectangle in rectangles]
    places = [part.place(rectangle) for rectangle in compress(rectangles, touched)]
    learned = [
        (group, coding.stored(group), coding.kind == ADAPTED)
        for group, coding in zip(header.groups, header.codings, strict=True)
        if coding.learned
    ]
    adapted = [_read_adaptation(sections, weights) if corrected else NOT_ADAPTED for _, _, corrected in learned]
    coded = [
        list(compress(_read_coarse_section(sections, rectangles, channels), touched)) for _, channels, _ in learned
    ]
    for scale in range(LEVELS - 1, part.scale - 1, -1):
        for (_, channels, _), tiles in zip(learned, coded, strict=True):
            payload = sections.take(level_tag(scale))
            for tile, segments in zip(tiles, _read_scale(payload, rectangles, touched, channels), strict=True):
                tile.segments.append(segments)
    return [
        LearnedGroup(group, channels, places, tiles, change)
        for (group, channels, _), tiles, change in zip(learned, coded, adapted, strict=True)
    ]


def _checked_values(values: bytes | bytearray, group: Group) -> bytes | bytearray:
    """`values`, none of which may be too large for the bits of its group. Raises FormatError."""
    if group.bits < 8 and max(values) >> group.bits:
        msg = f"a sample has the value {max(values)} where {group.bits} bits are all"
        raise FormatError(msg)
    return values


def _pack_palette(palette: Palette) -> bytes:
    """The payload of the PLTE section."""
    return pack_text(palette.mode) + palette.colours


def _read_palette(reader: Reader) -> Palette:
    palette = Palette(reader.text(), bytes(reader.take(reader.left)))
    _check_palette(palette)
    return palette


def _check_palette(palette: Palette) -> None:
    """Raises UnsupportedError where it has no known mode, too many colours, or part of one."""
    channels = PALETTE_CHANNELS.get(palette.mode)
    if channels is None:
        msg = f"palettes of mode {palette.mode!r} are not supported"
        raise UnsupportedError(msg)
    if len(palette.colours) > MAX_PALETTE * channels or len(palette.colours) % channels:
        size = len(palette.colours)
        msg = f"a palette has {size} bytes, {channels} for each of at most {MAX_PALETTE} colours are allowed"
        raise UnsupportedError(msg)


def _pack_coarse(tile: CodedTile) -> bytes:
    """A tile's part of the COAR section: the range of each channel, then the coarsest phase as it is."""
    return b"".join(struct.pack("<hh", *limits) for limits in tile.bounds) + tile.lowpass


def _pack_scale(tiles: list[list[bytes]]) -> bytes:
    """A scale's section: the length of every segment, then the segments."""
    segments = [segment for tile in tiles for segment in tile]
    return b"".join([*(pack_varint(len(segment)) for segment in segments), *segments])


def _read_coarse_section(sections: Sections, rectangles: list[TileRect], channels: int) -> list[CodedTile]:
    """The tiles of a group, without any scale yet. Raises FormatError or TruncatedError."""
    payload = sections.take(COAR)
    coarse = [_read_coarse(payload, rectangle, channels) for rectangle in rectangles]
    payload.finish()
    return [CodedTile(ranges, phase, []) for ranges, phase in coarse]


def _read_adaptation(sections: Sections, weights: models.Model) -> AdaptedParameters:
    """The model's change of one or more of the finest levels. Raises FormatError or TruncatedError."""
    reader = sections.take(CORR)
    return AdaptedParameters.unpack(reader.take(reader.left), weights)


def _read_coarse(reader: Reader, rectangle: TileRect, channels: int) -> tuple[list[tuple[int, int]], bytes]:
    """A tile's channel ranges and coarsest phase."""
    ranges: list[tuple[int, int]] = []
    for least, most in CHANNEL_BOUNDS[:channels]:
        low, high = struct.unpack("<hh", reader.take(4))
        if not least <= low <= high <= most:
            msg = f"a channel's range is {low}..{high}, outside {least}..{most}"
            raise FormatError(msg)
        ranges.append((low, high))
    size = level_size(rectangle.height, LEVELS) * level_size(rectangle.width, LEVELS) * channels
    return ranges, bytes(reader.take(size))


def _read_scale(reader: Reader, rectangles: list[TileRect], touched: list[bool], channels: int) -> list[list[bytes]]:
    """The segments of one scale, of every tile that is `touched`."""
    counts = [stream_count(tile.height, tile.width, channels) for tile in rectangles]
    lengths = [[reader.varint() for _ in range(count)] for count in counts]
    segments = [[reader.take(length) for length in row] for row in lengths]
    reader.finish()
    return [[bytes(segment) for segment in row] for row in compress(segments, touched)]
