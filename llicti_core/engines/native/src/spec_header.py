"""Writes the numbers and tables of llicti_core/spec.py as a C++ header: spec_header.py SPEC.PY HEADER.

A whole number NAME_OF_IT becomes `constexpr int kNameOfIt`, a table of them a std::array; the rest is left out.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

START = """// Made from llicti_core/spec.py, which says what these are.
#pragma once

#include <array>
#include <cstdint>

namespace llicti {
"""


def declaration(name: str, value: object) -> str:
    """The C++ for a constant of spec.py; empty where it has no use for it."""
    called = "k" + name.title().replace("_", "")
    if isinstance(value, int):
        return f"constexpr {'int' if -(2**31) <= value < 2**31 else 'int64_t'} {called} = {value};"
    if isinstance(value, tuple) and value and all(isinstance(item, int) for item in value):
        return f"constexpr std::array<int, {len(value)}> {called} = {{{', '.join(map(str, value))}}};"
    return ""


def header(spec: Path) -> str:
    """The text of the header."""
    constants = {name: value for name, value in runpy.run_path(str(spec)).items() if name[0].isupper()}
    lines = [line for line in map(declaration, constants, constants.values()) if line]
    return "\n".join([START, *lines, "\n}  // namespace llicti\n"])


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(header(Path(sys.argv[1])), "utf-8")
