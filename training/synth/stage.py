# SPDX-License-Identifier: GPL-3.0-or-later
"""Light and backdrops drawn at random: natural rather than saturated."""

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synth.renderer import Lighting


def sample_lighting(rng: np.random.Generator) -> Lighting:
    """Return a key light with an opposite fill over a soft sky, exposed for its strength."""
    azimuth = rng.normal(0, 0.9)
    elevation = np.clip(rng.normal(0.45, 0.35), -0.2, 1.3)
    other = azimuth + np.pi * rng.uniform(0.5, 1.5)
    strength = rng.uniform(0.3, 2.0)
    ambient = rng.uniform(0.2, 0.6) * _temperature(rng, 0.12)
    return Lighting(
        key_direction=_direction(azimuth, elevation),
        key_colour=strength * _temperature(rng, 0.15),
        fill_direction=_direction(other, rng.uniform(-0.3, 0.6)),
        fill_colour=rng.uniform(0, 0.7) * _temperature(rng, 0.3),
        ambient=ambient,
        ambient_slope=np.outer(ambient, rng.normal(0, 0.25, 3) + np.array([0, 0.15, 0.1])),
        exposure=float(rng.uniform(0.8, 1.3) / (0.35 + 0.45 * strength)),
        shadow=bool(rng.random() < 0.7),
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


def _direction(azimuth: float, elevation: float) -> NDArray[np.float64]:
    flat = np.cos(elevation)
    return np.array([np.sin(azimuth) * flat, np.sin(elevation), np.cos(azimuth) * flat])


def _temperature(rng: np.random.Generator, spread: float) -> NDArray[np.float64]:
    return np.exp(rng.normal(0, spread) * np.array([1.0, 0.1, -1.0]))


def sample_backdrop(rng: np.random.Generator, size: int = 128) -> NDArray[np.uint8]:
    """Return a backdrop uint8 [size, size, 3]: a gradient, shapes, lines and fractal noise, often out of focus."""
    y, x = np.mgrid[0:size, 0:size] / (size - 1.0)
    mix = np.clip(0.5 + (x - 0.5) * rng.normal() + (y - 0.5) * rng.normal(), 0, 1)[..., None]
    image = (rng.random(3) * 255 * (1 - mix) + rng.random(3) * 255 * mix).astype(np.float32)
    for _ in range(int(rng.integers(0, 9))):
        colour = tuple(float(v) for v in rng.random(3) * 255)
        corner = tuple(int(v) for v in rng.integers(-size // 4, size, 2))
        extent = rng.integers(size // 16, size // 2, 2)
        if rng.random() < 0.6:
            opposite = (corner[0] + int(extent[0]), corner[1] + int(extent[1]))
            cv2.rectangle(image, corner, opposite, colour, -1)
        else:
            cv2.circle(image, corner, int(extent[0] // 2), colour, -1, cv2.LINE_AA)
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(0, 7))):
            start, end = (tuple(int(v) for v in rng.integers(0, size, 2)) for _ in range(2))
            colour = tuple(float(v) for v in rng.random(3) * 255)
            cv2.line(image, start, end, colour, int(rng.integers(1, 6)), cv2.LINE_AA)
    grey = image.mean(axis=2, keepdims=True)
    image = grey + (image - grey) * rng.uniform(0.15, 0.8)
    if rng.random() < 0.7:
        slope = rng.uniform(0.3, 1.0)
        amplitude = rng.uniform(0, 35)
        for cells in (4, 8, 16, 32, 64):
            noise = rng.normal(0, 1, (cells, cells)).astype(np.float32)
            image += (
                amplitude * (4 / cells) ** slope * cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
            )[..., None]
    if rng.random() < 0.6:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 4))
    return image.clip(0, 255).astype(np.uint8)
