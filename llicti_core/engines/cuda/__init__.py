"""The CUDA engine: Triton kernels for NVIDIA GPUs, many tiles and pictures at once.

With TRITON_INTERPRET=1 the kernels run in Triton's interpreter instead, on the CPU: slowly, for tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from torch import Tensor

from llicti_core.color import grey_to_y, rgb_to_ycocg
from llicti_core.engines.base import CodedTile, TiledImage
from llicti_core.engines.cuda import kernels, launch
from llicti_core.engines.cuda.launch import current, reported, usable
from llicti_core.engines.cuda.layout import Layout, LevelTables, Pass, Picture, flights
from llicti_core.engines.cuda.weights import PackedNetwork, pack
from llicti_core.errors import FormatError
from llicti_core.models import Model
from llicti_core.pyramid import level_size, phase_size
from llicti_core.spec import BANDS, BIAS_LEVELS, LANES, PHASES, STATE_MIN

_COPIED = 1024
"""Pixels, numbers or words that a program copies."""

_ENCODED = 16
"""Steps that a program predicts when it encodes."""

MOST_AT_ONCE = 1 << 33
"""Bytes of the device that tiles in flight may take: several streams for every multiprocessor of a large GPU."""


class CudaEngine:
    """Runs on one device. Files and pixels are those of the other engines."""

    name = "cuda"

    def __init__(self, device: str | torch.device | None = None) -> None:
        """device: "cuda", "cuda:1" ...; by default the current one. Raises DeviceError where it cannot be used."""
        self.device = usable(device)

    def encode(self, image: TiledImage, threads: int) -> list[CodedTile]:
        """See Engine.encode. Raises DeviceError too."""
        return self.encode_images([image])[0]

    def encode_images(self, images: Sequence[TiledImage]) -> list[list[CodedTile]]:
        """What `encode` gives for each of `images`, which are of one model, number of channels and of bits."""
        pixels = [np.asarray(image.pixels) for image in images]
        return self.encode_pictures(pixels, list(map(_picture, images)), images[0].model, images[0].bits)

    def decode(self, image: TiledImage, coded: Sequence[CodedTile], threads: int, level: int = 0) -> None:
        """See Engine.decode. Raises DeviceError too."""
        target = np.asarray(image.pixels)
        pictures = [_picture(image)]
        start = self.start_decoding(image.channels, pictures, [coded], image.model, level, [target], image.bits)
        with reported(self.device), current(self.device):
            wrong, decoded = launch.fetch([start.wrong, *start.pixels])
        check(wrong)
        np.copyto(target, decoded.view(target.dtype))

    def encode_pictures(
        self, pixels: Sequence[NDArray[np.unsignedinteger]], pictures: Sequence[Picture], model: Model, bits: int = 8
    ) -> list[list[CodedTile]]:
        """The coded tiles of each of `pictures`, whose pixels are uint8 [rows, columns, channels], channels alike.

        bits: of a value, 8 (or fewer) or 10; of 10 pixels are uint16.
        Raises FormatError where an adaptation is damaged, and DeviceError.
        """
        channels = pixels[0].shape[2]
        coded: list[list[CodedTile]] = [[] for _ in pictures]
        with reported(self.device), current(self.device):
            # Copied first, since arrays may be read only, which PyTorch does not take.
            raw = launch.put_joined([_on_device(one) for one in pixels], self.device)
            for tiles in flights(pictures, channels, 0, self._at_once()):
                flight = _Flight(Layout(pictures, tiles, channels), model, self.device, bits)
                found = flight.encode(raw)
                for (number, tile), levels, (bounds, segments) in zip(
                    tiles, flight.layout.level_counts, found, strict=True
                ):
                    y, x, height, width = pictures[number].tiles[tile]
                    step = 1 << levels
                    lowpass = pixels[number][y : y + height : step, x : x + width : step]
                    coded[number].append(CodedTile(bounds, lowpass.astype(_stored(bits)).tobytes(), segments))
        return coded

    def decode_pictures(
        self,
        channels: int,
        pictures: Sequence[Picture],
        coded: Sequence[Sequence[CodedTile]],
        model: Model,
        level: int = 0,
        initial: Sequence[NDArray[np.unsignedinteger]] | None = None,
        bits: int = 8,
    ) -> list[Tensor]:
        """The pixels of `pictures` on the device, uint8 [rows, columns, channels]; see Engine.decode.

        initial: what they are where no tile is, uint8 or uint16. bits: of a value, 8 (or fewer) or 10; of 10 what is
        returned is int16. Raises FormatError where no encoder can have written the data of one of them, and
        DeviceError. The host waits for the device once, to know that.
        """
        start = self.start_decoding(channels, pictures, coded, model, level, initial, bits)
        with reported(self.device), current(self.device):
            (wrong,) = launch.fetch([start.wrong])
        check(wrong)
        return start.pixels

    def start_decoding(
        self,
        channels: int,
        pictures: Sequence[Picture],
        coded: Sequence[Sequence[CodedTile]],
        model: Model,
        level: int = 0,
        initial: Sequence[NDArray[np.unsignedinteger]] | None = None,
        bits: int = 8,
    ) -> Decoding:
        """As decode_pictures, but the host does not wait: `check` is to be given what is wrong."""
        sizes = [picture.rows * picture.columns * channels for picture in pictures]
        with reported(self.device), current(self.device):
            if initial is None:
                raw = torch.empty(sum(sizes), dtype=torch.int16 if bits > 8 else torch.uint8, device=self.device)
            else:
                raw = launch.put_joined([_on_device(one) for one in initial], self.device)
            wrong = torch.zeros((), dtype=torch.bool, device=self.device)
            for tiles in flights(pictures, channels, level, self._at_once()):
                flight = _Flight(Layout(pictures, tiles, channels, level), model, self.device, bits)
                wrong |= flight.decode([coded[number][tile] for number, tile in tiles], raw)
            pixels = [
                one.view(picture.rows, picture.columns, channels)
                for one, picture in zip(raw.split(sizes), pictures, strict=True)
            ]
            return Decoding(pixels, wrong)

    def _at_once(self) -> int:
        """Bytes that may be in flight, for the memory that the device has left."""
        if self.device.type != "cuda":
            return MOST_AT_ONCE
        return max(1, min(MOST_AT_ONCE, launch.free_bytes(self.device) // 2))


class Decoding(NamedTuple):
    """What is being decoded on a device: pixels, and a bool, whether no encoder can have written the data."""

    pixels: list[Tensor]
    wrong: Tensor


def check(wrong: NDArray[np.bool_]) -> None:
    """Raises FormatError where Decoding.wrong, copied to memory, says so."""
    if wrong:
        msg = "a stream's segment does not end where its level does"
        raise FormatError(msg)


def _picture(image: TiledImage) -> Picture:
    rows, columns, _ = np.asarray(image.pixels).shape
    return Picture(rows, columns, image.tiles, image.adaptation)


def _on_device(pixels: NDArray[np.unsignedinteger]) -> NDArray[Any]:
    """Pixels as the device has them: those of ten bits as int16, which PyTorch does more with than with uint16."""
    return pixels if pixels.dtype == np.uint8 else pixels.view(np.int16)


def _stored(bits: int) -> str:
    """The type of a value of the lowpass, as it is stored."""
    return "<u2" if bits > 8 else "u1"


class _Flight:
    """Tiles that are coded together, and their buffers on the device."""

    def __init__(self, layout: Layout, model: Model, device: torch.device, bits: int) -> None:
        self.layout, self.device, self.channels = layout, device, layout.channels
        self.bits, self.extra = bits, max(0, bits - 8)
        self.model = pack(model, layout.adaptations, self.channels, device)
        self.dense = self._empty(torch.int16, layout.dense, kernels.DENSE.value)
        self.skewed = self._empty(torch.int16, max((tables.skewed for tables in layout.levels), default=0))
        self.places = self._put(layout.places)
        fields = kernels.FIELDS.value
        whole = np.zeros((len(layout.rects), fields), np.int64)
        whole[:, : kernels.SKEWED_AT.value] = np.column_stack((layout.sizes, layout.dense_at))
        self.tiles = self._put(whole)

    def encode(self, raw: Tensor) -> list[tuple[list[tuple[int, int]], list[list[bytes]]]]:
        """Bounds and segments of every tile, from `raw`, the buffer of pixels."""
        layout = self.layout
        limits = np.tile(np.array([32767, -32768], np.int32), (len(layout.rects), self.channels, 1))
        bounds = self._put(limits)
        buffers = (raw, self.dense, bounds, self.tiles, self.places)
        self._by_tile(kernels.split_colours, layout.largest, buffers)
        first_rows = layout.first_rows()
        intervals = self._empty(torch.int32, int(first_rows[-1].max()), LANES)
        kind_starts = []
        number = 0
        for tables in layout.levels:
            table, streams = self._put(tables.tiles), self._put(tables.streams)
            for phase, name in enumerate(PHASES):
                self._skew(tables, table, int(name[0]), int(name[1]), phase, 0, self.channels)
            for one in layout.passes(tables):
                kind_starts.append((one.kind, number))
                coder = (intervals, self._put(first_rows[number]))
                blocks = triton.cdiv(int(tables.steps[one.band].max()), _ENCODED)
                problem = (self.dense, self.skewed, streams, bounds)
                self._start_pass(
                    kernels.encode_pass, layout.streams * blocks, one, problem, coder, (blocks,), STEPS=_ENCODED
                )
                number += 1
        found, states, words = self._code(bounds, intervals, first_rows, kind_starts)
        for stream, lanes in enumerate(layout.lanes(found)):
            words[0][stream] = states[stream, :lanes].tobytes() + words[0][stream]
        coded = []
        first = 0
        for tile, (limit, count) in enumerate(zip(found.tolist(), layout.stream_counts, strict=True)):
            segments = [words[kind][first : first + count] for kind in layout.tile_kinds(tile)]
            coded.append(([(low, high) for low, high in limit], segments))
            first += count
        return coded

    def _code(
        self,
        bounds: Tensor,
        intervals: Tensor,
        first_rows: NDArray[np.int64],
        kind_starts: list[tuple[tuple[int, int], int]],
    ) -> tuple[NDArray[np.int32], NDArray[Any], list[list[bytes]]]:
        """Copies of `bounds`, last states "<u4" [streams, LANES], and the words of every kind of segment and stream.

        The host waits for the device twice: for how many words there are, and for the words.
        """
        count, kinds = self.layout.streams, self.layout.kinds
        starts = dict(reversed(kind_starts))  # the first of a kind stays
        # A kind without passes, which only the first can be, begins where the next one does.
        passes = [starts.get(kind, 0) for kind in kinds] + [len(kind_starts)]
        first_row = self._put(first_rows[passes])
        words = self._empty(torch.int16, *intervals.shape)
        cursors = self._empty(torch.int64, len(kinds), count)
        states = self._empty(torch.int32, count, LANES)
        arguments = ((intervals, first_row, words, cursors, states), len(kinds), count)
        launch.start(kernels.encode_streams, count, *arguments, num_warps=1)
        stops = torch.cat((cursors[1:], first_row[-1:] * LANES))
        lengths = stops - cursors
        found, last, counts = launch.fetch([bounds, states, lengths])
        (packed,) = launch.fetch([self._packed(words, cursors.flatten(), lengths.flatten(), counts)])
        pieces = _cut(packed.astype("<i2", copy=False).tobytes(), (2 * counts).tolist())
        return found, last.astype("<i4", copy=False), pieces

    def decode(self, tiles: Sequence[CodedTile], raw: Tensor) -> Tensor:
        """Decode `tiles` into `raw`, the buffer of pixels. Returns a bool, whether no encoder can have written them; of
        what that can be seen in before, raises FormatError."""
        layout = self.layout
        limits = np.array([tile.bounds for tile in tiles], np.int32)
        heads, words, starts, ends = _read_segments(tiles, layout, layout.lanes(limits))
        bounds, states, stored = self._put(limits), self._put(heads), self._put(words)
        self._place_lowpass(tiles, limits)
        cursors = [self._put(row) for row in starts]
        stops = [self._put(row) for row in ends]
        for tables in layout.levels:
            table, streams = self._put(tables.tiles), self._put(tables.streams)
            self._skew(tables, table, 0, 0, 0, 0, self.channels)
            level = tables.level - layout.scale
            if any(phase_size(side, level, 1) == 0 for size in layout.sizes for side in size):
                # A phase without pixels is never decoded, but stood in for.
                for phase, name in enumerate(PHASES[1:], 1):
                    self._skew(tables, table, int(name[0]), int(name[1]), phase, 0, self.channels)
            for one in layout.passes(tables):
                kind, band = layout.kinds.index(one.kind), BANDS[one.band]
                problem = (self.dense, self.skewed, streams, bounds)
                coder = (states, cursors[kind], stops[kind], stored)
                self._start_pass(kernels.decode_pass, layout.streams, one, problem, coder)
                channels = (1, 3) if one.network else (0, 1)
                self._skew(tables, table, band.row, band.column, PHASES.index(band.name), *channels)
        buffers = (self.dense, raw, self.tiles, self.places)
        self._by_tile(kernels.merge_colours, layout.largest, buffers, layout.beyond)
        wrong = torch.stack([cursor != stop for cursor, stop in zip(cursors, stops, strict=True)]).any()
        if layout.scale == 0:
            wrong |= (states != STATE_MIN).any()
        return wrong

    def _place_lowpass(self, tiles: Sequence[CodedTile], bounds: NDArray[np.int32]) -> None:
        """Fill the dense planes with constant channels' values, and the stored pixels."""
        layout = self.layout
        counts = self._put(np.array([rows * columns for rows, columns in layout.sizes]))
        low = np.zeros((len(tiles), kernels.DENSE.value), np.int16)
        low[:, : self.channels] = bounds[..., 0]
        self.dense.copy_(torch.repeat_interleave(self._put(low), counts, dim=0, output_size=layout.dense))
        indices, values = [], []
        for number, tile in enumerate(tiles):
            (_, _, height, width), levels = layout.rects[number], layout.level_counts[number]
            stored = np.frombuffer(tile.lowpass, _stored(self.bits))
            stored = stored.reshape(level_size(height, levels), level_size(width, levels), self.channels)
            skipped = 1 << max(0, layout.scale - levels)
            stored = stored[::skipped, ::skipped]
            step = 1 << max(0, levels - layout.scale)
            rows, columns = layout.sizes[number]
            place = np.arange(rows * columns).reshape(rows, columns)[::step, ::step]
            indices.append(place.ravel() + layout.dense_at[number])
            planes = rgb_to_ycocg(stored, self.bits) if self.channels == 3 else grey_to_y(stored, self.bits)
            values.append(planes.reshape(-1, self.channels))
        index, value = self._put(np.concatenate(indices)), self._put(np.concatenate(values))
        self.dense[index, : self.channels] = value

    def _by_tile(self, kernel: Any, pixels: int, buffers: tuple[Tensor, ...], *numbers: int) -> None:
        """Start a kernel for up to `pixels` pixels of every tile."""
        blocks = triton.cdiv(pixels, _COPIED)
        programs = len(self.layout.rects) * blocks
        options = {"CHANNELS": self.channels, "EXTRA": self.extra, "BLOCK": _COPIED}
        launch.start(kernel, programs, buffers, blocks, *numbers, **options)

    def _skew(
        self, tables: LevelTables, table: Tensor, row: int, column: int, phase: int, start: int, stop: int
    ) -> None:
        """Bring channels start to stop of a phase from the dense into the skewed planes."""
        blocks = triton.cdiv(tables.largest, _COPIED)
        launch.start(
            kernels.skew, len(tables.tiles) * blocks, (self.dense, self.skewed, table), blocks,
            tables.level - self.layout.scale, row, column, phase,
            CHANNELS=self.channels, START=start, STOP=stop, BLOCK=_COPIED,
        )  # fmt: skip

    def _start_pass(
        self,
        kernel: Any,
        programs: int,
        one: Pass,
        problem: tuple[Tensor, ...],
        coder: tuple[Tensor, ...],
        before: tuple[int, ...] = (),
        **options: int,
    ) -> None:
        """Start the kernel of a pass, where that has any steps."""
        band, network = BANDS[one.band], self.model[one.network][one.band]
        if not programs:
            return
        launch.start(
            kernel, programs, problem, (network.window, network.weights, network.numbers), coder, *before,
            one.level - self.layout.scale, band.row, band.column, PHASES.index(band.name),
            min(one.level, BIAS_LEVELS - 1), network.depth, self.channels, KA=network.inputs[0], KB=network.inputs[1],
            W=network.width, CHROMA=one.network == 1, EXTRA=self.extra,
            num_warps=_warps(network), num_stages=1, **options,
        )  # fmt: skip

    def _packed(self, words: Tensor, sources: Tensor, lengths: Tensor, counts: NDArray[np.int64]) -> Tensor:
        """The runs of `words` one after the other; `counts` are their lengths too."""
        targets = torch.cumsum(lengths, 0) - lengths
        total, longest = int(counts.sum()), int(counts.max())
        packed = self._empty(torch.int16, total)
        blocks = triton.cdiv(longest, _COPIED)
        if blocks:
            arguments = (words, sources, targets, lengths, packed, blocks)
            launch.start(kernels.copy_words, len(lengths) * blocks, *arguments, BLOCK=_COPIED)
        return packed

    def _empty(self, dtype: torch.dtype, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=self.device)

    def _put(self, array: NDArray[Any]) -> Tensor:
        return launch.put(array, self.device)


def _warps(network: PackedNetwork) -> int:
    """Warps of a program that predicts 32 pixels: so many that inputs and sums stay in registers."""
    return 4 if max(network.inputs[0], network.width) <= 64 else 8


def _cut(data: bytes, lengths: list[list[int]]) -> list[list[bytes]]:
    """`data` in pieces."""
    pieces: list[list[bytes]] = []
    at = 0
    for row in lengths:
        pieces.append([])
        for length in row:
            pieces[-1].append(data[at : at + length])
            at += length
    return pieces


def _read_segments(
    tiles: Sequence[CodedTile], layout: Layout, lanes: Sequence[int]
) -> tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.int64], NDArray[np.int64]]:
    """First states [streams, LANES], all words, and where those of each segment [kinds, streams] start and end.

    Raises FormatError.
    """
    segments: list[list[bytes]] = [[] for _ in layout.kinds]
    for number, (tile, count) in enumerate(zip(tiles, layout.stream_counts, strict=True)):
        own = layout.tile_kinds(number)
        for kind, row in enumerate(segments):
            row += tile.segments[own.index(kind)] if kind in own else [b""] * count
    lengths = np.array([[len(segment) for segment in row] for row in segments], np.int64)
    heads = np.zeros_like(lengths)
    heads[0] = 4 * np.array(lanes)
    if (lengths < heads).any() or (lengths % 2).any():
        msg = "a stream's segment has a length that no encoder gives it"
        raise FormatError(msg)
    states = np.full((len(lanes), LANES), STATE_MIN, np.uint32)
    for state, segment, count in zip(states, segments[0], lanes, strict=True):
        state[:count] = np.frombuffer(segment, "<u4", count)
    if (states < STATE_MIN).any():
        msg = "a stream starts in a state below 65536"
        raise FormatError(msg)
    joined = b"".join(segment for row in segments for segment in row)
    words = np.frombuffer(joined or bytes(2), "<i2").astype(np.int16)
    ends = np.cumsum(lengths.flatten()).reshape(lengths.shape) // 2
    return states.view(np.int32), words, ends - (lengths - heads) // 2, ends
