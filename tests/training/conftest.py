# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the training tests: a toy face kit, so that none of them needs the real one."""

import subprocess
import sys
from pathlib import Path

import pytest

from training.synth.facekit import FaceKit
from training.toykit import write_toy_kit


@pytest.fixture(scope="session")
def toy_kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a toy face kit; read it, do not change it."""
    folder = tmp_path_factory.mktemp("toykit")
    write_toy_kit(folder, seed=0)
    return folder


@pytest.fixture(scope="session")
def toy_run(toy_kit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole training at toy size: data, checkpoints and bundle; read it, do not change it."""
    folder = tmp_path_factory.mktemp("toy-run")
    command = [sys.executable, "-m", "training", "default", "--kit", str(toy_kit), "--out", str(folder)]
    # In a process of its own, as everybody trains: in one that other tests have used, torch has been seen to crash in
    # bfloat16's backward pass.
    done = subprocess.run([*command, "--size", "toy", "--workers", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(scope="session")
def loaded_toy_kit(toy_kit: Path) -> FaceKit:
    """The toy face kit, loaded."""
    return FaceKit(toy_kit)
