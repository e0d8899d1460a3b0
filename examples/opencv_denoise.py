"""Denoises a photograph with OpenCV, from one .llc file to another.

    python examples/opencv_denoise.py noisy.llc clean.llc

OpenCV knows no .llc itself, and keeps colours as blue, green, red; imageio reads and writes red, green, blue.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np


def read(path: Path) -> np.ndarray:
    """A grey image, or a colour image as OpenCV wants it: BGR."""
    pixels = iio.imread(path)
    return pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)


def write(path: Path, pixels: np.ndarray) -> None:
    """Writes what `read` gives."""
    iio.imwrite(path, pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def main() -> None:
    parser = argparse.ArgumentParser(description="Denoise a photograph with OpenCV.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--strength", type=float, default=5, help="about the noise's standard deviation")
    args = parser.parse_args()

    pixels = read(args.source)
    if pixels.ndim == 2:
        cleaned = cv2.fastNlMeansDenoising(pixels, None, args.strength)
    else:
        cleaned = cv2.fastNlMeansDenoisingColored(pixels, None, args.strength, args.strength)
    write(args.target, cleaned)


if __name__ == "__main__":
    main()
