"""Peak memory: each codec codes one image in a process of its own. On Linux only, through /proc.

Counted is what a call adds: the greatest resident set size during the call, less the size right before it, when the
pixels are in memory and a tiny image has been coded, so that the codec's code and model are loaded.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from llicti_core.benchmark.codecs import Codec, installed
from llicti_core.benchmark.photos import Pixels

_T = TypeVar("_T")

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def measure(codec: Codec, pixels: Pixels, threads: int) -> tuple[int, int] | None:
    """The bytes that encoding and decoding `pixels` add at their peaks; None where the system does not say."""
    if not _CLEAR.exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "pixels.npy"), pixels)
        encode = _in_new_process("encode", codec, folder, threads)
        return encode, _in_new_process("decode", codec, folder, threads)


def _in_new_process(operation: str, codec: Codec, folder: str, threads: int) -> int:
    # Started in that folder, since Python looks for modules where it starts, and a source tree there is not built.
    command = [sys.executable, "-m", __name__, operation, codec.name, str(threads)]
    return int(subprocess.run(command, check=True, cwd=folder, stdout=subprocess.PIPE, text=True).stdout)


def _peak_increase(work: Callable[[], _T]) -> tuple[int, _T]:
    """Bytes by which the resident set grows during a call, at most; and the call's result, which counts."""
    _CLEAR.write_text("5")  # sets VmHWM, the greatest size so far, to VmRSS, the size now
    before = _status("VmRSS")
    result = work()
    return _status("VmHWM") - before, result


def _status(name: str) -> int:
    """A size in this process's status, in bytes."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])


def main(operation: str, name: str, threads: int) -> None:
    """Run in the new process: print what one operation adds. The coded image is left for the other."""
    codec = next(codec for codec in installed() if codec.name == name)
    pixels: Pixels = np.load("pixels.npy")
    codec.decode(codec.encode(np.ascontiguousarray(pixels[:64, :64]), threads), threads)
    if operation == "encode":
        increase, coded = _peak_increase(lambda: codec.encode(pixels, threads))
        Path("coded").write_bytes(coded)
    else:
        coded = Path("coded").read_bytes()
        increase, _ = _peak_increase(lambda: codec.decode(coded, threads))
    print(increase)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
