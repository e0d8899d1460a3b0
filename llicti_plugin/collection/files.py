"""Looking at, reading, writing and removing a collection's files, which here are on disks of this machine.

What another kind of storage has to offer are the methods of `LocalFiles`, with their promises.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from typing import NamedTuple

from llicti_core.atomic import sync_folder
from llicti_plugin.cli.batch import Failure

PARTIAL = ".llicti-part"
"""How files end that are being written."""


class Stat(NamedTuple):
    """What tells that a file is the same as before. size: in bytes. modified: in nanoseconds since 1970."""

    size: int
    modified: int


class LocalFiles:
    """Files by their paths."""

    def stat(self, path: str) -> Stat | None:
        """Size and time of a file; None where there is none. Raises OSError."""
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Stat(found.st_size, found.st_mtime_ns)

    def same(self, path: str, other: str) -> bool:
        """Whether two names are of the same file. Raises OSError."""
        return os.path.samefile(path, other)

    def read(self, path: str, most: int = -1) -> bytes:
        """All of a file, or no more than its first `most` bytes. Raises OSError."""
        with open(path, "rb") as file:
            return file.read(most)

    def write(self, path: str, data: bytes, like: str) -> None:
        """Write a file, with times of the file `like`, and its permissions, if it can have them; folders are made.

        It is there, or replaces what was there, only once it has been read back from the disk and compared. Raises
        OSError, or Failure where it comes back changed; then nothing is left behind. A process that is killed leaves a
        file whose name ends in PARTIAL, which the next to write the same file replaces.
        """
        folder, name = os.path.split(path)
        os.makedirs(folder, exist_ok=True)
        partial = os.path.join(folder, f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{PARTIAL}")
        try:
            with open(partial, "wb") as file:
                file.write(data)
                file.flush()
                with suppress(PermissionError):  # of file systems without permissions, such as FAT
                    shutil.copystat(like, partial)
                found = os.stat(like)
                os.utime(partial, ns=(found.st_atime_ns, found.st_mtime_ns))
                os.fsync(file.fileno())
            if _read_from_disk(partial) != data:
                msg = "what was written does not come back from the disk"
                raise Failure(msg, path)
            os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                os.remove(partial)
            raise

    def settle(self, path: str) -> None:
        """Return once it is on the disk that the file `path` is in its folder. Raises OSError."""
        sync_folder(os.path.dirname(path))

    def checksum(self, path: str) -> str:
        """SHA-256 of a file as it is on the disk, in hexadecimal. Raises OSError."""
        return sha256(_read_from_disk(path))

    def remove(self, path: str) -> None:
        """Remove a file. Raises OSError."""
        os.remove(path)


def of(path: str) -> LocalFiles:
    """What `path` is to be looked at, read and written with."""
    return LocalFiles()


def sha256(data: bytes) -> str:
    """SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _read_from_disk(path: str) -> bytes:
    """All of a file, not from memory, where the system can be asked for that."""
    with open(path, "rb") as file:
        if hasattr(os, "posix_fadvise"):
            with suppress(OSError):  # of a file system that knows nothing of it
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return file.read()
