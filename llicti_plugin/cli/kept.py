"""Metadata on its way to another format: the arguments of Pillow's writers, and what of it has not arrived."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from llicti_core import Metadata
from llicti_plugin.pillow_exif import OF_TIFF_FILES, content, items

_WORDS = {
    "icc_profile": "ICC profile",
    "exif": "Exif",
    "xmp": "XMP",
    "comment": "comment",
    "text": "texts",
    "dpi": "resolution",
    "gamma": "gamma",
    "transparency": "transparent colour",
    "background": "background colour",
    "loop": "number of loops",
    "duration": "duration",
}

_XMP_KEYWORD = "XML:com.adobe.xmp"
_COMMENT_KEYWORD = "Comment"


def _png(metadata: Metadata) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        name: value
        for name in ("icc_profile", "exif", "transparency")
        if (value := getattr(metadata, name)) is not None
    }
    chunks = arguments["pnginfo"] = PngInfo()
    if metadata.gamma is not None and round(metadata.gamma * 1e5) < 2**31:
        chunks.add(b"gAMA", struct.pack(">I", round(metadata.gamma * 1e5)))
    if metadata.dpi and all(value / 0.0254 < 2**31 - 1 for value in metadata.dpi):
        arguments["dpi"] = metadata.dpi
    for name, text in _png_texts(metadata).items():
        # PNG, 11.3.3.2: 1 to 79 characters of Latin-1, spaces only one at a time and within.
        if re.fullmatch(r"(?! )(?!.*  )[ -~\xa1-\xff]{1,79}(?<! )", name) and "\0" not in text:
            chunks.add_itxt(name, text)
    return arguments


def _png_texts(metadata: Metadata) -> dict[str, str]:
    """The texts to write to a PNG file, in which XMP and a comment are texts too."""
    texts = dict(metadata.text or {})
    for keyword, data in ((_XMP_KEYWORD, metadata.xmp), (_COMMENT_KEYWORD, metadata.comment)):
        text = _decoded(data)
        if text is not None:
            texts.setdefault(keyword, text)
    return texts


def _decoded(data: bytes | None) -> str | None:
    try:
        return data.decode() if data else None
    except UnicodeDecodeError:
        return None


def _bmp(metadata: Metadata) -> dict[str, Any]:
    dpi = metadata.dpi
    return {"dpi": dpi} if dpi and all(value * 39.3701 < 2**31 - 1 for value in dpi) else {}


_RESOLUTION_AND_XMP = frozenset((282, 283, 296, 700))
_XMP_TAG, _THUMBNAIL_IFD = 700, 1


def _tiff(metadata: Metadata) -> dict[str, Any]:
    tags = ImageFileDirectory_v2()
    if metadata.exif:
        exif = Image.Exif()
        exif.load(metadata.exif)
        for tag, value in items(exif):
            if tag not in OF_TIFF_FILES - _RESOLUTION_AND_XMP:
                tags[tag] = value
    if metadata.xmp:
        tags[_XMP_TAG] = metadata.xmp
    return {"tiffinfo": tags, "icc_profile": metadata.icc_profile, "dpi": metadata.dpi}


ARGUMENTS: dict[str, Callable[[Metadata], dict[str, Any]]] = {"PNG": _png, "BMP": _bmp, "TIFF": _tiff}
"""How the writer of a format is given the metadata that it holds. Hostile metadata makes them raise anything."""


def lost(data: bytes, form: str, metadata: Sequence[Metadata]) -> list[str]:
    """What a file that was written lacks of the metadata of its images, in words."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    missing: dict[str, None] = {}
    try:
        with Image.open(io.BytesIO(data)) as back:
            for index, wanted in enumerate(metadata):
                back.seek(index)
                missing |= dict.fromkeys(_missing(back, wanted))
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    return list(missing)


def all_words(metadata: Sequence[Metadata]) -> list[str]:
    """All that these images have of metadata, in words."""
    names = [name for each in metadata for name, value in each._asdict().items() if not _is_nothing(value)]
    return [_WORDS.get(name, name) for name in dict.fromkeys(names)]


def _is_nothing(value: object) -> bool:
    return value is None or value in (b"", {})


def _missing(back: Any, wanted: Metadata) -> list[str]:
    """What an image that was read back lacks, in words."""
    words = []
    for name, value in wanted._asdict().items():
        if _is_nothing(value):
            continue
        arrived_by: Callable[[Any, str, Any], bool] = _ARRIVED.get(name, _arrived_equal)
        try:
            arrived = arrived_by(back, name, value)
        except Exception:  # whatever hostile metadata makes a library raise
            arrived = False
        if not arrived:
            words.append(_WORDS.get(name, name))
        elif name == "comment":
            words.append(f"comment (which becomes the text {_COMMENT_KEYWORD})")
    return words


def _arrived_equal(back: Any, name: str, value: object) -> bool:
    return bool(back.info.get(name) == value)


def _arrived_number(back: Any, name: str, value: float | tuple[float, float]) -> bool:
    """Formats count in pixels a metre, or in a hundred thousandth."""
    found, wanted = ((each if isinstance(each, tuple) else (each,)) for each in (back.info[name], value))
    step = 0.013 if name == "dpi" else 5e-6
    return all(abs(float(one) - other) <= max(step, 1e-6 * other) for one, other in zip(found, wanted, strict=True))


def _arrived_text(back: Any, name: str, value: Mapping[str, str]) -> bool:
    texts = getattr(back, "text", {})
    return all(texts.get(keyword) == text for keyword, text in value.items())


def _arrived_comment(back: Any, name: str, value: bytes) -> bool:
    return _arrived_text(back, name, {_COMMENT_KEYWORD: value.decode()})


def _arrived_xmp(back: Any, name: str, value: bytes) -> bool:
    xmp = back.info.get("xmp")
    return (xmp.encode() if isinstance(xmp, str) else xmp) == value


def _arrived_exif(back: Any, name: str, value: bytes) -> bool:
    if back.format == "PNG":
        return _plain(back.info.get("exif", b"")) == _plain(value)
    wanted, found = Image.Exif(), back.getexif()
    wanted.load(value)
    entries = content(wanted)
    return bool(entries) and set(entries) <= set(content(found)) and not wanted.get_ifd(_THUMBNAIL_IFD)


def _plain(exif: bytes) -> bytes:
    return exif.removeprefix(b"Exif\0\0")


_ARRIVED: dict[str, Callable[[Any, str, Any], bool]] = {
    "comment": _arrived_comment,
    "dpi": _arrived_number,
    "gamma": _arrived_number,
    "exif": _arrived_exif,
    "text": _arrived_text,
    "xmp": _arrived_xmp,
}
"""How to find out whether what formats store in ways of their own has arrived."""
