"""What has to be installed for an extra of the package, in words that work whether it came from an index or not."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires


def how_to_install(extra: str) -> str:
    """A command that installs the packages of `extra`."""
    try:
        needed = requires("llicti") or []
    except PackageNotFoundError:  # run from a folder that was copied
        needed = []
    of_extra = re.compile(rf"""\bextra\s*==\s*['"]{extra}['"]""")
    lines = [line for line in needed if of_extra.search(line.partition(";")[2])]
    packages = [re.split(r"[\s;(]", line.strip())[0].partition("[")[0] for line in lines]
    names = " ".join(f"'{name}'" if "<" in name or ">" in name else name for name in packages)
    return f"pip install {names}" if names else f"install the packages of the extra {extra!r}"
