"""The table of the values that occur in an image, and indices into it (docs/format.md, 8.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from llicti_core.compression import InflateStream, deflate
from llicti_core.container import Reader, pack_varint
from llicti_core.errors import FormatError
from llicti_core.ordinals import Planes, blocks, little_endian
from llicti_core.samples import SampleType
from llicti_core.spec import MAX_TABLE_VALUES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

_DEFLATE_RATIO = 1032
"""Most bytes that a byte of deflate can stand for: 258 for two bits."""


def find_table(ordinals: NDArray[np.unsignedinteger]) -> tuple[NDArray[np.unsignedinteger], bytes] | None:
    """The ordinals that occur, ascending, and the payload of their LEVL section; None where a table does not pay."""
    import numpy as np

    natural, flat = 8 * ordinals.itemsize, ordinals.reshape(-1)
    if natural == 16:
        occurs = np.zeros(1 << 16, np.bool_)
        for block in blocks(len(flat)):
            occurs[flat[block]] = True
        table: NDArray[np.unsignedinteger] = np.flatnonzero(occurs).astype(ordinals.dtype)
    else:
        part = flat[:: max(1, len(flat) >> 14)]
        if len(np.unique(part)) > len(part) // 2:
            return None  # more of a table than of an image
        table = np.unique(flat)
    if not 2 <= len(table) <= MAX_TABLE_VALUES or index_bits(len(table)) == natural:
        return None
    saved = (natural - float(np.log2(len(table)))) * len(flat) / 8
    payload = pack_table(table)
    return (table, payload) if len(payload) < saved else None


def index_bits(count: int) -> int:
    """Bits of an index into a table of `count` values."""
    return (count - 1).bit_length()


def _index_size(bits: int) -> int:
    """Bytes of the unsigned integers that hold indices of so many bits, 24 at most."""
    return 1 if bits <= 8 else 2 if bits <= 16 else 4


def to_indices(ordinals: NDArray[np.unsignedinteger], table: NDArray[np.unsignedinteger]) -> Planes:
    """The index in `table` of every ordinal, all of which must be there."""
    import numpy as np

    index_type = f"u{_index_size(index_bits(len(table)))}"
    if ordinals.itemsize == 2:
        lookup = np.zeros(1 << 16, index_type)
        lookup[table] = np.arange(len(table))
        return Planes(ordinals, lookup)
    indices: NDArray[Any] = np.empty(ordinals.shape, index_type)
    flat, found = ordinals.reshape(-1), indices.reshape(-1)
    for block in blocks(len(flat)):
        found[block] = np.searchsorted(table, flat[block])
    return Planes(indices)


def pack_table(table: NDArray[np.unsignedinteger]) -> bytes:
    """The payload of a LEVL section for a table of ordinals, ascending."""
    import numpy as np

    gaps = np.diff(table, prepend=table.dtype.type(0))
    planar = little_endian(gaps).reshape(len(gaps), -1).T.tobytes()
    return pack_varint(len(gaps)) + deflate(planar)


class ValueTable(NamedTuple):
    """A table as it is in a file: of `entries` ordinals of a sample type, not unpacked before indices are looked up.

    name: of the section, for messages. deflated: what follows the count in it. index_size: bytes of the unsigned
    integers that hold indices.
    """

    name: str
    deflated: memoryview
    entries: int
    sample_type: SampleType
    index_size: int

    @classmethod
    def read(cls, reader: Reader, bits: int, sample_type: SampleType, samples: int) -> ValueTable:
        """The table of a LEVL section, for indices of `bits` bits in an image of so many samples. Raises LLCError."""
        count = reader.varint()
        if not count or index_bits(count) != bits or count > min(samples, MAX_TABLE_VALUES):
            msg = f"{reader.name} has {count} values for indices of {bits} bits in an image of {samples} samples"
            raise FormatError(msg)
        if count * sample_type.size > _DEFLATE_RATIO * reader.left:
            msg = f"{reader.name} has {count} values, more than its {reader.left} bytes can hold"
            raise FormatError(msg)
        return cls(reader.name, reader.take(reader.left), count, sample_type, _index_size(bits))

    def look_up(self, indices: NDArray[np.unsignedinteger], out: NDArray[np.unsignedinteger]) -> None:
        """Put the ordinal of each of the flat `indices` into `out`, which may be the same array.

        Takes memory in proportion to the indices, whatever the size of the table: where it has more entries than
        there are indices, only those are kept that occur. Raises FormatError where the table is damaged or too short.
        """
        import numpy as np

        if (most := int(indices.max())) >= self.entries:
            msg = f"a sample has index {most} in a table of {self.entries} values"
            raise FormatError(msg)
        wanted = None if self.entries <= len(indices) else np.unique(indices)
        table = np.empty(self.entries if wanted is None else len(wanted), out.dtype)
        start = 0
        for ordinals in self._unpacked():
            end = start + len(ordinals)
            if wanted is None:
                table[start:end] = ordinals
            else:
                first, last = np.searchsorted(wanted, [start, end])
                table[first:last] = ordinals[wanted[first:last] - start]
            start = end
        for block in blocks(len(indices)):
            found = indices[block] if wanted is None else np.searchsorted(wanted, indices[block])
            np.take(table, found, out=out[block], mode="clip")  # "raise" would make a copy

    def _unpacked(self) -> Iterator[NDArray[np.uint64]]:
        """The ordinals of the table, block by block. Raises FormatError."""
        import numpy as np

        size, last, first = self.sample_type.size, np.uint64(0), True
        streams = self._byte_streams()
        for block in blocks(self.entries):
            count = block.stop - block.start
            gaps = np.empty((count, size), np.uint8)
            for byte, stream in enumerate(streams):
                gaps[:, byte] = np.frombuffer(stream.read(count), np.uint8)
            ordinals: NDArray[np.uint64] = gaps.view(f"<u{size}")[:, 0].astype(np.uint64)
            ordinals[:1] += last
            np.cumsum(ordinals, out=ordinals)  # where this wraps around, it does not ascend
            ascending = (first or ordinals[0] > last) and bool((ordinals[1:] > ordinals[:-1]).all())
            last, first = ordinals[-1], False
            if not ascending or int(last) >> self.sample_type.bits:
                msg = f"{self.name} has values that do not ascend within {self.sample_type.bits} bits"
                raise FormatError(msg)
            yield ordinals

    def _byte_streams(self) -> list[InflateStream]:
        """A stream for each byte of the gaps, standing before the first: a table stores them one after the other."""
        stream, found = InflateStream(self.deflated, self.name), []
        for _ in range(self.sample_type.size):
            found.append(stream.copy())
            stream.skip(self.entries)
        stream.finish()
        return found
