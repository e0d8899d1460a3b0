"""`llicti decode`: writes the images of `.llc` files to other lossless formats, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import llicti_core
from llicti_plugin.cli import targets
from llicti_plugin.cli.batch import Failure, Targets, readable, tell
from llicti_plugin.cli.pictures import Frame


def file(path: str, where: Targets, options: Mapping[str, Any]) -> None:
    """Write the images in a `.llc` file to where they belong. options: of `frames`.

    Raises Failure where the target cannot hold them or be written, and what `frames` raises.
    """
    data = readable(path)
    if where.named is not None:
        suffixes: Sequence[str] = [targets.check_suffix(where.named)]
        expected = suffixes[0]
    else:
        suffixes = targets.DEFAULTS
        expected = targets.expected(llicti_core.inspect(data))
    if where.skips(where.path(path, expected)):
        return
    suffix, made, lost = written(frames(data, **options), suffixes)
    target = where.path(path, suffix)
    if suffix != expected and where.skips(target):
        return
    where.write(target, made)
    if lost:
        tell(path, f"{suffix} does not hold its {', '.join(lost)}")


def frames(
    data: str | bytes, *, scale: int, region: tuple[int, int, int, int] | None, threads: int | None
) -> list[Frame]:
    """The images in a file, or of each the view that is asked for. Raises OSError, ValueError and LLCError."""
    # The limits are for servers; this file was named by its owner.
    options = llicti_core.DecodeOptions(max_bytes=None, max_pixels=None, threads=threads)
    with llicti_core.open(data) as file:
        return [
            Frame(
                frame.decode(scale=scale, region=region, options=options),
                frame.info.mode,
                frame.palette,
                frame.metadata,
            )
            for frame in file
        ]


def written(images: Sequence[Frame], suffixes: Sequence[str]) -> tuple[str, bytes, list[str]]:
    """The first of these formats that holds the images: its suffix, a file, and what of the metadata it lacks."""
    failures = []
    for suffix in suffixes:
        try:
            return suffix, *targets.written(images, suffix)
        except Failure as failure:
            failures.append(failure)
    raise failures[-1]
