"""The `llicti` command, also installed as `llc`.

Exit status: 0 where all was done, 1 where a file failed, 2 where the usage is wrong, 130 after Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Sequence

LOSSLESS = (".png", ".bmp", ".pbm", ".pgm", ".ppm", ".pnm", ".tif", ".tiff", ".npy")
"""What `llicti decode` writes: the formats that are never written with loss."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command on `arguments`, those of the process by default; returns the exit status."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        from llicti_plugin.cli import say

        say.err("interrupted")
        return 130


def _run(arguments: Sequence[str] | None) -> int:
    import click

    from llicti_plugin.cli import commands, say

    try:
        status: int | None = commands.llicti.main(
            None if arguments is None else list(arguments), prog_name="llicti", standalone_mode=False
        )
        return status or 0
    except click.ClickException as error:
        try:
            error.show()
        except OSError:
            pass  # standard error cannot be written
        return error.exit_code
    except (click.Abort, commands.Interrupted) as error:
        raise KeyboardInterrupt from error
    except SystemExit as error:  # from commands that have a command line of their own; and click's, for a closed pipe
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except OSError as error:
        failure: Exception = say.failed_output(error)  # click prints help and version by itself
    except say.OutputError as error:
        failure = error
    if str(failure):
        say.err(f"standard output: {failure}")
    return 1
