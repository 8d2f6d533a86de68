# SPDX-License-Identifier: GPL-3.0-or-later
"""What is painted on a head: the colour of the skin, beards, shaved scalps, make-up and freckles, drawn at random."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]

# Skin as photographs show it, sRGB from light to dark; people lie between and about.
_SKINS = np.array([[229, 170, 150], [212, 143, 119], [174, 108, 84], [118, 70, 53], [64, 39, 32]]) / 255.0

_LIPSTICKS = np.array([[150, 30, 40], [190, 60, 75], [200, 100, 100], [110, 25, 50], [225, 130, 130]]) / 255.0
_LID_SHADES = np.array([[60, 40, 35], [30, 30, 35], [90, 60, 90], [70, 85, 120], [150, 110, 90]]) / 255.0


@dataclass(frozen=True)
class Beard:
    """Hair painted on the lower face; `moustache`, `chin` and `jaw` say how dense each part is, 0 to 1.

    `length` lifts the surface, decimetres.
    """

    moustache: float
    chin: float
    jaw: float
    colour: Colour
    length: float = 0.0


@dataclass(frozen=True)
class Makeup:
    """Colours laid on lips and upper lids, and how strongly; `blush` reddens the cheeks."""

    lip_colour: Colour = (0.5, 0.1, 0.1)
    lips: float = 0.0
    lid_colour: Colour = (0.1, 0.1, 0.1)
    lids: float = 0.0
    blush: float = 0.0


@dataclass(frozen=True)
class Complexion:
    """Uneven skin: blotches (share of the albedo), freckles (their darkness) and pores (share of the normal)."""

    blotches: float = 0.0
    freckles: float = 0.0
    pores: float = 0.0


def skin_darkness(rng: np.random.Generator, ethnicity: tuple[float, float, float]) -> float:
    """Return how dark a skin is, 0 light to 1 dark, from the shares of `people.ETHNICITIES`."""
    middle = float(np.dot(ethnicity, (0.16, 0.34, 0.78)))
    return float(np.clip(rng.normal(middle, 0.11), 0.0, 1.0))


def skin_colour(rng: np.random.Generator, darkness: float) -> NDArray[np.float64]:
    """Return a linear skin albedo [3]."""
    place = darkness * (len(_SKINS) - 1)
    shades = np.array([np.interp(place, np.arange(len(_SKINS)), _SKINS[:, channel]) for channel in range(3)])
    # Blood reddens, and some skins are more yellow: neither makes one green.
    blood, yellow = rng.normal(0.0, 0.05), rng.normal(0.0, 0.06)
    return shades**2.2 * np.exp(rng.normal(0, 0.1) + np.array([0.5 * blood, -blood, -blood - yellow]))


def sample_complexion(rng: np.random.Generator, darkness: float) -> Complexion:
    """Return blotches and pores; freckles on some light skins."""
    freckled = rng.random() < 0.25 * max(0.0, 1.0 - 2.0 * darkness)
    return Complexion(
        blotches=float(rng.uniform(0.02, 0.16)),
        freckles=float(rng.uniform(0.1, 0.35)) if freckled else 0.0,
        pores=float(rng.uniform(0.0, 0.16)),
    )


def sample_beard(rng: np.random.Generator, tags: Mapping[str, float], hair: NDArray[np.float64]) -> Beard | None:
    """Return a shadow, stubble, a moustache, a goatee or a beard for most men."""
    if tags["male"] < 0.6 or tags["age"] < 0.45 or rng.random() < 0.3:
        return None
    colour = hair * np.exp(rng.normal(-0.1, 0.25)) * np.array([1.1, 1.0, 0.95])
    kind = rng.random()
    length = 0.0
    if kind < 0.5:  # a shaved beard's shadow, to stubble
        amount = float(rng.uniform(0.08, 0.55))
        parts = (amount * rng.uniform(0.7, 1.1), amount * rng.uniform(0.8, 1.1), amount * rng.uniform(0.6, 1.1))
    elif kind < 0.62:
        parts = (rng.uniform(0.6, 1.0), rng.uniform(0.0, 0.35), rng.uniform(0.0, 0.3))
        length = float(rng.uniform(0.0, 0.03))
    elif kind < 0.78:
        parts = (rng.uniform(0.3, 1.0), rng.uniform(0.6, 1.0), rng.uniform(0.0, 0.35))
        length = float(rng.uniform(0.0, 0.05))
    else:
        parts = (rng.uniform(0.5, 1.0), rng.uniform(0.7, 1.0), rng.uniform(0.6, 1.0))
        length = float(rng.uniform(0.0, 0.07))
    moustache, chin, jaw = (float(min(part, 1.0)) for part in parts)
    return Beard(moustache, chin, jaw, _colour(np.clip(colour, 0.006, 0.6)), length)


def sample_makeup(rng: np.random.Generator, tags: Mapping[str, float]) -> Makeup:
    """Return make-up for half of the women, and everybody's own lip colour."""
    blush = float(rng.uniform(0.0, 0.35))
    if tags["male"] > 0.5 or tags["age"] < 0.45 or rng.random() < 0.45:
        return Makeup((0.3, 0.085, 0.08), float(rng.uniform(0.1, 0.5)), blush=blush)
    return Makeup(
        lip_colour=_colour(_LIPSTICKS[int(rng.integers(len(_LIPSTICKS)))] ** 2.2 * np.exp(rng.normal(0, 0.2, 3))),
        lips=float(rng.uniform(0.25, 0.95)),
        lid_colour=_colour(_LID_SHADES[int(rng.integers(len(_LID_SHADES)))] ** 2.2 * np.exp(rng.normal(0, 0.2, 3))),
        lids=float(rng.uniform(0.0, 0.55)),
        blush=blush + float(rng.uniform(0.0, 0.3)),
    )


def _colour(values: NDArray[np.float64]) -> Colour:
    return float(values[0]), float(values[1]), float(values[2])
