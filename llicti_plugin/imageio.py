"""The format for imageio: a v3 plugin, which imageio's v2 functions use as well."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import numpy as np
from imageio.core.request import URI_BYTES, URI_FILENAME, InitializationError, IOMode, Request
from imageio.core.v3_plugin_api import ImageProperties, PluginV3

import llicti_core
from llicti_core.files import write_whole
from llicti_core.parts import Region, part_of
from llicti_core.samples import SAMPLE_NAMES, refused_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Index = int | EllipsisType | None


class LlcPlugin(PluginV3):
    """Reads and writes `.llc` files: images of (H, W) or (H, W, C), of the types that `encode` takes.

    An index of `...` means all images of a file stacked, so with an axis in front; None means that where there are
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
        self._opened: llicti_core.Frames | None = None

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
        scale: int = 1,
        region: Region | None = None,
        threads: int | None = None,
        device: str = "cpu",
        max_bytes: int | None = llicti_core.MAX_BYTES,
    ) -> NDArray[Any]:
        """The pixels of an image, (H, W) or (H, W, C); of several images with an axis in front.

        scale, region: for a part of each, as in llicti_core.decode; ValueError is raised where it has no such part.

        max_bytes: the most that the array may take, None for no limit; OSError is raised where it would take more.
        """
        number = self._number(index)
        if number is not None:
            return self._read(number, scale, region, threads, device, max_bytes)
        headers = [self._header(number) for number in range(self._frames().count)]
        first = headers[0]
        if any((header.shape, header.dtype) != (first.shape, first.dtype) for header in headers):
            msg = "images of different shapes or types make no stack: read them one by one"
            raise ValueError(msg)
        part = part_of(first.width, first.height, scale, region)
        shape, dtype = (len(headers), part.rows, part.columns, *first.shape[2:]), np.dtype(first.dtype)
        needed = math.prod(shape) * dtype.itemsize
        if max_bytes is not None and needed > max_bytes:
            msg = f"images take {needed} bytes, more than the {max_bytes} allowed"
            raise OSError(msg)
        stack = np.empty(shape, dtype)
        for number in range(len(stack)):
            stack[number] = self._read(number, scale, region, threads, device, None)
        return stack

    def iter(
        self,
        *,
        scale: int = 1,
        region: Region | None = None,
        threads: int | None = None,
        device: str = "cpu",
        max_bytes: int | None = llicti_core.MAX_BYTES,
    ) -> Iterator[NDArray[Any]]:
        """Yield the images, one after the other. scale, region: as in `read`. max_bytes: the most that one may take."""
        for index in range(self._frames().count):
            yield self._read(index, scale, region, threads, device, max_bytes)

    def write(
        self,
        ndimage: ArrayLike | Sequence[ArrayLike],
        *,
        is_batch: bool | None = None,
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

        duration: for how many milliseconds each is to be shown, or one number for all. The other metadata, which
        llicti_core.Metadata describes, are those of every image. More images may follow by further calls: the file
        is touched only once it is closed, and not where an exception ended the block that it was opened for.
        Raises TypeError for other dtypes and ValueError for other shapes. Returns the bytes of a file of all
        images so far where the target is "<bytes>".
        """
        images = [_checked(image) for image in _images(ndimage, is_batch)]
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
        if number is not None:
            header = self._header(number)
            return ImageProperties(header.shape, np.dtype(header.dtype))
        header = self._header(0)
        count = header.n_frames
        return ImageProperties((count, *header.shape), np.dtype(header.dtype), n_images=count, is_batch=True)

    def metadata(self, index: Index = None, exclude_applied: bool = True) -> dict[str, Any]:
        """The header's fields, such as `mode` and `model`, except the size, and an image's metadata.

        An index of None or `...` means the first image, which has what is common to all. None is applied to the pixels.
        """
        number = self._number(index) or 0
        with _errors():
            metadata = llicti_core.read_metadata(self._frames().head(number))
        fields = {name: value for name, value in metadata._asdict().items() if value is not None}
        header = self._header(number)._asdict()
        return {name: value for name, value in header.items() if name not in ("width", "height")} | fields

    def _number(self, index: Index) -> int | None:
        """The number of the image that an index means, None where it means all."""
        if index is None and self._frames().count == 1:
            return 0
        return None if index is None or isinstance(index, EllipsisType) else index

    def _frames(self) -> llicti_core.Frames:
        if self._opened is None:
            file = self.request.get_file()
            file.seek(0)  # where Pillow too begins to read, wherever the caller left it
            with _errors():
                self._opened = llicti_core.Frames(file)
        return self._opened

    def _header(self, index: int) -> llicti_core.ImageInfo:
        with _errors():
            frames = self._frames()
            return llicti_core.inspect(frames.head(index))._replace(n_frames=frames.count)

    def _read(
        self,
        index: int,
        scale: int,
        region: Region | None,
        threads: int | None,
        device: str,
        max_bytes: int | None,
    ) -> NDArray[Any]:
        with _errors():
            data = self._frames().single(index, scale)
            return llicti_core.decode(
                data, scale=scale, region=region, threads=threads, device=device, max_bytes=max_bytes
            )


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


def _check_extension(request: Request) -> None:
    # A file object has no extension, and the plugin may have been asked for by name.
    if (request.extension or ".llc").lower() != ".llc":
        msg = f"the LLC plugin does not write {request.extension} files"
        raise InitializationError(msg)


def _images(ndimage: ArrayLike | Sequence[ArrayLike], is_batch: bool | None) -> Sequence[ArrayLike]:
    """The images in what imageio's writers accept."""
    if isinstance(ndimage, (list, tuple)):
        return ndimage
    array = np.asarray(ndimage)
    batch = array.ndim == 4 if is_batch is None else is_batch
    return array if batch else array[np.newaxis]  # type: ignore[return-value]


def _checked(image: ArrayLike) -> NDArray[Any]:
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
