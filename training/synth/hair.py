# SPDX-License-Identifier: GPL-3.0-or-later
"""Tousled hair: tufts that stand off the combed hair of the kit."""

import numpy as np
from numpy.typing import NDArray

from training.synth.people import Strands

Array = NDArray[np.float32]

# Waves [w, 3] that make up the tufts, in turns per tuft, and which way each moves the hair.
_WAVES = np.array([[1.0, 0.3, 0.5], [-0.4, 0.9, 0.7], [0.6, -0.8, 1.1], [1.7, 1.1, -0.9], [-1.3, 1.9, 1.5]], np.float32)
_WAYS = np.array([[0.5, 0.2, 0.6], [0.6, -0.3, 0.3], [-0.3, 0.6, 0.4], [0.3, 0.3, -0.4], [-0.2, 0.3, 0.4]], np.float32)


def tousled(rest: Array, hair: Strands) -> Array:
    """Return how far tufts move each vertex [n, 3] of resting hair, decimetres; the same for the same hair."""
    phases = hair.tufts * rest @ _WAVES.T + 40.0 * np.float32(hair.tousle) * np.arange(len(_WAVES), dtype=np.float32)
    return np.asarray(hair.tousle * np.sin(2.0 * phases) @ _WAYS, np.float32)
