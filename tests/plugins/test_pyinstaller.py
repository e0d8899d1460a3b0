"""Programs that PyInstaller has frozen know the format without an import line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest

PILLOW = """
import json, sys
from PIL import Image
image = Image.radial_gradient("L").resize((90, 70)).convert("RGB")
image.save("a.llc", effort=1)
with Image.open("a.llc") as reopened:
    print(json.dumps([reopened.tobytes() == image.tobytes(), reopened.info["model"]]))
import llicti_core
print(json.dumps([llicti_core.__version__, sorted({name.partition(".")[0] for name in sys.modules})]))
"""

IMAGEIO = """
import json, sys
import imageio.v3 as iio
import numpy as np
pixels = np.arange(70 * 90 * 3, dtype=np.uint8).reshape(70, 90, 3)
iio.imwrite("a.llc", pixels)
print(json.dumps([bool((iio.imread("a.llc") == pixels).all())]))
"""


def test_hooks_are_found() -> None:
    (point,) = (point for point in entry_points(group="pyinstaller40") if point.value.startswith("llicti_plugin"))
    (folder,) = map(Path, point.load()())
    hooked = {path.stem.removeprefix("hook-") for path in folder.glob("hook-*.py")}
    assert hooked == {"llicti_core", "llicti_plugin", "PIL.ImageMode", "imageio.config"}
    for module in hooked:
        assert find_spec(module)
    assert [(folder / "rthooks" / name).is_file() for name in ("pyi_rth_llicti.py",)] == [True]


@pytest.mark.parametrize("library", ["PIL.Image", "imageio"])
def test_modules_that_the_hooks_hang_on_are_imported(library: str) -> None:
    hung = {"PIL.Image": "PIL.ImageMode", "imageio": "imageio.config"}[library]
    code = f"import sys, {library}; sys.exit({hung!r} not in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "LLICTI_AUTOLOAD": "0"})


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("PyInstaller"), reason="PyInstaller is not installed")
def test_frozen_programs(tmp_path: Path) -> None:
    for name, code in (("pillow", PILLOW), ("arrays", IMAGEIO)):
        (tmp_path / f"{name}.py").write_text(code)
        freeze = [sys.executable, "-m", "PyInstaller", "--onedir", "--log-level", "ERROR", f"{name}.py"]
        subprocess.run(freeze, cwd=tmp_path, check=True, timeout=600, stdin=subprocess.DEVNULL)

    def lines(name: str) -> list[list[object]]:
        printed = subprocess.check_output([tmp_path / "dist" / name / name], cwd=tmp_path, text=True, timeout=600)
        return [json.loads(line) for line in printed.splitlines()]

    (same, model), (version, modules) = lines("pillow")
    assert same
    assert str(model).startswith("llicti-")
    import llicti_core

    assert version == llicti_core.__version__
    assert "torch" not in modules  # type: ignore[operator]
    assert "imageio" not in modules  # type: ignore[operator]
    frozen = {path.name for path in (tmp_path / "dist" / "pillow" / "_internal").iterdir()}
    assert {"PIL", "llicti_core"} <= frozen
    assert not {"torch", "triton", "imageio"} & frozen
    assert lines("arrays") == [[True]]
