# SPDX-License-Identifier: GPL-3.0-or-later
"""How lips follow a corner of the mouth that is pulled aside or up: what the face kit's own targets lack.

The kit moves a corner and hardly anything else, so that a smile becomes a thin, curled line. Lips stretch: they follow
a corner aside in proportion to how far they are from the middle, and up in proportion to the square of that, and the
cheek gives way. Such fields are added to the kit's targets.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

TARGETS = ("mouth-{side}-aside", "mouth-{side}-up")
"""What the fields of either side are called; the same with no side is both of them."""

# How lips follow their corner, by how far along they are from the middle (0) to it (1), to this power.
_ASIDE, _UP = 1.2, 2.0
# What a field of 1 moves the corner, in widths of a closed mouth.
_WAY = 0.2
# The cheek follows to this many half widths beyond the corner.
_CHEEK = 1.5
# In half widths: how far lips reach above and below their line, and how softly motion ends beyond. Above, it must end
# at the nose between the corners, and may lift a cheek beside them.
_LIP = 0.45
_FADE_TO_NOSE, _FADE_UP_CHEEK, _FADE_DOWN = 0.22, 0.9, 0.75
# The same behind the face: the mouth's inside, which must not be pulled through the lips.
_FADE_BEHIND, _BEHIND, _COLUMN = 0.8, 0.6, 0.25
# Lips that are drawn aside by a field of 1 get thinner by this share.
_THINNER = 0.22


def mouth_pulls(base: Array, corner: Array, middle: Array) -> dict[str, Array]:
    """Return displacements [n, 3] by target name, which move a corner by a fifth of the mouth's width.

    Args:
        base: [n, 3], the mesh at rest; +x is the subject's left, +y up, +z to the viewer.
        corner: [3], the left corner of the mouth; middle: [3], where its lips meet.
    """
    half = float(corner[0])
    fields: dict[str, Array] = {}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        place = (base - [0.0, middle[1], 0.0]) * [sign / half, 1.0 / half, 1.0 / half]
        drop = float(corner[1] - middle[1]) / half
        along, reach = np.maximum(place[:, 0], 0.0), _reach(place, drop)
        # Lips lie on an arch: who goes aside on it goes back.
        arch = (middle[2] - corner[2]) / half
        way = 2.0 * half * _WAY
        aside = way * reach * np.minimum(along, 1.0) ** _ASIDE
        up = way * reach * np.minimum(along, 1.0) ** _UP
        back = -2.0 * arch * np.minimum(along, 1.0) * aside
        share = np.clip(0.5 + place[:, 0], 0.0, 1.0)
        thinner = -_THINNER * half * reach * share * np.clip(_above_line(place, drop), -_LIP, _LIP)
        fields[f"mouth-{side}-aside"] = np.stack([sign * aside, thinner, back], axis=1)
        fields[f"mouth-{side}-up"] = np.stack([0.0 * up, up, 0.0 * up], axis=1)
    for name in TARGETS:
        both = [fields[name.format(side=side)] for side in ("left", "right")]
        fields[name.replace("-{side}", "")] = both[0] + both[1]
    return fields


def _above_line(place: Array, drop: float) -> Array:
    """Return [n], how far above the line where the lips meet; it ends `drop` above its middle in the corner."""
    return place[:, 1] - drop * np.clip(place[:, 0], 0.0, 1.0) ** 2


def _reach(place: Array, drop: float) -> Array:
    """Return [n], how much of the lips' motion each vertex shares; `place` [n, 3] is in half widths of the mouth."""
    x, y = place[:, 0], _above_line(place, drop)
    beside = np.clip((x - 0.4) / 0.8, 0.0, 1.0)
    upward = _FADE_TO_NOSE + (beside * beside * (3.0 - 2.0 * beside)) * (_FADE_UP_CHEEK - _FADE_TO_NOSE)
    above = np.maximum(y - _LIP, 0.0) / upward
    below = np.maximum(-y - _LIP, 0.0) / _FADE_DOWN
    beyond = np.clip(1.0 - (x - 1.0) / _CHEEK, 0.0, 1.0)
    beyond = beyond * beyond * (3.0 - 2.0 * beyond)
    near = (x > -1.0) & (x < 1.5 + _CHEEK) & (np.abs(y) < 4.0)
    behind = np.zeros(len(place))
    rows = np.flatnonzero(near)
    apart = np.square(place[rows, None, :2] - place[None, rows, :2]).sum(axis=-1)
    front = np.where(apart < _COLUMN**2, place[None, rows, 2], -np.inf).max(axis=1)
    behind[rows] = np.maximum(front - place[rows, 2] - _BEHIND, 0.0) / _FADE_BEHIND
    shared = np.exp(-0.5 * (above**2 + below**2 + behind**2)) * beyond
    return np.where(near, shared, 0.0)
