"""The benchmark: what it measures, what it writes, and that no codec gets away with a wrong pixel."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llicti_core import models
from llicti_core.benchmark import codecs, plot, report, speed, startup
from llicti_core.benchmark.load import OtherPrograms
from llicti_plugin import cli

OURS = f"llc-{models.available()[0]}-0"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two small colour images, a grey one and a text."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for name, shape in (("a", (70, 90, 3)), ("b", (80, 40, 3)), ("grey", (40, 40))):
        pixels = np.add.outer(np.arange(shape[0]), np.arange(shape[1]))
        pixels = (pixels[..., np.newaxis] if len(shape) == 3 else pixels) + rng.integers(0, 16, shape)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def images() -> list[codecs.Pixels]:
    return [np.random.default_rng(1).integers(0, 256, (70, 80, 3), np.uint8)]


def codec(name: str) -> codecs.Codec:
    return next(codec for codec in codecs.installed() if codec.name == name)


@pytest.mark.slow
def test_results(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "RUNS", 1)
    output = tmp_path / "results"
    arguments = ["bench", photos, "--codecs", "png", OURS, "--rounds", 2, "--threads", 1, "--output", output]
    assert cli.main([str(argument) for argument in arguments]) == 0

    results = json.loads((output / "results.json").read_text())
    assert results["images"] == {"count": 2, "pixels": 70 * 90 + 80 * 40, "names": ["a.png", "b.png"]}
    assert (results["rounds"], results["threads"]) == (2, 1)
    assert results["startup"]["llc"] > 0
    assert {"processor", "cores", "instruction_set", "versions"} <= results["machine"].keys()
    assert {"png", OURS} <= {row["name"] for row in results["codecs"]}
    for row in results["codecs"]:
        assert row["rounds"] == 2
        assert row["lossless"]
        assert row["bits_per_subpixel"] == 8 * row["bytes"] / (3 * results["images"]["pixels"])
        assert row["encode_speed"] > 0
        assert row["decode_speed"] > 0

    table = (output / "results.md").read_text(encoding="utf-8")
    assert "2 images" in table
    assert all(row["label"] in table for row in results["codecs"])


def test_every_installed_codec_is_lossless(images: list[codecs.Pixels]) -> None:
    small = [image[:16, :24] for image in images]
    speed.measure(codecs.installed(), [np.ascontiguousarray(image) for image in small], 1, 2, lambda _: None)


def test_a_lying_codec_is_caught(images: list[codecs.Pixels]) -> None:
    liar = replace(codec("png"), decode=lambda data, threads: images[0] & np.uint8(0xFE))
    with pytest.raises(speed.NotLosslessError, match="PNG"):
        speed.measure([liar], images, 1, 1, lambda _: None)


def test_slow_codecs_take_part_once(images: list[codecs.Pixels]) -> None:
    slow = replace(codec("png"), name="slow", slow=True)
    runs = speed.measure([slow, codec("png")], images, 3, 1, lambda _: None)
    assert (len(runs["slow"][0].encode), len(runs["png"][0].encode)) == (1, 3)


def test_seconds_and_spread() -> None:
    rounds = [[1.0, 3.0, 2.0], [4.0, 4.0, 4.0]]
    assert speed.seconds(rounds) == 6.0
    assert speed.spread(rounds) == pytest.approx(2 / 6)
    assert speed.spread([[1.0], [2.0]]) is None


def row(name: str, **changes: object) -> report.Row:
    values = report.Row(name, name, 2, 3, 3000, 3.0, 1.0, 8.0, 0.1, 0.1, 2.0, 1.5)
    return replace(values, **changes)  # type: ignore[arg-type]


def results_of(*rows: report.Row) -> dict[str, object]:
    return {
        "machine": report.machine(),
        "other_programs_cores": 0.5,
        "threads": 2,
        "rounds": 3,
        "images": {"count": 1, "pixels": 1000, "names": ["a.png"]},
        "codecs": [vars(row) for row in rows],
        "startup": {"llc": 0.06, "png": 0.04, "runs": 15},
    }


def test_table_is_relative_to_jpeg_xl() -> None:
    ours = row("llc-x", bytes=1500, encode_speed=4.0, decode_speed=2.0)
    lines = report.table(results_of(row("jxl-7"), ours, row("jxl-9", rounds=1))).splitlines()
    cells = next(line for line in lines if line.startswith("| llc-x")).split(" | ")
    assert cells[4:7] == ["0.500", "4", "0.25"]
    assert any("jxl-9 took part in the first of the 3 rounds only" in line for line in lines)


def test_table_without_jpeg_xl_or_memory() -> None:
    table = report.table(results_of(row("png", encode_memory=None, decode_memory=None)))
    assert "×" not in table
    assert "resident" not in table
    assert "Other programs kept 0.50 of the cores busy" in table


def test_other_programs_are_not_this_one() -> None:
    others = OtherPrograms()
    cores = others.cores()
    assert cores is None or cores >= 0


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot.save([row("jxl-7"), row("llc-x", encode_speed=4.0), row("png", bits_per_subpixel=4.0)], tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > 1000


def test_unknown_codec(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", str(photos), "--codecs", "no-such"]) == 1
    assert "no-such" in capsys.readouterr().err


def test_no_photographs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", str(tmp_path)]) == 1
    assert "no RGB image" in capsys.readouterr().err


def test_the_paper_s_codec_runs_beside_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchac")
    from llicti_core.paper.network import Network

    checkpoint = tmp_path / "model.pth.tar"
    torch.save({"state_dict": Network().state_dict()}, checkpoint)
    monkeypatch.setenv("LLICTI_PAPER_CHECKPOINT", str(checkpoint))
    (codec,) = codecs.select(["paper"])
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    assert (codec.decode(codec.encode(pixels, 1), 1) == pixels).all()
