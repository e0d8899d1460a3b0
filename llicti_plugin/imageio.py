"""The format for imageio: a v3 plugin, which imageio's v2 functions use as well."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import EllipsisType, FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from imageio.core.imopen import imopen
from imageio.core.request import URI_BYTES, URI_FILENAME, InitializationError, IOMode, Request
from imageio.core.v3_plugin_api import ImageProperties, PluginV3

import llicti_core
from llicti_core import MAX_PIXELS, DecodeOptions
from llicti_core.atomic import write_whole
from llicti_core.samples import MODES, REFUSED_MASK, SAMPLE_NAMES, has_mask, refused_dtype
from llicti_core.view import Region, View
from llicti_plugin import imageio_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Index = int | EllipsisType | None

_NO_STACK = "images of different shapes or types make no stack: read them one by one"


class _Wanted(NamedTuple):
    """How images are read: the arguments of LlcPlugin.read."""

    mode: str | None
    rotate: bool
    scale: int
    region: Region | None
    options: DecodeOptions


class LlcPlugin(PluginV3):
    """Reads and writes `.llc` files: images of (H, W) or (H, W, C), of the types that `encode` takes.

    An index of `...` means all images of a file, stacked along a leading axis; None means that where there are
    several, and the image where there is one. Where their shapes differ they cannot be stacked, and ValueError is
    raised, as for the index of an image that is not there. Damaged files raise OSError.
    """

    def __init__(self, request: Request) -> None:
        # A refused request goes on to the next plugin, so it is owned only once it is accepted.
        if request.mode.io_mode == IOMode.read:
            _check_signature(request)
        else:
            _check_extension(request)
        super().__init__(request)
        self._written: list[bytes] = []
        self._opened: llicti_core.LlcFile | None = None

    def close(self) -> None:
        """Write what is to be written, and close the file."""
        if not hasattr(self, "_opened"):  # __init__ refused the request, and __del__ has come here
            return
        written, self._written = self._written, []
        try:
            if written and self.request._uri_type == URI_FILENAME:
                write_whole(self.request.filename, llicti_core.join(written))
            elif written:
                self.request.get_file().write(llicti_core.join(written))
        finally:
            super().close()

    def __exit__(self, kind: object, *details: object) -> None:
        """Close the file; where an exception ends the block, nothing is written to it."""
        if kind is not None:
            self._written = []
        super().__exit__(kind, *details)

    def read(
        self,
        *,
        index: Index = None,
        mode: str | None = None,
        rotate: bool = False,
        writeable_output: bool = True,
        pilmode: str | None = None,
        scale: int = 1,
        region: Region | None = None,
        threads: int | None = None,
        device: str = "cpu",
        max_bytes: int | None = llicti_core.MAX_BYTES,
        max_pixels: int | None = MAX_PIXELS,
    ) -> NDArray[Any]:
        """The pixels of an image, (H, W) or (H, W, C); of several images stacked along a leading axis.

        Images with a palette come as their colors, (H, W, 3) or (H, W, 4).
        mode: one of Pillow's, to convert to, such as "L" or "RGBA"; of an image with a palette "P" gives what is
        stored. pilmode: the same, as version 2 has it.
        rotate: whether to turn the picture upright where its Exif says how.
        writeable_output: the array is always writeable.
        scale, region: for a part of each, as in llicti_core.decode; ValueError is raised where it has no such part.
        max_bytes, max_pixels: the most that the array may take before `mode`, with all its images, None for no limit;
        OSError is raised where it would take more.
        """
        options = DecodeOptions(max_bytes, max_pixels, threads, device)
        wanted = _Wanted(mode or pilmode, rotate, scale, region, options)
        number = self._number(index)
        if number is not None:
            return self._read(number, wanted)
        headers = [self._header(number) for number in range(self._file().count)]
        first = headers[0]
        if any((header.shape, header.dtype) != (first.shape, first.dtype) for header in headers):
            raise ValueError(_NO_STACK)
        view = View.of(first.width, first.height, scale, region)
        _check_limits(len(headers) * view.rows * view.columns, first, self._palette(0), wanted)
        stack: NDArray[Any] | None = None
        for number in range(len(headers)):
            image = self._read(number, wanted)
            if stack is None:
                stack = np.empty((len(headers), *image.shape), image.dtype)
            if image.shape != stack.shape[1:]:  # of palettes with and without alpha, or turned
                raise ValueError(_NO_STACK)
            stack[number] = image
        assert stack is not None
        return stack

    def iter(
        self,
        *,
        mode: str | None = None,
        rotate: bool = False,
        writeable_output: bool = True,
        scale: int = 1,
        region: Region | None = None,
        threads: int | None = None,
        device: str = "cpu",
        max_bytes: int | None = llicti_core.MAX_BYTES,
        max_pixels: int | None = MAX_PIXELS,
    ) -> Iterator[NDArray[Any]]:
        """Yield the images, one after the other, as `read` returns them. max_bytes, max_pixels: of each."""
        options = DecodeOptions(max_bytes, max_pixels, threads, device)
        wanted = _Wanted(mode, rotate, scale, region, options)
        for index in range(self._file().count):
            yield self._read(index, wanted)

    def write(
        self,
        ndimage: ArrayLike | Sequence[ArrayLike],
        *,
        is_batch: bool | None = None,
        mode: str | None = None,
        duration: float | Sequence[float] | None = None,
        loop: int | None = None,
        icc_profile: bytes | None = None,
        exif: bytes | None = None,
        xmp: bytes | None = None,
        comment: bytes | None = None,
        text: Mapping[str, str] | None = None,
        dpi: tuple[float, float] | None = None,
        gamma: float | None = None,
        transparency: bytes | int | tuple[int, ...] | None = None,
        background: int | tuple[int, ...] | None = None,
        model: str = "default",
        effort: int = 1,
        threads: int | None = None,
        device: str = "cpu",
    ) -> bytes | None:
        """Write one image of shape (H, W) or (H, W, C), or several: a list, an array of four axes, or with
        `is_batch=True` any array along its first axis.

        mode: what the pixels mean, one of Pillow's modes, as for llicti_core.encode; by default by their shape.
        duration: for how many milliseconds each is to be shown, or one number for all. The other metadata, which
        llicti_core.Metadata describes, are those of every image. More images may follow by further calls: the file
        is touched only once it is closed, and not where an exception ended the block that it was opened for.
        Raises TypeError for other dtypes and ValueError for other shapes. Returns the bytes of a file of all
        images so far where the target is "<bytes>".
        """
        images = [_checked(image) for image in _images(ndimage, is_batch, mode)]
        if not images:
            msg = "no images to write"
            raise ValueError(msg)
        durations = duration if isinstance(duration, (list, tuple)) else [duration] * len(images)
        if len(durations) != len(images):
            msg = f"{len(durations)} durations for {len(images)} images"
            raise ValueError(msg)
        metadata = llicti_core.Metadata(
            icc_profile, exif, xmp, comment, text, dpi, gamma, transparency, background, loop
        )
        encoded = [
            llicti_core.encode(
                image,
                mode=mode,
                metadata=metadata._replace(duration=shown),
                model=model,
                effort=effort,
                threads=threads,
                device=device,
            )
            for image, shown in zip(images, durations, strict=True)
        ]
        self._written += encoded
        return llicti_core.join(self._written) if self.request._uri_type == URI_BYTES else None

    def properties(self, index: Index = None) -> ImageProperties:
        """Shape and dtype of what `read` returns, from the header alone; of a stack, from that of the first image."""
        number = self._number(index)
        header = self._header(number or 0)
        shape = imageio_pixels.shape(header, self._palette(number or 0))
        dtype = np.dtype(header.dtype)
        if number is not None:
            return ImageProperties(shape, dtype)
        return ImageProperties((header.n_frames, *shape), dtype, n_images=header.n_frames, is_batch=True)

    def metadata(self, index: Index = None, exclude_applied: bool = True) -> dict[str, Any]:
        """The header's fields, such as `mode` and `model`, except the size; an image's metadata; `palette`, where it
        has one, [entries, channels].

        An index of None or `...` means the first image, which has what is common to all. Nothing is excluded.
        """
        number = self._number(index) or 0
        palette = self._palette(number)
        fields = {name: value for name, value in self._metadata(number)._asdict().items() if value is not None}
        header = self._header(number)._asdict()
        header = {name: value for name, value in header.items() if name not in ("width", "height")}
        return header | fields | ({"palette": imageio_pixels.table(palette)} if palette else {})

    def _number(self, index: Index) -> int | None:
        """The number of the image that an index means, None where it means all."""
        if index is None and self._file().count == 1:
            return 0
        return None if index is None or isinstance(index, EllipsisType) else index

    def _file(self) -> llicti_core.LlcFile:
        if self._opened is None:
            file = self.request.get_file()
            file.seek(0)  # where Pillow too begins to read, wherever the caller left it
            with _errors():
                self._opened = llicti_core.open(file)
        return self._opened

    def _header(self, index: int) -> llicti_core.ImageInfo:
        with _errors():
            file = self._file()
            return file[index].info._replace(n_frames=file.count)

    def _metadata(self, index: int) -> llicti_core.Metadata:
        with _errors():
            return self._file()[index].metadata

    def _palette(self, index: int) -> llicti_core.Palette | None:
        with _errors():
            return self._file()[index].palette

    def _read(self, index: int, wanted: _Wanted) -> NDArray[Any]:
        header = self._header(index)
        view = View.of(header.width, header.height, wanted.scale, wanted.region)
        palette = self._palette(index)
        _check_limits(view.rows * view.columns, header, palette, wanted)
        with _errors():
            frame = self._file()[index]
            pixels = frame.decode(scale=wanted.scale, region=wanted.region, options=wanted.options)
        if wanted.mode is None:
            pixels = imageio_pixels.in_colors(pixels, header, palette)
        elif wanted.mode != header.mode:
            pixels = imageio_pixels.in_mode(pixels, header, palette, self._metadata(index), wanted.mode)
        return imageio_pixels.upright(pixels, self._metadata(index)) if wanted.rotate else pixels


@contextmanager
def _errors() -> Iterator[None]:
    """What the core raises, as imageio expects it."""
    try:
        yield
    except llicti_core.LLCError as error:
        raise OSError(str(error)) from error
    except IndexError as error:
        raise ValueError(str(error)) from error


def _check_signature(request: Request) -> None:
    file = request.get_file()
    try:
        file.seek(0)
        signature = file.read(len(llicti_core.SIGNATURE))
        file.seek(0)
    except (AttributeError, OSError) as error:
        msg = "the LLC plugin needs a file that it can seek in"
        raise InitializationError(msg) from error
    if signature != llicti_core.SIGNATURE:
        msg = "not an LLC file"
        raise InitializationError(msg)


def _check_limits(
    pixels: int, header: llicti_core.ImageInfo, palette: llicti_core.Palette | None, wanted: _Wanted
) -> None:
    """Raises OSError where so many pixels are more than is allowed."""
    options = wanted.options
    if options.max_pixels is not None and pixels > options.max_pixels:
        msg = f"images have {pixels} pixels, more than the {options.max_pixels} allowed: see max_pixels"
        raise OSError(msg)
    needed = pixels * math.prod(imageio_pixels.shape(header, palette)[2:]) * np.dtype(header.dtype).itemsize
    if options.max_bytes is not None and needed > options.max_bytes:
        msg = f"images take {needed} bytes, more than the {options.max_bytes} allowed: see max_bytes"
        raise OSError(msg)


def _check_extension(request: Request) -> None:
    """Raises InitializationError where a file of another extension is to be written and nobody asked for `.llc`."""
    # A file object has no extension.
    if (request.extension or ".llc").lower() != ".llc" and not _is_asked_for():
        msg = f"the LLC plugin does not write {request.extension} files"
        raise InitializationError(msg)


def _is_asked_for() -> bool:
    """Whether the caller named the plugin, as `format="llc"` does in version 2.

    `imopen`, which looks for a plugin, tries all of them where it knows no better, and does not tell them.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not imopen.__code__:
        frame = frame.f_back
    return frame is None or frame.f_locals["plugin"] is not None


def _images(ndimage: ArrayLike | Sequence[ArrayLike], is_batch: bool | None, mode: str | None) -> Sequence[ArrayLike]:
    """The images in what imageio's writers accept."""
    if isinstance(ndimage, (list, tuple)):
        return ndimage
    array = np.asanyarray(ndimage)
    if is_batch is None:
        is_batch = array.ndim == 4 or (array.ndim == 3 and mode in MODES and MODES[mode][1] == 1)
    return array if is_batch else array[np.newaxis]  # type: ignore[return-value]


def _checked(image: ArrayLike) -> NDArray[Any]:
    if has_mask(image):
        msg = f"cannot write a {type(image).__name__} as LLC: {REFUSED_MASK}"
        raise TypeError(msg)
    pixels = np.asarray(image)
    if pixels.dtype.name not in SAMPLE_NAMES:
        msg = f"cannot write dtype {pixels.dtype} as LLC: {refused_dtype(pixels.dtype.name)}"
        raise TypeError(msg)
    if pixels.ndim not in (2, 3):
        msg = f"cannot write shape {pixels.shape} as LLC, only (H, W) and (H, W, C)"
        raise ValueError(msg)
    if pixels.size == 0:
        msg = "cannot write empty image as LLC"
        raise ValueError(msg)
    return pixels
