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
from format_decoder import Refused
from images import noise, smooth
from numpy.typing import NDArray

import llicti_core
from llicti_core import codec, engines, models, tables
from llicti_core.container import pack_section, write_file
from llicti_core.engines.native import NativeEngine, instruction_sets

Pixels = NDArray[np.uint8]

ENGINES: dict[str, Callable[[], engines.Engine]] = {"reference": lambda: engines.get("reference")}
ENGINES |= {isa: lambda isa=isa: NativeEngine(isa) for isa in instruction_sets()}  # type: ignore[misc]


@lru_cache
def plain_model(path: Path) -> format_decoder.Model:
    return format_decoder.read_model(path.read_bytes())


def plain_decode(data: bytes) -> Pixels:
    """What the decoder written from the document makes of a file."""
    model = codec.inspect(data).model
    header, pixels = format_decoder.decode(data, plain_model(golden.model_path(model)))
    shape = (header.height, header.width, 3)[: 2 if header.mode == "L" else 3]
    return np.frombuffer(pixels, np.uint8).reshape(shape)


def remembered(network: Callable[..., list[list[int]]]) -> Callable[..., list[list[int]]]:
    """A network that computes nothing twice."""
    known: dict[tuple[int, ...], list[list[int]]] = {}

    def outputs(layers: list[format_decoder.Layer], scale: int, inputs: list[int]) -> list[list[int]]:
        key = (id(layers), scale, *inputs)
        if key not in known:
            known[key] = network(layers, scale, inputs)
        return known[key]

    return outputs


@pytest.fixture
def fixture_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets engines find the models in tests/fixtures."""
    monkeypatch.setattr(models, "load", golden.load)


@pytest.mark.parametrize(
    "pixels",
    [
        smooth(1, 1),
        smooth(1, 7),
        smooth(5, 1, 1),
        smooth(2, 3),
        noise(9, 7, 1),
        smooth(13, 11),
        noise(6, 5),
        np.full((33, 5, 3), 200, np.uint8),
    ],
    ids=lambda pixels: "x".join(map(str, pixels.shape)),
)
def test_document_decodes_what_is_encoded(pixels: Pixels) -> None:
    assert np.array_equal(plain_decode(llicti_core.encode(pixels)), pixels)


def test_document_decodes_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "TILE_LOG2", 6)
    pixels = smooth(66, 3)
    assert np.array_equal(plain_decode(llicti_core.encode(pixels)), pixels)


def test_there_are_golden_files() -> None:
    assert len(golden.files()) >= 18


@pytest.mark.parametrize("path", golden.files(), ids=lambda path: path.stem)
def test_document_decodes_golden_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if path.stem == "streams":  # many pixels, few different contexts
        monkeypatch.setattr(format_decoder, "network", remembered(format_decoder.network))
    assert np.array_equal(plain_decode(path.read_bytes()), golden.pixels(path))


@pytest.mark.usefixtures("fixture_models")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", golden.files(), ids=lambda path: path.stem)
def test_engine_decodes_golden_file(path: Path, engine: str) -> None:
    assert np.array_equal(codec.decode(path.read_bytes(), 2, ENGINES[engine]()), golden.pixels(path))


@pytest.mark.usefixtures("fixture_models")
def test_golden_files_leave_no_part_of_the_format_out() -> None:
    infos = [codec.inspect(path.read_bytes()) for path in golden.files()]
    assert {info.mode for info in infos} == {"L", "RGB"}
    assert {info.tile_size for info in infos} >= {64, 1024}
    assert {golden.load(info.model).spec.depth for info in infos} >= {1, 2}
    assert any(info.width * info.height * 3 >= 480_000 for info in infos if info.mode == "RGB")  # two streams
    assert models.load().spec.name in {info.model for info in infos}


def test_document_prints_the_tables() -> None:
    blocks = re.findall(r"(?m)(?:^ {4}\d+(?:, \d+)*,?\n)+", format_example.DOCUMENT.read_text("utf-8"))
    printed = [tuple(map(int, re.findall(r"\d+", block))) for block in blocks]
    in_code = [tables.CDF_TAIL, tables.SCALE_MANTISSA, tables.WEIGHT_EXP]
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


def test_document_refuses_bytes_behind_the_end(data: bytes) -> None:
    model = plain_model(golden.model_path("fixture-a"))
    for more in (b"\0", pack_section(b"SCL0", b""), pack_section(b"MORE", b"")):
        with pytest.raises(Refused):
            format_decoder.decode(data + more, model)


@pytest.mark.usefixtures("fixture_models")
@pytest.mark.parametrize("name", ["row-colour", "column-grey", "constant-grey"])
def test_all_decoders_refuse_the_same_damage(name: str) -> None:
    """Damage behind good checksums, which only the decoding proper can find."""
    data = (golden.FIXTURES / f"{name}.llc").read_bytes()
    header, reader = llicti_core.container.read_header(data)
    sections = [(tag, bytes(payload)) for tag, payload in llicti_core.container.read_sections(reader)]
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(60):
        chosen = int(rng.integers(len(sections)))
        tag, payload = sections[chosen]
        damaged = bytearray(payload)
        damaged[int(rng.integers(len(payload)))] ^= 1 << int(rng.integers(8))
        changed = [*sections[:chosen], (tag, bytes(damaged)), *sections[chosen + 1 :]]
        outcome = [refuses(write_file(header, changed), engine) for engine in (None, *ENGINES)]
        assert len(set(outcome)) == 1, outcome
        outcomes |= set(outcome)
    assert True in outcomes


def refuses(data: bytes, engine: str | None) -> bool:
    """Whether an engine, or the decoder written from the document, refuses a file."""
    try:
        if engine is None:
            plain_decode(data)
        else:
            codec.decode(data, 1, ENGINES[engine]())
    except (Refused, llicti_core.FormatError):
        return True
    return False
