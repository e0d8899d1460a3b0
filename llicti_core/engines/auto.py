"""The engine of device="auto": a CUDA device where one can be used and does not fail, otherwise the CPU."""

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

    def __init__(self, device: Callable[[], Engine], cpu: Engine) -> None:
        """device: makes the first engine; like that engine, it may raise DeviceError."""
        self.cpu = cpu
        self.first: Engine | None = None
        try:
            self.first = device()
        except DeviceError as error:
            log.debug("on the CPU: %s", error)

    def encode(self, image: TiledImage, threads: int) -> list[CodedTile]:
        """See Engine.encode."""
        return self._try(lambda engine: engine.encode(image, threads))

    def decode(self, image: TiledImage, coded: Sequence[CodedTile], threads: int, level: int = 0) -> None:
        """See Engine.decode."""
        self._try(lambda engine: engine.decode(image, coded, threads, level))

    def _try(self, work: Callable[[Engine], Result]) -> Result:
        if self.first:
            try:
                return work(self.first)
            except DeviceError as error:
                log.warning("continuing on the CPU: %s", error)
        return work(self.cpu)
