"""The engine of device="auto": a CUDA device where one can be used and does not fail, otherwise the CPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from llicti_core.engines import Corrections, EncodedTile, Engine, Rectangle
from llicti_core.errors import DeviceError
from llicti_core.models import Model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class AutoEngine:
    """Does on the second of two engines what the first cannot; files and pixels are the same from both."""

    name = "auto"

    def __init__(self, device: Callable[[], Engine], cpu: Engine) -> None:
        """device: makes the first engine; like that engine, it may raise DeviceError."""
        self.cpu = cpu
        self.first: Engine | None = None
        try:
            self.first = device()
        except DeviceError as error:
            log.debug("on the CPU: %s", error)

    def fit(
        self, pixels: NDArray[np.uint8], tiles: Sequence[Rectangle], model: Model, effort: int, threads: int
    ) -> Corrections:
        """See Engine.fit."""
        return self._try(lambda engine: engine.fit(pixels, tiles, model, effort, threads))

    def encode(
        self,
        pixels: NDArray[np.uint8],
        tiles: Sequence[Rectangle],
        corrections: Corrections,
        model: Model,
        threads: int,
    ) -> list[EncodedTile]:
        """See Engine.encode."""
        return self._try(lambda engine: engine.encode(pixels, tiles, corrections, model, threads))

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
        """See Engine.decode."""
        self._try(lambda engine: engine.decode(pixels, tiles, coded, corrections, model, threads, scale))

    def _try(self, work: Callable[[Engine], Result]) -> Result:
        if self.first:
            try:
                return work(self.first)
            except DeviceError as error:
                log.warning("goes on on the CPU: %s", error)
        return work(self.cpu)
