"""How far a run has come: a bar on a terminal, and a line for each file that fails.

It is read from the folder of the run, to which all workers write, whatever engine they belong to.
"""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Any

import click

from llicti_plugin.cli import say
from llicti_plugin.cli.amounts import in_bytes
from llicti_plugin.collection import files, report
from llicti_plugin.collection.manifest import Manifest

_SECONDS, _SECONDS_IN_STORES = 0.5, 10.0
"""Between two looks at the folder."""


class Progress:
    """Tells of a run; to be used in a `with` statement."""

    def __init__(self, planned: Manifest) -> None:
        self._planned = planned
        self._totals = report.Totals()
        self._known: dict[int, set[int]] = {}
        """The rows of shards being worked on that have been told of."""
        self._read: dict[int, int] = {}
        """How much of their journals has been read, in bytes."""
        self._done: set[int] = set()
        self._looked = 0.0
        self._bar: Any = None
        if sys.stderr is not None and sys.stderr.isatty():
            self._bar = click.progressbar(
                length=max(1, planned.size), item_show_func=self._words, file=sys.stderr, width=24
            )

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._look()
        if self._bar:
            self._bar.__exit__(kind, error, traceback)

    def tick(self) -> None:
        """Look at what has been done since, if the last time was not just now."""
        in_store = files.is_url(self._planned.folder)
        if time.monotonic() - self._looked >= (_SECONDS_IN_STORES if in_store else _SECONDS):
            self._look()

    def _look(self) -> None:
        before = self._totals.read
        for name in files.of(self._planned.folder).names(self._planned.folder):
            stem, kind = os.path.splitext(name)
            if not stem.startswith("shard-") or (number := int(stem[6:])) in self._done:
                continue
            try:
                if kind == ".journal":
                    self._read_journal(number)
                elif kind == ".jsonl":
                    self._read_sidecar(number)
            except FileNotFoundError:
                pass  # a journal that has just become a sidecar
        if self._bar:
            self._bar.update(self._totals.read - before, self._totals)
        self._looked = time.monotonic()

    def _read_journal(self, number: int) -> None:
        path, start = self._planned.journal(number), self._read.get(number, 0)
        lines = files.of(path).read(path)[start:]
        lines = lines[: lines.rfind(b"\n") + 1]
        self._read[number] = start + len(lines)
        for row, result in report.read_journal(lines.decode("ascii").splitlines()):
            self._tell(number, row, result)

    def _read_sidecar(self, number: int) -> None:
        for row, result in enumerate(report.read_lines(report.read_text(self._planned.sidecar(number)))):
            self._tell(number, row, result)
        self._done.add(number)
        self._known.pop(number, None)
        self._read.pop(number, None)

    def _tell(self, number: int, row: int, result: report.Result) -> None:
        known = self._known.setdefault(number, set())
        if row in known:
            return
        known.add(row)
        self._totals.add(result)
        if result.status == report.FAILED:
            if self._bar:
                click.echo("\r\x1b[K", nl=False, err=True)
            say.err(f"{say.shown(result.path)}: {result.reason}")

    def _words(self, totals: report.Totals | None) -> str:
        if totals is None:
            return ""
        pixels, saved = f"{totals.pixels / 1e6:.1f} megapixels", f"{in_bytes(totals.before - totals.after)} saved"
        return f"{totals.done} of {self._planned.files} files, {pixels}, {saved}"
