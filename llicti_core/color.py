"""YCoCg-R, the reversible colour transform of Malvar and Sullivan (2003; docs/format.md, 3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llicti_core.spec import Y_OFFSET


def rgb_to_ycocg(pixels: NDArray[np.uint8]) -> NDArray[np.int16]:
    """uint8 RGB [..., 3] to int16 Y, Co, Cg [..., 3]; Y in -128..127, Co and Cg in -255..255."""
    r, g, b = (pixels[..., i].astype(np.int16) for i in range(3))
    co = r - b
    t = b + (co >> 1)
    cg = g - t
    y = t + (cg >> 1)
    return np.stack((y - Y_OFFSET, co, cg), axis=-1)


def ycocg_to_rgb(planes: NDArray[np.int16]) -> NDArray[np.uint8]:
    """The inverse of rgb_to_ycocg, modulo 256 where the planes are no image's."""
    y, co, cg = (planes[..., i] for i in range(3))
    t = y + Y_OFFSET - (cg >> 1)
    g = t + cg
    b = t - (co >> 1)
    return np.stack((b + co, g, b), axis=-1).astype(np.uint8)


def grey_to_y(pixels: NDArray[np.uint8]) -> NDArray[np.int16]:
    """uint8 grey of any shape to int16 Y, -128..127."""
    return pixels.astype(np.int16) - np.int16(Y_OFFSET)


def y_to_grey(planes: NDArray[np.int16]) -> NDArray[np.uint8]:
    """The inverse of grey_to_y, modulo 256."""
    return (planes + np.int16(Y_OFFSET)).astype(np.uint8)
