"""Leaving out weights, in the blocks that kernels can skip."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from llicti_core.models.blocks import INPUTS, OUTPUTS
from llicti_core.training.network import KINDS, BandNetworks, Network

DONE = 0.3
"""Share of a run after which no more blocks are left out."""

EVERY = 100
"""Steps from one choice of blocks to the next."""

_DECAY = 0.99
"""Of the mean over steps of what a block is worth."""


class Pruning:
    """Which blocks of a network's weights are kept; all others are 0.

    At any time those are left out that are worth least: the square of what leaving a block out would add to the loss,
    to the first order (Molchanov et al. 2019). Many go at the beginning, ever fewer later (Zhu and Gupta 2017).
    """

    def __init__(self, network: Network, keep: float) -> None:
        """keep: share of the blocks that are kept in the end. Blocks that are 0 already stay so."""
        self.keep = keep
        self._network = network
        self._blocks: list[Tensor] = []
        """Of each matrix of weights: the number of each one's block, 0 for those that no block has."""
        count = 1
        for kind in KINDS:
            networks: BandNetworks = getattr(network, kind)
            for layer, weight in enumerate(networks.weights):
                columns = networks.columns if layer == 0 else [list(range(weight.shape[2]))] * len(weight)
                blocks, count = _blocks(weight, columns, count)
                self._blocks.append(blocks)
        device = self._blocks[0].device
        self.worth = torch.zeros(count, device=device)
        sizes = [weight.detach().abs() for weight in _weights(network)]
        self.kept = (self._summed(sizes) > 0).float()
        self.kept[0] = 1

    def note(self) -> None:
        """Take a step's gradients into account."""
        if self.keep == 1:
            return
        taylor = [weight.grad * weight.detach() for weight in _weights(self._network) if weight.grad is not None]
        self.worth.mul_(_DECAY).add_(self._summed(taylor).square(), alpha=1 - _DECAY)

    def choose(self, progress: float) -> None:
        """Leave out as many more blocks as is due. progress: share of the run that is done."""
        left = max(0.0, 1 - progress / DONE) ** 3
        count = round((self.keep + (1 - self.keep) * left) * (len(self.kept) - 1))
        candidates = torch.where(self.kept[1:] > 0, self.worth[1:], -1.0)
        most = candidates.topk(count).indices
        chosen = torch.zeros_like(self.kept[1:])
        chosen[most] = 1
        self.kept[1:] *= chosen

    def apply(self, network: Network) -> None:
        """Set the weights of a network, of the same shape, to 0 that are left out."""
        for weight, blocks in zip(_weights(network), self._blocks, strict=True):
            weight.data.mul_(self.kept[blocks])

    def state(self) -> dict[str, Tensor]:
        """What changes, for a checkpoint."""
        return {"worth": self.worth, "kept": self.kept}

    def load(self, state: dict[str, Any]) -> None:
        """The reverse of state."""
        self.worth.copy_(state["worth"])
        self.kept.copy_(state["kept"])

    def _summed(self, values: list[Tensor]) -> Tensor:
        """The sum of each block's values."""
        sums = torch.zeros_like(self.worth)
        for value, blocks in zip(values, self._blocks, strict=True):
            sums.index_add_(0, blocks.flatten(), value.flatten())
        return sums


def _weights(network: Network) -> list[torch.nn.Parameter]:
    return [weight for kind in KINDS for weight in getattr(network, kind).weights]


def _blocks(weight: Tensor, columns: list[list[int]], count: int) -> tuple[Tensor, int]:
    """The number of each weight's block, from `count` on, and the number that the next one would have.

    weight: [bands, outputs, padded inputs]. columns: by band, the inputs that it has, in their order in a file.
    """
    blocks = torch.zeros(weight.shape, dtype=torch.int64, device=weight.device)
    rows = torch.arange(weight.shape[1], device=weight.device) // OUTPUTS
    for band, of_band in enumerate(columns):
        quads = torch.arange(len(of_band), device=weight.device) // INPUTS
        across = int(quads[-1]) + 1
        blocks[band][:, of_band] = count + rows[:, None] * across + quads
        count += (int(rows[-1]) + 1) * across
    return blocks, count
