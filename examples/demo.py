"""Codes photographs as .llc, PNG and lossless WebP, checks every pixel, and compares size and time.

The format is used here as in any program: through Pillow and imageio. Nothing of LLICTI is
imported; that it is installed is enough.

    python examples/demo.py                      sample photographs of scikit-image
    python examples/demo.py PHOTOS -o OUTPUT     a folder of photographs
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from PIL import Image, UnidentifiedImageError, features

MODES = ("RGB", "L")
SAMPLES = (
    "astronaut",
    "chelsea",
    "coffee",
    "immunohistochemistry",
    "stereo_motorcycle",
    "camera",
    "coins",
    "grass",
    "gravel",
    "moon",
)
WEBP_LARGEST_SIDE = 16383

HEADER = f"{'image':28}{'format':8}{'bytes':>12}{'bits/sub-pixel':>16}{'% of PNG':>10}{'encode s':>10}{'decode s':>10}"


@dataclass(frozen=True)
class Format:
    """A file format under comparison and how Pillow is asked for it."""

    name: str
    suffix: str
    options: dict[str, Any]


PNG = Format("PNG", ".png", {})
WEBP = Format("WebP", ".webp", {"lossless": True})
LLC = Format("LLC", ".llc", {})


@dataclass
class Sum:
    """Bytes, sub-pixels and seconds of one file, or added up over several."""

    bytes: int = 0
    samples: int = 0
    encode: float = 0.0
    decode: float = 0.0

    def __iadd__(self, other: Sum) -> Sum:
        self.bytes += other.bytes
        self.samples += other.samples
        self.encode += other.encode
        self.decode += other.decode
        return self


def sample_photographs() -> Iterator[tuple[str, Image.Image]]:
    """Photographs that lie in scikit-image's own package, so that nothing is downloaded."""
    try:
        from skimage import data
    except ImportError:
        sys.exit("The sample photographs need scikit-image (pip install scikit-image); or name a folder.")
    for name in SAMPLES:
        pixels = getattr(data, name)()
        if isinstance(pixels, tuple):  # a stereo pair and its depth: the left photograph
            pixels = pixels[0]
        yield name, Image.fromarray(pixels)


def photographs_in(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    """Every image in a folder that Pillow can open; says which others it skips."""
    for path in sorted(folder.iterdir()):
        if not path.is_file():
            continue
        try:
            with Image.open(path) as image:
                image.load()
                yield path.name, image
        except UnidentifiedImageError:
            print(f"skipped {path.name}: Pillow knows no such image\n")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            print(f"skipped {path.name}: {error}\n")


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a call and the seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def open_pixels(path: Path) -> np.ndarray:
    """Decodes a file with Pillow."""
    with Image.open(path) as image:
        image.load()
        return np.asarray(image)


def same_pixels(decoded: np.ndarray, pixels: np.ndarray) -> bool:
    """Whether both hold the same image. WebP has no grey: it gives grey back in three equal channels."""
    if decoded.ndim > pixels.ndim:
        pixels = np.repeat(pixels[..., np.newaxis], decoded.shape[2], axis=2)
    return decoded.dtype == pixels.dtype and np.array_equal(decoded, pixels)


def code(image: Image.Image, fmt: Format, path: Path) -> tuple[Sum, list[str]]:
    """Saves and reopens one image; returns what it took, and a line for each difference found."""
    pixels = np.asarray(image)
    _, encode = timed(lambda: image.save(path, **fmt.options))
    decoded, decode = timed(lambda: open_pixels(path))
    differences = []
    if not same_pixels(decoded, pixels):
        differences.append(f"MISMATCH: {path} opened by Pillow")
    if fmt is LLC:
        with Image.open(path) as reopened:
            if reopened.mode != image.mode or reopened.size != image.size:
                differences.append(f"MISMATCH: {path} has mode {reopened.mode} and size {reopened.size}")
        if not np.array_equal(iio.imread(path), pixels):
            differences.append(f"MISMATCH: {path} opened by imageio")
    return Sum(path.stat().st_size, pixels.size, encode, decode), differences


def warm_up(formats: list[Format]) -> None:
    """Codes a tiny image in each format, so that loading of codecs and models is not timed."""
    known = Image.registered_extensions()
    if LLC.suffix not in known:
        sys.exit("Pillow does not know .llc: is llicti installed in this Python, and LLICTI_AUTOLOAD not 0?")
    for fmt in formats:
        for mode in MODES:
            buffer = io.BytesIO()
            Image.new(mode, (64, 64)).save(buffer, known[fmt.suffix], **fmt.options)
            buffer.seek(0)
            with Image.open(buffer) as image:
                image.load()


def print_rows(title: list[str], sums: dict[str, Sum]) -> None:
    """Prints one line for each format, the lines of the title beside them."""
    for line, (name, took) in enumerate(sums.items()):
        text = title[line] if line < len(title) else ""
        rate = 8 * took.bytes / took.samples
        percent = 100 * took.bytes / sums[PNG.name].bytes
        print(
            f"{text[:27]:28}{name:8}{took.bytes:12,}{rate:16.3f}{percent:10.1f}{took.encode:10.3f}{took.decode:10.3f}"
        )
    print()


def unused(name: str, used: set[str]) -> str:
    """A name for output files that no earlier image has: a.jpg and a.png must not share one."""
    stem = Path(name).stem
    candidate, count = stem, 2
    while candidate.lower() in used:
        candidate, count = f"{stem}-{count}", count + 1
    used.add(candidate.lower())
    return candidate


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare .llc with PNG and lossless WebP on photographs.")
    parser.add_argument("photos", nargs="?", type=Path, help="folder (default: scikit-image's samples)")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output"), help="folder to write to")
    args = parser.parse_args()
    if args.photos is not None and not args.photos.is_dir():
        parser.error(f"{args.photos} is no folder")
    args.output.mkdir(parents=True, exist_ok=True)
    if args.photos is not None and args.photos.samefile(args.output):
        parser.error("the output would overwrite the photographs: choose another folder with -o")

    formats = [PNG, WEBP, LLC] if features.check("webp") else [PNG, LLC]
    warm_up(formats)
    print("Pixels only, without metadata. PNG and LLC as Pillow saves them by default; WebP lossless.\n")
    print(HEADER)
    print("-" * len(HEADER))

    totals = {fmt.name: Sum() for fmt in formats}
    differences: list[str] = []
    used: set[str] = set()
    count = 0
    for name, original in sample_photographs() if args.photos is None else photographs_in(args.photos):
        if original.mode not in MODES:
            print(f"skipped {name}: mode {original.mode}; compared are {' and '.join(MODES)}\n")
            continue
        if WEBP in formats and max(original.size) > WEBP_LARGEST_SIDE:
            print(f"skipped {name}: too large for WebP, the comparison would not be like for like\n")
            continue
        image = Image.fromarray(np.asarray(original))
        stem = unused(name, used)
        rows = {}
        for fmt in formats:
            took, found = code(image, fmt, args.output / (stem + fmt.suffix))
            rows[fmt.name] = took
            totals[fmt.name] += took
            differences += found
        print_rows([name, f"{image.width} x {image.height} {image.mode}"], rows)
        count += 1

    if not count:
        print("No photograph was coded.", file=sys.stderr)
        return 1
    print_rows(["total", f"{count} images"], totals)
    for line in differences:
        print(line, file=sys.stderr)
    if differences:
        return 1
    print(f"Every pixel came back, through Pillow and through imageio. The files are in {args.output}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
