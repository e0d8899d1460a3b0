"""LlcFile: what is read of a file, how often, from where, and what a lying header can make it do."""

from __future__ import annotations

import io
import mmap
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
from images import noise, photograph, smooth
from numpy.typing import NDArray
from PIL import Image

import llicti_core
import llicti_plugin
from llicti_core import DecodeOptions, Metadata, UnsupportedError, container, encoder, file, payloads
from llicti_core.container import Header, pack_section, pack_varint, write_frame, write_start
from llicti_core.errors import FormatError, LLCError, TruncatedError
from llicti_core.pyramid import stream_count

llicti_plugin.register()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each section has been read, by where it begins."""
    counted: Counter[int] = Counter()
    read = container.read_section

    def counting(source: object, section: container.Section) -> memoryview:
        counted[section.start] += 1
        return read(source, section)  # type: ignore[arg-type]

    for module in (container, file, payloads):
        monkeypatch.setattr(module, "read_section", counting)
    return counted


@pytest.fixture(scope="module")
def rich() -> bytes:
    """A file of two frames with metadata and a palette."""
    palette = llicti_core.Palette("RGB", bytes(range(48)))
    metadata = Metadata(comment=b"words" * 20, text={"a": "b"}, dpi=(72, 72))
    with golden.learned():
        first = llicti_core.encode(noise(50, 60, 1) % 16, mode="P", palette=palette, metadata=metadata, effort=1)
        return llicti_core.join([first, llicti_core.encode(photograph(30, 40), metadata=Metadata(comment=b"other"))])


def sections(data: bytes) -> list[int]:
    """Where the sections of a file begin."""
    found, at = [], len(write_start())
    while at < len(data):
        found.append(at)
        at = container.find_section(llicti_core.source.MemorySource(data), at).end
    return found


@pytest.mark.parametrize("of_path", [False, True])
def test_pillow_reads_each_section_once(of_path: bool, rich: bytes, reads: Counter[int], tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    path.write_bytes(rich)
    with Image.open(path if of_path else io.BytesIO(rich)) as image:
        image.load()
        image.seek(1)
        image.load()
        assert image.info["comment"] == b"other"
        assert image.text == {}
    assert reads == dict.fromkeys(sections(rich), 1)


def test_verifying_reads_each_section_once(rich: bytes, reads: Counter[int]) -> None:
    llicti_core.verify(rich, strict=True)
    assert reads == dict.fromkeys(sections(rich), 1)


def test_metadata_of_the_first_frame_is_read_once(reads: Counter[int]) -> None:
    images = [np.full((1, 1), value, np.uint8) for value in range(30)]
    shared = Metadata(text={"big": "x" * 100_000})
    data = llicti_core.join([llicti_core.encode(image, metadata=shared) for image in images])
    reads.clear()
    with llicti_core.open(data) as opened:
        assert [len((frame.metadata.text or {})["big"]) for frame in opened] == [100_000] * 30
    assert max(reads.values()) == 1


def test_what_is_not_asked_for_is_not_read(rich: bytes, reads: Counter[int]) -> None:
    opened = llicti_core.open(rich)
    assert (opened.count, len(opened), opened[0].info.mode) == (2, 2, "P")
    assert list(reads) == [len(write_start())]
    assert opened[0].palette == llicti_core.Palette("RGB", bytes(range(48)))
    assert len(reads) == 2
    assert opened[1].info.shape == (30, 40, 3)
    assert len(reads) == 3


@pytest.fixture(scope="module")
def tiled() -> tuple[NDArray[np.uint8], bytes]:
    """A photograph of 8 x 6 tiles, and its file."""
    pixels = photograph(384, 512)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "TILE_LOG2", 6)
        return pixels, llicti_core.encode(pixels, effort=0)


@pytest.fixture(scope="module")
def deep_tiled() -> tuple[NDArray[np.uint8], bytes]:
    """The same with 16 bits, of which the lower ones are plain."""
    rng = np.random.default_rng(5)
    pixels = photograph(192, 256).astype(np.uint16) * 256 + rng.integers(0, 256, (192, 256, 3), np.uint16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "TILE_LOG2", 6)
        return pixels, llicti_core.encode(pixels, effort=0)


class CountingFile(io.FileIO):
    """A file that counts the bytes that are read of it."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def test_a_region_reads_what_its_tiles_take(tiled: tuple[NDArray[np.uint8], bytes], tmp_path: Path) -> None:
    pixels, data = tiled
    path = tmp_path / "a.llc"
    path.write_bytes(data)
    coarse = data.index(b"LVL2") - data.index(b"LVL3")  # is read whole
    for region, tiles in [((70, 70, 10, 10), 1), ((60, 60, 10, 10), 4), ((0, 200, 512, 1), 8), ((500, 380, 12, 4), 1)]:
        x, y, width, height = region
        with CountingFile(path) as file:
            found = llicti_core.decode(file, region=region)
            np.testing.assert_array_equal(found, pixels[y : y + height, x : x + width])
            # Small reads take blocks: for each section one at its beginning, and one for each tile.
            assert file.taken < coarse + len(data) * tiles / 48 * 1.6 + 4096 * 7 * (tiles + 1)
            assert file.taken < coarse + len(data) * (tiles + 1) / 4
    with CountingFile(path) as file:
        np.testing.assert_array_equal(llicti_core.decode(file), pixels)
        assert file.taken <= len(data) + 8 * 4096


def test_damage_elsewhere_does_not_matter_to_a_region(tiled: tuple[NDArray[np.uint8], bytes]) -> None:
    pixels, data = tiled
    damaged = bytearray(data)
    damaged[-2000] ^= 1  # of the last tiles
    found = llicti_core.decode(io.BytesIO(damaged), region=(0, 0, 64, 64))
    np.testing.assert_array_equal(found, pixels[:64, :64])
    with pytest.raises(FormatError):
        llicti_core.decode(io.BytesIO(damaged))


@pytest.mark.parametrize("scale", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("fixture", ["tiled", "deep_tiled"])
def test_damage_in_what_a_region_takes_is_noticed(scale: int, fixture: str, request: pytest.FixtureRequest) -> None:
    """In parts of an open file, too, of which no checksum is compared."""
    pixels, data = request.getfixturevalue(fixture)
    found = 0
    for at in range(len(write_start()), len(data), len(data) // 800):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        try:
            part = llicti_core.decode(io.BytesIO(damaged), region=(64, 64, 64, 64), scale=scale)
        except LLCError:
            found += 1
        else:
            np.testing.assert_array_equal(part, pixels[64:128:scale, 64:128:scale])
    assert found >= 8


# Files as users have them


def ways(path: Path) -> Iterator[object]:
    """A file by its path, its bytes, and open in many ways."""
    data = path.read_bytes()
    yield from (path, str(path), data, bytearray(data), memoryview(data), np.frombuffer(data, np.uint8))
    yield io.BytesIO(data)
    with path.open("rb") as file:
        yield file
    with path.open("rb", buffering=0) as unbuffered:
        yield unbuffered
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        yield mapped

    class Piecewise(io.BytesIO):
        """Gives less than it is asked for, as sockets and pipes do, and tells nothing when it seeks."""

        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size, 1000) if size and size > 0 else size)

        def seek(self, offset: int, whence: int = 0, /) -> None:  # type: ignore[override]
            super().seek(offset, whence)

    yield Piecewise(data)
    after_it = io.BytesIO(b"before" + data + b"after")
    after_it.seek(6)
    yield after_it


def test_every_function_takes_bytes_paths_and_open_files(tmp_path: Path) -> None:
    pixels = photograph(60, 80)
    path = tmp_path / "a.llc"
    path.write_bytes(llicti_core.encode(pixels, metadata=Metadata(comment=b"words")))
    info = llicti_core.inspect(path)
    expectations: list[tuple[Callable[[Any], Any], Any]] = [
        (llicti_core.inspect, info),
        (llicti_core.read_metadata, Metadata(comment=b"words")),
        (llicti_core.read_palette, None),
        (llicti_core.verify, None),
        (lambda file: llicti_core.join([file]), path.read_bytes()),
        (lambda file: llicti_core.decode(file).tobytes(), pixels.tobytes()),
    ]
    for function, expected in expectations:
        for way in ways(path):
            assert function(way) == expected
    assert path.rename(tmp_path / "b.llc"), "nothing holds it open"


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for function in (llicti_core.decode, llicti_core.inspect, llicti_core.open, llicti_core.verify):
        with pytest.raises(FileNotFoundError):
            function(tmp_path / "none.llc")
        with pytest.raises(TypeError):
            function(5)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files as Linux shows them")
def test_paths_are_closed(tmp_path: Path) -> None:
    (tmp_path / "a.llc").write_bytes(b"no file")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(FormatError):
            llicti_core.open(tmp_path / "a.llc")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# Headers that lie


def lying_count(after: int) -> bytes:
    """One frame that says that so many follow."""
    opened = llicti_core.open(llicti_core.encode(np.full((3, 4), 7, np.uint8)))
    return write_start() + write_frame(opened[0].header._replace(frames_after=after), [])


def test_frames_are_counted_by_what_the_file_can_hold() -> None:
    data = lying_count(2**62)
    with llicti_core.open(data) as opened:
        assert 2 <= opened.count == len(opened) < 10
        assert opened[0].decode().tolist() == [[7] * 4] * 3
        with pytest.raises(TruncatedError):
            opened[1]
        with pytest.raises(TruncatedError):
            opened[2**61]
        with pytest.raises(IndexError):
            opened[2**62 + 1]
        with pytest.raises(IndexError):
            opened[-1]
        with pytest.raises(TruncatedError):
            list(opened)
    with pytest.raises(TruncatedError):
        llicti_core.verify(data)
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames < 10


def test_no_frame_of_a_cut_file_is_missed_in_silence() -> None:
    """However small the frames are, those that are counted are more than a cut file holds."""
    frame = llicti_core.encode(np.full((1, 1), 7, np.uint8))
    data = llicti_core.join([frame] * 20)
    for length in range(len(frame), len(data), 7):
        opened = llicti_core.open(data[:length])
        with pytest.raises(TruncatedError):
            [opened[index].decode() for index in range(opened.count)]


def test_the_smallest_frame() -> None:
    data = llicti_core.encode(np.full((1, 1), 7, np.uint8))
    assert len(data) - len(write_start()) == file._LEAST_FRAME


# Limits


def refused(data: bytes, match: str, **arguments: object) -> None:
    with pytest.raises(UnsupportedError, match=match):
        llicti_core.decode(data, **arguments)  # type: ignore[arg-type]


def test_limits_on_pixels_and_bytes() -> None:
    data = llicti_core.encode(smooth(30, 40), effort=0)
    assert llicti_core.decode(data, max_pixels=1200, max_bytes=3600).shape == (30, 40, 3)
    refused(data, r"1200 pixels, more than the 1199 allowed \(max_pixels\)", max_pixels=1199)
    refused(data, r"3600 bytes, more than the 3599 allowed \(max_bytes\)", max_bytes=3599)
    assert llicti_core.decode(data, scale=2, max_pixels=300).shape == (15, 20, 3)
    refused(data, "300 pixels", scale=2, max_pixels=299)
    assert llicti_core.decode(data, region=(3, 4, 5, 6), max_pixels=30).shape == (6, 5, 3)
    assert llicti_core.decode(data, max_pixels=None, max_bytes=None).shape == (30, 40, 3)


def test_default_limits_are_pillow_s() -> None:
    assert llicti_core.MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS
    data = llicti_core.encode(np.zeros((20000, 20000), np.uint8))
    assert len(data) < 50
    refused(data, "400000000 pixels")
    assert llicti_core.decode(data, max_pixels=None, scale=32).size == 625**2


def claimed(width: int, height: int, tile_log2: int, channels: int = 1, payload: bytes = b"") -> bytes:
    """The beginning of a file of learned groups, with a section LVL3 of `payload`."""
    with golden.learned():
        header = llicti_core.open(llicti_core.encode(smooth(40, 40, 1), effort=0))[0].header
    codings = header.codings * channels
    header = header._replace(
        width=width, height=height, tile_log2=tile_log2, mode="", channels=channels, codings=codings
    )
    return write_start() + write_frame(header, [(b"LVL3", payload)] * channels)


def test_a_huge_tile_is_refused_for_a_small_region() -> None:
    data = claimed(2**14, 2**14, 15, payload=bytes(2**10))
    refused(data, "bytes for the tiles", region=(0, 0, 1, 1), max_bytes=10**6)
    refused(data, "pixels' work", region=(0, 0, 1, 1), max_pixels=10**6)
    usual = claimed(2**15, 2**15, 10, payload=bytes(2**20))
    with pytest.raises(LLCError, match="LVL"):
        llicti_core.decode(usual, region=(1023, 1023, 2, 2), max_bytes=12, max_pixels=4)


def test_many_channels_are_work_too() -> None:
    refused(claimed(4000, 4000, 10, 200), "all its channels", max_pixels=2**24)
    with pytest.raises(TruncatedError):
        llicti_core.decode(claimed(4000, 4000, 10, 2), max_pixels=2**24)


def test_limits_come_before_anything_is_read(reads: Counter[int]) -> None:
    data = llicti_core.encode(smooth(300, 400), effort=0)
    reads.clear()
    refused(data, "pixels", max_pixels=1000)
    assert list(reads) == [len(write_start())]


def peak(program: str) -> int:
    """The most memory in bytes that a process took beyond what it had before `program`'s last line."""
    import subprocess

    *setup, last = program.strip().splitlines()
    lines = [
        *setup,
        "import resource, contextlib, llicti_core",
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss",
        f"with contextlib.suppress(llicti_core.LLCError): {last}",
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)",
    ]
    run = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True, cwd="/")
    return 1024 * int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux measures it")
@pytest.mark.parametrize("tile_log2", [6, 15])
def test_tiles_without_data_take_little_memory(tile_log2: int, tmp_path: Path) -> None:
    """A strip a pixel wide, in tiles of one value: nothing but numbers of tiles."""
    height = 2**21
    tiles = -(-height // 2**tile_log2)
    head = claimed(1, height, tile_log2)
    start = llicti_core.open(head)[0].sections.start
    level = bytes(stream_count(2**tile_log2) * tiles)
    data = head[:start] + pack_section(b"LVL3", (struct.pack("<hh", 0, 0) + bytes([128]) * 4) * tiles + level)
    data += b"".join(pack_section(b"LVL%d" % number, level) for number in (2, 1, 0))
    path = tmp_path / "a.llc"
    path.write_bytes(data)
    assert llicti_core.decode(path, region=(0, 70000, 1, 4)).tolist() == [[[128]]] * 4
    taken = peak(
        f"import llicti_core; data = open({str(path)!r}, 'rb').read()\nllicti_core.open(data)[0].decode_bytes()"
    )
    assert taken < 3 * height + 2**24


@pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux measures it")
def test_millions_of_ancillary_sections_take_little_memory(tmp_path: Path) -> None:
    single = llicti_core.encode(np.full((3, 3), 7, np.uint8))
    path = tmp_path / "a.llc"
    path.write_bytes(single + pack_section(b"aaaa", b"") * 60_000)
    size = path.stat().st_size
    setup = f"import llicti_core; data = open({str(path)!r}, 'rb').read()"
    assert peak(f"{setup}\nllicti_core.verify(data, strict=True)") < 3 * size


def test_options_travel_together() -> None:
    options = DecodeOptions(max_pixels=5)
    opened = llicti_core.open(llicti_core.encode(smooth(3, 3)))
    for decode in (opened[0].decode, opened[0].decode_bytes):
        with pytest.raises(UnsupportedError, match="9 pixels"):
            decode(options=options)
    with pytest.raises(UnsupportedError, match="9 pixels"):
        opened.verify(options=options)
    with pytest.raises(ValueError, match="threads"):
        opened[0].decode(options=DecodeOptions(threads=0))
    with pytest.raises(ValueError, match="device"):
        opened[0].decode(options=DecodeOptions(device="abacus"))


def test_lengths_that_no_payload_can_hold() -> None:
    """A section that says more lengths than it has bytes is refused before a number is read for each."""
    data = claimed(64, 64, 6)
    head = data[: llicti_core.open(data)[0].sections.start]
    lowpass = struct.pack("<hh", -128, 127) + bytes(16)
    finer = b"".join(pack_section(b"LVL%d" % number, b"\0") for number in (2, 1, 0))
    for level in (b"", pack_varint(2**40), pack_varint(5) + bytes(4), pack_varint(5) + bytes(6)):
        with pytest.raises(FormatError, match="LVL3"):
            llicti_core.decode(head + pack_section(b"LVL3", lowpass + level) + finer)
    assert isinstance(llicti_core.open(data)[0].header, Header)
