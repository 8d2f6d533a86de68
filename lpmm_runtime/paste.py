# SPDX-License-Identifier: GPL-3.0-or-later
"""Paste-back: the crop's frame over the full photo with a soft mask; what lies outside is never touched."""

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.backbones.beyond_crop import BAND, Strip
from lpmm_runtime.crop import CropSquare
from lpmm_runtime.portrait import as_bytes, resize

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

# A change is followed on this grid, and reaches this many cells around itself.
CHANGE_SIDE, CHANGE_REACH = 256, 5


def paste(
    photo: Pixels, square: CropSquare, frame: Array, rest: Array, matte: bool, beyond: tuple[Strip, ...] = ()
) -> Pixels:
    """Return the full picture [H, W, 4] uint8 RGBA.

    Where the frame equals the rest frame, the photo's own pixels stand, exactly.

    Args:
        photo: [H, W, 3] uint8 RGB.
        square: the crop, whole pixels, in the photo's pixels.
        frame: [n, n, 4] float32 RGBA in [0, 1]; n may differ from the square's side.
        rest: [n, n, 4], the frame at the photo's own latent.
        matte: whether alpha is the head's matte (then 0 where nothing is known of it); else alpha is 255.
        beyond: what changes of the photo beyond the crop, and how, in pixels of the frame.
    """
    height, width = photo.shape[:2]
    side, left, top = round(square.side), round(square.left), round(square.top)
    picture = np.asarray(cv2.cvtColor(photo, cv2.COLOR_RGB2RGBA), np.uint8)
    if matte:
        picture[..., 3] = 0
    for strip in beyond:
        _lay(picture, strip, (top, left), side / len(frame), matte)
    rows = slice(max(top, 0), min(top + side, height))
    columns = slice(max(left, 0), min(left + side, width))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return picture
    inside = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    edge = mask = crop_mask(side, square, (width, height))
    if frame.shape[0] != side:
        mask = edge * np.clip(resize(change_mask(frame, rest), side, side), 0.0, 1.0)
        frame = np.clip(resize(frame, side, side), 0.0, 1.0)
    elif np.array_equal(frame[..., :3], rest[..., :3]):
        mask = np.zeros_like(edge)
    under = cv2.cvtColor(np.ascontiguousarray(picture[rows, columns]), cv2.COLOR_RGBA2RGB)
    over = cv2.cvtColor(as_bytes(frame[inside]), cv2.COLOR_RGBA2RGB)
    weight = np.ascontiguousarray(mask[inside])
    # blendLinear rounds to the nearest, so that equal pixels stay equal and weight 0 is the photo exactly.
    picture[rows, columns, :3] = cv2.blendLinear(over, under, weight, 1 - weight)
    if matte:
        outside = (1.0 - edge[inside]) * picture[rows, columns, 3] / np.float32(255)
        picture[rows, columns, 3] = as_bytes(edge[inside] * frame[inside][..., 3] + outside)
    return picture


def _lay(picture: Pixels, strip: Strip, corner: tuple[int, int], scale: float, matte: bool) -> None:
    """Draw a strip of a frame over a picture [H, W, 4], in place; `corner` is the crop's (top, left), pixels."""
    start = [start + round(first * scale) for start, first in zip(corner, (strip.top, strip.left), strict=True)]
    shape = [round(count * scale) for count in strip.change.shape]
    # Of the strip, what is on the picture.
    first = [max(-at, 0) for at in start]
    last = [min(count, edge - at) for count, edge, at in zip(shape, picture.shape, start, strict=False)]
    if first[0] >= last[0] or first[1] >= last[1]:
        return
    own = (slice(first[0], last[0]), slice(first[1], last[1]))
    there = (slice(start[0] + first[0], start[0] + last[0]), slice(start[1] + first[1], start[1] + last[1]))
    colour, change, alpha = (
        resize(part, shape[1], shape[0])[own] for part in (strip.colour, strip.change, strip.alpha)
    )
    under = cv2.cvtColor(np.ascontiguousarray(picture[there]), cv2.COLOR_RGBA2RGB)
    weight = np.clip(np.ascontiguousarray(change), 0.0, 1.0)
    picture[(*there, slice(3))] = cv2.blendLinear(as_bytes(np.clip(colour, 0.0, 1.0)), under, weight, 1 - weight)
    if matte:
        picture[(*there, 3)] = as_bytes(np.clip(alpha, 0.0, 1.0))


def crop_mask(side: int, square: CropSquare, photo_size: tuple[int, int]) -> Array:
    """Return the soft mask [side, side] float32: 0 at the crop's edges, 1 within, and 1 where the photo ends first.

    An edge of the crop beyond the photo's needs no ramp: nothing is there to blend into.
    """
    width, height = photo_size
    left, top = round(square.left), round(square.top)
    across = _ramp(side, left <= 0, left + side >= width)
    down = _ramp(side, top <= 0, top + side >= height)
    return down[:, None] * across[None, :]


def change_mask(frame: Array, rest: Array) -> Array:
    """Return a soft mask [m, m] float32, m ≤ 256, around what differs: exactly 0 where nothing does."""
    changed = (np.abs(frame[..., :3] - rest[..., :3]).max(axis=-1) > 0.5 / 255).astype(np.float32)
    side = min(len(changed), CHANGE_SIDE)
    # An average above 0 is a change somewhere below it.
    coarse = (resize(changed, side, side) > 0).astype(np.float32)
    grown = cv2.dilate(coarse, np.ones((2 * CHANGE_REACH + 1, 2 * CHANGE_REACH + 1), np.uint8))
    return np.asarray(cv2.blur(grown, (CHANGE_REACH, CHANGE_REACH)), np.float32)


def _ramp(side: int, open_start: bool, open_end: bool) -> Array:
    position = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
    rising = np.ones(side, np.float32) if open_start else position / BAND
    falling = np.ones(side, np.float32) if open_end else (1 - position) / BAND
    t = np.clip(np.minimum(rising, falling), 0.0, 1.0)
    return (t * t * (3 - 2 * t)).astype(np.float32)
