"""Files that Pillow writes, read back and compared with what they were made of."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from PIL import Image
from PIL.ExifTags import Base

from llicti_core import Metadata
from llicti_plugin.cli import kept, say
from llicti_plugin.cli.batch import Failure
from llicti_plugin.cli.pictures import Frame, general_mode


def written(frames: Sequence[Frame], form: str) -> tuple[bytes, list[str]]:
    """A file in Pillow's format `form`, and what it lacks of the metadata. Returns and raises as targets.written."""
    images = [frame.to_pillow() for frame in frames]
    metadata = [frame.metadata for frame in frames]
    failure: Exception | None = None
    for attempt in _attempts(images, form, metadata):
        try:
            data = saved(images, form, attempt)
            compare(data, images, form)
        except Exception as error:  # of any kind, where metadata is hostile
            failure = error
        else:
            return data, kept.lost(data, form, metadata)
    assert failure is not None
    raise failure


def _attempts(images: Sequence[Image.Image], form: str, metadata: Sequence[Metadata]) -> Iterator[Sequence[Metadata]]:
    """The metadata, then what is left of it without that which breaks files, then none."""
    yield metadata
    if any(each != Metadata() for each in metadata):
        yield [bearable(image, form, each) for image, each in zip(images, metadata, strict=True)]
        yield [Metadata()] * len(metadata)


def saved(images: Sequence[Image.Image], form: str, metadata: Sequence[Metadata]) -> bytes:
    """A file of these images."""
    file = io.BytesIO()
    arguments = [kept.ARGUMENTS.get(form, _no_arguments)(each) for each in metadata]
    for image, each in zip(images[1:], arguments[1:], strict=True):
        image.encoderinfo = each
    images[0].save(file, form, save_all=len(images) > 1, append_images=list(images[1:]), **arguments[0])
    return file.getvalue()


def _no_arguments(metadata: Metadata) -> dict[str, object]:
    return {}


def bearable(image: Image.Image, form: str, metadata: Metadata) -> Metadata:
    """As much of the metadata as the writer and the reader of `form` can take."""
    pixel = image.crop((0, 0, 1, 1))
    found = Metadata()
    for name, value in metadata._asdict().items():
        more = found._replace(**{name: value})
        try:
            compare(saved([pixel], form, [more]), [pixel], form)
        except Exception:  # whatever hostile metadata makes a library raise
            continue
        found = more
    return found


def compare(data: bytes, images: Sequence[Image.Image], form: str) -> None:
    """Raises Failure where a file does not hold these images, pixel by pixel and with their modes and palettes."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    why = ""
    try:
        with Image.open(io.BytesIO(data)) as back:
            same = getattr(back, "n_frames", 1) == len(images)
            for index, image in enumerate(images if same else ()):
                back.seek(index)
                # Pillow's reader of TIFF turns an image as its tag Orientation says.
                turn = _TURNS.get(back.getexif().get(Base.Orientation, 1)) if back.format == "TIFF" else None
                back.load()
                expected = (
                    image.transpose(turn) if turn is not None and Base.Orientation not in back.getexif() else image
                )
                same = same and _same(back, expected)
    except Exception as error:  # of any kind: Pillow before 13 cannot read the YCbCr that it writes to TIFF files
        same, why = False, f": {say.reason(error)}"
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    if not same:
        msg = f"does not come back from {form} as it is written, mode {images[0].mode}{why}"
        raise Failure(msg)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What Exif's orientations ask for."""


def _same(a: Image.Image, b: Image.Image) -> bool:
    """Whether an image that was read back is the same as one that was written."""
    if (general_mode(a.mode), a.size) != (general_mode(b.mode), b.size) or _samples(a) != _samples(b):
        return False
    if b.mode not in ("P", "PA"):
        return True
    assert b.palette is not None
    alpha = b.palette.mode == "RGBA"
    colors = _colors(b, alpha)
    return _colors(a, alpha)[: len(colors)] == colors


def _samples(image: Image.Image) -> bytes:
    return image.tobytes("raw", "I;16") if image.mode == "I;16B" else image.tobytes()


def _colors(image: Image.Image, alpha: bool) -> list[tuple[int, ...]]:
    """The entries of a palette, with alpha where that is asked for; files have that as a transparency."""
    assert image.palette is not None
    if alpha and image.palette.mode == "RGBA":
        values, size = image.getpalette("RGBA") or [], 4
    else:
        values, size = image.getpalette("RGB") or [], 3
    colors = [tuple(values[at : at + size]) for at in range(0, len(values), size)]
    if not alpha or size == 4:
        return colors
    alphas = image.info.get("transparency", b"")
    alphas = alphas if isinstance(alphas, bytes) else b"\xff" * alphas + b"\0"
    return [(*color, opacity) for color, opacity in zip(colors, alphas.ljust(len(colors), b"\xff"), strict=False)]
