"""Finds the files of a collection: those that are named, those that a pattern names, and the images in folders.

Folders may be on disks or, named by a URL, in a store.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from llicti_plugin.cli import say
from llicti_plugin.collection import files

STATE = ".llicti"
"""The folder in a destination in which runs keep what they have to know, and where no images are looked for."""

_OTHERS = frozenset((".jxl", ".avif", ".heic", ".heif"))
"""Suffixes of images that Pillow may not know."""

_WITHOUT_PIXELS = frozenset(("BUFR", "EPS", "GRIB", "HDF5", "LLC", "MPEG", "WMF"))
"""Formats of Pillow's that are not looked for in folders: some it only recognises, and drawings have no pixels."""


class Source(NamedTuple):
    """A file to convert. relative: where it is below what was named. size, modified, tag: as in files.Stat. error: why
    it cannot be looked at."""

    path: str
    relative: str
    size: int = 0
    modified: int = 0
    error: str = ""
    tag: str = ""


def missing(sources: Sequence[str]) -> list[str]:
    """Which of these are neither files, nor folders, nor patterns that a name fits."""
    return [source for source in sources if not _is_there(source)]


def _is_there(source: str) -> bool:
    if files.is_url(source):
        return next(_in_store(source, None, ""), None) is not None
    return os.path.lexists(source) or _fits_any(source)


def _fits_any(pattern: str) -> bool:
    return glob.has_magic(pattern) and next(glob.iglob(pattern, recursive=True), None) is not None


def find(sources: Sequence[str], suffixes: frozenset[str], destination: str) -> Iterator[Source]:
    """The files, folder by folder in order of name; of folders those with one of `suffixes`, in lower case.

    Folders that are links are left alone, and so is `destination` within a source. What several patterns or folders
    hold comes several times.
    """
    for source in sources:
        if files.is_url(source):
            yield from _in_store(source, suffixes, files.absolute(destination))
        elif os.path.isdir(source):
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


def _in_store(source: str, suffixes: frozenset[str] | None, destination: str) -> Iterator[Source]:
    """The file with this URL; or files below it with one of `suffixes`, None for all; or those that fit a pattern."""
    from fsspec.utils import glob_translate

    from llicti_plugin.collection.stores import StoreFiles

    source = source.rstrip("/")
    store = StoreFiles(source)
    found = store.stat(source)
    if found is not None:
        yield _of_store(source, source.rpartition("/")[2], found)
        return
    root, fits = source, None
    if glob.has_magic(source) and next(store.listed(source), None) is None:
        while glob.has_magic(root):
            root = root.rpartition("/")[0]
        fits = re.compile(glob_translate(source[len(root) + 1 :]))
    for relative, found in store.listed(root):
        path, parts = f"{root}/{relative}", relative.split("/")
        if STATE in parts or (destination.startswith(f"{root}/") and path.startswith(f"{destination}/")):
            continue
        if fits is not None:
            if fits.fullmatch(relative):
                yield _of_store(path, relative, found)
        elif suffixes is None or os.path.splitext(relative)[1].lower() in suffixes:
            yield _of_store(path, relative, found)


def _of_store(path: str, relative: str, found: files.Stat) -> Source:
    """A file of a store as a source."""
    if {"", ".", ".."} & set(relative.split("/")) or (os.sep != "/" and os.sep in relative):
        # Joined to a folder, such a name might lead out of it.
        return Source(path, relative.replace("/", "_"), found.size, error="is not named as a file in a folder can be")
    return Source(path, relative.replace("/", os.sep), found.size, found.modified, tag=found.tag)


def suffixes(to_llc: bool) -> frozenset[str]:
    """The suffixes of files in folders that can be converted to `.llc`, or back."""
    if not to_llc:
        return frozenset((".llc",))
    from PIL import Image

    formats = Image.registered_extensions()  # has Pillow load all of its plugins
    return _OTHERS | {suffix for suffix, form in formats.items() if form in Image.OPEN and form not in _WITHOUT_PIXELS}
