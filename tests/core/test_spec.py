"""The constants of the format: what Triton repeats of spec.py is the same there. (C++ is made from it.)"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from llicti_core import spec


@pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="needs Triton")
def test_triton_has_the_constants_of_the_format(tmp_path: Path) -> None:
    # In a process of its own, where no other test has replaced Triton's compiler by its interpreter.
    names = "k.LANES, k.OUTPUTS, k.COMPONENTS"
    code = f"from llicti_core.engines.cuda import kernels as k; print(*(n.value for n in ({names})))"
    process = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)
    lanes, outputs, components = map(int, process.stdout.split())
    assert lanes == spec.LANES
    assert outputs == spec.OUTPUTS + 1, "one is padding"
    assert components == 8 >= spec.COMPONENTS, "the next power of two"


def test_components_lose_no_probability() -> None:
    steps = [before - after for before, after in zip(spec.CDF_TAIL, spec.CDF_TAIL[1:], strict=False)]
    assert spec.CDF_TAIL[0] == 2**15 - 1
    assert spec.CDF_TAIL[-1] == 0
    assert min(steps) > 0
    assert len(spec.CDF_TAIL) == (spec.MAX_POSITION >> 7) + 2
