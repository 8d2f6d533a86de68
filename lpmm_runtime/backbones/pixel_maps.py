# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps over a picture's pixels: where each one is, and steps without a corner."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


# Below this motion, in pixels of 128, a pixel is the photo's own; above the second, the moved head's.
_STILL, _MOVED = 0.01, 0.15


@lru_cache(maxsize=8)
def pixels(size: int) -> Array:
    """Return every pixel's own place [s, s, 2], x then y; not to be written to."""
    row = np.arange(size, dtype=np.float32)
    grid = np.stack(np.meshgrid(row, row), axis=-1)
    grid.flags.writeable = False
    return grid


def ramp(value: NDArray[np.floating], low: float, high: float) -> Array:
    """Return 0 where `value` is below `low`, 1 above `high`, and a smooth step between them."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    # In place: on wide pictures new memory costs more than the arithmetic.
    smooth = 3.0 - 2.0 * t
    smooth *= t
    smooth *= t
    return np.asarray(smooth, np.float32)


def enlarged(maps: Array, size: int) -> Array:
    """Return maps [m, m, c] at a size: [size, size, c]."""
    if len(maps) == size:
        return maps.copy()
    # OpenCV resizes at most four channels at full speed.
    parts = [maps[..., start : start + 4] for start in range(0, maps.shape[2], 4)]
    wide = [cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR).reshape(size, size, -1) for part in parts]
    return np.concatenate(wide, axis=2)


def enlarged_part(small: Array, part: tuple[slice, slice], size: int) -> Array:
    """Return a part (rows, columns) of what a small picture [n, n] or [n, n, c ≤ 4] is when enlarged to a size."""
    scale = len(small) / size
    rows, columns = part
    # OpenCV's pixels are at whole numbers, their edges at halves.
    way = np.array([[scale, 0, (columns.start + 0.5) * scale - 0.5], [0, scale, (rows.start + 0.5) * scale - 0.5]])
    shape = (columns.stop - columns.start, rows.stop - rows.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(small, way, shape, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)


def around(amount: Array) -> Array:
    """Return a map of 128² (or as coarse a one) grown by two pixels and made smooth."""
    return np.asarray(cv2.GaussianBlur(cv2.dilate(amount, np.ones((5, 5), np.uint8)), (0, 0), 1.5), np.float32)


def changed(amount: Array) -> Array:
    """Return where a picture of 128² (or as coarse a one) changes, 0 to 1, of how far its pixels move."""
    return ramp(around(amount), _STILL, _MOVED)
