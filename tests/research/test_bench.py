"""The benchmark: what it measures, what it writes, and that no codec gets away with a wrong pixel."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llicti_core import models
from llicti_core.benchmark import codecs, photos, plot, report, speed, startup
from llicti_core.benchmark.load import OtherPrograms
from llicti_plugin import cli

OURS = f"llc-{models.available()[0]}-0"


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
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
def images() -> list[photos.Pixels]:
    return [np.random.default_rng(1).integers(0, 256, (70, 80, 3), np.uint8)]


def codec(name: str) -> codecs.Codec:
    return next(codec for codec in codecs.installed() if codec.name == name)


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A folder with a colour image of 16 bits."""
    imagecodecs = pytest.importorskip("imagecodecs")
    folder = tmp_path / "deep"
    folder.mkdir()
    pixels = np.random.default_rng(2).integers(0, 1 << 16, (40, 50, 3), np.uint16)
    (folder / "c.png").write_bytes(imagecodecs.png_encode(pixels))
    return folder


def test_the_processor_is_told_with_family_and_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_CPUINFO", tmp_path / "cpuinfo")
    core = "vendor_id\t: AuthenticAMD\ncpu family\t: 23\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nstepping\t: 2\n\n"
    (tmp_path / "cpuinfo").write_text("processor\t: 0\n" + core + "processor\t: 1\n" + core.replace("23", "25"))
    assert report.machine()["processor"] == "AMD EPYC, family 23, model 1"
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")  # as on aarch64
    assert report.machine()["processor"] == ""


def test_a_folder_s_photographs_are_read_with_all_their_bits(photographs: Path, deep: Path) -> None:
    (deep / "c.png").rename(photographs / "c.png")
    small, large = photos.read(photographs, None)
    assert (small.name, small.bits, list(small.images)) == ("photos", 8, ["a.png", "b.png"])
    assert (large.name, large.bits, list(large.images)) == ("photos", 16, ["c.png"])
    assert large.largest.dtype == np.uint16
    assert large.largest.max() > 255
    assert small.largest.shape == (70, 90, 3)
    assert small.pixels == 70 * 90 + 80 * 40
    (only,) = photos.read(photographs, 1)
    assert list(only.images) == ["a.png"]


@pytest.mark.slow
def test_results(photographs: Path, deep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "RUNS", 1)
    output = tmp_path / "results"
    arguments = ["bench", photographs, deep, "--codecs", "png", OURS, "--rounds", 2, "--threads", 2, "--output", output]
    assert cli.main([str(argument) for argument in arguments]) == 0

    results = json.loads((output / "results.json").read_text())
    assert (results["rounds"], results["threads"]) == (2, 2)
    assert results["startup"]["llc"] > 0
    assert {"processor", "cores", "instruction_set", "versions", "models"} <= results["machine"].keys()
    small, large = results["groups"]
    assert (small["name"], small["bits"], small["images"]) == ("photos", 8, ["a.png", "b.png"])
    assert small["pixels"] == 70 * 90 + 80 * 40
    assert (large["name"], large["bits"], large["images"]) == ("deep", 16, ["c.png"])
    assert large["unable"] == ["PNG (Pillow)"]
    assert {row["name"] for row in small["codecs"]} == {"png", "png-9", OURS}
    assert {row["name"] for row in large["codecs"]} == {"png-9", OURS}
    for group in (small, large):
        for row in group["codecs"]:
            assert row["rounds"] == 2
            assert row["lossless"]
            assert row["bits_per_subpixel"] == 8 * row["bytes"] / (3 * group["pixels"])
            assert row["encode_speed"] > 0
            assert row["decode_speed"] > 0
            assert (row["encode_gain"] is None) == (row["name"] != OURS)

    document = (output / "results.md").read_text(encoding="utf-8")
    assert "2 images" in document
    assert "## deep (16 bits)" in document
    assert all(row["label"] in document for row in small["codecs"])


@pytest.mark.parametrize("bits", [8, 16])
def test_every_installed_codec_is_lossless(bits: int) -> None:
    dtype = np.dtype(f"uint{bits}")
    image = np.random.default_rng(1).integers(0, 1 << bits, (16, 24, 3), dtype)
    able = [codec for codec in codecs.installed() if bits in codec.depths]
    assert able
    speed.measure(able, [image], 1, 2, lambda _: None)


def test_our_models_are_called_what_users_call_them() -> None:
    labels = {codec.label for codec in codecs.installed() if codec.family == "llc"}
    assert {"LLC default (effort 0)", "LLC best (effort 3)"} <= labels


def test_threads_gain_what_they_gain(images: list[photos.Pixels]) -> None:
    assert speed.gains([codec(OURS)], images[0], 1, 1) == {}
    gains = speed.gains([codec(OURS)], images[0], 2, 1)
    assert gains.keys() == {OURS}
    assert min(gains[OURS]) > 0


def test_a_lying_codec_is_caught(images: list[photos.Pixels]) -> None:
    liar = replace(codec("png"), decode=lambda data, threads: images[0] & np.uint8(0xFE))
    with pytest.raises(speed.NotLosslessError, match="PNG"):
        speed.measure([liar], images, 1, 1, lambda _: None)


def test_slow_codecs_take_part_once(images: list[photos.Pixels]) -> None:
    slow = replace(codec("png"), name="slow", slow=True)
    runs = speed.measure([slow, codec("png")], images, 3, 1, lambda _: None)
    assert (len(runs["slow"][0].encode), len(runs["png"][0].encode)) == (1, 3)


def test_seconds_and_spread() -> None:
    rounds = [[1.0, 3.0, 2.0], [4.0, 4.0, 4.0]]
    assert speed.seconds(rounds) == 6.0
    assert speed.spread(rounds) == pytest.approx(2 / 6)
    assert speed.spread([[1.0], [2.0]]) is None


def row(name: str, **changes: object) -> report.Row:
    values = report.Row(name, name, 2, 3, 3000, 3.0, 1.0, 8.0, 0.1, 0.1, 1.9, 1.8, 2.0, 1.5)
    return replace(values, **changes)  # type: ignore[arg-type]


def results_of(*rows: report.Row) -> dict[str, object]:
    return {
        "machine": report.machine(),
        "threads": 2,
        "rounds": 3,
        "startup": {"llc": 0.06, "png": 0.04, "runs": 15},
        "groups": [group_of("kodak", 8, *rows), group_of("deep", 16, *rows[1:])],
    }


def group_of(name: str, bits: int, *rows: report.Row) -> dict[str, object]:
    return {
        "name": name,
        "bits": bits,
        "pixels": 1000,
        "images": ["a.png"],
        "unable": [],
        "other_programs_cores": 0.5,
        "codecs": [vars(row) for row in rows],
    }


def test_tables_are_relative_to_jpeg_xl() -> None:
    ours = row("llc-x", bytes=1500, encode_speed=4.0, decode_speed=2.0)
    lines = report.document(results_of(row("jxl-7"), ours, row("jxl-9", rounds=1))).splitlines()
    cells = next(line for line in lines if line.startswith("| llc-x")).split(" | ")
    assert cells[4:7] == ["0.500", "4", "0.25"]
    assert cells[8:10] == ["1.9", "1.8"]
    once = next(line for line in lines if line.startswith("Measured once, in the first of the 3 rounds"))
    assert once.endswith(": jxl-9.")


def test_the_summary_has_the_sizes_of_all_groups() -> None:
    ours = row("llc-x", bytes=1500, encode_speed=4.0, decode_speed=20.0)
    lines = report.document(results_of(row("jxl-7"), ours)).splitlines()
    assert "| codec | kodak | deep (16 bits) | encode speed, kodak | decode speed, kodak |" in lines
    assert "| **llc-x** | **3.000** | **3.000** | **4 x** | **2.5 x** |" in lines
    assert "| jxl-7 | 3.000 |  | 1 x | 1 x |" in lines


def test_tables_without_jpeg_xl_or_memory() -> None:
    document = report.document(results_of(row("png", encode_memory=None, decode_memory=None)))
    assert "×" not in document
    assert "resident" not in document
    assert "Other programs kept 0.50 of the cores busy" in document


def test_other_programs_are_not_this_one() -> None:
    others = OtherPrograms()
    cores = others.cores()
    assert cores is None or cores >= 0


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [row("jxl-7"), row("llc-x", encode_speed=4.0), row("png", bits_per_subpixel=4.0)]
    plot.save(rows, "kodak", tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > 1000


def test_the_front_is_what_nothing_beats() -> None:
    points = [(1.0, 2.0), (2.0, 2.5), (1.5, 2.6), (4.0, 3.0), (4.0, 3.5), (0.5, 2.0)]
    assert plot.front(points) == [(1.0, 2.0), (2.0, 2.5), (4.0, 3.0)]


def test_unknown_codec(photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", str(photographs), "--codecs", "no-such"]) == 1
    assert "no-such" in capsys.readouterr().err


def test_no_photographs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", str(tmp_path)]) == 1
    assert "no RGB image" in capsys.readouterr().err


def test_folders_that_are_none(photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing, file = tmp_path / "missing", tmp_path / "file"
    file.write_bytes(b"")
    assert cli.main(["bench", str(missing)]) == 1
    assert f"llicti: bench: {missing}: " in capsys.readouterr().err
    assert cli.main(["bench", str(photographs), "--output", str(file)]) == 1
    assert f"llicti: bench: {file}: " in capsys.readouterr().err


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
