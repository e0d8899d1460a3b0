"""Photographs in memory, and random contexts drawn from them with one gather a band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from llicti_core.color import rgb_to_ycocg
from llicti_core.spec import BANDS, LEVELS, Band

MARGIN = 3 << (LEVELS - 1)
"""Pixels that a context reaches from its centre at the coarsest scale."""


@dataclass
class Contexts:
    """A batch: inputs [n, 3 * neighbours + 3] as the codec makes them, residuals [n, 3], scales [n]."""

    inputs: Tensor
    residual: Tensor
    scale: Tensor


class Photographs:
    """The pixels of many photographs, YCoCg-R int16, end to end in one tensor [pixels, 3]."""

    def __init__(self, images: Sequence[np.ndarray], device: torch.device | str = "cpu") -> None:
        """images: uint8 [height, width, 3] each, both at least 2 * MARGIN + 1."""
        least = 2 * MARGIN + 1
        kept = [image for image in images if min(image.shape[:2]) >= least]
        if not kept:
            msg = f"no photograph of at least {least}x{least} pixels to draw contexts from"
            raise ValueError(msg)
        flat = [rgb_to_ycocg(image).reshape(-1, 3) for image in kept]
        self.pixels = torch.from_numpy(np.concatenate(flat)).to(device)
        sizes = torch.tensor([image.shape[:2] for image in kept], dtype=torch.int64, device=device)
        self.heights, self.widths = sizes.unbind(1)
        self.ends = torch.cumsum(self.heights * self.widths, 0)
        self.offsets = self.ends - self.heights * self.widths
        self.device = self.pixels.device

    @classmethod
    def from_folder(cls, folder: str | Path, device: torch.device | str = "cpu") -> Photographs:
        """Every image of `folder` that Pillow can open, as RGB."""
        images = []
        for path in sorted(Path(folder).iterdir()):
            if path.suffix.lower() in Image.registered_extensions():
                with Image.open(path) as image:
                    images.append(np.asarray(image.convert("RGB")))
        return cls(images, device)

    def draw(self, band: Band, count: int, scale_weights: Sequence[float], generator: torch.Generator) -> Contexts:
        """`count` random contexts of `band`: random pixel, scale (by `scale_weights`) and flip."""
        device = self.device
        centre = torch.randint(len(self.pixels), (count,), generator=generator, device=device)
        image = torch.searchsorted(self.ends, centre, right=True)
        height, width, offset = self.heights[image], self.widths[image], self.offsets[image]
        weights = torch.tensor(scale_weights, dtype=torch.float32, device=device)
        scale = torch.multinomial(weights, count, replacement=True, generator=generator)
        half = 1 << scale
        reach = 3 * half
        row = (centre - offset) // width
        column = (centre - offset) - row * width
        row = torch.minimum(torch.maximum(row, reach), height - 1 - reach)
        column = torch.minimum(torch.maximum(column, reach), width - 1 - reach)
        flips = torch.randint(2, (2, count), generator=generator, device=device) * 2 - 1
        centre = offset + row * width + column
        step = torch.stack((flips[0] * half * width, flips[1] * half), dim=1)
        window = torch.tensor([(dy, dx) for _, dy, dx in band.neighbours], device=device)
        index = centre.unsqueeze(1) + (step[:, :1] * window[:, 0] + step[:, 1:] * window[:, 1])
        return _contexts(self.pixels[index], self.pixels[centre], band, scale)


def _contexts(neighbours: Tensor, target: Tensor, band: Band, scale: Tensor) -> Contexts:
    """Inputs and residuals of gathered pixels: neighbours int16 [n, neighbours, 3], target int16 [n, 3]."""
    base = (neighbours[:, list(band.nearest)].sum(dim=1, dtype=torch.int16) + 2) >> 2
    difference = (neighbours - base.unsqueeze(1)).clamp_(-128, 127)
    level = base.clone()
    level[:, 1:] >>= 1
    inputs = torch.cat((difference.transpose(1, 2).flatten(1), level), dim=1)
    return Contexts(inputs, (target - base).float(), scale)


def without_colour(contexts: Contexts, count: int) -> None:
    """Turn the first `count` contexts into those of a grey image, in place."""
    per_channel = (contexts.inputs.shape[1] - 3) // 3
    contexts.inputs[:count, per_channel : 3 * per_channel] = 0
    contexts.inputs[:count, -2:] = 0
    contexts.residual[:count, 1:] = 0


def validation_batches(photographs: Photographs, count: int) -> dict[str, Contexts]:
    """A fixed batch of `count` contexts a band, scales as often as they are in an image."""
    generator = torch.Generator(photographs.device).manual_seed(0)
    weights = [4.0**-scale for scale in range(LEVELS)]
    return {band.name: photographs.draw(band, count, weights, generator) for band in BANDS}
