"""Collections in object stores: an S3 server on this machine, and fsspec's memory, as sources, destination and both."""

from __future__ import annotations

import io
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import images
import numpy as np
import pytest
from PIL import Image

import llicti_core
from llicti_plugin import cli
from llicti_plugin.cli import say
from llicti_plugin.collection import Manifest, Settings, conversion, files, manifest, plan, report, run_shard, sources
from llicti_plugin.collection.report import CONVERTED, FAILED, LOSSY, PRESENT, Result
from llicti_plugin.collection.workers import LocalProcesses

fsspec = pytest.importorskip("fsspec")

Capture = pytest.CaptureFixture[str]


def picture(seed: int, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(images.smooth(33, 47, seed=seed)).save(stream, form)
    return stream.getvalue()


def pixels(data: bytes) -> Any:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def converted(paths: list[str], destination: str, **settings: Any) -> dict[str, Result]:
    """Plans and runs all shards in this process; what became of each file, by its name."""
    planned = plan(paths, destination, Settings(**{"effort": 0, **settings}))
    for number in planned.pending():
        run_shard(planned.folder, number)
    assert not Manifest.load(planned.folder).pending()
    return {os.path.basename(result.path): result for result in report.results(planned)}


def there(url: str) -> list[str]:
    """The files below a URL, but for those that runs keep for themselves."""
    found = sources._in_store(url, None, "")
    return sorted(source.path[len(url) + 1 :] for source in found)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.slow)])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty store."""
    if request.param == "s3":
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("server"))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        request.getfixturevalue("server")
    url = f"{request.param}://bucket"
    store = fsspec.core.url_to_fs(url, use_listings_cache=False)[0]
    store.mkdir(url)
    yield url
    store.rm(url, recursive=True)


def put(url: str, data: bytes) -> None:
    files.of(url).write_own(url, data)


class Killed(BaseException):
    """Stands for the death of a process."""


class Stopping:
    """Stands in for the function that writes targets, and raises after so many."""

    def __init__(self, write: Callable[..., str], count: int) -> None:
        self.write, self.count = write, count

    def __call__(self, *arguments: Any) -> str:
        tag = self.write(*arguments)
        self.count -= 1
        if not self.count:
            raise Killed
        return tag


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestStores:
    def test_there_and_back(self, bucket: str) -> None:
        put(f"{bucket}/in/a.png", picture(1))
        put(f"{bucket}/in/2020/b.tif", picture(2, "TIFF"))
        put(f"{bucket}/in/c.jpg", picture(3, "JPEG"))
        put(f"{bucket}/in/bad.png", b"")
        put(f"{bucket}/in/notes.txt", b"no image")
        found = converted([f"{bucket}/in/"], f"{bucket}/out/")
        assert {name: result.status for name, result in found.items()} == {
            "a.png": CONVERTED,
            "b.tif": CONVERTED,
            "bad.png": FAILED,
            "c.jpg": LOSSY,
        }
        assert there(f"{bucket}/out") == ["2020/b.llc", "a.llc"]
        target = f"{bucket}/out/2020/b.llc"
        written = files.of(target).read(target)
        assert np.array_equal(pixels(written), images.smooth(33, 47, seed=2))
        result = found["b.tif"]
        assert (result.target, result.bytes_after) == (target, len(written))
        assert result.sha256 == files.sha256(written)
        if bucket.startswith("s3"):
            assert result.tag == files.of(target).stat(target).tag  # type: ignore[union-attr]
            assert len(result.tag or "") == 32
        converted([f"{bucket}/out"], f"{bucket}/back", to="png")
        assert there(f"{bucket}/back") == ["2020/b.png", "a.png"]
        url = f"{bucket}/back/a.png"
        assert np.array_equal(pixels(files.of(url).read(url)), images.smooth(33, 47, seed=1))

    def test_between_store_and_disk(self, bucket: str, tmp_path: Path) -> None:
        put(f"{bucket}/in/x/a.png", picture(1))
        converted([f"{bucket}/in"], str(tmp_path / "out"))
        assert np.array_equal(pixels((tmp_path / "out/x/a.llc").read_bytes()), images.smooth(33, 47, seed=1))
        # The target has the time of its source, and is known by that.
        assert converted([f"{bucket}/in"], str(tmp_path / "out"))["a.png"].status == PRESENT
        found = converted([(tmp_path / "out").as_uri()], f"{bucket}/back", to="png")
        assert found["a.llc"].status == CONVERTED
        assert found["a.llc"].path == str(tmp_path / "out/x/a.llc")
        assert there(f"{bucket}/back") == ["x/a.png"]

    def test_sources(self, bucket: str) -> None:
        for name in ("a.png", "a.tif", "x/b.png", "x/y/c.png", "out/d.png", ".llicti/e.png"):
            put(f"{bucket}/{name}", picture(1))
        assert sources.missing([bucket, f"{bucket}/a.png", f"{bucket}/x", f"{bucket}/*.tif"]) == []
        assert sources.missing([f"{bucket}/z", f"{bucket}/*.bmp"]) == [f"{bucket}/z", f"{bucket}/*.bmp"]
        found = converted([bucket, f"{bucket}/x"], f"{bucket}/out")
        assert len(found) == 4
        assert there(f"{bucket}/out") == ["a.llc", "a.tif.llc", "d.png", "x/b.llc", "x/y/c.llc"]
        converted([f"{bucket}/x/**/*.png"], f"{bucket}/pattern")
        assert there(f"{bucket}/pattern") == ["b.llc", "y/c.llc"]
        converted([f"{bucket}/x/*.png", f"{bucket}/a.tif"], f"{bucket}/narrow")
        assert there(f"{bucket}/narrow") == ["a.llc", "b.llc"]
        # A destination that the source is in is nothing to be left out.
        assert len(converted([f"{bucket}/x/y"], bucket)) == 1
        assert "c.llc" in there(bucket)

    def test_names_do_not_lead_out(self, bucket: str, tmp_path: Path) -> None:
        """Keys of objects may be anything."""
        if bucket.startswith("memory"):
            pytest.skip("has folders, and no such names")
        store = fsspec.core.url_to_fs(bucket)[0]
        for key in ("in/../../a.png", "in//b.png", "in/c.png"):
            store.call_s3("put_object", Bucket="bucket", Key=key, Body=picture(1))
        found = converted([f"{bucket}/in"], str(tmp_path / "out/here"))
        assert {name: result.status for name, result in found.items()} == {
            "a.png": FAILED,
            "b.png": FAILED,
            "c.png": CONVERTED,
        }
        assert sorted(path.name for path in tmp_path.rglob("*.llc")) == ["c.llc"]

    def test_existing_objects(self, bucket: str) -> None:
        put(f"{bucket}/in/a.png", picture(1))
        put(f"{bucket}/out/a.llc", b"precious")
        result = converted([f"{bucket}/in"], f"{bucket}/out")["a.png"]
        assert result.status == FAILED
        assert files.of(bucket).read(f"{bucket}/out/a.llc") == b"precious"
        assert converted([f"{bucket}/in"], f"{bucket}/out", force=True)["a.png"].status == CONVERTED
        assert converted([f"{bucket}/in"], f"{bucket}/out")["a.png"].status == PRESENT
        put(f"{bucket}/in/a.png", picture(2))
        assert converted([f"{bucket}/in"], f"{bucket}/out")["a.png"].status == FAILED
        assert (
            converted([f"{bucket}/out/a.llc"], f"{bucket}/out")["a.llc"].reason == "is the file that would be written"
        )

    def test_existing_objects_of_another_suffix_than_expected(
        self, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What others have put there is neither taken for the target nor replaced."""
        put(f"{bucket}/in/a.llc", llicti_core.encode(images.smooth(9, 9)))
        put(f"{bucket}/out/a.png", b"precious")
        monkeypatch.setattr(conversion, "expected_suffix", lambda data, settings: ".tif")
        for replace in (False, True):
            result = converted([f"{bucket}/in"], f"{bucket}/out", to="png", replace=replace)["a.llc"]
            assert (result.status, result.removed) == (FAILED, False)
            assert files.of(bucket).read(f"{bucket}/out/a.png") == b"precious"

    def test_store_that_gives_back_something_else(self, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        put(f"{bucket}/in/a.png", picture(1))
        kind = type(files.of(bucket))
        read = kind.read

        def odd(self: Any, path: str, most: int = -1, start: int = 0) -> bytes:
            data = read(self, path, most, start)
            return data[:-1] + b"?" if path.endswith("a.llc") else data

        monkeypatch.setattr(kind, "read", odd)
        result = converted([f"{bucket}/in"], f"{bucket}/out", replace=True)["a.png"]
        assert (result.status, result.reason) == (FAILED, files.NOT_BACK)
        assert there(f"{bucket}/out") == []
        assert there(f"{bucket}/in") == ["a.png"]

    def test_replace(self, bucket: str) -> None:
        put(f"{bucket}/in/a.png", picture(1))
        result = converted([f"{bucket}/in"], f"{bucket}/in", replace=True)["a.png"]
        assert (result.status, result.removed) == (CONVERTED, True)
        assert there(f"{bucket}/in") == ["a.llc"]
        assert np.array_equal(pixels(files.of(bucket).read(f"{bucket}/in/a.llc")), images.smooth(33, 47, seed=1))

    @pytest.mark.parametrize("replace", [False, True])
    def test_stopped_and_gone_on_with(self, bucket: str, replace: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """Killed after targets were written and before that was noted: nothing is lost, and nothing converted twice."""
        for seed in range(3):
            put(f"{bucket}/in/{seed}.png", picture(seed))
        with monkeypatch.context() as patch:
            patch.setattr(manifest, "_SHARDS_A_WORKER", 1)
            planned = plan([f"{bucket}/in"], f"{bucket}/out", Settings(effort=0, replace=replace))
        assert len(planned.shards) == 1
        kind, stop_at, stops = type(files.of(bucket)), 0, 0
        convert, conversions = conversion.convert, 0

        def counted(*arguments: Any) -> Any:
            nonlocal conversions
            conversions += 1
            return convert(*arguments)

        monkeypatch.setattr(conversion, "convert", counted)
        while planned.pending():
            stop_at += 1
            stopping = Stopping(kind.write, stop_at)
            with monkeypatch.context() as patch:
                patch.setattr(kind, "write", lambda *arguments, write=stopping: write(*arguments))
                try:
                    run_shard(planned.folder, 0)
                except Killed:
                    stops += 1
        assert stops >= 1
        assert {result.status for result in report.results(planned)} <= {CONVERTED, PRESENT}
        assert there(f"{bucket}/out") == ["0.llc", "1.llc", "2.llc"]
        assert there(f"{bucket}/in") == ([] if replace else ["0.png", "1.png", "2.png"])
        for seed in range(3):
            coded = files.of(bucket).read(f"{bucket}/out/{seed}.llc")
            assert np.array_equal(pixels(coded), images.smooth(33, 47, seed=seed))
        assert conversions == 3

    def test_tar_shards(self, bucket: str) -> None:
        put(f"{bucket}/in/a.png", picture(1))
        result = converted([f"{bucket}/in"], f"{bucket}/out", to="webdataset")["a.png"]
        assert (result.target, result.member) == (f"{bucket}/out/shard-000000.tar", "000000000.llc")
        assert there(f"{bucket}/out") == ["shard-000000.tar"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_command(bucket: str, tmp_path: Path, capsys: Capture) -> None:
    for seed in range(3):
        put(f"{bucket}/in/{seed}.png", picture(seed))
    arguments = ["convert", f"{bucket}/in", f"{bucket}/out", "--workers", "2", "--effort", "0"]
    assert cli.main([*arguments, "--dry-run"]) == 0
    assert there(f"{bucket}/out") == []
    assert cli.main([*arguments, "--report", f"{bucket}/report.jsonl"]) == 0
    assert "3 of 3 files converted" in capsys.readouterr().out
    lines = files.of(bucket).read(f"{bucket}/report.jsonl").decode().splitlines()
    assert [json.loads(line)["status"] for line in lines] == 3 * [CONVERTED]
    assert cli.main(arguments) == 0
    assert "3 had been converted before" in capsys.readouterr().out


def test_store_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """What its library raises, of any type, is told in a line."""
    (tmp_path / "a.png").write_bytes(picture(1))

    class EndpointConnectionError(Exception):
        pass

    def gone(*arguments: object) -> None:
        raise EndpointConnectionError("no answer")

    monkeypatch.setattr(type(files.of("memory://x")), "stat", gone)
    assert cli.main(["convert", str(tmp_path), "memory://x"]) == 1
    ends = "; the same command goes on where this run ends\n"
    assert capsys.readouterr().err == f"llicti: EndpointConnectionError: no answer{ends}"
    assert cli.main(["convert", "memory://x", str(tmp_path)]) == 2
    assert "EndpointConnectionError: no answer" in capsys.readouterr().err


def test_ctrl_c_is_no_fault_of_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    (tmp_path / "a.png").write_bytes(picture(1))

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalProcesses, "run", interrupted)
    assert cli.main(["convert", str(tmp_path), "memory://y"]) == 130
    assert capsys.readouterr().err.endswith("llicti: interrupted\n")


def test_full_output_is_no_fault_of_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    (tmp_path / "a.png").write_bytes(picture(1))

    def full(line: str) -> None:
        raise say.OutputError("No space left on device")

    monkeypatch.setattr(LocalProcesses, "run", lambda *arguments: [])
    monkeypatch.setattr(say, "out", full)
    assert cli.main(["convert", str(tmp_path), "memory://full"]) == 1
    assert capsys.readouterr().err.endswith("llicti: standard output: No space left on device\n")


def test_unknown_urls(tmp_path: Path, capsys: Capture) -> None:
    Image.fromarray(images.smooth(9, 9)).save(tmp_path / "a.png")
    assert cli.main(["convert", str(tmp_path / "a.png"), "nosuch://bucket"]) == 2
    assert "nosuch" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_plans_take_memory_for_a_page_of_objects(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All in one folder; the answers of the server are made up, which would take long to get so many."""
    when = datetime(2026, 1, 1, tzinfo=timezone.utc)

    def held(count: int) -> int:
        """Bytes held when the last page is asked for, but for those of the server, which runs in this process."""
        bytes_held = 0

        def page(store: Any, method: str, **request: Any) -> dict[str, Any]:
            nonlocal bytes_held
            assert method == "list_objects_v2"
            start = int(request.get("ContinuationToken", 0))
            assert start < count
            is_last = start + 1000 >= count
            if is_last:
                snapshot = tracemalloc.take_snapshot()
                ours = snapshot.filter_traces([tracemalloc.Filter(False, "*/werkzeug/*")])
                bytes_held = sum(statistic.size for statistic in ours.statistics("filename"))
            names = (f"in/{number:06}.png" for number in range(start, start + 1000))
            contents = [{"Key": name, "Size": 1, "LastModified": when, "ETag": '"0123456789abcdef"'} for name in names]
            return {"Contents": contents, "IsTruncated": not is_last, "NextContinuationToken": start + 1000}

        monkeypatch.setattr(fsspec.get_filesystem_class("s3"), "call_s3", page)
        tracemalloc.start()
        try:
            assert plan([f"{bucket}/in"], str(tmp_path / "out"), Settings()).files == count
        finally:
            tracemalloc.stop()
        return bytes_held

    held(1000)  # imports what planning takes
    assert held(20_000) < held(2000) + 1_000_000
