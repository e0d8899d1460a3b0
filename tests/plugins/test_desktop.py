"""What desktops see: the description of the format and thumbnails, as installed; ImageMagick, by way of the command."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import golden
import numpy as np
import pytest
from command import failure
from images import noise, smooth
from numpy.typing import NDArray
from PIL import Image

import llicti_core
import llicti_plugin
from llicti_plugin import cli

llicti_plugin.register()

BIN = Path(sys.executable).parent
"""Where an installation puts the command."""

NAMES = {"": "http://www.freedesktop.org/standards/shared-mime-info"}


def installed(name: str) -> Path:
    """The file that the installation put where desktops look."""
    (path,) = (path for path in files("llicti") or () if path.as_posix().endswith(f"share/{name}"))
    return Path(path.locate())


@pytest.fixture
def description() -> Path:
    return installed("mime/packages/llicti.xml")


# The MIME type


def test_description(description: Path) -> None:
    (mime_type,) = ElementTree.parse(description).getroot().findall("mime-type", NAMES)
    assert mime_type.get("type") == Image.MIME["LLC"]
    assert [glob.get("pattern") for glob in mime_type.findall("glob", NAMES)] == ["*.llc"]
    (match,) = mime_type.findall("magic/match", NAMES)
    assert (match.get("type"), match.get("offset")) == ("string", "0")
    assert match.get("value", "").encode("ascii").decode("unicode_escape").encode("latin-1") == llicti_core.SIGNATURE


@pytest.mark.skipif(not shutil.which("update-mime-database"), reason="shared-mime-info is not installed")
def test_desktops_understand_it(description: Path, tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    shutil.copy(description, tmp_path / "packages")
    subprocess.run(["update-mime-database", tmp_path], check=True, capture_output=True)
    assert b"[60:image/x-llc]\n>0=\x00\x08" + llicti_core.SIGNATURE in (tmp_path / "magic").read_bytes()
    assert "image/x-llc:*.llc" in (tmp_path / "globs").read_text().split()


@pytest.mark.skipif(
    not (shutil.which("update-mime-database") and shutil.which("gio")), reason="shared-mime-info or GLib is missing"
)
@pytest.mark.parametrize("name", ["a.llc", "without extension"])
def test_desktops_tell_files_of_this_type(name: str, description: Path, tmp_path: Path) -> None:
    """By their names, or by their beginnings."""
    packages = tmp_path / "share" / "mime" / "packages"
    packages.mkdir(parents=True)
    shutil.copy(description, packages)
    subprocess.run(["update-mime-database", packages.parent], check=True, capture_output=True)
    (tmp_path / name).write_bytes(llicti_core.encode(smooth(20, 30), effort=0))
    asked = ["gio", "info", "-a", "standard::content-type", tmp_path / name]
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "share"), "LC_ALL": "C.UTF-8"}
    said = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True, timeout=600).stdout
    assert "standard::content-type: image/x-llc\n" in said


# Thumbnails


def thumbnail(path: Path, size: int) -> Image.Image:
    """What the command makes of a file."""
    target = path.with_suffix(".png")
    assert cli.main(["thumbnail", str(path), str(target), str(size)]) == 0
    with Image.open(target) as image:
        image.load()
    assert (image.format, image.mode in ("L", "LA", "RGB", "RGBA")) == ("PNG", True)
    return image


def test_thumbnailer(tmp_path: Path) -> None:
    """As a file manager runs it: from its own description, in which %i is the file, %o the picture and %s its size."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(installed("thumbnailers/llicti.thumbnailer"))
    entry = parser["Thumbnailer Entry"]
    assert entry["MimeType"] == f"{Image.MIME['LLC']};"
    path, picture = tmp_path / "it's a photo.llc", tmp_path / "out.png"
    path.write_bytes(llicti_core.encode(smooth(90, 120), effort=0))
    picture.touch()  # some file managers make it first
    values = {"%i": str(path), "%o": str(picture), "%s": "64"}
    command = [values.get(word, word) for word in shlex.split(entry["Exec"])]
    assert command[0] == entry["TryExec"]
    subprocess.run([BIN / command[0], *command[1:]], check=True, timeout=600)
    with Image.open(picture) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 48))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["it's a photo.llc", "out.png"]


def test_thumbnails_show_the_picture(tmp_path: Path) -> None:
    y, x = np.mgrid[:300, :400]
    pixels = np.stack([x // 2, y // 2, 255 - x // 2], axis=-1).astype(np.uint8)
    (tmp_path / "a.llc").write_bytes(llicti_core.encode(pixels, effort=0))
    small = np.asarray(thumbnail(tmp_path / "a.llc", 40)).astype(int)
    expected = np.asarray(Image.fromarray(pixels).resize((40, 30), Image.Resampling.BOX)).astype(int)
    assert np.abs(small - expected)[1:-1, 1:-1].max() <= 6


def test_photographs_are_decoded_no_larger_than_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scales: list[int] = []
    decode_bytes = llicti_core.LlcFrame.decode_bytes

    def counted(self: llicti_core.LlcFrame, *, scale: int = 1, **options: Any) -> bytearray:
        scales.append(scale)
        return decode_bytes(self, scale=scale, **options)

    monkeypatch.setattr(llicti_core.LlcFrame, "decode_bytes", counted)
    pixels = noise(700, 600) // 16 + (np.mgrid[:700, :600].sum(axis=0) // 6)[..., np.newaxis]
    (tmp_path / "a.llc").write_bytes(llicti_core.encode(pixels.astype(np.uint8), effort=0))
    assert thumbnail(tmp_path / "a.llc", 16).size == (14, 16)
    assert scales == [4]


@pytest.mark.parametrize("path", golden.files(), ids=lambda path: path.stem)
def test_thumbnails_of_every_kind(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or one line that says why there is none."""
    monkeypatch.setenv("LLICTI_MODEL_PATH", str(golden.FIXTURES))
    (tmp_path / "a.llc").write_bytes(path.read_bytes())
    info = llicti_core.inspect(path)
    if not info.mode and info.channels > 4:
        assert "channels make no picture" in failure(["thumbnail", tmp_path / "a.llc", tmp_path / "a.png", 16], capsys)
        return
    with np.errstate(all="raise"):
        image = thumbnail(tmp_path / "a.llc", 16)
    assert max(image.size) <= 16
    assert max(image.size) == min(16, max(info.width, info.height))


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint32, np.float32, np.float64, np.bool_])
def test_thumbnails_of_other_numbers(dtype: type, tmp_path: Path) -> None:
    """Dark is dark and bright is bright, whatever the range."""
    pixels: NDArray[Any] = np.zeros((20, 20, 3), dtype)
    pixels[:, 10:] = 1 if dtype == np.bool_ else 1000
    (tmp_path / "a.llc").write_bytes(llicti_core.encode(pixels))
    small = np.asarray(thumbnail(tmp_path / "a.llc", 20).convert("L"))
    assert small[:, :9].max() == 0
    assert small[:, 11:].min() >= 240


def test_thumbnails_are_upright_and_tell_nothing(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (20, 0, 40, 20))
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees
    exif[315] = "somebody"
    image.save(tmp_path / "a.llc", exif=exif, comment=b"somebody")
    upright = thumbnail(tmp_path / "a.llc", 16)
    assert upright.size == (8, 16)
    assert upright.getpixel((4, 2)) == (255, 0, 0)
    assert upright.getpixel((4, 13)) == (0, 0, 255)
    assert b"somebody" not in (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize("damage", ["other", "short", "missing", "too large"])
def test_no_thumbnail_of_what_is_wrong(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file manager's old picture stays."""
    data = llicti_core.encode(noise(30, 40), effort=0)
    if damage == "too large":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    if damage != "missing":
        (tmp_path / "a.llc").write_bytes({"other": b"%PDF-1.7", "short": data[: len(data) // 2]}.get(damage, data))
    (tmp_path / "a.png").write_bytes(b"old")
    failure(["thumbnail", tmp_path / "a.llc", tmp_path / "a.png", 16], capsys)
    assert (tmp_path / "a.png").read_bytes() == b"old"


# ImageMagick


def _imagemagick() -> str | None:
    """The program of ImageMagick; Windows has a `convert` that is another one."""
    for name in ("magick", "convert"):
        if found := shutil.which(name):
            said = subprocess.run([found, "-version"], capture_output=True, check=False, timeout=600)
            if said.stdout.startswith(b"Version: ImageMagick"):
                return found
    return None


CONVERT = _imagemagick()


@pytest.mark.skipif(CONVERT is None, reason="ImageMagick is not installed")
@pytest.mark.parametrize(
    ("mode", "name"), [("RGB", "a.llc"), ("L", "a b.llc"), ("RGBA", "it's.llc"), ("I;16", "a.llc")]
)
def test_imagemagick(mode: str, name: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """With the lines that docs/desktop.md says."""
    page = (pytestconfig.rootpath / "docs" / "desktop.md").read_text("utf-8")
    (delegates,) = re.findall(r"```xml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "delegates.xml").write_text(delegates)
    environment = {
        **os.environ,
        "MAGICK_CONFIGURE_PATH": str(tmp_path),
        "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
    }

    def run(*names: str) -> None:
        subprocess.run(
            [CONVERT or "", *names], cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=600
        )

    pixels = smooth(24, 31, 1 if mode in ("L", "I;16") else len(mode), seed=3)
    original = Image.fromarray(pixels.astype(np.uint16) * 250 + 7 if mode == "I;16" else pixels)
    assert original.mode == mode
    original.save(tmp_path / "a.png")
    run("a.png", name)
    with Image.open(tmp_path / name) as stored:
        assert stored.format == "LLC"
        assert (np.asarray(stored) == np.asarray(original)).all()
    run(name, "b.png")
    with Image.open(tmp_path / "b.png") as back:
        assert (np.asarray(back) == np.asarray(original)).all()
