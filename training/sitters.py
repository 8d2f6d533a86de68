# SPDX-License-Identifier: GPL-3.0-or-later
"""People who sit for a calibration: training people before a fixed camera, rendered in any motion."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lpmm_runtime.face_finding import Box
from training.synth.backdrops import plain_room
from training.synth.facekit import FaceKit
from training.synth.head import Camera, LandmarkSampler, crop_camera, frontal_camera, pose_head, project_landmarks
from training.synth.motion import Motion
from training.synth.people import Person, sample_person
from training.synth.renderer import Renderer, Stage
from training.synth.stage import even_lighting

Pixels = NDArray[np.uint8]

REST = Motion(controls={"eyeBlinkLeft": 0.05, "eyeBlinkRight": 0.05})
_SIDE, _MARGIN, _VIEW = 448, 1.35, 16.0


@dataclass(frozen=True, eq=False)
class Sitter:
    """One person, room and camera."""

    kit: FaceKit
    renderer: Renderer
    sampler: LandmarkSampler
    person: Person
    room: Pixels
    camera: Camera

    def render(self, motion: Motion) -> tuple[Pixels, Box]:
        """Return a picture [448, 448, 3] uint8 RGB and the box of its landmarks, pixels."""
        head = pose_head(self.kit, self.kit.body, self.kit.rig, self.person, motion)
        picture, _ = self.renderer.render(self.person, head, Stage(self.camera, even_lighting(), self.room))
        landmarks = _SIDE * project_landmarks(self.sampler.points(self.person, motion), self.camera)[0]
        low, high = landmarks.min(axis=0).tolist(), landmarks.max(axis=0).tolist()
        return np.ascontiguousarray(picture[..., :3]), (low[0], low[1], high[0], high[1])


def sitters(kit: FaceKit, people: int, seed: int, what: str) -> Iterator[Sitter]:
    """Give `people` training people, one after the other; `what` names the progress."""
    renderer, sampler = Renderer(kit, _SIDE, supersampling=2), LandmarkSampler(kit)
    for number in tqdm(range(people), desc=what, unit="person"):
        rng = np.random.default_rng([seed, 37, number])
        person = sample_person(kit, rng, "train")
        room = plain_room(rng)
        points = sampler.points(person, REST)
        camera = frontal_camera(points.middle, _VIEW)
        camera = crop_camera(camera, project_landmarks(points, camera)[0], _MARGIN)
        yield Sitter(kit, renderer, sampler, person, room, camera)
