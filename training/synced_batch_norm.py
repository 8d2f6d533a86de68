# SPDX-License-Identifier: GPL-3.0-or-later
"""Batch norms that normalise by the whole batch when several processes each hold a part of it, on any device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training import processes


class _Gathered(torch.autograd.Function):
    """A tensor of every process, stacked; its gradient is the sum of what each process asks of it."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        parts = [torch.empty_like(own) for _ in range(processes.count())]
        dist.all_gather(parts, own)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[processes.rank()]


def _normalised(norm: _BatchNorm, x: Tensor) -> Tensor:
    if not norm.training:
        return type(norm).forward(norm, x)
    assert norm.momentum is not None and norm.running_mean is not None and norm.running_var is not None
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    variance, mean = torch.var_mean(wide, dim=[0, *range(2, x.ndim)], correction=0)
    # Every process holds as many samples. Means of means and of variances keep the digits that sums of squares lose.
    means, variances = _Gathered.apply(torch.stack([mean, variance])).unbind(1)
    mean = means.mean(dim=0)
    variance = variances.mean(dim=0) + (means - mean).square().mean(dim=0)
    samples = processes.count() * x.numel() // x.shape[1]
    with torch.no_grad():
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (samples / (samples - 1)), norm.momentum)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked += 1
    scale = torch.rsqrt(variance + norm.eps)
    if norm.affine:
        scale = scale * norm.weight
    shift = -mean * scale if not norm.affine else norm.bias - mean * scale
    shape = [1, -1] + [1] * (x.ndim - 2)
    return (wide * scale.reshape(shape) + shift.reshape(shape)).to(x.dtype)


@contextmanager
def synced_batch_norms(model: nn.Module) -> Iterator[None]:
    """Let a model's batch norms in training mode normalise by what all processes hold; each must hold as much.

    torch's own SyncBatchNorm is for GPUs only. The modules stay what they are: only their way forward is exchanged.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)] if processes.count() > 1 else []
    for norm in norms:
        norm.forward = partial(_normalised, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward
