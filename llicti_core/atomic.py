"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from errno import EACCES
from pathlib import Path
from threading import get_ident


def write_whole(path: str | os.PathLike[str], data: bytes | memoryview) -> None:
    """Write a file beside `path` and put it in its place, so that what stood there stays until then.

    Links are followed, and the new file has the old one's permissions. Raises OSError, having left nothing behind.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():  # a device or a pipe, which nothing shall replace; or a folder
        target.write_bytes(data)
        return
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(EACCES, os.strerror(EACCES), str(path))
    partial = target.with_name(f".llc-{os.getpid()}-{get_ident()}")
    try:
        partial.write_bytes(data)
        if target.exists():
            partial.chmod(target.stat().st_mode & 0o7777)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
