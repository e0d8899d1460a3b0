"""Models as the kernels want them (kernels._hidden), and the tables of the mixture, on a device."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llicti_core import spec
from llicti_core.adaptation import AdaptedParameters, unpacked
from llicti_core.engines.cuda import kernels
from llicti_core.models import Model, input_size
from llicti_core.spec import BANDS, LEVELS, Band

LEAST = 32
"""Tensor cores multiply bytes in rows of at least this many."""

_CHANNELS = 3
_PADDING = 6
_KEPT = 8


class PackedBand(NamedTuple):
    """The network of a band: see kernels.py for `weights` int8, `numbers` int32 and `window` int32 [6, inputs]."""

    weights: Tensor
    numbers: Tensor
    window: Tensor
    inputs: int


class PackedModel(NamedTuple):
    """`model`, its width padded to a power of two, its depth, and the tables of docs/format.md, 6.1, int32."""

    model: Model
    width: int
    depth: int
    bands: list[PackedBand]
    exponential: Tensor
    mantissas: Tensor
    tail: Tensor

    def hidden_bias_deltas(self, adaptations: Sequence[AdaptedParameters]) -> NDArray[np.int32]:
        """What the adaptations of pictures add to biases, [pictures, 5, 3, width]."""
        deltas = np.zeros((len(adaptations), LEVELS, len(BANDS), self.width), np.int32)
        for rows, stored in zip(deltas, adaptations, strict=True):
            delta = unpacked(stored, self.model).hidden_bias_delta
            rows[: len(delta), :, : delta.shape[-1]] = delta
        return deltas


_packed: OrderedDict[tuple[bytes, torch.device], PackedModel] = OrderedDict()


def pack(model: Model, device: torch.device) -> PackedModel:
    """`model` on `device`; the last few are kept there."""
    key = (model.identity, device)
    if key not in _packed:
        width = _padded(model.spec.width)
        tail = np.array(spec.CDF_TAIL)
        knots = tail[:-1] * 65536 + tail[:-1] - tail[1:]
        numbers = (spec.WEIGHT_EXP, spec.SPREAD_MANTISSA, knots)
        _packed[key] = PackedModel(
            model,
            width,
            model.spec.depth,
            [_pack_band(model, band, width, device) for band in BANDS],
            *(_on(device, np.array(table, np.int32)) for table in numbers),
        )
        if len(_packed) > _KEPT:
            _packed.popitem(last=False)
    return _packed[key]


def _on(device: torch.device, array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def _padded(size: int) -> int:
    return max(LEAST, 1 << (size - 1).bit_length())


def _pack_band(model: Model, band: Band, width: int, device: torch.device) -> PackedBand:
    """Padding has weights, biases and multipliers of 0, so that its activations and what they add are 0."""
    inputs = _padded(input_size(len(band.neighbours)))
    weights: list[NDArray[Any]] = []
    numbers: list[NDArray[Any]] = []
    for index, layer in enumerate(model.layers(band.name)):
        weight, bias, multiplier = (np.asarray(part) for part in layer)
        rows = len(weight) if index == model.spec.depth else width
        weights.append(_pad(weight, rows, width if index else inputs).ravel())
        numbers += [_pad(bias, rows).ravel(), _pad(multiplier, rows).ravel()]
    return PackedBand(
        _on(device, np.concatenate(weights)),
        _on(device, np.concatenate(numbers)),
        _on(device, _window(band, inputs)),
        inputs,
    )


def _pad(array: NDArray[Any], *sizes: int) -> NDArray[Any]:
    """Zeros behind the last axes, up to `sizes`."""
    kept = array.ndim - len(sizes)
    missing = [size - there for size, there in zip(sizes, array.shape[kept:], strict=True)]
    return np.pad(array, [(0, 0)] * kept + [(0, number) for number in missing])


def _window(band: Band, inputs: int) -> NDArray[np.int32]:
    """The window of a band (kernels.py), for inputs in the order of docs/format.md, 4.4."""
    window = np.zeros((6, inputs), np.int32)
    window[kernels.CHANNEL.value], window[kernels.NEAREST.value] = _PADDING, -1
    count = len(band.neighbours)
    for channel in range(_CHANNELS):
        for number, (phase, dy, dx) in enumerate(band.neighbours):
            row, column = int(phase[0]), int(phase[1])
            near = channel if number in band.nearest else -1
            place = (band.row + dy - row) // 2, (band.column + dx - column) // 2
            window[:, channel * count + number] = channel, *place, row, column, near
        window[kernels.CHANNEL.value, _CHANNELS * count + channel] = kernels.LEVEL.value + channel
    return window
