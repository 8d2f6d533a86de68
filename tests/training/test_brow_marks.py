# SPDX-License-Identifier: GPL-3.0-or-later
"""Brow landmarks lie on the brows that a picture shows."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from training.synth.facekit import FaceKit
from training.synth.head import LandmarkSampler, crop_camera, frontal_camera, pose_head, project_landmarks
from training.synth.motion import Motion
from training.synth.people import Person, Strands, mean_person
from training.synth.renderer import Renderer, Stage
from training.synth.stage import even_lighting

SIZE = 256


def _brows(kit: FaceKit) -> list[str]:
    return [name for name, proxy in kit.proxies.items() if proxy.kind == "eyebrows"]


def _wearing(name: str) -> Person:
    return replace(mean_person(), brows=Strands(name, name, (0.0, 0.0, 0.0), 0.4, density=3.0))


@pytest.mark.parametrize("motion", [Motion(), Motion(yaw=20.0, controls={"browInnerUp": 1.0})])
def test_brow_points_run_along_the_upper_edge_of_what_is_drawn(loaded_toy_kit: FaceKit, motion: Motion) -> None:
    kit, renderer, sampler = loaded_toy_kit, Renderer(loaded_toy_kit, SIZE, 2), LandmarkSampler(loaded_toy_kit)
    for name in _brows(kit)[:3]:
        person = _wearing(name)
        points = sampler.points(person, motion)
        camera = frontal_camera(points.middle, 12.0)
        camera = crop_camera(camera, project_landmarks(points, camera)[0], 0.6)
        stage = Stage(camera, even_lighting(), np.zeros((8, 8, 3), np.uint8))

        def drawn(worn: Person, stage: Stage = stage) -> NDArray[np.int64]:
            head = pose_head(kit, kit.body, kit.rig, worn, motion)
            return renderer.render(worn, head, stage)[0][..., :3].astype(np.int64)

        hair = np.abs(drawn(person) - drawn(replace(person, brows=None))).sum(axis=-1) > 40
        marks = SIZE * project_landmarks(points, camera)[0]
        for brow in (marks[17:22], marks[22:27]):
            columns = np.flatnonzero(hair[:, int(brow[0, 0]) - 8 : int(brow[-1, 0]) + 8].any(axis=0))
            ends = columns[[0, -1]] + int(brow[0, 0]) - 8
            assert np.abs(brow[[0, -1], 0] - ends).max() < 4.0
            for x, y in brow[1:4]:
                edge = np.flatnonzero(hair[:, int(x)])[0]
                assert abs(y - edge) < 3.5


def test_every_brow_has_points_of_its_own(loaded_toy_kit: FaceKit) -> None:
    sampler = LandmarkSampler(loaded_toy_kit)
    first, second = (sampler.points(_wearing(name), Motion()).fixed for name in _brows(loaded_toy_kit)[:2])
    eye = np.linalg.norm(first[36] - first[39])
    np.testing.assert_array_equal(np.delete(first, range(17, 27), 0), np.delete(second, range(17, 27), 0))
    assert np.linalg.norm(first[17:27] - second[17:27], axis=1).max() > 0.02 * eye


def test_without_brows_the_points_are_average_and_even_on_both_sides(loaded_toy_kit: FaceKit) -> None:
    sampler = LandmarkSampler(loaded_toy_kit)
    average = sampler.points(mean_person(), Motion()).fixed[17:27]
    each = [sampler.points(_wearing(name), Motion()).fixed[17:27] for name in _brows(loaded_toy_kit)]
    eye = np.linalg.norm(np.subtract(*sampler.points(mean_person(), Motion()).fixed[[36, 39]]))
    np.testing.assert_allclose(average[::-1] * [-1, 1, 1], average, atol=0.03 * eye)
    np.testing.assert_allclose(average, np.mean(each, axis=0), atol=0.1 * eye)
