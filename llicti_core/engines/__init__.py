"""Engines: the one interface that every implementation of the arithmetic has, and the choice among them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from llicti_core.errors import DeviceError
from llicti_core.models import GROUPS, OUTPUTS, Model
from llicti_core.pyramid import BANDS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Rectangle(NamedTuple):
    """A tile's place in the image, in pixels."""

    y: int
    x: int
    height: int
    width: int


class EncodedTile(NamedTuple):
    """A coded tile.

    ranges: least and greatest value of each channel (Y, Co, Cg, or Y alone).
    coarse: the pixels of the coarsest phase 00, row by row, channels interleaved.
    segments: by scale, coarsest first, then by stream: a rANS stream's bytes (docs/format.md, 7). To decode a
        subsampled image, the finer scales may be missing.
    """

    ranges: list[tuple[int, int]]
    coarse: bytes
    segments: list[list[bytes]]


class Corrections(NamedTuple):
    """An image's own corrections of the networks, int8, for as many of the finest scales as there are of each kind.

    outputs: [scales, 3, 2, 60], by band, then gain less one in 1/64 and bias in halves of the parameter's unit, then by
    output. hidden: [scales, 3, width], by band and channel, of the last hidden layer's biases, in steps that move an
    activation by 2 (docs/format.md, 5.2).
    """

    outputs: bytes = b""
    hidden: bytes = b""

    def __bool__(self) -> bool:
        return bool(self.outputs)


NO_CORRECTIONS = Corrections()

OUTPUTS_PER_SCALE = len(BANDS) * 2 * GROUPS * OUTPUTS
"""Bytes of `Corrections.outputs`."""


def hidden_per_scale(model: Model) -> int:
    """Bytes of `Corrections.hidden`."""
    return len(BANDS) * model.spec.width


class Engine(Protocol):
    """Codes the tiles of an image."""

    name: str

    def fit(
        self, pixels: NDArray[np.uint8], tiles: Sequence[Rectangle], model: Model, effort: int, threads: int
    ) -> Corrections:
        """Corrections that make `pixels` smaller; more work the higher `effort`, none at 0."""
        ...

    def encode(
        self,
        pixels: NDArray[np.uint8],
        tiles: Sequence[Rectangle],
        corrections: Corrections,
        model: Model,
        threads: int,
    ) -> list[EncodedTile]:
        """Code `tiles` of `pixels`, contiguous uint8 [height, width, 1 or 3]."""
        ...

    def decode(
        self,
        pixels: memoryview,
        tiles: Sequence[Rectangle],
        coded: Sequence[EncodedTile],
        corrections: Corrections,
        model: Model,
        threads: int,
        scale: int = 0,
    ) -> None:
        """Decode `coded` into `tiles` of `pixels`, a writable buffer of bytes, [height, width, 1 or 3].

        scale: 0 to 5; `pixels` are every 2**scale'th of each row and column, and `coded` need hold no more than the
        scales from the coarsest to this one. Tiles are always as large as they were coded, and placed in units of the
        pixels not subsampled, from the first of `pixels`: at multiples of 2**scale, which may be negative. What of a
        tile lies outside `pixels` is left out.

        Takes no NumPy, whose import would be most of the time that a small image takes. Raises FormatError where no
        encoder can have written the data.
        """
        ...


def get(name: str | None = None) -> Engine:
    """The engine called `name`: "native", "reference" or "cuda"; by default LLICTI_ENGINE's, or native.

    Raises ValueError for another name, DeviceError where there is no device for "cuda".
    """
    name = name or os.environ.get("LLICTI_ENGINE", "native")
    if name == "native":
        from llicti_core.engines.native import NativeEngine

        return NativeEngine()
    if name == "reference":
        from llicti_core.engines.reference import ReferenceEngine

        return ReferenceEngine()
    if name == "cuda":
        return _cuda("cuda")
    msg = f"no engine called {name!r}: there are native, reference and cuda"
    raise ValueError(msg)


def on(device: str) -> Engine:
    """The engine for `device`: "cpu"; "cuda", or "cuda:1" and so on; or "auto", which is CUDA where that works and the
    CPU where it does not. Raises ValueError for another device, DeviceError where a CUDA device cannot be used."""
    if device == "cpu":
        return get()
    if device == "auto":
        from llicti_core.engines.auto import AutoEngine

        return AutoEngine(lambda: _cuda("cuda"), get())
    if device.partition(":")[0] == "cuda":
        return _cuda(device)
    msg = f"no device called {device!r}: there are cpu, cuda, cuda:0, cuda:1 ..., and auto"
    raise ValueError(msg)


def _cuda(device: str) -> Engine:
    """The engine of a CUDA device. Raises DeviceError."""
    try:
        from llicti_core.engines.cuda import CudaEngine
    except ImportError as error:
        msg = f"device {device!r} needs PyTorch and Triton, pip install 'llicti[cuda]': {error}"
        raise DeviceError(msg) from error
    return CudaEngine(device)
