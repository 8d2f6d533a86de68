# SPDX-License-Identifier: GPL-3.0-or-later
"""Batch norms that were folded into their convolutions, put back to work: training normalises by a batch's statistics.

A network whose norms only shift answers as before until it trains; then every norm finds its batch's spread where it
had expected 1, and all that was learned is lost. Here statistics are measured and made up for: the answers stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

Batch = TypeVar("Batch")


class _Measured:
    """The sums of what a norm is given."""

    def __init__(self) -> None:
        self.count = 0
        self.sum: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0

    def __call__(self, _norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        columns = given[0].detach().transpose(0, 1).flatten(1).double()
        self.count += columns.shape[1]
        self.sum = self.sum + columns.sum(dim=1)
        self.squares = self.squares + columns.square().sum(dim=1)

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        assert isinstance(self.sum, Tensor) and isinstance(self.squares, Tensor)
        mean = self.sum / self.count
        return mean, (self.squares / self.count - mean.square()).clamp(min=0.0)


@torch.no_grad()
def settle(model: nn.Module, forward: Callable[[Batch], object], batches: Iterable[Batch]) -> None:
    """Give a network's batch norms the statistics that batches show, and leave what it answers as it is.

    Args:
        forward: runs the network on a batch.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    if not norms:
        return
    measured = [_Measured() for _ in norms]
    hooks = [norm.register_forward_pre_hook(sums) for norm, sums in zip(norms, measured, strict=True)]
    model.eval()
    for batch in batches:
        forward(batch)
    for norm, sums, hook in zip(norms, measured, hooks, strict=True):
        hook.remove()
        # A part that this loss does not run has nothing to be measured by.
        if sums.count:
            _restate(norm, *sums.mean_and_variance())


def _restate(norm: nn.BatchNorm1d | nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Change a norm's statistics, and its scale and shift so that it says the same."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.double() - scale * norm.running_mean.double()
    norm.weight.copy_(scale * (variance + norm.eps).sqrt())
    norm.bias.copy_(shift + scale * mean)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
