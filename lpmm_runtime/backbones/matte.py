# SPDX-License-Identifier: GPL-3.0-or-later
"""The portrait's matte, settled by its colours where the network is in doubt: GrabCut between its sure parts.

Hair that the network missed is told by what is near it: it is like the head close by, and unlike what is behind. Fluffy
hair is mixed of both.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.backbones.background import spread
from lpmm_runtime.backbones.pixel_maps import ramp
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
# What is drawn has less doubt than the networks: below the first it is background, above the second head.
_BEHIND, _DRAWN = 0.15, 0.75
# So far, in pixels of 128, their matte is blurred: its edge is a step in most places.
_ROUND = 1.0

# Missed hair lies so far from the head, in pixels of 128, and is compared with what is so far from it, at such steps.
_MISSED, _NEAR, _STEP = 12, (14, 28), (2, 4)
# It differs from the head's nearest colour by less than the first, and by less than that share of what it differs from
# the background's; less than the third is noise.
_LIKE, _SHARE, _NOISE = 0.12, 0.5, 0.01
# What was found may have more beside it.
_LOOKS = 2

# Fluff ends so far from the head, pixels of 128, and is mixed of colours at least so different, but for so much.
_FLUFF, _TOLD_APART, _UNMIXED = 14, 0.2, 0.15
# It is more of the head's colour than the first, and than so many times what the background varies by; about fluff so
# much of it are wisps, which are taken for as dense as the last at least: or they would stay behind.
_THINNEST, _VARIES, _WISPS, _WISP = 0.25, 3.0, 0.3, 0.35
# A head of fluffy hair has it along such a share of its outline: what is found beside others belongs to others.
_ALL_AROUND = 0.45


def settled_matte(crop: Array, alpha: Array) -> Array:
    """Return the matte [m, m] with its doubtful parts given to the head or the background by colour.

    Args:
        crop: [s, s, 3] in [0, 1]; alpha: [m, m] in [0, 1], the network's.
    """
    wide = cv2.resize(alpha, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR)
    doubt = ((wide > _SURELY_BEHIND) & (wide < _SURELY_HEAD)).astype(np.uint8)
    open_part = cv2.dilate(doubt, _ellipse(_REACH)) > 0
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


def regained_matte(picture: Array, alpha: Array, lowest: float) -> Array:
    """Return the matte [m, m] with what is near the head, looks like it and does not look like what is behind.

    Args:
        picture: [s, s, 3] in [0, 1]; alpha: [m, m] in [0, 1], 128 pixels a crop; lowest: how far down to look, as a
            share of the picture's height: clothes stay.
    """
    small = cv2.GaussianBlur(np.asarray(resize(picture, *alpha.shape), np.float32), (0, 0), 0.7)
    for _ in range(_LOOKS):
        alpha = _regained(small, alpha, lowest)
    return alpha


def fluff(picture: Array, alpha: Array, lowest: float) -> Array | None:
    """Return what of a head's hair lets the background through, as dense as it is [m, m]; None if its hair does not.

    Beside hair as dense as the rest of it lies fluff of colours between the hair's and those of what is behind.

    Args:
        picture, alpha, lowest: as for `regained_matte`, which comes first.
    """
    small = cv2.GaussianBlur(np.asarray(resize(picture, *alpha.shape), np.float32), (0, 0), 0.7)
    own = (decided(alpha) > 0.5).astype(np.uint8)
    reach = cv2.dilate(own, _ellipse(_FLUFF + 2))
    inner, outer = (part.astype(np.float32) for part in (cv2.erode(own, _ellipse(3)), 1 - reach))
    if not (inner.any() and outer.any()):
        return None
    hair, behind = (cv2.GaussianBlur(spread(small, seen), (0, 0), soft) for seen, soft in ((inner, 3.0), (outer, 2.0)))
    way = hair - behind
    length = np.maximum((way * way).sum(axis=-1), np.float32(1e-4))
    dense = ((small - behind) * way).sum(axis=-1) / length
    unmixed = np.linalg.norm(small - behind - dense[..., None] * way, axis=-1)
    # Of the background that is sure to be one, near by.
    varies = np.abs(((small - cv2.blur(small, (15, 15))) * way).sum(axis=-1) / length)
    sure = cv2.blur(outer, (41, 41))
    varies = np.where(sure > 0.02, cv2.blur(varies * outer, (41, 41)) / np.maximum(sure, 1e-3), 1.0)
    above = (np.arange(len(alpha))[:, None] < round(lowest * len(alpha))).astype(np.uint8)
    told = (length > _TOLD_APART**2) & (unmixed < _UNMIXED) & (own == 0) & (above > 0)
    least = _THINNEST + _VARIES * varies
    found = told & (dense > least) & (reach > 0)
    # Thin rims are the matte's soft edge.
    thick = cv2.morphologyEx(found.astype(np.uint8) | own, cv2.MORPH_OPEN, _ellipse(2)) & (1 - own)
    thick = cv2.morphologyEx(thick, cv2.MORPH_OPEN, _ellipse(1))
    _, parts = cv2.connectedComponents(thick | own, connectivity=4)
    thick &= np.isin(parts, np.unique(parts[own > 0])).astype(np.uint8)
    rim = (own - cv2.erode(own, _ellipse(1))) * above
    if (rim & cv2.dilate(thick, _ellipse(3))).sum() < _ALL_AROUND * max(int(rim.sum()), 1):
        return None
    wisps = told & (dense > _WISPS * least) & (cv2.dilate(thick, _ellipse(_FLUFF // 2)) > 0)
    wisps = cv2.morphologyEx(wisps.astype(np.uint8) | thick | own, cv2.MORPH_CLOSE, _ellipse(2)) & (1 - own) & above
    return _beside(own, wisps * np.clip(dense, _WISP, 1.0), 0.8)


def _beside(own: NDArray[np.uint8], found: Array, soft: float) -> Array:
    """Return what was found beside a head [m, m], and no seam between the two."""
    both = np.where(own > 0, np.float32(1.0), found.astype(np.float32))
    near = cv2.dilate((found > 0.0).astype(np.uint8), _ellipse(2))
    return np.asarray(near * cv2.GaussianBlur(both, (0, 0), soft), np.float32)


def _regained(picture: Array, alpha: Array, lowest: float) -> Array:
    own = (decided(alpha) > 0.5).astype(np.uint8)
    around = cv2.dilate(own, _ellipse(_MISSED))
    inner, outer = cv2.erode(own, _ellipse(2)) > 0, around == 0
    candidates = around > own
    # Below there are clothes, and walls of their colour.
    candidates[round(lowest * len(alpha)) :] = False
    inner[round(lowest * len(alpha)) :] = False
    places = np.argwhere(candidates)
    if not (len(places) and inner.any() and outer.any()):
        return alpha
    head = _nearest_colour(picture, places, inner, _NEAR[0], _STEP[0])
    behind = np.minimum(
        _nearest_colour(picture, places, outer, _NEAR[0], _STEP[0]),
        _nearest_colour(picture, places, outer, _NEAR[1], _STEP[1]),
    )
    found = np.zeros_like(own)
    found[tuple(places.T)] = (head < _LIKE) & (head < _SHARE * behind - _NOISE)
    grown = cv2.morphologyEx(
        cv2.morphologyEx(found | own, cv2.MORPH_OPEN, _ellipse(1)) | own, cv2.MORPH_CLOSE, _ellipse(2)
    )
    # All around a head its soft edge is like it, too: that is known.
    more = cv2.morphologyEx(grown & candidates.astype(np.uint8), cv2.MORPH_OPEN, _ellipse(1))
    _, parts = cv2.connectedComponents(more | own, connectivity=4)
    more &= np.isin(parts, np.unique(parts[own > 0])).astype(np.uint8)
    return cv2.max(alpha, _beside(own, more.astype(np.float32), 0.5 * _SOFTNESS))


def _nearest_colour(
    picture: Array, places: NDArray[np.int64], among: NDArray[np.bool_], reach: int, step: int
) -> Array:
    """Return how far each place's colour is from the nearest one `among` those within reach [n]; 9 where none is."""
    ways = np.mgrid[-reach : reach + 1 : step, -reach : reach + 1 : step].reshape(2, -1).T
    ways = ways[np.hypot(*ways.T) <= reach]
    padded = np.pad(picture, ((reach, reach), (reach, reach), (0, 0)))
    valid = np.pad(among, reach)
    rows, columns = (places[:, axis, None] + ways[None, :, axis] + reach for axis in (0, 1))
    unlike = np.linalg.norm(padded[rows, columns] - picture[tuple(places.T)][:, None], axis=-1)
    return np.asarray(np.where(valid[rows, columns], unlike, 9.0).min(axis=1), np.float32)


def _ellipse(reach: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)), np.uint8)


def rounded(alpha: Array) -> Array:
    """Return a matte of 128² whose edge has no steps when it is enlarged."""
    return np.asarray(cv2.GaussianBlur(alpha, (0, 0), _ROUND), np.float32)


def decided(alpha: Array) -> Array:
    """Return a matte with less doubt: half-seen heads over a made-up background look like ghosts."""
    return ramp(alpha, _BEHIND, _DRAWN)
