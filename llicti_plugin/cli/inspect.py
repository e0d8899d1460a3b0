"""`llicti info` and `llicti verify`: what a file says of itself, and whether all of it is right."""

from __future__ import annotations

import json
import os

import llicti_core
from llicti_plugin.cli import batch, say


def info(path: str) -> None:
    """Print a line of what a file's header says. Raises LLCError and OSError."""
    data = batch.readable(path)
    header = llicti_core.inspect(data)
    size = os.path.getsize(data) if isinstance(data, str) else len(data)
    several = f"the first of {header.n_frames} images, all of them " if header.n_frames > 1 else ""
    samples = header.width * header.height * header.channels
    per_sample = "" if several else f", {8 * size / samples:.3f} bits per sub-pixel"
    model = f"model {header.model} ({header.model_identity}), tiles of {header.tile_size}, " if header.model else ""
    say.out(
        f"{say.shown(path)}: {header.width}x{header.height} {header.mode or f'{header.channels} channels'}, "
        f"{header.dtype}, {model}{several}{size} bytes{per_sample}"
    )


def info_json(path: str) -> None:
    """Print what a file's header says as a JSON object in one line. Raises LLCError and OSError.

    bits_per_subpixel is null where the file holds several images, and what belongs to a model where none has coded it.
    """
    data = batch.readable(path)
    header = llicti_core.inspect(data)
    size = os.path.getsize(data) if isinstance(data, str) else len(data)
    samples = header.width * header.height * header.channels
    found = {
        "path": path,
        "width": header.width,
        "height": header.height,
        "mode": header.mode,
        "channels": header.channels,
        "dtype": header.dtype,
        "model": header.model,
        "model_identity": header.model_identity,
        "tile_size": header.tile_size,
        "n_frames": header.n_frames,
        "bytes": size,
        "bits_per_subpixel": round(8 * size / samples, 6) if header.n_frames == 1 else None,
    }
    say.out(json.dumps(found))


def verify(path: str) -> None:
    """Decode a file and print that it is right, to the last byte. Raises LLCError and OSError."""
    # The limits are for servers; this file was named by its owner.
    options = llicti_core.DecodeOptions(max_bytes=None, max_pixels=None)
    with llicti_core.open(batch.readable(path)) as file:
        file.verify(strict=True, options=options)
    say.out(f"{say.shown(path)}: ok")
