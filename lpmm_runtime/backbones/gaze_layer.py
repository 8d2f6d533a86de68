# SPDX-License-Identifier: GPL-3.0-or-later
"""Eyes that look elsewhere, or are opened wide: the portrait's own irises, whole, move over eye-white."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from lpmm_runtime.backbones.lid_layer import Opening, eye_frame, lid_lines

Array = NDArray[np.float32]
Patch = tuple[slice, slice]

# The picture's left eye first, as irises are.
_EYES = (landmarks68.EYE_RIGHT, landmarks68.EYE_LEFT)
# All lengths here are in eye widths, corner to corner. An iris's radius, seen from the front:
_IRIS = 0.2
# and what it may be, in times of that:
_RADII = np.linspace(0.8, 1.5, 15)
# how near a corner its middle may come:
_NEAREST = 0.16
# how near the upper and the lower lid's line its middle may come, in its radii, or the eye turns white:
_SHOWN_ABOVE, _SHOWN_BELOW = 0.3, 0.55
# a shift below the first is what reading errs by, above the second it is wholly meant:
_NOISE, _MEANT = 0.006, 0.02
# an eye that is less open than this hides its iris:
_SHUT = 0.08
# the portrait's own eye is gone when its iris has moved so far:
_GONE = 0.03
# the ring about the iris that belongs neither to it nor, surely, to the eye-white:
_RING = 0.04
# how wide the edges of the lids are, and what of the light they take from the eyeball:
_LID_EDGE, _SHADE = 0.04, 0.15
# how far the upper lid rises with an eye that looks up, and the lower one sinks with one that looks down:
_MOST_RISE, _MOST_SINK = 0.1, 0.05
# How finely an iris's colour is told by the distance from its middle: rings a radius, and the last one.
_RINGS, _LAST_RING = 8, 11


@dataclass(frozen=True, eq=False)
class Eye:
    """One open eye of a portrait at one size, in its own frame: u from corner to corner, v down, in eye widths.

    Attributes:
        rows, columns: the patch of the portrait about it.
        axis, down: [2], unit vectors of the frame; scale: pixels an eye width.
        u, v: [h, w], the patch's pixels in the frame.
        above, beneath: [h, w], how far below the upper and above the lower lid's line they lie.
        iris: [2], the iris's middle, and middle: [2], the same in the unit square; radius: its radius.
        room: how far up (below 0) and how far down the iris's middle may go.
        disc: [h, w, 3], the iris with what the lids hide of it made up; white: [h, w, 3], the eye without an iris.
    """

    rows: slice
    columns: slice
    axis: Array
    down: Array
    scale: float
    u: Array
    v: Array
    above: Array
    beneath: Array
    iris: Array
    middle: Array
    radius: float
    room: tuple[float, float]
    disc: Array
    white: Array

    def between_lids(self, rise: float = 0.0, sink: float = 0.0) -> Array:
        """Return [h, w], 1 between the lids and 0 on them; with the upper lid risen and the lower one sunk so far."""
        middle = np.clip(4.0 * self.u * (1.0 - self.u), 0.0, 1.0)
        inside = np.minimum(self.above + np.float32(rise) * middle, self.beneath + np.float32(sink) * middle)
        ends = np.minimum(self.u, 1.0 - self.u)
        open_to = np.clip(inside / max(0.03, 1.0 / self.scale) + 0.5, 0.0, 1.0)
        return np.asarray(open_to * np.clip(ends / 0.04 + 0.5, 0.0, 1.0), np.float32)

    def over_iris(self, middle: Array) -> Array:
        """Return [h, w], 1 over an iris there and 0 beyond it."""
        away = np.hypot(self.u - middle[0], self.v - middle[1])
        return np.asarray(np.clip((self.radius - away) / max(_RING, 1.0 / self.scale) + 0.5, 0.0, 1.0), np.float32)


def portrait_eyes(crop: Array, landmarks: Array, irises: Array | None) -> tuple[Eye | None, Eye | None]:
    """Return the eyes of a portrait crop [s, s, 3] in [0, 1], None for one that is shut or too small.

    Args:
        landmarks: [68, 2] in the unit square; irises: [2, 2] likewise, the picture's left first, where they are known.
    """
    widths = [float(np.linalg.norm(landmarks[eye[3]] - landmarks[eye[0]])) for eye in _EYES]
    first, second = (
        _portrait_eye(crop, landmarks[list(eye)], max(widths), None if irises is None else irises[number])
        for number, eye in enumerate(_EYES)
    )
    return first, second


def _portrait_eye(crop: Array, points: Array, wider: float, near: Array | None) -> Eye | None:
    """Return the eye of landmarks [6, 2]; `wider` is the width of the wider eye, `near` where its iris was read."""
    size = len(crop)
    frame = eye_frame(points[[0, 3]])
    if frame.width * size < 8:
        return None
    lids = frame.local(points)
    if float((lids[[5, 4], 1] - lids[[1, 2], 1]).mean()) < _SHUT:
        return None
    place = frame.patch(size, 0.75)
    if place is None:
        return None
    rows, columns = place
    u, v = frame.pixels(place, size)
    upper, lower = lid_lines(lids, u.clip(0.0, 1.0))
    above, beneath = v - upper, lower - v
    patch = np.ascontiguousarray(crop[place])
    # A head that turns narrows its eyes, not their irises' height.
    radius = _IRIS * min(wider / frame.width, 1.4)
    found = _iris_middle(patch, u, v, above, beneath, radius, None if near is None else frame.local(near))
    radius = _iris_radius(patch, u, v, above, beneath, radius, found)
    middle = frame.picture(found[0], found[1])
    top, bottom = (float(line[0]) for line in lid_lines(lids, found[:1]))
    room = (
        min(top + _SHOWN_ABOVE * radius - float(found[1]), 0.0),
        max(bottom - _SHOWN_BELOW * radius - float(found[1]), 0.0),
    )
    scale = frame.width * size
    eye = Eye(
        rows, columns, frame.axis, frame.down, scale, u, v, above, beneath, found, middle, radius, room, patch, patch
    )
    return Eye(**(vars(eye) | {"disc": _whole_iris(eye, patch), "white": _without_iris(eye, patch)}))


def _iris_middle(
    patch: Array, u: Array, v: Array, above: Array, beneath: Array, radius: float, near: Array | None
) -> Array:
    """Return where the iris's middle is [2]: the dark disc in a light surround, which rests on the lower lid."""
    grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)
    within = (above > 0) & (beneath > 0) & (u > 0.03) & (u < 0.97)
    guess = (0.5, 0.0) if near is None else (float(near[0]), float(near[1]))
    level = float(np.median((v + beneath)[within])) if within.any() else 0.0
    best, middle = -np.inf, np.array([guess[0], level - 0.9 * radius], np.float32)
    reach = 0.28 if near is None else 0.12
    for column in np.arange(guess[0] - reach, guess[0] + reach + 1e-6, 0.02):
        column = float(np.clip(column, 0.2, 0.8))
        lower = float((v + beneath).flat[np.abs(u - column).argmin()])
        for row in lower - radius * np.array([0.7, 0.8, 0.9, 1.0, 1.1]):
            away = np.hypot(u - column, v - row)
            inner, ring = within & (away < radius), within & (away > 1.1 * radius) & (away < 1.9 * radius)
            if inner.sum() < 8 or ring.sum() < 8:
                continue
            contrast = float(grey[ring].mean() - grey[inner].mean())
            score = contrast - 0.1 * abs(column - guess[0]) - 0.1 * abs(row - lower + 0.9 * radius)
            if score > best:
                best, middle = score, np.array([column, row], np.float32)
    return middle


def _iris_radius(patch: Array, u: Array, v: Array, above: Array, beneath: Array, usual: float, middle: Array) -> float:
    """Return the iris's radius: where, to its sides, dark turns into light; eyes' widths as read are not all alike."""
    grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)
    across, down = np.abs(u - middle[0]), np.abs(v - middle[1])
    away = np.hypot(across, down)
    beside = (above > 0.02) & (beneath > 0.02) & (down < 0.8 * across) & (u > 0.03) & (u < 0.97)
    best, radius = 0.0, usual
    for factor in _RADII:
        at = factor * usual
        inner, outer = (beside & (np.abs(away - at - side) < 0.025) for side in (-0.025, 0.025))
        if inner.sum() < 4 or outer.sum() < 4:
            continue
        edge = float(grey[outer].mean() - grey[inner].mean()) * (1.0 - 0.5 * abs(float(np.log(factor))))
        if edge > best:
            best, radius = edge, at
    return radius


def _whole_iris(eye: Eye, patch: Array) -> Array:
    """Return the patch with the iris whole: what lids hide of it is as the rest that far from its middle."""
    away = np.hypot(eye.u - eye.iris[0], eye.v - eye.iris[1]) / np.float32(eye.radius)
    depth = np.minimum(eye.above, eye.beneath)
    seen = depth > 0.03
    ring = np.minimum(away * _RINGS, _LAST_RING).astype(np.int64)
    count = np.bincount(ring[seen], minlength=_LAST_RING + 1)
    colours = [np.bincount(ring[seen], patch[seen, c], minlength=_LAST_RING + 1) for c in range(3)]
    known = np.flatnonzero(count)
    if not len(known):
        return patch
    middles = (known + 0.5) / _RINGS
    profile = [np.interp(away, middles, colour[known] / count[known]) for colour in colours]
    hidden = np.clip(0.5 - (depth - 0.03) / 0.03, 0.0, 1.0)
    return _mixed(patch, np.stack(profile, axis=-1).astype(np.float32), hidden)


def _without_iris(eye: Eye, patch: Array) -> Array:
    """Return the patch with eye-white over the iris, taken from its sides."""
    away = np.hypot(eye.u - eye.iris[0], eye.v - eye.iris[1])
    known = np.minimum(eye.above, eye.beneath) > 0.02
    known &= (away > eye.radius + _RING) & (eye.u > 0.04) & (eye.u < 0.96)
    weight = known.astype(np.float32)
    colour, share = patch * weight[..., None], weight
    filled = np.zeros_like(patch)
    done = np.zeros_like(weight)
    # Near by first, along the lids rather than across them; ever wider where there is nothing near.
    for sigma in (0.05, 0.12, 0.3):
        along = max(0.5, sigma * eye.scale)
        near, amount = (cv2.GaussianBlur(part, (0, 0), along, sigmaY=max(0.5, 0.3 * along)) for part in (colour, share))
        usable = np.clip(amount / 0.05, 0.0, 1.0) * (1.0 - done)
        filled += near / np.maximum(amount, 1e-4)[..., None] * usable[..., None]
        done += usable
    filled = filled / np.maximum(done, 1e-3)[..., None]
    gone = np.clip((np.float32(eye.radius + _RING) - away) / np.float32(_RING) + np.float32(0.5), 0.0, 1.0)
    # Behind the lids the eyeball goes on, in their shade.
    behind = 1.0 - eye.between_lids(-_LID_EDGE, -_LID_EDGE)
    filled *= (1.0 - _SHADE * np.clip(0.5 - eye.above / 0.1, 0.0, 1.0))[..., None]
    amount = np.maximum(gone, behind) * np.clip(done / np.float32(0.2), 0.0, 1.0)
    return _mixed(patch, filled, np.asarray(amount, np.float32))


def _mixed(below: Array, above: Array, amount: Array) -> Array:
    return np.asarray(below + amount[..., None] * (above - below), np.float32)


def gaze_shift(eye: Eye, corners: Array, iris: Array, flow: Array) -> tuple[Array, Opening]:
    """Return how far an iris shall move on its eyeball [2], in the eye's frame, and how far the lids give way to it.

    Args:
        corners: [2, 2], the eye's corners in the target; iris: [2], where its iris's middle shall be; unit square.
        flow: [m, m, 2], the backward flow in crop sides: it carries the iris with the head, a part of the way.
    """
    axis = corners[1] - corners[0]
    width = float(np.linalg.norm(axis))
    if width < 1e-6:
        return np.zeros(2, np.float32), Opening()
    axis = axis / width
    off = iris - _carried(eye.middle, flow)
    shift = np.array([off @ axis, off @ np.array([-axis[1], axis[0]])], np.float32) / np.float32(width)
    t = np.clip((float(np.linalg.norm(shift)) - _NOISE) / (_MEANT - _NOISE), 0.0, 1.0)
    shift = shift * np.float32(t)
    # An iris never leaves the eye, neither by its corners nor behind its lids; but these give way.
    rise = float(np.clip(eye.room[0] - shift[1], 0.0, _MOST_RISE))
    sink = float(np.clip(shift[1] - eye.room[1], 0.0, _MOST_SINK))
    shift[0] = np.clip(shift[0], min(_NEAREST - eye.iris[0], 0.0), max(1.0 - _NEAREST - eye.iris[0], 0.0))
    shift[1] = np.clip(shift[1], eye.room[0] - rise, eye.room[1] + sink)
    return np.asarray(shift, np.float32), Opening(rise, sink)


def _carried(point: Array, flow: Array) -> Array:
    """Return where a backward flow [m, m, 2] takes a point [2] of the portrait."""
    side = len(flow)
    place = point.astype(np.float32)
    for _ in range(6):
        at = (place * side - 0.5).reshape(1, 1, 2)
        came = cv2.remap(flow, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        place = (point - came.reshape(2)).astype(np.float32)
    return place


def turned(eye: Eye, patch: Array, shift: Array, way: Opening) -> Array:
    """Return the eye's patch [h, w, 3] with its iris moved by `shift` [2], and whole where wider lids uncover it."""
    far = float(np.hypot(*shift))
    wider = way.rise + way.sink > 0.0
    if far == 0.0 and not wider:
        return patch
    x, y = (eye.scale * (shift[0] * eye.axis + shift[1] * eye.down)).tolist()
    moved = cv2.warpAffine(
        eye.disc,
        np.array([[1.0, 0.0, x], [0.0, 1.0, y]]),
        eye.disc.shape[1::-1],
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    eyeball = _mixed(eye.white, moved, eye.over_iris(eye.iris + shift))
    made = np.full_like(eye.u, min(far / _GONE, 1.0))
    if wider:
        # Where a lid's edge was there is eyeball now: the more, the further it has gone.
        bared = 1.0 - eye.between_lids(-min(way.rise, _LID_EDGE), -min(way.sink, _LID_EDGE))
        made = np.maximum(made, min((way.rise + way.sink) / _LID_EDGE, 1.0) * bared)
    return _mixed(patch, eyeball, made * eye.between_lids(way.rise, way.sink))
