"""Metadata: what goes into a file beside the pixels comes out again, through the core, Pillow and imageio."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path
from typing import Any

import golden
import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import smooth
from PIL import ExifTags, Image, ImageOps
from PIL.PngImagePlugin import PngInfo

import llicti_core
import llicti_plugin
from llicti_core import FormatError, LLCError, Metadata, UnsupportedError, spec
from llicti_core.compression import deflate
from llicti_core.container import pack_section, pack_varint

llicti_plugin.register()

ICC = bytes(range(256)) * 3
XMP = b"<?xpacket begin=''?><x:xmpmeta xmlns:x='adobe:ns:meta/'><a>1</a></x:xmpmeta>" + b" " * 500
FULL = Metadata(
    icc_profile=ICC,
    exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0",
    xmp=XMP,
    comment=b"not \xff UTF-8",
    text={"Title": "Δ and the rest", "": "no name", "Author": ""},
    dpi=(72, 299.9994),
    gamma=0.45455,
    transparency=(1, 2, 65535),
    background=(255, 0, 7, 0),
    loop=0,
    duration=33.25,
)

blobs = st.binary(max_size=300)
numbers = st.integers(0, 65535)
measures = st.floats(0, allow_infinity=False)
values = st.one_of(numbers, st.tuples(numbers, numbers, numbers), st.tuples(numbers, numbers, numbers, numbers))
anything = st.builds(
    Metadata,
    icc_profile=st.none() | blobs,
    exif=st.none() | blobs,
    xmp=st.none() | blobs,
    comment=st.none() | blobs,
    text=st.none() | st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))),
    dpi=st.none() | st.tuples(measures, measures),
    gamma=st.none() | measures,
    transparency=st.none() | values | st.binary(max_size=256),
    background=st.none() | values,
    loop=st.none() | st.integers(0, 2**63 - 1),
    duration=st.none() | measures,
)


@pytest.fixture
def pixels() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return smooth(6, 5)


def kept(given: Metadata) -> Metadata:
    """`given` without what is empty, which is not stored."""
    return Metadata(*(None if value in (b"", {}) else value for value in given))


# The core


@given(anything)
def test_sections(given: Metadata) -> None:
    assert Metadata.from_sections(given.sections()) == kept(given)


def test_every_field_has_its_own_tag() -> None:
    assert len({tag for tag, _ in FULL.sections()}) == len(Metadata._fields)
    assert all(tag[:1].islower() and tag.isalpha() and len(tag) == 4 for tag, _ in FULL.sections())


@pytest.mark.parametrize("given", [FULL, Metadata(), *(Metadata(**{name: v}) for name, v in FULL._asdict().items())])
def test_round_trip(given: Metadata, pixels) -> None:
    data = llicti_core.encode(pixels, metadata=given)
    assert llicti_core.read_metadata(data) == given
    np.testing.assert_array_equal(llicti_core.decode(data), pixels)
    llicti_core.verify(data)


def test_no_metadata_costs_nothing(pixels) -> None:
    assert llicti_core.encode(pixels, metadata=Metadata(text={}, xmp=b"")) == llicti_core.encode(pixels)


def test_blobs_are_packed_where_that_pays() -> None:
    ((_, packed),) = Metadata(xmp=XMP).sections()
    assert len(packed) < len(XMP) // 3
    noise = np.random.default_rng(0).bytes(1000)
    ((_, stored),) = Metadata(exif=noise).sections()
    assert stored == b"\0" + noise


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("icc_profile", "text"),
        ("exif", 5),
        ("text", {"a": 1}),
        ("text", {"a": "\ud800"}),
        ("text", dict.fromkeys(map(str, range(spec.MAX_TEXTS + 1)), "")),
        ("dpi", 72),
        ("dpi", (72,)),
        ("dpi", (1, 2, 3)),
        ("dpi", (float("nan"), 1)),
        ("dpi", (1, -1)),
        ("gamma", float("inf")),
        ("gamma", "x"),
        ("transparency", -1),
        ("transparency", 65536),
        ("transparency", (1,)),
        ("transparency", (1, 2, 3, 4, 5)),
        ("transparency", bytes(257)),
        ("transparency", 1.5),
        ("background", ()),
        ("loop", -1),
        ("loop", 2**63),
        ("loop", 0.5),
        ("duration", -1),
        ("icc_profile", bytes(spec.MAX_METADATA_BYTES + 1)),
        ("text", {"a": " " * spec.MAX_TEXT_BYTES}),
    ],
)
def test_what_cannot_be_stored(name: str, value: object) -> None:
    with pytest.raises(UnsupportedError, match=name):
        Metadata(**{name: value}).sections()  # type: ignore[arg-type]


def test_too_much_in_all() -> None:
    half = bytes(spec.MAX_METADATA_BYTES // 2)
    with pytest.raises(FormatError, match="more than"):
        Metadata.from_sections([(b"iccp", b"\0" + half), (b"exif", b"\0" + half)])
    assert Metadata.from_sections(Metadata(icc_profile=half, exif=half).sections()) == (half, half, *[None] * 9)
    with pytest.raises(UnsupportedError, match="too much"):
        Metadata(icc_profile=half, exif=half, comment=b"one more").sections()


def test_unknown_sections_mean_nothing() -> None:
    sections = [(b"newk", b"\xff\xff"), *Metadata(loop=3).sections(), (b"Exif", b"")]
    assert Metadata.from_sections(sections) == Metadata(loop=3)


def test_empty_sections_mean_none() -> None:
    assert Metadata.from_sections((tag, b"") for tag, _ in FULL.sections()) == Metadata()


bomb = deflate(bytes(spec.MAX_METADATA_BYTES + 1))


@pytest.mark.parametrize(
    ("tag", "payload", "message"),
    [
        (b"iccp", b"\2abc", "unknown way 2"),
        (b"iccp", b"\1\xff\xff\xff", "inflated"),
        (b"exif", b"\1" + deflate(b"a" * 50)[:-1], "does not end"),
        (b"xmpp", b"\1" + deflate(b"a" * 50) + b"x", "does not end"),
        (b"cmnt", b"\1" + deflate(b"a" * 50)[:1] + b"x", "inflated|does not end"),
        (b"iccp", b"\1" + bomb, "more than 67108864"),
        (b"text", b"\1" + bomb, "more than 16777216"),
        (b"text", b"\0\1", "ends"),
        (b"text", b"\0\1a", "ends"),
        (b"text", b"\0\1a\2b", "ends"),
        (b"text", b"\0\1a\1\xff", "utf-8"),
        (b"text", b"\0\1a\0\1a\0", "occurs twice"),
        (b"text", b"\0\x81\x00", "non-canonical"),
        (b"text", b"\0" + b"\xff" * 8 + b"\x7f", "ends"),
        (b"dpix", bytes(15), "ends"),
        (b"dpix", bytes(17), "1 bytes of trailing"),
        (b"dpix", struct.pack("<dd", 1, float("nan")), "finite"),
        (b"dpix", struct.pack("<dd", -1, 1), "negative"),
        (b"gama", bytes(7), "ends"),
        (b"gama", struct.pack("<d", float("inf")), "finite"),
        (b"trns", b"\1\0", "ends"),
        (b"trns", b"\1\0\0\0", "1 bytes of trailing"),
        (b"trns", b"\5" + bytes(10), "5 numbers"),
        (b"trns", bytes(258), "256"),
        (b"back", b"\3" + bytes(5), "ends"),
        (b"loop", b"\x80", "ends"),
        (b"loop", b"\x80\x00", "non-canonical"),
        (b"loop", b"\1\1", "1 bytes of trailing"),
        (b"time", bytes(9), "1 bytes of trailing"),
    ],
)
def test_damaged_sections(tag: bytes, payload: bytes, message: str, pixels) -> None:
    with pytest.raises(FormatError, match=message) as error:
        Metadata.from_sections([(tag, payload)])
    assert repr(tag) in str(error.value) or "metadata" in str(error.value)
    data = inserted(llicti_core.encode(pixels), (tag, payload))
    for function in (llicti_core.read_metadata, llicti_core.verify):
        with pytest.raises(FormatError, match=message):
            function(data)
    np.testing.assert_array_equal(llicti_core.decode(data), pixels)  # the pixels have nothing to do with it
    with pytest.raises(OSError, match=r"\w"):
        Image.open(io.BytesIO(data))


def test_texts_of_no_end() -> None:
    many = b"".join(pack_varint(2) + struct.pack("<H", n) + b"\0" for n in range(spec.MAX_TEXTS + 1))
    many = many.replace(many[1:3], b"zz", 1)
    with pytest.raises(FormatError, match="text"):
        Metadata.from_sections([(b"text", b"\0" + many)])


def test_one_kind_twice(pixels) -> None:
    data = inserted(llicti_core.encode(pixels), (b"loop", b"\1"), (b"loop", b"\1"))
    with pytest.raises(FormatError, match="twice"):
        llicti_core.read_metadata(data)


def test_bombs_add_up() -> None:
    packed = b"\1" + deflate(bytes(spec.MAX_METADATA_BYTES // 2 + 1))
    with pytest.raises(FormatError, match="more than"):
        Metadata.from_sections([(tag, packed) for tag in (b"iccp", b"exif", b"xmpp", b"cmnt")])


def test_metadata_needs_no_pixel_data(pixels) -> None:
    data = llicti_core.encode(pixels, metadata=FULL)
    bare = golden.assembled(golden.sections(llicti_core.encode(pixels)))
    front = len(data) - len(bare) + len(head(bare))
    assert llicti_core.read_metadata(data[:front]) == FULL
    for length in range(len(head(bare)) + 1, front, 37):
        try:
            assert llicti_core.read_metadata(data[:length]) != FULL  # cut between two sections
        except llicti_core.TruncatedError:
            pass


def test_flipped_bits(pixels) -> None:
    data = llicti_core.encode(pixels, metadata=FULL)
    bare = golden.assembled(golden.sections(llicti_core.encode(pixels)))
    for position in range(len(head(bare)), len(data) - len(bare) + len(head(bare)), 3):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(LLCError):
            llicti_core.verify(bytes(damaged))


def head(data: bytes) -> bytes:
    """Everything up to the end of the HEAD section."""
    return data[: llicti_core.open(data)[0].sections.start]


def inserted(data: bytes, *sections: tuple[bytes, bytes]) -> bytes:
    """The file with sections after its HEAD."""
    front = head(data)
    return b"".join((front, *(pack_section(*section) for section in sections), data[len(front) :]))


# Pillow


def exif_of(orientation: int = 6) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "Camera works"
    return exif


def through_llc(im: Image.Image, **options: object) -> Image.Image:
    """The image after it has been saved and opened again."""
    fp = io.BytesIO()
    im.save(fp, "LLC", **options)
    reloaded = Image.open(fp)
    assert reloaded.tobytes() == im.tobytes()
    return reloaded


def through(im: Image.Image, form: str, **options: object) -> Image.Image:
    """The image after it has been saved in another format and opened again."""
    fp = io.BytesIO()
    im.save(fp, form, **options)
    reloaded = Image.open(fp)
    reloaded.load()
    return reloaded


def picture(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(smooth(6, 5)).convert(mode)


ARGUMENTS: dict[str, Any] = {
    "icc_profile": ICC,
    "exif": exif_of().tobytes(),
    "xmp": XMP,
    "comment": b"a comment",
    "dpi": (300, 72.5),
    "gamma": 0.5,
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_save_argument(name: str) -> None:
    assert through_llc(picture(), **{name: ARGUMENTS[name]}).info[name] == ARGUMENTS[name]


@pytest.mark.parametrize("name", ARGUMENTS)
def test_precedence(name: str) -> None:
    im = picture()
    im.info[name] = ARGUMENTS[name]
    kept = through_llc(im)
    assert kept.info[name] == ARGUMENTS[name]  # what an image has is kept,
    assert through_llc(kept).info[name] == ARGUMENTS[name]
    other = (1, 2) if name == "dpi" else 2.0 if name == "gamma" else b"other"
    assert through_llc(kept, **{name: other}).info[name] == other  # but for an argument,
    for nothing in (None, b"") if isinstance(other, bytes) else (None,):
        assert name not in through_llc(kept, **{name: nothing}).info  # and an argument of None takes it away


def test_arguments_of_other_types() -> None:
    assert through_llc(picture(), exif=exif_of()).info["exif"] == exif_of().tobytes()
    assert through_llc(picture(), xmp=XMP.decode()).info["xmp"] == XMP
    assert through_llc(picture(), comment="Grüße").info["comment"] == "Grüße".encode()
    assert through_llc(picture("RGB"), transparency=[1, 2, 3]).info["transparency"] == (1, 2, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [("icc_profile", "text"), ("exif", 1), ("dpi", 72), ("dpi", (-1, 1)), ("transparency", 3), ("gamma", "x")],
)
def test_arguments_refused(name: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=name):
        picture().save(tmp_path / "a.llc", **{name: value})
    assert not (tmp_path / "a.llc").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dpi", "72"),
        ("dpi", (float("nan"), 1)),
        ("dpi", (1,)),
        ("exif", {}),
        ("icc_profile", "a text of that name"),
        ("comment", 5),
        ("transparency", (1, 2)),
        ("transparency", 70000),
        ("gamma", "0.45"),
        ("Software", object()),
    ],
)
def test_odd_info_does_not_stop_a_save(name: str, value: object) -> None:
    im = picture()
    im.info[name] = value
    reloaded = through_llc(im)
    assert reloaded.info.get(name, value) == value
    assert reloaded.text == ({name: value} if isinstance(value, str) else {})


def test_exif() -> None:
    im = through_llc(picture(), exif=exif_of(6))
    assert im.getexif() == exif_of(6)
    assert im.getexif()[ExifTags.Base.Orientation] == 6
    turned = ImageOps.exif_transpose(im)
    assert turned.size == (im.height, im.width)
    assert turned.tobytes() == picture().transpose(Image.Transpose.ROTATE_270).tobytes()
    again = through_llc(turned)
    assert ExifTags.Base.Orientation not in again.getexif()
    assert again.getexif()[ExifTags.Base.Make] == "Camera works"


def test_xmp() -> None:
    pytest.importorskip("defusedxml")
    assert through_llc(picture(), xmp=XMP).getxmp() == {"xmpmeta": {"a": "1"}}


@pytest.mark.parametrize(
    ("mode", "transparency"),
    [
        ("1", 1),
        ("L", 0),
        ("L", 77),
        ("I", 300),
        ("I;16", 65535),
        ("P", 3),
        ("P", bytes(range(200))),
        ("RGB", (1, 0, 255)),
    ],
)
def test_transparency(mode: str, transparency: object) -> None:
    im = picture("I").convert("I;16") if mode == "I;16" else picture(mode)
    for reloaded in (through_llc(im, transparency=transparency), through_llc(with_info(im, transparency=transparency))):
        assert reloaded.info["transparency"] == transparency
        if mode not in ("I", "I;16"):
            alpha = im.copy()
            alpha.info["transparency"] = transparency
            assert reloaded.convert("RGBA").tobytes() == alpha.convert("RGBA").tobytes()
        if mode != "I":
            assert through(reloaded, "PNG").info["transparency"] is not None


@pytest.mark.parametrize(("mode", "transparency"), [("RGBA", 1), ("L", (1, 2, 3)), ("RGB", 1), ("P", 256), ("CMYK", 0)])
def test_transparency_that_does_not_fit(mode: str, transparency: object) -> None:
    im = picture(mode)
    with pytest.raises(ValueError, match="transparency"):
        through_llc(im, transparency=transparency)
    assert "transparency" not in through_llc(with_info(im, transparency=transparency)).info
    fp = io.BytesIO()
    im.save(fp, "LLC")
    data = inserted(fp.getvalue(), *Metadata(transparency=transparency).sections())  # type: ignore[arg-type]
    assert "transparency" not in Image.open(io.BytesIO(data)).info


def with_info(im: Image.Image, **info: object) -> Image.Image:
    copy = im.copy()
    copy.info.update(info)
    return copy


def png_text() -> PngInfo:
    pnginfo = PngInfo()
    pnginfo.add_text("Title", "latin \xe9")
    pnginfo.add_text("Long", "compressed " * 30, zip=True)
    pnginfo.add_itxt("Author", "Ω", "el", "Συγγραφέας")
    pnginfo.add(b"tIME", b"\x07\xe8\x01\x01\0\0\0")
    return pnginfo


TEXT = {"Title": "latin \xe9", "Long": "compressed " * 30, "Author": "Ω"}


def test_png_text() -> None:
    png = through(picture(), "PNG", pnginfo=png_text())
    for im in (through_llc(png), through_llc(png.copy()), through_llc(picture(), pnginfo=png_text())):
        assert im.text == TEXT
        assert {name: im.info[name] for name in TEXT} == TEXT
        assert through_llc(im).text == TEXT
        assert through_llc(im, pnginfo=None).text == {}
        del im.info["Long"]
        assert through_llc(im).text == {"Title": "latin \xe9", "Author": "Ω"}
        im.info["Title"] = "new"
        assert through_llc(im).text["Title"] == "new"


def test_text_named_as_something_else() -> None:
    pnginfo = PngInfo()
    names = ("model", "dpi", "exif", "comment", "transparency", "loop", "icc_profile")
    for name in names:
        pnginfo.add_text(name, name)
    im = through_llc(picture(), pnginfo=pnginfo, dpi=(1, 2), icc_profile=ICC)
    for reloaded in (im, through_llc(im)):
        assert reloaded.text == {name: name for name in names}
        assert reloaded.info["dpi"] == (1, 2)
        assert reloaded.info["icc_profile"] == ICC


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_from_and_to_other_formats(form: str) -> None:
    given = {"icc_profile": ICC, "exif": exif_of(1).tobytes(), "dpi": (300, 300), "xmp": XMP}
    if form == "PNG":
        given["pnginfo"] = png_text()
    if form == "TIFF":
        del given["exif"]  # Pillow puts it into the tags of the file
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    before = through(picture(), form, **given, **options)
    im = through_llc(before)
    names = [name for name in ("icc_profile", "exif", "dpi", "xmp", "comment", *TEXT) if name in before.info]
    assert len(names) >= 2
    assert {name: im.info[name] for name in names} == {name: before.info[name] for name in names}
    if form != "JPEG":
        again = {name: im.info[name] for name in given if name in im.info}
        after = through(im, form, **again, **options, **({"pnginfo": png_text()} if form == "PNG" else {}))
        assert {name: after.info[name] for name in names} == {name: before.info[name] for name in names}
        assert after.tobytes() == before.tobytes()


def test_jpeg_comment() -> None:
    jpeg = through(picture(), "JPEG", comment="seen")
    assert through_llc(jpeg).info["comment"] == b"seen"


def test_copies_keep_it() -> None:
    im = through_llc(picture(), **ARGUMENTS)
    assert {name: through_llc(im.resize((3, 3))).info[name] for name in ARGUMENTS} == ARGUMENTS


def test_open_reads_up_to_the_pixels() -> None:
    class CountingFile(io.BytesIO):
        count = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.count += len(data)
            return data

    noise = np.random.default_rng(0)
    im = Image.fromarray(noise.integers(0, 256, (150, 150, 3), np.uint8))
    profile = noise.bytes(20000)
    whole = io.BytesIO()
    im.save(whole, "LLC", icc_profile=profile, xmp=XMP)
    fp = CountingFile(whole.getvalue())
    with Image.open(fp) as opened:
        assert opened.info["icc_profile"] == profile
        assert fp.count < len(profile) + 4 * llicti_core.MAX_HEADER_BYTES < len(fp.getvalue()) - 30000


def test_no_files_left_open(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.llc", **ARGUMENTS)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        with Image.open(tmp_path / "a.llc") as im:
            assert im.info["dpi"] == ARGUMENTS["dpi"]
        Image.open(tmp_path / "a.llc").load()


# imageio


def test_imageio(tmp_path: Path, pixels) -> None:
    path = tmp_path / "a.llc"
    iio.imwrite(path, pixels, **ARGUMENTS, text={"Title": "Δ"})
    found = iio.immeta(path)
    assert {name: found[name] for name in ARGUMENTS} == ARGUMENTS
    assert found["text"] == {"Title": "Δ"}
    assert found["mode"] == "RGB"
    assert "transparency" not in found
    iio.imwrite(tmp_path / "b.llc", pixels, **{name: found[name] for name in (*ARGUMENTS, "text")})
    assert (tmp_path / "b.llc").read_bytes() == path.read_bytes()
    with Image.open(path) as im:
        assert im.text == {"Title": "Δ"}
        assert im.info["exif"] == ARGUMENTS["exif"]
    np.testing.assert_array_equal(iio.imread(path), pixels)


def test_imageio_refuses(tmp_path: Path, pixels) -> None:
    with pytest.raises(ValueError, match="dpi"):
        iio.imwrite(tmp_path / "a.llc", pixels, dpi=72)
    with pytest.raises(TypeError):
        iio.imwrite(tmp_path / "a.llc", pixels, no_such_metadata=b"")
    assert not (tmp_path / "a.llc").exists()
