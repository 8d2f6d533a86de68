# SPDX-License-Identifier: GPL-3.0-or-later
"""The training loop: a run that is interrupted and resumed gives the very weights of one that is not."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training import loop
from training.draws import Draw


def train(
    folder: Path, stops: list[int], total: int, ahead: int = 1, accumulate: int = 1, norm: bool = False
) -> nn.Module:
    for stop in [*stops, total]:
        torch.manual_seed(0)
        middle = [nn.BatchNorm1d(8)] if norm else []
        model = nn.Sequential(nn.Linear(4, 8), *middle, nn.ELU(), nn.Linear(8, 2))
        schedule = loop.Schedule(
            steps=total, batch=16, rate=3e-2, bf16=False, log_every=5, ahead=ahead, accumulate=accumulate
        )
        seen = 0

        def make_batch(draw: Draw) -> Tensor:
            return torch.from_numpy(np.stack([own.standard_normal(4, np.float32) for own in draw.own]))

        def loss(batch: Tensor, step: int, model=model, stop=stop) -> Tensor:
            if step >= stop:
                raise KeyboardInterrupt
            return (model(batch) - batch[:, :2] * 2).square().mean()

        try:
            loop.train("toy", model, schedule, folder, make_batch, loss)
        except KeyboardInterrupt:
            seen += 1
    return model


def assert_same(one: nn.Module, other: nn.Module) -> None:
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.fixture(autouse=True)
def _save_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_CHECKPOINT_EVERY", 10)


def test_an_interrupted_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    assert_same(train(tmp_path / "whole", [], 40), train(tmp_path / "broken", [13, 27], 40))


@pytest.mark.parametrize("accumulate", [1, 4])
def test_n_and_n_steps_are_2n_steps_to_the_bit(tmp_path: Path, accumulate: int) -> None:
    whole = train(tmp_path / "whole", [], 40, accumulate=accumulate, norm=True)
    halves = train(tmp_path / "halves", [20], 40, accumulate=accumulate, norm=True)
    assert_same(whole, halves)
    logs = [(tmp_path / run / "toy.jsonl").read_text("utf-8") for run in ("whole", "halves")]
    assert logs[0] == logs[1]


def test_accumulated_passes_are_one_step_on_the_whole_batch(tmp_path: Path) -> None:
    whole, parts = train(tmp_path / "whole", [], 30), train(tmp_path / "parts", [], 30, accumulate=4)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_a_batch_that_does_not_split_equally_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="16 samples a step cannot be split equally into 3 passes of 1"):
        train(tmp_path, [], 10, accumulate=3)


def test_a_batch_is_the_same_however_many_parts_it_is_made_in() -> None:
    whole = Draw(seed=4, step=7, batch=6, first=0, count=6)
    parts = [Draw(4, 7, 6, first, 2) for first in (0, 2, 4)]
    numbers = [own.random() for own in whole.own]
    assert numbers == [own.random() for part in parts for own in part.own]
    assert whole.rows(1000).tolist() == [row for part in parts for row in part.rows(1000).tolist()]
    # No sample repeats another's randomness, nor the batch's own.
    assert len({*numbers, whole.shared.random(), Draw(4, 7, 6, 0, 6).shared.random()}) == len(numbers) + 2


def test_batches_made_side_by_side_are_the_same_batches(tmp_path: Path) -> None:
    assert_same(train(tmp_path / "one", [], 30), train(tmp_path / "four", [11], 30, ahead=4))


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    train(tmp_path, [], 20)
    stamp = (tmp_path / "toy.pt").stat().st_mtime_ns
    train(tmp_path, [], 20)
    assert (tmp_path / "toy.pt").stat().st_mtime_ns == stamp


def test_the_loss_falls(tmp_path: Path) -> None:
    train(tmp_path, [], 60)
    lines = [json.loads(line) for line in (tmp_path / "toy.jsonl").read_text("utf-8").splitlines()]
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.pt"):
        loop.load_weights(tmp_path / "nothing.pt", nn.Linear(1, 1))
