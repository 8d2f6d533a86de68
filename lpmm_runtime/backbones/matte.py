# SPDX-License-Identifier: GPL-3.0-or-later
"""The portrait's matte, settled by its colours where the network is in doubt: GrabCut between its sure parts."""

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.portrait import resize

Array = NDArray[np.float32]

_SIDE = 256
# The network is in doubt between these, and for so many pixels of 256 around.
_SURELY_BEHIND, _SURELY_HEAD = 0.03, 0.97
_REACH = 4
# What it takes for head by more than this colours do not overrule: white hair before a grey wall is hair.
_HEAD = 0.8
_ROUNDS = 4
# Of a hard cut, pixels of 256: hair is never as sharp.
_SOFTNESS = 1.2


def settled_matte(crop: Array, alpha: Array) -> Array:
    """Return the matte [m, m] with its doubtful parts given to the head or the background by colour.

    Args:
        crop: [s, s, 3] in [0, 1]; alpha: [m, m] in [0, 1], the network's.
    """
    wide = cv2.resize(alpha, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR)
    doubt = ((wide > _SURELY_BEHIND) & (wide < _SURELY_HEAD)).astype(np.uint8)
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _REACH + 1, 2 * _REACH + 1))
    open_part = cv2.dilate(doubt, ellipse) > 0
    head = wide > 0.5
    # GrabCut needs sure pixels of both kinds to learn their colours from.
    if not ((head & ~open_part).any() and (~head & ~open_part).any() and open_part.any()):
        return alpha
    sure = np.where(head, cv2.GC_FGD, cv2.GC_BGD)
    labels = np.where(open_part, np.where(head, cv2.GC_PR_FGD, cv2.GC_PR_BGD), sure).astype(np.uint8)
    picture = np.round(255.0 * np.clip(resize(crop, _SIDE, _SIDE), 0.0, 1.0)).astype(np.uint8)
    # Its clustering draws random numbers: the same portrait must get the same matte.
    cv2.setRNGSeed(0)
    cv2.grabCut(picture, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    cut = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    settled = np.where(open_part, cv2.GaussianBlur(cut, (0, 0), _SOFTNESS), wide).astype(np.float32)
    settled = np.where(wide > _HEAD, np.maximum(settled, wide), settled)
    side = len(alpha)
    return np.asarray(cv2.resize(settled, (side, side), interpolation=cv2.INTER_AREA), np.float32)
