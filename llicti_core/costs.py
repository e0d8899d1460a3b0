"""Where the bits of a frame went: how many each of its pixels took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from llicti_core import engines
from llicti_core.decoder import FrameDecoder
from llicti_core.engines.base import CodedTile, Engine, TiledImage
from llicti_core.engines.reference import ReferenceEngine
from llicti_core.options import DecodeOptions
from llicti_core.pyramid import level_count
from llicti_core.spec import COARSE_LEVEL, GENR, LEVL, plain_tag
from llicti_core.view import View

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llicti_core.file import LlcFrame


def bits_per_pixel(frame: LlcFrame, options: DecodeOptions) -> NDArray[np.float32]:
    """The bits that each pixel of a frame took, float32 [height, width].

    Those of values that a model predicted are what the entropy coder spends on them, evaluated by the reference engine:
    that takes some ten seconds a megapixel. What no pixel has for itself is spread evenly over all of them: what
    fallback coders made, and the value table. Metadata, the change of the model and what frames the file are left out.
    Raises LLCError.
    """
    header = frame.header
    engine = _MeasuringEngine(engines.on(options.device), (header.height, header.width))
    view = View.of(header.width, header.height, 1, None)
    FrameDecoder(header, frame.sections, view, options, engine).decode()
    evenly = (GENR, LEVL, *map(plain_tag, range(COARSE_LEVEL + 1)))
    sizes = [frame.sections.nth(index).size for index, (tag, _) in enumerate(header.layout) if tag in evenly]
    return engine.bits + np.float32(8 * sum(sizes) / engine.bits.size)


class _MeasuringEngine:
    """Has another engine decode, and adds up what that took."""

    name = "measuring"

    def __init__(self, engine: Engine, shape: tuple[int, int]) -> None:
        self._engine = engine
        self.bits = np.zeros(shape, np.float32)

    def encode(self, image: TiledImage, threads: int) -> list[CodedTile]:
        """See Engine.encode."""
        return self._engine.encode(image, threads)

    def decode(self, image: TiledImage, coded: Sequence[CodedTile], threads: int, level: int = 0) -> None:
        """See Engine.decode."""
        self._engine.decode(image, coded, threads, level)
        for y, x, height, width in image.tiles:
            step = 1 << level_count(height, width)
            self.bits[y : y + height : step, x : x + width : step] += (
                image.bits * image.channels
            )  # the lowpass, as it is
        for row, column, frequency in ReferenceEngine().frequencies(image, coded):
            self.bits[row, column] += 16 - np.log2(frequency)
