# SPDX-License-Identifier: GPL-3.0-or-later
"""A head as a frame shows it: the portrait's own pixels moved, and mouth, eyes and lids drawn anew.

From the back: the head's colours, what the portrait did not show (painted), the inside of an opening mouth, irises that
look elsewhere over eye-white, and the lids: their edges slide, and the skin that a closing one brings down is made. Of
a face taken from a side, what turning back bares is the mirrored portrait's.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from lpmm_runtime.backbones.closing_lid import close_lids
from lpmm_runtime.backbones.gaze_layer import gaze_shift, turned
from lpmm_runtime.backbones.head_detail import hull_mask
from lpmm_runtime.backbones.lid_layer import (
    EYES,
    Opening,
    Patch,
    eye_opening,
    lid_displacement,
    openings,
    source_lids,
    with_given_way,
)
from lpmm_runtime.backbones.matte import decided, rounded
from lpmm_runtime.backbones.mirrored_side import aligned, relit
from lpmm_runtime.backbones.mouth_layer import PortraitMouth, draw_mouth
from lpmm_runtime.backbones.pixel_maps import around, changed, enlarged, pixels, ramp
from lpmm_runtime.backbones.portrait_canvas import Canvas
from lpmm_runtime.backbones.turned_side import TurnedSide, show_detail, turned_side

Array = NDArray[np.float32]

# As far as a head moves, in pixels of 128, before stray hair that the matte missed is seen to stay behind.
_LEFT = (0.7, 2.0)
# A change of light counts as this many pixels' motion.
_LIGHT_COUNTS = 8.0
# Where the networks are as sure as the second that the portrait shows a place, it does: what they mix in for safety's
# sake everywhere greys teeth and flattens a face as soon as it moves. Below the first they are believed.
# The first of each is for hair that is not drawn out: they shade it by mixing black in, and it loses its colour.
_DOUBTED, _SHOWN = (0.5, 0.78), (0.8, 0.92)
# A head may be as much wider, 4 pixels of 128, than its mirror image.
_WIDEST = np.ones((9, 9), np.uint8)
# Over so many pixels of 128 a face ends.
_FACE_ENDS = 2.0


@dataclass(frozen=True, eq=False)
class FrameMaps:
    """What the generator says of a frame.

    Attributes:
        flow: [m, m, 2], from target to source, in sides; paint: [m, m, 3]; mask, alpha: [m, m].
        light: [n, n, 3], gains, or None.
    """

    flow: Array
    paint: Array
    mask: Array
    alpha: Array
    light: Array | None

    def brought(self, way: Array) -> "FrameMaps":
        """Return the maps of another frame in place of it; `way` leads there (`alignment`, [m, m, 2])."""
        flow = cv2.add(aligned(self.flow, way), way)
        light = self.light
        if light is not None:
            light = aligned(light, cv2.resize(way, light.shape[1::-1], interpolation=cv2.INTER_LINEAR))
        paint, mask, alpha = (aligned(part, way) for part in (self.paint, self.mask, self.alpha))
        return FrameMaps(flow, paint, mask, alpha, light)


@dataclass(frozen=True, eq=False)
class DrawnHead:
    """A head at a frame's size.

    Attributes:
        colours: [s, s, 3], over its whole square; matte, shown: [s, s], the head, and where the portrait is seen.
        place: [s, s, 2], where in the portrait pixels come from.
        drawn: patches that were drawn anew, and how much [h, w].
    """

    colours: Array
    matte: Array
    shown: Array
    place: Array
    drawn: list[tuple[Patch, Array]]


@dataclass(frozen=True, eq=False)
class MirroredHead:
    """A mirrored portrait's head at a frame's size.

    Attributes:
        colours: [s, s, 3], over its whole square; matte: [s, s]; widest: [s, s], the most that may be taken for head.
    """

    colours: Array
    matte: Array
    widest: Array


def draw_head(canvas: Canvas, source: Array, target: Array, irises: Array, maps: FrameMaps) -> DrawnHead:
    """Return a portrait's head in a frame; landmarks [68, 2] and the irises' ways [2, 2] are in the unit square."""
    size = len(canvas.crop)
    side = turned_side(maps.flow, maps.alpha, canvas.alpha, target)
    mask = _trusted(maps.mask, target, side)
    # Apart, for OpenCV is fast on two and three channels, NumPy slow on so few.
    painted = enlarged(maps.paint, size)
    shown, matte = cv2.split(enlarged(cv2.merge([mask, rounded(maps.alpha)]), size))
    moved = _moved(canvas, source, target, irises, side.flow, (shown, matte, painted))
    _show_teeth(shown, canvas.mouth, moved.place, moved.target)
    show_detail(moved.colours, canvas.detail, side)
    _light(moved.colours, maps.light)
    head = _mixed(painted, moved.colours, shown)
    moved.drawn.extend(close_lids(head, canvas.lids, moved.opened, moved.target, maps.light))
    draw_mouth(head, canvas.crop, canvas.mouth, source, moved.target, moved.place)
    return DrawnHead(head, decided(matte), shown, moved.place, moved.drawn)


def draw_far_side(canvas: Canvas, source: Array, target: Array, irises: Array, maps: FrameMaps) -> MirroredHead:
    """Return a mirrored portrait's head in a frame, as `draw_head` does that of the portrait itself.

    It is seen only where it is whole: nothing is painted over it, and no streaks are mended.
    """
    widest = cv2.dilate(maps.alpha, _WIDEST)
    mattes = enlarged(cv2.merge([rounded(maps.alpha), rounded(widest)]), len(canvas.crop))
    moved = _moved(canvas, source, target, irises, maps.flow, (mattes,))
    _light(moved.colours, maps.light)
    close_lids(moved.colours, canvas.lids, moved.opened, moved.target, maps.light)
    draw_mouth(moved.colours, canvas.crop, canvas.mouth, source, moved.target, moved.place)
    matte, most = cv2.split(mattes)
    return MirroredHead(moved.colours, decided(matte), decided(most))


@dataclass(frozen=True, eq=False)
class _Moved:
    """A portrait's colours moved by a flow.

    Attributes:
        colours: [s, s, 3]; place: [s, s, 2], where in the portrait they come from, pixels.
        opened, target: [68, 2], the frame's landmarks with the portrait's lids, and with its own.
        drawn: patches whose eyes were drawn anew, and how much [h, w].
    """

    colours: Array
    place: Array
    opened: Array
    target: Array
    drawn: list[tuple[Patch, Array]]


def _moved(
    canvas: Canvas, source: Array, target: Array, irises: Array, flow: Array, layers: tuple[Array, ...]
) -> _Moved:
    """Move a portrait by a flow [m, m, 2], in sides; lids slide, in `layers` [s, s, …] too, which are changed."""
    size = len(canvas.crop)
    moves = enlarged(flow * np.float32(size), size)
    place = np.asarray(cv2.add(moves, pixels(size)), np.float32)
    shifts, ways = _gazes(canvas, target, irises, flow)
    opened = source_lids(source, target)
    target = with_given_way(opened, target, ways)
    whole = canvas.eyes[0] is not None, canvas.eyes[1] is not None
    for (rows, columns), displacement in lid_displacement(opened, target, size, whole):
        # Lids slide in the target; where they came from is looked up in the maps of the open eye.
        origin = pixels(size)[rows, columns] + displacement
        for layer in layers:
            layer[rows, columns] = _looked_up(layer, origin)
        place[rows, columns] = origin + _looked_up(moves, origin)
    # Hair that the photo cuts off goes on as hair.
    margin = canvas.wide.margin
    from_there = cv2.add(place, (margin, margin, 0.0, 0.0)) if margin else place
    colours = cv2.remap(canvas.wide.head, from_there, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    drawn = _draw_eyeballs(colours, canvas, opened, target, shifts, place)
    return _Moved(np.asarray(colours, np.float32), place, opened, target, drawn)


def _light(colours: Array, light: Array | None) -> None:
    """Light a head [s, s, 3] by gains [n, n, 3], in place."""
    if light is not None:
        wide = cv2.resize(light, colours.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        cv2.multiply(colours, wide, dst=colours)
    np.clip(colours, 0.0, 1.0, out=colours)


def with_mirrored(drawn: DrawnHead, other: MirroredHead, share: Array) -> DrawnHead:
    """Return a head with the mirrored portrait's where its share [64, 64] of the frame is."""
    size = len(drawn.matte)
    lit = relit(other.colours, drawn.colours, cv2.min(drawn.matte, other.matte), share)
    wide = cv2.resize(share, (size, size), interpolation=cv2.INTER_LINEAR)
    # The networks know best how wide a head is, but not what it is beside that it has uncovered.
    narrower = cv2.multiply(wide, cv2.subtract(drawn.matte, cv2.min(drawn.matte, other.widest)))
    return replace(
        drawn,
        colours=_mixed(drawn.colours, lit, wide),
        matte=np.asarray(cv2.subtract(drawn.matte, narrower), np.float32),
    )


def iris_ways(canvas: Canvas, other: Canvas) -> Array:
    """Return the way from either eye's iris in another canvas to that in one [2, 2]: both shall end at one place."""
    ways = np.zeros((2, 2), np.float32)
    for row, (eye, theirs) in enumerate(zip(canvas.eyes, other.eyes, strict=True)):
        if eye is not None and theirs is not None:
            ways[row] = eye.middle - theirs.middle
    return ways


def compose(canvas: Canvas, head: DrawnHead, light: Array | None) -> Array:
    """Return the frame [s, s, 4] of a head over its background; light: [n, n, 3], the gains it has, or None."""
    change = _change(head.place, head.shown, head.matte, canvas.alpha, light)
    for patch, amount in head.drawn:
        change[patch] = np.maximum(change[patch], amount)
    colour = _mixed(canvas.crop, _mixed(canvas.plate, head.colours, head.matte), change)
    return np.asarray(cv2.merge([*cv2.split(colour), head.matte]), np.float32)


def _gazes(
    canvas: Canvas, target: Array, irises: Array, flow: Array
) -> tuple[tuple[Array, Array], tuple[Opening, Opening]]:
    """Return how far either eye's iris moves on its eyeball [2], in eye widths, and how far its lids give way.

    Args:
        target: [68, 2], the target's landmarks; irises: [2, 2], displacements, the picture's left eye first; flow: as
            the graph gives it.
    """
    flow = np.ascontiguousarray(flow)
    first, second = (
        (np.zeros(2, np.float32), Opening())
        if eye is None
        else gaze_shift(eye, target[[points[0], points[3]]], eye.middle + move, flow)
        for eye, (points, _), move in zip(canvas.eyes, EYES, irises, strict=True)
    )
    return (first[0], second[0]), (first[1], second[1])


def _draw_eyeballs(
    moved: Array, canvas: Canvas, opened: Array, target: Array, shifts: tuple[Array, Array], place: Array
) -> list[tuple[Patch, Array]]:
    """Draw, in place, eyes whose irises move or whose lids open wider; return patches and how much was drawn [h, w].

    Args:
        opened, target: [68, 2], the target's landmarks with the portrait's lids and with its own.
        shifts: of the irises; place: [s, s, 2], where in the portrait pixels come from.
    """
    drawn: list[tuple[Patch, Array]] = []
    for eye, (points, _), shift, way in zip(canvas.eyes, EYES, shifts, openings(opened, target), strict=True):
        if eye is None:
            continue
        own = canvas.crop[eye.rows, eye.columns]
        eyeball = turned(eye, own, shift, way)
        found = eye_opening(points, target, len(moved), way.rise)
        if eyeball is own or found is None:
            continue
        patch, between = found
        origin = place[patch] - np.array([eye.columns.start, eye.rows.start], np.float32)
        seen = cv2.remap(eyeball, origin, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        part = moved[patch]
        part += between[..., None] * (seen - part)
        drawn.append((patch, between))
    return drawn


def _trusted(mask: Array, face: Array, side: TurnedSide) -> Array:
    """Return how far the portrait is shown [m, m], by the networks' mask; `face` are the target's landmarks [68, 2]."""
    about = cv2.blur(cv2.dilate(side.amount, np.ones((7, 7), np.uint8)), (3, 3))
    amount, skin = (cv2.resize(part, mask.shape[::-1], interpolation=cv2.INTER_LINEAR) for part in (about, side.skin))
    other = cv2.max(cv2.GaussianBlur(hull_mask(face, len(mask)), (0, 0), _FACE_ENDS), amount)
    doubted, shown = (hair + other * (high - hair) for hair, high in (_DOUBTED, _SHOWN))
    certain = ramp((mask - doubted) / (shown - doubted), 0.0, 1.0)
    # Skin's streaks are mended, and the networks' paint, which makes up for them, would be seen.
    return np.asarray(mask + cv2.max(certain, skin) * (1.0 - mask), np.float32)


def _show_teeth(shown: Array, mouth: PortraitMouth, place: Array, target: Array) -> None:
    """Let the portrait's teeth be seen as they are, in place: the networks paint them as dark as an average mouth."""
    size = len(shown)
    lips = target[landmarks68.REGIONS["mouth"]] * size
    room = 0.1 * float(np.ptp(lips[:, 0])) + 2.0
    low, high = (np.clip(edge, 0, size).astype(int) for edge in (lips.min(axis=0) - room, lips.max(axis=0) + room))
    patch = (slice(low[1], high[1]), slice(low[0], high[0]))
    if shown[patch].size:
        shown[patch] += _looked_up(mouth.teeth, place[patch]) * (1.0 - shown[patch])


def _mixed(below: Array, above: Array, amount: Array) -> Array:
    """Return pictures [s, s, 3] mixed by `amount` [s, s]; exactly `below` where it is 0."""
    mixed = cv2.subtract(above, below)
    cv2.multiply(mixed, cv2.merge([amount] * 3), dst=mixed)
    return np.asarray(cv2.add(mixed, below, dst=mixed), np.float32)


def _looked_up(layer: Array, place: Array) -> Array:
    return np.asarray(cv2.remap(layer, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _change(place: Array, shown: Array, matte: Array, alpha: Array, light: Array | None) -> Array:
    """Return [s, s]: 0 where nothing moves, is lit anew, painted or uncovered: the portrait stands there exactly."""
    size = len(place)
    covered, inside = cv2.max(matte, alpha), cv2.min(matte, alpha)
    across, down = cv2.split(cv2.subtract(place, pixels(size)))
    way = cv2.multiply(cv2.magnitude(across, down), covered, scale=128 / size)
    unseen = cv2.multiply(cv2.subtract(1.0, shown), covered, scale=4.0)
    amount = cv2.max(way, cv2.max(cv2.multiply(cv2.absdiff(matte, alpha), 4.0), unseen))
    if size > 128:
        amount, covered, inside, way = (
            cv2.resize(part, (128, 128), interpolation=cv2.INTER_AREA) for part in (amount, covered, inside, way)
        )
    # Where a head was and is no more nothing may move at all.
    bared = cv2.erode(cv2.subtract(covered, inside), np.ones((3, 3), np.uint8))
    left = ramp(around(cv2.max(way, cv2.multiply(bared, 4.0 * _LEFT[1]))), *_LEFT)
    if light is not None:
        lit = cv2.resize(np.abs(light - 1.0).max(axis=2), covered.shape, interpolation=cv2.INTER_LINEAR)
        amount = cv2.max(amount, cv2.multiply(lit, covered, scale=_LIGHT_COUNTS))
    noticed = changed(amount)
    # The edge of a head that hardly moves, and what is beside it, need not be made up: no matte is as exact.
    within = cv2.erode(inside, np.ones((5, 5), np.uint8))
    noticed = cv2.min(noticed, cv2.max(left, within))
    return np.asarray(cv2.resize(noticed, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)
