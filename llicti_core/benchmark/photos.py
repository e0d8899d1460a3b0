"""The photographs of the benchmark: each folder's, by how many bits their samples have."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from llicti_plugin.cli import deep, depth
from llicti_plugin.cli.batch import Failure

Pixels = NDArray[Any]
"""(height, width, 3), uint8 or uint16."""


@dataclass(frozen=True)
class Group:
    """Photographs that are measured together.

    name: that of their folder. bits: 8 or 16, of a sample in memory. images: pixels by file name.
    """

    name: str
    bits: int
    images: dict[str, Pixels]

    @property
    def largest(self) -> Pixels:
        """The one with the most pixels."""
        return max(self.images.values(), key=lambda pixels: pixels.size)

    @property
    def pixels(self) -> int:
        """Pixels of all."""
        return sum(pixels.size // 3 for pixels in self.images.values())


def read(folder: Path, limit: int | None) -> list[Group]:
    """The RGB images of 8 bits in a folder, and those of more, `limit` at most; says which files it skips.

    Raises OSError, and ValueError where there is none.
    """
    groups: dict[int, Group] = {}
    left = limit
    for path in sorted(folder.iterdir()):
        if left == 0:
            break
        try:
            pixels = read_pixels(path)
        except (Failure, UnidentifiedImageError, IsADirectoryError) as error:
            print(f"skipped {path.name}: {error}", file=sys.stderr)
            continue
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype.name not in ("uint8", "uint16"):
            print(f"skipped {path.name}: {pixels.dtype.name}{list(pixels.shape)} is no RGB image", file=sys.stderr)
            continue
        bits = 8 * pixels.itemsize
        groups.setdefault(bits, Group(folder.name, bits, {})).images[path.name] = pixels
        left = None if left is None else left - 1
    if not groups:
        msg = f"no RGB image in {folder}"
        raise ValueError(msg)
    return [groups[bits] for bits in sorted(groups)]


def read_pixels(path: Path) -> Pixels:
    """The pixels of a file, with all of their bits. Raises Failure where nothing that is installed reads them so."""
    data = path.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        lost = depth.examine(image, io.BytesIO(data)).lost
        if not lost:
            return np.asarray(image)
        return next(deep.read(image.format or "", data, lost)).pixels
