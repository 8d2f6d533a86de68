# SPDX-License-Identifier: GPL-3.0-or-later
"""The toy head as a smooth surface: a stack of rings, with a nose, sockets, lips, a chin and ears pushed out.

Units are decimetres, Y up, the face looks along +Z, +X is the subject's left. Heights and depths follow an
average adult head whose neck begins at y = 5.9, so cameras, necklines and fringes made for such a head fit.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EYE_X = 0.288
EYE_Y = 7.28
EYE_HALF_WIDTH = 0.125
EYE_CENTRE = np.array([EYE_X, 7.288, 1.205])
EYE_RADIUS = 0.14
# Room between the eyeball and the lids: the cornea stands out by less.
LID_RADIUS = 0.17
LID_RISE_UPPER = 0.047
LID_RISE_LOWER = 0.033
MOUTH_Y = 6.635
MOUTH_HALF_WIDTH = 0.222

# Sines of the front columns' angles from the middle of the face to the ear; the eye's corners and the mouth's are
# among them.
FRONT_SINES = (0.0, 0.08, 0.165, 0.252, 0.32, 0.39, 0.445, 0.51, 0.575, 0.637, 0.72, 0.80, 0.88, 0.95, 1.0)
BACK_DEGREES = (97.0, 107.0, 125.0, 145.0, 163.0)
EYE_COLUMNS = (3, 9)
MOUTH_COLUMN = 5

# Rows of the head from the crown to the jaw line, by their height at the front.
HEAD_ROWS = (
    *(8.36, 8.28, 8.12, 7.94, 7.78, 7.64, 7.54, 7.47, 7.425, 7.39, 7.36, 7.33, 7.305),
    EYE_Y,
    *(7.255, 7.22, 7.17, 7.10, 7.02, 6.945, 6.89, 6.855, 6.81, 6.765, 6.725, 6.68),
    MOUTH_Y,
    *(6.59, 6.545, 6.51, 6.45, 6.38, 6.30, 6.23),
)
EYE_ROW = 13
MOUTH_ROW = 26
JAW_ROW = len(HEAD_ROWS) - 1

# Rings of the head: height at the front, depth at the front, depth of the sides, depth at the back, half width.
_HEAD_RINGS = np.array(
    [
        (6.23, 1.325, 0.79, -0.30, 0.570),
        (6.45, 1.400, 0.79, -0.36, 0.585),
        (6.635, 1.430, 0.78, -0.42, 0.600),
        (6.80, 1.435, 0.77, -0.50, 0.625),
        (7.10, 1.430, 0.77, -0.66, 0.645),
        (7.30, 1.430, 0.72, -0.72, 0.650),
        (7.40, 1.435, 0.60, -0.73, 0.680),
        (7.50, 1.420, 0.52, -0.74, 0.715),
        (7.70, 1.385, 0.45, -0.72, 0.715),
        (7.90, 1.300, 0.40, -0.64, 0.680),
        (8.12, 1.130, 0.36, -0.47, 0.580),
        (8.28, 0.900, 0.35, -0.20, 0.420),
        (8.36, 0.640, 0.35, 0.08, 0.230),
    ]
)
# Below the middle of the face the rows climb towards the ears: height at the front, at the sides, at the back.
_CLIMB = np.array(
    [
        (6.23, 6.60, 6.45),
        (6.38, 6.71, 6.56),
        (6.51, 6.79, 6.68),
        (6.635, 6.87, 6.80),
        (6.80, 6.96, 6.92),
        (6.945, 7.04, 7.03),
        (7.10, 7.14, 7.13),
        (7.22, 7.22, 7.22),
        (8.40, 8.40, 8.40),
    ]
)
# Rings of the neck and the torso: heights at the front, the sides and the back; depths there; half width.
NECK_RINGS = np.array(
    [
        (6.250, 6.52, 6.36, 1.14, 0.66, -0.30, 0.50),
        (6.235, 6.38, 6.24, 0.88, 0.42, -0.32, 0.465),
        (6.08, 6.18, 6.08, 0.74, 0.26, -0.34, 0.46),
        (5.88, 5.94, 5.92, 0.68, 0.20, -0.40, 0.49),
        (5.70, 5.76, 5.80, 0.66, 0.15, -0.47, 0.62),
        (5.54, 5.64, 5.67, 0.72, 0.10, -0.55, 0.95),
        (5.32, 5.46, 5.46, 0.80, 0.08, -0.62, 1.45),
        (5.00, 5.08, 5.08, 0.92, 0.05, -0.68, 1.75),
        (4.50, 4.50, 4.50, 1.00, 0.05, -0.70, 1.80),
        (3.90, 3.90, 3.90, 1.02, 0.05, -0.70, 1.75),
    ]
)


def column_angles() -> Array:
    """Return the angles [c] of the columns in radians, from the subject's right round the front to the back."""
    front = np.arcsin(np.array(FRONT_SINES))
    back = np.radians(np.array(BACK_DEGREES))
    half = np.concatenate([front[1:], back])
    return np.concatenate([-half[::-1], [0.0], half, [np.pi]])


def bump(distance: NDArray[np.floating]) -> Array:
    """Return a bell, 1 at distance 0 and about 0.37 at 1."""
    return np.exp(-np.square(distance))


def smooth_step(value: NDArray[np.floating]) -> Array:
    """Return a smooth ramp from 0 below 0 to 1 above 1."""
    clipped = np.clip(value, 0.0, 1.0)
    return clipped * clipped * (3.0 - 2.0 * clipped)


def lens(offset: NDArray[np.floating], half_width: float, power: float = 0.7) -> Array:
    """Return the height of an almond, 1 in its middle and 0 at its corners and beyond."""
    return np.maximum(1.0 - np.square(offset / half_width), 0.0) ** power


def _ring(angle: Array, heights: Array, depths: Array, half_width: Array) -> Array:
    """Return points [..., 3] of rings; `heights` and `depths` are [..., 3] at the front, the sides and the back."""
    sine, cosine = np.sin(angle), np.cos(angle)
    climb = np.clip((np.abs(sine) - 0.45) / 0.55, 0.0, 1.0) ** 1.5
    ahead = cosine >= 0
    y_front = heights[..., 0] + (heights[..., 1] - heights[..., 0]) * climb
    y_back = heights[..., 1] + (heights[..., 2] - heights[..., 1]) * -cosine
    depth = np.where(ahead, depths[..., 0] - depths[..., 1], depths[..., 1] - depths[..., 2]) * cosine
    return np.stack([half_width * sine, np.where(ahead, y_front, y_back), depths[..., 1] + depth], axis=-1)


def neck_points() -> Array:
    """Return the rows of the neck, the shoulders and the chest, [rows, c, 3]."""
    angle = column_angles()[None]
    rings = NECK_RINGS[:, None]
    return _ring(angle, rings[..., 0:3], rings[..., 3:6], rings[..., 6])


def head_points() -> Array:
    """Return the rows of the head with its features, the eyes and the mouth still closed, [rows, c, 3]."""
    rows = np.array(HEAD_ROWS)[:, None]
    knots = _HEAD_RINGS[:, 0]
    depths = np.stack([np.interp(rows, knots, _HEAD_RINGS[:, part]) for part in (1, 2, 3)], axis=-1)
    heights = np.stack([np.interp(rows, _CLIMB[:, 0], _CLIMB[:, part]) for part in (0, 1, 2)], axis=-1)
    angle = column_angles()[None]
    points = _ring(angle, heights, depths, np.interp(rows, knots, _HEAD_RINGS[:, 4]))
    front = np.cos(angle) > 1e-9
    x, y = np.abs(points[..., 0]), points[..., 1]
    points[..., 1] = _lip_rows(x, y, front)
    points[..., 2] += np.where(front, _features(x, points[..., 1]), 0.0)
    points[..., 2] = np.where(front, lid_depth(x, points[..., 1], points[..., 2]), points[..., 2])
    ear = bump((np.abs(np.degrees(angle)) - 102.0) / 7.0) * bump((rows - 7.13) / 0.19) * (rows > 6.7)
    points[..., 0] += np.sign(np.sin(angle)) * 0.13 * ear
    points[..., 2] -= 0.06 * ear
    return points


def _lip_rows(x: Array, y: Array, front: NDArray[np.bool_]) -> Array:
    """Return heights with the rows of the lips drawn together towards the corners of the mouth."""
    narrowing = (
        0.62 * np.clip(x / MOUTH_HALF_WIDTH, 0.0, 1.0) ** 1.5 * bump(np.maximum(x - MOUTH_HALF_WIDTH, 0.0) / 0.12)
    )
    away = y - MOUTH_Y
    drawn = MOUTH_Y + away * (1.0 - narrowing * bump(away / 0.13))
    return np.where(front, drawn, y)


def _features(x: Array, y: Array) -> Array:
    """Return how far the face stands out of its rings, decimetres along Z; x is the distance from the middle."""
    ridge_height = np.interp(
        y, [6.80, 6.85, 6.875, 6.94, 7.08, 7.17, 7.32, 7.40], [0, 0.05, 0.13, 0.195, 0.12, 0.06, 0.012, 0]
    )
    ridge_width = np.interp(y, [6.85, 6.94, 7.10, 7.32], [0.10, 0.085, 0.06, 0.05])
    nose = ridge_height * bump(x / ridge_width) + 0.055 * bump((x - 0.115) / 0.045) * bump((y - 6.895) / 0.04)
    brow = 0.035 * bump((x - 0.30) / 0.24) * bump((y - 7.42) / 0.05)
    cheek = 0.025 * bump((x - 0.36) / 0.13) * bump((y - 7.03) / 0.13)
    mouth = 0.10 * bump((y - 6.63) / 0.12) * bump(x / 0.20)
    groove = -0.05 * bump((y - MOUTH_Y) / 0.016) * lens(x, 1.15 * MOUTH_HALF_WIDTH)
    under_lip = -0.03 * bump((y - 6.45) / 0.035) * bump(x / 0.18)
    philtrum = -0.012 * bump(x / 0.03) * bump((y - 6.77) / 0.04)
    chin = 0.05 * bump((y - 6.32) / 0.08) * bump(x / 0.15)
    return nose + brow + cheek + mouth + groove + under_lip + philtrum + chin


def lid_depth(x: Array, y: Array, depth: Array) -> Array:
    """Return the depth with the skin about the eyes laid over the eyeballs; x is the distance from the middle."""
    across, up = x - EYE_CENTRE[0], y - EYE_CENTRE[1]
    blend = smooth_step(2.0 * (1.0 - np.square(across / 0.16) - np.square(up / 0.10)))
    sphere = EYE_CENTRE[2] + np.sqrt(np.maximum(LID_RADIUS**2 - across**2 - up**2, 0.0))
    return depth + blend * (sphere - depth)
