"""Patches from all over an image, put together: what they take tells which ways to code it are worth trying."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from llicti_core import fallback
from llicti_core.ordinals import Planes
from llicti_core.samples import ChannelGroup
from llicti_core.uniform import channels_equal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PATCHES, _PATCH, _ALIGNED = 6, 32, 16
"""So many times so many patches of so many rows and columns: they told how to code deep photographs better than fewer
and larger ones. They begin at multiples of the last number, since images may repeat in pixels of color filters, or in
blocks that they were once compressed in."""

_PATTERN = 0.99
"""What a fallback coder has to leave of a lower plane's plain bits, in the patches, to be tried for all of it."""


class Patches:
    """Those of one image."""

    def __init__(self, planes: Planes) -> None:
        """planes: the image."""
        self._image = planes
        self._lower: dict[ChannelGroup, tuple[float, float]] = {}

    @cached_property
    def _planes(self) -> Planes:
        """All that is in them; few images need it."""
        rows, columns = (places(size) for size in self._image.values.shape[:2])
        return self._image.part(rows, columns)

    def plane(self, group: ChannelGroup) -> NDArray[np.unsignedinteger]:
        """The values of a group in the patches: [rows, columns, channels], as Planes.plane gives them."""
        return self._planes.plane(group)

    def lower_size(self, group: ChannelGroup) -> float:
        """Bytes that a lower plane's group takes: as plain bits, or by a fallback coder where that finds a pattern."""
        return min(self._lower_sizes(group))

    def has_pattern(self, group: ChannelGroup) -> bool:
        """Whether a fallback coder makes the values of a lower plane smaller than plain bits are."""
        as_plain, by_fallback = self._lower_sizes(group)
        return by_fallback < _PATTERN * as_plain

    def _lower_sizes(self, group: ChannelGroup) -> tuple[float, float]:
        """Bytes of a lower plane's group as plain bits, and by a fallback coder."""
        if group not in self._lower:
            values = self.plane(group)
            if channels_equal(values):
                values = values[..., :1].copy()
            as_plain = values.size * group.bits / 8
            self._lower[group] = as_plain, len(fallback.encode_lower(values, group.bits, 0, as_plain))
        return self._lower[group]


def places(size: int) -> NDArray[np.intp]:
    """The rows (or columns) of an image of so many that are in patches, in order: all, where they are no more."""
    import numpy as np

    if size <= _PATCHES * _PATCH:
        return np.arange(size)
    starts = np.arange(_PATCHES) * size // _PATCHES + (size // _PATCHES - _PATCH) // 2
    return (starts // _ALIGNED * _ALIGNED + np.arange(_PATCH)[:, np.newaxis]).T.reshape(-1)
