"""Fallback coders: which are tried and kept, channels coded together, and small files of one section."""

from __future__ import annotations

import io
import zlib
from typing import Any

import golden
import numpy as np
import pytest
from coding import header_of
from images import noise, photograph, smooth
from numpy.typing import NDArray
from PIL import Image

import llicti_core
from llicti_core import Palette, fallback
from llicti_core.container import Header, pack_head, pack_section, pack_varint, write_frame, write_start
from llicti_core.errors import FormatError, UnsupportedError
from llicti_core.spec import COPIED, FALLBACK, JOINED, VP8L

Pixels = NDArray[np.uint8]


def drawing(height: int, width: int, channels: int, seed: int = 0) -> Pixels:
    """Discs of a few colours, uint8 [height, width, channels]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    pixels = np.full((height, width, channels), 250, np.uint8)
    for _ in range(12):
        row, column, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(2, height / 3)
        pixels[(y - row) ** 2 + (x - column) ** 2 < radius**2] = rng.integers(0, 256, channels)
    return pixels


def slopes(height: int, width: int, channels: int) -> Pixels:
    """A gradient of its own in each channel."""
    y, x = np.mgrid[:height, :width]
    planes = (
        x * 255 // width,
        y * 255 // height,
        255 - (x + y) * 255 // (height + width),
        (x // 8 + y // 8) * 30 % 256,
    )
    return np.dstack(planes[:channels]).astype(np.uint8)


ICONS = [make(32, 32, channels) for make in (drawing, slopes) for channels in (1, 2, 3, 4)]


@pytest.mark.parametrize("effort", range(4))
@pytest.mark.parametrize("pixels", ICONS, ids=lambda pixels: f"{pixels.shape[2]}-{pixels.mean():.0f}")
def test_icons_are_hardly_larger_than_webp(pixels: Pixels, effort: int) -> None:
    shown = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    data = llicti_core.encode(shown, effort=effort)
    assert np.array_equal(llicti_core.decode(data), shown)
    file = io.BytesIO()
    Image.fromarray(shown).save(file, "WEBP", lossless=True, method=6, quality=100, exact=True)
    assert len(data) <= len(file.getvalue()) + 12


def test_small_frames_are_one_section() -> None:
    palette = Palette("RGB", bytes(range(30)))
    data = llicti_core.encode(noise(9, 8, 1) // 32, mode="P", palette=palette)
    file = llicti_core.open(data)[0]
    assert [section.tag for section in file.sections.in_head] == [b"PLTE", b"GENR"]
    assert file.sections.start == len(data)
    apart = golden.assembled(golden.sections(data))
    assert len(apart) > len(data)
    for one in (data, apart):
        assert np.array_equal(llicti_core.decode(one), noise(9, 8, 1) // 32)
        assert np.array_equal(llicti_core.decode(io.BytesIO(one), region=(2, 3, 4, 5)), noise(9, 8, 1)[3:8, 2:6] // 32)
        assert np.array_equal(llicti_core.decode(one, scale=2), noise(9, 8, 1)[::2, ::2] // 32)
        assert llicti_core.read_palette(one) == palette
        assert llicti_core.open(one)[0].best_scale() == 1
        llicti_core.verify(one, strict=True)
    joined = llicti_core.join([data, apart, llicti_core.join([apart, data])])
    llicti_core.verify(joined, strict=True)
    assert [bool(frame.sections.in_head) for frame in llicti_core.open(joined)] == [True, False, False, True]
    with pytest.raises(llicti_core.LLCError):
        llicti_core.decode(data[:-1])


def test_bytes_after_a_small_frame_mean_nothing() -> None:
    pixels = drawing(9, 8, 3)
    data = llicti_core.encode(pixels)
    note = pack_section(b"note", b"passed over")
    for more in (b"more", b"m", b"bytes that mean nothing", note[:-1], note + b"more", note):
        for source in (data + more, io.BytesIO(data + more)):
            assert np.array_equal(llicti_core.decode(source), pixels)
        assert llicti_core.read_metadata(data + more) == llicti_core.Metadata()
        if more != note:
            with pytest.raises(FormatError, match="trailing data"):
                llicti_core.verify(data + more, strict=True)
    with pytest.raises(FormatError, match="damaged"):
        llicti_core.decode(data + note[:-1] + b"x")
    joined = llicti_core.join([data, data])
    with pytest.raises(llicti_core.LLCError):
        llicti_core.verify(joined[: len(data)] + b"more" + joined[len(data) :])


def test_large_frames_are_several_sections() -> None:
    pixels = noise(70, 80)
    data = llicti_core.encode(pixels)
    assert header_of(data).codings[0].kind == FALLBACK
    assert not llicti_core.open(data)[0].sections.in_head
    assert np.array_equal(llicti_core.decode(data), pixels)


def test_metadata_follows_a_small_frame() -> None:
    metadata = llicti_core.Metadata(comment=b"an icon", dpi=(72.0, 72.0))
    pixels = drawing(20, 30, 3)
    apart = llicti_core.encode(pixels, metadata=metadata)
    assert not llicti_core.open(apart)[0].sections.in_head, "damage would make the metadata bytes that mean nothing"
    head, *more = golden.sections(apart)
    payloads = [payload for tag, payload in more if not tag[:1].islower()]
    small = pack_head(Header.unpack(head[1]), payloads)
    data = write_start() + small + b"".join(pack_section(*section) for section in more if section[0][:1].islower())
    assert llicti_core.open(data)[0].sections.in_head
    for one in (apart, data, llicti_core.join([data, apart, data])):
        assert llicti_core.read_metadata(one) == metadata
        assert np.array_equal(llicti_core.decode(one), pixels)
        llicti_core.verify(one, strict=True)


def test_payloads_that_do_not_fit_in_their_head_are_refused() -> None:
    data = llicti_core.encode(noise(5, 4, 1) // 32, mode="P", palette=Palette("RGB", bytes(range(24))))
    header, payloads = header_of(data), [payload for _, payload in golden.sections(data)[1:]]
    assert pack_head(header, payloads) == data[len(write_start()) :]
    for wrong in (
        header.pack() + b"\1",
        header.pack() + pack_varint(1 << 40) + b"".join(payloads),
        header.pack() + payloads[0],
        header.pack() + b"\x80\0" + b"".join(payloads),
    ):
        with pytest.raises(FormatError):
            llicti_core.decode(write_start() + pack_section(b"HEAD", wrong))
    constant = header_of(llicti_core.encode(np.full((3, 4), 7, np.uint8)))
    learned = header_of(llicti_core.encode(photograph(60, 60)))
    assert learned.learned
    for other in (constant, learned):
        with pytest.raises(FormatError, match="trailing data"):
            llicti_core.decode(write_start() + pack_section(b"HEAD", other.pack() + b"\1"))


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("equal", [False, True])
def test_channel_groups_coded_together(channels: int, equal: bool) -> None:
    pixels = drawing(40, 50, channels)
    if equal:
        pixels[..., 1:3] = pixels[..., :1]
        pixels[..., -1] = drawing(40, 50, 1, seed=1)[..., 0]
    data = llicti_core.encode(pixels)
    header = header_of(data)
    assert [coding.kind for coding in header.codings] == [FALLBACK, JOINED]
    assert np.array_equal(llicti_core.decode(data), pixels)
    assert np.array_equal(llicti_core.decode(data, scale=4, region=(8, 4, 30, 20)), pixels[4:24:4, 8:38:4])


def test_channel_groups_coded_together_in_deep_and_many_channels() -> None:
    block = drawing(24, 30, 4)
    for pixels in (block.astype(np.uint16) * 257 ^ 3, np.dstack((block, block[..., ::-1])), block.astype(np.int8)):
        data = llicti_core.encode(pixels)
        assert JOINED in {coding.kind for coding in header_of(data).codings}
        assert np.array_equal(llicti_core.decode(data), pixels)


def test_transparent_pixels_keep_their_color() -> None:
    pixels = drawing(40, 50, 4)
    pixels[10:30, :, 3] = 0
    data = llicti_core.encode(pixels)
    (_, (_, payload)) = golden.sections(data)
    assert payload[0] == VP8L
    assert np.array_equal(llicti_core.decode(data), pixels)
    opaque = bytearray(payload)
    opaque[1 + 4] &= 0xEF
    with pytest.raises(FormatError, match="VP8L"):
        llicti_core.decode(write_start() + write_frame(header_of(data), [(b"GENR", bytes(opaque))]))


@pytest.mark.parametrize("codings", [(JOINED, FALLBACK), (COPIED, JOINED), (2, JOINED)])
def test_groups_that_have_nothing_to_be_joined_to(codings: tuple[int, int]) -> None:
    header = header_of(llicti_core.encode(drawing(8, 9, 2)))
    payload = header.pack()
    assert payload.endswith(bytes((FALLBACK, JOINED)))
    with pytest.raises(FormatError, match="group"):
        Header.unpack(payload[:-2] + bytes(codings))
    for reserved in (7, JOINED | 0x80):
        with pytest.raises(UnsupportedError, match=f"coding {reserved}"):
            Header.unpack(payload[:-1] + bytes((reserved,)))


@pytest.mark.parametrize("tail", [b"dW\xb6(\3abcdefgh", b"more", b"d"])
def test_bytes_after_a_header_that_holds_all_mean_nothing(tail: bytes) -> None:
    pixels = drawing(8, 9, 2)
    assert np.array_equal(llicti_core.decode(llicti_core.encode(pixels) + tail), pixels)


def test_joining_leaves_out_what_means_nothing_after_a_header_that_holds_all() -> None:
    pixels = drawing(8, 9, 2)
    section = b"ex\x80\x01\0"
    data = llicti_core.encode(pixels) + section + zlib.crc32(section).to_bytes(4, "little")
    joined = llicti_core.join([data, data])
    for frame in (0, 1):
        assert np.array_equal(llicti_core.decode(joined, frame=frame), pixels)
    assert section not in joined


def test_a_lower_plane_is_not_joined_to_a_higher_one() -> None:
    header = header_of(llicti_core.encode(noise(5, 6, 1).astype(np.uint16) * 250))
    assert [coding.kind for coding in header.codings] == [FALLBACK, FALLBACK]
    with pytest.raises(FormatError, match="joined group"):
        Header.unpack(header.pack()[:-1] + bytes((JOINED,)))


class _Watched:
    """Pillow's coder, and what it was asked to do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[int, int]] = []
        self._encode = fallback._vp8l
        monkeypatch.setattr(fallback, "_vp8l", self)

    def __call__(self, pixels: Pixels, method: int, quality: int) -> bytes:
        self.asked.append((method, quality))
        return self._encode(pixels, method, quality)


def test_what_cannot_win_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = _Watched(monkeypatch)
    pixels = smooth(300, 310)
    for effort in range(4):
        fallback.encode(pixels, effort, pixels.size / 5)
    assert len(watched.asked) == 4, "a photograph takes more than a look at each effort"
    watched.asked.clear()
    monkeypatch.setattr(fallback, "_ALL_STEPS", (0, 0))
    for effort in range(4):
        fallback.encode(drawing(300, 310, 3), effort, pixels.size / 3)
    assert len(watched.asked) == 2 + 3 + 4 + 4


def test_no_effort_makes_a_fallback_larger_than_the_one_below(monkeypatch: pytest.MonkeyPatch) -> None:
    images: list[Pixels] = [*ICONS, drawing(90, 80, 3, 2), np.tile(noise(7, 9), (20, 12, 1)), slopes(60, 70, 3)]
    for limits in (fallback._ALL_STEPS, (0, 0)):
        monkeypatch.setattr(fallback, "_ALL_STEPS", limits)
        for pixels in images:
            sizes = [len(fallback.encode(pixels, effort, 1e9)) for effort in range(4)]
            assert sizes == sorted(sizes, reverse=True)


def test_fallbacks_without_webp(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import features

    check = features.check
    monkeypatch.setattr(features, "check", lambda name: name != "webp" and check(name))
    for pixels in (drawing(40, 50, 4), noise(400, 300)):
        data = llicti_core.encode(pixels, effort=0)
        payloads = [payload for tag, payload in golden.sections(data) if tag == b"GENR"]
        assert payloads
        assert all(payload[0] != VP8L for payload in payloads)
        assert np.array_equal(llicti_core.decode(data), pixels)


def packed(palette: Palette) -> bytes:
    """The section of a palette in a file of its image."""
    pixels = np.zeros((2, 2), np.uint8)
    data = llicti_core.encode(pixels, mode="P", palette=palette)
    assert llicti_core.read_palette(data) == palette
    return dict(golden.sections(data))[b"PLTE"]


def test_palettes_are_packed() -> None:
    colors = np.arange(256, dtype=np.uint8)
    grey = Palette("RGB", np.repeat(colors, 3).tobytes())
    assert packed(grey)[:2] == b"\0\2"
    assert len(packed(grey)) < 40
    assert packed(Palette("RGBA", noise(256, 4, 1).tobytes()))[:2] == b"\1\0"
    assert packed(Palette("CMYK", (noise(90, 4, 1) // 86 * 100).tobytes()))[:2] == b"\2\1"
    assert packed(Palette("RGB", b"")) == b"\0\0"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0",
        b"\0\1",
        b"\0\1\xff",
        b"\3\0",
        b"\0\3",
        b"\0\0abcd",
        b"\0\2" + fallback.deflate(bytes(769)),
        b"\1\1" + fallback.deflate(bytes(6)),
        b"\0\1" + fallback.deflate(bytes(6)) + b"\0",
    ],
)
def test_palettes_that_are_damaged(payload: bytes) -> None:
    data = llicti_core.encode(np.zeros((2, 2), np.uint8), mode="P", palette=Palette("RGB", bytes(6)))
    sections: list[Any] = [(tag, payload if tag == b"PLTE" else content) for tag, content in golden.sections(data)]
    for function in (llicti_core.read_palette, llicti_core.decode):
        with pytest.raises(llicti_core.LLCError):
            function(golden.assembled(sections))
