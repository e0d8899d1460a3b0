"""What imageio's readers make of the samples in a file: the colors of a palette, another mode, the picture upright."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from llicti_core import ImageInfo, Metadata, Palette

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TURNED = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, 3),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}
"""How to make an image upright whose Exif says that it has this orientation."""


def shape(info: ImageInfo, palette: Palette | None) -> tuple[int, ...]:
    """The shape of an image in colors: (height, width) or (height, width, channels)."""
    return info.shape if palette is None else (info.height, info.width, _channels(info, palette))


def in_colors(pixels: NDArray[Any], info: ImageInfo, palette: Palette | None) -> NDArray[Any]:
    """`pixels` as they are stored, uint8 [height, width (, 2)] where there is a palette, as colors.

    An index beyond the palette is black, as in Pillow.
    """
    if palette is None:
        return pixels
    colors = table(palette)
    every = np.zeros((256, colors.shape[1]), np.uint8)
    every[:, 3:] = 255
    every[: len(colors)] = colors
    if info.mode == "P":
        found: NDArray[Any] = every[pixels]
        return found
    return np.dstack([every[pixels[..., 0], :3], pixels[..., 1]])


def table(palette: Palette) -> NDArray[np.uint8]:
    """The colors of a palette, [entries, channels]."""
    return np.frombuffer(palette.colors, np.uint8).reshape(-1, len(palette.mode))


def _channels(info: ImageInfo, palette: Palette) -> int:
    return len(palette.mode) if info.mode == "P" else 4


def in_mode(
    pixels: NDArray[Any], info: ImageInfo, palette: Palette | None, metadata: Metadata, mode: str
) -> NDArray[Any]:
    """`pixels` as they are stored, converted by Pillow to one of its modes. Raises ValueError where it cannot."""
    from PIL import Image

    from llicti_plugin.pillow_info import to_info, to_palette

    if not info.mode:
        msg = f"cannot convert {info.channels} channels of {info.dtype} to mode {mode}: Pillow has no mode for them"
        raise ValueError(msg)
    stored, raw = {"1": ("1", "1;8"), "I": ("I", "I;32S"), "F": ("F", "F;32F")}.get(info.mode, (info.mode, info.mode))
    if info.mode.startswith("I;16"):
        stored = raw = "I;16"
    samples = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()
    image = Image.frombytes(stored, pixels.shape[1::-1], samples, "raw", raw)
    if palette:
        image.palette = to_palette(palette)
    image.info = to_info(metadata, info.mode, None)
    return np.array(image.convert(mode))


def upright(pixels: NDArray[Any], metadata: Metadata) -> NDArray[Any]:
    """`pixels` turned as Exif or XMP say. Raises OSError where these cannot be read."""
    from PIL import ExifTags, Image

    image = Image.new("1", (1, 1))
    image.info = {name: blob for name in ("exif", "xmp") if (blob := getattr(metadata, name))}
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception as error:  # of any kind: these hold what anyone put there
        msg = f"the image's Exif cannot be read: {error}"
        raise OSError(msg) from error
    turned = _TURNED.get(orientation)  # type: ignore[arg-type]
    return np.ascontiguousarray(turned(pixels)) if turned else pixels
