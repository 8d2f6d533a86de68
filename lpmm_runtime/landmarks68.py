# SPDX-License-Identifier: GPL-3.0-or-later
"""The landmark schemes: iBUG's (300-W's) 68 points, and these with two irises; regions, mirror order, distances."""

import numpy as np
from numpy.typing import NDArray

COUNT = 68

# Points by a bundle's landmark scheme. The irises' centres come last, the picture's left (the subject's right) first.
SCHEMES = {"ibug68": COUNT, "ibug68+iris2": COUNT + 2}
IRISES = slice(COUNT, COUNT + 2)

REGIONS: dict[str, slice] = {
    "jaw": slice(0, 17),
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "mouth": slice(48, 68),
}

# Index i of a mirrored picture is index MIRROR[i] of the original.
MIRROR: NDArray[np.int64] = np.array(
    [
        *range(16, -1, -1),
        *range(26, 16, -1),
        *range(27, 31),
        *range(35, 30, -1),
        *(45, 44, 43, 42, 47, 46),
        *(39, 38, 37, 36, 41, 40),
        *range(54, 47, -1),
        *range(59, 54, -1),
        *range(64, 59, -1),
        *range(67, 64, -1),
    ]
)

MIRROR_WITH_IRISES: NDArray[np.int64] = np.array([*MIRROR, COUNT + 1, COUNT])

# Outer eye corners: the subject's right (the picture's left) and the subject's left.
OUTER_EYE_CORNERS = (36, 45)

# The subject's right eye is the picture's left one.
EYE_RIGHT = (36, 37, 38, 39, 40, 41)
EYE_LEFT = (42, 43, 44, 45, 46, 47)
MOUTH_OUTER = tuple(range(48, 60))
MOUTH_INNER = tuple(range(60, 68))

# Open or closed polylines, for drawing and for line maps.
POLYLINES: tuple[tuple[int, ...], ...] = (
    tuple(range(17)),
    tuple(range(17, 22)),
    tuple(range(22, 27)),
    tuple(range(27, 31)),
    tuple(range(31, 36)),
    (*EYE_RIGHT, 36),
    (*EYE_LEFT, 42),
    (*MOUTH_OUTER, 48),
    (*MOUTH_INNER, 60),
)


def scheme_of(count: int) -> str:
    """Return the name of the scheme with `count` points.

    Raises:
        ValueError: if there is none.
    """
    for name, points in SCHEMES.items():
        if points == count:
            return name
    raise ValueError(f"no landmark scheme has {count} points")


def mirror_order(count: int) -> NDArray[np.int64]:
    """Return the mirror order of the scheme with `count` points, 68 or 70: see `MIRROR`."""
    return MIRROR if count == COUNT else MIRROR_WITH_IRISES


def irises_of(points: NDArray[np.floating]) -> NDArray[np.floating] | None:
    """Return the irises [..., 2, 2] of points [..., n, 2], or None where their scheme has none."""
    return points[..., IRISES, :] if points.shape[-2] > COUNT else None


def mirror(landmarks: NDArray[np.floating], width: float = 1.0) -> NDArray[np.floating]:
    """Return the landmarks of the mirrored picture.

    Args:
        landmarks: [..., n, 2] of either scheme, x and y in the units of `width`.
        width: the picture's width; 1 for landmarks in the unit square.
    """
    mirrored = landmarks[..., mirror_order(landmarks.shape[-2]), :].copy()
    mirrored[..., 0] = width - mirrored[..., 0]
    return mirrored


def interocular_nme(predicted: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the normalised mean error of each face (paper, Eq. 5), in percent.

    Args:
        predicted, truth: [..., n, 2] in the same units. The distance between the true outer eye corners
            is the reference. Irises do not count, so that the figures of both schemes compare.

    Returns:
        [...], percent.
    """
    distance = np.linalg.norm(truth[..., OUTER_EYE_CORNERS[0], :] - truth[..., OUTER_EYE_CORNERS[1], :], axis=-1)
    error = np.linalg.norm(predicted[..., :COUNT, :] - truth[..., :COUNT, :], axis=-1).mean(axis=-1)
    return 100.0 * error / np.maximum(distance, 1e-9)


def eye_openness(landmarks: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the eye aspect ratios, height over width.

    Args:
        landmarks: [..., 68, 2].

    Returns:
        [..., 2]: the subject's left eye, then the right.
    """
    ratios = []
    for eye in (EYE_LEFT, EYE_RIGHT):
        p = landmarks[..., eye, :]
        height = np.linalg.norm(p[..., 1, :] - p[..., 5, :], axis=-1) + np.linalg.norm(
            p[..., 2, :] - p[..., 4, :], axis=-1
        )
        ratios.append(0.5 * height / np.maximum(np.linalg.norm(p[..., 3, :] - p[..., 0, :], axis=-1), 1e-9))
    return np.stack(ratios, axis=-1)


def mouth_openness(landmarks: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the inner-lip gap over the distance of the outer eye corners, [...], for landmarks [..., 68, 2]."""
    gap = np.linalg.norm(landmarks[..., 62, :] - landmarks[..., 66, :], axis=-1)
    distance = np.linalg.norm(landmarks[..., 36, :] - landmarks[..., 45, :], axis=-1)
    return gap / np.maximum(distance, 1e-9)
