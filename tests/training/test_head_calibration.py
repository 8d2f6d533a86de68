# SPDX-License-Identifier: GPL-3.0-or-later
"""Bending the head map: what frames show of an angle becomes what was asked for, and sides stay each other's mirror."""

from pathlib import Path

import numpy as np
import pytest

from lpmm_runtime.bundle import load_bundle
from lpmm_runtime.controls import ControlMap, head_features
from lpmm_runtime.engine import Engine
from training.head_calibration import FURTHER, HeadReadings, bent, calibrate, measure, response
from training.synth.facekit import FaceKit

YAW, PITCH, ROLL = np.array([-25.0, -15, 15, 25]), np.array([-15.0, -8, 8, 15]), np.array([-20.0, 20])
NOD = np.repeat(FURTHER["headPitch"], 2)


def readings(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> HeadReadings:
    true = {"headYaw": YAW, "headPitch": PITCH, "headRoll": ROLL}
    return HeadReadings(true, {"headYaw": yaw, "headPitch": pitch, "headRoll": roll})


@pytest.fixture(scope="module")
def straight() -> ControlMap:
    """A head map whose first three params are the angles, in degrees, with terms of the third degree unused."""
    exponents = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 2, 0], [3, 0, 0], [0, 3, 0], [0, 0, 3]])
    coefficients = np.zeros((7, 5), np.float32)
    coefficients[:3, :3] = 30.0 * np.eye(3)
    readout = np.zeros((len(head_features(np.zeros(5, np.float32))), 3), np.float32)
    return ControlMap(
        ("jawOpen",), np.zeros((1, 5), np.float32), np.zeros((1, 136), np.float32), exponents, coefficients, readout
    )


def test_what_overshoots_is_asked_for_less_and_what_stops_short_for_more(straight: ControlMap) -> None:
    multiples = response(
        readings(YAW * np.array([1.25, 1.0, 1.0, 1.25]), NOD * PITCH * [1.0, 1.0, 0.8, 0.8], ROLL * 0.9)
    )
    controls = bent(straight, multiples)
    base = np.zeros(5, np.float32)
    assert controls.offset({"headYaw": 25.0}, base)[0] == pytest.approx(20.0, abs=0.6)
    assert controls.offset({"headYaw": 15.0}, base)[0] == pytest.approx(15.0, abs=0.6)
    assert controls.offset({"headPitch": 15.0}, base)[1] == pytest.approx(18.75, abs=0.8)
    assert controls.offset({"headPitch": -15.0}, base)[1] == pytest.approx(-15.0, abs=0.8)
    assert controls.offset({"headRoll": 20.0}, base)[2] == pytest.approx(20.0 / 0.9, abs=0.3)


def test_a_faithful_bundle_is_left_as_it_is(straight: ControlMap) -> None:
    multiples = response(readings(YAW, NOD * PITCH, ROLL))
    assert multiples == pytest.approx(np.array([[1.0, 0, 0]] * 3), abs=1e-9)
    assert bent(straight, multiples).head_coefficients == pytest.approx(straight.head_coefficients, abs=1e-3)


def test_nods_go_further_than_the_regressor_asks(straight: ControlMap) -> None:
    controls = bent(straight, response(readings(YAW, PITCH, ROLL)))
    base = np.zeros(5, np.float32)
    # The multiple is a line in the angle, through what is asked at either end.
    assert controls.offset({"headPitch": 12.0}, base)[1] == pytest.approx(12.0 * NOD[-1], abs=0.4)
    assert controls.offset({"headPitch": -12.0}, base)[1] == pytest.approx(-12.0 * NOD[0], abs=0.4)
    assert controls.offset({"headYaw": 10.0}, base)[0] == pytest.approx(10.0, abs=0.05)


def test_sides_stay_mirror_images_though_one_was_read_worse(straight: ControlMap) -> None:
    controls = bent(straight, response(readings(YAW * [1.0, 1.0, 1.2, 1.3], PITCH, ROLL * [0.8, 1.0])))
    for angles in ((20.0, 5.0, 10.0), (30.0, -8.0, -15.0)):
        right, left = controls.head(np.array(angles)), controls.head(np.array(angles) * [-1, 1, -1])
        assert right[:3] == pytest.approx(left[:3] * [-1, 1, -1], abs=1e-3)


def test_a_broken_model_is_not_made_up_for() -> None:
    multiples = response(readings(YAW * 0.01, PITCH * -1.0, ROLL * 50.0))
    t = YAW / 30.0
    assert (multiples[0, 0] + multiples[0, 2] * t**2 <= 1.6 + 1e-6).all()
    assert multiples[1, 0] >= 0.6 - 1e-6 and multiples[2, 0] >= 0.6 - 1e-6


def test_a_bundle_is_measured_and_kept_only_if_bending_helps(toy_run: Path, loaded_toy_kit: FaceKit) -> None:
    engine = Engine(load_bundle(toy_run / "bundle"), "cpu", 1)
    found = measure(engine, loaded_toy_kit, 1, 0)
    assert {name: len(values) for name, values in found.true.items()} == {"headYaw": 4, "headPitch": 4, "headRoll": 2}
    tried: list[ControlMap] = []

    def bundle_of(controls: ControlMap) -> Engine:
        tried.append(controls)
        return engine

    controls, scores = calibrate(engine.bundle.rig.controls, bundle_of, loaded_toy_kit, 1, 0)
    # Whatever is bent, this engine shows the same: it did not help, and is not kept.
    assert controls is tried[0] and controls is not tried[1]
    assert scores["head_angle_off"] == scores["head_angle_off_before"] == pytest.approx(found.worst())
