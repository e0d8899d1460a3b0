"""Whether Pillow knows the format without an import line where this command is installed."""

from __future__ import annotations

import subprocess
import sys

ADVICE = (
    "Pillow and imageio of this Python do not know .llc files by themselves (see README, Troubleshooting): "
    "`import llicti_plugin` makes them"
)

_ASK = "import sys; from PIL import Image; sys.exit('.llc' not in Image.registered_extensions())"


def fails() -> bool:
    """Whether a new interpreter does not know the format. This one has been told of it by its own imports."""
    if getattr(sys, "frozen", False):  # sys.executable is no interpreter
        return False
    return subprocess.run([sys.executable, "-c", _ASK], stderr=subprocess.DEVNULL).returncode != 0
