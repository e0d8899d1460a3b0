"""Tells PyInstaller where its hooks for this package are (entry point group `pyinstaller40`): beside this file."""

from __future__ import annotations

import os


def hook_dirs() -> list[str]:
    """Folders of hooks."""
    return [os.path.dirname(__file__)]
