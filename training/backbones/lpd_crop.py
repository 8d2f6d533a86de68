# SPDX-License-Identifier: GPL-3.0-or-later
"""LPD's crop and padding policy, to the bit: the square about a face box, mirrored and faded beyond the picture."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]

CROP_SIZE = 256
SCALE = 1.8
# A detector is given pictures of at most this side, and what it does not find is taken to be here.
LARGEST_SIDE = 1152
NO_FACE: Box = (0.0, 0.0, 200.0, 200.0)
_BLUR = 0.016


def shrink(image: Pixels) -> Pixels:
    """Return the picture as the detector sees it: its longer side at most 1152 pixels."""
    height, width = image.shape[:2]
    longest = max(height, width, 3)
    if longest <= LARGEST_SIDE:
        return image
    factor = LARGEST_SIDE / longest
    return cv2.resize(image, (round(width * factor), round(height * factor)))


def choose_box(boxes: NDArray[np.floating]) -> Box:
    """Return the box (left, top, right, bottom) of the largest area among [n, 4]; NO_FACE for none."""
    if not len(boxes):
        return NO_FACE
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left, top, right, bottom = (float(edge) for edge in boxes[int(np.argmax(areas))])
    return left, top, right, bottom


def enlarged_square(box: Box, scale: float = SCALE) -> tuple[int, int, int, int]:
    """Return whole (left, top, right, bottom), right and bottom exclusive: a square of `scale` × the longer side."""
    left, top, right, bottom = box
    half = 0.5 * max(right - left, bottom - top) * scale
    x, y = 0.5 * (left + right), 0.5 * (top + bottom)
    left_, top_ = math.floor(x - half), math.floor(y - half)
    right_, bottom_ = math.ceil(x + half), math.ceil(y + half)
    bottom_ += (right_ - left_) - (bottom_ - top_)
    return left_, top_, right_ + 1, bottom_ + 1


def padded_crop(image: Pixels, square: tuple[int, int, int, int]) -> Pixels:
    """Return a square's pixels [side, side, 3]; what lies outside is mirrored, and fades to a blur and a mean tone.

    Args:
        image: [H, W, 3] uint8.
        square: left, top, right, bottom, exclusive, in pixels.
    """
    left, top, right, bottom = square
    height, width = image.shape[:2]
    inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    pads = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
    if not any(pads):
        return np.ascontiguousarray(inside)
    return _faded(cv2.copyMakeBorder(inside, *pads, cv2.BORDER_REFLECT_101), pads)


def crop_face(image: Pixels, box: Box, size: int = CROP_SIZE) -> Pixels:
    """Return the crop [size, size, 3] about a detector's box (left, top, right, bottom)."""
    crop = padded_crop(image, enlarged_square(box))
    # By the box's height, not the crop's: crops between the two are shrunk with the cubic.
    if size <= box[3] - box[1]:
        return cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    # OpenCV's 8-bit cubic rounds halves differently from one CPU to the next; in float it agrees with the published.
    resized = cv2.resize(crop.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.rint(resized), 0, 255).astype(np.uint8)


def recrop_as_loaded(crop: Pixels) -> Pixels:
    """Return what the published data loader makes of a finished 256² crop.

    It takes the crop for a whole picture with the box (0, 0, 1, 1): loses a border of a pixel, pads again and
    shrinks. For parity with published numbers only.
    """
    side = crop.shape[0]
    return cv2.resize(pad_as_loaded(crop), (side, side), interpolation=cv2.INTER_AREA)


def pad_as_loaded(crop: Pixels) -> Pixels:
    """Return the padded 257² that `recrop_as_loaded` shrinks."""
    pads = (1, 2, 1, 2)
    return _faded(cv2.copyMakeBorder(crop[1:-1, 1:-1], *pads, cv2.BORDER_REFLECT_101), pads)


def _faded(padded: Pixels, pads: tuple[int, int, int, int]) -> Pixels:
    """Return a mirrored picture faded toward its edges; pads are top, bottom, left, right."""
    top, bottom, left, right = pads
    height, width = padded.shape[:2]
    y, x = np.ogrid[:height, :width]

    def share(distance: NDArray[np.int64], pad: int) -> NDArray[np.float32]:
        if not pad:
            return np.full(distance.shape, np.inf, np.float32)
        return distance.astype(np.float32) / np.float32(pad)

    across = np.minimum(share(x, left), share(width - 1 - x, right))
    down = np.minimum(share(y, top), share(height - 1 - y, bottom))
    mask = np.maximum(1.0 - across, 1.0 - down)[..., None]
    blurred = cv2.GaussianBlur(padded, (0, 0), _BLUR * height).astype(np.float32) / np.float32(255)
    faded = padded.astype(np.float32) / np.float32(255)
    faded += (blurred - faded) * np.clip(3.0 * mask + 1.0, 0.0, 1.0)
    faded += (np.median(faded, axis=(0, 1)) - faded) * np.clip(mask, 0.0, 1.0)
    return np.clip(np.round(faded * 255), 0, 255).astype(np.uint8)
