"""Training sets: `.llc` files in tar files, and what webdataset and Hugging Face's datasets make of them."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import images
import numpy as np
import pytest
from PIL import Image

from llicti_plugin import cli
from llicti_plugin.collection import Manifest, Settings, conversion, files, plan, report, run_shard
from llicti_plugin.collection.report import CONVERTED, FAILED, LOSSY

Capture = pytest.CaptureFixture[str]

opens_files = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
"""Of webdataset, which leaves files open."""

DOCUMENT = Path(__file__).parents[2] / "docs" / "collections.md"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for seed, name in enumerate(("a.png", "b.x.tif", "c.jpg", "y/d.png")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images.smooth(33, 47, seed=seed)).save(path)
    (tmp_path / "photos" / "bad.png").write_bytes(b"no image")
    return tmp_path / "photos"


def one_shard(source: Path, destination: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    with monkeypatch.context() as patch:
        patch.setattr("llicti_plugin.collection.manifest._SHARDS_A_WORKER", 1)
        planned = plan([str(source)], str(destination), Settings("webdataset", effort=0))
    assert len(planned.shards) == 1
    return planned


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def test_tar_shards(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = one_shard(source, tmp_path / "set", monkeypatch)
    run_shard(planned.folder, 0)
    found = {os.path.basename(result.path): result for result in report.results(planned)}
    assert [found[name].status for name in sorted(found)] == [CONVERTED, CONVERTED, FAILED, LOSSY, CONVERTED]
    assert sorted(os.listdir(tmp_path / "set")) == [".llicti", "shard-000000.tar"]
    held = members(tmp_path / "set" / "shard-000000.tar")
    assert len(held) == 6
    for name, seed, where in (("a.png", 0, "a"), ("b.x.tif", 1, "b.x"), ("d.png", 3, "y/d")):
        result = found[name]
        assert result.target == str(tmp_path / "set" / "shard-000000.tar")
        data = held[result.member or ""]
        assert (len(data), files.sha256(data)) == (result.bytes_after, result.sha256)
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(np.asarray(image), images.smooth(33, 47, seed=seed))
        assert json.loads(held[(result.member or "").replace(".llc", ".json")]) == {"name": where}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_stopped_and_gone_on_with(
    error: BaseException, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = one_shard(source, tmp_path / "set", monkeypatch)
    convert, calls = conversion.convert, 0

    def stopping(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise error
        return convert(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(conversion, "convert", stopping)
        with pytest.raises(type(error)):
            run_shard(planned.folder, 0)
    assert os.listdir(tmp_path / "set") == [".llicti"]
    assert list(report.results(planned)) == []  # nothing is in a file that is not there
    run_shard(planned.folder, 0)
    first = (tmp_path / "set" / "shard-000000.tar").read_bytes()
    results = [*report.results(planned)]
    # Killed after the file was put in place, and before that was noted.
    os.remove(planned.sidecar(0))
    noted = [json.dumps({"row": row, **result._asdict()}) + "\n" for row, result in enumerate(results)]
    Path(planned.journal(0)).write_text("".join(noted), encoding="ascii")
    run_shard(planned.folder, 0)
    assert (tmp_path / "set" / "shard-000000.tar").read_bytes() == first
    # Killed before: it is another run's.
    os.remove(planned.sidecar(0))
    Path(planned.journal(0)).write_text(noted[0], encoding="ascii")
    with pytest.raises(FileExistsError):
        run_shard(planned.folder, 0)
    assert (tmp_path / "set" / "shard-000000.tar").read_bytes() == first


@pytest.mark.parametrize("year", [1955, 2300])
def test_times_that_tar_files_do_not_have(year: int, tmp_path: Path) -> None:
    path = tmp_path / "photos" / "a.png"
    path.parent.mkdir()
    Image.fromarray(images.smooth(33, 47)).save(path)
    seconds = (year - 1970) * 31_556_952
    os.utime(path, (seconds, seconds))
    planned = plan([str(path)], str(tmp_path / "set"), Settings("webdataset", effort=0))
    run_shard(planned.folder, 0)
    assert [result.status for result in report.results(planned)] == [CONVERTED]
    with tarfile.open(tmp_path / "set" / "shard-000000.tar") as tar:
        assert {member.mtime for member in tar} == {0 if year < 1970 else 8**11 - 1}


def test_file_that_comes_back_changed(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = one_shard(source, tmp_path / "set", monkeypatch)
    good = files.from_disk

    def odd(path: str) -> Any:
        with good(path) as file:
            data = bytearray(file.read())
        data[600] ^= 1
        return io.BytesIO(data)

    with monkeypatch.context() as patch:
        patch.setattr(files, "from_disk", odd)
        with pytest.raises(OSError, match="does not come back"):
            run_shard(planned.folder, 0)
    assert os.listdir(tmp_path / "set") == [".llicti"]
    assert planned.pending() == [0]


def test_command(source: Path, tmp_path: Path, capsys: Capture) -> None:
    arguments = ["convert", str(source), str(tmp_path / "set"), "--to", "webdataset", "--workers", "1"]
    assert cli.main(arguments) == 1
    assert "3 of 5 files converted" in capsys.readouterr().out
    before = {path: path.read_bytes() for path in (tmp_path / "set").glob("*.tar")}
    assert cli.main(arguments) == 1  # nothing is added to a set
    assert "3 of 5 files converted" in capsys.readouterr().out
    assert cli.main([*arguments, "--effort", "0"]) == 1
    assert "takes a folder of its own" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "set").glob("*.tar")} == before
    for option in ("--force", "--replace"):
        assert cli.main([*arguments, option]) == 2


@pytest.fixture
def training_set(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    planned = one_shard(source, tmp_path / "set", monkeypatch)
    run_shard(planned.folder, 0)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "set" / "shard-000000.tar"


def example(library: str) -> dict[str, Any]:
    """What the document's example for a library leaves behind."""
    (code,) = (
        block
        for block in re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.DOTALL | re.MULTILINE)
        if f"import {library}" in block
    )
    session: dict[str, Any] = {}
    exec(compile(code, "docs/collections.md", "exec"), session)
    return session


@pytest.mark.slow
@opens_files
def test_webdataset(training_set: Path) -> None:
    wds = pytest.importorskip("webdataset")
    found = {about["name"]: pixels for pixels, about in example("webdataset")["samples"]}
    assert sorted(found) == ["a", "b.x", "y/d"]
    for name, seed in (("a", 0), ("b.x", 1), ("y/d", 3)):
        assert np.array_equal(found[name], images.smooth(33, 47, seed=seed))
    # webdataset's own handler, by way of Pillow.
    handler = wds.imagehandler("rgb8", extensions=["llc"])
    pipeline = wds.WebDataset(str(training_set), shardshuffle=False).decode(handler).to_tuple("llc")
    assert np.array_equal(next(iter(pipeline))[0], images.smooth(33, 47, seed=0))


@pytest.mark.slow
@opens_files
def test_the_example_reads_every_tar_file(training_set: Path) -> None:
    pytest.importorskip("webdataset")
    shutil.copy(training_set, training_set.with_name("shard-000001.tar"))
    assert len(list(example("webdataset")["samples"])) == 6


@pytest.mark.slow
@opens_files
def test_webdataset_in_workers(training_set: Path) -> None:
    pytest.importorskip("webdataset")
    torch = pytest.importorskip("torch")
    samples = example("webdataset")["samples"]
    loader = torch.utils.data.DataLoader(samples, batch_size=None, num_workers=1)
    assert sum(int(pixels.sum()) for pixels, _ in loader) == sum(
        int(np.sum(images.smooth(33, 47, seed=seed), dtype=np.int64)) for seed in (0, 1, 3)
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_datasets(training_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    found = example("datasets")
    image = found["pictures"][0]["llc"]
    assert isinstance(image, Image.Image)
    assert np.array_equal(np.asarray(image), images.smooth(33, 47, seed=0))
    # Paths, too, since Pillow knows the format.
    (tmp_path / "a.llc").write_bytes(members(training_set)["000000000.llc"])
    table = datasets.Dataset.from_dict({"image": [str(tmp_path / "a.llc")]}).cast_column("image", datasets.Image())
    assert np.array_equal(np.asarray(table[0]["image"]), images.smooth(33, 47, seed=0))
