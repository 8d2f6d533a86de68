# SPDX-License-Identifier: GPL-3.0-or-later
"""The side of a head that a turn uncovers: not stretched pixels, but their colours with a detail of natural scale.

A photo shows little of the side of a head, so the flow draws a narrow strip of it out over all that comes into view.
There the colours of the stretched picture are kept, and its streaks give way to detail that moves on rigidly, as what
is beside it does (`head_detail` makes it once a portrait).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.backbones.background import spread
from lpmm_runtime.backbones.head_detail import FINE, features_mask, hull_mask
from lpmm_runtime.backbones.pixel_maps import enlarged_part, pixels, ramp

Array = NDArray[np.float32]

# What a target pixel shows of the source, as a length: below the first it is stretched, beyond the second whole.
_STRETCHED, _WHOLE = 0.45, 0.8
# Where the source's matte is below the first the flow points beside the head, above the second at it.
_BESIDE, _ON = 0.2, 0.6
# As far as the flow departs from a rigid one, in sides, before the detail comes in and until it is all there.
_DEPARTS = (0.002, 0.03)
_SIDE = 64
# Within the face's outline, where there is skin: from the second down it shows streaks, below the first nothing else.
_STREAKED, _PLAIN = 0.25, 0.5
# The jaw's edge is drawn out beyond the outline.
_WIDER = np.ones((7, 7), np.uint8)
# A drawn-out flow wavers from row to row: pixels of 64 to blur it by.
_WAVERS = 0.8
# A flow that is half known counts by so high a power of it.
_SURE = 6
# Which way it is drawn out changes over so many pixels of 64; streaks are smoothed in so many rows.
_SMOOTH, _ROWS = 2.0, 128
# A frame is looked through in so many parts across and down.
_PARTS = 8
# Pixels of 64 over which a stretched part begins.
_SOFT = 1.0


@dataclass(frozen=True, eq=False)
class TurnedSide:
    """How a frame's flow is mended.

    Attributes:
        flow: [m, m, 2], the flow, smooth where it stretches, in sides.
        rigid: [64, 64, 2], the flow that goes on as what is beside a stretched part moves, in sides.
        amount: [64, 64], how much of the detail that it moves is to be shown.
        skin: [64, 64], how much of the skin's grain: within a face's outline the detail beside it is an ear's.
        along: [64, 64], how far what is drawn out is so from left to right (1) and not from top to bottom (0).
        shift: [2], the flow at the nose, in sides: the grain moves with it, for all about it is drawn out.
    """

    flow: Array
    rigid: Array
    amount: Array
    skin: Array
    along: Array
    shift: Array


def turned_side(flow: Array, alpha: Array, source_alpha: Array, face: Array) -> TurnedSide:
    """Return where a flow stretches the head, and how its detail would move.

    Args:
        flow: [m, m, 2], from target to source, in sides; alpha: [m, m], the target's matte; source_alpha: [s, s].
        face: [68, 2], the target's landmarks, unit square: within them the flow is trusted.
    """
    # What is stretched is wide: a coarse map says as well where.
    coarse, alpha, source_alpha = (
        cv2.resize(part, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for part in (flow, alpha, source_alpha)
    )
    place = cv2.add(coarse * np.float32(_SIDE), pixels(_SIDE))
    on_head = cv2.remap(source_alpha, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    stretch, hull = smallest_stretch(place), hull_mask(face, _SIDE)
    known = ramp(stretch, _STRETCHED, _WHOLE) * ramp(on_head, _BESIDE, _ON)
    known = cv2.GaussianBlur(cv2.max(known, hull), (0, 0), _SOFT)
    skin = cv2.subtract(cv2.dilate(hull, _WIDER), cv2.dilate(features_mask(face, _SIDE), np.ones((3, 3), np.uint8)))
    skin = cv2.GaussianBlur(skin * (1.0 - ramp(stretch, _STREAKED, _PLAIN)), (0, 0), _SOFT)
    # What is half stretched says little about how the whole would move, but nothing may come in at once.
    rigid = spread(coarse, known**_SURE)
    unknown = 1.0 - known
    departs = ramp(cv2.magnitude(*cv2.split(cv2.subtract(rigid, coarse))), *_DEPARTS)
    amount = unknown * departs * np.clip(2.0 * alpha, 0.0, 1.0)
    # The seam of a matte is no side of a head.
    amount = cv2.morphologyEx(amount, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    wavers = cv2.resize(unknown, flow.shape[:2], interpolation=cv2.INTER_LINEAR)
    steady = cv2.resize(cv2.GaussianBlur(coarse, (3, 3), _WAVERS), flow.shape[:2], interpolation=cv2.INTER_LINEAR)
    steady = cv2.add(flow, cv2.multiply(cv2.subtract(steady, flow), cv2.merge([wavers] * 2)))
    nose = (face[None, 30:31] * np.float32(_SIDE) - np.float32(0.5)).astype(np.float32)
    shift = cv2.remap(coarse, nose, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0, 0]
    drawn = cv2.GaussianBlur(cv2.subtract(rigid, coarse) ** 2, (0, 0), _SMOOTH)
    along = drawn[..., 0] / np.maximum(drawn.sum(axis=-1), np.float32(1e-9))
    return TurnedSide(steady, rigid, amount, cv2.min(skin, 1.0 - amount), along, shift)


def show_detail(moved: Array, detail: tuple[Array, Array], side: TurnedSide) -> None:
    """Give a moved head [s, s, 3] the detail of its portrait where the flow stretched it, in place.

    Args:
        detail: [s, s] each, the head's (`head_detail`) and the skin's (`skin_grain`).
    """
    size = len(moved)
    parts = _parts(cv2.max(side.amount, side.skin), size)
    if not parts:
        return
    motion = cv2.merge([*cv2.split(side.rigid * np.float32(size)), side.amount, side.skin])
    colours = _without_streaks(moved, side.along)
    for part in parts:
        across, down, amount, skin = cv2.split(enlarged_part(motion, part, size))
        place = cv2.add(cv2.merge([across, down]), pixels(size)[part])
        fine = cv2.multiply(_looked_up(detail[0], place), amount)
        if skin.any():
            place = cv2.add(pixels(size)[part], (*(float(way) * size for way in side.shift), 0.0, 0.0))
            cv2.accumulateProduct(_looked_up(detail[1], place), skin, fine)
        change = cv2.subtract(colours[part], moved[part])
        cv2.multiply(change, cv2.merge([cv2.add(amount, skin)] * 3), dst=change)
        cv2.add(change, cv2.merge([fine] * 3), dst=change)
        moved[part] += change


def _without_streaks(moved: Array, along: Array) -> Array:
    """Return a picture [s, s, 3] smoothed across its streaks alone: a hairline stays where the flow puts it.

    Args:
        along: [64, 64], how far streaks run from left to right (1) and not from top to bottom (0).
    """
    size = len(moved)
    fewer = min(size, _ROWS)
    width = FINE * fewer
    reach = 2 * round(2.5 * width) + 1
    smooth = []
    for shape, kernel in (((size, fewer), (1, reach)), ((fewer, size), (reach, 1))):
        small = cv2.GaussianBlur(cv2.resize(moved, shape, interpolation=cv2.INTER_AREA), kernel, width)
        smooth.append(cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR))
    share = cv2.resize(along, (size, size), interpolation=cv2.INTER_LINEAR)[..., None]
    return np.asarray(smooth[1] + share * (smooth[0] - smooth[1]), np.float32)


def _looked_up(detail: Array, place: Array) -> Array:
    # Folded, for what the crop cuts off goes on.
    return np.asarray(cv2.remap(detail, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), np.float32)


def _parts(amount: Array, size: int) -> list[tuple[slice, slice]]:
    """Return the parts of a frame that have any amount [64, 64]: most of it has none."""
    most = cv2.dilate(amount, np.ones((3, 3), np.uint8)).reshape(_PARTS, _SIDE // _PARTS, _PARTS, _SIDE // _PARTS)
    edges = [round(size * part / _PARTS) for part in range(_PARTS + 1)]
    return [
        (slice(edges[row], edges[row + 1]), slice(edges[column], edges[column + 1]))
        for row, column in np.argwhere(most.max(axis=(1, 3)) > 0.01)
    ]


def smallest_stretch(place: Array) -> Array:
    """Return the smaller singular value of the Jacobian of a map [m, m, 2] from pixels to pixels: [m, m]."""
    (xx, yx), (xy, yy) = (cv2.split(cv2.Scharr(place, cv2.CV_32F, *way, scale=1 / 32)) for way in ((1, 0), (0, 1)))
    # A 2x2 matrix is a similarity and a mirrored one; their lengths' difference is what it shrinks to.
    similar, mirrored = cv2.magnitude(xx + yy, yx - xy), cv2.magnitude(xx - yy, yx + xy)
    return np.asarray(np.abs(similar - mirrored) / 2, np.float32)
