"""The documents: every example runs, what they name and link to is there, and figures can be drawn anew."""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
from images import photograph
from PIL import Image

import llicti_core
import llicti_plugin
from llicti_plugin.cli import commands

llicti_plugin.register()

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
EXAMPLE = re.compile(r"^```(python|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
FIGURES = ROOT / "docs" / "figures"
LINK = re.compile(r"(?<!`)\[[^]]+\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def examples(path: Path, language: str) -> list[str]:
    """A document's examples in this language, "python" or "sh", block by block."""
    return [block for found, block in EXAMPLE.findall(path.read_text("utf-8")) if found == language]


def here(blocks: list[str]) -> list[str]:
    """Those of some blocks of Python that can run here: libraries may be missing, and GPUs.

    Readers of training sets have their examples run in tests/plugins/test_training_sets.py.
    """
    missing = [
        "cuda",
        "import datasets",
        "import webdataset",
        *(name for name in ("numcodecs", "torch", "zarr") if not importlib.util.find_spec(name)),
    ]
    return [block for block in blocks if not any(name in block for name in missing)]


def pages_with(language: str) -> Any:
    """Parametrizes a test with the documents that have examples in a language, all of them but docs/api.md."""
    names = [page.relative_to(ROOT).as_posix() for page in PAGES if examples(page, language)]
    return pytest.mark.parametrize("name", [name for name in names if name != "docs/api.md"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, holding what examples begin with."""
    (tmp_path / "photos").mkdir()
    image = Image.fromarray(photograph())
    for name in ("photo.png", "a.tif", "photos/photo.png"):
        image.save(tmp_path / name)
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
    failed, tried = run_session(here(examples(ROOT / "docs" / "api.md", "python")), "docs/api.md")
    assert tried > 40
    assert not failed


@pages_with("python")
def test_python_examples(name: str, folder: Path) -> None:
    session: dict[str, Any] = {}
    blocks = here(examples(ROOT / name, "python"))
    assert blocks
    for block in blocks:
        exec(compile(block, name, "exec"), session)


@pytest.mark.skipif(os.name != "posix", reason="examples are for a Unix shell")
@pages_with("sh")
def test_shell_examples(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that consist of this package's command are run; test_named_commands looks at the others."""
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable), prepend=os.pathsep)
    for block in examples(ROOT / name, "sh"):
        if all(line.startswith("llicti ") for line in block.splitlines()):
            subprocess.run(["bash", "-ec", block], check=True, capture_output=True, timeout=600)
    if name == "docs/collections.md":
        assert (folder / "restored" / "photo.png").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_named_commands(page: Path) -> None:
    """Whatever `llicti ...`, `make ...` and extra a document names exists."""
    lines = [line for block in examples(page, "sh") for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", page.read_text("utf-8"))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    extras = set(metadata("llicti").get_all("Provides-Extra", []))
    for line in lines:
        if found := re.match(r"make (?:[A-Z]+=\S+ )*([a-z-]+)", line):
            assert found[1] in targets
        if found := re.match(r"pip install '(?:\.|llicti)\[([a-z]+)\]'", line):
            assert found[1] in extras
        if found := re.match(r"llicti ([a-z]+)([^#]*)", line):
            parameters = commands.llicti.commands[found[1]].params
            known = {option for parameter in parameters for option in parameter.opts if option.startswith("-")}
            if known:  # other commands have a command line of their own
                assert set(re.findall(r"(?<!\S)--?[a-z-]+", found[2])) <= known, line


def test_api_names_everything_public() -> None:
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    documented = set(re.findall(r"^\.\. auto\w+:: llicti_core\.(\w+)$", text, re.MULTILINE))
    assert documented - {"torch"} == set(llicti_core.__all__)
    used = set(re.findall(r"\w+", "".join(examples(ROOT / "docs" / "api.md", "python"))))
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


def script() -> ModuleType:
    """docs/figures.py."""
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("figures", ROOT / "docs" / "figures.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_figure_is_shown() -> None:
    """What pages name is there by test_links_lead_somewhere."""
    named = {Path(path) for page in PAGES for path, _ in LINK.findall(page.read_text("utf-8"))}
    kept = list(FIGURES.iterdir())
    assert kept
    assert {path.relative_to(ROOT / "docs") for path in kept} <= named
    assert all(path.stat().st_size <= 100_000 for path in kept)


@pytest.mark.slow
def test_figures_are_drawn(tmp_path: Path) -> None:
    script().main(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in FIGURES.iterdir()}
    assert all(path.stat().st_size <= 100_000 for path in tmp_path.iterdir())
