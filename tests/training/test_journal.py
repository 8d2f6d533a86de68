# SPDX-License-Identifier: GPL-3.0-or-later
"""What a training says of itself: lines of JSON, and events that TensorBoard's own reader reads."""

import json
import sys
from pathlib import Path

import made_up_faces
import numpy as np
import pytest

from training import loop, lp_regressor, sheets
from training.__main__ import main
from training.lp_regressor import FaceData, LpRegressor


def train(folder: Path, tensorboard: bool) -> None:
    faces = FaceData(made_up_faces.faces(4), 64)
    model = LpRegressor(made_up_faces.landmark_model(6), 64, 0.25)
    schedule = loop.Schedule(4, 2, bf16=False, log_every=2, tensorboard=tensorboard)
    lp_regressor.train(model, faces, faces, schedule, folder)


def test_the_log_says_the_scores_of_each_step(tmp_path: Path) -> None:
    train(tmp_path, tensorboard=False)
    lines = [json.loads(line) for line in (tmp_path / "lp_regressor.jsonl").read_text("utf-8").splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert all({"loss", "heat", "nme_eyes"} <= set(line) for line in lines)
    assert not (tmp_path / "tensorboard").exists()


def test_tensorboard_reads_the_scalars_and_the_pictures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard" / "lp_regressor")).Reload()
    lines = [json.loads(line) for line in (tmp_path / "lp_regressor.jsonl").read_text("utf-8").splitlines()]
    told = {event.step: event.value for event in events.Scalars("nme")}
    assert told == {line["step"]: pytest.approx(line["nme"], abs=1e-4) for line in lines}
    pictures = events.Images("crops")
    assert [picture.step for picture in pictures] == [2, 4]
    assert min(pictures[0].width, pictures[0].height) >= 64


def test_a_missing_tensorboard_is_one_line_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run = ["default", "--kit", str(tmp_path), "--out", str(tmp_path / "run"), "--size", "toy", "--tensorboard"]
    assert main(run) == 1
    assert capsys.readouterr().err.strip() == (
        "training: --tensorboard needs the package tensorboard: pip install tensorboard"
    )
    assert not (tmp_path / "run").exists()


def test_a_sheet_shows_where_landmarks_were_read() -> None:
    faces = made_up_faces.faces(3)
    images = np.moveaxis(faces["images"], 3, 1).astype(np.float32) / 255.0
    sheet = sheets.crops(images, faces["landmarks"], faces["landmarks"])
    assert sheet.shape == (192, 3 * 192, 3) and sheet.dtype == np.uint8
    assert np.any(sheet != sheets.crops(images, faces["landmarks"], faces["landmarks"] + 0.1))
