"""`llicti bench PHOTOS`: compare `.llc` with other lossless formats on a folder of photographs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from llicti_core.benchmark import memory, plot, report, speed, startup
from llicti_core.benchmark.codecs import Codec, Pixels, installed, select
from llicti_core.benchmark.load import OtherPrograms


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="llicti bench", description=__doc__)
    parser.add_argument("photos", type=Path, help="folder of 8-bit RGB photographs")
    parser.add_argument("--codecs", nargs="+", metavar="NAME", help="names (jxl-7) or families (jxl); default: all")
    parser.add_argument("--rounds", type=_positive, default=3, help="how often each image is coded (default 3)")
    parser.add_argument("--threads", type=_positive, default=os.cpu_count() or 1, help="for codecs that can use them")
    parser.add_argument("--limit", type=_positive, metavar="N", help="take only the first N photographs")
    parser.add_argument("--output", type=Path, default=Path("benchmarks"), help="folder for the results")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parse(arguments)
    try:
        codecs = select(options.codecs) if options.codecs else installed()
        images = photographs(options.photos, options.limit)
        results = run(codecs, images, options.rounds, options.threads)
    except (OSError, ValueError, speed.NotLosslessError) as error:
        print(f"llicti bench: {error}", file=sys.stderr)
        return 1
    write(results, options.output)
    print((options.output / "results.md").read_text(encoding="utf-8"))
    return 0


def _positive(text: str) -> int:
    """An argument that counts something. Raises ValueError."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def photographs(folder: Path, limit: int | None) -> dict[str, Pixels]:
    """The RGB images in a folder, by name; says which files it skips. Raises ValueError where there is none."""
    images: dict[str, Pixels] = {}
    for path in sorted(folder.iterdir()):
        if len(images) == limit:
            break
        try:
            with Image.open(path) as image:
                if image.mode == "RGB":
                    images[path.name] = np.asarray(image)
                else:
                    print(f"skipped {path.name}: mode {image.mode}", file=sys.stderr)
        except (UnidentifiedImageError, IsADirectoryError):
            print(f"skipped {path.name}: no image", file=sys.stderr)
    if not images:
        msg = f"no RGB image in {folder}"
        raise ValueError(msg)
    return images


def run(codecs: Sequence[Codec], images: dict[str, Pixels], rounds: int, threads: int) -> dict[str, Any]:
    """Measure everything: what results.json holds. Raises NotLosslessError."""
    pixels = list(images.values())
    others = OtherPrograms()
    runs = speed.measure(codecs, pixels, rounds, threads, lambda done: print(done, file=sys.stderr))
    other_cores = others.cores()
    llc, png = startup.measure(np.ascontiguousarray(pixels[0][:64, :64]))
    return {
        "machine": report.machine(),
        "other_programs_cores": other_cores,
        "threads": threads,
        "rounds": rounds,
        "images": {
            "count": len(images),
            "pixels": sum(image.size // 3 for image in pixels),
            "names": list(images),
        },
        "codecs": [asdict(row(codec, runs[codec.name], pixels, threads)) for codec in codecs],
        "startup": {"llc": llc, "png": png, "runs": startup.RUNS},
    }


def row(codec: Codec, runs: Sequence[speed.Runs], images: Sequence[Pixels], threads: int) -> report.Row:
    """A codec's results, its peak memory measured now."""
    largest = max(images, key=lambda image: image.size)
    peaks = memory.measure(codec, largest, threads)
    samples = sum(image.size for image in images)
    size = sum(run.size for run in runs)
    encode, decode = [run.encode for run in runs], [run.decode for run in runs]
    return report.Row(
        name=codec.name,
        label=codec.label,
        threads=threads if codec.threaded else 1,
        rounds=len(encode[0]),
        bytes=size,
        bits_per_subpixel=8 * size / samples,
        encode_speed=samples / 3e6 / speed.seconds(encode),
        decode_speed=samples / 3e6 / speed.seconds(decode),
        encode_spread=speed.spread(encode),
        decode_spread=speed.spread(decode),
        encode_memory=peaks[0] / largest.size if peaks else None,
        decode_memory=peaks[1] / largest.size if peaks else None,
    )


def write(results: dict[str, Any], folder: Path) -> None:
    """Write results.json, results.md and, where matplotlib is installed, results.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "results.md").write_text(report.table(results), encoding="utf-8")
    if find_spec("matplotlib"):
        plot.save([report.Row(**row) for row in results["codecs"]], folder / "results.png")
    else:
        print("llicti bench: no plot, since matplotlib is not installed", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
