# SPDX-License-Identifier: GPL-3.0-or-later
"""The toy head as a mesh: the surface's grid cut open at the eyes and the mouth, with lid rims and a mouth cavity."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.toykit import surface
from training.toykit.surface import Array

Indices = NDArray[np.int64]

# Where the mouth cavity's rings stand behind the lips: depth, half height, width of the lips'.
_CAVITY_RINGS = ((0.05, 0.012, 1.0), (0.16, 0.12, 1.12), (0.42, 0.16, 1.1), (0.66, 0.10, 0.8))
_CAVITY_END = (0.0, 6.63, 0.70)
# The skin atlas: its height runs along u, its turn about the head along v, and the cavity has a corner of its own.
_ATLAS_U = (0.294, 0.16)
_ATLAS_V = (0.5, 0.14)
CAVITY_PATCH = (0.90, 0.90, 0.98, 0.98)


@dataclass(frozen=True)
class Slit:
    """An opening: vertices of its upper and lower margin from the subject's right to left, corners in both."""

    upper: Indices
    lower: Indices


@dataclass(frozen=True)
class HeadMesh:
    """The body of the toy head.

    Attributes:
        points: [v, 3], rest positions.
        row, column: [v], the grid place; rims and the cavity have that of their margin.
        depth: [v], 0 on the skin, 1 on lid rims, 2 and more inside the mouth.
        lower: [v], whether a vertex is below the mouth's opening.
        corner: [v], whether it is on the line between the upper and the lower half of the mouth.
        above, below: [rows, columns], the vertex that quads above or below a grid place use.
        mouth, eyes: the openings; eyes are the subject's right, then left.
        triangles: [t, 3] into render vertices; render_vertex [r] into vertices; uv [r, 2].
    """

    points: Array
    row: Indices
    column: Indices
    depth: Indices
    lower: NDArray[np.bool_]
    corner: NDArray[np.bool_]
    above: Indices
    below: Indices
    mouth: Slit
    eyes: tuple[Slit, Slit]
    triangles: Indices
    render_vertex: Indices
    uv: Array

    @property
    def vertex_triangles(self) -> Indices:
        """The triangles [t, 3] into vertices."""
        return self.render_vertex[self.triangles]


def middle_column() -> int:
    """Return the grid column of the middle of the face."""
    return len(surface.FRONT_SINES) - 1 + len(surface.BACK_DEGREES)


class _Builder:
    """Vertices and triangles as they come."""

    def __init__(self) -> None:
        self.points: list[Array] = []
        self.row: list[int] = []
        self.column: list[int] = []
        self.depth: list[int] = []
        self.lower: list[bool] = []
        self.triangles: list[tuple[int, int, int]] = []

    def vertex(self, point: Iterable[float], row: int, column: int, depth: int = 0, lower: bool = False) -> int:
        self.points.append(np.array(list(point), np.float64))
        self.row.append(row)
        self.column.append(column)
        self.depth.append(depth)
        self.lower.append(lower)
        return len(self.points) - 1

    def strip(self, top: Indices, bottom: Indices) -> None:
        """Join two rows of vertices that run from the picture's left to its right, seen from outside."""
        for left in range(len(top) - 1):
            a, b, c, d = int(top[left]), int(bottom[left]), int(bottom[left + 1]), int(top[left + 1])
            for triangle in ((a, b, c), (a, c, d)):
                if len(set(triangle)) == 3:
                    self.triangles.append(triangle)


def build_head() -> HeadMesh:
    """Return the toy head's mesh."""
    grid = np.concatenate([surface.head_points(), surface.neck_points()])
    rows, columns = grid.shape[:2]
    builder = _Builder()
    above = np.zeros((rows, columns), np.int64)
    for row in range(rows):
        for column in range(columns):
            above[row, column] = builder.vertex(grid[row, column], row, column, lower=row > surface.MOUTH_ROW)
    below = above.copy()
    middle = middle_column()
    mouth = _cut(builder, above, below, surface.MOUTH_ROW, middle - surface.MOUTH_COLUMN, middle + surface.MOUTH_COLUMN)
    inner, outer = surface.EYE_COLUMNS
    eyes = (
        _cut(builder, above, below, surface.EYE_ROW, middle - outer, middle - inner),
        _cut(builder, above, below, surface.EYE_ROW, middle + inner, middle + outer),
    )
    _open_eyes(builder, grid.shape[0])
    crown = builder.vertex((0.0, 8.385, 0.35), 0, middle)
    for column in range(columns):
        after = (column + 1) % columns
        builder.triangles.append((crown, int(above[0, column]), int(above[0, after])))
    for row in range(rows - 1):
        builder.strip(np.append(below[row], below[row, 0]), np.append(above[row + 1], above[row + 1, 0]))
    for eye in eyes:
        _lid_rims(builder, eye)
    _cavity(builder, mouth)
    return _finish(builder, above, below, mouth, eyes)


def _cut(builder: _Builder, above: Indices, below: Indices, row: int, first: int, last: int) -> Slit:
    """Cut the grid along a row between two columns; the corners stay shared."""
    for column in range(first + 1, last):
        point = builder.points[int(above[row, column])]
        below[row, column] = builder.vertex(point, row, column, lower=row >= surface.MOUTH_ROW)
    return Slit(above[row, first : last + 1].copy(), below[row, first : last + 1].copy())


def lid_amounts(points: Array, rows: Indices, upper: NDArray[np.bool_]) -> Array:
    """Return how much each vertex takes part in a lid's movement, 0 to 1, on either eye.

    Args:
        points: [v, 3]; rows [v] grid rows; upper [v] whether a vertex of the eyes' row is on the upper lid.
    """
    nominal = np.append(np.array(surface.HEAD_ROWS), surface.NECK_RINGS[:, 0])[rows]
    across = lens_across(points)
    away = nominal - surface.EYE_Y
    fade = np.where(upper, 1.0 - away / 0.13, 1.0 + away / 0.10)
    inside = np.where(upper, away >= 0, away <= 0) & (points[:, 2] > 0.8)
    return np.where(inside, np.clip(fade, 0.0, 1.0) * across, 0.0)


def lens_across(points: Array) -> Array:
    """Return the eye opening's almond, 0 to 1, at each point's distance from the middle of the face."""
    return surface.lens(np.abs(points[:, 0]) - surface.EYE_X, surface.EYE_HALF_WIDTH)


def _open_eyes(builder: _Builder, rows: int) -> None:
    points = np.array(builder.points)
    row = np.array(builder.row)
    # Cut vertices are appended after the grid, and they are the lower margins.
    grid = rows * (2 * middle_column() + 2)
    upper = (row < surface.EYE_ROW) | ((row == surface.EYE_ROW) & (np.arange(len(points)) < grid))
    rise = np.where(upper, surface.LID_RISE_UPPER, -surface.LID_RISE_LOWER) * lid_amounts(points, row, upper)
    moved = points.copy()
    moved[:, 1] += rise
    x = np.abs(points[:, 0])
    flat = surface.lid_depth(x, points[:, 1], points[:, 2])
    moved[:, 2] += np.where(rise != 0, surface.lid_depth(x, moved[:, 1], points[:, 2]) - flat, 0.0)
    builder.points = list(moved)


def _lid_rims(builder: _Builder, eye: Slit) -> None:
    """Give the lids a thickness that reaches into the eyeball, so that no gap shows beside it."""

    def rim(margin: Indices) -> Indices:
        made = []
        for vertex in margin:
            x, y, z = builder.points[int(vertex)]
            made.append(builder.vertex((x, y, z - 0.06), builder.row[int(vertex)], builder.column[int(vertex)], 1))
        return np.array(made)

    upper = rim(eye.upper)
    lower = np.concatenate([upper[:1], rim(eye.lower[1:-1]), upper[-1:]])
    builder.strip(eye.upper, upper)
    builder.strip(lower, eye.lower)


def _cavity(builder: _Builder, mouth: Slit) -> None:
    upper, lower = mouth.upper, mouth.lower
    half = surface.lens(np.linspace(-1, 1, len(upper)), 1.0, 0.5)
    for number, (depth, height, width) in enumerate(_CAVITY_RINGS):
        rings: list[Indices] = []
        for sign, margin in ((1.0, mouth.upper), (-1.0, mouth.lower)):
            ring: list[int] = []
            for place, vertex in enumerate(margin):
                if rings and place in (0, len(margin) - 1):
                    ring.append(int(rings[0][place]))
                    continue
                x, y, z = builder.points[int(vertex)]
                inside = (x * width, y + sign * height * half[place], z - depth)
                column = builder.column[int(vertex)]
                ring.append(builder.vertex(inside, surface.MOUTH_ROW, column, 2 + number, sign < 0))
            rings.append(np.array(ring))
        builder.strip(upper, rings[0])
        builder.strip(rings[1], lower)
        upper, lower = rings
    end = builder.vertex(_CAVITY_END, surface.MOUTH_ROW, middle_column(), 2 + len(_CAVITY_RINGS))
    builder.strip(upper, np.full(len(upper), end))
    builder.strip(np.full(len(lower), end), lower)


def _corners(builder: _Builder, mouth: Slit) -> NDArray[np.bool_]:
    column, depth = np.array(builder.column), np.array(builder.depth)
    ends = np.isin(column, [builder.column[int(mouth.upper[0])], builder.column[int(mouth.upper[-1])]])
    corner = ends & (depth >= 2)
    corner[mouth.upper[[0, -1]]] = True
    return corner


def _finish(builder: _Builder, above: Indices, below: Indices, mouth: Slit, eyes: tuple[Slit, Slit]) -> HeadMesh:
    points = np.array(builder.points)
    column = np.array(builder.column)
    depth = np.array(builder.depth)
    triangles = np.array(builder.triangles, np.int64)
    last = above.shape[1] - 1
    uv = _atlas(points, depth)
    faces = triangles.copy()
    # The seam runs down the back: its last column once more, on the atlas's other edge.
    seam = np.flatnonzero((column == last) & (depth == 0))
    seam_faces = (uv[triangles, 1] < 0.4).any(axis=1) & np.isin(triangles, seam).any(axis=1)
    # The first ring behind the lips is skin towards them and cavity behind.
    ring = np.flatnonzero(depth == 2)
    ring_faces = (depth[triangles] >= 3).any(axis=1)
    first = len(points)
    for edge, marked in ((seam, seam_faces), (ring, ring_faces)):
        copy = np.arange(len(points))
        copy[edge] = np.arange(first, first + len(edge))
        faces[marked] = copy[triangles[marked]]
        first += len(edge)
    mirrored = uv[seam] * [1.0, -1.0] + [0.0, 2 * _ATLAS_V[0]]
    return HeadMesh(
        points=points,
        row=np.array(builder.row),
        column=column,
        depth=depth,
        lower=np.array(builder.lower),
        corner=_corners(builder, mouth),
        above=above,
        below=below,
        mouth=mouth,
        eyes=eyes,
        triangles=faces,
        render_vertex=np.concatenate([np.arange(len(points)), seam, ring]),
        uv=np.concatenate([uv, mirrored, _cavity_uv(points[ring])]),
    )


def _atlas(points: Array, depth: Indices) -> Array:
    x, y, z = points.T
    angle = np.arctan2(x, z - 0.3)
    uv = np.stack([_ATLAS_U[0] + _ATLAS_U[1] * (7.3 - y), _ATLAS_V[0] + _ATLAS_V[1] * 0.95 * angle], axis=1)
    inside = depth >= 3
    uv[inside] = _cavity_uv(points[inside])
    return uv


def _cavity_uv(points: Array) -> Array:
    left, low, right, high = CAVITY_PATCH
    across = np.clip(0.5 + points[:, 0] / 0.6, 0.0, 1.0)
    along = np.clip((1.5 - points[:, 2]) / 0.8, 0.0, 1.0)
    return np.stack([left + (right - left) * along, low + (high - low) * across], axis=1)
