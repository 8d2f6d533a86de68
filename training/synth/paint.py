# SPDX-License-Identifier: GPL-3.0-or-later
"""Where on the body paint goes: soft per-vertex masks of lips, beard, lids, cheeks and scalp, from the landmarks."""

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synth.facekit import FaceKit

Array = NDArray[np.float32]

MASKS = ("moustache", "chin", "jaw", "lips", "lids", "cheeks", "scalp")

# The hairline: the height above which hair grows, by depth, both relative to the nose bridge (decimetres).
_HAIRLINE_DEPTH = (-2.5, -1.2, -0.95, -0.72, -0.45, -0.05)
_HAIRLINE_HEIGHT = (-0.65, -0.55, -0.2, 0.05, 0.4, 0.62)


def paint_masks(kit: FaceKit) -> Array:
    """Return float32 [n, 7], how much of each of `MASKS` lies on each vertex of the resting body, 0 to 1."""
    rows = kit.landmark_rows
    base = kit.body.base
    marks = (base[rows.pairs] * rows.pair_weights[..., None]).sum(axis=1)
    x, y, z = np.abs(base[:, 0]), base[:, 1], base[:, 2]
    front = _step(z - (marks[27, 2] - 1.0), 0.1)
    lips = _inside(base, marks[48:60], 0.012) * _step(z - (marks[48, 2] - 0.05), 0.03)
    corner, nose, chin, ear = np.abs(marks[48]), marks[33], marks[8], np.abs(marks[0])

    off_lips = 1.0 - lips
    moustache = _step(corner[0] + 0.04 - x, 0.05) * _step(nose[1] - 0.03 - y, 0.03) * _step(y - corner[1] + 0.04, 0.05)
    moustache *= off_lips * _step(z - corner[2] + 0.12, 0.05)
    below = _step(marks[57, 1] - 0.015 - y, 0.03)
    throat = _step(y - (chin[1] - 0.02 - 0.35 * (chin[2] - z)), 0.08)
    chin_mask = _step(0.24 - x, 0.07) * below * throat * front * off_lips
    # The beard's upper edge climbs from the corners of the mouth to the ears.
    edge = corner[1] - 0.02 + np.clip((x - corner[0]) / (ear[0] - corner[0]), 0.0, 1.0) ** 2.2 * 0.62
    jaw = _step(edge - y, 0.07) * throat * _step(z - ear[2] + 0.28, 0.08) * off_lips
    jaw *= _step(x - 0.16, 0.08) * _step(ear[1] + 0.05 - y, 0.06)

    lids = np.zeros(len(base), np.float32)
    cheeks = np.zeros(len(base), np.float32)
    for first, brow, wing in ((36, 19, 31), (42, 24, 35)):
        eye = marks[first : first + 6].mean(axis=0)
        upper = (eye[0], eye[1] + 0.3 * (marks[brow, 1] - eye[1]))
        lids += np.exp(-(((base[:, 0] - upper[0]) / 0.17) ** 2) - ((y - upper[1]) / 0.05) ** 2) * front
        apple = np.array([1.3 * eye[0], 0.6 * marks[wing, 1] + 0.4 * eye[1]])
        cheeks += np.exp(-(((base[:, :2] - apple) / 0.16) ** 2).sum(axis=1)) * front
    line = marks[27, 1] + np.interp(z - marks[27, 2], _HAIRLINE_DEPTH, _HAIRLINE_HEIGHT)
    ear_itself = _step(x - ear[0] - 0.05, 0.03) * _step(ear[1] + 0.15 - y, 0.1)
    scalp = _step(y - line, 0.09) * (1.0 - ear_itself)
    return np.stack([moustache, chin_mask, jaw, lips, lids.clip(0, 1), cheeks.clip(0, 1), scalp], axis=1).astype("f4")


def _step(distance: NDArray[np.floating], width: float) -> NDArray[np.floating]:
    """Return a soft step from 0 to 1 about distance 0."""
    t = np.clip(0.5 + 0.5 * distance / width, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _inside(base: Array, outline: NDArray[np.floating], width: float) -> NDArray[np.floating]:
    """Return a soft mask of the vertices that a closed outline [m, 3] encloses as seen from the front."""
    polygon = outline[:, :2].astype(np.float32).reshape(-1, 1, 2)
    distance = [cv2.pointPolygonTest(polygon, (float(p[0]), float(p[1])), measureDist=True) for p in base]
    return _step(np.array(distance), width)
