"""One run of a plan at a time: a lock that ends with its process, on disks."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from llicti_plugin.collection import files


@contextmanager
def alone(folder: str) -> Iterator[None]:
    """Keep other processes from running the plan in `folder` meanwhile, if that is no URL.

    Raises BlockingIOError where one does so already, OSError where the folder's parent cannot be made.
    """
    if files.is_url(folder):
        yield
        return
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    # A data base that holds nothing: SQLite knows how every system locks a file.
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(closing(sqlite3.connect(f"{folder}.lock", timeout=0, isolation_level=None)))
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise BlockingIOError(errno.EWOULDBLOCK, "another process is at work on the same run", folder) from None
            # Some network file systems have no locks; and a folder that takes no files is told of when it is to.
        yield
