"""`llicti bench FOLDER...`: compare `.llc` with other lossless formats on folders of photographs."""

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

from llicti_core.benchmark import memory, photos, plot, report, speed, startup
from llicti_core.benchmark.codecs import Codec, installed, select
from llicti_core.benchmark.load import OtherPrograms

_LARGE = 1 << 20
"""Pixels of an image with which nothing is measured that can be left out: memory of slow codecs, repetitions."""

_GAIN_ROUNDS = 5
"""How often a smaller one is coded to learn what threads gain: in tenths of a second any other program tells."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="llicti bench", description=__doc__)
    parser.add_argument("photos", nargs="+", type=Path, metavar="FOLDER", help="RGB photographs, of 8 bits or of more")
    parser.add_argument("--codecs", nargs="+", metavar="NAME", help="names (jxl-7) or families (jxl); default: all")
    parser.add_argument("--rounds", type=_positive, default=3, help="how often each image is coded (default 3)")
    parser.add_argument("--threads", type=_positive, default=os.cpu_count() or 1, help="for codecs that can use them")
    parser.add_argument("--limit", type=_positive, metavar="N", help="take only the first N photographs of each folder")
    parser.add_argument("--output", type=Path, default=Path("benchmarks"), help="folder for the results")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status. Raises OSError and ValueError, of which `llicti` tells."""
    options = parse(arguments)
    try:
        codecs = select(options.codecs) if options.codecs else installed()
        groups = [group for folder in options.photos for group in photos.read(folder, options.limit)]
        options.output.mkdir(parents=True, exist_ok=True)  # a folder that cannot be made is told before, not after
        results = run(codecs, groups, options.rounds, options.threads)
        write(results, options.output)
    except speed.NotLosslessError as error:
        print(f"llicti bench: {error}", file=sys.stderr)
        return 1
    print((options.output / "results.md").read_text(encoding="utf-8"))
    return 0


def _positive(text: str) -> int:
    """An argument that counts something. Raises ValueError."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def run(codecs: Sequence[Codec], groups: Sequence[photos.Group], rounds: int, threads: int) -> dict[str, Any]:
    """Measure everything: what results.json holds. Raises NotLosslessError."""
    small = next((pixels for group in groups if group.bits == 8 for pixels in group.images.values()), None)
    return {
        "machine": report.machine(),
        "threads": threads,
        "rounds": rounds,
        "startup": None if small is None else startup.measure(np.ascontiguousarray(small[:64, :64])),
        "groups": [measure(group, codecs, rounds, threads) for group in groups],
    }


def measure(group: photos.Group, codecs: Sequence[Codec], rounds: int, threads: int) -> dict[str, Any]:
    """One group of results.json: every codec that can hold its bits. Raises NotLosslessError."""

    def progress(done: str) -> None:
        print(f"{group.name}, {group.bits} bits: {done}", file=sys.stderr)

    able = [codec for codec in codecs if group.bits in codec.depths]
    others = OtherPrograms()
    runs = speed.measure(able, list(group.images.values()), rounds, threads, progress)
    other_cores = others.cores()
    quick = [codec for codec in able if codec.threaded and not codec.slow]
    gains = speed.gains(quick, group.largest, threads, 1 if group.largest.size // 3 > _LARGE else _GAIN_ROUNDS)
    return {
        "name": group.name,
        "bits": group.bits,
        "pixels": group.pixels,
        "images": list(group.images),
        "unable": [codec.label for codec in codecs if codec not in able],
        "other_programs_cores": other_cores,
        "codecs": [asdict(row(codec, group, runs[codec.name], gains.get(codec.name), threads)) for codec in able],
    }


def row(
    codec: Codec, group: photos.Group, runs: Sequence[speed.Runs], gain: tuple[float, float] | None, threads: int
) -> report.Row:
    """A codec's results, its peak memory measured now."""
    largest = group.largest
    takes_long = codec.slow and largest.size // 3 > _LARGE
    peaks = None if takes_long else memory.measure(codec, largest, threads)
    size = sum(run.size for run in runs)
    encode, decode = [run.encode for run in runs], [run.decode for run in runs]
    return report.Row(
        name=codec.name,
        label=codec.label,
        threads=threads if codec.threaded else 1,
        rounds=len(encode[0]),
        bytes=size,
        bits_per_subpixel=8 * size / (3 * group.pixels),
        encode_speed=group.pixels / 1e6 / speed.seconds(encode),
        decode_speed=group.pixels / 1e6 / speed.seconds(decode),
        encode_spread=speed.spread(encode),
        decode_spread=speed.spread(decode),
        encode_gain=gain[0] if gain else None,
        decode_gain=gain[1] if gain else None,
        encode_memory=peaks[0] / largest.nbytes if peaks else None,
        decode_memory=peaks[1] / largest.nbytes if peaks else None,
    )


def write(results: dict[str, Any], folder: Path) -> None:
    """Write results.json, results.md and, where matplotlib is installed, results.png: of the first group."""
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "results.md").write_text(report.document(results), encoding="utf-8")
    if find_spec("matplotlib"):
        first = results["groups"][0]
        plot.save([report.Row(**row) for row in first["codecs"]], first["name"], folder / "results.png")
    else:
        print("llicti bench: no plot, since matplotlib is not installed", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
