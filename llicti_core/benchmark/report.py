"""What the benchmark writes: results.json, and the same as a table in Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llicti_core.engines.native import instruction_sets

BASELINE = "jxl-7"
"""The codec that the table's relative columns refer to: JPEG XL at its default effort."""

_PACKAGES = ("llicti", "numpy", "pillow", "imagecodecs")
_LIBRARIES = ("libjxl", "libwebp", "openjpeg", "charls", "libpng", "zlib")


@dataclass(frozen=True)
class Row:
    """The results of one codec.

    threads: those it could use. rounds: those it was timed in. encode_speed, decode_speed: megapixels a second.
    encode_spread, decode_spread: how far apart the rounds are (speed.spread). encode_memory, decode_memory: what coding
    the largest image adds at its peak, relative to the size of its pixels (memory.measure).
    """

    name: str
    label: str
    threads: int
    rounds: int
    bytes: int
    bits_per_subpixel: float
    encode_speed: float
    decode_speed: float
    encode_spread: float | None
    decode_spread: float | None
    encode_memory: float | None
    decode_memory: float | None
    lossless: bool = True


def machine() -> dict[str, Any]:
    """What the numbers depend on: processor, instruction sets, system, versions."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "instruction_set": os.environ.get("LLICTI_ISA") or instruction_sets()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": _versions(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _versions() -> dict[str, str]:
    """The versions of the packages, and of the libraries in imagecodecs."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    if "imagecodecs" in versions:
        import imagecodecs

        libraries = imagecodecs.version(dict)
        versions |= {name: str(libraries[name]) for name in _LIBRARIES if name in libraries}
    return versions


def table(results: dict[str, Any]) -> str:
    """The results in Markdown: what was measured and how, then a line for each codec, smallest files first."""
    rows = [Row(**row) for row in results["codecs"]]
    return "\n\n".join([_preamble(results), _rows(rows), _notes(results, rows)]) + "\n"


def _preamble(results: dict[str, Any]) -> str:
    machine, images = results["machine"], results["images"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return (
        f"{images['count']} images, {images['pixels'] / 1e6:.1f} Mpixel, 8-bit RGB. {results['threads']} threads for "
        f"the codecs that can use them, on {machine['cores']} cores: {machine['processor']} "
        f"({machine['instruction_set']}), {machine['system']}, Python {machine['python']}, {versions}."
    )


def _rows(rows: Sequence[Row]) -> str:
    baseline = next((row for row in rows if row.name == BASELINE), None)
    columns: list[tuple[str, Callable[[Row], str]]] = [
        ("bits per sub-pixel", lambda row: f"{row.bits_per_subpixel:.3f}"),
        ("encode Mpixel/s", lambda row: f"{row.encode_speed:.3g}"),
        ("decode Mpixel/s", lambda row: f"{row.decode_speed:.3g}"),
    ]
    if baseline:
        columns += [
            ("size ×", lambda row: f"{row.bytes / baseline.bytes:.3f}"),
            ("encode speed ×", lambda row: f"{row.encode_speed / baseline.encode_speed:.3g}"),
            ("decode speed ×", lambda row: f"{row.decode_speed / baseline.decode_speed:.3g}"),
        ]
    columns += [
        ("encode memory", lambda row: _optional(row.encode_memory)),
        ("decode memory", lambda row: _optional(row.decode_memory)),
        ("threads", lambda row: str(row.threads)),
        ("rounds", lambda row: str(row.rounds)),
    ]
    lines = [
        "| codec | " + " | ".join(title for title, _ in columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    for row in sorted(rows, key=lambda row: row.bytes):
        lines.append(f"| {row.label} | " + " | ".join(cell(row) for _, cell in columns) + " |")
    return "\n".join(lines)


def _optional(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1f}"


def _notes(results: dict[str, Any], rows: Sequence[Row]) -> str:
    rounds, startup = results["rounds"], results["startup"]
    notes = [
        "Every decoded image was compared with the original, pixel for pixel, every time. In each round each image "
        "went through one codec after the other; times are medians over the rounds, file access left out.",
    ]
    once = [row.label for row in rows if row.rounds < rounds]
    if once:
        notes.append(
            f"{' and '.join(once)} took part in the first of the {rounds} rounds only, since an image takes "
            "seconds: these times are single measurements."
        )
    if results["other_programs_cores"] is not None:
        notes.append(
            f"Other programs kept {results['other_programs_cores']:.2f} of the cores busy meanwhile, on average."
        )
    if any(row.name == BASELINE for row in rows):
        notes.append("Columns with × are relative to JPEG XL at effort 7, its default: below 1 is smaller, or slower.")
    if any(row.encode_memory is not None for row in rows):
        notes.append(
            "Memory is what coding the largest image adds to a process's resident set at the peak, in multiples of the "
            "size of its pixels, each codec in a process of its own."
        )
    notes.append(
        f"Start-up: a new Python process that opens a 64x64 image with Pillow takes {1e3 * startup['llc']:.0f} ms as "
        f".llc, {1e3 * startup['png']:.0f} ms as PNG: {startup['llc'] / startup['png']:.2f} times as long (medians of "
        f"{startup['runs']} processes each, in turn)."
    )
    return "\n\n".join(notes)
