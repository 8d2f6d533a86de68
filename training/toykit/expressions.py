# SPDX-License-Identifier: GPL-3.0-or-later
"""The toy head's expression targets: what lids, brows, lips and nose do, once for each people."""

import numpy as np
from numpy.typing import NDArray

from training.toykit import mesh, surface
from training.toykit.mesh import HeadMesh
from training.toykit.skeleton import jaw_share
from training.toykit.surface import Array, bump, lens, smooth_step
from training.toykit.targets import PEOPLES, Target, Vector, brush, side_brush

# How strongly the peoples' own versions of one expression move.
_GAIN = {"caucasian": 1.0, "asian": 0.97, "african": 1.03}
# A closing lid covers this share of the gap; motions overshoot it by a fifth, which lands it past the lower lid.
_CLOSURE = 0.92

PRESETS: dict[str, dict[str, float]] = {
    "anger01": {"LeftBrowDown": 0.8, "RightBrowDown": 0.8, "NoseWrinkler": 0.5, "UpperLipUp": 0.3},
    "smile01": {"MouthLeftPullUp": 0.8, "MouthRightPullUp": 0.8, "LeftCheekUp": 0.4, "RightCheekUp": 0.4},
    "surprise01": {"JawDrop": 0.5, "LeftInnerBrowUp": 0.7, "RightInnerBrowUp": 0.7, "LeftOuterBrowUp": 0.6},
}

_SIDES = (("left", 1.0), ("right", -1.0))


def expression_targets(head: HeadMesh) -> list[Target]:
    """Return every expression target; only the skin and the mouth's inside move, never the helper vertices."""
    deltas = _lids(head) | _brows_and_nose(head) | _lips(head)
    return [
        Target("expr", f"{people}/{name}", _GAIN[people] * delta)
        for people in PEOPLES
        for name, delta in deltas.items()
    ]


def _lids(head: HeadMesh) -> dict[str, Array]:
    rest = head.points
    amount, upper = _lid_amounts(head)
    deltas = {}
    for name, above, below in (("closure", -_CLOSURE, 0.0), ("opened-up", 0.3, 0.08), ("slit", -0.35, -0.3)):
        rise = np.where(upper, above, -below) * amount * (surface.LID_RISE_UPPER + surface.LID_RISE_LOWER)
        moved = rest[:, 1] + rise
        x = np.abs(rest[:, 0])
        rim = head.depth == 1
        forward = surface.lid_depth(x, moved, rest[:, 2]) - surface.lid_depth(x, rest[:, 1], rest[:, 2])
        # A lid that has passed the lower one lies over it.
        forward = np.where(rim, forward, np.maximum(forward, -0.005)) + 0.006 * (name == "closure") * amount * upper
        delta = np.stack([np.zeros(len(rest)), rise, np.where(amount > 0, forward, 0.0)], axis=1)
        for side, sign in _SIDES:
            deltas[f"eye-{side}-{name}"] = delta * (sign * rest[:, :1] > 0)
    return deltas


def _lid_amounts(head: HeadMesh) -> tuple[Array, NDArray[np.bool_]]:
    """Return how much each vertex goes with its lid, [v], and whether that is the upper one; rims as their margins."""
    upper = head.row < surface.EYE_ROW
    for eye in head.eyes:
        upper[eye.upper] = True
    # Rims were made in the margins' order, the upper one with both corners first.
    rims = np.flatnonzero(head.depth == 1)
    half = len(head.eyes[0].upper)
    for number in range(2):
        first = rims[number * len(rims) // 2]
        upper[first : first + half] = True
    amount = mesh.lid_amounts(head.points, head.row, upper)
    skin_rows = (head.depth <= 1) & (np.abs(head.points[:, 0]) < 0.5)
    return np.where(skin_rows, amount, 0.0), upper


def _brows_and_nose(head: HeadMesh) -> dict[str, Array]:
    skin = ((head.depth == 0) & (head.row < surface.MOUTH_ROW))[:, None]
    # Lids stay: the brows' movement ends above them.
    above_lids = smooth_step((head.points[:, 1] - 7.345) / 0.07)[:, None]

    def brow(sign: float, centre: Vector, radius: Vector, shift: Vector) -> Array:
        return side_brush(sign, centre, radius, shift)(head.points) * skin * above_lids

    def nose(centre: Vector, radius: Vector, shift: Vector) -> Array:
        return brush(centre, radius, shift)(head.points) * skin

    deltas = {}
    for side, sign in _SIDES:
        deltas[f"eyebrows-{side}-up"] = brow(sign, (0.33, 7.45, 1.4), (0.24, 0.10, 0.4), (0.0, 0.035, 0.0))
        deltas[f"eyebrows-{side}-down"] = brow(sign, (0.28, 7.43, 1.4), (0.24, 0.08, 0.4), (-0.013, -0.03, 0.0))
        deltas[f"eyebrows-{side}-inner-up"] = brow(sign, (0.14, 7.44, 1.4), (0.13, 0.10, 0.4), (0.0, 0.035, 0.0))
        deltas[f"eyebrows-{side}-extern-up"] = brow(sign, (0.50, 7.42, 1.3), (0.15, 0.10, 0.4), (0.0, 0.035, 0.0))
        wing, radius = (sign * 0.13, 6.89, 1.48), (0.06, 0.05, 0.15)
        deltas[f"nose-{side}-dilatation"] = nose(wing, radius, (sign * 0.025, 0.0, 0.0))
        deltas[f"nose-{side}-elevation"] = nose(wing, radius, (0.0, 0.03, 0.0))
    deltas["nose-compression"] = nose((0.0, 6.9, 1.55), (0.15, 0.06, 0.2), (0.0, 0.012, -0.02))
    deltas["nose-depression"] = nose((0.0, 6.9, 1.6), (0.10, 0.06, 0.2), (0.0, -0.02, 0.0))
    return deltas


def _lips(head: HeadMesh) -> dict[str, Array]:
    points = head.points
    x, y = points[:, 0], points[:, 1]
    front = (points[:, 2] > 0.8) & (head.row <= surface.JAW_ROW + 1) & (head.depth <= 4)
    lower = head.lower & front
    upper = ~head.lower & front
    across = lens(x, 1.02 * surface.MOUTH_HALF_WIDTH, 0.8)
    near = bump((y - surface.MOUTH_Y) / 0.12)
    upper_lip, lower_lip = across * near * upper, across * near * lower
    lips = bump(x / 0.26) * bump((y - surface.MOUTH_Y) / 0.13) * front
    corners = [bump((sign * x - 0.23) / 0.12) * bump((y - surface.MOUTH_Y) / 0.10) * front for _, sign in _SIDES]
    corner = corners[0] + corners[1]
    outward = corners[0] - corners[1]
    jaw = jaw_share(head)
    zero = np.zeros(len(points))

    def shift(dx: Array = zero, dy: Array = zero, dz: Array = zero) -> Array:
        return np.stack([dx, dy, dz], axis=1)

    narrow = -0.35 * x * bump(x / 0.30) * bump((y - surface.MOUTH_Y) / 0.15) * front
    # The lips' red thins towards the closed line between them.
    thin = np.clip((y - surface.MOUTH_Y) / 0.09, -1.0, 1.0) * lips
    return {
        "mouth-open": shift(dy=-0.28 * jaw, dz=-0.12 * jaw),
        "mouth-parling": shift(dy=0.03 * upper_lip - 0.035 * lower_lip),
        "mouth-part-later": shift(dx=0.02 * outward, dy=0.02 * upper_lip - 0.04 * lower_lip),
        "mouth-corner-puller": shift(0.05 * outward, 0.09 * corner, -0.03 * corner),
        "mouth-upward-retraction": shift(0.03 * outward, 0.05 * corner + 0.035 * upper_lip, -0.02 * corner),
        "mouth-retraction": shift(0.06 * outward, dz=-0.03 * corner),
        "mouth-depression": shift(dy=-0.06 * corner - 0.01 * lower_lip),
        "mouth-depression-retraction": shift(0.04 * outward, -0.05 * corner - 0.02 * lower_lip, -0.02 * corner),
        "mouth-pursing": shift(narrow, dz=0.08 * lips),
        "mouth-protusion": shift(dz=0.07 * lips),
        "mouth-eversion": shift(dy=0.012 * upper_lip - 0.012 * lower_lip, dz=0.04 * (upper_lip + lower_lip)),
        "mouth-compression": shift(dy=-0.022 * thin, dz=-0.025 * lips),
        "mouth-elevation": shift(dy=0.04 * lips * bump(x / 0.2), dz=0.015 * lips),
        "neck-platysma": shift(0.03 * outward, -0.04 * corner),
    }
