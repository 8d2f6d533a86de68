# SPDX-License-Identifier: GPL-3.0-or-later
"""The one crop rule of PCA, training and inference: a square of 1.8 × the face box."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCALE = 1.8
FOREHEAD = 0.25


@dataclass(frozen=True)
class CropSquare:
    """A square of a picture, in pixels: its centre (x, y) and its side. Pixel centres are at +0.5."""

    x: float
    y: float
    side: float

    @property
    def left(self) -> float:
        return self.x - 0.5 * self.side

    @property
    def top(self) -> float:
        return self.y - 0.5 * self.side

    def to_unit(self, points: NDArray[np.floating]) -> NDArray[np.floating]:
        """Map picture pixels [..., 2] into the crop's unit square."""
        return (points - np.array([self.left, self.top])) / self.side

    def to_picture(self, points: NDArray[np.floating]) -> NDArray[np.floating]:
        """Map points [..., 2] of the crop's unit square into picture pixels."""
        return points * self.side + np.array([self.left, self.top])


def face_box(landmarks: NDArray[np.floating]) -> tuple[float, float, float, float]:
    """Return (left, top, right, bottom) as a face detector would: brows to chin, plus 25 % on top.

    Args:
        landmarks: [68, 2], any unit, y down.
    """
    left, top = landmarks.min(axis=0)
    right, bottom = landmarks.max(axis=0)
    return float(left), float(top - FOREHEAD * (bottom - top)), float(right), float(bottom)


def square_of_box(box: tuple[float, float, float, float], scale: float = SCALE) -> CropSquare:
    """Return the square crop of a face box: its centre, and `scale` times its longer side (Sec. 4.1)."""
    left, top, right, bottom = box
    return CropSquare(0.5 * (left + right), 0.5 * (top + bottom), scale * max(right - left, bottom - top))


def square_of_landmarks(landmarks: NDArray[np.floating]) -> CropSquare:
    """Return the aligned crop of landmarks [68, 2], in their own unit."""
    return square_of_box(face_box(landmarks))
