# SPDX-License-Identifier: GPL-3.0-or-later
"""Turning both eyes as one: the gaze controls as two signed angles, to the side and in height.

Eyes that look the same way turn by the same amount; eyes that their sliders have parted stay parted by as much, as
far as their range lets them. To look left after looking right goes back through the middle, so an eye never has two
opposite controls away from rest.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_Pair = tuple[str, str]

# Controls that move the irises towards positive and negative x, and y (down), of the picture; the subject's right eye
# first, as irises are.
_AXES: tuple[tuple[_Pair, _Pair], ...] = (
    (("eyeLookInRight", "eyeLookOutLeft"), ("eyeLookOutRight", "eyeLookInLeft")),
    (("eyeLookDownRight", "eyeLookDownLeft"), ("eyeLookUpRight", "eyeLookUpLeft")),
)
GAZE_CONTROLS: tuple[str, ...] = tuple(name for axis in _AXES for pair in axis for name in pair)


class ConjugateGaze:
    """The eyes as their sliders have them, and what turning both by the same amounts (x, y) makes of these."""

    def __init__(self, values: Mapping[str, float], ranges: Mapping[str, tuple[float, float]]) -> None:
        """Start from slider values; `ranges` has the natural range of each control that there is."""
        self._ranges = ranges
        self._start = np.zeros((2, len(_AXES)))
        self._low, self._high = np.zeros_like(self._start), np.zeros_like(self._start)
        for column, (onward, back) in enumerate(_AXES):
            for eye in range(2):
                ahead, behind = (values.get(pair[eye], 0.0) if pair[eye] in ranges else 0.0 for pair in (onward, back))
                self._start[eye, column] = ahead - behind
            self._high[:, column] = self._reach(onward)
            self._low[:, column] = -self._reach(back)
        # A slider that is beyond its range already may stay there.
        self._low, self._high = np.minimum(self._low, self._start), np.maximum(self._high, self._start)

    def limits(self, eyes: Iterable[int]) -> tuple[Array, Array]:
        """Return the least and the largest amounts [2] that one of these eyes (0 the subject's right) can turn by."""
        chosen = list(eyes)
        return (self._low - self._start)[chosen].min(axis=0), (self._high - self._start)[chosen].max(axis=0)

    def turned(self, amounts: Array) -> dict[str, float]:
        """Return the values of all gaze controls there are, with both eyes turned by amounts [2]."""
        gaze = np.clip(self._start + amounts, self._low, self._high)
        return {
            pair[eye]: max(0.0, sign * float(gaze[eye, column]))
            for column, axis in enumerate(_AXES)
            for pair, sign in zip(axis, (1.0, -1.0), strict=True)
            for eye in range(2)
            if pair[eye] in self._ranges
        }

    def _reach(self, pair: _Pair) -> Array:
        """Return how far the eyes [2] go one way: nowhere if only one of them can."""
        return np.array([self._ranges[name][1] if set(pair) <= set(self._ranges) else 0.0 for name in pair])
