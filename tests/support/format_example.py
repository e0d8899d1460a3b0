"""The worked example of docs/format.md, 10: a small file, every byte and symbol of it explained."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import format_decoder
import numpy as np
from coding import encode_with
from format_decoder import Bytes, Mixture, Pixel
from golden import learned, model_path

import llicti_core
from llicti_core import engines, models

DOCUMENT = Path(__file__).parents[2] / "docs" / "format.md"
BLOCK = re.compile(r"(?<=<!-- example: begin -->\n).*?(?=<!-- example: end -->)", re.DOTALL)

PIXELS = np.array(
    [
        [(200, 121, 40), (190, 118, 44), (181, 110, 50), (176, 108, 51), (170, 105, 55)],
        [(202, 125, 42), (186, 115, 49), (178, 112, 47), (175, 107, 53), (168, 106, 52)],
        [(199, 122, 45), (188, 117, 46), (180, 109, 52), (171, 106, 54), (169, 103, 57)],
    ],
    np.uint8,
)
MARKED = (0, 3)
"""The pixel of which everything is printed: one that looks back to another."""


def text() -> str:
    """What stands between the marks in the document."""
    with learned():
        data = encode_with(engines.get("reference"), PIXELS, models.DEFAULT)
    name = llicti_core.inspect(data).model
    assert name
    model = format_decoder.read_model(model_path(name).read_bytes())
    steps: list[dict[str, object]] = []
    assert format_decoder.decode(data, model, steps.append).samples == PIXELS.tobytes()
    return "\n".join((_pixels(), _dump(data), _symbols(steps), _marked(steps)))


def current() -> str:
    """What stands there now."""
    found = BLOCK.search(DOCUMENT.read_text("utf-8"))
    assert found, "docs/format.md has lost the marks of its example"
    return found[0]


def write() -> None:
    """Bring the document up to date."""
    example = text()
    document = DOCUMENT.read_text("utf-8")
    assert BLOCK.search(document), "docs/format.md has lost the marks of its example"
    DOCUMENT.write_text(BLOCK.sub(lambda _: example, document), "utf-8")


def _pixels() -> str:
    lines = ["The pixels (R, G, B), and their Y, Co, Cg:", ""]
    for row in PIXELS.tolist():
        for pixel in row:
            y, co, cg = format_decoder.from_pixel(pixel, 0)
            lines.append(f"    {', '.join(map(str, pixel)):>13}    {y:4} {co:4} {cg:4}")
    return "\n".join([*lines, ""])


class _Dump:
    """Lines of offset, bytes and meaning."""

    def __init__(self, data: bytes) -> None:
        self.bytes, self.lines = Bytes(data), [""]

    def take(self, count: int, meaning: str) -> None:
        for start in range(0, count, 8):
            at = self.bytes.at
            part = self.bytes.take(min(8, count - start)).hex(" ").upper()
            self.lines.append(f"    {at:04X}  {part:23}  {meaning}".rstrip())
            meaning = ""

    def peek(self, kind: str) -> int:
        return Bytes(self.bytes.data[self.bytes.at :]).number(kind)

    def leb128(self, meaning: str) -> int:
        ahead = Bytes(self.bytes.data[self.bytes.at :])
        value = ahead.leb128()
        self.take(ahead.at, meaning.format(value))
        return value

    def text(self, meaning: str) -> None:
        length = self.peek("B")
        self.take(1, f"{meaning}: {length} characters")
        self.take(length, self.bytes.data[self.bytes.at : self.bytes.at + length].decode("ascii"))


def _dump(data: bytes) -> str:
    dump = _Dump(data)
    dump.take(8, "signature")
    dump.take(1, "version 0")
    dump.take(4, "HEAD")
    dump.leb128("payload of {} bytes")
    dump.leb128("width {}")
    dump.leb128("height {}")
    dump.take(1, "mode 7: RGB; no value table")
    dump.leb128("{} frames after this one")
    dump.take(4, "CRC-32 of the samples")
    dump.take(1, "the only channel group is learned, without an adaptation")
    dump.take(1, f"tiles of 2**{dump.peek('B')} pixels")
    dump.text("model")
    dump.take(8, "identity of the model")
    dump.take(4, "CRC-32 of HEAD")
    _dump_lowpass(dump)
    _dump_level(dump)
    dump.bytes.finish()
    return "\n".join([f"The file, {len(data)} bytes:", *dump.lines, ""])


def _dump_section(dump: _Dump, tag: str) -> None:
    dump.lines.append("")
    dump.take(4, tag)
    dump.leb128("payload of {} bytes")


def _dump_lowpass(dump: _Dump) -> None:
    """The section LVL3."""
    _dump_section(dump, "LVL3")
    for name in ("Y", "Co", "Cg"):
        low = dump.peek("h")
        dump.take(2, f"{name}: low {low}")
        dump.take(2, f"{name}: high {dump.peek('h')}")
    for y in range(0, PIXELS.shape[0], 2):
        for x in range(0, PIXELS.shape[1], 2):
            dump.take(3, f"pixel ({y}, {x}): R, G, B")
    lanes = dump.leb128("the only stream's first segment has {} bytes") // 4
    for lane in range(lanes):
        dump.take(4, f"state of lane {lane}: {dump.peek('I')}")
    dump.take(4, "CRC-32 of LVL3")


def _dump_level(dump: _Dump) -> None:
    """The section LVL0."""
    _dump_section(dump, "LVL0")
    sizes = [dump.leb128(f"the only stream's {name} segment has {{}} bytes") for name in ("luma", "chroma")]
    for name, size in zip(("luma", "chroma"), sizes, strict=True):
        for _ in range(size // 2):
            dump.take(2, f"{name}, word {dump.peek('H')}")
    dump.take(4, "CRC-32 of LVL0")


def _symbols(steps: list[dict[str, object]]) -> str:
    lines = [
        "The tile has one level, and the stream two lanes, since phase 00 has two rows. The symbols in the",
        "order in which they are decoded; a `+` after the new state where a word was read:",
        "",
        "    band pixel  ch  base lane      state   slot  value  cumulative  frequency  new state",
    ]
    for step in steps:
        pixel, mixture, c = step["pixel"], step["mixture"], step["channel"]
        assert isinstance(pixel, Pixel)
        assert isinstance(mixture, Mixture)
        y, x = pixel.place
        value, before = int(str(step["value"])), int(str(step["before"]))
        below, above = mixture.cumulative(value), mixture.cumulative(value + 1)
        name = ("Y", "Co", "Cg")[int(str(c))]
        lines.append(
            f"    {pixel.coded.band:>4} ({y}, {x}) {name:>3} {mixture.base:5} {step['lane']:4} "
            f"{before:10} {before & 65535:6} {value:6} {below:11} {above - below:10} {step['after']:10}"
            f"{'+' if step['words'] else ''}"
        )
    assert all(str(step["after"]) == str(format_decoder.STATE_MIN) for step in _last(steps))
    return "\n".join([*lines, "", "Both lanes end at 65536, as they must.", ""])


def _last(steps: list[dict[str, object]]) -> list[dict[str, object]]:
    """The last step of every lane."""
    return list({step["lane"]: step for step in steps}.values())


def _marked(steps: list[dict[str, object]]) -> str:
    chosen = [step for step in steps if _place(step) == MARKED]
    lines = [f"Pixel {MARKED} of these, of band 01, looks back to pixel (0, 1), W, alone: it is in the first row."]
    for name, of_network in (("luma", chosen[:1]), ("chroma", chosen[1:])):
        pixel = of_network[0]["pixel"]
        assert isinstance(pixel, Pixel)
        lines += [f"For its {name} the network has the inputs", "", *_wrapped(pixel.inputs), ""]
        lines += ["and the outputs `out`, in fives (5.3)", ""]
        lines += [" " * 4 + " ".join(f"{value:6}" for value in row) for row in format_decoder.chunks(pixel.out, 5)]
        lines += ["", "from which follow:", ""]
        for step in of_network:
            mixture = step["mixture"]
            assert isinstance(mixture, Mixture)
            lines += [
                f"    {('Y', 'Co', 'Cg')[int(str(step['channel']))]:2}  spread {_row(mixture.spread)}",
                f"        weight {_row(mixture.weight)}",
                f"        centre {_row(mixture.centre)}",
            ]
        lines.append("")
    return "\n".join(lines)


def _row(numbers: list[int]) -> str:
    return " ".join(f"{number:6}" for number in numbers)


def _place(step: dict[str, object]) -> tuple[int, int]:
    assert isinstance(step["pixel"], Pixel)
    return step["pixel"].place


def _wrapped(numbers: list[int]) -> list[str]:
    return textwrap.wrap(" ".join(map(str, numbers)), 100, initial_indent="    ", subsequent_indent="    ")
