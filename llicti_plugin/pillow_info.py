"""Metadata of Pillow's images: from `info` and the arguments of `save` to the core's, and back."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import PIL
from PIL import Image

from llicti_core import Metadata, Palette, UnsupportedError
from llicti_core.spec import MAX_METADATA_BYTES, MAX_TEXT_BYTES, MAX_TEXTS

if TYPE_CHECKING:
    from PIL.ImagePalette import ImagePalette
    from PIL.PngImagePlugin import PngInfo

PILLOW = tuple(int(number) for number in PIL.__version__.split(".")[:2])
"""Pillow's major and minor version."""

_PALETTES = ("RGB", "RGBA", "CMYK") if PILLOW >= (12, 2) else ("RGB", "RGBA")
"""What an entry of a palette can be in Pillow, which ends the process where it is told anything else."""

_OF_ANIMATIONS = ("background", "loop", "duration")
"""Other formats' plugins set these in `info` for still images too, where they mean nothing."""

_XMP_TEXT = "XML:com.adobe.xmp"
"""The text that holds XMP in PNG files. Pillow has it in `info` both as a text and as `xmp`."""

_TRANSPARENCIES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("1", "L", "I", "I;16", "I;16B", "I;16L", "I;16N"), (int,)),
    "P": (int, bytes),
    "RGB": (tuple,),
}
"""What `info["transparency"]` can be in the modes that know it."""


class ModelName(str):
    """In `info`, the name of the model that coded a file: no text, and so not stored again."""


def to_info(metadata: Metadata, mode: str, model: str | None) -> dict[str | tuple[int, int], Any]:
    """The entries of `info` for an image of this mode: Pillow's names, and every text under its own."""
    info: dict[str | tuple[int, int], Any] = {"model": ModelName(model)} if model else {}
    info.update(metadata.text or {})
    for name, value in metadata._asdict().items():
        known = _is_transparency(value, mode) if name == "transparency" else name != "text"
        if known and value is not None:
            info[name] = value
    return info


def to_palette(palette: Palette) -> ImagePalette:
    """The same for an image whose palette is yet to be loaded. Raises UnsupportedError where Pillow cannot have it."""
    from PIL import ImagePalette  # which brings three modules of other formats

    if palette.mode not in _PALETTES:
        msg = f"Pillow {PIL.__version__} has no palettes of {palette.mode}; llicti_core.decode reads them"
        raise UnsupportedError(msg)
    try:
        made = ImagePalette.ImagePalette(palette.mode, palette.colors)
    except ValueError as error:
        raise UnsupportedError(str(error)) from error
    made.dirty = 1  # until it is loaded
    return made


def from_image(im: Image.Image, options: Mapping[str, Any], animated: bool) -> Metadata:
    """The metadata to store with an image: what `options`, the arguments of `save`, give; for the rest what it has.

    An argument of None takes away what the image has. What the image has and cannot be stored is left out. Raises
    UnsupportedError where that is so of an argument. animated: whether the image is one of several frames.
    """
    given = _given(im, options)
    found = {name: value for name, value in _found(im, given, animated).items() if name not in given}
    left = MAX_METADATA_BYTES - sum(map(_size, given.values()))
    while found and sum(map(_size, found.values())) > left:
        del found[max(found, key=lambda name: _size(found[name]))]
    return Metadata(**found, **given)


def _found(im: Image.Image, given: Mapping[str, Any], animated: bool) -> dict[str, Any]:
    """The metadata that an image has itself. given: what will be stored in place of some of it."""
    from llicti_plugin.pillow_exif import RAW_PROFILE, exif_now  # not needed to read

    found = {name: im.info.get(name) for name in Metadata._fields if animated or name not in _OF_ANIMATIONS}
    if 34675 not in getattr(im, "tag_v2", (34675,)):
        found["icc_profile"] = None  # Pillow leaves that of an earlier page of a TIFF file there
    found["exif"] = exif_now(im)
    texts = _texts(im)
    if "exif" in given or found["exif"] is not im.info.get("exif"):
        texts.pop(RAW_PROFILE, None)
    xmp = found["xmp"] if isinstance(found["xmp"], bytes) else None
    if _XMP_TEXT in texts and ("xmp" in given or texts[_XMP_TEXT].encode() == xmp):
        del texts[_XMP_TEXT]
    found["text"] = texts
    if not _is_transparency(found["transparency"], im.mode):
        del found["transparency"]
    return {name: value for name, value in found.items() if value is not None and is_storable(name, value)}


def _given(im: Image.Image, options: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata among the arguments of `save`."""
    given = {name: options[name] for name in Metadata._fields if name in options and name != "text"}
    if "pnginfo" in options:
        given["text"], xmp = _png_texts(options["pnginfo"])
        if xmp is not None:
            given.setdefault("xmp", xmp)
    if isinstance(given.get("exif"), Image.Exif):
        given["exif"] = given["exif"].tobytes()
    for name in ("xmp", "comment"):
        if isinstance(given.get(name), str):
            given[name] = given[name].encode()
    if isinstance(given.get("transparency"), list):
        given["transparency"] = tuple(given["transparency"])
    transparency = given.get("transparency")
    if transparency is not None and not _is_transparency(transparency, im.mode):
        msg = f"cannot store transparency {transparency!r:.80} with mode {im.mode}"
        raise UnsupportedError(msg)
    return given


def _is_transparency(value: object, mode: str) -> bool:
    if mode == "P" and isinstance(value, int) and value > 255:
        return False
    if isinstance(value, tuple) and len(value) != 3:
        return False
    return isinstance(value, _TRANSPARENCIES.get(mode, ()))


def is_storable(name: str, value: object) -> bool:
    """Whether `value` can be stored as `name`. A string is a text that happens to have that name."""
    if name == "text" or isinstance(value, str):
        return name == "text"  # those that cannot be stored have been left out
    if name in ("icc_profile", "exif", "xmp", "comment"):
        return isinstance(value, bytes)
    try:
        Metadata(**{name: value}).sections()  # type: ignore[arg-type]
    except Exception:  # of any kind: in `info` there may be anything
        return False
    return True


def _size(value: object) -> int:
    """How many bytes some metadata may take in a file, at most."""
    if isinstance(value, dict):
        return sum(len(name.encode()) + len(text.encode()) + 10 for name, text in value.items()) + 1
    return len(value) + 1 if isinstance(value, (bytes, bytearray, memoryview)) else 64


def _texts(im: Image.Image) -> dict[str, str]:
    """The texts in `info` that can be stored: strings, as the plugins for PNG and others put them there.

    Where an image knows them as its texts, these are among them whatever their names.
    """
    known = getattr(im, "text", None) if im.format == "LLC" or _is_still_png(im) else None
    texts = {name: text for name, text in (known or {}).items() if name in im.info}
    for name, value in im.info.items():
        if isinstance(name, str) and isinstance(value, str) and (name in texts or not _is_plugins(name, value)):
            texts[name] = str(value)
    storable: dict[str, str] = {}
    left = MAX_TEXT_BYTES
    for name, text in texts.items():
        try:
            size = _size({name: text})
        except UnicodeEncodeError:  # such as a file's name that is not UTF-8
            continue
        if size <= left and len(storable) < MAX_TEXTS:
            storable[name] = text
            left -= size
    return storable


def _is_still_png(im: Image.Image) -> bool:
    """Whether an image has come from a PNG file of one frame; others change frames to find their texts."""
    return im.format == "PNG" and not getattr(im, "is_animated", False)


def _is_plugins(name: str, value: str) -> bool:
    """Whether a string in `info` is what a plugin put there to describe a file, not what a file says of its picture."""
    if isinstance(value, ModelName):
        return True
    if name == "compression":
        from PIL.TiffImagePlugin import COMPRESSION_INFO

        return value in COMPRESSION_INFO.values() or value == "tga_rle"
    # What Pillow says of IM files, and pillow-heif of its own.
    return (name == "Image type" and value in Image.MODES) or (name == "icc_profile_type" and len(value) == 4)


def _png_texts(pnginfo: PngInfo | None) -> tuple[dict[str, str], bytes | None]:
    """The texts among the chunks to be written to a PNG file, and the XMP, which such a file has as one of them."""
    from PIL.PngImagePlugin import PngStream

    texts: dict[str, str] = {}
    xmp = None
    for tag, data, *_ in pnginfo.chunks if pnginfo else ():
        if tag in (b"tEXt", b"zTXt", b"iTXt"):
            stream = PngStream(io.BytesIO(data))
            getattr(stream, f"chunk_{tag.decode()}")(0, len(data))
            texts.update({name: str(text) for name, text in stream.im_text.items()})
            if "xmp" in stream.im_info:
                xmp = stream.im_info["xmp"]
                del texts[_XMP_TEXT]
    return texts, xmp
