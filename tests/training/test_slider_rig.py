# SPDX-License-Identifier: GPL-3.0-or-later
"""D and the controls learn what sliders do: from true motions, as the rig will add them, the same left and right."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lpmm_runtime.controls import HEAD_CONTROLS, ControlMap
from lpmm_runtime.landmarks68 import mirror_order
from lpmm_runtime.mirroring import mirror_offsets, mirrored_control
from lpmm_runtime.morphable import LandmarkModel
from training import control_fit, landmark_model, slider_motions
from training.adaptor_data import both_ways, measured
from training.backbones.portrait_flow import LatentSpace
from training.loop import Schedule
from training.lp_adaptor import LpAdaptor
from training.mirrored import MirroredAdaptor
from training.slider_motions import SliderMotions
from training.slider_rig import SliderBatch, SliderRig, evaluate, train
from training.synth.facekit import FaceKit
from training.synth.motion import Motion

K, W = 24, 16


@pytest.fixture(scope="module")
def known(loaded_toy_kit: FaceKit) -> landmark_model.LandmarkSet:
    return landmark_model.sample_landmarks(loaded_toy_kit, 60, 1, "train")


@pytest.fixture(scope="module")
def model(known: landmark_model.LandmarkSet) -> LandmarkModel:
    return landmark_model.fit(known.landmarks, K)


@pytest.fixture(scope="module")
def space(known: landmark_model.LandmarkSet) -> LatentSpace:
    return LatentSpace.fit(known.canonical, W)


@pytest.fixture(scope="module")
def motions(loaded_toy_kit: FaceKit, model: LandmarkModel, space: LatentSpace) -> SliderMotions:
    return slider_motions.sample(loaded_toy_kit, model, space.encode, 40, 2, 1)


@pytest.fixture(scope="module")
def fitted(loaded_toy_kit: FaceKit, model: LandmarkModel, known: landmark_model.LandmarkSet) -> ControlMap:
    return control_fit.fit(loaded_toy_kit, model, known, people=8, seed=1)


def new_rig(model: LandmarkModel, space: LatentSpace, fitted: ControlMap) -> SliderRig:
    torch.manual_seed(0)
    mirror = mirror_offsets(model, np.eye(model.k)).astype(np.float32)
    adaptor = MirroredAdaptor(LpAdaptor(K, W, 64), torch.from_numpy(mirror), torch.from_numpy(space.mirror()))
    return SliderRig(adaptor, fitted)


def test_a_group_is_a_start_and_what_sliders_make_of_it(motions: SliderMotions, model: LandmarkModel) -> None:
    assert motions.params.shape == (80, landmark_model.MOTIONS, K)
    assert not motions.values[:, 0].any() and not motions.turns[:, 0].any()
    assert motions.values[:, 1:].any(axis=-1).all()
    assert motions.values.min() == 0.0 and motions.values.max() == 1.0
    still = ~motions.turns[:, 1:].any(axis=-1)
    assert 0.3 < still.mean() < 0.7
    names = slider_motions.control_names(model)
    blinks = motions.values[:, 1:, [names.index("eyeBlinkLeft"), names.index("eyeBlinkRight")]]
    # Winks, and both eyes at once.
    assert ((blinks[..., 0] > 0.9) & (blinks[..., 1] == 0)).any() and (blinks > 0.9).all(axis=-1).any()


def test_a_head_that_is_not_turned_keeps_its_place(loaded_toy_kit: FaceKit, model: LandmarkModel) -> None:
    moved = slider_motions.sample(loaded_toy_kit, model, lambda points: points.reshape(len(points), -1), 30, 2, 5)
    canonical = moved.latents.reshape(-1, landmark_model.MOTIONS, 70, 2)
    bridge = canonical[:, 1:, 27:30] - canonical[:, :1, 27:30]
    still = ~moved.turns[:, 1:].any(axis=-1)
    assert np.abs(bridge[still]).max() < 0.01
    assert np.abs(bridge[~still]).max() > 0.05


def test_a_smile_grows_wider_but_a_shut_eye_shuts_no_further() -> None:
    start = Motion(yaw=5.0, controls={"eyeBlinkLeft": 0.4, "mouthSmileLeft": 0.5})
    sliders = {"eyeBlinkLeft": 0.5, "mouthSmileLeft": 1.0, "mouthPucker": 0.3}
    added = slider_motions.added(start, sliders, [2.0, 1.0, -1.0])
    assert added.controls == pytest.approx({"eyeBlinkLeft": 0.7, "mouthSmileLeft": 1.5, "mouthPucker": 0.3})
    assert (added.yaw, added.pitch, added.roll) == (7.0, 1.0, -1.0)


def test_sliders_are_added_as_the_runtime_adds_them(
    model: LandmarkModel, space: LatentSpace, fitted: ControlMap, motions: SliderMotions
) -> None:
    rig = new_rig(model, space, fitted)
    controls = rig.controls(fitted)
    start, values, turn = motions.params[3, 0], motions.values[3, 1:2], np.array([[12.0, -4.0, 3.0]], np.float32)
    nothing = torch.empty(0)
    tensors = [torch.from_numpy(part) for part in (controls.head_angles(start), values, turn)]
    angles, sliders, turns = tensors
    batch = SliderBatch(
        nothing, nothing, torch.from_numpy(start)[None], angles[None], sliders[None], turns[None], nothing
    )
    named = dict(zip(controls.names, values[0].tolist(), strict=True)) | dict(zip(HEAD_CONTROLS, turn[0], strict=True))
    moved = torch.from_numpy(start + controls.offset(named, start))[None]
    with torch.no_grad():
        expected = rig.adaptor(moved) - rig.adaptor(torch.from_numpy(start)[None])
        assert torch.allclose(rig.changes(batch)[:, 0], expected, atol=1e-4)


def test_controls_know_where_they_move_landmarks(fitted: ControlMap, model: LandmarkModel) -> None:
    moves = dict(zip(fitted.names, fitted.moves.reshape(len(fitted.names), -1, 2), strict=True))
    # Lids of the left eye fall onto each other, and nothing else of the face stirs.
    blink = moves["eyeBlinkLeft"]
    assert blink[[43, 44], 1].min() > 0.01 and np.abs(blink[[37, 38, 8, 33, 48, 54]]).max() < 0.004
    mirrored = moves["eyeBlinkRight"][mirror_order(model.points)] * (-1.0, 1.0)
    assert np.allclose(blink, mirrored, atol=1e-6)
    assert moves["jawOpen"][57, 1] - moves["jawOpen"][51, 1] > 0.03


def test_training_keeps_heads_still_and_sides_alike(
    model: LandmarkModel,
    space: LatentSpace,
    fitted: ControlMap,
    motions: SliderMotions,
    known: landmark_model.LandmarkSet,
    tmp_path: Path,
) -> None:
    rig = new_rig(model, space, fitted)
    mean, basis = torch.from_numpy(space.average(known.canonical)), measured(torch.from_numpy(space.basis))
    people = both_ways(motions.params[:-8], motions.latents[:-8], model, space)
    before = evaluate(rig, fitted, motions.part(slice(-8, None)), basis)
    schedule = Schedule(steps=250, batch=16, rate=2e-3, bf16=False)
    parts = motions.part(slice(None, -8)), motions.part(slice(-8, None))
    train(rig, fitted, mean, people, *parts, basis, schedule, tmp_path)
    after = evaluate(rig, fitted, parts[1], basis)
    assert after["off_still"] < 0.8 * before["off_still"]
    assert after["off_turned"] < 0.8 * before["off_turned"]
    controls = rig.controls(fitted)
    mirror = mirror_offsets(model, np.eye(model.k))
    for row, name in enumerate(controls.names):
        other = controls.directions[controls.names.index(mirrored_control(name))]
        assert np.allclose(controls.directions[row] @ mirror, other, atol=1e-3), name
    # Where a slider takes a face does not hang on how D is told of it.
    assert np.array_equal(controls.moves, fitted.moves) and not np.array_equal(controls.directions, fitted.directions)
    left, right = controls.head(np.array([20.0, 5.0, 8.0])), controls.head(np.array([-20.0, 5.0, -8.0]))
    assert np.allclose(left @ mirror, right, atol=1e-3)
