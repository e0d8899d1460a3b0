"""LLICTI: lossless image coding by a small learned interpolation model, integer arithmetic throughout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llicti_core.errors import DeviceError, FormatError, LLCError, TruncatedError, UnknownModelError, UnsupportedError
from llicti_core.file import (
    ImageInfo,
    LlcFile,
    LlcFrame,
    decode,
    inspect,
    join,
    open,  # noqa: A004  # as Image.open
    read_metadata,
    read_palette,
    verify,
)
from llicti_core.metadata import Metadata
from llicti_core.options import MAX_BYTES, MAX_PIXELS, DecodeOptions
from llicti_core.payloads import Palette
from llicti_core.spec import MAX_HEADER_BYTES, SIGNATURE
from llicti_core.threads import set_threads
from llicti_core.view import SCALES

if TYPE_CHECKING:
    from llicti_core.encoder import encode

    __version__: str
else:

    def __getattr__(name: str) -> object:
        """`encode`, which is not needed to read, and the version of the installed package: only when asked for."""
        if name == "encode":
            from llicti_core.encoder import encode

            globals()[name] = encode
            return encode
        if name != "__version__":
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("llicti")
        except PackageNotFoundError as error:
            msg = "llicti_core has no version, since the package llicti is not installed"
            raise AttributeError(msg) from error


__all__ = [
    "MAX_BYTES",
    "MAX_HEADER_BYTES",
    "MAX_PIXELS",
    "SCALES",
    "SIGNATURE",
    "DecodeOptions",
    "DeviceError",
    "FormatError",
    "ImageInfo",
    "LLCError",
    "LlcFile",
    "LlcFrame",
    "Metadata",
    "Palette",
    "TruncatedError",
    "UnknownModelError",
    "UnsupportedError",
    "decode",
    "encode",
    "inspect",
    "join",
    "open",
    "read_metadata",
    "read_palette",
    "set_threads",
    "verify",
]
