"""The formats that `decode` writes: which modes each holds, and the proof that a file holds what it was made of."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

from PIL import Image

from llicti_core import Metadata
from llicti_plugin.cli import LOSSLESS, array_files, kept
from llicti_plugin.cli.batch import Failure
from llicti_plugin.cli.pictures import Frame


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata, whose loss is found out
        return _written(frames, suffix)


def _written(frames: Sequence[Frame], suffix: str) -> tuple[bytes, list[str]]:
    if suffix == ".npy":
        return array_files.npy(frames)
    target = _TARGETS[suffix]
    if len(frames) > 1 and not target.several:
        msg = f"{suffix} cannot hold {len(frames)} images; .tif can"
        raise Failure(msg)
    modes = {_general(frame.mode): frame for frame in frames}
    if target is _TIFF and any(mode in array_files.TIFF_MODES for mode in modes):
        return array_files.tiff(frames)
    for mode, frame in modes.items():
        if mode not in target.modes:
            holders = [other for other, row in _TARGETS.items() if mode in row.modes]
            advice = ".tif and .npy can" if not mode else f"{' and '.join(holders)} can" if holders else "no other can"
            msg = f"{suffix} cannot hold {frame.described}; {advice}"
            raise Failure(msg)

    images = [frame.to_pillow() for frame in frames]
    metadata = [frame.metadata for frame in frames]
    try:
        data = _saved(images, target.form, metadata)
        _compare(data, images, suffix)
    except Exception:
        # Something in the metadata, most likely, which one pixel is enough to find out.
        bearable = [_bearable(image, target.form, each) for image, each in zip(images, metadata, strict=True)]
        data = _saved(images, target.form, bearable)
        _compare(data, images, suffix)
    return data, kept.lost(data, target.form, metadata)


def _general(mode: str) -> str:
    return "I;16" if mode.startswith("I;16") else mode


def _saved(images: Sequence[Image.Image], form: str, metadata: Sequence[Metadata]) -> bytes:
    file = io.BytesIO()
    arguments = [kept.ARGUMENTS.get(form, _no_arguments)(each) for each in metadata]
    for image, each in zip(images[1:], arguments[1:], strict=True):
        image.encoderinfo = each
    images[0].save(file, form, save_all=len(images) > 1, append_images=list(images[1:]), **arguments[0])
    return file.getvalue()


def _no_arguments(metadata: Metadata) -> dict[str, object]:
    return {}


def _bearable(image: Image.Image, form: str, metadata: Metadata) -> Metadata:
    """As much of the metadata as the writer and the reader of `form` can take."""
    pixel = image.crop((0, 0, 1, 1))
    found = Metadata()
    for name, value in metadata._asdict().items():
        more = found._replace(**{name: value})
        try:
            _compare(_saved([pixel], form, [more]), [pixel], "")
        except Exception:  # whatever hostile metadata makes a library raise
            continue
        found = more
    return found


def _compare(data: bytes, images: Sequence[Image.Image], suffix: str) -> None:
    """Raises Failure where a file does not hold these images, pixel by pixel and with their modes and palettes."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(io.BytesIO(data)) as back:
            same = getattr(back, "n_frames", 1) == len(images)
            for index, image in enumerate(images if same else ()):
                back.seek(index)
                # Pillow's reader of TIFF turns an image as its tag Orientation says.
                turn = _TURNS.get(back.getexif().get(274, 1)) if back.format == "TIFF" else None
                back.load()
                expected = turn(image) if turn and 274 not in back.getexif() else image
                same = same and _same(back, expected)
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    if not same:
        msg = f"{suffix} does not give back what is written to it, {images[0].mode}"
        raise Failure(msg)


_TURNS: dict[int, Callable[[Image.Image], Image.Image]] = {
    number: lambda image, method=method: image.transpose(method)  # type: ignore[misc]
    for number, method in enumerate(
        (
            Image.Transpose.FLIP_LEFT_RIGHT,
            Image.Transpose.ROTATE_180,
            Image.Transpose.FLIP_TOP_BOTTOM,
            Image.Transpose.TRANSPOSE,
            Image.Transpose.ROTATE_270,
            Image.Transpose.TRANSVERSE,
            Image.Transpose.ROTATE_90,
        ),
        start=2,
    )
}
"""What Exif's orientations ask for."""


def _same(a: Image.Image, b: Image.Image) -> bool:
    if (_general(a.mode), a.size) != (_general(b.mode), b.size) or _samples(a) != _samples(b):
        return False
    if b.mode not in ("P", "PA"):
        return True
    assert b.palette is not None
    alpha = b.palette.mode == "RGBA"
    colours = _colours(b, alpha)
    return _colours(a, alpha)[: len(colours)] == colours


def _samples(image: Image.Image) -> bytes:
    return image.tobytes("raw", "I;16") if image.mode == "I;16B" else image.tobytes()


def _colours(image: Image.Image, alpha: bool) -> list[tuple[int, ...]]:
    """The entries of a palette, with alpha where that is asked for; files have that as a transparency."""
    assert image.palette is not None
    if alpha and image.palette.mode == "RGBA":
        values, size = image.getpalette("RGBA") or [], 4
    else:
        values, size = image.getpalette("RGB") or [], 3
    colours = [tuple(values[at : at + size]) for at in range(0, len(values), size)]
    if not alpha or size == 4:
        return colours
    alphas = image.info.get("transparency", b"")
    alphas = alphas if isinstance(alphas, bytes) else b"\xff" * alphas + b"\0"
    return [(*colour, opacity) for colour, opacity in zip(colours, alphas.ljust(len(colours), b"\xff"), strict=False)]
