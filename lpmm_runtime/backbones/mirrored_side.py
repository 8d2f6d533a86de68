# SPDX-License-Identifier: GPL-3.0-or-later
"""The far side of a face that was taken from a side and turns back: as the near side is, in the mirror.

A photo of a turned head shows little of its far cheek, temple and ear, and of the near ones more than a frame needs.
Faces are nearly their own mirror images: the mirrored photo, brought into the frame's pose by the same networks, shows
what the photo does not. Where it is drawn out less than the photo it stands instead, put to the frame's landmarks and
into the frame's light.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from lpmm_runtime.backbones.background import spread
from lpmm_runtime.backbones.pixel_maps import pixels, ramp
from lpmm_runtime.backbones.turned_side import smallest_stretch

Array = NDArray[np.float32]

_SIDE = 64
# As far, in eye distances, a nose's tip is beside the middle of a face that is seen from a side: some 6° of yaw.
_FROM_A_SIDE = 0.06
# What a target pixel shows of a source, as a length: above the second the photo shows enough of it itself.
_ENOUGH = (0.3, 0.55)
# The mirrored photo comes in where it shows so many times as much, and stands alone from the second on.
_MORE = (1.8, 3.2)
# Features about the middle of a face are never mirrored: so far beside its bridge, in eye distances, that begins.
_OUTWARD = (0.1, 0.35)
# Stretches waver from pixel to pixel: of 64, to blur them and their share by.
_WAVERS, _SOFT = 1.0, 1.0
# Less than this anywhere is not worth a second run of the networks.
_ANYTHING = 0.02
# Toward the crop's edges, beyond which nobody is mirrored, and below the chin (eyes at 0, it at 1) it ends.
_EDGE, _NECK = 0.1, (1.0, 1.3)
# What of either portrait is no head is not compared.
_HEAD = (0.5, 0.9)
# Landmarks of lids and lips move most by what a face says, and least by the head: only their corners and middles count.
_STEADY = [*range(37), 39, 42, 45, 48, 51, 54, 57]
# Over this share of the side what is left of landmarks' differences fades, on a raster of so many places.
_NEAR, _COARSE = 0.12, 16
# Colours that are drawn out say something of the light there: the rest of this.
_TRUSTED = 0.7
# Light changes over so many pixels of 64; at most so many times as bright or as dark, and so much as coloured: what
# differs by more is no light.
_LIGHT, _MOST_LIGHT, _MOST_COLOUR = 3.0, 2.5, 0.12


def mirrored_irises(irises: Array) -> Array:
    """Return the irises [2, 2] of a mirrored picture, the picture's left one first, in the unit square."""
    return np.ascontiguousarray(irises[::-1] * (-1.0, 1.0) + (1.0, 0.0), np.float32)


def from_a_side(face: Array) -> bool:
    """Return whether a portrait shows a face [68, 2] from a side: its near side says more of the far one than it."""
    return abs(_asymmetry(face)) > _FROM_A_SIDE


def turns_back(source: Array, target: Array) -> bool:
    """Return whether a face, [68, 2] each, is seen less from the side than its portrait, or from the other one."""
    from_the_side, now = (_asymmetry(face) for face in (source, target))
    return now * np.sign(from_the_side) < abs(from_the_side)


def _asymmetry(face: Array) -> float:
    """Return how far the nose's tip is beside the middle of the outer eye corners, in their distances."""
    left, right = (face[corner] for corner in landmarks68.OUTER_EYE_CORNERS)
    across = right - left
    return float((face[30] - 0.5 * (left + right)) @ across / max(float(across @ across), 1e-9))


@dataclass(frozen=True, eq=False)
class FarSide:
    """How much of a frame its portrait shows.

    Attributes:
        shown: [64, 64], as a length: how large a step in the portrait one in the frame is, the smaller way.
        wanted: [64, 64], how much else is wanted for it, 0 to 1; within: [64, 64], where anything else may be.
        right: whether the far side is the picture's right one.
    """

    shown: Array
    wanted: Array
    within: Array
    right: bool

    @property
    def any(self) -> bool:
        """Whether there is anything worth the mirrored portrait's way into the frame."""
        return float(self.wanted.max()) > _ANYTHING


def far_side(flow: Array, alpha: Array, source: Array, face: Array) -> FarSide:
    """Return where a flow [m, m, 2], in sides, draws its portrait's head out.

    Args:
        alpha: [m, m], the frame's matte; source, face: [68, 2], the portrait's landmarks and the frame's, unit square.
    """
    shown = _shown(_place(flow))
    place = (np.arange(_SIDE, dtype=np.float32) + np.float32(0.5)) / np.float32(_SIDE)
    edge = ramp(np.minimum(place, 1.0 - place), 0.0, _EDGE)
    left, right = (face[corner] for corner in landmarks68.OUTER_EYE_CORNERS)
    eyes, to_the_right = 0.5 * (left + right), _asymmetry(source) > 0.0

    def along(way: Array, start: Array) -> Array:
        """Return how far places are along a way [2] from a start [2], in its lengths: [64, 64]."""
        way = way / max(float(way @ way), 1e-9)
        return np.add.outer((place - start[1]) * way[1], (place - start[0]) * way[0])

    outward = along(right - left if to_the_right else left - right, face[27])
    down = along(face[8] - eyes, eyes)
    head = cv2.resize(alpha, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    within = cv2.dilate(head, np.ones((7, 7), np.uint8)) * edge[:, None] * edge
    within *= ramp(outward, *_OUTWARD) * (1.0 - ramp(down, *_NECK))
    return FarSide(shown, (1.0 - ramp(shown, *_ENOUGH)) * within, within, to_the_right)


def mirrored_share(side: FarSide, flow: Array, photo: Array | None) -> Array:
    """Return how much of a frame the mirrored portrait shows instead [64, 64], 0 to 1.

    Args:
        side: `far_side` of the portrait; flow: [m, m, 2], from the frame to the mirrored portrait, in sides; photo:
            [n, n], 0 where that is beyond the photo, or None.
    """
    place = _place(flow)
    theirs = np.maximum(_shown(place), np.float32(1e-3))
    share = side.wanted * ramp(np.log(theirs / np.maximum(side.shown, np.float32(0.02))), *np.log(_MORE))
    # Beside what is drawn out the portrait shows what its turn has hidden: the head ends where the mirrored one does.
    outward = share if side.right else share[:, ::-1]
    outward = np.maximum.accumulate(outward, axis=1)
    outward = outward if side.right else outward[:, ::-1]
    share = np.maximum(share, outward * side.within * ramp(theirs, *_ENOUGH))
    if photo is not None:
        known = cv2.resize(photo, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        share = share * ramp(_looked_up(known, place), 0.5, 1.0)
    return np.asarray(cv2.GaussianBlur(share, (0, 0), _SOFT), np.float32)


def _place(flow: Array) -> Array:
    """Return where a flow [m, m, 2], in sides, leads, in pixels of 64: [64, 64, 2]."""
    coarse = cv2.resize(flow, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.add(coarse * np.float32(_SIDE), pixels(_SIDE)), np.float32)


def _shown(place: Array) -> Array:
    return smallest_stretch(cv2.GaussianBlur(place, (0, 0), _WAVERS))


def alignment(face: Array, mirrored: Array, size: int) -> Array:
    """Return the way from each place of a frame to the same place of the mirrored one [size, size, 2], in sides.

    An affine map of the landmarks, [68, 2] each, and near them what that leaves.
    """
    here, there = face[_STEADY].astype(np.float64), mirrored[_STEADY].astype(np.float64)
    flat = np.column_stack([here, np.ones(len(here))])
    found = np.linalg.lstsq(flat, there, rcond=None)[0]
    rest = there - flat @ found
    place = (np.arange(_COARSE) + 0.5) / _COARSE
    x, y = np.meshgrid(place, place)
    places = np.column_stack([x.ravel(), y.ravel()])
    far = np.square(places[:, None] - here).sum(axis=-1) / (2.0 * _NEAR**2)
    weight = np.exp(-far)
    # A place that no landmark is near gets little.
    near = weight @ rest / np.maximum(weight.sum(axis=1), 1.0)[:, None]
    way = (np.column_stack([places, np.ones(len(places))]) @ found + near - places).reshape(*x.shape, 2)
    return np.asarray(cv2.resize(way.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR), np.float32)


def aligned(layer: Array, way: Array) -> Array:
    """Return a map [m, m, …] of the mirrored frame where it belongs in the frame, by an `alignment` [m, m, 2]."""
    return _looked_up(layer, cv2.add(way * np.float32(len(layer)), pixels(len(layer))))


def relit(mirrored: Array, head: Array, both: Array, share: Array) -> Array:
    """Return the mirrored head [s, s, 3] in the light of a head: by their ratio where both are seen, going on beyond.

    Args:
        both: [s, s], where there is head in both; share: [64, 64], `mirrored_share`.
    """
    size = len(head)
    first, second, seen = (
        cv2.resize(part, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for part in (head, mirrored, both)
    )
    seen = ramp(seen, *_HEAD) * np.square(1.0 - _TRUSTED * share)
    weight = cv2.GaussianBlur(seen, (0, 0), _LIGHT) + np.float32(1e-4)
    first, second = (
        cv2.GaussianBlur(part * seen[..., None], (0, 0), _LIGHT) / weight[..., None] for part in (first, second)
    )
    ratio = np.log((first + np.float32(0.02)) / (second + np.float32(0.02)))
    ratio = cv2.GaussianBlur(spread(ratio, np.square(seen)), (0, 0), _LIGHT)
    bright = ratio.mean(axis=-1, keepdims=True)
    ratio = np.clip(bright, -np.log(_MOST_LIGHT), np.log(_MOST_LIGHT)) + np.clip(
        ratio - bright, -_MOST_COLOUR, _MOST_COLOUR
    )
    gain = np.exp(ratio).astype(np.float32)
    gain = cv2.resize(gain, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(mirrored * gain, 0.0, 1.0), np.float32)


def _looked_up(layer: Array, place: Array) -> Array:
    return np.asarray(cv2.remap(layer, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
