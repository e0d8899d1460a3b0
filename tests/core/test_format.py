"""docs/format.md is complete and current: a decoder written from it alone, and all engines, decode golden files."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import format_decoder
import format_example
import golden
import numpy as np
import pytest
from coding import decode_with, header_of
from format_decoder import Refused
from images import noise, smooth
from numpy.typing import NDArray

import llicti_core
from llicti_core import Metadata, encoder, engines, models, spec
from llicti_core.adaptation import GAIN, HIDDEN_BIAS, SHIFT, WEIGHT, array_places, pack, unpack
from llicti_core.container import pack_section
from llicti_core.engines.base import Engine
from llicti_core.engines.native import NativeEngine, instruction_sets
from llicti_core.pyramid import level_count, stream_count

Pixels = NDArray[np.uint8]

ENGINES: dict[str, Callable[[], Engine]] = {"reference": lambda: engines.get("reference")}
ENGINES |= {isa: lambda isa=isa: NativeEngine(isa) for isa in instruction_sets()}  # type: ignore[misc]


@lru_cache
def plain_model(path: Path) -> format_decoder.Model:
    return format_decoder.read_model(path.read_bytes())


def plain_decode(data: bytes, frame: int = 0) -> Pixels:
    """What the decoder written from the document makes of a file."""
    info = llicti_core.inspect(data, frame=frame)
    model = plain_model(golden.model_path(info.model)) if info.model else None
    decoded = format_decoder.decode(data, model, frame=frame)
    samples = decoded.samples
    assert decoded.palette == llicti_core.read_palette(data, frame=frame)
    return np.frombuffer(samples, np.dtype(info.dtype).newbyteorder("<")).reshape(info.shape)


@pytest.fixture
def fixture_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets engines find the models in tests/fixtures."""
    monkeypatch.setenv("LLICTI_MODEL_PATH", str(golden.FIXTURES))


@pytest.mark.parametrize(
    "pixels",
    [
        smooth(1, 1),
        smooth(1, 7),
        smooth(5, 1, 1),
        smooth(2, 3),
        noise(7, 5, 1),
        smooth(9, 7),
        noise(3, 5),
        np.full((33, 5, 3), 200, np.uint8),
    ],
    ids=lambda pixels: "x".join(map(str, pixels.shape)),
)
def test_document_decodes_what_is_encoded(pixels: Pixels) -> None:
    assert np.array_equal(plain_decode(llicti_core.encode(pixels)), pixels)
    with golden.learned():
        assert np.array_equal(plain_decode(llicti_core.encode(pixels)), pixels)


def test_document_decodes_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "TILE_LOG2", 6)
    pixels = smooth(66, 1)
    with golden.learned():
        assert np.array_equal(plain_decode(llicti_core.encode(pixels)), pixels)


def test_there_are_golden_files() -> None:
    assert len(golden.files()) >= 28


@pytest.mark.parametrize("path", golden.files(), ids=lambda path: path.stem)
def test_document_decodes_golden_file(path: Path) -> None:
    found, expected = plain_decode(path.read_bytes()), golden.pixels(path)
    assert (found.shape, found.tobytes()) == (expected.shape, expected.tobytes())  # NaN equal to itself


@pytest.mark.usefixtures("fixture_models")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", golden.files(), ids=lambda path: path.stem)
def test_engine_decodes_golden_file(path: Path, engine: str) -> None:
    assert decode_with(ENGINES[engine](), path.read_bytes(), threads=2) == golden.pixels(path).tobytes()


@pytest.mark.usefixtures("fixture_models")
@pytest.mark.parametrize("engine", ENGINES)
def test_frames_of_a_golden_file(engine: str) -> None:
    path = golden.FIXTURES / "frames.llc"
    data = path.read_bytes()
    assert llicti_core.inspect(data).n_frames == 4
    for frame in range(1, 4):
        assert np.array_equal(plain_decode(data, frame), golden.pixels(path, frame))
        assert decode_with(ENGINES[engine](), data, frame=frame) == golden.pixels(path, frame).tobytes()


PLAIN_NAMES = {
    "iccp": "icc_profile",
    "exif": "exif",
    "xmpp": "xmp",
    "cmnt": "comment",
    "text": "text",
    "dpix": "dpi",
    "gama": "gamma",
    "trns": "transparency",
    "back": "background",
    "loop": "loop",
    "time": "duration",
}


def plain_metadata(data: bytes, frame: int = 0) -> Metadata:
    """What the decoder written from the document finds of a frame's metadata."""
    found = format_decoder.read_metadata(data, frame)
    return Metadata(
        **{
            PLAIN_NAMES[tag]: value[0] if isinstance(value, tuple) and len(value) == 1 else value
            for tag, value in found.items()
        }
    )


@pytest.mark.parametrize("path", golden.files(), ids=lambda path: path.stem)
def test_metadata_of_golden_files(path: Path) -> None:
    data = path.read_bytes()
    for frame, metadata in enumerate(golden.metadata(path)):
        assert llicti_core.read_metadata(data, frame=frame) == metadata
        assert plain_metadata(data, frame) == metadata


def test_golden_metadata_leaves_nothing_out() -> None:
    (metadata,) = golden.metadata(golden.FIXTURES / "metadata.llc")
    assert None not in metadata
    data = (golden.FIXTURES / "metadata.llc").read_bytes()
    assert {payload[:1] for tag, payload in golden.sections(data) if tag in (b"iccp", b"xmpp")} == {b"\0", b"\1"}


@pytest.mark.parametrize("name", ["metadata", "frames"])
def test_both_refuse_the_same_metadata(name: str) -> None:
    """Damage with good checksums."""
    sections = golden.sections((golden.FIXTURES / f"{name}.llc").read_bytes())
    chosen = [index for index, (tag, _) in enumerate(sections) if tag[:1].islower()]
    rng = np.random.default_rng(0)
    outcomes = []
    for _ in range(300):
        index = int(rng.choice(chosen))
        tag, payload = sections[index]
        damaged = bytearray(payload)
        for _ in range(int(rng.integers(1, 3))):
            at = int(rng.integers(len(damaged) + 1))
            damaged[at : at + int(rng.integers(2))] = rng.bytes(int(rng.integers(2)))
        data = golden.assembled([*sections[:index], (tag, bytes(damaged)), *sections[index + 1 :]])
        outcomes.append(metadata_outcome(data, llicti_core.read_metadata))
        assert metadata_outcome(data, plain_metadata) == outcomes[-1]
    assert None in outcomes
    assert len(set(map(str, outcomes))) > 30


def metadata_outcome(data: bytes, function: Callable[[bytes], Metadata]) -> Metadata | None:
    """The metadata of the first frame, None where it is refused."""
    try:
        return function(data)
    except (Refused, llicti_core.FormatError):
        return None


@pytest.mark.usefixtures("fixture_models")
def test_golden_files_leave_no_part_of_the_format_out() -> None:
    infos = [llicti_core.inspect(path.read_bytes()) for path in golden.files()]
    assert {info.mode for info in infos} >= {"", "1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I", "F"}
    headers = [header_of(path.read_bytes()) for path in golden.files()]
    assert {coding.kind for header in headers for coding in header.codings} == {0, 1, 2, 3, 4, 5, 6}
    assert {coding.kind for header in headers for coding in header.codings if coding.equal} >= {0, 1, 2, 6}
    assert {coding.kind for header in headers for coding in header.codings if coding.deep} == {2, 3, 4}
    ways = {(coding.equal, coding.deep) for header in headers for coding in header.codings if coding.learned}
    assert ways == {(False, False), (False, True), (True, False), (True, True)}
    payloads = [(*section, path) for path in golden.files() for section in golden.sections(path.read_bytes())]
    assert {payload[0] for tag, payload, _ in payloads if tag == b"GENR"} >= {0, 1, 2}
    assert {payload[0] for tag, payload, _ in payloads if tag == b"PLTE"} == {0, 1, 2}
    assert {payload[1] for tag, payload, _ in payloads if tag == b"PLTE"} == {0, 1, 2}
    apart = {path.stem: b"GENR" in path.read_bytes() for tag, _, path in payloads if tag == b"GENR"}
    assert set(apart.values()) == {False, True}
    assert {header.sample_type.name for header in headers if header.bits} >= {
        "uint16",
        "int32",
        "float32",
        "int16",
        "float64",
    }
    assert {info.tile_size for info in infos} >= {64, 1024}
    specs = [models.load(info.model).spec for info in infos if info.model]
    assert {depth for spec in specs for _, depth in (spec.luma, spec.chroma)} >= {1, 2, 3}
    assert {models.load(name).spec.name for name in ("default", "best")} <= {info.model for info in infos}
    learned = [(info, header) for info, header in zip(infos, headers, strict=True) if header.learned]
    assert {level_count(min(info.height, 64), min(info.width, 64)) for info, _ in learned} >= {0, 1, 2, 3, 4}
    stored = {(header.codings[0].stored(header.groups[0]), stream_count(info.height)) for info, header in learned}
    assert {channels for channels, streams in stored if streams > 1} == {1, 3}
    files = [path.read_bytes() for path in golden.files()]
    assert any(tag[:1].islower() for data in files for tag, _ in golden.sections(data))


@pytest.mark.usefixtures("fixture_models")
def test_golden_adaptations_leave_nothing_out() -> None:
    found, kinds, numbers = [], set(), []
    for path in golden.files():
        payload = dict(golden.sections(path.read_bytes())).get(b"ADPT")
        if payload is not None:
            header = header_of(path.read_bytes())
            model, channels = models.load(header.model), header.codings[0].stored(header.groups[0])
            adaptation = unpack(payload, model, channels)
            found.append(adaptation)
            places = array_places(model.spec, channels, adaptation.sets)
            kinds |= {place[0::2][:2] for place, array in zip(places, adaptation.arrays, strict=True) if array.any()}
            assert any(not array.any() for array in adaptation.arrays)
            numbers.append(np.concatenate([array.ravel() for array in adaptation.arrays]))
    assert {adaptation.sets for adaptation in found} >= {1, 2, 3, 5}
    assert {adaptation.precision for adaptation in found} >= {0, 1, 2, 3, 4}
    assert kinds == {(network, kind) for network in spec.NETWORKS for kind in (WEIGHT, HIDDEN_BIAS, GAIN, SHIFT)}
    assert (np.concatenate(numbers).min(), np.concatenate(numbers).max()) == (-128, 127)


def test_document_prints_the_tables() -> None:
    blocks = re.findall(r"(?m)(?:^ {4}\d+(?:, \d+)*,?\n)+", format_example.DOCUMENT.read_text("utf-8"))
    printed = [tuple(map(int, re.findall(r"\d+", block))) for block in blocks]
    in_code = [spec.CDF_TAIL, spec.SPREAD_MANTISSA, spec.WEIGHT_SHARE]
    assert printed[:3] == in_code
    assert in_code == [format_decoder.TAIL, format_decoder.MANTISSA, format_decoder.SHARE]


def test_worked_example_is_current() -> None:
    assert format_example.current() == format_example.text(), "run tests/fixtures/make_fixtures.py"


@pytest.fixture
def data() -> bytes:
    return (golden.FIXTURES / "row-colour.llc").read_bytes()


def test_document_refuses_every_truncation(data: bytes) -> None:
    model = plain_model(golden.model_path("fixture-a"))
    for length in range(len(data)):
        with pytest.raises(Refused):
            format_decoder.decode(data[:length], model)


def test_document_refuses_every_changed_byte(data: bytes) -> None:
    model = plain_model(golden.model_path("fixture-a"))
    for at in range(len(data)):
        with pytest.raises(Refused):
            format_decoder.decode(data[:at] + bytes((data[at] ^ 4,)) + data[at + 1 :], model)


def test_bytes_after_the_last_frame_are_ignored(data: bytes) -> None:
    model = plain_model(golden.model_path("fixture-a"))
    decoded = format_decoder.decode(data, model)
    for more in (b"\0", pack_section(b"LVL0", b""), pack_section(b"MORE", b""), b"more"):
        assert format_decoder.decode(data + more, model) == decoded


Sections = list[tuple[bytes, bytes]]

SECTION_CHANGES: dict[str, tuple[bool, Callable[[Sections], Sections]]] = {
    "nothing": (False, lambda s: s),
    "ancillary first": (False, lambda s: [s[0], (b"aaaa", b"x"), *s[1:]]),
    "ancillary last": (False, lambda s: [*s, (b"z\0\xff ", b""), (b"aaaa", b"x")]),
    "ancillary ADPT": (False, lambda s: [s[0], (b"aDPT", b"x"), *s[1:]]),
    "ancillary before HEAD": (True, lambda s: [(b"aaaa", b"x"), *s]),
    "unknown first": (True, lambda s: [s[0], (b"Aaaa", b"x"), *s[1:]]),
    "unknown last": (False, lambda s: [*s, (b"Zaaa", b"")]),
    "unknown without letters": (False, lambda s: [*s, (b"\xe4aaa", b"")]),
    "no ADPT": (True, lambda s: [section for section in s if section[0] != b"ADPT"]),
    "ADPT twice": (True, lambda s: [s[0], s[1], *s[1:]]),
    "ADPT before HEAD": (True, lambda s: [s[1], s[0], *s[2:]]),
    "ADPT after LVL3": (True, lambda s: [s[0], s[2], s[1], *s[3:]]),
    "HEAD twice": (True, lambda s: [s[0], *s]),
    "LVL0 missing": (True, lambda s: s[:-1]),
    "LVL0 before LVL1": (True, lambda s: [*s[:-2], s[-1], s[-2]]),
    "LVL2 of a tile without it": (True, lambda s: [*s[:3], (b"LVL2", bytes(2)), *s[3:]]),
    "empty ADPT": (True, lambda s: adapted(s, lambda a: b"")),
    "a byte of ADPT": (True, lambda s: adapted(s, lambda a: a[:1])),
    "no sets": (True, lambda s: adapted(s, lambda a: b"\0" + a[1:])),
    "six sets": (True, lambda s: adapted(s, lambda a: b"\6" + a[1:])),
    "precision 5": (True, lambda s: adapted(s, lambda a: a[:1] + b"\5" + a[2:])),
    "part of the bitmap": (True, lambda s: adapted(s, lambda a: a[:3])),
    "arrays that there are not": (True, lambda s: adapted(s, lambda a: a[:5] + bytes((a[5] | 128,)) + a[6:])),
    "an array less": (True, lambda s: adapted(s, lambda a: a[:2] + bytes((a[2] & a[2] - 1,)) + a[3:])),
    "nothing present": (True, lambda s: adapted(s, lambda a: b"\1\0" + bytes(4))),  # other pixels
    "nothing present but a state": (True, lambda s: adapted(s, lambda a: b"\1\0" + bytes(4) + b"\0\0\1\0")),
    "spread 88": (True, lambda s: adapted(s, lambda a: a[:6] + b"\x58" + a[7:])),
    "spreads missing": (True, lambda s: adapted(s, lambda a: a[:8])),
    "half a state": (True, lambda s: adapted(s, lambda a: a[: first_word(a) - 2])),
    "state of 65535": (True, lambda s: adapted(s, lambda a: a[: first_word(a) - 2] + b"\0\0" + a[first_word(a) :])),
    "a word less": (True, lambda s: adapted(s, lambda a: a[:-2])),
    "a word more": (True, lambda s: adapted(s, lambda a: a + b"\0\0")),
    "a byte more": (True, lambda s: adapted(s, lambda a: a + b"\0")),
    "a byte less": (True, lambda s: adapted(s, lambda a: a[:-1])),
    "the same for two sets": (False, lambda s: adapted(s, lambda a: with_sets(a, 2))),
    "the same for five sets": (False, lambda s: adapted(s, lambda a: with_sets(a, 5))),
}
"""Changes to the sections of ancillary.llc without its ancillary ones, and whether decoders refuse the result."""


def adapted(sections: Sections, change: Callable[[bytes], bytes]) -> Sections:
    return [(tag, change(payload) if tag == b"ADPT" else payload) for tag, payload in sections]


def first_word(payload: bytes) -> int:
    """Where the words begin in an adaptation of one set of fixture-b: 30 arrays."""
    return 6 + int.from_bytes(payload[2:6], "little").bit_count() + 4


def with_sets(payload: bytes, sets: int) -> bytes:
    """An adaptation of one set of fixture-b, for as many sets as are asked for."""
    model = models.load("fixture-b")
    arrays, one, precision = unpack(payload, model)
    assert one == 1
    by_place = {place[:4]: array for place, array in zip(array_places(model.spec, 3, 1), arrays, strict=True)}
    return pack([by_place[place[:4]] for place in array_places(model.spec, 3, sets)], sets, precision, model)


@pytest.mark.usefixtures("fixture_models")
@pytest.mark.parametrize("change", SECTION_CHANGES)
def test_all_decoders_take_and_refuse_the_same_sections(change: str) -> None:
    sections = golden.sections((golden.FIXTURES / "ancillary.llc").read_bytes())
    critical = [(tag, payload) for tag, payload in sections if not tag[:1].islower()]
    assert [tag for tag, _ in critical[:3]] == [b"HEAD", b"ADPT", b"LVL3"]
    wrong, make = SECTION_CHANGES[change]
    data = golden.assembled(make(critical))
    assert [refuses(data, engine) for engine in (None, *ENGINES)] == [wrong] * (1 + len(ENGINES))


@pytest.mark.usefixtures("fixture_models")
def test_all_decoders_refuse_an_adaptation_that_lets_sums_overflow() -> None:
    model = models.load("fixture-c")  # whose output layers reach as far as they may
    places = array_places(model.spec, 3, 1)
    arrays = [np.full(place.shape, place.kind == WEIGHT and place.layer == 1) * 99 for place in places]
    sections = golden.sections((golden.FIXTURES / "adapted-edge.llc").read_bytes())
    data = golden.assembled(adapted(sections, lambda _: pack(arrays, 1, 0, model)))
    for engine in ENGINES:
        with pytest.raises(llicti_core.FormatError, match="overflow"):
            decode_with(ENGINES[engine](), data)
    with pytest.raises(Refused, match="overflow"):
        plain_decode(data)


def test_document_refuses_damage_to_ancillary_sections() -> None:
    data = bytearray((golden.FIXTURES / "ancillary.llc").read_bytes())
    data[data.index(b"skipped")] ^= 1
    with pytest.raises(Refused, match="note"):
        plain_decode(bytes(data))


@pytest.mark.usefixtures("fixture_models")
@pytest.mark.parametrize("name", ["row-colour", "column-grey", "constant-grey", "ancillary"])
def test_all_decoders_refuse_the_same_damage(name: str) -> None:
    """Damage with good checksums, which only the decoding proper can find."""
    data = (golden.FIXTURES / f"{name}.llc").read_bytes()
    head, *sections = [section for section in golden.sections(data) if not section[0][:1].islower()]
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(40):
        chosen = int(rng.integers(len(sections)))
        tag, payload = sections[chosen]
        damaged = bytearray(payload)
        damaged[int(rng.integers(len(damaged)))] ^= 1 << int(rng.integers(8))
        changed = [*sections[:chosen], (tag, bytes(damaged)), *sections[chosen + 1 :]]
        outcome = [refuses(golden.assembled([head, *changed]), engine) for engine in (None, *ENGINES)]
        assert len(set(outcome)) == 1, outcome
        outcomes |= set(outcome)
    assert True in outcomes


@pytest.mark.usefixtures("fixture_models")
def test_all_decoders_refuse_a_lowpass_of_more_than_ten_bits() -> None:
    """Modulo 1024 the pixels would be right, and nothing is predicted from them: the tile is all lowpass."""
    head, (tag, payload), *rest = golden.sections((golden.FIXTURES / "deep-tile-of-one-pixel.llc").read_bytes())
    first_tile, bounds, pixels = 4 + 2 * 4, 4, 3
    for number in range(pixels):
        damaged = bytearray(payload)
        high_byte = first_tile + bounds + 2 * number + 1
        for bit in (4, 128):
            damaged[high_byte] = payload[high_byte] | bit
            data = golden.assembled([head, (tag, bytes(damaged)), *rest])
            assert [refuses(data, engine) for engine in (None, *ENGINES)] == [True] * (1 + len(ENGINES))


def refuses(data: bytes, engine: str | None) -> bool:
    """Whether an engine, or the decoder written from the document, refuses a file."""
    try:
        if engine is None:
            plain_decode(data)
        else:
            decode_with(ENGINES[engine](), data)
    except (Refused, llicti_core.FormatError, llicti_core.UnsupportedError):
        return True
    return False
