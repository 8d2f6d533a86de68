# SPDX-License-Identifier: GPL-3.0-or-later
"""The LPMM and its controls, fitted on toy people."""

import numpy as np
import pytest

from lpmm_runtime import landmarks68
from lpmm_runtime.controls import ControlMap
from lpmm_runtime.morphable import LandmarkModel
from training import control_fit, landmark_model
from training.rebase import Rebase
from training.synth.facekit import FaceKit


@pytest.fixture(scope="module")
def data(loaded_toy_kit: FaceKit) -> landmark_model.LandmarkSet:
    return landmark_model.sample_landmarks(loaded_toy_kit, 150, 1, "train")


@pytest.fixture(scope="module")
def model(data: landmark_model.LandmarkSet) -> LandmarkModel:
    return landmark_model.fit(data.landmarks, 40)


@pytest.fixture(scope="module")
def controls(loaded_toy_kit: FaceKit, model: LandmarkModel, data: landmark_model.LandmarkSet) -> ControlMap:
    return control_fit.fit(loaded_toy_kit, model, data, people=8, seed=1)


def test_all_components_rebuild_landmarks_exactly(data: landmark_model.LandmarkSet) -> None:
    full = landmark_model.fit(data.landmarks, 140)
    rebuilt = full.landmarks(full.params(data.landmarks))
    assert np.abs(rebuilt - data.landmarks).max() < 1e-4


def test_more_components_cost_less_error_on_other_people(loaded_toy_kit: FaceKit, data) -> None:
    full = landmark_model.fit(data.landmarks, 140)
    held_out = landmark_model.sample_landmarks(loaded_toy_kit, 20, 1, "test")
    errors = list(landmark_model.truncation_errors(full, held_out.landmarks).values())
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 3 * errors[3]


def test_the_truncation_of_the_shipped_k_is_that_models_own(model: LandmarkModel, data) -> None:
    full = landmark_model.fit(data.landmarks, 140)
    errors = landmark_model.truncation_errors(full, data.landmarks, model)
    rebuilt = model.landmarks(model.params(data.landmarks))
    assert errors[40] == pytest.approx(landmarks68.interocular_nme(rebuilt, data.landmarks).mean(), rel=1e-5)
    assert errors[136] < 0.01


def test_components_are_orthonormal_and_uncorrelated(model: LandmarkModel, data) -> None:
    assert np.allclose(model.eigenvectors @ model.eigenvectors.T, np.eye(40), atol=1e-4)
    params = model.params(np.concatenate([data.landmarks, landmarks68.mirror(data.landmarks)]))
    assert np.abs(np.corrcoef(params.T) - np.eye(40)).max() < 0.02
    assert (np.diff(model.sigma) <= 0).all()


def test_faces_without_irises_have_a_model_and_controls_of_their_own(loaded_toy_kit: FaceKit, data) -> None:
    landmarks = data.landmarks[:, : landmarks68.COUNT]
    plain = landmark_model.fit(landmarks, 40)
    assert plain.points == landmarks68.COUNT
    parts = landmark_model.fit_parts(iter([landmarks[:200], landmarks[200:]]), 40)
    assert np.allclose(parts.sigma, plain.sigma, rtol=1e-3)
    known = landmark_model.LandmarkSet(landmarks, data.angles, data.canonical)
    controls = control_fit.fit(loaded_toy_kit, plain, known, people=1, seed=1)
    assert not [name for name in controls.names if name.startswith("eyeLook")]


def test_a_rig_with_gaze_is_carried_over_to_faces_without_irises(
    model: LandmarkModel, controls: ControlMap, data
) -> None:
    landmarks = data.landmarks[:, : landmarks68.COUNT]
    rebase = Rebase(model, landmark_model.fit(landmarks, 40))
    carried = rebase.controls(controls, landmarks)
    lost = set(controls.names) - set(carried.names)
    assert len(lost) == 8 and all(name.startswith("eyeLook") for name in lost)
    rest = np.zeros(40, np.float32)
    for name in ("eyeBlinkLeft", "jawOpen", "mouthSmileRight"):
        was, now = (
            of.landmarks(rest + by.offset({name: 1.0}, rest)) - of.landmarks(rest)
            for of, by in ((model, controls), (rebase.new, carried))
        )
        assert np.abs(was[: landmarks68.COUNT] - now).max() < 0.1 * np.abs(now).max()
    # What the old params say of the 68 points stays said; where the eyes look is not known.
    old = rebase.old_params(rebase.new.params(landmarks))
    off = model.landmarks(old)[:, : landmarks68.COUNT] - rebase.new.landmarks(rebase.new.params(landmarks))
    assert np.abs(off).mean() < 1e-3
    assert np.quantile(np.abs(old), 0.999) < 6


def test_params_are_in_standard_deviations(model: LandmarkModel, data: landmark_model.LandmarkSet) -> None:
    params = model.params(np.concatenate([data.landmarks, landmarks68.mirror(data.landmarks)]))
    assert np.allclose(params.std(axis=0), 1.0, atol=0.05)
    assert np.abs(params.mean(axis=0)).max() < 1e-3


def test_mirror_images_have_the_same_params_but_for_signs(model: LandmarkModel, data) -> None:
    params, mirrored = model.params(data.landmarks), model.params(landmarks68.mirror(data.landmarks))
    assert np.allclose(np.abs(params), np.abs(mirrored), atol=0.02)


def test_the_first_components_turn_the_head(model: LandmarkModel, data: landmark_model.LandmarkSet) -> None:
    assert set(landmark_model.component_names(model, data)[:3]) == {"yaw", "pitch", "roll"}


def test_head_angles_are_read_back(controls: ControlMap, model: LandmarkModel, data) -> None:
    errors = control_fit.check(controls, model, data)
    assert errors["headYaw"] < 3 and errors["headRoll"] < 2 and errors["headPitch"] < 5


def test_commanded_angles_are_the_angles_that_show(controls: ControlMap) -> None:
    rest = np.zeros(40, np.float32)
    for name, axis in (("headYaw", 0), ("headPitch", 1), ("headRoll", 2)):
        for angle in (-15.0, 15.0):
            turned = rest + controls.offset({name: angle}, rest)
            shown = controls.head_angles(turned) - controls.head_angles(rest)
            assert shown[axis] == pytest.approx(angle, abs=5)
            assert np.abs(np.delete(shown, axis)).max() < 5


def test_a_wink_closes_one_eye(controls: ControlMap, model: LandmarkModel) -> None:
    rest = np.zeros(40, np.float32)
    before = landmarks68.eye_openness(model.landmarks(rest))
    left = landmarks68.eye_openness(model.landmarks(rest + controls.offset({"eyeBlinkLeft": 1.0}, rest)))
    assert left[0] < before[0] - 0.03
    assert abs(left[1] - before[1]) < 0.4 * (before[0] - left[0])


@pytest.mark.parametrize("side", ["Left", "Right"])
@pytest.mark.parametrize(
    ("stem", "way"), [("In", (-1, 0)), ("Out", (1, 0)), ("Up", (0, -1)), ("Down", (0, 1))], ids=str
)
def test_one_eye_looks_alone(
    controls: ControlMap, model: LandmarkModel, side: str, stem: str, way: tuple[int, int]
) -> None:
    rest = np.zeros(40, np.float32)
    moved = model.landmarks(rest + controls.offset({f"eyeLook{stem}{side}": 1.0}, rest)) - model.landmarks(rest)
    # The subject's left eye is the picture's right one, the last point.
    own, other = (moved[69], moved[68]) if side == "Left" else (moved[68] * [-1, 1], moved[69] * [-1, 1])
    width = model.mean.reshape(-1, 2)[45, 0] - model.mean.reshape(-1, 2)[42, 0]
    assert own @ way > (0.2 if way[0] else 0.1) * width
    assert np.abs(other).max() < 0.1 * (own @ way)


def test_sides_that_the_model_rounds_off_are_told_apart() -> None:
    # Two points: the model knows how both move together, and a fifth of how they move apart.
    vectors = np.array([[1.0, 1.0], [1.0, -1.0]], np.float32) / np.sqrt(2.0).astype(np.float32)
    model = LandmarkModel(np.zeros(2, np.float32), vectors, np.ones(2, np.float32))
    names = ("browDownLeft", "browDownRight", "jawOpen")
    moves = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    known = moves @ vectors.T
    assert control_fit.told_apart(model, names, known, moves) == pytest.approx(known, abs=1e-6)
    rounded = known * [1.0, 0.5]
    apart = control_fit.told_apart(model, names, rounded, moves)
    assert apart[0] - apart[1] == pytest.approx(4.0 * (rounded[0] - rounded[1]), rel=1e-5)
    assert apart[0] + apart[1] == pytest.approx(rounded[0] + rounded[1], abs=1e-6)
    assert apart[2] == pytest.approx(rounded[2])


def test_the_jaw_opens_the_mouth(controls: ControlMap, model: LandmarkModel) -> None:
    rest = np.zeros(40, np.float32)
    opened = model.landmarks(rest + controls.offset({"jawOpen": 1.0}, rest))
    assert landmarks68.mouth_openness(opened) > landmarks68.mouth_openness(model.landmarks(rest)) + 0.1


def test_every_control_is_described_and_every_side_named(controls: ControlMap) -> None:
    listed = control_fit.control_list()
    assert {control.name for control in listed} == {*controls.names, "headYaw", "headPitch", "headRoll"}
    assert all(control.description and control.minimum < control.maximum for control in listed)
    assert all("left" in c.description for c in listed if c.name.endswith("Left"))
