"""Converts the files of one shard: what a worker does, needing nothing but the manifest and the files.

What it does is noted in the shard's journal: that a file is begun, and what became of it. A shard that was stopped goes
on there. A file that was begun three times and never ended has killed three processes, and is left alone as failed.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections import Counter
from contextlib import suppress
from typing import IO

from llicti_core.atomic import write_whole
from llicti_plugin.cli import batch, say
from llicti_plugin.collection import conversion, files, lossy, report
from llicti_plugin.collection.manifest import Manifest, Row, Settings
from llicti_plugin.collection.report import CONVERTED, FAILED, LARGER, LOSSY, PRESENT, Result

_MOST_STARTS = 3
"""How often a file is begun."""

_GRAINS = (1, 100, 1_000, 10_000_000, 1_000_000_000, 2_000_000_000)
"""Nanoseconds of which file systems keep multiples as times."""

_FULL = frozenset(getattr(errno, name) for name in ("ENOSPC", "EDQUOT") if hasattr(errno, name))


def run_shard(folder: str, number: int) -> str:
    """Convert the files of a shard of the manifest in `folder`, one after the other on one thread.

    Returns the path of the sidecar: a line of JSON for each file, as report.Result says. What fails for one file is in
    its line. Raises OSError where the disk is full or the manifest cannot be read or its results be written, and
    KeyboardInterrupt; then the shard is not done, and what has been done of it is not done again.
    """
    manifest = Manifest.load(folder)
    sidecar, journal = manifest.sidecar(number), manifest.journal(number)
    if os.path.exists(sidecar):
        return sidecar
    results, starts = _read_journal(journal)
    with open(journal, "a", encoding="ascii", newline="\n") as log:
        log.write("\n")  # ends a line that was not written to its end
        for index, row in enumerate(manifest.rows(number)):
            if index not in results or not _still_true(results[index]):
                results[index] = _noted(index, row, manifest, log, starts[index])
    written = {os.path.dirname(result.target): result.target for result in results.values() if result.target}
    for target in written.values():
        files.of(target).settle(target)
    lines = [results[index].to_json() + "\n" for index in sorted(results)]
    write_whole(sidecar, "".join(lines).encode(), durable=True)
    os.remove(journal)
    return sidecar


def _read_journal(path: str) -> tuple[dict[int, Result], Counter[int]]:
    """What became of files by their numbers, and how often each was begun and did not end."""
    results: dict[int, Result] = {}
    starts: Counter[int] = Counter()
    with suppress(FileNotFoundError), open(path, encoding="ascii") as file:
        for stored in report.notes(file):
            starts[stored["row"]] += stored.get("start", 0)
            if "status" in stored:
                results[stored["row"]] = Result.of(stored)
    return results, starts


def _note(log: IO[str], **what: object) -> None:
    log.write(json.dumps(what) + "\n")
    log.flush()


def _still_true(result: Result) -> bool:
    """Whether a file that was converted before is there; and others are tried again only if they failed."""
    if result.target is None:
        return result.status != FAILED
    found = files.of(result.target).stat(result.target)
    return found is not None and found.size == result.bytes_after


def _noted(index: int, row: Row, manifest: Manifest, log: IO[str], starts: int) -> Result:
    """Convert a file, and note in the journal that it is begun and what becomes of it."""
    if starts >= _MOST_STARTS:
        result = Result(
            row.path, FAILED, bytes_before=row.size, reason=f"{starts} processes have died that worked on it"
        )
    else:
        _note(log, row=index, start=1)
        try:
            result = _convert_noted(row, manifest)
        except BaseException:  # the file is not to blame
            with suppress(OSError):
                _note(log, row=index, start=-1)
            raise
        _note(log, row=index, start=-1)
    _note(log, row=index, **result._asdict())
    return result


def _convert_noted(row: Row, manifest: Manifest) -> Result:
    """Convert a file; whatever is wrong with it is in the result. Raises OSError where the disk is full."""
    began = time.monotonic()
    heard: list[str] = []
    try:
        with batch.overheard() as heard:
            result = _convert(row, manifest)
    except OSError as error:
        if error.errno in _FULL:
            raise
        result = _failed(row, say.reason(error))
    except batch.Failure as failure:
        result = _failed(row, str(failure))
    except Exception as error:  # whatever a damaged file makes a library raise
        result = _failed(row, say.reason(error))
    return result._replace(seconds=round(time.monotonic() - began, 4), notes=(*result.notes, *heard))


def _failed(row: Row, reason: str) -> Result:
    return Result(row.path, FAILED, bytes_before=row.size, reason=reason)


def _convert(row: Row, manifest: Manifest) -> Result:
    settings, source = manifest.settings, files.of(row.path)
    if row.error:
        return _failed(row, row.error)
    stat = source.stat(row.path)
    if stat is None:
        return _gone(row, manifest)
    head = source.read(row.path, lossy.HEAD)
    form = lossy.lossy_format(head) if settings.to == "llc" else None
    if form and not settings.lossy:
        return _left_lossy(row, form, stat)
    target = os.path.join(manifest.destination, row.stem + conversion.expected_suffix(head, settings))
    before = _check_target(row.path, stat, target, settings)
    if before and not settings.replace:
        return Result(row.path, PRESENT, target, stat.size, before.size)

    data = source.read(row.path)
    form = form or (lossy.lossy_format(data) if settings.to == "llc" else None)
    if form and not settings.lossy:
        return _left_lossy(row, form, stat)
    if before:
        made = _made_before(data, files.of(target).read(target), target, settings)
    else:
        made = conversion.convert(data, settings)
        if len(made.data) > len(data) and settings.to == "llc" and not form:
            reason = f"would have {len(made.data)} bytes as .llc"
            return Result(row.path, LARGER, None, stat.size, pixels=made.pixels, reason=reason)
        other = os.path.join(manifest.destination, row.stem + made.suffix)
        if other != target and _check_target(row.path, stat, other, settings) and not settings.replace:
            return Result(row.path, PRESENT, other, stat.size, len(made.data))
        target = other
        files.of(target).write(target, made.data, like=row.path)
    result = Result(
        row.path,
        PRESENT if before else CONVERTED,
        target,
        stat.size,
        len(made.data),
        made.pixels,
        files.sha256(made.data),
        notes=made.notes,
    )
    return _replaced(result, stat) if settings.replace else result


def _left_lossy(row: Row, form: str, stat: files.Stat) -> Result:
    reason = f"is {form}: its pixels, stored without loss, would take several times as much (--lossy)"
    return Result(row.path, LOSSY, None, stat.size, reason=reason)


def _check_target(source: str, stat: files.Stat, target: str, settings: Settings) -> files.Stat | None:
    """The target, where it is there and has been made of the source as it is now; None where it is to be written.

    That is known by its time: a target is given that of its source before it is put in place. Raises Failure.
    """
    found = files.of(target).stat(target)
    if found is None:
        return None
    if files.of(source).same(source, target):
        msg = "is the file that would be written"
        raise batch.Failure(msg)
    if _same_time(found.modified, stat.modified):
        return found
    if settings.force:
        return None
    msg = f"{say.shown(target)} exists, and was not made of this file as it is now (--force overwrites it)"
    raise batch.Failure(msg)


def _same_time(kept: int, given: int) -> bool:
    """Whether a time may be what a file system has kept of the one that a file was given."""
    return any(kept % grain == 0 and abs(kept - given) < grain for grain in _GRAINS)


def _gone(row: Row, manifest: Manifest) -> Result:
    """What became of a file that is no longer there: an earlier run may have replaced it."""
    for suffix in conversion.suffixes(manifest.settings):
        target = os.path.join(manifest.destination, row.stem + suffix)
        found = files.of(target).stat(target)
        if manifest.settings.replace and found and _same_time(found.modified, row.modified):
            return Result(row.path, PRESENT, target, row.size, found.size, removed=True)
    return _failed(row, os.strerror(errno.ENOENT))


def _made_before(data: bytes, written: bytes, target: str, settings: Settings) -> conversion.Converted:
    """What an earlier run has made of a source, compared with it as if it were new. Raises Failure."""
    if settings.to == "llc":
        return conversion.compared(data, written)
    made = conversion.convert(data, settings)
    if made.data != written:
        msg = f"{say.shown(target)} exists, and is not what would be written now"
        raise batch.Failure(msg)
    return made


def _replaced(result: Result, stat: files.Stat) -> Result:
    """Remove a source, if all of it is in the target, which is looked at once more. stat: of the source when read."""
    assert result.target
    if result.notes:
        return result._replace(reason=f"not removed, as not all of it is kept: {'; '.join(result.notes)}")
    storage = files.of(result.target)
    storage.settle(result.target)
    if storage.checksum(result.target) != result.sha256:
        msg = f"{say.shown(result.target)} has changed on the disk"
        raise batch.Failure(msg)
    source = files.of(result.path)
    if source.stat(result.path) != stat:
        msg = "has changed while it was read"
        raise batch.Failure(msg)
    source.remove(result.path)
    return result._replace(removed=True)
