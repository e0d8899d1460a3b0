"""`llicti convert` and what it stands on: whole collections, converted, compared, resumed, and nothing is lost."""

from __future__ import annotations

import errno
import hashlib
import inspect
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import images
import numpy as np
import pytest
from PIL import Image

import llicti_core
from llicti_plugin import cli
from llicti_plugin.cli import encode, progress
from llicti_plugin.collection import (
    Manifest,
    Settings,
    conversion,
    files,
    lossy,
    manifest,
    plan,
    report,
    run_shard,
    sources,
)
from llicti_plugin.collection.alone import alone
from llicti_plugin.collection.report import CONVERTED, FAILED, LARGER, LOSSY, PRESENT, Result
from llicti_plugin.collection.workers import LocalProcesses

Capture = pytest.CaptureFixture[str]

COMMAND = Path(sys.executable).with_name("llicti")
on_unix = pytest.mark.skipif(os.name != "posix", reason="files, signals and limits as Unix has them")


def photograph(path: Path, seed: int = 0, **options: Any) -> Path:
    """A small image saved there, its time years ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(images.smooth(33, 47, seed=seed)).save(path, **options)
    os.utime(path, (1e9, 1e9 + seed))
    return path


def converted(paths: list[Path], destination: Path, **settings: Any) -> dict[str, Result]:
    """Plans and runs all shards in this process; what became of each file, by its name."""
    planned = plan([str(path) for path in paths], str(destination), Settings(**{"effort": 0, **settings}))
    for number in planned.pending():
        run_shard(planned.folder, number)
    assert not planned.pending()
    return {os.path.basename(result.path): result for result in report.results(planned)}


def tree(folder: Path) -> list[str]:
    """The files in a folder, but for those that runs keep for themselves."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if ".llicti" not in path.parts)


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


# There and back


def test_there_and_back(tmp_path: Path) -> None:
    source, middle, back = tmp_path / "source", tmp_path / "llc", tmp_path / "back"
    photograph(source / "a.png", 1, dpi=(300, 300))
    photograph(source / "2020" / "b.tif", 2)
    photograph(source / "2020" / "may" / "c.bmp", 3)
    Image.new("CMYK", (9, 9), (1, 2, 3, 4)).save(source / "d.tif")
    (source / "notes.txt").write_text("no image")
    (source / "a.png").chmod(0o640)
    found = converted([source], middle)
    assert tree(middle) == ["2020/b.llc", "2020/may/c.llc", "a.llc", "d.llc"]
    assert {result.status for result in found.values()} == {CONVERTED}
    for name, path in (("a.png", "a.png"), ("b.tif", "2020/b.tif"), ("c.bmp", "2020/may/c.bmp"), ("d.tif", "d.tif")):
        result, written = found[name], (middle / path).with_suffix(".llc")
        assert result.target == str(written)
        assert np.array_equal(pixels(written), pixels(source / path))
        assert (result.bytes_before, result.bytes_after) == ((source / path).stat().st_size, written.stat().st_size)
        assert result.sha256 == files.sha256(written.read_bytes())
        assert written.stat().st_mtime_ns == (source / path).stat().st_mtime_ns
        assert written.stat().st_mode == (source / path).stat().st_mode
    assert found["a.png"].pixels == 33 * 47
    assert llicti_core.read_metadata(middle / "a.llc").dpi == pytest.approx((300, 300), abs=0.01)

    assert {result.status for result in converted([middle], back, to="png").values()} == {CONVERTED}
    assert tree(back) == ["2020/b.png", "2020/may/c.png", "a.png", "d.tif"]
    assert np.array_equal(pixels(back / "2020/may/c.png"), pixels(source / "2020/may/c.bmp"))
    assert np.array_equal(pixels(back / "d.tif"), pixels(source / "d.tif"))
    with Image.open(back / "a.png") as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    assert (back / "a.png").stat().st_mtime_ns == (source / "a.png").stat().st_mtime_ns
    converted([middle / "a.llc"], tmp_path / "tiff", to="tiff")
    assert tree(tmp_path / "tiff") == ["a.tif"]


def test_deep_samples(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    samples = images.noise(13, 17).astype(np.uint16) * 257
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(samples))
    converted([tmp_path / "a.png"], tmp_path / "llc")
    converted([tmp_path / "llc" / "a.llc"], tmp_path / "back", to="png")
    assert np.array_equal(imagecodecs.png_decode((tmp_path / "back" / "a.png").read_bytes()), samples)


def test_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x/a.png", "x/a.tif", "x/A.bmp", "x/a.jpg", "x/y/b.png", "x/y/c.tif", "z/a.png"):
        photograph(Path(name))
    os.mkdir("x/folder.png")
    # Every source has a target of its own, whatever it is called; and each is taken once.
    found = converted([Path("x"), Path("z"), Path("x/a.png")], Path("out"))
    assert len(found) == 6  # by name, of which a.png is there twice
    assert tree(Path("out")) == ["A.llc", "a.png-2.llc", "a.png.llc", "a.tif.llc", "y/b.llc", "y/c.llc"]
    assert tree(Path("out"))
    converted([Path("x/**/*.png")], Path("pattern"))
    assert tree(Path("pattern")) == ["a.llc", "y/b.llc"]
    converted([Path("x*")], Path("folders"))
    assert tree(Path("folders")) == ["x/A.llc", "x/a.png.llc", "x/a.tif.llc", "x/y/b.llc", "x/y/c.llc"]
    converted([Path("x/**")], Path("all"))
    assert tree(Path("all")) == ["A.llc", "a.png.llc", "a.tif.llc", "y/b.llc", "y/c.llc"]
    converted([Path("x/y/*.png")], Path("narrow"))
    assert tree(Path("narrow")) == ["b.llc"]
    # A destination within the source is not looked into, for whatever is made there.
    assert len(converted([Path("x")], Path("x/llc"), to="png")) == 0
    converted([Path("x")], Path("x/llc"))
    assert len(converted([Path("x")], Path("x/llc"))) == 6
    assert len(converted([Path("x/**")], Path("x/llc"))) == 6
    assert len(converted([Path("x/*.png")], Path("x"))) == 1  # but a destination that the source is in is


@on_unix
def test_links_that_lead_in_circles(tmp_path: Path) -> None:
    photograph(tmp_path / "x" / "y" / "a.png")
    for name in ("one", "two", "y/three"):  # of which as many paths lead on as powers of three
        (tmp_path / "x" / name).symlink_to(tmp_path / "x")
    for source in ("x", "x/**", "x/**/**/*.png", "x/**/y/*.png", "**/*.png"):
        found = list(sources.find([str(tmp_path / source)], sources.suffixes(to_llc=True), str(tmp_path / "out")))
        assert {row.path for row in found} == {str(tmp_path / "x" / "y" / "a.png")}, source
    assert sources.missing([str(tmp_path / "x" / "**" / "*.tif"), str(tmp_path / "no" / "**")]) != []


@on_unix
def test_above_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`..` is above what a link leads to, and other files of the same names are not taken, let alone removed."""
    (tmp_path / "disk" / "folder").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "disk" / "folder")
    named = photograph(tmp_path / "disk" / "photos" / "a.png", 1)
    other = photograph(tmp_path / "here" / "photos" / "a.png", 2)
    monkeypatch.chdir(tmp_path / "here")
    result = converted([Path("link/../photos")], Path("link/../out"), replace=True)["a.png"]
    assert (result.path, result.target) == (str(named), str(tmp_path / "disk" / "out" / "a.llc"))
    assert [path.exists() for path in (named, other)] == [False, True]
    assert files.absolute("../x..") == str(tmp_path / "x..")
    assert files.absolute("link/x") == str(tmp_path / "here" / "link" / "x")


@on_unix
def test_folders_many_levels_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = os.path.join(*["x"] * 300, "a.png")
    photograph(tmp_path / relative)
    suffixes = sources.suffixes(to_llc=True)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        found = [[row.relative for row in sources.find([source], suffixes, "out")] for source in (".", "**/*.png")]
    finally:
        sys.setrecursionlimit(limit)
    assert found == 2 * [[relative]]


@pytest.mark.skipif(os.path.exists(__file__.upper()), reason="names that differ in case alone are the same here")
def test_names_that_differ_in_case_alone(tmp_path: Path) -> None:
    for seed, name in enumerate(("A.png", "a.PNG", "a.png")):
        photograph(tmp_path / "source" / name, seed)
    found = converted([tmp_path / "source"], tmp_path / "out")
    assert {name: os.path.basename(result.target or "") for name, result in found.items()} == {
        "A.png": "A.llc",
        "a.PNG": "a.PNG.llc",
        "a.png": "a.png-2.llc",
    }
    assert np.array_equal(pixels(tmp_path / "out" / "a.png-2.llc"), images.smooth(33, 47, seed=2))


def test_names_that_differ_in_how_accents_are_written(tmp_path: Path) -> None:
    """macOS takes them for the same."""
    stems = manifest._Stems()
    assert [stems.of(f"{name}.png") for name in ("\u00e9", "e\u0301", "E\u0301")] == [
        "\u00e9",
        "e\u0301.png",
        "E\u0301.png-2",
    ]
    stems.close()


@on_unix
def test_names_that_are_no_text(tmp_path: Path) -> None:
    source = photograph(tmp_path / "source" / "a.png")
    source.rename(os.fsdecode(os.fsencode(source.parent) + b"/caf\xe9\n.png"))
    (result,) = converted([source.parent], tmp_path / "out").values()
    assert result.status == CONVERTED
    assert b"caf\xe9\n.llc" in os.listdir(os.fsencode(tmp_path / "out"))


@on_unix
def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("missing")
    found = converted([tmp_path], tmp_path / "out")
    assert found["a.png"].reason == "is not a regular file"
    assert found["b.png"].reason == "No such file or directory"


def test_a_bad_file_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    whole = photograph(tmp_path / "b.png").read_bytes()
    (tmp_path / "c.png").write_bytes(whole[: len(whole) // 2])
    photograph(tmp_path / "d.png")
    encoded = encode.encoded

    def odd(data: bytes, options: Any) -> Any:
        if data == (tmp_path / "b.png").read_bytes():
            raise MemoryError
        return encoded(data, options)

    photograph(tmp_path / "b.png", 7)
    monkeypatch.setattr(encode, "encoded", odd)
    found = converted([tmp_path], tmp_path / "out")
    assert [found[f"{name}.png"].status for name in "abcd"] == [FAILED, FAILED, FAILED, CONVERTED]
    assert found["a.png"].reason == "Truncated File Read"
    assert found["b.png"].reason == "not enough memory"
    assert "truncated" in (found["c.png"].reason or "")
    assert tree(tmp_path / "out") == ["d.llc"]


# What is left alone


def test_lossy_sources(tmp_path: Path) -> None:
    photograph(tmp_path / "source" / "a.jpg")
    photograph(tmp_path / "source" / "b.webp", quality=50)
    photograph(tmp_path / "source" / "c.webp", lossless=True)
    os.rename(photograph(tmp_path / "source" / "d.png"), tmp_path / "source" / "d.jpg")
    found = converted([tmp_path / "source"], tmp_path / "out")
    assert [found[name].status for name in ("a.jpg", "b.webp", "c.webp")] == [LOSSY, LOSSY, LARGER]
    assert (found["a.jpg"].reason or "").startswith("is JPEG: ")
    assert (found["b.webp"].reason or "").startswith("is lossy WebP: ")
    assert tree(tmp_path / "out") == ["d.jpg.llc"]  # which is PNG
    found = converted([tmp_path / "source"], tmp_path / "all", lossy=True)
    assert [found[name].status for name in sorted(found)] == [CONVERTED, CONVERTED, LARGER, CONVERTED]
    assert (tmp_path / "all" / "a.jpg.llc").stat().st_size > (tmp_path / "source" / "a.jpg").stat().st_size
    assert np.array_equal(pixels(tmp_path / "all" / "a.jpg.llc"), pixels(tmp_path / "source" / "a.jpg"))


def test_lossy_formats(tmp_path: Path) -> None:
    frames = [Image.fromarray(images.smooth(20, 20, seed=seed)) for seed in range(2)]

    def webp(**options: Any) -> bytes:
        frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], **options)
        return (tmp_path / "a.webp").read_bytes()

    assert lossy.lossy_format(webp(quality=50)) == "lossy WebP"
    assert lossy.lossy_format(webp(lossless=True)) is None
    profile = bytes(10_000)
    frames[0].save(tmp_path / "b.webp", quality=50, icc_profile=profile)
    assert lossy.lossy_format((tmp_path / "b.webp").read_bytes()) == "lossy WebP"
    for start, form in (
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\0\0\0\x1cftypavif", "AVIF"),
        (b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x10jbrd" + bytes(8), "JPEG within JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x10jxlp" + bytes(8), None),
        (b"\xff\x0a", None),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"", None),
    ):
        assert lossy.lossy_format(start) == form


def test_what_would_become_larger(tmp_path: Path) -> None:
    photograph(tmp_path / "a.webp", lossless=True)
    result = converted([tmp_path / "a.webp"], tmp_path / "out", replace=True)["a.webp"]
    assert (result.status, result.target) == (LARGER, None)
    assert "bytes as .llc" in (result.reason or "")
    assert tree(tmp_path) == ["a.webp"]


def test_existing_files(tmp_path: Path) -> None:
    photograph(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.llc").write_bytes(b"precious")
    result = converted([tmp_path / "a.png"], tmp_path / "out")["a.png"]
    assert result.status == FAILED
    assert "--force" in (result.reason or "")
    assert (tmp_path / "out" / "a.llc").read_bytes() == b"precious"
    assert converted([tmp_path / "a.png"], tmp_path / "out", force=True)["a.png"].status == CONVERTED
    # Now it is this file's; until that changes.
    assert converted([tmp_path / "a.png"], tmp_path / "out")["a.png"].status == PRESENT
    photograph(tmp_path / "a.png", 5)
    assert converted([tmp_path / "a.png"], tmp_path / "out")["a.png"].status == FAILED
    coded = tmp_path / "out" / "a.llc"
    assert converted([coded], tmp_path / "out")["a.llc"].reason == "is the file that would be written"


def test_times_that_file_systems_keep() -> None:
    given = 1_234_567_890_123_456_789
    for grain in (1, 100, 1000, 10**7, 10**9, 2 * 10**9):
        assert files.same_time(given // grain * grain, given)
    for other in (given + 1, given // 10**9 * 10**9 - 10**9, 0):
        assert not files.same_time(other, given)


# Trust


@pytest.mark.parametrize("to", ["llc", "png"])
def test_what_comes_back_as_something_else_is_not_written(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photograph(tmp_path / "a.png")
    source = tmp_path / "a.png"
    if to == "png":
        converted([source], tmp_path / "llc")
        source = tmp_path / "llc" / "a.llc"
    else:
        good = encode.encoded
        other = llicti_core.encode(images.smooth(33, 47, seed=1), effort=0)
        with monkeypatch.context() as patch:
            patch.setattr(encode, "encoded", lambda data, options: (other, good(data, options)[1]))
            result = converted([source], tmp_path / "out", replace=True)["a.png"]
        assert (result.status, result.reason) == (FAILED, "read back from the .llc file, its pixels are another")
        assert tree(tmp_path / "out") == []
    # A disk that gives back something else.
    read = files.read_from_disk
    monkeypatch.setattr(files, "read_from_disk", lambda path: read(path)[:-1] + b"?")
    result = converted([source], tmp_path / "out", to=to, replace=True)[source.name]
    assert (result.status, result.reason) == (FAILED, "what was written does not come back from the disk")
    assert source.exists()
    assert tree(tmp_path / "out") == []


@on_unix
def test_target_without_room_for_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems keep extended attributes that others say they have no space for, which is no full disk."""
    photograph(tmp_path / "a.png", 1).chmod(0o640)

    def refused(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copystat", refused)
    assert converted([tmp_path / "a.png"], tmp_path / "out")["a.png"].status == CONVERTED
    assert (tmp_path / "out" / "a.llc").stat().st_mtime == 1e9 + 1
    assert (tmp_path / "out" / "a.llc").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("links", [True, False])
def test_target_that_comes_meanwhile(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another run whose names are the same, it may be: it stays, and so does the source."""
    photograph(tmp_path / "a.png")
    convert = conversion.convert

    def slow(data: bytes, settings: Settings) -> conversion.Converted:
        (tmp_path / "a.llc").write_bytes(b"precious")
        return convert(data, settings)

    def refused(*arguments: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(conversion, "convert", slow)
    if not links:  # as on FAT
        monkeypatch.setattr(os, "link", refused)
    result = converted([tmp_path], tmp_path, replace=True)["a.png"]
    assert (result.status, result.reason) == (FAILED, "its target exists now, and did not when it was looked for")
    assert (tmp_path / "a.llc").read_bytes() == b"precious"
    assert tree(tmp_path) == ["a.llc", "a.png"]
    assert converted([tmp_path], tmp_path, force=True)["a.png"].status == CONVERTED
    os.remove(tmp_path / "a.llc")
    monkeypatch.setattr(conversion, "convert", convert)
    assert converted([tmp_path], tmp_path, replace=True)["a.png"].removed
    assert tree(tmp_path) == ["a.llc"]


def test_target_without_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photograph(tmp_path / "a.png", 1)

    def refused(path: object, mode: int, **options: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refused)
    assert converted([tmp_path / "a.png"], tmp_path / "out")["a.png"].status == CONVERTED
    assert (tmp_path / "out" / "a.llc").stat().st_mtime == 1e9 + 1


def test_replace(tmp_path: Path) -> None:
    expected = pixels(photograph(tmp_path / "a.png", 1))
    modified = (tmp_path / "a.png").stat().st_mtime_ns
    result = converted([tmp_path], tmp_path, replace=True)["a.png"]
    assert (result.status, result.removed) == (CONVERTED, True)
    assert tree(tmp_path) == ["a.llc"]
    assert np.array_equal(pixels(tmp_path / "a.llc"), expected)
    converted([tmp_path], tmp_path, to="png", replace=True)
    assert tree(tmp_path) == ["a.png"]
    assert np.array_equal(pixels(tmp_path / "a.png"), expected)
    assert (tmp_path / "a.png").stat().st_mtime_ns == modified


def test_name_of_a_source_that_was_replaced(tmp_path: Path) -> None:
    """Is another one's in a later run; nobody is advised to overwrite all that is left, and not told."""
    photograph(tmp_path / "a.png", 1)
    assert converted([tmp_path], tmp_path, replace=True)["a.png"].removed
    photograph(tmp_path / "a.tif", 2)
    result = converted([tmp_path], tmp_path)["a.tif"]
    assert result.status == FAILED
    assert "--force overwrites it, even where it is all that is left of another source" in (result.reason or "")
    assert np.array_equal(pixels(tmp_path / "a.llc"), images.smooth(33, 47, seed=1))


def test_replace_looks_at_the_disk_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photograph(tmp_path / "a.png")
    monkeypatch.setattr(files.LocalFiles, "checksum", lambda storage, path: "another")
    result = converted([tmp_path], tmp_path, replace=True)["a.png"]
    assert result.status == FAILED
    assert "has changed on the disk" in (result.reason or "")
    assert (tmp_path / "a.png").exists()


@pytest.mark.parametrize("keeps_time", [False, True])
def test_replace_keeps_a_source_that_changes(keeps_time: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time may be the same: tools can keep it, and some file systems count in seconds."""
    path = photograph(tmp_path / "a.bmp")  # whose size does not change
    before = path.stat().st_mtime_ns
    convert = conversion.convert

    def slow(data: bytes, settings: Settings) -> conversion.Converted:
        photograph(path, 9)
        if keeps_time:
            os.utime(path, ns=(before, before))
        return convert(data, settings)

    monkeypatch.setattr(conversion, "convert", slow)
    result = converted([tmp_path], tmp_path, replace=True)["a.bmp"]
    assert (result.status, result.reason) == (FAILED, "has changed while it was read")
    assert np.array_equal(pixels(path), images.smooth(33, 47, seed=9))


def test_replace_keeps_what_is_not_stored_whole(tmp_path: Path) -> None:
    data = photograph(tmp_path / "a.png").read_bytes()
    time_of_change = b"tIME\x07\xd1\1\1\0\0\0"
    chunk = (7).to_bytes(4, "big") + time_of_change + zlib.crc32(time_of_change).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])
    result = converted([tmp_path], tmp_path, replace=True)["a.png"]
    assert (result.status, result.removed) == (CONVERTED, False)
    assert result.notes == ("not stored: chunks tIME",)
    assert "tIME" in (result.reason or "")
    assert tree(tmp_path) == ["a.llc", "a.png"]
    exif = Image.Exif()
    exif[315] = "A name"
    data = photograph(tmp_path / "tiff" / "a.tif", exif=exif).read_bytes()
    at = data.index(b"\x3b\1\2\0") + 2
    (tmp_path / "tiff" / "a.tif").write_bytes(data[:at] + b"\x63" + data[at + 1 :])  # of a type that nothing knows
    result = converted([tmp_path / "tiff"], tmp_path / "tiff", replace=True)["a.tif"]
    assert (result.status, result.removed, result.notes) == (CONVERTED, False, ("not stored: Exif tags Artist",))
    assert tree(tmp_path / "tiff") == ["a.llc", "a.tif"]
    # The way back likewise.
    text = llicti_core.Metadata(comment=b"\xff no UTF-8")
    (tmp_path / "b.llc").write_bytes(llicti_core.encode(images.smooth(9, 9), metadata=text))
    result = converted([tmp_path / "b.llc"], tmp_path, to="png", replace=True)["b.llc"]
    assert (result.status, result.removed, result.notes) == (CONVERTED, False, (".png does not hold its comment",))
    assert (tmp_path / "b.llc").exists()


@pytest.mark.parametrize("to", ["llc", "png"])
def test_replace_after_a_run_without(to: str, tmp_path: Path) -> None:
    """What is there is compared before a source is removed for it, whoever wrote it."""
    for seed, name in enumerate(("a.png", "b.png")):
        photograph(tmp_path / "png" / name, seed)
    folders = [tmp_path / "png", tmp_path / "llc"]
    converted([tmp_path / "png"], tmp_path / "llc")
    if to == "png":
        folders = [tmp_path / "llc", tmp_path / "new"]
        converted([tmp_path / "llc"], tmp_path / "new", to="png")
    source, target = folders
    good, bad = sorted(path for path in target.iterdir() if path.is_file())
    modified = bad.stat().st_mtime_ns
    bad.write_bytes(good.read_bytes())
    os.utime(bad, ns=(modified, modified))
    found = converted([source], target, to=to, replace=True)
    assert [found[name].status for name in sorted(found)] == [PRESENT, FAILED]
    assert [found[name].removed for name in sorted(found)] == [True, False]
    assert [path.split(".")[0] for path in tree(source)] == ["b"]


@pytest.mark.parametrize("replace", [False, True])
def test_target_of_another_suffix_than_expected(replace: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.llc").write_bytes(llicti_core.encode(images.smooth(9, 9)))
    monkeypatch.setattr(conversion, "expected_suffix", lambda data, settings: ".tif")
    assert converted([tmp_path / "a.llc"], tmp_path / "out", to="png")["a.llc"].status == CONVERTED
    result = converted([tmp_path / "a.llc"], tmp_path / "out", to="png", replace=replace)["a.llc"]
    assert (result.status, result.removed) == (PRESENT, replace)
    assert tree(tmp_path / "out") == ["a.png"]


# Shards, stopping and going on


def test_shards(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02}.png").write_bytes(bytes(number))
    planned = plan([str(tmp_path)], str(tmp_path / "out"), Settings(), workers=1)
    assert Manifest.load(planned.folder) == planned
    rows = [row for number in range(len(planned.shards)) for row in planned.rows(number)]
    assert [(os.path.basename(row.path), row.stem, row.size) for row in rows] == [
        (f"{number:02}.png", f"{number:02}", number) for number in range(20)
    ]
    assert 5 <= len(planned.shards) <= 10
    assert (planned.files, planned.size) == (20, sum(range(20)))
    assert planned.kinds == {".png": (20, sum(range(20)))}
    assert len(plan([str(tmp_path)], str(tmp_path / "out"), Settings(), workers=100).shards) == 20
    for number in range(20):
        (tmp_path / f"{number:02}.png").write_bytes(b"")
    assert len(plan([str(tmp_path)], str(tmp_path / "out"), Settings(), workers=1).shards) == 7


def test_large_collections_have_shards_of_a_limited_size(tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    lines = [json.dumps(("path", "stem", 3 << 20, 0, "")) + "\n" for _ in range(1000)]
    rows.write_text("".join(lines))
    shards = manifest._cut(str(rows), 500, 256 << 20)
    assert {shard.files for shard in shards[:-1]} == {86}
    assert sum(shard.files for shard in shards) == 1000
    assert len(manifest._cut(str(rows), 500, 3 << 40)) == 2
    assert [shard.start for shard in shards] == [len("".join(lines[: 86 * number])) for number in range(len(shards))]


@pytest.fixture
def one_shard(tmp_path: Path) -> Manifest:
    """The plan of three files in one shard."""
    for seed, name in enumerate("abc"):
        photograph(tmp_path / "source" / f"{name}.png", seed)
    planned = plan([str(tmp_path / "source")], str(tmp_path / "out"), Settings(effort=0))
    shard = manifest.Shard(0, planned.files, planned.size)
    path = os.path.join(planned.folder, "manifest.json")
    with open(path, encoding="utf-8") as file:
        stored = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**stored, "shards": [shard]}, file)
    return Manifest.load(planned.folder)


def test_nothing_of_an_earlier_plan_is_left(
    one_shard: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results of an earlier plan are not taken for those of a new one, and what is left of it is not gone on with."""
    run_shard(one_shard.folder, 0)
    removed: list[str] = []

    def stopped(folder: str, **options: object) -> None:
        removed.append(folder)
        os.remove(os.path.join(folder, "rows.jsonl"))

    monkeypatch.setattr(shutil, "rmtree", stopped)
    with pytest.raises(OSError, match="cannot be removed"):
        plan([str(tmp_path / "source")], str(tmp_path / "out"), one_shard.settings, one_shard.folder)
    assert removed == [one_shard.folder]
    assert manifest.unfinished(one_shard.folder) is None


class Stops:
    """Stands in for a function, and raises at its second call."""

    def __init__(self, function: Callable[..., Any], error: BaseException) -> None:
        self.function, self.error, self.calls = function, error, 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls == 2:
            raise self.error
        return self.function(*arguments, **options)


@pytest.mark.parametrize("where", ["convert", "fsync", "rename"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_stopped_and_gone_on_with(
    where: str, error: BaseException, one_shard: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, name = {"convert": (conversion, "convert"), "fsync": (os, "fsync")}.get(where, (files, "_rename_to_new"))
    with monkeypatch.context() as patch:
        patch.setattr(place, name, Stops(getattr(place, name), error))
        with pytest.raises(type(error)):
            run_shard(one_shard.folder, 0)
    assert one_shard.pending() == [0]
    assert tree(tmp_path / "out") == ["a.llc"]
    assert [result.status for result in report.results(one_shard)] == [CONVERTED]
    first = (tmp_path / "out" / "a.llc").stat()
    counted = Stops(conversion.convert, AssertionError())
    counted.calls = 2
    monkeypatch.setattr(conversion, "convert", counted)
    run_shard(one_shard.folder, 0)
    assert counted.calls == 4
    assert [result.status for result in report.results(one_shard)] == 3 * [CONVERTED]
    assert tree(tmp_path / "out") == ["a.llc", "b.llc", "c.llc"]
    assert (tmp_path / "out" / "a.llc").stat().st_ino == first.st_ino
    assert sorted(os.listdir(one_shard.folder)) == ["manifest.json", "rows.jsonl", "shard-000000.jsonl"]


def test_journal_that_ends_early(one_shard: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process leaves it that was killed, or a machine that lost power."""
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "convert", Stops(conversion.convert, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            run_shard(one_shard.folder, 0)
    with open(one_shard.journal(0), "a", encoding="ascii") as journal:
        journal.write('{"row": 1, "sta')
    os.remove(tmp_path / "out" / "a.llc")  # its name was not yet on the disk
    run_shard(one_shard.folder, 0)
    assert [result.status for result in report.results(one_shard)] == 3 * [CONVERTED]
    assert tree(tmp_path / "out") == ["a.llc", "b.llc", "c.llc"]


def test_replaced_before_the_process_was_killed(one_shard: Manifest, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    planned = plan([str(source)], str(out), Settings(effort=0, replace=True))
    converted([source], out)
    os.remove(source / "a.png")  # before that could be noted
    os.remove(source / "b.png")
    os.remove(out / "b.llc")
    for number in planned.pending():
        run_shard(planned.folder, number)
    a, b, c = report.results(planned)
    assert (a.status, a.removed) == (PRESENT, True)
    assert (b.status, b.reason) == (FAILED, "No such file or directory")
    assert (c.status, c.removed) == (PRESENT, True)


@on_unix
def test_killed_workers(one_shard: Manifest, tmp_path: Path) -> None:
    """A file on which every process dies is left alone at last, and all others are converted."""
    pipe = tmp_path / "source" / "b.png"
    pipe.unlink()
    os.mkfifo(pipe)  # to read which takes for ever
    killed = 0

    def tick() -> None:
        nonlocal killed
        journal = Path(one_shard.journal(0))
        if journal.exists() and journal.read_text().count('{"row": 1, "start": 1}') > killed:
            killed += 1
            for process in multiprocessing.active_children():
                process.kill()

    assert LocalProcesses(1).run(one_shard.folder, [0], tick) == []
    assert killed == 3
    assert [result.status for result in report.results(one_shard)] == [CONVERTED, FAILED, CONVERTED]
    assert list(report.results(one_shard))[1].reason == "3 processes have died that worked on it"
    assert tree(tmp_path / "out") == ["a.llc", "c.llc"]


@on_unix
def test_worker_killed_while_it_waits(one_shard: Manifest, tmp_path: Path) -> None:
    other = plan([str(tmp_path / "source")], str(tmp_path / "other"), Settings(effort=0))
    assert len(other.shards) == 3
    killed = 0

    def tick() -> None:
        nonlocal killed
        if 3 - len(other.pending()) > killed:  # the worker has done a shard, and not been given the next one yet
            killed += 1
            for process in multiprocessing.active_children():
                process.kill()
                process.join()

    assert LocalProcesses(1).run(other.folder, other.pending(), tick) == []
    assert killed == 3
    assert [result.status for result in report.results(other)] == 3 * [CONVERTED]


def test_error_of_a_shard_ends_the_run(one_shard: Manifest) -> None:
    os.remove(os.path.join(one_shard.folder, "rows.jsonl"))
    with pytest.raises(FileNotFoundError):
        LocalProcesses(2).run(one_shard.folder, [0], lambda: None)
    assert not multiprocessing.active_children()


# The report


def test_reports(tmp_path: Path, one_shard: Manifest) -> None:
    run_shard(one_shard.folder, 0)
    expected = list(report.results(one_shard))
    report.write(expected, str(tmp_path / "a.jsonl"))
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [Result.of(json.loads(line)) for line in lines] == expected
    parquet = pytest.importorskip("pyarrow.parquet")
    expected.append(Result("caf\udce9.png", FAILED, reason="odd", notes=("a", "b")))
    report.write(expected, str(tmp_path / "a.parquet"))
    rows = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert [row["sha256"] for row in rows] == [result.sha256 for result in expected]
    assert rows[-1]["path"] == r"caf\udce9.png"
    assert rows[-1]["notes"] == ["a", "b"]
    assert not list(tmp_path.glob("*.part"))


def test_progress(one_shard: Manifest, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    (Path(one_shard.destination).parent / "source" / "c.png").write_bytes(b"no image")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "_SECONDS", 0)
    told = progress.Progress(one_shard)
    with told:
        told.tick()
        with monkeypatch.context() as patch:
            patch.setattr(conversion, "convert", Stops(conversion.convert, KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                run_shard(one_shard.folder, 0)
        told.tick()
        assert "1 of 3 files, 0.0 megapixels" in capsys.readouterr().err
        run_shard(one_shard.folder, 0)
    said = capsys.readouterr().err
    assert "3 of 3 files" in said
    assert said.count("c.png: not an image") == 1


# The command


def test_command(tmp_path: Path, capsys: Capture) -> None:
    for seed in range(3):
        photograph(tmp_path / "source" / f"{seed}.png", seed)
    (tmp_path / "source" / "bad.png").write_bytes(b"no image")
    out, log = tmp_path / "out", tmp_path / "log.jsonl"
    arguments = ["convert", str(tmp_path / "source"), str(out), "--workers", "2", "--report", str(log)]
    assert cli.main(arguments) == 1
    said, failed = capsys.readouterr()
    assert said.startswith("3 of 4 files converted in ")
    assert "\n1 failed\n" in said
    assert failed == f"llicti: {tmp_path / 'source' / 'bad.png'}: not an image that Pillow can read\n"
    assert tree(out) == ["0.llc", "1.llc", "2.llc"]
    assert [json.loads(line)["status"] for line in log.read_text().splitlines()] == 3 * [CONVERTED] + [FAILED]
    os.remove(tmp_path / "source" / "bad.png")
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.startswith("0 of 3 files converted in ")


def test_one_run_at_a_time(tmp_path: Path, capsys: Capture) -> None:
    photograph(tmp_path / "source" / "a.png")
    arguments = ["convert", str(tmp_path / "source"), str(tmp_path / "out"), "--workers", "1", "--effort", "0"]
    with alone(str(tmp_path / "out")):
        assert cli.main(arguments) == 1
        assert cli.main([*arguments, "--force"]) == 1  # nor another one, whose files might be called the same
    said = f"llicti: {tmp_path / 'out'}: another process is at work on the same destination\n"
    assert capsys.readouterr().err == 2 * said
    assert tree(tmp_path / "out") == []
    assert cli.main(arguments) == 0
    assert tree(tmp_path / "out") == ["a.llc"]


def test_a_run_whose_lock_cannot_be_made(tmp_path: Path, capsys: Capture) -> None:
    photograph(tmp_path / "source" / "a.png")
    (tmp_path / "out" / sources.STATE / "lock").mkdir(parents=True)
    arguments = ["convert", str(tmp_path / "source"), str(tmp_path / "out"), "--workers", "1", "--effort", "0"]
    assert cli.main(arguments) == 0
    assert tree(tmp_path / "out") == ["a.llc"]


@on_unix
def test_a_link_in_place_of_a_file_that_is_being_written(tmp_path: Path) -> None:
    """Is replaced, not followed; and a private source's target is private from its first byte on."""
    photograph(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0o600)
    (tmp_path / "other").write_bytes(b"another's")
    (tmp_path / "out").mkdir()
    like = os.fsencode(tmp_path / "a.png")
    partial = f".{hashlib.sha256(b'a.llc' + bytes(1) + like).hexdigest()[:16]}{files.PARTIAL}"
    (tmp_path / "out" / partial).symlink_to(tmp_path / "other")
    assert converted([tmp_path / "a.png"], tmp_path / "out")["a.png"].status == CONVERTED
    assert (tmp_path / "other").read_bytes() == b"another's"
    assert not (tmp_path / "out" / "a.llc").is_symlink()
    assert (tmp_path / "out" / "a.llc").stat().st_mode & 0o777 == 0o600


def test_dry_run(tmp_path: Path, capsys: Capture) -> None:
    for seed in range(3):
        photograph(tmp_path / "source" / f"{seed}.png", seed)
        photograph(tmp_path / "source" / f"{seed}.jpg", seed)
    (tmp_path / "source" / "bad.bmp").write_bytes(b"no image")
    before = tree(tmp_path)
    assert cli.main(["convert", str(tmp_path / "source"), str(tmp_path / "out"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("7 files found, ")
    assert "about 3 would be converted in " in said
    assert "% less\n" in said
    assert "about 3 would be left alone" in said
    assert "about 14% of the files would fail" in said
    assert tree(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_usage(tmp_path: Path, capsys: Capture) -> None:
    photograph(tmp_path / "a.png")
    for arguments, reason in (
        ([tmp_path / "missing", tmp_path / "out"], "missing"),
        ([tmp_path / "*.tif", tmp_path / "out"], "*.tif"),
        ([tmp_path, tmp_path / "a.png"], "a.png"),
        ([tmp_path, tmp_path / "out", "--model", "no-such"], "no-such"),
        ([tmp_path, tmp_path / "out", "--force", "--replace"], "exclude"),
        ([tmp_path], "DST"),
    ):
        assert cli.main(["convert", *map(str, arguments)]) == 2
        assert reason in capsys.readouterr().err
    assert tree(tmp_path) == ["a.png"]


@on_unix
def test_disk_that_refuses(tmp_path: Path) -> None:
    """Where files may not become so large, they fail, and nothing is left of them."""
    import resource

    Image.fromarray(images.noise(100, 100)).save(tmp_path / "a.png")
    photograph(tmp_path / "b.png")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        [COMMAND, "convert", tmp_path, tmp_path / "out", "--workers", "1"],
        preexec_fn=limited,
        capture_output=True,
        timeout=600,
    )
    assert done.returncode == 1
    assert done.stderr.decode() == f"llicti: {tmp_path / 'a.png'}: File too large\n"
    assert tree(tmp_path / "out") == ["b.llc"]


@on_unix
def test_ctrl_c(tmp_path: Path) -> None:
    photograph(tmp_path / "source" / "a.png")
    Image.fromarray(images.smooth(1500, 2000)).save(tmp_path / "source" / "b.png", compress_level=1)
    command = [COMMAND, "convert", tmp_path / "source", tmp_path / "out", "--effort", "3", "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as converting:
        while not (tmp_path / "out" / "a.llc").exists():
            assert converting.poll() is None
            time.sleep(0.02)
        time.sleep(0.5)
        converting.send_signal(signal.SIGINT)
        out, err = converting.communicate(timeout=600)
    assert (converting.returncode, out) == (130, b"")
    assert err == b"llicti: interrupted\n"
    assert tree(tmp_path / "out") == ["a.llc"]
    (log,) = (tmp_path / "out").glob(".llicti/*/report.jsonl")
    assert [json.loads(line)["status"] for line in log.read_text().splitlines()] == [CONVERTED]
    photograph(tmp_path / "source" / "b.png")
    assert cli.main([str(part) for part in command[1:]]) == 0
    assert tree(tmp_path / "out") == ["a.llc", "b.llc"]
