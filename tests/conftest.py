"""Before anything is imported: what is tested is what is installed, without a CUDA driver by Triton's interpreter,
PyTorch's threads give their processor away while they wait, since tests run in several processes at once, and Ctrl-C
works."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

# `python -m pytest` puts the current folder first, and the source tree has no compiled engine in it.
_SOURCES = Path(__file__).parents[1]
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _SOURCES]

# A shell that starts the tests in the background lets them, and so all programs that they start, ignore it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

try:
    ctypes.CDLL("libcuda.so.1")
except OSError:
    os.environ["TRITON_INTERPRET"] = "1"
