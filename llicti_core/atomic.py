"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from errno import EACCES
from io import FileIO
from pathlib import Path
from typing import BinaryIO

PRIVATE, USUAL = 0o600, 0o666
"""Permissions of a file that is yet to get those of another one, and of a new one, less the umask's."""


def write_whole(path: str | os.PathLike[str], data: bytes | memoryview, *, durable: bool = False) -> None:
    """Write a file beside `path` and put it in its place, so that what was there stays until then.

    Links are followed. An old file's owner, group, permissions, hard links and extended attributes stay: where a new
    file cannot take them over, or cannot be put in the old one's place (a mount point, a folder with the sticky bit, or
    one that may not be written to), the old one gets the new content once that is complete. durable: whether the file
    must be on the disk, safe from a loss of power, before this returns.

    Raises OSError. Then the old file is as it was, and nothing is left behind; but where writing into the old one has
    failed half way, and so has writing its content again, the new one is kept beside it, if the folder takes it, and
    named in the error.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():  # a device or a pipe, which nothing shall replace; or a folder
        target.write_bytes(data)
        return
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(EACCES, os.strerror(EACCES), str(path))
    # A name that nobody can have taken before, such as for a link to a file of the user's.
    partial = target.with_name(f".llc-{os.urandom(8).hex()}")
    try:
        _write_new(partial, data, durable, PRIVATE if target.exists() else USUAL)
    except PermissionError:
        partial.unlink(missing_ok=True)
        if not target.exists():
            raise
        _write_into(target, data, durable)
        return
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    try:
        if not _put_in_place(partial, target):
            _write_into(target, data, durable, partial)
        elif durable:
            sync_folder(target.parent)
    except _HalfWrittenError:
        raise
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.unlink(missing_ok=True)


class _HalfWrittenError(OSError):
    """The old file has been damaged; the new one is beside it."""


def create(path: str | Path, mode: int) -> BinaryIO:
    """A file to write to that was not there, nor was a link of that name. mode: its permissions, less the umask's.

    Raises OSError.
    """
    return open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode))


def _write_new(path: Path, data: bytes | memoryview, durable: bool, mode: int) -> None:
    with create(path, mode) as file:
        file.write(data)
        if durable:
            _sync(file)


def _put_in_place(partial: Path, target: Path) -> bool:
    """Rename a file to `target`, where it can take over what belongs to the file there; whether that was possible."""
    if target.exists():
        old, new = target.stat(), partial.stat()
        if old.st_nlink > 1 or _attributes(target):
            return False
        try:
            if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
                os.chown(partial, old.st_uid, old.st_gid)
            partial.chmod(old.st_mode & 0o7777)
        except PermissionError:
            return False
    try:
        partial.replace(target)
    except OSError:
        if not target.exists():
            raise
        return False
    return True


def _attributes(path: Path) -> list[str]:
    """The extended attributes of a file, access control lists among them, but for those that the system gives anew."""
    listed: Callable[[Path], list[str]] | None = getattr(os, "listxattr", None)
    try:
        return [name for name in listed(path) if not name.startswith("security.")] if listed else []
    except OSError:  # of a file system that has none
        return []


def _write_into(target: Path, data: bytes | memoryview, durable: bool, whole: Path | None = None) -> None:
    """Give an existing file new content, after room for it is there. whole: a file that holds that content.

    Raises OSError; where the old content cannot be put back _HalfWrittenError, if there is `whole`.
    """
    with target.open("r+b", buffering=0) as file:  # what is left in a buffer would be written at the end
        old = file.readall()
        try:
            if len(data) > len(old) and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, len(data))
            _overwrite(file, data, durable)
        except BaseException:
            try:
                _overwrite(file, old, durable)
            except OSError as error:
                if whole is None:
                    raise
                msg = f"{error.strerror}; it is damaged now, and the new file is {whole}"
                raise _HalfWrittenError(error.errno, msg, str(target)) from error
            raise


def _overwrite(file: FileIO, data: bytes | memoryview, durable: bool) -> None:
    """Make `data` all that an open file holds."""
    file.seek(0)
    left = memoryview(data).cast("B")
    while left:
        left = left[file.write(left) :]
    file.truncate()
    if durable:
        _sync(file)


def _sync(file: BinaryIO | FileIO) -> None:
    """Have the system write a file to the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: str | Path) -> None:
    """Have the system write to the disk which files are in a folder; Windows does so itself."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # which some network file systems raise
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
