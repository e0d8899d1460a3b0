"""The Exif that a Pillow image has now: as it was read, byte for byte, unless the image's `getexif()` was edited."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD

from llicti_plugin.pillow_info import PILLOW

RAW_PROFILE = "Raw profile type exif"
"""The text in which ImageMagick puts Exif into PNG files. Pillow reads Exif from it where `info` has none."""

_DIRECTORIES = (IFD.Exif, IFD.GPSInfo)
"""Directories that a tag of the main one points to."""

MAIN_DIRECTORY = 0
"""In place of the tag that points to a directory: the main one, to which none does."""

_KEEPS_WHAT_IS_DELETED = PILLOW < (12, 0)
"""Whether Pillow still gives a directory that was looked at once the tag that points to it has been deleted."""

OF_TIFF_FILES = frozenset(
    (
        *(254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 284, 288, 289, 290, 291, 292, 293),
        *(317, 320, 322, 323, 324, 325, 326, 327, 328, 330, 332, 333, 334, 336, 337, 338, 339, 347),
        *(512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532),  # JPEG and YCbCr
        *(282, 283, 296, 700, 34675),  # resolution, XMP, ICC profile, which `info` has
    )
)
"""Tags of a TIFF file's main directory that say how its pixels are stored, not what they show."""


def exif_now(im: Image.Image) -> bytes | None:
    """The Exif to store with an image: what `getexif()` gives if it was edited, or `info["exif"]` as it is.

    Of a TIFF file, whose own directory is its Exif, what describes the picture and not the file. None where there is
    none, and where it was taken out of `info`. What Pillow cannot write is left out, as is the thumbnail in an Exif
    that was edited.
    """
    stored = im.info.get("exif")
    stored = stored if isinstance(stored, bytes) else None
    if hasattr(im, "tag_v2"):
        return stored or _of_tiff(im)
    exif = getattr(im, "_exif", None)  # getexif() would parse one that nobody has looked at
    if exif is None or not exif._loaded:
        return stored
    read_from = exif._loaded_exif
    taken_out = stored is None and read_from is not None and RAW_PROFILE not in im.info
    if taken_out or _unchanged(exif, im.info, read_from):
        return stored
    return packed(dict(items(exif)), exif.endian)


def _of_tiff(im: Image.Image) -> bytes | None:
    try:
        exif = im.getexif()
    except Exception:  # of any kind: a directory that Pillow cannot read
        return None
    return packed({tag: value for tag, value in items(exif) if tag not in OF_TIFF_FILES}, exif.endian)


def kept_tags(im: Image.Image) -> set[tuple[int, int]]:
    """Which tags of a TIFF file are in `exif_now(im)` as Pillow reads them: their directory and their number."""
    stored = Image.Exif()
    try:
        read = im.getexif()
        stored.load(exif_now(im) or b"")
        wanted, found = dict(_entries(dict(items(read)))), dict(_entries(dict(items(stored))))
    except Exception:  # of any kind: a directory that Pillow cannot read
        return set()
    return {place for place, value in wanted.items() if found.get(place) == value}


def _entries(tags: Mapping[int, Any], directory: int = MAIN_DIRECTORY) -> Iterator[tuple[tuple[int, int], str]]:
    """Every tag and its value as text, as in `content`, those of further directories under the tag of these."""
    for tag, value in tags.items():
        if isinstance(value, dict):
            yield from _entries(value, int(tag))
        else:
            yield (directory, int(tag)), repr(value)


def _unchanged(exif: Image.Exif, info: Mapping[Any, Any], read_from: bytes | None) -> bool:
    """Whether `exif` says what it did when it was read, or what `info` says now."""
    sources = [dict(info)] if read_from is None else [{**info, "exif": read_from}, dict(info)]
    return any(content(_read(source)) == content(exif) for source in sources)


def _read(info: dict[Any, Any]) -> Image.Exif:
    """The Exif that Pillow reads from `info`; where that is damaged, as much of it as it has when it gives up."""
    im = Image.new("1", (1, 1))
    im.info = info
    try:
        return im.getexif()
    except Exception:  # of any kind
        return im.getexif()


def content(exif: Image.Exif) -> list[tuple[str, str]]:
    """What an Exif says, to be compared: as text, since NaN, which cameras write as 0/0, is not equal to itself."""
    return _as_text({tag: _as_text(value) if isinstance(value, dict) else value for tag, value in items(exif)})


def _as_text(tags: Mapping[Any, Any]) -> list[tuple[str, str]]:
    # A tag may be an int or an enumeration's member, which are equal; or whatever someone took for one.
    return sorted((repr(int(tag) if isinstance(tag, int) else tag), repr(value)) for tag, value in tags.items())


def items(exif: Image.Exif) -> Iterator[tuple[int, Any]]:
    """The tags of the main directory, with the directories that some point to in place of where these are."""
    exif = copy.copy(exif)
    exif._ifds = dict(exif._ifds)  # get_ifd puts an empty directory there for each that it does not find
    for tag in list(exif):
        if tag not in _DIRECTORIES:
            yield tag, exif[tag]
    for tag in _DIRECTORIES:
        if _KEEPS_WHAT_IS_DELETED and _is_deleted(exif, tag):
            continue
        value = exif.get(tag)
        try:
            directory = dict(value if isinstance(value, dict) else exif.get_ifd(tag))
            if IFD.Interop in directory and not isinstance(directory[IFD.Interop], dict):
                directory[IFD.Interop] = dict(exif.get_ifd(IFD.Interop))
        except Exception:  # of any kind: a directory that Pillow cannot read
            continue
        if directory:
            yield tag, directory


def _is_deleted(exif: Image.Exif, tag: int) -> bool:
    """Whether a tag has been deleted that was there when the Exif was read."""
    return tag not in exif and exif._info is not None and tag in exif._info.tagtype


def packed(tags: dict[int, Any], endian: str | None) -> bytes | None:
    """Exif of these tags, without those that Pillow cannot write."""
    if not tags:
        return None
    try:
        return _exif_of(tags, endian).tobytes()
    except Exception:  # of any kind: what tags hold is anyone's
        good = {}
        for tag, value in tags.items():
            try:
                _exif_of({tag: value}, endian).tobytes()
            except Exception:
                continue
            good[tag] = value
        return _exif_of(good, endian).tobytes() if good else None


def _exif_of(tags: dict[int, Any], endian: str | None) -> Image.Exif:
    exif = Image.Exif()
    exif.endian = endian
    for tag, value in tags.items():
        exif[tag] = value
    return exif
