"""The model adapted to an image: what a file says of it, what engines make of that, and the search for it.

Nothing here decides pixels but integers: floats choose among adaptations, and the file holds the one chosen.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from llicti_core.engines.base import NOT_ADAPTED, AdaptedParameters
from llicti_core.errors import DeviceError, FormatError
from llicti_core.models import Model, ModelSpec, output_size, within_bounds
from llicti_core.spec import (
    ADAPTED_MAX,
    ADAPTED_MIN,
    BANDS,
    BIAS_LEVELS,
    CDF_TAIL,
    COEFFICIENT_WEIGHT_SHIFT,
    COMPONENTS,
    FIRST_WEIGHT_SHIFT,
    HIDDEN_BIAS_SHIFT,
    HIDDEN_WEIGHT_SHIFT,
    LOGIT_WEIGHT_SHIFT,
    MAX_POSITION,
    MAX_PRECISION,
    MAX_SETS,
    MAX_SPREAD_INDEX,
    MEAN_WEIGHT_SHIFT,
    NETWORKS,
    SPREAD_MANTISSA,
    SPREAD_WEIGHT_SHIFT,
    STATE_MIN,
    WEIGHT_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from llicti_core.engines.base import TiledImage

    Ints = NDArray[np.int64]

WEIGHT, HIDDEN_BIAS, GAIN, SHIFT = "weight", "hidden bias", "gain", "shift"
"""What the numbers of an array change: weights of a layer, biases of a hidden layer, gains and shifts of outputs."""


class ArrayPlace(NamedTuple):
    """What an array of an adaptation changes.

    network: "luma" or "chroma". band: its name. kind: WEIGHT, HIDDEN_BIAS, GAIN or SHIFT. layer: of weights and hidden
    biases, else the output layer. level_set: which levels' (of weights 0, all). shape: [out, in] or [out].
    """

    network: str
    band: str
    kind: str
    layer: int
    level_set: int
    shape: tuple[int, ...]


def array_places(spec: ModelSpec, channels: int, sets: int) -> list[ArrayPlace]:
    """The arrays of an adaptation of `channels` stored channels and so many sets, in the order of the file."""
    places: list[ArrayPlace] = []
    for network in NETWORKS[: 1 if channels == 1 else 2]:
        for band in BANDS:
            *hidden, last = shapes = spec.layer_shapes(network, band)
            where = network, band.name
            places += [ArrayPlace(*where, WEIGHT, layer, 0, shape) for layer, shape in enumerate(shapes)]
            for layer, (out, _) in enumerate(hidden):
                places += [ArrayPlace(*where, HIDDEN_BIAS, layer, level_set, (out,)) for level_set in range(sets)]
            for kind in (GAIN, SHIFT):
                places += [ArrayPlace(*where, kind, len(hidden), n, last[:1]) for n in range(sets)]
    return places


class Adaptation(NamedTuple):
    """`AdaptedParameters` unpacked.

    arrays: int64, -128..127, of the shapes and in the order of `array_places`. sets: 1 to 5; level s has the set
    min(s, sets - 1). precision: 0 to 4; weights and hidden biases change in units divided by 2**precision.
    """

    arrays: list[Ints]
    sets: int
    precision: int


def pack(arrays: Sequence[Ints], sets: int, precision: int, model: Model, channels: int = 3) -> AdaptedParameters:
    """The fields of an Adaptation as a file has them, with the spread of each array that makes it smallest.

    Raises ValueError where a number or a shape is not what it must be.
    """
    import numpy as np

    places = array_places(model.spec, channels, sets)
    if not 1 <= sets <= MAX_SETS or not 0 <= precision <= MAX_PRECISION:
        msg = f"an adaptation cannot have {sets} sets and precision {precision}"
        raise ValueError(msg)
    for place, array in zip(places, arrays, strict=True):
        if array.shape != place.shape or array.min() < ADAPTED_MIN or array.max() > ADAPTED_MAX:
            msg = f"numbers {array.min()}..{array.max()} of shape {array.shape} cannot be {place}"
            raise ValueError(msg)
    present = [bool(array.any()) for array in arrays]
    bits = np.packbits(present, bitorder="little").tobytes()
    head = bytes((sets, precision)) + bits
    if not any(present):
        return head
    spreads: list[int] = []
    numbers: list[tuple[int, list[int]]] = []
    for array in arrays:
        if array.any():
            spreads.append(_best_spread(array))
            numbers += [(spreads[-1], (array.ravel() - ADAPTED_MIN).tolist())]
    state, words = STATE_MIN, bytearray()
    for spread, places_in_table in reversed(numbers):
        table = cumulative_table(spread)
        for n in reversed(places_in_table):
            low, frequency = table[n], table[n + 1] - table[n]
            if state >> 16 >= frequency:
                words += (state & 0xFFFF).to_bytes(2, "big")  # all bytes are turned round in the end
                state >>= 16
            state = (state // frequency << 16) + state % frequency + low
    words.reverse()
    return head + bytes(spreads) + state.to_bytes(4, "little") + words


def unpack(payload: AdaptedParameters | memoryview, model: Model, channels: int = 3) -> Adaptation:
    """The reverse of `pack`. Raises FormatError."""
    import numpy as np

    if len(payload) < 2:
        raise _damaged(f"has {len(payload)} bytes")
    sets, precision = payload[:2]
    if not 1 <= sets <= MAX_SETS or precision > MAX_PRECISION:
        raise _damaged(f"has {sets} sets and precision {precision}")
    places = array_places(model.spec, channels, sets)
    at = 2 + -(-len(places) // 8)
    bits = int.from_bytes(payload[2:at], "little")
    if len(payload) < at or bits >> len(places):
        raise _damaged("does not say which arrays it has")
    present = [bits >> number & 1 for number in range(len(places))]
    spreads = bytes(payload[at : at + sum(present)])
    at += sum(present)
    data = bytes(payload[at:])
    if len(spreads) < sum(present) or max(spreads, default=0) > MAX_SPREAD_INDEX:
        raise _damaged("lacks a spread, or has one that is too great")
    sizes = [math.prod(place.shape) for place in places]
    numbers = _decode([size for size, has in zip(sizes, present, strict=True) if has], spreads, data)
    arrays = [
        np.array(next(numbers), np.int64).reshape(place.shape) if has else np.zeros(place.shape, np.int64)
        for place, has in zip(places, present, strict=True)
    ]
    return Adaptation(arrays, sets, precision)


def _decode(sizes: list[int], spreads: bytes, data: bytes) -> Iterator[list[int]]:
    """The numbers of every array that is present, from the state and words `data`. Raises FormatError."""
    found: list[list[int]] = []
    if not sizes:
        if data:
            raise _damaged("goes on after its end")
        return iter(found)
    state = int.from_bytes(data[:4], "little")
    if len(data) < 4 or len(data) % 2 or state < STATE_MIN:
        raise _damaged("has no state, or half a word")
    at = 4
    for size, spread in zip(sizes, spreads, strict=True):
        table = cumulative_table(spread)
        numbers = []
        for _ in range(size):
            slot = state & 0xFFFF
            n = bisect_right(table, slot) - 1
            numbers.append(n + ADAPTED_MIN)
            state = (table[n + 1] - table[n]) * (state >> 16) + slot - table[n]
            if state < STATE_MIN:
                if at == len(data):
                    raise _damaged("ends before its numbers do")
                state = state << 16 | data[at] | data[at + 1] << 8
                at += 2
        found.append(numbers)
    if state != STATE_MIN or at != len(data):
        raise _damaged("does not end where its numbers do")
    return iter(found)


def _damaged(what: str) -> FormatError:
    return FormatError(f"section b'ADPT' {what}")


@cache
def cumulative_table(spread: int) -> list[int]:
    """Of 65536, what numbers below -128, -127, ... 128 take where the numbers' spread is this one, 0 to 87."""
    scale = SPREAD_MANTISSA[spread & 7] >> (spread >> 3)
    table = [0]
    for number in range(ADAPTED_MIN + 1, ADAPTED_MAX + 1):
        distance = 16 * number - 8
        position = min(abs(distance) * scale >> 7, MAX_POSITION)
        knot, fraction = position >> 8, position & 255
        tail = CDF_TAIL[knot] - ((CDF_TAIL[knot] - CDF_TAIL[knot + 1]) * fraction >> 8)
        logistic = tail if distance < 0 else 65535 - tail
        table.append(number - ADAPTED_MIN + (65280 * logistic >> 16))
    return [*table, 65536]


@lru_cache(maxsize=1)
def number_bits() -> NDArray[np.float64]:
    """Bits of each number, -128 first, at each spread: float64 [88, 256]."""
    import numpy as np

    tables = np.array([cumulative_table(spread) for spread in range(MAX_SPREAD_INDEX + 1)])
    bits: NDArray[np.float64] = 16 - np.log2(np.diff(tables, axis=1))
    return bits


def _best_spread(array: Ints) -> int:
    import numpy as np

    counts = np.bincount(array.ravel() - ADAPTED_MIN, minlength=ADAPTED_MAX - ADAPTED_MIN + 1)
    return int((number_bits() @ counts).argmin())


class AdaptedLayer(NamedTuple):
    """A layer of an adapted model. weight: int64 [out, in]; bias: [BIAS_LEVELS, out], by min(level, BIAS_LEVELS - 1);
    multiplier: [out]."""

    weight: Ints
    bias: Ints
    multiplier: Ints


class AdaptedNetwork(NamedTuple):
    """A band's network as it predicts an image. gain, shift: of the outputs, int64 [BIAS_LEVELS, out], by
    min(level, BIAS_LEVELS - 1); see docs/format.md, 5.2."""

    layers: list[AdaptedLayer]
    gain: Ints
    shift: Ints


def adapted_model(model: Model, adapted: AdaptedParameters, channels: int = 3) -> dict[tuple[str, str], AdaptedNetwork]:
    """`model` changed for an image, by network and band.

    Raises FormatError where `adapted` is damaged, or an accumulator could leave 32 bits.
    """
    import numpy as np

    networks: dict[tuple[str, str], AdaptedNetwork] = {}
    for network in NETWORKS[: 1 if channels == 1 else 2]:
        for band in BANDS:
            layers = []
            for layer in model.layers(network, band.name):
                weight, bias, multiplier = (np.asarray(part).astype(np.int64) for part in layer)
                bias = np.broadcast_to(bias, (BIAS_LEVELS, len(weight))).copy()
                layers.append(AdaptedLayer(weight, bias, multiplier))
            gain, shift = np.zeros((2, BIAS_LEVELS, output_size(network)), np.int64)
            networks[network, band.name] = AdaptedNetwork(layers, gain, shift)
    if adapted:
        arrays, sets, precision = unpack(adapted, model, channels)
        for place, array in zip(array_places(model.spec, channels, sets), arrays, strict=True):
            last = BIAS_LEVELS if place.level_set == sets - 1 else place.level_set + 1
            _change(networks[place.network, place.band], place, slice(place.level_set, last), precision, array)
        _check_bounds(networks)
    return networks


def _change(network: AdaptedNetwork, place: ArrayPlace, levels: slice, precision: int, array: Ints) -> None:
    """Apply one array."""
    import numpy as np

    if place.kind == GAIN:
        network.gain[levels] = array
    elif place.kind == SHIFT:
        network.shift[levels] = array
    else:
        weight, bias, multiplier = network.layers[place.layer]
        half = multiplier >> 1
        if place.kind == HIDDEN_BIAS:
            bias[levels] += (array * 2 ** (HIDDEN_BIAS_SHIFT - precision) + half) // multiplier
        else:
            shift = weight_shifts(place.network, place.layer, place.layer == len(network.layers) - 1, len(weight))
            change = (array.T * 2 ** (shift - precision) + half) // multiplier
            np.clip(weight + change.T, -WEIGHT_MAX, WEIGHT_MAX, out=weight)


def weight_shifts(network: str, layer: int, last: bool, outputs: int) -> Ints:
    """By how much the weights of each output of a layer change, int64 [outputs]: 2**shift / multiplier for 1."""
    import numpy as np

    if not last:
        return np.full(outputs, HIDDEN_WEIGHT_SHIFT if layer else FIRST_WEIGHT_SHIFT, np.int64)
    shifts = [SPREAD_WEIGHT_SHIFT, MEAN_WEIGHT_SHIFT, LOGIT_WEIGHT_SHIFT]
    if network == "chroma":
        shifts = [shift for shift in shifts for _ in range(2)] + [COEFFICIENT_WEIGHT_SHIFT]
    return np.repeat(np.array(shifts, np.int64), COMPONENTS)


def _check_bounds(networks: dict[tuple[str, str], AdaptedNetwork]) -> None:
    for (network, band), adapted in networks.items():
        for number, layer in enumerate(adapted.layers):
            if not within_bounds(*layer, first=number == 0):
                raise _damaged(f"lets layer {number} of {network} {band} overflow 32 bits")


class FitPlan(NamedTuple):
    """How much work a search is, of a band's network of luma or chroma, in blocks of 64 pixels.

    judged: that say what pays. output_blocks: that the output layer and the last hidden layer's biases are fitted to,
    output_batch of them in each of output_steps steps. batch, steps: of the search that all numbers are open to.
    """

    judged: int
    output_blocks: int
    output_batch: int
    output_steps: int
    batch: int = 0
    steps: int = 0


_PLANS = (
    FitPlan(judged=24, output_blocks=480, output_batch=2, output_steps=480),
    FitPlan(judged=64, output_blocks=480, output_batch=2, output_steps=480, batch=5, steps=200),
    FitPlan(judged=128, output_blocks=480, output_batch=2, output_steps=480, batch=6, steps=640),
)
"""By effort from 1 on, of chroma and for an image of _PLANNED_PIXELS. At effort 0 the model is taken as it is."""

_LUMA_SHARE = 0.8
"""Of the blocks and steps that chroma's outputs are fitted in, those of luma, which gains less."""

_MAX_GROWTH = (4.0, 3.0, 2.5)
"""By effort from 1 on: how much a plan's numbers grow at most, as images do."""

_OUTPUT_POWER = 0.6
"""Steps and batches of outputs grow by this power of it: what larger images gain comes from more blocks."""

_PLANNED_PIXELS = 768 * 512
_LEAST_PIXELS = 1024
"""Of an image that a change can pay for."""
_MOST_JUDGED = 256

MAX_EFFORT = len(_PLANS)


def fit_plans(effort: int, pixels: int, channels: int) -> tuple[FitPlan, FitPlan] | None:
    """The searches for luma and for chroma of an image of so many pixels, None for none: their work grows with it, up
    to a bound."""
    if effort == 0 or pixels < _LEAST_PIXELS:
        return None
    plan = _PLANS[effort - 1]
    growth = min(_MAX_GROWTH[effort - 1], math.sqrt(pixels / _PLANNED_PIXELS))

    def of_network(share: float) -> FitPlan:
        return FitPlan(
            judged=min(_MOST_JUDGED, math.ceil(plan.judged * growth)),
            output_blocks=math.ceil(plan.output_blocks * growth * share),
            output_batch=max(1, round(plan.output_batch * growth**_OUTPUT_POWER)),
            output_steps=math.ceil(plan.output_steps * growth**_OUTPUT_POWER * share),
            batch=max(1, round(plan.batch * growth)),
            steps=math.ceil(plan.steps * growth),
        )

    return of_network(1 if channels == 1 else _LUMA_SHARE), of_network(1)


def fit(image: TiledImage, effort: int, threads: int, device: str = "cpu") -> AdaptedParameters:
    """An adaptation of `image.model` that makes `image` smaller; `image.adaptation` is not looked at.

    effort: 0 to MAX_EFFORT; more work the higher, none at 0. device: where to search, as of `llicti_core.encode`. The
    result does not depend on `threads`, nor on the engine that codes with it; it may differ between devices, and
    between processors, whose instruction sets add floats in different orders. Raises DeviceError, but not on "auto".
    """
    plans = fit_plans(effort, sum(tile.height * tile.width for tile in image.tiles), image.channels)
    if plans is None:
        return NOT_ADAPTED
    if device != "cpu":
        from llicti_core import engines

        try:
            (found,) = engines.fit_on(device, [image], effort)
        except DeviceError:
            if device != "auto":
                raise
        else:
            return found
    from llicti_core.engines import native

    return native.fit(image, plans, threads)
