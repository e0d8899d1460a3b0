"""From a trained network to the integers that engines run."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray

from llicti_core.models import Model, ModelSpec
from llicti_core.training.network import ACTIVATION_UNIT, FINE, BandNetwork, Network, grid_step


def export(network: Network, name: str) -> Model:
    """The integer model of `network`, checked. Raises ValueError where an accumulator could overflow."""
    tensors: dict[str, NDArray[np.generic]] = {}
    network = copy.deepcopy(network).cpu()
    with torch.no_grad():
        for band, module in network.bands.items():
            assert isinstance(module, BandNetwork)
            for layer in range(len(module.weights)):
                for key, value in _integer_layer(module, layer).items():
                    tensors[f"{band}.{layer}.{key}"] = value
    model = Model(ModelSpec(name, network.width, network.depth), tensors)
    model.check_bounds()
    return model


def _integer_layer(module: BandNetwork, layer: int) -> dict[str, NDArray[np.generic]]:
    """Weight, bias and multiplier of one layer, as `llicti_core.models.Layer` describes them."""
    unit, shift = module.layer_units(layer)
    weight = module.weights[layer].double() * unit
    step = grid_step(weight, shift, layer == 0).double()
    last = layer == len(module.weights) - 1
    if layer == 0:
        bias = module.scale_bias.double() * ACTIVATION_UNIT
    elif last:
        bias = module.biases[layer - 1].double() * module.units.double() * FINE
    else:
        bias = module.biases[layer - 1].double() * ACTIVATION_UNIT
    return {
        "weight": torch.round(weight / step).clamp(-127, 127).to(torch.int8).numpy(),
        "bias": torch.round(bias / step.squeeze(1)).to(torch.int32).numpy(),
        "multiplier": torch.round(step.squeeze(1) * 2**shift).to(torch.int32).numpy(),
    }
