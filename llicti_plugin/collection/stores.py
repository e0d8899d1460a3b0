"""Files in object stores and wherever else fsspec reaches, by their URLs: what files.py does on disks.

An object is there whole or not at all, so targets are put under their own names at once, then read back and compared.
Where a store keeps words with an object (S3's metadata), a target says there which source it was made of.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import fsspec

from llicti_plugin.cli.batch import Failure
from llicti_plugin.collection.files import NOT_BACK, Stat, sha256

_STAMP = "llicti-made"
"""The metadata in which an object says of what it was made, and its own checksum."""

_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")
_TAGS = ("ETag", "etag", "md5Hash")
"""What file systems of fsspec's call these."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_BLOCK = 16 << 20
"""Bytes of a large file that are read at once."""


class StoreFiles:
    """Files by URLs of one scheme. See files.Files."""

    def __init__(self, url: str) -> None:
        """Raises ImportError where a package for the scheme is missing, ValueError where nothing knows it."""
        # What another process has changed is to be seen: nothing is remembered of folders.
        self._fs: Any = fsspec.core.url_to_fs(url, use_listings_cache=False)[0]
        protocols = self._fs.protocol
        self._is_s3 = "s3" in ((protocols,) if isinstance(protocols, str) else protocols)

    def stat(self, path: str) -> Stat | None:
        """See files.Files.stat."""
        try:
            found = self._fs.info(path)
        except FileNotFoundError:
            return None
        return _stat(found) if found["type"] == "file" else None

    def read(self, path: str, most: int = -1, start: int = 0) -> bytes:
        """See files.Files.read. A part must not begin at the end of a file or after it."""
        if most < 0 and not start:
            return bytes(self._fs.cat_file(path))
        return bytes(self._fs.cat_file(path, start=start, end=None if most < 0 else start + most))

    def write(self, path: str, data: bytes, like: str, stat: Stat, force: bool) -> str:
        """See files.Files.write."""
        stamp = {"Metadata": {_STAMP: json.dumps([stat, sha256(data)])}} if self._is_s3 else {}
        self._fs.pipe_file(path, data, **stamp)
        if self.read(path) != data:
            self._fs.rm_file(path)
            raise Failure(NOT_BACK, path)
        found = self.stat(path)
        return found.tag if found else ""

    def made_of(self, path: str, source: Stat) -> bool | None:
        """Known by what the target says of itself, if its content is the one it says that of."""
        said = self._fs.metadata(path).get(_STAMP) if self._is_s3 else None
        if said is None:
            return None
        stamped, checksum = json.loads(said)
        if Stat(*stamped) != source:
            return False
        return True if self.checksum(path) == checksum else None

    def settle(self, path: str) -> None:
        """Nothing is left to be done after an object has been put."""

    def checksum(self, path: str) -> str:
        """See files.Files.checksum."""
        with self._fs.open(path, "rb", block_size=_BLOCK) as file:
            return _sha256_of(file)

    def remove(self, path: str) -> None:
        """See files.Files.remove."""
        self._fs.rm_file(path)

    def names(self, folder: str) -> list[str]:
        """See files.Files.names."""
        if self._is_s3:
            return [name for name, _ in self._pages(folder, {"Delimiter": "/"})]
        with suppress(FileNotFoundError):
            return [os.path.basename(path) for path in self._fs.ls(folder, detail=False)]
        return []

    def write_own(self, path: str, data: bytes) -> None:
        """See files.Files.write_own."""
        self._fs.pipe_file(path, data)

    @contextmanager
    def appending(self, path: str) -> Iterator[Callable[[str], None]]:
        """See files.Files.appending. Objects cannot grow: each time all of it is put anew."""
        text = ""
        with suppress(FileNotFoundError):
            text = self.read(path).decode("ascii")

        def append(more: str) -> None:
            nonlocal text
            text += more
            self._fs.pipe_file(path, text.encode("ascii"))

        yield append

    @contextmanager
    def assembled(self, path: str) -> Iterator[str]:
        """See files.Files.assembled."""
        with tempfile.TemporaryDirectory(prefix="llicti-") as folder:
            local = os.path.join(folder, "file")
            yield local
            self._fs.put_file(local, path)
            with open(local, "rb") as file:
                expected = _sha256_of(file)
            if self.checksum(path) != expected:
                self._fs.rm_file(path)
                raise OSError(errno.EIO, NOT_BACK, path)

    def remove_folder(self, folder: str) -> None:
        """See files.Files.remove_folder."""
        with suppress(FileNotFoundError):
            self._fs.rm(folder, recursive=True)

    def listed(self, folder: str) -> Iterator[tuple[str, Stat]]:
        """The files below a folder by their names there, in order where the store lists them in pages, as S3 does.

        Takes memory for a page of 1000 files there, elsewhere for the files directly in one folder.
        """
        if self._is_s3:
            yield from self._pages(folder, {})
            return
        root = self._fs._strip_protocol(folder)
        for below, _, found in self._fs.walk(folder, detail=True):
            for name in sorted(found):
                yield f"{below}/{name}"[len(root) :].lstrip("/"), _stat(found[name])

    def _pages(self, folder: str, options: dict[str, str]) -> Iterator[tuple[str, Stat]]:
        """Files of S3: fsspec's own functions return when they know all."""
        bucket, key, _ = self._fs.split_path(folder)
        prefix = f"{key}/" if key else ""
        request = {"Bucket": bucket, "Prefix": prefix, **options}
        while True:
            page = self._fs.call_s3("list_objects_v2", **request)
            for found in page.get("Contents", ()):
                if not found["Key"].endswith("/"):  # which stands for a folder
                    yield found["Key"][len(prefix) :], _stat({**found, "size": found["Size"]})
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]


def _stat(found: dict[str, Any]) -> Stat:
    times = (found.get(name) for name in _TIMES)
    time = next((time for time in times if isinstance(time, datetime)), _EPOCH)
    if time.tzinfo is None:
        time = time.replace(tzinfo=timezone.utc)
    tag = next((str(found[name]).strip('"') for name in _TAGS if found.get(name)), "")
    # Where there is a tag, seconds are enough; and S3 tells more of them in lists than of single objects.
    unit = timedelta(seconds=1) if tag else timedelta(microseconds=1)
    return Stat(int(found["size"]), (time - _EPOCH) // unit * (unit // timedelta(microseconds=1)) * 1000, tag)


def _sha256_of(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()
