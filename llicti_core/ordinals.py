"""Samples to ordinals, ordinals to planes of bytes, and back (docs/format.md, 8.1 and 8.3)."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from llicti_core.records import NamedTuple
from llicti_core.samples import ChannelGroup, SampleType

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llicti_core.value_table import ValueTable

_SIGN_FLIPPED = bytes(value ^ 0x80 for value in range(256))

_BLOCK = 1 << 18
"""Samples that are worked on at a time, so that temporary arrays stay small."""


def blocks(count: int) -> Iterator[slice]:
    """Slices of a moderate length that together cover `count` elements."""
    for start in range(0, count, _BLOCK):
        yield slice(start, min(count, start + _BLOCK))


def to_ordinals(samples: NDArray[Any]) -> NDArray[np.unsignedinteger]:
    """Unsigned integers of the samples' size in the order of their values.

    samples: contiguous, in native order of bytes, of any sample type. Floats are ordered by sign and magnitude, with
    negative zero below zero and NaNs outside of the infinities, so that every bit pattern has an ordinal of its own.
    Unsigned samples are returned as they are, not copied.
    """
    import numpy as np

    bits: NDArray[Any] = samples.view(f"u{samples.itemsize}")
    top = bits.dtype.type(1 << (8 * samples.itemsize - 1))
    if samples.dtype.kind == "i":
        bits = bits ^ top
    if samples.dtype.kind == "f":
        flips: NDArray[Any] = samples.view(f"i{samples.itemsize}") >> (8 * samples.itemsize - 1)  # -1 where negative
        flips = flips.view(bits.dtype)
        flips |= top
        np.bitwise_xor(flips, bits, out=flips)
        return flips
    return bits


def _to_samples(ordinals: NDArray[np.unsignedinteger], kind: str) -> None:
    """Turn flat little-endian ordinals into the bits of their samples, in place; kind: NumPy's of the sample type."""
    size = ordinals.itemsize
    top = ordinals.dtype.type(1 << (8 * size - 1))
    for block in blocks(len(ordinals)):
        part = ordinals[block]
        if kind == "i":
            part ^= top
        elif kind == "f":
            positive: NDArray[Any] = part.view(f"<i{size}") >> (8 * size - 1)  # -1 where the top bit is set
            part ^= ~positive.view(f"<u{size}") | top


def plane(ordinals: NDArray[np.unsignedinteger], group: ChannelGroup) -> NDArray[np.unsignedinteger]:
    """The values of `group`: a contiguous array [height, width, channels of the group], uint8, or uint16 of 10 bits. It
    may be the ordinals themselves.

    ordinals: contiguous, [height, width, channels], native order of bytes.
    """
    import numpy as np

    if not group.shift and group.top and group.channels == ordinals.shape[2] and ordinals.itemsize == value_size(group):
        return ordinals  # there are no other bits
    channels, size = slice(group.first, group.first + group.channels), ordinals.itemsize
    if group.bits == 8 and not group.shift % 8:
        byte = group.shift // 8 if np.little_endian else size - 1 - group.shift // 8
        found: NDArray[np.uint8] = ordinals.view(np.uint8).reshape(*ordinals.shape, size)[..., channels, byte]
        return np.ascontiguousarray(found)
    part = ordinals[..., channels]
    values = np.empty(part.shape, value_type(group))
    np.right_shift(part, part.dtype.type(group.shift), out=values, casting="unsafe")  # of which the low bits are left
    values &= values.dtype.type((1 << group.bits) - 1)
    return values


class Planes(NamedTuple):
    """An image, of which the planes of channel groups can be had.

    values: contiguous, [height, width, channels], native order of bytes: ordinals or value indices. lookup: where it is
    not None, they are of 16 bits, and this has what takes the place of each of the 2**16 values; so no memory is taken
    for the indices of a whole image.
    """

    values: NDArray[np.unsignedinteger]
    lookup: NDArray[np.unsignedinteger] | None = None

    def plane(self, group: ChannelGroup) -> NDArray[np.unsignedinteger]:
        """The values of a group, see `plane`."""
        if self.lookup is None:
            return plane(self.values, group)
        import numpy as np

        each = plane(self.lookup.reshape(1, -1, 1), group._replace(first=0, channels=1)).reshape(-1)
        channels = self.values[..., group.first : group.first + group.channels]
        found = np.empty(channels.shape, each.dtype)
        rows = max(1, _BLOCK // channels[0].size)
        for start in range(0, len(found), rows):
            # mode="raise" would make a copy
            np.take(each, channels[start : start + rows], out=found[start : start + rows], mode="clip")
        return found

    def part(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Planes:
        """These rows and columns of it."""
        import numpy as np

        return self._replace(values=np.ascontiguousarray(self.values[rows][:, columns]))


def value_size(group: ChannelGroup) -> int:
    """Bytes of a group's values in memory."""
    return 2 if group.bits > 8 else 1


def value_type(group: ChannelGroup) -> type[np.unsignedinteger]:
    """NumPy's type of them."""
    import numpy as np

    return np.uint16 if group.bits > 8 else np.uint8


def little_endian(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of a contiguous array, the least significant of each sample first."""
    import numpy as np

    return pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).view(np.uint8)


class Values(NamedTuple):
    """The values of a group, as decoded.

    values: of every pixel, row by row, or of one where `constant`: a byte (a uint16 in native order, of ten bits) for
    each of `stored` channels, which are those of the group, or one that all of them equal. before, after: how many
    values of each pixel are of channels of another group, which was coded together with this one.
    """

    group: ChannelGroup
    values: bytes | bytearray
    stored: int
    constant: bool
    before: int = 0
    after: int = 0

    @property
    def stride(self) -> int:
        """Values of a pixel."""
        return self.before + self.stored + self.after


def join_samples(
    parts: Iterator[Values], shape: tuple[int, int, int], sample_type: SampleType, table: ValueTable | None
) -> bytearray:
    """The samples of an image from the values of all its groups: row by row, channels interleaved, little endian.

    parts: each is asked for when the one before it has been copied, and its memory can be used again. shape: height,
        width, channels. table: of the ordinals, where the groups hold indices into it.

    Raises FormatError where the table is damaged or lacks an index.
    """
    if table is None and sample_type.size == 1:
        found = _join_bytes(parts, shape)
        return found.translate(_SIGN_FLIPPED) if sample_type.name == "int8" else found
    import numpy as np

    indexed = sample_type.size if table is None else table.index_size
    indices = _join_planes(parts, shape, indexed)
    samples = indices
    if table is not None:
        if indexed != sample_type.size:  # else they are looked up in place
            samples = bytearray(len(indices) // indexed * sample_type.size)
        table.look_up(np.frombuffer(indices, f"<u{indexed}"), np.frombuffer(samples, f"<u{sample_type.size}"))
    _to_samples(np.frombuffer(samples, f"<u{sample_type.size}"), np.dtype(sample_type.name).kind)
    return samples


def _join_bytes(parts: Iterator[Values], shape: tuple[int, int, int]) -> bytearray:
    """The ordinals of an image whose ordinals are bytes. Needs no NumPy."""
    height, width, channels = shape
    first = next(parts)
    if isinstance(first.values, bytearray) and first.stride == channels:
        return first.values
    ordinals = bytearray(height * width * channels)
    for part in chain([first], parts):
        group, constant = part.group, part.constant
        for channel in range(group.channels):
            value = part.values[part.before + channel % part.stored :: part.stride]
            ordinals[group.first + channel :: channels] = value * (height * width) if constant else value
    return ordinals


def _join_planes(parts: Iterator[Values], shape: tuple[int, int, int], size: int) -> bytearray:
    """The little-endian unsigned integers of `size` bytes that the planes of all groups make together."""
    import numpy as np

    first = next(parts)
    whole = shape[2] == first.stride == first.group.channels and value_size(first.group) == size
    if whole and isinstance(first.values, bytearray) and sys.byteorder == "little":
        joined = first.values  # as large as they are, so that no memory is taken for a copy
        integers = np.frombuffer(joined, f"<u{size}").reshape(shape)
        integers <<= integers.dtype.type(first.group.shift)
    else:
        joined = bytearray(math.prod(shape) * size)
        integers = np.frombuffer(joined, f"<u{size}").reshape(shape)
        _put(first, integers)
    del first
    for part in parts:
        _put(part, integers)
        del part  # or its memory would be held while the next one is decoded
    return joined


def _put(part: Values, ordinals: NDArray[np.unsignedinteger]) -> None:
    """Fill in the bits of one group."""
    import numpy as np

    group = part.group
    shape = (1, 1) if part.constant else ordinals.shape[:2]
    values = np.frombuffer(part.values, value_type(group)).reshape(*shape, part.stride)
    values = values[..., part.before : part.before + part.stored]
    channels = slice(group.first, group.first + group.channels)
    if group.bits == 8 and group.shift % 8 == 0:  # no other plane has bits of that byte
        by_byte = ordinals.view(np.uint8).reshape(*ordinals.shape, ordinals.itemsize)
        by_byte[..., channels, group.shift // 8] = values
        return
    rows = max(1, _BLOCK // ordinals[0].size)
    for start in range(0, len(ordinals), rows):
        block = values if part.constant else values[start : start + rows]
        ordinals[start : start + rows, :, channels] |= block.astype(ordinals.dtype) << ordinals.dtype.type(group.shift)
