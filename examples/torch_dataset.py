"""Feeds a folder of .llc photographs to PyTorch: worker processes open them with Pillow and cut random squares.

    python examples/torch_dataset.py PHOTOS --crop 256 --batch 16 --workers 4

Nothing of LLICTI is imported; that it is installed is enough, in the workers too.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset


class PhotographFolder(Dataset):
    """Squares from the .llc files of a folder, uint8 [3, crop, crop], another part of the photograph each time."""

    def __init__(self, folder: Path, crop: int) -> None:
        self.paths = sorted(folder.glob("*.llc"))
        self.crop = crop

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as image:
            if min(image.size) < self.crop:
                msg = f"{self.paths[index]} is {image.width} x {image.height}, smaller than {self.crop}"
                raise ValueError(msg)
            left = int(torch.randint(image.width - self.crop + 1, ()))
            top = int(torch.randint(image.height - self.crop + 1, ()))
            square = image.crop((left, top, left + self.crop, top + self.crop)).convert("RGB")
        return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Load .llc photographs in batches, and say how fast.")
    parser.add_argument("photos", type=Path, help="folder of .llc files")
    parser.add_argument("--crop", type=int, default=256, help="side of the squares, in pixels")
    parser.add_argument("--batch", type=int, default=16, help="squares in a batch")
    parser.add_argument("--workers", type=int, default=2, help="processes that open files")
    args = parser.parse_args()

    dataset = PhotographFolder(args.photos, args.crop)
    if not dataset:
        parser.error(f"there are no .llc files in {args.photos}")
    loader = DataLoader(dataset, args.batch, shuffle=True, num_workers=args.workers)
    start = time.perf_counter()
    total = torch.zeros(3, dtype=torch.float64)
    for batch in loader:
        total += batch.double().mean((2, 3)).sum(0)
    seconds = time.perf_counter() - start
    red, green, blue = (total / len(dataset)).tolist()
    print(f"{len(dataset)} photographs in {len(loader)} batches, {len(dataset) / seconds:.1f} a second")
    print(f"mean red {red:.3f}, green {green:.3f}, blue {blue:.3f}")


if __name__ == "__main__":
    main()
