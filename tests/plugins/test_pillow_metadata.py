"""What Pillow's images have beside their pixels, as it is when they are saved: Exif, texts, and what is neither."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from images import photograph
from PIL import ExifTags, Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational

import llicti_plugin.pillow_info
from llicti_core import metadata

llicti_plugin.register()

GPS, MAKE, ORIENTATION = ExifTags.IFD.GPSInfo, ExifTags.Base.Make, ExifTags.Base.Orientation
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><tiff:Orientation>8</tiff:Orientation></x:xmpmeta>"


def saved(im: Image.Image, form: str = "LLC", **options: object) -> io.BytesIO:
    """A file of the image."""
    fp = io.BytesIO()
    im.save(fp, form, **options)
    return fp


def reopened(im: Image.Image, form: str = "LLC", **options: object) -> Image.Image:
    """The image after it has been saved and opened again."""
    return Image.open(saved(im, form, **options))


def picture(**info: object) -> Image.Image:
    """A small picture with such an `info`."""
    im = Image.linear_gradient("L").resize((8, 6)).convert("RGB")
    im.info.update(info)
    return im


def full_exif() -> Image.Exif:
    """Exif of a camera, with directories in it and a number that is none."""
    exif = Image.Exif()
    exif[MAKE] = "Camera works"
    exif[ORIENTATION] = 3
    exif.get_ifd(GPS).update({1: "N", 2: (51.0, 30.0, 12.5)})
    exif.get_ifd(ExifTags.IFD.Exif).update({0x9286: b"ASCII\0\0\0note", 0xA432: (IFDRational(0, 0), IFDRational(50))})
    return exif


# Exif


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "LLC"])
@pytest.mark.parametrize("look", [lambda exif: None, lambda exif: exif.get_ifd(GPS), lambda exif: dict(exif)])
def test_exif_that_nobody_changed_is_kept_byte_for_byte(form: str, look: Callable[[Image.Exif], object]) -> None:
    im = reopened(picture(), form, exif=full_exif().tobytes() + b"trailing")
    before = im.info["exif"]
    look(im.getexif())
    for _ in range(2):  # saving changes nothing
        assert reopened(im).info["exif"] == before


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "LLC"])
def test_exif_is_saved_as_it_is_now(form: str) -> None:
    im = reopened(picture(), form, exif=full_exif())
    exif = im.getexif()
    exif.get_ifd(GPS)
    del exif[GPS]
    exif[ORIENTATION] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[0x9286] = b"ASCII\0\0\0other"
    back = reopened(im).getexif()
    assert not back.get_ifd(GPS)
    assert (back[ORIENTATION], back[MAKE]) == (6, "Camera works")
    assert back.get_ifd(ExifTags.IFD.Exif)[0x9286] == b"ASCII\0\0\0other"
    assert b"N\0" not in reopened(im).info["exif"].replace(b"Camera", b"")
    for tag in list(exif):
        del exif[tag]
    assert "exif" not in reopened(im).info


def test_directory_that_was_looked_at_and_deleted_stays_out_of_tiff_files_too() -> None:
    exif = full_exif()
    exif[GPS] = exif.get_ifd(GPS)
    im = reopened(picture(), "TIFF", exif=exif)
    assert im.getexif().get_ifd(GPS)
    assert reopened(im).getexif().get_ifd(GPS)
    del im.getexif()[GPS]
    assert not reopened(im).getexif().get_ifd(GPS)
    assert reopened(im).getexif()[MAKE] == "Camera works"


def test_exif_made_new_is_saved() -> None:
    im = picture()
    im.getexif()[ORIENTATION] = 5
    im.getexif().get_ifd(GPS)[1] = "S"
    back = reopened(im).getexif()
    assert (back[ORIENTATION], back.get_ifd(GPS)) == (5, {1: "S"})


def test_exif_taken_out_of_info_does_not_come_back() -> None:
    im = reopened(picture(), "JPEG", exif=full_exif())
    im.getexif()
    del im.info["exif"]
    assert "exif" not in reopened(im).info
    im = reopened(picture(), "JPEG", exif=full_exif())
    im.getexif()
    im.info["exif"] = Image.Exif().tobytes()  # as other libraries for Exif do it
    assert reopened(im).info["exif"] == Image.Exif().tobytes()


def test_arguments_rule_over_what_exif_is_now() -> None:
    im = reopened(picture(), "JPEG", exif=full_exif())
    im.getexif()[ORIENTATION] = 8
    for nothing in (None, b""):
        assert "exif" not in reopened(im, exif=nothing).info
    assert reopened(im, exif=b"anything").info["exif"] == b"anything"
    assert reopened(im, exif=im.getexif()).getexif()[ORIENTATION] == 8


def test_turned_upright_and_edited() -> None:
    im = ImageOps.exif_transpose(reopened(picture(), "JPEG", exif=full_exif()))
    assert ORIENTATION not in reopened(im).getexif()
    assert reopened(im).getexif().get_ifd(GPS)
    del im.getexif()[GPS]
    assert ORIENTATION not in reopened(im).getexif()
    assert not reopened(im).getexif().get_ifd(GPS)


def test_orientation_in_xmp_is_not_exif() -> None:
    im = reopened(picture(), xmp=XMP)
    assert im.getexif() == {ORIENTATION: 8}
    assert im.info == {"xmp": XMP}
    assert reopened(im).info == {"xmp": XMP}


@pytest.mark.parametrize("data", [b"", b"Exif\0\0", b"no Exif", b"Exif\0\0II*\0\xff\xff\xff\xff", bytes(range(256))])
def test_exif_that_cannot_be_read_is_kept(data: bytes) -> None:
    im = picture(exif=data)
    assert reopened(im).info.get("exif", b"") == data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            im.getexif()
        except Exception:  # whatever Pillow says of it
            pass
        assert reopened(im).info.get("exif", b"") == data


def test_tags_that_cannot_be_written_are_left_out() -> None:
    im = picture()
    im.getexif().update({MAKE: "Camera works", ExifTags.Base.XResolution: object(), "no tag": 1})
    im.getexif().get_ifd(GPS)[2] = "no number"
    assert dict(reopened(im).getexif()) == {MAKE: "Camera works"}


@pytest.mark.parametrize("frames", [1, 2])
def test_what_a_tiff_file_says_of_its_picture_is_exif(frames: int) -> None:
    exif = reopened(picture(), "JPEG", exif=full_exif()).getexif()
    del exif[ORIENTATION]
    exif[0x013B] = "An artist"
    others = [picture()] * (frames - 1)
    options = {"save_all": True, "append_images": others} if others else {}
    im = reopened(picture(), "TIFF", exif=exif, dpi=(72, 72), **options)
    back = reopened(im)
    assert {**back.getexif(), GPS: 0, ExifTags.IFD.Exif: 0} == {
        MAKE: "Camera works",
        0x013B: "An artist",
        GPS: 0,
        ExifTags.IFD.Exif: 0,
    }
    assert back.getexif().get_ifd(GPS) == exif.get_ifd(GPS)
    assert back.info["dpi"] == (72, 72)
    assert "compression" not in back.info
    assert "exif" not in reopened(reopened(picture(), "TIFF")).info
    im.getexif()[0x013B] = "Another"
    assert reopened(im).getexif()[0x013B] == "Another"
    im.info["exif"] = b"from elsewhere"
    assert reopened(im).info["exif"] == b"from elsewhere"


def test_exif_in_a_text_does_not_come_back_either() -> None:
    data = full_exif().tobytes()
    im = picture(**{"Raw profile type exif": f"\nexif\n{len(data):8}\n{data.hex()}\n"})
    assert reopened(im).getexif().get_ifd(GPS)
    assert not reopened(im, exif=None).getexif()
    del im.getexif()[GPS]
    back = reopened(im)
    assert back.getexif()[MAKE] == "Camera works"
    assert not back.getexif().get_ifd(GPS)
    assert data.hex() not in repr(back.info)


def test_every_frame_has_its_own_exif_as_it_is_now() -> None:
    first, second = picture(), picture()
    first.info["exif"], second.info["exif"] = full_exif().tobytes(), b"other"
    im = reopened(first, save_all=True, append_images=[second, picture()])
    del im.getexif()[GPS]
    back = reopened(im, save_all=True)
    assert not back.getexif().get_ifd(GPS)
    back.seek(1)
    assert back.info["exif"] == b"other"
    back.seek(2)
    assert "exif" not in back.info


# Texts


NAMES = ("model", "compression", "dpi", "exif", "comment", "gamma", "icc_profile_type", "Image type", "Title")


def test_texts_come_back_whatever_their_name() -> None:
    pnginfo = PngInfo()
    for name in NAMES:
        pnginfo.add_itxt(name, f"text of {name}")
    texts = {name: f"text of {name}" for name in NAMES}
    png = reopened(picture(), "PNG", pnginfo=pnginfo)
    for im in (png, reopened(png), reopened(png).copy(), picture(**texts)):
        assert reopened(im).text == texts
        assert reopened(im).info == texts


def test_the_model_s_name_is_no_text() -> None:
    im = reopened(Image.fromarray(photograph(60, 80)), effort=0)
    assert im.info == {"model": "llicti-d4"}
    for copy in (im, im.copy(), im.rotate(90)):
        assert reopened(copy, effort=0).text == {}
    im.info["model"] = "EOS"
    back = reopened(im, effort=0)
    assert back.text == {"model": "EOS"}
    assert back.info["model"] == "EOS"
    assert reopened(back.copy(), effort=0).text == {"model": "EOS"}


@pytest.mark.parametrize(
    ("form", "options"),
    [("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("TGA", {"compression": "tga_rle"})],
)
def test_what_plugins_say_of_a_file_is_no_text(form: str, options: dict[str, object]) -> None:
    im = reopened(picture(), form, **options)
    assert [name for name, value in im.info.items() if isinstance(value, str)]
    for copy in (im, im.copy()):
        assert reopened(copy).text == {}
    assert reopened(picture(**{"icc_profile_type": "prof", "Image type": "RGB"})).text == {}  # pillow-heif's, IM's


def test_xmp_of_png_files_is_stored_once() -> None:
    pnginfo = PngInfo()
    pnginfo.add_itxt("XML:com.adobe.xmp", XMP.decode())
    png = reopened(picture(), "PNG", pnginfo=pnginfo)
    for im in (png, png.copy()):
        assert reopened(im).info == {"xmp": XMP}
        assert reopened(im, xmp=None).info == {}
        assert reopened(im, xmp=b"new").info == {"xmp": b"new"}
    assert reopened(picture(), pnginfo=pnginfo).info == {"xmp": XMP}
    im = picture(**{"xmp": XMP, "XML:com.adobe.xmp": "another"})
    assert reopened(im).info == {"xmp": XMP, "XML:com.adobe.xmp": "another"}


# What cannot be stored


class Odd:
    """Whatever one does with it goes wrong."""

    def __float__(self) -> float:
        raise RuntimeError

    __eq__ = __hash__ = __len__ = __iter__ = __index__ = __bool__ = __float__  # type: ignore[assignment]


@pytest.mark.parametrize("name", [*metadata.Metadata._fields, "Title"])
@pytest.mark.parametrize("value", [Odd(), np.zeros((2, 2)), {}, [], 10**400, -1, float("nan"), "\udce9", b"x" * 300])
def test_what_cannot_be_stored_is_left_out(name: str, value: object) -> None:
    im = picture()
    im.info = {"Author": "kept", name: value}
    back = reopened(im, save_all=True, append_images=[im])
    assert back.n_frames == 2
    assert back.text == {"Author": "kept"}
    assert back.tobytes() == im.tobytes()


def test_names_and_numbers_of_texts() -> None:
    im = picture(**{"caf\udce9": "no", "no": "caf\udce9", "Ω": "Ω"})
    im.info[(1, 2)] = "of another kind"
    assert reopened(im).text == {"Ω": "Ω"}
    im = picture(**{f"{number:04}": "x" for number in range(metadata.MAX_TEXTS + 5)})
    assert len(reopened(im).text) == metadata.MAX_TEXTS
    im = picture(small="x", large=" " * metadata.MAX_TEXT_BYTES, Title="y")
    assert reopened(im).text == {"small": "x", "Title": "y"}


def test_too_much_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (metadata, llicti_plugin.pillow_info):
        monkeypatch.setattr(module, "MAX_METADATA_BYTES", 5000)
    blobs = {"icc_profile": bytes(3000), "xmp": bytes(2500), "comment": bytes(1000)}
    back = reopened(picture(**blobs, Title="kept"))
    assert {name: len(value) for name, value in back.info.items()} == {"xmp": 2500, "comment": 1000, "Title": 4}
    with pytest.raises(ValueError, match="too much"):
        saved(picture(), **blobs)


# Numbers


@pytest.mark.parametrize("duration", [100, 0, 33.5, 2**40])
def test_numbers_keep_their_type(duration: float) -> None:
    im = reopened(picture(), duration=duration, dpi=(72, 300.5))
    assert (im.info["duration"], type(im.info["duration"])) == (duration, type(duration))
    assert list(map(type, im.info["dpi"])) == [int, float]


def test_durations_of_gif_files_are_good_for_others() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    gif = reopened(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
    im = reopened(gif, save_all=True)
    for form in ("GIF", "WEBP", "PNG"):
        again = reopened(im, form, save_all=True, duration=im.info["duration"])
        again.load()
        assert again.info["duration"] == 100
