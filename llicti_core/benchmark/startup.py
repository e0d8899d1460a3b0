"""Start-up: how long a new Python process takes to open one small image with Pillow, as `.llc` and as PNG."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from PIL import Image

import llicti_core
from llicti_core.benchmark.codecs import Pixels

RUNS = 15

_PROGRAM = "import sys; from PIL import Image; Image.open(sys.argv[1]).load()"


def measure(pixels: Pixels) -> tuple[float, float]:
    """Median seconds of a process that opens `pixels` as a `.llc` file, and as PNG.

    Whole processes, from start to end, in turn. The first of each, which may read files from the disk, is left out.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "small.llc"), Path(folder, "small.png")
        paths[0].write_bytes(llicti_core.encode(pixels))
        Image.fromarray(pixels).save(paths[1])
        times = [[_process(path) for path in paths] for _ in range(RUNS + 1)][1:]
    return median(llc for llc, _ in times), median(png for _, png in times)


def _process(path: Path) -> float:
    # Compiled modules are kept, as an installation keeps them, whatever this process was told.
    unwanted = ("LLICTI_AUTOLOAD", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    start = time.perf_counter()
    # Started in the folder of the image, since Python looks for modules where it starts.
    command = [sys.executable, "-c", _PROGRAM, path.name]
    subprocess.run(command, check=True, cwd=path.parent, env=environment)
    return time.perf_counter() - start
