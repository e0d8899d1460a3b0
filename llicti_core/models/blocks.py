"""Blocks of a layer's weights that kernels multiply together, and so can skip where all of them are 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

INPUTS, OUTPUTS = 4, 2
"""Of a layer, whose weights are a block: what kernels multiply at a time."""


def empty(weight: ArrayLike) -> NDArray[np.bool_]:
    """Which weights are in blocks that hold nothing but 0. weight: [outputs, inputs]."""
    weight = np.asarray(weight)
    outputs, inputs = weight.shape
    rows, columns = -(-outputs // OUTPUTS), -(-inputs // INPUTS)
    filled = np.zeros((rows * OUTPUTS, columns * INPUTS), bool)
    filled[:outputs, :inputs] = weight != 0
    of_blocks = filled.reshape(rows, OUTPUTS, columns, INPUTS).any((1, 3))
    return ~of_blocks.repeat(OUTPUTS, 0).repeat(INPUTS, 1)[:outputs, :inputs]
