"""Before anything imports Triton: on machines without a CUDA driver its kernels run in its interpreter."""

from __future__ import annotations

import ctypes
import os

try:
    ctypes.CDLL("libcuda.so.1")
except OSError:
    os.environ["TRITON_INTERPRET"] = "1"
