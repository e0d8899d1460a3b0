"""Pixels to the file of one frame: validation, the ways to code a channel group, and which of them is smallest."""

from __future__ import annotations

import zlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from llicti_core import adaptation, engines, fallback, models, ordinals, plain, samples, value_table
from llicti_core.adaptation import MAX_EFFORT
from llicti_core.container import Coding, Header, write_file
from llicti_core.engines.base import NOT_ADAPTED, AdaptedParameters, CodedTile, Engine, TiledImage
from llicti_core.errors import UnsupportedError
from llicti_core.ordinals import Planes
from llicti_core.patches import Patches
from llicti_core.payloads import pack_levels, pack_palette
from llicti_core.pyramid import level_count, section_levels
from llicti_core.samples import SAMPLE_NAMES, SAMPLE_TYPES, ChannelGroup
from llicti_core.spec import (
    ADAPTED,
    ADPT,
    CONSTANT,
    COPIED,
    DEEP_BITS,
    FALLBACK,
    GENR,
    JOINED,
    LEARNED,
    LEVL,
    MAX_CHANNELS,
    MAX_SIZE,
    PLAIN,
    PLTE,
)
from llicti_core.threads import thread_count
from llicti_core.uniform import channels_equal, is_constant, same
from llicti_core.view import TileGrid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llicti_core.metadata import Metadata
    from llicti_core.payloads import Palette

TILE_LOG2 = 10
"""Tiles the encoder makes: 1024 x 1024 pixels."""

_SMALL_PIXELS = 2**14
"""Pixels of an image that is coded every way there is, to see which is the smallest."""

EQUAL_NEIGHBOURS = 0.25
"""Where more pixels than this are equal to the one on their left, the image may be a drawing."""

_MODEL_BYTES = 18
"""What HEAD says of tiles and model takes about as much."""

_NOISE = 0.9
"""A plane that takes more than this of its bits in any way is as good as noise, which is not worth much work."""

_CHECKED_TILES = 6
"""Of so many tiles at most it is looked at what they take without the adaptation, at efforts that take long anyway."""

_MOST_DEEP_BITS = 16
"""Of ordinals that are coded as the samples of deep photographs are; beyond, they are floats or counts."""


class _CodedGroup(NamedTuple):
    """A channel group as the sections have it.

    values: what was coded, uint8 or uint16 [height, width, stored channels]; no rows of them where nobody needs them
    any more. payload: of GENR, or of ADPT. tiles: of a learned group. plain: the sections of one of plain bits.
    """

    group: ChannelGroup
    values: NDArray[np.unsignedinteger]
    coding: Coding
    payload: bytes = b""
    tiles: list[CodedTile] = []  # noqa: RUF012  # never changed
    plain: list[tuple[bytes, ...]] = []  # noqa: RUF012  # never changed


Learned = tuple[AdaptedParameters, list[CodedTile]]
"""What a learned group becomes: its adaptation, and its tiles coded with that."""

Result = TypeVar("Result")

Steps = Generator[tuple[TiledImage, int], Learned, Result]
"""Work that stops for each learned group, not adapted, and the effort to adapt it with; it goes on when it is sent what
that became."""


class Encoder:
    """Codes images with one model, at one effort, on one engine."""

    def __init__(
        self,
        model: str = "default",
        effort: int = 1,
        threads: int | None = None,
        engine: Engine | None = None,
        device: str = "cpu",
    ) -> None:
        """As for `llicti_core.encode`; engine: by default that of the device. Raises as that does."""
        if not 0 <= effort <= MAX_EFFORT:
            msg = f"effort must be 0 to {MAX_EFFORT}, not {effort}"
            raise ValueError(msg)
        self.model, self.effort = models.load(model), effort
        self.threads, self.device, self.engine = thread_count(threads), device, engine or engines.on(device)

    def encode(self, pixels: NDArray[Any], **image: Any) -> bytes:
        """A `.llc` file of one image, see `steps`."""
        steps = self.steps(pixels, **image)
        try:
            wanted = next(steps)
            while True:
                learned = self._learned(*wanted)
                del wanted  # or the memory of its pixels would be held while the next ones are made
                wanted = steps.send(learned)
        except StopIteration as done:
            data: bytes = done.value
            return data

    def _learned(self, group: TiledImage, effort: int) -> Learned:
        """A group adapted as far as the effort goes, and coded."""
        adapted = adaptation.fit(group, effort, self.threads, self.device)
        return adapted, self.engine.encode(group._replace(adaptation=adapted), self.threads)

    def steps(
        self,
        pixels: NDArray[Any],
        *,
        mode: str | None = None,
        palette: Palette | None = None,
        metadata: Metadata | None = None,
    ) -> Steps[bytes]:
        """The work for a `.llc` file of one image, [height, width] or [height, width, channels], but for what the model
        does: each group that it is to code is given out, not adapted. Raises UnsupportedError.
        """
        sections: list[tuple[bytes, ...]] = [*metadata.sections()] if metadata else []
        array, mode = _checked(pixels, mode, palette)
        height, width, channels = array.shape
        values = ordinals.to_ordinals(array)
        sample_type = next(kind for kind in SAMPLE_TYPES if kind.name == array.dtype.name)
        coded, bits = list[_CodedGroup](), 0
        if palette:
            sections.append((PLTE, pack_palette(palette)))
        found = value_table.find_table(values) if sample_type.size > 1 else None
        if found is None or _is_small(values):
            coded = yield from self._groups(Planes(values), sample_type.bits)
        if found is not None:
            (table, payload), least = found, value_table.index_bits(len(found[0]))
            dense = yield from self._groups(value_table.to_indices(values, table), least)
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
            name, identity = self.model.spec.name, self.model.identity
            header = header._replace(tile_log2=TILE_LOG2, model=name, identity=identity)
        return write_file(header, sections + _group_sections(coded))

    def _groups(self, planes: Planes, bits: int) -> Steps[list[_CodedGroup]]:
        """All channel groups of ordinals or indices of so many bits."""
        stacks: list[list[_CodedGroup]] = []
        sets, patches = samples.channel_sets(planes.values.shape[2]), Patches(planes)
        for number, channels in enumerate(sets):
            deep = yield from self._is_deep(patches, bits, channels)
            before, is_last = stacks[-1] if stacks else [], number == len(sets) - 1
            stacks.append((yield from self._stack(planes, patches, bits, channels, deep, before, is_last)))
        coded: list[_CodedGroup] = []
        for current in samples.by_plane(stacks):
            joined = self._joined(coded[-1], current) if coded else None
            if joined:
                coded[-1:] = joined
            else:
                coded.append(current)
        return coded

    def _is_deep(self, patches: Patches, bits: int, channels: tuple[int, int]) -> Steps[bool]:
        """Whether the model had better see ten bits of these channels than eight, as far as the patches tell.

        Mostly, where the lower bits are noise; not where they have a pattern that a fallback coder finds.
        """
        if not DEEP_BITS <= bits <= _MOST_DEEP_BITS:
            return False
        sizes: list[float] = []
        for deep in (False, True):
            top, *lower = samples.plane_groups(bits, *channels, deep)
            coded = yield from self._group(patches.plane(top), top, patches, None, False, 0)
            if deep and not coded.coding.learned:
                return False  # it is constant, and no other groups are deep
            sizes.append(_size([coded]) + sum(patches.lower_size(group) for group in lower))
        return sizes[1] < sizes[0]

    def _stack(
        self,
        planes: Planes,
        patches: Patches,
        bits: int,
        channels: tuple[int, int],
        deep: bool,
        before: list[_CodedGroup],
        is_last: bool,
    ) -> Steps[list[_CodedGroup]]:
        """All planes of channels that are coded together: the first, and how many.

        before: those of the channels before them. is_last: whether no channels follow, which may be copies of these.
        """
        coded: list[_CodedGroup] = []
        for number, group in enumerate(samples.plane_groups(bits, *channels, deep)):
            previous = before[number] if number < len(before) else None
            learned = bool(coded) and coded[0].coding.learned
            found = yield from self._group(planes.plane(group), group, patches, previous, learned, self.effort)
            if is_last and found.coding.kind != FALLBACK:
                found = found._replace(values=found.values[:0].copy())  # takes memory, and is not looked at again
            coded.append(found)
        return coded

    def _group(
        self,
        values: NDArray[np.unsignedinteger],
        group: ChannelGroup,
        patches: Patches,
        previous: _CodedGroup | None,
        below_learned: bool,
        effort: int,
    ) -> Steps[_CodedGroup]:
        """A group coded the way that makes it smallest.

        previous: the one before it in its plane. below_learned: whether the model codes the top plane of its channels.
        """
        equal = channels_equal(values)
        if equal:
            values = values[..., :1].copy()
        if is_constant(values):
            return _CodedGroup(group, values, Coding(CONSTANT, equal, values[0, 0].tobytes()))
        if previous and samples.may_be_copy(previous.group, group) and same(previous.values, values):
            return _CodedGroup(group, values, Coding(COPIED, deep=previous.coding.deep))
        candidates: list[_CodedGroup] = []
        if group.top:
            candidates.append((yield from self._learn(values, group, equal, effort)))
            may_be_smaller = group.bits <= 8 and may_be_fallback(values, _size(candidates))
        elif below_learned:
            candidates.append(_plain(values, group, equal))
            may_be_smaller = _is_small(values) or patches.has_pattern(group)
        if not candidates or may_be_smaller:
            other = _size(candidates) if candidates else _NOISE * values.size * group.bits / 8
            if below_learned and not _is_small(values):
                payload = fallback.encode_lower(values, group.bits, effort, other)
            else:
                # Further steps make a lower plane hardly smaller.
                payload = fallback.encode(values, effort if group.top else max(0, effort - 2), other)
            candidates.append(_CodedGroup(group, values, Coding(FALLBACK, equal), payload))
        return min(candidates, key=lambda candidate: _size([candidate]))

    def _learn(
        self, values: NDArray[np.unsignedinteger], group: ChannelGroup, equal: bool, effort: int
    ) -> Steps[_CodedGroup]:
        """A group coded by the model, adapted to it as far as the effort goes, where that makes it smaller."""
        bits = max(8, group.bits)
        image = TiledImage(memoryview(values), list(_grid(values)), self.model, NOT_ADAPTED, bits)
        adapted, coded = yield image, effort
        if adapted and effort > 1:
            # The search has left out what does not pay, as far as it has looked.
            count = len(image.tiles)
            looked_at = min(_CHECKED_TILES, count)
            some = [place * count // looked_at for place in range(looked_at)]
            unadapted = yield from self._unadapted(image, some)
            saved = sum(_tile_size(tile) - _tile_size(coded[place]) for place, tile in unadapted.items())
            if saved * count <= len(adapted) * looked_at:
                unadapted |= yield from self._unadapted(image, sorted({*range(count)} - {*some}))
                adapted, coded = NOT_ADAPTED, [unadapted[place] for place in range(count)]
        coding = Coding(ADAPTED if adapted else LEARNED, equal, deep=bits > 8)
        return _CodedGroup(group, values, coding, adapted, coded)

    def _unadapted(self, image: TiledImage, places: list[int]) -> Steps[dict[int, CodedTile]]:
        """Some tiles of an image, coded without an adaptation, by their places among all."""
        if not places:
            return {}
        _, coded = yield image._replace(tiles=[image.tiles[place] for place in places]), 0
        return dict(zip(places, coded, strict=True))

    def _joined(self, before: _CodedGroup, after: _CodedGroup) -> list[_CodedGroup] | None:
        """Two groups coded together, such as color and alpha, where that is possible and smaller."""
        if not before.coding.kind == after.coding.kind == FALLBACK or before.group[:2] != after.group[:2]:
            return None
        import numpy as np

        apart = _size([before, after])
        values: NDArray[np.uint8] = np.concatenate((before.values, after.values), axis=2)
        payload = fallback.encode(values, self.effort, apart)
        joined = [before._replace(payload=payload), after._replace(payload=b"", coding=Coding(JOINED))]
        return joined if _size(joined) < apart else None


def _checked(pixels: NDArray[Any], mode: str | None, palette: Palette | None) -> tuple[NDArray[Any], str]:
    """`pixels` as contiguous [height, width, channels] in native order of bytes, and their mode.

    Raises UnsupportedError.
    """
    import numpy as np

    if not isinstance(pixels, np.ndarray):
        msg = f"cannot encode a {type(pixels).__name__}: only NumPy's arrays are supported"
        raise UnsupportedError(msg)
    if samples.has_mask(pixels):
        msg = f"cannot encode a {type(pixels).__name__}: {samples.REFUSED_MASK}"
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
        palette.check()
    if array.dtype == np.bool_:
        array = array.view(np.uint8) != 0  # True can be any byte, and is 255 in what Pillow gives
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")), mode


def _size(coded: list[_CodedGroup]) -> int:
    """Bytes of the sections of groups, and of what HEAD says of the model."""
    model = _MODEL_BYTES * any(group.coding.learned for group in coded)
    return model + sum(9 + sum(map(len, payload)) for _, *payload in _group_sections(coded))


def _tile_size(tile: CodedTile) -> int:
    """Bytes of a tile's lowpass and segments."""
    return len(tile.lowpass) + sum(len(segment) for level in tile.segments for segment in level)


def _is_small(values: NDArray[np.unsignedinteger]) -> bool:
    """Whether [height, width, channels] are so few pixels that all ways to code them are tried."""
    height, width, _ = values.shape
    return bool(height * width <= _SMALL_PIXELS)


def _grid(values: NDArray[np.unsignedinteger]) -> TileGrid:
    """The tiles of values [height, width, channels]."""
    return TileGrid(values.shape[1], values.shape[0], 1 << TILE_LOG2)


def _plain(values: NDArray[np.uint8], group: ChannelGroup, equal: bool) -> _CodedGroup:
    """A group as plain bits."""
    grid = _grid(values)
    first = next(iter(grid))
    sections = plain.pack(values, group.bits, grid, section_levels(level_count(first.height, first.width)))
    return _CodedGroup(group, values, Coding(PLAIN, equal), plain=sections)


def may_be_fallback(values: NDArray[np.uint8], size: int) -> bool:
    """Whether to try the fallback coders of a group that takes `size` bytes learned: not of an ordinary photograph.

    That is where it costs little, where the model does very well or badly, and where many neighbours are equal: in
    photographs up to a fifth of them are (in grey ones a third), in drawings and screenshots hardly less than that.
    """
    height, width, _ = values.shape
    if _is_small(values) or not values.size / 8 < size < values.size * 7 / 8:
        return True
    if width == 1:
        values = values.swapaxes(0, 1)
        height, width = width, height
    rows = values[:: max(1, height // 64)]
    return bool((rows[:, 1:] == rows[:, :-1]).all(axis=2).mean() > EQUAL_NEIGHBOURS)


def _group_sections(coded: list[_CodedGroup]) -> list[tuple[bytes, ...]]:
    """The sections of groups, in order: from a prefix all of them can be shown small."""
    learned = [group for group in coded if group.coding.learned]
    by_level = [pack_levels(group.tiles, group.coding.stored(group.group)) for group in learned]
    by_level += [group.plain for group in coded if group.coding.kind == PLAIN]
    fallbacks = [group for group in coded if group.coding.kind == FALLBACK]
    sections: list[tuple[bytes, ...]] = [(GENR, group.payload) for group in fallbacks if group.group.top]
    sections += [(ADPT, group.payload) for group in learned if group.coding.kind == ADAPTED]
    sections += [section for same_level in zip(*by_level, strict=True) for section in same_level]
    return sections + [(GENR, group.payload) for group in fallbacks if not group.group.top]


def encode(
    pixels: NDArray[Any],
    /,
    *,
    mode: str | None = None,
    palette: Palette | None = None,
    metadata: Metadata | None = None,
    model: str = "default",
    effort: int = 1,
    threads: int | None = None,
    device: str = "cpu",
) -> bytes:
    """Code an image without loss.

    pixels: array of uint8, uint16, uint32, int8, int16, int32, float16, float32, float64 or bool, (height, width) or
        (height, width, channels), any size from 1x1, 1 to 255 channels, in any order of bytes. Floats come back bit by
        bit, whatever they are.
    mode: what the pixels mean, one of Pillow's modes such as "RGBA", "CMYK" or "P"; it has to fit the array. By
        default the simplest that does, or none.
    palette: of modes "P" and "PA".
    metadata: to be kept with the pixels.
    model: name of an installed model.
    effort: how much work goes into adapting the model to the image, 0 (none) to 3, and into fallback coders. Decoding
        is as fast whatever it is.
    threads: how many to use; by default see `set_threads`. The bytes do not depend on it.
    device: "cpu"; "auto" for a GPU where one can be used, else the CPU; "cuda", or "cuda:1" and so on. At effort 0
        the bytes do not depend on it; above, what the search for an adaptation finds may, as it may on the processor.

    Returns the bytes of a `.llc` file of one image; `join` makes one of many. Raises UnsupportedError for other
    pixels and for metadata that cannot be stored, UnknownModelError for an unknown model, DeviceError where the GPU
    cannot be used or fails.
    """
    encoder = Encoder(model, effort, threads, device=device)
    return encoder.encode(pixels, mode=mode, palette=palette, metadata=metadata)
