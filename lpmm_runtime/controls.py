# SPDX-License-Identifier: GPL-3.0-or-later
"""Controls: named semantic sliders as directions, or small non-linear maps, in param space.

A linear control adds `value · direction`. The head angles share one polynomial map P of (yaw, pitch, roll),
because an angle bends through the linear landmark space; from a base with head angles θ₀ they add
P(θ₀ + θ) − P(θ₀), so that equal slider steps turn the landmarks by equal angles wherever they start. What a generator
makes of them depends on how much of the head its portrait shows: from a turned one P is given multiples of θ.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

HEAD_CONTROLS = ("headYaw", "headPitch", "headRoll")
# In what angles are counted in polynomials of them, degrees.
UNIT = 30.0
# Heads that start further turned were not measured; multiples beyond these are a broken bundle's.
_FURTHEST, _LEAST, _MOST = 1.2, 0.7, 1.4
# A multiple hardly depends on the command: so few steps find one.
_STEPS = 6


@dataclass(frozen=True)
class Control:
    """One slider as the animator sees it.

    Attributes:
        name: ARKit's name, or headYaw, headPitch, headRoll.
        group: "head", "eyes", "brows" or "mouth"; the panel's section.
        minimum, maximum: the range in which the models were fitted: degrees for the head, else 0 to 1.
        description: the tooltip, one sentence.
    """

    name: str
    group: str
    minimum: float
    maximum: float
    description: str


@dataclass(frozen=True)
class ControlMap:
    """S(controls): what the sliders add to the params.

    Attributes:
        names: the linear controls, in the order of `directions`.
        directions: [c, k] float32, what a value of 1 adds to the params, standard deviations. D learned what it means.
        moves: [c, 2 n] float32, what is seen of it: how a value of 1 moves the landmarks, crop sides. Params may add
            what landmarks do not show, for D to tell two controls apart; where a control takes a face these say.
        head_exponents: [t, 3] int, the powers of (yaw, pitch, roll) of each term, in units of 30°; none is constant.
        head_coefficients: [t, k] float32, standard deviations.
        head_readout: [f, 3] float32, degrees from the features (1, p, p₁..₆ pairwise products).
        head_reach: [3, 3] float32, a row an axis: from a start of t₀ · 30° P is given a command of t · 30° times
            1 + r₁|t₀| + r₂t₀ + r₃t₀t.
    """

    names: tuple[str, ...]
    directions: Array
    moves: Array
    head_exponents: NDArray[np.int64]
    head_coefficients: Array
    head_readout: Array
    head_reach: Array = field(default_factory=lambda: np.zeros((3, 3), np.float32))

    def head(self, angles: NDArray[np.floating]) -> Array:
        """Return P(θ) [k] of head angles [3] (yaw, pitch, roll) in degrees."""
        terms = np.prod((np.asarray(angles, np.float64) / UNIT) ** self.head_exponents, axis=-1)
        return (terms @ self.head_coefficients).astype(np.float32)

    def turned(self, start: NDArray[np.floating], angles: NDArray[np.floating]) -> Array:
        """Return what turning a head by `angles` [3] from its `start` [3], degrees, adds to the params [k]."""
        told = np.asarray(angles, np.float64) * self._multiple(start, angles)
        return np.asarray(self.head(start + told) - self.head(start), np.float32)

    def commanded(self, start: NDArray[np.floating], told: NDArray[np.floating]) -> Array:
        """Return the commands [..., 3] that turn the landmarks by angles [..., 3] from a `start` [3], degrees."""
        commands = np.asarray(told, np.float64)
        for _ in range(_STEPS):
            commands = told / self._multiple(start, commands)
        return commands.astype(np.float32)

    def _multiple(self, start: NDArray[np.floating], angles: NDArray[np.floating]) -> NDArray[np.float64]:
        first, then = (np.clip(np.asarray(way, np.float64) / UNIT, -_FURTHEST, _FURTHEST) for way in (start, angles))
        reach = self.head_reach.astype(np.float64).T
        return np.clip(1.0 + reach[0] * np.abs(first) + reach[1] * first + reach[2] * first * then, _LEAST, _MOST)

    def head_angles(self, params: NDArray[np.floating]) -> Array:
        """Return the head angles [..., 3] (yaw, pitch, roll; degrees) that params [..., k] show."""
        return (head_features(np.asarray(params, np.float32)) @ self.head_readout).astype(np.float32)

    def offset(self, values: Mapping[str, float], base: NDArray[np.floating]) -> Array:
        """Return S(controls) [k] in standard deviations.

        Args:
            values: control values by name; what is missing is 0.
            base: [k], the params that the controls start from.

        Raises:
            KeyError: for a name that is no control.
        """
        unknown = set(values) - set(self.names) - set(HEAD_CONTROLS)
        if unknown:
            raise KeyError(f"no such control: {', '.join(sorted(unknown))}")
        total = np.zeros(self.directions.shape[1], np.float32)
        for row, name in enumerate(self.names):
            value = values.get(name, 0.0)
            if value:
                total += np.float32(value) * self.directions[row]
        angles = np.array([values.get(name, 0.0) for name in HEAD_CONTROLS])
        if angles.any():
            total += self.turned(self.head_angles(base), angles)
        return total


def head_features(params: Array) -> Array:
    """Return the features [..., f] from which the head angles are read: 1, all params, products of the first six."""
    first = params[..., :6]
    rows, columns = np.triu_indices(first.shape[-1])
    products = first[..., rows] * first[..., columns]
    return np.concatenate([np.ones_like(params[..., :1]), params, products], axis=-1)
