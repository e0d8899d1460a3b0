"""Images that the tests code: generated ones, and photographs that ship with scikit-image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIZES = [(1, 1), (1, 2), (2, 1), (1, 40), (33, 1), (2, 2), (3, 5), (31, 33), (32, 32), (65, 34)]
"""(height, width): below, at and above the pyramid's step, odd and even."""


def smooth(height: int, width: int, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Gradients with a little noise, uint8 [height, width] where channels is 1, else [height, width, channels]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    slopes = rng.uniform(-1.5, 1.5, (2, channels))
    levels = 128 + y[..., None] * slopes[0] + x[..., None] * slopes[1]
    pixels = np.clip(levels + rng.normal(0, 3, levels.shape), 0, 255).astype(np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Uniform noise of the same shapes."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def ten_bits(pixels: NDArray[np.uint8], seed: int = 0) -> NDArray[np.uint16]:
    """`pixels` with two bits more, of noise."""
    more: NDArray[np.uint16] = np.random.default_rng(seed).integers(0, 4, pixels.shape, np.uint16)
    return pixels.astype(np.uint16) * np.uint16(4) + more


def photograph(height: int = 200, width: int = 300) -> NDArray[np.uint8]:
    """Part of a real photograph, uint8 [height, width, 3]."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[:height, :width])


def deep(height: int, width: int, channels: int) -> NDArray[np.uint16]:
    """Slopes of 16 bits, [height, width, channels], with a little noise on them."""
    y, x = np.mgrid[:height, :width]
    slope = 20000 + 9000 * np.sin(x / 23) + 7000 * np.cos(y / 31)
    scaled = slope[..., np.newaxis] * np.linspace(0.7, 1.3, channels)
    return (scaled + np.random.default_rng(0).normal(0, 60, scaled.shape)).astype(np.uint16)
