# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirrored poses: names, signs, and params through mirrored landmarks."""

import numpy as np
import pytest

from lpmm_runtime.bundle import DEFAULT_BUNDLE, load_bundle
from lpmm_runtime.landmarks68 import mirror
from lpmm_runtime.mirroring import mirror_controls, mirror_offsets, mirrored_control
from lpmm_runtime.morphable import LandmarkModel


@pytest.fixture(scope="module")
def model() -> LandmarkModel:
    return load_bundle(DEFAULT_BUNDLE).rig.model


def test_sides_are_swapped_and_the_head_turns_the_other_way() -> None:
    values = {
        "eyeBlinkLeft": 0.8,
        "eyeBlinkRight": 0.1,
        "headYaw": 20.0,
        "headRoll": -5.0,
        "headPitch": 7.0,
        "jawOpen": 0.4,
    }
    assert mirror_controls(values) == {
        "eyeBlinkLeft": 0.1,
        "eyeBlinkRight": 0.8,
        "headYaw": -20.0,
        "headRoll": 5.0,
        "headPitch": 7.0,
        "jawOpen": 0.4,
    }
    assert mirrored_control("jawLeft") == "jawRight"


def test_mirrored_params_put_the_landmarks_where_the_mirror_does(model: LandmarkModel) -> None:
    offsets = np.zeros(model.k)
    offsets[:12] = np.random.default_rng(3).normal(size=12)
    displaced = model.landmarks(offsets) - model.landmarks(np.zeros(model.k))
    expected = mirror(displaced, 0.0)
    found = model.landmarks(mirror_offsets(model, offsets)) - model.landmarks(np.zeros(model.k))
    assert np.abs(found - expected).max() < 0.002  # of the crop's side: less than half a pixel of 256
    assert np.abs(displaced - expected).max() > 0.02


def test_mirroring_twice_is_the_pose_itself(model: LandmarkModel) -> None:
    offsets = np.zeros(model.k)
    offsets[:12] = np.random.default_rng(4).normal(size=12)
    again = mirror_offsets(model, mirror_offsets(model, offsets))
    assert np.abs(model.landmarks(again) - model.landmarks(offsets)).max() < 0.002


def test_the_mirror_agrees_with_the_sided_controls(model: LandmarkModel) -> None:
    controls = load_bundle(DEFAULT_BUNDLE).rig.controls
    direction = dict(zip(controls.names, controls.directions, strict=True))
    for left in (name for name in direction if name.endswith("Left")):
        mirrored = mirror_offsets(model, direction[left]) * model.sigma
        to_right, to_left = (direction[name] * model.sigma for name in (mirrored_control(left), left))
        assert np.linalg.norm(mirrored - to_right) < np.linalg.norm(mirrored - to_left), left
