"""From a trained network to the integers that engines run."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray

from llicti_core.models.registry import Model
from llicti_core.spec import BANDS
from llicti_core.training.network import KINDS, BandNetworks, Network


def export(network: Network, name: str) -> Model:
    """The integer model of `network`, checked. Raises ValueError where an accumulator could overflow."""
    tensors: dict[str, NDArray[np.generic]] = {}
    network = copy.deepcopy(network).cpu()
    with torch.no_grad():
        for kind in KINDS:
            for index, band in enumerate(BANDS):
                networks: BandNetworks = getattr(network, kind)
                for layer in range(len(networks.weights)):
                    for key, value in _integer_layer(networks, index, layer).items():
                        tensors[f"{kind}.{band.name}.{layer}.{key}"] = value
    model = Model(network.spec(name), tensors)
    model.check_bounds()
    return model


def _integer_layer(networks: BandNetworks, band: int, layer: int) -> dict[str, NDArray[np.generic]]:
    """Weight, bias and multiplier of one layer, as `llicti_core.models.registry.Layer` describes them."""
    unit, shift = networks.layer_units(layer)
    weight = (networks.weights[layer] * unit)[band].double()
    if layer == 0:
        weight = weight[:, networks.columns[band]]
    step = networks.step(layer)[band].double()
    bias = networks.integer_bias(layer)[band].double()
    return {
        "weight": torch.round(weight / step).clamp(-127, 127).to(torch.int8).numpy(),
        "bias": torch.round(bias / step.squeeze(1)).to(torch.int32).numpy(),
        "multiplier": torch.round(step.squeeze(1) * 2**shift).to(torch.int32).numpy(),
    }
