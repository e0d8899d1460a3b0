"""The documents: every example runs, every public name is in them, and what they link to is there."""

from __future__ import annotations

import doctest
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from images import photograph
from PIL import Image

import llicti_core
import llicti_plugin
from llicti_plugin import cli

llicti_plugin.register()

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!`)\[[^]]+\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def examples(path: Path) -> list[str]:
    """The Python of a document, block by block."""
    return EXAMPLE.findall(path.read_text("utf-8"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, holding what examples begin with."""
    Image.fromarray(photograph()).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    with mock.patch.object(Image.Image, "show", lambda image: image.load()):
        yield tmp_path


def run_session(blocks: list[str], name: str) -> doctest.TestResults:
    """Run examples with what they print, one after the other in one session."""
    session: dict[str, Any] = {}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    for number, block in enumerate(blocks):
        test = doctest.DocTestParser().get_doctest(block, session, f"{name}, example {number + 1}", name, 0)
        runner.run(test, clear_globs=False)
        session |= test.globs
    return runner.summarize(verbose=False)


def test_api_examples(folder: Path) -> None:
    blocks = examples(ROOT / "docs" / "api.md")
    for library in ("numcodecs", "torch"):
        try:
            __import__(library)
        except ImportError:
            blocks = [block for block in blocks if library not in block]
    failed, tried = run_session(blocks, "docs/api.md")
    assert tried > 40
    assert not failed


@pytest.mark.parametrize("name", ["README.md", "docs/index.md"])
def test_plain_examples(name: str, folder: Path) -> None:
    session: dict[str, Any] = {}
    blocks = [block for block in examples(ROOT / name) if "cuda" not in block]
    assert blocks
    for block in blocks:
        for library in ("zarr", "torch"):
            if library in block:
                pytest.importorskip(library)
        exec(compile(block, name, "exec"), session)


def test_collection_examples(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "photos").mkdir()
    (folder / "photo.png").rename(folder / "photos" / "photo.png")
    text = (ROOT / "docs" / "collections.md").read_text("utf-8")
    commands = re.findall(r"^llicti ([^#\n]+)", text, re.MULTILINE)
    for command in commands:
        assert cli.main(shlex.split(command)) == 0
    assert (folder / "restored" / "photo.png").exists()
    readme = (ROOT / "README.md").read_text("utf-8")
    assert all(f"llicti {command.strip()}" in readme for command in commands)
    for block in examples(ROOT / "docs" / "collections.md"):
        exec(compile(block, "docs/collections.md", "exec"), {})
    assert (folder / "shelf" / "photo.llc").exists()


def test_api_names_everything_public() -> None:
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    documented = set(re.findall(r"^\.\. auto\w+:: llicti_core\.(\w+)$", text, re.MULTILINE))
    assert documented - {"torch"} == set(llicti_core.__all__)
    used = set(re.findall(r"\w+", "".join(examples(ROOT / "docs" / "api.md"))))
    assert set(llicti_core.__all__) - used == {"DeviceError"}  # which takes a machine with a GPU, or without


def anchors(path: Path) -> set[str]:
    """What a document's headings are called in links."""
    headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in LINK.findall(page.read_text("utf-8")):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"
