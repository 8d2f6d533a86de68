# SPDX-License-Identifier: GPL-3.0-or-later
"""A head's fine detail and how it goes on beyond the head's edge, made once a portrait: hair as hair, skin as skin.

Beyond the edge stands a texture without end: noise, smeared along the way that strands run near by ("line integral
convolution"; Cabral, Leedom, "Imaging Vector Fields Using Line Integral Convolution", 1993) and as strong as detail is
there. Folded back or taken from elsewhere, the photo's own detail showed its seams: chevrons in combed hair, and wisps
that came again and again across an ear.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.backbones.background import spread
from lpmm_runtime.backbones.pixel_maps import pixels, ramp

Array = NDArray[np.float32]
Inside = NDArray[np.uint8] | NDArray[np.bool_]

# What is finer than this share of the side is detail, the rest colour.
FINE = 0.015
# Detail stronger than this is an edge more than a texture, and held back: where it is shown, of what tells how strong
# it is, and of what tells how it runs.
_STRONG, _STRONGEST, _STRONG_STRAND = 0.26, 0.25, 0.1
# Colours that change by more than the first within `FINE` are the edge of something, from the second on for sure.
_EDGES = (0.05, 0.12)
# As far as this share of the side inside the matte its edge may show background.
_EDGE = 0.016
# Between these points of jaw, nose wing and lower lid lies a cheek.
_CHEEKS = ((3, 31, 41), (13, 35, 46))
# Its grain is taken from a square of this half side, in sides; what is stronger is a mole or an edge.
_CHEEK, _GRAIN = 0.045, 0.06
# How strands run is told on a map of this side, from so many of its pixels around, and changes over so many.
_SIDE, _AROUND, _SMOOTH = 128, 2.0, 3.0
# Hair has a direction from the second on, none below the first (1 is all one way).
_COHERENT = (0.3, 0.55)
# Noise is smeared by this share of the side to either way, at most in so many steps, each twice the one before.
_SMEARED, _STEP, _STEPS = 0.025, 0.6, 6
# Widths of strands and locks, in pixels of 512, and what they count.
_STRAND, _LOCK = 0.7, 2.0
_STRANDS, _LOCKS = 0.8, 0.6
# Strength of what is smeared against that of the detail it stands for, and of hair without a direction.
_GAIN, _CURL_GAIN = 1.2, 0.75
# Beyond the head's edge detail is at most as strong as this share of the brightness there.
_DARK = 0.4


@dataclass(frozen=True, eq=False)
class _Strands:
    """How detail runs, [128, 128] each: the way (2), how much of it runs so (0 to 1), and how strong it is."""

    way: Array
    coherent: Array
    strength: Array


def head_detail(head: Array, alpha: Array) -> Array:
    """Return a portrait's detail [s, s], its brightness around 0, going on beyond the head.

    Args:
        head: [s, s, 3] in [0, 1], its colours (`head_colours`); alpha: [s, s], its matte.
    """
    size = len(head)
    inner = _inner(alpha, size)
    colours = coarse_colours(head)
    own = cv2.cvtColor(head - _wide(colours, size), cv2.COLOR_RGB2GRAY)
    if not inner.any() or inner.all():
        return _held(own, _STRONG)
    away = cv2.distanceTransform(1 - inner, cv2.DIST_L2, 5)
    outside = np.clip(away / (0.5 * _EDGE * size), 0.0, 1.0)
    beyond = _texture(_strands(own, inner, colours), size)
    own = _held(own, _STRONG) * (1.0 - _wide(_edges(colours), size))
    return np.asarray((1.0 - outside) * own + outside * beyond, np.float32)


def _edges(colours: Array) -> Array:
    """Return [n, n]: 1 where colours [n, n, 3] change fast: the flow takes a hairline along, detail must not, too."""
    grey = cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY)
    across, down = (cv2.Scharr(grey, cv2.CV_32F, *way, scale=1 / 32) for way in ((1, 0), (0, 1)))
    change = cv2.magnitude(across, down) * np.float32(FINE * len(grey))
    return ramp(cv2.dilate(change, np.ones((3, 3), np.uint8)), *_EDGES)


def _strands(own: Array, inner: Inside, colours: Array) -> _Strands:
    """Return how the detail [s, s] of a head runs, on the head [s, s] and beyond its edge, of `colours` [n, n, 3]."""
    held = _held(own, _STRONG_STRAND)
    across, down = (cv2.Scharr(held, cv2.CV_32F, *way) for way in ((1, 0), (0, 1)))
    told = cv2.merge([across * across, down * down, across * down, _held(own, _STRONGEST) ** 2])
    share = cv2.resize(inner.astype(np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    told = cv2.resize(told * inner[..., None].astype(np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    around = np.maximum(cv2.GaussianBlur(share, (0, 0), _AROUND), np.float32(1e-3))
    told = cv2.GaussianBlur(told, (0, 0), _AROUND) / around[..., None]
    xx, yy, xy, power = cv2.split(told)
    # Strands run across the gradient; twice the angle, for a strand has no front.
    twice = np.dstack([yy - xx, -2.0 * xy]) / np.maximum(xx + yy, np.float32(1e-9))[..., None]
    # Hair stays combed where the ways of two sides meet.
    coherent = np.linalg.norm(twice, axis=-1)
    told = np.dstack([twice, coherent, np.sqrt(np.maximum(power, 0.0))]).astype(np.float32)
    told = cv2.GaussianBlur(spread(told, (share > 0.5).astype(np.float32)), (0, 0), _SMOOTH)
    # Noise that black cuts off below makes black hair grey.
    brightness = cv2.resize(cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return _Strands(told[..., :2], told[..., 2], cv2.min(told[..., 3], _DARK * brightness))


def _texture(strands: _Strands, size: int) -> Array:
    """Return a texture [s, s] that runs as strands do, of their strength."""
    unit, rng = size / 512, np.random.default_rng(0)
    twice = _wide(strands.way, size)
    angle = 0.5 * np.arctan2(twice[..., 1], twice[..., 0])
    way = np.dstack([np.cos(angle), np.sin(angle)])
    noise = _STRANDS * _noise(rng, size, _STRAND * unit) + _LOCKS * _noise(rng, size, _LOCK * unit)
    smeared = noise
    step, at = np.float32(_STEP), pixels(size)
    for _ in range(_STEPS):
        if step > _SMEARED * size:
            break
        ahead, behind = (_folded(smeared, at + sign * step * way) for sign in (1, -1))
        smeared, step = 0.5 * (ahead + behind), 2 * step
    runs = ramp(_wide(strands.coherent, size), *_COHERENT)
    smeared = smeared / np.float32(max(float(smeared.std()), 1e-9))
    hair = runs * smeared + np.float32(_CURL_GAIN) * (1.0 - runs) * noise
    return np.asarray(_GAIN * _wide(strands.strength, size) * hair, np.float32)


def _noise(rng: np.random.Generator, size: int, width: float) -> Array:
    """Return noise [s, s] of unit spread, `width` pixels wide."""
    noise = cv2.GaussianBlur(rng.standard_normal((size, size), np.float32), (0, 0), max(0.5, width))
    return np.asarray(noise / max(float(noise.std()), 1e-9), np.float32)


def _folded(picture: Array, place: Array) -> Array:
    place = np.asarray(place, np.float32)
    return np.asarray(cv2.remap(picture, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), np.float32)


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
    while len(small) > 1 and FINE * len(small) > 2.5:
        half = len(small) // 2
        small = cv2.resize(small, (half, half), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.GaussianBlur(small, (7, 7), FINE * len(small)), np.float32)


def hull_mask(landmarks: Array, size: int) -> Array:
    """Return [size, size]: 1 within the hull of landmarks [68, 2]."""
    return _filled(landmarks[:68], size)


def features_mask(landmarks: Array, size: int) -> Array:
    """Return [size, size]: 1 within the hull of brows, eyes, nose and mouth of landmarks [68, 2]."""
    return _filled(landmarks[17:68], size)


def _filled(points: Array, size: int) -> Array:
    mask = np.zeros((size, size), np.float32)
    cv2.fillConvexPoly(mask, np.round(cv2.convexHull(points.astype(np.float32) * size)).astype(np.int32), 1.0)
    return mask


def _inner(alpha: Array, size: int) -> Inside:
    """Return where the head surely is [s, s], 0 or 1."""
    reach = max(1, round(_EDGE * size))
    sure = cv2.erode(alpha, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)))
    return (cv2.GaussianBlur(sure, (0, 0), size / 128) > 0.5).astype(np.uint8)


def _held(detail: Array, strong: float) -> Array:
    return np.asarray(detail / (1.0 + np.abs(detail) / np.float32(strong)), np.float32)


def _wide(small: Array, size: int) -> Array:
    return np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)
