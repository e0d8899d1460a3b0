"""Finds the files of a collection: those that are named, those that a pattern names, and the images in folders."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from llicti_plugin.cli import say

STATE = ".llicti"
"""The folder in a destination in which runs keep what they have to know, and where no images are looked for."""

_OTHERS = frozenset((".jxl", ".avif", ".heic", ".heif"))
"""Suffixes of images that Pillow may not know."""

_WITHOUT_PIXELS = frozenset(("BUFR", "EPS", "GRIB", "HDF5", "LLC", "MPEG", "WMF"))
"""Formats of Pillow's that are not looked for in folders: some it only recognises, and drawings have no pixels."""


class Source(NamedTuple):
    """A file to convert. relative: where it is below what was named. error: why it cannot be looked at."""

    path: str
    relative: str
    size: int = 0
    modified: int = 0
    error: str = ""


def missing(sources: Sequence[str]) -> list[str]:
    """Which of these are neither files, nor folders, nor patterns that a name fits."""
    return [source for source in sources if not os.path.lexists(source) and not _fits_any(source)]


def _fits_any(pattern: str) -> bool:
    return glob.has_magic(pattern) and next(glob.iglob(pattern, recursive=True), None) is not None


def find(sources: Sequence[str], suffixes: frozenset[str], destination: str) -> Iterator[Source]:
    """The files, folder by folder in order of name; of folders those with one of `suffixes`, in lower case.

    Folders that are links are left alone, and so is `destination` within a source. What several patterns or folders
    hold comes several times.
    """
    for source in sources:
        if os.path.isdir(source):
            yield from _walk(source, "", suffixes, os.path.realpath(destination))
        elif not os.path.lexists(source) and glob.has_magic(source):
            root = _fixed_part(source)
            for path in glob.iglob(source, recursive=True):
                relative = os.path.relpath(path, root)
                if os.path.isdir(path):
                    yield from _walk(path, relative, suffixes, os.path.realpath(destination))
                else:
                    yield _looked_at(path, relative)
        else:
            yield _looked_at(source, os.path.basename(source))


def _fixed_part(pattern: str) -> str:
    """The folder that all files which fit a pattern are in."""
    folder = os.path.dirname(pattern)
    while glob.has_magic(folder):
        folder = os.path.dirname(folder)
    return folder or os.curdir


def _walk(folder: str, below: str, suffixes: frozenset[str], destination: str) -> Iterator[Source]:
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError as error:
        yield Source(os.path.abspath(folder), below, error=say.reason(error))
        return
    for name, is_folder in found:
        path, relative = os.path.join(folder, name), os.path.join(below, name)
        if is_folder:
            if name != STATE and os.path.realpath(path) != destination:
                yield from _walk(path, relative, suffixes, destination)
        elif os.path.splitext(name)[1].lower() in suffixes:
            yield _looked_at(path, relative)


def _looked_at(path: str, relative: str) -> Source:
    try:
        found = os.stat(path)
    except OSError as error:
        return Source(os.path.abspath(path), relative, error=say.reason(error))
    if not stat.S_ISREG(found.st_mode):
        return Source(os.path.abspath(path), relative, error="is not a regular file")
    return Source(os.path.abspath(path), relative, found.st_size, found.st_mtime_ns)


def suffixes(to: str) -> frozenset[str]:
    """The suffixes of files in folders that can be converted to `to`."""
    if to != "llc":
        return frozenset((".llc",))
    from PIL import Image

    formats = Image.registered_extensions()  # has Pillow load all of its plugins
    return _OTHERS | {suffix for suffix, form in formats.items() if form in Image.OPEN and form not in _WITHOUT_PIXELS}
