"""One run at a time into a destination: a lock that ends with its process, on disks."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from llicti_plugin.collection import files
from llicti_plugin.collection.sources import STATE


@contextmanager
def alone(destination: str) -> Iterator[None]:
    """Keep other runs out of a destination meanwhile, if that is no URL: they might give files the same names.

    Raises BlockingIOError where one is at work already, OSError where the folder cannot be made.
    """
    destination = files.normal(destination)
    if files.is_url(destination):
        yield
        return
    folder = os.path.join(destination, STATE)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "lock")
    # A data base that holds nothing: SQLite knows how every system locks a file.
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(closing(sqlite3.connect(path, timeout=0, isolation_level=None)))
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                msg = "another process is at work on the same destination"
                raise BlockingIOError(errno.EWOULDBLOCK, msg, destination) from None
            # Some network file systems have no locks; and a folder that takes no files is told of when it is to.
        yield
