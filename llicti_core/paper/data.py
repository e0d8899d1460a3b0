"""What the paper's networks are trained on: random crops of images, or single contexts of photographs in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from llicti_core.paper.network import CHANNELS, PAPER_Y_OFFSET, UNIT, to_planes
from llicti_core.spec import BANDS, Y_OFFSET
from llicti_core.training.network import KNOWN, Contexts


def image_paths(folder: Path) -> list[Path]:
    """The files of a folder that Pillow can open by their names, sorted. Raises ValueError where there are none."""
    Image.init()
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in Image.registered_extensions()]
    if not paths:
        msg = f"no images in {folder}"
        raise ValueError(msg)
    return paths


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image as uint8 RGB [height, width, 3]."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


class Crops(torch.utils.data.Dataset):
    """Random crops of images, half of them mirrored: int16 planes [3, size, size], `per_image` an image and epoch."""

    def __init__(self, paths: Sequence[Path], size: int, per_image: int) -> None:
        self.paths, self.size, self.per_image = list(paths), size, per_image

    def __len__(self) -> int:
        return len(self.paths) * self.per_image

    def __getitem__(self, index: int) -> Tensor:
        pixels = read_image(self.paths[index // self.per_image])
        short = [(0, max(0, self.size - length)) for length in pixels.shape[:2]]
        pixels = np.pad(pixels, (*short, (0, 0)), mode="edge")
        top, left = (int(torch.randint(length - self.size + 1, ())) for length in pixels.shape[:2])
        crop = pixels[top : top + self.size, left : left + self.size]
        return torch.from_numpy(to_planes(crop[:, ::-1] if torch.randint(2, ()) else crop))


def from_contexts(contexts: Contexts, band: int) -> tuple[Tensor, Tensor]:
    """The project's own training contexts of a band (an index of spec.BANDS) as this codec's: neighbours
    [n, 3, neighbours] and values [n, 3], scaled.

    Two things are lost, which matter to training little and to coding not at all: colour levels come in steps of two,
    and a neighbour is at most 128 from the mean of the nearest four.
    """
    inputs = contexts.chroma[band]
    level = inputs[:, -CHANNELS:] * inputs.new_tensor([1, 2, 2])
    level[:, 0] += Y_OFFSET - PAPER_Y_OFFSET
    by_channel = inputs[:, : CHANNELS * KNOWN].unflatten(1, (CHANNELS, KNOWN))
    differences = by_channel[..., : len(BANDS[band].neighbours)]
    return (differences + level.unsqueeze(2)) / UNIT, (contexts.residual[band] + level) / UNIT
