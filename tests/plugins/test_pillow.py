"""The format through Pillow: open, load, verify, save, and what damaged files do."""

from __future__ import annotations

import copy
import io
import pickle
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from images import photograph
from PIL import Image, ImageColor, ImageFile, ImageSequence, UnidentifiedImageError

import llicti_core
import llicti_plugin
from llicti_core import container
from llicti_plugin import pillow_info, registration
from llicti_plugin.cli import pictures
from llicti_plugin.pillow import LlcImageFile
from llicti_plugin.pillow_info import PILLOW

llicti_plugin.register()


def noisy_image(mode: str, width: int = 23, height: int = 17) -> Image.Image:
    """A gradient with noise: photographic enough to be coded, small enough to be quick."""
    rng = np.random.default_rng(width * height)
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 5 + y, y * 7, x + y * 3], axis=2) + rng.integers(0, 20, (height, width, 3))
    return Image.fromarray((pixels % 256).astype(np.uint8)).convert(mode)


def saved(im: Image.Image, **options: object) -> bytes:
    """The image as the bytes of an LLC file."""
    fp = io.BytesIO()
    im.save(fp, "LLC", **options)
    return fp.getvalue()


def assert_image_equal(a: Image.Image, b: Image.Image) -> None:
    """Same mode, size and pixels."""
    assert (a.mode, a.size) == (b.mode, b.size)
    assert a.tobytes() == b.tobytes()


class CountingFile(io.BytesIO):
    """A file that counts the bytes read from it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def test_signature_is_the_core_s() -> None:
    assert registration._SIGNATURE == llicti_core.SIGNATURE


def test_registered() -> None:
    assert Image.registered_extensions()[".llc"] == "LLC"
    assert Image.MIME["LLC"] == "image/x-llc"


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 3), (17, 1), (1, 40), (8, 8), (23, 17), (70, 66)])
def test_round_trip(mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    im = noisy_image(mode, *size)
    path = tmp_path / "a.llc"
    im.save(path)
    with Image.open(path) as reloaded:
        assert reloaded.format == "LLC"
        assert reloaded.format_description
        assert reloaded.get_format_mimetype() == "image/x-llc"
        model = llicti_core.inspect(path.read_bytes()).model
        assert reloaded.info == ({"model": model} if model else {})
        assert_image_equal(reloaded, im)


@pytest.mark.parametrize("colour", [0, 1, 127, 128, 255])
def test_flat(colour: int) -> None:
    for im in (Image.new("L", (33, 20), colour), Image.new("RGB", (33, 20), (colour, 255 - colour, 0))):
        assert_image_equal(Image.open(io.BytesIO(saved(im))), im)


@pytest.mark.parametrize("name", ["astronaut", "camera", "coffee"])
def test_photograph(name: str, tmp_path: Path) -> None:
    data = pytest.importorskip("skimage.data")
    im = Image.fromarray(getattr(data, name)()[100:200, 150:280])
    path = tmp_path / f"{name}.llc"
    im.save(path)
    assert path.stat().st_size < len(im.tobytes())
    with Image.open(path) as reloaded:
        assert_image_equal(reloaded, im)


@pytest.mark.parametrize("as_name", [str, Path])
def test_file_names(as_name, tmp_path: Path) -> None:
    im = noisy_image("RGB")
    name = as_name(tmp_path / "photo.LLC")
    im.save(name)
    with Image.open(name) as reloaded:
        assert_image_equal(reloaded, im)


def test_open_reads_only_the_header() -> None:
    im = Image.effect_noise((128, 128), 90)
    fp = CountingFile(saved(im))
    with Image.open(fp) as opened:
        assert (opened.mode, opened.size) == (im.mode, im.size)
        # 16 bytes are Pillow's own, to tell the format.
        assert fp.count <= llicti_core.MAX_HEADER_BYTES + 16 < len(fp.getvalue())
        assert_image_equal(opened, im)


@pytest.mark.parametrize("mode", ["RGB", "P", "I"])
def test_opening_and_loading_reads_each_section_once(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[tuple[bytes, int]] = []
    compare = container._compare

    def counted(section: container.Section, checksum: int, stored: bytes) -> None:
        checked.append((section.tag, section.start))
        compare(section, checksum, stored)

    images = [noisy_image("RGB", 70, 66), noisy_image("RGB", 80, 60)]
    images = [im.convert("L").convert("I") if mode == "I" else im.convert(mode) for im in images]
    data = saved(
        images[0], save_all=True, append_images=images[1:], comment=b"one of many", exif=b"and", duration=[1, 2]
    )
    monkeypatch.setattr(container, "_compare", counted)
    with Image.open(io.BytesIO(data)) as im:
        for frame, expected in enumerate(images):
            im.seek(frame)
            assert im.info["comment"] == b"one of many"
            assert_image_equal(im, expected)
    assert len(checked) == len(set(checked)) > 6
    assert {tag for tag, _ in checked} >= {b"HEAD", b"cmnt", b"exif", b"time"}


def test_reading_imports_no_numpy(tmp_path: Path) -> None:
    noisy_image("RGB", 70, 66).save(tmp_path / "a.llc", comment=b"x")
    noisy_image("P", 70, 66).save(tmp_path / "b.llc")
    code = (
        "import sys; from PIL import Image\n"
        "for name in 'a.llc', 'b.llc':\n"
        "    with Image.open(name) as im: im.load()\n"
        "assert not {'numpy', 'llicti_core.encoder', 'llicti_plugin.pillow_exif'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


@pytest.mark.skipif(PILLOW < (12, 2), reason="before it opens another format, Pillow loads its common ones")
def test_reading_imports_no_more_than_it_needs(tmp_path: Path) -> None:
    """Each module takes a part of the time that a new process takes to open a small file: add one with a reason."""
    Image.fromarray(photograph(70, 66)).save(tmp_path / "a.llc")
    code = (
        "import sys; from PIL import Image, ImageFile\n"
        "before = set(sys.modules)\n"
        "with Image.open('a.llc') as im: im.load()\n"
        "print(*set(sys.modules) - before)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    loaded = set(found.stdout.split())
    ours = {name.partition(".")[2] for name in loaded if name.startswith("llicti_core.")}
    assert ours == {
        "compression",
        "container",
        "decoder",
        "engines",
        "engines.base",
        "engines.native",
        "engines.native._native",
        "errors",
        "file",
        "metadata",
        "models",
        "models.registry",
        "names",
        "options",
        "ordinals",
        "payloads",
        "pyramid",
        "records",
        "samples",
        "source",
        "spec",
        "threads",
        "view",
    }
    assert {name for name in loaded if name.startswith("llicti_plugin")} == {
        "llicti_plugin.pillow",
        "llicti_plugin.pillow_info",
    }
    others = {name for name in loaded if not name.startswith("llicti")}
    assert others <= {"array", "zlib"}


def test_load_closes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    im = noisy_image("L")
    im.save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        opened = Image.open(path)
        fp = opened.fp
        opened.load()
        assert fp.closed
        opened.load()  # again does no harm
        assert_image_equal(opened, im)


def test_caller_s_file_object_stays_open() -> None:
    fp = io.BytesIO(saved(noisy_image("L")))
    with Image.open(fp) as opened:
        opened.load()
    assert not fp.closed


def test_file_object_at_any_position() -> None:
    im = noisy_image("RGB")
    fp = io.BytesIO(saved(im))
    fp.seek(30)
    assert_image_equal(Image.open(fp), im)  # Image.open goes to the start of the file


def test_image_inside_another_file() -> None:
    im = noisy_image("RGB")
    fp = io.BytesIO(b"a prefix" + saved(im))
    fp.seek(8)
    assert_image_equal(LlcImageFile(fp), im)
    fp.seek(8)
    LlcImageFile(fp).verify()


def test_unseekable_stream() -> None:
    class Pipe(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self._data = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer) -> int:
            return self._data.readinto(buffer)

    im = noisy_image("RGB")
    assert_image_equal(Image.open(Pipe(saved(im))), im)


@pytest.mark.parametrize("chunk", [7, 100, 10**6])
def test_parser(chunk: int) -> None:
    im = noisy_image("RGB")
    data = saved(im)
    parser = ImageFile.Parser()
    for start in range(0, len(data), chunk):
        parser.feed(data[start : start + chunk])
    assert_image_equal(parser.close(), im)


def test_copies() -> None:
    im = noisy_image("RGB", 150, 110)
    for make in (Image.Image.copy, copy.copy, copy.deepcopy, lambda im: pickle.loads(pickle.dumps(im))):
        duplicate = make(Image.open(io.BytesIO(saved(im))))
        assert_image_equal(duplicate, im)
        assert "model" in duplicate.info


def test_decompression_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(noisy_image("L"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))


def test_file_replaced_after_open() -> None:
    fp = io.BytesIO(saved(noisy_image("RGB", 80, 70)))
    opened = Image.open(fp)
    fp.seek(0)
    fp.truncate()
    fp.write(saved(noisy_image("RGB", 90, 60)))
    with pytest.raises(OSError, match=r"damaged|ends at"):
        opened.load()


# Saving


def test_save_options(tmp_path: Path) -> None:
    im = noisy_image("RGB")
    assert saved(im, model="default", threads=1) == saved(im)
    with pytest.raises(llicti_core.LLCError, match="no-such-model"):
        im.save(tmp_path / "a.llc", model="no-such-model")
    assert not (tmp_path / "a.llc").exists()


def test_the_fast_model_is_chosen_by_name(tmp_path: Path) -> None:
    pixels = photograph()
    Image.fromarray(pixels).save(tmp_path / "a.llc", model="best")
    with Image.open(tmp_path / "a.llc") as im:
        assert im.info["model"] == "llicti-b3"
        assert np.array_equal(np.asarray(im), pixels)


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_empty_image(size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    with pytest.raises(ValueError, match="cannot write empty image as LLC"):
        Image.new("L", size).save(path)
    assert not path.exists()


def test_save_over_the_file_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    im = noisy_image("RGB")
    im.save(path)
    with Image.open(path) as opened:
        opened.save(path)
    with Image.open(path) as reloaded:
        assert_image_equal(reloaded, im)


def assert_frames(path: Path, colours: list[str]) -> None:
    """The file has frames of these colours."""
    with Image.open(path) as im:
        found = [frame.convert("RGB").getpixel((0, 0)) for frame in ImageSequence.Iterator(im)]
    assert found == [ImageColor.getrgb(colour) for colour in colours]


@pytest.mark.parametrize("name", [lambda path: path, str, lambda path: path.parent / "link.llc"])
def test_save_all_over_the_file_it_came_from(name, tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    (tmp_path / "link.llc").symlink_to(path)
    red, blue, lime = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime"))
    red.save(path, save_all=True, append_images=[blue])
    with Image.open(path) as im:
        im.seek(1)
        im.save(name(path), save_all=True, append_images=[lime])
        assert_frames(path, ["red", "blue", "lime"])
        im.save(name(path))
        assert_frames(path, ["blue"])
        im.save(name(path), append_images=[im])  # though the file has one frame now
    assert_frames(path, ["red", "blue", "red", "blue"])
    red.save(path)
    with Image.open(path) as im:
        im.load()
        lime.save(tmp_path / "b.llc")
        with Image.open(tmp_path / "b.llc") as other:
            other.save(path, append_images=[im])
    assert_frames(path, ["lime", "red"])


def test_frames_of_a_closed_image_cost_the_file_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    Image.new("L", (8, 8)).save(path, save_all=True, append_images=[Image.new("L", (8, 8), 1)])
    data = path.read_bytes()
    with Image.open(path) as im:
        im.load()
    with pytest.raises(ValueError, match="closed"):
        im.save(path, save_all=True)
    assert path.read_bytes() == data


# What is a frame


class FromOne(Image.Image):
    """Two frames that count from 1, as those of PSD files."""

    n_frames, _min_frame = 2, 1

    def __init__(self) -> None:
        super().__init__()
        self.im = Image.core.new("RGB", (4, 4))
        self._mode, self._size, self.at = "RGB", (4, 4), 1

    def tell(self) -> int:
        return self.at

    def seek(self, frame: int) -> None:
        if not 1 <= frame <= 2:
            raise EOFError
        self.at = frame
        self.info["comment"] = bytes((frame,))


def test_frames_may_count_from_one() -> None:
    im = FromOne()
    im.seek(2)
    with Image.open(io.BytesIO(saved(im, save_all=True))) as reloaded:
        assert reloaded.n_frames == 2
        assert [frame.info["comment"] for frame in ImageSequence.Iterator(reloaded)] == [b"\1", b"\2"]
    assert im.tell() == 2


THUMBNAIL, PANORAMA, STEREO = 0x010001, 0x020001, 0x020002


@pytest.mark.parametrize(
    ("second", "purpose", "count"),
    [
        (Image.new("L", (12, 9)), 0, 1),  # a gain map
        (Image.new("RGB", (12, 9)), THUMBNAIL, 1),
        (Image.new("RGB", (23, 17)), THUMBNAIL, 1),
        (Image.new("RGB", (23, 17)), 0, 2),  # as Pillow itself writes them
        (Image.new("RGB", (23, 17)), STEREO, 2),
        pytest.param(
            *(Image.new("L", (40, 17)), PANORAMA, 2),
            marks=pytest.mark.skipif(PILLOW < (12, 0), reason="Pillow cannot seek to and fro in such files"),
        ),
    ],
)
def test_previews_in_jpeg_files_are_no_frames(second: Image.Image, purpose: int, count: int) -> None:
    fp = io.BytesIO()
    noisy_image("RGB").save(fp, "MPO", save_all=True, append_images=[second])
    data = bytearray(fp.getvalue())
    entry = data[:200].rindex(struct.pack("<L", 0x030000)) + 16
    data[entry : entry + 4] = struct.pack("<L", purpose)
    with Image.open(io.BytesIO(data)) as mpo:
        assert mpo.n_frames == 2
        with Image.open(io.BytesIO(saved(mpo, save_all=True))) as reloaded:
            assert reloaded.n_frames == count
            for frame in range(count):
                mpo.seek(frame)
                reloaded.seek(frame)
                assert_image_equal(reloaded, mpo)
        mpo.seek(0)
        with pytest.raises(ValueError, match=f"3 durations for {count} frames"):
            saved(mpo, save_all=True, duration=[1, 2, 3])


def test_previews_that_are_not_there_are_no_frames() -> None:
    fp = io.BytesIO()
    noisy_image("RGB").save(fp, "MPO", save_all=True, append_images=[noisy_image("RGB", 23, 17)])
    data = fp.getvalue()
    with Image.open(io.BytesIO(data[: data.rindex(b"\xff\xd8")])) as mpo:
        assert mpo.n_frames == 2
        with Image.open(io.BytesIO(saved(mpo, save_all=True))) as reloaded:
            assert reloaded.n_frames == 1
            assert_image_equal(reloaded, mpo)


@pytest.mark.parametrize(("tag", "value", "count"), [(254, 1, 1), (254, 4, 1), (254, 2, 2), (255, 2, 1), (255, 1, 2)])
def test_previews_in_tiff_files_are_no_frames(tag: int, value: int, count: int) -> None:
    fp = io.BytesIO()
    second = noisy_image("RGB", 12, 9)
    second.encoderinfo = {"tiffinfo": {tag: value}}
    noisy_image("RGB").save(fp, "TIFF", save_all=True, append_images=[second])
    with Image.open(fp) as tiff:
        assert tiff.n_frames == 2
        with Image.open(io.BytesIO(saved(tiff, save_all=True))) as reloaded:
            assert reloaded.n_frames == count


# Verifying


def test_verify(tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    noisy_image("RGB").save(path)
    opened = Image.open(path)
    fp = opened.fp
    opened.verify()
    assert fp.closed
    assert getattr(opened, "_im", None) is None


def test_verify_after_load() -> None:
    opened = Image.open(io.BytesIO(saved(noisy_image("L"))))
    opened.load()
    with pytest.raises(RuntimeError, match="directly after open"):
        opened.verify()


def test_verify_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    data = saved(noisy_image("RGB", 100, 80))
    path.write_bytes(data[:-5])
    opened = Image.open(path)
    fp = opened.fp
    with pytest.raises(OSError, match=r"\w"):
        opened.verify()
    assert fp.closed


# Damaged files


def assert_refused(data: bytes) -> None:
    """Opening or loading raises OSError (UnidentifiedImageError is one), and nothing else."""
    with pytest.raises(OSError, match=r"\w"), Image.open(io.BytesIO(data)) as opened:
        opened.load()


def test_truncated() -> None:
    data = saved(noisy_image("RGB"))
    for length in sorted({*range(0, 80, 3), *range(80, len(data), len(data) // 25), len(data) - 1}):
        assert_refused(data[:length])


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_flipped_bits(mode: str) -> None:
    data = saved(noisy_image(mode, 16, 12))
    for position in sorted({*range(80), *range(80, len(data), len(data) // 40)}):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        assert_refused(bytes(damaged))


def test_damaged_pixels_say_what_is_wrong() -> None:
    data = bytearray(saved(noisy_image("RGB")))
    data[-10] ^= 0xFF
    with pytest.raises(llicti_core.LLCError) as core_error:
        llicti_core.decode(bytes(data))
    with pytest.raises(OSError, match=r"\w") as error, Image.open(io.BytesIO(data)) as opened:
        opened.load()
    assert str(error.value) == str(core_error.value)


@pytest.mark.parametrize("data", [b"", b"\x89LLC", llicti_core.SIGNATURE, llicti_core.SIGNATURE + bytes(2000)])
def test_bad_header(data: bytes) -> None:
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(data))
    with pytest.raises(UnidentifiedImageError):
        LlcImageFile(io.BytesIO(data))


def test_what_is_wrong_with_a_file_is_said() -> None:
    """Image.open says "cannot identify image file" of all that it takes for another format."""
    data = saved(noisy_image("L"))
    newer, damaged = bytearray(data), bytearray(data)
    newer[len(llicti_core.SIGNATURE)] += 1
    damaged[20] ^= 1
    for bad, message in ((newer, "format version"), (damaged, "'HEAD'.* damaged"), (data[:20], "ends at byte 20")):
        with pytest.raises(UnidentifiedImageError, match=message):
            Image.open(io.BytesIO(bad))


def test_palette_that_pillow_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow before 12.2 ends the process where it loads one of CMYK, which a file may hold."""
    path = tmp_path / "a.llc"
    pixels = np.zeros((4, 4), np.uint8)
    grey, ink = (llicti_core.Palette(mode, bytes(12)) for mode in ("RGB", "CMYK"))
    coded = [llicti_core.encode(pixels, mode="P", palette=palette) for palette in (grey, ink)]
    monkeypatch.setattr(pillow_info, "_PALETTES", ("RGB", "RGBA"))
    path.write_bytes(llicti_core.join(coded))
    with Image.open(path) as im:
        with pytest.raises(OSError, match="no palettes of CMYK"):
            im.seek(1)
        im.seek(0)
        im.load()
    path.write_bytes(coded[1])
    with pytest.raises(UnidentifiedImageError):
        Image.open(path)
    with pytest.raises(ValueError, match="no palettes of CMYK"):
        iio.imread(path, mode="RGB")
    assert iio.imread(path).shape == (4, 4, 4)
    frame = pictures.Frame(pixels, "P", ink, llicti_core.Metadata())
    with pytest.raises(llicti_core.UnsupportedError, match="no palettes of CMYK"):
        frame.to_pillow()
