"""Pixels that an adaptation is fitted to, with what the networks see of them, gathered on a device.

As the native search has it (native/src/adapt/sample.cpp), for several images at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llicti_core.engines.base import TiledImage, TileRect
from llicti_core.engines.cuda.launch import put
from llicti_core.pyramid import level_count, phase_size
from llicti_core.spec import BACK, BANDS, BIAS_LEVELS, INPUT_MAX, INPUT_MIN, NETWORKS, Y_OFFSET

SETS = 2
"""Of levels: the finest one, which codes three quarters of the pixels, and the others."""

_MOST_PIXELS = 1 << 28
"""Of an image that is looked at whole; of a larger one, some tiles are."""

_CHUNK = 2048
"""Pixels of each network that are gathered together."""

KNOWN = max(len(band.neighbours) for band in BANDS)
"""Neighbours of the band that has the most; the inputs of other bands have zeros in the places of those they lack."""

MORE = max(len(band.more_luma) for band in BANDS)
"""Further places whose luma a chroma network sees, likewise."""

INPUTS = {"luma": KNOWN + len(BACK) + 1, "chroma": 3 * KNOWN + MORE + 2 * len(BACK) + 3}

_BEYOND = 1e6
"""Where an interval ends that has no end: that of a channel's least or greatest value."""


class Contexts(NamedTuple):
    """Pixels of each network, those of set 0 before those of set 1; networks are bands, image by image.

    inputs: float32 [networks, n, INPUTS]. levels: float32 [networks, n, BIAS_LEVELS], 1 for the pixel's. upper, lower:
    float32 [networks, n, coded channels], the ends of the value's interval, less the base. residual: float32
    [networks, n], the first coded channel's value less its base. These three are in the networks' unit, 4 where values
    have ten bits, else 1. counted: float32 [networks, n], 0 for a pixel that there is not. first: how many are of set
    0.
    """

    inputs: Tensor
    levels: Tensor
    upper: Tensor
    lower: Tensor
    residual: Tensor
    counted: Tensor
    first: int

    def part(self, start: int, stop: int) -> Contexts:
        """Some of the pixels, all of one set."""
        cut = (tensor[:, start:stop] for tensor in self[:-1])
        return Contexts(*cut, first=min(stop, max(start, self.first)) - start)  # type: ignore[misc]


def joined(first: Contexts, second: Contexts) -> Contexts:
    """Pixels of set 0 and pixels of set 1."""
    parts = (torch.cat(both, 1) for both in zip(first[:-1], second[:-1], strict=True))
    return Contexts(*parts, first=first.first)  # type: ignore[misc]


def input_columns(network: str, band: int) -> list[int]:
    """Which of INPUTS a band's network has, in the order of docs/format.md, 4.4."""
    known, more = len(BANDS[band].neighbours), len(BANDS[band].more_luma)
    if network == "luma":
        return [*range(known), *range(KNOWN, INPUTS["luma"])]
    columns = [channel * KNOWN + n for channel in range(3) for n in range(known)]
    columns += range(3 * KNOWN, 3 * KNOWN + more)
    return [*columns, *range(3 * KNOWN + MORE, INPUTS["chroma"])]


class SampledImages:
    """Images of as many channels and bits, on a device. Together they have less than 2**31 pixels.

    channels: 1 or 3. values: float32 [images, channels], how many values lie within each channel's bounds. counts:
    int64 [networks, SETS], pixels that are looked at; counted: the same on the host. whole: float32 [networks, SETS],
    pixels in the whole images.
    """

    def __init__(self, images: Sequence[TiledImage], device: torch.device) -> None:
        self.device, self.channels = device, images[0].channels
        self._extra = max(0, images[0].bits - 8)
        tiles = [_looked_at(image.tiles) for image in images]
        pixels = [
            np.asarray(image.pixels)[y : y + height, x : x + width].reshape(-1, self.channels)
            for image, places in zip(images, tiles, strict=True)
            for y, x, height, width in places
        ]
        planes = _planes(np.concatenate(pixels), self._extra, device)
        sizes = [sum(height * width for _, _, height, width in places) for places in tiles]
        bounds = [torch.stack((part.amin(1), part.amax(1))).to(torch.int32) for part in planes.split(sizes, dim=1)]
        self._planes, self._bounds = planes, torch.stack(bounds, dim=1)
        self.values = (self._bounds[1] - self._bounds[0] + 1).float()
        parts = _parts(tiles)
        shares = np.array([sum(tile.height * tile.width for tile in image.tiles) for image in images]) / sizes
        self.counted = counts = np.where(parts.ends < _NEVER, parts.ends, 0).max(axis=2)
        self.counts = put(counts, device)
        self.whole = put((counts * np.repeat(shares, len(BANDS))[:, np.newaxis]).astype(np.float32), device)
        self._strides = put(np.vectorize(_stride)(counts), device)
        self._ends, self._fields = put(parts.ends, device), put(parts.fields, device)
        self._places = {network: _places(network, device) for network in NETWORKS[: 1 if self.channels == 1 else 2]}

    def draw(self, network: str, first: Sequence[int | Tensor], count: Sequence[int], again: bool) -> Contexts:
        """Pixels number `first` and on of each set, so many of each, in an order that is spread over the images.

        first: of all networks, or int64 [networks, 1]. again: whether to begin anew after the last one, or to count
        none.
        """
        sets = []
        for number in range(SETS):
            parts = [
                self._gather(network, number, first[number] + at, min(_CHUNK, count[number] - at), again)
                for at in range(0, count[number], _CHUNK)
            ] or [self._gather(network, number, 0, 0, again)]
            whole = (torch.cat(each, 1) for each in zip(*(part[:-1] for part in parts), strict=True))
            sets.append(Contexts(*whole, first=0 if number else count[0]))  # type: ignore[misc]
        return joined(*sets)

    def _gather(self, network: str, number: int, first: int | Tensor, count: int, again: bool) -> Contexts:
        """`count` pixels of a set."""
        pixels = self._pixels(number, first, count, again)
        places = Places(*(each.repeat(len(self.counts) // len(BANDS), 1) for each in self._places[network]))
        index, there = _look(pixels, places)
        own = pixels.start + _whole(pixels.row, places.own[:, :1], pixels.level) * pixels.width
        own += _whole(pixels.column, places.own[:, 1:], pixels.level)
        nearest = places.nearest.unsqueeze(1).expand(-1, count, -1)
        bases, differences, edges = [], [], []
        extra, half, unit = self._extra, (1 << self._extra) >> 1, 2.0**-self._extra
        for channel in range(1 if network == "luma" else 3):
            plane = self._planes[channel]
            seen = plane[index].to(torch.int32)
            base = (seen.gather(2, nearest).sum(2, dtype=torch.int32) + 2) >> 2
            difference = (seen - base.unsqueeze(2) + half) >> extra
            differences.append((difference.clamp(INPUT_MIN, INPUT_MAX) * there).float())
            bases.append((base >> (extra + (1 if channel else 0))).float())
            if channel or network == "luma":
                value = plane[own].to(torch.int32)
                low, high = self._bounds[:, :, channel].repeat_interleave(len(BANDS), 1).unsqueeze(2)
                residual = (value - base).float()
                upper = torch.where(value == high, _BEYOND, (residual + 0.5) * unit)
                lower = torch.where(value == low, -_BEYOND, (residual - 0.5) * unit)
                edges.append((upper, lower, residual * unit))
        if network == "luma":
            inputs = [differences[0], bases[0].unsqueeze(2)]
        else:
            inputs = [each[..., :KNOWN] for each in differences] + [differences[0][..., KNOWN : KNOWN + MORE]]
            inputs += [each[..., KNOWN + MORE :] for each in differences[1:]] + [torch.stack(bases, 2)]
        levels = pixels.level.clamp(max=BIAS_LEVELS - 1).unsqueeze(2) == torch.arange(BIAS_LEVELS, device=self.device)
        upper, lower = (torch.stack([edge[n] for edge in edges], 2) for n in range(2))
        return Contexts(
            torch.cat(inputs, 2),
            levels.float(),
            upper,
            lower,
            edges[0][2],
            pixels.counted.float(),
            0 if number else count,
        )

    def _pixels(self, number: int, first: int | Tensor, count: int, again: bool) -> _Pixels:
        numbers = (first + torch.arange(count, device=self.device)).expand(len(self.counts), count)
        total = self.counts[:, number, None]
        counted = (total > 0) & ((numbers < total) | again)
        total = total.clamp(min=1)
        at = numbers % total * self._strides[:, number, None] % total
        part = torch.searchsorted(self._ends[:, number].contiguous(), at, right=True)
        fields = self._fields[:, number]
        chosen = fields.gather(1, part.unsqueeze(2).expand(-1, -1, fields.shape[2]))
        start, before, level, height, width, columns = chosen.unbind(2)
        row, column = (at - before) // columns, (at - before) % columns
        where = [each.int() for each in (start, level, height, width, columns, row, column)]
        return _Pixels._make([*where, counted])


class _Pixels(NamedTuple):
    """Pixels of bands, int32 [networks, n] each: first pixel of the tile in the planes, level, size of the tile, the
    band's columns, row and column in the band; counted: bool."""

    start: Tensor
    level: Tensor
    height: Tensor
    width: Tensor
    columns: Tensor
    row: Tensor
    column: Tensor
    counted: Tensor


def _look(pixels: _Pixels, places: Places) -> tuple[Tensor, Tensor]:
    """Where in the planes each pixel's places are, and which of them are there: [networks, n, places]."""
    start, level, height, width, columns, row, column = (each.unsqueeze(2) for each in pixels[:-1])
    place = Places(*(each.unsqueeze(1) for each in places))
    # Of an empty phase, phase 00 is looked at in its stead.
    empty = (height <= place.row_parity << level) | (width <= place.column_parity << level)
    there_row, there_column = row + place.row, column + place.column
    y = _within(there_row, torch.where(empty, 0, place.row_parity), height, level)
    x = _within(there_column, torch.where(empty, 0, place.column_parity), width, level)
    outside = (there_row < 0) | (there_column < 0) | (there_column >= columns)
    return start + y * width + x, place.there & ~(place.back & outside)


def _within(position: Tensor, parity: Tensor, size: Tensor, level: Tensor) -> Tensor:
    """Row or column in the tile of the nearest position that the phase has."""
    count = (size + ((2 - parity) << level) - 1) >> (level + 1)
    return _whole(torch.minimum(position.clamp(min=0), count - 1), parity, level)


def _whole(position: Tensor, parity: Tensor, level: Tensor) -> Tensor:
    """Row or column in the tile of one in a phase."""
    return (2 * position + parity) << level


def _looked_at(tiles: Sequence[TileRect]) -> Sequence[TileRect]:
    """All tiles of an image, or some that are spread over it."""
    pixels = sum(tile.height * tile.width for tile in tiles)
    return tiles[:: -(-pixels // _MOST_PIXELS)]


def _planes(pixels: NDArray[np.unsignedinteger], extra: int, device: torch.device) -> Tensor:
    """Y, Co, Cg (or Y) int16 [channels, pixels] of [pixels, channels], uint8 or, of ten bits, uint16; as color.py has
    them. extra: bits beyond eight."""
    values = put(pixels.view(np.int16) if extra else pixels, device).to(torch.int16).unbind(1)
    offset = Y_OFFSET << extra
    if len(values) == 1:
        return (values[0] - offset).unsqueeze(0)
    red, green, blue = values
    co = red - blue
    t = blue + (co >> 1)
    cg = green - t
    return torch.stack((t + (cg >> 1) - offset, co, cg))


_NEVER = 1 << 62
"""An end beyond all."""


class _Parts(NamedTuple):
    """The bands of all levels of tiles. ends: int64 [networks, SETS, parts], ascending, of each among its set's pixels.
    fields: int64 [networks, SETS, parts, 6], of each the tile's first pixel in the planes, the end of the part before,
    level, the tile's rows and columns, the band's columns."""

    ends: NDArray[np.int64]
    fields: NDArray[np.int64]


def _parts(tiles: Sequence[Sequence[TileRect]]) -> _Parts:
    found: list[list[tuple[list[int], list[tuple[int, ...]]]]] = []
    start = 0
    for places in tiles:
        starts = np.cumsum([start, *(tile.height * tile.width for tile in places)]).tolist()
        start = starts[-1]
        for band in BANDS:
            sets: list[tuple[list[int], list[tuple[int, ...]]]] = [([], []) for _ in range(SETS)]
            for (_, _, height, width), first in zip(places, starts, strict=False):
                for level in range(level_count(height, width)):
                    rows, columns = phase_size(height, level, band.row), phase_size(width, level, band.column)
                    if not rows or not columns:
                        continue
                    ends, fields = sets[min(level, SETS - 1)]
                    end = ends[-1] if ends else 0
                    fields.append((first, end, level, height, width, columns))
                    ends.append(end + rows * columns)
            found.append(sets)
    most = 1 + max(len(ends) for sets in found for ends, _ in sets)
    all_ends = np.full((len(found), SETS, most), _NEVER, np.int64)
    all_fields = np.zeros((len(found), SETS, most, 6), np.int64)
    all_fields[..., 3:] = 1  # a part of a pixel, where there is none
    for number, sets in enumerate(found):
        for of, (ends, fields) in enumerate(sets):
            if ends:
                all_ends[number, of, : len(ends)] = ends
                all_fields[number, of, : len(ends)] = fields
    return _Parts(all_ends, all_fields)


def _stride(count: int) -> int:
    """From a pixel to the next one in an order that visits each of `count`, near the golden section of all."""
    stride = max(1, int(count * 0.6180339887))
    while math.gcd(stride, count) > 1:
        stride += 1
    return stride


class Places(NamedTuple):
    """Where the pixels lie that a network sees, by band: neighbours, for chroma the square, then those looked back to.

    row, column: from the pixel's in its own phase. row_parity, column_parity: of the phase. there: whether there is
    such a place. back: whether it is in the band itself. All [bands, places]. nearest: int64 [bands, 4], the neighbours
    of the base. own: [bands, 2], the parities of the band.
    """

    row: Tensor
    column: Tensor
    row_parity: Tensor
    column_parity: Tensor
    there: Tensor
    back: Tensor
    nearest: Tensor
    own: Tensor


def _places(network: str, device: torch.device) -> Places:
    found = []
    for band in BANDS:
        known = [(phase, dy, dx, 1, 0) for phase, dy, dx in band.neighbours]
        more = [
            (f"{(band.row + dy) & 1}{(band.column + dx) & 1}", dy, dx, 1, 0)
            for dy, dx in (band.more_luma if network == "chroma" else ())
        ]
        nothing = ("00", -band.row, -band.column, 0, 0)
        known += [nothing] * (KNOWN - len(known))
        more += [nothing] * (MORE - len(more) if network == "chroma" else 0)
        found.append(
            [
                (
                    (band.row + dy - int(phase[0])) // 2,
                    (band.column + dx - int(phase[1])) // 2,
                    int(phase[0]),
                    int(phase[1]),
                    there,
                    back,
                )
                for phase, dy, dx, there, back in (*known, *more, *((band.name, *place, 1, 1) for place in BACK))
            ]
        )
    row, column, row_parity, column_parity, there, back = put(
        np.array(found, np.int32).transpose(2, 0, 1), device
    ).unbind(0)
    nearest = put(np.array([band.nearest for band in BANDS], np.int64), device)
    own = put(np.array([(band.row, band.column) for band in BANDS], np.int32), device)
    return Places(row, column, row_parity, column_parity, there != 0, back != 0, nearest, own)
