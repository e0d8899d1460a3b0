"""What pixels are made of: sample types, modes, and the groups of channels that are coded together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llicti_core.records import NamedTuple
from llicti_core.spec import DEEP_BITS

if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


class SampleType(NamedTuple):
    """What a sample is.

    name: NumPy's name of it. size: bytes it takes in memory, little endian. bits: of its ordinal, where the file
    has no value table.
    """

    name: str
    size: int
    bits: int


SAMPLE_TYPES = (
    SampleType("uint8", 1, 8),
    SampleType("uint16", 2, 16),
    SampleType("int32", 4, 32),
    SampleType("float32", 4, 32),
    SampleType("bool", 1, 1),
    SampleType("int8", 1, 8),
    SampleType("int16", 2, 16),
    SampleType("uint32", 4, 32),
    SampleType("float16", 2, 16),
    SampleType("float64", 8, 64),
)
"""The sample types, in the order of their numbers in a file."""

SAMPLE_NAMES = tuple(kind.name for kind in SAMPLE_TYPES)
"""Their names, which are NumPy's."""

MODES = {
    "1": ("bool", 1),
    "L": ("uint8", 1),
    "LA": ("uint8", 2),
    "La": ("uint8", 2),
    "P": ("uint8", 1),
    "PA": ("uint8", 2),
    "RGB": ("uint8", 3),
    "RGBA": ("uint8", 4),
    "RGBa": ("uint8", 4),
    "RGBX": ("uint8", 4),
    "CMYK": ("uint8", 4),
    "YCbCr": ("uint8", 3),
    "LAB": ("uint8", 3),
    "HSV": ("uint8", 3),
    "I;16": ("uint16", 1),
    "I;16L": ("uint16", 1),
    "I;16B": ("uint16", 1),
    "I;16N": ("uint16", 1),
    "I": ("int32", 1),
    "F": ("float32", 1),
}
"""Pillow's modes, in the order of their numbers in a file, from 1: name of the sample type, and channels. I;16 in any
order of bytes is stored in one."""

PALETTE_MODES = ("P", "PA")

_ARRAY_MODES = {
    ("uint8", 1): "L",
    ("uint8", 2): "LA",
    ("uint8", 3): "RGB",
    ("uint8", 4): "RGBA",
    ("uint16", 1): "I;16",
    ("int32", 1): "I",
    ("float32", 1): "F",
    ("bool", 1): "1",
}


class ChannelGroup(NamedTuple):
    """Channels of one plane that are coded together.

    shift: what the plane's bits are shifted by in an ordinal; 0 for the last plane. bits: of a value, 1 to 8, or 10 in
    the top plane. first, channels: which channels. top: whether the plane holds the most significant bits.
    """

    shift: int
    bits: int
    first: int
    channels: int
    top: bool


def array_mode(name: str, channels: int, axes: int) -> str:
    """The mode of an array that was given none: Pillow's for its sample type and shape, or none."""
    return "" if axes == 3 and channels == 1 else _ARRAY_MODES.get((name, channels), "")


def may_be_flat(name: str) -> bool:
    """Whether an array of this sample type and of shape (height, width) has no mode that tells it from (..., 1)."""
    return (name, 1) not in _ARRAY_MODES


REFUSED_MASK = "its mask would be lost; use .data or .filled(), and keep the mask beside the file"
"""Why an array that has_mask is not encoded, and what can be done, for a message."""


def has_mask(pixels: object) -> bool:
    """Whether an array says of some of its values that they are none, as NumPy's masked arrays can."""
    import numpy as np

    return isinstance(pixels, np.ndarray) and bool(np.any(getattr(pixels, "mask", False)))  # imports no numpy.ma


def refused_dtype(name: str) -> str:
    """Why an array of this NumPy type is no sample type, and what can be done, for a message."""
    advice = {
        "int64": "where its values fit, use .astype('int32') or .astype('uint32')",
        "uint64": "where its values fit, use .astype('uint32')",
        "complex64": "store real and imaginary parts as channels, with .view('float32')",
        "complex128": "store real and imaginary parts as channels, with .view('float64')",
        "float128": "where no digits are lost, use .astype('float64')",
        "longdouble": "where no digits are lost, use .astype('float64')",
    }
    known = f"arrays of {name} are not supported, only of {', '.join(SAMPLE_NAMES)}"
    return f"{known}; {advice[name]}" if name in advice else known


def channel_sets(channels: int) -> list[tuple[int, int]]:
    """Which channels of an image are coded together: the first, and how many (docs/format.md, 8.3)."""
    sizes = {3: (3,), 4: (3, 1)}.get(channels, (1,) * channels)
    return [(sum(sizes[:number]), size) for number, size in enumerate(sizes)]


def plane_groups(bits: int, first: int, channels: int, deep: bool = False) -> list[ChannelGroup]:
    """The groups of channels that are coded together, from the top plane down.

    bits: of an ordinal. deep: whether the top plane has ten bits in place of eight.
    """
    found: list[ChannelGroup] = []
    above = bits
    while above:
        width = min(DEEP_BITS if deep and not found else 8, above)
        found.append(ChannelGroup(above - width, width, first, channels, not found))
        above -= width
    return found


def channel_groups(bits: int, channels: int, deep: Sequence[bool] = ()) -> list[ChannelGroup]:
    """The groups of an image whose ordinals have so many bits, plane by plane from the top (docs/format.md, 8.3).

    deep: of each group of the top plane whether it has ten bits; by default none has.
    """
    sets = channel_sets(channels)
    deep = deep or [False] * len(sets)
    return by_plane([plane_groups(bits, *one, ten) for one, ten in zip(sets, deep, strict=True)])


def by_plane(stacks: Sequence[Sequence[T]]) -> list[T]:
    """What each of `stacks` has of the top plane, then of the next one, and so on."""
    deepest = max(map(len, stacks))
    return [stack[plane] for plane in range(deepest) for stack in stacks if plane < len(stack)]


def may_be_copy(before: ChannelGroup, group: ChannelGroup) -> bool:
    """Whether a group may be a copy of the one before it: of the same bits, with as many channels (2.3)."""
    return before[:2] == group[:2] and before.channels == group.channels
