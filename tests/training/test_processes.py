# SPDX-License-Identifier: GPL-3.0-or-later
"""Two processes under torchrun train as one process does with twice the samples a step."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import trainings

from training.__main__ import main

HERE = Path(__file__).parent


def torchrun(*command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *command]
    pipe = subprocess.PIPE
    with subprocess.Popen(run, env=environment, stdout=pipe, stderr=pipe, text=True) as agent:
        try:
            output, errors = agent.communicate(timeout=400)
        except subprocess.TimeoutExpired:
            # Asked to end, it ends its processes; killed, it would leave them behind.
            agent.terminate()
            agent.communicate()
            raise
    return subprocess.CompletedProcess(run, agent.returncode, output, errors)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of one process and of two."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    shared = torchrun(str(HERE / "trainings.py"), str(two))
    assert shared.returncode == 0, shared.stderr[-3000:]
    # One progress bar a model, not two.
    assert shared.stderr.count("pose_encoder:   0%") == 1
    trainings.train_all(one)
    trainings.train_exactly(one)
    return one, two


def weights(folder: Path, name: str) -> torch.Tensor:
    state = torch.load(folder / f"{name}.pt", weights_only=True)["model"]
    return torch.cat([value.double().flatten() for value in state.values()])


def log(folder: Path, name: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("name", ["landmark_refiner", "geometry_head", "generator", "lp_adaptor_warm", "slider_rig"])
def test_two_processes_give_the_weights_of_one(runs: tuple[Path, Path], name: str) -> None:
    one, two = (weights(folder, name) for folder in runs)
    # What AdamW can have moved them by, at most.
    moved = trainings.RATE * trainings.STEPS * len(one) ** 0.5
    assert float((one - two).norm()) < 0.01 * moved


def test_an_interrupted_run_of_two_processes_gives_the_weights_of_one_to_nine_digits(
    runs: tuple[Path, Path],
) -> None:
    one, two = (torch.load(folder / "exact.pt", weights_only=True)["model"] for folder in runs)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-9, rtol=1e-9, msg=name)


# Deep networks with batch norms make percents of float noise: of these only the loss is compared, of those that start
# from what such a network learned or read, roughly.
@pytest.mark.parametrize(
    ("name", "within"), [("lp_regressor", 1e-3), ("face_finder", 1e-3), ("pose_encoder", 0.03), ("lp_adaptor", 0.03)]
)
def test_the_loss_is_that_of_the_whole_batch(runs: tuple[Path, Path], name: str, within: float) -> None:
    one, two = (log(folder, name) for folder in runs)
    assert two[0]["loss"] == pytest.approx(one[0]["loss"], rel=within)
    assert len(one) == len(two) == 1


def test_a_step_for_one_process_is_refused_under_torchrun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["toykit", "--out", str(tmp_path / "kit")]) == 1
    assert "start it without torchrun" in capsys.readouterr().err
    assert not (tmp_path / "kit").exists()
