"""What the command says: whole lines on standard output and standard error, whatever these can show or take."""

from __future__ import annotations

import errno
import os
import sys
from typing import TextIO

_LONGEST = 400
"""Characters of a reason that are shown: some libraries quote whole files in their errors."""


class OutputError(Exception):
    """Standard output cannot be written: the reason in words, or none where its reader has gone away."""


def shown(path: str | os.PathLike[str]) -> str:
    """A file's name as one line of text: what cannot be printed is escaped, as in Python's strings."""
    return _printable(os.fspath(path))


def reason(error: BaseException) -> str:
    """Why something failed, as one line."""
    said = getattr(error, "strerror", None) or str(error)  # an OSError's text would repeat the file's name
    text = said if isinstance(said, str) else repr(said)
    if not text.strip():
        return "not enough memory" if isinstance(error, MemoryError) else type(error).__name__
    if not isinstance(error, (OSError, ValueError, MemoryError, SyntaxError)):
        text = f"{type(error).__name__}: {text}"  # means little without: a KeyError's text is the key
    return one_line(text)


def one_line(text: str) -> str:
    """A text as one line that is not too long."""
    text = " ".join(text.split())
    return _printable(text if len(text) <= _LONGEST else text[:_LONGEST] + " ...")


def out(line: str) -> None:
    """Print a line on standard output, now. Raises OutputError where it cannot be written."""
    try:
        if sys.stdout is not None:  # as where a process was started without one
            sys.stdout.write(_encodable(line, sys.stdout) + "\n")
            sys.stdout.flush()
    except OSError as error:
        raise failed_output(error) from error


def out_bytes(data: bytes | memoryview) -> None:
    """Write bytes to standard output. Raises OutputError where they cannot be written."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise failed_output(error) from error


def failed_output(error: OSError) -> OutputError:
    """The error to raise where standard output has failed."""
    _drop(sys.stdout)
    return OutputError("" if error.errno == errno.EPIPE else reason(error))


def err(line: str) -> None:
    """Print a line on standard error; where that cannot be written, there is nobody to tell."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(_encodable(f"llicti: {line}", sys.stderr) + "\n")
            sys.stderr.flush()
    except OSError:
        _drop(sys.stderr)
    except ValueError:  # it is closed
        pass


def _drop(stream: TextIO) -> None:
    """Forget what a stream that has failed still holds: Python would try again at its end, and exit with 120."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):
        pass  # not a file of the system's: a test's, or a notebook's


def _printable(text: str) -> str:
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def _encodable(text: str, stream: TextIO) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
