# SPDX-License-Identifier: GPL-3.0-or-later
"""What no small network draws sharply: lids that slide over the eyes."""

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68

Array = NDArray[np.float32]
Patch = tuple[slice, slice]

_EYES = ((landmarks68.EYE_RIGHT, (17, 18, 19, 20, 21)), (landmarks68.EYE_LEFT, (22, 23, 24, 25, 26)))
# Where a lid covers eye-white, its edge is fetched from this far outside its line, in eye widths: the upper lid
# keeps its lashes, the lower one must show nothing of the eye.
_UPPER_MARGIN, _LOWER_MARGIN = 0.08, 0.06
# How far below their landmarks, which follow the upper edges, brows reach, in eye widths: no lid takes one along.
_BROW = 0.28
# A lid's motion fades out over so many times its way at least: skin stretches, but no brow comes down.
_LEAST_FOLD = 1.08
# A lid change below this, in eye widths, is not worth a layer.
_LEAST_CHANGE = 0.004


def source_lids(source: Array, target: Array) -> Array:
    """Return target landmarks [68, 2] with the eyes as open as the source's, on the target's eye corners."""
    opened = target.copy()
    for eye, _ in _EYES:
        s, t = source[list(eye)], target[list(eye)]
        before, after = s[3] - s[0], t[3] - t[0]
        length = float(before @ before) + 1e-9
        cosine = float(before @ after) / length
        sine = float(before[0] * after[1] - before[1] * after[0]) / length
        turn = np.array([[cosine, -sine], [sine, cosine]], np.float32)
        opened[list(eye)] = t[0] + (s - s[0]) @ turn.T
    return opened


def lid_displacement(opened: Array, target: Array, size: int) -> list[tuple[Patch, Array]]:
    """Return, for each eye whose lids move, a patch of the frame and where its pixels come from.

    Args:
        opened: [68, 2], the target with the source's lids; target: [68, 2], with its own; unit square.
        size: the frame's side, pixels.

    Returns:
        ((rows, columns), displacement [h, w, 2] in pixels) a moving eye. Skin above the upper lid's line is pulled
        with it, less and less up to the brow, likewise below the lower lid; the eyeball between stays, unless the
        eye opens wider than it was: then it stretches.
    """
    patches = []
    for eye, brow in _EYES:
        corners = target[eye[0]], target[eye[3]]
        axis = corners[1] - corners[0]
        width = float(np.linalg.norm(axis))
        if width * size < 4:
            continue
        axis = axis / width
        down = np.array([-axis[1], axis[0]], np.float32)

        def local(
            points: Array, origin: Array = corners[0], u: Array = axis, v: Array = down, w: float = width
        ) -> Array:
            return np.stack([(points - origin) @ u, (points - origin) @ v], axis=-1) / w

        old, new = local(opened[list(eye)]), local(target[list(eye)])
        if np.abs(old - new).max() < _LEAST_CHANGE:
            continue
        centre = 0.5 * (corners[0] + corners[1]) * size
        reach = 1.25 * width * size
        rows = slice(max(0, int(centre[1] - reach)), min(size, int(centre[1] + reach) + 1))
        columns = slice(max(0, int(centre[0] - reach)), min(size, int(centre[0] + reach) + 1))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        y, x = np.mgrid[rows, columns].astype(np.float32)
        place = local(np.stack([(x + 0.5) / size, (y + 0.5) / size], axis=-1))
        shift = _slide(place[..., 0], place[..., 1], old, new, local(target[list(brow)]))
        patches.append(((rows, columns), (shift[..., None] * down * (width * size)).astype(np.float32)))
    return patches


def _slide(u: Array, v: Array, old: Array, new: Array, brow: Array) -> Array:
    """Return how far down, in eye widths, the pixel at (u, v) comes from; see `lid_displacement`."""
    inside = u.clip(0.0, 1.0)
    upper_old, upper_new = _curve(old[[0, 1, 2, 3]], inside), _curve(new[[0, 1, 2, 3]], inside)
    lower_old, lower_new = _curve(old[[0, 5, 4, 3]], inside), _curve(new[[0, 5, 4, 3]], inside)
    lower_new = np.maximum(lower_new, upper_new)
    brow_line = np.interp(inside, *_sorted(brow)).astype(np.float32)
    rise, sink = upper_old - upper_new, lower_old - lower_new
    # The skin between brow and lid takes up the motion: all of it, or what lies below brows that are low.
    room = np.maximum(upper_new - brow_line - _BROW, 0.5 * (upper_old - brow_line))
    above = np.maximum(room, _LEAST_FOLD * np.abs(rise) + 0.02)
    below = np.maximum(0.5, 2.0 * np.abs(sink))
    fade_above = np.clip(1.0 - (upper_new - v) / above, 0.0, 1.0)
    fade_below = np.clip(1.0 - (v - lower_new) / below, 0.0, 1.0)
    skin_above = (rise - _UPPER_MARGIN * np.clip(-rise / 0.05, 0.0, 1.0)) * fade_above
    skin_below = (sink + _LOWER_MARGIN * np.clip(sink / 0.05, 0.0, 1.0)) * fade_below
    gap_old, gap_new = np.maximum(lower_old - upper_old, 1e-3), np.maximum(lower_new - upper_new, 1e-3)
    stretched = upper_old + (v - upper_new) * gap_old / gap_new - v
    eyeball = np.where(gap_new > gap_old, stretched, 0.0)
    shift = np.where(v <= upper_new, skin_above, np.where(v >= lower_new, skin_below, eyeball))
    outside = np.where(u < 0, u, np.where(u > 1, u - 1, 0.0))
    return (shift * np.exp(-((outside / 0.08) ** 2))).astype(np.float32)


def _curve(points: Array, at: Array) -> Array:
    """Return the height at `at` of a smooth lid line through four points [4, 2], corner to corner."""
    x, y = _sorted(points)
    # A cubic through four points bends as a lid does, and stays between the corners.
    basis = np.vander(x, 4)
    coefficients = np.linalg.solve(basis + 1e-9 * np.eye(4), y)
    return np.polyval(coefficients, at).astype(np.float32)


def _sorted(points: Array) -> tuple[Array, Array]:
    order = np.argsort(points[:, 0])
    x = points[order, 0].astype(np.float64)
    # Equal abscissae would leave the line undefined.
    x = np.maximum.accumulate(x + 1e-4 * np.arange(len(x)))
    return x, points[order, 1].astype(np.float64)
