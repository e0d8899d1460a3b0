"""How busy other programs keep the processors while the benchmark runs, without which no time means much."""

from __future__ import annotations

import os
import time
from pathlib import Path

_STAT = Path("/proc/stat")


class OtherPrograms:
    """Counts the processor time of everything but this process, from its creation on. On Linux only."""

    def __init__(self) -> None:
        self._start = _clocks()

    def cores(self) -> float | None:
        """How many processors were busy with other programs, on average; None where the system does not say."""
        if self._start is None or (now := _clocks()) is None:
            return None
        wall, others = (after - before for after, before in zip(now, self._start, strict=True))
        return max(0.0, others / wall)


def _clocks() -> tuple[float, float] | None:
    """Seconds that have passed, and that all processors together spent on other programs."""
    if not _STAT.exists():
        return None
    # "cpu", then ticks by kind: user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in user.
    ticks = [int(field) for field in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
    busy = sum(ticks) - ticks[3] - ticks[4]
    own = os.times()
    return time.monotonic(), busy / os.sysconf("SC_CLK_TCK") - own.user - own.system
