"""What became of each file of a run: results as lines of JSON, their totals, and the report of all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from llicti_plugin.collection import files
from llicti_plugin.collection.manifest import Manifest

CONVERTED, PRESENT, LOSSY, LARGER, FAILED = "converted", "present", "lossy", "larger", "failed"
"""What can become of a file: it has been converted, or was before; it is left alone, being lossy, or since it would
become larger; or it failed."""


class Result(NamedTuple):
    """What became of a file.

    path: absolute, or a URL. status: one of those above. target: the file that was written, likewise, or None.
    bytes_before, bytes_after: sizes of source and target, None where there is none. pixels: of all its frames, 0 where
    they were not looked at. sha256: of the target, or of `member`, in hexadecimal, if it was read. seconds: of time
    that it took. removed: whether the source has been removed. reason: why it failed, or was left alone or not removed.
    notes: what of the source is not in the target. tag: what a store calls the target's content, such as S3's ETag.
    member: the file's name in the target, where that is a tar file.
    """

    path: str
    status: str
    target: str | None = None
    bytes_before: int | None = None
    bytes_after: int | None = None
    pixels: int = 0
    sha256: str | None = None
    seconds: float = 0.0
    removed: bool = False
    reason: str | None = None
    notes: tuple[str, ...] = ()
    tag: str | None = None
    member: str | None = None

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self._asdict())

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Result:
        """What a line of JSON says."""
        known = {name: stored[name] for name in cls._fields if name in stored}
        return cls(**{**known, "notes": tuple(known["notes"])})


class Totals:
    """Sums of results."""

    def __init__(self) -> None:
        self.files = dict.fromkeys((CONVERTED, PRESENT, LOSSY, LARGER, FAILED), 0)
        self.removed = self.not_removed = self.with_notes = 0
        self.read = self.before = self.after = self.pixels = 0
        """Bytes of all sources; of sources and targets of what has been converted; pixels of these."""

    def add(self, result: Result) -> None:
        """Add a result."""
        self.files[result.status] += 1
        self.removed += result.removed
        self.with_notes += bool(result.notes)
        self.read += result.bytes_before or 0
        if result.status == CONVERTED:
            self.not_removed += bool(result.reason)
            self.before += result.bytes_before or 0
            self.after += result.bytes_after or 0
            self.pixels += result.pixels

    @property
    def done(self) -> int:
        """How many files there are results of."""
        return sum(self.files.values())


def results(manifest: Manifest) -> Iterator[Result]:
    """What is known of the files of a run, shard by shard, of those that are not done too. Raises OSError.

    Of a training set's shards alone those that are done: until then there is no tar file that holds an image.
    """
    storage = files.of(manifest.folder)
    pending = set(manifest.pending())
    in_tar = manifest.settings.to == "webdataset"
    for number in range(len(manifest.shards)):
        if number not in pending:
            yield from read_lines(read_text(manifest.sidecar(number)))
        elif not in_tar and storage.stat(manifest.journal(number)):
            yield from dict(read_journal(read_text(manifest.journal(number)))).values()


def read_text(path: str) -> list[str]:
    """The lines of an ASCII text. Raises OSError."""
    return files.of(path).read(path).decode("ascii").splitlines()


def read_lines(file: Iterable[str]) -> Iterator[Result]:
    """The results that lines of JSON are."""
    return (Result.of(json.loads(line)) for line in file)


def read_journal(lines: Iterable[str]) -> Iterator[tuple[int, Result]]:
    """The results in a shard's journal, with the numbers of their rows in the shard."""
    for stored in notes(lines):
        if "status" in stored:
            yield stored["row"], Result.of(stored)


def notes(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """What is noted in a journal, but for a line that was not written to its end."""
    for line in lines:
        with suppress(ValueError):
            yield json.loads(line)


def write(found: Iterable[Result], path: str) -> None:
    """Write results to a file or URL: Parquet where it is named .parquet, which takes pyarrow, else lines of JSON.

    Raises OSError, ImportError.
    """
    with files.of(path).assembled(path) as local:
        if path.endswith(".parquet"):
            _write_parquet(found, local)
        else:
            with open(local, "w", encoding="ascii", newline="\n") as file:
                file.writelines(result.to_json() + "\n" for result in found)


_ROWS_AT_ONCE = 10_000


def _write_parquet(found: Iterable[Result], path: str) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {"bytes_before": pa.int64(), "bytes_after": pa.int64(), "pixels": pa.int64(), "seconds": pa.float64()}
    kinds |= {"removed": pa.bool_(), "notes": pa.list_(pa.string())}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in Result._fields])
    rows: list[dict[str, Any]] = []
    with parquet.ParquetWriter(path, schema) as writer:
        for result in found:
            rows.append({name: _utf8(value) for name, value in result._asdict().items()})
            if len(rows) == _ROWS_AT_ONCE:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema))


def _utf8(value: object) -> object:
    """What Parquet can hold of a value: names that are no text are escaped."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
