"""Frames as `decode` takes them from a file, and as Pillow's images."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray
from PIL import Image

import llicti_core
from llicti_plugin.pillow_info import to_palette

_RAW_MODES = {"1": "1;8"}


def general_mode(mode: str) -> str:
    """A mode without the order of bytes that I;16 may state, which is nothing of an image's."""
    return "I;16" if mode.startswith("I;16") else mode


class Frame(NamedTuple):
    """An image: pixels as llicti_core.decode gives them; one of Pillow's modes or none; palette of modes P and PA."""

    pixels: NDArray[Any]
    mode: str
    palette: llicti_core.Palette | None
    metadata: llicti_core.Metadata

    @property
    def channels(self) -> int:
        """How many samples a pixel has."""
        return int(self.pixels.shape[2]) if self.pixels.ndim == 3 else 1

    @property
    def described(self) -> str:
        """What kind of image this is, in words."""
        return f"mode {self.mode}" if self.mode else f"{self.pixels.dtype.name} of {self.channels} channels"

    def to_pillow(self) -> Image.Image:
        """The same as an image that has no metadata, which Pillow's writers would take as they like.

        The image must have a mode. I;16 in any order of bytes becomes that in the processor's. Raises UnsupportedError
        where Pillow cannot have the palette.
        """
        mode = general_mode(self.mode)
        height, width = self.pixels.shape[:2]
        samples = self.pixels.astype("<u2") if mode == "I;16" else self.pixels
        image = Image.frombytes(mode, (width, height), samples.tobytes(), "raw", _RAW_MODES.get(mode, mode))
        if self.palette:
            image.palette = to_palette(self.palette)
            image.load()
        return image
