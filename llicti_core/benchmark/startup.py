"""Start-up: the processor time of a new Python process that opens one small image with Pillow, as `.llc` and as PNG."""

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
from llicti_core.benchmark.photos import Pixels

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

RUNS = 25

_PROGRAM = "import sys; from PIL import Image; Image.open(sys.argv[1]).load()"


def measure(pixels: Pixels) -> dict[str, float]:
    """Median seconds of a process that opens `pixels` as "llc" and as "png", and how many "runs" of each.

    Whole processes, from start to end, in turn. The first of each, which may read files from the disk, is left out.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "small.llc"), Path(folder, "small.png")
        paths[0].write_bytes(llicti_core.encode(pixels))
        Image.fromarray(pixels).save(paths[1])
        times = [[_process(path) for path in paths] for _ in range(RUNS + 1)][1:]
    return {"llc": median(llc for llc, _ in times), "png": median(png for _, png in times), "runs": RUNS}


def _process(path: Path) -> float:
    # Compiled modules are kept, as an installation keeps them, whatever this process was told.
    unwanted = ("LLICTI_AUTOLOAD", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    start = _clock()
    # Started in the folder of the image, since Python looks for modules where it starts.
    command = [sys.executable, "-c", _PROGRAM, path.name]
    subprocess.run(command, check=True, cwd=path.parent, env=environment)
    return _clock() - start


def _clock() -> float:
    """Seconds of processor time of the processes that have ended; where the system does not say, the time of day."""
    if resource is None:
        return time.perf_counter()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
