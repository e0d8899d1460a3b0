"""The paper's Gaussian mixtures (section III): likelihoods for training, cumulative tables for coding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from llicti_core.paper.network import CHANNELS, OUTPUTS, PARAMETER_KINDS, UNIT

COMPONENTS = OUTPUTS // PARAMETER_KINDS // CHANNELS

LEAST_DEVIATION = 0.11 / UNIT
LEAST_WEIGHT = 1e-6
LEAST_LIKELIHOOD = 1e-9
END = 20 / UNIT
"""How far out the two ends of a cumulative table are moved, so that next to nothing lies beyond them."""

PRECISION = 16
"""Bits of a cumulative value in torchac."""


class _LowerBound(torch.autograd.Function):
    """max(x, bound). Below the bound, only gradients that would raise x pass: a plain maximum could never leave it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return grads[0] * ((x >= ctx.bound) | (grads[0] < 0)), None


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """max(x, bound), with a gradient that can lead back above the bound."""
    bounded: Tensor = _LowerBound.apply(x, bound)
    return bounded


@dataclass
class Mixture:
    """Parameters of a batch of pixels, float [pixels, 3 (Y, Co, Cg), components] each, in scaled units.

    coefficients: a, b and d (not by channel): the mean of Co is its own plus a * Y, that of Cg plus b * Y + d * Co.
    """

    deviations: Tensor
    means: Tensor
    weights: Tensor
    coefficients: Tensor

    @classmethod
    def of(cls, outputs: Tensor) -> Mixture:
        """From the network's outputs, float [pixels, 60]."""
        deviations, means, weights, coefficients = outputs.view(-1, PARAMETER_KINDS, CHANNELS, COMPONENTS).unbind(1)
        weights = lower_bound(weights, LEAST_WEIGHT)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        return cls(lower_bound(deviations, LEAST_DEVIATION), means, weights, coefficients)

    def component_means(self, channel: int, values: Tensor) -> Tensor:
        """Means [pixels, components] of a channel, given the pixels' scaled values [pixels, 3] of those before it."""
        a, b, d = self.coefficients.unbind(1)
        y, co = values[:, 0:1], values[:, 1:2]
        means = self.means[:, channel]
        if channel == 1:
            means = means + a * y
        elif channel == 2:
            means = means + b * y + d * co
        return means

    def likelihoods(self, values: Tensor) -> Tensor:
        """Likelihoods [pixels, 3] of scaled values [pixels, 3]: the mixture's mass within half a step of each."""
        means = torch.stack([self.component_means(channel, values) for channel in range(CHANNELS)], dim=1)
        # On the lower flank, where a difference of two nearly equal values is exact enough.
        distance = (values.unsqueeze(2) - means).abs()
        mass = _normal_cdf((0.5 / UNIT - distance) / self.deviations)
        mass = mass - _normal_cdf((-0.5 / UNIT - distance) / self.deviations)
        return lower_bound((self.weights * mass).sum(dim=2), LEAST_LIKELIHOOD)

    def bits(self, values: Tensor) -> Tensor:
        """Estimated bits [pixels, 3] of scaled values [pixels, 3]."""
        return -torch.log2(self.likelihoods(values))

    def table(self, channel: int, values: Tensor, least: int, most: int) -> Tensor:
        """Cumulative tables of a channel, int16 [pixels, most - least + 2], as torchac takes them.

        values: scaled, float [pixels, 3]; the channels before this one are looked at. The table of a pixel has the
        mixture's cumulative values at least - 1/2, least + 1/2, ... most + 1/2, the two ends moved out by END.
        """
        points = (torch.arange(least, most + 2, device=values.device, dtype=torch.float32) - 0.5) / UNIT
        points[0] -= END
        points[-1] += END
        return integer_table(self.cumulative(channel, values, points))

    def cumulative(self, channel: int, values: Tensor, points: Tensor) -> Tensor:
        """The mixture's cumulative values at `points`, scaled float [points]: float [pixels, points]."""
        means = self.component_means(channel, values)
        inverse = math.sqrt(0.5) / self.deviations[:, channel]
        total = values.new_zeros((len(values), len(points)))
        for component in range(COMPONENTS):
            part = (points - means[:, component : component + 1]).mul_(inverse[:, component : component + 1])
            total.addcmul_(part.erf_(), self.weights[:, channel, component : component + 1])
        return total.add_(1).mul_(0.5)


def _normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * torch.erfc(-math.sqrt(0.5) * x)


def integer_table(cumulative: Tensor) -> Tensor:
    """Float cumulative values [..., points] to torchac's 16-bit integers, strictly increasing, as int16 (modulo 2**16).

    Each symbol is left at least one of the 2**16 units; the rest is shared by likelihood.
    """
    count = cumulative.shape[-1] - 1
    # Float rounding may make a flat stretch fall by a unit, which would leave a symbol nothing.
    rising = torch.cummax(cumulative.clamp(0, 1), dim=-1).values
    table = rising.mul_((1 << PRECISION) - count).round_().to(torch.int32)
    table += torch.arange(count + 1, device=table.device, dtype=torch.int32)
    return table.to(torch.int16)
