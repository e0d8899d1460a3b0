"""The format for Pillow: opens, verifies and saves `.llc` files."""

from __future__ import annotations

import io
import os
from array import array
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import IO, Any, cast

from PIL import Image, ImageFile, UnidentifiedImageError

import llicti_core
from llicti_plugin import pillow_info

_RAW_MODES = {"1": "1;8", "I": "I;32S", "F": "F;32F"}
"""Pillow's names of what the samples of a mode look like, where it is not the mode's own; all little endian."""

_AVERAGED = 4
"""Side of the squares of decoded pixels that a pixel of a smaller image is the mean of, where the file has as many."""

_AVERAGED_MODES = ("L", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
"""Modes whose pixels have a mean."""

_TIFF_SMALLER, _TIFF_MASK, _TIFF_OLD_SMALLER = 1, 4, 2
"""What TIFF's tags NewSubfileType (bits) and SubfileType say of pages that belong to another (TIFF 6.0, section 8)."""


class LlcImageFile(ImageFile.ImageFile):
    """An `.llc` file of one or more frames.

    `info` has its metadata under Pillow's usual names, and `info["model"]`, the model that coded it, if one did.
    `text` has its texts by name, as in PNG files; the languages that those may state are not kept.
    """

    format = "LLC"
    format_description = "LLICTI learned lossless image"
    n_frames, is_animated = 1, False  # of an image that has been unpickled, which has one frame alone
    _frame = 0

    def _open(self) -> None:
        assert self.fp is not None
        self._start = self.fp.tell()
        try:
            self._file = llicti_core.open(self.fp)
            self._show(0)
        except llicti_core.LLCError as error:
            # Image.open takes SyntaxError, and nothing else, for "some other format", and forgets what it says.
            raise UnidentifiedImageError(str(error)) from error
        self.n_frames = self._file.count
        self.is_animated = self.n_frames > 1
        if self.is_animated:
            self._close_exclusive_fp_after_loading = False
            self._fp = self.fp  # Pillow forgets `fp` when it has loaded a frame; it closes this one with the image

    def _show(self, frame: int) -> None:
        """Become an image of frame `frame`, whose pixels are yet to be loaded."""
        shown = self._file[frame]
        header, metadata, palette = shown.info, shown.metadata, shown.palette
        if not header.mode:
            msg = f"Pillow has no mode for {header.channels} channels of {header.dtype}; llicti_core.decode reads them"
            raise UnidentifiedImageError(msg)  # which imageio takes for a hint to go on to its own plugin

        if frame:
            Image._decompression_bomb_check((header.width, header.height))  # Image.open does it for the first

        colors = pillow_info.to_palette(palette) if palette else None
        self._frame, self._shown = frame, shown
        self._size = header.width, header.height
        self._mode = header.mode
        self.palette = colors
        self.info = pillow_info.to_info(metadata, header.mode, header.model)
        self.text = dict(metadata.text or {})
        self._can_be_smaller = header.model is not None and header.mode in _AVERAGED_MODES
        self._reduced = False
        self.tile = self._tile(1, 1)

    def seek(self, frame: int) -> None:
        """Become an image of another frame. Raises EOFError where there is none, OSError where it is damaged."""
        if not self._seek_check(frame):
            return
        self.fp = cast("IO[bytes]", self._fp)
        self.fp.seek(self._start)  # raises ValueError where the image has been closed
        try:
            self._show(frame)
        except llicti_core.LLCError as error:
            raise OSError(str(error)) from error
        self.im = None  # type: ignore[assignment]  # its pixels, palette and size are those of another frame
        try:
            self._reload_exif()
        except Exception:  # of any kind: Exif that cannot be read makes no frame that cannot be shown
            pass

    def tell(self) -> int:
        """The number of the frame that this is an image of."""
        return self._frame

    def draft(  # type: ignore[override]  # Pillow's own formats begin at whole pixels
        self, mode: str | None, size: tuple[int, int] | None
    ) -> tuple[str, tuple[float, float, float, float]] | None:
        """Have an image of 1/2, 1/4 ... 1/32 of the size decoded, not smaller than `size` if that can be.

        Each of its pixels is the mean of at least 4 x 4, or of all there are: every pixel is decoded down to 1/4, every
        2nd of each row and column for 1/8 and so on. The mode stays what it is. Returns it, and the box of the smaller
        image that shows what this one does: it begins a little inside where pixels have been passed over, since of
        each square the first has been kept, not the middle. Returns None where the image has been loaded or made
        smaller already.
        """
        if not self.tile or self._reduced:
            return None

        width, height = self.size
        factor = 1
        if size and self._can_be_smaller:
            most = min(width // max(size[0], 1), height // max(size[1], 1))
            factor = max([scale for scale in llicti_core.SCALES if scale <= most], default=1)
        self._size = -(-width // factor), -(-height // factor)
        self._reduced = factor > 1
        scale = max(factor // _AVERAGED, 1)
        self.tile = self._tile(scale, factor // scale)
        inside = (1 - 1 / scale) / 2 * scale / factor
        right, bottom = (min(old / factor + inside, new) for old, new in zip((width, height), self._size, strict=True))
        return self.mode, (inside, inside, right, bottom)

    def _tile(self, scale: int, averaged: int) -> list[ImageFile._Tile]:
        """How to decode the frame when it is loaded: see LlcDecoder."""
        return [ImageFile._Tile("llc", (0, 0, *self._size), self._start, (self._shown, scale, averaged))]

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:  # noqa: A002  # it is Pillow's name
        """As `Image.save`, which empties the file first: what is yet to be read from it is read before."""
        if params.get("append_images"):
            params["append_images"] = list(params["append_images"])
        if params.get("save_all") or params.get("append_images"):
            for image in (self, *(params.get("append_images") or ())):
                if isinstance(image, LlcImageFile) and _is_file(fp, image.filename):
                    image._read_all()
        super().save(fp, format, **params)

    def _read_all(self) -> None:
        """Have in memory what is yet to be read from the file."""
        self.load()
        if not self.is_animated:
            return
        file = self._fp
        file.seek(0)
        self.fp = self._fp = io.BytesIO(file.read())
        self.fp.seek(self._start)
        self._file = llicti_core.open(self.fp)
        if self._exclusive_fp:
            file.close()

    def verify(self) -> None:
        """Check the whole file. To be called directly after open; then the file is closed.

        Raises OSError where the file is damaged, RuntimeError where the pixels have been loaded.
        """
        if self.fp is None:
            msg = "verify must be called directly after open"
            raise RuntimeError(msg)

        limit = Image.MAX_IMAGE_PIXELS
        options = llicti_core.DecodeOptions(max_bytes=None, max_pixels=None if limit is None else 2 * limit)
        try:
            self._file.verify(options=options)
        except llicti_core.LLCError as error:
            raise OSError(str(error)) from error
        finally:
            super().verify()  # closes the file

    def load_seek(self, pos: int) -> None:
        """Go to the data. That there is such a method makes `ImageFile.Parser` wait for the whole file."""
        assert self.fp is not None
        self.fp.seek(pos)


class LlcDecoder(ImageFile.PyDecoder):
    """Decodes all of a frame at once, when Pillow first needs its pixels.

    Its arguments are the frame, the scale to decode at, the side of the squares of pixels to take the mean of, and, if
    the image has one, its `decoderconfig`: the number of threads.
    """

    _pulls_fd = True

    def decode(self, buffer: Image.DecoderInput) -> tuple[int, int]:
        """Set the image's pixels. Raises OSError where the file is damaged.

        Where the file ends early and `ImageFile.LOAD_TRUNCATED_IMAGES` is set, they are the best smaller version that
        it holds, enlarged such that every pixel known is where it belongs.
        """
        frame, scale, averaged, *config = self.args
        best, threads = scale, next(iter(config), None)
        try:
            if ImageFile.LOAD_TRUNCATED_IMAGES:
                best = max(scale, frame.best_scale())
            # The size was checked when the file was opened, against Image.MAX_IMAGE_PIXELS.
            options = llicti_core.DecodeOptions(max_bytes=None, max_pixels=None, threads=threads)
            pixels = frame.decode_bytes(scale=best, options=options)
        except llicti_core.TruncatedError as error:
            msg = f"image file is truncated: {error}"
            raise OSError(msg) from error
        except llicti_core.LLCError as error:
            raise OSError(str(error)) from error

        size = frame.info.width, frame.info.height
        raw = _swapped(pixels) if self.mode == "I;16B" else pixels
        width, height = (-(-side // scale) for side in size)
        if best > scale:
            raw = _enlarged(raw, -(-size[0] // best), width, height, best // scale)
        if averaged > 1:
            raw = Image.frombytes(self.mode, (width, height), bytes(raw)).reduce(averaged).tobytes()
        self.set_as_raw(raw, _RAW_MODES.get(self.mode, self.mode))
        return -1, 0


def _is_file(fp: Any, filename: str | bytes) -> bool:
    """Whether `fp` is the path of a file that is there as `filename`, too."""
    try:
        return os.path.samefile(fp, filename)
    except (OSError, TypeError, ValueError):  # no such file, or no path
        return False


def _enlarged(pixels: bytes | bytearray, columns: int, width: int, height: int, factor: int) -> bytes:
    """`width` by `height` pixels: those given, `columns` a row, each repeated `factor` times in both directions."""
    size = len(pixels) // columns // -(-height // factor)
    rows = []
    for start in range(0, len(pixels), columns * size):
        row = bytearray(columns * size * factor)
        for at in range(factor * size):
            row[at :: factor * size] = pixels[start + at % size : start + columns * size : size]
        rows.append(bytes(row[: width * size]) * factor)
    return b"".join(rows)[: width * height * size]


def _swapped(pixels: bytearray) -> bytes:
    """Little endian words as big endian ones."""
    words = array("H", bytes(pixels))
    words.byteswap()
    return words.tobytes()


def save(im: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    """Write an image of any mode. `Image.save` passes on `model`, `effort`, `threads` and `device`, and metadata."""
    fp.write(_encoded(im, im.encoderinfo, animated=False))


def save_all(im: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    """Write all frames of an image, then those of the images in `append_images`, to one file.

    `duration` says how long, in milliseconds, to show all of them, or each, if it is a list; by default what the `info`
    of each says. Other arguments are as those of `save`, for all frames.
    """
    images = [im, *im.encoderinfo.get("append_images", ())]
    total = sum(getattr(image, "n_frames", 1) for image in images)
    options = dict(im.encoderinfo)
    if total > 1:
        options = of_animation(im) | options
    durations = options.get("duration")
    files: list[bytes] = []
    for image in images:
        with closing(each_picture(image)) as pictures:
            for _ in pictures:
                if isinstance(durations, (list, tuple)):
                    options["duration"] = durations[len(files)] if len(files) < len(durations) else None
                files.append(_encoded(image, options, animated=total > 1))
    if isinstance(durations, (list, tuple)) and len(durations) != len(files):
        msg = f"{len(durations)} durations for {len(files)} frames"
        raise ValueError(msg)
    fp.write(llicti_core.join(files))


def of_animation(im: Image.Image) -> dict[str, Any]:
    """What the first image of several says of all of them, as arguments of `save`; None for what cannot be stored."""
    found = {name: im.info.get(name) for name in ("background", "loop")}
    return {name: value if pillow_info.is_storable(name, value) else None for name, value in found.items()}


def each_picture(im: Image.Image) -> Generator[None]:
    """Go to every frame of an image in turn that is a picture of its own, then back to where it was."""
    count = getattr(im, "n_frames", 1)
    if count <= 1:  # not every image can seek then, such as one that has been unpickled, or PSD files of no layers
        yield
        return
    before = im.tell()
    first = getattr(im, "_min_frame", 0)  # which is 1 in PSD files
    try:
        im.seek(first)
        kind = im.mode, im.size
        for index in range(count):
            if not index or _seek_picture(im, index, first, kind):
                yield
    finally:
        im.seek(before)


def _seek_picture(im: Image.Image, index: int, first: int, kind: tuple[str, tuple[int, int]]) -> bool:
    """Go to a frame, if it is more than a preview, a mask or a gain map of the first, which is of `kind`.

    JPEG and MPO files say what each of their images is for, or nothing; TIFF files what is smaller, or a mask.
    """
    entries = getattr(im, "mpinfo", None)
    purpose = str(entries[0xB002][index]["Attribute"]["MPType"]) if entries else "Multi-Frame"
    if purpose == "Undefined":
        try:
            im.seek(first + index)
        except (OSError, SyntaxError, ValueError):  # programs that cut such images off leave them in the index
            return False
        return (im.mode, im.size) == kind
    if not purpose.startswith("Multi-Frame"):
        return False
    im.seek(first + index)
    tags = getattr(im, "tag_v2", {})
    kind_of_page = tags.get(254)
    is_part = isinstance(kind_of_page, int) and kind_of_page & (_TIFF_SMALLER | _TIFF_MASK)
    return not is_part and tags.get(255) != _TIFF_OLD_SMALLER


def _encoded(im: Image.Image, options: Mapping[str, Any], animated: bool) -> bytes:
    """A file of one image, which is one of several frames where `animated`."""
    if im.width == 0 or im.height == 0:
        msg = "cannot write empty image as LLC"
        raise ValueError(msg)

    import numpy as np  # not needed to read, and slow to import

    im.load()
    metadata = pillow_info.from_image(im, options, animated)
    known = {name: options[name] for name in ("model", "effort", "threads", "device") if name in options}
    return llicti_core.encode(np.asarray(im), mode=im.mode, palette=palette(im), metadata=metadata, **known)


def palette(im: Image.Image) -> llicti_core.Palette | None:
    """The palette of an image of mode P or PA whose pixels are loaded, else None."""
    if im.mode not in ("P", "PA"):
        return None
    mode = im.im.getpalettemode()
    return llicti_core.Palette(mode, im.im.getpalette(mode, mode))


Image.register_decoder("llc", LlcDecoder)
