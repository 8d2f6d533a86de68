# SPDX-License-Identifier: GPL-3.0-or-later
"""A person in motion as geometry: posed vertices, the 68 landmarks with a silhouette contour, and the camera."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.crop import square_of_landmarks
from training.synth import quaternions
from training.synth.facekit import Body, FaceKit, Rig, skin
from training.synth.landmark_body import LandmarkBody, landmark_body
from training.synth.motion import Motion
from training.synth.people import ETHNICITIES, Person

Array = NDArray[np.float32]
Matrix = NDArray[np.float64]

# How a head turn is shared by the neck.
_NECK_SHARES = {"neck01": 0.15, "neck02": 0.2, "neck03": 0.25, "head": 0.4}
# The torso turns about this point, decimetres.
_TORSO_PIVOT = np.array([0.0, 5.5, 0.0])

# iBUG's inner lips stand under and over the outer lips' inner three points; the kit's are nearer the corners. How much
# of the way to the lips' middle they have to go: measured on the kit's mouths.
_INNER_LIPS = {61: 62, 63: 62, 65: 66, 67: 66}
_INNER_LIP_WAY = 0.47
# Where the outline may begin, in steps from the first contour point to the next, up from the first.
_LOWEST_START, _HIGHEST_START = -0.9, 1.5

# Outward directions of the 17 contour points in the face's own frame (x to the picture's right, y up).
_CONTOUR_ANGLES = np.linspace(np.pi + 0.12, 2 * np.pi - 0.12, 17)
_CONTOUR_OUTWARD = np.stack([np.cos(_CONTOUR_ANGLES), np.sin(_CONTOUR_ANGLES)], axis=1)


@dataclass(frozen=True)
class PosedHead:
    """Rest positions of the body [n, 3] and the transform of each bone [b, 3, 4]."""

    rest: Array
    transforms: Array


@dataclass(frozen=True)
class Camera:
    """A perspective camera: `matrix` [4, 4] takes world points to clip space, `eye` [3] is its place."""

    matrix: Matrix
    eye: NDArray[np.float64]

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return picture positions [..., 2] in the unit square, y down, of world points [..., 3]."""
        homogeneous = np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1) @ self.matrix.T
        ndc = homogeneous[..., :2] / homogeneous[..., 3:]
        return np.stack([0.5 + 0.5 * ndc[..., 0], 0.5 - 0.5 * ndc[..., 1]], axis=-1)


def pose_head(kit: FaceKit, body: Body, rig: Rig, person: Person, motion: Motion) -> PosedHead:
    """Return the posed head; `body` is the whole mesh or the landmark subset."""
    units, targets = motion.kit_weights()
    morphs = dict(person.morphs)
    for people, share in zip(ETHNICITIES, person.ethnicity, strict=True):
        if share > 1e-4:
            for target, weight in targets.items():
                if weight:
                    name = f"{people}/{target}"
                    morphs[name] = morphs.get(name, 0.0) + weight * share
    rest = body.morphed(*kit.rows(morphs))
    rotations = {}
    for bone, side in (("eye.L", "left"), ("eye.R", "right")):
        yaw, pitch = motion.eye_gaze(side)
        rotations[bone] = quaternions.multiply(quaternions.about_axis(1, yaw), quaternions.about_axis(0, -pitch))
    turn = quaternions.head_rotation(motion.yaw - motion.body_yaw, motion.pitch, motion.roll)
    for bone, share in _NECK_SHARES.items():
        rotations[bone] = quaternions.power(turn, share)
    known = {name: weight for name, weight in units.items() if name in rig.unit_names}
    transforms = rig.transforms(body.joints @ rest, known, rotations)
    if motion.body_yaw or motion.body_roll:
        torso = quaternions.matrix(
            quaternions.multiply(
                quaternions.about_axis(1, motion.body_yaw), quaternions.about_axis(2, -motion.body_roll)
            )
        )
        shift = _TORSO_PIVOT - torso @ _TORSO_PIVOT
        turned = np.einsum("ij,bjk->bik", torso, transforms)
        turned[:, :, 3] += shift
        transforms = turned.astype(np.float32)
    return PosedHead(rest, transforms)


@dataclass(frozen=True)
class FacePoints:
    """What landmarks are projected from.

    Attributes:
        fixed: [68, 3], landmarks in the world, without a jaw.
        contour: [17, c, 3], what the jaw's outline may run along.
        irises: [2, 3], the picture's left first.
        below: [17, c], how far below the irises the contour's points are when the head is level, decimetres.
    """

    fixed: Array
    contour: Array
    irises: Array
    below: Array

    @property
    def middle(self) -> Array:
        """The landmarks' mean [3]."""
        return self.fixed.mean(axis=0)


def landmark_points(part: LandmarkBody, head: PosedHead, brows: str | None) -> FacePoints:
    """Return the points of a posed head that wears the brows of that name; of average ones if None."""
    posed = part.body.skinned(head.rest, head.transforms)
    rows = part.rows
    fixed = with_inner_lips((posed[rows.pairs] * rows.pair_weights[..., None]).sum(axis=1))
    worn = part.brows[brows]
    fixed[17:27] = skin(worn.rest(head.rest), worn.weights, head.transforms)
    irises = part.irises.rest(head.rest)
    below = irises[:, 1].mean() - head.rest[rows.contour][..., 1]
    seen = skin(irises, part.irises.weights, head.transforms).astype(np.float32)
    return FacePoints(fixed, posed[rows.contour], seen, below)


def project_landmarks(points: FacePoints, camera: Camera) -> tuple[Array, Array]:
    """Return landmarks [68, 2] and irises [2, 2] in the picture's unit square; the jaw follows the silhouette."""
    landmarks = camera.project(points.fixed)
    contour = camera.project(points.contour)
    up = landmarks[27] - landmarks[8]
    up = up / (np.linalg.norm(up) + 1e-9)
    right = np.array([-up[1], up[0]])
    centre = 0.5 * (landmarks[27] + landmarks[8])
    outward = _CONTOUR_OUTWARD[:, :1] * right + _CONTOUR_OUTWARD[:, 1:] * up
    reach = np.einsum("kcd,kd->kc", contour - centre, outward)
    seen = (np.arange(17), reach.argmax(axis=1))
    landmarks[:17] = evenly_spaced_jaw(contour[seen], points.below[seen])
    return settled_lids(landmarks).astype(np.float32), camera.project(points.irises).astype(np.float32)


def with_inner_lips(points: Array) -> Array:
    """Return world landmarks [68, 3] whose inner lip points stand between the outer lips' and the middle."""
    out = points.copy()
    for point, middle in _INNER_LIPS.items():
        out[point] += _INNER_LIP_WAY * (points[middle] - points[point])
    return out


def evenly_spaced_jaw(outline: NDArray[np.floating], below: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the 17 jaw points spaced evenly along the outline [17, 2], from its start beside either eye to the chin.

    It starts at a place of the head, where the irises are when the head is level, as in people's labels: at the eyes'
    level in the picture it would slide along the cheek as the head nods.

    Args:
        below: [17], how far the outline's points are below the irises then.
    """
    halves = []
    for half, depth in ((outline[:9], below[:9]), (outline[:7:-1], below[:7:-1])):
        start = np.clip(depth[0] / max(float(depth[1] - depth[0]), 1e-6), _LOWEST_START, _HIGHEST_START)
        half = np.concatenate([(half[0] + start * (half[0] - half[1]))[None], half[1:]])
        length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(half, axis=0), axis=1))])
        even = np.linspace(0.0, length[-1], 9)
        halves.append(np.stack([np.interp(even, length, half[:, axis]) for axis in range(2)], axis=1))
    return np.concatenate([halves[0], halves[1][-2::-1]])


def settled_lids(landmarks: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return landmarks [..., 68, 2] whose closed lids meet.

    A closed lid overshoots in the kit, and its vertices pass below the lower lid's; people label the line between.
    """
    out = landmarks.copy()
    for first in (36, 42):
        axis = out[..., first + 3, :] - out[..., first, :]
        down = np.stack([-axis[..., 1], axis[..., 0]], axis=-1)
        for upper, lower in ((first + 1, first + 5), (first + 2, first + 4)):
            crossed = ((out[..., lower, :] - out[..., upper, :]) * down).sum(axis=-1, keepdims=True) < 0
            middle = 0.5 * (out[..., lower, :] + out[..., upper, :])
            out[..., upper, :] = np.where(crossed, middle, out[..., upper, :])
            out[..., lower, :] = np.where(crossed, middle, out[..., lower, :])
    return out


def _perspective(field_of_view: float, near: float, far: float) -> Matrix:
    focal = 1 / np.tan(field_of_view / 2)
    matrix = np.diag([focal, focal, (far + near) / (near - far), 0.0])
    matrix[2, 3] = 2 * far * near / (near - far)
    matrix[3, 2] = -1.0
    return matrix


def look_at(
    eye: NDArray[np.float64], target: NDArray[np.float64], up: tuple[float, float, float] = (0, 1, 0)
) -> Matrix:
    """Return the view matrix [4, 4] of a camera at `eye` that looks at `target`."""
    forward = target - eye
    forward = forward / np.linalg.norm(forward)
    side = np.cross(forward, up)
    side /= np.linalg.norm(side)
    view = np.eye(4)
    view[:3, :3] = np.stack([side, np.cross(side, forward), -forward])
    view[:3, 3] = -view[:3, :3] @ eye
    return view


def frontal_camera(centre: NDArray[np.floating], field_of_view: float, half_height: float = 1.1) -> Camera:
    """Return a camera in front of `centre` (world, decimetres) that sees ± `half_height` there.

    Args:
        field_of_view: degrees; small is a long lens.
    """
    angle = np.radians(field_of_view)
    distance = half_height / np.tan(angle / 2) + 0.6
    eye = np.asarray(centre, np.float64) + np.array([0.0, 0.0, distance])
    return Camera(_perspective(angle, 1.0, distance + 20.0) @ look_at(eye, np.asarray(centre, np.float64)), eye)


def crop_camera(camera: Camera, landmarks: NDArray[np.floating], margin: float = 1.0) -> Camera:
    """Return the camera zoomed to the aligned crop of landmarks [68, 2] that it sees, `margin` times as wide."""
    square = square_of_landmarks(landmarks)
    return zoomed(camera, square.x, square.y, square.side * margin)


def zoomed(camera: Camera, x: float, y: float, side: float) -> Camera:
    """Return the camera that shows the square (centre x, y and side, in the unit square, y down) of another's view."""
    zoom = np.eye(4)
    zoom[0, 0] = zoom[1, 1] = 1.0 / side
    zoom[0, 3] = -(2 * x - 1) / side
    zoom[1, 3] = (2 * y - 1) / side
    return Camera(zoom @ camera.matrix, camera.eye)


class LandmarkSampler:
    """Landmarks of people in motion without pictures: a millisecond each."""

    def __init__(self, kit: FaceKit) -> None:
        self.kit = kit
        self._part = landmark_body(kit)

    def points(self, person: Person, motion: Motion) -> FacePoints:
        """Return the points of a person in motion."""
        head = pose_head(self.kit, self._part.body, self.kit.rig, person, motion)
        return landmark_points(self._part, head, person.brows.proxy if person.brows else None)

    def aligned_points(self, person: Person, motion: Motion, field_of_view: float = 20.0) -> Array:
        """Return what `aligned` does as one array [70, 2], irises last."""
        return np.concatenate(self.aligned(person, motion, field_of_view))

    def aligned(self, person: Person, motion: Motion, field_of_view: float = 20.0) -> tuple[Array, Array]:
        """Return landmarks [68, 2] and irises [2, 2] in the unit square of their own aligned crop."""
        points = self.points(person, motion)
        camera = frontal_camera(points.middle, field_of_view)
        landmarks, irises = project_landmarks(points, camera)
        square = square_of_landmarks(landmarks)
        return square.to_unit(landmarks).astype(np.float32), square.to_unit(irises).astype(np.float32)
