"""PNG, TIFF and NumPy files of arrays that no mode of Pillow's describes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from llicti_core import Metadata
from llicti_plugin.cli import kept, pillow_files
from llicti_plugin.cli.batch import Failure
from llicti_plugin.cli.extras import how_to_install
from llicti_plugin.cli.pictures import Frame, general_mode

TIFF_MODES = ("", "La", "RGBa")
"""Modes that a TIFF file holds, but which Pillow does not write: colours premultiplied by alpha; and no mode."""

_OTHER_MODES = ("1", "L", "LA", "RGB", "RGBA", "I;16", "I", "F")
"""Modes of further images in such a file."""

_PREMULTIPLIED, _ALPHA, _UNSPECIFIED = 1, 2, 0


def _without_extra(form: str, frame: Frame) -> Failure:
    otherwise = "" if frame.mode else " (.npy needs nothing)"
    return Failure(f"as {form}, {frame.described} needs the extra `deep`{otherwise}: {how_to_install('deep')}")


def npy(frames: Sequence[Frame]) -> tuple[bytes, list[str]]:
    """An .npy file of images without a mode, several along a first axis. Returns and raises as targets.written."""
    import numpy as np

    for frame in frames:
        if frame.mode:
            msg = f".npy cannot say that the image has {frame.described}; .tif can"
            raise Failure(msg)
    arrays = [frame.pixels for frame in frames]
    if len({(array.dtype, array.shape) for array in arrays}) > 1:
        msg = "an .npy file holds images of one size and type only; .tif can hold others"
        raise Failure(msg)
    array = np.stack(arrays) if len(arrays) > 1 else arrays[0]
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    back = np.load(io.BytesIO(file.getbuffer()), allow_pickle=False)
    if back.dtype != array.dtype or back.tobytes() != array.tobytes():
        msg = f"does not come back from .npy as it is written, {frames[0].described}"
        raise Failure(msg)
    return file.getvalue(), kept.all_words([frame.metadata for frame in frames])


_PNG_MODES = {2: "LA", 3: "RGB", 4: "RGBA"}
"""Pillow's modes for PNG's colour types, by channels."""


_IHDR_END = 33


def is_deep_png(mode: str, dtype: str, channels: int) -> bool:
    """Whether an image is one that PNG holds, but which Pillow does not write: colours or alpha of 16 bits."""
    return not mode and dtype == "uint16" and channels in _PNG_MODES


def png(frame: Frame) -> tuple[bytes, list[str]]:
    """A PNG file of such an image. Returns and raises as targets.written."""
    try:
        import imagecodecs
    except ImportError as error:
        raise _without_extra("PNG", frame) from error
    data = bytes(imagecodecs.png_encode(frame.pixels))
    pixel = Image.new(_PNG_MODES[frame.channels], (1, 1))
    model = pillow_files.saved([pixel], "PNG", [pillow_files.bearable(pixel, "PNG", frame.metadata)])
    data = data[:_IHDR_END] + _chunks_before_pixels(model) + data[_IHDR_END:]
    if imagecodecs.png_decode(data)[..., : frame.channels].tobytes() != frame.pixels.tobytes():
        msg = f"does not come back from PNG as it is written, {frame.described}"
        raise Failure(msg)
    return data, kept.lost(data, "PNG", [frame.metadata])


def _chunks_before_pixels(data: bytes) -> bytes:
    """The chunks of a PNG file between IHDR and IDAT, where Pillow writes all of the metadata."""
    at = _IHDR_END
    while data[at + 4 : at + 8] != b"IDAT":
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return data[_IHDR_END:at]


def tiff(frames: Sequence[Frame]) -> tuple[bytes, list[str]]:
    """A TIFF file of images at least one of which has a mode of TIFF_MODES. Returns and raises as targets.written."""
    import numpy as np

    for frame in frames:
        if frame.mode == "RGBa" and np.any(frame.pixels[..., :3] > frame.pixels[..., 3:]):
            msg = "its colours are greater than the alpha that multiplies them, which no .tif may hold"
            raise Failure(msg)
        if general_mode(frame.mode) not in (*TIFF_MODES, *_OTHER_MODES):
            msg = f".tif cannot hold {frame.described} beside the others"
            raise Failure(msg)
    try:
        import tifffile  # noqa: F401
    except ImportError as error:
        raise _without_extra("TIFF", frames[0]) from error
    metadata = [frame.metadata for frame in frames]
    try:
        data = _saved(frames, metadata)
        _compare(data, frames)
    except Exception:  # something in the metadata, most likely
        data = _saved(frames, [Metadata()] * len(frames))
        _compare(data, frames)
    return data, _lost(data, metadata)


def _saved(frames: Sequence[Frame], metadata: Sequence[Metadata]) -> bytes:
    import tifffile

    file = io.BytesIO()
    size = sum(frame.pixels.nbytes for frame in frames)
    with tifffile.TiffWriter(file, bigtiff=size > 2**32 - 2**25) as writer:
        for frame, each in zip(frames, metadata, strict=True):
            xmp = [(700, 1, len(each.xmp), each.xmp, True)] if each.xmp else []
            resolution: dict[str, Any] = {"resolution": each.dpi, "resolutionunit": 2} if each.dpi else {}
            writer.write(
                _squeezed(frame.pixels),
                **_layout(frame),
                metadata=None,
                software=False,
                iccprofile=each.icc_profile,
                extratags=xmp,
                **resolution,
            )
    return file.getvalue()


def _squeezed(pixels: NDArray[Any]) -> NDArray[Any]:
    """Without the axis of a single channel, which TIFF does not know."""
    return pixels[..., 0] if pixels.shape[2:] == (1,) else pixels


def _layout(frame: Frame) -> dict[str, Any]:
    """How TIFF describes the channels of an image."""
    channels = frame.channels
    colors = 3 if channels in (3, 4) else 1
    alpha = {"La": _PREMULTIPLIED, "RGBa": _PREMULTIPLIED, "LA": _ALPHA, "RGBA": _ALPHA}.get(frame.mode)
    if alpha is None:
        alpha = _ALPHA if channels == colors + 1 else _UNSPECIFIED
    layout: dict[str, Any] = {"photometric": "rgb" if colors == 3 else "minisblack"}
    if channels > 1:
        layout["planarconfig"] = "contig"
    if channels > colors:
        layout["extrasamples"] = [alpha] + [_UNSPECIFIED] * (channels - colors - 1)
    return layout


def _compare(data: bytes, frames: Sequence[Frame]) -> None:
    """Raises Failure where a TIFF file does not hold these images."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        same = len(file.pages) == len(frames)
        for page, frame in zip(file.pages, frames, strict=False):
            back = page.asarray()
            same = same and back.dtype == frame.pixels.dtype and back.size == frame.pixels.size
            same = same and back.shape[:2] == frame.pixels.shape[:2] and back.tobytes() == frame.pixels.tobytes()
    if not same:
        msg = f"does not come back from TIFF as it is written, {frames[0].described}; .npy holds it"
        raise Failure(msg)


def _lost(data: bytes, metadata: Sequence[Metadata]) -> list[str]:
    """What a TIFF file lacks of the metadata of its images, in words."""
    import tifffile

    missing: dict[str, None] = {}
    page: Any
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for page, wanted in zip(file.pages, metadata, strict=True):
            held = {
                "icc_profile": 34675 in page.tags and bytes(page.tags[34675].value) == wanted.icc_profile,
                "xmp": 700 in page.tags and bytes(page.tags[700].value) == wanted.xmp,
                "dpi": 282 in page.tags and wanted.dpi is not None and _close(page.get_resolution(2), wanted.dpi),
            }
            left = wanted._replace(**{name: None for name, is_held in held.items() if is_held})
            missing |= dict.fromkeys(kept.all_words([left]))
    return list(missing)


def _close(found: tuple[float, ...], wanted: tuple[float, ...]) -> bool:
    return all(abs(one - other) <= 1e-6 * other for one, other in zip(found, wanted, strict=True))
