"""`llicti convert`: converts whole collections, and tells how far it is and what became of the files."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec

from llicti_core import LLCError, models
from llicti_core.threads import available
from llicti_plugin.cli import say
from llicti_plugin.cli.amounts import change, in_bytes, in_time
from llicti_plugin.cli.extras import how_to_install
from llicti_plugin.cli.progress import Progress
from llicti_plugin.collection import estimate, files, manifest, report, sources
from llicti_plugin.collection.alone import alone
from llicti_plugin.collection.manifest import Manifest, Settings
from llicti_plugin.collection.workers import Engine, LocalProcesses

_OF_A_CLUSTER = 64
"""Workers for which a run is cut into shards where nobody says how many a cluster has."""


def run(
    paths: Sequence[str],
    destination: str,
    settings: Settings,
    engine: str,
    workers: int | None,
    report_path: str | None,
) -> int:
    """Convert a collection, or go on with that; returns the exit status. Raises OutputError.

    workers: None for as many as there are processors.
    """
    folder = manifest.home(paths, destination, settings)
    try:
        with alone(destination):
            planned = manifest.unfinished(folder)
            if planned:
                say.err(f"goes on with the run of {planned.files} files that was planned before")
            else:
                expected = workers or (available() if engine == "processes" else _OF_A_CLUSTER)
                planned = manifest.plan(paths, destination, settings, folder, workers=expected)
            report_path = report_path or files.join(folder, "report.jsonl")
            return _run(planned, _engine(engine, workers), report_path)
    except BlockingIOError as error:
        say.err(f"{say.shown(destination)}: {error.strerror}")
        return 1
    except Exception as error:
        if not _is_of_storage(error, (*paths, destination)):
            raise
        name = getattr(error, "filename", None)
        path = f"{say.shown(name)}: " if name else ""
        say.err(f"{path}{say.reason(error)}; the same command goes on where this run ends")
        return 1


def _is_of_storage(error: Exception, paths: Sequence[str]) -> bool:
    """Whether an error is to be told as one of disks or stores, whose libraries raise errors of any type."""
    if isinstance(error, say.OutputError):
        return False
    return isinstance(error, OSError) or any(map(files.is_url, paths))


def _engine(name: str, workers: int | None) -> Engine:
    if name == "processes":
        return LocalProcesses(workers or available())
    from llicti_plugin.collection.ray_cluster import RayCluster

    return RayCluster(workers)


def _run(planned: Manifest, engine: Engine, report_path: str) -> int:
    began = time.monotonic()
    given_up: list[int] = []
    progress = Progress(planned)
    try:
        with progress:
            given_up = engine.run(planned.folder, planned.pending(), progress.tick)
    except KeyboardInterrupt:
        with suppress(OSError):
            _write_report(planned, report_path)
        raise
    totals = _write_report(planned, report_path)
    for line in _summary(totals, planned, time.monotonic() - began):
        say.out(line)
    say.out(f"report: {say.shown(report_path)}")
    if given_up:
        say.err(f"{len(given_up)} shards were given up: all processes that worked on them have died")
    return int(bool(given_up or totals.files[report.FAILED]))


def _write_report(planned: Manifest, path: str) -> report.Totals:
    """Write the report of what is known by now, and sum it up. Raises OSError."""
    totals = report.Totals()

    def counted() -> Iterator[report.Result]:
        for result in report.results(planned):
            totals.add(result)
            yield result

    report.write(counted(), path)
    return totals


def _summary(totals: report.Totals, planned: Manifest, seconds: float) -> list[str]:
    """What has been done, in lines."""
    counts = totals.files
    saving = f": {_saving(totals)}" if counts[report.CONVERTED] else ""
    lines = [f"{counts[report.CONVERTED]} of {planned.files} files converted in {in_time(seconds)}{saving}"]
    for count, words in (
        (counts[report.PRESENT], "had been converted before"),
        (totals.removed, "sources removed"),
        (totals.not_removed, "sources not removed, of which not all is kept"),
        (counts[report.LARGER], "left alone, as they would become larger"),
        (counts[report.LOSSY], "left alone, as they are of a lossy format (--lossy takes them)"),
        (totals.with_notes, "with notes in the report"),
        (counts[report.FAILED], "failed"),
    ):
        if count:
            lines.append(f"{count} {words}")
    return lines


def _saving(totals: report.Totals) -> str:
    sizes = f"{in_bytes(totals.before)} became {in_bytes(totals.after)}, {change(totals.before, totals.after)}"
    return f"{totals.pixels / 1e6:.1f} megapixels, {sizes}"


def dry_run(paths: Sequence[str], destination: str, settings: Settings, workers: int) -> int:
    """Tell what a run would do; returns the exit status."""
    with tempfile.TemporaryDirectory(prefix="llicti-") as folder:
        planned = manifest.plan(paths, destination, settings, os.path.join(folder, "plan"), workers=workers)
        found = estimate.estimate(planned)
    say.out(f"{planned.files} files found, {in_bytes(planned.size)}, in {len(planned.shards)} shards")
    say.out(
        f"about {found.files} would be converted in {in_time(found.seconds / workers)} on {workers} workers: "
        f"{in_bytes(found.before)} would become {in_bytes(found.after)}, {change(found.before, found.after)}"
    )
    if found.left:
        say.out(f"about {found.left} would be left alone, as they are of a lossy format (--lossy takes them)")
    if found.failed:
        say.out(f"about {found.failed:.0%} of the files would fail")
    say.out(f"estimated from {found.sampled} of them; nothing was written")
    return 0


def check(
    paths: Sequence[str], destination: str, settings: Settings, engine: str, report_path: str | None
) -> str | None:
    """What is wrong with these arguments, in words; None where nothing is."""
    try:
        for path in (*paths, destination, *((report_path,) if report_path else ())):
            files.of(files.normal(path))
    except ImportError as error:
        return f"{say.one_line(str(error))}: {how_to_install('cluster')}"
    except ValueError as error:
        return say.one_line(str(error))
    if engine == "ray" and not find_spec("ray"):
        return f"--engine ray needs ray: {how_to_install('cluster')}"
    if settings.to == "webdataset" and (settings.force or settings.replace):
        return "--to webdataset takes neither --force nor --replace"
    if settings.force and settings.replace:
        return "--force and --replace exclude each other: what was overwritten could be all that is left of a source"
    try:
        missing = sources.missing(paths)
    except Exception as error:
        if not _is_of_storage(error, paths):
            raise
        return say.reason(error)
    if missing:
        return f"no such file or folder: {', '.join(map(say.shown, missing))}"
    try:
        models.load(settings.model)
    except LLCError as error:
        return str(error)
    if report_path and report_path.endswith(".parquet") and not find_spec("pyarrow"):
        return "a report in Parquet needs pyarrow: pip install pyarrow"
    return None
