# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulling at an iris: both eyes turn to one side and height, by gaze controls alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gaze_bundle import MOVES, write_gaze_bundle
from numpy.typing import NDArray
from tiny_bundle import IRIS_SCHEME, K, write_tiny_bundle

from lpmm_runtime.bundle import Bundle, load_bundle
from lpmm_runtime.conjugate_gaze import GAZE_CONTROLS
from lpmm_runtime.face_handles import HANDLES, Pull, handle_place, handles_of
from lpmm_runtime.frame import RigModel
from lpmm_runtime.landmark_drag import Pose, placed_landmarks, solve_pulls
from lpmm_runtime.landmarks68 import IRISES
from lpmm_runtime.presets import Preset

GAZES = ("Gaze Right", "Gaze Left")
OPPOSITES = [
    (f"eyeLook{one}{side}", f"eyeLook{other}{side}")
    for side in ("Left", "Right")
    for one, other in (("In", "Out"), ("Up", "Down"))
]
# Of the crop's side: a twentieth of a pixel of 256.
EXACT = 0.0002


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> RigModel:
    return load_bundle(write_gaze_bundle(tmp_path_factory.mktemp("gaze") / "gaze")).rig


def posed(presets: tuple[tuple[Preset, float], ...] = (), **controls: float) -> Pose:
    return Pose(np.zeros(K), controls, {}, presets)


def pulled(rig: RigModel, pose: Pose, name: str, by: tuple[float, float]) -> tuple[dict[str, float], NDArray]:
    """Return all gaze controls after a pull, and where the irises end relative to where they began."""
    before = placed_landmarks(rig, pose)
    place = handle_place(before, HANDLES[name])
    values = solve_pulls(rig, pose, [Pull(HANDLES[name], (place[0] + by[0], place[1] + by[1]))])
    assert set(values) <= set(GAZE_CONTROLS)
    controls = {**pose.controls, **values}
    after = placed_landmarks(rig, Pose(pose.base, controls, pose.raw, pose.presets))
    return {control: controls.get(control, 0.0) for control in GAZE_CONTROLS}, (after - before)[IRISES]


def moved(values: dict[str, float]) -> set[str]:
    return {name for name, value in values.items() if value > 0.01}


def test_the_gaze_controls_are_those_of_the_bundle() -> None:
    assert sorted(GAZE_CONTROLS) == sorted(MOVES)


@pytest.mark.parametrize("name", GAZES)
@pytest.mark.parametrize(
    ("by", "first", "second"),
    [
        ((0.008, 0.0), "eyeLookOutLeft", "eyeLookInRight"),
        ((-0.008, 0.0), "eyeLookInLeft", "eyeLookOutRight"),
        ((0.0, -0.005), "eyeLookUpLeft", "eyeLookUpRight"),
        ((0.0, 0.005), "eyeLookDownLeft", "eyeLookDownRight"),
    ],
)
def test_either_iris_turns_both_eyes_the_same_way(
    rig: RigModel, name: str, by: tuple[float, float], first: str, second: str
) -> None:
    values, ends = pulled(rig, posed(), name, by)
    assert moved(values) == {first, second}
    assert values[first] == values[second] > 0.3
    assert np.abs(ends[GAZES.index(name)] - by).max() < EXACT
    assert np.all(ends @ by > 0)


def test_a_slanting_pull_turns_to_the_side_and_in_height(rig: RigModel) -> None:
    values, ends = pulled(rig, posed(), "Gaze Left", (-0.01, -0.004))
    assert moved(values) == {"eyeLookInLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight"}
    assert np.abs(ends[1] - (-0.01, -0.004)).max() < EXACT


@pytest.mark.parametrize("name", GAZES)
def test_looking_the_other_way_goes_back_through_the_middle(rig: RigModel, name: str) -> None:
    left = posed(eyeLookOutLeft=0.5, eyeLookInRight=0.5, eyeLookUpLeft=0.4, eyeLookUpRight=0.4)
    some, _ = pulled(rig, left, name, (-0.004, 0.002))
    assert moved(some) == {"eyeLookOutLeft", "eyeLookInRight", "eyeLookUpLeft", "eyeLookUpRight"}
    assert some["eyeLookOutLeft"] == pytest.approx(some["eyeLookInRight"]) and some["eyeLookOutLeft"] < 0.5
    more, ends = pulled(rig, left, name, (-0.016, 0.009))
    assert moved(more) == {"eyeLookInLeft", "eyeLookOutRight", "eyeLookDownLeft", "eyeLookDownRight"}
    assert np.abs(ends[GAZES.index(name)] - (-0.016, 0.009)).max() < EXACT


@pytest.mark.parametrize("name", GAZES)
def test_eyes_that_are_wanted_too_far_aside_neither_rise_nor_sink(rig: RigModel, name: str) -> None:
    # A gaze whose way down leads a little to the side, as that of a real bundle does.
    aside = np.array((0, 0, 0, 0, 0, 0, 0.03, 0.03)) * rig.model.sigma @ rig.model.eigenvectors
    moves = rig.controls.moves.copy()
    for control in ("eyeLookDownLeft", "eyeLookDownRight"):
        moves[rig.controls.names.index(control)] += aside
    bent = replace(rig, controls=replace(rig.controls, moves=moves))
    for y in (0.0, -0.004):
        values, ends = pulled(bent, posed(), name, (0.2, y))
        assert values["eyeLookOutLeft"] == values["eyeLookInRight"] == 1.0
        assert abs(ends[GAZES.index(name), 1] - y) < EXACT


@pytest.mark.parametrize("name", GAZES)
@pytest.mark.parametrize("by", [(0.5, 0.0), (-0.5, 0.0), (0.3, 0.4), (-0.2, -0.5)])
@pytest.mark.parametrize("start", [0.0, 0.6, 1.0])
def test_eyes_turn_no_further_than_their_range_and_never_both_ways(
    rig: RigModel, name: str, by: tuple[float, float], start: float
) -> None:
    values, _ = pulled(rig, posed(eyeLookInLeft=start, eyeLookOutRight=start, eyeLookDownLeft=start), name, by)
    assert all(0.0 <= value <= 1.0 for value in values.values())
    assert not [pair for pair in OPPOSITES if values[pair[0]] and values[pair[1]]]
    onward = ("eyeLookOutLeft", "eyeLookInRight") if by[0] > 0 else ("eyeLookInLeft", "eyeLookOutRight")
    assert [values[control] for control in onward] == pytest.approx([1.0, 1.0])


def test_parted_eyes_stay_parted_by_as_much(rig: RigModel) -> None:
    values, _ = pulled(rig, posed(eyeLookInLeft=0.3, eyeLookInRight=0.1), "Gaze Right", (0.008, 0.0))
    turned = values["eyeLookInRight"] - 0.1
    assert turned > 0.3
    assert values["eyeLookOutLeft"] - values["eyeLookInLeft"] == pytest.approx(turned - 0.3)


def test_sliders_that_turn_an_eye_both_ways_are_set_right_by_a_pull(rig: RigModel) -> None:
    both = posed(eyeLookInLeft=0.3, eyeLookOutLeft=0.5)
    values, ends = pulled(rig, both, "Gaze Left", (0.004, 0.0))
    assert values["eyeLookInLeft"] == 0.0
    assert np.abs(ends[1] - (0.004, 0.0)).max() < EXACT


@pytest.mark.parametrize("name", GAZES)
def test_an_iris_that_is_not_moved_changes_nothing(rig: RigModel, name: str) -> None:
    for pose in (posed(), posed(eyeLookUpLeft=0.2), posed(eyeLookInLeft=0.3, eyeLookOutLeft=0.5)):
        place = handle_place(placed_landmarks(rig, pose), HANDLES[name])
        assert solve_pulls(rig, pose, [Pull(HANDLES[name], (place[0], place[1]))]) == {}


def test_an_iris_is_pulled_from_where_presets_and_the_head_have_it(rig: RigModel) -> None:
    preset = Preset("Look Left", {"eyeLookOutLeft": 0.8, "eyeLookInRight": 0.8}, {})
    pose = posed(((preset, 0.5),), headYaw=10.0, jawOpen=0.3)
    values, ends = pulled(rig, pose, "Gaze Left", (-0.012, 0.0))
    assert np.abs(ends[1] - (-0.012, 0.0)).max() < EXACT
    assert moved(values) >= {"eyeLookInLeft", "eyeLookOutRight"}


@pytest.mark.parametrize("name", ["Upper Eyelid Left", "Mouth Corner Right", "Head"])
def test_other_handles_leave_the_gaze_controls_alone(rig: RigModel, name: str) -> None:
    place = handle_place(placed_landmarks(rig, posed()), HANDLES[name])
    values = solve_pulls(rig, posed(), [Pull(HANDLES[name], (place[0], place[1] + 0.005))])
    assert values and not set(values) & set(GAZE_CONTROLS)


def test_only_a_bundle_with_irises_has_handles_on_them(rig: RigModel, bundle: Bundle) -> None:
    assert list(handles_of(rig)) == list(HANDLES)
    assert set(HANDLES) - set(handles_of(bundle.rig)) == set(GAZES)


def test_a_bundle_whose_eyes_turn_to_one_side_turns_them_there_alone(tmp_path: Path) -> None:
    some = load_bundle(write_tiny_bundle(tmp_path / "tiny", scheme=IRIS_SCHEME)).rig
    values, ends = pulled(some, posed(), "Gaze Right", (0.01, 0.004))
    assert moved(values) == {"eyeLookOutLeft", "eyeLookInRight"}
    assert abs(ends[0, 0] - 0.01) < EXACT
    values, _ = pulled(some, posed(), "Gaze Right", (-0.01, 0.0))
    assert moved(values) == set()
