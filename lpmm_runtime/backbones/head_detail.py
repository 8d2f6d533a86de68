# SPDX-License-Identifier: GPL-3.0-or-later
"""A head's fine detail and how it goes on beyond the head's edge, made once a portrait: hair as hair, skin as skin.

Beyond the edge the detail is folded back, as deep as the edge's material reaches. Where that is but a narrow strip of
hair, the detail of a larger patch of the same hair is folded there instead.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from lpmm_runtime.backbones.background import spread
from lpmm_runtime.backbones.pixel_maps import pixels, ramp
from lpmm_runtime.portrait import resize

Array = NDArray[np.float32]
Inside = NDArray[np.uint8] | NDArray[np.bool_]

# What is finer than this share of the side is detail, the rest colour.
_FINE = 0.015
# Detail stronger than this is an edge more than a texture, and held back: the more, the less is known of what it shows.
_STRONG, _STRONG_REPEATED, _STRONG_IN_A_STRIP = 0.5, 0.35, 0.08
# As far as this share of the side inside the matte its edge may show background.
_EDGE = 0.016
# How much forehead there is above the brows, in heights from chin to brows.
_FOREHEAD = 0.3
_SIDE = 128
# Materials differ by so much in colour; the edge is not a patch's hair between these.
_DIFFER = 0.15
_UNLIKE = (0.12, 0.25)
# A strip is as deep as this share of the side, and the second is enough to fold; no fold is deeper than the last.
_STRIP, _ENOUGH = 0.03, 0.07
_FOLDS = (0.02, 0.15)
# Between these points of jaw, nose wing and lower lid lies a cheek.
_CHEEKS = ((3, 31, 41), (13, 35, 46))
# Its grain is taken from a square of this half side, in sides; what is stronger is a mole or an edge.
_CHEEK, _GRAIN = 0.045, 0.06
# As deep as materials are followed, and the smallest radius of a patch of hair: pixels of 128.
_DEEPEST, _PATCH = 20, 4.5


@dataclass(frozen=True, eq=False)
class _Patch:
    """A square of hair: its middle [2] (x, y) and half side, in sides; how like it the head's edge is [128, 128]."""

    middle: Array
    half: float
    like: Array


def head_detail(head: Array, alpha: Array, landmarks: Array) -> Array:
    """Return a portrait's detail [s, s], its brightness around 0, going on beyond the head.

    Args:
        head: [s, s, 3] in [0, 1], its colours (`head_colours`); alpha: [s, s], its matte; landmarks: [68, 2].
    """
    size = len(head)
    inner = _inner(alpha, size)
    own = cv2.cvtColor(head - _wide(coarse_colours(head), size), cv2.COLOR_RGB2GRAY)
    if not inner.any() or inner.all():
        return _held(own, _STRONG)
    away, out, plain = _outward(inner, size)
    edge = pixels(size) - away[..., None] * out
    room, patch = _materials(head, inner, landmarks)
    room = _of_the_edge(room, edge)
    enough = ramp(room, _STRIP, _ENOUGH)
    depth = np.clip(room, *_FOLDS) * np.float32(size)
    beyond = _at(own, edge - (depth * _fold(away / depth))[..., None] * out)
    beyond = enough * _held(beyond, _STRONG) + (1.0 - enough) * _held(beyond, _STRONG_IN_A_STRIP)
    if patch is not None:
        middle, half = patch.middle * np.float32(size), np.float32(patch.half * size)
        way = (pixels(size) - middle) / half
        hair = _at(own, middle + half * (2.0 * _fold(0.5 * way + 0.5) - 1.0))
        beyond += (1.0 - enough) * _of_the_edge(patch.like, edge) * (_held(hair, _STRONG_REPEATED) - beyond)
    outside = np.clip(away / (0.5 * _EDGE * size), 0.0, 1.0)
    return np.asarray((1.0 - outside) * _held(own, _STRONG) + outside * plain * beyond, np.float32)


def skin_grain(head: Array, landmarks: Array) -> Array:
    """Return [s, s], the fine brightness around 0 of a portrait's cheek, as a texture without end.

    White noise is given the look of a patch of the cheek ("spot noise"; Galerne, Gousseau, Morel, "Random Phase
    Textures", 2011): a mole, or a line that a smile draws, must not come twice.

    Args:
        head: [s, s, 3] in [0, 1]; landmarks: [68, 2].
    """
    size = len(head)
    # The cheek that is turned to the viewer.
    jaw, wing, lid = max(_CHEEKS, key=lambda cheek: float(abs(landmarks[cheek[0], 0] - landmarks[cheek[1], 0])))
    middle = 0.5 * landmarks[jaw] + 0.25 * (landmarks[wing] + landmarks[lid])
    half = max(2, round(_CHEEK * size))
    x, y = (int(np.clip(round(float(at) * size), half, size - half)) for at in middle)
    patch = (slice(y - half, y + half), slice(x - half, x + half))
    own = cv2.cvtColor(head[patch] - _wide(coarse_colours(head), size)[patch], cv2.COLOR_RGB2GRAY)
    usual = 1.48 * float(np.median(np.abs(own)))
    if usual < 1e-4:
        return np.zeros((size, size), np.float32)
    spot = np.zeros((size, size), np.float32)
    spot[: 2 * half, : 2 * half] = _held(own, usual) * np.outer(np.hanning(2 * half), np.hanning(2 * half))
    noise = np.random.default_rng(0).standard_normal((size, size), np.float32)
    grain = np.fft.irfft2(np.fft.rfft2(noise) * np.fft.rfft2(spot), s=spot.shape)
    return _held((usual / max(float(grain.std()), 1e-9) * grain).astype(np.float32), _GRAIN)


def coarse_colours(picture: Array) -> Array:
    """Return a picture [s, s, 3] without its detail, small: [n, n, 3]."""
    small = picture
    # Halved while its blur stays wider than a pixel: as smooth, and done sooner.
    while len(small) > 1 and _FINE * len(small) > 2.5:
        half = len(small) // 2
        small = cv2.resize(small, (half, half), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.GaussianBlur(small, (7, 7), _FINE * len(small)), np.float32)


def hull_mask(landmarks: Array, size: int, forehead: float = 0.0) -> Array:
    """Return [size, size]: 1 within the landmarks [68, 2] and so much forehead above, in heights from chin to brows."""
    brows = landmarks[landmarks68.REGIONS["brows"]]
    above = brows + forehead * (brows.mean(axis=0) - landmarks[8])
    return _filled(np.concatenate([landmarks[:68], above]), size)


def features_mask(landmarks: Array, size: int) -> Array:
    """Return [size, size]: 1 within the hull of brows, eyes, nose and mouth of landmarks [68, 2]."""
    return _filled(landmarks[17:68], size)


def _filled(points: Array, size: int) -> Array:
    mask = np.zeros((size, size), np.float32)
    cv2.fillConvexPoly(mask, np.round(cv2.convexHull(points.astype(np.float32) * size)).astype(np.int32), 1.0)
    return mask


def _materials(head: Array, inner: Inside, landmarks: Array) -> tuple[Array, _Patch | None]:
    """Return how deep the edge's material reaches [128, 128], in sides, and the best patch of hair if there is one."""
    head = resize(head, _SIDE, _SIDE)
    inner = (resize(inner.astype(np.float32), _SIDE, _SIDE) > 0.5).astype(np.uint8)
    face = hull_mask(landmarks, _SIDE)
    skin = np.median(head[face > 0], axis=0)
    colours = cv2.GaussianBlur(spread(head, inner.astype(np.float32)), (0, 0), 1.5)
    _, out, _ = _outward(inner, _SIDE, from_within=True)

    def deeper(picture: Array, depth: float) -> Array:
        return _at(picture, pixels(_SIDE) - np.float32(depth) * out)

    material = np.mean([deeper(colours, depth) for depth in (0.5, 1.5, 2.5)], axis=0)
    way = skin - material
    length = np.maximum((way * way).sum(axis=-1), np.float32(_DIFFER**2))
    going, room = np.ones((_SIDE, _SIDE), np.float32), np.zeros((_SIDE, _SIDE), np.float32)
    for depth in range(1, _DEEPEST):
        toward_skin = ((deeper(colours, depth) - material) * way).sum(axis=-1) / length
        going = cv2.min(going, (1.0 - ramp(toward_skin, 0.3, 0.6)) * (1.0 - deeper(face, depth)))
        room += going / np.float32(_SIDE)
    # As seen from outside; where it narrows nearby no fold may reach over.
    room = cv2.erode(np.where(inner > 0, np.float32(1.0), room), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 13)))
    hair = (inner > 0) & (np.linalg.norm(colours - skin, axis=-1) > _DIFFER)
    hair &= hull_mask(landmarks, _SIDE, _FOREHEAD) == 0
    return room, _hair_patch(hair, colours, material, landmarks)


def _hair_patch(hair: Inside, colours: Array, material: Array, landmarks: Array) -> _Patch | None:
    nose = landmarks[landmarks68.REGIONS["nose"].stop - 1, 1]
    hair = hair.astype(np.uint8)
    hair[int(np.clip(nose, 0.0, 1.0) * _SIDE) :] = 0
    # The picture ends at its border, and so does the hair that is seen.
    hair[0] = hair[:, 0] = hair[:, -1] = 0
    thick = cv2.distanceTransform(hair, cv2.DIST_L2, 5)
    row, column = np.unravel_index(int(thick.argmax()), thick.shape)
    if thick[row, column] < _PATCH:
        return None
    unlike = np.linalg.norm(material - colours[row, column], axis=-1)
    # A square in the circle of hair.
    half = 0.7 * float(thick[row, column]) / _SIDE
    middle = (np.array([column, row], np.float32) + np.float32(0.5)) / np.float32(_SIDE)
    return _Patch(middle, half, 1.0 - ramp(unlike, *_UNLIKE))


def _inner(alpha: Array, size: int) -> Inside:
    """Return where the head surely is [s, s], 0 or 1."""
    reach = max(1, round(_EDGE * size))
    sure = cv2.erode(alpha, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)))
    return (cv2.GaussianBlur(sure, (0, 0), size / 128) > 0.5).astype(np.uint8)


def _outward(inner: Inside, size: int, from_within: bool = False) -> tuple[Array, Array, Array]:
    """Return how far each place is from the head [s, s], the way from it [s, s, 2], and how plain that is [s, s].

    Between two parts of the head there is no one way out. With `from_within` the way is told inside it too.
    """
    away = cv2.distanceTransform(1 - inner, cv2.DIST_L2, 5)
    smooth = away - cv2.distanceTransform(inner, cv2.DIST_L2, 5) if from_within else away
    smooth = cv2.GaussianBlur(smooth, (0, 0), size / 50)
    out = np.dstack([cv2.Sobel(smooth, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1))])
    length = np.linalg.norm(out, axis=-1)
    return away, np.asarray(out / np.maximum(length, 1e-3)[..., None], np.float32), ramp(length, 0.5, 0.9)


def _fold(way: Array) -> Array:
    """Return a way in [0, 1] that goes on by turning round."""
    return np.asarray(np.abs((way + 1.0) % 2.0 - 1.0), np.float32)


def _held(detail: Array, strong: float) -> Array:
    return np.asarray(detail / (1.0 + np.abs(detail) / np.float32(strong)), np.float32)


def _at(picture: Array, place: Array) -> Array:
    place = np.asarray(place, np.float32)
    return np.asarray(cv2.remap(picture, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _of_the_edge(small: Array, edge: Array) -> Array:
    """Return for each place [s, s] what a map [128, 128] says of the `edge` [s, s, 2] that it goes on from."""
    size = len(edge)
    return np.asarray(cv2.GaussianBlur(_at(_wide(small, size), edge), (0, 0), size / 50), np.float32)


def _wide(small: Array, size: int) -> Array:
    return np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)
