"""A frame's sections to samples: reading order, limits, joining, checksum (docs/format.md, 3.5 and 9)."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from llicti_core import engines, models
from llicti_core.container import Coding, Header, Sections
from llicti_core.engines.base import NOT_ADAPTED, AdaptedParameters, CodedTile, Engine, TiledImage, TileRect
from llicti_core.errors import FormatError, TruncatedError, UnsupportedError
from llicti_core.options import DecodeOptions
from llicti_core.ordinals import Values, join_samples, value_size
from llicti_core.payloads import (
    LEAST_LOWPASS,
    LevelSegments,
    Payload,
    StreamIndex,
    lowpass_size,
    unpack_lowpass,
)
from llicti_core.pyramid import level_count, level_size, network_count
from llicti_core.records import NamedTuple
from llicti_core.samples import ChannelGroup
from llicti_core.spec import (
    ADAPTED,
    ADPT,
    BLOCK,
    COARSE_LEVEL,
    CONSTANT,
    COPIED,
    FALLBACK,
    GENR,
    JOINED,
    LEVL,
    PLAIN,
    level_tag,
    plain_tag,
)
from llicti_core.threads import thread_count
from llicti_core.view import TileGrid, View

if TYPE_CHECKING:
    from llicti_core.value_table import ValueTable

_WORK = 2
"""Times that a pixel may be decoded by a model for each pixel that is allowed: of colour with alpha it is twice, of 255
channels 255 times."""

_FALLBACK_WORK, _OTHER_WORK = 16, 64
"""Pixels by a fallback coder, and of one value or copied, that take no more time than one by a model."""

_LEAST_WORK = 1 << 24
"""Pixels that may always be decoded for a region, which takes whole tiles and blocks: those of a fallback block."""

_USUAL_TILE_BYTES = 3 << 20
"""Bytes of a tile that may always be decoded: the encoder makes none with more."""

_TILE_MEMORY = 5
"""Bytes that an engine takes for each byte of a tile that it works on."""

_BATCH_TILES, _BATCH_PIXELS = 1 << 10, 1 << 22
"""Tiles, and pixels in them for each thread, that an engine is given at once: so that all threads have enough to do,
while what is copied of the file for it stays small beside the image."""

_GPU_BATCH_PIXELS = 1 << 27
"""Pixels of a batch for a GPU, which has thousands of threads."""

_CHECKED = 1 << 16
"""Values that are looked at together for any that is too large."""


class _Group(NamedTuple):
    """A channel group, its number in the header, and how it is coded."""

    number: int
    group: ChannelGroup
    coding: Coding

    @property
    def stored(self) -> int:
        """Channels that are coded."""
        return self.coding.stored(self.group)


class LearnedGroup:
    """A channel group that the model codes: the tiles that a view touches, for an engine."""

    def __init__(
        self,
        group: _Group,
        view: View,
        grid: TileGrid,
        adaptation: AdaptedParameters,
        levels: dict[int, Payload],
    ) -> None:
        """levels: the sections of levels, coarsest first. Raises FormatError or TruncatedError."""
        self.group, self.channels, self.adaptation = group.group, group.stored, adaptation
        self.bits = max(8, group.group.bits)
        self._view, self._grid = view, grid
        self._coarse = levels[COARSE_LEVEL]
        index, networks = StreamIndex(grid), network_count(self.channels)
        starts = {COARSE_LEVEL: sum(lowpass_size(tile, self.channels, self.bits) for tile in grid)}
        self._levels = {
            level: LevelSegments(payload, starts.get(level, 0), index, 1 if level == COARSE_LEVEL else networks)
            for level, payload in levels.items()
        }

    def batches(self, most: int) -> Iterator[tuple[list[TileRect], list[CodedTile]]]:
        """The tiles, places seen from the view's first pixel and data, some at a time: of about `most` pixels."""
        places: list[TileRect] = []
        coded: list[CodedTile] = []
        at = pixels = 0
        for number, tile in enumerate(self._grid):
            start, at = at, at + lowpass_size(tile, self.channels, self.bits)
            if not self._view.touches(tile):
                continue
            bounds, lowpass = unpack_lowpass(self._coarse, start, tile, self.channels, self.bits)
            places.append(self._view.place(tile))
            coded.append(CodedTile(bounds, lowpass, self._segments(number, tile)))
            pixels += tile.height * tile.width
            if len(places) == _BATCH_TILES or pixels >= most:
                yield places, coded
                places, coded, pixels = [], [], 0
        if places:
            yield places, coded

    def _segments(self, number: int, tile: TileRect) -> list[list[bytes]]:
        """What an engine decodes a tile from; see CodedTile."""
        levels = level_count(tile.height, tile.width)
        segments: list[list[bytes]] = []
        for level, found in self._levels.items():
            if level < levels or level == COARSE_LEVEL:
                segments += found.of(number)
            else:
                found.check_empty(number)
        return segments


class FrameDecoder:
    """Decodes one view of one frame."""

    def __init__(
        self, header: Header, sections: Sections, view: View, options: DecodeOptions, engine: Engine | None = None
    ) -> None:
        """engine: by default that of the options' device.

        Raises UnsupportedError where the view exceeds the limits, UnknownModelError, DeviceError.
        """
        self.header, self.view = header, view
        self._sections, self._options = sections, options
        self._threads = thread_count(options.threads)
        self._engine = engine or engines.on(options.device)
        on_gpu = self._engine.name in ("cuda", "auto")
        self._batch = _GPU_BATCH_PIXELS if on_gpu else self._threads * _BATCH_PIXELS
        pairs = zip(header.groups, header.codings, strict=True)
        self._groups = [_Group(number, group, coding) for number, (group, coding) in enumerate(pairs)]
        self._layout = header.layout
        self._grid = TileGrid(header.width, header.height, 1 << header.tile_log2)
        self._blocks = TileGrid(header.width, header.height, BLOCK)
        self._check_limits()
        self.model = models.load_exact(header.model, header.identity) if header.learned else None
        self._whole = view.is_whole(header.width, header.height)
        # Of the levels' sections in an open file a small region needs little. Where they are not read whole, nor their
        # checksums compared, the states in which the entropy coder ends after the finest level tell of damage; of plain
        # bits the checksums are compared in any case.
        touched = self._grid.touched_pixels(view)
        self._read_whole = view.level > 0 or 2 * touched > header.width * header.height

    def decode(self) -> bytearray:
        """The samples of the view: row by row, channels interleaved, little endian.

        Raises FormatError, TruncatedError, UnsupportedError or DeviceError.
        """
        table = self._read_table()
        header, view = self.header, self.view
        shape = view.rows, view.columns, header.channels
        samples = join_samples(self._parts(), shape, header.sample_type, table)
        if self._whole:
            self._sections.check_ancillary()
            if zlib.crc32(samples) != header.checksum:
                msg = "decoded pixels do not match the checksum in the header"
                raise FormatError(msg)
        return samples

    def _parts(self) -> Iterator[Values]:
        """The values of all groups, each decoded when it is asked for, and not kept."""
        learned = self.learned()
        # WebP's decoder takes three times the memory that deep samples do, so that it goes before these are there.
        fallbacks = self._of_kind(FALLBACK) if learned else []
        lower = {group.number: self._decode_fallback(group) for group in fallbacks if not group.group.top}
        last: Values | None = None
        for group, following in zip(self._groups, [*self._groups[1:], None], strict=True):
            kind = group.coding.kind
            if kind == COPIED and last:
                last = last._replace(group=group.group)
            elif kind == JOINED and last:
                last = last._replace(group=group.group, stored=group.stored, before=last.stored, after=0)
            elif kind == CONSTANT:
                last = Values(group.group, group.coding.values, group.stored, True)
            else:
                if group.number in lower:
                    values = lower.pop(group.number)
                elif kind == FALLBACK:
                    values = self._decode_fallback(group)
                elif kind == PLAIN:
                    values = self._decode_plain(group)
                else:
                    values = self._decode_learned(learned.pop(group.number))
                _check_values(values, group.group)
                last = Values(group.group, values, group.stored, False, after=self._joined(group))
                del values
            yield last
            if following and following.coding.kind not in (COPIED, JOINED):
                last = None

    def learned(self) -> dict[int, LearnedGroup]:
        """The groups that a model codes, by their numbers in the header, with what the view takes of them.

        Raises FormatError or TruncatedError.
        """
        if not self.model:
            return {}
        self._check_lowpass()
        adaptations = {
            group.number: self._read_adaptation(group) for group in self._groups if group.coding.kind == ADAPTED
        }
        return {
            group.number: LearnedGroup(
                group, self.view, self._grid, adaptations.get(group.number, NOT_ADAPTED), self._levels(group, level_tag)
            )
            for group in self._groups
            if group.coding.learned
        }

    def _levels(self, group: _Group, tag: Callable[[int], bytes]) -> dict[int, Payload]:
        """The sections of a group's levels that the view takes, coarsest first."""
        levels = [level for level in self.header.section_levels if level >= min(self.view.level, COARSE_LEVEL)]
        whole = {level: self._read_whole or level == COARSE_LEVEL for level in levels}
        return {level: self._payload(tag(level), group.number, whole=whole[level]) for level in levels}

    def _read_adaptation(self, group: _Group) -> AdaptedParameters:
        payload = self._payload(ADPT, group.number)
        if not payload.size:
            msg = f"{payload.name} is empty"
            raise FormatError(msg)
        return bytes(payload.take(0, payload.size))

    def _of_kind(self, kind: int) -> list[_Group]:
        return [group for group in self._groups if group.coding.kind == kind]

    def _payload(self, tag: bytes, number: int, *, whole: bool = True) -> Payload:
        """The payload of a group's section; -1 for one that is no group's."""
        section = self._sections.nth(self._layout.index((tag, number)))
        return Payload(self._sections.source, section, whole=whole)

    def _read_table(self) -> ValueTable | None:
        header = self.header
        if not header.bits:
            return None
        from llicti_core.value_table import ValueTable

        count = header.width * header.height * header.channels
        return ValueTable.read(self._payload(LEVL, -1).reader(), header.bits, header.sample_type, count)

    def _decode_fallback(self, group: _Group) -> bytearray:
        from llicti_core import fallback

        payload, channels = self._payload(GENR, group.number), group.stored + self._joined(group)
        return fallback.decode(payload, self.header.height, self.header.width, channels, self.view)

    def _joined(self, group: _Group) -> int:
        """Channels of the group after this one that are coded together with its own."""
        after = self._groups[group.number + 1 :][:1]
        return sum(other.stored for other in after if other.coding.kind == JOINED)

    def _decode_plain(self, group: _Group) -> bytearray:
        from llicti_core import plain

        levels = self._levels(group, plain_tag)
        for level, payload in levels.items():
            if not payload.is_checked:  # any bits could be right ones: nothing else tells of damage
                self._sections.check(self._layout.index((plain_tag(level), group.number)))
        coarsest = len(self.header.section_levels) - 1
        return plain.unpack(levels, coarsest, group.group.bits, group.stored, self._grid, self.view)

    def _decode_learned(self, learned: LearnedGroup) -> bytearray:
        assert self.model
        view = self.view
        shape = view.rows, view.columns, learned.channels
        deep = learned.bits > 8
        values = bytearray(math.prod(shape) * value_size(learned.group))
        pixels = memoryview(values).cast("H", shape) if deep else memoryview(values).cast("B", shape)
        for places, coded in learned.batches(self._batch):
            image = TiledImage(pixels, places, self.model, learned.adaptation, learned.bits)
            self._engine.decode(image, coded, self._threads, view.level)
        return values

    def _check_limits(self) -> None:
        """Raises UnsupportedError where the view takes more than the options allow."""
        header, view, options = self.header, self.view, self._options
        pixels = view.rows * view.columns
        needed = pixels * header.channels * header.sample_type.size
        _check(needed, options.max_bytes, "bytes", "max_bytes")
        _check(pixels, options.max_pixels, "pixels", "max_pixels")
        learned = [group for group in self._groups if group.coding.learned]
        level = min(view.level, COARSE_LEVEL)  # the coarsest that tiles can be decoded at
        touched = self._grid.touched_pixels(view._replace(level=level))
        if options.max_pixels is not None:
            blocks = self._blocks.touched_pixels(view._replace(level=0)) * len(self._of_kind(FALLBACK))
            work = touched * len(learned) + blocks // _FALLBACK_WORK + pixels * len(self._groups) // _OTHER_WORK
            is_region = (view.width, view.height) != (header.width, header.height)
            allowed = _WORK * max(options.max_pixels, _LEAST_WORK if is_region else 0)
            _check(work, allowed, "pixels' work for all its channels", "max_pixels")
        if options.max_bytes is not None and learned:
            sides = (level_size(min(side, self._grid.size), level) for side in (header.height, header.width))
            tile = math.prod(sides) * max(group.stored for group in learned)
            if tile > _USUAL_TILE_BYTES:
                together = min(tile * self._threads, 3 * touched)
                allowed = 3 * options.max_bytes - needed
                _check(_TILE_MEMORY * together, allowed, "bytes for the tiles of the image", "max_bytes")

    def _check_lowpass(self) -> None:
        """Raises TruncatedError where the file is too short for the lowpass of its learned groups."""
        header, left = self.header, self._sections.source.size
        stored = [group.stored for group in self._groups if group.coding.learned]
        least = self._grid.count * sum(LEAST_LOWPASS * channels + 1 for channels in stored)
        if least > left:
            msg = f"file ends early: {header.width}x{header.height} pixels take more than its {left} bytes"
            raise TruncatedError(msg)


def _check(needed: int, allowed: int | None, what: str, limit: str) -> None:
    if allowed is not None and needed > allowed:
        msg = f"image takes {needed} {what}, more than the {allowed} allowed ({limit})"
        raise UnsupportedError(msg)


def _check_values(values: bytearray, group: ChannelGroup) -> None:
    """Raises FormatError where any of `values` is too large for the bits of its group."""
    if group.bits >= 8:
        return
    allowed = bytes(range(1 << group.bits))
    for start in range(0, len(values), _CHECKED):
        if too_large := values[start : start + _CHECKED].translate(None, allowed):
            msg = f"a sample has value {max(too_large)}, which does not fit in {group.bits} bits"
            raise FormatError(msg)
