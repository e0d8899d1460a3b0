"""Random models and adaptations, as far as the bounds of docs/format.md, 7.3, let them go."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from llicti_core.adaptation import adapted_model, array_places, pack
from llicti_core.engines.base import AdaptedParameters
from llicti_core.errors import FormatError
from llicti_core.models import Model, ModelSpec
from llicti_core.models.blocks import INPUTS, OUTPUTS
from llicti_core.spec import ACTIVATION_MAX, HIDDEN_SHIFT, MAX_PRECISION

Shape = tuple[int, int]


@lru_cache(maxsize=32)
def random_model(
    luma: Shape, chroma: Shape, weight: int, multipliers: tuple[int, int], seed: int, name: str = "random"
) -> Model:
    """A model of random integers as large as the proof against overflow lets them be.

    luma, chroma: width and depth. weight: the greatest magnitude of weights, at most 127. multipliers: their range;
    where a layer's sums are too large for it, they are smaller.
    """
    rng = np.random.default_rng(seed)
    spec = ModelSpec(name, luma, chroma)
    tensors: dict[str, NDArray[np.generic]] = {}
    for key, (shape, form) in spec.tensor_shapes().items():
        kind = key.rsplit(".", 1)[1]
        if kind == "weight":
            tensors[key] = rng.integers(-weight, weight + 1, shape, np.int8)
        elif kind == "bias":
            tensors[key] = rng.integers(-8000, 8001, shape, form)
        else:
            weights, biases = tensors[key.replace(kind, "weight")], tensors[key.replace(kind, "bias")]
            reach = np.abs(weights.astype(np.int64)).sum(axis=1) * (128 if biases.ndim == 2 else ACTIVATION_MAX)
            reach += np.abs(biases.astype(np.int64)).reshape(-1, len(reach)).max(axis=0)
            most = (2**31 - 2**HIDDEN_SHIFT - 1) // (reach + 1)
            tensors[key] = np.clip(rng.integers(*multipliers, shape), 1, np.maximum(most, 1)).astype(form)
    model = Model(spec, tensors)
    model.check_bounds()
    return model


def without_blocks(model: Model, share: float, seed: int) -> Model:
    """The model without so many of the blocks of weights that kernels skip where they are empty."""
    rng = np.random.default_rng(seed)
    tensors = {name: np.asarray(tensor) for name, tensor in model.tensors.items()}
    for name, tensor in tensors.items():
        if name.endswith(".weight"):
            rows, columns = (-(-size // of) for size, of in zip(tensor.shape, (OUTPUTS, INPUTS), strict=True))
            kept = (rng.random((rows, columns)) >= share).repeat(OUTPUTS, 0).repeat(INPUTS, 1)
            tensors[name] = tensor * kept[: tensor.shape[0], : tensor.shape[1]]
    return Model(model.spec, tensors)


def random_adaptation(model: Model, channels: int, sets: int, seed: int = 0) -> AdaptedParameters:
    """A change of the numbers of `model`: some arrays not at all, others little, others by anything, if it may be."""
    rng = np.random.default_rng(seed)
    precision = int(rng.integers(0, MAX_PRECISION + 1))
    places = array_places(model.spec, channels, sets)
    spreads = rng.choice([0.3, 3, 100], len(places))
    drawn = [np.round(rng.laplace(0, spread, place.shape)) for place, spread in zip(places, spreads, strict=True)]
    arrays: list[NDArray[np.int64]] = [np.clip(array, -128, 127).astype(np.int64) for array in drawn]
    arrays = [array * int(rng.integers(0, 2)) for array in arrays]
    while True:
        adapted = pack(arrays, sets, precision, model, channels)
        try:
            adapted_model(model, adapted, channels)
        except FormatError:
            arrays = [array // 2 for array in arrays]
            if not any(array.any() for array in arrays) or all((array >= -1).all() for array in arrays):
                arrays = [np.zeros_like(array) for array in arrays]
        else:
            return adapted
