# SPDX-License-Identifier: GPL-3.0-or-later
"""The toy kit's base vertices: the head mesh, then helpers that eyes, teeth, the tongue and bones hang on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.toykit import mesh, surface
from training.toykit.mesh import HeadMesh, Indices
from training.toykit.skeleton import BONE_NAMES, BONES, Skeleton
from training.toykit.surface import Array

VERTEX_GROUPS = (
    *("other", "body", "l_eye", "r_eye", "upper_teeth", "lower_teeth", "tongue", "eyelash", "hairhelper", "joint"),
)
UPPER_TEETH = np.array([0.0, 6.70, 1.25])
LOWER_TEETH = np.array([0.0, 6.60, 1.24])
TONGUE = np.array([0.0, 6.58, 1.05])
_RIGHT_EYE = surface.EYE_CENTRE * [-1.0, 1.0, 1.0]

# Name, group, centre and bone of each helper: a triangle about the centre, small or as wide as an eyeball.
_HELPERS: tuple[tuple[str, str, Array, str, float], ...] = (
    ("eye.L", "l_eye", surface.EYE_CENTRE, "eye.L", 0.12),
    ("eye.R", "r_eye", _RIGHT_EYE, "eye.R", 0.12),
    ("upper_teeth", "upper_teeth", UPPER_TEETH, "head", 0.1),
    ("lower_teeth", "lower_teeth", LOWER_TEETH, "jaw", 0.1),
    ("tongue", "tongue", TONGUE, "tongue00", 0.1),
)


@dataclass(frozen=True)
class Body:
    """Every base vertex of the kit.

    Attributes:
        points: [n, 3], the head mesh's vertices first.
        weights: [n, b] skinning.
        group: [n], index into `VERTEX_GROUPS`.
        helpers: the three vertices about the centre of each eye, each row of teeth and the tongue.
        joints: the vertices whose mean is each bone's head.
        measures: pairs of vertices whose distances along x, y and z scale the proxies.
    """

    head: HeadMesh
    points: Array
    weights: Array
    group: NDArray[np.uint8]
    helpers: dict[str, Indices]
    joints: list[Indices]
    measures: tuple[tuple[int, int], ...]


def build_body(head: HeadMesh, skeleton: Skeleton) -> Body:
    """Return the base vertices of the kit."""
    points = [head.points]
    weights = [skeleton.weights]
    groups = [np.full(len(head.points), VERTEX_GROUPS.index("body"))]
    helpers: dict[str, Indices] = {}
    joints: list[Indices] = []

    def add(places: Array, group: str, bone: str) -> Indices:
        first = sum(len(part) for part in points)
        hold = np.zeros((len(places), len(BONE_NAMES)))
        hold[:, BONE_NAMES.index(bone)] = 1.0
        points.append(places)
        weights.append(hold)
        groups.append(np.full(len(places), VERTEX_GROUPS.index(group)))
        return np.arange(first, first + len(places))

    corners = np.radians([90.0, 210.0, 330.0])
    triangle = np.stack([np.cos(corners), np.sin(corners), np.zeros(3)], axis=1)
    for name, group, centre, bone, size in _HELPERS:
        helpers[name] = add(centre + size * triangle, group, bone)
    for name, parent, place in BONES:
        # Two vertices, one on either side, as a joint's place is a mean.
        pair = np.array(place) + np.array([[-0.02, 0.0, 0.0], [0.02, 0.0, 0.0]])
        joints.append(np.zeros(0, np.int64) if parent is None else add(pair, "joint", name))
    middle = mesh.middle_column()
    ear = len(surface.FRONT_SINES) - 1
    measures = (
        (int(head.above[surface.EYE_ROW, middle - ear]), int(head.above[surface.EYE_ROW, middle + ear])),
        (int(head.above[0, middle]), int(head.above[surface.JAW_ROW, middle])),
        (int(head.above[8, middle]), int(head.above[8, -1])),
    )
    return Body(
        head=head,
        points=np.concatenate(points),
        weights=np.concatenate(weights),
        group=np.concatenate(groups).astype(np.uint8),
        helpers=helpers,
        joints=joints,
        measures=measures,
    )


def occlusion(body: Body) -> Array:
    """Return how open each vertex lies to the sky, [n], 0.15 to 1: the mouth, the sockets and the throat are dark."""
    head = body.head
    x, y = np.abs(head.points[:, 0]), head.points[:, 1]
    shade = np.ones(len(head.points))
    shade -= 0.25 * surface.bump((x - 0.25) / 0.14) * surface.bump((y - 7.33) / 0.06) * (head.depth == 0)
    shade -= 0.30 * surface.bump((x - 0.06) / 0.06) * surface.bump((y - 6.845) / 0.025) * (head.depth == 0)
    shade -= 0.20 * surface.bump(x / 0.2) * surface.bump((y - 6.46) / 0.04) * (head.depth == 0)
    under = (head.row > surface.JAW_ROW) & (head.row <= surface.JAW_ROW + 3)
    shade = np.where(under, np.minimum(shade, 0.6), shade)
    shade = np.where(head.depth == 1, 0.6, shade)
    shade = np.where(head.depth >= 2, 0.65 - 0.12 * (head.depth - 2), shade)
    everything = np.ones(len(body.points))
    everything[: len(shade)] = np.clip(shade, 0.15, 1.0)
    return everything
