"""Finds the files of a collection: those that are named, those that a pattern names, and the images in folders.

Folders may be on disks or, named by a URL, in a store.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
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
    return glob.has_magic(pattern) and next(_fitting(pattern), None) is not None


def find(sources: Sequence[str], suffixes: frozenset[str], destination: str) -> Iterator[Source]:
    """The files, folder by folder in order of name; of folders those with one of `suffixes`, in lower case.

    Links to folders that are found below those which are named are left alone, and so is `destination` within a source.
    What several patterns or folders hold comes several times.
    """
    # Where a link leads to, it is still the same folder.
    real_destination = destination if files.is_url(destination) else os.path.realpath(destination)
    for source in sources:
        if files.is_url(source):
            yield from _in_store(source, suffixes, files.absolute(destination))
        elif os.path.isdir(source):
            yield from _walk(source, "", suffixes, real_destination)
        elif not os.path.lexists(source) and glob.has_magic(source):
            root = _fixed_part(source)
            is_inside = _is_below(real_destination, os.path.realpath(root))
            ends_in_any = os.path.basename(source) == "**"
            for path in _fitting(os.path.join(source, "*") if ends_in_any else source):
                relative = os.path.relpath(path, root)
                if is_inside and _is_below(os.path.join(os.path.realpath(path), ""), real_destination):
                    continue
                if os.path.isdir(path):
                    yield from _walk(path, relative, suffixes, real_destination)
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


def _fitting(pattern: str) -> Iterator[str]:
    """The files and folders that a pattern names, as glob does, but folder by folder in order of name.

    `**` is folders at any depth; it follows no links and finds none to folders, as these can lead in circles.
    """
    above, name = os.path.split(pattern)
    for folder in _fitting(above) if glob.has_magic(above) else (above,):
        if name == "**":
            yield from _folders(folder)
            continue
        for path in sorted(glob.iglob(os.path.join(glob.escape(folder), name))):
            if os.path.basename(above) != "**" or not (os.path.islink(path) and os.path.isdir(path)):
                yield path


def _folders(folder: str) -> Iterator[str]:
    """A folder, if it is there, and those below it, but for hidden ones and links."""
    waiting = [folder] if os.path.isdir(folder or os.curdir) else []  # the next one last
    while waiting:
        folder = waiting.pop()
        yield folder
        with suppress(OSError), os.scandir(folder or os.curdir) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            waiting += [os.path.join(folder, name) for name in sorted(names, reverse=True) if not name.startswith(".")]


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(os.path.join(folder, ""))


def _walk(folder: str, below: str, suffixes: frozenset[str], destination: str) -> Iterator[Source]:
    waiting = [(folder, below, True)]  # the next one last
    while waiting:
        folder, below, is_folder = waiting.pop()
        if not is_folder:
            yield _looked_at(folder, below)
            continue
        try:
            with os.scandir(folder) as entries:
                found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        except OSError as error:
            yield Source(files.absolute(folder), below, error=say.reason(error))
            continue
        for name, is_folder in reversed(found):
            path = os.path.join(folder, name)
            if is_folder:
                taken = name != STATE and os.path.realpath(path) != destination
            else:
                taken = os.path.splitext(name)[1].lower() in suffixes
            if taken:
                waiting.append((path, os.path.join(below, name), is_folder))


def _looked_at(path: str, relative: str) -> Source:
    absolute = files.absolute(path)
    try:
        found = os.stat(path)
    except OSError as error:
        return Source(absolute, relative, error=say.reason(error))
    if not stat.S_ISREG(found.st_mode):
        return Source(absolute, relative, error="is not a regular file")
    return Source(absolute, relative, found.st_size, found.st_mtime_ns)


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
