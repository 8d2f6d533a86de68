# SPDX-License-Identifier: GPL-3.0-or-later
"""Hair as strands: a few are grown over the head, thousands follow the nearest of them, in locks and frizz.

Lengths are decimetres, as in the face kit: Y up, the face looks along +Z, +X is the subject's left.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.portraiture.surface import Roots, Surface, unit

Array = NDArray[np.float64]
Style = Literal["long", "tied", "curls"]

# Points of a strand, and of a beard's.
POINTS, BEARD_POINTS = 24, 6
_GUIDES, _LOCKS, _FOLLOWED = 1400, 1800, 3
# Rows of strands that are compared with all others at once.
_ROWS = 2048
_DOWN = np.array([0.0, -1.0, 0.0])


@dataclass(frozen=True)
class Hair:
    """How hair is worn.

    Attributes:
        style: "long" falls to both sides of a parting, "tied" goes to a knot at the back, "curls" stand off.
        count: strands.
        length: of the longest, decimetres; what is tied is as long as it must be.
        parting: x of the parting, decimetres.
        locks: how far strands join their lock at the tip, 0 to 1; frizz: how far they stray, decimetres.
    """

    style: Style
    count: int
    length: float
    parting: float
    locks: float
    frizz: float


@dataclass(frozen=True, eq=False)
class Scalp:
    """Where hair grows: the skin, how much of it is scalp [v] (0 to 1), and the face's landmarks [68, 3]."""

    skin: Surface
    hairy: NDArray[np.floating]
    landmarks: NDArray[np.floating]

    @property
    def crown(self) -> Array:
        """The highest and the middle place of the scalp: [3], x = 0."""
        hairy = self.skin.positions[self.hairy > 0.5]
        return np.array([0.0, hairy[:, 1].max(), np.median(hairy[:, 2])])

    @property
    def knot(self) -> Array:
        """Where tied hair goes: [3], at the back of the head."""
        back = self.skin.positions[self.hairy > 0.5][:, 2].min()
        return np.array([0.0, self.crown[1] - 0.75, back - 0.12])


def grow(scalp: Scalp, hair: Hair, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return strands [count, POINTS, 3] from root to tip, float32."""
    guides = scalp.skin.spread((scalp.hairy > 0.5).astype(np.float64), _GUIDES, rng)
    grown = {"long": _long, "tied": _tied, "curls": _standing}[hair.style](scalp, hair, guides, rng)
    roots = scalp.skin.spread(np.clip((scalp.hairy - 0.45) / 0.4, 0.0, 1.0), hair.count, rng)

    followed, weights = _nearest(roots.points, guides.points, _FOLLOWED)
    if hair.style == "long":  # nothing crosses the parting
        side = roots.points[:, 0] > hair.parting
        weights = np.where((guides.points[:, 0] > hair.parting)[followed] == side[:, None], weights, 1e-6)
    weights /= weights.sum(axis=1, keepdims=True)
    ways = (grown - grown[:, :1])[followed]
    strands = roots.points[:, None] + (ways * weights[..., None, None]).sum(axis=1)

    along = np.linspace(0.0, 1.0, POINTS)[None, :, None]
    leaders = rng.integers(0, hair.count, _LOCKS)
    lock = _nearest(roots.points, roots.points[leaders], 1)[0][:, 0]
    joined = hair.locks * np.clip(1.4 * along, 0.0, 1.0) * rng.uniform(0.4, 1.0, (hair.count, 1, 1))
    strands += (strands[leaders][lock] - strands) * joined
    start, turns = rng.uniform(0.0, 2.0 * np.pi, (hair.count, 1, 3)), rng.uniform(1.0, 3.0, (hair.count, 1, 3))
    stray = hair.frizz * rng.gamma(1.5, 1.0, (hair.count, 1, 1)) * np.clip(3.0 * along, 0.0, 1.0)
    strands += stray * np.sin(2.0 * np.pi * turns * along + start)
    if hair.style == "curls":
        strands += _coils(roots, lock, rng)
    return strands.astype(np.float32)


def grow_beard(
    skin: Surface, bearded: NDArray[np.floating], count: int, length: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return short hair [count, BEARD_POINTS, 3] that hangs from where the skin is `bearded` [v], 0 to 1; float32."""
    roots = skin.spread(bearded, count, rng)
    way = unit(0.5 * roots.normals + [0.0, -0.9, 0.1] + rng.normal(0.0, 0.25, roots.normals.shape))
    along = np.linspace(0.0, 1.0, BEARD_POINTS)[None, :, None]
    lengths = length * rng.uniform(0.5, 1.2, (count, 1, 1))
    bend = 0.006 * np.sin(np.pi * along) * roots.normals[:, None]
    return (roots.points[:, None] + way[:, None] * lengths * along + bend).astype(np.float32)


def _long(scalp: Scalp, hair: Hair, guides: Roots, rng: np.random.Generator) -> Array:
    """Return guides that leave the parting to its two sides, and fall."""
    marks, crown = scalp.landmarks, scalp.crown
    cheek, ear, brows = abs(float(marks[0, 0])), float(marks[0, 2]) + 0.35, float(marks[27, 1]) + 0.35

    def strand(point: Array, normal: Array) -> Array:
        side = 1.0 if point[0] > hair.parting else -1.0
        behind = float(np.clip((crown[2] + 0.1 - point[2]) / 0.8, 0.0, 1.0))
        way = unit(0.35 * normal + [side, 0.15, -0.12 - 0.5 * behind])
        longer = 0.25 * float(np.clip(point[1] - marks[27, 1] - 0.3, 0.0, 1.0))
        step = (hair.length + rng.normal(0.0, 0.12) + longer) / (POINTS - 1)
        off = 0.085 * (0.25 + 0.75 * rng.random())
        places = [point]
        for number in range(1, POINTS):
            near = min(1.0, number / 5)
            way = unit(way + _DOWN * (0.22 + 0.35 * near))
            place = scalp.skin.kept_off(places[-1] + way * step, 0.02 + off * near)
            if place[2] > ear and place[1] < brows:  # beside the face, not over it
                out = max(abs(place[0]), 0.5 * (abs(place[0]) + cheek))
                place = np.array([side * out, place[1], place[2] - 0.04])
            way = unit(0.75 * way + 0.25 * unit(place - places[-1]))
            places.append(place)
        return np.stack(places)

    return _each(guides, strand)


def _tied(scalp: Scalp, hair: Hair, guides: Roots, rng: np.random.Generator) -> Array:
    """Return guides that lie along the head to the knot."""
    knot = scalp.knot

    def strand(point: Array, normal: Array) -> Array:
        way, step = 0.6 * normal, 1.25 * float(np.linalg.norm(knot - point)) / (POINTS - 1)
        off = 0.085 * rng.uniform(0.5, 1.0)
        places = [point]
        for number in range(1, POINTS):
            ahead = knot - places[-1]
            left = float(np.linalg.norm(ahead))
            _, outward = scalp.skin.nearest(places[-1])
            straight = ahead / (left + 1e-9)
            way = unit(0.35 * way + 0.65 * unit(straight - outward * min(0.0, float(straight @ outward))))
            near = min(1.0, number / 6)
            places.append(scalp.skin.kept_off(places[-1] + way * min(step, 0.5 * left), 0.02 + off * near))
        return np.stack(places)

    return _each(guides, strand)


def _standing(scalp: Scalp, hair: Hair, guides: Roots, rng: np.random.Generator) -> Array:
    """Return guides that stand off straight, shorter at the sides."""
    height = (guides.points[:, 1] - scalp.landmarks[27, 1]) / 0.9
    lengths = hair.length * rng.uniform(0.7, 1.0, len(height)) * np.clip(0.45 + 0.7 * height, 0.35, 1.0)
    along = np.linspace(0.0, 1.0, POINTS)[None, :, None]
    return guides.points[:, None] + guides.normals[:, None] * lengths[:, None, None] * along


def _each(guides: Roots, strand: Callable[[Array, Array], Array]) -> Array:
    return np.stack([strand(*root) for root in zip(guides.points, guides.normals, strict=True)])


def _coils(roots: Roots, lock: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """Return what winds strands about their way, those of one lock alike."""
    radius, turns = rng.uniform(0.021, 0.046, (_LOCKS, 1))[lock], rng.uniform(2.0, 3.5, (_LOCKS, 1))[lock]
    along = np.linspace(0.0, 1.0, POINTS)[None]
    angle = 2.0 * np.pi * turns * along + rng.uniform(0.0, 2.0 * np.pi, (_LOCKS, 1))[lock]
    across = unit(np.cross(roots.normals, [0.3, 0.9, 0.2]))
    upright = np.cross(roots.normals, across)
    wide = radius * np.clip(2.0 * along, 0.0, 1.0)
    return (wide * np.cos(angle))[..., None] * across[:, None] + (wide * np.sin(angle))[..., None] * upright[:, None]


def _nearest(points: Array, others: Array, count: int) -> tuple[NDArray[np.int64], Array]:
    """Return the nearest `count` rows of `others` [n, count], and weights that fall with the distance."""
    rows, weights = [], []
    for start in range(0, len(points), _ROWS):
        part = points[start : start + _ROWS]
        square = (part**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None] - 2.0 * part @ others.T
        nearest = np.argpartition(square, range(count), axis=1)[:, :count]
        distance = np.sqrt(np.maximum(np.take_along_axis(square, nearest, axis=1), 0.0))
        rows.append(nearest)
        weights.append(1.0 / (distance + 0.01))
    return np.concatenate(rows), np.concatenate(weights)
