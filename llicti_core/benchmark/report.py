"""What the benchmark writes: the rows of results.json, and the same as tables in Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llicti_core.engines.native import instruction_sets
from llicti_core.models import ALIASES

BASELINE = "jxl-7"
"""The codec that the table's relative columns refer to: JPEG XL at its default effort."""

_PACKAGES = ("llicti", "numpy", "pillow", "imagecodecs")
_LIBRARIES = (
    "libjxl",
    "libwebp",
    "openjpeg",
    "openjph",
    "charls",
    "jxrlib",
    "libavif",
    "libtiff",
    "qoi",
    "libpng",
    "zlib",
)


@dataclass(frozen=True)
class Row:
    """The results of one codec.

    threads: those it could use. rounds: those it was timed in. encode_speed, decode_speed: megapixels a second.
    encode_spread, decode_spread: how far apart the rounds are (speed.spread). encode_gain, decode_gain: times as fast
    as with one thread (speed.gains). encode_memory, decode_memory: what coding the largest image adds at its peak,
    relative to the size of its pixels (memory.measure). None: not measured.
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
    encode_gain: float | None
    decode_gain: float | None
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
        "models": ALIASES,
    }


_CPUINFO = Path("/proc/cpuinfo")


def _processor() -> str:
    """The processor's name, with family and model where Linux tells them: names alone can be those of several."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return platform.processor()
    fields: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    parts = [fields.get("model name", "")]
    parts += [f"{word} {fields[key]}" for word, key in (("family", "cpu family"), ("model", "model")) if key in fields]
    return ", ".join(part for part in parts if part)


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


def document(results: dict[str, Any]) -> str:
    """The results in Markdown: what was measured and how, a summary, then a table for each group."""
    parts = [_preamble(results), _summary(results)]
    parts += [part for group in results["groups"] for part in _section(group, results["rounds"])]
    return "\n\n".join([*parts, *_startup(results["startup"])]) + "\n"


def _preamble(results: dict[str, Any]) -> str:
    machine = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    models = ", ".join(f"{alias} is {name}" for alias, name in machine["models"].items())
    return (
        f"{results['threads']} threads for the codecs that can use them, on {machine['cores']} cores: "
        f"{machine['processor']} ({machine['instruction_set']}), {machine['system']}, Python {machine['python']}, "
        f"{versions}. Models: {models}.\n\n"
        "Every decoded image was compared with the original, pixel for pixel, every time. In each round each image "
        "went through one codec after the other; times are medians over the rounds, file access left out."
    )


def _summary(results: dict[str, Any]) -> str:
    """The sizes of all groups beside each other, and speeds of the first."""
    groups = results["groups"]
    rows = [{row["name"]: Row(**row) for row in group["codecs"]} for group in groups]
    baseline = rows[0].get(BASELINE)
    columns = [_title(group) for group in groups]
    if baseline:
        columns += [f"{operation} speed, {_title(groups[0])}" for operation in ("encode", "decode")]
    lines = []
    labels = {row.name: row.label for found in rows for row in sorted(found.values(), key=lambda row: row.bytes)}
    for name, label in labels.items():
        cells = [f"{found[name].bits_per_subpixel:.3f}" if name in found else "" for found in rows]
        if baseline and name in rows[0]:
            row = rows[0][name]
            cells.append(f"{_digits(row.encode_speed / baseline.encode_speed)} x")
            cells.append(f"{_digits(row.decode_speed / baseline.decode_speed)} x")
        elif baseline:
            cells += ["", ""]
        ours = name.startswith("llc-")
        cells = [f"**{cell}**" if ours and cell else cell for cell in [label, *cells]]
        lines.append(f"| {' | '.join(cells)} |")
    speeds = "; speeds relative to those of JPEG XL at effort 7, its default" if baseline else ""
    head = f"## Summary\n\nBits per sub-pixel of each group{speeds}:\n\n"
    return head + "\n".join([*_head(columns), *lines])


def _title(group: dict[str, Any]) -> str:
    return group["name"] if group["bits"] == 8 else f"{group['name']} ({group['bits']} bits)"


def _digits(number: float) -> str:
    """Two digits that count, never in powers of ten."""
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"


def _head(titles: Sequence[str]) -> list[str]:
    return [f"| codec | {' | '.join(titles)} |", "|---|" + "---:|" * len(titles)]


def _section(group: dict[str, Any], rounds: int) -> list[str]:
    """A group's part of the document."""
    rows = [Row(**row) for row in group["codecs"]]
    count = len(group["images"])
    about = f"{count} image{'s' if count > 1 else ''}, {group['pixels'] / 1e6:.1f} Mpixel, RGB, {group['bits']} bits."
    return [f"## {_title(group)}", about, _rows(rows), *_notes(group, rows, rounds)]


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
        ("threads", lambda row: str(row.threads)),
        ("encode gain", lambda row: _optional(row.encode_gain)),
        ("decode gain", lambda row: _optional(row.decode_gain)),
        ("encode memory", lambda row: _optional(row.encode_memory)),
        ("decode memory", lambda row: _optional(row.decode_memory)),
        ("rounds", lambda row: str(row.rounds)),
    ]
    lines = _head([title for title, _ in columns])
    for row in sorted(rows, key=lambda row: row.bytes):
        lines.append(f"| {row.label} | " + " | ".join(cell(row) for _, cell in columns) + " |")
    return "\n".join(lines)


def _optional(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1f}"


def _notes(group: dict[str, Any], rows: Sequence[Row], rounds: int) -> list[str]:
    notes = []
    once = [row.label for row in rows if row.rounds < rounds]
    if once:
        notes.append(
            f"Measured once, in the first of the {rounds} rounds, since an image takes seconds: {', '.join(once)}."
        )
    if group["unable"]:
        notes.append(f"Not here, since they hold no samples of {group['bits']} bits: {', '.join(group['unable'])}.")
    if any(row.name == BASELINE for row in rows):
        notes.append("Columns with × are relative to JPEG XL at effort 7, its default: below 1 is smaller, or slower.")
    if any(row.encode_gain is not None for row in rows):
        notes.append("Gain: how many times as fast as with one thread, with the largest image.")
    if any(row.encode_memory is not None for row in rows):
        notes.append(
            "Memory is what coding the largest image adds to a process's resident set at the peak, in multiples of the "
            "size of its pixels, each codec in a process of its own."
        )
    if group["other_programs_cores"] is not None:
        busy = group["other_programs_cores"]
        notes.append(f"Other programs kept {busy:.2f} of the cores busy meanwhile, on average.")
    return notes


def _startup(times: dict[str, float] | None) -> list[str]:
    if times is None:
        return []
    return [
        "## Start-up",
        "A new Python process that opens a 64x64 image with Pillow takes "
        f"{1e3 * times['llc']:.0f} ms of processor time as .llc, {1e3 * times['png']:.0f} ms as PNG: "
        f"{times['llc'] / times['png']:.2f} times as much (medians of {times['runs']} processes each, in turn).",
    ]
