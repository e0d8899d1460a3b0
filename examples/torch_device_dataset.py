"""Feeds a folder of .llc photographs to PyTorch, decoded on the GPU: a batch of files at once, whose pixels stay there.

    python examples/torch_device_dataset.py PHOTOS --device cuda --crop 256 --batch 16

Without worker processes: only the bytes of files are read here. `--device cpu` needs no GPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

import llicti_core.torch


class DeviceFolder(Dataset):
    """Squares from the .llc files of a folder, uint8 [3, crop, crop] on a device, another part each time."""

    def __init__(self, folder: Path, crop: int, device: str) -> None:
        self.paths = sorted(folder.glob("*.llc"))
        self.crop, self.device = crop, device

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[torch.Tensor]:
        """A batch; DataLoader calls this where a dataset has it."""
        files = [self.paths[index].read_bytes() for index in indices]
        images = llicti_core.torch.decode_batch(files, device=self.device)
        return [self.square(image, self.paths[index]) for image, index in zip(images, indices, strict=True)]

    def square(self, image: torch.Tensor, path: Path) -> torch.Tensor:
        channels, height, width = image.shape
        if min(height, width) < self.crop:
            msg = f"{path} is {width} x {height}, smaller than {self.crop}"
            raise ValueError(msg)
        # Where to cut is decided on the host, so that nothing waits for the device.
        top = int(torch.randint(height - self.crop + 1, ()))
        left = int(torch.randint(width - self.crop + 1, ()))
        colours = image if channels >= 3 else image[:1].expand(3, -1, -1)
        return colours[:3, top : top + self.crop, left : left + self.crop]


def main() -> None:
    parser = argparse.ArgumentParser(description="Load .llc photographs in batches on a device, and say how fast.")
    parser.add_argument("photos", type=Path, help="folder of .llc files")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 ..., auto or cpu (default: cuda)")
    parser.add_argument("--crop", type=int, default=256, help="side of the squares, in pixels")
    parser.add_argument("--batch", type=int, default=16, help="squares in a batch")
    args = parser.parse_args()

    dataset = DeviceFolder(args.photos, args.crop, args.device)
    if not dataset:
        parser.error(f"there are no .llc files in {args.photos}")
    loader = DataLoader(dataset, args.batch, shuffle=True)
    start = time.perf_counter()
    sums = [batch.double().mean((2, 3)).sum(0) for batch in loader]
    red, green, blue = (torch.stack(sums).sum(0) / len(dataset)).tolist()
    seconds = time.perf_counter() - start
    print(f"{len(dataset)} photographs in {len(loader)} batches, {len(dataset) / seconds:.1f} a second")
    print(f"mean red {red:.3f}, green {green:.3f}, blue {blue:.3f}")


if __name__ == "__main__":
    main()
