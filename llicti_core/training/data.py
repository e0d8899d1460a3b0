"""Photographs in memory, and random contexts drawn from them with one gather."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from llicti_core.color import rgb_to_ycocg
from llicti_core.spec import BACK, BANDS, BIAS_LEVELS, INPUT_MAX, INPUT_MIN
from llicti_core.training.network import KNOWN, MORE, Contexts

MARGIN = 4 << (BIAS_LEVELS - 1)
"""Pixels that a context reaches from its centre at the coarsest level drawn."""

NATURAL = tuple(4.0**-level for level in range(BIAS_LEVELS))
"""How often each level occurs in an image, but for a factor."""

LOST_ABOVE, LOST_LEFT, LOST_SECOND_LEFT, LOST_RIGHT = 0.02, 0.01, 0.01, 0.01
"""How often a place of the own band is shown as missing: the row above, all on the left, the second on the left, the
one on the right. In a file they are missing at the edges of a tile and, above, of a stream."""


class Photographs:
    """The pixels of many photographs, YCoCg-R int16, end to end in one tensor [pixels, 3]."""

    def __init__(self, images: Sequence[np.ndarray], device: torch.device | str = "cpu") -> None:
        """images: uint8 [height, width, 3] each; those with a side shorter than 2 * MARGIN + 1 are left out.

        Raises ValueError where none is left.
        """
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
        window = torch.zeros(3, KNOWN + MORE + len(BACK), 2, dtype=torch.int64)
        used = torch.zeros(3, KNOWN + MORE + len(BACK))
        for index, band in enumerate(BANDS):
            known = [(dy, dx) for _, dy, dx in band.neighbours]
            for start, places in ((0, known), (KNOWN, band.more_luma), (KNOWN + MORE, BACK)):
                window[index, start : start + len(places)] = torch.tensor(places)
                used[index, start : start + len(places)] = 1
        self._window, self._used = window.to(device), used.to(device)
        self._nearest = torch.tensor([band.nearest for band in BANDS], device=device)
        self._parity = torch.tensor([(band.row, band.column) for band in BANDS], device=device)

    @classmethod
    def from_folder(cls, folder: str | Path, device: torch.device | str = "cpu") -> Photographs:
        """Every image of `folder` that Pillow can open, as RGB."""
        images = []
        for path in sorted(Path(folder).iterdir()):
            if path.suffix.lower() in Image.registered_extensions():
                with Image.open(path) as image:
                    images.append(np.asarray(image.convert("RGB")))
        return cls(images, device)

    def draw(
        self, count: int, cumulative: Tensor, generator: torch.Generator | None = None, aligned: bool = False
    ) -> Contexts:
        """`count` random contexts of each band.

        cumulative: how often levels below 1, 2, ... are drawn, see `cumulative_shares`. generator: None for the
            device's own, which is what a captured CUDA graph replays. aligned: at the places that the band has in a
            file, with all neighbours; else at any place, flipped at random, some neighbours of the own band missing.
        """
        device = self.device
        places = torch.rand(3, count, generator=generator, device=device, dtype=torch.float64)
        centre = (places * len(self.pixels)).long()
        image = torch.searchsorted(self.ends, centre, right=True)
        height, width, offset = self.heights[image], self.widths[image], self.offsets[image]
        chance = torch.rand(3, count, generator=generator, device=device)
        level = torch.bucketize(chance, cumulative, right=True)
        half = torch.ones_like(level) << level
        row, column = (centre - offset) // width, (centre - offset) % width
        if aligned:
            row = _aligned(row, height, half, self._parity[:, :1])
            column = _aligned(column, width, half, self._parity[:, 1:])
            flips = torch.ones(2, 3, count, dtype=torch.int64, device=device)
            present = torch.ones(3, count, len(BACK), device=device)
        else:
            row = torch.minimum(torch.maximum(row, 4 * half), height - 1 - 4 * half)
            column = torch.minimum(torch.maximum(column, 4 * half), width - 1 - 4 * half)
            flips = torch.randint(2, (2, 3, count), generator=generator, device=device) * 2 - 1
            present = _present(torch.rand(3, count, generator=generator, device=device))
        centre = offset + row * width + column
        dy, dx = self._window[:, None, :, 0], self._window[:, None, :, 1]
        down, right = flips[0] * half * width, flips[1] * half
        index = centre.unsqueeze(2) + down.unsqueeze(2) * dy + right.unsqueeze(2) * dx
        return self._contexts(self.pixels[index].float(), self.pixels[centre].float(), present, level)

    def _contexts(self, values: Tensor, target: Tensor, present: Tensor, level: Tensor) -> Contexts:
        """From gathered values, [3, n, places, 3], and the pixels' own, [3, n, 3]."""
        nearest = self._nearest[:, None, :, None].expand(3, values.shape[1], 4, 3)
        base = torch.floor((torch.gather(values, 2, nearest).sum(dim=2) + 2) / 4)
        difference = (values - base.unsqueeze(2)).clamp(INPUT_MIN, INPUT_MAX) * self._used[:, None, :, None]
        known, more, back = difference.split((KNOWN, MORE, len(BACK)), dim=2)
        back = back * present.unsqueeze(3)
        halves = torch.floor(base[..., 1:] / 2)
        luma = torch.cat((known[..., 0], back[..., 0], base[..., :1]), dim=2)
        chroma = (known.transpose(2, 3).flatten(2), more[..., 0], back[..., 1], back[..., 2], base[..., :1], halves)
        return Contexts(luma, torch.cat(chroma, dim=2), target - base, level)


def cumulative_shares(weights: Sequence[float], device: torch.device | str = "cpu") -> Tensor:
    """For Photographs.draw: the share of contexts of levels below 1, 2, ..., from each level's weight."""
    shares = np.cumsum(weights) / np.sum(weights)
    return torch.tensor(shares[:-1], dtype=torch.float32, device=device)


def _aligned(position: Tensor, size: Tensor, half: Tensor, parity: Tensor) -> Tensor:
    """The nearest place of a band's row or column that a context fits around."""
    reach, step = 4 * half, 2 * half
    position = position // step * step + parity * half
    position = position + torch.clamp((reach - position + step - 1) // step, min=0) * step
    return position - torch.clamp((position - (size - 1 - reach) + step - 1) // step, min=0) * step


def _present(chance: Tensor) -> Tensor:
    """Which places of the own band are there, 0 or 1 [..., len(BACK)]: W, WW, NW, N, NE; from numbers in 0..1."""
    above = chance < LOST_ABOVE
    chance = chance - LOST_ABOVE
    left = (chance >= 0) & (chance < LOST_LEFT)
    chance = chance - LOST_LEFT
    second = (chance >= 0) & (chance < LOST_SECOND_LEFT)
    chance = chance - LOST_SECOND_LEFT
    right = (chance >= 0) & (chance < LOST_RIGHT)
    lost = torch.stack((left, left | second, left | above, above, above | right), dim=-1)
    return 1 - lost.float()


def validation_batch(photographs: Photographs, count: int) -> Contexts:
    """A fixed batch of `count` contexts of each band, aligned, levels as often as they are in an image."""
    generator = torch.Generator(photographs.device).manual_seed(0)
    return photographs.draw(count, cumulative_shares(NATURAL, photographs.device), generator, aligned=True)
