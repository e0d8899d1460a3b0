"""Sizes and times: every codec on every image, several times over, each decoded pixel compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

import numpy as np

from llicti_core.benchmark.codecs import Codec
from llicti_core.benchmark.photos import Pixels

_T = TypeVar("_T")


class NotLosslessError(Exception):
    """A codec gave other pixels back than it was given."""


@dataclass
class Runs:
    """What one codec took for one image: the size, and the seconds of each round."""

    size: int = 0
    encode: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)


def measure(
    codecs: Sequence[Codec], images: Sequence[Pixels], rounds: int, threads: int, progress: Callable[[str], None]
) -> dict[str, list[Runs]]:
    """The runs of each codec, by name, in the order of `images`. Tells `progress` how far it is.

    In each round, image by image, one codec after the other has its turn, so that what else the machine does meanwhile
    falls on all of them alike. Slow codecs take part in the first round only. Raises NotLosslessError.
    """
    for codec in codecs:  # what the first call of a codec loads is not timed
        codec.decode(codec.encode(np.ascontiguousarray(images[0][:64, :64]), threads), threads)
    runs = {codec.name: [Runs() for _ in images] for codec in codecs}
    for turn in range(rounds):
        for number, pixels in enumerate(images):
            for codec in codecs:
                if turn == 0 or not codec.slow:
                    _run(codec, pixels, threads, runs[codec.name][number])
            progress(f"round {turn + 1} of {rounds}, image {number + 1} of {len(images)}")
    return runs


def gains(codecs: Sequence[Codec], pixels: Pixels, threads: int, rounds: int) -> dict[str, tuple[float, float]]:
    """How many times as fast each codec encodes and decodes an image with that many threads as with one, by name.

    Of the fastest of the rounds both ways, since whatever else runs takes a core from two threads and none from one.
    None are run where `threads` is 1.
    """
    if threads == 1:
        return {}
    found = {}
    for codec in codecs:
        alone, together = Runs(), Runs()
        for _ in range(rounds):
            _run(codec, pixels, 1, alone)
            _run(codec, pixels, threads, together)
        found[codec.name] = min(alone.encode) / min(together.encode), min(alone.decode) / min(together.decode)
    return found


def seconds(rounds: Sequence[list[float]]) -> float:
    """The sum over the images of the median over the rounds."""
    return sum(median(times) for times in rounds)


def spread(rounds: Sequence[list[float]]) -> float | None:
    """How far apart the slowest and the fastest round are, relative to `seconds`; None for one round."""
    totals = [sum(times) for times in zip(*rounds, strict=True)]
    return (max(totals) - min(totals)) / seconds(rounds) if len(totals) > 1 else None


def _run(codec: Codec, pixels: Pixels, threads: int, runs: Runs) -> None:
    data, took = _timed(lambda: codec.encode(pixels, threads))
    runs.size = len(data)
    runs.encode.append(took)
    decoded, took = _timed(lambda: codec.decode(data, threads))
    runs.decode.append(took)
    if decoded.dtype != pixels.dtype or not np.array_equal(decoded, pixels):
        msg = f"{codec.label} did not give the same pixels back"
        raise NotLosslessError(msg)


def _timed(work: Callable[[], _T]) -> tuple[_T, float]:
    """The result of a call and the seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start
