"""Reduces a colour photograph to superpixels with scikit-image, from one .llc file to another.

    python examples/scikit_image_superpixels.py photo.llc superpixels.llc --segments 400

scikit-image reads and writes files through imageio, and so knows .llc as soon as LLICTI is installed.
"""

from __future__ import annotations

import argparse

from skimage.color import label2rgb
from skimage.io import imread, imsave
from skimage.segmentation import slic
from skimage.util import img_as_ubyte


def main() -> None:
    parser = argparse.ArgumentParser(description="Reduce a photograph to superpixels with scikit-image.")
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--segments", type=int, default=400, help="superpixels, about")
    args = parser.parse_args()

    pixels = imread(args.source)
    labels = slic(pixels, args.segments, start_label=1)
    imsave(args.target, img_as_ubyte(label2rgb(labels, pixels, kind="avg", bg_label=0)))
    print(f"{labels.max()} superpixels")


if __name__ == "__main__":
    main()
