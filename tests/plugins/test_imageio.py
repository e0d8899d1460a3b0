"""The format through imageio, versions 2 and 3 of its functions."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import imageio
import imageio.v2 as iio2
import imageio.v3 as iio
import numpy as np
import pytest
from imageio.config import known_extensions, known_plugins
from imageio.core.request import InitializationError, Request
from PIL import Image, ImageOps

import llicti_core
import llicti_plugin
from llicti_plugin.imageio import LlcPlugin

llicti_plugin.register()

SHAPES = [(17, 23), (17, 23, 3), (1, 1), (1, 1, 3), (3, 40), (40, 1, 3)]


def noisy_pixels(shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A gradient with noise: photographic enough to be coded, small enough to be quick."""
    rng = np.random.default_rng(sum(shape))
    gradient = np.add.outer(np.arange(shape[0]) * 3, np.arange(shape[1]) * 2)
    gradient = gradient.reshape(shape[:2] + (1,) * (len(shape) - 2))
    return ((gradient + rng.integers(0, 20, shape)) % 256).astype(np.uint8)


def assert_pixels_equal(a: np.ndarray, b: np.ndarray) -> None:
    """Same dtype, shape and values."""
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    np.testing.assert_array_equal(a, b)


@pytest.fixture
def pixels() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return noisy_pixels((17, 23, 3))


@pytest.fixture
def path(tmp_path: Path, pixels) -> Path:
    """A good file, of `pixels`."""
    path = tmp_path / "good.llc"
    path.write_bytes(llicti_core.encode(pixels))
    return path


def test_registered() -> None:
    assert known_plugins["llc"].plugin_class is LlcPlugin
    assert [extension.priority for extension in known_extensions[".llc"]] == [["llc", "pillow"]]


# Reading and writing, version 3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("as_name", [str, Path])
def test_round_trip(shape: tuple[int, ...], as_name, tmp_path: Path) -> None:
    pixels = noisy_pixels(shape)
    name = as_name(tmp_path / "a.LLC")
    assert iio.imwrite(name, pixels) is None
    reloaded = iio.imread(name)
    assert_pixels_equal(reloaded, pixels)
    assert reloaded.flags.writeable


@pytest.mark.parametrize("name", ["astronaut", "camera"])
def test_photograph(name: str, tmp_path: Path) -> None:
    pixels = getattr(pytest.importorskip("skimage.data"), name)()[100:180, 150:260]
    path = tmp_path / "a.llc"
    iio.imwrite(path, pixels)
    assert path.stat().st_size < pixels.nbytes
    assert_pixels_equal(iio.imread(path), pixels)


@pytest.mark.parametrize("arguments", [{"plugin": "llc"}, {"extension": ".llc"}])
def test_bytes(arguments: dict[str, str], pixels) -> None:
    data = iio.imwrite("<bytes>", pixels, **arguments)
    assert_pixels_equal(llicti_core.decode(data), pixels)
    assert_pixels_equal(iio.imread(data, **arguments), pixels)
    assert_pixels_equal(iio.imread(data), pixels)  # without a hint, by the signature


@pytest.mark.parametrize("arguments", [{"plugin": "llc"}, {"extension": ".llc"}])
def test_file_object(arguments: dict[str, str], pixels) -> None:
    fp = io.BytesIO()
    iio.imwrite(fp, pixels, **arguments)
    assert not fp.closed
    assert fp.getvalue() == llicti_core.encode(pixels)
    assert_pixels_equal(iio.imread(fp, **arguments), pixels)  # from its start, though its position is the end
    assert_pixels_equal(iio.imread(fp), pixels)
    assert not fp.closed


def test_zip(tmp_path: Path, pixels) -> None:
    name = f"{tmp_path}/a.zip/b.llc"
    iio.imwrite(name, pixels)
    assert_pixels_equal(iio.imread(name), pixels)


def test_by_way_of_pillow(tmp_path: Path, pixels) -> None:
    path = tmp_path / "a.llc"
    iio.imwrite(path, pixels, plugin="pillow")
    assert_pixels_equal(iio.imread(path, plugin="pillow"), pixels)
    assert_pixels_equal(iio.imread(path, plugin="llc"), pixels)


def test_unseekable_stream_is_left_to_others(path: Path) -> None:
    class Pipe(io.BytesIO):
        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation

    with pytest.raises(InitializationError):
        LlcPlugin(Request(Pipe(path.read_bytes()), "r"))


def test_index(path: Path, pixels) -> None:
    assert_pixels_equal(iio.imread(path, index=None), pixels)
    assert_pixels_equal(iio.imread(path, index=0), pixels)
    assert_pixels_equal(iio.imread(path, index=...), pixels[np.newaxis])
    for function in (iio.imread, iio.improps, iio.immeta):
        for index in (1, -1):
            with pytest.raises(ValueError, match=f"no frame {index} in a file of 1"):
                function(path, index=index)


def test_iter(path: Path, pixels) -> None:
    (only,) = iio.imiter(path)
    assert_pixels_equal(only, pixels)
    (only,) = iio.imiter(path, plugin="llc", threads=1)
    assert_pixels_equal(only, pixels)


def test_options(tmp_path: Path, pixels) -> None:
    path = tmp_path / "a.llc"
    iio.imwrite(path, pixels, model="default", threads=1)
    assert path.read_bytes() == llicti_core.encode(pixels)
    assert_pixels_equal(iio.imread(path, threads=1), pixels)


def test_imopen_closes(path: Path, pixels) -> None:
    with iio.imopen(path, "r") as plugin:
        assert isinstance(plugin, LlcPlugin)
        assert_pixels_equal(plugin.read(), pixels)
        assert_pixels_equal(plugin.read(index=0), pixels)
        fp = plugin.request.get_file()
    assert fp.closed


# What is accepted


@pytest.mark.parametrize("batch", [lambda a: [a], lambda a: (a,), lambda a: a[np.newaxis]])
@pytest.mark.parametrize("shape", [(17, 23), (17, 23, 3)])
def test_batch_of_one(batch, shape: tuple[int, ...], tmp_path: Path) -> None:
    pixels = noisy_pixels(shape)
    path = tmp_path / "a.llc"
    iio.imwrite(path, batch(pixels), is_batch=True)
    assert_pixels_equal(iio.imread(path), pixels)


def test_batch_is_guessed(tmp_path: Path, pixels) -> None:
    path = tmp_path / "a.llc"
    for batch in ([pixels], pixels[np.newaxis]):
        iio.imwrite(path, batch)
        assert_pixels_equal(iio.imread(path), pixels)


def test_one_channel_keeps_its_axis(tmp_path: Path) -> None:
    pixels = noisy_pixels((17, 23, 1))
    path = tmp_path / "a.llc"
    iio.imwrite(path, pixels)
    assert_pixels_equal(iio.imread(path), pixels)


def test_any_memory_order(tmp_path: Path, pixels) -> None:
    path = tmp_path / "a.llc"
    for view in (pixels[::-1, ::2], pixels.transpose(1, 0, 2), np.asfortranarray(pixels)):
        iio.imwrite(path, view)
        assert_pixels_equal(iio.imread(path), np.ascontiguousarray(view))


@pytest.mark.parametrize("dtype", ["uint64", "int64", "complex64", "complex128"])
def test_dtypes_refused(dtype: str, path: Path, pixels) -> None:
    with pytest.raises(TypeError, match=f"cannot write dtype {dtype} as LLC"):
        iio.imwrite(path, np.zeros((4, 4), dtype))
    assert_pixels_equal(iio.imread(path), pixels)  # the old file is not touched


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4,), "cannot write shape"),
        ((4, 4, 256), "cannot encode"),
        ((0, 4, 4, 3), "no images"),
        ((1, 2, 4, 4, 3), "cannot write shape"),
        ((0, 4), "cannot write empty image"),
        ((4, 0, 3), "cannot write empty image"),
    ],
)
def test_shapes_refused(shape: tuple[int, ...], message: str, path: Path, pixels) -> None:
    with pytest.raises(ValueError, match=message):
        iio.imwrite(path, np.zeros(shape, np.uint8))
    assert_pixels_equal(iio.imread(path), pixels)


@pytest.mark.parametrize("frames", [False, True])
def test_a_mask_is_not_dropped(frames: bool, path: Path, pixels) -> None:
    masked = np.ma.masked_equal(pixels, pixels[0, 0, 0])
    with pytest.raises(TypeError, match=r"MaskedArray.*mask would be lost"):
        iio.imwrite(path, [pixels, masked] if frames else masked)
    assert_pixels_equal(iio.imread(path), pixels)


def test_unknown_model(path: Path, pixels) -> None:
    with pytest.raises(llicti_core.LLCError, match="no-such-model"):
        iio.imwrite(path, pixels, model="no-such-model")
    assert_pixels_equal(iio.imread(path), pixels)


def test_other_formats_are_left_alone(tmp_path: Path, pixels) -> None:
    png = tmp_path / "a.png"
    iio.imwrite(png, pixels)
    assert_pixels_equal(iio.imread(png), pixels)
    with pytest.raises(OSError, match="llc"):
        iio.imread(png, plugin="llc")
    with pytest.raises(OSError, match="llc"):
        iio.imread(png, plugin="llc")


@pytest.mark.parametrize("name", ["a.llc.part", "b.dat", "plain", "c.png", "d.LLC"])
def test_a_format_said_in_words_is_written_whatever_the_extension(name: str, tmp_path: Path, pixels) -> None:
    path = tmp_path / name
    iio2.imwrite(path, pixels, format="llc")
    assert path.read_bytes() == llicti_core.encode(pixels)
    path.unlink()
    iio2.mimwrite(path, [pixels], format="LLC")
    assert path.read_bytes() == llicti_core.encode(pixels)
    path.unlink()
    for arguments in ({"plugin": "llc"}, {"plugin": LlcPlugin}, {"extension": ".llc"}):
        iio.imwrite(path, pixels, **arguments)
        assert path.read_bytes() == llicti_core.encode(pixels)
        assert_pixels_equal(iio.imread(path), pixels)


@pytest.mark.parametrize("module", [iio, iio2])
def test_no_other_extension_is_written_unasked(module, tmp_path: Path, pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    """imageio tries every plugin for an extension that it does not know."""
    for name in set(known_plugins) - {"llc"}:
        monkeypatch.delitem(known_plugins, name)
    with pytest.raises((OSError, ValueError), match="backend"):
        module.imwrite(tmp_path / "a.unknown", pixels)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("open_file", [lambda path: path, Path.read_bytes])
def test_wrong_extension_for_what_is_inside(open_file, tmp_path: Path, pixels) -> None:
    path = tmp_path / "a.llc"
    Image.fromarray(pixels).save(path, "PNG")
    assert_pixels_equal(iio.imread(open_file(path), extension=".llc"), pixels)  # passed on to Pillow


# What is read for other still formats too


def palette_image(mode: str = "P", colours: str = "RGB", indices: int = 4) -> Image.Image:
    """An image of four colours, with more indices or not."""
    im = Image.fromarray(np.arange(30, dtype=np.uint8).reshape(5, 6) % indices).convert("L")
    im = Image.frombytes("P", im.size, im.tobytes())
    im.putpalette(np.random.default_rng(0).bytes(4 * len(colours)), colours)
    return im.convert(mode) if mode != "P" else im


@pytest.mark.parametrize("options", [{}, {"transparency": 2}, {"transparency": b"\0\1\2"}])
@pytest.mark.parametrize("mode", [None, "P", "RGB", "RGBA", "L", "F", "1", "CMYK"])
@pytest.mark.filterwarnings("ignore:Palette images with Transparency:UserWarning")
def test_palettes_are_read_as_from_png(options: dict[str, Any], mode: str | None, tmp_path: Path) -> None:
    for name in ("a.png", "a.llc"):
        palette_image().save(tmp_path / name, **options)
    png, llc = (iio.imread(tmp_path / name, mode=mode) for name in ("a.png", "a.llc"))
    assert_pixels_equal(llc, png)
    assert_pixels_equal(llc, iio.imread(tmp_path / "a.llc", plugin="pillow", mode=mode))
    properties = [iio.improps(tmp_path / name) for name in ("a.png", "a.llc")]
    assert properties[0] == properties[1]
    for arguments in ({}, {"exclude_applied": False}):
        metadata = iio.immeta(tmp_path / "a.llc", **arguments)
        assert metadata["mode"] == "P"
        np.testing.assert_array_equal(
            metadata["palette"][:4], iio.immeta(tmp_path / "a.png", exclude_applied=False)["palette"][:4]
        )


@pytest.mark.parametrize(("mode", "colours", "channels"), [("P", "RGBA", 4), ("PA", "RGB", 4)])
def test_other_palettes(mode: str, colours: str, channels: int, tmp_path: Path) -> None:
    im = palette_image(mode, colours, 5)
    im.save(tmp_path / "a.llc")
    pixels = iio.imread(tmp_path / "a.llc")
    assert_pixels_equal(pixels, np.asarray(im.convert("RGBA")))
    assert iio.improps(tmp_path / "a.llc").shape == pixels.shape == (5, 6, channels)
    assert_pixels_equal(iio.imread(tmp_path / "a.llc", mode=mode), np.asarray(im))
    assert_pixels_equal(iio.imread(tmp_path / "a.llc", scale=2, region=(2, 2, 3, 3)), pixels[2:5:2, 2:5:2])


def test_palettes_in_stacks(tmp_path: Path) -> None:
    images = [palette_image(), palette_image().rotate(180)]
    images[0].save(tmp_path / "a.llc", save_all=True, append_images=images[1:])
    pixels = np.stack([np.asarray(im.convert("RGB")) for im in images])
    assert_pixels_equal(iio.imread(tmp_path / "a.llc"), pixels)
    assert_pixels_equal(np.stack(list(iio.imiter(tmp_path / "a.llc"))), pixels)
    assert iio.improps(tmp_path / "a.llc").shape == pixels.shape
    with pytest.raises(OSError, match="take 180 bytes"):
        iio.imread(tmp_path / "a.llc", max_bytes=179)
    images[0].save(tmp_path / "a.llc", save_all=True, append_images=[palette_image("P", "RGBA")])
    with pytest.raises(ValueError, match="different shapes"):
        iio.imread(tmp_path / "a.llc")
    assert iio.imread(tmp_path / "a.llc", mode="RGB").shape == (2, 5, 6, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F", "I;16"])
@pytest.mark.parametrize("wanted", ["L", "RGB", "F"])
def test_mode(mode: str, wanted: str, tmp_path: Path) -> None:
    im = Image.fromarray(noisy_pixels((17, 23, 3)))
    im = im.convert("I").convert(mode) if mode == "I;16" else im.convert(mode)
    im.save(tmp_path / "a.llc")
    try:
        expected = np.asarray(im.convert(wanted))
    except ValueError:  # a conversion that Pillow does not have
        with pytest.raises(ValueError, match="conversion"):
            iio.imread(tmp_path / "a.llc", mode=wanted)
        return
    assert_pixels_equal(iio.imread(tmp_path / "a.llc", mode=wanted), expected)
    assert_pixels_equal(np.asarray(iio2.imread(tmp_path / "a.llc", pilmode=wanted)), expected)
    with iio2.get_reader(tmp_path / "a.llc", pilmode=wanted) as reader:
        assert_pixels_equal(np.asarray(reader.get_data(0)), expected)
    (only,) = iio.imiter(tmp_path / "a.llc", mode=wanted)
    assert_pixels_equal(only, expected)


@pytest.mark.parametrize("transparency", [1, (1, 2, 3), b"\0\1", (1, 2)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_mode_with_a_transparency_of_another(channels: int, transparency: Any, tmp_path: Path) -> None:
    pixels = noisy_pixels((5, 6, channels))[..., 0] if channels == 1 else noisy_pixels((5, 6, channels))
    iio.imwrite(tmp_path / "a.llc", pixels, transparency=transparency)
    with Image.open(tmp_path / "a.llc") as im:
        assert_pixels_equal(iio.imread(tmp_path / "a.llc", mode="RGBA"), np.asarray(im.convert("RGBA")))


def test_unknown_mode(path: Path) -> None:
    with pytest.raises(ValueError, match=r"mode|no-such"):
        iio.imread(path, mode="no-such")


def test_mode_of_what_has_none(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "a.llc", np.zeros((4, 4, 7), np.uint8))
    with pytest.raises(ValueError, match="no mode"):
        iio.imread(tmp_path / "a.llc", mode="RGB")


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_rotate(orientation: int, mode: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    im = Image.fromarray(noisy_pixels((5, 6, 3))).convert(mode)
    im.save(tmp_path / "a.llc", exif=exif)
    with Image.open(tmp_path / "a.llc") as reopened:
        expected = np.asarray(ImageOps.exif_transpose(reopened).convert("RGB" if mode == "P" else mode))
    found = iio.imread(tmp_path / "a.llc", rotate=True, writeable_output=True)
    assert_pixels_equal(found, expected)
    assert found.flags.writeable
    (only,) = iio.imiter(tmp_path / "a.llc", rotate=True)
    assert_pixels_equal(only, expected)


def test_rotate_by_what_is_no_exif(path: Path, pixels) -> None:
    assert_pixels_equal(iio.imread(path, rotate=True), pixels)
    iio.imwrite(path, pixels, exif=b"not Exif")
    assert_pixels_equal(iio.imread(path), pixels)
    with pytest.raises(OSError, match="Exif"):
        iio.imread(path, rotate=True)
    iio.imwrite(path, pixels, xmp=b"<tiff:Orientation>3</tiff:Orientation>")
    assert_pixels_equal(iio.imread(path, rotate=True), pixels[::-1, ::-1])


def test_writing_a_mode(tmp_path: Path) -> None:
    pixels = noisy_pixels((5, 6, 4))
    iio.imwrite(tmp_path / "a.llc", pixels, mode="CMYK")
    assert iio.immeta(tmp_path / "a.llc")["mode"] == "CMYK"
    assert_pixels_equal(iio.imread(tmp_path / "a.llc"), pixels)
    iio.imwrite(tmp_path / "a.llc", pixels, mode="L")  # a stack of grey images
    assert iio.improps(tmp_path / "a.llc").shape == (5, 6, 4)
    assert iio.improps(tmp_path / "a.llc").n_images == 5
    with pytest.raises(ValueError, match="mode"):
        iio.imwrite(tmp_path / "a.llc", pixels, mode="RGB")


# Limits


def test_limits(path: Path, pixels) -> None:
    for arguments in ({}, {"index": 0}, {"index": ...}):
        with pytest.raises(OSError, match="have 391 pixels, more than the 390 allowed"):
            iio.imread(path, max_pixels=390, **arguments)
        with pytest.raises(OSError, match="take 1173 bytes, more than the 1172 allowed"):
            iio.imread(path, max_bytes=1172, **arguments)
        assert iio.imread(path, max_pixels=391, max_bytes=1173, **arguments).size == pixels.size
        assert iio.imread(path, max_pixels=None, max_bytes=None, **arguments).size == pixels.size
    with pytest.raises(OSError, match="pixels"):
        list(iio.imiter(path, max_pixels=390))
    assert_pixels_equal(iio.imread(path, max_pixels=108, scale=2), pixels[::2, ::2])
    iio.imwrite(path, [pixels, pixels])
    with pytest.raises(OSError, match="have 782 pixels"):
        iio.imread(path, max_pixels=781)
    assert len(list(iio.imiter(path, max_pixels=391))) == 2


@pytest.mark.parametrize("module", [iio, iio2])
def test_default_limit_on_pixels(module, tmp_path: Path) -> None:
    data = llicti_core.encode(np.zeros((20000, 20000), np.uint8))
    assert len(data) < 40
    path = tmp_path / "a.llc"
    path.write_bytes(data)
    with pytest.raises(OSError, match="400000000 pixels, more than the 178956970 allowed"):
        module.imread(path)
    assert iio.imread(path, region=(0, 0, 3, 2)).shape == (2, 3)


# Properties and metadata


@pytest.mark.parametrize("shape", SHAPES)
def test_properties(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    iio.imwrite(path, noisy_pixels(shape))
    properties = iio.improps(path)
    assert (properties.shape, properties.dtype) == (shape, np.uint8)
    assert (properties.n_images, properties.is_batch) == (None, False)
    assert iio.improps(path, index=0) == properties

    properties = iio.improps(path, index=...)
    assert (properties.shape, properties.dtype) == ((1, *shape), np.uint8)
    assert (properties.n_images, properties.is_batch) == (1, True)


@pytest.mark.parametrize("arguments", [{}, {"index": 0}, {"index": ...}, {"exclude_applied": False}])
def test_metadata(arguments: dict[str, Any], path: Path) -> None:
    header = llicti_core.inspect(path.read_bytes())
    metadata = iio.immeta(path, **arguments)
    assert metadata["mode"] == "RGB"
    assert metadata["model"] == header.model
    assert metadata["tile_size"] == header.tile_size


def test_properties_need_only_the_header(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "a.llc", noisy_pixels((80, 100, 3)))
    head = (tmp_path / "a.llc").read_bytes()[:-20]
    assert iio.improps(head, plugin="llc").shape == (80, 100, 3)
    assert iio.immeta(head, plugin="llc")["mode"] == "RGB"
    with pytest.raises(OSError, match=r"\w"):
        iio.imread(head, plugin="llc")


# Damaged files


@pytest.mark.parametrize("module", [iio, iio2])
def test_damaged(module, path: Path) -> None:
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[-10] ^= 1
    bad_header = bytearray(data)
    bad_header[20] ^= 1
    for damaged in (data[:-1], data[: len(data) // 2], data[:20], bytes(flipped), bytes(bad_header)):
        path.write_bytes(damaged)
        with pytest.raises(OSError, match=r"\w"):
            module.imread(path)


def test_damaged_says_what_is_wrong(path: Path) -> None:
    data = path.read_bytes()[:-1]
    with pytest.raises(llicti_core.LLCError) as core_error:
        llicti_core.decode(data)
    with pytest.raises(OSError, match=r"\w") as error:
        iio.imread(data, extension=".llc")
    assert str(error.value) == str(core_error.value)


# Version 2


@pytest.mark.parametrize("module", [imageio, iio2])
@pytest.mark.parametrize("shape", [(17, 23), (17, 23, 3)])
@pytest.mark.parametrize("name", [None, "llc", "LLC", ".llc"])
@pytest.mark.filterwarnings("ignore:Starting with ImageIO v3:DeprecationWarning")
def test_v2(module, shape: tuple[int, ...], name: str | None, tmp_path: Path) -> None:
    pixels = noisy_pixels(shape)
    path = tmp_path / "a.llc"
    module.imwrite(path, pixels, format=name)
    assert path.read_bytes() == llicti_core.encode(pixels)
    assert_pixels_equal(np.asarray(module.imread(path, format=name)), pixels)
    assert_pixels_equal(np.asarray(module.imread(str(path))), pixels)


def test_v2_bytes(pixels) -> None:
    data = iio2.imwrite("<bytes>", pixels, format="llc")
    assert data == llicti_core.encode(pixels)
    assert_pixels_equal(np.asarray(iio2.imread(data, format="llc")), pixels)


def test_v2_reader_and_writer(tmp_path: Path, pixels) -> None:
    path = tmp_path / "a.llc"
    with iio2.get_writer(path) as writer:
        writer.append_data(pixels)
    with iio2.get_reader(path) as reader:
        assert len(reader) == 1
        assert_pixels_equal(np.asarray(reader.get_data(0)), pixels)
        assert reader.get_meta_data()["mode"] == "RGB"
        assert [image.shape for image in reader] == [pixels.shape]


def test_v2_multiple_images(tmp_path: Path, pixels) -> None:
    path = tmp_path / "a.llc"
    iio2.mimwrite(path, [pixels])
    (only,) = iio2.mimread(path)
    assert_pixels_equal(np.asarray(only), pixels)
    with pytest.raises(ValueError, match="no images"):
        iio2.mimwrite(path, [])
