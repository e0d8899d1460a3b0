"""`llicti decode`: writes the images of `.llc` files to other lossless formats, whole or not at all."""

from __future__ import annotations

import os
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
    wanted = where.path(path, "")
    named = wanted is not None and where.output is not None and not os.path.isdir(where.output)
    if named and wanted is not None:
        suffixes = [targets.check_suffix(wanted)]
        if where.skips(wanted):
            return
    else:
        suffixes = list(targets.DEFAULTS)
        if wanted is not None and any(where.skips(wanted + suffix) for suffix in suffixes):
            return
    suffix, data, lost = _written(frames(readable(path), **options), suffixes)
    if lost:
        tell(path, f"{suffix} does not hold its {', '.join(lost)}")
    if not named and wanted is not None:
        wanted = wanted + suffix
    where.write(wanted, data)


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


def _written(images: Sequence[Frame], suffixes: Sequence[str]) -> tuple[str, bytes, list[str]]:
    """The first of these formats that holds the images: its suffix, a file, and what of the metadata it lacks."""
    failures = []
    for suffix in suffixes:
        try:
            return suffix, *targets.written(images, suffix)
        except Failure as failure:
            failures.append(failure)
    raise failures[-1]
