"""The native engine: C++ kernels for the instruction sets that this processor has, threads over tiles and streams."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from llicti_core.engines.base import CodedTile, TiledImage, TileRect
from llicti_core.models import Model
from llicti_core.pyramid import level_count, level_size, network_count
from llicti_core.spec import BANDS, BIAS_LEVELS, NETWORKS, PHASES, Band

try:
    from llicti_core.engines.native import _native
except ImportError as error:
    msg = (
        f"the compiled engine cannot be loaded from {os.path.dirname(__file__)}: if that is in llicti's sources, start "
        f"Python in another folder, where it finds the installed package; a zip file cannot hold the engine ({error})"
    )
    raise ImportError(msg) from error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llicti_core.adaptation import AdaptedNetwork, FitPlan


class NativeEngine:
    """Runs the fastest kernels this processor has, or those of `isa`, or of the LLICTI_ISA environment variable."""

    name = "native"

    def __init__(self, isa: str | None = None) -> None:
        """isa: one of `instruction_sets()`."""
        self.isa = isa or os.environ.get("LLICTI_ISA", "")

    def encode(self, image: TiledImage, threads: int) -> list[CodedTile]:
        """See Engine.encode."""
        tiles = list(map(tuple, image.tiles))
        coded = _native.encode(image.pixels, tiles, image.adaptation, _packed(image.model), threads, self.isa)
        return [
            CodedTile(bounds, _lowpass(image, tile), segments)
            for tile, (bounds, segments) in zip(image.tiles, coded, strict=True)
        ]

    def decode(self, image: TiledImage, coded: Sequence[CodedTile], threads: int, level: int = 0) -> None:
        """See Engine.decode."""
        parts = []
        for tile, (_, _, h, w) in zip(coded, image.tiles, strict=True):
            levels = level_count(h, w)
            shape = (level_size(h, levels), level_size(w, levels), image.channels)
            parts.append((tile.bounds, _lowpass_pixels(tile.lowpass, image.bits, shape), tile.segments))
        tiles = list(map(tuple, image.tiles))
        _native.decode(image.pixels, tiles, parts, image.adaptation, _packed(image.model), level, threads, self.isa)


def fit(image: TiledImage, plans: Sequence[FitPlan], threads: int, isa: str | None = None) -> bytes:
    """The search behind adaptation.fit. plans: of luma and of chroma."""
    tiles = list(map(tuple, image.tiles))
    wanted = isa or os.environ.get("LLICTI_ISA", "")
    return _native.fit(image.pixels, tiles, _packed(image.model), list(map(list, plans)), threads, wanted)


def adapted_model(model: Model, adapted: bytes, channels: int) -> dict[tuple[str, str], AdaptedNetwork]:
    """What adaptation.adapted_model gives, in less time. Raises FormatError."""
    import numpy as np

    from llicti_core.adaptation import AdaptedLayer, AdaptedNetwork

    def numbers(data: bytes, kind: type[np.signedinteger], rows: int) -> NDArray[np.int64]:
        return np.frombuffer(data, kind).astype(np.int64).reshape(rows, -1)

    networks = {}
    found = _native.adapted(_packed(model), adapted, channels)
    for network, bands in zip(NETWORKS[: network_count(channels)], found, strict=False):
        for band, (layers, gain, shift) in zip(BANDS, bands, strict=True):
            of_layers = []
            for weight, level_bias, multiplier in layers:
                (each,) = numbers(multiplier, np.int32, 1)
                biases = numbers(level_bias, np.int32, BIAS_LEVELS)
                of_layers.append(AdaptedLayer(numbers(weight, np.int8, len(each)), biases, each))
            outputs = numbers(gain, np.int8, BIAS_LEVELS), numbers(shift, np.int8, BIAS_LEVELS)
            networks[network, band.name] = AdaptedNetwork(of_layers, *outputs)
    return networks


def pack_numbers(sets: int, precision: int, arrays: Sequence[NDArray[np.int8]]) -> bytes:
    """What adaptation.pack gives for these arrays, without checks; empty where no number is other than 0."""
    return _native.pack_numbers(sets, precision, [array.tobytes() for array in arrays])


def pack_plain(pixels: memoryview, tile: TileRect, level: int, coarsest: bool, bits: int) -> bytes:
    """The plain bits that the section of a level has of a tile of `pixels`, bytes [height, width, channels].

    coarsest: whether it has the pixels of all coarser levels too.
    """
    return _native.pack_plain(pixels, tuple(tile), level, coarsest, bits)


def plain_size(tile: TileRect, channels: int, level: int, coarsest: bool, bits: int) -> int:
    """Bytes that `pack_plain` gives."""
    return _native.plain_size(tuple(tile), channels, level, coarsest, bits)


def unpack_plain(
    data: bytes | memoryview,
    tile: TileRect,
    level: int,
    coarsest: bool,
    bits: int,
    pixels: memoryview,
    view_level: int,
) -> None:
    """Put what `pack_plain` gave for a tile into the pixels of a view, as Engine.decode does. Raises FormatError."""
    _native.unpack_plain(data, tuple(tile), level, coarsest, bits, pixels, view_level)


def instruction_sets() -> list[str]:
    """Names of the instruction sets that this processor and this build have kernels for, fastest first."""
    return list(_native.instruction_sets())


def _lowpass(image: TiledImage, tile: TileRect) -> bytes:
    """The coarsest phase 00 of a tile, as it is stored."""
    import numpy as np

    step = 1 << level_count(tile.height, tile.width)
    pixels = np.asarray(image.pixels)
    lowpass = pixels[tile.y : tile.y + tile.height : step, tile.x : tile.x + tile.width : step]
    return bytes(_stored(lowpass.tobytes(), image.bits))


def _lowpass_pixels(lowpass: bytes, bits: int, shape: tuple[int, int, int]) -> memoryview:
    stored = _stored(lowpass, bits).cast("B")
    return stored.cast("H", shape) if bits > 8 else stored.cast("B", shape)


def _stored(lowpass: bytes, bits: int) -> memoryview:
    """A lowpass in native order of bytes as it is stored, or the other way round."""
    if bits <= 8 or sys.byteorder == "little":
        return memoryview(lowpass)
    from array import array

    samples = array("H", lowpass)
    samples.byteswap()
    return memoryview(samples)


@lru_cache(maxsize=8)
def _packed(model: Model) -> _native.PackedModel:
    """`model` as the kernels want it."""
    networks: list[list[list[tuple[object, ...]]]] = [
        [list(map(tuple, model.layers(network, band.name))) for band in BANDS] for network in NETWORKS
    ]
    return _native.PackedModel(list(map(_packed_band, BANDS)), networks)


def _packed_band(band: Band) -> tuple[object, ...]:
    neighbours = [_place(band, phase, dy, dx) for phase, dy, dx in band.neighbours]
    more = [_place(band, f"{(band.row + dy) % 2}{(band.column + dx) % 2}", dy, dx) for dy, dx in band.more_luma]
    return PHASES.index(band.name), neighbours, more, list(band.nearest)


def _place(band: Band, phase: str, dy: int, dx: int) -> tuple[int, int, int]:
    """A neighbour's phase, and its row and column there from those of the pixel in its own phase."""
    return PHASES.index(phase), (band.row + dy - int(phase[0])) // 2, (band.column + dx - int(phase[1])) // 2
