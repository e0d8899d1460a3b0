"""The reference engine: NumPy, slow, and by definition right (docs/format.md, 4 to 7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llicti_core import spec
from llicti_core.adaptation import AdaptedNetwork, adapted_model
from llicti_core.color import grey_to_y, rgb_to_ycocg, y_to_grey, ycocg_to_rgb
from llicti_core.engines.base import CodedTile, TiledImage
from llicti_core.errors import FormatError
from llicti_core.pyramid import (
    coded_lanes,
    group_steps,
    level_count,
    row_groups,
    segment_kinds,
    stream_count,
    stream_groups,
)
from llicti_core.spec import (
    ACTIVATION_MAX,
    BACK,
    BANDS,
    BIAS_LEVELS,
    COARSE_LEVEL,
    COEFFICIENT_MAX,
    COEFFICIENT_MIN,
    COMPONENTS,
    FINE_SHIFT,
    GAIN_SHIFT,
    HIDDEN_SHIFT,
    INPUT_MAX,
    INPUT_MIN,
    LANE_DELAY,
    LANES,
    MAX_LOGIT_DIFFERENCE,
    MAX_MEAN,
    MAX_POSITION,
    MAX_SPREAD_INDEX,
    NETWORKS,
    OUTPUT_SHIFT,
    PARAMETER_MAX,
    PARAMETER_MIN,
    RECIPROCAL_SHIFT,
    ROW_GROUP,
    STATE_MIN,
    Band,
)
from llicti_core.view import paste

Ints = NDArray[np.int64]
Planes = NDArray[np.int16]
Networks = dict[tuple[str, str], AdaptedNetwork]

_STORED = ("u1", "<u2")
"""A sample of the lowpass, by whether it has more than eight bits."""

_CDF_TAIL = np.array(spec.CDF_TAIL, np.int64)
_SPREAD_MANTISSA = np.array(spec.SPREAD_MANTISSA, np.int64)
_WEIGHT_SHARE = np.array(spec.WEIGHT_SHARE, np.int64)


class ReferenceEngine:
    """The definition of the arithmetic. One thread, whatever is asked for."""

    name = "reference"

    def encode(self, image: TiledImage, threads: int) -> list[CodedTile]:
        """See Engine.encode."""
        networks = adapted_model(image.model, image.adaptation, image.channels)
        pixels = np.asarray(image.pixels)
        return [_encode_tile(pixels[y : y + h, x : x + w], image.bits, networks) for y, x, h, w in image.tiles]

    def decode(self, image: TiledImage, coded: Sequence[CodedTile], threads: int, level: int = 0) -> None:
        """See Engine.decode."""
        networks = adapted_model(image.model, image.adaptation, image.channels)
        pixels = np.asarray(image.pixels)
        for (y, x, h, w), tile in zip(image.tiles, coded, strict=True):
            decoded = _decode_tile((h, w, image.channels), image.bits, tile, networks, level)
            paste(decoded, y >> level, x >> level, pixels)

    def frequencies(self, image: TiledImage, coded: Sequence[CodedTile]) -> Iterator[tuple[Ints, Ints, Ints]]:
        """What the entropy coder spends, of tiles whose pixels are known: `coded` is what they were decoded from.

        Yields rows and columns of pixels in the image, and of a value of each the frequency that it is coded with,
        1 to 65536: a value takes 16 - log2(frequency) bits. The lowpass and channels of one value are not among them.
        """
        networks = adapted_model(image.model, image.adaptation, image.channels)
        pixels = np.asarray(image.pixels)
        for (y, x, h, w), tile in zip(image.tiles, coded, strict=True):
            for row, column, frequency in _tile_frequencies(
                pixels[y : y + h, x : x + w], image.bits, tile.bounds, networks
            ):
                yield y + row, x + column, frequency


def _encode_tile(pixels: NDArray[np.unsignedinteger], bits: int, networks: Networks) -> CodedTile:
    height, width, channels = pixels.shape
    planes = _to_planes(pixels, bits)
    bounds = [(int(planes[..., c].min()), int(planes[..., c].max())) for c in range(channels)]
    levels = level_count(height, width)
    kinds = segment_kinds(levels, channels)
    streams = [_Stream(planes.shape, bounds, number) for number in range(stream_count(height))]
    # Of every stream and kind of segment: the intervals of all steps, in the order in which they are decoded.
    coded: list[list[list[_Interval]]] = [[[] for _ in kinds] for _ in streams]
    for level in range(levels - 1, -1, -1):
        for predictor in _passes(planes, bits, bounds, level, networks):
            kind = kinds.index(_segment_kind(level, predictor.network_number))
            for stream, intervals in zip(streams, coded, strict=True):
                intervals[kind] += _pass_intervals(predictor, stream)
    by_stream = [_encode_stream(intervals, stream.lanes) for stream, intervals in zip(streams, coded, strict=True)]
    segments = [list(kind) for kind in zip(*by_stream, strict=True)]
    lowpass = pixels[:: 1 << levels, :: 1 << levels]
    return CodedTile(bounds, lowpass.astype(_STORED[bits > 8]).tobytes(), segments)


def _decode_tile(
    shape: tuple[int, int, int], bits: int, tile: CodedTile, networks: Networks, finest: int
) -> NDArray[np.unsignedinteger]:
    """Every 2**finest'th pixel of each row and column of a tile of `shape` [height, width, channels]."""
    height, width, channels = shape
    levels = level_count(height, width)
    planes = np.zeros(shape, np.int16)
    lowpass = planes[:: 1 << levels, :: 1 << levels]
    lowpass[...] = _to_planes(np.frombuffer(tile.lowpass, _STORED[bits > 8]).reshape(lowpass.shape), bits)
    streams = [_Stream(shape, tile.bounds, number) for number in range(stream_count(height))]
    decoders = [_StreamDecoder(stream.lanes) for stream in streams]
    for kind, segments in zip(segment_kinds(levels, channels), tile.segments, strict=False):
        if kind[0] < min(finest, COARSE_LEVEL):
            break
        for decoder, segment in zip(decoders, segments, strict=True):
            decoder.open(segment, first=kind == (COARSE_LEVEL, 0))
        for level in range(levels - 1, -1, -1):
            for predictor in _passes(planes, bits, tile.bounds, level, networks):
                if _segment_kind(level, predictor.network_number) == kind:
                    for stream, decoder in zip(streams, decoders, strict=True):
                        _decode_pass(predictor, stream, decoder)
        for decoder in decoders:
            decoder.close()
    if finest == 0:
        for decoder in decoders:
            decoder.finish()
    known = planes[:: 1 << finest, :: 1 << finest]
    return ycocg_to_rgb(known, bits) if channels == 3 else y_to_grey(known, bits)


def _to_planes(pixels: NDArray[np.unsignedinteger], bits: int) -> Planes:
    return rgb_to_ycocg(pixels, bits) if pixels.shape[2] == 3 else grey_to_y(pixels, bits)


def _tile_frequencies(
    pixels: NDArray[np.unsignedinteger], bits: int, bounds: list[tuple[int, int]], networks: Networks
) -> Iterator[tuple[Ints, Ints, Ints]]:
    """See ReferenceEngine.frequencies; rows and columns are those in the tile."""
    height, width, _ = pixels.shape
    planes = _to_planes(pixels, bits)
    streams = [_Stream(planes.shape, bounds, number) for number in range(stream_count(height))]
    for level in range(level_count(height, width) - 1, -1, -1):
        for predictor in _passes(planes, bits, bounds, level, networks):
            rows, columns, _ = predictor.pixels.shape
            for stream in streams:
                first, last = stream.rows(level)
                if first < min(last, rows):
                    row, column = (part.ravel() for part in np.mgrid[first : min(last, rows), :columns])
                    for _, frequency in _coded_values(predictor, row, column, (first, last)):
                        band = predictor.band
                        yield (2 * row + band.row) << level, (2 * column + band.column) << level, frequency


def _segment_kind(level: int, network: int) -> tuple[int, int]:
    """Which of pyramid.segment_kinds holds what is coded at `level` by network 0 (luma) or 1 (chroma)."""
    return (level, network) if level < COARSE_LEVEL else (COARSE_LEVEL, 0)


# Order of the pixels (docs/format.md, 4.2).


class _Stream:
    """Which pixels of a tile a stream codes, and when."""

    def __init__(self, shape: tuple[int, ...], bounds: list[tuple[int, int]], number: int) -> None:
        self.height, self.width, _ = shape
        self.number = number
        constant = all(low == high for low, high in bounds)
        self.lanes = 0 if constant else coded_lanes(self.height, self.width, number)
        """Lanes whose states are stored."""

    def rows(self, level: int) -> tuple[int, int]:
        """The first of its rows in the bands of `level`, and the one after the last."""
        groups = stream_groups(row_groups(self.height, level), stream_count(self.height), self.number)
        return ROW_GROUP * groups[0], ROW_GROUP * groups[1]

    def steps(self, level: int, rows: int, columns: int) -> Iterator[tuple[Ints, Ints]]:
        """Rows and columns of the pixels that it codes at each step in a band of this size, by ascending lane."""
        first, last = self.rows(level)
        row, column = (part.ravel() for part in np.mgrid[first : max(first, min(last, rows)), :columns])
        group, lane = (row - first) // ROW_GROUP, row % ROW_GROUP
        step = group * group_steps(self.width, level) + LANE_DELAY * lane + column
        order = np.lexsort((lane, step))
        starts = np.flatnonzero(np.diff(step[order], prepend=-1))
        for pixels in np.split(order, starts[1:]) if len(order) else []:
            yield row[pixels], column[pixels]


# Contexts and networks (docs/format.md, 4 and 5).


def _phase(planes: Planes, level: int, name: str) -> Planes:
    """A view of one phase of a level."""
    row, column = int(name[0]), int(name[1])
    return planes[row << level :: 2 << level, column << level :: 2 << level]


def _known_values(planes: Planes, level: int, band: Band, phase_name: str, dy: int, dx: int) -> Ints:
    """What the pixels of a band have at (dy, dx), in a phase that is known: [rows, columns, channels]."""
    rows, columns, _ = _phase(planes, level, band.name).shape
    phase = _phase(planes, level, phase_name)
    if not phase.size:  # a phase without pixels is stood in for by phase 00, which has at least one
        phase = _phase(planes, level, "00")
    y = np.clip(np.arange(rows) + (band.row + dy - int(phase_name[0])) // 2, 0, phase.shape[0] - 1)
    x = np.clip(np.arange(columns) + (band.column + dx - int(phase_name[1])) // 2, 0, phase.shape[1] - 1)
    return phase[np.ix_(y, x)].astype(np.int64)


def _square_phase(band: Band, dy: int, dx: int) -> str:
    """Name of the phase in which the place (dy, dx) from a pixel of `band` lies."""
    return f"{(band.row + dy) & 1}{(band.column + dx) & 1}"


def _difference(value: Ints, base: Ints, extra: int) -> Ints:
    """An input; extra: bits of values beyond 8."""
    difference: Ints = np.clip((value - base + ((1 << extra) >> 1)) >> extra, INPUT_MIN, INPUT_MAX)
    return difference


class _Predictor:
    """Predicts the luma or the chroma of a band, from what is known when its decoding starts and from BACK."""

    def __init__(
        self,
        planes: Planes,
        bits: int,
        bounds: list[tuple[int, int]],
        level: int,
        band: Band,
        network: str,
        networks: Networks,
    ) -> None:
        self.level, self.band, self.bounds, self.weights = level, band, bounds, networks[network, band.name]
        self.extra = bits - 8
        self.network_number = NETWORKS.index(network)
        self.coded = range(1) if network == "luma" else range(1, 3)
        """Numbers of the channels that the network predicts."""
        self.pixels = _phase(planes, level, band.name)
        """The band, [rows, columns, channels]; decoding writes here."""
        known = np.stack([_known_values(planes, level, band, *neighbour) for neighbour in band.neighbours], axis=-1)
        self.base: Ints = (known[..., list(band.nearest)].sum(axis=-1) + 2) >> 2
        """[rows, columns, channels]."""
        channels = range(1 if network == "luma" else 3)
        self.before = [_difference(known[:, :, c], self.base[..., c, np.newaxis], self.extra) for c in channels]
        """Inputs before those from BACK, [rows, columns, inputs] each."""
        if network == "chroma":
            more = [
                _known_values(planes, level, band, _square_phase(band, dy, dx), dy, dx)[..., 0]
                for dy, dx in band.more_luma
            ]
            self.before.append(_difference(np.stack(more, axis=-1), self.base[..., 0, np.newaxis], self.extra))
        self.after = self.base[..., : len(channels)] >> (self.extra + np.array([0, 1, 1])[: len(channels)])
        """Inputs after those from BACK."""

    def mixture(self, row: Ints, column: Ints, rows: tuple[int, int]) -> _Mixture:
        """The mixtures of pixels, of which those in BACK that are in the stream's `rows` are known."""
        base = self.base[row, column]
        inputs = [part[row, column] for part in self.before]
        inputs += [self._back(row, column, rows, channel) for channel in self.coded]
        inputs.append(self.after[row, column])
        outputs = self._outputs(np.concatenate(inputs, axis=1)).reshape(len(row), -1, COMPONENTS)
        count = len(self.coded)
        spread, mean, logit = (outputs[:, kind * count : (kind + 1) * count] for kind in range(3))
        coefficient = outputs[:, 3 * count] if count == 2 else np.zeros_like(outputs[:, 0])
        bounds = [self.bounds[channel] for channel in self.coded]
        return _Mixture(
            self.extra,
            bounds,
            base[:, self.coded.start : self.coded.stop],
            np.clip(spread, 0, MAX_SPREAD_INDEX),
            mean,
            _weights(logit, bounds),
            np.clip(coefficient, COEFFICIENT_MIN, COEFFICIENT_MAX),
        )

    def _back(self, row: Ints, column: Ints, rows: tuple[int, int], channel: int) -> Ints:
        """Inputs from the band itself, [pixels, places]: 0 outside it and outside the stream."""
        places = []
        first, last = rows[0], min(rows[1], self.pixels.shape[0])
        for dy, dx in BACK:
            y, x = row + dy // 2, column + dx // 2
            inside = (first <= y) & (y < last) & (x >= 0) & (x < self.pixels.shape[1])
            value = self.pixels[np.where(inside, y, row), np.where(inside, x, column), channel]
            places.append(np.where(inside, _difference(value, self.base[row, column, channel], self.extra), 0))
        return np.stack(places, axis=1)

    def _outputs(self, inputs: Ints) -> Ints:
        """Outputs [pixels, outputs], adapted, rounded to their parameters' units and saturated to 16 bits."""
        level = min(self.level, BIAS_LEVELS - 1)
        x = inputs
        *hidden, last = self.weights.layers
        for layer in hidden:
            total = x @ layer.weight.T + layer.bias[level]
            x = np.clip(_requantise(total, layer.multiplier, HIDDEN_SHIFT), 0, ACTIVATION_MAX)
        fine = _requantise(x @ last.weight.T + last.bias[level], last.multiplier, OUTPUT_SHIFT)
        gain = (1 << GAIN_SHIFT) + self.weights.gain[level]
        adapted: Ints = (fine * gain + 512 * self.weights.shift[level] + 512) >> (FINE_SHIFT + GAIN_SHIFT)
        return np.clip(adapted, PARAMETER_MIN, PARAMETER_MAX)


def _requantise(total: Ints, multiplier: Ints, shift: int) -> Ints:
    """Accumulators [pixels, out] times m / 2**shift, rounded."""
    return (total * multiplier + (1 << (shift - 1))) >> shift


def _passes(
    planes: Planes, bits: int, bounds: list[tuple[int, int]], level: int, networks: Networks
) -> Iterator[_Predictor]:
    """What is coded at a level, pass by pass: each is to be coded before the next is asked for.

    Passes of constant channels are done here.
    """
    for network in NETWORKS[: 1 if planes.shape[2] == 1 else 2]:
        for band in BANDS:
            if not _phase(planes, level, band.name).size:
                continue
            predictor = _Predictor(planes, bits, bounds, level, band, network, networks)
            for channel in predictor.coded:
                low, high = bounds[channel]
                if low == high:
                    predictor.pixels[..., channel] = low
            if any(bounds[channel][0] < bounds[channel][1] for channel in predictor.coded):
                yield predictor


# Mixture (docs/format.md, 6).


@dataclass(frozen=True)
class _Mixture:
    """Mixtures of pixels' luma, or of their chroma; arrays are [pixels, channels, components] but for `base`, [pixels,
    channels], and `coefficient`, [pixels, components].

    extra: bits of values beyond 8: the network's unit is 2**extra of them. spread: index. mean: sixteenths of that
    unit, relative to base, before what Co adds to that of Cg. weight: 16-bit shares. coefficient: 1/64.
    """

    extra: int
    bounds: list[tuple[int, int]]
    base: Ints
    spread: Ints
    mean: Ints
    weight: Ints
    coefficient: Ints

    def centre(self, channel: int, co: Ints) -> Ints:
        """Means [pixels, components] of a channel, given Co, [pixels], which that of Cg depends on."""
        centre = self.mean[:, channel]
        if channel == 1:
            move = self.coefficient * (co - self.base[:, 0])[:, np.newaxis]
            centre = centre + ((move + (2 << self.extra)) >> (2 + self.extra))
        return np.clip(centre, -MAX_MEAN, MAX_MEAN)

    def cumulative(self, channel: int, centre: Ints, value: Ints) -> Ints:
        """Probability, of 65536, that the channel is below `value` [pixels]."""
        low, high = self.bounds[channel]
        distance = (16 * (value - self.base[:, channel])[:, np.newaxis] - 8 >> self.extra) - centre
        parts = (self.weight[:, channel] * _logistic(distance, self.spread[:, channel])) >> 16
        inside = parts.sum(axis=1) + value - low
        return np.where(value <= low, 0, np.where(value > high, 65536, inside))


def _weights(logits: Ints, bounds: list[tuple[int, int]]) -> Ints:
    """Shares [pixels, channels, components] that sum to at most 65536 less the values the channel can take."""
    below = np.minimum(logits.max(axis=2, keepdims=True) - logits, MAX_LOGIT_DIFFERENCE)
    share: Ints = _WEIGHT_SHARE[below & 15] >> (below >> 4)
    values: Ints = np.array([high - low + 1 for low, high in bounds]).reshape(-1, 1)
    reciprocal: Ints = ((1 << RECIPROCAL_SHIFT) - 1) // share.sum(axis=2, keepdims=True)
    return (share * ((reciprocal * (65536 - values)) >> 16)) >> 11


def _logistic(distance: Ints, spread: Ints) -> Ints:
    """The component's cumulative distribution, 0..65535, at `distance` sixteenths from its mean."""
    position = (np.abs(distance) * (_SPREAD_MANTISSA[spread & 7] >> (spread >> 3))) >> 7
    position = np.minimum(position, MAX_POSITION)
    knot, fraction = position >> 8, position & 255
    tail: Ints = _CDF_TAIL[knot] - (((_CDF_TAIL[knot] - _CDF_TAIL[knot + 1]) * fraction) >> 8)
    return np.where(distance < 0, tail, 65535 - tail)


# Entropy coder (docs/format.md, 7).


class _Interval(NamedTuple):
    """What some lanes code at once, ascending: cdf_low and frequency of each one's value."""

    lanes: Ints
    cdf_low: Ints
    frequency: Ints


def _pass_intervals(predictor: _Predictor, stream: _Stream) -> list[_Interval]:
    """What a stream codes in a pass, in decoding order."""
    steps = list(stream.steps(predictor.level, *predictor.pixels.shape[:2]))
    if not steps:
        return []
    row, column = (np.concatenate(part) for part in zip(*steps, strict=True))
    coded = _coded_values(predictor, row, column, stream.rows(predictor.level))
    intervals: list[_Interval] = []
    first = 0
    for rows, _ in steps:
        last = first + len(rows)
        intervals += [_Interval(rows % LANES, low[first:last], frequency[first:last]) for low, frequency in coded]
        first = last
    return intervals


def _coded_values(predictor: _Predictor, row: Ints, column: Ints, rows: tuple[int, int]) -> list[tuple[Ints, Ints]]:
    """cdf_low and frequency of the values of pixels of a stream's `rows`, of each channel that is coded."""
    mixture = predictor.mixture(row, column, rows)
    value = predictor.pixels[row, column][:, predictor.coded.start : predictor.coded.stop].astype(np.int64)
    coded: list[tuple[Ints, Ints]] = []
    for channel, (low, high) in enumerate(mixture.bounds):
        if low < high:
            centre = mixture.centre(channel, value[:, 0])
            cdf_low, cdf_high = (mixture.cumulative(channel, centre, value[:, channel] + n) for n in (0, 1))
            coded.append((cdf_low, cdf_high - cdf_low))
    return coded


def _encode_stream(by_kind: list[list[_Interval]], lanes: int) -> list[bytes]:
    """The segments of a stream, from its intervals, in decoding order."""
    state = np.full(LANES, STATE_MIN, np.int64)
    segments: list[bytes] = []
    for intervals in reversed(by_kind):
        words: list[int] = []
        for active, cdf_low, frequency in reversed(intervals):
            s = state[active]
            full = (s >> 16) >= frequency
            words += (s[full] & 0xFFFF)[::-1].tolist()
            s[full] >>= 16
            state[active] = (s // frequency << 16) + s % frequency + cdf_low
        segments.append(np.array(words[::-1], "<u2").tobytes())
    segments.reverse()
    segments[0] = state[:lanes].astype("<u4").tobytes() + segments[0]
    return segments


class _StreamDecoder:
    """The lanes of a stream, and the words of the segment being read."""

    def __init__(self, lanes: int) -> None:
        self.state = np.full(LANES, STATE_MIN, np.int64)
        self.lanes = lanes
        self.words: Ints = np.empty(0, np.int64)
        self.at = 0

    def open(self, segment: bytes, first: bool) -> None:
        """Start a segment; the first one begins with the states."""
        head = 4 * self.lanes if first else 0
        if len(segment) < head or (len(segment) - head) % 2:
            msg = f"a stream's segment of {len(segment)} bytes cannot be what an encoder wrote"
            raise FormatError(msg)
        if first:
            self.state[: self.lanes] = np.frombuffer(segment[:head], "<u4")
            if (self.state < STATE_MIN).any():
                msg = "a stream starts in a state below 65536"
                raise FormatError(msg)
        self.words = np.frombuffer(segment[head:], "<u2").astype(np.int64)
        self.at = 0

    def slots(self, lanes: Ints) -> Ints:
        """What lanes point at, 0..65535."""
        return self.state[lanes] & 0xFFFF

    def advance(self, interval: _Interval) -> None:
        """Take what lanes have coded off them."""
        lanes, cdf_low, frequency = interval
        state = self.state[lanes]
        state = frequency * (state >> 16) + (state & 0xFFFF) - cdf_low
        low = state < STATE_MIN
        count = int(low.sum())
        if self.at + count > len(self.words):
            msg = "a stream's segment ends before its level does"
            raise FormatError(msg)
        state[low] = (state[low] << 16) | self.words[self.at : self.at + count]
        self.state[lanes] = state
        self.at += count

    def close(self) -> None:
        """End a segment, all of which must have been read."""
        if self.at != len(self.words):
            msg = "a stream's segment does not end where its level does"
            raise FormatError(msg)

    def finish(self) -> None:
        """End a tile: the states must be those in which encoding began."""
        if (self.state != STATE_MIN).any():
            msg = "a stream's lanes do not end where its tile does"
            raise FormatError(msg)


def _decode_pass(predictor: _Predictor, stream: _Stream, decoder: _StreamDecoder) -> None:
    """Decode what a stream has of a pass."""
    rows = stream.rows(predictor.level)
    for row, column in stream.steps(predictor.level, *predictor.pixels.shape[:2]):
        mixture = predictor.mixture(row, column, rows)
        co = np.zeros(len(row), np.int64)
        for channel, (low, high) in enumerate(mixture.bounds):
            place = row, column, predictor.coded[channel]
            if low < high:
                centre = mixture.centre(channel, co)
                predictor.pixels[place] = _decode_values(mixture, channel, centre, row % LANES, decoder)
            co = predictor.pixels[place].astype(np.int64)


def _decode_values(mixture: _Mixture, channel: int, centre: Ints, lanes: Ints, decoder: _StreamDecoder) -> Ints:
    """Decode a channel of a pixel from each of the lanes."""
    low, high = mixture.bounds[channel]
    slots = decoder.slots(lanes)
    # The greatest value whose cumulative is at most the slot, by halving what is left of the bounds.
    found = np.full(len(lanes), low, np.int64)
    step = 1 << ((high - low).bit_length() - 1)
    while step:
        trial = found + step
        cdf_low = mixture.cumulative(channel, centre, trial)
        found = np.where((trial <= high) & (cdf_low <= slots), trial, found)
        step >>= 1
    cdf_low, cdf_high = (mixture.cumulative(channel, centre, found + n) for n in (0, 1))
    decoder.advance(_Interval(lanes, cdf_low, cdf_high - cdf_low))
    return found
