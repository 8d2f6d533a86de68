# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps over a picture's pixels: where each one is, and steps without a corner."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


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
