"""The engine of device="auto" where there is a CUDA device: that one, and the CPU where it fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from llicti_core.engines.base import CodedTile, Engine, TiledImage
from llicti_core.errors import DeviceError

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class AutoEngine:
    """Does on the second of two engines what the first cannot; files and pixels are the same from both."""

    name = "auto"

    def __init__(self, first: Engine, cpu: Engine) -> None:
        """first: one that may raise DeviceError."""
        self.first, self.cpu = first, cpu

    def encode(self, image: TiledImage, threads: int) -> list[CodedTile]:
        """See Engine.encode."""
        return self._try(lambda engine: engine.encode(image, threads))

    def decode(self, image: TiledImage, coded: Sequence[CodedTile], threads: int, level: int = 0) -> None:
        """See Engine.decode."""
        self._try(lambda engine: engine.decode(image, coded, threads, level))

    def _try(self, work: Callable[[Engine], Result]) -> Result:
        try:
            return work(self.first)
        except DeviceError as error:
            log.warning("continuing on the CPU: %s", error)
        return work(self.cpu)
