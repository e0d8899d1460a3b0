"""The float twin of the integer networks and mixture, quantised in the loop or not (docs/format.md, 5 and 6)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from llicti_core.models import input_size
from llicti_core.spec import (
    ACTIVATION_MAX,
    BANDS,
    COEFFICIENT_MAX,
    COEFFICIENT_MIN,
    COMPONENTS,
    FINE_SHIFT,
    HIDDEN_SHIFT,
    LEVELS,
    MAX_SPREAD_INDEX,
    OUTPUT_SHIFT,
    OUTPUTS,
    PARAMETER_KINDS,
)

INPUT_UNIT = 16.0
"""Integer inputs are this many times the unit in which weights are trained."""

ACTIVATION_UNIT = 32.0
"""Integer activations are this many times the unit in which weights are trained."""

OUTPUT_UNITS = (8 / math.log(2), 64.0, 16.0, 32.0)
"""Integer parameters for an output of one, by group: scales in 1/8 octave (from nats), means in 1/16 pixel
(from 4 pixels), weights in 1/16 nat, coefficients in 1/64 (from 1/2)."""

FINE = 1 << FINE_SHIFT
"""Output layers give parameters in units of 1/FINE before corrections and rounding."""

LEAST_MULTIPLIER = 32
"""Of exported models; below it, native kernels take a slower path (docs/performance.md)."""

SCALE_ZERO = 32
"""Index of the component scale of one pixel."""


class _RoundWeight(torch.autograd.Function):
    """Weights on their int8 grid, gradient straight through. The grid's step is an integer over 2**shift."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, unit: float, shift: int, first: bool) -> Tensor:
        step = grid_step(weight * unit, shift, first) / unit
        return torch.round(weight / step).clamp_(-127, 127) * step

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0], None, None, None


class _RoundActivation(torch.autograd.Function):
    """ReLU, rounding and saturation to 0..ACTIVATION_MAX; the gradient passes where nothing was cut off."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.clamp(0, ACTIVATION_MAX).round_()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grads[0], y, 0, ACTIVATION_MAX)


def grid_step(weight: Tensor, shift: int, first: bool) -> Tensor:
    """The step of each output channel's int8 grid, [out, 1]: k / 2**shift for the smallest k, LEAST_MULTIPLIER or more,
    with which weights reach no further than 127, and sums of products no further than AVX2 kernels take in 16 bits
    (native/src/model.hpp, narrow_block; less what rounding adds)."""
    weight = weight.detach().float()
    peak = weight.abs().amax(dim=-1, keepdim=True) / 127
    shape, most = ((1, 1, 2), 32767 // 255 - 1) if first else ((2, 2, 2), 32767 // ACTIVATION_MAX - 2)
    padded = nn.functional.pad(weight, (0, -weight.shape[-1] % math.prod(shape)))
    together = padded.unflatten(-1, (-1, *shape))
    for sign in (1, -1):
        sums = (sign * together).clamp(min=0).sum(dim=(-3, -1)).flatten(1)
        peak = torch.maximum(peak, sums.amax(dim=-1, keepdim=True) / most)
    return torch.ceil(peak * 2**shift).clamp_(min=LEAST_MULTIPLIER) / 2**shift


def round_through(x: Tensor) -> Tensor:
    """Rounding to integers whose gradient is one."""
    return x + (torch.round(x) - x).detach()


class BandNetwork(nn.Module):
    """The network of one band, from context (units of a pixel value) to mixture parameters in their integer units."""

    def __init__(self, neighbours: int, width: int, depth: int) -> None:
        super().__init__()
        self.inputs = input_size(neighbours)
        self.quantised = True
        fans = [self.inputs] + [width] * depth
        outs = [width] * depth + [PARAMETER_KINDS * OUTPUTS]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(n_out, n_in) * math.sqrt((2 if i < depth else 0.1) / n_in))
            for i, (n_in, n_out) in enumerate(zip(fans, outs, strict=True))
        )
        self.scale_bias = nn.Parameter(torch.zeros(LEVELS, width))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(n)) for n in outs[1:])
        with torch.no_grad():
            # Component scales start between half a pixel and eight.
            spread = torch.linspace(-0.7, 2.1, COMPONENTS).repeat(3)
            self.biases[-1][:OUTPUTS] = SCALE_ZERO / OUTPUT_UNITS[0] + spread
        self.register_buffer("units", torch.tensor(OUTPUT_UNITS).repeat_interleave(OUTPUTS), persistent=False)

    def layer_units(self, layer: int) -> tuple[float | Tensor, int]:
        """Integer weight for a trained weight of one, and the multiplier's shift, of a layer."""
        if layer == len(self.weights) - 1:
            return self.units.unsqueeze(1) * (FINE / ACTIVATION_UNIT), OUTPUT_SHIFT
        return (ACTIVATION_UNIT / INPUT_UNIT if layer == 0 else 1.0), HIDDEN_SHIFT

    def integer_weight(self, layer: int) -> Tensor:
        """The weight of `layer` in integer units, on its grid where `quantised`, still float."""
        unit, shift = self.layer_units(layer)
        weight: Tensor = self.weights[layer]
        return (_RoundWeight.apply(weight, unit, shift, layer == 0) if self.quantised else weight) * unit

    def activate(self, x: Tensor) -> Tensor:
        """Activations, saturated as integers are; rounded where `quantised`."""
        # hardtanh clamps, and its gradient is one pass where clamp's is four.
        clamped = nn.functional.hardtanh
        activated: Tensor = _RoundActivation.apply(x) if self.quantised else clamped(x, 0.0, float(ACTIVATION_MAX))
        return activated

    def forward(self, x: Tensor, scale: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Mixture parameters, float [batch, 60], of contexts `x` [batch, inputs] of scales `scale` [batch]."""
        one_hot = nn.functional.one_hot(scale, LEVELS).to(dtype)
        bias = self.scale_bias.t() * ACTIVATION_UNIT
        first = torch.cat((self.integer_weight(0), bias), dim=1).to(dtype)
        h = self.activate(nn.functional.linear(torch.cat((x.to(dtype), one_hot), dim=1), first))
        for layer in range(1, len(self.weights) - 1):
            offset = (self.biases[layer - 1] * ACTIVATION_UNIT).to(dtype)
            h = self.activate(nn.functional.linear(h, self.integer_weight(layer).to(dtype), offset))
        last = len(self.weights) - 1
        out = nn.functional.linear(h.float(), self.integer_weight(last)) / FINE
        out = out + self.biases[-1] * self.units
        return round_through(out) if self.quantised else out


class Network(nn.Module):
    """The three band networks."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.bands = nn.ModuleDict({b.name: BandNetwork(len(b.neighbours), width, depth) for b in BANDS})
        self.width, self.depth = width, depth

    def set_quantised(self, quantised: bool) -> None:
        """Whether to compute as the integer model will, or in plain floats."""
        for band in self.bands.values():
            assert isinstance(band, BandNetwork)
            band.quantised = quantised


def mixture_bits(parameters: Tensor, residual: Tensor, ranges: tuple[int, int, int]) -> Tensor:
    """Bits of each sub-pixel, float [batch, 3].

    parameters: [batch, 60] in integer units; residual: [batch, 3], value minus base, of Y, Co, Cg;
    ranges: how many values each channel can take, which decides the floor that keeps every value codable.
    """
    scales, means, logits, coefs = parameters.view(-1, PARAMETER_KINDS, 3, COMPONENTS).unbind(1)
    y, co = residual[:, 0:1], residual[:, 1:2]
    a, b, d = coefs.clamp(COEFFICIENT_MIN, COEFFICIENT_MAX).unbind(1)
    shift = torch.stack((torch.zeros_like(a), a * y / 64, (b * y + d * co) / 64), dim=1)
    mean = means / 16 + shift
    inverse = torch.exp2((SCALE_ZERO - scales.clamp(0, MAX_SPREAD_INDEX)) / 8)
    distance = (residual.unsqueeze(2) - mean).abs()
    mass = torch.sigmoid((0.5 - distance) * inverse) - torch.sigmoid((-0.5 - distance) * inverse)
    weight = torch.softmax(logits / 16, dim=2)
    likelihood = (weight * mass).sum(dim=2)
    floor = residual.new_tensor(ranges) / 65536
    return -torch.log2(likelihood * (1 - floor) + 1 / 65536)
