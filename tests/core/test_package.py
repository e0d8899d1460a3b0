"""The package as a whole: its version, and that importing it imports little."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import files, metadata, version
from pathlib import Path

import pytest

import llicti_core


def test_version() -> None:
    assert llicti_core.__version__ == version("llicti")
    with pytest.raises(AttributeError, match="'llicti_core' has no attribute 'colour'"):
        llicti_core.colour  # type: ignore[attr-defined]  # noqa: B018


def test_version_is_stated_in_one_place(pytestconfig: pytest.Config) -> None:
    """And the changelog begins with it."""
    root: Path = pytestconfig.rootpath
    stated = re.findall(r'^version = "(.+)"$', (root / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert stated == [version("llicti")]
    headings = re.findall("^## ([^ ]+)", (root / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == version("llicti")


def test_version_is_looked_up_late() -> None:
    code = "import sys, llicti_core; assert 'importlib.metadata' not in sys.modules; print(llicti_core.__version__)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert printed.stdout.strip() == version("llicti")


def test_sources_without_the_engine_say_so(pytestconfig: pytest.Config) -> None:
    code = f"import sys; sys.path.insert(0, {str(pytestconfig.rootpath)!r}); import llicti_core.engines.native"
    run = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, timeout=600)
    assert "ImportError: the compiled engine cannot be loaded from" in run.stderr
    assert "start Python in another folder" in run.stderr


def test_urls_are_told() -> None:
    assert "Method, https://arxiv.org/abs/2212.13243" in metadata("llicti").get_all("Project-URL", [])


def test_licences_of_what_is_linked_in_are_installed() -> None:
    texts = {path.name: path.read_text("utf-8") for path in files("llicti") or [] if "licenses" in path.parts}
    assert "Apache License" in texts["LICENSE"]
    assert "Wenzel Jakob" in texts["nanobind.txt"]
    assert "MIT License" in texts["robin-map.txt"]
    assert "GCC RUNTIME LIBRARY EXCEPTION" in texts["libstdc++.txt"]
