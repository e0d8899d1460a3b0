"""`llicti decode`: what it writes comes back the same, pixels, mode and metadata; what a target cannot hold is said."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

import images
import numpy as np
import pytest
from command import failure
from PIL import Image, ImageSequence, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

import llicti_core
from llicti_core import Metadata, samples
from llicti_plugin import cli
from llicti_plugin.cli import pillow_files
from llicti_plugin.cli.pictures import general_mode
from llicti_plugin.pillow_info import PILLOW

Capture = pytest.CaptureFixture[str]

PALETTE = llicti_core.Palette("RGB", bytes(range(256)) * 3)


def coded(path: Path, mode: str, metadata: Metadata | None = None) -> np.ndarray[Any, Any]:
    """Writes a `.llc` file of noise in this mode; returns its pixels."""
    dtype, channels = samples.MODES[mode]
    pixels: np.ndarray[Any, Any] = images.noise(13, 17, channels)
    if dtype == "bool":
        pixels = pixels > 127
    elif dtype != "uint8":
        spread = pixels * 16_777_259.0 - 2_000_000_000 if mode in ("I", "F") else pixels * 257.0
        pixels = np.minimum(spread, np.iinfo(dtype).max if mode == "I" else spread).astype(dtype)
    if mode == "RGBa":
        pixels[..., :3] = np.minimum(pixels[..., :3], pixels[..., 3:])
    palette = PALETTE if mode in ("P", "PA") else None
    path.write_bytes(llicti_core.encode(pixels, mode=mode, palette=palette, metadata=metadata, effort=0))
    return pixels


def run(*arguments: object) -> None:
    """A command that must succeed."""
    assert cli.main([str(argument) for argument in arguments]) == 0


# Modes and targets


@pytest.mark.parametrize("mode", samples.MODES)
def test_every_mode_to_every_target(mode: str, tmp_path: Path, capsys: Capture) -> None:
    """Either the target gives back mode and pixels, or nothing is written and the reason is said."""
    if mode in ("La", "RGBa"):
        pytest.importorskip("tifffile")
    pixels = coded(tmp_path / "a.llc", mode)
    with Image.open(tmp_path / "a.llc") as image:
        image.load()
        written = []
        for suffix in cli.LOSSLESS:
            target = tmp_path / f"b{suffix}"
            if cli.main(["decode", str(tmp_path / "a.llc"), "-o", str(target)]):
                said = capsys.readouterr().err
                assert re.search(r"cannot hold|\.npy cannot say|does not come back from TIFF", said)
                assert not target.exists()
                continue
            assert capsys.readouterr().err == ""
            written.append(suffix)
            if mode == "La" and PILLOW < (13, 0):
                continue
            with Image.open(target) as back:
                if mode == "RGBa":  # which Pillow's reader of TIFF makes RGBA
                    assert back.tobytes() == image.convert("RGBA").tobytes()
                    continue
                assert general_mode(back.mode) == general_mode(mode)
                assert np.array_equal(np.asarray(back), np.asarray(image))
                assert np.array_equal(np.asarray(back), pixels)
                assert back.getpalette() == image.getpalette()
    assert (".png" in written) == (mode in ("1", "L", "LA", "P", "RGB", "RGBA") or mode.startswith("I;16"))
    held = mode != "YCbCr" or PILLOW >= (13, 0)
    assert (".tif" in written) == (mode not in ("HSV", "RGBX") and held)
    assert (".bmp" in written) == (mode in ("1", "L", "P", "RGB"))


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_default_target(mode: str, tmp_path: Path, capsys: Capture) -> None:
    pixels = coded(tmp_path / "a.llc", mode)
    run("decode", tmp_path / "a.llc")
    (written,) = [path for path in tmp_path.iterdir() if path.suffix != ".llc"]
    assert written.suffix == (".png" if mode == "RGB" else ".tif")
    with Image.open(written) as image:
        assert np.array_equal(np.asarray(image), pixels)
    failure(["decode", tmp_path / "a.llc"], capsys)


def test_existing_files_of_other_formats_do_not_matter(tmp_path: Path, capsys: Capture) -> None:
    coded(tmp_path / "a.llc", "RGB")
    (tmp_path / "a.tif").write_bytes(b"precious")
    run("decode", tmp_path / "a.llc")
    assert (tmp_path / "a.png").exists()
    assert (tmp_path / "a.tif").read_bytes() == b"precious"
    # What PNG does not hold after all is not written over it either.
    llc = llicti_core.encode(np.array([[0, 200]], np.uint8), mode="P", palette=llicti_core.Palette("RGB", bytes(12)))
    (tmp_path / "b.llc").write_bytes(llc)
    (tmp_path / "b.tif").write_bytes(b"precious")
    assert "b.tif: exists" in failure(["decode", tmp_path / "b.llc"], capsys)
    run("decode", "--skip-existing", tmp_path / "b.llc")
    assert (tmp_path / "b.tif").read_bytes() == b"precious"


def test_palette_shorter_than_the_pixels_go(tmp_path: Path) -> None:
    """A PNG of 16 colours has 4 bits a pixel."""
    pixels = np.array([[0, 200]], np.uint8)
    data = llicti_core.encode(pixels, mode="P", palette=llicti_core.Palette("RGB", bytes(range(12))))
    (tmp_path / "a.llc").write_bytes(data)
    run("decode", tmp_path / "a.llc")
    with Image.open(tmp_path / "a.tif") as image:
        assert np.array_equal(np.asarray(image), pixels)


def test_palette_with_alpha(tmp_path: Path, capsys: Capture) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    data = llicti_core.encode(pixels, mode="P", palette=llicti_core.Palette("RGBA", bytes(range(256))))
    (tmp_path / "a.llc").write_bytes(data)
    run("decode", tmp_path / "a.llc")
    with Image.open(tmp_path / "a.png") as back, Image.open(tmp_path / "a.llc") as image:
        assert back.mode == "P"
        assert back.convert("RGBA").tobytes() == image.convert("RGBA").tobytes()
    for suffix in (".tif", ".bmp"):
        assert "does not come back" in failure(["decode", tmp_path / "a.llc", "-o", tmp_path / f"b{suffix}"], capsys)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", [kind.name for kind in samples.SAMPLE_TYPES])
def test_arrays_without_a_mode(dtype: str, channels: int, tmp_path: Path, capsys: Capture) -> None:
    tifffile, imagecodecs = pytest.importorskip("tifffile"), pytest.importorskip("imagecodecs")
    pixels = (images.noise(13, 17, 5)[..., :channels] * 1.37).astype(dtype)
    (tmp_path / "a.llc").write_bytes(llicti_core.encode(pixels, effort=0))
    has_mode = bool(llicti_core.inspect((tmp_path / "a.llc").read_bytes()).mode)
    if dtype == "bool" and channels > 1:
        assert "does not come back" in failure(["decode", tmp_path / "a.llc"], capsys)
        run("decode", tmp_path / "a.llc", "-o", tmp_path / "a.npy")
        assert np.array_equal(np.load(tmp_path / "a.npy"), pixels)
        return
    run("decode", tmp_path / "a.llc", "-o", tmp_path / "a.tif")
    back = tifffile.imread(tmp_path / "a.tif")
    assert back.dtype == pixels.dtype
    assert np.array_equal(back.reshape(pixels.shape), pixels)
    if has_mode:
        assert "cannot say" in failure(["decode", tmp_path / "a.llc", "-o", tmp_path / "a.npy"], capsys)
    else:
        run("decode", tmp_path / "a.llc", "-o", tmp_path / "a.npy")
        assert np.array_equal(np.load(tmp_path / "a.npy"), pixels)
        (tmp_path / "a.tif").unlink()
        run("decode", tmp_path / "a.llc")
        (written,) = (path for path in tmp_path.iterdir() if path.suffix in (".png", ".tif"))
        assert written.suffix == (".png" if dtype == "uint16" and channels in (2, 3, 4) else ".tif")
        if written.suffix == ".png":
            assert np.array_equal(imagecodecs.imread(written), pixels)
        else:
            assert "cannot hold" in failure(["decode", tmp_path / "a.llc", "-o", tmp_path / "a.png"], capsys)


def test_arrays_without_a_mode_nor_tifffile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    pytest.importorskip("tifffile")
    (tmp_path / "a.llc").write_bytes(llicti_core.encode(np.ones((3, 4, 3), np.uint16)))
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    run("decode", tmp_path / "a.llc")
    (tmp_path / "a.tif").unlink()
    monkeypatch.setitem(sys.modules, "tifffile", None)
    said = failure(["decode", tmp_path / "a.llc"], capsys)
    assert "`deep`" in said
    assert "tifffile" in said
    assert ".npy" in said
    run("decode", tmp_path / "a.llc", "-o", tmp_path / "a.npy")


def test_lossy_output(tmp_path: Path, capsys: Capture) -> None:
    coded(tmp_path / "a.llc", "RGB")
    assert "lossless" in failure(["decode", tmp_path / "a.llc", "-o", tmp_path / "a.jpg"], capsys)


def test_nothing_is_written_that_is_not_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    coded(tmp_path / "a.llc", "RGB")
    (tmp_path / "a.png").write_bytes(b"precious")
    saved = pillow_files.saved
    monkeypatch.setattr(pillow_files, "saved", lambda pictures, *rest: saved([pictures[0].transpose(0)], *rest))
    assert "does not come back" in failure(["decode", "-f", tmp_path / "a.llc", "-o", tmp_path / "a.png"], capsys)
    monkeypatch.setattr(pillow_files, "saved", lambda *arguments: saved(*arguments)[:200])
    said = failure(["decode", "-f", tmp_path / "a.llc", "-o", tmp_path / "a.png"], capsys)
    assert "does not come back from PNG as it is written" in said
    assert (tmp_path / "a.png").read_bytes() == b"precious"


# Frames and parts


def test_frames(tmp_path: Path, capsys: Capture) -> None:
    pages = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    run("encode", tmp_path / "a.tif")
    run("info", tmp_path / "a.llc")
    assert "the first of 2 images" in capsys.readouterr().out
    run("decode", tmp_path / "a.llc", "-o", tmp_path / "b.tif")
    with Image.open(tmp_path / "b.tif") as decoded:
        assert [frame.tobytes() for frame in ImageSequence.Iterator(decoded)] == [page.tobytes() for page in pages]
    assert "2 images" in failure(["decode", tmp_path / "a.llc", "-o", tmp_path / "b.png"], capsys)
    (tmp_path / "a.tif").unlink()
    run("decode", tmp_path / "a.llc")  # what holds several is the default for them
    assert (tmp_path / "a.tif").exists()


def test_frames_with_metadata_of_their_own(tmp_path: Path, capsys: Capture) -> None:
    frames = [Metadata(icc_profile=b"one", dpi=(72, 72)), Metadata(icc_profile=b"two", dpi=(300, 300)), Metadata()]
    pixels = images.noise(9, 8)
    files = [llicti_core.encode(pixels, metadata=metadata, effort=0) for metadata in frames]
    (tmp_path / "a.llc").write_bytes(llicti_core.join(files))
    run("decode", tmp_path / "a.llc")
    assert capsys.readouterr().err == ""
    with Image.open(tmp_path / "a.tif") as back:
        for index, metadata in enumerate(frames):
            back.seek(index)
            assert back.tag_v2.get(34675) == metadata.icc_profile  # `info` keeps that of earlier pages
            assert back.info["dpi"] == (metadata.dpi or (1, 1))


def test_frames_with_and_without_a_mode(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    arrays = [images.noise(9, 8), images.noise(5, 6).astype(np.uint16) * 257]
    (tmp_path / "a.llc").write_bytes(llicti_core.join([llicti_core.encode(array) for array in arrays]))
    run("decode", tmp_path / "a.llc")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert all(np.array_equal(page.asarray(), array) for page, array in zip(file.pages, arrays, strict=True))


def test_stack_to_npy(tmp_path: Path) -> None:
    stack = images.noise(9, 8, 5).astype(np.uint16)
    files = [llicti_core.encode(array, effort=0) for array in (stack, stack[::-1])]
    (tmp_path / "a.llc").write_bytes(llicti_core.join(files))
    run("decode", tmp_path / "a.llc", "-o", tmp_path / "a.npy")
    assert np.array_equal(np.load(tmp_path / "a.npy"), [stack, stack[::-1]])


@pytest.mark.parametrize("mode", ["RGB", "P", "1", "CMYK", "I;16B", "F"])
def test_parts(mode: str, tmp_path: Path) -> None:
    pixels = coded(tmp_path / "a.llc", mode)
    run("decode", tmp_path / "a.llc", "-o", tmp_path / "b.tif", "--scale", 2, "--region", 4, 2, 12, 10)
    with Image.open(tmp_path / "b.tif") as decoded:
        assert general_mode(decoded.mode) == general_mode(mode)
        assert np.array_equal(np.asarray(decoded), pixels[2:12:2, 4:16:2])


def test_parts_of_all_frames(tmp_path: Path, capsys: Capture) -> None:
    frames = [images.noise(40, 50, seed=seed) for seed in range(3)]
    (tmp_path / "a.llc").write_bytes(llicti_core.join([llicti_core.encode(frame) for frame in frames]))
    run("decode", tmp_path / "a.llc", "--scale", 4, "--region", 8, 4, 20, 30)
    with Image.open(tmp_path / "a.tif") as back:
        for index, frame in enumerate(frames):
            back.seek(index)
            assert np.array_equal(np.asarray(back), frame[4:34:4, 8:28:4])
        assert back.n_frames == 3
    small = llicti_core.join([llicti_core.encode(frames[0]), llicti_core.encode(frames[0][:5])])
    (tmp_path / "b.llc").write_bytes(small)
    assert "beyond the image" in failure(["decode", tmp_path / "b.llc", "--region", 0, 0, 9, 9], capsys)
    assert not (tmp_path / "b.tif").exists()


# Metadata


def exif(**tags: Any) -> bytes:
    found = Image.Exif()
    for tag, value in tags.items():
        found[int(tag[1:])] = value
    return found.tobytes()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_metadata(suffix: str, tmp_path: Path, capsys: Capture) -> None:
    metadata = Metadata(
        icc_profile=b"a profile",
        exif=exif(_271="Camera works", _306="2026:01:02"),
        dpi=(300, 72.5),
        xmp=b"<x:xmpmeta/>",
    )
    coded(tmp_path / "a.llc", "RGB", metadata)
    run("decode", tmp_path / "a.llc", "-o", tmp_path / f"b{suffix}")
    assert capsys.readouterr().err == ""
    with Image.open(tmp_path / f"b{suffix}") as after:
        assert after.info["icc_profile"] == b"a profile"
        assert after.info["dpi"] == pytest.approx((300, 72.5), abs=0.013)
        assert after.getexif()[271] == "Camera works"
        assert after.getexif()[306] == "2026:01:02"
        assert after.info["xmp"] == b"<x:xmpmeta/>"


def test_png_again(tmp_path: Path, capsys: Capture) -> None:
    """All that a PNG file holds comes back to PNG."""
    texts = PngInfo()
    texts.add_itxt("Title", "Ω")
    texts.add_itxt("dpi", "a text by the name of another field")
    texts.add_itxt("compression", "another")
    texts.add_itxt("transparency", "another")
    known = {
        "icc_profile": b"a profile",
        "exif": exif(_271="Camera works"),
        "dpi": (300, 300),
        "transparency": (1, 2, 3),
    }
    Image.fromarray(images.noise(9, 8)).save(tmp_path / "a.png", pnginfo=texts, **known)
    run("encode", tmp_path / "a.png")
    run("decode", tmp_path / "a.llc", "-o", tmp_path / "b.png")
    run("decode", tmp_path / "a.llc", "-o", tmp_path / "b.tif")
    assert "texts" in capsys.readouterr().err
    with Image.open(tmp_path / "a.png") as before, Image.open(tmp_path / "b.png") as after:
        assert after.tobytes() == before.tobytes()
        assert after.text == before.text
        assert after.info["exif"] == before.info["exif"]
        assert after.info["transparency"] == before.info["transparency"] == (1, 2, 3)


@pytest.mark.parametrize(
    ("metadata", "suffix", "words"),
    [
        (Metadata(comment=b"seen"), ".png", ["comment (which becomes the text Comment)"]),
        (Metadata(comment=b"\xff\xfe"), ".png", ["comment"]),
        (Metadata(comment=b"seen"), ".tif", ["comment"]),
        (Metadata(gamma=1 / 2.2), ".png", []),
        (Metadata(gamma=1 / 2.2), ".tif", ["gamma"]),
        (Metadata(gamma=1e9), ".png", ["gamma"]),
        (Metadata(dpi=(4294967295, 4294967295)), ".png", ["resolution"]),
        (Metadata(dpi=(1e30, 1e-30)), ".tif", ["resolution"]),
        (Metadata(dpi=(4294967295, 72)), ".bmp", ["resolution"]),
        (Metadata(dpi=(72, 72)), ".bmp", []),
        (Metadata(dpi=(72, 72)), ".ppm", ["resolution"]),
        (Metadata(xmp=b"\xff\xfe"), ".png", ["XMP"]),
        (Metadata(text={"Ω": "no Latin-1", "a" * 80: "too long", "": "empty"}), ".png", ["texts"]),
        (Metadata(text={"nul": "\0"}), ".png", ["texts"]),
        (Metadata(text={"Title": "a title"}), ".tif", ["texts"]),
        (Metadata(transparency=(1, 2, 3)), ".tif", ["transparent colour"]),
        (Metadata(transparency=5), ".png", ["transparent colour"]),
        (Metadata(exif=b"no Exif at all", icc_profile=b"p"), ".tif", ["Exif"]),
        (Metadata(exif=b"II*\0\xff\xff\xff\x7f"), ".tif", ["Exif"]),
        (Metadata(exif=exif(_256=4000, _257=3000, _273=7, _259=9)), ".tif", ["Exif"]),
        (Metadata(exif=exif(_274=6, _271="turned")), ".tif", []),
        (
            Metadata(background=(1, 2, 3), loop=3, duration=10.5),
            ".png",
            ["background colour", "number of loops", "duration"],
        ),
    ],
)
def test_metadata_that_targets_cannot_hold(
    metadata: Metadata, suffix: str, words: list[str], tmp_path: Path, capsys: Capture
) -> None:
    """The pixels are written all the same, with the rest; what is missing is said."""
    pixels = coded(tmp_path / "a.llc", "RGB", metadata)
    run("decode", tmp_path / "a.llc", "-o", tmp_path / f"b{suffix}")
    said = capsys.readouterr().err
    assert said == (f"llicti: {tmp_path / 'a.llc'}: {suffix} does not hold its {', '.join(words)}\n" if words else "")
    with Image.open(tmp_path / f"b{suffix}") as back:
        back.load()
        if metadata.exif != exif(_274=6, _271="turned"):
            assert np.array_equal(np.asarray(back), pixels)
        assert back.info.get("icc_profile") == metadata.icc_profile


def test_tags_that_describe_go_from_tiff_to_tiff(tmp_path: Path, capsys: Capture) -> None:
    """Such as GeoTIFF's, and directories of Exif with values that are no numbers."""
    found = Image.Exif()
    found[33550] = (10.0, 10.0, 0.0)  # ModelPixelScale
    found[34735] = (1, 1, 0, 0)  # GeoKeyDirectory
    found.get_ifd(34665)[33434] = TiffImagePlugin.IFDRational(0, 0)
    found.get_ifd(34853)[2] = (1.0, 2.0, 3.5)
    coded(tmp_path / "a.llc", "L", Metadata(exif=found.tobytes()))
    run("decode", tmp_path / "a.llc", "-o", tmp_path / "a.tif")
    assert capsys.readouterr().err == ""
    with Image.open(tmp_path / "a.tif") as back:
        assert back.tag_v2[33550] == (10, 10, 0)
        assert back.getexif().get_ifd(34853)[2] == (1, 2, 3.5)


def test_metadata_of_arrays(tmp_path: Path, capsys: Capture) -> None:
    tifffile = pytest.importorskip("tifffile")
    metadata = Metadata(icc_profile=b"a profile", xmp=b"<x:xmpmeta/>", dpi=(300, 72.5), comment=b"seen")
    data = llicti_core.encode(images.noise(9, 8).astype(np.uint16), metadata=metadata)
    (tmp_path / "a.llc").write_bytes(data)
    run("decode", tmp_path / "a.llc", "-o", tmp_path / "a.tif")
    assert capsys.readouterr().err.endswith(": .tif does not hold its comment\n")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages[0]
        assert page.iccprofile == b"a profile"
        assert bytes(page.tags[700].value) == b"<x:xmpmeta/>"
        assert page.get_resolution(2) == (300, 72.5)
    run("decode", tmp_path / "a.llc", "-o", tmp_path / "a.npy")
    assert capsys.readouterr().err.endswith(": .npy does not hold its ICC profile, XMP, comment, resolution\n")


def test_metadata_of_deep_png(tmp_path: Path, capsys: Capture) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    metadata = Metadata(
        icc_profile=b"a profile", text={"IDAT": "IDAT"}, exif=b"Exif\0\0any", gamma=0.5, transparency=(1, 2, 3)
    )
    pixels = images.noise(9, 8).astype(np.uint16) * 257
    (tmp_path / "a.llc").write_bytes(llicti_core.encode(pixels, metadata=metadata))
    run("decode", tmp_path / "a.llc")
    assert capsys.readouterr().err == ""
    assert np.array_equal(imagecodecs.imread(tmp_path / "a.png")[..., :3], pixels)
    run("encode", "-f", tmp_path / "a.png")
    again = (tmp_path / "a.llc").read_bytes()
    assert np.array_equal(llicti_core.decode(again), pixels)
    assert llicti_core.read_metadata(again) == metadata


def test_huge_texts(tmp_path: Path) -> None:
    """More than Pillow's reader of PNG takes: the pixels come back, the text does not."""
    coded(tmp_path / "a.llc", "L", Metadata(text={"a": "x" * 2**23}, icc_profile=b"p"))
    file = io.StringIO()
    run("decode", tmp_path / "a.llc")
    assert file.getvalue() == ""
    with Image.open(tmp_path / "a.png") as back:
        back.load()
        assert back.info["icc_profile"] == b"p"
