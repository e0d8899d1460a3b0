"""What is equal everywhere in a channel group's values: its pixels, its channels, or another group's values."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FEW_ROWS = 61
"""Each of so many rows is looked at first. The first rows alone are often those of a frame around the picture."""


def is_constant(values: NDArray[np.unsignedinteger]) -> bool:
    """Whether all pixels of `values` [height, width, channels] are equal."""
    return _everywhere(lambda part: bool((part == values[0, 0]).all()), values)


def channels_equal(values: NDArray[np.unsignedinteger]) -> bool:
    """Whether `values` [height, width, channels] have several channels, which are equal everywhere."""
    import numpy as np

    return values.shape[2] > 1 and _everywhere(lambda part: np.array_equal(part[..., :-1], part[..., 1:]), values)


def same(a: NDArray[np.unsignedinteger], b: NDArray[np.unsignedinteger]) -> bool:
    """Whether two arrays have the same shape and values."""
    import numpy as np

    return a.shape == b.shape and _everywhere(np.array_equal, a, b)


def _everywhere(holds: Callable[..., bool], *values: NDArray[np.unsignedinteger]) -> bool:
    """Whether something holds for all rows of `values`; a few rows are looked at first, and mostly tell that not."""
    return all(holds(*(array[::step] for array in values)) for step in (_FEW_ROWS, 1))
