"""Converts the files of one shard: what a worker does, needing nothing but the manifest and the files.

What it does is noted in the shard's journal: that a file is begun, and what became of it. A shard that was stopped goes
on there. A file that was begun three times and never ended has killed three processes, and is left alone as failed.

Of a training set, a shard is one tar file (tar_shards.py), which is written anew where it was stopped.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from llicti_plugin.cli import batch, say
from llicti_plugin.collection import conversion, files, lossy, report
from llicti_plugin.collection.manifest import Manifest, Row, Settings
from llicti_plugin.collection.report import CONVERTED, FAILED, LARGER, LOSSY, PRESENT, Result
from llicti_plugin.collection.tar_shards import TarShard

_MOST_STARTS = 3
"""How often a file is begun."""

_FULL = frozenset(getattr(errno, name) for name in ("ENOSPC", "EDQUOT") if hasattr(errno, name))

Append = Callable[[str], None]
"""Adds text to a journal."""


def run_shard(folder: str, number: int) -> str:
    """Convert the files of a shard of the manifest in `folder`, one after the other on one thread.

    folder: a path or URL. Returns that of the sidecar: a line of JSON for each file, as report.Result says. What fails
    for one file is in its line. Raises OSError where the disk is full or the manifest cannot be read or its results be
    written, and KeyboardInterrupt; then the shard is not done, and what has been done of it is not done again.
    """
    manifest = Manifest.load(folder)
    storage = files.of(manifest.folder)
    sidecar, journal = manifest.sidecar(number), manifest.journal(number)
    if storage.stat(sidecar):
        return sidecar
    begun = storage.stat(journal) is not None
    results, starts = _read_journal(journal) if begun else ({}, Counter())
    tar = TarShard(manifest, number) if manifest.settings.to == "webdataset" else None
    if tar and len(results) < manifest.shards[number].files:  # so this shard has not been written
        tar.check_new()
    with storage.appending(journal) as append:
        append("\n")  # ends a line that was not written to its end
        if tar:
            results = _into_tar(tar, manifest, number, append, starts)
        else:
            for index, row in enumerate(manifest.rows(number)):
                if index not in results or not _still_true(results[index]):
                    results[index] = _noted(index, row, partial(_convert, manifest=manifest), append, starts[index])
    written = {os.path.dirname(result.target): result.target for result in results.values() if result.target}
    for target in written.values():
        files.of(target).settle(target)
    lines = [results[index].to_json() + "\n" for index in sorted(results)]
    storage.write_own(sidecar, "".join(lines).encode())
    storage.remove(journal)
    return sidecar


def _read_journal(path: str) -> tuple[dict[int, Result], Counter[int]]:
    """What became of files by their numbers, and how often each was begun and did not end."""
    results: dict[int, Result] = {}
    starts: Counter[int] = Counter()
    for stored in report.notes(report.read_text(path)):
        starts[stored["row"]] += stored.get("start", 0)
        if "status" in stored:
            results[stored["row"]] = Result.of(stored)
    return results, starts


def _note(append: Append, **what: object) -> None:
    append(json.dumps(what) + "\n")


def _still_true(result: Result) -> bool:
    """Whether a file that was converted before is there; and others are tried again only if they failed."""
    if result.target is None:
        return result.status != FAILED
    found = files.of(result.target).stat(result.target)
    return found is not None and found.size == result.bytes_after


def _into_tar(
    tar: TarShard, manifest: Manifest, number: int, append: Append, starts: Counter[int]
) -> dict[int, Result]:
    """Convert all files of a shard into its tar file."""
    with tar.written():
        return {
            index: _noted(
                index, row, partial(_convert_into, tar=tar, index=index, manifest=manifest), append, starts[index]
            )
            for index, row in enumerate(manifest.rows(number))
        }


def _noted(index: int, row: Row, convert: Callable[[Row], Result], append: Append, starts: int) -> Result:
    """Convert a file, and note in the journal that it is begun and what becomes of it."""
    if starts >= _MOST_STARTS:
        result = Result(
            row.path, FAILED, bytes_before=row.size, reason=f"{starts} processes have died that worked on it"
        )
    else:
        _note(append, row=index, start=1)
        try:
            result = _convert_noted(row, convert)
        except BaseException:  # the file is not to blame
            with suppress(OSError):
                _note(append, row=index, start=-1)
            raise
        _note(append, row=index, start=-1)
    _note(append, row=index, **result._asdict())
    return result


def _convert_noted(row: Row, convert: Callable[[Row], Result]) -> Result:
    """Convert a file; whatever is wrong with it is in the result. Raises OSError where the disk is full."""
    began = time.monotonic()
    heard: list[str] = []
    try:
        with batch.overheard() as heard:
            result = convert(row)
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
    """Convert a file to one of its own."""
    settings, source = manifest.settings, files.of(row.path)
    if row.error:
        return _failed(row, row.error)
    stat = source.stat(row.path)
    if stat is None:
        return _gone(row, manifest)
    head = source.read(row.path, lossy.HEAD) if stat.size else b""
    form = lossy.lossy_format(head) if settings.makes_llc else None
    if form and not settings.lossy:
        return _left_lossy(row, form, stat)
    target = files.join(manifest.destination, row.stem + conversion.expected_suffix(head, settings))
    before = _check_target(row.path, stat, target, settings)
    if before and before.made and not settings.replace:
        return Result(row.path, PRESENT, target, stat.size, before.size)

    data = source.read(row.path)
    form = form or (lossy.lossy_format(data) if settings.makes_llc else None)
    if form and not settings.lossy:
        return _left_lossy(row, form, stat)
    tag = ""
    if before:
        made = _made_before(data, files.of(target).read(target), target, settings)
    else:
        made = conversion.convert(data, settings)
        if settings.makes_llc and not form and len(made.data) > len(data):
            return _left_larger(row, made, stat)
        other = files.join(manifest.destination, row.stem + made.suffix)
        if other != target:
            target, before = other, _check_target(row.path, stat, other, settings)
            if before and before.made and not settings.replace:
                return Result(row.path, PRESENT, target, stat.size, before.size)
        if before:
            _check_same(made, files.of(target).read(target), target)
        else:
            tag = files.of(target).write(target, made.data, row.path, stat, settings.force)
    result = Result(
        row.path,
        PRESENT if before else CONVERTED,
        target,
        stat.size,
        len(made.data),
        made.pixels,
        files.sha256(made.data),
        notes=made.notes,
        tag=tag or None,
    )
    return _replaced(result, data, stat) if settings.replace else result


def _convert_into(row: Row, tar: TarShard, index: int, manifest: Manifest) -> Result:
    """Convert a file to one in a tar file."""
    settings, source = manifest.settings, files.of(row.path)
    if row.error:
        return _failed(row, row.error)
    stat = source.stat(row.path)
    if stat is None:
        return _gone(row, manifest)
    data = source.read(row.path)
    form = lossy.lossy_format(data)
    if form and not settings.lossy:
        return _left_lossy(row, form, stat)
    made = conversion.convert(data, settings)
    if not form and len(made.data) > len(data):
        return _left_larger(row, made, stat)
    member = tar.add(index, made.data, row.stem, stat)
    checksum = files.sha256(made.data)
    sizes = stat.size, len(made.data), made.pixels
    return Result(row.path, CONVERTED, tar.path, *sizes, checksum, notes=made.notes, member=member)


def _left_larger(row: Row, made: conversion.Converted, stat: files.Stat) -> Result:
    reason = f"would have {len(made.data)} bytes as .llc"
    return Result(row.path, LARGER, None, stat.size, pixels=made.pixels, reason=reason)


def _left_lossy(row: Row, form: str, stat: files.Stat) -> Result:
    reason = f"is {form}: its pixels, stored without loss, would take several times as much (--lossy)"
    return Result(row.path, LOSSY, None, stat.size, reason=reason)


class _Before(NamedTuple):
    """A target that is there. size: in bytes. made: whether it is known to be made of the source as it is now; else its
    pixels must tell."""

    size: int
    made: bool


def _check_target(source: str, stat: files.Stat, target: str, settings: Settings) -> _Before | None:
    """The target, where it is there and may have been made of the source as it is now; None where it is to be written.

    Raises Failure.
    """
    storage = files.of(target)
    found = storage.stat(target)
    if found is None:
        return None
    if files.same(source, target):
        msg = "is the file that would be written"
        raise batch.Failure(msg)
    made = storage.made_of(target, stat)
    if made or (made is None and not settings.force):
        return _Before(found.size, bool(made))
    if settings.force:
        return None
    advice = "--force overwrites it, even where it is all that is left of another source"
    msg = f"{say.shown(target)} exists, and was not made of this file as it is now ({advice})"
    raise batch.Failure(msg)


def _gone(row: Row, manifest: Manifest) -> Result:
    """What became of a file that is no longer there: an earlier run may have replaced it."""
    was = files.Stat(row.size, row.modified, row.tag)
    for suffix in conversion.suffixes(manifest.settings):
        target = files.join(manifest.destination, row.stem + suffix)
        found = files.of(target).stat(target) if manifest.settings.replace else None
        if found and files.of(target).made_of(target, was):
            return Result(row.path, PRESENT, target, row.size, found.size, removed=True)
    return _failed(row, os.strerror(errno.ENOENT))


def _made_before(data: bytes, written: bytes, target: str, settings: Settings) -> conversion.Converted:
    """What an earlier run has made of a source, compared with it as if it were new. Raises Failure."""
    if settings.makes_llc:
        return conversion.compared(data, written)
    made = conversion.convert(data, settings)
    _check_same(made, written, target)
    return made


def _check_same(made: conversion.Converted, written: bytes, target: str) -> None:
    """Raises Failure where what was written is something else."""
    if made.data != written:
        msg = f"{say.shown(target)} exists, and is not what would be written now"
        raise batch.Failure(msg)


def _replaced(result: Result, data: bytes, stat: files.Stat) -> Result:
    """Remove a source, if all of it is in the target; both are read once more.

    data, stat: of the source when it was converted. Its time alone does not tell whether it is the same: tools can keep
    that, and some file systems count in seconds.
    """
    assert result.target
    if result.notes:
        return result._replace(reason=f"not removed, as not all of it is kept: {'; '.join(result.notes)}")
    storage = files.of(result.target)
    storage.settle(result.target)
    if storage.checksum(result.target) != result.sha256:
        msg = f"{say.shown(result.target)} has changed on the disk"
        raise batch.Failure(msg)
    source = files.of(result.path)
    if source.stat(result.path) != stat or source.read(result.path) != data:
        msg = "has changed while it was read"
        raise batch.Failure(msg)
    source.remove(result.path)
    return result._replace(removed=True)
