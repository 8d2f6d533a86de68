# SPDX-License-Identifier: GPL-3.0-or-later
"""What no small network draws sharply: lids that slide over the eyes, and an eye's own frame."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68

Array = NDArray[np.float32]
Patch = tuple[slice, slice]

EYES = ((landmarks68.EYE_RIGHT, (17, 18, 19, 20, 21)), (landmarks68.EYE_LEFT, (22, 23, 24, 25, 26)))
# Where a lid covers eye-white, its edge is fetched from this far outside its line, in eye widths: the upper lid
# keeps its lashes, the lower one must show nothing of the eye.
_UPPER_MARGIN, _LOWER_MARGIN = 0.08, 0.06
# How far below their landmarks, which follow the upper edges, brows reach, in eye widths: no lid takes one along.
_BROW = 0.28
# A lid's motion fades out over so many times its way at least: skin stretches, but no brow comes down.
_LEAST_FOLD = 1.35
# How wide the edge of a lid is, and how far a lid rises before all of it goes along.
_LID_EDGE, _EDGE_GOES = 0.03, 0.05
# Lids close at most so many times as far as the landmarks say; eyes that are open less, in eye widths, are shut, and a
# blink that does not close a share of the eye says nothing of it.
_MOST_GAIN, _SHUT, _SOME = 2.5, 0.04, 0.25
# A lid change below this, in eye widths, is not worth a layer.
_LEAST_CHANGE = 0.004


def source_lids(source: Array, target: Array) -> Array:
    """Return target landmarks [68, 2] with the eyes as open as the source's, on the target's eye corners."""
    opened = target.copy()
    for eye, _ in EYES:
        s, t = source[list(eye)], target[list(eye)]
        before, after = s[3] - s[0], t[3] - t[0]
        length = float(before @ before) + 1e-9
        cosine = float(before @ after) / length
        sine = float(before[0] * after[1] - before[1] * after[0]) / length
        turn = np.array([[cosine, -sine], [sine, cosine]], np.float32)
        opened[list(eye)] = t[0] + (s - s[0]) @ turn.T
    return opened


class Opening(NamedTuple):
    """How far an eye's upper lid rises and its lower one sinks, in eye widths; not below 0."""

    rise: float = 0.0
    sink: float = 0.0


def blink_gains(source: Array, blinked: Array) -> tuple[float, float]:
    """Return how many times as far as landmarks say either eye's lids must close for a full blink to shut the eye.

    Args:
        source, blinked: [68, 2], the portrait's and what a full blink makes of them, the picture's left eye first.
    """

    def gain(eye: tuple[int, ...]) -> float:
        before, after = _gap(eye, source), _gap(eye, blinked)
        closes = 1.0 - max(after, 0.0) / max(before, 1e-9)
        return min(1.0 / closes, _MOST_GAIN) if before > _SHUT and closes > _SOME else 1.0

    return gain(EYES[0][0]), gain(EYES[1][0])


def with_closed_further(source: Array, target: Array, gains: tuple[float, float]) -> Array:
    """Return target landmarks [68, 2] whose upper lids, where they close, do so as many times as far."""
    closed = target.copy()
    for (eye, _), gain in zip(EYES, gains, strict=True):
        before, after = _gap(eye, source), _gap(eye, target)
        if gain == 1.0 or not 0.0 < after < before:
            continue
        kept = max(0.0, 1.0 - gain * (1.0 - after / before)) * before / after
        for upper, lower in ((eye[1], eye[5]), (eye[2], eye[4])):
            closed[upper] = target[lower] + np.float32(kept) * (target[upper] - target[lower])
    return closed


def _gap(eye: tuple[int, ...], landmarks: Array) -> float:
    """Return how far an eye is open, in eye widths."""
    frame = eye_frame(landmarks[[eye[0], eye[3]]])
    heights = frame.local(landmarks[list(eye)])[:, 1]
    return 0.5 * float(heights[[4, 5]].sum() - heights[[1, 2]].sum())


@dataclass(frozen=True, eq=False)
class EyeFrame:
    """An eye's own frame: u from its corner at the picture's left to the other, v down, in eye widths.

    Attributes:
        corner: [2], where u and v are 0; axis, down: [2], its unit vectors; width: an eye width. Unit square.
    """

    corner: Array
    axis: Array
    down: Array
    width: float

    def local(self, points: Array) -> Array:
        """Return points [..., 2] of the unit square as (u, v)."""
        off = points - self.corner
        return np.asarray(np.stack([off @ self.axis, off @ self.down], axis=-1) / np.float32(self.width), np.float32)

    def picture(self, u: Array | np.float32, v: Array | np.float32) -> Array:
        """Return the places [..., 2] of u and v in the unit square."""
        way = np.asarray(u)[..., None] * self.axis + np.asarray(v)[..., None] * self.down
        return np.asarray(self.corner + np.float32(self.width) * way, np.float32)

    def patch(self, size: int, reach: float) -> Patch | None:
        """Return the rows and columns within `reach` eye widths of the eye's middle, None if none is in the picture."""
        centre, wide = self.picture(np.float32(0.5), np.float32(0.0)) * size, reach * self.width * size
        rows = slice(max(0, int(centre[1] - wide)), min(size, int(centre[1] + wide) + 1))
        columns = slice(max(0, int(centre[0] - wide)), min(size, int(centre[0] + wide) + 1))
        return None if rows.start >= rows.stop or columns.start >= columns.stop else (rows, columns)

    def pixels(self, patch: Patch, size: int) -> tuple[Array, Array]:
        """Return u and v of a patch's pixels [h, w]."""
        y, x = np.mgrid[patch].astype(np.float32)
        place = self.local(np.stack([(x + 0.5) / size, (y + 0.5) / size], axis=-1))
        return np.ascontiguousarray(place[..., 0]), np.ascontiguousarray(place[..., 1])


def eye_frame(corners: Array) -> EyeFrame:
    """Return the frame of an eye whose corners are [2, 2] in the unit square, the picture's left first."""
    axis = corners[1] - corners[0]
    width = float(np.linalg.norm(axis))
    axis = (axis / np.float32(max(width, 1e-9))).astype(np.float32)
    return EyeFrame(corners[0], axis, np.array([-axis[1], axis[0]], np.float32), width)


def lid_lines(lids: Array, at: Array) -> tuple[Array, Array]:
    """Return the heights of the upper and the lower lid's line at u = `at`; `lids` [6, 2] are in the eye's frame."""
    return _curve(lids[[0, 1, 2, 3]], at), _curve(lids[[0, 5, 4, 3]], at)


def lid_line(points: Array, at: Array) -> Array:
    """Return the height at u = `at` of the line from point to point [m, 2] of an eye's frame."""
    return np.interp(at, *_sorted(points)).astype(np.float32)


def with_given_way(opened: Array, target: Array, ways: tuple[Opening, Opening]) -> Array:
    """Return target landmarks [68, 2] with both eyes' lids, the picture's left eye first, opened further.

    The more an eye is shut the less they give way to what it would look at; `opened` are the landmarks with the
    portrait's own lids.
    """
    wider = target.copy()
    for (eye, _), way in zip(EYES, ways, strict=True):
        frame = eye_frame(target[[eye[0], eye[3]]])
        share = np.clip(_gap(eye, target) / max(_gap(eye, opened), 1e-6), 0.0, 1.0)
        wider[[eye[1], eye[2]]] -= np.float32(share * way.rise * frame.width) * frame.down
        wider[[eye[4], eye[5]]] += np.float32(share * way.sink * frame.width) * frame.down
    return wider


def openings(opened: Array, target: Array) -> tuple[Opening, Opening]:
    """Return how far either eye is opened from landmarks [68, 2] to others with the same corners."""

    def opening(eye: tuple[int, ...]) -> Opening:
        frame = eye_frame(target[[eye[0], eye[3]]])
        off = frame.local(target[list(eye)])[:, 1] - frame.local(opened[list(eye)])[:, 1]
        return Opening(max(0.0, -float(off[[1, 2]].mean())), max(0.0, float(off[[4, 5]].mean())))

    return opening(EYES[0][0]), opening(EYES[1][0])


def eye_opening(eye: tuple[int, ...], target: Array, size: int, rise: float) -> tuple[Patch, Array] | None:
    """Return a patch about an eye and, [h, w], 1 between its lids' edges; None where it is out of the picture.

    Args:
        eye: its six landmarks; target: [68, 2] in the unit square; size: the frame's side, pixels.
        rise: how far its upper lid has risen: the edge goes with it.
    """
    frame = eye_frame(target[[eye[0], eye[3]]])
    patch = frame.patch(size, 0.7)
    if patch is None or frame.width * size < 4:
        return None
    u, v = frame.pixels(patch, size)
    upper, lower = lid_lines(frame.local(target[list(eye)]), u.clip(0.0, 1.0))
    inside = np.minimum(v - upper - _LID_EDGE * min(rise / _EDGE_GOES, 1.0), lower - v)
    soft = max(0.02, 1.0 / (frame.width * size))
    between = np.clip(np.minimum(inside, np.minimum(u, 1.0 - u)) / soft + 0.5, 0.0, 1.0)
    return patch, between.astype(np.float32)


def lid_displacement(
    opened: Array, target: Array, size: int, whole: tuple[bool, bool] = (False, False)
) -> list[tuple[Patch, Array]]:
    """Return, for each eye whose lids move, a patch of the frame and where its pixels come from.

    Args:
        opened: [68, 2], the target with the source's lids; target: [68, 2], with its own; unit square.
        size: the frame's side, pixels.
        whole: whether the picture shows each eyeball as far as its lids open (`gaze_layer.turned`).

    Returns:
        ((rows, columns), displacement [h, w, 2] in pixels) a moving eye. A closing lid's edge comes down as it is, with
        little of the skin above it: the rest is drawn (`closing_lid`). Skin above a lid that opens wider is pressed
        together up to the brow, likewise below the lower lid; the eyeball between stays, unless the eye opens wider
        than it was and is not whole: then it stretches.
    """
    patches = []
    for (eye, brow), shown in zip(EYES, whole, strict=True):
        frame = eye_frame(target[[eye[0], eye[3]]])
        if frame.width * size < 4:
            continue
        old, new = frame.local(opened[list(eye)]), frame.local(target[list(eye)])
        if np.abs(old - new).max() < _LEAST_CHANGE:
            continue
        patch = frame.patch(size, 1.25)
        if patch is None:
            continue
        shift = _slide(*frame.pixels(patch, size), old, new, frame.local(target[list(brow)]), shown)
        patches.append((patch, (shift[..., None] * frame.down * (frame.width * size)).astype(np.float32)))
    return patches


def _slide(u: Array, v: Array, old: Array, new: Array, brow: Array, whole: bool) -> Array:
    """Return how far down, in eye widths, the pixel at (u, v) comes from; see `lid_displacement`."""
    inside = u.clip(0.0, 1.0)
    (upper_old, lower_old), (upper_new, lower_new) = lid_lines(old, inside), lid_lines(new, inside)
    lower_new = np.maximum(lower_new, upper_new)
    brow_line = lid_line(brow, inside)
    rise, sink = upper_old - upper_new, lower_old - lower_new
    # The skin between brow and lid takes up the motion: all of it, or what lies below brows that are low.
    room = np.maximum(upper_new - brow_line - _BROW, 0.5 * (upper_old - brow_line))
    above = np.maximum(np.where(rise < 0.0, 0.0, room), _LEAST_FOLD * np.abs(rise) + 0.06)
    below = np.maximum(0.5, 2.0 * np.abs(sink))
    fade_above = np.clip(1.0 - (upper_new - v) / above, 0.0, 1.0)
    fade_below = np.clip(1.0 - (v - lower_new) / below, 0.0, 1.0)
    # The edge of a lid that opens wider goes up with it.
    edge = np.float32(_LID_EDGE * whole) * np.clip(rise / _EDGE_GOES, 0.0, 1.0)
    skin_above = (rise - _UPPER_MARGIN * np.clip(-rise / 0.05, 0.0, 1.0)) * fade_above
    skin_below = (sink + _LOWER_MARGIN * np.clip(sink / 0.05, 0.0, 1.0)) * fade_below
    gap_old, gap_new = np.maximum(lower_old - upper_old, 1e-3), np.maximum(lower_new - upper_new, 1e-3)
    stretched = upper_old + (v - upper_new) * gap_old / gap_new - v
    eyeball = np.where((gap_new > gap_old) & (not whole), stretched, 0.0)
    shift = np.where(v <= upper_new + edge, skin_above, np.where(v >= lower_new, skin_below, eyeball))
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
