# SPDX-License-Identifier: GPL-3.0-or-later
"""The training loop that every model shares: AdamW, a cosine, checkpoints, and exact resume."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

Batch = TypeVar("Batch")

_WARM_UP = 100
_CHECKPOINT_EVERY = 200


@dataclass(frozen=True)
class Schedule:
    """How a model is trained.

    Attributes:
        steps, batch: optimiser steps and samples a step.
        rate: the peak learning rate; it warms up linearly and falls along a cosine.
        weight_decay: AdamW's.
        clip: the largest gradient norm.
        seed: of the batches; step n sees the same batch however often the run was interrupted.
        device: a torch device.
        bf16: compute in bfloat16 where it is safe.
        log_every: steps between lines of the log and evaluations.
        ahead: batches made at the same time while the model trains, a thread each; it changes no batch.
    """

    steps: int
    batch: int = 64
    rate: float = 2e-3
    weight_decay: float = 1e-4
    clip: float = 1.0
    seed: int = 0
    device: str = "cpu"
    bf16: bool = True
    log_every: int = 500
    ahead: int = 1

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which networks run forward."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16) if self.bf16 else nullcontext()

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        warm = min(1.0, (step + 1) / min(_WARM_UP, max(1, self.steps // 4)))
        return self.rate * warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, step / self.steps)) + 0.005)


def train(
    name: str,
    model: nn.Module,
    schedule: Schedule,
    folder: Path,
    make_batch: Callable[[np.random.Generator], Batch],
    loss: Callable[[Batch, int], Tensor | tuple[Tensor, dict[str, float]]],
    evaluate: Callable[[], dict[str, float]] | None = None,
) -> None:
    """Train a model in place, going on from `folder/NAME.pt` where it exists.

    Args:
        name: of the model; names the checkpoint and the log `NAME.jsonl`.
        make_batch: makes a batch from a generator of its own; it runs ahead in other threads.
        loss: batch and step → scalar, or scalar and figures to log.
        evaluate: scores to log now and then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / f"{name}.pt"
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, schedule.rate, weight_decay=schedule.weight_decay)
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=schedule.device, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        start = int(state["step"])
    if start >= schedule.steps:
        return
    averages: dict[str, float] = {}

    def prepared(step: int) -> Batch:
        return make_batch(np.random.default_rng([schedule.seed, 3, step]))

    model.train()
    with (
        ThreadPoolExecutor(schedule.ahead) as ahead,
        tqdm(total=schedule.steps, initial=start, desc=name, unit="step", mininterval=5) as bar,
    ):
        coming: deque[Future[Batch]] = deque()
        for step in range(start, schedule.steps):
            while len(coming) <= schedule.ahead and step + len(coming) < schedule.steps:
                coming.append(ahead.submit(prepared, step + len(coming)))
            batch = coming.popleft().result()
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate_at(step)
            result = loss(batch, step)
            value, figures = result if isinstance(result, tuple) else (result, {})
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            torch.nn.utils.clip_grad_norm_(parameters, schedule.clip)
            optimiser.step()
            for key, figure in ({"loss": float(value.detach())} | figures).items():
                averages[key] = 0.98 * averages.get(key, figure) + 0.02 * figure
            bar.update()
            bar.set_postfix({"loss": f"{averages['loss']:.4f}"}, refresh=False)
            done = step + 1
            if done % schedule.log_every == 0 or done == schedule.steps:
                scores = evaluate() if evaluate else {}
                model.train()
                line = {"step": done, **averages, **scores}
                with (folder / f"{name}.jsonl").open("a", encoding="utf-8") as log:
                    log.write(json.dumps({key: round(number, 5) for key, number in line.items()}) + "\n")
            if done % _CHECKPOINT_EVERY == 0 or done == schedule.steps:
                save(checkpoint, model, optimiser, done)


def save(checkpoint: Path, model: nn.Module, optimiser: torch.optim.Optimizer, step: int) -> None:
    """Write a checkpoint whole or not at all."""
    unfinished = checkpoint.with_suffix(".tmp")
    torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, unfinished)
    unfinished.replace(checkpoint)


def load_weights(checkpoint: Path, model: nn.Module) -> None:
    """Load the model of a checkpoint. Raises FileNotFoundError if there is none."""
    if not checkpoint.exists():
        raise FileNotFoundError(f"{checkpoint} does not exist: train that model first")
    model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["model"])
