# SPDX-License-Identifier: GPL-3.0-or-later
"""The training loop: a run that is interrupted and resumed gives the very weights of one that is not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training import loop


def train(folder: Path, stops: list[int], total: int, ahead: int = 1) -> nn.Module:
    for stop in [*stops, total]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.ELU(), nn.Linear(8, 2))
        schedule = loop.Schedule(steps=total, batch=16, rate=3e-2, bf16=False, log_every=5, ahead=ahead)
        seen = 0

        def make_batch(rng: np.random.Generator) -> Tensor:
            return torch.from_numpy(rng.standard_normal((16, 4), np.float32))

        def loss(batch: Tensor, step: int, model=model, stop=stop) -> Tensor:
            if step >= stop:
                raise KeyboardInterrupt
            return (model(batch) - batch[:, :2] * 2).square().mean()

        try:
            loop.train("toy", model, schedule, folder, make_batch, loss)
        except KeyboardInterrupt:
            seen += 1
    return model


@pytest.fixture(autouse=True)
def _save_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_CHECKPOINT_EVERY", 10)


def test_an_interrupted_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", [], 40)
    broken = train(tmp_path / "broken", [13, 27], 40)
    for a, b in zip(whole.parameters(), broken.parameters(), strict=True):
        assert torch.equal(a, b)


def test_batches_made_side_by_side_are_the_same_batches(tmp_path: Path) -> None:
    one = train(tmp_path / "one", [], 30)
    four = train(tmp_path / "four", [11], 30, ahead=4)
    for a, b in zip(one.parameters(), four.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    train(tmp_path, [], 20)
    stamp = (tmp_path / "toy.pt").stat().st_mtime_ns
    train(tmp_path, [], 20)
    assert (tmp_path / "toy.pt").stat().st_mtime_ns == stamp


def test_the_loss_falls(tmp_path: Path) -> None:
    train(tmp_path, [], 60)
    lines = (tmp_path / "toy.jsonl").read_text("utf-8").splitlines()
    first, last = (float(line.split('"loss": ')[1].split(",")[0].rstrip("}")) for line in (lines[0], lines[-1]))
    assert last < 0.7 * first


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.pt"):
        loop.load_weights(tmp_path / "nothing.pt", nn.Linear(1, 1))
