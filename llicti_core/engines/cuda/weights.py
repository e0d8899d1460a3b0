"""Networks, changed for pictures, as the kernels want them (kernels._hidden), and the tables of the mixture."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llicti_core import spec
from llicti_core.adaptation import AdaptedNetwork
from llicti_core.engines.base import NOT_ADAPTED, AdaptedParameters
from llicti_core.engines.cuda import kernels
from llicti_core.engines.cuda.launch import put
from llicti_core.engines.native import adapted_model
from llicti_core.models import Model
from llicti_core.spec import BACK, BANDS, COMPONENTS, GAIN_SHIFT, NETWORKS, PHASES, Band

LEAST = 32
"""Tensor cores multiply bytes in rows of at least this many."""

_KEPT = 8


class PackedNetwork(NamedTuple):
    """A network of a band, for several pictures: `window` int32, `weights` int8 and `numbers` int32 as kernels.py says,
    picture by picture; the sizes of the two parts of its inputs, and of its hidden layers, padded; its depth."""

    window: Tensor
    weights: Tensor
    numbers: Tensor
    inputs: tuple[int, int]
    width: int
    depth: int


PackedModel = list[list[PackedNetwork]]
"""Of a model, [network][band]."""

_packed: OrderedDict[tuple[Any, ...], PackedModel] = OrderedDict()


def pack(model: Model, adaptations: Sequence[AdaptedParameters], channels: int, device: torch.device) -> PackedModel:
    """`model` on `device`, changed by each of `adaptations`; those for pictures without any are kept there.

    Raises FormatError where one of them is damaged or breaks a bound (docs/format.md, 7.3).
    """
    key = (model.identity, device, channels)
    changed = [adaptation for adaptation in adaptations if adaptation]
    if changed:
        return _pack(model, list(adaptations), channels, device)
    # Other threads may add to what is kept, and take from it, at any time.
    packed = _packed.get(key)
    if packed is None:
        packed = _pack(model, [NOT_ADAPTED], channels, device)
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()  # any stream may read what is kept
        _packed[key] = packed
        if len(_packed) > _KEPT:
            _packed.popitem(last=False)
    return packed


def _pack(model: Model, adaptations: list[AdaptedParameters], channels: int, device: torch.device) -> PackedModel:
    different = {one: adapted_model(model, one, channels) for one in dict.fromkeys(adaptations)}
    networks = []
    for network in NETWORKS[: 1 if channels == 1 else 2]:
        width, depth = getattr(model.spec, network)
        bands = []
        for band in BANDS:
            sizes = _split(model.spec.layer_shapes(network, band)[0][1])
            packed = {one: _pack_network(found[network, band.name], sizes) for one, found in different.items()}
            weights, numbers = (put(np.stack([packed[one][part] for one in adaptations]), device) for part in range(2))
            window = put(_window(band, network, channels, sum(sizes)), device)
            bands.append(PackedNetwork(window, weights, numbers, sizes, _padded(width), depth))
        networks.append(bands)
    return networks


def _padded(size: int) -> int:
    return max(LEAST, 1 << (size - 1).bit_length())


def _split(inputs: int) -> tuple[int, int]:
    """Two powers of two that have room for the inputs, the second may be 0."""
    first = max(LEAST, 1 << (inputs.bit_length() - 1))
    return first, _padded(inputs - first) if inputs > first else 0


def _pack_network(network: AdaptedNetwork, sizes: tuple[int, int]) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """Padding has weights, biases and multipliers of 0, so that its activations and what they add are 0."""
    *hidden, last = network.layers
    width = _padded(len(hidden[0].weight))
    weights: list[NDArray[Any]] = []
    numbers: list[NDArray[Any]] = []
    for index, layer in enumerate(hidden):
        weight = _pad(layer.weight, width, width if index else sum(sizes))
        weights += [weight] if index else [weight[:, : sizes[0]], weight[:, sizes[0] :]]
        numbers += [_pad(layer.bias, width), _pad(layer.multiplier, width)]
    weights.append(_pad(_columns(last.weight.T), width, 0).T)
    shift = 512 * network.shift + 512
    for part in (last.bias, last.multiplier, network.gain + (1 << GAIN_SHIFT), shift):
        numbers.append(_columns(part))
    return (
        np.concatenate([part.ravel() for part in weights]).astype(np.int8),
        np.concatenate([part.ravel() for part in numbers]).astype(np.int32),
    )


def _columns(array: NDArray[Any]) -> NDArray[Any]:
    """Outputs, the last axis, with those of each parameter kind and channel filled up to COLUMNS."""
    apart = array.reshape(*array.shape[:-1], -1, COMPONENTS)
    return _pad(apart, kernels.COLUMNS.value).reshape(*array.shape[:-1], -1)


def _pad(array: NDArray[Any], *sizes: int) -> NDArray[Any]:
    """Zeros after the last axes, up to `sizes`; where that is 0, none."""
    kept = array.ndim - len(sizes)
    missing = [max(0, size - there) for size, there in zip(sizes, array.shape[kept:], strict=True)]
    return np.pad(array, [(0, 0)] * kept + [(0, number) for number in missing])


def _window(band: Band, network: str, channels: int, inputs: int) -> NDArray[np.int32]:
    """The window of a band (kernels.py), for inputs in the order of docs/format.md, 5."""
    own = range(1) if network == "luma" else range(1, 3)
    columns: list[tuple[int, ...]] = []
    for channel in range(own.stop):
        columns += [_neighbour(band, *place, channel, channels) for place in band.neighbours]
    if network == "chroma":
        for dy, dx in band.more_luma:
            phase = f"{(band.row + dy) & 1}{(band.column + dx) & 1}"
            columns.append(_neighbour(band, phase, dy, dx, 0, channels))
    for channel in own:
        for dy, dx in BACK:
            must = max(0, -dx // 2), max(0, dx // 2), max(0, -dy // 2)
            columns.append(_neighbour(band, band.name, dy, dx, channel, channels, must))
    columns += [(0, 0, 0, 1, 0, 0, 0, *_one_of(channel)) for channel in range(own.stop)]
    columns += [(0,) * kernels.WINDOW_ROWS.value] * (inputs - len(columns))
    nearest = [_place(band, *band.neighbours[number]) for number in band.nearest]
    rows = np.array(columns, np.int32).T.ravel()
    return np.concatenate((rows, np.array(nearest, np.int32).T.ravel()))


def _neighbour(
    band: Band, phase: str, dy: int, dx: int, channel: int, channels: int, must: tuple[int, int, int] = (0, 0, 0)
) -> tuple[int, ...]:
    """A column of a window; `must`: TO_LEFT, TO_RIGHT and ABOVE."""
    number, offset = _place(band, phase, dy, dx)
    return number * channels + channel, offset, 1, 0, *must, *_one_of(channel)


def _one_of(channel: int) -> tuple[int, int, int]:
    return int(channel == 0), int(channel == 1), int(channel == 2)


def _place(band: Band, phase: str, dy: int, dx: int) -> tuple[int, int]:
    """The number of a phase, and the place of a neighbour in its skewed planes, from that of the pixel in its own."""
    rows, columns = (band.row + dy - int(phase[0])) // 2, (band.column + dx - int(phase[1])) // 2
    return PHASES.index(phase), (spec.LANE_DELAY * rows + columns) * kernels.PITCH.value + rows
