"""The format for Pillow: opens, verifies and saves `.llc` files."""

from __future__ import annotations

from typing import IO

from PIL import Image, ImageFile

import llicti_core


class LlcImageFile(ImageFile.ImageFile):
    """An `.llc` file of mode L or RGB; `info["model"]` names the model that coded it."""

    format = "LLC"
    format_description = "LLICTI learned lossless image"

    def _open(self) -> None:
        assert self.fp is not None
        start = self.fp.tell()
        try:
            header = llicti_core.inspect(self.fp.read(llicti_core.MAX_HEADER_BYTES))
        except llicti_core.LLCError as error:
            raise SyntaxError(str(error)) from error

        self._size = header.width, header.height
        self._mode = header.mode
        self.info["model"] = header.model
        # A plain tuple, because Pillow before 11 has no ImageFile._Tile.
        self.tile = [("llc", (0, 0, *self._size), start, None)]  # type: ignore[list-item]

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
            header, pixels = llicti_core.decode_bytes(self.fd.read())
        except llicti_core.LLCError as error:
            raise OSError(str(error)) from error

        # Pillow would take pixels of another shape for these, so a file replaced since open must stop here.
        if (header.width, header.height, header.mode) != (self.state.xsize, self.state.ysize, self.mode):
            msg = "file has changed since it was opened"
            raise OSError(msg)
        self.set_as_raw(pixels)
        return -1, 0


def save(im: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    """Write an image of mode L or RGB. `Image.save` passes on `model`, `effort` and `threads` to the encoder."""
    if im.mode not in ("L", "RGB"):
        msg = f"cannot write mode {im.mode} as LLC"
        raise OSError(msg)
    if im.width == 0 or im.height == 0:
        msg = "cannot write empty image as LLC"
        raise ValueError(msg)

    import numpy as np  # not needed to read, and slow to import

    options = {name: im.encoderinfo[name] for name in ("model", "effort", "threads") if name in im.encoderinfo}
    fp.write(llicti_core.encode(np.asarray(im), **options))


Image.register_decoder("llc", LlcDecoder)
