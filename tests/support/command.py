"""The `llicti` command in this process, and what it says of a file that fails."""

from __future__ import annotations

import pytest

from llicti_plugin import cli


def failure(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that must fail for one file says."""
    assert cli.main([str(argument) for argument in arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("llicti: ")
    assert err.count("\n") == 1
    return err
