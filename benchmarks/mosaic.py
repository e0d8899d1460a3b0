"""One photograph of 12 megapixels out of many smaller ones, for the benchmark: mosaic.py FOLDER OUT.PNG.

The tiles are as large as the folder allows without using any pixel twice, since a codec may find what is repeated. They
are taken from the photographs in the order of their names: first one of each, then a second, and so on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

WIDTH, HEIGHT = 4032, 3024
"""What telephones' cameras take."""

SIDES = (1, 2, 3, 4, 6, 7, 8, 9, 12, 14, 16)
"""Tiles in a row, as many as in a column."""


def mosaic(photographs: Sequence[Image.Image], width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """An image of that size out of tiles of these. Raises ValueError where they are too few or too small."""
    for side in SIDES:
        tile = width // side, height // side
        boxes = _boxes(photographs, *tile)
        if len(boxes) >= side * side:
            break
    else:
        msg = f"{len(photographs)} photographs do not fill {width}x{height} pixels"
        raise ValueError(msg)
    image = Image.new("RGB", (width, height))
    for place, (photograph, box) in enumerate(boxes[: side * side]):
        row, column = divmod(place, side)
        image.paste(photograph.crop(box), (column * tile[0], row * tile[1]))
    return image


def _boxes(
    photographs: Sequence[Image.Image], width: int, height: int
) -> list[tuple[Image.Image, tuple[int, int, int, int]]]:
    """The tiles of that size that the photographs hold: the first of each, then the second of each ..."""
    found = []
    for order, photograph in enumerate(photographs):
        columns, rows = photograph.width // width, photograph.height // height
        for number in range(columns * rows):
            x, y = number % columns * width, number // columns * height
            found.append((number, order, photograph, (x, y, x + width, y + height)))
    return [(photograph, box) for _, _, photograph, box in sorted(found, key=lambda entry: entry[:2])]


def read(folder: Path) -> list[Image.Image]:
    """The RGB images in a folder, in the order of their names."""
    images = []
    for path in sorted(folder.iterdir()):
        try:
            with Image.open(path) as image:
                if image.mode == "RGB":
                    images.append(image.copy())
        except (UnidentifiedImageError, IsADirectoryError):
            continue
    return images


def main(folder: str, out: str) -> int:
    """Run the command; returns the exit status."""
    try:
        mosaic(read(Path(folder))).save(out)
    except (OSError, ValueError) as error:
        print(f"mosaic: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
