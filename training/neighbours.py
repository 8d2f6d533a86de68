# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody else in the picture: most photographs of people hold several, and a crop of one face shows half of the next.

A regressor that has only ever seen one face to a crop reads eyes off one and a mouth off the other.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Array = NDArray[np.float32]

# Sizes of heads beside each other; how far apart their middles are, in the sum of half their widths.
_SIZES = 0.3
_APART = (0.95, 1.7)
# A head from its face's width and height, brows to chin: hair beside and above it.
_HEAD = (0.62, 0.86)
_RAISED = 0.12


def with_neighbour(
    image: Picture, landmarks: Array, other: Picture, other_landmarks: Array, rng: np.random.Generator
) -> Picture:
    """Return a picture of a face with somebody else's head beside it, behind it or before it.

    What the landmarks enclose is never covered.

    Args:
        image, other: uint8 [s, s, 3], either about its face.
        landmarks, other_landmarks: [68, 2], in pixels of the two.
    """
    side = image.shape[0]
    size = np.exp(rng.normal(0.0, _SIZES))
    (low, high), (other_low, other_high) = _extent(landmarks), _extent(other_landmarks)
    gap = 0.5 * float((high - low)[0] + size * (other_high - other_low)[0])
    away = float(rng.uniform(*_APART)) * gap * (1.0 if rng.random() < 0.5 else -1.0)
    middle = 0.5 * (low + high) + (away, rng.normal(0.0, 0.3) * float((high - low)[1]))
    shift = middle - size * 0.5 * (other_low + other_high)
    matrix = np.array([[size, 0.0, shift[0]], [0.0, size, shift[1]]])
    moved = cv2.warpAffine(other, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = _body((other_landmarks * size + shift).astype(np.float32), side, rng)
    kept = np.zeros((side, side), np.float32)
    if rng.random() < 0.6:
        kept = _head(landmarks, side, rng)
    outline = cv2.convexHull(np.round(landmarks).astype(np.int32))
    cv2.fillConvexPoly(kept, outline, 1.0)
    kept = np.maximum(kept, cv2.GaussianBlur(kept, (0, 0), 0.008 * side))
    share = (cover * (1.0 - kept.clip(0.0, 1.0)))[..., None]
    return (image * (1.0 - share) + moved * share).astype(np.uint8)


def _extent(landmarks: Array) -> tuple[Array, Array]:
    return landmarks.min(axis=0), landmarks.max(axis=0)


def _head(landmarks: Array, side: int, rng: np.random.Generator) -> Array:
    """Return how much [s, s] of each pixel a head covers, about."""
    low, high = _extent(landmarks)
    middle = 0.5 * (low + high) - (0.0, _RAISED * float((high - low)[1]))
    axes = (high - low) * _HEAD * np.exp(rng.normal(0.0, 0.08, 2))
    eyes = landmarks[42:48].mean(axis=0) - landmarks[36:42].mean(axis=0)
    turn = float(np.degrees(np.arctan2(eyes[1], eyes[0])))
    mask = np.zeros((side, side), np.float32)
    centre, radii = (tuple(round(float(v) * 16) for v in pair) for pair in (middle, axes))
    cv2.ellipse(mask, centre, radii, turn, 0, 360, 1.0, -1, cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.004, 0.02)) * side), np.float32)


def _body(landmarks: Array, side: int, rng: np.random.Generator) -> Array:
    """Return how much [s, s] of each pixel a head and the shoulders below it cover, about."""
    head = _head(landmarks, side, rng)
    low, high = _extent(landmarks)
    wide, tall = (float(v) for v in high - low)
    mask = np.zeros((side, side), np.float32)
    centre = (round(8.0 * float(low[0] + high[0])), round(16.0 * (float(high[1]) + 0.75 * tall)))
    cv2.ellipse(mask, centre, (round(16.0 * 1.1 * wide), round(16.0 * 0.7 * tall)), 0, 0, 360, 1.0, -1, cv2.LINE_AA, 4)
    return np.maximum(head, mask)
