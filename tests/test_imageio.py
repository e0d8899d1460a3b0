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
from PIL import Image

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
    assert_pixels_equal(iio.imread(fp, **arguments), pixels)  # from its start, though it stands at its end
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
        iio.imwrite(tmp_path / "b.png", pixels, plugin="llc")
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("open_file", [lambda path: path, Path.read_bytes])
def test_wrong_extension_for_what_is_inside(open_file, tmp_path: Path, pixels) -> None:
    path = tmp_path / "a.llc"
    Image.fromarray(pixels).save(path, "PNG")
    assert_pixels_equal(iio.imread(open_file(path), extension=".llc"), pixels)  # passed on to Pillow


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


def test_properties_need_only_the_header(path: Path) -> None:
    head = path.read_bytes()[:-20]
    assert iio.improps(head, plugin="llc").shape == (17, 23, 3)
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
