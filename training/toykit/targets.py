# SPDX-License-Identifier: GPL-3.0-or-later
"""The toy head's morph targets: bodies and peoples, modifiers and asymmetries, as displacement fields."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from training.toykit import surface
from training.toykit.surface import Array, bump, smooth_step

PEOPLES = ("caucasian", "asian", "african")
_SEXES = ("female", "male")
_AGES = ("child", "young", "old")

Vector = tuple[float, float, float]
Field = Callable[[Array], Array]


@dataclass(frozen=True)
class Target:
    """One morph target: its category, its name and its displacements [v, 3] in decimetres."""

    category: str
    name: str
    delta: Array


def brush(centre: Vector, radius: Vector, shift: Vector) -> Field:
    """Return a field that moves an ellipsoid's inside by `shift`, fading outwards."""

    def field(points: Array) -> Array:
        distance = np.linalg.norm((points - np.array(centre)) / np.array(radius), axis=1)
        return bump(distance)[:, None] * np.array(shift)

    return field


def both(centre: Vector, radius: Vector, shift: Vector) -> Field:
    """Return a brush on the subject's left side together with its mirror image."""
    return _sum(side_brush(1.0, centre, radius, shift), side_brush(-1.0, centre, radius, shift))


def side_brush(sign: float, centre: Vector, radius: Vector, shift: Vector) -> Field:
    """Return a brush given for the left side, mirrored where `sign` is -1."""
    return brush((sign * centre[0], centre[1], centre[2]), radius, (sign * shift[0], shift[1], shift[2]))


def stretch(centre: Vector, factors: Vector, low: float = 5.9, high: float = 6.3) -> Field:
    """Return a scaling about a point, by 1 + factors at full, that fades in from height `low` to `high`."""

    def field(points: Array) -> Array:
        fade = smooth_step((points[:, 1] - low) / (high - low))
        return fade[:, None] * (points - np.array(centre)) * np.array(factors)

    return field


def _sum(*fields: Field) -> Field:
    return lambda points: sum((field(points) for field in fields), np.zeros_like(points))


def _scaled(field: Field, amount: float) -> Field:
    return lambda points: amount * field(points)


_MIDDLE = (0.0, 7.0, 0.5)
_NOSE = (0.0, 6.96, 1.40)
_MOUTH = (0.0, surface.MOUTH_Y, 1.40)


def macro_targets(points: Array) -> list[Target]:
    """Return the targets that make a body; one person wears a mix of them, near the base head."""
    male = _sum(
        both((0.45, 6.45, 1.0), (0.25, 0.25, 0.4), (0.035, -0.02, 0.0)),
        both((0.3, 7.43, 1.4), (0.2, 0.08, 0.2), (0.0, -0.01, 0.02)),
        brush((0.0, 6.3, 1.35), (0.25, 0.2, 0.3), (0.0, -0.035, 0.015)),
        stretch((0.0, 5.9, 0.2), (0.05, 0.0, 0.04), 5.2, 5.7),
    )
    child = _sum(
        stretch(_MIDDLE, (-0.07, -0.05, -0.06)),
        brush((0.0, 6.3, 1.3), (0.4, 0.25, 0.4), (0.0, 0.05, -0.03)),
        brush(_NOSE, (0.15, 0.15, 0.25), (0.0, 0.02, -0.05)),
    )
    old = _sum(
        both((0.40, 6.55, 1.15), (0.18, 0.18, 0.3), (0.01, -0.03, 0.01)),
        brush(_NOSE, (0.12, 0.15, 0.25), (0.0, -0.02, 0.025)),
        both((0.3, 7.20, 1.38), (0.12, 0.04, 0.1), (0.0, 0.0, 0.012)),
        both((0.35, 7.0, 1.3), (0.12, 0.12, 0.2), (0.0, 0.0, -0.02)),
    )
    asian = _sum(
        brush((0.0, 7.1, 1.5), (0.12, 0.2, 0.2), (0.0, 0.0, -0.04)),
        both((0.48, 7.05, 1.15), (0.2, 0.15, 0.3), (0.025, 0.0, 0.02)),
    )
    african = _sum(
        both((0.12, 6.89, 1.48), (0.08, 0.07, 0.15), (0.03, 0.0, -0.01)),
        brush((0.0, 6.63, 1.5), (0.25, 0.10, 0.2), (0.0, 0.0, 0.04)),
    )
    caucasian = _scaled(_sum(asian, african), -0.5)
    peoples = {"caucasian": caucasian, "asian": asian, "african": african}
    sexes = {"female": _scaled(male, -1.0), "male": male}
    stages: dict[str, Field] = {"child": child, "young": _scaled(old, -0.3), "old": old}
    targets = [
        Target("macro", f"{people}-{sex}-{age}", _sum(peoples[people], sexes[sex], stages[age])(points))
        for people, sex, age in product(PEOPLES, _SEXES, _AGES)
    ]
    heavy = _sum(
        both((0.42, 6.75, 1.1), (0.25, 0.3, 0.4), (0.06, -0.01, 0.03)),
        brush((0.0, 6.2, 1.0), (0.4, 0.15, 0.5), (0.0, -0.06, 0.0)),
        stretch((0.0, 5.9, 0.2), (0.10, 0.0, 0.10), 5.0, 5.6),
    )
    strong = _sum(
        stretch((0.0, 5.9, 0.2), (0.06, 0.0, 0.05), 5.0, 5.6),
        both((0.5, 6.6, 0.9), (0.15, 0.15, 0.3), (0.03, 0.0, 0.0)),
    )
    amount = {"min": -0.7, "average": 0.0, "max": 1.0}
    for sex, age, muscle, weight in product(_SEXES, _AGES, amount, amount):
        if (muscle, weight) == ("average", "average"):
            continue
        field = _sum(_scaled(strong, amount[muscle]), _scaled(heavy, amount[weight]))
        name = f"universal-{sex}-{age}-{muscle}muscle-{weight}weight"
        targets.append(Target("macro", name, field(points)))
    return targets


def _eye_scale(points: Array) -> Array:
    """Return a widening of the left eye together with its eyeball."""
    centre = np.array([surface.EYE_X, surface.EYE_Y, surface.EYE_CENTRE[2]])
    near = bump(np.linalg.norm((points - centre) / np.array([0.2, 0.13, 0.3]), axis=1))
    return near[:, None] * (points - centre) * np.array([0.12, 0.12, 0.05])


# group, stem, negative and positive ending, the positive field. A field of the eyes, the ears and the cheeks is the
# left side's, and stands for a pair.
_MODIFIERS: tuple[tuple[str, str, str, str, Field], ...] = (
    ("head", "head-scale-horiz", "decr", "incr", stretch(_MIDDLE, (0.08, 0.0, 0.0))),
    ("head", "head-scale-vert", "decr", "incr", stretch(_MIDDLE, (0.0, 0.08, 0.0))),
    ("head", "head-scale-depth", "decr", "incr", stretch(_MIDDLE, (0.0, 0.0, 0.08))),
    ("head", "head-fat", "decr", "incr", both((0.42, 6.7, 1.1), (0.25, 0.3, 0.4), (0.06, 0.0, 0.03))),
    ("forehead", "forehead-trans", "backward", "forward", brush((0.0, 7.75, 1.35), (0.5, 0.25, 0.3), (0, 0, 0.06))),
    ("eyebrows", "eyebrows-trans", "down", "up", both((0.33, 7.43, 1.4), (0.25, 0.06, 0.3), (0.0, 0.03, 0.0))),
    ("eyebrows", "eyebrows-angle", "down", "up", both((0.50, 7.40, 1.3), (0.12, 0.07, 0.3), (0.0, 0.03, 0.0))),
    ("neck", "neck-scale-horiz", "decr", "incr", both((0.45, 6.0, 0.2), (0.25, 0.3, 0.5), (0.06, 0.0, 0.0))),
    ("neck", "neck-double", "decr", "incr", brush((0.0, 6.2, 1.0), (0.35, 0.12, 0.3), (0.0, -0.07, 0.0))),
    ("nose", "nose-scale-horiz", "decr", "incr", both((0.10, 6.92, 1.5), (0.07, 0.12, 0.2), (0.03, 0.0, 0.0))),
    ("nose", "nose-scale-depth", "decr", "incr", brush(_NOSE, (0.12, 0.14, 0.4), (0.0, 0.0, 0.06))),
    ("nose", "nose-scale-vert", "decr", "incr", brush((0.0, 6.9, 1.5), (0.15, 0.10, 0.3), (0.0, -0.04, 0.0))),
    ("nose", "nose-hump", "decr", "incr", brush((0.0, 7.12, 1.52), (0.06, 0.08, 0.2), (0.0, 0.0, 0.03))),
    ("nose", "nose-point", "down", "up", brush((0.0, 6.93, 1.62), (0.08, 0.07, 0.15), (0.0, 0.03, 0.0))),
    ("mouth", "mouth-scale-horiz", "decr", "incr", both((0.2, 6.63, 1.4), (0.14, 0.1, 0.4), (0.035, 0.0, 0.0))),
    ("mouth", "mouth-trans", "down", "up", brush(_MOUTH, (0.35, 0.12, 0.8), (0.0, 0.03, 0.0))),
    ("mouth", "mouth-upperlip-volume", "decr", "incr", brush((0.0, 6.68, 1.5), (0.2, 0.04, 0.2), (0, 0.006, 0.03))),
    ("mouth", "mouth-lowerlip-volume", "decr", "incr", brush((0.0, 6.57, 1.5), (0.2, 0.05, 0.2), (0, -0.01, 0.03))),
    ("mouth", "mouth-angles", "down", "up", both((0.23, 6.635, 1.4), (0.07, 0.07, 0.2), (0.0, 0.025, 0.0))),
    ("chin", "chin-prominent", "decr", "incr", brush((0.0, 6.32, 1.4), (0.2, 0.12, 0.3), (0.0, 0.0, 0.05))),
    ("chin", "chin-width", "decr", "incr", both((0.25, 6.32, 1.25), (0.2, 0.15, 0.3), (0.05, 0.0, 0.0))),
    ("chin", "chin-height", "decr", "incr", brush((0.0, 6.25, 1.35), (0.35, 0.16, 0.4), (0.0, -0.06, 0.0))),
    ("eyes", "eye-trans", "down", "up", brush((0.29, 7.28, 1.3), (0.17, 0.11, 0.3), (0.0, 0.025, 0.0))),
    ("eyes", "eye-scale", "decr", "incr", _eye_scale),
    ("eyes", "eye-bag", "decr", "incr", brush((0.29, 7.19, 1.4), (0.1, 0.03, 0.1), (0.0, 0.0, 0.015))),
    ("ears", "ear-wing", "decr", "incr", brush((0.75, 7.13, 0.3), (0.15, 0.25, 0.2), (0.06, 0.0, 0.0))),
    ("ears", "ear-scale", "decr", "incr", brush((0.75, 7.25, 0.3), (0.15, 0.15, 0.2), (0.03, 0.05, 0.0))),
    ("cheek", "cheek-volume", "decr", "incr", brush((0.42, 6.85, 1.15), (0.16, 0.18, 0.3), (0.035, 0.0, 0.035))),
    ("cheek", "cheek-bones", "decr", "incr", brush((0.45, 7.08, 1.2), (0.14, 0.10, 0.3), (0.03, 0.0, 0.03))),
)
_ONE_WAY: dict[str, Field] = {
    "head-round": both((0.5, 6.6, 0.9), (0.25, 0.3, 0.5), (0.06, -0.02, 0.0)),
    "head-square": both((0.55, 6.6, 0.8), (0.2, 0.2, 0.4), (0.07, -0.05, 0.0)),
    "head-triangular": both((0.45, 6.5, 1.0), (0.25, 0.3, 0.4), (-0.05, 0.0, 0.0)),
}
_ASYMMETRIES: dict[str, Field] = {
    "asym-jaw-1": brush((0.0, 6.3, 1.2), (0.5, 0.25, 0.6), (0.05, 0.0, 0.0)),
    "asym-mouth-1": brush((0.22, 6.63, 1.4), (0.12, 0.08, 0.3), (0.0, 0.03, 0.0)),
    "asym-nose-1": brush((0.0, 6.93, 1.6), (0.12, 0.12, 0.3), (0.03, 0.0, 0.0)),
    "asym-eye-1": brush((0.29, 7.28, 1.3), (0.17, 0.11, 0.3), (0.0, 0.02, 0.0)),
    "asym-brown-1": brush((0.33, 7.43, 1.4), (0.25, 0.06, 0.3), (0.0, 0.03, 0.0)),
}


def mirrored(field: Field) -> Field:
    """Return a field's mirror image."""
    flip = np.array([-1.0, 1.0, 1.0])
    return lambda points: flip * field(points * flip)


def shape_targets(points: Array) -> tuple[list[Target], list[dict[str, str | None]], list[str]]:
    """Return the modifiers' and asymmetries' targets, the modifiers' table and the asymmetries' names."""
    targets: list[Target] = []
    modifiers: list[dict[str, str | None]] = []
    for group, stem, negative, positive, field in _MODIFIERS:
        sides = {"r-": mirrored(field), "l-": field} if group in ("eyes", "ears", "cheek") else {"": field}
        for prefix, sided in sides.items():
            delta = sided(points)
            name = f"{prefix}{stem}"
            targets.append(Target(group, f"{name}-{negative}", -delta))
            targets.append(Target(group, f"{name}-{positive}", delta))
            modifiers.append({"group": group, "neg": f"{name}-{negative}", "pos": f"{name}-{positive}"})
    for name, field in _ONE_WAY.items():
        targets.append(Target("head", name, field(points)))
        modifiers.append({"group": "head", "neg": None, "pos": name})
    for name, field in _ASYMMETRIES.items():
        targets.append(Target("asym", f"{name}-l", field(points)))
        targets.append(Target("asym", f"{name}-r", mirrored(field)(points)))
    return targets, modifiers, list(_ASYMMETRIES)
