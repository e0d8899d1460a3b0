"""One image to bytes and back as the paper does it: coarse to fine, one torchac stream a level, band and channel.

A file has a header of our own (sizes, levels, bounds of Co and Cg), the lowpass raw, then the streams, each after its
length. Memory grows with the image: torchac needs a stream's whole tables, some 900 bytes for each pixel of the largest
band.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llicti_core.paper.mixture import Mixture
from llicti_core.paper.network import CHANNELS, UNIT, Network, phase_of, to_pixels, to_planes
from llicti_core.pyramid import level_size
from llicti_core.spec import BANDS

HEADER = struct.Struct("<4sBIIhhhh")
MAGIC = b"LLTP"
LENGTH = struct.Struct("<I")
Y_BOUNDS = (-127, 128)

CHUNK = 4096
"""Pixels whose tables are made at once, so that the work stays in the processor's cache."""


class EntropyCoder(Protocol):
    """What codes symbols with tables, int16 [n] with int16 [n, symbols + 1], both on the CPU and n > 0."""

    def encode(self, table: Tensor, symbols: Tensor) -> bytes:
        """The symbols as bytes."""

    def decode(self, table: Tensor, data: bytes) -> Tensor:
        """The symbols again."""


class Torchac:
    """torchac, compiled by torch when first imported. Raises ImportError where that fails."""

    def __init__(self) -> None:
        try:
            import torchac
        except ModuleNotFoundError as error:
            msg = "torchac is not installed: pip install torchac ninja"
            raise ImportError(msg) from error
        except Exception as error:
            msg = f"torchac cannot be compiled, which takes ninja and a C++ compiler: {error}"
            raise ImportError(msg) from error
        self._torchac: Any = torchac

    def encode(self, table: Tensor, symbols: Tensor) -> bytes:
        """See EntropyCoder."""
        data: bytes = self._torchac.encode_int16_normalized_cdf(table, symbols)
        return data

    def decode(self, table: Tensor, data: bytes) -> Tensor:
        """See EntropyCoder."""
        return self._torchac.decode_int16_normalized_cdf(table, data)


@dataclass(frozen=True)
class Stream:
    """Where a stream belongs: `band` is an index of spec.BANDS, `channel` 0..2 of Y, Co, Cg."""

    level: int
    band: int
    channel: int


def order(levels: int) -> Iterator[Stream]:
    """The streams of a file in their order: coarse to fine, 11, 01, 10, then Y, Co, Cg."""
    for level in reversed(range(levels)):
        for band in range(len(BANDS)):
            for channel in range(CHANNELS):
                yield Stream(level, band, channel)


def encode(network: Network, pixels: NDArray[np.uint8], coder: EntropyCoder) -> bytes:
    """Encode an image, uint8 RGB [height, width, 3] of any size from 1x1. Raises ValueError for other arrays."""
    if pixels.ndim != 3 or pixels.shape[2] != CHANNELS or pixels.dtype != np.uint8 or pixels.size == 0:
        msg = f"pixels are uint8 [height, width, 3], not {pixels.dtype} {list(pixels.shape)}"
        raise ValueError(msg)
    planes = to_planes(pixels)
    bounds = [Y_BOUNDS] + [(int(planes[c].min()), int(planes[c].max())) for c in (1, 2)]
    step = 1 << network.levels
    file = bytearray(HEADER.pack(MAGIC, network.levels, *pixels.shape[:2], *bounds[1], *bounds[2]))
    file += pixels[::step, ::step].tobytes()
    scaled = _scaled(planes, network)
    with torch.no_grad():
        for level, band in _bands(network.levels):
            values = _values(scaled, level, band)
            mixture = Mixture.of(network.outputs(scaled, level, band)) if len(values) else None
            for channel in range(CHANNELS):
                data = b""
                if mixture is not None:
                    table = _table(mixture, channel, values, bounds[channel])
                    symbols = (values[:, channel] * UNIT).round().to(torch.int16) - bounds[channel][0]
                    data = coder.encode(table, symbols.cpu())
                file += LENGTH.pack(len(data)) + data
    return bytes(file)


def decode(network: Network, data: bytes, coder: EntropyCoder) -> NDArray[np.uint8]:
    """The image, uint8 [height, width, 3]. Raises ValueError where `data` is no file of this network's kind.

    The network must compute exactly what it did in the encoder: same weights, and same device and libraries.
    """
    file = read(data)
    if file.levels != network.levels:
        msg = f"the file has {file.levels} levels, the network {network.levels}"
        raise ValueError(msg)
    planes = np.zeros((CHANNELS, file.height, file.width), np.int16)
    step = 1 << network.levels
    planes[:, ::step, ::step] = to_planes(file.lowpass)
    scaled = _scaled(planes, network)
    with torch.no_grad():
        for level, band in _bands(network.levels):
            values = _values(scaled, level, band)
            if not len(values):
                continue
            mixture = Mixture.of(network.outputs(scaled, level, band))
            for channel in range(CHANNELS):
                table = _table(mixture, channel, values, file.bounds[channel])
                symbols = coder.decode(table, file.streams[Stream(level, band, channel)])
                values[:, channel] = (symbols.to(scaled.device).float() + file.bounds[channel][0]) / UNIT
            target = phase_of(scaled, level, BANDS[band].row, BANDS[band].column)
            target[0] = values.t().view(target.shape[1:])
    return to_pixels((scaled[0] * UNIT).round().to(torch.int16).cpu().numpy())


def _bands(levels: int) -> Iterator[tuple[int, int]]:
    """Levels and indices of bands in coding order."""
    for stream in order(levels):
        if stream.channel == 0:
            yield stream.level, stream.band


def _scaled(planes: NDArray[np.int16], network: Network) -> Tensor:
    """The network's input [1, 3, height, width] on its device."""
    device = next(network.parameters()).device
    return torch.from_numpy(planes).to(device).float().unsqueeze(0) / UNIT


def _values(scaled: Tensor, level: int, band: int) -> Tensor:
    """A copy of a band's pixels [pixels, 3], in raster order."""
    phase = phase_of(scaled, level, BANDS[band].row, BANDS[band].column)
    return phase.movedim(1, -1).reshape(-1, CHANNELS).clone()


def _table(mixture: Mixture, channel: int, values: Tensor, bounds: tuple[int, int]) -> Tensor:
    """The whole stream's tables on the CPU, made in chunks."""
    parts = []
    for start in range(0, len(values), CHUNK):
        chunk = slice(start, start + CHUNK)
        part = Mixture(
            mixture.deviations[chunk], mixture.means[chunk], mixture.weights[chunk], mixture.coefficients[chunk]
        )
        parts.append(part.table(channel, values[chunk], *bounds).cpu())
    return torch.cat(parts)


@dataclass(frozen=True)
class File:
    """A file's parts. bounds: least and greatest by channel; lowpass: the raw pixels, uint8 [rows, columns, 3]."""

    levels: int
    height: int
    width: int
    bounds: list[tuple[int, int]]
    lowpass: NDArray[np.uint8]
    streams: dict[Stream, bytes]


def read(data: bytes) -> File:
    """Take a file apart. Raises ValueError where it is not one, or not whole."""
    if len(data) < HEADER.size or not data.startswith(MAGIC):
        msg = "not a file of the paper's codec"
        raise ValueError(msg)
    _, levels, height, width, *chroma = HEADER.unpack_from(data)
    rows, columns = level_size(height, levels), level_size(width, levels)
    raw, position = _take(data, HEADER.size, rows * columns * CHANNELS)
    streams = {}
    for stream in order(levels):
        length, position = _take(data, position, LENGTH.size)
        streams[stream], position = _take(data, position, LENGTH.unpack(length)[0])
    bounds = [Y_BOUNDS, (chroma[0], chroma[1]), (chroma[2], chroma[3])]
    if any(not -255 <= least <= most <= 255 for least, most in bounds):
        msg = "impossible bounds of Co or Cg"
        raise ValueError(msg)
    lowpass = np.frombuffer(raw, np.uint8).reshape(rows, columns, CHANNELS)
    return File(levels, height, width, bounds, lowpass, streams)


def _take(data: bytes, position: int, count: int) -> tuple[bytes, int]:
    """The next `count` bytes and the position after them."""
    if position + count > len(data):
        msg = "the file ends too early"
        raise ValueError(msg)
    return data[position : position + count], position + count
