"""`llicti encode`: makes `.llc` files of images, whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile

import llicti_core
import llicti_plugin
from llicti_plugin import pillow as pillow_plugin
from llicti_plugin import pillow_info
from llicti_plugin.cli import deep, depth
from llicti_plugin.cli.batch import Failure, Targets, read, tell
from llicti_plugin.cli.pictures import general_mode


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
        reading = _reading(image, data)
        if reading.pictures is None:
            return _saved(reading, options)
        notes = [*reading.notes]
        frames = [
            llicti_core.encode(frame.pixels, mode=frame.mode, metadata=frame.metadata, **options)
            for frame in _frames_read_whole(reading, notes)
        ]
        return llicti_core.join(frames), notes


def compare(data: bytes, coded: bytes, threads: int | None = None) -> list[str]:
    """What of a file `data` its `.llc` file `coded` does not store, in words, as `encoded` tells it.

    Raises Failure where pixels, modes, palettes or metadata are not those of the file, which is read anew; and what
    `encoded` raises.
    """
    with _opened(data) as image:
        reading = _reading(image, data)
        notes = [*reading.notes]
        frames = _frames_of_pillow(reading) if reading.pictures is None else _frames_read_whole(reading, notes)
        options = llicti_core.DecodeOptions(max_bytes=None, max_pixels=None, threads=threads)
        with llicti_core.open(coded) as file:
            for index, (wanted, found) in enumerate(zip_longest(frames, file)):
                if not wanted or not found:
                    msg = f"the .llc file has {file.count} frames, not those of the image"
                    raise Failure(msg)
                _compare_frames(wanted, found, found.decode(options=options), index)
            if reading.pictures is None:
                notes += _left_out(reading, file.count)
    return notes


class _Reading(NamedTuple):
    """How a file is read. pictures: by `deep`; None where Pillow keeps all. image: what Pillow knows of it, if it can
    be used. notes: what is worth telling."""

    pictures: Iterable[deep.Picture] | None
    image: ImageFile | None
    notes: tuple[str, ...] = ()


class _Frame(NamedTuple):
    """A frame as it is to be stored. mode: None for the simplest that fits. metadata: None for none."""

    pixels: NDArray[Any]
    mode: str | None
    palette: llicti_core.Palette | None
    metadata: llicti_core.Metadata | None


def _reading(image: ImageFile | None, data: bytes) -> _Reading:
    if image is None:
        form = deep.format_of(data)
        if form is None:
            msg = "not an image that Pillow can read"
            raise Failure(msg)
        return _Reading(deep.read(form, data, f"Pillow cannot read this {form} file"), None)
    try:
        finding = _examined(image, data)
    except SyntaxError:  # how TIFF's plugin refuses samples
        return _Reading(deep.read(image.format or "", data, "Pillow cannot read all of its pages"), None)
    pictures = deep.read(image.format or "", data, finding.lost) if finding.lost else None
    return _Reading(pictures, image, finding.notes)


def _saved(reading: _Reading, options: Mapping[str, Any]) -> tuple[bytes, list[str]]:
    """The `.llc` file of an image of which Pillow keeps all; and what to tell."""
    assert reading.image
    file = io.BytesIO()
    reading.image.save(file, "LLC", save_all=True, **options)
    stored = llicti_core.inspect(file.getbuffer()).n_frames
    return file.getvalue(), [*reading.notes, *_left_out(reading, stored)]


def _left_out(reading: _Reading, stored: int) -> list[str]:
    """What to tell of pictures in a file that Pillow reads, of which `stored` are stored."""
    found = getattr(reading.image, "n_frames", 1)
    if stored >= found:
        return []
    return [f"of {found} pictures {stored} stored: the others are previews, masks or gain maps"]


def _frames_read_whole(reading: _Reading, notes: list[str]) -> Iterator[_Frame]:
    """The frames that `deep` reads, with the metadata that Pillow has of their file, if it can. Adds to `notes`."""
    for index, picture in enumerate(reading.pictures or ()):
        notes += picture.notes
        metadata, image = picture.metadata, reading.image
        if image is None:
            notes += picture.metadata_notes
        else:
            image.seek(index)
            if image.format == "TIFF":
                image.getexif().pop(Base.Orientation, None)  # the pixels have been turned as it says
            metadata = pillow_info.from_image(image, {}, getattr(image, "n_frames", 1) > 1)
        yield _Frame(picture.pixels, picture.mode, None, metadata)


def _frames_of_pillow(reading: _Reading) -> Iterator[_Frame]:
    """The frames that Pillow's `save_all` stores."""
    image = reading.image
    assert image
    animated = getattr(image, "n_frames", 1) > 1
    of_file = pillow_plugin.of_animation(image) if animated else {}
    with closing(pillow_plugin.each_picture(image)) as pictures:
        for _ in pictures:
            image.load()
            metadata = pillow_info.from_image(image, of_file, animated)
            yield _Frame(np.asarray(image), image.mode, pillow_plugin.palette(image), metadata)


def _compare_frames(wanted: _Frame, found: llicti_core.LlcFrame, pixels: NDArray[Any], index: int) -> None:
    """Raises Failure where a frame that was read back, of these pixels, is not the one that was to be stored."""
    same_mode = wanted.mode is None or general_mode(wanted.mode) == general_mode(found.info.mode)
    metadata = wanted.metadata or llicti_core.Metadata()
    for what, same in (
        ("pixels are", _samples(wanted.pixels) == _samples(pixels)),
        ("mode is", same_mode),
        ("palette is", wanted.palette == found.palette),
        ("metadata is", metadata.sections() == found.metadata.sections()),
    ):
        if not same:
            msg = f"read back from the .llc file, its {what} another{f' in frame {index}' if index else ''}"
            raise Failure(msg)


def _samples(pixels: NDArray[Any]) -> tuple[str, tuple[int, ...], memoryview]:
    """An array's type, height and width, and samples as bytes, whatever their order."""
    little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    return little.dtype.name, little.shape[:2], memoryview(little.reshape(-1).view(np.uint8))


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
