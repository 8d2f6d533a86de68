# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulling at landmarks: the arithmetic that turns a place in the picture into sliders."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lpmm_runtime.backbones import portrait_flow
from lpmm_runtime.bundle import DEFAULT_BUNDLE, load_bundle
from lpmm_runtime.channels import param_name
from lpmm_runtime.engine import Engine
from lpmm_runtime.face_handles import HANDLES, Handle, Pull, handle_place, handles_of
from lpmm_runtime.frame import RigModel, evaluate_params
from lpmm_runtime.landmark_drag import Pose, _bounded_step, placed_landmarks, solve_pulls
from lpmm_runtime.portrait import read_image
from lpmm_runtime.presets import Preset

# Of the crop's side: half a pixel of 256.
HALF_PIXEL = 0.002
PLACES = [name for name, handle in HANDLES.items() if not handle.together]


@pytest.fixture(scope="module")
def rig() -> RigModel:
    return load_bundle(DEFAULT_BUNDLE).rig


@pytest.fixture
def pose(rig: RigModel) -> Pose:
    base = np.zeros(rig.k, np.float32)
    base[:6] = (0.3, -0.1, 0.2, 0.1, -0.2, 0.15)
    return Pose(base, {}, {})


def moved(pose: Pose, values: dict[str, float]) -> Pose:
    """Return the pose with slider values written into it."""
    params = {name: value for name, value in values.items() if name[0] == "p" and name[1:].isdigit()}
    controls = {name: value for name, value in values.items() if name not in params}
    return replace(pose, controls={**pose.controls, **controls}, raw={**pose.raw, **params})


def pulled(rig: RigModel, pose: Pose, handle: Handle, by: tuple[float, float]) -> tuple[dict[str, float], NDArray]:
    """Return the sliders of a pull by (x, y), and where the handle ends relative to where it began."""
    before = handle_place(placed_landmarks(rig, pose), handle)
    values = solve_pulls(rig, pose, [Pull(handle, (before[0] + by[0], before[1] + by[1]))])
    return values, handle_place(placed_landmarks(rig, moved(pose, values)), handle) - before


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("by", [(0.0, 0.008), (0.003, -0.006)])
def test_a_handle_comes_to_where_it_is_pulled(rig: RigModel, pose: Pose, name: str, by: tuple[float, float]) -> None:
    _, end = pulled(rig, pose, HANDLES[name], by)
    assert np.abs(end - by).max() < HALF_PIXEL


@pytest.mark.parametrize("name", PLACES)
def test_a_handle_that_is_not_moved_changes_nothing(rig: RigModel, pose: Pose, name: str) -> None:
    values, _ = pulled(rig, pose, HANDLES[name], (0.0, 0.0))
    assert values == {}


@pytest.mark.parametrize(
    ("name", "by", "control"),
    [
        ("Upper Eyelid Left", (0.0, 0.015), "eyeBlinkLeft"),
        ("Upper Eyelid Right", (0.0, 0.015), "eyeBlinkRight"),
        ("Mouth Corner Left", (0.0, -0.02), "mouthSmileLeft"),
        ("Mouth Corner Right", (0.0, -0.02), "mouthSmileRight"),
        ("Jaw", (0.0, 0.05), "jawOpen"),
        ("Lower Lip", (0.0, 0.02), "mouthLowerDown"),
    ],
)
def test_the_control_that_is_meant_does_most(
    rig: RigModel, pose: Pose, name: str, by: tuple[float, float], control: str
) -> None:
    values, _ = pulled(rig, pose, HANDLES[name], by)
    assert values[control] > 0.3
    assert all(abs(value) <= values[control] + 0.3 for key, value in values.items() if not key[1:].isdigit())


@pytest.mark.parametrize(
    ("name", "by", "controls"),
    [
        ("Mouth Corner Left", (0.0, -0.03), {"mouthSmileLeft"}),
        ("Mouth Corner Left", (0.0, 0.015), {"mouthFrownLeft"}),
        ("Inner Brow Left", (0.0, 0.015), {"browDownLeft"}),
        ("Outer Brow Right", (0.0, -0.02), {"browOuterUpRight"}),
        ("Upper Eyelid Left", (0.0, 0.015), {"eyeBlinkLeft"}),
        ("Jaw", (0.0, 0.05), {"jawOpen"}),
    ],
)
def test_no_second_control_is_moved_to_undo_what_the_first_does(
    rig: RigModel, name: str, by: tuple[float, float], controls: set[str]
) -> None:
    values, _ = pulled(rig, Pose(np.zeros(rig.k, np.float32), {}, {}), HANDLES[name], by)
    assert {key for key, value in values.items() if not key[1:].isdigit() and abs(value) > 0.1} == controls


def test_handles_go_where_controls_are_seen_to_move_landmarks(rig: RigModel, pose: Pose) -> None:
    # Params of directions may say more to D than landmarks show.
    controls = replace(rig.controls, directions=np.zeros_like(rig.controls.directions))
    unsaid = replace(rig, controls=controls)
    for name in ("Mouth Corner Left", "Jaw", "Outer Brow Right"):
        assert pulled(unsaid, pose, HANDLES[name], (0.0, -0.01))[0] == pulled(rig, pose, HANDLES[name], (0.0, -0.01))[0]


@pytest.mark.parametrize("name", ["Upper Eyelid Left", "Mouth Corner Right", "Outer Brow Left", "Jaw"])
def test_the_rest_of_the_face_hardly_moves(rig: RigModel, pose: Pose, name: str) -> None:
    handle = HANDLES[name]
    values, end = pulled(rig, pose, handle, (0.0, 0.012))
    before, after = placed_landmarks(rig, pose), placed_landmarks(rig, moved(pose, values))
    outside = [index for index in range(68) if index not in handle.region]
    assert np.linalg.norm((after - before)[outside], axis=1).mean() < 0.35 * np.linalg.norm(end)


def test_the_head_follows_its_nose_with_head_angles_alone(rig: RigModel, pose: Pose) -> None:
    values, _ = pulled(rig, pose, HANDLES["Head"], (0.03, 0.0))
    assert set(values) <= {"headYaw", "headPitch"}
    assert 2.0 < values["headYaw"] < 6.0  # A head of this size turns its nose by 0.2 with 20°.
    values, _ = pulled(rig, pose, HANDLES["Head"], (0.0, -0.015))
    assert 1.0 < values["headPitch"] < 4.0


def test_controls_stay_in_their_natural_range(rig: RigModel, pose: Pose) -> None:
    ranges = {control.name: (control.minimum, control.maximum) for control in rig.control_list}
    for handle in handles_of(rig).values():
        for by in ((0.0, 0.1), (0.1, 0.0), (-0.1, -0.1)):
            values, _ = pulled(rig, pose, handle, by)
            for name, value in values.items():
                if name in ranges:
                    assert ranges[name][0] - 1e-6 <= value <= ranges[name][1] + 1e-6, (handle.name, name)
                else:
                    assert np.isfinite(value)


def test_without_coefficients_only_controls_are_moved(rig: RigModel, pose: Pose) -> None:
    handle = HANDLES["Outer Brow Left"]
    place = handle_place(placed_landmarks(rig, pose), handle)
    values = solve_pulls(rig, pose, [Pull(handle, (place[0], place[1] - 0.02))], params=False)
    assert not set(values) & {param_name(index) for index in range(rig.k)}


def test_two_sides_are_pulled_together(rig: RigModel, pose: Pose) -> None:
    handles = [HANDLES["Mouth Corner Left"], HANDLES["Mouth Corner Right"]]
    assert handles[0].mirrored == handles[1].name and HANDLES["Jaw"].mirrored == "Jaw"
    before = placed_landmarks(rig, pose)
    outward = (np.array((0.006, -0.012)), np.array((-0.006, -0.012)))
    targets = [handle_place(before, handle) + by for handle, by in zip(handles, outward, strict=True)]
    values = solve_pulls(rig, pose, [Pull(h, (t[0], t[1])) for h, t in zip(handles, targets, strict=True)])
    after = placed_landmarks(rig, moved(pose, values))
    for handle, target in zip(handles, targets, strict=True):
        assert np.abs(handle_place(after, handle) - target).max() < HALF_PIXEL


def test_a_drag_starts_from_the_sliders_and_presets_as_they_are(rig: RigModel, pose: Pose) -> None:
    preset = Preset("Grin", {"mouthSmileLeft": 0.5}, {"p05": 1.0})
    posed = replace(pose, controls={"headYaw": 12.0, "jawOpen": 0.3}, raw={"p07": 0.5}, presets=((preset, 0.6),))
    values, end = pulled(rig, posed, HANDLES["Mouth Corner Left"], (0.0, -0.006))
    assert np.abs(end - (0.0, -0.006)).max() < HALF_PIXEL
    assert not {"headYaw", "jawOpen"} & set(values)


def test_an_opening_mouth_does_not_move_the_eyes(rig: RigModel, pose: Pose) -> None:
    closed = placed_landmarks(rig, pose)
    opened = placed_landmarks(rig, replace(pose, controls={"jawOpen": 1.0}))
    assert np.linalg.norm((opened - closed)[36:48], axis=1).max() < 0.012
    assert (opened - closed)[8, 1] > 0.025  # The chin drops; in the aligned crop it would stay.


def test_a_bundle_without_a_control_does_it_with_coefficients(rig: RigModel, pose: Pose) -> None:
    fewer = replace(rig, control_list=tuple(control for control in rig.control_list if control.group == "head"))
    handle = HANDLES["Jaw"]
    values, end = pulled(fewer, pose, handle, (0.0, 0.01))
    assert np.abs(end - (0.0, 0.01)).max() < HALF_PIXEL
    assert all(name[1:].isdigit() for name in values)


# A jaw line is where the cheek ends for the eye, another place when the head turns.
_INNER = slice(17, 68)


@pytest.mark.parametrize(
    ("controls", "points", "share"),
    [
        ({"jawOpen": 1.0}, _INNER, 0.7),
        ({"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0}, _INNER, 0.7),
        # What one corner does, k params say less well than D knows it: the handle itself must go along.
        ({"mouthSmileLeft": 1.0}, slice(54, 55), 0.35),
        ({"headYaw": 20.0}, _INNER, 0.25),
        ({"headYaw": -20.0}, _INNER, 0.25),
        ({"headPitch": 12.0}, _INNER, 0.3),
        ({"headPitch": -12.0}, _INNER, 0.4),
    ],
    ids=str,
)
def test_handles_go_where_the_generator_draws_them(
    rig: RigModel, monkeypatch: pytest.MonkeyPatch, controls: dict[str, float], points: slice, share: float
) -> None:
    drawn: list[NDArray[np.float32]] = []
    draw_head = portrait_flow.draw_head

    def note(canvas: Any, source: Any, target: Any, *maps: Any) -> Any:
        drawn.append(target.copy())
        return draw_head(canvas, source, target, *maps)

    monkeypatch.setattr(portrait_flow, "draw_head", note)
    engine = Engine(load_bundle(DEFAULT_BUNDLE), "cpu", 1)
    character = engine.create_character(read_image(DEFAULT_BUNDLE.parents[1] / "portraits" / "ada.jpg"))
    placed = []
    for values in ({"eyeWideLeft": 1e-3}, controls):
        engine.render(character, evaluate_params(rig, character.params, values, {}), size=128)
        placed.append(placed_landmarks(rig, Pose(character.params, values, {})))
    seen, told = (drawn[1] - drawn[0])[points], (placed[1] - placed[0])[points]
    assert np.linalg.norm(told - seen, axis=1).mean() < share * np.linalg.norm(seen, axis=1).mean()


def test_a_bounded_step_is_the_best_there_is() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        count, rows = int(rng.integers(1, 9)), int(rng.integers(1, 30))
        jacobian, residual = rng.normal(size=(rows, count)), rng.normal(size=rows) * 3
        # Two that do nearly the same: all leave their bounds at first, and one must come back.
        jacobian[:, 0] = jacobian[:, -1] + 0.05 * rng.normal(size=rows)
        low, high = -rng.random(count) * (rng.random(count) < 0.6), rng.random(count)
        costs = np.full(count, 0.3)
        step = _bounded_step(jacobian, residual, np.zeros(count), costs, low, high)
        assert (step >= low).all() and (step <= high).all()
        # The sum of squares falls in no direction that the bounds leave open.
        slope = jacobian.T @ (jacobian @ step + residual) + costs**2 * step
        assert slope[step > low].max(initial=0.0) < 1e-6 and slope[step < high].min(initial=0.0) > -1e-6
