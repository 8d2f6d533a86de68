# SPDX-License-Identifier: GPL-3.0-or-later
"""Synthetic people who truly do what controls say: what a reader makes of the truth, beside what a bundle shows.

A reader that sees a nod of 15° as one of 12°, or half a blink where eyes are shut, says so of these, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lpmm_runtime.controls import HEAD_CONTROLS, Control
from training.control_fit import control_list
from training.evaluation.independent_reader import Reader
from training.evaluation.subjects import READ_SIDE, Performer, Pixels
from training.slider_motions import added
from training.synth.backdrops import plain_room
from training.synth.facekit import FaceKit
from training.synth.head import LandmarkSampler, crop_camera, frontal_camera, pose_head, project_landmarks
from training.synth.motion import Motion
from training.synth.people import Person, sample_person
from training.synth.renderer import Renderer, Stage
from training.synth.stage import even_lighting

_RELAXED = Motion(controls={"eyeBlinkLeft": 0.05, "eyeBlinkRight": 0.05})
_VIEW = 16.0


@dataclass(eq=False)
class TrueHead(Performer):
    """A synthetic person, rendered anew in every pose."""

    name: str
    reader: Reader
    kit: FaceKit
    person: Person
    renderer: Renderer
    stage: Stage
    labelled: bool = False

    @property
    def controls(self) -> tuple[Control, ...]:
        """See `Performer.controls`."""
        return control_list()

    def crop(self, controls: Mapping[str, float]) -> Pixels:
        """See `Performer.crop`."""
        posed = {name: value for name, value in controls.items() if name not in HEAD_CONTROLS}
        motion = added(_RELAXED, posed, [controls.get(name, 0.0) for name in HEAD_CONTROLS])
        head = pose_head(self.kit, self.kit.body, self.kit.rig, self.person, motion)
        picture, _ = self.renderer.render(self.person, head, self.stage)
        return np.ascontiguousarray(picture[..., :3])


def true_heads(kit: Path, reader: Reader, people: int, seed: int) -> list[TrueHead]:
    """Return held-out people, bareheaded in soft light, each in the aligned crop of their face at rest.

    Raises:
        FileNotFoundError: if the kit is none.
    """
    parts = FaceKit(kit)
    renderer, sampler = Renderer(parts, READ_SIDE, supersampling=2), LandmarkSampler(parts)
    heads = []
    for number in range(people):
        rng = np.random.default_rng([seed, 41, number])
        person = replace(sample_person(parts, rng, "test"), headgear=None, glasses=None)
        points = sampler.points(person, _RELAXED)
        camera = frontal_camera(points.middle, _VIEW)
        camera = crop_camera(camera, project_landmarks(points, camera)[0], 1.0)
        stage = Stage(camera, even_lighting(), plain_room(rng))
        heads.append(TrueHead(f"true head {number + 1}", reader, parts, person, renderer, stage))
    return heads
