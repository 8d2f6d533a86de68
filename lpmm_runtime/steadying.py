# SPDX-License-Identifier: GPL-3.0-or-later
"""A steadied crop: the face's square over time, without the trembling of single readings."""

import itertools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.crop import CropSquare

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Table = NDArray[np.float64]

# A square that moves or grows by more than this share of its side from one frame to the next is another shot's.
_JUMP = 0.35


def filled(values: Table, known: NDArray[np.bool_]) -> Table:
    """Return [n, d] with the unknown rows interpolated between their known neighbours, or held at the ends.

    At least one row must be known.
    """
    rows = np.arange(len(values))
    return np.stack([np.interp(rows, rows[known], column[known]) for column in values.T], axis=1)


def steadied(squares: Table, sigma: float) -> Table:
    """Return squares [n, 3] (centre x, y, side; pixels) smoothed by a Gaussian over time, shot by shot.

    Args:
        sigma: in frames; 0 changes nothing. The filter looks both ways: nothing lags.
    """
    if sigma <= 0:
        return squares.copy()
    moved = np.abs(np.diff(squares, axis=0)).max(axis=1) / np.minimum(squares[1:, 2], squares[:-1, 2])
    bounds = [0, *(np.flatnonzero(moved > _JUMP) + 1), len(squares)]
    return np.concatenate([smoothed(squares[a:b], sigma) for a, b in itertools.pairwise(bounds)])


def smoothed(values: Table, sigma: float) -> Table:
    """Return [n, d] smoothed along n by a Gaussian of `sigma` rows; a ramp stays one, up to its ends."""
    if sigma <= 0 or len(values) < 2:
        return values.copy()
    reach = min(math.ceil(3 * sigma), len(values) - 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    # Mirrored through the end points, so that a movement that is cut off is not slowed down.
    before, after = 2 * values[0] - values[reach:0:-1], 2 * values[-1] - values[-2 : -reach - 2 : -1]
    padded = np.concatenate([before, values, after])
    return np.stack([np.convolve(column, kernel, "valid") for column in padded.T], axis=1)


def crop_between_pixels(picture: Pixels, square: CropSquare, side: int) -> Array:
    """Return the crop [side, side, 3] float32 RGB in [0, 1] of a square whose edges need not be whole pixels.

    Whole ones would make a slow movement tremble by a pixel. The picture's edge is repeated outside.
    """
    times = max(1, math.ceil(square.side / side))
    fine = times * side
    step = square.side / fine
    # From the fine crop's pixel centres to the picture's.
    into = np.array([[step, 0, square.left + 0.5 * step - 0.5], [0, step, square.top + 0.5 * step - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(picture, into, (fine, fine), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    if times > 1:
        warped = cv2.resize(warped, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(warped, np.float32) / np.float32(255)
