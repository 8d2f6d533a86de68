# SPDX-License-Identifier: GPL-3.0-or-later
"""Faces as a rig poses them: a start such as a photo has, and what sliders and a turn of the head make of it.

People rarely wink or smile with one corner; animators do it all the time. D and the controls learn from these that
left and right are two things, and that the crop follows a dropped jaw though the head did not move.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lpmm_runtime import landmarks68
from lpmm_runtime.mirroring import mirrored_control
from lpmm_runtime.morphable import LandmarkModel
from training.landmark_model import MOTIONS, shape_only
from training.synth.canonical import CanonicalFrame
from training.synth.facekit import FaceKit
from training.synth.head import LandmarkSampler
from training.synth.motion import CONTROL_POSES, GAZE_CONTROLS, GAZES_TOGETHER, Motion, sample_expression

Array = NDArray[np.float32]

# How many motions leave the head as it was, close a lid, look somewhere; how many starts are an expression.
_STILL_CHANCE, _LID_CHANCE, _GAZE_CHANCE, _EXPRESSION_CHANCE = 0.5, 0.25, 0.4, 0.4
_TURN_REACH = (35.0, 20.0, 25.0)
_LIDS, _LIDS_AT_REST = ("eyeBlinkLeft", "eyeBlinkRight"), 0.08


@dataclass(frozen=True)
class SliderMotions:
    """Groups of one person in one camera: a start, then what sliders make of it.

    Attributes:
        params: [g, MOTIONS, k], of the landmarks; latents: [g, MOTIONS, w].
        values: [g, MOTIONS, c], the linear controls' values, of which the start has none.
        turns: [g, MOTIONS, 3], degrees of yaw, pitch and roll beyond the start's.
    """

    params: Array
    latents: Array
    values: Array
    turns: Array

    def part(self, rows: slice) -> "SliderMotions":
        """Return some of the groups."""
        return SliderMotions(self.params[rows], self.latents[rows], self.values[rows], self.turns[rows])


def control_names(model: LandmarkModel) -> tuple[str, ...]:
    """Return the linear controls that a landmark model can say: gaze only with irises."""
    gaze = model.points > landmarks68.COUNT
    return tuple(name for name in CONTROL_POSES if gaze or name not in GAZE_CONTROLS)


def sample(
    kit: FaceKit, model: LandmarkModel, encode: Callable[[Array], Array], people: int, each: int, seed: int
) -> SliderMotions:
    """Return `each` groups of motions of `people` random people.

    Args:
        encode: takes canonical points [n, 70, 2] to latents [n, w].
    """
    sampler = LandmarkSampler(kit)
    frame = CanonicalFrame(sampler)
    names = control_names(model)
    params, canonical, values, turns = [], [], [], []
    for number in tqdm(range(people), desc="slider motions", unit="person", mininterval=5):
        rng = np.random.default_rng([seed, 19, number])
        person = shape_only(kit, rng)
        for _ in range(each):
            lens, beginning = float(rng.uniform(10, 38)), start(kit, rng)
            for moment in range(MOTIONS):
                posed = sliders(names, rng) if moment else {}
                further = turn(rng)
                further = further if moment and rng.random() > _STILL_CHANCE else [0.0, 0.0, 0.0]
                motion = added(beginning, posed, further)
                points = sampler.aligned_points(person, motion, lens)
                params.append(model.params(points[: model.points]))
                canonical.append(frame.points(motion))
                values.append([posed.get(name, 0.0) for name in names])
                turns.append(further)
    columns = np.stack(params), encode(np.stack(canonical)), np.array(values), np.array(turns)
    return SliderMotions(*(part.reshape(-1, MOTIONS, part.shape[-1]).astype(np.float32) for part in columns))


def turn(rng: np.random.Generator) -> list[float]:
    """Return a turn of the head: degrees of yaw, pitch and roll."""
    return [float(rng.uniform(-reach, reach)) for reach in _TURN_REACH]


def start(kit: FaceKit, rng: np.random.Generator) -> Motion:
    """Return a motion that a portrait may show: a pose of the head, often an expression, open eyes."""
    yaw, pitch, roll = (float(rng.normal(0, sd)) for sd in (14, 7, 7)) if rng.random() < 0.7 else (0.0, 0.0, 0.0)
    shown = sample_expression(rng, kit.expression_presets) if rng.random() < _EXPRESSION_CHANCE else Motion()
    # Open eyes: narrow ones must not be taken for half shut, or a blink would close them by half.
    lids = float(rng.uniform(0.0, _LIDS_AT_REST))
    return replace(shown, yaw=yaw, pitch=pitch, roll=roll, controls=shown.controls | dict.fromkeys(_LIDS, lids))


def added(beginning: Motion, posed: dict[str, float], further: list[float]) -> Motion:
    """Return a start with sliders `posed` and the head turned `further`: a smile widens, a shut eye shuts no more."""
    controls = dict(beginning.controls)
    for name, value in posed.items():
        already = controls.get(name, 0.0)
        left = max(0.0, 1.0 - already) if name in _LIDS else 1.0
        controls[name] = already + value * left
    yaw, pitch, roll = (
        angle + more for angle, more in zip((beginning.yaw, beginning.pitch, beginning.roll), further, strict=True)
    )
    return replace(beginning, yaw=yaw, pitch=pitch, roll=roll, controls=controls)


def sliders(names: tuple[str, ...], rng: np.random.Generator) -> dict[str, float]:
    """Return the values of a few sliders, one in two with its counterpart on the other side."""
    gaze = any(name in GAZE_CONTROLS for name in names)
    faces = [name for name in names if name not in GAZE_CONTROLS]
    values: dict[str, float] = {}
    for name in rng.choice(faces, int(rng.integers(1, 4)), replace=False):
        value = 1.0 if rng.random() < 0.4 else float(rng.random())
        values[str(name)] = value
        if rng.random() < 0.5:
            values[mirrored_control(str(name))] = value
    for name in _LIDS:
        if rng.random() < _LID_CHANCE:
            values[name] = 1.0 if rng.random() < 0.6 else float(rng.random())
    return values | (_gaze(rng) if gaze and rng.random() < _GAZE_CHANCE else {})


def _gaze(rng: np.random.Generator) -> dict[str, float]:
    """Return gaze controls of both eyes together, or, one time in two, of one eye: or D would move both."""
    values: dict[str, float] = {}
    alone = rng.random()
    for ways in (GAZES_TOGETHER[:2], GAZES_TOGETHER[2:]):
        if rng.random() < 0.7:
            left, right = ways[int(rng.integers(2))]
            value = 1.0 if rng.random() < 0.25 else float(rng.random())
            values |= {left: value} if alone >= 0.25 else {}
            values |= {right: value} if alone < 0.75 else {}
    return values
