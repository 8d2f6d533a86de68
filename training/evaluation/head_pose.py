# SPDX-License-Identifier: GPL-3.0-or-later
"""Head angles from 3D points, signed as the head controls: yaw to the picture's right, pitch up, roll clockwise."""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

# Vertices of mediapipe's mesh that no expression moves much: forehead, temples, nose bridge, eye corners.
TURN_POINTS = (10, 67, 297, 109, 338, 151, 9, 8, 168, 6, 197, 54, 284, 103, 332, 127, 356, 162, 389, 33, 263, 133, 362)
_EYE_CORNERS = (33, 263)
_FOREHEAD, _NOSE_BASE = 10, 2
# y and z turned round: pictures have y down and the mesh has depth away from the camera.
_FLIP = np.diag([1.0, -1.0, -1.0])


def rotation_of_angles(angles: NDArray[np.floating]) -> Matrix:
    """Return the rotation [3, 3] (x right, y up, z to the viewer) of (yaw, pitch, roll) in degrees: Ry·Rx·Rz."""
    yaw, pitch, roll = np.radians(np.asarray(angles, np.float64))
    (cy, sy), (cx, sx), (cz, sz) = ((np.cos(a), np.sin(a)) for a in (yaw, -pitch, -roll))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_y @ about_x @ about_z


def euler_angles(rotation: Matrix) -> NDArray[np.float64]:
    """Return (yaw, pitch, roll) in degrees of a rotation [3, 3]; the inverse of `rotation_of_angles`."""
    yaw = np.arctan2(rotation[0, 2], rotation[2, 2])
    pitch = np.arcsin(np.clip(rotation[1, 2], -1.0, 1.0))
    roll = -np.arctan2(rotation[1, 0], rotation[1, 1])
    return np.degrees(np.array([yaw, pitch, roll]))


def face_axes(mesh: NDArray[np.floating]) -> Matrix:
    """Return the rotation [3, 3] of a mesh [n, 3] (pixels, y down, z away): its axis through the eyes, and up.

    The pitch of a face that looks straight ahead is a matter of definition: differences of pitch are not.
    """
    points = np.asarray(mesh, np.float64) @ _FLIP
    across = points[_EYE_CORNERS[1]] - points[_EYE_CORNERS[0]]
    across = across / np.linalg.norm(across)
    up = points[_FOREHEAD] - points[_NOSE_BASE]
    up = up - across * (up @ across)
    up = up / np.linalg.norm(up)
    return np.stack([across, up, np.cross(across, up)], axis=1)


def rotation_between(first: NDArray[np.floating], second: NDArray[np.floating]) -> Matrix:
    """Return the rotation [3, 3] that best takes points [m, 3] to others, up to shift and scale (Kabsch)."""
    a, b = (np.asarray(points, np.float64) @ _FLIP for points in (first, second))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    left, _, right = np.linalg.svd(b.T @ a)
    sign = np.sign(np.linalg.det(left @ right))
    return left @ np.diag([1.0, 1.0, sign]) @ right
