# SPDX-License-Identifier: GPL-3.0-or-later
"""Training the default backbone's geometry head: what this person makes of a pose latent, from landmarks alone.

It needs no pictures, so it sees as many people as the kit can draw. Every second one moves as people do, the others as
a rig moves them: half of the latter's motions leave the head where it was, and then so must the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from lpmm_runtime import landmarks68
from training import loop, slider_motions
from training.backbones.portrait_flow import GeometryHead, LatentSpace
from training.draws import Draw
from training.landmark_model import Split, shape_only
from training.pose_latent import mirrored_canonical
from training.synth.canonical import CanonicalFrame
from training.synth.facekit import FaceKit
from training.synth.head import LandmarkSampler, crop_camera, frontal_camera, project_landmarks
from training.synth.motion import CONTROL_POSES, GAZE_CONTROLS, Motion, sample_head_angles
from training.synth.people import Person
from training.synth.samples import group_motions

Array = NDArray[np.float32]

# Frames of one person.
FRAMES = 6
# For this share of the steps only what a rig does is learned: people, whose every motion is everywhere, teach a head to
# guess at its own motion from the face's, and that is not unlearned.
_RIG_FIRST = 0.57
_STILL_CHANCE = 0.5
# How much more a pair counts that leaves the head as it is: a head that slips under a slider is seen at once.
_STILL_COUNTS = 8.0
# What F misplaces, in crop sides; what E misjudges of a face, and of one change; both in latent sds.
_POINTS_OFF, _FACE_OFF, _CHANGE_OFF = 0.006, 0.25, 0.08
# Points that no face moves much: the nose and the eyes.
_STEADY = slice(27, 48)


@dataclass(frozen=True)
class FaceMotions:
    """Groups of frames of one person before one camera, which shows the aligned crop of the first.

    Every second group, the first among them, is posed by a rig.

    Attributes:
        landmarks: [g, f, 70, 2], landmarks and irises in the unit square.
        outlines: [g, f, 17, 2], the jaw's points as with open lids: they begin at the outer eye corners' level, and a
            closing lid takes its corner along, though no outline of a head moves in a blink.
        canonical: [g, f, 70, 2], the mean person in the same motion.
        turns: [g, f, 3], the head's yaw, pitch and roll in degrees.
    """

    landmarks: Array
    outlines: Array
    canonical: Array
    turns: Array

    @property
    def pairs(self) -> int:
        """How many ordered pairs of frames there are, with those of the mirrored ones."""
        groups, frames = self.landmarks.shape[:2]
        return 2 * groups * frames * (frames - 1)

    def batch(self, rows: NDArray[np.int64], space: LatentSpace) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return the pairs numbered `rows`.

        Returns:
            landmarks [n, 68, 2] of the source, latents of source and target [n, w], displacements [n, 70, 2], and
            whether the head is still [n].
        """
        groups, frames = self.landmarks.shape[:2]
        pair, group = np.divmod(rows, groups)
        flip, pair = np.divmod(pair, frames * (frames - 1))
        s, other = np.divmod(pair, frames - 1)
        t = other + np.where(other >= s, 1, 0)
        mirrored = flip.astype(bool)

        def points(of: Array, frame: NDArray[np.int64]) -> Array:
            chosen = of[group, frame]
            chosen[mirrored] = mirrored_canonical(chosen[mirrored])
            return chosen

        with_outlines = np.concatenate([self.outlines, self.landmarks[:, :, 17:]], axis=2)
        change = points(with_outlines, t) - points(with_outlines, s)
        source, target = (space.encode(points(self.canonical, frame)) for frame in (s, t))
        still = (self.turns[group, s] == self.turns[group, t]).all(axis=-1).astype(np.float32)
        columns = points(self.landmarks, s)[:, :68], source, target, change, still
        return tuple(torch.from_numpy(np.ascontiguousarray(part)) for part in columns)  # type: ignore[return-value]


def sample(kit: FaceKit, people: int, seed: int, split: Split) -> FaceMotions:
    """Return the motions of `people` random people; train and test seeds never meet."""
    sampler = LandmarkSampler(kit)
    frame = CanonicalFrame(sampler)
    groups = []
    for number in tqdm(range(people), desc=f"face motions ({split})", unit="person", mininterval=5):
        rng = np.random.default_rng([seed, 23, 0 if split == "train" else 1, number])
        person = shape_only(kit, rng)
        motions = group_motions(kit, rng, FRAMES) if number % 2 else _rig_motions(kit, rng)
        groups.append(_group(sampler, frame, person, motions, float(rng.uniform(10, 38))))
    return FaceMotions(*(np.stack(column).astype(np.float32) for column in zip(*groups, strict=True)))


def _rig_motions(kit: FaceKit, rng: np.random.Generator) -> list[Motion]:
    names = tuple(CONTROL_POSES)
    start = slider_motions.start(kit, rng)
    if rng.random() < 0.5:
        # Photographs turn further than a rig's starts do.
        yaw, pitch, roll = sample_head_angles(rng)
        start = replace(start, yaw=yaw, pitch=pitch, roll=roll)
    motions = [start]
    for _ in range(FRAMES - 2):
        turn = [0.0, 0.0, 0.0] if rng.random() < _STILL_CHANCE else slider_motions.turn(rng)
        motions.append(slider_motions.added(start, slider_motions.sliders(names, rng), turn))
    # The last one has nothing to do with the others.
    return [*motions, slider_motions.start(kit, rng)]


def _group(
    sampler: LandmarkSampler, frame: CanonicalFrame, person: Person, motions: list[Motion], field_of_view: float
) -> tuple[Array, Array, Array, Array]:
    """Return landmarks, outlines, canonical points and turns of one person's frames; see `FaceMotions`."""
    first = sampler.points(person, motions[0])
    camera = frontal_camera(first[0].mean(axis=0), field_of_view)
    camera = crop_camera(camera, project_landmarks(first, camera)[0])

    def seen(motion: Motion) -> Array:
        return np.concatenate(project_landmarks(sampler.points(person, motion), camera))

    jaw = landmarks68.REGIONS["jaw"]
    return (
        np.stack([seen(motion) for motion in motions]),
        np.stack([seen(_with_open_lids(motion))[jaw] for motion in motions]),
        np.stack([frame.points(motion) for motion in motions]),
        np.array([(motion.yaw, motion.pitch, motion.roll) for motion in motions], np.float32),
    )


def _with_open_lids(motion: Motion) -> Motion:
    lids = {name for name in motion.controls if name.startswith("eye") and name not in GAZE_CONTROLS}
    return replace(motion, controls={name: value for name, value in motion.controls.items() if name not in lids})


def train(
    head: GeometryHead,
    space: LatentSpace,
    motions: FaceMotions,
    held_out: FaceMotions,
    schedule: loop.Schedule,
    folder: Path,
) -> None:
    """Train the geometry head with the errors that F and E will make."""
    head.to(schedule.device)
    tests = held_out.batch(np.linspace(0, held_out.pairs - 1, min(held_out.pairs, 6000)).astype(np.int64), space)

    def make_batch(draw: Draw) -> list[Tensor]:
        rows = draw.rows(motions.pairs)
        if draw.step < _RIG_FIRST * schedule.steps:
            rows = rows - (rows % len(motions.landmarks)) % 2
        landmarks, source, target, change, still = motions.batch(rows, space)
        whole = (2, draw.batch, source.shape[1])
        noise = torch.from_numpy(draw.shared.standard_normal(whole, np.float32)[:, draw.part])
        points = torch.from_numpy(draw.shared.standard_normal((draw.batch, 68, 2), np.float32)[draw.part])
        # E's error on source and target is mostly shared, for it is the same face.
        return [
            landmarks + _POINTS_OFF * points,
            source + _FACE_OFF * noise[0],
            target + _FACE_OFF * noise[0] + _CHANGE_OFF * noise[1],
            change,
            still,
        ]

    def loss(batch: list[Tensor], _step: int) -> Tensor:
        landmarks, source, target, change, still = (part.to(schedule.device) for part in batch)
        off = 100.0 * (head(landmarks, source, target) - change).abs().sum(dim=-1).mean(dim=1)
        return (off * (1.0 + (_STILL_COUNTS - 1.0) * still)).mean()

    loop.train("geometry_head", head, schedule, folder, make_batch, loss, lambda: evaluate(head, tests))


@torch.no_grad()
def evaluate(head: GeometryHead, tests: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]) -> dict[str, float]:
    """Return the mean errors in percent of the crop's side.

    Keys: `points_off`, with `_eyes` and `_mouth`, over all pairs; `points_off_canonical`, what the mean person would do
    instead; `still_off` and `still_shift`, over pairs with a still head: of all points, and of nose and eyes together.
    """
    landmarks, source, target, change, still = (part.to(head.mean.device) for part in tests)
    way = 100.0 * (head(landmarks, source, target) - change)
    error, calm = way.norm(dim=-1), still > 0.5
    plain = 100.0 * (((target - source) @ head.basis).reshape(-1, 70, 2) - change).norm(dim=-1)
    return {
        "points_off": float(error.mean()),
        "points_off_eyes": float(error[:, 36:48].mean()),
        "points_off_mouth": float(error[:, 48:68].mean()),
        "points_off_canonical": float(plain.mean()),
        "still_off": float(error[calm].mean()),
        "still_shift": float(way[calm][:, _STEADY].mean(dim=1).norm(dim=-1).mean()),
    }
