"""The format for Pillow: opens, verifies and saves `.llc` files."""

from __future__ import annotations

from array import array
from typing import IO

from PIL import Image, ImageFile, ImagePalette, UnidentifiedImageError

import llicti_core

_RAW_MODES = {"1": "1;8", "I": "I;32S", "F": "F;32F"}
"""Pillow's names of what the samples of a mode look like, where it is not the mode's own; all little endian."""


class LlcImageFile(ImageFile.ImageFile):
    """An `.llc` file; `info["model"]` names the model that coded it, if one did."""

    format = "LLC"
    format_description = "LLICTI learned lossless image"

    def _open(self) -> None:
        assert self.fp is not None
        start = self.fp.tell()
        try:
            data = self.fp.read(llicti_core.MAX_HEADER_BYTES)
            header = llicti_core.inspect(data)
            if header.mode in ("P", "PA"):
                self._set_palette(data + self.fp.read())
        except llicti_core.LLCError as error:
            raise SyntaxError(str(error)) from error
        if not header.mode:
            msg = f"Pillow has no mode for {header.channels} channels of {header.dtype}; llicti_core.decode reads them"
            raise UnidentifiedImageError(msg)  # which imageio takes for a hint to go on to its own plugin

        self._size = header.width, header.height
        self._mode = header.mode
        if header.model:
            self.info["model"] = header.model
        self._scale = 1
        # A plain tuple, because Pillow before 11 has no ImageFile._Tile.
        self.tile = [("llc", (0, 0, *self._size), start, (self._size, 1))]  # type: ignore[list-item]

    def _set_palette(self, data: bytes) -> None:
        palette = llicti_core.read_palette(data)
        assert palette
        self.palette = ImagePalette.ImagePalette(palette.mode, palette.colours)
        self.palette.dirty = 1  # until it is loaded

    def draft(  # type: ignore[override]  # Pillow's own formats begin at whole pixels
        self, mode: str | None, size: tuple[int, int] | None
    ) -> tuple[str, tuple[float, float, float, float]] | None:
        """Have a smaller version decoded, of every 2nd, 4th ... 32nd pixel, not smaller than `size` if that can be.

        The mode stays what it is. Returns it, and the box of the smaller version that shows what the image does: it
        begins a little inside, since of each square of pixels the first has been kept, not the middle. Returns None
        where the image has been loaded or made smaller already.
        """
        if not self.tile or self._scale > 1:
            return None

        width, height = self.size
        scale = 1
        if size and self.info.get("model"):
            most = min(width // max(size[0], 1), height // max(size[1], 1))
            scale = max([factor for factor in llicti_core.SCALES if factor <= most], default=1)
        self._size = -(-width // scale), -(-height // scale)
        self._scale = scale
        self.tile = [("llc", (0, 0, *self._size), self.tile[0][2], ((width, height), scale))]  # type: ignore[list-item]
        inside = (1 - 1 / scale) / 2
        right, bottom = (min(old / scale + inside, new) for old, new in zip((width, height), self._size, strict=True))
        return self.mode, (inside, inside, right, bottom)

    def verify(self) -> None:
        """Check the whole file. To be called directly after open; then the file is closed.

        Raises OSError where the file is damaged, RuntimeError where the pixels have been loaded.
        """
        if self.fp is None:
            msg = "verify must be called directly after open"
            raise RuntimeError(msg)

        self.fp.seek(self.tile[0][2])
        data = self.fp.read()
        super().verify()  # closes the file
        try:
            llicti_core.verify(data)
        except llicti_core.LLCError as error:
            raise OSError(str(error)) from error

    def load_seek(self, pos: int) -> None:
        """Go to the data. That there is such a method makes `ImageFile.Parser` wait for the whole file."""
        assert self.fp is not None
        self.fp.seek(pos)


class LlcDecoder(ImageFile.PyDecoder):
    """Decodes all of an image at once, when Pillow first needs the pixels.

    Its arguments are the width and height of the image, and the scale that `LlcImageFile.draft` has chosen.
    """

    _pulls_fd = True

    def decode(self, buffer: Image.DecoderInput) -> tuple[int, int]:
        """Set the image's pixels. Raises OSError where the file is damaged.

        Where the file ends early and `ImageFile.LOAD_TRUNCATED_IMAGES` is set, they are the best smaller version that
        it holds, enlarged such that every pixel known is where it belongs.
        """
        assert self.fd is not None
        size, scale = self.args
        data = self.fd.read()
        best = scale
        try:
            if ImageFile.LOAD_TRUNCATED_IMAGES:
                best = max(scale, llicti_core.best_scale(data))
            # The size was checked when the file was opened, against Image.MAX_IMAGE_PIXELS.
            header, pixels, _ = llicti_core.decode_bytes(data, scale=best, max_bytes=None)
        except llicti_core.TruncatedError as error:
            msg = f"image file is truncated: {error}"
            raise OSError(msg) from error
        except llicti_core.LLCError as error:
            raise OSError(str(error)) from error

        # Pillow would take pixels of another shape for these, so a file replaced since open must stop here.
        if (header.width, header.height, header.mode) != (*size, self.mode):
            msg = "file has changed since it was opened"
            raise OSError(msg)
        raw = _swapped(pixels) if self.mode == "I;16B" else pixels
        if best > scale:
            raw = _enlarged(raw, -(-size[0] // best), self.state.xsize, self.state.ysize, best // scale)
        self.set_as_raw(raw, _RAW_MODES.get(self.mode, self.mode))
        return -1, 0


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
    """Write an image of any mode. `Image.save` passes on `model`, `effort`, `threads` and `device` to the encoder."""
    if im.width == 0 or im.height == 0:
        msg = "cannot write empty image as LLC"
        raise ValueError(msg)

    import numpy as np  # not needed to read, and slow to import

    taken = ("model", "effort", "threads", "device")
    options = {name: im.encoderinfo[name] for name in taken if name in im.encoderinfo}
    palette = None
    if im.mode in ("P", "PA"):
        mode = im.im.getpalettemode()
        palette = llicti_core.Palette(mode, im.im.getpalette(mode, mode))
    fp.write(llicti_core.encode(np.asarray(im), mode=im.mode, palette=palette, **options))


Image.register_decoder("llc", LlcDecoder)
