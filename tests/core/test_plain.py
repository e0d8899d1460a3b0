"""Plain bits against the definition, and what the encoder makes of the samples of deep photographs (8.6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from images import deep, photograph, smooth, ten_bits
from numpy.typing import NDArray

import llicti_core
from llicti_core import encoder, fallback, patches, plain
from llicti_core.container import Coding, Header, find_section, pack_section
from llicti_core.engines import native
from llicti_core.errors import FormatError, TruncatedError
from llicti_core.file import LlcFile
from llicti_core.ordinals import Planes, Values, join_samples
from llicti_core.payloads import Payload
from llicti_core.pyramid import level_count, section_levels
from llicti_core.samples import SAMPLE_TYPES, ChannelGroup
from llicti_core.source import MemorySource
from llicti_core.spec import DEEP_BITS, FALLBACK, LEARNED, PLAIN
from llicti_core.value_table import to_indices
from llicti_core.view import TileGrid, View

U16 = next(kind for kind in SAMPLE_TYPES if kind.name == "uint16")


def payload_of(data: bytes) -> Payload:
    source = MemorySource(pack_section(b"BIT0", data))
    return Payload(source, find_section(source, 0))


def packed(values: NDArray[np.uint8], bits: int, grid: TileGrid) -> tuple[list[int], list[bytes]]:
    """The levels of all sections, and what is in them."""
    first = next(iter(grid))
    levels = section_levels(level_count(first.height, first.width))
    return levels, [b"".join(parts) for _, *parts in plain.pack(values, bits, grid, levels)]


def section(values: NDArray[np.uint8], bits: int, grid: TileGrid, level: int, coarsest: bool) -> bytes:
    """What clause 8.6 says that a section holds."""
    found = b""
    step = 1 << level
    for top, left, height, width in grid:
        text = ""
        for y in range(0, height, step):
            for x in range(0, width, step):
                if coarsest or y % (2 * step) or x % (2 * step):
                    text += "".join(f"{value:0{bits}b}" for value in values[top + y, left + x])
        text += "0" * (-len(text) % 8)
        found += bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8))
    return found


SHAPES = [(1, 1), (1, 2), (3, 1), (2, 70), (9, 7), (64, 64), (65, 130), (100, 37)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("shape", SHAPES)
def test_sections_are_what_the_format_says(shape: tuple[int, int], bits: int, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 1 << bits, (*shape, channels), np.uint8)
    grid = TileGrid(shape[1], shape[0], 64)
    levels, payloads = packed(values, bits, grid)
    coarsest = len(levels) - 1
    for place, (level, payload) in enumerate(zip(levels, payloads, strict=True)):
        assert payload == section(values, bits, grid, min(level, coarsest), place == 0)


@pytest.mark.parametrize("bits", [1, 3, 6, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_view(shape: tuple[int, int], bits: int) -> None:
    rng = np.random.default_rng(bits)
    values = rng.integers(0, 1 << bits, (*shape, 3), np.uint8)
    height, width = shape
    grid = TileGrid(width, height, 64)
    levels, payloads = packed(values, bits, grid)
    for level in range(6):
        for _ in range(4):
            x, y = (int(rng.integers(0, size)) >> level << level for size in (width, height))
            wide, high = int(rng.integers(1, width - x + 1)), int(rng.integers(1, height - y + 1))
            shown = {at: payload_of(data) for at, data in zip(levels, payloads, strict=True) if at >= min(level, 3)}
            view = View.of(width, height, 1 << level, (x, y, wide, high))
            found = plain.unpack(shown, len(levels) - 1, bits, 3, grid, view)
            assert found == values[y : y + high : 1 << level, x : x + wide : 1 << level].tobytes()


def test_damage_is_an_error() -> None:
    grid, view = TileGrid(5, 1, 64), View.of(5, 1)
    levels, payloads = packed(np.full((1, 5, 1), 3, np.uint8), 3, grid)
    assert levels == [3, 0]  # of one level, so that the first has three pixels and the second two

    def unpacked(*data: bytes) -> bytes:
        shown = {level: payload_of(one) for level, one in zip(levels, data, strict=True)}
        return bytes(plain.unpack(shown, 1, 3, 1, grid, view))

    first, second = payloads
    assert unpacked(first, second) == b"\3" * 5
    with pytest.raises(TruncatedError, match="ends at byte 0, 2 bytes were expected"):
        unpacked(b"", second)
    with pytest.raises(FormatError, match="has 2 bytes, 1 were expected"):
        unpacked(first, second + b"\0")
    for bit in range(7):
        with pytest.raises(FormatError, match="followed by bits that are not 0"):
            unpacked(bytes((first[0], first[1] | 1 << bit)), second)


def test_other_sizes_are_refused() -> None:
    pixels = memoryview(bytearray(12)).cast("B", (4, 3, 1))
    for data in (bytes(11), bytes(13)):
        with pytest.raises(ValueError, match="bytes"):
            native.unpack_plain(data, next(iter(TileGrid(3, 4, 64))), 0, True, 8, pixels, 0)


# Ten bits or eight, plain bits or a fallback coder


def header_of(data: bytes) -> Header:
    with LlcFile(data) as file:
        return file[0].header


def codings_of(pixels: NDArray[Any], **options: Any) -> tuple[Coding, ...]:
    """The codings of a file's channel groups, which is read back."""
    data = llicti_core.encode(pixels, **{"effort": 0, **options})
    assert np.array_equal(llicti_core.decode(data), pixels)
    return header_of(data).codings


def overexposed(height: int, width: int) -> NDArray[np.uint16]:
    """A photograph of 16 bits, with noise, whose right part is white."""
    pixels = deep(height, width, 3)
    pixels[:, width * 2 // 3 :] = 65535
    return pixels


def test_noise_is_plain_and_below_ten_bits() -> None:
    for channels in (1, 3):
        assert codings_of(deep(300, 260, channels)) == (Coding(LEARNED, deep=True), Coding(PLAIN))


def test_what_has_eight_bits_and_noise_is_seen_with_eight() -> None:
    assert codings_of(ten_bits(photograph(250, 300))) == (Coding(LEARNED), Coding(PLAIN))


def test_a_pattern_is_not_plain() -> None:
    for pixels in (overexposed(250, 300), overexposed(250, 300)[..., 1]):
        assert codings_of(pixels)[1].kind == FALLBACK


def test_patterns_are_found_anywhere() -> None:
    """In an image that is noise in the middle, too."""
    pixels = deep(700, 900, 3)
    pixels[:100] = pixels[-100:] = 65535
    assert codings_of(pixels)[1].kind == FALLBACK


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (192, 192), (193, 223), (1000, 200), (5000, 31)])
def test_patches(shape: tuple[int, int]) -> None:
    """They are of all parts of an image, and have no pixel twice."""
    for size in shape:
        places = patches.places(size).tolist()
        assert places == sorted(set(places))
        assert len(places) == min(size, 192)
        assert places[-1] < size
        if size > 192:
            assert all(start % 16 == 0 for start in places[::32])
            assert places[0] < size / 6
            assert places[-1] >= size * 5 // 6
    values = np.arange(np.prod(shape), dtype=np.uint16).reshape(*shape, 1)
    found = patches.Patches(Planes(values)).plane(ChannelGroup(0, DEEP_BITS, 0, 1, True))
    assert found.shape == (min(shape[0], 192), min(shape[1], 192), 1)


def test_the_model_codes_an_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a sample that is as small for a large image as for a small one."""
    coded = list[int]()
    learned = encoder.Encoder._learned

    def count(self: encoder.Encoder, group: Any, effort: int) -> Any:
        coded.append(sum(tile.height * tile.width for tile in group.tiles))
        return learned(self, group, effort)

    monkeypatch.setattr(encoder.Encoder, "_learned", count)
    llicti_core.encode(deep(700, 800, 3), effort=0)
    assert coded == [192 * 192, 192 * 192, 700 * 800]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("channels", [1, 3])
def test_lower_planes_by_a_fallback_coder(bits: int, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of a block is no pattern; more effort never makes it larger."""
    values = smooth(150, 170, channels).reshape(150, 170, channels) >> (8 - bits)
    for block in (4096, 64):
        monkeypatch.setattr(fallback, "BLOCK", block)
        sizes = list[int]()
        for effort in range(4):
            payload = fallback.encode_lower(values, bits, effort, values.size)
            sizes.append(len(payload))
            view = View.of(170, 150)
            assert fallback.decode(payload_of(payload), 150, 170, channels, view) == values.tobytes()
        assert sizes == sorted(sizes, reverse=True)


def test_lower_planes_without_webp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.features.check", lambda name: False)
    assert codings_of(overexposed(250, 300))[1].kind == FALLBACK
    assert codings_of(deep(300, 260, 3))[1].kind == PLAIN


# Cutting and joining planes


@pytest.mark.parametrize("group", [ChannelGroup(2, 10, 0, 3, True), ChannelGroup(0, 2, 1, 1, False)])
def test_planes_of_indices_that_are_looked_up(group: ChannelGroup) -> None:
    rng = np.random.default_rng(0)
    table = np.sort(rng.choice(1 << 16, 4096, replace=False)).astype(np.uint16)
    indices = rng.integers(0, 4096, (9, 7, 3), np.uint16)
    channels = indices[..., group.first : group.first + group.channels]
    found = to_indices(table[indices], table).plane(group)
    assert found.dtype == (np.uint16 if group.bits > 8 else np.uint8)
    assert np.array_equal(found, channels >> group.shift & ((1 << group.bits) - 1))
    wide = to_indices(table[indices].astype(np.uint32), table.astype(np.uint32)).plane(group)
    assert np.array_equal(wide, found)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_deep_plane_becomes_the_samples(channels: int) -> None:
    """Its memory is used again, where it has the size of the samples; what is joined is the same where not."""
    shape = (4, 5, channels)
    high: NDArray[np.uint16] = np.random.default_rng(0).integers(0, 1024, shape, np.uint16)
    low: NDArray[np.uint8] = np.random.default_rng(1).integers(0, 64, shape, np.uint8)
    expected = (high << 6 | low).astype("<u2").tobytes()
    top, below = ChannelGroup(6, 10, 0, channels, True), ChannelGroup(0, 6, 0, channels, False)
    values = bytearray(high.tobytes())
    parts = [Values(top, values, channels, False), Values(below, low.tobytes(), channels, False)]
    assert join_samples(iter([parts[0]._replace(values=bytes(values)), parts[1]]), shape, U16, None) == expected
    joined = join_samples(iter(parts), shape, U16, None)
    assert joined == expected
    assert joined is values


def test_values_that_do_not_fit_are_found_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from llicti_core import decoder

    monkeypatch.setattr(decoder, "_CHECKED", 4)
    group = ChannelGroup(0, 3, 0, 1, True)
    decoder._check_values(bytearray(range(8)), group)
    for place in range(11):
        values = bytearray(11)
        values[place] = 9
        with pytest.raises(FormatError, match="value 9, which does not fit in 3 bits"):
            decoder._check_values(values, group)
