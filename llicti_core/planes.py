"""Samples to planes of bytes and back: ranks, tables of levels (docs/format.md, 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from llicti_core.container import Reader, pack_deflated, pack_varint
from llicti_core.errors import FormatError
from llicti_core.samples import Group, SampleType

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def to_ranks(samples: NDArray[np.generic]) -> NDArray[np.unsignedinteger]:
    """Unsigned numbers in the order of the samples, [height, width, channels]."""
    import numpy as np

    if samples.dtype == np.bool_:
        return samples.view(np.uint8)
    if samples.dtype == np.int32:
        return samples.view(np.uint32) ^ np.uint32(1 << 31)
    if samples.dtype == np.float32:
        bits = samples.view(np.uint32)
        return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return samples  # type: ignore[return-value]


def from_ranks(ranks: NDArray[np.unsignedinteger], name: str) -> NDArray[np.generic]:
    """The reverse of to_ranks, for samples of type `name`."""
    import numpy as np

    if name == "int32":
        return (ranks ^ np.uint32(1 << 31)).view(np.int32)
    if name == "float32":
        return np.where(ranks >> 31, ranks & np.uint32(~(1 << 31) & 0xFFFFFFFF), ~ranks).view(np.float32)
    return ranks


def plane(ranks: NDArray[np.unsignedinteger], group: Group) -> NDArray[np.uint8]:
    """A group's values, uint8 [height, width, group's channels], contiguous."""
    import numpy as np

    part: NDArray[Any] = ranks[..., group.first : group.first + group.channels]
    if ranks.itemsize > 1:
        part = (part >> group.shift) & ((1 << group.bits) - 1)
    return np.ascontiguousarray(part, np.uint8)


def little_endian(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of a contiguous array, the least significant of each sample first."""
    import numpy as np

    return pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).view(np.uint8)


def find_levels(ranks: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger] | None:
    """The table of the ranks that occur, ascending, where it pays to have one."""
    import numpy as np

    natural, flat = 8 * ranks.itemsize, ranks.reshape(-1)
    if natural == 16:
        levels = np.flatnonzero(np.bincount(flat, minlength=1 << 16)).astype(ranks.dtype)
    else:
        part = flat[:: max(1, len(flat) >> 14)]
        if len(np.unique(part)) > len(part) // 2:
            return None  # more of a table than of an image
        levels = np.unique(flat)
    if len(levels) < 2 or (len(levels) - 1).bit_length() == natural:
        return None
    saved = (natural - float(np.log2(len(levels)))) * len(flat) / 8
    return levels if len(pack_levels(levels)) < saved else None


def places(ranks: NDArray[np.unsignedinteger], levels: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    """The place of every rank in the table of levels."""
    import numpy as np

    found: NDArray[np.unsignedinteger]
    if ranks.itemsize == 2:
        table = np.zeros(1 << 16, ranks.dtype)
        table[levels] = np.arange(len(levels), dtype=ranks.dtype)
        found = table[ranks]
    else:
        found = np.searchsorted(levels, ranks).astype(ranks.dtype)
    return found


def pack_levels(levels: NDArray[np.unsignedinteger]) -> bytes:
    """The payload of a LEVL section for a table of ranks, ascending."""
    import numpy as np

    gaps = np.diff(levels, prepend=levels.dtype.type(0))
    planar = little_endian(gaps).reshape(len(gaps), -1).T.tobytes()
    return pack_varint(len(gaps)) + pack_deflated(planar)


def unpack_levels(reader: Reader, bits: int, sample_type: SampleType, most: int) -> NDArray[np.unsignedinteger]:
    """The table of ranks of a LEVL section, for places of `bits` bits, at most `most` levels. Raises FormatError."""
    import numpy as np

    count = reader.varint()
    if (count - 1).bit_length() != bits or count > most:
        msg = f"{reader.name} has {count} levels for {bits} bits and {most} samples"
        raise FormatError(msg)
    planar = reader.inflated(count * sample_type.size)
    gaps = np.frombuffer(planar, np.uint8).reshape(sample_type.size, count).T.copy()
    levels = np.cumsum(gaps.view(f"<u{sample_type.size}")[:, 0], dtype=np.uint64)
    if not (np.diff(levels.astype(np.int64)) > 0).all() or levels[-1] >> np.uint64(sample_type.bits):
        msg = f"{reader.name} has levels that do not ascend within {sample_type.bits} bits"
        raise FormatError(msg)
    return levels.astype(f"<u{sample_type.size}")


class Values(NamedTuple):
    """The values of a group, as decoded.

    values: of every pixel, row by row, or of one where `constant`: a byte for each of `stored` channels, which are
    those of the group, or one that all of them equal.
    """

    group: Group
    values: bytes | bytearray
    stored: int
    constant: bool


def join_bytes(parts: Sequence[Values], channels: int, pixels: int) -> bytearray:
    """The samples of an image whose samples are its ranks, and its ranks bytes. Needs no NumPy."""
    only = parts[0]
    if isinstance(only.values, bytearray) and only.stored == channels:
        return only.values
    samples = bytearray(pixels * channels)
    for group, values, stored, constant in parts:
        for channel in range(group.channels):
            value = values[channel % stored :: stored]
            samples[group.first + channel :: channels] = value * pixels if constant else value
    return samples


def join_planes(
    parts: Sequence[Values],
    shape: tuple[int, int, int],
    sample_type: SampleType,
    levels: NDArray[np.unsignedinteger] | None,
) -> bytearray:
    """The samples of any image, [height, width, channels] in `shape`, little endian.

    levels: the ranks of the samples by their places in the table of levels. Raises FormatError where a place is not
    in the table.
    """
    import numpy as np

    size = 8 * sample_type.size if levels is None else 8 * levels.itemsize
    ranks = np.zeros(shape, f"<u{size // 8}")
    for group, values, stored, constant in parts:
        part = np.frombuffer(values, np.uint8).reshape((1, 1, stored) if constant else (*shape[:2], stored))
        ranks[..., group.first : group.first + group.channels] |= part.astype(ranks.dtype) << group.shift
    if levels is not None:
        if ranks.max() >= len(levels):
            msg = f"a sample has level {ranks.max()}, the table has {len(levels)}"
            raise FormatError(msg)
        ranks = levels[ranks]
    samples = from_ranks(ranks, sample_type.name)
    return bytearray(little_endian(np.ascontiguousarray(samples)))
