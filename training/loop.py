# SPDX-License-Identifier: GPL-3.0-or-later
"""The training loop that every model shares: AdamW, a cosine, checkpoints, exact resume, one process or many."""

from __future__ import annotations

import argparse
import math
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from training import processes
from training.draws import Draw
from training.journal import Journal
from training.settled_batch_norm import settle
from training.synced_batch_norm import synced_batch_norms

Batch = TypeVar("Batch")
Pictures = dict[str, NDArray[np.uint8]]

_WARM_UP = 100
_CHECKPOINT_EVERY = 200
# Batches that tell the statistics of networks which come without.
_SETTLING = 8


@dataclass(frozen=True)
class Schedule:
    """How a model is trained.

    Attributes:
        steps, batch: optimiser steps and samples a step, those of all processes together.
        rate: the peak learning rate; it warms up linearly and falls along a cosine.
        weight_decay: AdamW's.
        clip: the largest gradient norm.
        seed: of the batches; step n sees the same batch however often the run was interrupted.
        device: a torch device.
        bf16: compute in bfloat16 where it is safe.
        log_every: steps between lines of the log and evaluations.
        ahead: batches made at the same time while the model trains, a thread each; it changes no batch.
        accumulate: passes that a step's batch is split into, to need less memory; batch norms see a pass each.
        tensorboard: write events for TensorBoard.
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
    accumulate: int = 1
    tensorboard: bool = False

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which networks run forward."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16) if self.bf16 else nullcontext()

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        warm = min(1.0, (step + 1) / min(_WARM_UP, max(1, self.steps // 4)))
        return self.rate * warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, step / self.steps)) + 0.005)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what every step that trains understands."""
    parser.add_argument("--accumulate", type=int, default=1, help="passes that a step's batch is split into")
    parser.add_argument("--tensorboard", action="store_true", help="write scalars and pictures for TensorBoard too")


class _Loss(nn.Module):
    """A loss as a module, for what DDP synchronises is a module's way forward."""

    def __init__(self, model: nn.Module, loss: Callable[[Any, int], Any]) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, batch: Any, step: int) -> Any:
        return self._loss(batch, step)


@contextmanager
def _shared_loss(
    model: nn.Module, loss: Callable[[Batch, int], Any], partly_used: bool
) -> Iterator[tuple[Callable[[Batch, int], Any], Callable[[], AbstractContextManager[Any]]]]:
    """Yield the loss whose gradients are averaged over the processes, and a context in which they are not yet."""
    if processes.count() == 1:
        yield loss, nullcontext
        return
    with synced_batch_norms(model), warnings.catch_warnings():
        # torch 2.13 renames the option; depthwise kernels are laid out in two ways at once.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "Grad strides do not match", UserWarning)
        ddp = DistributedDataParallel(_Loss(model, loss), broadcast_buffers=False, find_unused_parameters=partly_used)
        yield ddp, ddp.no_sync


def train(
    name: str,
    model: nn.Module,
    schedule: Schedule,
    folder: Path,
    make_batch: Callable[[Draw], Batch],
    loss: Callable[[Batch, int], Tensor | tuple[Tensor, dict[str, float]]],
    evaluate: Callable[[], dict[str, float]] | None = None,
    pictures: Callable[[], Pictures] | None = None,
    partly_used: bool = False,
) -> None:
    """Train a model in place, going on from `folder/NAME.pt` where it exists; at step 0 that is weights to start from.

    Several processes (see `processes`) share each step's batch and end with the same weights, within float noise those
    of one process; the first writes the files.

    Args:
        name: of the model; names the checkpoint and the log `NAME.jsonl`.
        make_batch: makes the part of a batch that a draw says; it runs ahead in other threads.
        loss: batch and step → scalar, the samples' mean, or scalar and figures to log.
        evaluate: scores to log now and then; pictures: what to show in TensorBoard as often.
        partly_used: whether some steps' losses leave some of the parameters out.

    Raises:
        ValueError: if the batch cannot be split equally, or the processes do not share the folder.
    """
    parts = processes.count() * schedule.accumulate
    if schedule.accumulate < 1 or schedule.batch % parts:
        raise ValueError(
            f"{name}: {schedule.batch} samples a step cannot be split equally into {schedule.accumulate} passes of "
            f"{processes.count()} processes"
        )
    # None looks for a checkpoint that another is about to write.
    processes.wait()
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / f"{name}.pt"
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, schedule.rate, weight_decay=schedule.weight_decay)
    start = 0
    averages: dict[str, float] = {}
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=schedule.device, weights_only=True)
        model.load_state_dict(state["model"])
        start = int(state["step"])
        if start:
            optimiser.load_state_dict(state["optimiser"])
        else:
            whole = (Draw(schedule.seed, step, schedule.batch, 0, schedule.batch) for step in range(_SETTLING))
            settle(model, lambda batch: loss(batch, 0), map(make_batch, whole))
        averages = state.get("averages", {})
    if processes.from_first(lambda: start) != start:
        raise ValueError(f"{checkpoint}: is another file for process {processes.rank()}: all must share the folder")
    if start >= schedule.steps:
        return
    each = schedule.batch // parts

    def prepared(turn: int) -> Batch:
        step, turn_of_step = divmod(turn, schedule.accumulate)
        first = (turn_of_step * processes.count() + processes.rank()) * each
        return make_batch(Draw(schedule.seed, step, schedule.batch, first, each))

    model.train()
    first = processes.is_first()
    with (
        closing(Journal(folder, name, start, schedule.tensorboard)) if first else nullcontext() as journal,
        _shared_loss(model, loss, partly_used) as (shared_loss, unsynced),
        ThreadPoolExecutor(schedule.ahead) as ahead,
        tqdm(total=schedule.steps, initial=start, desc=name, unit="step", mininterval=5, disable=not first) as bar,
    ):
        coming: deque[Future[Batch]] = deque()
        turns = schedule.steps * schedule.accumulate
        turn = start * schedule.accumulate
        for step in range(start, schedule.steps):
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate_at(step)
            optimiser.zero_grad(set_to_none=True)
            sums: dict[str, float] = {}
            for left in reversed(range(schedule.accumulate)):
                while len(coming) <= schedule.ahead and turn + len(coming) < turns:
                    coming.append(ahead.submit(prepared, turn + len(coming)))
                batch = coming.popleft().result()
                turn += 1
                with unsynced() if left else nullcontext():
                    result = shared_loss(batch, step)
                    value, figures = result if isinstance(result, tuple) else (result, {})
                    (value / schedule.accumulate).backward()
                for key, figure in ({"loss": float(value.detach())} | figures).items():
                    sums[key] = sums.get(key, 0.0) + figure / schedule.accumulate
            torch.nn.utils.clip_grad_norm_(parameters, schedule.clip)
            optimiser.step()
            for key, figure in sums.items():
                averages[key] = 0.98 * averages.get(key, figure) + 0.02 * figure
            bar.update()
            bar.set_postfix({"loss": f"{averages['loss']:.4f}"}, refresh=False)
            done = step + 1
            if done % schedule.log_every == 0 or done == schedule.steps:
                figures = processes.average_figures(averages)
                if journal:
                    journal.write(done, figures | (evaluate() if evaluate else {}))
                    if pictures and journal.shows:
                        journal.show(done, pictures())
                    model.train()
            if done % _CHECKPOINT_EVERY == 0 or done == schedule.steps:
                averages = processes.average_figures(averages)
                if first:
                    save(checkpoint, model, optimiser, done, averages)
    # What the first has written, the others may read from here on.
    processes.wait()


def save(
    checkpoint: Path, model: nn.Module, optimiser: torch.optim.Optimizer, step: int, averages: dict[str, float]
) -> None:
    """Write a checkpoint whole or not at all."""
    unfinished = checkpoint.with_suffix(".tmp")
    state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "averages": averages}
    torch.save(state, unfinished)
    unfinished.replace(checkpoint)


def save_weights(checkpoint: Path, model: nn.Module) -> None:
    """Write a checkpoint of weights that a training starts from."""
    torch.save({"model": model.state_dict(), "step": 0}, checkpoint)


def load_weights(checkpoint: Path, model: nn.Module) -> None:
    """Load the model of a checkpoint. Raises FileNotFoundError if there is none."""
    if not checkpoint.exists():
        raise FileNotFoundError(f"{checkpoint} does not exist: train that model first")
    model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["model"])
