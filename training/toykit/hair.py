# SPDX-License-Identifier: GPL-3.0-or-later
"""The toy head's hair: caps lifted off the scalp, and curtains of strands hanging from them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.toykit import surface
from training.toykit.body import Body
from training.toykit.mesh import Indices
from training.toykit.proxies import Patch, ProxyMesh, bound, joined, on_vertices, sheet
from training.toykit.skeleton import BONE_NAMES
from training.toykit.surface import Array, smooth_step

# Grid row from which curtains hang.
_CURTAIN_ROW = 17


@dataclass(frozen=True)
class Style:
    """A haircut: how far it stands off the head, its hairline at the forehead, and the curtain's end and opening."""

    lift: float
    forehead: float = 7.80
    curtain_end: float | None = None
    curtain_degrees: float = 97.0


STYLES = {
    "short01": Style(0.06),
    "short02": Style(0.09, 7.72),
    "short03": Style(0.08, 7.55),
    "short04": Style(0.035, 7.85),
    "bob01": Style(0.09, 7.55, 6.35),
    "bob02": Style(0.08, 7.60, 6.45),
    "long01": Style(0.07, 7.75, 5.50),
    "ponytail01": Style(0.04, 7.85, 5.90, 145.0),
    "braid01": Style(0.06, 7.60, 6.10, 107.0),
    "afro01": Style(0.26, 7.72),
}


def build_hair(body: Body) -> Iterator[ProxyMesh]:
    """Yield every haircut."""
    for name, style in STYLES.items():
        yield _haircut(body, name, style)


def _normals(body: Body) -> Array:
    head = body.head
    triangles = head.vertex_triangles
    a, b, c = (head.points[triangles[:, corner]] for corner in range(3))
    normals = np.zeros_like(head.points)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], np.cross(b - a, c - a))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _haircut(body: Body, name: str, style: Style) -> ProxyMesh:
    head = body.head
    degrees = np.abs(np.degrees(surface.column_angles()))[head.column]
    hairline = np.interp(
        degrees, [0, 40, 65, 85, 112, 130, 180], [style.forehead, style.forehead, 7.62, 7.36, 7.30, 6.60, 6.45]
    )
    grown = (head.points[:, 1] > hairline) & (head.row <= surface.JAW_ROW) & (head.depth == 0)
    cap, followed = _cap(body, style, grown)
    patches = [cap]
    if style.curtain_end is not None:
        curtain, hung = _curtain(body, style, style.curtain_end)
        patches.append(curtain)
        followed = np.concatenate([followed, hung])
    patch = joined(patches)
    hair = bound(body, name, "hair", name, patch, *on_vertices(followed))
    # Long ends lie on the shoulders, which turn less than the head.
    low = smooth_step((6.6 - patch.points[:, 1]) / 1.2)[:, None]
    rooted = np.zeros_like(hair.weights)
    rooted[:, BONE_NAMES.index("root_static")] = 1.0
    hair.weights[:] = (1.0 - low) * hair.weights + low * rooted
    return hair


def _cap(body: Body, style: Style, grown: np.ndarray) -> tuple[Patch, Indices]:
    """Return the scalp's triangles lifted along their normals, and the body vertex that each vertex follows."""
    head = body.head
    triangles = head.triangles[grown[head.vertex_triangles].all(axis=1)]
    edge = np.zeros(len(head.points), np.bool_)
    mixed = head.vertex_triangles[grown[head.vertex_triangles].any(axis=1) & ~grown[head.vertex_triangles].all(axis=1)]
    edge[mixed.ravel()] = True
    used = np.unique(triangles)
    place = np.full(len(head.render_vertex), -1, np.int64)
    place[used] = np.arange(len(used))
    vertices = head.render_vertex[used]
    # The edge lies closer to the skin and has the texture's frayed ends.
    lift = np.where(edge[vertices], 0.4, 1.0)[:, None] * style.lift
    points = head.points[vertices] + lift * _normals(body)[vertices]
    strands = np.where(edge[vertices], 0.10, 0.35 + 0.3 * np.clip(head.points[vertices, 1] - 6.4, 0.0, 2.0))
    uv = np.stack([(head.uv[used, 1] - 0.07) / 0.86, strands], axis=1)
    return Patch(points, uv, place[triangles]), vertices


def _curtain(body: Body, style: Style, end: float) -> tuple[Patch, Indices]:
    """Return a sheet hanging down from the back of the head, and the body vertices at its top."""
    head = body.head
    angles = np.degrees(surface.column_angles())
    columns = np.flatnonzero(np.abs(angles) >= style.curtain_degrees - 0.5)
    # From behind the left ear round the back to behind the right one.
    columns = columns[np.argsort(angles[columns] % 360.0, kind="stable")]
    top = head.above[_CURTAIN_ROW, columns]
    start = head.points[top]
    outward = start - [0.0, start[:, 1].mean(), 0.25]
    outward[:, 1] = 0.0
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    heights = np.linspace(7.20, end, 7)
    rows = []
    for height in heights:
        fallen = (7.20 - height) / 1.7
        flare = style.lift + 0.16 * fallen - 0.25 * max(0.0, fallen - 0.5)
        row = start + flare * outward
        row[:, 1] = height
        rows.append(row)
    u = np.linspace(0.02, 0.98, len(columns))
    v = np.linspace(0.9, 0.05, len(heights))
    uv = np.stack(np.meshgrid(u, v), axis=-1)
    return sheet(np.array(rows), uv), np.tile(top, len(heights))
