"""Files that nobody has written: changed, cut and lying ones, by the thousand, the same every time."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path
from random import Random

import format_decoder
import mutations
import pytest
from golden import FIXTURES
from mutations import BOMBS, bomb, join, split
from PIL import Image

import llicti_core
import llicti_plugin
from llicti_core import LLCError

llicti_plugin.register()

SEEDS = mutations.seeds()
CHANGES = 50
"""Of each file."""


@pytest.fixture(autouse=True)
def fixture_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLICTI_MODEL_PATH", str(FIXTURES))


def test_a_file_is_made_of_its_sections() -> None:
    for data in SEEDS.values():
        assert join(*split(data)) == data
        assert mutations.with_right_checksums(data) == data


@pytest.mark.parametrize("name", SEEDS)
def test_changed_sections(name: str) -> None:
    """A change with right checksums is an error of ours, or gives an image as good as any."""
    rng, others = Random(name), list(SEEDS.values())
    for _ in range(CHANGES):
        data = mutations.mutate(SEEDS[name], rng, others)
        if rng.random() < 0.3:
            data = mutations.with_right_checksums(data)
        mutations.check(data)


PLAIN = {name: data for name, data in SEEDS.items() if llicti_core.inspect(data).model is None}
"""Files that no model has coded, which the document's decoder is quick with."""


@pytest.mark.parametrize("name", PLAIN)
def test_the_document_refuses_the_same(name: str) -> None:
    """And finds the same samples in all other files; but that a decoder may leave frames after the first alone."""
    rng, others = Random(name), list(PLAIN.values())
    for _ in range(CHANGES):
        data = mutations.mutate(PLAIN[name], rng, others)
        if rng.random() < 0.7:
            data = mutations.with_right_checksums(data)
        found = expected = None
        with contextlib.suppress(LLCError):
            info = llicti_core.inspect(data)
            if info.n_frames > 1 or info.width * info.height * info.channels > 20_000:
                continue
            frame = llicti_core.open(data)[0]
            found = bytes(frame.decode_bytes(options=mutations.OPTIONS))
        with contextlib.suppress(format_decoder.Refused):
            expected = format_decoder.decode(data, None).samples
        assert found == expected


@pytest.mark.parametrize("name", [name for name, data in SEEDS.items() if len(data) < 450])
def test_cut_anywhere(name: str) -> None:
    data = SEEDS[name]
    for length in range(len(data)):
        with pytest.raises(LLCError):
            llicti_core.decode(data[:length])
        with pytest.raises(OSError, match=r"\w"), Image.open(io.BytesIO(data[:length])) as image:
            image.load()


@pytest.mark.parametrize("length", [2**31, 2**62, 2**63 - 1])
def test_lengths_that_no_file_can_have(length: int) -> None:
    start, sections, _ = split(SEEDS["drawing"])
    sections = mutations.apart(sections)
    for tag in (b"note", b"GENR"):
        data = join(start, sections[:1], tag + mutations.pack_varint(length) + b"x")
        for source in (data, io.BytesIO(data)):
            with pytest.raises(LLCError):
                llicti_core.decode(source)
        mutations.check_pillow(data)


def test_pillow_raises_what_pillow_s_formats_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2**26)  # which the `llc` command takes away
    rng = Random(5)
    for data in SEEDS.values():
        for _ in range(10):
            mutations.check_pillow(mutations.mutate(data, rng))


HOSTILE = ("adapted-default", "one-pixel-grey", "alpha", "palette", "table", "drawing", "constant")
SIZES = [(65536, 65536), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1), (2**31 - 1, 33), (2**20, 2**12)]


def hostile_files() -> list[bytes]:
    """Headers of gigapixels in front of nothing much, sections that unpack to far more, and numbers of either kind."""
    hostile = []
    for name in HOSTILE:
        start, sections, _ = split(SEEDS[name])
        sections = mutations.apart(sections)
        for width, height in SIZES:
            header = mutations.Header.unpack(sections[0][1])._replace(width=width, height=height)
            hostile.append(join(start, [(b"HEAD", header.pack()), *sections[1:]]))
        for place, (tag, payload) in enumerate(sections):
            for kind in BOMBS:
                swollen = payload[: place % 3] + bomb(kind, 1 << 25)
                hostile.append(join(start, [*sections[:place], (tag, swollen), *sections[place + 1 :]]))
            long = tag + mutations.pack_varint(2**40) + payload
            hostile.append(join(start, sections[:place], long))
        many = [(b"note", b"")] * 80_000
        hostile.append(join(start, [sections[0], *many, *sections[1:-1]]))
    return hostile


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux of its own process")
def test_hostile_files_take_no_memory(tmp_path: Path) -> None:
    """In a process that may take no more than 16 MiB above what a first image took."""
    for number, data in enumerate([SEEDS["adapted-default"], SEEDS["drawing"], SEEDS["table"], *hostile_files()]):
        (tmp_path / f"{number}.llc").write_bytes(data)
    program = """
import resource
from pathlib import Path
import numpy as np
import llicti_core
for name in "0.llc", "1.llc", "2.llc":
    llicti_core.decode(Path(name).read_bytes(), threads=1)
with open("/proc/self/statm") as statm:
    size = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 2**24, size + 2**24))
for path in Path().iterdir():
    try:
        llicti_core.decode(path.read_bytes(), threads=1)
    except llicti_core.LLCError:
        pass
"""
    process = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert not process.returncode, process.stderr
