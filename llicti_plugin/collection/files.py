"""Looking at, reading, writing and removing files, those of a collection and those of its runs, on disks.

Whatever has `://` in it is a URL, and its files are in a store (stores.py), which offers the same methods with the same
promises. All other places here that take a path take either.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import BinaryIO, NamedTuple, Protocol
from urllib.request import url2pathname

from llicti_core.atomic import PRIVATE, USUAL, create, sync_folder, write_whole
from llicti_plugin.cli.batch import Failure

PARTIAL = ".llicti-part"
"""How files end that are being written."""


class Stat(NamedTuple):
    """What tells that a file is the same as before. size: in bytes. modified: in nanoseconds since 1970. tag: what a
    store calls the content, such as S3's ETag."""

    size: int
    modified: int
    tag: str = ""


_GRAINS = (1, 100, 1_000, 10_000_000, 1_000_000_000, 2_000_000_000)
"""Nanoseconds of which file systems keep multiples as times."""


def same_time(kept: int, given: int) -> bool:
    """Whether a time may be what a file system has kept of the one that a file was given."""
    return any(kept % grain == 0 and abs(kept - given) < grain for grain in _GRAINS)


class Files(Protocol):
    """What a kind of storage does. All methods raise OSError; a store's may raise what its library does."""

    def stat(self, path: str) -> Stat | None:
        """What tells a file from others; None where there is none."""
        ...

    def read(self, path: str, most: int = -1, start: int = 0) -> bytes:
        """All of a file, or no more than `most` bytes of it, from `start` on."""
        ...

    def write(self, path: str, data: bytes, like: str, stat: Stat, force: bool) -> str:
        """Write a file that is made of the file `like`, which was so when it was read; returns the tag of it.

        force: whether it may replace what is there. It is there whole or not at all, and has been read back and
        compared. Raises Failure where it comes back changed; then it is not there. On disks raises Failure, too, where
        something is there that may not be replaced, even if that was not so a moment ago.
        """
        ...

    def made_of(self, path: str, source: Stat) -> bool | None:
        """Whether a file that is there was made of a source that is so; None where only its pixels can tell."""
        ...

    def settle(self, path: str) -> None:
        """Return once nothing but damage can take away the file `path`."""
        ...

    def checksum(self, path: str) -> str:
        """SHA-256 of a file as it is in the storage, not in memory, in hexadecimal."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file."""
        ...

    # What runs keep for themselves.

    def names(self, folder: str) -> list[str]:
        """The names of files in a folder."""
        ...

    def write_own(self, path: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        ...

    def appending(self, path: str) -> AbstractContextManager[Callable[[str], None]]:
        """A function that adds ASCII text to a file, there for others to see when it returns."""
        ...

    def assembled(self, path: str) -> AbstractContextManager[str]:
        """The path of a file on this machine that may be written to meanwhile, and becomes `path` at the end.

        That happens whole or not at all, and not where an exception is raised. A store's file is read back.
        """
        ...

    def remove_folder(self, folder: str) -> None:
        """Remove a folder with all that is in it, if it is there, as far as that can be done."""
        ...


class LocalFiles:
    """Files by their paths. See Files."""

    def stat(self, path: str) -> Stat | None:
        """Size and time of a file; None where there is none."""
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Stat(found.st_size, found.st_mtime_ns)

    def read(self, path: str, most: int = -1, start: int = 0) -> bytes:
        """See Files.read."""
        with open(path, "rb") as file:
            if start:
                file.seek(start)
            return file.read(most)

    def write(self, path: str, data: bytes, like: str, stat: Stat, force: bool) -> str:
        """Write a file, with the time of `stat`, and permissions of the file `like`, if it can have them.

        Folders are made. See Files.write. A process that is killed leaves a file whose name ends in PARTIAL, which the
        next to write the same file of the same source replaces.
        """
        with _put_in_place(path, PRIVATE if not is_url(like) else USUAL, like, force) as partial:
            with open(partial, "wb") as file:
                file.write(data)
                file.flush()
                if not is_url(like):
                    _copy_permissions(like, partial)
                os.utime(partial, ns=(stat.modified, stat.modified))
                os.fsync(file.fileno())
            if read_from_disk(partial) != data:
                raise Failure(NOT_BACK, path)
        return ""

    def made_of(self, path: str, source: Stat) -> bool | None:
        """Known by the time, which a target is given before it is put in place."""
        found = self.stat(path)
        return found is not None and same_time(found.modified, source.modified)

    def settle(self, path: str) -> None:
        """Return once it is on the disk that the file `path` is in its folder."""
        sync_folder(os.path.dirname(path))

    def checksum(self, path: str) -> str:
        """See Files.checksum."""
        return sha256(read_from_disk(path))

    def remove(self, path: str) -> None:
        """See Files.remove."""
        os.remove(path)

    def names(self, folder: str) -> list[str]:
        """See Files.names."""
        return os.listdir(folder)

    def write_own(self, path: str, data: bytes) -> None:
        """See Files.write_own."""
        write_whole(path, data, durable=True)

    @contextmanager
    def appending(self, path: str) -> Iterator[Callable[[str], None]]:
        """See Files.appending."""
        with open(path, "a", encoding="ascii", newline="\n") as file:

            def append(text: str) -> None:
                file.write(text)
                file.flush()

            yield append

    @contextmanager
    def assembled(self, path: str) -> Iterator[str]:
        """See Files.assembled."""
        with _put_in_place(path, USUAL) as partial:
            yield partial
            with open(partial, "rb+") as file:
                os.fsync(file.fileno())

    def remove_folder(self, folder: str) -> None:
        """See Files.remove_folder."""
        shutil.rmtree(folder, ignore_errors=True)


NOT_BACK = "what was written does not come back from the disk"


@contextmanager
def _put_in_place(path: str, mode: int, like: str = "", force: bool = True) -> Iterator[str]:
    """The name of an empty file beside `path` that becomes it at the end, and is removed where an exception is raised.

    mode: its permissions, less the umask's. like: what it is made of: nothing else is to be written under its name.
    force: whether it may replace what is there; else raises Failure where something is.
    """
    folder, name = os.path.split(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    digest = hashlib.sha256(os.fsencode(f"{name}\0{like}")).hexdigest()
    partial = os.path.join(folder, f".{digest[:16]}{PARTIAL}")
    with suppress(FileNotFoundError):
        os.remove(partial)  # of a process that was killed, or a link of anybody's
    create(partial, mode).close()
    try:
        yield partial
        if force:
            os.replace(partial, path)
        else:
            _rename_to_new(partial, path)
    except BaseException:
        with suppress(OSError):
            os.remove(partial)
        raise


def _rename_to_new(path: str, new: str) -> None:
    """Rename a file to a name that nothing has. Raises Failure where something has it."""
    try:
        if os.name == "nt":  # where that is how names are changed
            os.rename(path, new)
        else:
            os.link(path, new)
    except FileExistsError:
        raise Failure(_HAS_COME, new) from None
    except OSError:  # of a file system without hard links, such as FAT
        if os.path.lexists(new):
            raise Failure(_HAS_COME, new) from None
        os.replace(path, new)
    else:
        if os.name != "nt":
            os.remove(path)


_HAS_COME = "its target exists now, and did not when it was looked for"


def _copy_permissions(path: str, other: str) -> None:
    """Give a file the permissions and extended attributes of another one, as far as it can have them."""
    try:
        shutil.copystat(path, other)
    except OSError:  # the file system has no permissions, as FAT, or no room for the attributes, as ext4 for large ones
        with suppress(OSError):
            shutil.copymode(path, other)


_FILE = "file://"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_url(path: str) -> bool:
    """Whether files are in a store."""
    return _URL.match(path) is not None


def normal(path: str) -> str:
    """A path, which `file://` URLs become, or a URL without a slash at its end."""
    if path.startswith(_FILE):
        return url2pathname(path[len(_FILE) :])
    return path.rstrip("/") if is_url(path) else path


def absolute(path: str) -> str:
    """A path or URL that means the same wherever a process runs."""
    path = normal(path)
    if is_url(path):
        return path
    # `..` after a link is above where that leads to, of which abspath knows nothing.
    names = path.split(os.sep)
    if os.pardir in names:
        above = len(names) - names[::-1].index(os.pardir)
        path = os.path.join(os.path.realpath(os.sep.join(names[:above])), *names[above:])
    return os.path.abspath(path)


def join(folder: str, *names: str) -> str:
    """What is below a folder, which may be a URL."""
    if is_url(folder):
        return "/".join((folder, *(name.replace(os.sep, "/") for name in names)))
    return os.path.join(folder, *names)


def same(path: str, other: str) -> bool:
    """Whether two names of files that are there are of the same one. Raises OSError."""
    if is_url(path) or is_url(other):
        return path == other
    return os.path.samefile(path, other)


def of(path: str) -> Files:
    """What `path` is to be looked at, read and written with.

    Raises ImportError where what a URL takes is not installed, ValueError where nothing knows its scheme.
    """
    if not is_url(path):
        return LocalFiles()
    from llicti_plugin.collection.stores import StoreFiles

    return StoreFiles(path)


def sha256(data: bytes) -> str:
    """SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def from_disk(path: str) -> BinaryIO:
    """A file opened to be read, not from memory, where the system can be asked for that. Raises OSError."""
    file = open(path, "rb")  # noqa: SIM115
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):  # of a file system that knows nothing of it
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return file


def read_from_disk(path: str) -> bytes:
    """All of a file, as from_disk reads it. Raises OSError."""
    with from_disk(path) as file:
        return file.read()
