"""The CUDA engine: Triton kernels for NVIDIA GPUs, many tiles and pictures at once.

With TRITON_INTERPRET=1 the kernels run in Triton's interpreter instead, on the CPU: slowly, for tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from torch import Tensor

from llicti_core.engines.base import CodedTile, TiledImage
from llicti_core.engines.cuda import kernels, launch
from llicti_core.engines.cuda.launch import current, reported, usable
from llicti_core.engines.cuda.layout import STEPS, Layout, Picture, flights
from llicti_core.engines.cuda.weights import PackedModel, pack
from llicti_core.errors import FormatError
from llicti_core.models import Model
from llicti_core.spec import BANDS, LANES, LEVELS, STATE_MIN

_PREDICTED = 64
"""Pixels that a program predicts."""

_GATHERED = 32
"""Pixels that a program gathers the inputs of."""

_COPIED = 1024
"""Pixels, or words, that a program copies."""

BYTES_A_PIXEL = 80
"""Memory on the device that a pixel in flight takes, and something to spare."""

MOST_AT_ONCE = 1 << 27
"""Pixels in flight: several streams for every multiprocessor of a large GPU, and offsets far from 2**31."""


class CudaEngine:
    """Runs on one device. Files and pixels are those of the other engines."""

    name = "cuda"

    def __init__(self, device: str | torch.device | None = None) -> None:
        """device: "cuda", "cuda:1" ...; by default the current one. Raises DeviceError where it cannot be used."""
        self.device = usable(device)

    def encode(self, image: TiledImage, threads: int) -> list[CodedTile]:
        """See Engine.encode. Raises DeviceError too."""
        pixels = np.asarray(image.pixels)
        return self.encode_pictures([pixels], [_picture(image)], image.model)[0]

    def decode(self, image: TiledImage, coded: Sequence[CodedTile], threads: int, level: int = 0) -> None:
        """See Engine.decode. Raises DeviceError too."""
        target = np.asarray(image.pixels)
        decoded = self.decode_pictures(image.channels, [_picture(image)], [coded], image.model, level)[0]
        with reported(self.device):
            torch.from_numpy(target).copy_(decoded)

    def encode_pictures(
        self, pixels: Sequence[NDArray[np.uint8]], pictures: Sequence[Picture], model: Model
    ) -> list[list[CodedTile]]:
        """The coded tiles of each of `pictures`, whose pixels are uint8 [rows, columns, channels], channels alike."""
        channels = pixels[0].shape[2]
        coded: list[list[CodedTile]] = [[] for _ in pictures]
        with reported(self.device), current(self.device):
            packed = pack(model, self.device)
            # Copied first, since arrays may be read only, which PyTorch does not take.
            raw = torch.from_numpy(np.concatenate([part.ravel() for part in pixels])).to(self.device)
            for tiles in flights(pictures, 0, self._at_once()):
                flight = _Flight(Layout(pictures, tiles, channels), packed, channels, 0, self.device)
                for (number, tile), (bounds, segments) in zip(tiles, flight.encode(raw), strict=True):
                    y, x, height, width = pictures[number].tiles[tile]
                    step = 1 << LEVELS
                    lowpass = pixels[number][y : y + height : step, x : x + width : step].tobytes()
                    coded[number].append(CodedTile(bounds, lowpass, segments))
        return coded

    def decode_pictures(
        self,
        channels: int,
        pictures: Sequence[Picture],
        coded: Sequence[Sequence[CodedTile]],
        model: Model,
        scale: int = 0,
    ) -> list[Tensor]:
        """The pixels of `pictures` on the device, uint8 [rows, columns, channels]; see Engine.decode.

        Raises FormatError where no encoder can have written the data of one of them, and DeviceError.
        """
        sizes = [picture.rows * picture.columns * channels for picture in pictures]
        with reported(self.device), current(self.device):
            packed = pack(model, self.device)
            raw = torch.empty(sum(sizes), dtype=torch.uint8, device=self.device)
            for tiles in flights(pictures, scale, self._at_once()):
                layout = Layout(pictures, tiles, channels, scale)
                flight = _Flight(layout, packed, channels, scale, self.device)
                flight.decode([coded[number][tile] for number, tile in tiles], raw)
            return [
                one.view(picture.rows, picture.columns, channels)
                for one, picture in zip(raw.split(sizes), pictures, strict=True)
            ]

    def _at_once(self) -> int:
        """Pixels that may be in flight, for the memory that the device has left."""
        if self.device.type != "cuda":
            return MOST_AT_ONCE
        free, _ = torch.cuda.mem_get_info(self.device)
        kept = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return max(1, min(MOST_AT_ONCE, int(free + kept) // BYTES_A_PIXEL))


def _picture(image: TiledImage) -> Picture:
    rows, columns, _ = np.asarray(image.pixels).shape
    return Picture(rows, columns, image.tiles, image.adaptation)


class _Flight:
    """Tiles that are coded together, and their buffers on the device."""

    def __init__(self, layout: Layout, model: PackedModel, channels: int, scale: int, device: torch.device) -> None:
        self.layout, self.model, self.channels, self.scale, self.device = layout, model, channels, scale, device
        self.streams = len(layout.streams)
        self.planes = self._empty(torch.int16, layout.pixels, kernels.PITCH.value)
        self.tile_table, self.stream_table = self._put(layout.tiles), self._put(layout.streams)
        self.adapted_outputs = self._put(layout.outputs)
        self.hidden_bias_deltas = self._put(model.hidden_bias_deltas(layout.adaptations))
        widest = max(band.inputs for band in model.bands)
        self.inputs = self._empty(torch.int8, layout.room, LANES, widest)
        self.bases = self._empty(torch.int16, layout.room, 3, LANES)

    def encode(self, raw: Tensor) -> list[tuple[list[tuple[int, int]], list[list[bytes]]]]:
        """Ranges and segments of every tile, from `raw`, the buffer of pixels."""
        layout, shape = self.layout, (self.layout.intervals, self.channels, LANES)
        limits = np.tile(np.array([32767, -32768], np.int32), (len(layout.tiles), self.channels, 1))
        bounds, batches = self._put(limits), self._put(layout.batches)
        self._by_tile(kernels.split_colours, layout.largest, raw, self.planes, bounds)
        intervals = self._empty(torch.int32, *shape)
        tables = (self.model.exponential, self.model.mantissas, self.model.tail)
        for number in range(len(STEPS)):
            buffers = (self.inputs, self.planes, self.bases, intervals, batches[number])
            self._predict(kernels.encode_band, number, buffers, bounds, tables)
        words, states = self._empty(torch.int16, *shape), self._empty(torch.int32, self.streams, LANES)
        cursors = self._empty(torch.int64, LEVELS, self.streams)
        ends = batches[:: len(BANDS)].contiguous()
        arguments = (intervals, ends, words, cursors, states, self.streams)
        launch.start(kernels.encode_streams, self.streams, *arguments, CHANNELS=self.channels, num_warps=1)
        stops = torch.cat((cursors[1:], ends[-1:] * (self.channels * LANES)))
        lengths = stops - cursors
        packed = self._packed(words, cursors.flatten(), lengths.flatten())
        found = bounds.cpu().numpy()
        segments = _cut(packed.cpu().numpy().astype("<i2", copy=False).tobytes(), (2 * lengths).tolist())
        heads = states.cpu().numpy().astype("<i4", copy=False)
        for stream, lanes in enumerate(layout.lanes(found)):
            segments[0][stream] = heads[stream, :lanes].tobytes() + segments[0][stream]
        coded = []
        first = 0
        for limit, count in zip(found.tolist(), layout.tiles[:, kernels.STREAMS.value].tolist(), strict=True):
            by_scale = [scale[first : first + count] for scale in segments]
            coded.append(([(low, high) for low, high in limit], by_scale))
            first += count
        return coded

    def decode(self, tiles: Sequence[CodedTile], raw: Tensor) -> None:
        """Decode `tiles` into `raw`, the buffer of pixels. Raises FormatError."""
        layout, model, count = self.layout, self.model, LEVELS - self.scale
        limits = np.array([tile.bounds for tile in tiles], np.int32)
        heads, words, starts, ends = _read_segments(tiles, layout.lanes(limits), count)
        bounds, states = self._put(limits), self._put(heads)
        stored, positions = self._put(words), self._put(np.stack((starts, ends)))
        lowpass = self._put(np.frombuffer(b"".join(tile.lowpass for tile in tiles), np.uint8).copy())
        self._by_tile(kernels.place_coarse, layout.lowpass, lowpass, self.planes, between=(count,))
        mixtures = self._empty(torch.int32, layout.room, kernels.OUTPUTS.value, LANES)
        others = self._empty(torch.int16, layout.room, kernels.OUTPUTS.value, LANES)
        wrong = torch.zeros(self.streams, dtype=torch.bool, device=self.device)
        for index in range(count):
            cursors, end = positions[0, index].clone(), positions[1, index]
            for number in range(index * len(BANDS), (index + 1) * len(BANDS)):
                buffers = (self.inputs, mixtures, others)
                if not self._predict(kernels.predict_band, number, buffers, bounds, (model.exponential,)):
                    continue
                step, band = STEPS[number], BANDS[STEPS[number].band]
                launch.start(
                    kernels.decode_band, self.streams, self.planes, mixtures, others, self.bases, states, cursors, end,
                    stored, self.tile_table, self.stream_table, bounds, model.mantissas, model.tail,
                    step.scale - self.scale, band.row, band.column, CHANNELS=self.channels, num_warps=1,
                )  # fmt: skip
            wrong |= cursors != end
        if self.scale == 0:
            wrong |= (states != STATE_MIN).any(dim=1)
        self._by_tile(kernels.merge_colours, layout.largest, self.planes, raw)
        if wrong.any().item():
            msg = "a stream's segment does not end where its level does"
            raise FormatError(msg)

    def _by_tile(self, kernel: Any, pixels: int, *buffers: Tensor, between: tuple[int, ...] = ()) -> None:
        """Start a kernel for up to `pixels` pixels of every tile."""
        blocks = triton.cdiv(pixels, _COPIED)
        programs, arguments = len(self.layout.tiles) * blocks, (*buffers, self.tile_table, blocks, *between)
        launch.start(kernel, programs, *arguments, CHANNELS=self.channels, BLOCK=_COPIED)

    def _predict(
        self, kernel: Any, number: int, buffers: tuple[Tensor, ...], bounds: Tensor, tables: tuple[Tensor, ...]
    ) -> bool:
        """Gather the inputs of a step and start the kernel that has them first, the network; whether it has pixels."""
        step, longest = STEPS[number], int(self.layout.runs[number].max())
        if not longest:
            return False
        band, packed, model = BANDS[step.band], self.model.bands[step.band], self.model
        where = (step.scale - self.scale, band.row, band.column)
        sizes = {"K": packed.inputs, "CHANNELS": self.channels}
        blocks = triton.cdiv(longest, _GATHERED)
        launch.start(
            kernels.gather_band, self.streams * blocks, self.planes, self.inputs, self.bases, self.tile_table,
            self.stream_table, packed.window, blocks, *where, **sizes, BLOCK=_GATHERED,
        )  # fmt: skip
        blocks = triton.cdiv(longest, _PREDICTED)
        launch.start(
            kernel, self.streams * blocks, *buffers, self.tile_table, self.stream_table, bounds, packed.weights,
            packed.numbers, self.adapted_outputs, self.hidden_bias_deltas, *tables, blocks, *where, step.scale,
            step.band, model.depth, **sizes, W=model.width, BLOCK=_PREDICTED, num_warps=4, num_stages=1,
            maxnreg=_registers(model.width, launch.capability(self.device)),
        )  # fmt: skip
        return True

    def _packed(self, words: Tensor, sources: Tensor, lengths: Tensor) -> Tensor:
        """The runs of `words` one behind the other."""
        targets = torch.cumsum(lengths, 0) - lengths
        total, longest = int(lengths.sum()), int(lengths.max())
        packed = self._empty(torch.int16, total)
        blocks = triton.cdiv(longest, _COPIED)
        if blocks:
            arguments = (words, sources, targets, lengths, packed, blocks)
            launch.start(kernels.copy_words, len(lengths) * blocks, *arguments, BLOCK=_COPIED)
        return packed

    def _empty(self, dtype: torch.dtype, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=self.device)

    def _put(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def _registers(width: int, capability: tuple[int, int]) -> int:
    """Registers of a thread of a program that predicts: what keeps nearly all in registers.

    168 let three programs share a multiprocessor. Where tensor cores do not read their operands from shared memory, as
    those of 9.x do, wide networks need what only two can have.
    """
    return 168 if width <= 128 or capability[0] == 9 else 255


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
    tiles: Sequence[CodedTile], lanes: Sequence[int], scales: int
) -> tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.int64], NDArray[np.int64]]:
    """First states [streams, LANES], all words, and where those of each segment [scales, streams] start and end.

    Raises FormatError.
    """
    segments = [[segment for tile in tiles for segment in tile.segments[index]] for index in range(scales)]
    lengths = np.array([[len(segment) for segment in row] for row in segments], np.int64).reshape(scales, len(lanes))
    heads = np.zeros_like(lengths)
    heads[:1] = 4 * np.array(lanes)
    if (lengths < heads).any() or (lengths % 2).any():
        msg = "a stream's segment has a length that no encoder gives it"
        raise FormatError(msg)
    states = np.full((len(lanes), LANES), STATE_MIN, np.uint32)
    if scales:
        for state, segment, count in zip(states, segments[0], lanes, strict=True):
            state[:count] = np.frombuffer(segment, "<u4", count)
    if (states < STATE_MIN).any():
        msg = "a stream starts in a state below 65536"
        raise FormatError(msg)
    joined = b"".join(segment for row in segments for segment in row)
    words = np.frombuffer(joined or bytes(2), "<i2").astype(np.int16)
    ends = np.cumsum(lengths.flatten()).reshape(lengths.shape) // 2
    return states.view(np.int32), words, ends - (lengths - heads) // 2, ends
