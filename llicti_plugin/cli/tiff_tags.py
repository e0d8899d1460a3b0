"""What of a page of a TIFF file Pillow passes over: pictures beside it, and tags that it cannot read or write."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from PIL.ExifTags import GPSTAGS, IFD, TAGS, Base

from llicti_plugin.pillow_exif import MAIN_DIRECTORY, OF_TIFF_FILES, kept_tags

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

SUB_DIRECTORIES = 330
SUB_DIRECTORIES_NOTE = "pictures in sub-directories (tag 330) are not stored"

_NAMES = {MAIN_DIRECTORY: TAGS, IFD.Exif: TAGS, IFD.GPSInfo: GPSTAGS}

_POINTERS = {MAIN_DIRECTORY: (IFD.Exif, IFD.GPSInfo), IFD.Exif: (IFD.Interop,)}
"""The tags of a directory that point to those of Exif, which are kept with it."""

_TYPES_OF_DIRECTORIES = (13, 18)
"""IFD and, in BigTIFF, IFD8: where another directory is, which nothing but `_POINTERS` says how to keep."""

_NOT_LOST = OF_TIFF_FILES | {Base.Orientation}
"""Tags of the main directory that say how pixels are stored: these come back as they are shown."""

_Tag = tuple[tuple[int, int], int]


def left_out(im: ImageFile, file: IO[bytes]) -> Iterator[str]:
    """Notes on what of the page that `im` shows is not stored. file: the same TIFF file, which can seek."""
    tags = dict(_tags(file, im.tag_v2.offset) or ())  # type: ignore[attr-defined]
    if (MAIN_DIRECTORY, SUB_DIRECTORIES) in tags:
        yield SUB_DIRECTORIES_NOTE
    kept = kept_tags(im)
    lost = {
        _NAMES.get(directory, {}).get(tag, str(tag)): None
        for (directory, tag), kind in tags.items()
        if directory != MAIN_DIRECTORY or tag not in _NOT_LOST
        if (directory, tag) not in kept or kind in _TYPES_OF_DIRECTORIES
    }
    if lost:
        yield f"not stored: Exif tags {', '.join(lost)}"


def _tags(file: IO[bytes], offset: int, directory: int = MAIN_DIRECTORY) -> list[_Tag] | None:
    """The tags of a directory and of those of Exif below it: their directory and number, and their type.

    Pillow leaves out those of types that it does not know. None where there is no directory.
    """
    file.seek(0)
    head = file.read(4)
    order, big = "<" if head[:2] == b"II" else ">", 43 in head[2:]
    count_form, entry_form = (f"{order}Q", f"{order}HHQ8s") if big else (f"{order}H", f"{order}HHL4s")
    file.seek(offset)
    count = file.read(struct.calcsize(count_form))
    if len(count) < struct.calcsize(count_form):
        return None
    size = struct.calcsize(entry_form)
    entries = file.read(min(struct.unpack(count_form, count)[0], 2**16) * size)
    found: list[_Tag] = []
    for tag, kind, values, data in struct.iter_unpack(entry_form, entries[: len(entries) // size * size]):
        below = None
        if tag in _POINTERS.get(directory, ()):
            (start,) = struct.unpack_from(f"{order}Q" if big and kind in (16, 18) else f"{order}L", data)
            below = _tags(file, start, tag)
        if values:
            found += [((directory, tag), kind)] if below is None else below
    return found
