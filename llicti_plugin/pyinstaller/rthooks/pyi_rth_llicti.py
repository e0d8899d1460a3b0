"""Registers the format when a frozen program starts, where Python reads no .pth files."""

import llicti_plugin  # noqa: F401
