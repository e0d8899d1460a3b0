"""Netpbm's PBM, PGM and PPM files: their header, and their samples as they are, which Pillow would scale."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_HEADER = 2**16
"""Bytes in which a header must end: comments in it may be long."""

_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"


class Header(NamedTuple):
    """kind: the digit of its signature. maximum: the sample that means white. start: the first byte of the samples."""

    kind: int
    width: int
    height: int
    maximum: int
    start: int


def read_header(data: bytes) -> Header | None:
    """The header of a file that begins so; None where it is none."""
    kind = data[1:2]
    if data[:1] != b"P" or kind not in b"123456":
        return None
    numbers = 2 if kind in b"14" else 3
    found = re.match(rb"P[1-6]" + numbers * (_SPACE + rb"(\d{1,9})"), data[:MAX_HEADER])
    if not found:
        return None
    width, height, maximum = (*map(int, found.groups()), 1)[:3]
    return Header(int(kind), width, height, maximum, found.end() + 1)


def read(data: bytes) -> tuple[NDArray[Any], int]:
    """The samples of a PGM or PPM of any maximum, uint8 or uint16; and how many bytes come after them.

    Raises ValueError where it is damaged.
    """
    import numpy as np

    header = read_header(data)
    if header is None or header.kind not in (2, 3, 5, 6) or not 0 < header.maximum < 2**16:
        msg = "not a PGM or PPM file"
        raise ValueError(msg)
    dtype = np.dtype(">u2" if header.maximum > 255 else "u1")
    shape = (header.height, header.width, 3) if header.kind in (3, 6) else (header.height, header.width)
    count = header.height * header.width * (3 if header.kind in (3, 6) else 1)
    rest = data[header.start :]
    if header.kind > 3:
        if len(rest) < count * dtype.itemsize:
            msg = "file ends before its samples do"
            raise ValueError(msg)
        return np.frombuffer(rest, dtype, count).reshape(shape), len(rest) - count * dtype.itemsize
    words = re.sub(rb"#[^\r\n]*", b"", rest).split()
    if len(words) < count:
        msg = "file ends before its samples do"
        raise ValueError(msg)
    samples = np.array([int(word) for word in words[:count]], np.int64)
    if count and not 0 <= samples.min() <= samples.max() <= header.maximum:
        msg = f"a sample is not in 0 to {header.maximum}"
        raise ValueError(msg)
    return samples.astype(dtype).reshape(shape), 0
