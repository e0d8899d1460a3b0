"""Files of several frames: joined, found again, and read one by one, through the core, Pillow and imageio."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import imageio.v2 as iio2
import imageio.v3 as iio
import numpy as np
import pytest
from coding import frame_starts, single_frame
from images import noise, smooth
from PIL import Image, ImageSequence

import llicti_core
import llicti_plugin
from llicti_core import FormatError, LLCError, Metadata, TruncatedError
from llicti_core.container import write_start
from llicti_plugin.pillow import LlcImageFile

llicti_plugin.register()

ARRAYS = [smooth(6, 5), smooth(7, 4, 1), noise(3, 9), np.full((2, 2, 4), 9, np.uint8)]
WIDE = Metadata(icc_profile=b"profile", exif=b"exif", dpi=(72, 72), loop=5)


def encoded(array: np.ndarray, **metadata: Any) -> bytes:
    return llicti_core.encode(array, metadata=Metadata(**metadata))


@pytest.fixture
def data() -> bytes:
    """A file of three frames."""
    return llicti_core.join(map(llicti_core.encode, ARRAYS[:3]))


# The core


def test_join() -> None:
    files = list(map(llicti_core.encode, ARRAYS))
    data = llicti_core.join(files)
    assert llicti_core.inspect(data).n_frames == len(ARRAYS)
    for index, array in enumerate(ARRAYS):
        np.testing.assert_array_equal(llicti_core.decode(data, frame=index), array)
        info = llicti_core.inspect(data, frame=index)
        assert (info.height, info.width) == array.shape[:2]
    llicti_core.verify(data)
    assert len(data) < sum(map(len, files))


def test_join_of_one() -> None:
    for file in (encoded(ARRAYS[0]), encoded(ARRAYS[1], exif=b"e", transparency=1, loop=1, dpi=(1, 2))):
        assert llicti_core.join([file]) == file


def test_join_of_joined(data: bytes) -> None:
    twice = llicti_core.join([data, data])
    assert llicti_core.inspect(twice).n_frames == 6
    for index in range(6):
        np.testing.assert_array_equal(llicti_core.decode(twice, frame=index), ARRAYS[index % 3])


def test_join_of_many_files(tmp_path: Path) -> None:
    """More than a process may open, and each closed where one of them is bad."""
    pytest.importorskip("resource")
    path = tmp_path / "a.llc"
    path.write_bytes(encoded(ARRAYS[0]))
    program = (
        "import resource, llicti_core; resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30)); "
        "print(llicti_core.inspect(llicti_core.join(['a.llc'] * 40)).n_frames)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "40\n", done.stderr
    (tmp_path / "b.llc").write_bytes(b"nothing of the kind")
    with pytest.raises(FormatError):
        llicti_core.join([path, tmp_path / "b.llc"])  # a file that is left open is a warning, and so an error


def test_join_of_open_files() -> None:
    """From where they are, in the midst of another file too."""
    first, second = io.BytesIO(b"before" + encoded(ARRAYS[0])), io.BytesIO(encoded(ARRAYS[1]))
    first.seek(6)
    assert llicti_core.join([first, second]) == llicti_core.join([encoded(ARRAYS[0]), encoded(ARRAYS[1])])


def test_join_of_nothing() -> None:
    with pytest.raises(ValueError, match="one frame"):
        llicti_core.join([])


@pytest.mark.parametrize("index", [-1, 3, 2**70])
def test_no_such_frame(index: int, data: bytes) -> None:
    for function in (llicti_core.decode, llicti_core.inspect, llicti_core.read_palette, llicti_core.read_metadata):
        with pytest.raises(IndexError, match=f"no frame {index} in a file of 3"):
            function(data, frame=index)


def test_bytes_of_all_kinds(data: bytes) -> None:
    for kind in (bytearray, memoryview):
        np.testing.assert_array_equal(llicti_core.decode(kind(data), frame=1), ARRAYS[1])


def test_metadata_of_frames() -> None:
    given = [WIDE, WIDE._replace(duration=40), Metadata(), WIDE._replace(exif=b"own", transparency=3), WIDE]
    data = llicti_core.join(llicti_core.encode(ARRAYS[1], metadata=metadata) for metadata in given)
    assert data.count(b"profile") == 1  # what the first has said is not said again
    assert [llicti_core.read_metadata(data, frame=index) for index in range(5)] == given
    again = llicti_core.join([data, data])
    assert [llicti_core.read_metadata(again, frame=index) for index in range(10)] == given * 2


def test_no_other_frame_is_read(data: bytes) -> None:
    class Watched(io.BytesIO):
        places: set[int] = set()  # noqa: RUF012

        def read(self, size: int | None = -1, /) -> bytes:
            start = self.tell()
            found = super().read(size)
            self.places.update(range(start, start + len(found)))
            return found

    arrays = [noise(100, 100, seed=seed) for seed in range(4)]
    data = llicti_core.join(map(llicti_core.encode, arrays))
    file = Watched(data)
    np.testing.assert_array_equal(llicti_core.open(file)[3].decode(), arrays[3])
    assert len(file.places) < len(data) // 4 + 40 * llicti_core.MAX_HEADER_BYTES // 4 < len(data)


# Damaged files


def renumbered(data: bytes, change: Any) -> bytes:
    """The frames with other numbers of frames after them."""
    parts = [write_start()]
    starts = frame_starts(data)
    for frame in llicti_core.open(data):
        head = frame.packed_head(change(frame.index, frame.header.frames_after))
        parts += [head, data[frame.sections.start : starts[frame.index + 1]]]
    return b"".join(parts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index, after: 0, "trailing data"),
        (lambda index, after: 1, "frame 1 of 2 says that 1 follow|trailing data"),
        (lambda index, after: after + 1, "before frame 3 of 4"),
        (lambda index, after: after - (index == 0), "frame 1 of 2 says that 1"),
        (lambda index, after: 2**60 if index == 0 else after, "frame 1 of 1152921504606846977 says that 1"),
        (lambda index, after: 2**60 - index, "before frame 3 of"),
    ],
)
def test_wrong_numbers(change: Any, message: str, data: bytes) -> None:
    wrong = renumbered(data, change)
    with pytest.raises(FormatError, match=message):
        llicti_core.verify(wrong, strict=True)
    with pytest.raises((OSError, EOFError)), Image.open(io.BytesIO(wrong)) as im:  # noqa: PT012
        for frame in range(1, 4):
            im.seek(frame)
            im.load()
    if message != "trailing data":  # which is ignored
        with pytest.raises((OSError, LLCError)):
            iio.imread(wrong, plugin="llc", index=...)


def test_missing_and_doubled_frames(data: bytes) -> None:
    start = len(write_start())
    first, second, third = (single_frame(data, index)[start:] for index in range(3))
    for frames in ([second, third, first], [first, third], [first, second], [first, first, second, third], [first]):
        with pytest.raises(FormatError):
            llicti_core.verify(write_start() + b"".join(frames), strict=True)


def test_truncated(data: bytes) -> None:
    starts = frame_starts(data)
    assert starts[-1] == len(data)
    for length in range(0, len(data), 5):
        whole = sum(end <= length for end in starts[1:])
        for index in range(3):
            if index < whole:
                np.testing.assert_array_equal(llicti_core.decode(data[:length], frame=index), ARRAYS[index])
            else:
                with pytest.raises(TruncatedError):
                    llicti_core.decode(data[:length], frame=index)
        with pytest.raises(TruncatedError):
            llicti_core.verify(data[:length])


def test_flipped_bits(data: bytes) -> None:
    for position in range(0, len(data), 3):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(LLCError):
            llicti_core.verify(bytes(damaged))


def test_pillow_reads_the_frames_before_the_damage(data: bytes) -> None:
    starts = [frame_starts(data)[1], len(data) - 20]
    for length, whole in zip(starts, (1, 2), strict=True):
        for cut in (length, length + 3, length + 15):
            with Image.open(io.BytesIO(data[:cut])) as im:
                assert im.n_frames == 3
                for index in range(whole):
                    im.seek(index)
                    np.testing.assert_array_equal(np.asarray(im), ARRAYS[index])
                with pytest.raises(OSError, match=r"\w"):  # noqa: PT012
                    im.seek(whole)
                    im.load()


# Pillow


def frames_of(im: Image.Image) -> list[Image.Image]:
    return [frame.copy() for frame in ImageSequence.Iterator(im)]


def assert_frames_equal(a: list[Image.Image], b: list[Image.Image]) -> None:
    assert [(im.mode, im.size, im.getpalette()) for im in a] == [(im.mode, im.size, im.getpalette()) for im in b]
    assert [im.tobytes() for im in a] == [im.tobytes() for im in b]


def saved(im: Image.Image, **options: object) -> io.BytesIO:
    fp = io.BytesIO()
    im.save(fp, "LLC", save_all=True, **options)
    return fp


PICTURES = [Image.fromarray(array) for array in ARRAYS]


def test_save_all(tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    PICTURES[0].save(path, save_all=True, append_images=PICTURES[1:], duration=40, loop=0)
    with Image.open(path) as im:
        assert (im.n_frames, im.is_animated, im.tell()) == (4, True, 0)
        assert_frames_equal(frames_of(im), PICTURES)
        for index in (3, 0, 2, 2, 1):
            im.seek(index)
            assert im.tell() == index
            assert (im.size, im.mode) == (PICTURES[index].size, PICTURES[index].mode)
            assert (im.info["duration"], im.info["loop"]) == (40, 0)
            assert_frames_equal([im], [PICTURES[index]])
        for index in (-1, 4):
            with pytest.raises(EOFError):
                im.seek(index)
        assert im.tell() == 1
        assert_frames_equal([im], [PICTURES[1]])


def test_one_frame() -> None:
    assert Image.open(saved(PICTURES[0], duration=[7])).info["duration"] == 7
    for fp in (saved(PICTURES[0]), saved(PICTURES[0], append_images=[])):
        with Image.open(fp) as im:
            assert (im.n_frames, im.is_animated, im.tell()) == (1, False, 0)
            im.seek(0)
            with pytest.raises(EOFError):
                im.seek(1)
            assert_frames_equal(frames_of(im), [PICTURES[0]])
    plain = io.BytesIO()
    PICTURES[0].save(plain, "LLC")
    assert fp.getvalue() == plain.getvalue()


def test_pickled_image() -> None:
    with Image.open(saved(PICTURES[0], append_images=PICTURES[1:])) as im:
        im.seek(2)
        loose = pickle.loads(pickle.dumps(im))
    assert (loose.n_frames, loose.tell()) == (1, 0)
    with Image.open(saved(loose)) as again:
        assert_frames_equal(frames_of(again), [PICTURES[2]])


def test_durations() -> None:
    with Image.open(saved(PICTURES[0], append_images=PICTURES[1:3], duration=[10, 33.5, 0])) as im:
        assert [frame.info["duration"] for frame in ImageSequence.Iterator(im)] == [10, 33.5, 0]
        im.seek(1)
        again = saved(im)
        assert im.tell() == 1  # where it was
        assert "loop" not in im.info
    with Image.open(again) as im:
        assert [frame.info["duration"] for frame in ImageSequence.Iterator(im)] == [10, 33.5, 0]
    with pytest.raises(ValueError, match="2 durations for 3 frames"):
        saved(PICTURES[0], append_images=PICTURES[1:3], duration=[10, 20])


def test_append_images_that_have_frames_themselves() -> None:
    with Image.open(saved(PICTURES[0], append_images=PICTURES[1:3])) as im:
        im.seek(1)
        with Image.open(saved(PICTURES[3], append_images=[im, PICTURES[0]])) as all_of_them:
            assert_frames_equal(frames_of(all_of_them), [PICTURES[i] for i in (3, 0, 1, 2, 0)])
        assert im.tell() == 1


def test_append_images_alone_mean_save_all() -> None:
    fp = io.BytesIO()
    PICTURES[0].save(fp, "LLC", append_images=PICTURES[1:])
    with Image.open(fp) as im:
        assert im.n_frames in (1, 4)  # it depends on Pillow's version


def test_metadata_of_each_frame() -> None:
    first, second = PICTURES[0].copy(), PICTURES[1].copy()
    first.info.update(icc_profile=b"profile", dpi=(72, 72))
    second.info.update(transparency=7, Title="second")
    with Image.open(saved(first, append_images=[second, first], comment=b"of all")) as im:
        infos = [dict(frame.info) for frame in ImageSequence.Iterator(im)]
    for info in infos:
        info.pop("model", None)
    of_first = {"icc_profile": b"profile", "dpi": (72, 72), "comment": b"of all"}
    assert infos == [of_first, {"transparency": 7, "Title": "second", "comment": b"of all"}, of_first]


def gif(n: int = 4) -> io.BytesIO:
    fp = io.BytesIO()
    first, *others = [Image.fromarray(noise(9, 8, seed=seed)).quantize(20 + seed) for seed in range(n)]
    first.save(fp, "GIF", save_all=True, append_images=others, duration=[20, 40, 60, 80][:n], loop=3)
    return fp


def apng() -> io.BytesIO:
    fp = io.BytesIO()
    first, *others = [Image.fromarray(noise(9, 8, 4, seed=seed)) for seed in range(3)]
    first.save(fp, "PNG", save_all=True, append_images=others, duration=25, loop=2)
    return fp


def tiff() -> io.BytesIO:
    fp = io.BytesIO()
    first, *others = [Image.fromarray(array) for array in (noise(9, 8), noise(5, 6, 1), noise(9, 8, 4))]
    first.save(fp, "TIFF", save_all=True, append_images=others, dpi=(200, 100))
    return fp


@pytest.mark.parametrize("make", [gif, apng, tiff])
def test_from_other_formats(make: Any) -> None:
    with Image.open(make()) as im:
        before = frames_of(im)
        im.seek(0)
        fp = saved(im)
    with Image.open(fp) as im:
        after = frames_of(im)
    assert_frames_equal(after, before)
    for name in ("duration", "loop", "dpi", "transparency"):
        assert [frame.info.get(name) for frame in after] == [frame.info.get(name) for frame in before]


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_files_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    path.write_bytes(saved(PICTURES[0], append_images=PICTURES[1:]).getvalue())
    with Image.open(path) as im:
        fp = im.fp
        im.load()
        im.seek(2)
        im.load()
        im.seek(1)
    assert fp.closed
    with pytest.raises(ValueError, match="closed"):
        im.seek(0)
    im = Image.open(path)
    im.seek(3)
    im.close()
    im = Image.open(path)
    im.verify()


def test_verify_looks_at_all_frames(data: bytes) -> None:
    damaged = bytearray(data)
    damaged[-9] ^= 1
    with Image.open(io.BytesIO(damaged)) as im:
        im.load()
    with pytest.raises(OSError, match=r"\w"):
        Image.open(io.BytesIO(damaged)).verify()


def test_frames_inside_another_file(data: bytes) -> None:
    fp = io.BytesIO(b"whatever" + data)
    fp.seek(8)
    im = LlcImageFile(fp)
    im.seek(2)
    np.testing.assert_array_equal(np.asarray(im), ARRAYS[2])


def test_changes_of_one_frame_stay_with_it(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as im:
        im.info["note"] = "mine"
        im.putpixel((0, 0), (1, 2, 3))
        kept = im.copy()
        im.seek(1)
        assert "note" not in im.info
        im.seek(0)
        np.testing.assert_array_equal(np.asarray(im), ARRAYS[0])
        assert kept.getpixel((0, 0)) == (1, 2, 3)


def test_decompression_bomb_after_the_first_frame() -> None:
    huge = llicti_core.encode(np.full((3000, 3000), 5, np.uint8))
    with Image.open(io.BytesIO(llicti_core.join([llicti_core.encode(ARRAYS[0]), huge]))) as im:
        with mock.patch.object(Image, "MAX_IMAGE_PIXELS", 4_000_000), pytest.raises(Image.DecompressionBombError):
            im.seek(1)
        assert_frames_equal([im], [PICTURES[0]])


# imageio


def test_stack_that_takes_too_much() -> None:
    flat = llicti_core.join([llicti_core.encode(np.full((100, 100), 5, np.uint8))] * 4)
    with pytest.raises(OSError, match="take 40000 bytes"):
        iio.imread(flat, plugin="llc", max_bytes=39_999)
    assert iio.imread(flat, plugin="llc", max_bytes=40_000).shape == (4, 100, 100)
    assert len(list(iio.imiter(flat, plugin="llc", max_bytes=10_000))) == 4


STACKS = [noise(6, 5).reshape(1, 6, 5, 3).repeat(3, 0) + np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)]
STACKS.append(np.stack([smooth(5, 4, 1, seed) for seed in range(4)]))
STACKS.append(np.arange(2 * 3 * 4 * 2, dtype=np.float32).reshape(2, 3, 4, 2))


@pytest.mark.parametrize("stack", STACKS, ids=str)
def test_stack(stack: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    iio.imwrite(path, stack, is_batch=True)
    for found in (iio.imread(path), iio.imread(path, index=...)):
        assert (found.dtype, found.shape) == (stack.dtype, stack.shape)
        np.testing.assert_array_equal(found, stack)
    for index, image in enumerate(stack):
        np.testing.assert_array_equal(iio.imread(path, index=index), image)
        properties = iio.improps(path, index=index)
        assert (properties.shape, properties.dtype, properties.is_batch) == (image.shape, image.dtype, False)
    properties = iio.improps(path, index=...)
    assert (properties.shape, properties.dtype) == (stack.shape, stack.dtype)
    assert (properties.n_images, properties.is_batch) == (len(stack), True)
    assert iio.improps(path) == properties
    np.testing.assert_array_equal(list(iio.imiter(path)), stack)
    for index in (-1, len(stack)):
        with pytest.raises(ValueError, match=f"no frame {index} in a file of {len(stack)}"):
            iio.imread(path, index=index)


def test_stack_is_guessed(tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    for batch in (STACKS[0], list(STACKS[0]), list(STACKS[1])):
        iio.imwrite(path, batch)
        np.testing.assert_array_equal(iio.imread(path), np.asarray(batch))


def test_images_of_different_shapes(tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    iio.imwrite(path, ARRAYS)
    for found, array in zip(iio.imiter(path), ARRAYS, strict=True):
        np.testing.assert_array_equal(found, array)
    with pytest.raises(ValueError, match="different shapes"):
        iio.imread(path)
    assert iio.improps(path).n_images == len(ARRAYS)


def test_several_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    with iio.imopen(path, "w") as file:
        for index, array in enumerate(ARRAYS[:3]):
            assert file.write(array, duration=10 * index, comment=b"the same") is None
            assert not path.exists()
    assert [iio.immeta(path, index=index)["duration"] for index in range(3)] == [0, 10, 20]
    assert path.read_bytes().count(b"the same") == 1
    for found, array in zip(iio.imiter(path), ARRAYS[:3], strict=True):
        np.testing.assert_array_equal(found, array)


def test_durations_of_a_stack(tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    iio.imwrite(path, STACKS[0], duration=[1, 2, 3], loop=0)
    assert [iio.immeta(path, index=index)["duration"] for index in range(3)] == [1, 2, 3]
    assert iio.immeta(path)["loop"] == 0
    with pytest.raises(ValueError, match="2 durations for 3 images"):
        iio.imwrite(path, STACKS[0], duration=[1, 2])


def test_failure_between_writes_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    iio.imwrite(path, ARRAYS[0])
    before = path.read_bytes()
    with pytest.raises(TypeError, match="dtype"), iio.imopen(path, "w") as file:  # noqa: PT012
        file.write(ARRAYS[1])
        file.write(np.zeros((3, 3), np.complex64))
    assert path.read_bytes() == before


def test_bytes() -> None:
    data = iio.imwrite("<bytes>", STACKS[0], extension=".llc")
    assert llicti_core.inspect(data).n_frames == 3
    np.testing.assert_array_equal(iio.imread(data, extension=".llc"), STACKS[0])


def test_v2(tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    iio2.mimwrite(path, STACKS[0], duration=5)
    np.testing.assert_array_equal(iio2.mimread(path), STACKS[0])
    np.testing.assert_array_equal(iio2.imread(path), STACKS[0][0])
    with iio2.get_writer(path) as writer:
        for image in STACKS[1]:
            writer.append_data(image)
    with iio2.get_reader(path) as reader:
        assert len(reader) == 4
        np.testing.assert_array_equal(reader.get_data(2), STACKS[1][2])
        np.testing.assert_array_equal(list(reader), STACKS[1])


def test_only_the_frames_before_the_damage(tmp_path: Path, data: bytes) -> None:
    images = iio.imiter(data[:-5], plugin="llc")
    np.testing.assert_array_equal(next(images), ARRAYS[0])
    np.testing.assert_array_equal(next(images), ARRAYS[1])
    with pytest.raises(OSError, match="ends"):
        next(images)
