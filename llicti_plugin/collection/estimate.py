"""What a run would save and how long it would take, from a few of its files."""

from __future__ import annotations

import os
import random
import time
from typing import NamedTuple

from llicti_plugin.collection import conversion, files, lossy
from llicti_plugin.collection.manifest import Manifest, Row

_OF_EACH_KIND = 5
"""Files converted of each suffix."""

_SECONDS = 30.0
"""After that no further file is begun."""


class Estimate(NamedTuple):
    """files, before: number and bytes of what would be converted. after: bytes they would become. left: number of files
    that would be left alone. failed: the share of files that could not be converted. seconds: of one worker's time.
    sampled: how many files this was found out from."""

    files: int
    before: int
    after: int
    left: int
    failed: float
    seconds: float
    sampled: int


def estimate(manifest: Manifest) -> Estimate:
    """Convert some files of each suffix in memory, and conclude from them on the others."""
    sums = Estimate(0, 0, 0, 0, 0.0, 0.0, 0)
    until = time.monotonic() + _SECONDS
    for suffix, rows in _samples(manifest).items():
        count, size = manifest.kinds[suffix]
        tried = [_try(row, manifest) for row in rows if time.monotonic() < until]
        known = [one for one in tried if one is not None]
        taken = [one for one in known if one.taken]
        read = sum(one.before for one in taken)
        share, left = (number / max(1, len(tried)) for number in (len(taken), len(known) - len(taken)))
        part = size * share  # bytes that would be converted
        sums = Estimate(
            sums.files + round(count * share),
            sums.before + round(part),
            sums.after + round(part * sum(one.after for one in taken) / max(1, read)),
            sums.left + round(count * left),
            sums.failed + count * (1 - share - left) / manifest.files,
            sums.seconds + part * sum(one.seconds for one in taken) / max(1, read),
            sums.sampled + len(tried),
        )
    return sums


class _Tried(NamedTuple):
    taken: bool
    before: int
    after: int
    seconds: float


def _try(row: Row, manifest: Manifest) -> _Tried | None:
    """What becomes of a file; None where that fails."""
    began = time.monotonic()
    settings = manifest.settings
    try:
        data = files.of(row.path).read(row.path)
        form = lossy.lossy_format(data) if settings.makes_llc else None
        if form and not settings.lossy:
            return _Tried(False, len(data), 0, 0.0)
        made = len(conversion.convert(data, settings).data)
    except Exception:  # whatever a damaged file makes a library raise
        return None
    after = min(made, len(data)) if settings.makes_llc and not form else made
    return _Tried(True, len(data), after, time.monotonic() - began)


def _samples(manifest: Manifest) -> dict[str, list[Row]]:
    """Some files of each suffix, each as likely as any other (R, Vitter 1985)."""
    chosen: dict[str, list[Row]] = {}
    seen = dict.fromkeys(manifest.kinds, 0)
    generator = random.Random(0)
    for number in range(len(manifest.shards)):
        for row in manifest.rows(number):
            suffix = os.path.splitext(row.path)[1].lower()
            of_kind = chosen.setdefault(suffix, [])
            seen[suffix] += 1
            if len(of_kind) < _OF_EACH_KIND:
                of_kind.append(row)
            elif (place := generator.randrange(seen[suffix])) < _OF_EACH_KIND:
                of_kind[place] = row
    return chosen
