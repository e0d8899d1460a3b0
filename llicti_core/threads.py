"""How many threads a call uses that does not say: what was set, within what the system grants this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache

_set: int | None = None


def set_threads(threads: int | None) -> None:
    """Set the number of threads that later calls in this process, Pillow's too, use where they are given none.

    threads: 1 or more; None for the default: the environment variable LLICTI_THREADS, or as many as there are
    processors that this process may run on, or fewer where its control group limits processor time. Files and pixels
    do not depend on it. Raises ValueError.
    """
    global _set
    _set = None if threads is None else _checked(threads, "threads")


def thread_count(threads: int | None = None) -> int:
    """`threads`, where that says a number; or the default. Raises ValueError."""
    if threads is not None:
        return _checked(threads, "threads")
    if _set is not None:
        return _set
    wanted = os.environ.get("LLICTI_THREADS")
    if not wanted:
        return available()
    try:
        return _checked(int(wanted), "LLICTI_THREADS")
    except ValueError:
        msg = f"LLICTI_THREADS must be a number of 1 or more, not {wanted!r}"
        raise ValueError(msg) from None


def available() -> int:
    """Processors that the system grants this process."""
    affinity = getattr(os, "sched_getaffinity", None)
    processors = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(processors, _granted()))


def _checked(threads: int, name: str) -> int:
    if threads < 1:
        msg = f"{name} must be 1 or more, not {threads}"
        raise ValueError(msg)
    return threads


@lru_cache(maxsize=1)
def _granted(root: str = "") -> int:
    """Processors whose whole time the process's control group may use, rounded up; many where there is no limit.

    root: of the file system, for tests.
    """
    limits = [-(-quota // period) for quota, period in _quotas(root) if quota > 0 and period > 0]
    return min(limits, default=2**16)


def _quotas(root: str) -> Iterator[tuple[int, int]]:
    """(quota, period) in microseconds of the process's control group and those around it; versions 2 and 1 (Linux)."""
    for line in _read(f"{root}/proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        while True:
            if controllers:
                folder = f"{root}/sys/fs/cgroup/{controllers}{group}"
                numbers = [_read(f"{folder}/cpu.cfs_{name}_us") for name in ("quota", "period")]
            else:
                numbers = _read(f"{root}/sys/fs/cgroup{group}/cpu.max").split()
            if len(numbers) == 2 and all(number.strip().isdigit() for number in numbers):
                yield int(numbers[0]), int(numbers[1])
            if group in ("", "/"):
                break
            group = os.path.dirname(group)


def _read(path: str) -> str:
    """The text of a file; empty where it cannot be read."""
    try:
        # As bytes: a text file of ASCII would import a codec, which takes longer than all the rest here.
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
