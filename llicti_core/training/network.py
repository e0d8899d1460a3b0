"""The float twin of the integer networks and mixture, quantised in the loop or not (docs/format.md, 5 and 6).

The three bands are one axis of every tensor, so that a step is a few large products: fast on a GPU, and no slower on a
CPU.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from llicti_core.models.registry import Model, ModelSpec
from llicti_core.spec import (
    ACTIVATION_MAX,
    BACK,
    BANDS,
    BIAS_LEVELS,
    COEFFICIENT_MAX,
    COEFFICIENT_MIN,
    COMPONENTS,
    FINE_SHIFT,
    HIDDEN_SHIFT,
    MAX_SPREAD_INDEX,
    OUTPUT_SHIFT,
)

INPUT_UNIT = 16.0
"""Integer inputs are this many times the unit in which weights are trained."""

ACTIVATION_UNIT = 32.0
"""Integer activations are this many times the unit in which weights are trained."""

SPREAD_UNIT = 8 / math.log(2)
"""Integer spread for an output of one: in 1/8 octave, from nats."""

MEAN_UNIT = 64.0
"""Integer mean for an output of one: in 1/16 pixel value, from four."""

LOGIT_UNIT = 16 / math.log(2)
"""Integer logit for an output of one: in 1/16 octave, from nats."""

COEFFICIENT_UNIT = 32.0
"""Integer coefficient for an output of one: in 1/64, from halves."""

FINE = 1 << FINE_SHIFT
"""Output layers give parameters in units of 1/FINE before gains, biases and rounding."""

LEAST_MULTIPLIER = 32
"""Of exported models; below it, native kernels take a slower path."""

SPREAD_ZERO = 32
"""Index of the spread of one pixel value."""

KNOWN = max(len(band.neighbours) for band in BANDS)
"""Known neighbours of the band that has the most; other bands' inputs are padded with zeros to as many."""

MORE = max(len(band.more_luma) for band in BANDS)
"""Further luma inputs of a chroma network, likewise."""

LUMA_INPUTS = KNOWN + len(BACK) + 1
CHROMA_INPUTS = 3 * KNOWN + MORE + 2 * len(BACK) + 3

KINDS = ("luma", "chroma")


def input_columns(kind: str, band: int) -> list[int]:
    """Which of the padded inputs of `kind` band number `band` has, in the order of docs/format.md, 4.4."""
    known, more, back = len(BANDS[band].neighbours), len(BANDS[band].more_luma), len(BACK)
    if kind == "luma":
        return [*range(known), *range(KNOWN, LUMA_INPUTS)]
    columns = [channel * KNOWN + n for channel in range(3) for n in range(known)]
    columns += range(3 * KNOWN, 3 * KNOWN + more)
    return [*columns, *range(CHROMA_INPUTS - 2 * back - 3, CHROMA_INPUTS)]


class _RoundWeight(torch.autograd.Function):
    """Weights on their int8 grid, gradient straight through."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, step: Tensor) -> Tensor:
        return torch.round(weight / step).clamp_(-127, 127) * step

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0], None


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
    """The step of each output's int8 grid, [..., out, 1], of weights [..., out, in] in integer units.

    It is k / 2**shift for the smallest k, LEAST_MULTIPLIER or more, with which weights reach no further than 127, and
    sums of products no further than AVX2 kernels take in 16 bits (less what rounding adds): of two unsigned inputs of
    the first layer; of the first or last two inputs of two quads elsewhere.
    """
    peak = weight.abs().amax(dim=-1, keepdim=True) / 127
    shape, most = ((1, 1, 2), 32767 // 255 - 1) if first else ((2, 2, 2), 32767 // ACTIVATION_MAX - 2)
    padded = nn.functional.pad(weight, (0, -weight.shape[-1] % math.prod(shape)))
    together = padded.unflatten(-1, (-1, *shape))
    for sign in (1, -1):
        sums = (sign * together).clamp(min=0).sum(dim=(-3, -1)).flatten(-2)
        peak = torch.maximum(peak, sums.amax(dim=-1, keepdim=True) / most)
    return torch.ceil(peak * 2**shift).clamp_(min=LEAST_MULTIPLIER) / 2**shift


def round_through(x: Tensor) -> Tensor:
    """Rounding to integers whose gradient is one."""
    return x + (torch.round(x) - x).detach()


class BandNetworks(nn.Module):
    """The networks of one kind, luma or chroma, of the three bands."""

    def __init__(self, kind: str, shape: tuple[int, int], units: list[float]) -> None:
        """kind: "luma" or "chroma". shape: width, depth. units: integer value of each output for an output of one."""
        super().__init__()
        width, depth = shape
        self.columns = [input_columns(kind, band) for band in range(len(BANDS))]
        self.quantised = True
        outs = [width] * depth + [len(units)]
        self.weights = nn.ParameterList()
        for layer, out in enumerate(outs):
            fans = torch.tensor([width if layer else len(columns) for columns in self.columns], dtype=torch.float32)
            deviation = ((2 if layer < depth else 0.1) / fans).sqrt()[:, None, None]
            inputs = width if layer else (LUMA_INPUTS if kind == "luma" else CHROMA_INPUTS)
            self.weights.append(nn.Parameter(torch.randn(3, out, inputs) * deviation))
        self.level_bias = nn.Parameter(torch.zeros(3, BIAS_LEVELS, width))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(3, out)) for out in outs[1:])
        self.register_buffer("units", torch.tensor(units), persistent=False)

    def layer_units(self, layer: int) -> tuple[float | Tensor, int]:
        """Integer weight for a trained weight of one, and the multiplier's shift, of a layer."""
        if layer == len(self.weights) - 1:
            return self.units.unsqueeze(1) * (FINE / ACTIVATION_UNIT), OUTPUT_SHIFT
        return (ACTIVATION_UNIT / INPUT_UNIT if layer == 0 else 1.0), HIDDEN_SHIFT

    def integer_bias(self, layer: int) -> Tensor:
        """The bias of `layer` in units of its outputs: [3, out], of layer 0 [3, levels, out]."""
        if layer == 0:
            return self.level_bias * ACTIVATION_UNIT
        last = layer == len(self.weights) - 1
        bias: Tensor = self.biases[layer - 1]
        return bias * (self.units * FINE if last else ACTIVATION_UNIT)

    def integer_weight(self, layer: int) -> Tensor:
        """The weight of `layer` in integer units, [3, out, in], on its grid where `quantised`, still float."""
        weight: Tensor = self.weights[layer] * self.layer_units(layer)[0]
        rounded: Tensor = _RoundWeight.apply(weight, self.step(layer)) if self.quantised else weight
        return rounded

    def step(self, layer: int) -> Tensor:
        """The step of each output's grid of integer-unit weights, [3, out, 1], see `grid_step`."""
        unit, shift = self.layer_units(layer)
        weight = self.weights[layer].detach() * unit
        if layer:
            return grid_step(weight, shift, first=False)
        # Which inputs are added in pairs is decided by the order without padding.
        bands = zip(weight, self.columns, strict=True)
        return torch.stack([grid_step(band[:, columns], shift, first=True) for band, columns in bands])

    def activate(self, x: Tensor) -> Tensor:
        """Activations, saturated as integers are; rounded where `quantised`."""
        # hardtanh clamps, and its gradient is one pass where clamp's is four.
        clamped = nn.functional.hardtanh
        activated: Tensor = _RoundActivation.apply(x) if self.quantised else clamped(x, 0.0, float(ACTIVATION_MAX))
        return activated

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Mixture parameters in their integer units, float [3, batch, outputs], of `x` [3, batch, padded inputs] and
        `level` [3, batch], one of 0 .. BIAS_LEVELS - 1."""
        chosen = nn.functional.one_hot(level, BIAS_LEVELS).to(x.dtype)
        first = torch.cat((self.integer_weight(0), self.integer_bias(0).transpose(1, 2)), dim=2)
        h = self.activate(torch.bmm(torch.cat((x, chosen), dim=2), first.transpose(1, 2)))
        last = len(self.weights) - 1
        for layer in range(1, last):
            bias = self.integer_bias(layer).unsqueeze(1)
            h = self.activate(torch.baddbmm(bias, h, self.integer_weight(layer).transpose(1, 2)))
        fine = torch.baddbmm(self.integer_bias(last).unsqueeze(1), h, self.integer_weight(last).transpose(1, 2))
        return round_through(fine / FINE) if self.quantised else fine / FINE


class Contexts(NamedTuple):
    """A batch of pixels of each band, float but for `level`: inputs padded as `input_columns` says.

    luma: [3, n, LUMA_INPUTS]. chroma: [3, n, CHROMA_INPUTS]. residual: [3, n, 3], values of Y, Co and Cg minus bases.
    level: int64 [3, n], which bias of the first layer is taken.
    """

    luma: Tensor
    chroma: Tensor
    residual: Tensor
    level: Tensor


class Network(nn.Module):
    """The luma and the chroma networks of the three bands."""

    def __init__(self, luma: tuple[int, int], chroma: tuple[int, int]) -> None:
        """luma, chroma: width and depth."""
        super().__init__()
        self.shapes = {"luma": luma, "chroma": chroma}
        self._channel_bits = channel_bits
        k = COMPONENTS
        units = [SPREAD_UNIT] * k + [MEAN_UNIT] * k + [LOGIT_UNIT] * k
        self.luma = BandNetworks("luma", luma, units)
        units = [unit for unit in units for _ in range(2)] + [COEFFICIENT_UNIT] * k
        self.chroma = BandNetworks("chroma", chroma, units)
        # Spreads start between half a pixel value and eight.
        spreads = SPREAD_ZERO / SPREAD_UNIT + torch.linspace(-0.7, 2.1, k)
        with torch.no_grad():
            self.luma.biases[-1][:, :k] = spreads
            self.chroma.biases[-1][:, : 2 * k] = spreads.repeat(2)

    @classmethod
    def from_model(cls, model: Model) -> Network:
        """The network whose export is `model`, up to rounding."""
        network = cls(model.spec.luma, model.spec.chroma)
        with torch.no_grad():
            for kind in KINDS:
                nets: BandNetworks = getattr(network, kind)
                for index, band in enumerate(BANDS):
                    columns = nets.columns[index]
                    for number, layer in enumerate(model.layers(kind, band.name)):
                        unit, shift = nets.layer_units(number)
                        step = torch.tensor(layer.multiplier.tolist()) / 2**shift
                        weight = torch.tensor(layer.weight.tolist()) * step.unsqueeze(1) / unit
                        bias = torch.tensor(layer.bias.tolist()) * step
                        if number == 0:
                            nets.weights[0][index].zero_()
                            nets.weights[0][index][:, columns] = weight
                            nets.level_bias[index] = bias / ACTIVATION_UNIT
                        else:
                            last = number == len(nets.weights) - 1
                            nets.weights[number][index] = weight
                            nets.biases[number - 1][index] = bias / (nets.units * FINE if last else ACTIVATION_UNIT)
        return network

    def compile_loss(self) -> None:
        """Have what is made of outputs compiled, which pays on a GPU."""
        self._channel_bits = torch.compile(channel_bits, dynamic=False)

    def spec(self, name: str) -> ModelSpec:
        """What an exported model of this shape is called `name` by."""
        return ModelSpec(name, self.shapes["luma"], self.shapes["chroma"])

    def set_quantised(self, quantised: bool) -> None:
        """Whether to compute as the integer model will, or in plain floats."""
        self.luma.quantised = self.chroma.quantised = quantised

    def forward(self, contexts: Contexts) -> Tensor:
        """Bits of each sub-pixel, float [3, n, 3]: by band, pixel and channel."""
        residual = contexts.residual
        spread_y, mean_y, logit_y = self.luma(contexts.luma, contexts.level).split(COMPONENTS, dim=-1)
        spread_co, spread_cg, mean_co, mean_cg, logit_co, logit_cg, coefficient = self.chroma(
            contexts.chroma, contexts.level
        ).split(COMPONENTS, dim=-1)
        shift = coefficient.clamp(COEFFICIENT_MIN, COEFFICIENT_MAX) * residual[..., 1:2] / 4
        return torch.stack(
            (
                self._channel_bits(spread_y, mean_y, logit_y, residual[..., 0]),
                self._channel_bits(spread_co, mean_co, logit_co, residual[..., 1]),
                self._channel_bits(spread_cg, mean_cg + shift, logit_cg, residual[..., 2]),
            ),
            dim=-1,
        )


VALUES = 256
"""Values of a channel that the loss keeps codable: typical of a photograph."""


def channel_bits(spread: Tensor, mean: Tensor, logit: Tensor, residual: Tensor) -> Tensor:
    """Bits of one channel's values, [...]: discretised logistic mixtures (Salimans et al. 2017) with a floor.

    spread, mean, logit: [..., COMPONENTS] in integer units; residual: [...], value minus base.
    """
    inverse = torch.exp2((SPREAD_ZERO - spread.clamp(0, MAX_SPREAD_INDEX)) / 8)
    distance = (residual.unsqueeze(-1) - mean / 16).abs()
    mass = torch.sigmoid((0.5 - distance) * inverse) - torch.sigmoid((-0.5 - distance) * inverse)
    likelihood = (torch.softmax(logit / LOGIT_UNIT, dim=-1) * mass).sum(dim=-1)
    return -torch.log2(likelihood * (1 - VALUES / 65536) + 1 / 65536)
