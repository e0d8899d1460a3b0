"""Before anything is imported: what is tested is what is installed, and without a CUDA driver Triton's interpreter."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

# `python -m pytest` puts the current folder first, and the source tree has no compiled engine in it.
_SOURCES = Path(__file__).parents[1]
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _SOURCES]

try:
    ctypes.CDLL("libcuda.so.1")
except OSError:
    os.environ["TRITON_INTERPRET"] = "1"
