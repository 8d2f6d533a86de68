# SPDX-License-Identifier: GPL-3.0-or-later
"""Brushes: soft shapes, streaks and colours to paint synthetic pictures with."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float32]

_SUBPIXEL = 4

HAIR_COLOURS = np.array(
    [[25, 20, 18], [45, 30, 22], [80, 55, 38], [150, 115, 70], [205, 175, 120], [150, 145, 140], [120, 55, 30]]
)
SKIN_COLOURS = np.array(
    [[240, 205, 185], [225, 180, 150], [200, 150, 115], [160, 110, 80], [110, 72, 52], [70, 45, 35]]
)


def polygon(mask: Array, points: ArrayLike, value: float = 1.0) -> None:
    """Fill a polygon [n, 2] (pixels) of a mask [h, w], with soft edges."""
    corners = np.round(np.asarray(points, np.float64) * 2**_SUBPIXEL).astype(np.int32)
    cv2.fillPoly(mask, [corners], (value,), cv2.LINE_AA, _SUBPIXEL)


def ellipse(mask: Array, centre: ArrayLike, axes: ArrayLike, degrees: float = 0.0) -> None:
    """Fill an ellipse of a mask [h, w]; `axes` are its half widths in pixels."""
    cv2.ellipse(mask, _pixel(centre), _pixel(np.maximum(axes, 1)), degrees, 0, 360, (1.0,), -1, cv2.LINE_AA)


def stroke(mask: Array, start: ArrayLike, end: ArrayLike, width: float) -> None:
    """Draw a line of some width, pixels, into a mask [h, w]."""
    cv2.line(mask, _pixel(start), _pixel(end), (1.0,), max(1, round(width)), cv2.LINE_AA)


def blurred(values: Array, sigma: float) -> Array:
    """Return float32 values [h, w] or [h, w, c] out of focus."""
    return np.asarray(cv2.GaussianBlur(values, (0, 0), float(sigma)), np.float32)


def blend(below: Array, above: NDArray, cover: Array) -> Array:
    """Return one picture [h, w, 3] over another by its coverage [h, w]."""
    weight = cover[..., None]
    return np.asarray(below * (1 - weight) + above * weight, np.float32)


def streaks(shape: tuple[int, ...], rng: np.random.Generator, strength: float) -> Array:
    """Return streaks or specks [h, w, 1] of random coarseness, to break up a flat colour."""
    cells = tuple(int(v) for v in rng.integers(4, 48, 2))
    noise = rng.normal(0, strength, cells).astype(np.float32)
    return np.asarray(cv2.resize(noise, shape[1::-1]), np.float32)[..., None]


def tint(colours: NDArray, rng: np.random.Generator) -> Array:
    """Return one of the colours [n, 3], brighter or darker."""
    colour = colours[int(rng.integers(len(colours)))] * np.exp(rng.normal(0, 0.2))
    return np.asarray(colour.clip(0, 255), np.float32)


def _pixel(point: ArrayLike) -> tuple[int, int]:
    x, y = np.asarray(point, np.float64)
    return round(float(x)), round(float(y))
