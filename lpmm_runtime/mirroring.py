# SPDX-License-Identifier: GPL-3.0-or-later
"""Poses in the mirror: the subject's left becomes the right, in controls by name and in params by landmarks."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.landmarks68 import mirror_order
from lpmm_runtime.morphable import LandmarkModel

_LEFT, _RIGHT = "Left", "Right"
_TURNED = ("headYaw", "headRoll")


def mirrored_control(name: str) -> str:
    """Return the control on the other side: `eyeBlinkRight` for `eyeBlinkLeft`; one without sides is its own."""
    if name.endswith(_LEFT):
        return name.removesuffix(_LEFT) + _RIGHT
    if name.endswith(_RIGHT):
        return name.removesuffix(_RIGHT) + _LEFT
    return name


def mirror_controls(values: Mapping[str, float]) -> dict[str, float]:
    """Return control values of the mirrored pose: sides swapped, yaw and roll turned the other way."""
    return {mirrored_control(name): -value if name in _TURNED else value for name, value in values.items()}


def mirror_offsets(model: LandmarkModel, offsets: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mirror image of what params add to a face.

    The landmarks' displacements are mirrored and projected back, so that components which are neither symmetric
    nor antisymmetric are treated rightly too. Twice is the identity where the model's span is its own mirror image.

    Args:
        model: the LPMM, of either landmark scheme.
        offsets: [..., k] standard deviations, relative to any face.

    Returns:
        [..., k] standard deviations.
    """
    moved = (np.asarray(offsets, np.float64) * model.sigma) @ model.eigenvectors
    moved = moved.reshape(*moved.shape[:-1], -1, 2)[..., mirror_order(model.points), :] * (-1.0, 1.0)
    return (moved.reshape(*moved.shape[:-2], -1) @ model.eigenvectors.T) / model.sigma
