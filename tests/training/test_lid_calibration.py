# SPDX-License-Identifier: GPL-3.0-or-later
"""Scaling blinks: lids that would meet early are asked for less, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest

from lpmm_runtime.bundle import load_bundle
from lpmm_runtime.controls import ControlMap
from lpmm_runtime.engine import Engine
from training import lid_calibration
from training.lid_calibration import calibrate, scaled, shut_at
from training.synth.facekit import FaceKit


@pytest.fixture(scope="module")
def engine(toy_run: Path) -> Engine:
    return Engine(load_bundle(toy_run / "bundle"), "cpu", 1)


def test_only_blinks_are_scaled(engine: Engine) -> None:
    controls = engine.bundle.rig.controls
    shorter = scaled(controls, 0.8)
    for row, name in enumerate(controls.names):
        factor = 0.8 if name.startswith("eyeBlink") else 1.0
        assert shorter.directions[row] == pytest.approx(factor * controls.directions[row])
        assert shorter.moves[row] == pytest.approx(factor * controls.moves[row])
    assert np.array_equal(shorter.head_coefficients, controls.head_coefficients)


def test_eyes_of_a_bundle_are_measured(engine: Engine, loaded_toy_kit: FaceKit) -> None:
    found = shut_at(engine, loaded_toy_kit, 1, 0)
    assert found.shape == (1, 2) and (found > 0).all()


def test_lids_that_meet_early_meet_later(
    engine: Engine, loaded_toy_kit: FaceKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = engine.bundle.rig.controls
    row = start.names.index("eyeBlinkLeft")

    def as_linear_lids_would(of: Engine, *_: object) -> np.ndarray:
        # Shut at 0.75 of the start's blink.
        length = np.linalg.norm(of_controls[id(of)].directions[row]) / np.linalg.norm(start.directions[row])
        return np.full((3, 2), 0.75 / length)

    of_controls: dict[int, ControlMap] = {}
    engines = [object(), object()]

    def bundle_of(controls: ControlMap) -> Engine:
        of = engines[len(of_controls)]
        of_controls[id(of)] = controls
        return of  # type: ignore[return-value]

    monkeypatch.setattr(lid_calibration, "shut_at", as_linear_lids_would)
    controls, scores = calibrate(start, bundle_of, loaded_toy_kit, 3, 0)
    assert scores["lids_shut_at_before"] == pytest.approx(0.75)
    assert scores["lids_shut_at"] == pytest.approx(1 / 1.35, abs=1e-3)
    assert controls is of_controls[id(engines[1])]
