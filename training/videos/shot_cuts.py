# SPDX-License-Identifier: GPL-3.0-or-later
"""Where one shot ends and the next begins: a jump of the whole picture that its neighbours do not have."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

_SMALL = (64, 36)
# Mean difference of two small pictures, grey levels: below the first nothing is a cut (heads turn, hands wave), above
# the second everything is; between them it must stand out from the motion just before.
_LEAST, _CERTAIN = 12.0, 45.0
_STANDS_OUT = 4.0
_MEMORY = 8


class ShotCuts:
    """Watches the frames of one video in order."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._motion: deque[float] = deque(maxlen=_MEMORY)

    def starts_shot(self, picture: Pixels) -> bool:
        """Whether this frame [H, W, 3] uint8 begins another shot than the one before; not so for the first frame."""
        small = cv2.resize(picture, _SMALL, interpolation=cv2.INTER_AREA).astype(np.float32)
        last, self._last = self._last, small
        if last is None:
            return False
        jump = float(np.abs(small - last).mean())
        usual = max(float(np.median(self._motion)), 1.0) if self._motion else 1.0
        if jump > _CERTAIN or (jump > _LEAST and jump > _STANDS_OUT * usual):
            self._motion.clear()
            return True
        self._motion.append(jump)
        return False
