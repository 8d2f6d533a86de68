# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes that share a training, as torchrun starts them: who is first, what they wait for and tell each other.

torchrun --nproc-per-node 4 -m training default --kit KIT --out runs/gpu --size gpu --device cuda

One process alone, without torchrun, needs no process group: everything here then answers at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")

# The others wait while the first draws data. A process that dies ends all of them at once, by torchrun.
_PATIENCE = timedelta(days=7)


def wanted() -> int:
    """Return how many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Join the processes that torchrun started, and yield the device of this one.

    Args:
        device: "cpu", or "cuda" for a GPU a process of a machine.
    """
    if wanted() == 1:
        yield device
        return
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    # Small models and what they wait for stay on the CPU, whatever the device.
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=_PATIENCE)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def count() -> int:
    """Return how many processes share this training."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Return whether this process writes files, logs and progress bars."""
    return rank() == 0


def wait() -> None:
    """Return when every process has come here."""
    if count() > 1:
        dist.all_reduce(torch.zeros(1))


def from_first(make: Callable[[], Value]) -> Value:
    """Return to every process what the first one makes; the others wait."""
    if count() == 1:
        return make()
    told = [make() if is_first() else None]
    dist.broadcast_object_list(told, src=0, device=torch.device("cpu"))
    return told[0]  # type: ignore[return-value]


def average(value: Tensor) -> Tensor:
    """Return a tensor's average over the processes; no gradient flows through it."""
    if count() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / count()


def average_figures(figures: dict[str, float]) -> dict[str, float]:
    """Return figures averaged over the processes; all must have the same names."""
    if count() == 1:
        return figures
    means = average(torch.tensor(list(figures.values()), dtype=torch.float64))
    return dict(zip(figures, means.tolist(), strict=True))
