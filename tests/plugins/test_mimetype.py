"""The description of the format for desktops: installed with the package, and true."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import files
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

import llicti_core
import llicti_plugin

llicti_plugin.register()

NAMES = {"": "http://www.freedesktop.org/standards/shared-mime-info"}


@pytest.fixture
def description() -> Path:
    """The file that the installation put where desktops look."""
    (path,) = (path for path in files("llicti") or () if path.as_posix().endswith("share/mime/packages/llicti.xml"))
    return Path(path.locate())


def test_description(description: Path) -> None:
    (mime_type,) = ElementTree.parse(description).getroot().findall("mime-type", NAMES)
    assert mime_type.get("type") == Image.MIME["LLC"]
    assert [glob.get("pattern") for glob in mime_type.findall("glob", NAMES)] == ["*.llc"]
    (match,) = mime_type.findall("magic/match", NAMES)
    assert (match.get("type"), match.get("offset")) == ("string", "0")
    assert match.get("value", "").encode("ascii").decode("unicode_escape").encode("latin-1") == llicti_core.SIGNATURE


@pytest.mark.skipif(not shutil.which("update-mime-database"), reason="shared-mime-info is not installed")
def test_desktops_understand_it(description: Path, tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    shutil.copy(description, tmp_path / "packages")
    subprocess.run(["update-mime-database", tmp_path], check=True, capture_output=True)
    assert b"[60:image/x-llc]\n>0=\x00\x08" + llicti_core.SIGNATURE in (tmp_path / "magic").read_bytes()
    assert "image/x-llc:*.llc" in (tmp_path / "globs").read_text().split()
