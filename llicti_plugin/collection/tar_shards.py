"""A shard of a training set as one tar file, in the way of WebDataset: written whole, compared, or not there.

Each image is two files with one name, its key: `.llc`, and `.json` with where the image was below its source. Keys are
numbers, since WebDataset takes all after a name's first dot for its suffix.
"""

from __future__ import annotations

import errno
import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

from llicti_plugin.collection import files
from llicti_plugin.collection.manifest import Manifest

_LATEST = 8**11 - 1
"""The last second that a tar file can name, of the year 2242. The first one is that of 1970."""


class TarShard:
    """The tar file of a shard; it is put in place at the end of a `with` statement."""

    def __init__(self, manifest: Manifest, number: int) -> None:
        self.path = files.join(manifest.destination, f"shard-{number:06}.tar")
        self._number = number

    def check_new(self) -> None:
        """Raises FileExistsError where the file is there, which then is another run's."""
        if files.of(self.path).stat(self.path):
            raise FileExistsError(errno.EEXIST, "is there already; a training set takes a folder of its own", self.path)

    @contextmanager
    def written(self) -> Iterator[None]:
        """Files may be added meanwhile. Raises OSError where the file does not come back as it was written."""
        self._checksums: dict[str, str] = {}
        with files.of(self.path).assembled(self.path) as local:
            with open(local, "wb") as file:
                with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as self._tar:
                    yield
                file.flush()
                os.fsync(file.fileno())
            if _checksums(local) != self._checksums:
                raise OSError(errno.EIO, files.NOT_BACK, self.path)

    def add(self, index: int, data: bytes, stem: str, stat: files.Stat) -> str:
        """Add the `.llc` file of an image, the shard's `index`-th; returns its name. stem: its path without suffix."""
        key = f"{self._number:06}{index:03}"
        for name, content in (
            (f"{key}.llc", data),
            (f"{key}.json", json.dumps({"name": stem.replace(os.sep, "/")}).encode()),
        ):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), min(max(0, stat.modified // 10**9), _LATEST)
            self._tar.addfile(member, io.BytesIO(content))
            self._checksums[name] = files.sha256(content)
        return f"{key}.llc"


def _checksums(path: str) -> dict[str, str]:
    """SHA-256 of the files in a tar file, read from the disk."""
    found = {}
    with files.from_disk(path) as file, tarfile.open(fileobj=file) as tar:
        for member in tar:
            content = tar.extractfile(member)
            assert content
            found[member.name] = files.sha256(content.read())
    return found
