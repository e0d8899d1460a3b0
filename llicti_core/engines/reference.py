"""The reference engine: NumPy, slow, and by definition right (docs/format.md, 4 to 7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llicti_core import spec
from llicti_core.adaptation import Adaptation, unpacked
from llicti_core.color import grey_to_y, rgb_to_ycocg, y_to_grey, ycocg_to_rgb
from llicti_core.engines.base import CodedTile, TiledImage
from llicti_core.errors import FormatError
from llicti_core.models import Model
from llicti_core.pyramid import coded_lanes, phase_size, stream_count, stream_range
from llicti_core.spec import (
    ACTIVATION_MAX,
    BANDS,
    COEFFICIENT_MAX,
    COEFFICIENT_MIN,
    COMPONENTS,
    FINE_SHIFT,
    GAIN_SHIFT,
    HIDDEN_SHIFT,
    INPUT_MAX,
    INPUT_MIN,
    LANES,
    LEVELS,
    MAX_MEAN,
    MAX_POSITION,
    MAX_SPREAD_INDEX,
    OUTPUT_SHIFT,
    PARAMETER_KINDS,
    PARAMETER_MAX,
    PARAMETER_MIN,
    RECIPROCAL_SHIFT,
    STATE_MIN,
    Band,
)

Ints = NDArray[np.int64]

_CDF_TAIL = np.array(spec.CDF_TAIL, np.int64)
_SPREAD_MANTISSA = np.array(spec.SPREAD_MANTISSA, np.int64)
_WEIGHT_EXP = np.array(spec.WEIGHT_EXP, np.int64)


class ReferenceEngine:
    """The definition of the arithmetic. One thread, whatever is asked for."""

    name = "reference"

    def encode(self, image: TiledImage, threads: int) -> list[CodedTile]:
        """See Engine.encode."""
        predictor = _predictor(image)
        pixels = np.asarray(image.pixels)
        return [_encode_tile(pixels[y : y + h, x : x + w], predictor) for y, x, h, w in image.tiles]

    def decode(self, image: TiledImage, coded: Sequence[CodedTile], threads: int, level: int = 0) -> None:
        """See Engine.decode."""
        predictor = _predictor(image)
        pixels = np.asarray(image.pixels)
        for (y, x, h, w), tile in zip(image.tiles, coded, strict=True):
            decoded = _decode_tile((h, w, image.channels), tile, predictor, level)
            top, left = y >> level, x >> level
            inside = decoded[max(0, -top) :, max(0, -left) :]
            part = pixels[max(0, top) :, max(0, left) :][: inside.shape[0], : inside.shape[1]]
            part[...] = inside[: part.shape[0], : part.shape[1]]


def _encode_tile(pixels: NDArray[np.uint8], predictor: _Predictor) -> CodedTile:
    height, width, channels = pixels.shape
    planes = rgb_to_ycocg(pixels) if channels == 3 else grey_to_y(pixels)
    bounds = [(int(planes[..., c].min()), int(planes[..., c].max())) for c in range(channels)]
    lowpass = pixels[:: 1 << LEVELS, :: 1 << LEVELS].tobytes()
    streams = stream_count(height, width, channels)
    # One list of lane batches a level and stream, in the order in which they are decoded.
    coded: list[list[list[tuple[Ints, Ints]]]] = []
    for level in _coarse_to_fine():
        coded.append([[] for _ in range(streams)])
        for band in BANDS:
            target = _phase(planes, level, band.name).reshape(-1, channels).astype(np.int64)
            if not len(target):
                continue
            mixture = predictor.predict(planes, level, band, bounds)
            for stream in range(streams):
                coded[-1][stream] += _intervals(mixture, target, *stream_range(len(target), streams, stream))
    segments: list[list[bytes]] = [[] for _ in range(LEVELS)]
    for stream in range(streams):
        lanes = _lanes(height, width, bounds, streams, stream)
        for index, segment in enumerate(_encode_stream([level[stream] for level in coded], lanes)):
            segments[index].append(segment)
    return CodedTile(bounds, lowpass, segments)


def _decode_tile(shape: tuple[int, int, int], tile: CodedTile, predictor: _Predictor, finest: int) -> NDArray[np.uint8]:
    """Every 2**finest'th pixel of each row and column of a tile of `shape` [height, width, channels]."""
    height, width, channels = shape
    planes = np.zeros(shape, np.int16)
    lowpass = planes[:: 1 << LEVELS, :: 1 << LEVELS]
    stored = np.frombuffer(tile.lowpass, np.uint8).reshape(lowpass.shape)
    lowpass[...] = rgb_to_ycocg(stored) if channels == 3 else grey_to_y(stored)
    streams = stream_count(height, width, channels)
    decoders = [_StreamDecoder(_lanes(height, width, tile.bounds, streams, s)) for s in range(streams)]
    for index, level in enumerate(_coarse_to_fine(finest)):
        for decoder, segment in zip(decoders, tile.segments[index], strict=True):
            decoder.open(segment, first=index == 0)
        for band in BANDS:
            phase = _phase(planes, level, band.name)
            if not phase.size:
                continue
            target = np.zeros((phase.shape[0] * phase.shape[1], channels), np.int64)
            mixture = predictor.predict(planes, level, band, tile.bounds)
            for stream, decoder in enumerate(decoders):
                start, stop = stream_range(len(target), streams, stream)
                for first in range(start, stop, LANES):
                    _decode_batch(mixture, target, slice(first, min(first + LANES, stop)), decoder)
            phase[...] = target.reshape(phase.shape)
        for decoder in decoders:
            decoder.close(last=level == 0)
    known = planes[:: 1 << finest, :: 1 << finest]
    return ycocg_to_rgb(known) if channels == 3 else y_to_grey(known)


def _coarse_to_fine(finest: int = 0) -> Iterator[int]:
    return iter(range(LEVELS - 1, finest - 1, -1))


def _lanes(height: int, width: int, bounds: list[tuple[int, int]], streams: int, stream: int) -> int:
    """Lanes whose states a stream stores: none where every channel is constant."""
    if all(low == high for low, high in bounds):
        return 0
    return coded_lanes(height, width, streams, stream)


def _phase(planes: NDArray[np.int16], level: int, name: str) -> NDArray[np.int16]:
    """A view of one phase of a level."""
    row, column = int(name[0]), int(name[1])
    return planes[row << level :: 2 << level, column << level :: 2 << level]


# Context and network (docs/format.md, 4 and 5).


def _context(planes: NDArray[np.int16], level: int, band: Band) -> tuple[Ints, Ints]:
    """Network inputs [pixels, inputs] and bases [pixels, 3] of a band."""
    height, width, channels = planes.shape
    rows = np.arange(phase_size(height, level, band.row))
    columns = np.arange(phase_size(width, level, band.column))
    values = np.zeros((len(band.neighbours), len(rows), len(columns), 3), np.int64)
    for value, (name, dy, dx) in zip(values, band.neighbours, strict=True):
        phase = _phase(planes, level, name)
        if not phase.size:  # a phase without pixels is stood in for by phase 00, which has at least one
            phase = _phase(planes, level, "00")
        y = np.clip(rows + (band.row + dy - int(name[0])) // 2, 0, phase.shape[0] - 1)
        x = np.clip(columns + (band.column + dx - int(name[1])) // 2, 0, phase.shape[1] - 1)
        value[..., :channels] = phase[np.ix_(y, x)]
    base = (values[list(band.nearest)].sum(axis=0) + 2) >> 2
    difference = np.clip(values - base, INPUT_MIN, INPUT_MAX)
    base_inputs = base >> np.array([0, 1, 1])
    inputs = np.concatenate(
        (difference.transpose(3, 0, 1, 2).reshape(-1, *base.shape[:2]), base_inputs.transpose(2, 0, 1))
    )
    return inputs.reshape(len(inputs), -1).T, base.reshape(-1, 3)


class _Layer(NamedTuple):
    """A layer's tensors (llicti_core.models.Layer) as arrays."""

    weight: Ints
    bias: Ints
    multiplier: Ints


def _layers(model: Model, band: Band) -> list[_Layer]:
    return [_Layer(*(np.asarray(tensor) for tensor in layer)) for layer in model.layers(band.name)]


def _requantise(total: Ints, layer: _Layer, shift: int) -> Ints:
    """Accumulators [pixels, out] times m / 2**shift, rounded."""
    return (total * layer.multiplier + (1 << (shift - 1))) >> shift


def _network(inputs: Ints, layers: Sequence[_Layer], level: int, hidden_bias_delta: Ints | int = 0) -> Ints:
    """Outputs [pixels, 60] in sixteenths of their unit, for inputs [pixels, inputs].

    hidden_bias_delta: added to the biases of the last hidden layer, [width].
    """
    *hidden, last = layers
    x = inputs
    for number, layer in enumerate(hidden):
        total = x @ layer.weight.T + (layer.bias if number else layer.bias[level])
        if number == len(hidden) - 1:
            total += hidden_bias_delta
        x = np.clip(_requantise(total, layer, HIDDEN_SHIFT), 0, ACTIVATION_MAX)
    return _requantise(x @ last.weight.T + last.bias, last, OUTPUT_SHIFT)


# Mixture (docs/format.md, 6).


@dataclass(frozen=True)
class _Mixture:
    """Mixtures of a band's pixels; arrays are [pixels, channels, components] but for `base`, [pixels, 3].

    spread: index. mean: sixteenths of a pixel value, relative to base, before what known channels add.
    weight: 16-bit shares. coefficient: a, b, d in 1/64.
    """

    bounds: list[tuple[int, int]]
    base: Ints
    spread: Ints
    mean: Ints
    weight: Ints
    coefficient: Ints

    def centre(self, pixels: slice, channel: int, known: Ints) -> Ints:
        """Means [pixels, components] of a channel, given the residuals of those before it, `known` [pixels, 3]."""
        a, b, d = self.coefficient[pixels].transpose(1, 0, 2)
        y, co = known[:, 0:1], known[:, 1:2]
        known_shift = (np.zeros_like(a), a * y, b * y + d * co)[channel]
        centre: Ints = self.mean[pixels, channel] + ((known_shift + 2) >> 2)
        return np.clip(centre, -MAX_MEAN, MAX_MEAN)

    def cumulative(self, pixels: slice, channel: int, centre: Ints, value: Ints) -> Ints:
        """Probability, of 65536, that the channel is below `value` [pixels]."""
        low, high = self.bounds[channel]
        distance = 16 * (value - self.base[pixels, channel])[:, np.newaxis] - 8 - centre
        parts = (self.weight[pixels, channel] * _logistic(distance, self.spread[pixels, channel])) >> 16
        inside = parts.sum(axis=1) + value - low
        return np.where(value <= low, 0, np.where(value > high, 65536, inside))


@dataclass(frozen=True)
class _Predictor:
    """A model and its adaptation to an image."""

    model: Model
    adaptation: Adaptation

    def predict(self, planes: NDArray[np.int16], level: int, band: Band, bounds: list[tuple[int, int]]) -> _Mixture:
        """The mixtures of a band, from the phases before it."""
        inputs, base = _context(planes, level, band)
        deltas = self.adaptation.hidden_bias_delta
        delta = deltas[level, BANDS.index(band)] if level < len(deltas) else 0
        fine = _network(inputs, _layers(self.model, band), level, delta)
        parameters = self._parameters(fine, level, band).reshape(-1, PARAMETER_KINDS, 3, COMPONENTS)
        spreads, means, logits, coefficients = parameters.swapaxes(0, 1)
        return _Mixture(
            bounds,
            base,
            np.clip(spreads, 0, MAX_SPREAD_INDEX),
            means,
            _weights(logits, bounds),
            np.clip(coefficients, COEFFICIENT_MIN, COEFFICIENT_MAX),
        )

    def _parameters(self, fine: Ints, level: int, band: Band) -> Ints:
        """Outputs [pixels, 60], adapted, rounded to their parameters' units and saturated to 16 bits."""
        gain: Ints | int = 1 << GAIN_SHIFT
        bias: Ints | int = 0
        if level < len(self.adaptation.gain):
            place = level, BANDS.index(band)
            gain, bias = self.adaptation.gain[place], self.adaptation.bias[place]
        adapted: Ints = (fine * gain + bias + 512) >> (FINE_SHIFT + GAIN_SHIFT)
        return np.clip(adapted, PARAMETER_MIN, PARAMETER_MAX)


def _predictor(image: TiledImage) -> _Predictor:
    return _Predictor(image.model, unpacked(image.adaptation, image.model))


def _weights(logits: Ints, bounds: list[tuple[int, int]]) -> Ints:
    """Shares [pixels, channels, components] that sum to at most 65536 less the values the channel can take."""
    logits = logits[:, : len(bounds)]
    below = np.minimum(logits.max(axis=2, keepdims=True) - logits, len(_WEIGHT_EXP) - 1)
    share: Ints = _WEIGHT_EXP[below]
    values: Ints = np.array([high - low + 1 for low, high in bounds]).reshape(-1, 1)
    reciprocal: Ints = ((1 << RECIPROCAL_SHIFT) - 1) // share.sum(axis=2, keepdims=True)
    return (share * ((reciprocal * (65536 - values)) >> 16)) >> 11


def _logistic(distance: Ints, spread: Ints) -> Ints:
    """The component's cumulative distribution, 0..65535, at `distance` sixteenths from its mean."""
    position = (np.abs(distance) * _SPREAD_MANTISSA[spread & 7]) >> ((spread >> 3) + 2)
    position = np.minimum(position, MAX_POSITION)
    knot, fraction = position >> 7, position & 127
    tail: Ints = _CDF_TAIL[knot] - (((_CDF_TAIL[knot] - _CDF_TAIL[knot + 1]) * fraction) >> 7)
    return np.where(distance < 0, tail, 65535 - tail)


# Entropy coder (docs/format.md, 7).


def _intervals(mixture: _Mixture, target: Ints, start: int, stop: int) -> Iterator[tuple[Ints, Ints]]:
    """(cumulative, frequency) of every lane batch that a stream codes in a band, in decoding order."""
    pixels = slice(start, stop)
    value = target[pixels]
    coded: list[tuple[Ints, Ints]] = []
    for channel, (low, high) in enumerate(mixture.bounds):
        if low == high:
            continue
        centre = mixture.centre(pixels, channel, _residual(mixture, pixels, value))
        cdf_low = mixture.cumulative(pixels, channel, centre, value[:, channel])
        cdf_high = mixture.cumulative(pixels, channel, centre, value[:, channel] + 1)
        coded.append((cdf_low, cdf_high - cdf_low))
    for first in range(0, stop - start, LANES):
        for cdf_low, frequency in coded:
            yield cdf_low[first : first + LANES], frequency[first : first + LANES]


def _residual(mixture: _Mixture, pixels: slice, value: Ints) -> Ints:
    """Values minus bases, [pixels, 3]; zero for channels that the image lacks."""
    residual = np.zeros((len(value), 3), np.int64)
    residual[:, : value.shape[1]] = value - mixture.base[pixels, : value.shape[1]]
    return residual


def _encode_stream(levels: list[list[tuple[Ints, Ints]]], lanes: int) -> list[bytes]:
    """The segments of a stream, coarsest level first, from its intervals by level."""
    state = np.full(LANES, STATE_MIN, np.int64)
    segments: list[bytes] = []
    for batches in reversed(levels):
        words: list[int] = []
        for cdf_low, frequency in reversed(batches):
            active = state[: len(cdf_low)]
            full = (active >> 16) >= frequency
            words += (active[full] & 0xFFFF)[::-1].tolist()
            active[full] >>= 16
            active[...] = (active // frequency << 16) + active % frequency + cdf_low
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
        """Start a level's segment; the first one begins with the states."""
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

    def slots(self, count: int) -> Ints:
        """What the first `count` lanes point at, 0..65535."""
        return self.state[:count] & 0xFFFF

    def advance(self, cdf_low: Ints, frequency: Ints) -> None:
        """Take the coded intervals off the lanes."""
        active = self.state[: len(cdf_low)]
        active[...] = frequency * (active >> 16) + (active & 0xFFFF) - cdf_low
        low = active < STATE_MIN
        count = int(low.sum())
        if self.at + count > len(self.words):
            msg = "a stream's segment ends before its level does"
            raise FormatError(msg)
        active[low] = (active[low] << 16) | self.words[self.at : self.at + count]
        self.at += count

    def close(self, last: bool) -> None:
        """End a level's segment; all of it must have been read, and the states be back where encoding began."""
        if self.at != len(self.words) or (last and (self.state != STATE_MIN).any()):
            msg = "a stream's segment does not end where its level does"
            raise FormatError(msg)


def _decode_batch(mixture: _Mixture, target: Ints, pixels: slice, decoder: _StreamDecoder) -> None:
    """Decode every channel of up to LANES pixels into `target`."""
    count = pixels.stop - pixels.start
    value = target[pixels]
    for channel, (low, high) in enumerate(mixture.bounds):
        if low == high:
            value[:, channel] = low
            continue
        centre = mixture.centre(pixels, channel, _residual(mixture, pixels, value))
        slots = decoder.slots(count)
        # The greatest value whose cumulative is at most the slot, by halving what is left of the bounds.
        found = np.full(count, low, np.int64)
        step = 1 << ((high - low).bit_length() - 1)
        while step:
            trial = found + step
            cdf_low = mixture.cumulative(pixels, channel, centre, trial)
            found = np.where((trial <= high) & (cdf_low <= slots), trial, found)
            step >>= 1
        value[:, channel] = found
        cdf_low = mixture.cumulative(pixels, channel, centre, found)
        cdf_high = mixture.cumulative(pixels, channel, centre, found + 1)
        decoder.advance(cdf_low, cdf_high - cdf_low)
