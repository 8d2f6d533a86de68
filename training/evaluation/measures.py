# SPDX-License-Identifier: GPL-3.0-or-later
"""The measures that every score is made of: landmark errors by region, PSNR and SSIM over masks, steadiness."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68

Points = NDArray[np.floating]
Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]

# A region smaller than this many pixels says nothing.
SMALLEST_REGION = 12
# PSNR of equal pictures is infinite; a mean must survive it. An 8-bit picture that is off by one grey level in one
# pixel of twenty stands at 61 dB.
LARGEST_PSNR = 80.0


def interocular(landmarks: Points) -> NDArray[np.floating]:
    """Return the distance of the outer eye corners, [...], of landmarks [..., 68, 2]."""
    a, b = landmarks68.OUTER_EYE_CORNERS
    return np.linalg.norm(landmarks[..., a, :] - landmarks[..., b, :], axis=-1)


def nme_by_region(predicted: Points, truth: Points) -> dict[str, float]:
    """Return the NME in percent (Eq. 5), "all" and by region, averaged over faces [n, 68, 2]; with the median face."""
    error = 100.0 * np.linalg.norm(predicted - truth, axis=-1) / np.maximum(interocular(truth), 1e-9)[..., None]
    scores = {"all": float(error.mean())}
    for name, region in landmarks68.REGIONS.items():
        scores[name] = float(error[..., region].mean())
    scores["median"] = float(np.median(error.mean(axis=-1)))
    return scores


def psnr(picture: Picture, truth: Picture, mask: Mask | None = None) -> float | None:
    """Return the PSNR in dB of pictures uint8 [h, w, 3] where `mask` [h, w] holds; None where it hardly does."""
    squared = (picture.astype(np.float64) - truth.astype(np.float64)) ** 2
    if mask is not None:
        if np.count_nonzero(mask) < SMALLEST_REGION:
            return None
        squared = squared[mask]
    error = float(squared.mean()) / 255.0**2
    return min(LARGEST_PSNR, float(-10.0 * np.log10(max(error, 1e-12))))


def ssim_map(picture: Picture, truth: Picture, window: int = 7) -> NDArray[np.float64]:
    """Return the structural similarity [h, w] of pictures uint8 [h, w, 3], over a square window, averaged over RGB."""
    a, b = picture.astype(np.float64) / 255.0, truth.astype(np.float64) / 255.0

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return cv2.blur(values, (window, window), borderType=cv2.BORDER_REFLECT)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, both = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + 1e-4) * (2 * both + 9e-4)
    return (top / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4))).mean(axis=-1)


def masked_mean(values: NDArray[np.floating], mask: Mask) -> float | None:
    """Return the mean of `values` where `mask` holds, None where it hardly does."""
    return float(values[mask].mean()) if np.count_nonzero(mask) >= SMALLEST_REGION else None


def polygon_mask(points: Points, shape: tuple[int, int], grow: float = 0.0) -> Mask:
    """Return the filled convex hull [h, w] of points [m, 2] in pixels (centres at +0.5), grown by `grow` pixels."""
    mask = np.zeros(shape, np.uint8)
    hull = cv2.convexHull(np.round((np.asarray(points, np.float64) - 0.5) * 16).astype(np.int32))
    cv2.fillConvexPoly(mask, hull, 1, cv2.LINE_8, 4)
    reach = round(grow)
    if reach > 0:
        mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)))
    return mask > 0


def second_difference(series: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return x(t+1) − 2 x(t) + x(t−1) of a series [t, ...]: what a steady motion has none of."""
    values = np.asarray(series, np.float64)
    return values[2:] - 2.0 * values[1:-1] + values[:-2]


def mean_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means of equal trees of numbers over rows, leaving out what is None; None where all are."""
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [row[key] for row in rows if row.get(key) is not None]
        if values and isinstance(values[0], Mapping):
            merged[key] = mean_of(values)
        else:
            merged[key] = float(np.mean(values)) if values else None
    return merged
