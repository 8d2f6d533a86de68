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

from training import loop, slider_motions
from training.backbones.portrait_flow import GeometryHead, LatentSpace
from training.draws import Draw
from training.landmark_model import Split, shape_only
from training.pose_latent import mirrored_canonical
from training.synth.canonical import CanonicalFrame
from training.synth.facekit import FaceKit
from training.synth.head import LandmarkSampler, crop_camera, frontal_camera, project_landmarks
from training.synth.motion import CONTROL_POSES, Motion, sample_head_angles
from training.synth.people import Person
from training.synth.samples import group_motions

Array = NDArray[np.float32]

# Frames of one person.
FRAMES = 6
_STILL_CHANCE = 0.5
# How much more a pair counts that leaves the head as it is, and, by degrees, one that hardly turns it: a head that
# slips under a slider is seen at once.
_STILL_COUNTS = 8.0
# What F misplaces, in crop sides, and what E misjudges of a face, in latent sds. Changes are told as they are: an
# answer that is linear in them, and learns to mistrust them, moves the head under every slider.
_POINTS_OFF, _FACE_OFF = 0.006, 0.25
# A motion turns about each axis with this chance, most often by little; and sometimes it does nothing else.
_AXIS_CHANCE, _TURN_ONLY_CHANCE = 0.6, 0.25
# Points that no face moves much: the nose and the eyes; and the turns, in degrees, that count as small.
_STEADY, _NOSE, _SMALL = slice(27, 48), slice(27, 36), 2.0


@dataclass(frozen=True)
class FaceMotions:
    """Groups of frames of one person before one camera, which shows the aligned crop of the first.

    Every second group, the first among them, is posed by a rig.

    Attributes:
        landmarks: [g, f, 70, 2], landmarks and irises in the unit square.
        canonical: [g, f, 70, 2], the mean person in the same motion.
        turns: [g, f, 3], the head's yaw, pitch and roll in degrees.
    """

    landmarks: Array
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
            by how many degrees the head turns [n].
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

        change = points(self.landmarks, t) - points(self.landmarks, s)
        source, target = (space.encode(points(self.canonical, frame)) for frame in (s, t))
        turned = np.linalg.norm(self.turns[group, t] - self.turns[group, s], axis=-1)
        columns = points(self.landmarks, s)[:, :68], source, target, change, turned
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
        still, alone = rng.random() < _STILL_CHANCE, rng.random() < _TURN_ONLY_CHANCE
        turn = [0.0, 0.0, 0.0] if still else _turn(rng)
        posed = {} if alone and not still else slider_motions.sliders(names, rng)
        motions.append(slider_motions.added(start, posed, turn))
    # The last one has nothing to do with the others.
    return [*motions, slider_motions.start(kit, rng)]


def _turn(rng: np.random.Generator) -> list[float]:
    """Return degrees of yaw, pitch and roll: small ones more often than large ones."""
    return [angle * float(rng.random()) * float(rng.random() < _AXIS_CHANCE) for angle in slider_motions.turn(rng)]


def _group(
    sampler: LandmarkSampler, frame: CanonicalFrame, person: Person, motions: list[Motion], field_of_view: float
) -> tuple[Array, Array, Array]:
    """Return landmarks, canonical points and turns of one person's frames; see `FaceMotions`."""
    first = sampler.points(person, motions[0])
    camera = frontal_camera(first.middle, field_of_view)
    camera = crop_camera(camera, project_landmarks(first, camera)[0])

    return (
        np.stack([np.concatenate(project_landmarks(sampler.points(person, motion), camera)) for motion in motions]),
        np.stack([frame.points(motion) for motion in motions]),
        np.array([(motion.yaw, motion.pitch, motion.roll) for motion in motions], np.float32),
    )


def train(
    head: GeometryHead,
    space: LatentSpace,
    motions: FaceMotions,
    held_out: FaceMotions,
    schedule: loop.Schedule,
    folder: Path,
) -> None:
    """Train the geometry head on faces that are read with the errors that F and E will make."""
    head.to(schedule.device)
    tests = held_out.batch(np.linspace(0, held_out.pairs - 1, min(held_out.pairs, 6000)).astype(np.int64), space)

    def make_batch(draw: Draw) -> list[Tensor]:
        rows = draw.rows(motions.pairs)
        landmarks, source, target, change, turned = motions.batch(rows, space)
        points = torch.from_numpy(draw.shared.standard_normal((draw.batch, 68, 2), np.float32)[draw.part])
        face = torch.from_numpy(draw.shared.standard_normal((draw.batch, source.shape[1]), np.float32)[draw.part])
        # E's error on source and target is the same, for it is the same face.
        seen, off = landmarks + _POINTS_OFF * points, _FACE_OFF * face
        return [seen, source + off, target + off, change, turned]

    def loss(batch: list[Tensor], _step: int) -> Tensor:
        landmarks, source, target, change, turned = (part.to(schedule.device) for part in batch)
        off = 100.0 * (head(landmarks, source, target) - change).abs().sum(dim=-1).mean(dim=1)
        return (off * (1.0 + (_STILL_COUNTS - 1.0) / (1.0 + turned / _SMALL))).mean()

    loop.train("geometry_head", head, schedule, folder, make_batch, loss, lambda: evaluate(head, tests))


@torch.no_grad()
def evaluate(head: GeometryHead, tests: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]) -> dict[str, float]:
    """Return the mean errors in percent of the crop's side.

    Keys: `points_off`, with `_eyes` and `_mouth`, over all pairs; `points_off_canonical`, what the mean person would do
    instead; `still_off` and `still_shift`, over pairs with a still head: of all points, and of nose and eyes together.
    `small_gain`: what share of a turn by less than two degrees the nose follows.
    """
    landmarks, source, target, change, turned = (part.to(head.mean.device) for part in tests)
    moved = head(landmarks, source, target)
    way = 100.0 * (moved - change)
    error, calm = way.norm(dim=-1), turned == 0.0
    small = (turned > 0.0) & (turned < _SMALL)
    told, true = moved[small][:, _NOSE], change[small][:, _NOSE]
    plain = 100.0 * (((target - source) @ head.basis).reshape(-1, 70, 2) - change).norm(dim=-1)
    return {
        "points_off": float(error.mean()),
        "points_off_eyes": float(error[:, 36:48].mean()),
        "points_off_mouth": float(error[:, 48:68].mean()),
        "points_off_canonical": float(plain.mean()),
        "still_off": float(error[calm].mean()),
        "still_shift": float(way[calm][:, _STEADY].mean(dim=1).norm(dim=-1).mean()),
        "small_gain": float((told * true).sum() / true.square().sum().clamp(min=1e-9)),
    }
