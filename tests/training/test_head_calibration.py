# SPDX-License-Identifier: GPL-3.0-or-later
"""Bending the head map: what frames show of an angle becomes what was asked for, and sides stay each other's mirror."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lpmm_runtime.bundle import load_bundle
from lpmm_runtime.controls import ControlMap, head_features
from lpmm_runtime.engine import Engine
from training.head_calibration import (
    FURTHER,
    HeadReadings,
    bent,
    calibrate,
    measure,
    measure_from_turned,
    reaching,
    response,
)
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

    # What a run found earlier of turned portraits is forgotten: it belongs to the bend that it was found with.
    given = replace(engine.bundle.rig.controls, head_reach=np.full((3, 3), 0.1, np.float32))
    controls, scores = calibrate(given, bundle_of, loaded_toy_kit, 1, 0)
    # Whatever is bent, this engine shows the same: it did not help, and is not kept.
    for name in ("directions", "moves", "head_coefficients"):
        assert np.array_equal(getattr(controls, name), getattr(given, name))
    assert not controls.head_reach.any()
    assert not np.array_equal(tried[1].head_coefficients, controls.head_coefficients)
    assert scores["head_angle_off"] == scores["head_angle_off_before"] == pytest.approx(found.worst())
    assert scores["turned_head_angle_off"] == scores["turned_head_angle_off_before"] > 0.0


def test_turned_portraits_are_measured_from_where_they_start(toy_run: Path, loaded_toy_kit: FaceKit) -> None:
    engine = Engine(load_bundle(toy_run / "bundle"), "cpu", 1)
    table = measure_from_turned(engine, loaded_toy_kit, 1, 0)
    assert table["headYaw"][:, :2].tolist() == [[12.0, -25.0], [12.0, 25.0], [24.0, -25.0], [24.0, 25.0]]
    assert table["headPitch"].shape == (4, 4) and all(np.isfinite(rows).all() for rows in table.values())


def table(yaw: list[float], pitch: list[float]) -> dict[str, np.ndarray]:
    """Ratios of what shall be read to what is, as measured from turned portraits."""
    rows = [(12.0, -25.0), (12.0, 25.0), (24.0, -25.0), (24.0, 25.0)]
    nods = [(-12.0, -15.0), (-12.0, 15.0), (12.0, -15.0), (12.0, 15.0)]
    return {
        "headYaw": np.array([(*row, ratio, 0.0) for row, ratio in zip(rows, yaw, strict=True)]),
        "headPitch": np.array([(*row, ratio, 0.0) for row, ratio in zip(nods, pitch, strict=True)]),
    }


def moved(controls: ControlMap, name: str, start: float, command: float) -> float:
    axis = ("headYaw", "headPitch", "headRoll").index(name)
    place = np.zeros(3)
    place[axis] = start
    way = np.zeros(3)
    way[axis] = command
    return float(controls.turned(place, way)[axis])


def test_from_a_turned_portrait_more_is_asked_for(straight: ControlMap) -> None:
    controls = reaching(straight, table([1.03, 1.07, 1.06, 1.14], [1.0, 0.95, 1.1, 1.15]))
    for side in (1.0, -1.0):
        assert side * moved(controls, "headYaw", side * 24.0, side * 25.0) == pytest.approx(25.0 * 1.14, abs=0.4)
        assert -side * moved(controls, "headYaw", side * 24.0, side * -25.0) == pytest.approx(25.0 * 1.06, abs=0.4)
        assert side * moved(controls, "headYaw", 0.0, side * 25.0) == pytest.approx(25.0, abs=1e-3)
    assert moved(controls, "headPitch", 12.0, 15.0) == pytest.approx(15.0 * 1.12, abs=0.6)
    assert moved(controls, "headPitch", -12.0, 15.0) < 15.0
    assert moved(controls, "headRoll", 15.0, 20.0) == pytest.approx(20.0, abs=1e-3)


def test_sliders_stay_steady_from_any_start(straight: ControlMap) -> None:
    controls = reaching(straight, table([0.2, 3.0, 0.1, 9.0], [1.0, 1.0, 1.0, 1.0]))
    for start in (-60.0, -24.0, 0.0, 24.0, 60.0):
        turns = [moved(controls, "headYaw", start, command) for command in np.linspace(-30.0, 30.0, 61)]
        assert turns[30] == pytest.approx(0.0, abs=1e-6)
        assert max(turns) < 30.0 * 1.4 + 1e-3 and min(turns) > -30.0 * 1.4 - 1e-3


def test_commands_are_found_again(straight: ControlMap) -> None:
    controls = reaching(straight, table([1.03, 1.07, 1.06, 1.14], [1.0, 0.95, 1.1, 1.15]))
    start = np.array([20.0, -8.0, 5.0])
    commands = np.array([[25.0, 10.0, 0.0], [-18.0, -6.0, 12.0], [0.0, 0.0, 0.0]])
    told = np.stack([controls.turned(start, command)[:3] for command in commands])
    assert controls.commanded(start, told) == pytest.approx(commands, abs=0.02)
