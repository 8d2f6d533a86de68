# SPDX-License-Identifier: GPL-3.0-or-later
"""The little quaternion arithmetic that posing a head needs, on arrays [..., 4] in (w, x, y, z) order."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

IDENTITY: Array = np.array([1.0, 0.0, 0.0, 0.0])


def multiply(a: Array, b: Array) -> Array:
    """Return the Hamilton product a·b: first b, then a."""
    aw, ax, ay, az = a[..., 0], a[..., 1], a[..., 2], a[..., 3]
    bw, bx, by, bz = b[..., 0], b[..., 1], b[..., 2], b[..., 3]
    out = np.empty(np.broadcast_shapes(a.shape, b.shape))
    out[..., 0] = aw * bw - ax * bx - ay * by - az * bz
    out[..., 1] = aw * bx + ax * bw + ay * bz - az * by
    out[..., 2] = aw * by - ax * bz + ay * bw + az * bx
    out[..., 3] = aw * bz + ax * by - ay * bx + az * bw
    return out


def power(q: Array, exponent: float) -> Array:
    """Return the slerp from the identity to q at `exponent`; beyond 1 it goes on turning."""
    q = np.where(q[..., :1] < 0, -q, q)
    half = np.arccos(np.clip(q[..., :1], -1.0, 1.0))
    sine = np.sin(half)
    axis = np.where(sine > 1e-8, q[..., 1:] / np.maximum(sine, 1e-8), 0.0)
    return np.concatenate([np.cos(half * exponent), axis * np.sin(half * exponent)], axis=-1)


def about_axis(axis: int, degrees: float) -> Array:
    """Return the rotation by `degrees` about the world axis 0, 1 or 2."""
    half = np.radians(degrees) / 2
    q = np.zeros(4)
    q[0] = np.cos(half)
    q[1 + axis] = np.sin(half)
    return q


def matrix(q: Array) -> Array:
    """Return the rotation matrices [..., 3, 3]."""
    w, x, y, z = np.moveaxis(q, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def head_rotation(yaw: float, pitch: float, roll: float) -> Array:
    """Return the rotation of a head, in degrees.

    Positive yaw turns the nose toward the picture's right (+X), positive pitch looks up, positive roll tilts
    clockwise as seen from the front.
    """
    return multiply(multiply(about_axis(1, yaw), about_axis(0, -pitch)), about_axis(2, -roll))
