"""`llicti encode`: what a file holds is stored whole, or refused, or told, whatever Pillow makes of it."""

from __future__ import annotations

import io
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, features
from PIL.ExifTags import IFD
from PIL.PngImagePlugin import PngInfo

import llicti_core
from llicti_plugin import cli
from llicti_plugin.cli import encode
from llicti_plugin.cli.batch import Failure

Array = NDArray[Any]
Capture = pytest.CaptureFixture[str]


def deep(dtype: str, channels: int = 1, bits: int = 0, seed: int = 0) -> Array:
    """Noise of all the values that a type has, or of so many bits, [13, 17] or [13, 17, channels]."""
    rng = np.random.default_rng(seed)
    shape = (13, 17) if channels == 1 else (13, 17, channels)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 1000, shape).astype(dtype)
    values = rng.integers(np.iinfo(dtype).min, int(np.iinfo(dtype).max) + 1, shape, dtype)
    return values >> (8 * values.itemsize - bits) if bits else values


@pytest.fixture
def stored(tmp_path: Path, capsys: Capture) -> Callable[..., tuple[list[Array], str]]:
    """Writes a file, has it encoded, and returns the frames stored and what was said."""

    def stored(data: bytes, suffix: str = "") -> tuple[list[Array], str]:
        (tmp_path / f"a{suffix}").write_bytes(data)
        status = cli.main(["encode", str(tmp_path / f"a{suffix}")])
        out, err = capsys.readouterr()
        assert out == ""
        if status:
            assert not (tmp_path / "a.llc").exists()
            assert status == 1
            assert err.count("\n") == 1
            return [], err
        coded = (tmp_path / "a.llc").read_bytes()
        (tmp_path / "a.llc").unlink()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            notes = encode.compare(data, coded)
        assert all(note in err for note in notes)
        return [llicti_core.decode(coded, frame=index) for index in range(llicti_core.inspect(coded).n_frames)], err

    return stored


Stored = Callable[..., tuple[list[Array], str]]


def same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# PNG


def chunk(tag: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits(channels: int, stored: Stored) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = deep("uint16", channels)
    frames, said = stored(imagecodecs.png_encode(pixels))
    assert len(frames) == 1
    assert same(frames[0], pixels)
    assert said == ""


def test_metadata_of_a_deep_png(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    data = imagecodecs.png_encode(deep("uint16", 3))
    exif, texts = Image.Exif(), PngInfo()
    exif[271] = "Camera works"
    texts.add_itxt("Title", "Ω")
    donor = io.BytesIO()
    known = {"icc_profile": b"a profile", "exif": exif, "dpi": (300, 300)}
    Image.new("RGB", (1, 1)).save(donor, "PNG", pnginfo=texts, transparency=(1, 2, 3), **known)
    between = donor.getvalue()[33 : donor.getvalue().index(b"IDAT") - 4]
    (tmp_path / "a.png").write_bytes(data[:33] + between + data[33:])
    assert cli.main(["encode", str(tmp_path / "a.png")]) == 0
    coded = (tmp_path / "a.llc").read_bytes()
    assert same(llicti_core.decode(coded), deep("uint16", 3))
    metadata = llicti_core.read_metadata(coded)
    assert metadata.icc_profile == b"a profile"
    assert metadata.exif is not None
    assert b"Camera works" in metadata.exif
    assert metadata.text == {"Title": "Ω"}
    assert metadata.dpi == pytest.approx((300, 300), abs=0.01)
    assert metadata.transparency == (1, 2, 3)


# Netpbm


def test_netpbm(stored: Stored) -> None:
    colours, greys = deep("uint16", 3), deep("uint16")
    frames, said = stored(b"P6 # a comment\n17 13\n65535\n" + colours.astype(">u2").tobytes())
    assert same(frames[0], colours)
    assert said == ""
    frames, said = stored(b"P5 17 13 65535\n" + greys.astype(">u2").tobytes())
    assert same(frames[0], greys)
    frames, said = stored(b"P5 17 13 1023\n" + (greys >> 6).astype(">u2").tobytes())
    assert same(frames[0], greys >> 6)
    assert "0 to 1023" in said
    frames, said = stored(b"P2\n17 13\n100\n" + b" ".join(b"%d" % value for value in (greys % 101).flat))
    assert same(frames[0], (greys % 101).astype(np.uint8))
    assert "0 to 100" in said
    frames, said = stored(b"P6 17 13 65535\n" + 2 * colours.astype(">u2").tobytes())
    assert f"{colours.nbytes} bytes after" in said
    for damaged in (b"P6 17 13 65535\n12", b"P3 17 13 300\n12", b"P2 1 1 300\n301", b"P2 1 1 300\n-1"):
        assert stored(damaged)[0] == []


# TIFF


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float16", "float32", "float64"]
)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_tiff(dtype: str, channels: int, stored: Stored) -> None:
    tifffile = pytest.importorskip("tifffile")
    pixels = deep(dtype, channels)
    for planes in ("contig", "separate") if channels > 1 else (None,):
        file = io.BytesIO()
        array = np.moveaxis(pixels, -1, 0) if planes == "separate" else pixels
        colours = "rgb" if channels in (3, 4) else "minisblack"
        tifffile.imwrite(file, array, photometric=colours, planarconfig=planes, metadata=None)
        frames, said = stored(file.getvalue())
        assert len(frames) == 1
        # Pillow's mode for int16 has more bits.
        assert np.array_equal(frames[0], pixels) if dtype == "int16" and channels == 1 else same(frames[0], pixels)
        assert ("int32" in said) if dtype == "int16" and channels == 1 else (said == "")


@pytest.mark.parametrize("dtype", ["uint64", "complex64"])
def test_tiff_of_other_types(dtype: str, stored: Stored) -> None:
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    tifffile.imwrite(file, np.ones((3, 4), dtype))
    assert dtype in stored(file.getvalue())[1]


def test_tiff_compressed(stored: Stored) -> None:
    pytest.importorskip("imagecodecs")
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    tifffile.imwrite(file, deep("uint16", 3), photometric="rgb", compression="zlib", predictor=True, tile=(16, 16))
    assert same(stored(file.getvalue())[0][0], deep("uint16", 3))


def test_tiff_pages_and_metadata(tmp_path: Path, capsys: Capture) -> None:
    tifffile = pytest.importorskip("tifffile")
    pages = [deep("uint8", 3), deep("uint16", 3), deep("float64")]
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in pages[:2]:
            writer.write(page, photometric="rgb", metadata=None, iccprofile=b"a profile", resolution=(72, 72))
    with tifffile.TiffWriter(tmp_path / "b.tif") as writer:  # which Pillow cannot open
        described = {
            "iccprofile": b"a profile",
            "resolution": (72, 72),
            "resolutionunit": 2,
            "software": "Camera works",
        }
        writer.write(pages[2], metadata=None, **described)
    assert cli.main(["encode", str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]) == 0
    data = [(tmp_path / name).read_bytes() for name in ("a.llc", "b.llc")]
    assert same(llicti_core.decode(data[0]), pages[0])
    assert same(llicti_core.decode(data[0], frame=1), pages[1])
    assert same(llicti_core.decode(data[1]), pages[2])
    assert [llicti_core.read_metadata(each).icc_profile for each in data] == [b"a profile", b"a profile"]
    assert llicti_core.read_metadata(data[1]).dpi == (72, 72)
    assert b"Camera works" in (llicti_core.read_metadata(data[1]).exif or b"")
    assert capsys.readouterr().err == ""


def test_profile_of_one_page_only(tmp_path: Path) -> None:
    pages = [Image.new("L", (2, 2)), Image.new("L", (3, 3))]
    pages[1].encoderinfo = {"icc_profile": None}
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], icc_profile=b"a profile")
    assert cli.main(["encode", str(tmp_path / "a.tif")]) == 0
    data = (tmp_path / "a.llc").read_bytes()
    assert [llicti_core.read_metadata(data, frame=index).icc_profile for index in range(2)] == [b"a profile", None]


def test_damaged_tiff_is_no_picture_of_zeros(stored: Stored) -> None:
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    tifffile.imwrite(file, deep("uint16", 3), photometric="rgb", rowsperstrip=5, metadata=None)
    data = file.getvalue()
    assert stored(data)[0]
    assert "missing" in stored(data[:-1])[1]
    with tifffile.TiffFile(io.BytesIO(data)) as opened:
        tags = opened.pages[0].tags
        width, counts = tags[256], tags[279]
    longer = data[: width.valueoffset] + b"\xff\xff" + data[width.valueoffset + 2 :]
    shorter = data[: counts.valueoffset] + bytes(2) + data[counts.valueoffset + 2 :]
    unknown = data[: width.offset + 2] + b"\xee\xee" + data[width.offset + 4 :]
    for damaged in (longer, shorter, unknown):
        assert stored(damaged)[0] == []


def test_tiff_premultiplied(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    pixels = deep("uint8", 4)
    pixels[..., :3] = np.minimum(pixels[..., :3], pixels[..., 3:])
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=[1])
    assert cli.main(["encode", str(tmp_path / "a.tif")]) == 0
    data = (tmp_path / "a.llc").read_bytes()
    assert llicti_core.inspect(data).mode == "RGBa"
    assert same(llicti_core.decode(data), pixels)
    assert cli.main(["decode", str(tmp_path / "a.llc"), "-o", str(tmp_path / "b.tif")]) == 0
    assert same(tifffile.imread(tmp_path / "b.tif"), pixels)


def test_tiff_of_what_cannot_be_said(stored: Stored) -> None:
    tifffile = pytest.importorskip("tifffile")
    for options, word in (
        ({"photometric": "separated"}, "SEPARATED"),
        ({"photometric": "rgb", "extrasamples": [1]}, "alpha"),
    ):
        file = io.BytesIO()
        tifffile.imwrite(file, deep("uint16", 4), **options)
        frames, said = stored(file.getvalue())
        assert same(frames[0], deep("uint16", 4))
        assert word in said
    file = io.BytesIO()
    tifffile.imwrite(file, deep("uint16"), photometric="miniswhite")
    assert "MINISWHITE" in stored(file.getvalue())[1]


def test_tiff_turned_as_its_orientation_says(stored: Stored) -> None:
    tifffile = pytest.importorskip("tifffile")
    for orientation in range(1, 9):
        turned = []
        for dtype in ("uint8", "uint16"):  # by Pillow, and here
            file = io.BytesIO()
            pixels = np.arange(60, dtype=dtype).reshape(4, 5, 3)
            tifffile.imwrite(file, pixels, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
            turned.append(stored(file.getvalue())[0][0])
        assert np.array_equal(*turned), orientation


def test_orientation_is_not_followed_twice(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    for dtype in ("uint8", "uint16"):
        tags = [(274, 3, 1, 6, True), (271, 2, 0, "Camera works", True)]
        tifffile.imwrite(tmp_path / "a.tif", deep(dtype, 3), photometric="rgb", extratags=tags)
        assert cli.main(["encode", "-f", str(tmp_path / "a.tif")]) == 0
        exif = Image.Exif()
        exif.load(llicti_core.read_metadata(tmp_path / "a.llc").exif or b"")
        assert exif.get(271) == "Camera works"
        assert exif.get(274, 1) == 1


def test_pages_that_pillow_cannot_read(stored: Stored) -> None:
    tifffile = pytest.importorskip("tifffile")
    pages = [deep("uint8", 3), deep("float64"), deep("uint8", 3, seed=1)]
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page in pages:
            writer.write(page, photometric="rgb" if page.ndim == 3 else "minisblack", metadata=None)
    frames, said = stored(file.getvalue())
    assert all(same(frame, page) for frame, page in zip(frames, pages, strict=True))
    assert said == ""


def tiff_of_tags(*tags: tuple[int, int, int]) -> bytes:
    """A TIFF file of one grey pixel with further tags of one number, SHORT (3) or LONG (4)."""
    entries = {256: (3, 1), 257: (3, 1), 258: (3, 8), 259: (3, 1), 262: (3, 1), 273: (4, 8), 277: (3, 1), 279: (4, 1)}
    entries.update({tag: (kind, value) for tag, kind, value in tags})
    ifd = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(entries.items()))
    return b"II*\0" + struct.pack("<I", 10) + b"\x80\0" + struct.pack("<H", len(entries)) + ifd + bytes(4)


def test_raw_photographs(stored: Stored) -> None:
    assert stored(tiff_of_tags())[0][0] == 128
    for tags in ([(50706, 4, 1)], [(254, 4, 1), (330, 4, 10)]):
        assert "raw photograph" in stored(tiff_of_tags(*tags))[1]


def test_previews_in_tiff_are_told(tmp_path: Path, capsys: Capture) -> None:
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(deep("uint8", 3), photometric="rgb")
        writer.write(deep("uint8", 3)[::2, ::2], photometric="rgb", subfiletype=1)
    assert cli.main(["encode", str(tmp_path / "a.tif")]) == 0
    assert "of 2 pictures 1 stored" in capsys.readouterr().err


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float64"])
def test_pictures_in_sub_directories_are_told(dtype: str, bigtiff: bool, stored: Stored) -> None:
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=bigtiff) as writer:
        writer.write(deep(dtype, 3), photometric="rgb", subifds=1, metadata=None)
        writer.write(deep(dtype, 3)[::2, ::2], photometric="rgb", metadata=None)
    frames, said = stored(file.getvalue())
    assert len(frames) == 1
    assert same(frames[0], deep(dtype, 3))
    assert said.endswith(": pictures in sub-directories (tag 330) are not stored\n")


@pytest.mark.parametrize("bigtiff", [False, True])
def test_tags_that_cannot_be_kept_are_told(bigtiff: bool, stored: Stored) -> None:
    tifffile = pytest.importorskip("tifffile")

    def told(*tag: Any, dtype: str = "uint8") -> str:
        file = io.BytesIO()
        with tifffile.TiffWriter(file, bigtiff=bigtiff) as writer:
            writer.write(deep(dtype, 3), photometric="rgb", software=False, metadata=None, extratags=[(*tag, True)])
        frames, said = stored(file.getvalue())
        assert same(frames[0], deep(dtype, 3))
        return said

    for dtype in ("uint8", "uint16"):
        for tag in ((33432, 2, 0, "A name"), (65000, 12, 3, (0.5, 1.5, 2.5)), (65000, 10, 1, (-1, 3))):
            assert told(*tag, dtype=dtype) == ""
        assert told(65000, 16, 1, 2**40, dtype=dtype).endswith(": not stored: Exif tags 65000\n")  # LONG8
    assert told(65000, 17, 1, -1).endswith(": not stored: Exif tags 65000\n")  # SLONG8, which Pillow does not read
    assert told(65000, 13, 1, 8).endswith(": not stored: Exif tags 65000\n")  # IFD, a place in the file
    assert ": not stored: Exif tags IPTCNAA\n" in told(33723, 4, 2, (1, 2))  # of which Pillow reads one number
    assert told(33432, 2, 0, "Ömer".encode()).endswith(": not stored: Exif tags Copyright\n")  # written with ? for Ö


def test_exif_in_directories_of_its_own_is_looked_at(stored: Stored) -> None:
    known = Image.Exif()
    known[IFD.Exif] = {36867: "2020:01:01 00:00:00"}
    known[IFD.GPSInfo] = {18: "WGS-84"}
    data = picture("TIFF", Image.new("L", (2, 2)), exif=known.tobytes())
    assert stored(data)[1] == ""
    for tag, kind, name in ((36867, 2, "DateTimeOriginal"), (18, 2, "GPSMapDatum")):
        at = data.index(struct.pack("<HH", tag, kind)) + 2
        other = data[:at] + struct.pack("<H", 99) + data[at + 2 :]  # a type that nothing knows
        assert stored(other)[1].endswith(f": not stored: Exif tags {name}\n")
    at = data.index(struct.pack("<HHI", IFD.GPSInfo, 4, 1)) + 8
    assert "Exif tags GPSInfo" in stored(data[:at] + b"\xff\xff\xff\x7f" + data[at + 4 :])[1]


def test_palette_of_16_bits(stored: Stored) -> None:
    file = io.BytesIO()
    Image.new("P", (3, 3)).save(file, "TIFF")
    data = file.getvalue()
    assert stored(data)[0]
    start = data.index(struct.pack("<HHI", 320, 3, 768)) + 8
    (colours,) = struct.unpack_from("<I", data, start)
    changed = data[: colours + 2] + b"\x01\x02" + data[colours + 4 :]
    assert "palette" in stored(changed)[1]


# Other formats


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_jpeg_2000(bits: int, channels: int, stored: Stored) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = deep("uint8", channels) if bits == 8 else deep("uint16", channels, bits)
    for codec in ("jp2", "j2k"):
        data = imagecodecs.jpeg2k_encode(pixels, level=0, bitspersample=bits, reversible=True, codecformat=codec)
        frames, said = stored(data)
        assert same(frames[0], pixels)
        assert ("stored as they are" in said) == (bits in (10, 12))


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("count", [1, 3])
def test_avif(bits: int, count: int, stored: Stored) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    if not imagecodecs.AVIF.available:
        pytest.skip("imagecodecs has no AVIF here")
    pixels = deep("uint8", 3) if bits == 8 else deep("uint16", 3, bits)
    images = np.stack([pixels[::-1] if index == 1 else pixels for index in range(count)])
    frames, said = stored(imagecodecs.avif_encode(images if count > 1 else pixels, level=100, bitspersample=bits))
    assert len(frames) == count
    assert all(same(frame, image) for frame, image in zip(frames, images, strict=True))
    assert ("stored as they are" in said) == (bits > 8)


@pytest.mark.skipif(not features.check("avif"), reason="Pillow reads no AVIF here")
def test_colour_spaces_of_avif_that_cannot_be_said(stored: Stored) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    data = imagecodecs.avif_encode(deep("uint8", 3), level=100, bitspersample=8)
    assert stored(data)[1] == ""
    at = data.index(b"colrnclx") + 8
    assert "primaries 9 and transfer 16" in stored(data[:at] + struct.pack(">HH", 9, 16) + data[at + 4 :])[1]


def test_colour_spaces_of_jpeg_2000_that_cannot_be_said(stored: Stored) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    data = imagecodecs.jpeg2k_encode(deep("uint8", 3), level=0)
    assert stored(data)[1] == ""
    at = data.index(b"colr\x01") + 7
    assert "colour space 21" in stored(data[:at] + struct.pack(">I", 21) + data[at + 4 :])[1]


def test_jpeg_xl(stored: Stored) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    frames, said = stored(imagecodecs.jpegxl_encode(deep("uint16", 3), lossless=True))
    assert same(frames[0], deep("uint16", 3))
    assert "only pixels" in said


def test_llc_again(tmp_path: Path) -> None:
    for mode, pixels in ((None, deep("uint16", 3)), ("CMYK", deep("uint8", 4))):
        metadata = llicti_core.Metadata(comment=b"said before")
        (tmp_path / "a.llc").write_bytes(llicti_core.encode(pixels, mode=mode, effort=0, metadata=metadata))
        assert cli.main(["encode", str(tmp_path / "a.llc"), "-o", str(tmp_path / "b.llc"), "--force"]) == 0
        data = (tmp_path / "b.llc").read_bytes()
        assert same(llicti_core.decode(data), pixels)
        assert llicti_core.read_metadata(data) == metadata


def test_formats_that_pillow_shortens_are_refused(stored: Stored) -> None:
    sgi = struct.pack(">hBBHHHH", 474, 0, 2, 3, 2, 2, 3).ljust(512, b"\0") + bytes(24)
    assert "16 bits" in stored(sgi, ".sgi")[1]
    cards = ["SIMPLE  = T", "BITPIX  = -64", "NAXIS   = 2", "NAXIS1  = 2", "NAXIS2  = 2", "END"]
    fits = "".join(card.ljust(80) for card in cards).encode().ljust(2880) + bytes(2880)
    assert "BITPIX -64" in stored(fits)[1]
    drawing = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    assert "drawing" in stored(drawing)[1]
    stack = io.BytesIO()
    Image.new("L", (2, 2)).save(stack, "TIFF", description="ImageJ=1.53\nimages=7\n")
    assert "stack of 7" in stored(stack.getvalue())[1]


def test_icons_tell_what_is_left_out(stored: Stored) -> None:
    file = io.BytesIO()
    Image.new("RGBA", (32, 32), "red").save(file, "ICO", sizes=[(16, 16), (32, 32)])
    frames, said = stored(file.getvalue())
    assert frames[0].shape == (32, 32, 4)
    assert "largest of its 2" in said


def test_what_pillow_passes_over_is_told(stored: Stored) -> None:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "DDS")
    assert stored(file.getvalue())[1].endswith(": not stored, where it has them: smaller copies, layers and faces\n")
    cards = ["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 3", "NAXIS1  = 2", "NAXIS2  = 2", "NAXIS3  = 9", "END"]
    cube = "".join(card.ljust(80) for card in cards).encode().ljust(2880) + bytes(2880)
    assert "further images" in stored(cube)[1]
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 2, 2, 8, 3)
    assert "layers" in stored(header + bytes(12) + bytes(2) + bytes(12))[1]


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_what_follows_an_image_is_told(form: str, stored: Stored) -> None:
    """Such as the film of a moving photograph, which can hold anything."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (99, 99, 3), np.uint8)
    options = {"progressive": True, "restart_marker_rows": 1, "quality": 99} if form == "JPEG" else {}
    Image.fromarray(noise).save(file, form, **options)
    assert stored(file.getvalue())[1] == ""
    film = b"\xff\xd9\xff\xd8film"
    assert stored(file.getvalue() + film)[1].endswith(": not stored: 8 bytes after its end\n")


def test_what_has_no_place_in_a_file_is_told(stored: Stored) -> None:
    texts = PngInfo()
    texts.add(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, "PNG", pnginfo=texts)
    assert stored(file.getvalue())[1].endswith(": not stored: chunks cHRM\n")
    texts.add(b"sRGB", b"\0")
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, "PNG", pnginfo=texts)
    assert stored(file.getvalue())[1] == ""
    aspect = chunk(b"pHYs", struct.pack(">IIB", 2, 1, 0))
    assert "chunks pHYs" in stored(file.getvalue()[:33] + aspect + file.getvalue()[33:])[1]
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(
        file, "JPEG", icc_profile=b"p" * 200, exif=b"Exif\0\0", xmp=b"x", comment=b"c", dpi=(9, 9)
    )
    assert stored(file.getvalue())[1] == ""
    app13 = b"\xff\xed" + struct.pack(">H", 22) + b"Photoshop 3.0\0 IPTC.."
    assert "APP13 (Photoshop 3.0)" in stored(file.getvalue()[:2] + app13[:24] + file.getvalue()[2:])[1]


@pytest.mark.parametrize("missing", ["tifffile", "imagecodecs"])
def test_without_the_extra(missing: str, stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing == "tifffile":
        data = pytest.importorskip("tifffile")
        file = io.BytesIO()
        data.imwrite(file, deep("float64"))
    else:
        file = io.BytesIO(pytest.importorskip("imagecodecs").png_encode(deep("uint16", 3)))
    monkeypatch.setitem(sys.modules, missing, None)
    said = stored(file.getvalue())[1]
    assert "`deep`" in said
    assert "pip install 'imagecodecs" in said


# Comparison with the source


def picture(form: str, image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def test_comparison_finds_every_difference() -> None:
    colours = Image.fromarray(deep("uint8", 3))
    data = picture("PNG", colours, dpi=(300, 300))
    coded = encode.encoded(data, {"effort": 0})[0]
    assert encode.compare(data, coded) == []
    palette = colours.quantize(16)
    for other, what in (
        (picture("PNG", Image.fromarray(deep("uint8", 3, seed=1)), dpi=(300, 300)), "pixels"),
        (picture("TIFF", colours.convert("RGBA"), dpi=(300, 300)), "pixels"),
        (picture("PNG", colours), "metadata"),
        (picture("GIF", palette, save_all=True, append_images=[palette.rotate(180)]), "pixels"),
    ):
        with pytest.raises(Failure, match=f"its {what}"):
            encode.compare(other, coded)
    # The same samples, which mean something else.
    grey, table = Image.new("L", (3, 3), 1), Image.new("P", (3, 3), 1)
    table.putpalette([9] * 6)
    other = table.copy()
    other.putpalette([9] * 3 + [8] * 3)
    coded = encode.encoded(picture("PNG", table), {})[0]
    for image, what in ((grey, "mode"), (other, "palette")):
        with pytest.raises(Failure, match=f"its {what}"):
            encode.compare(picture("PNG", image), coded)


def test_comparison_of_animations() -> None:
    frames = [Image.fromarray(deep("uint8", 3, seed=seed)).quantize(8) for seed in range(3)]
    data = picture("GIF", frames[0], save_all=True, append_images=frames[1:], loop=3, duration=[20, 30, 40])
    coded = encode.encoded(data, {})[0]
    assert encode.compare(data, coded) == []
    fewer = picture("GIF", frames[0], save_all=True, append_images=frames[1:2], loop=3, duration=[20, 30])
    for shorter, longer in ((fewer, coded), (data, encode.encoded(fewer, {})[0])):
        with pytest.raises(Failure, match="frames"):
            encode.compare(shorter, longer)
