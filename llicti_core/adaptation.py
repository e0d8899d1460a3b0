"""The model adapted to an image: what a file says of it, what engines make of that, and the search for it.

Nothing here decides pixels but integers: floats choose among adaptations, and the file holds the one chosen.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

from llicti_core.compression import inflate
from llicti_core.errors import FormatError
from llicti_core.models import Model
from llicti_core.spec import BANDS, GAIN_SHIFT, HIDDEN_BIAS_UNIT, HIDDEN_SHIFT, LEVELS, OUTPUTS, PARAMETER_KINDS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llicti_core.engines.base import TiledImage

OUTPUTS_PER_LEVEL = len(BANDS) * 2 * PARAMETER_KINDS * OUTPUTS
"""Bytes of `AdaptedParameters.outputs`."""


def hidden_per_level(model: Model) -> int:
    """Bytes of `AdaptedParameters.hidden`."""
    return len(BANDS) * model.spec.width


class AdaptedParameters(NamedTuple):
    """An image's own change of the networks, int8, for as many of the finest levels as there are of each kind.

    outputs: [levels, 3, 2, 60], by band, then gain less one in 1/64 and bias in halves of the parameter's unit, then by
    output. hidden: [levels, 3, width], by band and channel, of the last hidden layer's biases, in steps that move an
    activation by 2 (docs/format.md, 5.2).
    """

    outputs: bytes = b""
    hidden: bytes = b""

    def __bool__(self) -> bool:
        return bool(self.outputs)

    def pack(self, model: Model) -> bytes:
        """The payload of the CORR section; empty where nothing is changed."""
        if not self:
            return b""
        levels = len(self.hidden) // hidden_per_level(model)
        return zlib.compress(bytes([levels]) + self.outputs + self.hidden, 9)

    @classmethod
    def unpack(cls, payload: bytes | memoryview, model: Model) -> AdaptedParameters:
        """The reverse of `pack`, of one level or more. Raises FormatError."""
        limit = 1 + LEVELS * (OUTPUTS_PER_LEVEL + hidden_per_level(model))
        stored = inflate(payload, limit, "section b'CORR'", with_header=True)
        deep = stored[0] if stored else 0
        end = len(stored) - deep * hidden_per_level(model)
        levels, rest = divmod(end - 1, OUTPUTS_PER_LEVEL)
        if rest or not max(1, deep) <= levels <= LEVELS:
            msg = f"section b'CORR' holds {len(stored)} bytes, which are not those of a whole number of levels"
            raise FormatError(msg)
        return cls(stored[1:end], stored[end:])


NOT_ADAPTED = AdaptedParameters()


class Adaptation(NamedTuple):
    """`AdaptedParameters` as they enter the arithmetic (docs/format.md, 5.2), for the levels that are adapted.

    gain, bias: int64 [levels, 3, 60], by band and output: a network's fine output becomes
        (fine * gain + bias + 512) >> 10. hidden_bias_delta: int64 [levels, 3, width], added to the last hidden
        layer's biases.
    """

    gain: NDArray[np.int64]
    bias: NDArray[np.int64]
    hidden_bias_delta: NDArray[np.int64]


def unpacked(parameters: AdaptedParameters, model: Model) -> Adaptation:
    """What `parameters` mean for `model`."""
    import numpy as np

    outputs = (
        np.frombuffer(parameters.outputs, np.int8)
        .reshape(-1, len(BANDS), 2, PARAMETER_KINDS * OUTPUTS)
        .astype(np.int64)
    )
    hidden = np.frombuffer(parameters.hidden, np.int8).reshape(-1, len(BANDS), model.spec.width).astype(np.int64)
    last_hidden = model.spec.depth - 1
    multiplier = np.stack([np.asarray(model.tensors[f"{band.name}.{last_hidden}.multiplier"]) for band in BANDS])
    delta = (hidden * (HIDDEN_BIAS_UNIT << HIDDEN_SHIFT) + (multiplier >> 1)) // multiplier
    return Adaptation((1 << GAIN_SHIFT) + outputs[:, :, 0], 512 * outputs[:, :, 1], delta)


class FitPlan(NamedTuple):
    """How much work a search is.

    levels: finest levels that are adapted. samples: pixels of each band that are looked at. batch: pixels that a step
    of the optimiser looks at. steps: of the optimiser.
    """

    levels: int
    samples: int
    batch: int
    steps: int


PLANS = (
    None,
    FitPlan(levels=2, samples=6144, batch=192, steps=160),
    FitPlan(levels=3, samples=24576, batch=512, steps=256),
    FitPlan(levels=4, samples=65536, batch=1024, steps=400),
)
"""By effort; at effort 0 the model is taken as it is."""

MAX_EFFORT = len(PLANS) - 1


def fit(image: TiledImage, effort: int, threads: int) -> AdaptedParameters:
    """An adaptation of `image.model` that makes `image` smaller; `image.adaptation` is not looked at.

    effort: 0 to MAX_EFFORT; more work the higher, none at 0. The result does not depend on `threads`, nor on the
    engine that codes with it; it may differ between processors, whose instruction sets add floats in different orders.
    """
    plan = PLANS[effort]
    if plan is None:
        return NOT_ADAPTED
    from llicti_core.engines import native

    return AdaptedParameters(*native.fit(image, plan, threads))
