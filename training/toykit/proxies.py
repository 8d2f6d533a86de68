# SPDX-License-Identifier: GPL-3.0-or-later
"""The toy head's bound meshes: eyes with corneas, teeth, a tongue, brows and lashes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.toykit import surface
from training.toykit.body import LOWER_TEETH, UPPER_TEETH, Body
from training.toykit.mesh import Indices
from training.toykit.surface import Array, bump

# In the iris textures the eyeballs are discs, and one spot without alpha colours the corneas.
EYE_DISCS = {"eye.L": (0.29, 0.29), "eye.R": (0.71, 0.71)}
EYE_DISC_RADIUS = 0.24
EYE_DISC_DEGREES = 110.0
CORNEA_SPOT = (0.93, 0.07)
_CORNEA_DEGREES = 32.0
_CORNEA_RISE = 0.022

LASHES = {"eyelashes01": 0.04, "eyelashes02": 0.05, "eyelashes03": 0.055, "eyelashes04": 0.03}
BROWS = tuple(f"eyebrow{number:03d}" for number in range(1, 13))
TEETH = ("teeth_base", *(f"teeth_shape{number:02d}" for number in range(1, 6)))


@dataclass(frozen=True)
class ProxyMesh:
    """A mesh bound to the body: vertex = Σ weight·V[reference] + offset·scale on the morphed rest mesh.

    Attributes:
        references, reference_weights: [n, 3]; offsets: [n, 3]; weights: [n, b] skinning.
        triangles: [t, 3] into render vertices; render_vertex: [r]; uv: [r, 2].
    """

    name: str
    kind: str
    texture: str
    references: Indices
    reference_weights: Array
    offsets: Array
    weights: Array
    triangles: Indices
    render_vertex: Indices
    uv: Array


@dataclass(frozen=True)
class Patch:
    """Points with uv and triangles, before they are bound."""

    points: Array
    uv: Array
    triangles: Indices


def sheet(points: Array, uv: Array) -> Patch:
    """Return the quads of a grid of points [rows, columns, 3] as triangles."""
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    triangles = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return Patch(points.reshape(-1, 3), uv.reshape(-1, 2), triangles)


def joined(patches: list[Patch]) -> Patch:
    """Return several patches as one."""
    starts = np.cumsum([0] + [len(patch.points) for patch in patches])
    return Patch(
        np.concatenate([patch.points for patch in patches]),
        np.concatenate([patch.uv for patch in patches]),
        np.concatenate([patch.triangles + start for patch, start in zip(patches, starts[:-1], strict=True)]),
    )


def bound(
    body: Body, name: str, kind: str, texture: str, patch: Patch, references: Indices, reference_weights: Array
) -> ProxyMesh:
    """Return a patch bound to body vertices; what the references leave over is the offset."""
    anchor = (body.points[references] * reference_weights[..., None]).sum(axis=1)
    weights = (body.weights[references] * reference_weights[..., None]).sum(axis=1)
    return ProxyMesh(
        name=name,
        kind=kind,
        texture=texture,
        references=references,
        reference_weights=reference_weights,
        offsets=patch.points - anchor,
        weights=weights,
        triangles=patch.triangles,
        render_vertex=np.arange(len(patch.points)),
        uv=patch.uv,
    )


def on_vertices(vertices: Indices) -> tuple[Indices, Array]:
    """Return references that follow one vertex each."""
    return np.repeat(vertices[:, None], 3, axis=1), np.tile([1.0, 0.0, 0.0], (len(vertices), 1))


def on_helper(body: Body, helper: str, count: int) -> tuple[Indices, Array]:
    """Return references of `count` vertices that follow a helper triangle's middle."""
    return np.tile(body.helpers[helper], (count, 1)), np.full((count, 3), 1.0 / 3.0)


def on_face(body: Body, places: Array) -> tuple[Indices, Array]:
    """Return references to the front triangle behind each place (x, y) [n, 2], with barycentric weights."""
    head = body.head
    triangles = head.vertex_triangles
    triangles = triangles[(head.depth[triangles] == 0).all(axis=1) & (head.points[triangles, 2] > 0.75).all(axis=1)]
    a, b, c = (head.points[triangles[:, corner], :2] for corner in range(3))
    (bx, by), (cx, cy) = (b - a).T, (c - a).T
    area = bx * cy - by * cx
    keep = area > 1e-9
    references = np.zeros((len(places), 3), np.int64)
    weights = np.zeros((len(places), 3))
    for number, place in enumerate(places):
        px, py = (place - a).T
        with np.errstate(divide="ignore", invalid="ignore"):
            second, third = (px * cy - py * cx) / area, (bx * py - by * px) / area
        inside = np.where(keep, np.minimum(np.minimum(second, third), 1.0 - second - third), -np.inf)
        best = int(np.argmax(inside))
        references[number] = triangles[best]
        weights[number] = 1.0 - second[best] - third[best], second[best], third[best]
    return references, weights


def build_proxies(body: Body) -> Iterator[ProxyMesh]:
    """Yield the eyes, teeth, tongue, lashes and brows."""
    yield _eyes(body, "eyes_high", 20, (0, 8, 14, 20, 25, 32, 42, 55, 70, 90, 110))
    yield _eyes(body, "eyes_low", 10, (0, 14, 25, 45, 75, 110))
    for number, name in enumerate(TEETH):
        yield _teeth(body, name, number)
    yield _tongue(body)
    for name, length in LASHES.items():
        yield _lashes(body, name, length)
    for number, name in enumerate(BROWS):
        yield _brows(body, name, number)


def _dome(centre: Array, degrees: Array, radii: Array, segments: int) -> Array:
    """Return rings of points [rings, segments + 1, 3] about the Z axis."""
    turn = np.linspace(0.0, 2 * np.pi, segments + 1)[None]
    polar = np.radians(degrees)[:, None]
    shape = [np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar) * np.ones_like(turn)]
    return centre + radii[:, None, None] * np.stack(shape, axis=-1)


def _eyes(body: Body, name: str, segments: int, rings: tuple[int, ...]) -> ProxyMesh:
    patches, references, weights = [], [], []
    for side, sign in (("eye.L", 1.0), ("eye.R", -1.0)):
        centre = surface.EYE_CENTRE * [sign, 1.0, 1.0]
        degrees = np.array(rings, np.float64)
        ball = _dome(centre, degrees, np.full(len(rings), surface.EYE_RADIUS), segments)
        turn = np.linspace(0.0, 2 * np.pi, segments + 1)
        flat = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
        uv = np.array(EYE_DISCS[side]) + (EYE_DISC_RADIUS * degrees / EYE_DISC_DEGREES)[:, None, None] * flat
        over = np.linspace(0.0, 1.0, 5)
        radii = surface.EYE_RADIUS + 0.001 + _CORNEA_RISE * (1.0 - over**2)
        cornea = _dome(centre, _CORNEA_DEGREES * over, radii, segments)
        patch = joined([sheet(ball, uv), sheet(cornea, np.broadcast_to(np.array(CORNEA_SPOT), (*cornea.shape[:2], 2)))])
        patches.append(patch)
        follow, share = on_helper(body, side, len(patch.points))
        references.append(follow)
        weights.append(share)
    return bound(body, name, "eyes", "eyes/*", joined(patches), np.concatenate(references), np.concatenate(weights))


def _teeth(body: Body, name: str, number: int) -> ProxyMesh:
    """Return two arcs, each from the gum down to the edge and back; the variants differ in width and length."""
    arc = np.radians(np.linspace(-75.0, 75.0, 15))
    width = 0.21 + 0.006 * number
    across, back = width * np.sin(arc), -0.30 * (1.0 - np.cos(arc))
    length = 0.075 + 0.006 * (number % 3)
    patches, references, weights = [], [], []
    for helper, centre, sign, v_base in (
        ("upper_teeth", UPPER_TEETH, -1.0, 0.5),
        ("lower_teeth", LOWER_TEETH, 1.0, 0.0),
    ):
        profile = ((-0.05, -0.03, 0.48), (-0.02, 0.0, 0.36), (length, 0.0, 0.04), (length, -0.05, 0.02))
        rows = [
            np.stack([across, np.full(15, centre[1] - sign * 0.035 + sign * down), centre[2] + 0.13 + back + out], -1)
            for down, out, _ in profile
        ]
        u = np.linspace(0.02, 0.98, 15)
        uv = np.stack([np.stack([u, np.full(15, v_base + v)], -1) for _, _, v in profile])
        patch = sheet(np.array(rows), uv)
        patches.append(patch)
        follow, share = on_helper(body, helper, len(patch.points))
        references.append(follow)
        weights.append(share)
    return bound(body, name, "teeth", "teeth", joined(patches), np.concatenate(references), np.concatenate(weights))


def _tongue(body: Body) -> ProxyMesh:
    across, along = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(0, 1, 9))
    half = 0.14 * np.sqrt(np.clip(1.0 - 0.9 * along**4, 0.0, 1.0))
    height = 6.575 + 0.03 * (1 - across**2) - 0.05 * along**2 - 0.05 * across**4
    points = np.stack([across * half, height, 0.80 + 0.50 * along], axis=-1)
    patch = sheet(points, np.stack([0.5 + 0.45 * across, 0.95 - 0.9 * along], axis=-1))
    references, weights = on_helper(body, "tongue", len(patch.points))
    return bound(body, "tongue01", "tongue", "tongue01", patch, references, weights)


def _lashes(body: Body, name: str, length: float) -> ProxyMesh:
    patches, followed = [], []
    for eye in body.head.eyes:
        for margin, up, reach, v in ((eye.upper, 0.35, length, 0.5), (eye.lower, -0.5, 0.4 * length, 0.0)):
            root = body.points[margin] + [0.0, 0.0, 0.002]
            tip = root + reach * np.array([0.0, up, 0.9])
            u = np.linspace(0.03, 0.97, len(margin))
            uv = np.stack([np.stack([u, np.full(len(u), v + top)], -1) for top in (0.48, 0.02)])
            patches.append(sheet(np.stack([tip, root]), uv))
            followed += [margin, margin]
    return bound(body, name, "eyelashes", name, joined(patches), *on_vertices(np.concatenate(followed)))


def _brows(body: Body, name: str, number: int) -> ProxyMesh:
    """Return two strips along the brow ridge; the variants differ in thickness and arch."""
    along, across = np.meshgrid(np.linspace(0.0, 1.0, 10), np.linspace(1.0, -1.0, 3))
    thickness = 0.030 + 0.004 * (number % 4)
    arch = 0.03 + 0.006 * (number % 3)
    patches = []
    for sign in (1.0, -1.0):
        x = sign * (0.125 + 0.41 * along)
        y = 7.395 + arch * bump((along - 0.55) / 0.35) - 0.02 * along**3 + thickness * across * (1.0 - 0.6 * along)
        uv = np.stack([0.03 + 0.94 * along, (0.75 if sign > 0 else 0.25) + 0.2 * across], axis=-1)
        grid = np.stack([x, y, np.zeros_like(x)], axis=-1)
        patches.append(sheet(grid, uv) if sign > 0 else sheet(grid[:, ::-1], uv[:, ::-1]))
    patch = joined(patches)
    references, weights = on_face(body, patch.points[:, :2])
    patch.points[:, 2] = (body.points[references, 2] * weights).sum(axis=1) + 0.012
    return bound(body, name, "eyebrows", name, patch, references, weights)
