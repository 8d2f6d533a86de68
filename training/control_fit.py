# SPDX-License-Identifier: GPL-3.0-or-later
"""Fitting the controls: ARKit-named directions and head angles in param space, from the known values of the heads."""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lpmm_runtime.controls import HEAD_CONTROLS, Control, ControlMap, head_features
from lpmm_runtime.landmarks68 import mirror_order
from lpmm_runtime.mirroring import mirrored_control
from lpmm_runtime.morphable import LandmarkModel
from training.landmark_model import LandmarkSet, shape_only
from training.slider_motions import control_names
from training.synth.facekit import FaceKit
from training.synth.head import LandmarkSampler
from training.synth.motion import CONTROL_POSES, Motion
from training.synth.people import Person

Array = NDArray[np.float32]

_HEAD_RANGE = {"headYaw": 35.0, "headPitch": 20.0, "headRoll": 25.0}
_HEAD_TEXT = {
    "headYaw": "Turns the head: positive moves the nose toward the picture's right, in degrees",
    "headPitch": "Nods the head: positive looks up, in degrees",
    "headRoll": "Tilts the head: positive is clockwise as seen, in degrees",
}
_TEXT = {
    "eyeBlink": "Closes the {side} eye",
    "eyeWide": "Opens the {side} eye wide",
    "eyeSquint": "Narrows the {side} eye and lifts the cheek",
    "eyeLookIn": "Turns the {side} eye toward the nose",
    "eyeLookOut": "Turns the {side} eye away from the nose",
    "eyeLookUp": "Turns the {side} eye up; its upper lid follows",
    "eyeLookDown": "Turns the {side} eye down; its upper lid follows",
    "browInnerUp": "Raises the inner ends of both brows",
    "browDown": "Lowers the {side} brow",
    "browOuterUp": "Raises the outer end of the {side} brow",
    "jawOpen": "Opens the mouth by dropping the jaw",
    "jaw": "Moves the jaw to the {side}",
    "mouthSmile": "Pulls the {side} corner of the mouth up and aside",
    "mouthFrown": "Pulls the {side} corner of the mouth down",
    "mouthStretch": "Pulls the {side} corner of the mouth sideways",
    "mouth": "Moves the whole mouth to the {side}",
    "mouthPucker": "Purses the lips as for a kiss",
    "mouthFunnel": "Opens the lips into a funnel, as for an O",
    "mouthUpperUp": "Raises the upper lip",
    "mouthLowerDown": "Lowers the lower lip and shows the lower teeth",
    "mouthPress": "Presses the lips together",
    "mouthShrugLower": "Pushes the lower lip and the chin up",
    "noseSneer": "Lifts the wings of the nose and the upper lip, and draws the brows together a little",
}
# A polynomial of the third degree in the three angles, without a constant.
_EXPONENTS = np.array([powers for powers in product(range(4), repeat=3) if 0 < sum(powers) <= 3])
_RIDGE = 1e-3
# How many times what tells left from right may be enlarged.
_MOST_APART = 5.0


def control_list(names: tuple[str, ...] = tuple(CONTROL_POSES)) -> tuple[Control, ...]:
    """Return the head's controls and those of `names` as the animator sees them: the head, then the face by groups."""
    controls = [Control(name, "head", -limit, limit, _HEAD_TEXT[name]) for name, limit in _HEAD_RANGE.items()]
    for name in names:
        side = "left" if name.endswith("Left") else "right" if name.endswith("Right") else ""
        stem = name.removesuffix("Left").removesuffix("Right")
        group = "eyes" if stem.startswith("eye") else "brows" if stem.startswith("brow") else "mouth"
        text = _TEXT[stem].format(side=f"subject's {side}" if side else "")
        controls.append(Control(name, group, 0.0, 1.0, text))
    return tuple(controls)


def fit(kit: FaceKit, model: LandmarkModel, data: LandmarkSet, people: int, seed: int) -> ControlMap:
    """Return the control map of a landmark model.

    Args:
        data: landmarks in free motion; the head angles are read back from them.
        people: how many people the directions are averaged over.
    """
    sampler = LandmarkSampler(kit)
    names = control_names(model)
    directions = np.zeros((len(names), model.k), np.float64)
    moves = np.zeros((len(names), 2 * model.points), np.float64)
    angles, turned = [], []
    for number in tqdm(range(people), desc="controls", unit="person", mininterval=5):
        rng = np.random.default_rng([seed, 11, number])
        person = shape_only(kit, rng)
        lens = float(rng.uniform(10, 38))

        def points(motion: Motion, person: Person = person, lens: float = lens) -> Array:
            return sampler.aligned_points(person, motion, lens)[: model.points]

        still = points(Motion())
        rest = model.params(still)
        for row, name in enumerate(names):
            moved = points(Motion(controls={name: 1.0}))
            moves[row] += (moved - still).reshape(-1) / people
            directions[row] += (model.params(moved) - rest) / people
        for _ in range(24):
            yaw, pitch, roll = (float(rng.uniform(-limit, limit)) for limit in (50, 28, 35))
            angles.append((yaw, pitch, roll))
            turned.append(model.params(points(Motion(yaw, pitch, roll))) - rest)
    terms = np.prod((np.array(angles)[:, None, :] / 30.0) ** _EXPONENTS, axis=-1)
    coefficients = np.linalg.lstsq(terms, np.array(turned), rcond=None)[0]
    return ControlMap(
        names=names,
        directions=told_apart(model, names, directions, moves).astype(np.float32),
        moves=_symmetric(names, moves.reshape(len(names), -1, 2)).astype(np.float32),
        head_exponents=_EXPONENTS,
        head_coefficients=coefficients.astype(np.float32),
        head_readout=_fit_readout(model, data),
    )


def told_apart(
    model: LandmarkModel, names: tuple[str, ...], directions: NDArray[np.float64], moves: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the directions [c, k] with what tells left from right enlarged where the model rounds it off.

    Few params say little of which brow frowns, and a control would move both. D can learn to tell the two apart all
    the same, if their directions differ well enough.

    Args:
        moves: [c, 2·points], what the controls do to landmarks.
    """
    apart = directions.copy()
    for row, name in enumerate(names):
        other = names.index(mirrored_control(name))
        if row < other:
            half = 0.5 * (directions[row] - directions[other])
            kept = np.linalg.norm((2.0 * half * model.sigma) @ model.eigenvectors)
            share = kept / max(float(np.linalg.norm(moves[row] - moves[other])), 1e-9)
            gain = float(np.clip(share**-2.0, 1.0, _MOST_APART)) - 1.0 if share > 0 else 0.0
            apart[row] += gain * half
            apart[other] -= gain * half
    return apart


def _symmetric(names: tuple[str, ...], moves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return moves [c, 2·points] of which a control's mirror image makes the mirror image; given [c, points, 2]."""
    others = [names.index(mirrored_control(name)) for name in names]
    mirrored = moves[others][:, mirror_order(moves.shape[1])] * (-1.0, 1.0)
    return (0.5 * (moves + mirrored)).reshape(len(names), -1)


def _fit_readout(model: LandmarkModel, data: LandmarkSet) -> Array:
    features = head_features(model.params(data.landmarks)).astype(np.float64)
    gram = features.T @ features + _RIDGE * len(features) * np.eye(features.shape[1])
    return np.linalg.solve(gram, features.T @ data.angles).astype(np.float32)


def check(controls: ControlMap, model: LandmarkModel, data: LandmarkSet) -> dict[str, float]:
    """Return the mean absolute error, in degrees, of the head angles read back from free motion."""
    read = controls.head_angles(model.params(data.landmarks))
    error = np.abs(read - data.angles).mean(axis=0)
    return {name: float(value) for name, value in zip(HEAD_CONTROLS, error, strict=True)}
