"""The house's order: a module imports from the floors below its own, never from those above (docs/architecture.md)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FLOORS = (
    (
        "llicti_core.atomic",
        "llicti_core.errors",
        "llicti_core.names",
        "llicti_core.options",
        "llicti_core.records",
        "llicti_core.samples",
        "llicti_core.spec",
        "llicti_core.threads",
    ),
    ("llicti_core.color", "llicti_core.compression", "llicti_core.pyramid", "llicti_core.source"),
    ("llicti_core.container", "llicti_core.engines.base", "llicti_core.models"),
    (
        "llicti_core.adaptation",
        "llicti_core.fallback",
        "llicti_core.metadata",
        "llicti_core.ordinals",
        "llicti_core.payloads",
        "llicti_core.uniform",
        "llicti_core.value_table",
        "llicti_core.view",
    ),
    ("llicti_core.engines",),
    ("llicti_core.decoder", "llicti_core.encoder", "llicti_core.patches", "llicti_core.plain"),
    ("llicti_core.costs", "llicti_core.file"),
    ("llicti_core", "llicti_core.torch"),
    ("llicti_plugin",),
    ("llicti_core.__main__", "llicti_core.benchmark", "llicti_core.paper", "llicti_core.training"),
)
"""From the ground up. A package stands for all that is in it, but for what is named itself."""

UPWARDS = {
    ("llicti_core.adaptation", "llicti_core.engines"): "on a device, the search for an adaptation is its engine's",
    ("llicti_core.adaptation", "llicti_core.engines.native"): "the search for an adaptation is native code",
}
"""Imports that may run up, each inside a function, and why."""

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("llicti_core", "llicti_plugin")
    for path in sorted((ROOT / package).rglob("*.py"))
    if "src" not in path.parts
}


def floor(module: str) -> int | None:
    """The floor of a module: that of the longest name in FLOORS which it begins with."""
    parts = module.split(".")
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        for number, names in enumerate(FLOORS):
            # llicti_core itself is the front door; it does not stand for the rooms behind it.
            if name in names and (name != "llicti_core" or count == len(parts)):
                return number
    return None


def imports(module: str) -> Iterator[tuple[str, bool]]:
    """What a module imports of the two packages when it runs, and whether it does so inside a function."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]

    def visit(node: ast.AST, inside: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                yield from visit(child, inside)
            return
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{a.name}" if f"{base}.{a.name}" in MODULES else base for a in node.names]
        yield from ((name, inside) for name in names if name in MODULES and name != module)
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for below in ast.iter_child_nodes(node):
            yield from visit(below, inside)

    yield from visit(ast.parse(path.read_text("utf-8")), False)


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_down(module: str) -> None:
    own = floor(module)
    assert own is not None, f"FLOORS and docs/architecture.md do not say where {module} is"
    for imported, inside in imports(module):
        above = floor(imported)
        assert above is not None
        if above > own:
            assert (module, imported) in UPWARDS, f"{module} imports {imported}, which is above it"
            assert inside, f"{module} imports {imported}, which is above it, as soon as it is imported"


def test_no_import_goes_round_in_circles() -> None:
    """At import time: a circle inside a function does no harm."""
    rests: dict[str, set[str]] = {
        module: {name for name, inside in imports(module) if not inside} for module in MODULES
    }
    while ready := [module for module, needed in rests.items() if not needed & rests.keys()]:
        for module in ready:
            del rests[module]
    assert not rests, "a circle among these, or above one"


def test_the_document_names_files_that_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"`(?:[\w/]*/)?(\w+\.py)`", text))
    there = {
        path.name for package in ("llicti_core", "llicti_plugin", "tests") for path in (ROOT / package).rglob("*.py")
    }
    assert len(named) > 20
    assert not named - there
    rooms = {name.removeprefix("llicti_core.").split(".")[0] for names in FLOORS[:7] for name in names}
    assert not {room for room in rooms if f"{room}.py`" not in text and f"`{room}/`" not in text}


def test_every_exception_is_still_needed() -> None:
    for module, imported in UPWARDS:
        assert module in MODULES
        assert imported in {name for name, _ in imports(module)}
