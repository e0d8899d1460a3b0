"""`llicti thumbnail`: a small PNG of a file, for file managers, whose folders may hold anything."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

import llicti_core
from llicti_plugin.cli import batch

_LIMITS = llicti_core.DecodeOptions(max_bytes=2**30)
"""For what Pillow has no mode for. What it has one for is limited by Image.MAX_IMAGE_PIXELS, to as many pixels."""

_COLORS = ("L", "LA", "RGB", "RGBA")


def file(path: str, target: str, size: int) -> None:
    """Write a PNG of the first image in `path`: upright, in 8 bits, no side longer than `size`, and never enlarged.

    Of a photograph no more is decoded than that takes. Raises OSError, LLCError and Failure, and Pillow's
    DecompressionBombError where the image is too large.
    """
    image = ImageOps.exif_transpose(_image(path, size))
    if image.mode not in _COLORS:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    image.thumbnail((size, size))
    profile = image.info.get("icc_profile")
    image.info = {}  # nothing else that the file tells belongs into a file manager's cache
    data = io.BytesIO()
    image.save(data, "PNG", icc_profile=profile)
    batch.Targets(target, force=True, skip_existing=False).write(target, data.getbuffer())


def _image(path: str, size: int) -> Image.Image:
    """The first image of a file, at twice `size` or more where it is as large."""
    try:
        image = Image.open(path, formats=("LLC",))
    except UnidentifiedImageError:  # Pillow has no mode for it; or it is no file of ours, as is said then
        with llicti_core.open(path) as opened:
            return _from_numbers(opened[0].decode(options=_LIMITS), size)
    with image:
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            return _from_numbers(np.asarray(image), size)
        image.draft(None, (2 * size, 2 * size))
        image.load()
    return image


def _from_numbers(pixels: NDArray[Any], size: int) -> Image.Image:
    """Some of the pixels, numbers of any type and range, in 8 bits. Raises Failure where they are no colors.

    Unsigned integers are divided by a power of two, so that black stays black; of others the range becomes 0 to 255.
    """
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if channels > len(_COLORS):
        msg = f"{channels} channels make no picture"
        raise batch.Failure(msg)
    step = max(1, max(pixels.shape[:2]) // (4 * size))
    pixels = pixels[::step, ::step].reshape(-(-pixels.shape[0] // step), -(-pixels.shape[1] // step), channels)
    if pixels.dtype.kind == "u":
        shown = pixels >> max(0, int(pixels.max()).bit_length() - 8)
    else:
        numbers = pixels.astype(np.float64)
        finite = numbers[np.isfinite(numbers)]
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            shares = np.nan_to_num((numbers - low) / ((high - low) or 1), nan=0.0)
        shown = shares.clip(0, 1) * 255
    mode = _COLORS[channels - 1]
    return Image.frombytes(mode, (pixels.shape[1], pixels.shape[0]), shown.astype(np.uint8).tobytes())
