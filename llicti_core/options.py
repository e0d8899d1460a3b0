"""What a caller allows a decoder: limits, threads, and the device that it may use."""

from __future__ import annotations

from llicti_core.records import NamedTuple

MAX_BYTES = 2**32
"""Default limit on the decoded size, in bytes."""

MAX_PIXELS = 2 * (1024**3 // 4 // 3)
"""Default limit on pixels: the number beyond which Pillow refuses an image by default, 178,956,970."""


class DecodeOptions(NamedTuple):
    """Limits of a decoder, and what it works with.

    max_bytes: the most that the decoded samples may take. max_pixels: the most pixels that they may be. None for no
    limit. Both are checked before memory or time is spent: an image of one color has any size in a few bytes. Beside
    the samples a decoder takes at most twice as much memory as they may take, and, where lossless WebP holds a part of
    the image, up to 350 MB for one of its blocks of 4096 x 4096 pixels. A region costs what its tiles and blocks do.

    threads: how many to use; None for what `set_threads` says. device: "cpu"; "auto" for a GPU where one
    can be used, else the CPU; "cuda", or "cuda:1" and so on. Pixels depend on neither.
    """

    max_bytes: int | None = MAX_BYTES
    max_pixels: int | None = MAX_PIXELS
    threads: int | None = None
    device: str = "cpu"
