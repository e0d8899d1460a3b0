"""Collections converted by a Ray cluster on this machine, one of whose workers is killed: the outcome is the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from PIL import Image

from llicti_plugin import cli
from llicti_plugin.collection import Manifest, Settings, plan, report
from llicti_plugin.collection.report import CONVERTED, Result
from llicti_plugin.collection.workers import LocalProcesses

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes as Linux shows them"),
    # Ray's own, of files that it leaves open.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning"),
]

Capture = pytest.CaptureFixture[str]


def workers() -> Iterator[int]:
    """The processes of this process's own cluster that convert."""
    for entry in Path("/proc").iterdir():
        try:
            if not (entry / "cmdline").read_bytes().startswith(b"ray::run_shard"):
                continue
            raylet = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if int(Path(f"/proc/{raylet}/stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                yield int(entry.name)
        except (OSError, ValueError):  # no process, or one that has ended
            continue


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    for seed in range(8):
        path = tmp_path / "source" / f"{seed}.png"
        Image.fromarray(images.smooth(200, 300, seed=seed)).save(path)
        os.utime(path, (1e9, 1e9))
    return tmp_path / "source"


def outcome(planned: Manifest) -> list[Result]:
    """The results of a run, but for what differs from run to run."""
    assert not planned.pending()
    found = report.results(planned)
    return [result._replace(seconds=0, target=os.path.basename(result.target or "")) for result in found]


def test_killed_worker(source: Path, tmp_path: Path) -> None:
    from llicti_plugin.collection.ray_cluster import RayCluster

    settings = Settings(effort=1)
    expected = plan([str(source)], str(tmp_path / "processes"), settings)
    assert LocalProcesses(2).run(expected.folder, expected.pending(), lambda: None) == []
    planned = plan([str(source)], str(tmp_path / "ray"), settings)
    assert len(planned.shards) == 8
    killed: list[int] = []

    def tick() -> None:
        begun = any(os.path.exists(planned.journal(number)) for number in range(8))
        if begun and not killed:
            killed.extend(list(workers())[:1])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    assert RayCluster(2).run(planned.folder, planned.pending(), tick) == []
    assert not ray.is_initialized()
    assert len(killed) == 1
    assert outcome(planned) == outcome(expected)
    assert {result.status for result in outcome(planned)} == {CONVERTED}
    for path in (tmp_path / "processes").glob("*.llc"):
        assert path.read_bytes() == (tmp_path / "ray" / path.name).read_bytes()
    assert len(list((tmp_path / "ray").iterdir())) == 8 + 1
    # Nothing of Ray is needed to go on.
    os.remove(planned.sidecar(3))
    assert LocalProcesses(1).run(planned.folder, planned.pending(), lambda: None) == []
    assert not planned.pending()


def test_command(source: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["convert", str(source), str(tmp_path / "out"), "--engine", "ray", "--workers", "2"]
    with monkeypatch.context() as patch:
        patch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        patch.setattr(ray, "init", refused)
        assert cli.main(arguments) == 1
        assert "no cluster there" in capsys.readouterr().err
    assert cli.main(arguments) == 0
    assert "8 of 8 files converted" in capsys.readouterr().out


def refused(*arguments: Any, **options: Any) -> None:
    msg = "no cluster there"
    raise ConnectionError(msg)
