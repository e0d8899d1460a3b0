"""benchmarks/cuda.py: its table has what each step found, however it or another one ends."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "cuda.py"


def test_rows_stay_whatever_happens_to_a_step(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("cuda_benchmark", BENCHMARK)
    assert spec
    assert spec.loader
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = benchmark
    spec.loader.exec_module(benchmark)
    output = tmp_path / "cuda.md"

    def step(code: str) -> list[str]:
        begin = f"import pathlib, sys, time; file = pathlib.Path({str(output)!r}).open('a'); "
        return [sys.executable, "-c", begin + code]

    commands = {
        "fails": (step("file.write('| fails | a | 1 | |\\n'); file.close(); sys.exit(3)"), 1.0),
        "raises": (step("file.write('| raises | b | 2 | |\\n'); file.close(); 1 / 0"), 1.0),
        "hangs": (step("file.write('| hangs | c | 3 | |\\n'); file.close(); time.sleep(60)"), 0.1),
        "works": (step("file.write('| works | d | 4 | |\\n')"), 1.0),
        "late": (step(""), 0.0),
    }
    assert benchmark.run_steps("A title", commands, 20, output) == 1
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in output.read_text("utf-8").splitlines()]
    found = {(row[0], row[1]): row[2] for row in rows[4:]}
    assert rows[0] == ["# A title"]
    assert [found["fails", "a"], found["raises", "b"], found["hangs", "c"], found["works", "d"]] == ["1", "2", "3", "4"]
    ends = [found[name, "the step"] for name in commands]
    assert ends == ["**failed**: exit status 3", "**failed**: exit status 1", "**cut off**", "done", "**not run**"]
    assert found["all", "the steps"] == "**failed**: fails, raises, hangs, late"
    assert "ZeroDivisionError" in capfd.readouterr().err
