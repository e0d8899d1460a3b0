"""Sphinx builds the documentation's site with this: `make docs`."""

from __future__ import annotations

import re
from importlib.metadata import version as installed_version
from inspect import signature
from os.path import relpath
from pathlib import Path
from typing import Any

project = "LLICTI for Python"
author = "The LLICTI for Python developers"
version = release = installed_version("llicti")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project
html_show_copyright = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

default_role = "py:obj"  # names in single backquotes, in docstrings, are links where there is something to link to
autodoc_member_order = "bysource"
# Not needed to document what uses them.
autodoc_mock_imports = [
    "numcodecs",
    "torch",
    "triton",
    "zarr",
]
autodoc_typehints = "signature"
autodoc_use_legacy_class_based = False
python_maximum_signature_line_length = 100
suppress_warnings = ["autodoc.mocked_object"]

OUTSIDE = {
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "README.md": "readme",
    "SECURITY.md": "security",
    "benchmarks/results.md": "results",
}
"""Files outside of docs/ that have a page in the site, and the page's name; what is in docs/ is for readers of the
repository."""

ROOT = Path(__file__).parent.parent


def fill_page(app: Any, name: str, source: list[str]) -> None:
    """Give a page of OUTSIDE its text; and turn links to those files into links that work in the site."""
    folder = ROOT / "docs"
    for path, page in OUTSIDE.items():
        if page == name:
            folder, pictures = (ROOT / path).parent, relpath((ROOT / path).parent, ROOT / "docs")
            text = (ROOT / path).read_text("utf-8")
            text = re.sub(r"(!\[[^]]*\]\()(?!https?:)", rf"\g<1>{pictures}/", text)
            source[0] = text if text.startswith("# ") else source[0].splitlines()[0] + "\n\n" + text

    def link(match: re.Match[str]) -> str:
        text, path, anchor = match.groups()
        target = (folder / path).resolve().relative_to(ROOT).as_posix()
        if target in OUTSIDE:
            return f"[{text}]({OUTSIDE[target]}.md{anchor})"
        return f"[{text}]({target[5:]}{anchor})" if target.startswith("docs/") else text

    source[0] = re.sub(r"(?<!!)\[([^]]+)\]\(([\w./+-]+)((?:#[\w-]+)?)\)", link, source[0])


def list_arguments(app: Any, what: str, name: str, described: Any, options: Any, lines: list[str]) -> None:
    """Turn the paragraphs of a docstring that say what arguments (or fields) mean, "name: what", into lists."""
    names = _argument_names(described)
    found: list[str] = []
    for paragraph in "\n".join(lines).split("\n\n"):
        text = re.sub(r"\s*\n\s*", " ", paragraph)
        parts = re.split(r"(?:(?<=^)|(?<=\. )|(?<=\.\) ))(\w+(?:, \w+)*): ", text)
        said = [part for part in parts[1::2] if set(part.split(", ")) <= names]
        if parts[0] or len(said) < len(parts) // 2 or not said:
            found += [*paragraph.split("\n"), ""]
            continue
        for words, meaning in zip(parts[1::2], parts[2::2], strict=True):
            found.append(f"* {', '.join(f'``{word}``' for word in words.split(', '))}: {meaning.strip()}")
        found.append("")
    lines[:] = found


def _argument_names(described: Any) -> set[str]:
    fields = getattr(described, "_fields", None)
    if fields is not None:
        return set(fields)
    try:
        return set(signature(described).parameters)
    except (TypeError, ValueError):
        return set()


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", fill_page)
    app.connect("autodoc-process-docstring", list_arguments)
