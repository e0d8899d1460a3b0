"""`llicti encode`: makes `.llc` files of images, whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

import llicti_core
import llicti_plugin
from llicti_plugin import pillow_info
from llicti_plugin.cli import deep, depth
from llicti_plugin.cli.batch import Failure, Targets, read, tell

_ORIENTATION = 274


def file(path: str, targets: Targets, options: Mapping[str, Any]) -> None:
    """Make a `.llc` file of the image in a file. options: of llicti_core.encode.

    Raises Failure where it cannot be stored whole or written, and whatever a reader raises for a damaged file.
    """
    target = targets.path(path, ".llc")
    if target is not None and not target.lower().endswith(".llc"):
        msg = "does not end in .llc, as what is written here does"
        raise Failure(msg, target)
    if not targets.skips(target):
        data, notes = encoded(read(path), options)
        targets.write(target, data)
        for note in dict.fromkeys(notes):
            tell(path, note)


def encoded(data: bytes, options: Mapping[str, Any]) -> tuple[bytes, list[str]]:
    """The `.llc` file of an image in a file of any format; and what is worth telling of it. Raises as `file` does."""
    with _opened(data) as image:
        if image is None:
            form = deep.format_of(data)
            if form is None:
                msg = "not an image that Pillow can read"
                raise Failure(msg)
            return _read_whole(deep.read(form, data, f"Pillow cannot read this {form} file"), None, options)
        try:
            finding = _examined(image, data)
        except SyntaxError:  # how TIFF's plugin refuses samples
            pictures = deep.read(image.format or "", data, "Pillow cannot read all of its pages")
            return _read_whole(pictures, None, options)
        notes = [*finding.notes]
        if finding.lost:
            file, more = _read_whole(deep.read(image.format or "", data, finding.lost), image, options)
            return file, notes + more
        return _saved(image, options, notes), notes


def _saved(image: ImageFile, options: Mapping[str, Any], notes: list[str]) -> bytes:
    """The `.llc` file of an image of which Pillow keeps all."""
    file = io.BytesIO()
    image.save(file, "LLC", save_all=True, **options)
    stored, found = llicti_core.inspect(file.getbuffer()).n_frames, getattr(image, "n_frames", 1)
    if stored < found:
        notes.append(f"of {found} pictures {stored} stored: the others are previews, masks or gain maps")
    return file.getvalue()


def _read_whole(
    pictures: Iterable[deep.Picture], image: ImageFile | None, options: Mapping[str, Any]
) -> tuple[bytes, list[str]]:
    """The `.llc` file of pictures that were read whole, with the metadata that Pillow has of their file, if it can."""
    frames: list[bytes] = []
    notes: list[str] = []
    for index, picture in enumerate(pictures):
        notes += picture.notes
        metadata = picture.metadata
        if image is None:
            notes += picture.metadata_notes
        else:
            image.seek(index)
            if image.format == "TIFF":
                image.getexif().pop(_ORIENTATION, None)  # the pixels have been turned as it says
            metadata = pillow_info.from_image(image, {}, getattr(image, "n_frames", 1) > 1)
        frames.append(llicti_core.encode(picture.pixels, mode=picture.mode, metadata=metadata, **options))
    return llicti_core.join(frames), notes


def _examined(image: ImageFile, data: bytes) -> depth.Finding:
    """What Pillow would lose of any frame, and what to tell of the file."""
    file = io.BytesIO(data)
    if image.format != "TIFF":
        return depth.examine(image, file)
    findings = []
    for index in range(image.n_frames):  # type: ignore[attr-defined]
        image.seek(index)
        findings.append(depth.examine(image, file))
    image.seek(0)
    lost = next((finding.lost for finding in findings if finding.lost), "")
    return depth.Finding(lost, tuple(note for finding in findings for note in finding.notes))


@contextmanager
def _opened(data: bytes) -> Iterator[ImageFile | None]:
    """The image in a file, of any of Pillow's formats, `.llc` among them; None where it is of none."""
    llicti_plugin.register()
    # The limit is a guard for servers; this file was named by its owner.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        try:
            image = Image.open(io.BytesIO(data))
        except UnidentifiedImageError:
            yield None
            return
        with image:
            yield image
    finally:
        Image.MAX_IMAGE_PIXELS = limit
