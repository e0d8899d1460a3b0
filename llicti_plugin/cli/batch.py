"""Work on each of the files that the command was given: what fails is told in a line, and the rest is done."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from llicti_plugin.cli import say

STANDARD = "-"
"""What standard input and standard output are called on the command line."""


_OF_PROGRAMMERS = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
"""Warnings that say nothing of a file."""


class Failure(Exception):
    """Why a file cannot be done, in words for the user. path: the file it is about, if not the one that was read."""

    def __init__(self, reason: str, path: str | os.PathLike[str] | None = None) -> None:
        super().__init__(reason)
        self.path = path


def run(files: Sequence[str], work: Callable[[str], None]) -> int:
    """Do `work` on every file; returns the exit status: 0, or 1 where any failed, of which standard error tells.

    Raises OutputError where standard output cannot be written.
    """
    status = 0
    for path in files:
        try:
            with _telling(path):
                work(path)
        except say.OutputError:
            raise
        except Failure as failure:
            say.err(f"{say.shown(failure.path or path)}: {failure}")
            status = 1
        except Exception as error:  # whatever a damaged file makes a library raise
            say.err(f"{say.shown(path)}: {say.reason(error)}")
            status = 1
    return status


@contextmanager
def _telling(path: str) -> Iterator[None]:
    """Tell of what libraries have to say of a file that is done, in a line each."""
    with overheard() as lines:
        yield
    for line in lines:
        tell(path, line)


@contextmanager
def overheard() -> Iterator[list[str]]:
    """What libraries have to say, by warnings or in their logs: a list of lines, which are in it at the end."""
    import logging

    lines: list[str] = []
    logged: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for category in _OF_PROGRAMMERS:
                warnings.simplefilter("ignore", category)
            yield lines
    finally:
        logging.getLogger().removeHandler(handler)
    lines += [say.one_line(line) for line in dict.fromkeys([*(str(warning.message) for warning in caught), *logged])]


def tell(path: str | os.PathLike[str], line: str) -> None:
    """Tell on standard error what is worth knowing of a file that is done all the same."""
    say.err(f"{say.shown(path)}: {line}")


class Targets(NamedTuple):
    """Where converted files go, and what happens to those that are there.

    output: a file, a folder, `-` for standard output, or None for a file beside the one that is read.
    """

    output: str | None
    force: bool
    skip_existing: bool

    @property
    def named(self) -> str | None:
        """The one file to write, where that is what the output is."""
        return None if self.output in (None, STANDARD) or os.path.isdir(self.output or "") else self.output

    def problem(self, files: Sequence[str]) -> str | None:
        """What is wrong with writing these files there, in words; None where nothing is."""
        if self.force and self.skip_existing:
            return "--force and --skip-existing exclude each other"
        if len(files) > 1 and (self.named is not None or self.output == STANDARD):
            return "several files would be written to the same one"
        stems = [os.path.normcase(os.path.realpath(self.path(path, "") or "")) for path in files if path != STANDARD]
        if len(set(stems)) < len(stems):
            return "several files would be written to the same one"
        return None

    def path(self, source: str, suffix: str) -> str | None:
        """The file to write for `source`; None for standard output."""
        if self.output == STANDARD or (self.output is None and source == STANDARD):
            return None
        if self.named is not None:
            return self.named
        if source == STANDARD:
            msg = "what comes from standard input has no name: give the file to write"
            raise Failure(msg, self.output)
        stem = os.path.splitext(source if self.output is None else os.path.basename(source))[0]
        return (stem if self.output is None else os.path.join(self.output, stem)) + suffix

    def skips(self, target: str | None) -> bool:
        """Whether `target` exists and is to stay. Raises Failure where it exists and nothing was said of that."""
        if target is None or self.force or not os.path.lexists(target):
            return False
        if self.skip_existing:
            return True
        msg = "exists (--force overwrites it, --skip-existing leaves it)"
        raise Failure(msg, target)

    def write(self, target: str | None, data: bytes | memoryview) -> None:
        """Write a whole file. Raises Failure, which names the target, and OutputError."""
        if target is None:
            say.out_bytes(data)
            return
        from llicti_core.atomic import write_whole

        try:
            write_whole(target, data)
        except OSError as error:
            raise Failure(say.reason(error), target) from error


def check_file(path: str) -> None:
    """Raises Failure where `path` is a folder."""
    if path != STANDARD and os.path.isdir(path):
        msg = "is a folder; name the files in it"
        raise Failure(msg)


def readable(path: str) -> str | bytes:
    """A file that can be read in any order: its name; all of it, where it is standard input, a pipe or a device.

    Raises Failure and OSError.
    """
    check_file(path)
    return read(path) if path == STANDARD or (os.path.exists(path) and not os.path.isfile(path)) else path


def read(path: str) -> bytes:
    """All of a file, or of standard input."""
    check_file(path)
    if path == STANDARD:
        return sys.stdin.buffer.read()
    with open(path, "rb") as file:
        return file.read()
