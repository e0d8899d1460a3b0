"""One file's bytes to those of its `.llc` file, or back, compared with what they were made of."""

from __future__ import annotations

from typing import NamedTuple

import llicti_core
from llicti_plugin.cli import decode, encode, targets
from llicti_plugin.collection.manifest import Settings

_SUFFIXES = {"llc": (".llc",), "webdataset": (".llc",), "png": targets.DEFAULTS, "tiff": (".tif",)}


class Converted(NamedTuple):
    """data: of the file to write, to be named with `suffix`. pixels: how many. notes: what of the source is not in it,
    in words."""

    data: bytes
    suffix: str
    pixels: int
    notes: tuple[str, ...]


def suffixes(settings: Settings) -> tuple[str, ...]:
    """How targets may be named."""
    return _SUFFIXES[settings.to]


def expected_suffix(data: bytes, settings: Settings) -> str:
    """How the target of a file that begins so is most likely named. Raises LLCError."""
    possible = suffixes(settings)
    return targets.expected(llicti_core.inspect(data)) if len(possible) > 1 else possible[0]


def convert(data: bytes, settings: Settings) -> Converted:
    """Convert a file on one thread, and read back what was made of it.

    Raises Failure where it cannot be kept whole or does not come back, and whatever a reader raises for a damaged file.
    """
    if settings.makes_llc:
        coded, _ = encode.encoded(data, {"model": settings.model, "effort": settings.effort, "threads": 1})
        return compared(data, coded)
    frames = decode.frames(data, scale=1, region=None, threads=1)
    suffix, written, lost = decode.written(frames, suffixes(settings))
    notes = (f"{suffix} does not hold its {', '.join(lost)}",) if lost else ()
    return Converted(written, suffix, sum(frame.pixels.shape[0] * frame.pixels.shape[1] for frame in frames), notes)


def compared(data: bytes, coded: bytes) -> Converted:
    """A file and the `.llc` file made of it, read anew and compared. Raises as `convert` does."""
    notes = encode.compare(data, coded, threads=1)
    with llicti_core.open(coded) as file:
        pixels = sum(frame.info.width * frame.info.height for frame in file)
    return Converted(coded, ".llc", pixels, tuple(dict.fromkeys(notes)))
