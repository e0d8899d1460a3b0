"""YCoCg-R, the reversible colour transform of Malvar and Sullivan (2003; docs/format.md, 3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llicti_core.spec import Y_OFFSET


def rgb_to_ycocg(pixels: NDArray[np.unsignedinteger], bits: int = 8) -> NDArray[np.int16]:
    """RGB [..., 3] of `bits` bits, 8 or 10, to int16 Y, Co, Cg [..., 3].

    Of 8 bits Y is in -128..127, Co and Cg in -255..255; each bit more doubles that.
    """
    r, g, b = (pixels[..., i].astype(np.int16) for i in range(3))
    co = r - b
    t = b + (co >> 1)
    cg = g - t
    y = t + (cg >> 1)
    return np.stack((y - y_offset(bits), co, cg), axis=-1)


def ycocg_to_rgb(planes: NDArray[np.int16], bits: int = 8) -> NDArray[np.unsignedinteger]:
    """The inverse of rgb_to_ycocg, modulo 2**bits where the planes are no image's: uint8, or uint16 of 10 bits."""
    y, co, cg = (planes[..., i] for i in range(3))
    t = y + y_offset(bits) - (cg >> 1)
    g = t + cg
    b = t - (co >> 1)
    return _wrapped(np.stack((b + co, g, b), axis=-1), bits)


def grey_to_y(pixels: NDArray[np.unsignedinteger], bits: int = 8) -> NDArray[np.int16]:
    """Grey of any shape and `bits` bits, 8 or 10, to int16 Y: of 8 bits -128..127."""
    return pixels.astype(np.int16) - y_offset(bits)


def y_to_grey(planes: NDArray[np.int16], bits: int = 8) -> NDArray[np.unsignedinteger]:
    """The inverse of grey_to_y, modulo 2**bits: uint8, or uint16 of 10 bits."""
    return _wrapped(planes + y_offset(bits), bits)


def y_offset(bits: int) -> np.int16:
    """What is taken off Y, so that it is about 0 in the middle."""
    return np.int16(Y_OFFSET << (bits - 8))


def _wrapped(values: NDArray[np.int16], bits: int) -> NDArray[np.unsignedinteger]:
    return (values & np.int16((1 << bits) - 1)).astype(np.uint8 if bits == 8 else np.uint16)
