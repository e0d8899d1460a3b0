"""The format for Pillow: opens, verifies and saves `.llc` files."""

from __future__ import annotations

from array import array
from typing import IO

from PIL import Image, ImageFile, ImagePalette

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
            raise OSError(msg)

        self._size = header.width, header.height
        self._mode = header.mode
        if header.model:
            self.info["model"] = header.model
        # A plain tuple, because Pillow before 11 has no ImageFile._Tile.
        self.tile = [("llc", (0, 0, *self._size), start, None)]  # type: ignore[list-item]

    def _set_palette(self, data: bytes) -> None:
        palette = llicti_core.read_palette(data)
        assert palette
        self.palette = ImagePalette.ImagePalette(palette.mode, palette.colours)
        self.palette.dirty = 1  # until it is loaded

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
    """Decodes the whole file at once, when Pillow first needs the pixels."""

    _pulls_fd = True

    def decode(self, buffer: Image.DecoderInput) -> tuple[int, int]:
        """Set the image's pixels; raises OSError where the file is damaged."""
        assert self.fd is not None
        try:
            # The size was checked when the file was opened, against Image.MAX_IMAGE_PIXELS.
            header, pixels, _ = llicti_core.decode_bytes(self.fd.read(), max_bytes=None)
        except llicti_core.LLCError as error:
            raise OSError(str(error)) from error

        # Pillow would take pixels of another shape for these, so a file replaced since open must stop here.
        if (header.width, header.height, header.mode) != (self.state.xsize, self.state.ysize, self.mode):
            msg = "file has changed since it was opened"
            raise OSError(msg)
        raw = _swapped(pixels) if self.mode == "I;16B" else pixels
        self.set_as_raw(raw, _RAW_MODES.get(self.mode, self.mode))
        return -1, 0


def _swapped(pixels: bytearray) -> bytes:
    """Little endian words as big endian ones."""
    words = array("H", bytes(pixels))
    words.byteswap()
    return words.tobytes()


def save(im: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    """Write an image of any mode. `Image.save` passes on `model`, `effort` and `threads` to the encoder."""
    if im.width == 0 or im.height == 0:
        msg = "cannot write empty image as LLC"
        raise ValueError(msg)

    import numpy as np  # not needed to read, and slow to import

    options = {name: im.encoderinfo[name] for name in ("model", "effort", "threads") if name in im.encoderinfo}
    palette = None
    if im.mode in ("P", "PA"):
        mode = im.im.getpalettemode()
        palette = llicti_core.Palette(mode, im.im.getpalette(mode, mode))
    fp.write(llicti_core.encode(np.asarray(im), mode=im.mode, palette=palette, **options))


Image.register_decoder("llc", LlcDecoder)
