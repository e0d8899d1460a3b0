"""Views of an image: small versions, regions, and what the beginning of a file gives."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import golden
import imageio.v2 as iio2
import imageio.v3 as iio
import numpy as np
import pytest
from coding import decode_prefix, header_of
from hypothesis import given, settings
from hypothesis import strategies as st
from images import SIZES, deep, noise, photograph, smooth
from numpy.typing import NDArray
from PIL import Image, ImageFile

import llicti_core
from llicti_core import encoder, engines, fallback, models
from llicti_core.container import Coding, Header, find_section, pack_section, write_frame, write_start
from llicti_core.errors import FormatError, LLCError, TruncatedError
from llicti_core.payloads import Payload
from llicti_core.samples import SAMPLE_TYPES
from llicti_core.source import MemorySource
from llicti_core.spec import FALLBACK, LEARNED, PLAIN
from llicti_core.view import View

SCALES = [1, 2, 4, 8, 16, 32]


@pytest.fixture(autouse=True)
def _fixture_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLICTI_MODEL_PATH", str(golden.FIXTURES))


@pytest.fixture(scope="module")
def tiled() -> tuple[NDArray[np.uint8], bytes]:
    """A photograph of 300x200 pixels in 5 x 4 tiles, and its file."""
    pixels = photograph(200, 300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "TILE_LOG2", 6)
        return pixels, llicti_core.encode(pixels, effort=0)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()  # NaN equal to itself


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_at_every_scale(channels: int, scale: int) -> None:
    for size in SIZES:
        pixels = smooth(*size, channels)
        data = llicti_core.encode(pixels)
        assert same(llicti_core.decode(data, scale=scale), pixels[::scale, ::scale])


@pytest.mark.parametrize("path", golden.files(), ids=lambda path: path.stem)
def test_golden_files(path: Path) -> None:
    pixels, data = golden.pixels(path), path.read_bytes()
    height, width = pixels.shape[:2]
    for scale in SCALES:
        assert same(llicti_core.decode(data, scale=scale), pixels[::scale, ::scale])
    for x, y, wide, high in [(0, 0, 1, 1), (width - 1, height - 1, 1, 1), (width // 3, height // 2, width // 2 + 1, 1)]:
        assert same(llicti_core.decode(data, region=(x, y, wide, high)), pixels[y : y + high, x : x + wide])


@pytest.mark.parametrize(("bits", "channels"), [(10, 3), (11, 4), (12, 1), (14, 3), (16, 1), (16, 4)])
def test_deep_photographs(bits: int, channels: int) -> None:
    """Regions, small versions, and what the beginning of a file holds, lower planes included."""
    pixels = deep(150, 200, channels) >> (16 - bits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "TILE_LOG2", 6)
        data = llicti_core.encode(pixels, effort=0)
    header = header_of(data)
    assert header.scalable
    assert any(coding.deep for coding in header.codings)
    assert (PLAIN in {coding.kind for coding in header.codings}) == (bits > 10)
    for scale in SCALES:
        assert same(llicti_core.decode(data, scale=scale), pixels[::scale, ::scale])
        region = (64, 32, 71, 90)
        assert same(llicti_core.decode(data, scale=scale, region=region), pixels[32:122:scale, 64:135:scale])
    found = set()
    for size in range(0, len(data), len(data) // 50):
        with suppress(TruncatedError):
            part, scale = decode_prefix(data[:size])
            assert same(part, pixels[::scale, ::scale])
            found.add(scale)
    assert found >= {2, 4, 8}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_any_region_at_any_scale(tiled: tuple[NDArray[np.uint8], bytes], data: st.DataObject) -> None:
    pixels, file = tiled
    height, width = pixels.shape[:2]
    scale = data.draw(st.sampled_from(SCALES))
    x, y = (scale * data.draw(st.integers(0, (size - 1) // scale)) for size in (width, height))
    region = (x, y, data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y)))
    expected = pixels[y : y + region[3] : scale, x : x + region[2] : scale]
    assert same(llicti_core.decode(file, scale=scale, region=region), expected)


def test_only_the_tiles_that_a_region_touches_are_decoded(
    tiled: tuple[NDArray[np.uint8], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, data = tiled
    engine, decoded = engines.get(), []

    class Spy:
        name = "spy"

        def decode(self, image, *others) -> None:
            decoded.append((image.pixels.nbytes, len(image.tiles)))
            engine.decode(image, *others)

    monkeypatch.setattr(engines, "get", Spy)
    for region, tiles in [((64, 64, 64, 64), 1), ((63, 64, 64, 64), 2), ((63, 127, 66, 2), 6), ((299, 199, 1, 1), 1)]:
        x, y, width, height = region
        assert same(llicti_core.decode(data, region=region), pixels[y : y + height, x : x + width])
        assert decoded.pop() == (3 * width * height, tiles)


@pytest.mark.parametrize("scale", [0, 3, -2, 64, 2**40])
def test_other_scales_are_refused(scale: int, tiled: tuple[NDArray[np.uint8], bytes]) -> None:
    with pytest.raises(ValueError, match="scale must be one of 1, 2, 4, 8, 16, 32"):
        llicti_core.decode(tiled[1], scale=scale)


@pytest.mark.parametrize(
    "region",
    [
        (0, 0, 0, 1),
        (0, 0, 1, 0),
        (-1, 0, 2, 2),
        (0, -1, 2, 2),
        (0, 0, 301, 1),
        (0, 0, 1, 201),
        (300, 0, 1, 1),
        (299, 199, 2, 1),
        (5, 5, -3, 2),
        (2**70, 0, 1, 1),
        (0, 0, 2**70, 1),
    ],
)
def test_regions_outside_the_image_are_refused(
    region: tuple[int, int, int, int], tiled: tuple[NDArray[np.uint8], bytes]
) -> None:
    with pytest.raises(ValueError, match="is empty or reaches beyond the image of 300x200"):
        llicti_core.decode(tiled[1], region=region)


def test_regions_between_the_pixels_of_a_scale_are_refused(tiled: tuple[NDArray[np.uint8], bytes]) -> None:
    for region in [(4, 0, 8, 8), (0, 12, 8, 8)]:
        with pytest.raises(ValueError, match="must be multiples"):
            llicti_core.decode(tiled[1], scale=8, region=region)


def test_regions_are_four_whole_numbers(tiled: tuple[NDArray[np.uint8], bytes]) -> None:
    with pytest.raises(ValueError, match="unpack"):
        llicti_core.decode(tiled[1], region=(0, 0, 1))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        llicti_core.decode(tiled[1], region=(0, 0, 1.5, 1))  # type: ignore[arg-type]
    pixels = llicti_core.decode(tiled[1], region=np.array([1, 2, 3, 4]))  # type: ignore[arg-type]
    assert same(pixels, tiled[0][2:6, 1:4])


def test_every_prefix() -> None:
    """At each length the best scale is that of the sections which are whole, and one byte less is not enough."""
    pixels = photograph(40, 60)
    data = llicti_core.encode(pixels, effort=0)
    # A section's tag stands where those before it end.
    enough = [data.index(tag) for tag in (b"LVL2", b"LVL1", b"LVL0")] + [len(data)]
    for length in range(enough[0]):
        with pytest.raises(TruncatedError):
            decode_prefix(data[:length])
    for scale in (16, 32):
        assert same(llicti_core.decode(data[: enough[0]], scale=scale), pixels[::scale, ::scale])
    for scale, length, stop in zip((8, 4, 2, 1), enough, [*enough[1:], len(data) + 1], strict=True):
        for other in range(length, stop):
            assert llicti_core.open(data[:other])[0].best_scale() == scale
        assert same(decode_prefix(data[:length])[0], pixels[::scale, ::scale])
        assert same(llicti_core.decode(data[:length], scale=scale), pixels[::scale, ::scale])
        with pytest.raises(TruncatedError):
            llicti_core.decode(data[: length - 1], scale=scale)


def test_small_versions_do_not_look_at_the_rest_of_the_file(tiled: tuple[NDArray[np.uint8], bytes]) -> None:
    pixels, data = tiled
    start = data.index(b"LVL1")
    damaged = data[:start] + bytes(len(data) - start)
    assert same(llicti_core.decode(damaged, scale=4), pixels[::4, ::4])
    with pytest.raises(FormatError):
        llicti_core.decode(damaged, scale=2)


def test_damage_in_what_a_view_takes_is_noticed(tiled: tuple[NDArray[np.uint8], bytes]) -> None:
    data = bytearray(tiled[1])
    data[data.index(b"LVL3") + 40] ^= 1
    for arguments in ({"scale": 8}, {"region": (0, 0, 1, 1)}):
        with pytest.raises(FormatError, match=r"LVL3.*damaged"):
            llicti_core.decode(data, **arguments)
    with pytest.raises(FormatError, match=r"LVL3.*damaged"):
        decode_prefix(data)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_damaged_files_give_an_error_or_right_pixels(
    tiled: tuple[NDArray[np.uint8], bytes], data: st.DataObject
) -> None:
    pixels, file = tiled
    damaged = bytearray(file)
    at = data.draw(st.integers(0, 400) | st.integers(0, len(file) - 1))
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    del damaged[data.draw(st.integers(at, len(file)) | st.just(len(file))) :]
    with suppress(LLCError):
        found, scale = decode_prefix(damaged)
        assert same(found, pixels[::scale, ::scale])
    for scale, region in [(8, None), (1, (70, 70, 3, 2)), (4, (64, 0, 100, 90))]:
        x, y, width, height = region or (0, 0, 300, 200)
        with suppress(LLCError):
            found = llicti_core.decode(damaged, scale=scale, region=region)
            assert same(found, pixels[y : y + height : scale, x : x + width : scale])


@pytest.mark.parametrize("scale", SCALES)
def test_sizes_that_a_header_lies_about_are_refused(scale: int) -> None:
    """A view takes no memory in proportion to what the header states alone."""
    header = Header(2**31 - 1, 2**31 - 1, "L", SAMPLE_TYPES[0], 1, 0, 0, 0, (Coding(FALLBACK),))
    for kind in (FALLBACK, LEARNED):
        lie = header._replace(codings=(Coding(kind),), tile_log2=6, model=models.load().spec.name, identity=bytes(8))
        if kind == LEARNED:
            lie = lie._replace(identity=models.load().identity)
        data = write_start() + write_frame(lie, [(b"GENR", bytes(100))])
        for region in (None, (0, 0, 32, 32), (2**31 - 128, 0, 64, 64)):
            with pytest.raises(LLCError):
                llicti_core.decode(data, scale=scale, region=region)


class CountingFile(io.BytesIO):
    """A file that knows how much of it has been read."""

    reached = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.reached = max(self.reached, self.tell())
        return data


def test_of_a_file_no_more_is_read_than_needed(tiled: tuple[NDArray[np.uint8], bytes]) -> None:
    pixels, data = tiled
    for scale, tag in [(32, b"LVL2"), (8, b"LVL2"), (2, b"LVL0")]:
        file = CountingFile(data)
        assert same(llicti_core.decode(file, scale=scale), pixels[::scale, ::scale])
        assert file.reached <= data.index(tag) + llicti_core.MAX_HEADER_BYTES  # a block that small reads take
    file = CountingFile(b"before" + data)
    file.seek(6)
    assert same(llicti_core.decode(file, region=(9, 8, 7, 6)), pixels[8:14, 9:16])


def test_views_of_frames(tiled: tuple[NDArray[np.uint8], bytes]) -> None:
    pixels = [photograph(90, 70), drawing(45, 70, 3), photograph(33, 40)]
    data = llicti_core.join([llicti_core.encode(image, effort=0) for image in pixels])
    for number, image in enumerate(pixels):
        for scale in SCALES:
            assert same(llicti_core.decode(data, frame=number, scale=scale), image[::scale, ::scale])
        assert same(llicti_core.decode(io.BytesIO(data), frame=number, region=(5, 6, 7, 8)), image[6:14, 5:12])
    found, scale = decode_prefix(data[: data.index(b"LVL1")])
    assert scale == 4
    assert same(found, pixels[0][::4, ::4])
    with opened(data) as image:
        assert image.draft(None, (17, 20)) is not None
        assert image.size == (18, 23)
        image.seek(2)
        assert image.size == (40, 33)
        assert image.draft(None, (20, 16)) is not None
        assert same(np.asarray(image), averaged(pixels[2], 2))
        image.seek(0)
        assert same(np.asarray(image), pixels[0])


def test_imageio(tiled: tuple[NDArray[np.uint8], bytes], tmp_path: Path) -> None:
    pixels, data = tiled
    path = tmp_path / "a.llc"
    path.write_bytes(data)
    assert same(iio.imread(path, scale=8), pixels[::8, ::8])
    assert same(iio.imread(path, region=(5, 6, 7, 8)), pixels[6:14, 5:12])
    assert same(iio2.imread(path, scale=8), pixels[::8, ::8])
    for region in [(0, 0, 301, 1), (1, 0, 8, 8)]:
        with pytest.raises(ValueError, match="region"):
            iio.imread(path, scale=2, region=region)
    path.write_bytes(data[: data.index(b"LVL1")])
    assert same(iio.imread(path, scale=4), pixels[::4, ::4])
    with pytest.raises(OSError, match="ends before"):
        iio.imread(path, scale=2)
    iio.imwrite(path, [pixels, pixels[::-1]])
    assert same(iio.imread(path, scale=4, index=...), np.stack([pixels, pixels[::-1]])[:, ::4, ::4])
    assert [image.shape for image in iio.imiter(path, scale=2)] == [(100, 150, 3)] * 2


# Images that no model has coded, or not alone


def drawing(*shape: int) -> NDArray[np.uint8]:
    """A few colours in large areas, with some texture."""
    pixels = np.zeros(shape, np.uint8)
    pixels[5:30, 10:50] = 200
    pixels[20:, 30:45] = np.arange(pixels[20:, 30:45].size).reshape(pixels[20:, 30:45].shape) % 7 * 31
    return pixels


def arrays() -> dict[str, NDArray[np.generic]]:
    """Images of every way of coding."""
    colour = photograph(45, 70)
    deep = colour.astype(np.uint16) * 256 + noise(45, 70)
    whole = deep.astype(np.int32) * 70000 - 2**30
    return {
        "drawing": drawing(45, 70, 3),
        "grey drawing": drawing(45, 70),
        "palette": drawing(45, 70) // 50,
        "bits": colour[..., 0] > 100,
        "one colour": np.full((45, 70, 3), 7, np.uint8),
        "grey kept as colour": np.repeat(colour[..., :1], 3, axis=2),
        "alpha": np.dstack([colour, drawing(45, 70)]),
        "opaque": np.dstack([colour, np.full((45, 70), 255, np.uint8)]),
        "two channels": colour[..., :2],
        "seven channels": np.dstack([colour, colour[::-1], colour[..., 1]]),
        "16 bits": deep,
        "grey of 16 bits": deep[..., 1],
        "12 bits": deep[..., 0] >> 4,
        "32 bits": whole[..., 0],
        "floats": (colour / 255).astype(np.float32),
        "fine floats": np.sqrt(deep.astype(np.float32))[..., 0],
    }


@pytest.mark.parametrize("kind", arrays())
def test_views_of_every_kind_of_image(kind: str) -> None:
    pixels = arrays()[kind]
    data = llicti_core.encode(pixels, effort=0)
    for scale in SCALES:
        assert same(llicti_core.decode(data, scale=scale), pixels[::scale, ::scale])
        x, y = 8 // scale * scale, 16 // scale * scale
        found = llicti_core.decode(data, scale=scale, region=(x, y, 33, 18))
        assert same(found, pixels[y : y + 18 : scale, x : x + 33 : scale])
    last = None
    for length in [*range(0, len(data), 1 + len(data) // 200), len(data)]:
        try:
            found, last = decode_prefix(data[:length])
        except TruncatedError:
            assert last is None
        else:
            assert same(found, pixels[::last, ::last])
    assert last == 1


def test_drawings_in_several_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "BLOCK", 16)
    decoded: list[Any] = []
    decode_block = fallback._decode_block

    def noted(*block: Any) -> Any:
        decoded.append(block)
        return decode_block(*block)

    monkeypatch.setattr(fallback, "_decode_block", noted)
    pixels = drawing(45, 70, 3)
    source = MemorySource(pack_section(b"GENR", fallback.encode(pixels, 1, pixels.size)))
    payload = Payload(source, find_section(source, 0))
    for region in [(0, 0, 70, 45), (15, 15, 2, 2), (16, 32, 16, 13), (69, 44, 1, 1), (3, 0, 1, 45)]:
        x, y, width, height = region
        for scale in [scale for scale in SCALES if x % scale == y % scale == 0]:
            decoded.clear()
            found = fallback.decode(payload, 45, 70, 3, View.of(70, 45, scale, region))
            assert found == pixels[y : y + height : scale, x : x + width : scale].tobytes()
            across = (x + width - 1) // 16 - x // 16 + 1
            assert len(decoded) == across * ((y + height - 1) // 16 - y // 16 + 1)


# Pillow


@pytest.fixture(scope="module")
def astronaut() -> tuple[NDArray[np.uint8], bytes]:
    """A photograph of 500x333 pixels, and its file."""
    pixels = photograph(333, 500)
    return pixels, llicti_core.encode(pixels, effort=0)


@pytest.fixture
def load_truncated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def averaged(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """What Image.draft makes of a picture: every pixel the mean of 4 x 4 that lie apart alike, or of all there are."""
    step = max(factor // 4, 1)
    kept = np.ascontiguousarray(pixels[::step, ::step])
    return np.asarray(Image.fromarray(kept).reduce(factor // step))


@pytest.mark.parametrize(
    ("size", "scale"),
    [
        ((500, 333), 1),
        ((251, 166), 1),
        ((250, 166), 2),
        ((1, 100), 2),
        ((125, 1), 4),
        ((100, 83), 4),
        ((60, 40), 8),
        ((20, 20), 16),
        ((15, 10), 32),
        ((1, 1), 32),
        ((0, 0), 32),
        ((2000, 1), 1),
    ],
)
def test_draft(size: tuple[int, int], scale: int, astronaut: tuple[NDArray[np.uint8], bytes]) -> None:
    pixels, data = astronaut
    with opened(data) as image:
        mode, box = image.draft("L", size)
        assert mode == image.mode == "RGB"
        assert image.size == (-(-500 // scale), -(-333 // scale))
        assert 0 <= box[0] == box[1] < 0.5
        assert box[2] <= image.width
        assert box[3] <= image.height
        assert same(np.asarray(image), averaged(pixels, scale))


def test_draft_comes_but_once_and_before_loading(astronaut: tuple[NDArray[np.uint8], bytes]) -> None:
    with opened(astronaut[1]) as image:
        assert image.draft(None, None) == ("RGB", (0, 0, 500, 333))
        assert image.size == (500, 333)
        assert image.draft(None, (60, 40)) == ("RGB", (0.0625, 0.0625, 62.5625, 41.6875))
        assert image.draft(None, (30, 30)) is None
        assert image.size == (63, 42)
        image.load()
        assert same(np.asarray(image), averaged(astronaut[0], 8))
    with opened(astronaut[1]) as image:
        image.load()
        assert image.draft(None, (50, 50)) is None
        assert same(np.asarray(image), astronaut[0])


def test_what_no_model_has_coded_is_not_made_smaller() -> None:
    """It would cost as much, and look worse."""
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[::2, ::3] = 255, 0, 128
    data = llicti_core.encode(pixels)
    assert llicti_core.inspect(data).model is None
    with opened(data) as image:
        assert image.draft(None, (10, 10)) == ("RGB", (0, 0, 40, 30))
        assert same(np.asarray(image), pixels)


def decibels(a: Image.Image, b: Image.Image) -> float:
    """Peak signal to noise ratio."""
    error = np.square(np.asarray(a, float) - np.asarray(b, float)).mean()
    return 10 * np.log10(255**2 / max(error, 1e-9))


@pytest.mark.parametrize("side", [16, 20, 40, 64, 100, 240])
def test_thumbnails_look_like_those_of_the_whole_image(side: int, astronaut: tuple[NDArray[np.uint8], bytes]) -> None:
    pixels, data = astronaut
    best, whole = Image.fromarray(pixels), Image.fromarray(pixels)
    best.thumbnail((side, side), reducing_gap=None)
    whole.thumbnail((side, side))
    with opened(data) as image:
        image.thumbnail((side, side))
        assert image.size == best.size
        assert decibels(image, best) > decibels(whole, best) - 1
        image.save(io.BytesIO(), "PNG")


def test_small_versions_of_the_finest_pattern_are_its_mean() -> None:
    y, x = np.mgrid[:256, :256]
    board = ((x + y) % 2 * 255).astype(np.uint8)
    red = board ^ np.random.default_rng(0).integers(0, 8, board.shape, np.uint8)  # without noise no model codes it
    data = llicti_core.encode(np.dstack([red, board, board]), effort=0)
    for size in ((128, 128), (64, 64), (32, 32)):
        with opened(data) as image:
            assert image.info["model"]
            image.thumbnail(size)
            assert abs(np.asarray(image).mean() - 127.5) < 1
    with opened(data) as image:
        image.draft(None, (64, 64))
        assert image.size == (64, 64)
        assert abs(np.asarray(image).mean() - 127.5) < 1


@pytest.mark.parametrize("mode", ["LA", "RGBA", "CMYK", "YCbCr", "L"])
def test_modes_whose_small_versions_are_means(mode: str) -> None:
    image = Image.fromarray(photograph(120, 160)).convert("RGB")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image = image.convert(mode)
    file = io.BytesIO()
    image.save(file, "LLC", effort=0)
    with Image.open(file) as reopened:
        reopened.draft(None, (40, 30))
        assert reopened.tobytes() == image.reduce(4).tobytes()


def test_thumbnails_need_only_the_scales_that_they_show(astronaut: tuple[NDArray[np.uint8], bytes]) -> None:
    _, data = astronaut
    start = data[: data.index(b"LVL1")]
    expected, image = opened(data), opened(start)
    for each in (expected, image):
        each.thumbnail((10, 10))
    assert image == expected
    with pytest.raises(OSError, match="truncated"):
        opened(start).thumbnail((200, 200))


@pytest.mark.parametrize("size", [1000, 4096, 10**6])
def test_parser(size: int, astronaut: tuple[NDArray[np.uint8], bytes]) -> None:
    pixels, data = astronaut
    with ImageFile.Parser() as parser:
        for start in range(0, len(data), size):
            parser.feed(data[start : start + size])
        assert same(np.asarray(parser.close()), pixels)


def test_parser_of_half_a_file(astronaut: tuple[NDArray[np.uint8], bytes]) -> None:
    parser = ImageFile.Parser()
    parser.feed(astronaut[1][:20000])
    with pytest.raises(OSError, match="image file is truncated"):
        parser.close()


@pytest.mark.usefixtures("load_truncated")
def test_truncated_files_show_the_best_scale_they_hold(astronaut: tuple[NDArray[np.uint8], bytes]) -> None:
    pixels, data = astronaut
    for scale, tag in [(8, b"LVL2"), (4, b"LVL1"), (2, b"LVL0"), (1, b"")]:
        cut = data.index(tag) + 7 if tag else len(data)
        with opened(data[:cut]) as image:
            assert same(np.asarray(image), known_at(pixels, scale))
    with opened(data[: data.index(b"LVL2") + 7]) as image:
        image.draft(None, (250, 166))
        assert same(np.asarray(image), np.asarray(Image.fromarray(known_at(pixels, 8)).reduce(2)))
    with opened(data[: data.index(b"LVL2") + 7]) as image:
        image.draft(None, (15, 10))
        assert same(np.asarray(image), averaged(pixels, 32))


def known_at(pixels: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Every scale-th pixel, enlarged to where it was."""
    large = pixels[::scale, ::scale].repeat(scale, axis=0).repeat(scale, axis=1)
    return large[: pixels.shape[0], : pixels.shape[1]]


def test_truncated_files_are_refused_unless_asked_for(astronaut: tuple[NDArray[np.uint8], bytes]) -> None:
    for length in (100, 2000, 20000, len(astronaut[1]) - 1):
        with opened(astronaut[1][:length]) as image, pytest.raises(OSError, match="image file is truncated: file ends"):
            image.load()


@pytest.mark.usefixtures("load_truncated")
def test_where_nothing_is_known_nothing_is_shown(astronaut: tuple[NDArray[np.uint8], bytes]) -> None:
    data = astronaut[1]
    with opened(data[: data.index(b"LVL3") + 100]) as image, pytest.raises(OSError, match="image file is truncated"):
        image.load()
    damaged = bytearray(data)
    damaged[data.index(b"LVL2") + 20] ^= 1
    with opened(damaged) as image, pytest.raises(OSError, match="damaged"):
        image.load()
