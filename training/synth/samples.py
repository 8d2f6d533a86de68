# SPDX-License-Identifier: GPL-3.0-or-later
"""What one seed makes: a labelled picture of a face, or a group of frames of one person with their exact motion."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synth.backdrops import sample_backdrop
from training.synth.canonical import CanonicalFrame
from training.synth.facekit import FaceKit
from training.synth.head import (
    Camera,
    LandmarkSampler,
    PosedHead,
    crop_camera,
    frontal_camera,
    pose_head,
    project_landmarks,
)
from training.synth.motion import CONTROL_POSES, GAZE_CONTROLS, Motion, sample_expression, sample_head_angles
from training.synth.people import Person, Split, sample_person
from training.synth.renderer import PosedMeshes, Renderer, Stage
from training.synth.stage import sample_lighting

Array = NDArray[np.float32]

# A face picture shows this much more than the aligned crop, so that training can shift, scale and turn it.
FACE_MARGIN = 1.25
FRAMES_PER_GROUP = 4
PAIRS_PER_GROUP = 8
# Gaze is not among them: mostly it is drawn in degrees, and its truth is the irises.
CONTROL_NAMES = tuple(name for name in CONTROL_POSES if name not in GAZE_CONTROLS)


@dataclass(frozen=True)
class FacePicture:
    """A labelled picture. Points are in the unit square of the picture.

    Attributes:
        image: uint8 [s, s, 3].
        landmarks: [68, 2]; irises: [2, 2], the picture's left first.
        canonical: [70, 2], landmarks and irises of the mean person in the same motion (`CanonicalFrame`).
        angles: [3], yaw, pitch, roll in degrees; controls: [c] in the order of `CONTROL_NAMES`.
    """

    image: NDArray[np.uint8]
    landmarks: Array
    irises: Array
    canonical: Array
    angles: Array
    controls: Array


@dataclass(frozen=True)
class MotionGroup:
    """Frames of one person before one camera, and the motion between pairs of them.

    Attributes:
        images: uint8 [f, s, s, 4], alpha is the head's coverage.
        landmarks: [f, 68, 2], irises [f, 2, 2], canonical [f, 70, 2].
        pairs: [p, 2], (source, target) frame of each pair.
        flow: float16 [p, s, s, 2], target pixel → source pixel displacement in units of the picture's side.
        layers: uint8 [p, s, s], bit 0: the point is visible in the source; the rest: the layer at the target.
    """

    images: NDArray[np.uint8]
    landmarks: Array
    irises: Array
    canonical: Array
    pairs: NDArray[np.int64]
    flow: NDArray[np.float16]
    layers: NDArray[np.uint8]


def group_motions(kit: FaceKit, rng: np.random.Generator, frames: int = FRAMES_PER_GROUP) -> list[Motion]:
    """Return a source-like frame near the front, then others around it: some are the same pose, some far turns."""
    base = np.array([rng.normal(0, 13), rng.normal(0, 7), rng.normal(0, 5)])
    base = np.clip(base, [-32, -18, -15], [32, 18, 15])
    body_yaw, body_roll = float(rng.normal(0, 6)), float(rng.normal(0, 2))
    motions = []
    for frame in range(frames):
        angles = base
        if frame and rng.random() < 0.35:
            angles = base + rng.normal(0, 1.5, 3)
        elif frame:
            turn = np.array([rng.normal(base[0], 17), rng.normal(base[1], 8), rng.normal(0, 9)])
            angles = np.clip(turn, [-42, -25, -28], [42, 25, 28])
        motion = sample_expression(rng, kit.expression_presets)
        if frame == 0 and rng.random() < 0.5:
            motion = replace(motion, controls=motion.controls | {"eyeBlinkLeft": 0.03, "eyeBlinkRight": 0.03})
        motions.append(
            replace(
                motion,
                yaw=float(angles[0]),
                pitch=float(angles[1]),
                roll=float(angles[2]),
                body_yaw=body_yaw,
                body_roll=body_roll,
            )
        )
    return motions


class SampleMaker:
    """Makes pictures and groups of one kit at one size; the same generator gives the same sample."""

    def __init__(self, kit: FaceKit, size: int, supersampling: int = 2) -> None:
        self.kit = kit
        self.sampler = LandmarkSampler(kit)
        self.canonical = CanonicalFrame(self.sampler)
        self._renderer = Renderer(kit, size, supersampling)
        self._size = size

    def face(self, rng: np.random.Generator, split: Split) -> FacePicture:
        """Return a picture of a new person, `FACE_MARGIN` times as wide as the aligned crop."""
        person = sample_person(self.kit, rng, split)
        yaw, pitch, roll = sample_head_angles(rng)
        motion = replace(
            sample_expression(rng, self.kit.expression_presets),
            yaw=yaw,
            pitch=pitch,
            roll=roll,
            body_yaw=yaw * float(rng.uniform(0, 0.6)),
            body_roll=float(rng.normal(0, 2)),
        )
        points = self.sampler.points(person, motion)
        camera = frontal_camera(points.middle, float(rng.uniform(10, 38)))
        landmarks, _ = project_landmarks(points, camera)
        camera = crop_camera(camera, landmarks, FACE_MARGIN)
        landmarks, irises = project_landmarks(points, camera)
        stage = Stage(camera, sample_lighting(rng), sample_backdrop(rng))
        picture, _ = self._renderer.render(person, self._posed(person, motion), stage)
        return FacePicture(
            image=picture[..., :3],
            landmarks=landmarks,
            irises=irises,
            canonical=self.canonical.points(motion),
            angles=np.array([yaw, pitch, roll], np.float32),
            controls=np.array([motion.controls.get(name, 0.0) for name in CONTROL_NAMES], np.float32),
        )

    def group(self, rng: np.random.Generator, split: Split) -> MotionGroup:
        """Return frames of a new person before one camera, the crop of the first frame, and motions between them."""
        person = sample_person(self.kit, rng, split)
        motions = group_motions(self.kit, rng)
        points = self.sampler.points(person, motions[0])
        camera = frontal_camera(points.middle, float(rng.uniform(10, 36)))
        landmarks, _ = project_landmarks(points, camera)
        camera = crop_camera(camera, landmarks, float(rng.uniform(0.95, 1.1)))
        stage = Stage(camera, sample_lighting(rng), sample_backdrop(rng))
        images, meshes, marks = [], [], []
        for motion in motions:
            picture, placed = self._renderer.render(person, self._posed(person, motion), stage)
            images.append(picture)
            meshes.append(placed)
            marks.append(project_landmarks(self.sampler.points(person, motion), camera))
        count = len(motions)
        ordered = [(source, target) for source in range(count) for target in range(count) if source != target]
        chosen = rng.permutation(len(ordered))[:PAIRS_PER_GROUP]
        pairs = np.array([ordered[row] for row in sorted(chosen)], np.int64)
        still = {s: self._renderer.motion(meshes[s], meshes[s], camera, camera) for s in {int(s) for s, _ in pairs}}
        moves = [self._move(meshes[s], meshes[t], still[int(s)], camera) for s, t in pairs]
        return MotionGroup(
            images=np.stack(images),
            landmarks=np.stack([landmarks for landmarks, _ in marks]),
            irises=np.stack([irises for _, irises in marks]),
            canonical=np.stack([self.canonical.points(motion) for motion in motions]),
            pairs=pairs,
            flow=np.stack([flow for flow, _ in moves]),
            layers=np.stack([layers for _, layers in moves]),
        )

    def _posed(self, person: Person, motion: Motion) -> PosedHead:
        return pose_head(self.kit, self.kit.body, self.kit.rig, person, motion)

    def _move(
        self, source: PosedMeshes, target: PosedMeshes, still: Array, camera: Camera
    ) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
        """Return the flow and the layers of one pair; `still` is the source frame's own depth and layer."""
        size = self._size
        there = self._renderer.motion(target, source, camera, camera)
        layer = there[..., 3]
        centre = (np.arange(size, dtype=np.float32) + 0.5) / size
        here = np.stack(np.meshgrid(centre, centre), axis=-1)
        place = np.where((layer == 0)[..., None], here, there[..., :2])
        x, y = (place[..., 0] * size - 0.5), (place[..., 1] * size - 0.5)
        depth = np.where(still[..., 3] > 0, still[..., 2], 1.0)
        depth = cv2.remap(depth, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=1.0)
        source_layer = cv2.remap(np.ascontiguousarray(still[..., 3]), x, y, cv2.INTER_NEAREST)
        same_surface = (there[..., 2] < depth + 8e-4) & (source_layer == layer)
        visible = np.where(layer == 0, source_layer == 0, same_surface)
        visible &= (x > -0.5) & (x < size - 0.5) & (y > -0.5) & (y < size - 0.5)
        flow = np.clip(place - here, -1.0, 1.0).astype(np.float16)
        return flow, np.asarray(visible.astype(np.uint8) | (layer.astype(np.uint8) << 1), np.uint8)
