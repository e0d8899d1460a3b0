"""Bytes, times and changes in words."""

from __future__ import annotations


def in_bytes(count: int) -> str:
    """A number of bytes in words, in powers of 1000."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if abs(size) < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


def in_time(seconds: float) -> str:
    """A time in words."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def change(before: int, after: int) -> str:
    """How much less or more one number is than another, in words."""
    return f"{abs(1 - after / max(1, before)):.0%} {'less' if after <= before else 'more'}"
