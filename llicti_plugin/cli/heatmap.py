"""`llicti info --heatmap`: an image of where the bits of a `.llc` file went."""

from __future__ import annotations

import io
import os

import numpy as np
from PIL import Image, ImageOps

import llicti_core
from llicti_core.atomic import write_whole
from llicti_core.costs import bits_per_pixel
from llicti_plugin.cli import batch, say
from llicti_plugin.cli.batch import Failure

_BRIGHTEST = 99.5
"""The percentile of pixels from which on all are as bright as can be: a few that cost far more would leave the others
dark."""

_NONE, _MIDDLE, _MOST = "#000004", "#b63679", "#fcfdbf"
"""From no bits to the most, as in matplotlib's magma."""


def file(path: str, target: str) -> None:
    """Write a picture of the bits that each pixel of a file's first image took, and print what its colours mean.

    Raises Failure where the target exists or cannot be written; LLCError and OSError.
    """
    if os.path.splitext(target)[1].lower() != ".png":
        msg = "does not end in .png, as what is written here does"
        raise Failure(msg, target)
    if os.path.lexists(target):
        msg = "exists"
        raise Failure(msg, target)
    options = llicti_core.DecodeOptions(max_bytes=None, max_pixels=None)
    with llicti_core.open(batch.readable(path)) as opened:
        bits = bits_per_pixel(opened[0], options)
    most = float(np.percentile(bits, _BRIGHTEST))
    levels = np.clip(bits * (255 / most if most else 0), 0, 255).round().astype(np.uint8)
    picture = io.BytesIO()
    ImageOps.colorize(Image.fromarray(levels), _NONE, _MOST, _MIDDLE).save(picture, "PNG")
    try:
        write_whole(target, picture.getbuffer())
    except OSError as error:
        raise Failure(say.reason(error), target) from error
    say.out(
        f"{say.shown(path)}: {bits.mean(dtype=float):.3f} bits per pixel; "
        f"in {say.shown(target)} black is none and the brightest {most:.1f} or more"
    )
