# SPDX-License-Identifier: GPL-3.0-or-later
"""The skin that hair grows on: places spread over it, and the nearest place to any point."""

from dataclasses import dataclass

import bpy  # noqa: F401 - brings mathutils
import numpy as np
from mathutils import Vector
from mathutils.bvhtree import BVHTree
from numpy.typing import NDArray

from training.synth.facekit import vertex_normals

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Roots:
    """Places on a surface: points [n, 3] and unit normals [n, 3]."""

    points: Array
    normals: Array


class Surface:
    """A mesh: positions [v, 3], triangles [t, 3] of rows in them, and unit normals [v, 3]."""

    def __init__(self, positions: NDArray[np.floating], triangles: NDArray[np.int64]) -> None:
        self.positions = positions.astype(np.float64)
        self.triangles = triangles
        self.normals = vertex_normals(triangles, positions).astype(np.float64)
        self._tree = BVHTree.FromPolygons([Vector(p) for p in self.positions], triangles.tolist())

    def spread(self, density: NDArray[np.floating], count: int, rng: np.random.Generator) -> Roots:
        """Return `count` places, as many to an area as `density` [v] says of its corners."""
        a, b, c = (self.positions[self.triangles[:, corner]] for corner in range(3))
        shares = np.linalg.norm(np.cross(b - a, c - a), axis=1) * density[self.triangles].mean(axis=1)
        chosen = self.triangles[rng.choice(len(shares), count, p=shares / shares.sum())]
        u, v = rng.random((2, count))
        folded = u + v > 1.0
        u, v = np.where(folded, 1.0 - u, u), np.where(folded, 1.0 - v, v)
        weights = np.stack([1.0 - u - v, u, v], axis=1)[..., None]
        return Roots((self.positions[chosen] * weights).sum(axis=1), unit((self.normals[chosen] * weights).sum(axis=1)))

    def nearest(self, point: Array) -> tuple[Array, Array]:
        """Return the foot [3] of a point on the surface, and the normal [3] there."""
        foot, normal, _, _ = self._tree.find_nearest(Vector(point))
        return np.array(foot), np.array(normal)

    def kept_off(self, point: Array, distance: float) -> Array:
        """Return the point, moved out to `distance` from the surface if it is nearer or within."""
        foot, normal = self.nearest(point)
        return np.asarray(point + normal * max(0.0, distance - float((point - foot) @ normal)))


def unit(vectors: Array) -> Array:
    """Return vectors [..., 3] of length 1."""
    return np.asarray(vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9))
