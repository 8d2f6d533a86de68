# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers that no small network draws sharply: lids that slide over the eyes, and the inside of an opening mouth."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68

Array = NDArray[np.float32]
Patch = tuple[slice, slice]

_EYES = ((landmarks68.EYE_RIGHT, (17, 18, 19, 20, 21)), (landmarks68.EYE_LEFT, (22, 23, 24, 25, 26)))
# Where a lid covers eye-white, its edge is fetched from this far outside its line, in eye widths: the upper lid
# keeps its lashes, the lower one must show nothing of the eye.
_UPPER_MARGIN, _LOWER_MARGIN = 0.08, 0.06
# A lid change below this, in eye widths, is not worth a layer.
_LEAST_CHANGE = 0.004
# An inner-lip gap that grows by less than the first (in interocular distances) shows no more of the mouth.
_MOUTH_FROM, _MOUTH_FULL = 0.015, 0.06
_CAVITY = np.array([0.20, 0.085, 0.08], np.float32)


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
    # The skin between brow and lid takes up the motion; a fold needs at least this much room.
    above = np.maximum((upper_new - brow_line) * 0.9, 1.5 * np.abs(rise) + 0.02)
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


def draw_mouth(head: Array, crop: Array, source: Array, target: Array) -> None:
    """Draw the inside of a mouth that opens wider than the portrait's, in place.

    The dark of the mouth, and the portrait's own teeth where it shows any: they stay with the upper lip and keep
    their size; never on the lower lip.

    Args:
        head: [s, s, 3], the moved head; crop: [s, s, 3], the portrait.
        source, target: landmarks [68, 2] in the unit square.
    """
    size = len(head)
    distance = float(np.linalg.norm(source[45] - source[36])) + 1e-9
    grown = (_gap(target) - _gap(source)) / distance
    strength = float(np.clip((grown - _MOUTH_FROM) / (_MOUTH_FULL - _MOUTH_FROM), 0.0, 1.0))
    if strength == 0.0:
        return
    inner = target[60:68] * size
    low, high = np.floor(inner.min(axis=0)).astype(int) - 3, np.ceil(inner.max(axis=0)).astype(int) + 4
    rows = slice(max(0, low[1]), min(size, high[1]))
    columns = slice(max(0, low[0]), min(size, high[0]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    area = head[rows, columns]
    region = _filled(inner, (rows, columns))
    soft = max(0.6, 0.004 * size)
    region = cv2.GaussianBlur(region, (0, 0), soft)
    top, bottom = inner[1:4].mean(axis=0), inner[5:8].mean(axis=0)
    y, x = np.mgrid[rows, columns].astype(np.float32) + np.float32(0.5)
    axis = bottom - top
    depth = np.clip(((x - top[0]) * axis[0] + (y - top[1]) * axis[1]) / max(float(axis @ axis), 1.0), 0.0, 1.0)
    skin = crop[_row(source[30, 1], size), _row(source[30, 0], size)]
    light = np.float32(np.clip(skin.mean() / 0.6, 0.25, 1.3))
    grey = float(np.ptp(crop.reshape(-1, 3)[:: max(1, size * size // 4096)], axis=1).mean()) < 0.01
    cavity = np.full(3, _CAVITY.mean(), np.float32) if grey else _CAVITY
    shade = 1.2 - 0.7 * np.exp(-(((depth - 0.42) / 0.3) ** 2))
    inside = cavity * light * shade[..., None].astype(np.float32)
    teeth, cover = _upper_teeth(crop, source * size, inner, x, y)
    inside = inside * (1 - cover) + teeth * cover
    weight = (strength * region)[..., None]
    area += weight * (inside - area)


def _upper_teeth(crop: Array, source: Array, inner: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """Return the portrait's mouth interior carried with the upper lip [h, w, 3], and how far it covers [h, w, 1]."""
    size = len(crop)
    old = source[60:68]
    axis_old, axis_new = old[4] - old[0], inner[4] - inner[0]
    width_old, width_new = float(np.linalg.norm(axis_old)) + 1e-6, float(np.linalg.norm(axis_new)) + 1e-6
    axis_old, axis_new = axis_old / width_old, axis_new / width_new
    down_old, down_new = np.array([-axis_old[1], axis_old[0]]), np.array([-axis_new[1], axis_new[0]])
    lip_old, lip_new = old[1:4].mean(axis=0), inner[1:4].mean(axis=0)
    scale = width_old / width_new
    along = ((x - lip_new[0]) * axis_new[0] + (y - lip_new[1]) * axis_new[1]) * scale
    across = (x - lip_new[0]) * down_new[0] + (y - lip_new[1]) * down_new[1]
    from_x = (lip_old[0] + along * axis_old[0] + across * down_old[0] - 0.5).astype(np.float32)
    from_y = (lip_old[1] + along * axis_old[1] + across * down_old[1] - 0.5).astype(np.float32)
    teeth = cv2.remap(crop, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    shown = _filled(old, (slice(0, size), slice(0, size)))
    shown = cv2.erode(shown, np.ones((3, 3), np.uint8)) if size >= 192 else shown
    cover = cv2.remap(shown, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return teeth, cv2.GaussianBlur(cover, (0, 0), max(0.6, 0.003 * size))[..., None]


def _filled(polygon: Array, patch: Patch) -> Array:
    rows, columns = patch
    area = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    points = np.round((polygon - np.array([columns.start, rows.start]) - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(area, [points], 255, cv2.LINE_AA, 4)
    return area.astype(np.float32) / np.float32(255)


def _gap(landmarks: Array) -> float:
    pairs: Sequence[tuple[int, int]] = ((61, 67), (62, 66), (63, 65))
    return float(np.mean([np.linalg.norm(landmarks[a] - landmarks[b]) for a, b in pairs]))


def _row(share: float, size: int) -> int:
    return int(np.clip(share * size, 0, size - 1))
