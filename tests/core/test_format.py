"""docs/format.md is complete and current: a decoder written from it alone, and all engines, decode golden files."""

from __future__ import annotations

import re
import zlib
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
from llicti_core.adaptation import NOT_ADAPTED, AdaptedParameters, hidden_per_level
from llicti_core.container import pack_section
from llicti_core.engines.base import Engine
from llicti_core.engines.native import NativeEngine, instruction_sets

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


def remembered(parameters: Callable[..., list[int]]) -> Callable[..., list[int]]:
    """The method of a prediction, computing nothing twice."""
    known: dict[tuple[object, ...], list[int]] = {}

    def method(self: format_decoder.Prediction, scale: int, band: str, inputs: list[int]) -> list[int]:
        key = (scale, band, *inputs)
        if key not in known:
            known[key] = parameters(self, scale, band, inputs)
        return known[key]

    return method


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
def test_document_decodes_golden_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if path.stem == "streams":  # many pixels, few different contexts
        prediction = format_decoder.Prediction
        monkeypatch.setattr(prediction, "parameters", remembered(prediction.parameters))
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
    assert {coding.kind for header in headers for coding in header.codings} == {0, 1, 2, 3, 4}
    assert {coding.kind for header in headers for coding in header.codings if coding.equal} >= {0, 1, 2}
    coders = [
        payload[0] for path in golden.files() for tag, payload in golden.sections(path.read_bytes()) if tag == b"GENR"
    ]
    assert set(coders) >= {0, 1, 2}
    assert {header.sample_type.name for header in headers if header.bits} >= {
        "uint16",
        "int32",
        "float32",
        "int16",
        "float64",
    }
    assert {info.tile_size for info in infos} >= {64, 1024}
    assert {models.load(info.model).spec.depth for info in infos if info.model} >= {1, 2}
    assert any(info.width * info.height * 3 >= 480_000 for info in infos if info.mode == "RGB")  # two streams
    assert {models.load(name).spec.name for name in ("default", "fast", "best")} <= {info.model for info in infos}
    files = [path.read_bytes() for path in golden.files()]
    corrected = [found for found in map(corrections, files) if found]
    assert len(corrected) < len(files)
    assert {len(found.outputs) // 360 for found in corrected} >= {1, 2, 5}
    assert {deep for _, deep in map(corrected_scales, files)} >= {0, 1, 5}
    assert any(deep < scales for scales, deep in map(corrected_scales, files) if deep)
    gains = np.concatenate([np.frombuffer(found.outputs, np.int8).reshape(-1, 2, 60)[:, 0] for found in corrected])
    for values in (gains, np.frombuffer(b"".join(found.hidden for found in corrected), np.int8)):
        assert values.min() == -128
        assert values.max() == 127
    assert any(tag[:1].islower() for data in files for tag, _ in golden.sections(data))


def corrections(data: bytes) -> AdaptedParameters:
    """What the first CORR section of a file unpacks to, if it has one."""
    payloads = [zlib.decompress(payload) for tag, payload in golden.sections(data) if tag == b"CORR"]
    if not payloads:
        return NOT_ADAPTED
    per_scale = hidden_per_level(models.load(llicti_core.inspect(data).model))
    end = len(payloads[0]) - payloads[0][0] * per_scale
    return AdaptedParameters(payloads[0][1:end], payloads[0][end:])


def corrected_scales(data: bytes) -> tuple[int, int]:
    """Scales with corrections of outputs, and of hidden biases."""
    found = corrections(data)
    if not found:
        return 0, 0
    per_scale = hidden_per_level(models.load(llicti_core.inspect(data).model))
    return len(found.outputs) // 360, len(found.hidden) // per_scale


def test_document_prints_the_tables() -> None:
    blocks = re.findall(r"(?m)(?:^ {4}\d+(?:, \d+)*,?\n)+", format_example.DOCUMENT.read_text("utf-8"))
    printed = [tuple(map(int, re.findall(r"\d+", block))) for block in blocks]
    in_code = [spec.CDF_TAIL, spec.SPREAD_MANTISSA, spec.WEIGHT_EXP]
    assert printed[:3] == in_code
    assert in_code == [format_decoder.TAIL, format_decoder.MANTISSA, format_decoder.EXP]


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
    for more in (b"\0", pack_section(b"SCL0", b""), pack_section(b"MORE", b""), b"more"):
        assert format_decoder.decode(data + more, model) == decoded


Sections = list[tuple[bytes, bytes]]

SECTION_CHANGES: dict[str, tuple[bool, Callable[[Sections], Sections]]] = {
    "nothing": (False, lambda s: s),
    "ancillary first": (False, lambda s: [s[0], (b"aaaa", b"x"), *s[1:]]),
    "ancillary last": (False, lambda s: [*s, (b"z\0\xff ", b""), (b"aaaa", b"x")]),
    "ancillary CORR": (False, lambda s: [s[0], (b"cORR", b"x"), *s[1:]]),
    "ancillary before HEAD": (True, lambda s: [(b"aaaa", b"x"), *s]),
    "unknown first": (True, lambda s: [s[0], (b"Aaaa", b"x"), *s[1:]]),
    "unknown last": (False, lambda s: [*s, (b"Zaaa", b"")]),
    "unknown without letters": (False, lambda s: [*s, (b"\xe4aaa", b"")]),
    "no CORR": (True, lambda s: [section for section in s if section[0] != b"CORR"]),  # other pixels
    "CORR twice": (True, lambda s: [s[0], s[1], *s[1:]]),
    "CORR before HEAD": (True, lambda s: [s[1], s[0], *s[2:]]),
    "CORR after COAR": (True, lambda s: [s[0], s[2], s[1], *s[3:]]),
    "HEAD twice": (True, lambda s: [s[0], *s]),
    "SCL0 missing": (True, lambda s: s[:-1]),
    "SCL0 before SCL1": (True, lambda s: [*s[:-2], s[-1], s[-2]]),
    "empty CORR": (True, lambda s: changed_corrections(s, lambda _: b"")),
    "no stream": (True, lambda s: changed_corrections(s, lambda _: b"no zlib")),
    "no scales": (True, lambda s: changed_corrections(s, lambda _: zlib.compress(b""))),
    "part of a scale": (True, lambda s: changed_corrections(s, lambda c: zlib.compress(c + bytes(180)))),
    "a byte more": (True, lambda s: changed_corrections(s, lambda c: zlib.compress(c + bytes(1)))),
    "six scales": (True, lambda s: changed_corrections(s, lambda c: zlib.compress(outputs(c) + bytes(5 * 360)))),
    "only a number of scales": (True, lambda s: changed_corrections(s, lambda c: zlib.compress(c[:1]))),
    "hidden biases missing": (True, lambda s: changed_corrections(s, lambda c: zlib.compress(c[:-1]))),
    "hidden biases only": (True, lambda s: changed_corrections(s, lambda c: zlib.compress(c[:1] + c[361:]))),
    "two scales of hidden biases, one of outputs": (
        True,
        lambda s: changed_corrections(s, lambda c: zlib.compress(b"\x02" + c[1:] + c[361:])),
    ),
    "no hidden biases": (True, lambda s: changed_corrections(s, lambda c: zlib.compress(outputs(c)))),  # other pixels
    "scale of zeros": (
        False,
        lambda s: changed_corrections(s, lambda c: zlib.compress(c[:361] + bytes(360) + c[361:])),
    ),
    "four scales of zeros": (
        False,
        lambda s: changed_corrections(s, lambda c: zlib.compress(c[:361] + bytes(4 * 360) + c[361:])),
    ),
    "two scales of zeros, of both kinds": (
        False,
        lambda s: changed_corrections(
            s, lambda c: zlib.compress(b"\x02" + c[1:361] + bytes(360) + c[361:] + bytes(len(c) - 361))
        ),
    ),
    "stored": (False, lambda s: changed_corrections(s, lambda c: zlib.compress(c, 0))),
    "no Adler-32": (True, lambda s: changed_corrections(s, lambda c: zlib.compress(c)[:-4])),
    "more after it": (True, lambda s: changed_corrections(s, lambda c: zlib.compress(c) + b"x")),
    "with a dictionary": (True, lambda s: changed_corrections(s, with_dictionary)),
    "raw deflate": (True, lambda s: changed_corrections(s, lambda c: zlib.compress(c)[2:-4])),
}
"""Changes to the sections of ancillary.llc without its ancillary ones, and whether decoders refuse the result."""


def changed_corrections(sections: Sections, change: Callable[[bytes], bytes]) -> Sections:
    return [(tag, change(zlib.decompress(payload)) if tag == b"CORR" else payload) for tag, payload in sections]


def outputs(stored: bytes) -> bytes:
    """The corrections of one scale without those of hidden biases."""
    return b"\0" + stored[1:361]


def with_dictionary(stored: bytes) -> bytes:
    packer = zlib.compressobj(zdict=stored[:100])
    return packer.compress(stored) + packer.flush()


@pytest.mark.usefixtures("fixture_models")
@pytest.mark.parametrize("change", SECTION_CHANGES)
def test_all_decoders_take_and_refuse_the_same_sections(change: str) -> None:
    sections = golden.sections((golden.FIXTURES / "ancillary.llc").read_bytes())
    critical = [(tag, payload) for tag, payload in sections if not tag[:1].islower()]
    assert [tag for tag, _ in critical[:3]] == [b"HEAD", b"CORR", b"COAR"]
    wrong, make = SECTION_CHANGES[change]
    data = golden.assembled(make(critical))
    assert [refuses(data, engine) for engine in (None, *ENGINES)] == [wrong] * (1 + len(ENGINES))


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
        unpacked = tag == b"CORR"
        damaged = bytearray(zlib.decompress(payload) if unpacked else payload)
        damaged[int(rng.integers(len(damaged)))] ^= 1 << int(rng.integers(8))
        stored = zlib.compress(damaged) if unpacked else bytes(damaged)
        changed = [*sections[:chosen], (tag, stored), *sections[chosen + 1 :]]
        outcome = [refuses(golden.assembled([head, *changed]), engine) for engine in (None, *ENGINES)]
        assert len(set(outcome)) == 1, outcome
        outcomes |= set(outcome)
    assert True in outcomes


def refuses(data: bytes, engine: str | None) -> bool:
    """Whether an engine, or the decoder written from the document, refuses a file."""
    try:
        if engine is None:
            plain_decode(data)
        else:
            decode_with(ENGINES[engine](), data)
    except (Refused, llicti_core.FormatError):
        return True
    return False
