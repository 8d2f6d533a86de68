# SPDX-License-Identifier: GPL-3.0-or-later
"""Fitting the controls: ARKit-named directions and head angles in param space, from the known values of the heads."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from lpmm_runtime import landmarks68
from lpmm_runtime.controls import HEAD_CONTROLS, Control, ControlMap, head_features
from lpmm_runtime.mirroring import mirrored_control
from lpmm_runtime.morphable import LandmarkModel
from training.landmark_model import MOTIONS, LandmarkSet, shape_only
from training.synth.canonical import CanonicalFrame
from training.synth.facekit import FaceKit
from training.synth.head import LandmarkSampler
from training.synth.motion import CONTROL_POSES, GAZE_CONTROLS, GAZES_TOGETHER, Motion
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
    "mouthSmile": "Pulls the {side} corner of the mouth up",
    "mouthFrown": "Pulls the {side} corner of the mouth down",
    "mouthStretch": "Pulls the {side} corner of the mouth sideways",
    "mouth": "Moves the whole mouth to the {side}",
    "mouthPucker": "Purses the lips as for a kiss",
    "mouthFunnel": "Opens the lips into a funnel, as for an O",
    "mouthUpperUp": "Raises the upper lip",
    "mouthLowerDown": "Lowers the lower lip and shows the lower teeth",
    "mouthPress": "Presses the lips together",
    "mouthShrugLower": "Pushes the lower lip and the chin up",
    "noseSneer": "Wrinkles the nose and draws the brows together",
}
# A polynomial of the third degree in the three angles, without a constant.
_EXPONENTS = np.array([powers for powers in product(range(4), repeat=3) if 0 < sum(powers) <= 3])
_RIDGE = 1e-3
# How many of the motions that sliders make look somewhere.
_GAZE_CHANCE = 0.4
# How many of them leave the head as it was.
_STILL_CHANCE = 0.5


def control_names(model: LandmarkModel) -> tuple[str, ...]:
    """Return the linear controls that a landmark model can say: gaze only with irises."""
    gaze = model.points > landmarks68.COUNT
    return tuple(name for name in CONTROL_POSES if gaze or name not in GAZE_CONTROLS)


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
    angles, turned = [], []
    for number in tqdm(range(people), desc="controls", unit="person", mininterval=5):
        rng = np.random.default_rng([seed, 11, number])
        person = shape_only(kit, rng)
        lens = float(rng.uniform(10, 38))

        def params(motion: Motion, person: Person = person, lens: float = lens) -> Array:
            return _params(model, sampler.aligned_points(person, motion, lens))

        rest = params(Motion())
        for row, name in enumerate(names):
            directions[row] += (params(Motion(controls={name: 1.0})) - rest) / people
        for _ in range(24):
            yaw, pitch, roll = (float(rng.uniform(-limit, limit)) for limit in (50, 28, 35))
            angles.append((yaw, pitch, roll))
            turned.append(params(Motion(yaw, pitch, roll)) - rest)
    terms = np.prod((np.array(angles)[:, None, :] / 30.0) ** _EXPONENTS, axis=-1)
    coefficients = np.linalg.lstsq(terms, np.array(turned), rcond=None)[0]
    return ControlMap(
        names=names,
        directions=directions.astype(np.float32),
        head_exponents=_EXPONENTS,
        head_coefficients=coefficients.astype(np.float32),
        head_readout=_fit_readout(model, data),
    )


@dataclass(frozen=True)
class KnownMotions:
    """What controls should do to pose latents, known from the kit.

    Attributes:
        bases: [m, k], params of people at some pose; latents: [m, w], theirs.
        mixes: [q, c], values of the linear controls: each alone, and the two of each pair together.
        moved: [m, q, w], the latents with each mix.
        still: [m, k], params of people at rest, facing the front; rest: [m, w], their latents.
        angles: [m, t, 3], head angles in degrees; turned: [m, t, w], the latents of those people turned so.
    """

    bases: Array
    latents: Array
    mixes: Array
    moved: Array
    still: Array
    rest: Array
    angles: Array
    turned: Array


def sample_motions(
    kit: FaceKit, model: LandmarkModel, encode: Callable[[Array], Array], people: int, turns: int, seed: int
) -> KnownMotions:
    """Return known motions of `people` random people; `encode` takes canonical points [n, 70, 2] to latents."""
    sampler = LandmarkSampler(kit)
    frame = CanonicalFrame(sampler)
    names = control_names(model)
    mixes = control_mixes(names)
    rows: list[tuple[Array, ...]] = []
    for number in tqdm(range(people), desc="known motions", unit="person", mininterval=5):
        rng = np.random.default_rng([seed, 13, number])
        person, lens = shape_only(kit, rng), float(rng.uniform(10, 38))
        lids = float(rng.uniform(0.0, 0.15))
        rest = Motion(controls={"eyeBlinkLeft": lids, "eyeBlinkRight": lids})
        pose = [float(rng.normal(0, sd)) for sd in (12, 6, 5)]
        base = replace(rest, yaw=pose[0], pitch=pose[1], roll=pose[2])
        motions = [rest, base]
        for mix in mixes:
            values = {name: float(value) for name, value in zip(names, mix, strict=True) if value}
            motions.append(replace(base, controls=base.controls | values))
        angles = np.array([[rng.uniform(-limit, limit) for limit in (40, 22, 28)] for _ in range(turns)])
        motions += [replace(rest, yaw=float(y), pitch=float(p), roll=float(r)) for y, p, r in angles]
        latents = encode(np.stack([frame.points(motion) for motion in motions]))
        moved, turned = latents[2 : 2 + len(mixes)], latents[2 + len(mixes) :]
        params = [_params(model, sampler.aligned_points(person, motion, lens)) for motion in (base, rest)]
        rows.append((params[0], latents[1], moved, params[1], latents[0], angles.astype(np.float32), turned))
    bases, origins, moves, still, front, turns_by, turned_to = (np.stack(column) for column in zip(*rows, strict=True))
    return KnownMotions(bases, origins, mixes, moves, still, front, turns_by, turned_to)


def sample_slider_motions(
    kit: FaceKit, model: LandmarkModel, encode: Callable[[Array], Array], people: int, each: int, seed: int
) -> tuple[Array, Array]:
    """Return params [n, k] and latents [n, w] of faces as sliders pose them.

    People rarely wink or smile with one corner; animators do it all the time. Each motion takes a few controls on
    their own, so that D learns to tell left from right. Half of the people hold their heads still for `MOTIONS` motions
    at a time: the crop follows a raised brow or a dropped jaw, and D must learn that the head did not move.
    """
    sampler = LandmarkSampler(kit)
    frame = CanonicalFrame(sampler)
    names = control_names(model)
    faces = tuple(name for name in names if name not in GAZE_CONTROLS)
    gaze = len(faces) < len(names)
    params, canonical = [], []
    for number in tqdm(range(people), desc="slider motions", unit="person", mininterval=5):
        rng = np.random.default_rng([seed, 19, number])
        person, lens = shape_only(kit, rng), float(rng.uniform(10, 38))
        for moment in range(each):
            if moment % MOTIONS == 0:
                still = rng.random() < _STILL_CHANCE
            if moment % MOTIONS == 0 or not still:
                lids = float(rng.uniform(0.0, 0.2))
                turn = [float(rng.normal(0, sd)) for sd in (14, 7, 7)] if rng.random() < 0.7 else [0.0, 0.0, 0.0]
            values = {"eyeBlinkLeft": lids, "eyeBlinkRight": lids}
            for name in rng.choice(faces, int(rng.integers(1, 4)), replace=False):
                values[str(name)] = 1.0 if rng.random() < 0.4 else float(rng.random())
            for name in ("eyeBlinkLeft", "eyeBlinkRight"):
                if rng.random() < 0.25:
                    values[name] = 1.0 if rng.random() < 0.6 else float(rng.random())
            if gaze and rng.random() < _GAZE_CHANCE:
                values |= _slider_gaze(rng)
            motion = Motion(yaw=turn[0], pitch=turn[1], roll=turn[2], controls=values)
            params.append(_params(model, sampler.aligned_points(person, motion, lens)))
            canonical.append(frame.points(motion))
    return np.stack(params), encode(np.stack(canonical))


def _slider_gaze(rng: np.random.Generator) -> dict[str, float]:
    """Return gaze controls of both eyes together, or, one time in four, of one eye."""
    values: dict[str, float] = {}
    alone = rng.random()
    for ways in (GAZES_TOGETHER[:2], GAZES_TOGETHER[2:]):
        if rng.random() < 0.7:
            left, right = ways[int(rng.integers(2))]
            value = 1.0 if rng.random() < 0.25 else float(rng.random())
            values |= {left: value} if alone >= 0.125 else {}
            values |= {right: value} if alone < 0.875 else {}
    return values


def _params(model: LandmarkModel, points: Array) -> Array:
    """Return the params of points [70, 2] in a model of these, or of their first 68."""
    return model.params(points[: model.points])


def control_mixes(names: tuple[str, ...]) -> Array:
    """Return mixes of controls [q, c]: each alone at 1, and both sides' together at 1: of each pair, and of a gaze."""
    both = [(name, mirrored_control(name)) for name in names if name.endswith("Left")]
    both += [together for together in GAZES_TOGETHER[:2] if together[0] in names]
    pairs = [(names.index(left), names.index(right)) for left, right in both]
    together = np.zeros((len(pairs), len(names)), np.float32)
    for row, (left, right) in enumerate(pairs):
        together[row, [left, right]] = 1.0
    return np.concatenate([np.eye(len(names), dtype=np.float32), together])


def refine(
    controls: ControlMap, adaptor: nn.Module, known: KnownMotions, basis: Array, mirror: Array, steps: int = 800
) -> ControlMap:
    """Return the map with its directions and its head polynomial adjusted to what D makes of them.

    A control asks for a motion; D answers with a latent. The averages fitted in landmark space are a good start, but
    only through D is it known how far a direction must go to close a lid, say. Both are pulled toward their start.

    Args:
        basis: [w, 140], the canonical points that a latent entry moves, in crop sides: errors are measured there,
            the eyes' most.
        mirror: [k, k], from params (as rows) to the mirrored face's: left and right controls are mirror images.
    """
    points = 100.0 * torch.from_numpy(basis)
    weights = torch.ones(70)
    weights[17:27], weights[36:48], weights[48:68], weights[landmarks68.IRISES] = 6.0, 6.0, 2.0, 6.0

    def miss(off: torch.Tensor) -> torch.Tensor:
        return ((off @ points).reshape(-1, 70, 2).square().sum(dim=-1) * weights).mean() + 0.1 * off.square().mean()

    free = torch.from_numpy(controls.directions).requires_grad_(True)
    across = torch.from_numpy(mirror)
    others = [controls.names.index(mirrored_control(name)) for name in controls.names]
    head = torch.from_numpy(controls.head_coefficients).requires_grad_(True)
    start = [free.detach().clone(), head.detach().clone()]
    optimiser = torch.optim.Adam([free, head], lr=0.02)
    bases, latents, mixes, moved, still, rest, _, turned = (torch.from_numpy(part) for part in vars(known).values())
    terms = np.prod((known.angles[:, :, None, :] / 30.0) ** controls.head_exponents, axis=-1)
    angle_terms = torch.from_numpy(terms.astype(np.float32))
    people, count = moved.shape[:2]
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.02 * (1.0 - step / steps)
        rows = torch.from_numpy(np.random.default_rng([17, step]).choice(people, min(32, people), replace=False))
        base = bases[rows]
        directions = 0.5 * (free + free[others] @ across)
        answer = adaptor((base[:, None] + mixes @ directions).reshape(-1, base.shape[1])).reshape(len(rows), count, -1)
        wanted = moved[rows] - latents[rows][:, None]
        loss = miss(answer - adaptor(base)[:, None] - wanted)
        front = still[rows]
        turns = adaptor((front[:, None] + angle_terms[rows] @ head).reshape(-1, front.shape[1]))
        turned_by = turns.reshape(len(rows), angle_terms.shape[1], -1) - adaptor(front)[:, None]
        loss = loss + miss(turned_by - (turned[rows] - rest[rows][:, None]))
        pull = sum((now - then).square().mean() for now, then in zip((free, head), start, strict=True))
        optimiser.zero_grad()
        (loss + 0.02 * pull).backward()
        optimiser.step()
    directions = 0.5 * (free + free[others] @ across)
    return replace(
        controls,
        directions=directions.detach().numpy().copy(),
        head_coefficients=head.detach().numpy().copy(),
    )


def _fit_readout(model: LandmarkModel, data: LandmarkSet) -> Array:
    features = head_features(model.params(data.landmarks)).astype(np.float64)
    gram = features.T @ features + _RIDGE * len(features) * np.eye(features.shape[1])
    return np.linalg.solve(gram, features.T @ data.angles).astype(np.float32)


def check(controls: ControlMap, model: LandmarkModel, data: LandmarkSet) -> dict[str, float]:
    """Return the mean absolute error, in degrees, of the head angles read back from free motion."""
    read = controls.head_angles(model.params(data.landmarks))
    error = np.abs(read - data.angles).mean(axis=0)
    return {name: float(value) for name, value in zip(HEAD_CONTROLS, error, strict=True)}
