# SPDX-License-Identifier: GPL-3.0-or-later
"""What people wear on their heads: caps, hats, beanies, hoods and glasses, as meshes bound to the resting head."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.synth.facekit import FaceKit, vertex_normals
from training.synth.looks import Colour

Array = NDArray[np.float32]
Indices = NDArray[np.int64]

_BRIM_SEGMENTS, _BRIM_RINGS = 48, 5
_RIM_SEGMENTS, _TUBE_SIDES = 28, 5
_CLOTH_SHADES = (0.012, 0.03, 0.08, 0.25, 0.6)


@dataclass(frozen=True)
class Headgear:
    """A shell about the head, and a brim.

    Attributes:
        kind: "hat" covers what lies above a plane, "hood" all but an opening about the face.
        level: height of the plane in front, or of the opening's middle, decimetres from the nose bridge.
        slope: how the plane rises to the front, or the opening's half width.
        reach: the opening's half height; hats have none.
        offset: thickness, and puff: how much it swells upwards, decimetres.
        brim: its width, and whether it is a visor in front alone; droop is downwards.
    """

    kind: Literal["hat", "hood"]
    level: float
    slope: float
    reach: float
    offset: float
    puff: float
    colour: Colour
    stripes: Colour
    brim: float = 0.0
    visor: bool = True
    droop: float = 0.0


@dataclass(frozen=True)
class Glasses:
    """Frames and lenses, in decimetres; `squareness` is the exponent of the rims' curve, 2 for ellipses."""

    half_width: float
    half_height: float
    squareness: float
    thickness: float
    drop: float
    colour: Colour
    shine: float
    lens_colour: Colour
    lens_cover: float
    rimless: bool = False


def sample_headgear(rng: np.random.Generator) -> Headgear | None:
    """Return what one in six wears: a cap, a hat with a brim, a beanie, a hood or a headscarf."""
    if rng.random() > 0.17:
        return None
    colour = _cloth(rng)
    stripes = (0.0, float(rng.uniform(0.3, 2.5)), float(rng.random() < 0.3))
    if rng.random() < 0.24:
        return Headgear(
            "hood",
            level=float(rng.uniform(-0.35, -0.2)),
            slope=float(rng.uniform(0.56, 0.76)),
            reach=float(rng.uniform(0.86, 1.06)),
            offset=float(rng.uniform(0.05, 0.2)),
            puff=float(rng.uniform(0.0, 0.12)),
            colour=colour,
            stripes=stripes,
        )
    brimmed = rng.random()
    visor = brimmed < 0.45
    return Headgear(
        "hat",
        level=float(rng.uniform(0.16, 0.55)),
        slope=float(rng.uniform(0.1, 0.5)),
        reach=0.0,
        offset=float(rng.uniform(0.04, 0.12)),
        puff=float(rng.uniform(0.0, 0.35)),
        colour=colour,
        stripes=stripes,
        brim=float(rng.uniform(0.35, 0.7) if visor else rng.uniform(0.2, 0.75)) if brimmed < 0.7 else 0.0,
        visor=visor,
        droop=float(rng.uniform(-0.05, 0.25)),
    )


def sample_glasses(rng: np.random.Generator) -> Glasses | None:
    """Return the glasses of one in six; some are sunglasses."""
    if rng.random() > 0.17:
        return None
    metal = rng.random() < 0.4
    dark = rng.random() < 0.25
    shade = 10 ** rng.uniform(-2.1, -0.3) if rng.random() < 0.35 else rng.uniform(0.004, 0.03)
    colour = shade * np.exp(rng.normal(0, 0.25) * np.array([1.0, 0.3, -1.0]))
    lens = (0.02 if dark else 0.6) * np.exp(rng.normal(0, 0.3, 3))
    half_width = rng.uniform(0.2, 0.27) + (0.03 if dark else 0.0)
    return Glasses(
        half_width=float(half_width),
        half_height=float(half_width * rng.uniform(0.5, 0.95)),
        squareness=float(rng.uniform(2.0, 5.0)),
        thickness=float(rng.uniform(0.006, 0.014) if metal else rng.uniform(0.012, 0.032)),
        drop=float(rng.uniform(0.0, 0.1)),
        colour=_colour(colour),
        shine=float(rng.uniform(0.5, 1.2) if metal else rng.uniform(0.05, 0.4)),
        lens_colour=_colour(lens),
        lens_cover=float(rng.uniform(0.6, 0.98) if dark else rng.uniform(0.0, 0.12)),
        rimless=bool(rng.random() < 0.1 and not dark),
    )


class HeadgearMesh:
    """A shell of the head's own faces, and a brim; both lie where a resting head has them."""

    def __init__(self, kit: FaceKit) -> None:
        base = kit.body.base
        marks = _marks(kit, base)
        self.bridge, chin = marks[27], marks[8]
        faces = kit.render_vertex[kit.triangles]
        head = (base[faces][:, :, 1] > chin[1] - 1.1).all(axis=1)
        self.rows, inverse = np.unique(faces[head], return_inverse=True)
        shell = inverse.reshape(-1, 3)
        self.normals = vertex_normals(faces, base)[self.rows]
        self.weights = kit.body.weights[self.rows]
        self.rest = base[self.rows]
        # Ears lie flat below.
        above = self.rest[:, 1] > chin[1] + 0.3
        widest = abs(float(marks[0, 0])) + 0.06
        flat = np.clip(self.rest[:, 0], -widest, widest)
        self.flatten = np.where(above, flat - self.rest[:, 0], 0.0).astype(np.float32)
        ring = np.arange(_BRIM_SEGMENTS)
        quads = []
        for inner in range(_BRIM_RINGS - 1):
            a, b = inner * _BRIM_SEGMENTS + ring, inner * _BRIM_SEGMENTS + (ring + 1) % _BRIM_SEGMENTS
            quads += [np.stack([a, b, a + _BRIM_SEGMENTS], 1), np.stack([b, b + _BRIM_SEGMENTS, a + _BRIM_SEGMENTS], 1)]
        self.triangles: Indices = np.concatenate([shell, len(self.rows) + np.concatenate(quads)])
        self.count = len(self.rows) + _BRIM_SEGMENTS * _BRIM_RINGS
        self._base = base[self.rows]
        self._head_bone = kit.rig.bones.index("head")
        bones = np.zeros((_BRIM_SEGMENTS * _BRIM_RINGS, kit.body.weights.shape[1]), np.float32)
        bones[:, self._head_bone] = 1.0
        self.all_weights = np.concatenate([self.weights, bones])
        # The brim is never cut away: it stands at the top of the head for the shader.
        crown = np.tile(np.array([0.0, base[:, 1].max() + 0.3, 0.0], np.float32), (len(bones), 1))
        self.all_rest: Array = np.concatenate([self._base, crown]).astype(np.float32)

    def place(self, gear: Headgear, body_rest: Array) -> Array:
        """Return rest positions [n, 3] on a morphed body."""
        top = np.clip((self._base[:, 1] - self.bridge[1] - 0.2) / 0.8, 0.0, 1.0) ** 2
        shell = body_rest[self.rows] + self.normals * np.float32(gear.offset)
        shell[:, 0] += self.flatten
        shell[:, 1] += (gear.puff * top).astype(np.float32)
        return np.concatenate([shell, self._brim(gear, shell)]).astype(np.float32)

    def _brim(self, gear: Headgear, shell: Array) -> Array:
        nothing = np.repeat(shell[:1], _BRIM_SEGMENTS * _BRIM_RINGS, axis=0)
        edge = self._base[:, 1] - self.bridge[1] - gear.level - gear.slope * (self._base[:, 2] - self.bridge[2])
        near = np.abs(edge) < 0.15
        if not gear.brim or near.sum() < 12:
            return nothing
        band = shell[near] - np.outer(edge[near], [0.0, 1.0, 0.0])
        middle = 0.5 * (band.min(axis=0) + band.max(axis=0))
        # The edge of the hat, round the head from its front: a smooth closed curve through the band.
        around = np.arctan2(band[:, 0] - middle[0], band[:, 2] - middle[2])
        angle = np.linspace(0, 2 * np.pi, _BRIM_SEGMENTS, endpoint=False)
        apart = np.abs((around[None] - angle[:, None] + np.pi) % (2 * np.pi) - np.pi)
        weights = np.exp(-((apart / 0.22) ** 2)) + 1e-9
        curve = (weights @ band) / weights.sum(axis=1, keepdims=True)
        out = np.stack([np.sin(angle), np.zeros_like(angle), np.cos(angle)], axis=1)
        forward = np.cos(angle)
        reach = gear.brim * (np.clip(forward * 1.25 - 0.25, 0.0, 1.0) ** 0.5 if gear.visor else np.ones(len(angle)))
        rings = []
        for ring in np.linspace(0.0, 1.0, _BRIM_RINGS):
            # It begins within the hat.
            point = curve + out * (ring * (reach + 0.05) - 0.04)[:, None]
            # It hangs more at the sides.
            point[:, 1] -= gear.droop * ring * reach * (1.0 + 0.8 * np.sin(angle) ** 2)
            rings.append(point)
        return np.concatenate(rings)


class GlassesMesh:
    """Two rims, a bridge and temples as tubes, and two lenses."""

    def __init__(self, kit: FaceKit) -> None:
        self._kit = kit
        tubes = [_tube(_RIM_SEGMENTS, closed=True)] * 2 + [_tube(8, closed=False)] + [_tube(6, closed=False)] * 2
        triangles, start = [], 0
        for faces, count in tubes:
            triangles.append(faces + start)
            start += count
        self.triangles: Indices = np.concatenate(triangles)
        self.count = start
        ring = np.arange(_RIM_SEGMENTS)
        fan = np.stack([np.full_like(ring, _RIM_SEGMENTS), ring, (ring + 1) % _RIM_SEGMENTS], axis=1)
        self.lens_triangles: Indices = np.concatenate([fan, fan + _RIM_SEGMENTS + 1])
        self.lens_count = 2 * (_RIM_SEGMENTS + 1)

    def place(self, glasses: Glasses, body_rest: Array) -> tuple[Array, Array]:
        """Return rest positions of the frames [n, 3] and of the lenses [m, 3] on a morphed body."""
        marks = _marks(self._kit, body_rest)
        right, left = marks[36:42].mean(axis=0), marks[42:48].mean(axis=0)
        middle = 0.5 * (right + left)
        # They sit on the nose, before the brows and the lashes.
        front = max(float(marks[28, 2]) + 0.005, float(marks[[19, 24], 2].max()) + 0.01, float(middle[2]) + 0.14)
        apart = 0.5 * abs(float(left[0] - right[0]))
        half_width = min(glasses.half_width, 0.92 * apart)
        angle = np.linspace(0, 2 * np.pi, _RIM_SEGMENTS, endpoint=False)
        power = 2.0 / glasses.squareness
        outline = np.stack(
            [
                half_width * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power,
                glasses.half_height * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power,
            ],
            axis=1,
        )
        parts, lenses = [], []
        thickness = 0.002 if glasses.rimless else glasses.thickness

        def at(x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.floating]:
            """Lenses lean a little and wrap about the face."""
            height = y - middle[1]
            return np.stack([x, y, front + 0.14 * height - 0.22 * x**2], axis=-1)

        for side in (-1, 1):
            rim = at(side * apart * 1.03 + outline[:, 0], middle[1] - glasses.drop + outline[:, 1])
            parts.append(_swept(rim, thickness, closed=True))
            lenses.append(np.concatenate([rim, rim.mean(axis=0, keepdims=True)]))
        inner = apart * 1.03 - half_width
        t = np.linspace(-1, 1, 8)
        height = middle[1] - glasses.drop + 0.25 * glasses.half_height
        parts.append(_swept(at(t * inner, height + 0.03 * (1 - t**2)), glasses.thickness, closed=False))
        hinge = apart * 1.03 + half_width
        for side, ear in ((-1, marks[0]), (1, marks[16])):
            start = at(np.array(side * hinge), np.array(height + 0.1 * glasses.half_height))
            # The ears stand a little out from the contour, and behind it.
            end = np.array([ear[0] + side * 0.07, ear[1] + 0.04, ear[2] - 0.35])
            path = start + np.linspace(0, 1, 6)[:, None] * (end - start)
            path[1:3, 0] = np.sign(side) * np.maximum(np.abs(path[1:3, 0]), np.abs(start[0]) + 0.02)
            parts.append(_swept(path, 0.8 * glasses.thickness, closed=False))
        return np.concatenate(parts).astype(np.float32), np.concatenate(lenses).astype(np.float32)


def _marks(kit: FaceKit, body_rest: Array) -> Array:
    rows = kit.landmark_rows
    return np.asarray((body_rest[rows.pairs] * rows.pair_weights[..., None]).sum(axis=1), np.float32)


def _tube(segments: int, closed: bool) -> tuple[Indices, int]:
    """Return the triangles of a tube along a path of `segments` points, and its number of vertices."""
    faces = []
    for point in range(segments if closed else segments - 1):
        following = (point + 1) % segments
        for side in range(_TUBE_SIDES):
            a, b = point * _TUBE_SIDES + side, point * _TUBE_SIDES + (side + 1) % _TUBE_SIDES
            c, d = following * _TUBE_SIDES + side, following * _TUBE_SIDES + (side + 1) % _TUBE_SIDES
            faces += [(a, c, b), (b, c, d)]
    return np.array(faces, np.int64), segments * _TUBE_SIDES


def _swept(path: NDArray[np.floating], radius: float, closed: bool) -> NDArray[np.floating]:
    """Return the vertices of a tube about a path [n, 3], ring by ring."""
    if closed:
        along = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0)
    else:
        along = np.gradient(path, axis=0)
    along = along / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9)
    side = np.cross(along, np.array([0.31, 0.17, 1.0]))
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-9
    other = np.cross(along, side)
    angles = np.linspace(0, 2 * np.pi, _TUBE_SIDES, endpoint=False)
    ring = np.cos(angles)[None, :, None] * side[:, None] + np.sin(angles)[None, :, None] * other[:, None]
    return (path[:, None] + radius * ring).reshape(-1, 3)


def _cloth(rng: np.random.Generator) -> Colour:
    shade = rng.choice(_CLOTH_SHADES) * np.exp(rng.normal(0, 0.25))
    hue = rng.random(3) + 0.1
    return _colour(np.clip(shade * (1.0 + rng.uniform(0.0, 1.0) * (hue / hue.mean() - 1.0)), 0.005, 0.8))


def _colour(values: NDArray[np.floating]) -> Colour:
    return float(values[0]), float(values[1]), float(values[2])
