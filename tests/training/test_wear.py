# SPDX-License-Identifier: GPL-3.0-or-later
"""What synthetic people wear: it covers what it should, leaves the face free, and turns with the head."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from training.synth.facekit import FaceKit
from training.synth.head import LandmarkSampler, crop_camera, frontal_camera, pose_head, project_landmarks
from training.synth.motion import Motion
from training.synth.people import Person, mean_person
from training.synth.renderer import LAYERS, Renderer
from training.synth.wear import Glasses, GlassesMesh, Headgear

SIZE = 96
HAT = Headgear("hat", 0.3, 0.3, 0.0, 0.08, 0.1, (0.3, 0.1, 0.1), (0.0, 1.0, 0.0), brim=0.4, visor=False)
HOOD = Headgear("hood", -0.28, 0.66, 0.95, 0.1, 0.0, (0.3, 0.1, 0.1), (0.0, 1.0, 0.0))
FRAMES = Glasses(0.24, 0.17, 3.0, 0.02, 0.03, (0.01, 0.01, 0.01), 0.2, (0.5, 0.5, 0.5), 0.05)


@pytest.fixture(scope="module")
def renderer(loaded_toy_kit: FaceKit) -> Renderer:
    return Renderer(loaded_toy_kit, size=SIZE)


def _layers(renderer: Renderer, person: Person) -> tuple[NDArray[np.floating], NDArray[np.integer]]:
    """Return the layers [s, s] of a person's crop and the landmarks in its pixels."""
    kit = renderer.kit
    points = LandmarkSampler(kit).points(person, Motion())
    camera = frontal_camera(points.middle, 12.0)
    camera = crop_camera(camera, project_landmarks(points, camera)[0])
    meshes = renderer._place(person, pose_head(kit, kit.body, kit.rig, person, Motion()))
    landmarks = project_landmarks(points, camera)[0]
    return renderer.motion(meshes, meshes, camera, camera)[..., 3], np.rint(landmarks * SIZE).astype(int)


@pytest.mark.parametrize("gear", [HAT, HOOD], ids=["hat", "hood"])
def test_headgear_covers_the_crown_and_leaves_the_face_free(renderer: Renderer, gear: Headgear) -> None:
    bare, marks = _layers(renderer, mean_person())
    worn, _ = _layers(renderer, replace(mean_person(), headgear=gear))
    crown = np.flatnonzero((bare > 0).any(axis=1))[0] + 3
    assert worn[crown, marks[27, 0]] == LAYERS["hair"]
    for point in (27, 30, 33, 36, 45, 48, 54, 57):
        column, row = marks[point]
        assert worn[row, column] == bare[row, column]


def test_glasses_sit_before_the_eyes_of_any_head(loaded_toy_kit: FaceKit) -> None:
    frames, lenses = GlassesMesh(loaded_toy_kit).place(FRAMES, loaded_toy_kit.body.base)
    marks = LandmarkSampler(loaded_toy_kit).points(replace(mean_person(), morphs={}), Motion()).fixed
    half = len(lenses) // 2
    for lens, eye in ((lenses[:half], marks[36:42]), (lenses[half:], marks[42:48])):
        assert (lens.min(axis=0) < eye.mean(axis=0))[:2].all() and (lens.max(axis=0) > eye.mean(axis=0))[:2].all()
        assert lens[-1, 2] > eye[:, 2].max()
    # The temples reach the ears.
    assert frames[:, 2].min() < marks[0, 2]
