"""Coding with an engine of one's choice, and the parts of files, for tests."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

import llicti_core
from llicti_core import DecodeOptions
from llicti_core.container import Header, write_start
from llicti_core.decoder import FrameDecoder
from llicti_core.encoder import Encoder
from llicti_core.engines.base import Engine
from llicti_core.view import View


def encode_with(engine: Engine, pixels: NDArray[Any], model: str = "default", effort: int = 0, **image: Any) -> bytes:
    """A file of `pixels` that `engine` has coded, with one thread."""
    return Encoder(model, effort, 1, engine).encode(pixels, **image)


def decode_with(engine: Engine, data: bytes, *, frame: int = 0, threads: int = 1) -> bytes:
    """The samples of a frame, decoded by `engine`."""
    found = llicti_core.open(data)[frame]
    view = View.of(found.info.width, found.info.height)
    return bytes(FrameDecoder(found.header, found.sections, view, DecodeOptions(threads=threads), engine).decode())


def header_of(data: bytes, frame: int = 0) -> Header:
    """What a HEAD section says."""
    return llicti_core.open(data)[frame].header


def frame_starts(data: bytes) -> list[int]:
    """Where the frames of a file begin, and where it ends."""
    return [*(frame.start for frame in llicti_core.open(data)), len(data)]


def single_frame(data: bytes, index: int) -> bytes:
    """The bytes of a frame, after signature and version: a file but for the number of frames in its header."""
    starts = frame_starts(data)
    return write_start() + data[starts[index] : starts[index + 1]]


def decode_prefix(data: bytes | bytearray, **options: Any) -> tuple[NDArray[Any], int]:
    """What the beginning of a file holds, at the least scale that it is enough for, and that scale."""
    frame = llicti_core.open(data)[0]
    scale = frame.best_scale()
    return frame.decode(scale=scale, options=DecodeOptions(**options)), scale
