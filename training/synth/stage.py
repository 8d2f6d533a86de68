# SPDX-License-Identifier: GPL-3.0-or-later
"""Light drawn at random, of the kinds that photographs are taken in: sun, shade, windows, rooms, flash and stages."""

import numpy as np
from numpy.typing import NDArray

from training.synth.renderer import Lighting

Array = NDArray[np.float64]


def sample_lighting(rng: np.random.Generator) -> Lighting:
    """Return a key light and a fill over a sky, exposed for them, now and then too much or too little."""
    kind = rng.random()
    if kind < 0.26:  # a room: lamps above, soft and warm
        key, azimuth, elevation = rng.uniform(0.3, 1.1), rng.normal(0, 0.9), rng.uniform(0.3, 1.2)
        sky, fill, warmth = rng.uniform(0.3, 0.7), rng.uniform(0.0, 0.5), rng.normal(0.16, 0.14)
        shadowed = 0.5
    elif kind < 0.44:  # the sun: hard, high, with a blue sky for a fill
        key, azimuth, elevation = rng.uniform(1.4, 3.0), rng.normal(0, 1.1), rng.uniform(0.3, 1.3)
        sky, fill, warmth = rng.uniform(0.2, 0.5), rng.uniform(0.0, 0.2), rng.normal(0.06, 0.08)
        shadowed = 1.0
    elif kind < 0.60:  # shade, or an overcast day
        key, azimuth, elevation = rng.uniform(0.1, 0.5), rng.normal(0, 1.0), rng.uniform(0.2, 1.3)
        sky, fill, warmth = rng.uniform(0.6, 1.0), rng.uniform(0.0, 0.2), rng.normal(-0.04, 0.08)
        shadowed = 0.3
    elif kind < 0.76:  # a flash beside the lens
        key, azimuth, elevation = rng.uniform(1.0, 2.4), rng.normal(0, 0.12), rng.uniform(-0.05, 0.3)
        sky, fill, warmth = rng.uniform(0.05, 0.3), rng.uniform(0.0, 0.2), rng.normal(0.02, 0.1)
        shadowed = 0.9
    elif kind < 0.92:  # a window: broad light from one side
        key, azimuth, elevation = (
            rng.uniform(0.8, 2.0),
            rng.choice([-1, 1]) * rng.uniform(0.6, 1.7),
            rng.uniform(0, 0.6),
        )
        sky, fill, warmth = rng.uniform(0.1, 0.4), rng.uniform(0.0, 0.5), rng.normal(0, 0.1)
        shadowed = 0.6
    else:  # a stage or the street at night: coloured light from anywhere, also from behind
        key, azimuth, elevation = rng.uniform(0.6, 2.5), rng.uniform(-3.1, 3.1), rng.uniform(-0.3, 1.2)
        sky, fill, warmth = rng.uniform(0.08, 0.3), rng.uniform(0.2, 1.0), rng.normal(0.2, 0.35)
        shadowed = 0.7
    ambient = sky * _temperature(0.5 * warmth + rng.normal(0, 0.06))
    exposed = np.exp(rng.normal(-0.12, 0.24)) / (0.25 + 0.55 * sky + 0.42 * key * max(0.35, np.cos(azimuth)))
    return Lighting(
        key_direction=_direction(azimuth, elevation),
        key_colour=key * _temperature(warmth),
        fill_direction=_direction(azimuth + np.pi * rng.uniform(0.5, 1.5), rng.uniform(-0.3, 0.6)),
        fill_colour=fill * _temperature(rng.normal(0, 0.2)),
        ambient=ambient,
        ambient_slope=np.outer(ambient, rng.normal(0, 0.22, 3) + np.array([0, 0.25, 0.1])),
        exposure=float(np.clip(exposed, 0.35, 3.0)),
        shadow=bool(rng.random() < shadowed),
    )


def even_lighting() -> Lighting:
    """Return soft frontal light, for portraits and sheets."""
    return Lighting(
        key_direction=_direction(0.45, 0.5),
        key_colour=np.array([1.5, 1.42, 1.34]),
        fill_direction=_direction(-0.9, 0.1),
        fill_colour=np.array([0.25, 0.28, 0.34]),
        ambient=np.array([0.36, 0.36, 0.38]),
        ambient_slope=np.outer([0.36, 0.36, 0.38], [0.0, 0.2, 0.1]),
        exposure=1.0,
        shadow=True,
    )


def _direction(azimuth: float, elevation: float) -> Array:
    flat = np.cos(elevation)
    return np.array([np.sin(azimuth) * flat, np.sin(elevation), np.cos(azimuth) * flat])


def _temperature(warmth: float) -> Array:
    return np.exp(warmth * np.array([1.0, 0.1, -1.0]))
