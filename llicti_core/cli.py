"""The command, for `python -m llicti_core`. It lives in llicti_plugin, since it stands on Pillow."""

from llicti_plugin.cli import LOSSLESS, main

__all__ = ["LOSSLESS", "main"]
