"""The plan of a run: a row for each file, cut into shards, in a folder that any process can work from."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from typing import Any, NamedTuple

from llicti_plugin.collection import files, lossy, sources

_SHARD_FILES, _SHARD_BYTES = 500, 256 << 20
"""The most files, and about the most bytes, of a shard."""

_SHARDS_A_WORKER = 8
"""Shards for each worker, where there are files enough: so that all have something to do until near the end."""

_ROWS, _MANIFEST, _SHARD = "rows.jsonl", "manifest.json", "shard-"
"""Names of files in a plan's folder; those of shards begin so."""


class Settings(NamedTuple):
    """What a run is to do with each file.

    to: "llc"; "webdataset" for `.llc` files in tar files; "png" for PNG where that holds the image, else TIFF; "tiff".
    model, effort: of llicti_core.encode.
    lossy: whether lossy sources are taken, too. force: whether targets are overwritten that were not made of their
    sources as they are now. replace: whether sources are removed.
    """

    to: str = "llc"
    model: str = "default"
    effort: int = 1
    lossy: bool = False
    force: bool = False
    replace: bool = False

    @property
    def makes_llc(self) -> bool:
        """Whether `.llc` files are made, of other images."""
        return self.to in ("llc", "webdataset")


class Row(NamedTuple):
    """A file to convert. path: absolute, or a URL. stem: its target below the destination, without suffix. size,
    modified, tag: as in files.Stat when the run was planned. error: why it could not be looked at then."""

    path: str
    stem: str
    size: int
    modified: int
    error: str = ""
    tag: str = ""


class Shard(NamedTuple):
    """A run of rows. start: where they begin, in bytes. files: how many they are. size: of their files together."""

    start: int
    files: int
    size: int


class Manifest(NamedTuple):
    """A plan as it is in its folder. destination: absolute, or a URL. kinds: files and bytes by suffix of sources."""

    folder: str
    destination: str
    settings: Settings
    shards: list[Shard]
    kinds: dict[str, tuple[int, int]]

    @classmethod
    def load(cls, folder: str) -> Manifest:
        """The plan in a folder, or below a URL. Raises OSError, and ValueError where it is none."""
        folder = files.absolute(folder)  # other processes may be in other folders
        stored: dict[str, Any] = json.loads(files.of(folder).read(files.join(folder, _MANIFEST)))
        return cls(
            folder,
            stored["destination"],
            Settings(**stored["settings"]),
            [Shard(*shard) for shard in stored["shards"]],
            {suffix: (files, size) for suffix, (files, size) in stored["kinds"].items()},
        )

    @property
    def files(self) -> int:
        """How many files the run is of."""
        return sum(shard.files for shard in self.shards)

    @property
    def size(self) -> int:
        """The bytes of all sources."""
        return sum(shard.size for shard in self.shards)

    def rows(self, number: int) -> Iterator[Row]:
        """The rows of a shard. Raises OSError."""
        start = self.shards[number].start
        most = self.shards[number + 1].start - start if number + 1 < len(self.shards) else -1
        for line in files.of(self.folder).read(files.join(self.folder, _ROWS), most, start).splitlines():
            yield Row(*json.loads(line))

    def sidecar(self, number: int) -> str:
        """The file of a shard's results, which is there once all of them are."""
        return files.join(self.folder, f"{_SHARD}{number:06}.jsonl")

    def journal(self, number: int) -> str:
        """The file in which a shard's work is noted as it is done."""
        return files.join(self.folder, f"{_SHARD}{number:06}.journal")

    def pending(self) -> list[int]:
        """The shards that are not done."""
        done = set(files.of(self.folder).names(self.folder))
        return [n for n in range(len(self.shards)) if os.path.basename(self.sidecar(n)) not in done]


def home(paths: Sequence[str], destination: str, settings: Settings) -> str:
    """The folder in the destination for the plan of such a run: the same for the same arguments."""
    named = [[files.absolute(path) for path in paths], files.absolute(destination), settings]
    digest = hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]
    return files.join(files.normal(destination), sources.STATE, digest)


def unfinished(folder: str) -> Manifest | None:
    """The plan in a folder, where there is one to go on with: not all is done, or it is a training set's, to which
    nothing can be added."""
    try:
        manifest = Manifest.load(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return manifest if manifest.settings.to == "webdataset" or manifest.pending() else None


def plan(
    paths: Sequence[str], destination: str, settings: Settings, folder: str | None = None, *, workers: int = 1
) -> Manifest:
    """Find the files of a collection and write down what is to be done, in place of any earlier plan in `folder`.

    paths: files, folders, patterns and URLs of these. destination: the folder or URL that mirrors them. folder: by
    default that of `home`. workers: how many will work at once. Takes memory for the names in one folder at a time (of
    S3 for 1000 names), and for the places of shards. Raises OSError; ImportError and ValueError as files.of does.
    """
    paths, destination = [files.normal(path) for path in paths], files.absolute(destination)
    folder = files.absolute(folder or home(paths, destination, settings))
    storage = files.of(folder)
    if storage.stat(files.join(folder, _MANIFEST)):
        storage.remove(files.join(folder, _MANIFEST))  # first: half an earlier plan is none to go on with
    storage.remove_folder(folder)
    with suppress(FileNotFoundError):
        for name in storage.names(folder):
            if name.startswith(_SHARD):  # it would be taken for one of the new plan's
                raise OSError(errno.EACCES, "cannot be removed", files.join(folder, name))
    count = size = 0
    kinds: dict[str, tuple[int, int]] = {}
    with storage.assembled(files.join(folder, _ROWS)) as path:
        with closing(_Stems()) as stems, open(path, "w", encoding="ascii", newline="\n") as rows:
            for found in sources.find(paths, sources.suffixes(settings.makes_llc), destination):
                if stems.has_seen(found.path):
                    continue
                suffix = os.path.splitext(found.path)[1].lower()
                row = Row(found.path, stems.of(found.relative), *found[2:])
                rows.write(json.dumps(row) + "\n")
                count, size = count + 1, size + row.size
                of_kind = kinds.get(suffix, (0, 0))
                kinds[suffix] = of_kind[0] + 1, of_kind[1] + row.size
        parts = _SHARDS_A_WORKER * workers
        shards = _cut(path, min(_SHARD_FILES, -(-count // parts)), min(_SHARD_BYTES, 1 + size // parts))
    manifest = Manifest(folder, destination, settings, shards, kinds)
    stored = {**manifest._asdict(), "settings": settings._asdict()}
    del stored["folder"]  # it may be seen under another name from elsewhere
    storage.write_own(files.join(folder, _MANIFEST), json.dumps(stored).encode())
    return manifest


class _Stems:
    """The names of targets without their suffixes, each given once: `a` for a.png, and then `a.tif` for a.tif."""

    def __init__(self) -> None:
        self._taken = sqlite3.connect("")  # a file of SQLite's own that goes away by itself
        self._taken.execute("CREATE TABLE taken (name TEXT PRIMARY KEY) WITHOUT ROWID")

    def close(self) -> None:
        """Forget the names."""
        self._taken.close()

    def of(self, relative: str) -> str:
        """The target of the file `relative`, without suffix."""
        stem, suffix = os.path.splitext(relative)
        # What is most likely left alone does not take the short name of another picture, nor take it away later.
        names = (relative,) if suffix.lower() in lossy.SUFFIXES else (stem, relative)
        further = (f"{relative}-{number}" for number in itertools.count(2))
        return next(name for name in itertools.chain(names, further) if self._take(_caseless(name)))

    def has_seen(self, path: str) -> bool:
        """Whether a source was named before, which its folder may have been, too."""
        return not self._take(f"/{path}")  # which no stem begins with

    def _take(self, name: str) -> bool:
        """Take a name; whether it was free."""
        # In JSON, since names that are no text are none for SQLite.
        return self._taken.execute("INSERT OR IGNORE INTO taken VALUES (?)", (json.dumps(name),)).rowcount > 0


def _caseless(name: str) -> str:
    """What is the same of names that are the same on some file systems: case, and whether accents are characters of
    their own, do not count (Unicode, D145)."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def _cut(path: str, most_files: int, most_bytes: int) -> list[Shard]:
    """Cut a file of rows into shards of so many files or bytes."""
    shards: list[Shard] = []
    start = at = files = size = 0
    with open(path, "rb") as rows:
        for line in rows:
            at += len(line)
            files, size = files + 1, size + Row(*json.loads(line)).size
            if files >= most_files or size >= most_bytes:
                shards.append(Shard(start, files, size))
                start, files, size = at, 0, 0
    return [*shards, Shard(start, files, size)] if files else shards
