"""The formats that `decode` writes, and which modes each holds."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from llicti_core import ImageInfo
from llicti_plugin.cli import LOSSLESS, array_files, pillow_files
from llicti_plugin.cli.batch import Failure
from llicti_plugin.cli.pictures import Frame, general_mode


class Target(NamedTuple):
    """What a format is to Pillow, and holds. several: whether of more than one image."""

    form: str
    modes: frozenset[str]
    several: bool = False


_TIFF = Target(
    "TIFF",
    frozenset(("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F")),
    several=True,
)
_TARGETS = {
    ".png": Target("PNG", frozenset(("1", "L", "LA", "P", "RGB", "RGBA", "I;16"))),
    ".bmp": Target("BMP", frozenset(("1", "L", "P", "RGB"))),
    ".pbm": Target("PPM", frozenset(("1",))),
    ".pgm": Target("PPM", frozenset(("L",))),
    ".ppm": Target("PPM", frozenset(("RGB",))),
    ".pnm": Target("PPM", frozenset(("1", "L", "RGB"))),
    ".tif": _TIFF,
    ".tiff": _TIFF,
}
"""By suffix. Missing are modes that come back as others: I from PNG with 16 bits, RGBX from TIFF as RGB."""

DEFAULTS = (".png", ".tif")
"""What is written where nobody says: the first of these that holds the image."""


def expected(info: ImageInfo) -> str:
    """Which of DEFAULTS a file that begins with this image is most likely written to."""
    png, tiff = DEFAULTS
    held = general_mode(info.mode) in _TARGETS[png].modes
    held = held or array_files.is_deep_png(info.mode, info.dtype, info.channels)
    return png if held and info.n_frames == 1 else tiff


def check_suffix(target: str) -> str:
    """The suffix of a file that is to be written. Raises Failure where that is none of LOSSLESS."""
    suffix = os.path.splitext(target)[1].lower()
    if suffix not in LOSSLESS:
        msg = f"only {', '.join(LOSSLESS)} are written, which are always lossless"
        raise Failure(msg, target)
    return suffix


def written(frames: Sequence[Frame], suffix: str) -> tuple[bytes, list[str]]:
    """A file of that format which holds these images, read back and compared; and the metadata that it lacks, in words.

    Raises Failure where the format cannot hold them.
    """
    # Libraries warn of metadata, whose loss is found out here.
    disabled = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _written(frames, suffix)
    finally:
        logging.disable(disabled)


def _written(frames: Sequence[Frame], suffix: str) -> tuple[bytes, list[str]]:
    if suffix == ".npy":
        return array_files.npy(frames)
    target = _TARGETS[suffix]
    if len(frames) > 1 and not target.several:
        msg = f"{suffix} cannot hold {len(frames)} images; .tif can"
        raise Failure(msg)
    modes = {general_mode(frame.mode): frame for frame in frames}
    first = frames[0]
    if suffix == ".png" and array_files.is_deep_png(first.mode, first.pixels.dtype.name, first.channels):
        return array_files.png(first)
    if target is _TIFF and any(mode in array_files.TIFF_MODES for mode in modes):
        return array_files.tiff(frames)
    for mode, frame in modes.items():
        if mode not in target.modes:
            holders = [other for other, row in _TARGETS.items() if mode in row.modes]
            advice = ".tif and .npy can" if not mode else f"{' and '.join(holders)} can" if holders else "no other can"
            msg = f"{suffix} cannot hold {frame.described}; {advice}"
            raise Failure(msg)

    return pillow_files.written(frames, target.form)
