"""The networks of several images in floats, as functions of the numbers that an adaptation changes them by.

As the native search has it (native/src/adapt/twin.cpp, kernels/adapt.inc), with the slopes that PyTorch finds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llicti_core.adaptation import GAIN, HIDDEN_BIAS, SHIFT, WEIGHT, array_places, number_bits, weight_shifts
from llicti_core.engines.cuda.contexts import INPUTS, SETS, Contexts, input_columns
from llicti_core.engines.cuda.launch import put
from llicti_core.models import Model, output_size
from llicti_core.models.blocks import empty
from llicti_core.spec import (
    ACTIVATION_MAX,
    ADAPTED_MIN,
    BANDS,
    BIAS_LEVELS,
    COEFFICIENT_MAX,
    COEFFICIENT_MIN,
    COMPONENTS,
    FINE_SHIFT,
    GAIN_SHIFT,
    HIDDEN_BIAS_SHIFT,
    HIDDEN_SHIFT,
    INPUT_MIN,
    MAX_SPREAD_INDEX,
    OUTPUT_SHIFT,
    WEIGHT_MAX,
)

PRECISION = 1
"""Of adaptations (docs/format.md, 5.2)."""

_SPREAD_ZERO = 32
"""Index of the spread of one pixel value."""


class Array(NamedTuple):
    """An array of an adaptation (adaptation.ArrayPlace), and where its numbers are among those of a network: the first
    of them, and their shape. Weights of first layers are padded to INPUTS."""

    kind: str
    layer: int
    level_set: int
    first: int
    shape: tuple[int, ...]

    @property
    def stop(self) -> int:
        return self.first + math.prod(self.shape)


class Network(NamedTuple):
    """Networks that numbers have changed, in units of their outputs; floats [networks, ...].

    layers: of those that are to be run, weights [out, in] and biases [BIAS_LEVELS, out]; of the last hidden one None in
    place of weights where its products are cached. gain, shift: [SETS, out], of the outputs.
    """

    layers: list[tuple[Tensor | None, Tensor]]
    gain: Tensor
    shift: Tensor


class Twin:
    """The luma or the chroma networks of images, [networks] being bands, image by image.

    Numbers are float [networks, size], or int64 where they are whole; `arrays` says which is which.
    """

    def __init__(self, model: Model, network: str, images: int, device: torch.device) -> None:
        self.network, self.images, self.outputs = network, images, output_size(network)
        _, self.depth = getattr(model.spec, network)
        self.coded = 1 if network == "luma" else 2
        """Channels that it predicts."""
        self.arrays: list[Array] = []
        self.size = 0
        for place in array_places(model.spec, 3, SETS):
            if (place.network, place.band) == (network, BANDS[0].name):
                first_weight = (place.kind, place.layer) == (WEIGHT, 0)
                shape = (place.shape[0], INPUTS[network]) if first_weight else place.shape
                self.arrays.append(Array(place.kind, place.layer, place.level_set, self.size, shape))
                self.size = self.arrays[-1].stop
        columns = [len(input_columns(network, band)) for band in range(len(BANDS))]
        rows = [array.shape[0] for array in self.arrays]
        missing = [
            [(INPUTS[network] - count) * row if (array.kind, array.layer) == (WEIGHT, 0) else 0 for count in columns]
            for array, row in zip(self.arrays, rows, strict=True)
        ]
        self._missing = put(np.tile(np.array(missing, np.int64), (1, images)), device)
        self._number_bits = put(number_bits().T.astype(np.float32), device)
        self._layers = [_layer(model, network, layer, images, device) for layer in range(self.depth + 1)]

    def smooth(self, numbers: Tensor, cached: bool) -> Network:
        """The networks changed by numbers, as a smooth function of them. cached: whether the products of all hidden
        layers with the model's own weights and biases are (see `products`)."""

        def weights(layer: _Layer, array: Array) -> Tensor:
            changed = layer.smooth_weight + layer.step * self._of(numbers, array)
            held = torch.minimum(torch.maximum(changed.detach(), -layer.most), layer.most)
            return changed + (held - changed.detach())

        def biases(layer: _Layer, arrays: list[Array], own: bool) -> Tensor:
            change = _by_level([self._of(numbers, array) for array in arrays])
            change = change * 2.0 ** (HIDDEN_BIAS_SHIFT - PRECISION - HIDDEN_SHIFT)
            return layer.smooth_bias + change if own else change

        return self._network(numbers, cached, weights, biases)

    def exact(self, numbers: Tensor, cached: bool) -> Network:
        """The networks as integers make them of whole numbers."""

        def weights(layer: _Layer, array: Array) -> Tensor:
            return _changed_weights(layer, self._of(numbers, array)) * layer.unit

        def biases(layer: _Layer, arrays: list[Array], own: bool) -> Tensor:
            change = _by_level([_bias_change(layer, self._of(numbers, array)) for array in arrays])
            return (layer.bias + change if own else change) * layer.unit.mT

        return self._network(numbers, cached, weights, biases)

    def products(self, contexts: Contexts) -> Contexts:
        """Contexts with the products of the last hidden layer of the model as it is in place of their inputs."""
        own = self.smooth(torch.zeros_like(self._zeros()), cached=False)
        x = contexts.inputs
        for number, (weight, bias) in enumerate(own.layers[:-1]):
            x = _product(_activated(x) if number else x, weight, bias, contexts)
        return contexts._replace(inputs=x)

    def bits(self, network: Network, contexts: Contexts, share: Tensor) -> Tensor:
        """Bits of each pixel, [networks, n]; 0 where it is not counted.

        share: [networks, coded channels], of probability that the mixture has, the rest being spread evenly over
        values; 0 where a channel is not coded.
        """
        x = contexts.inputs
        for weight, bias in network.layers[:-1]:
            x = _activated(_product(x, weight, bias, contexts))
        fine = _product(x, *network.layers[-1], contexts)
        value = _rounded_through(
            torch.cat(
                [
                    part * network.gain[:, number, None] + network.shift[:, number, None]
                    for number, part in enumerate((fine[:, : contexts.first], fine[:, contexts.first :]))
                ],
                1,
            )
        )
        kinds = value.unflatten(2, (-1, COMPONENTS)).unbind(2)
        bits = torch.zeros_like(contexts.residual)
        for c in range(self.coded):
            spread, mean, logit = (kinds[kind * self.coded + c] for kind in range(3))
            mean = mean / 16
            if c:
                coefficient = kinds[-1].clamp(COEFFICIENT_MIN, COEFFICIENT_MAX)
                mean = mean + coefficient / 64 * contexts.residual.unsqueeze(2)
            edges = contexts.upper[:, :, c, None], contexts.lower[:, :, c, None]
            likelihood = _likelihood(spread, mean, logit, *edges)
            found = -torch.log2(likelihood * share[:, c, None] + 1 / 65536)
            bits = bits + torch.where(share[:, c, None] > 0, found, 0)
        return bits * contexts.counted

    def cost(self, numbers: Tensor) -> Tensor:
        """Bits that whole numbers take in a file, about: float [networks]."""
        total = torch.zeros(len(numbers), device=numbers.device)
        for array, missing in zip(self.arrays, self._missing, strict=True):
            part = numbers[:, array.first : array.stop] - ADAPTED_MIN
            counts = torch.zeros(len(numbers), 256, device=numbers.device)
            counts.scatter_add_(1, part, torch.ones_like(part, dtype=torch.float32))
            counts[:, -ADAPTED_MIN] -= missing
            bits = 8 + (counts @ self._number_bits).amin(1)
            total += torch.where((part != -ADAPTED_MIN).any(1), bits, 0)
        return total

    def within_bounds(self, numbers: Tensor) -> Tensor:
        """Whole numbers, with 0 for all those of an output whose totals might overflow (docs/format.md, 7.3)."""
        numbers = numbers.clone()
        for number, layer in enumerate(self._layers):
            weights, biases = self.arrays_of(WEIGHT, number), self.arrays_of(HIDDEN_BIAS, number)
            reach = _changed_weights(layer, self._of(numbers, weights[0])).abs().sum(2)
            bias = layer.bias
            if biases:
                bias = bias + _by_level([_bias_change(layer, self._of(numbers, array)) for array in biases])
            reach = reach * (ACTIVATION_MAX if number else -INPUT_MIN) + bias.abs().amax(1)
            fits = (3 * reach < 2**31) & (reach * layer.multiplier.squeeze(2) < 2**31 - 2**HIDDEN_SHIFT)
            for array in weights + biases:
                part = self._of(numbers, array)
                part *= fits.view(*fits.shape, *(1,) * (part.ndim - 2))
        return numbers

    def of_band(self, numbers: np.ndarray, band: int) -> list[np.ndarray]:
        """The arrays of a network of `band` as a file has them, of its numbers [size]."""
        arrays = [numbers[array.first : array.stop].reshape(array.shape) for array in self.arrays]
        arrays[0] = arrays[0][:, input_columns(self.network, band)]
        return arrays

    def _zeros(self) -> Tensor:
        return torch.zeros(self.images * len(BANDS), self.size, device=self._number_bits.device)

    def arrays_of(self, kind: str, layer: int) -> list[Array]:
        """The arrays of a kind that change a layer, by their set."""
        return [array for array in self.arrays if (array.kind, array.layer) == (kind, layer)]

    @staticmethod
    def _of(numbers: Tensor, array: Array) -> Tensor:
        """The numbers of an array, [networks, ...]."""
        return numbers[:, array.first : array.stop].unflatten(1, array.shape)

    def _network(
        self,
        numbers: Tensor,
        cached: bool,
        weights: Callable[[_Layer, Array], Tensor],
        biases: Callable[[_Layer, list[Array], bool], Tensor],
    ) -> Network:
        layers: list[tuple[Tensor | None, Tensor]] = []
        for number in range(self.depth - 1 if cached else 0, self.depth):
            layer = self._layers[number]
            weight = None if cached else weights(layer, *self.arrays_of(WEIGHT, number))
            layers.append((weight, biases(layer, self.arrays_of(HIDDEN_BIAS, number), not cached)))
        last = self._layers[-1]
        layers.append((weights(last, *self.arrays_of(WEIGHT, self.depth)), last.smooth_bias))
        gain, shift = (
            torch.stack([self._of(numbers, array) for array in self.arrays_of(kind, self.depth)], 1)
            for kind in (GAIN, SHIFT)
        )
        return Network(layers, ((1 << GAIN_SHIFT) + gain) / (1 << GAIN_SHIFT + FINE_SHIFT), shift / 2)


class _Layer(NamedTuple):
    """A layer of the model as it is, for every network. weight: int64 [networks, out, in]. bias: int64 [networks,
    BIAS_LEVELS, out]. multiplier: int64 [networks, out, 1]. exponent: int64 [out, 1], of a change of 1 in weights.
    unit, step: floats, what a weight of 1 is in units of the layer's outputs, and what a change of 1 is of each weight:
    0 in empty blocks, which kernels skip, so that they are not searched. smooth_weight, smooth_bias, most: weights and
    biases in these units, and the greatest weight."""

    weight: Tensor
    bias: Tensor
    multiplier: Tensor
    exponent: Tensor
    unit: Tensor
    step: Tensor
    smooth_weight: Tensor
    smooth_bias: Tensor
    most: Tensor


def _layer(model: Model, network: str, number: int, images: int, device: torch.device) -> _Layer:
    weights, biases, multipliers, searched = [], [], [], []
    for index, band in enumerate(BANDS):
        layers = list(model.layers(network, band.name))
        weight, bias, multiplier = (np.asarray(part).astype(np.int64) for part in layers[number])
        open_weights = ~empty(weight)
        if number == 0:
            columns = input_columns(network, index)
            weight, open_weights = (_padded(part, columns, INPUTS[network]) for part in (weight, open_weights))
        weights.append(weight)
        searched.append(open_weights)
        biases.append(np.broadcast_to(bias, (BIAS_LEVELS, len(weight))))
        multipliers.append(multiplier[:, np.newaxis])
    last = number == len(layers) - 1
    exponent = weight_shifts(network, number, last, len(weights[0]))[:, np.newaxis] - PRECISION
    shift = OUTPUT_SHIFT if last else HIDDEN_SHIFT
    on = partial(put, device=device)
    weight, bias, multiplier = (
        on(np.tile(np.stack(parts), (images, 1, 1))) for parts in (weights, biases, multipliers)
    )
    step = 2.0**exponent / 2**shift * np.tile(np.stack(searched), (images, 1, 1))
    unit = multiplier.float() / 2**shift
    smooth = weight * unit, bias * unit.mT, WEIGHT_MAX * unit
    return _Layer(weight, bias, multiplier, on(exponent), unit, on(step.astype(np.float32)), *smooth)


def _padded(values: NDArray[Any], columns: list[int], inputs: int) -> NDArray[Any]:
    """Values [out, columns] as [out, inputs], 0 where there is no column."""
    padded = np.zeros((len(values), inputs), values.dtype)
    padded[:, columns] = values
    return padded


def _changed_weights(layer: _Layer, numbers: Tensor) -> Tensor:
    change = torch.div((numbers << layer.exponent) + (layer.multiplier >> 1), layer.multiplier, rounding_mode="floor")
    return (layer.weight + change).clamp(-WEIGHT_MAX, WEIGHT_MAX)


def _bias_change(layer: _Layer, numbers: Tensor) -> Tensor:
    """What a hidden bias changes by, [networks, out]."""
    multiplier = layer.multiplier.squeeze(2)
    shifted = (numbers << HIDDEN_BIAS_SHIFT - PRECISION) + (multiplier >> 1)
    return torch.div(shifted, multiplier, rounding_mode="floor")


def _by_level(sets: list[Tensor]) -> Tensor:
    """Of sets [networks, out], that of each level: [networks, BIAS_LEVELS, out]."""
    return torch.stack([sets[min(level, SETS - 1)] for level in range(BIAS_LEVELS)], 1)


def _product(x: Tensor, weight: Tensor | None, bias: Tensor, contexts: Contexts) -> Tensor:
    """Products of a layer, with the bias of each pixel's level."""
    if weight is None:
        return torch.baddbmm(x, contexts.levels, bias)
    return torch.bmm(torch.cat((x, contexts.levels), 2), torch.cat((weight.mT, bias), 1))


def _rounded_through(x: Tensor) -> Tensor:
    """Rounding whose slope is one."""
    return x + (torch.round(x) - x).detach()


def _activated(x: Tensor) -> Tensor:
    """Activations, rounded; the slope is one where nothing was cut off."""
    return torch.nn.functional.hardtanh(_rounded_through(x), 0.0, float(ACTIVATION_MAX))


def _likelihood(spread: Tensor, mean: Tensor, logit: Tensor, upper: Tensor, lower: Tensor) -> Tensor:
    """What a mixture gives to the interval from `lower` to `upper`: spread, mean, logit are [..., COMPONENTS]."""
    inverse = torch.exp2((_SPREAD_ZERO - spread.clamp(0, MAX_SPREAD_INDEX)) / 8)
    above, below = upper - mean, lower - mean
    # Taken in the lower tail, where floats are exact.
    mirrored = above + below > 0
    first, last = torch.where(mirrored, -above, below), torch.where(mirrored, -below, above)
    mass = torch.sigmoid(last * inverse) - torch.sigmoid(first * inverse)
    return (torch.softmax(logit * (math.log(2) / 16), 2) * mass).sum(2)
