"""Reads pictures whole that Pillow would convert: with tifffile and imagecodecs, the extra `deep`; some by itself."""

from __future__ import annotations

import io
import logging
import math
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image
from PIL.ExifTags import Base

import llicti_core
from llicti_plugin.cli import pnm, say
from llicti_plugin.cli.batch import Failure
from llicti_plugin.cli.extras import how_to_install
from llicti_plugin.cli.tiff_tags import SUB_DIRECTORIES, SUB_DIRECTORIES_NOTE
from llicti_plugin.pillow_exif import OF_TIFF_FILES, packed

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Picture(NamedTuple):
    """A frame that was read whole.

    pixels: (height, width) or (height, width, channels). mode: Pillow's name of what they mean; None for the simplest
    that fits, or none. metadata: what the reader knows of it, where Pillow knows nothing. notes, metadata_notes: what
    of the picture cannot be stored, and what of that metadata.
    """

    pixels: NDArray[Any]
    mode: str | None = None
    metadata: llicti_core.Metadata | None = None
    notes: tuple[str, ...] = ()
    metadata_notes: tuple[str, ...] = ()


def format_of(data: bytes) -> str | None:
    """Pillow's name of the format of a file that it could not open, where one of the readers here may."""
    if data.startswith(llicti_core.SIGNATURE):
        return "LLC"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if data[:2] == b"\xff\x0a" or data[:12] == b"\0\0\0\x0cJXL \r\n\x87\n":
        return "JXL"
    if data[4:12] in (b"ftypavif", b"ftypavis"):  # which Pillow reads from 11.3 on
        return "AVIF"
    return "PPM" if pnm.read_header(data) else None


def read(form: str, data: bytes, lost: str) -> Iterator[Picture]:
    """The frames of a file of that format.

    lost: why Pillow is not enough. Raises Failure where there is no reader, and whatever a reader raises for a damaged
    file.
    """
    reader = _READERS.get(form)
    if reader is None:
        raise Failure(lost)
    try:
        yield from reader(data)
    except (ImportError, ValueError) as error:
        # tifffile needs imagecodecs for most ways of compression, and says so by a ValueError.
        if isinstance(error, ValueError) and "requires the 'imagecodecs'" not in str(error):
            raise
        msg = f"{lost}; what reads it whole is the extra `deep`: {how_to_install('deep')}"
        raise Failure(msg) from error


def _llc(data: bytes) -> Iterator[Picture]:
    options = llicti_core.DecodeOptions(max_bytes=None, max_pixels=None)
    with llicti_core.open(data) as file:
        for frame in file:
            if frame.palette:
                msg = "frames with a palette among others without a mode"
                raise Failure(msg)
            yield Picture(frame.decode(options=options), frame.info.mode or None, frame.metadata)


def _pnm(data: bytes) -> Iterator[Picture]:
    header = pnm.read_header(data)
    pixels, after = pnm.read(data)
    notes = [f"{after} bytes after the picture are not stored"] if after else []
    if header and header.maximum not in (255, 65535):
        notes.append(f"its samples of 0 to {header.maximum} are stored as they are, {pixels.dtype.name}")
    yield Picture(pixels, notes=tuple(notes))


def _png(data: bytes) -> Iterator[Picture]:
    import imagecodecs

    if b"acTL" in data[:512]:
        msg = "an animation of 16 bits, of which only the first picture can be read"
        raise Failure(msg)
    channels = {2: 3, 4: 2, 6: 4}[data[25]]
    # Where one colour is transparent, libpng adds a channel for that; the colour is kept as metadata.
    yield Picture(imagecodecs.png_decode(data)[..., :channels])


def _jpeg_2000(data: bytes) -> Iterator[Picture]:
    import imagecodecs

    yield _of_bits(imagecodecs.jpeg2k_decode(data))


def _avif(data: bytes) -> Iterator[Picture]:
    import imagecodecs

    pixels = imagecodecs.avif_decode(data)
    for frame in pixels if pixels.ndim == 4 else [pixels]:
        yield _of_bits(frame)


def _jpeg_xl(data: bytes) -> Iterator[Picture]:
    import imagecodecs

    pixels = imagecodecs.jpegxl_decode(data)
    for frame in pixels if pixels.ndim == 4 else [pixels]:
        yield _of_bits(frame)


def _of_bits(pixels: NDArray[Any]) -> Picture:
    """A picture that may use fewer bits than its samples have."""
    most = int(pixels.max(initial=0))
    fewer = pixels.dtype.name == "uint16" and most < 2**12
    note = f"its samples of up to {most} are stored as they are, {pixels.dtype.name}"
    return Picture(pixels, None, None, (note,) if fewer else (), ("only pixels are read: no profile, Exif or XMP",))


_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE = 0, 1, 2, 3
_PREMULTIPLIED = 1
_RATIONALS = (5, 10)


def _tiff(data: bytes) -> Iterator[Picture]:
    import tifffile

    log = _Log()
    logging.getLogger("tifffile").addHandler(log)
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            for index in range(len(file.pages)):
                page = file.pages[index]
                log.check()
                _check_segments(page, len(data))
                yield _page(page)
    finally:
        logging.getLogger("tifffile").removeHandler(log)


class _Log(logging.Handler):
    """What tifffile logs as errors, to go on with something else in place of what is damaged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.errors.append(record.getMessage())

    def check(self) -> None:
        """Raises Failure where an error may be one of pixels: of anything but a tag that describes the picture."""
        for error in self.errors:
            tag = re.search(r"TiffTag (\d+)", error)
            if not tag or int(tag[1]) in OF_TIFF_FILES:
                msg = f"is damaged: {say.one_line(error)}"
                raise Failure(msg)


def _check_segments(page: Any, size: int) -> None:
    """Raises Failure where strips or tiles are missing, for which tifffile would give zeros. size: of the file."""
    chunks = (1,) * (len(page.shape) - len(page.chunks)) + tuple(page.chunks)
    needed = math.prod(-(-side // chunk) for side, chunk in zip(page.shape, chunks, strict=True))
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if len(segments) != needed or any(count < 1 or start + count > size for start, count in segments):
        msg = "strips or tiles of it are missing"
        raise Failure(msg)


def _page(page: Any) -> Picture:
    import numpy as np

    if "DNGVersion" in page.tags or page.photometric in (32803, 34892):
        msg = "a raw photograph of a camera"
        raise Failure(msg)
    pixels = page.asarray()
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    elif page.axes not in ("YX", "YXS"):
        msg = f"its axes are {page.axes}, not rows and columns"
        raise Failure(msg)

    if page.photometric == _PALETTE:
        msg = "it has a palette beside other channels"
        raise Failure(msg)
    notes, mode = [], None
    extra = tuple(page.extrasamples)
    if page.photometric == _RGB and extra == (_PREMULTIPLIED,) and pixels.dtype.name == "uint8":
        mode = "RGBa"
    elif _PREMULTIPLIED in extra:
        notes.append("that its colours are premultiplied by alpha is not stored")
    if page.photometric not in (_MIN_IS_BLACK, _RGB):
        notes.append(f"that its samples are {getattr(page.photometric, 'name', page.photometric)} is not stored")
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    if bits < 8 * pixels.dtype.itemsize:
        notes.append(f"its samples of {bits} bits are stored as they are, {pixels.dtype.name}")
    metadata, metadata_notes = _tiff_metadata(page)
    return Picture(_upright(pixels, page), mode, metadata, tuple(notes), metadata_notes)


def _upright(pixels: NDArray[Any], page: Any) -> NDArray[Any]:
    """Turned as the tag Orientation says, as Pillow turns the TIFF files that it reads."""
    tag = page.tags.get(Base.Orientation)
    orientation = int(tag.value) if tag else 1
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _tiff_metadata(page: Any) -> tuple[llicti_core.Metadata, tuple[str, ...]]:
    """The metadata of a page, and what of it cannot be read."""
    icc, xmp = (page.tags[tag].value if tag in page.tags else None for tag in (34675, 700))
    dpi = page.get_resolution(2) if 282 in page.tags and 283 in page.tags else None
    tags: dict[int, Any] = {}
    left_out = []
    names: dict[int, str] = {}
    for tag in page.tags:
        if tag.code in OF_TIFF_FILES or tag.code == Base.Orientation:
            continue
        if isinstance(tag.value, dict) or tag.dtype in _RATIONALS:
            left_out.append(tag.name)
        else:
            tags[tag.code] = tag.value
            names[tag.code] = tag.name
    exif = packed(tags, page.parent.byteorder)
    held = Image.Exif()
    held.load(exif or b"")
    left_out += [name for code, name in names.items() if code not in held]
    metadata = llicti_core.Metadata(bytes(icc) if icc else None, exif, bytes(xmp) if xmp else None, dpi=dpi)
    notes = (f"not stored: tags {', '.join(left_out)}",) if left_out else ()
    return metadata, (SUB_DIRECTORIES_NOTE, *notes) if SUB_DIRECTORIES in page.tags else notes


_READERS: dict[str, Callable[[bytes], Iterator[Picture]]] = {
    "AVIF": _avif,
    "JPEG2000": _jpeg_2000,
    "JXL": _jpeg_xl,
    "LLC": _llc,
    "PNG": _png,
    "PPM": _pnm,
    "TIFF": _tiff,
}
"""By Pillow's names of the formats; JPEG XL is not among its own."""
