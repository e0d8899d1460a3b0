"""The `llc` command: what it writes, what it refuses, and what it says."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import golden
import numpy as np
import pytest
from PIL import Image, ImageSequence
from PIL.PngImagePlugin import PngInfo

import llicti_core
from llicti_core import cli, models


def photograph(path: Path, mode: str = "RGB") -> Image.Image:
    """A small image with a gradient and noise, saved there."""
    noise = np.random.default_rng(1).integers(0, 20, (33, 47, 3))
    pixels = noise + np.mgrid[:33, :47].sum(axis=0)[..., np.newaxis]
    image = Image.fromarray(pixels.astype(np.uint8)).convert(mode)
    image.save(path)
    return image


def failure(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that must fail for one file says."""
    assert cli.main([str(argument) for argument in arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("llc: ")
    assert err.count("\n") == 1
    return err


def run(*arguments: object) -> None:
    """A command that must succeed."""
    assert cli.main([str(argument) for argument in arguments]) == 0


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_round_trip(tmp_path: Path, mode: str, suffix: str) -> None:
    image = photograph(tmp_path / "a.png", mode)
    run("encode", tmp_path / "a.png", "--threads", 1)
    run("decode", tmp_path / "a.llc", "-o", tmp_path / f"b{suffix}")
    with Image.open(tmp_path / f"b{suffix}") as decoded:
        assert (decoded.mode, decoded.size) == (image.mode, image.size)
        assert decoded.tobytes() == image.tobytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.llc", "a.png", f"b{suffix}"])


def test_several_into_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("a.png", "b.bmp"):
        photograph(tmp_path / name)
    run("encode", tmp_path / "a.png", tmp_path / "b.bmp", "-o", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.llc", "b.llc"]


def test_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photograph(tmp_path / "a.png")
    name = models.available()[0]
    with golden.learned():
        run("encode", tmp_path / "a.png", "--model", name)
    assert llicti_core.inspect((tmp_path / "a.llc").read_bytes()).model == name
    assert "no-such" in failure(["encode", tmp_path / "a.png", "--model", "no-such", "--force"], capsys)


def test_never_overwrites_unless_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photograph(tmp_path / "a.png")
    (tmp_path / "a.llc").write_bytes(b"precious")
    assert "exists" in failure(["encode", tmp_path / "a.png"], capsys)
    assert (tmp_path / "a.llc").read_bytes() == b"precious"
    run("encode", tmp_path / "a.png", "--force")
    assert "exists" in failure(["decode", tmp_path / "a.llc"], capsys)


def test_two_files_for_one_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "a.bmp"):
        photograph(tmp_path / name)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["encode", str(tmp_path / "a.png"), str(tmp_path / "a.bmp")])
    assert "same" in capsys.readouterr().err
    assert not (tmp_path / "a.llc").exists()


def test_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photograph(tmp_path / "a.png")

    def full_disk(partial: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    assert cli.main(["encode", str(tmp_path / "a.png")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("mode", ["1", "P", "RGBA", "I;16"])
def test_other_modes(mode: str, tmp_path: Path) -> None:
    image = Image.new(mode, (8, 8), 1)
    image.save(tmp_path / "a.png")
    run("encode", tmp_path / "a.png")
    run("decode", tmp_path / "a.llc", "-o", tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as decoded:
        assert decoded.mode == mode
        assert decoded.tobytes() == image.tobytes()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_metadata(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[271] = "Camera works"
    texts = PngInfo()
    texts.add_itxt("Title", "Ω")
    image = photograph(tmp_path / "a.png")
    image.save(tmp_path / "a.png", icc_profile=b"a profile", exif=exif, dpi=(300, 300), pnginfo=texts)
    run("encode", tmp_path / "a.png")
    run("decode", tmp_path / "a.llc", "-o", tmp_path / f"b{suffix}")
    with Image.open(tmp_path / "a.png") as before, Image.open(tmp_path / f"b{suffix}") as after:
        assert after.tobytes() == before.tobytes()
        assert after.info["icc_profile"] == b"a profile"
        assert after.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        assert after.getexif()[271] == "Camera works"
        if suffix == ".png":
            assert after.text == before.text == {"Title": "Ω"}


@pytest.mark.parametrize("mode", ["RGB", "P", "1", "CMYK"])
def test_parts(mode: str, tmp_path: Path) -> None:
    image = photograph(tmp_path / "a.png").convert(mode)
    image.save(tmp_path / "a.llc")
    run("decode", tmp_path / "a.llc", "-o", tmp_path / "b.tif", "--scale", 2, "--region", 10, 4, 20, 16)
    with Image.open(tmp_path / "b.tif") as decoded:
        assert decoded.mode == mode
        assert np.array_equal(np.asarray(decoded), np.asarray(image)[4:20:2, 10:30:2])
        assert np.array_equal(np.asarray(decoded.convert("RGB")), np.asarray(image.convert("RGB"))[4:20:2, 10:30:2])


def test_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pages = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    run("encode", tmp_path / "a.tif")
    run("info", tmp_path / "a.llc")
    assert "the first of 2 images" in capsys.readouterr().out
    run("decode", tmp_path / "a.llc", "-o", tmp_path / "b.tif")
    with Image.open(tmp_path / "b.tif") as decoded:
        assert [frame.tobytes() for frame in ImageSequence.Iterator(decoded)] == [page.tobytes() for page in pages]
    assert "2 images" in failure(["decode", tmp_path / "a.llc"], capsys)


def test_lossy_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photograph(tmp_path / "a.png")
    run("encode", tmp_path / "a.png")
    assert "lossless" in failure(["decode", tmp_path / "a.llc", "-o", tmp_path / "a.jpg"], capsys)


@pytest.mark.parametrize("command", ["encode", "decode", "info", "verify"])
def test_files_that_are_none(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("no image")
    failure([command, tmp_path / "text"], capsys)
    assert "No such file" in failure([command, tmp_path / "missing"], capsys)


def test_goes_on_after_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photograph(tmp_path / "a.png")
    assert cli.main(["encode", str(tmp_path / "missing.png"), str(tmp_path / "a.png")]) == 1
    assert (tmp_path / "a.llc").exists()


def test_info(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photograph(tmp_path / "a.png")
    with golden.learned():
        run("encode", tmp_path / "a.png")
    run("info", tmp_path / "a.llc")
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.startswith(f"{tmp_path / 'a.llc'}: 47x33 RGB, uint8, model ")
    assert f"{(tmp_path / 'a.llc').stat().st_size} bytes" in out


def test_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photograph(tmp_path / "a.png")
    run("encode", tmp_path / "a.png")
    run("verify", tmp_path / "a.llc")
    assert capsys.readouterr().out == f"{tmp_path / 'a.llc'}: ok\n"
    data = bytearray((tmp_path / "a.llc").read_bytes())
    data[-1] ^= 1
    (tmp_path / "a.llc").write_bytes(data)
    failure(["verify", tmp_path / "a.llc"], capsys)


def test_missing_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("llicti_core.training")]:
        monkeypatch.delitem(sys.modules, name)
    assert "llicti[train]" in failure(["train", "photos"], capsys)


def test_installed_command(tmp_path: Path) -> None:
    # Beside this Python, where an installation puts it.
    command = Path(sys.executable).with_name("llc")
    out = subprocess.run([command, "--version"], check=True, cwd=tmp_path, stdout=subprocess.PIPE, text=True).stdout
    assert out == f"llc {version('llicti')}\n"


def test_imports_nothing_heavy() -> None:
    program = "import sys, llicti_core.cli; print({'PIL', 'imageio', 'torch', 'matplotlib'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", program], check=True, cwd="/", stdout=subprocess.PIPE, text=True).stdout
    assert out == "set()\n"
