"""The format for imageio: a v3 plugin, which imageio's v2 functions use as well."""

from __future__ import annotations

from types import EllipsisType
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from imageio.core.request import URI_BYTES, URI_FILENAME, InitializationError, IOMode, Request
from imageio.core.v3_plugin_api import ImageProperties, PluginV3

import llicti_core
from llicti_core.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    Index = int | EllipsisType | None


_DTYPES = ("uint8", "uint16", "int32", "float32", "bool")


class LlcPlugin(PluginV3):
    """Reads and writes `.llc` files: one image a file, (H, W) or (H, W, C), of uint8, uint16, int32, float32 or bool.

    An index of None or 0 means that image; `...` means all images stacked, so the same with an axis of
    length 1 in front; any other index raises ValueError. Damaged files raise OSError.
    """

    def __init__(self, request: Request) -> None:
        # A refused request goes on to the next plugin, so it is owned only once it is accepted.
        if request.mode.io_mode == IOMode.read:
            _check_signature(request)
        else:
            _check_extension(request)
        super().__init__(request)
        self._written = False

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "_request"):  # else __init__ refused it, and __del__ has come here
            super().close()

    def read(self, *, index: Index = None, threads: int | None = None, device: str = "cpu") -> NDArray[Any]:
        """The pixels, (H, W) or (H, W, C); with an axis in front where `index` is `...`."""
        stack = _is_stack(index)
        try:
            pixels = llicti_core.decode(_rewound(self.request).read(), threads=threads, device=device)
        except llicti_core.LLCError as error:
            raise OSError(str(error)) from error
        return pixels[np.newaxis] if stack else pixels

    def iter(self, *, threads: int | None = None, device: str = "cpu") -> Iterator[NDArray[Any]]:
        """Yield the one image."""
        yield self.read(threads=threads, device=device)

    def write(
        self,
        ndimage: ArrayLike | Sequence[ArrayLike],
        *,
        is_batch: bool | None = None,
        model: str = "default",
        effort: int = 1,
        threads: int | None = None,
        device: str = "cpu",
    ) -> bytes | None:
        """Write one image of shape (H, W) or (H, W, C).

        A batch may be given too, if it is of one image: a list, an array of four axes, or any array with
        `is_batch=True`. Raises TypeError for other dtypes and ValueError for other shapes; a file is
        replaced only once the new one is complete. Returns the file's bytes where the target is "<bytes>".
        """
        if self._written:
            msg = "an LLC file holds one image, which has been written"
            raise ValueError(msg)
        pixels = _single_image(ndimage, is_batch)
        encoded = llicti_core.encode(pixels, model=model, effort=effort, threads=threads, device=device)
        if self.request._uri_type == URI_FILENAME:
            write_whole(self.request.filename, encoded)
        else:
            self.request.get_file().write(encoded)
        self._written = True
        return encoded if self.request._uri_type == URI_BYTES else None

    def properties(self, index: Index = None) -> ImageProperties:
        """Shape and dtype of what `read` returns, from the header alone."""
        header = self._header()
        dtype = np.dtype(header.dtype)
        if _is_stack(index):
            return ImageProperties((1, *header.shape), dtype, n_images=1, is_batch=True)
        return ImageProperties(header.shape, dtype)

    def metadata(self, index: Index = None, exclude_applied: bool = True) -> dict[str, Any]:
        """The header's fields, such as `mode` and `model`, except the size. None is applied to the pixels."""
        _is_stack(index)
        fields = self._header()._asdict()
        return {name: value for name, value in fields.items() if name not in ("width", "height")}

    def _header(self) -> llicti_core.ImageInfo:
        try:
            return llicti_core.inspect(_rewound(self.request).read(llicti_core.MAX_HEADER_BYTES))
        except llicti_core.LLCError as error:
            raise OSError(str(error)) from error


def _rewound(request: Request) -> IO[bytes]:
    """The requested file at its start, where Pillow too begins to read, wherever the caller left it."""
    file: IO[bytes] = request.get_file()
    file.seek(0)
    return file


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


def _is_stack(index: Index) -> bool:
    """Whether an index asks for all images stacked; raises ValueError where it asks for a second image."""
    if index is Ellipsis:
        return True
    if index is not None and index != 0:
        msg = f"no image {index}: an LLC file holds one image"
        raise ValueError(msg)
    return False


def _single_image(ndimage: ArrayLike | Sequence[ArrayLike], is_batch: bool | None) -> NDArray[Any]:
    """The (H, W) or (H, W, C) image in what imageio's writers accept."""
    images: Sequence[ArrayLike] | NDArray[Any]
    if isinstance(ndimage, (list, tuple)):
        images = ndimage
    else:
        images = np.asarray(ndimage)
        if not (images.ndim == 4 if is_batch is None else is_batch):
            images = images[np.newaxis]
    if len(images) != 1:
        msg = f"an LLC file holds one image, not {len(images)}"
        raise ValueError(msg)
    return _checked(np.asarray(images[0]))


def _checked(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.dtype.name not in _DTYPES:
        msg = f"cannot write dtype {pixels.dtype} as LLC, only {', '.join(_DTYPES)}"
        raise TypeError(msg)
    if pixels.ndim not in (2, 3):
        msg = f"cannot write shape {pixels.shape} as LLC, only (H, W) and (H, W, C)"
        raise ValueError(msg)
    if pixels.size == 0:
        msg = "cannot write empty image as LLC"
        raise ValueError(msg)
    return pixels
