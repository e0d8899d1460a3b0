"""The paper's networks (section III): colours and phases as float planes in, the mixtures' parameters out."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llicti_core.color import rgb_to_ycocg, ycocg_to_rgb
from llicti_core.spec import BANDS, Y_OFFSET, Band

CHANNELS = 3
PARAMETER_KINDS = 4
"""Networks side by side in a band's: of deviations, means, weights and coefficients."""

OUTPUTS = 60
"""Parameters of a pixel: 4 parameter kinds of 5 components of 3 channels."""

UNIT = 255.0
"""Planes are divided by this for the networks."""

PAPER_Y_OFFSET = 127
"""What the paper takes from Y; the project's own codec takes Y_OFFSET."""

Convolution = tuple[tuple[int, int], tuple[int, int, int, int]]
"""Kernel (height, width), and the padding (left, right, top, bottom)."""

CONVOLUTIONS: dict[str, dict[str, Convolution]] = {
    "11": {"00": ((4, 4), (1, 2, 1, 2))},
    "01": {"00": ((3, 4), (1, 2, 1, 1)), "11": ((4, 3), (1, 1, 2, 1))},
    "10": {"00": ((4, 3), (1, 1, 1, 2)), "11": ((3, 4), (2, 1, 1, 1)), "01": ((4, 4), (2, 1, 1, 2))},
}
"""The first layer of each band's network, by input phase: the windows of `spec.BANDS` as convolutions."""


def to_planes(pixels: NDArray[np.uint8]) -> NDArray[np.int16]:
    """uint8 RGB [..., height, width, 3] to int16 [..., 3, height, width]: Y -127..128, Co and Cg -255..255."""
    planes = rgb_to_ycocg(pixels)
    planes[..., 0] += Y_OFFSET - PAPER_Y_OFFSET
    return np.ascontiguousarray(np.moveaxis(planes, -1, -3))


def to_pixels(planes: NDArray[np.int16]) -> NDArray[np.uint8]:
    """The inverse of to_planes."""
    planes = np.moveaxis(planes, -3, -1).copy()
    planes[..., 0] -= Y_OFFSET - PAPER_Y_OFFSET
    return ycocg_to_rgb(planes)


def phase_of(planes: Tensor, level: int, row: int, column: int) -> Tensor:
    """The view [..., rows, columns] of the phase at parities `row`, `column`; empty where there are no such pixels."""
    step = 2 << level
    return planes[..., row << level :: step, column << level :: step]


def _fill(phase: Tensor, height: int, width: int) -> Tensor:
    """Repeat the last row and column to height x width. A phase without pixels, which the paper does not have, is 0."""
    if phase.numel() == 0:
        return phase.new_zeros((*phase.shape[:-2], height, width))
    missing = (0, width - phase.shape[-1], 0, height - phase.shape[-2])
    return nn.functional.pad(phase, missing, mode="replicate")


class BandNetwork(nn.Module):
    """The network of one band: convolutions of the known phases, summed; then two 1x1 ones for each parameter kind."""

    def __init__(self, band: Band, channels: int) -> None:
        super().__init__()
        self.band = band
        hidden = PARAMETER_KINDS * channels
        for phase, (kernel, _) in CONVOLUTIONS[band.name].items():
            self.add_module(f"layer0_{phase}_{band.name}", nn.Conv2d(CHANNELS, hidden, kernel))
        self.layers1toL = nn.Sequential(
            nn.Conv2d(hidden, hidden, 1, groups=PARAMETER_KINDS),
            nn.ReLU(),
            nn.Conv2d(hidden, OUTPUTS, 1, groups=PARAMETER_KINDS),
        )

    def first_layers(self) -> list[tuple[str, nn.Module]]:
        """The convolutions of the first layer, by input phase."""
        return [(phase, getattr(self, f"layer0_{phase}_{self.band.name}")) for phase in CONVOLUTIONS[self.band.name]]

    def forward(self, phases: Mapping[str, Tensor]) -> Tensor:
        """Parameters [batch, 60, height, width] of known phases, scaled float [batch, 3, height, width] each."""
        total: Any = 0
        for phase, layer in self.first_layers():
            _, padding = CONVOLUTIONS[self.band.name][phase]
            total = total + layer(nn.functional.pad(phases[phase], padding, mode="replicate"))
        return self.layers1toL(nn.functional.relu_(total))

    def of_contexts(self, neighbours: Tensor) -> Tensor:
        """Parameters [batch, 60] of single contexts: scaled float [batch, 3, neighbours], in the band's order."""
        layers = [layer for _, layer in self.first_layers()]
        weight = torch.cat([layer.weight.flatten(2) for layer in layers], dim=2)
        bias = torch.stack([layer.bias for layer in layers]).sum(dim=0)
        hidden = nn.functional.linear(neighbours.flatten(1), weight.flatten(1), bias).relu_()
        # As matrix products, which take half of the convolutions' time here (forward and backward, on a CPU).
        kinds = _by_kind(
            self.layers1toL[0], hidden.view(-1, PARAMETER_KINDS, hidden.shape[1] // PARAMETER_KINDS).transpose(0, 1)
        )
        return _by_kind(self.layers1toL[2], kinds.relu_()).transpose(0, 1).flatten(1)


def _by_kind(layer: nn.Module, inputs: Tensor) -> Tensor:
    """A 1x1 convolution for each parameter kind, [kinds, batch, inputs] to [kinds, batch, outputs]."""
    weight = layer.weight.view(PARAMETER_KINDS, -1, inputs.shape[2]).transpose(1, 2)
    return torch.baddbmm(layer.bias.view(PARAMETER_KINDS, 1, -1), inputs, weight)


class Network(nn.Module):
    """LLICTI: three band networks, which serve every level. LLICTI-A: 88 channels, 5 levels; -B: 60 and 2.

    The names in its state dict are those of the authors' checkpoints.
    """

    def __init__(self, channels: int = 88, levels: int = 5) -> None:
        super().__init__()
        self.channels, self.levels = channels, levels
        bands = nn.ModuleList(BandNetwork(band, channels) for band in BANDS)
        self.entropymodel = nn.Module()
        self.entropymodel.entmdls_scale_band = nn.ModuleList([bands])

    def band(self, index: int) -> BandNetwork:
        """The network of `spec.BANDS[index]`."""
        network: BandNetwork = self.entropymodel.entmdls_scale_band[0][index]
        return network

    def outputs(self, scaled: Tensor, level: int, index: int) -> Tensor:
        """Parameters of a band's pixels, float [batch * pixels, 60], pixels in raster order.

        scaled: planes / 255, float [batch, 3, height, width]; only the phases before the band are used.
        """
        band = BANDS[index]
        height, width = phase_of(scaled, level, 0, 0).shape[-2:]
        rows, columns = phase_of(scaled, level, band.row, band.column).shape[-2:]
        phases = {
            phase: _fill(phase_of(scaled, level, int(phase[0]), int(phase[1])), height, width)
            for phase in CONVOLUTIONS[band.name]
        }
        outputs: Tensor = self.band(index)(phases)[..., :rows, :columns]
        return outputs.movedim(1, -1).reshape(-1, OUTPUTS)


def initialise(network: Network) -> None:
    """Start deviations between half a step and thirty, weights all alike; the rest stays as torch draws it.

    The paper says nothing of this. Without it, a short training spends itself on deviations below their bound.
    """
    deviations = torch.logspace(-1, 4.9, 5, base=2) / UNIT
    with torch.no_grad():
        for index in range(len(BANDS)):
            last = network.band(index).layers1toL[2]
            last.weight.mul_(0.1)
            last.bias.zero_()
            last.bias[:15] = deviations.repeat(CHANNELS)
            last.bias[30:45] = 0.2


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A checkpoint, ours or the authors': a dict with a `state_dict`. Raises ValueError where it is none."""
    try:
        checkpoint = torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        msg = f"{path} is no checkpoint of tensors alone: {error}"
        raise ValueError(msg) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        msg = f"{path} holds no state_dict"
        raise ValueError(msg)
    return checkpoint


def load_weights(network: Network, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Put a state dict in place. Raises ValueError, naming a tensor, where names or shapes are not the network's."""
    expected = {name: value.shape for name, value in network.state_dict().items()}
    for name in sorted(set(expected) | set(state)):
        if name not in state or name not in expected or state[name].shape != expected[name]:
            found = _shape(state.get(name))
            wanted = _shape(expected.get(name))
            msg = f"{source}: {name} is {found}, but {wanted} in a network of {network.channels} channels"
            raise ValueError(msg)
    network.load_state_dict(dict(state))


def _shape(value: Tensor | Sequence[int] | None) -> str:
    if value is None:
        return "absent"
    return "x".join(str(size) for size in (value.shape if isinstance(value, Tensor) else value))
