"""The commands and their arguments. What a command needs is imported when it runs, so that help comes at once."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from llicti_plugin.cli import batch, say

SCALES = (1, 2, 4, 8, 16, 32)
"""The same as llicti_core.SCALES, which to import is to import the codec."""

_PASSED_ON = {
    "bench": ("llicti_core.benchmark.__main__", "bench", "Compare with other lossless formats on photographs."),
    "run": ("llicti_core.paper.run", "paper", "Train or evaluate the paper's own codec, for comparison."),
    "train": ("llicti_core.training.__main__", "train", "Train a model on a folder of photographs."),
}
"""Commands that have a command line of their own: the module of its `main`, its extra of the package, what it does."""


def _print_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from importlib.metadata import version

        from llicti_plugin.cli import autoloading

        click.echo(f"llicti {version('llicti')}")
        if autoloading.fails():
            say.err(autoloading.ADVICE)
        context.exit()


class Interrupted(Exception):
    """Ctrl-C was pressed. Unlike KeyboardInterrupt, it passes through click unnoticed."""


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. Click would print an empty line after Ctrl-C, at which `main` says what it has to say."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show the version."
)
def llicti() -> None:
    """Lossless image compression by a small learned model."""


def _files(metavar: str) -> Callable[..., Any]:
    return click.argument("files", nargs=-1, required=True, metavar=f"{metavar}...", type=click.Path(readable=False))


def _conversion(command: Callable[..., Any]) -> Callable[..., Any]:
    """What commands that write files have in common."""
    for option in (
        click.option(
            "--threads",
            type=click.IntRange(min=1),
            metavar="N",
            help="How many to use; by default one for each processor.",
        ),
        click.option("--skip-existing", is_flag=True, help="Leave files that exist, which is no failure."),
        click.option("-f", "--force", is_flag=True, help="Overwrite files that exist."),
        click.option(
            "-o",
            "--output",
            type=click.Path(readable=False),
            metavar="OUT",
            help="File or existing folder to write, or - for standard output; beside IN by default.",
        ),
    ):
        command = option(command)
    return command


def _encoding(command: Callable[..., Any]) -> Callable[..., Any]:
    """What commands that encode have in common."""
    for option in (
        click.option(
            "--effort",
            type=click.IntRange(0, 3),
            default=1,
            show_default=True,
            help="Work that goes into adapting the model: 0 is least, 3 most.",
        ),
        click.option(
            "--model",
            default="default",
            show_default=True,
            metavar="NAME",
            help="default, best (smaller files, four times the arithmetic) or another installed one.",
        ),
    ):
        command = option(command)
    return command


def _targets(files: tuple[str, ...], output: str | None, force: bool, skip_existing: bool) -> batch.Targets:
    targets = batch.Targets(output, force, skip_existing)
    problem = targets.problem(files)
    if problem:
        raise click.UsageError(problem)
    return targets


@llicti.command(short_help="Make .llc files of images.")
@_files("IN")
@_conversion
@_encoding
def encode(
    files: tuple[str, ...],
    output: str | None,
    force: bool,
    skip_existing: bool,
    threads: int | None,
    model: str,
    effort: int,
) -> int:
    """Make .llc files of images in any of Pillow's formats, with their metadata.

    An IN of - is standard input. What cannot be stored whole is refused.
    """
    from llicti_plugin.cli import encode

    targets = _targets(files, output, force, skip_existing)
    options = {"model": model, "effort": effort, "threads": threads}
    return batch.run(files, lambda path: encode.file(path, targets, options))


@llicti.command(short_help="Make PNG or TIFF of .llc files.")
@_files("IN")
@_conversion
@click.option(
    "--scale",
    type=click.Choice([str(scale) for scale in SCALES]),
    default="1",
    help="Take every SCALE-th pixel of each row and column.",
)
@click.option("--region", type=int, nargs=4, metavar="X Y WIDTH HEIGHT", help="Take only the pixels in it.")
def decode(
    files: tuple[str, ...],
    output: str | None,
    force: bool,
    skip_existing: bool,
    threads: int | None,
    scale: str,
    region: tuple[int, int, int, int] | None,
) -> int:
    """Make PNG or other lossless images of .llc files, with their metadata.

    Writes PNG where it can hold the image, else TIFF; where OUT is given, the format that it is named after. What the
    target cannot hold of the image is refused; what it cannot hold of the metadata is told.
    """
    from llicti_plugin.cli import decode

    targets = _targets(files, output, force, skip_existing)
    options = {"scale": int(scale), "region": region, "threads": threads}
    return batch.run(files, lambda path: decode.file(path, targets, options))


@llicti.command(short_help="Convert whole collections, and back.")
@click.argument("sources", nargs=-1, required=True, metavar="SRC...", type=click.Path(readable=False))
@click.argument("destination", metavar="DST", type=click.Path(file_okay=False))
@click.option(
    "--to",
    type=click.Choice(["llc", "webdataset", "png", "tiff"]),
    default="llc",
    show_default=True,
    help="What to make: .llc files of images; the same in tar files, for training; or of .llc files PNG, where that "
    "holds the image, or TIFF.",
)
@_encoding
@click.option("--lossy", is_flag=True, help="Take files of lossy formats, such as JPEG, too.")
@click.option(
    "--replace",
    is_flag=True,
    help="Remove each source that is kept whole, after the new file is compared. Not before version 0.1.0: until then "
    "a later version may be unable to read the files.",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite files that were not made of these sources.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes, of one thread each; by default one for each processor.",
)
@click.option(
    "--engine",
    type=click.Choice(["processes", "ray"]),
    default="processes",
    show_default=True,
    help="Who works: processes of this machine, or a Ray cluster.",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Where to write a line of JSON for each file, or Parquet, if it is named so; in DST by default.",
)
@click.option("--dry-run", is_flag=True, help="Write nothing; estimate time and space from some of the files.")
def convert(
    sources: tuple[str, ...],
    destination: str,
    to: str,
    model: str,
    effort: int,
    lossy: bool,
    replace: bool,
    force: bool,
    workers: int | None,
    engine: str,
    report: str | None,
    dry_run: bool,
) -> int:
    """Convert collections: files, patterns, folders, and URLs of these in object stores; DST mirrors them.

    Every file that is written is read back and compared. The same command goes on with a run that was stopped.
    """
    from llicti_core.threads import available
    from llicti_plugin.cli import convert
    from llicti_plugin.collection import Settings

    settings = Settings(to, model, effort, lossy, force, replace)
    problem = convert.check(sources, destination, settings, engine, report)
    if problem:
        raise click.UsageError(problem)
    if dry_run:
        return convert.dry_run(sources, destination, settings, workers or available())
    return convert.run(sources, destination, settings, engine, workers, report)


@llicti.command()
@_files("FILE")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object for each file, one a line.")
@click.option(
    "--heatmap",
    type=click.Path(dir_okay=False),
    metavar="OUT.png",
    help="Write an image of how many bits each pixel of FILE took; that takes some ten seconds a megapixel.",
)
def info(files: tuple[str, ...], as_json: bool, heatmap: str | None) -> int:
    """Say what the headers of .llc files say."""
    from llicti_plugin.cli import inspect

    if heatmap is None:
        return batch.run(files, inspect.info_json if as_json else inspect.info)
    if as_json or len(files) > 1:
        msg = "--heatmap is for one file, and not with --json"
        raise click.UsageError(msg)
    from llicti_plugin.cli import heatmap as heatmaps

    return batch.run(files, lambda path: heatmaps.file(path, heatmap))


@llicti.command()
@_files("FILE")
def verify(files: tuple[str, ...]) -> int:
    """Decode .llc files and compare their checksums."""
    from llicti_plugin.cli import inspect

    return batch.run(files, inspect.verify)


@llicti.command(short_help="Make a small PNG of a .llc file.")
@click.argument("file", metavar="FILE", type=click.Path(readable=False))
@click.argument("target", metavar="PNG", type=click.Path(readable=False))
@click.argument("size", type=click.IntRange(1, 4096))
def thumbnail(file: str, target: str, size: int) -> int:
    """Make a small PNG of a .llc file, no side longer than SIZE, as file managers ask for.

    What is there as PNG is replaced once the new picture is complete.
    """
    from llicti_plugin.cli import thumbnail

    return batch.run((file,), lambda path: thumbnail.file(path, target, size))


def _pass_on(name: str, module: str, extra: str, text: str) -> None:
    """Add a command that has a command line of its own."""
    settings = {"ignore_unknown_options": True, "help_option_names": []}

    @llicti.command(name, help=text, context_settings=settings, add_help_option=False)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def passed_on(arguments: tuple[str, ...]) -> int:
        try:
            command = import_module(module)
        except ModuleNotFoundError as error:
            from llicti_plugin.cli.extras import how_to_install

            say.err(f"{name} needs {error.name}: {how_to_install(extra)}")
            return 1
        try:
            status: int = command.main(list(arguments))
        except BrokenPipeError as error:
            raise say.failed_output(error) from error
        except (OSError, ValueError) as error:
            path = getattr(error, "filename", None)
            place = f"{say.shown(path)}: " if path else ""
            say.err(f"{name}: {place}{say.reason(error)}")
            return 1
        return status


for _name, _row in _PASSED_ON.items():
    _pass_on(_name, *_row)
