"""The `llc` command.

What a command needs is imported when it runs, so that help and usage errors come at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llicti_core.atomic import write_whole

if TYPE_CHECKING:
    from llicti_core import ImageInfo

LOSSLESS = (".png", ".bmp", ".pgm", ".pnm", ".ppm", ".tif", ".tiff")
"""What `llc decode` writes: the formats that Pillow never saves with loss."""

SCALES = (1, 2, 4, 8, 16, 32)
"""The same as llicti_core.SCALES, which to import is to import the codec."""

_PASSED_ON = {
    "bench": ("llicti_core.benchmark.__main__", "bench", "compare with other lossless formats on photographs"),
    "run": ("llicti_core.paper.run", "paper", "train or evaluate the paper's own codec, for comparison"),
    "train": ("llicti_core.training.__main__", "train", "train a model on a folder of photographs"),
}
"""Commands that have a command line of their own: the module of its `main`, its extra of the package, what it does."""


class _CommandError(Exception):
    """Why a file cannot be done, in words for the user."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 where a file failed. Exits with 2 where the usage is wrong."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in _PASSED_ON:
        return _pass_on(arguments[0], arguments[1:])
    parser = _parser()
    options = parser.parse_args(arguments)
    if "suffix" in options:
        targets = [_target(path, options) for path in options.files]
        if len(set(targets)) < len(targets):
            parser.error("several files would be written to the same one")
    return max([_status(path, options) for path in options.files])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llc", description="Lossless image compression by a small learned model.")
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    encode = commands.add_parser("encode", help="make .llc files of images, with their metadata")
    encode.add_argument("files", nargs="+", type=Path, metavar="IN", help="in any of Pillow's formats")
    encode.add_argument("--model", default="default", help="name of an installed model")
    encode.add_argument(
        "--effort", type=int, choices=range(4), default=1, help="work that goes into fitting the model (default: 1)"
    )
    encode.set_defaults(work=_encode, suffix=".llc")

    decode = commands.add_parser("decode", help="make PNG or other lossless images of .llc files")
    decode.add_argument("files", nargs="+", type=Path, metavar="IN")
    decode.add_argument(
        "--scale", type=int, choices=SCALES, default=1, help="take every so manieth pixel of each row and column"
    )
    decode.add_argument(
        "--region", type=int, nargs=4, metavar=("X", "Y", "WIDTH", "HEIGHT"), help="take the pixels in it alone"
    )
    decode.set_defaults(work=_decode, suffix=".png")

    for command in (encode, decode):
        command.add_argument(
            "-o", "--output", type=Path, metavar="OUT", help="file or existing folder (default: next to IN)"
        )
        command.add_argument("-f", "--force", action="store_true", help="overwrite files")
        command.add_argument("--threads", type=int, metavar="N", help="default: as many as there are processors")

    info = commands.add_parser("info", help="say what the headers of .llc files say")
    verify = commands.add_parser("verify", help="decode .llc files and compare their checksums")
    for command, work in ((info, _info), (verify, _verify)):
        command.add_argument("files", nargs="+", type=Path, metavar="FILE")
        command.set_defaults(work=work)

    for name, (*_, text) in _PASSED_ON.items():
        commands.add_parser(name, help=text)
    return parser


class _Version(argparse.Action):
    """Prints the version, which is looked up only then."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"llc {version('llicti')}")
        parser.exit()


def _pass_on(command: str, arguments: Sequence[str]) -> int:
    """Run a command of another module."""
    name, extra, _ = _PASSED_ON[command]
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        print(f"llc: {command} needs {error.name}: pip install 'llicti[{extra}]'", file=sys.stderr)
        return 1
    status: int = module.main(arguments)
    return status


def _status(path: Path, options: argparse.Namespace) -> int:
    """Do the command's work on a file; returns 1 where that fails, having said why."""
    try:
        options.work(path, options)
    except (_CommandError, OSError, ValueError, MemoryError) as error:
        # An OSError's text would repeat the file's name.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        print(f"llc: {path}: {reason}", file=sys.stderr)
        return 1
    return 0


def _encode(path: Path, options: argparse.Namespace) -> None:
    import io

    target = _target(path, options)
    if target.suffix.lower() != ".llc":
        msg = f"{target.name} does not end in .llc"
        raise _CommandError(msg)
    _check_free(target, options)
    file = io.BytesIO()
    with _opened(path) as image:
        image.save(file, "LLC", save_all=True, model=options.model, effort=options.effort, threads=options.threads)
    write_whole(target, file.getbuffer())


def _decode(path: Path, options: argparse.Namespace) -> None:
    import io

    from PIL import Image

    target = _target(path, options)
    if target.suffix.lower() not in LOSSLESS:
        msg = f"cannot write {target.name}: only {', '.join(LOSSLESS)}, which are always lossless"
        raise _CommandError(msg)
    _check_free(target, options)
    file = io.BytesIO()
    _read_header(path)  # says more of a damaged file than Pillow does
    with _opened(path, ["LLC"]) as image:
        image.decoderconfig = (options.threads,)
        whole = options.scale == 1 and options.region is None
        several = whole and image.n_frames > 1
        if several and target.suffix.lower() not in (".tif", ".tiff"):
            msg = f"cannot write {image.n_frames} images to {target.name}: only to .tif"
            raise _CommandError(msg)
        form = Image.registered_extensions()[target.suffix.lower()]
        shown = image if whole else _part(image, path, options)
        shown.save(file, form, save_all=several, **_metadata(image, form))
    write_whole(target, file.getbuffer())


def _part(image: Any, path: Path, options: argparse.Namespace) -> Any:
    """The scale and region of an image that were asked for; of several images in a file, of the first."""
    from PIL import Image

    import llicti_core

    pixels = llicti_core.decode(
        path, scale=options.scale, region=options.region, threads=options.threads, max_bytes=None, max_pixels=None
    )
    mode = "I;16" if image.mode.startswith("I;16") else image.mode
    part = Image.frombytes(mode, pixels.shape[1::-1], pixels.tobytes(), "raw", "1;8" if mode == "1" else mode)
    if image.palette:
        part.palette = image.palette.copy()
        part.palette.dirty = 1
    part.info = image.info
    return part


def _metadata(image: Any, form: str) -> dict[str, Any]:
    """The arguments by which Pillow's writer of `form` is given metadata that it does not take from `info` itself."""
    names = {"PNG": ("exif", "dpi"), "TIFF": ("exif", "dpi"), "BMP": ("dpi",)}.get(form, ())
    arguments = {name: image.info[name] for name in names if name in image.info}
    if form == "PNG":
        from PIL.PngImagePlugin import PngInfo

        texts = dict(image.text)
        if "xmp" in image.info:
            texts.setdefault("XML:com.adobe.xmp", image.info["xmp"].decode("utf-8", "replace"))
        arguments["pnginfo"] = PngInfo()
        for name, text in texts.items():
            arguments["pnginfo"].add_itxt(name, text)
    return arguments


def _read_header(path: Path) -> ImageInfo:
    import llicti_core

    return llicti_core.inspect(path)


def _info(path: Path, options: argparse.Namespace) -> None:
    info = _read_header(path)
    size = path.stat().st_size
    several = f"the first of {info.n_frames} images, all of them " if info.n_frames > 1 else ""
    samples = info.width * info.height * info.channels
    per_sample = "" if several else f", {8 * size / samples:.3f} bits per sub-pixel"
    model = f"model {info.model} ({info.model_identity}), tiles of {info.tile_size}, " if info.model else ""
    print(
        f"{path}: {info.width}x{info.height} {info.mode or f'{info.channels} channels'}, {info.dtype}, "
        f"{model}{several}{size} bytes{per_sample}"
    )


def _verify(path: Path, options: argparse.Namespace) -> None:
    import llicti_core

    llicti_core.verify(path, strict=True)
    print(f"{path}: ok")


def _target(path: Path, options: argparse.Namespace) -> Path:
    """The file that a file is converted to."""
    output: Path | None = options.output
    if output is None:
        return path.with_suffix(options.suffix)
    return output / path.with_suffix(options.suffix).name if output.is_dir() else output


def _check_free(target: Path, options: argparse.Namespace) -> None:
    if target.exists() and not options.force:
        msg = f"{target} exists (--force overwrites it)"
        raise _CommandError(msg)


@contextmanager
def _opened(path: Path, formats: list[str] | None = None) -> Iterator[Any]:
    """An image in one of these formats, or in any of Pillow's, .llc among them."""
    from PIL import Image, UnidentifiedImageError

    import llicti_plugin

    llicti_plugin.register()
    # The limit is a guard for servers; this file was named by its owner.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path, formats=formats) as image:
            yield image
    except UnidentifiedImageError as error:
        msg = "not an image that Pillow can read"
        raise _CommandError(msg) from error
    except SyntaxError as error:  # what some of Pillow's formats raise for a damaged file
        raise _CommandError(str(error)) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit
