# SPDX-License-Identifier: GPL-3.0-or-later
"""Fine-tuning LPD on a person: the generator comes nearer to the photo, the embedder stays, the file loads again."""

import json
from pathlib import Path

import pytest
import torch
from filled_weights import lpd_embedder, lpd_generator, unit_batch

from training import loop
from training.backbones.lpd import load_lpd, lpd_of_states
from training.finetune_identity import advised_steps, fine_tune, save

pytestmark = pytest.mark.timeout(900)


def test_a_fine_tuned_generator_is_nearer_to_its_photo_and_loads_again(tmp_path: Path) -> None:
    model = lpd_of_states(lpd_embedder(), lpd_generator(), Path("filled"))
    photo = unit_batch("source")
    # Weights at random are steep: all 37 million of them move at once.
    schedule = loop.Schedule(3, 1, 1e-6, weight_decay=0.0, bf16=False, log_every=1)
    tuned = fine_tune(model, photo, schedule, tmp_path / "training")
    lines = [json.loads(line) for line in (tmp_path / "training" / "identity.jsonl").read_text("utf-8").splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"]
    embedding = tuned.generator.identity_embedding
    assert embedding is not None and not torch.equal(embedding, model.identity(photo))
    save(tuned, tmp_path / "ada.pth")
    again = load_lpd(tmp_path / "ada.pth")
    assert again.fine_tuned
    for name, value in again.state_dict().items():
        assert torch.equal(value, tuned.state_dict()[name]), name
    before, after = model.embedder.state_dict(), again.embedder.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_more_photos_are_trained_longer() -> None:
    assert [advised_steps(count) for count in (1, 30, 100)] == [125, 230, 230]
