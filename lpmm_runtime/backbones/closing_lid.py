# SPDX-License-Identifier: GPL-3.0-or-later
"""A lid that closes: skin comes from under the fold above the eye, with lashes at its edge, and nothing else moves.

A portrait with open eyes does not show that skin. Pulled down from below the brow it would be lashes drawn out to
streaks, and would bend brows and the rims of glasses: it is made of the skin all around the eye instead.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.backbones.lid_layer import EYES, EyeFrame, Patch, eye_frame, lid_line, lid_lines
from lpmm_runtime.backbones.pixel_maps import ramp

Array = NDArray[np.float32]

# All lengths are in eye widths, corner to corner; u runs along the eye and v down. What is known about an eye lies on
# a raster of so many places an eye width, from _LEFT to _RIGHT and from _TOP to _BOTTOM.
_FINE = 64
_LEFT, _RIGHT, _TOP, _BOTTOM = -0.35, 1.35, -0.6, 0.55
_COLUMNS, _ROWS = round((_RIGHT - _LEFT) * _FINE) + 1, round((_BOTTOM - _TOP) * _FINE) + 1
# An eye with its lashes reaches so far above, below and beside the lids' lines, a brow so far below its landmarks.
_EYE_ABOVE, _EYE_BELOW, _EYE_BESIDE, _BROW = 0.2, 0.11, 0.22, 0.28
# Above a lid's line what is darker than this share of skin's light is lashes and shade, up to there at most; it is
# looked through from so far above the line on, and hidden by so much more.
_DARK, _DARK_MOST, _LIGHT_BETWEEN, _BEYOND_DARK = 0.88, 0.36, 0.12, 0.13
# Rims of glasses: lines at most so many rows of the raster thick, which take this share of the light, are as far above
# the lid and so long.
_RIM_WIDTH, _RIM_DARK, _RIM_ABOVE, _RIM_LENGTH = 11, 0.2, 0.08, 1.1
# Skin is brighter than this share of what is about it; what is darker are lashes and rims.
_SKIN = 0.92
_FILLING = 80
# The raster's first row of the cheek below an eye; grain stronger than this share of its light is none.
_CHEEK, _GRAIN = round((0.25 - _TOP) * _FINE), 0.05
# Lashes are looked for so far above the line of an open lid, and at so many heights;
_LASHES, _HEIGHTS = 0.2, 24
# their roots are darkest from so far below it to so far above.
_ROOTS_BELOW, _ROOTS_ABOVE = 0.01, 0.05
# An edge takes at least, and at most, this share of the light: lids are seen to meet on any face.
_LEAST_EDGE, _MOST_EDGE = 0.42, 0.75
_EDGE_WIDTH = 0.025
# A lid that comes down by the first is the portrait's own, by the second all made.
_OWN, _MADE = 0.015, 0.1
# Lashes that stand up at an open lid hang down from a shut one, so much shorter.
_HANG = 0.7
# The shade of a lid on the eyeball below it, and how far it reaches; that of the fold above a shut one.
_SHADE, _SHADE_REACH = 0.3, 0.07
_FOLD, _FOLD_WIDTH = 0.03, 0.04


@dataclass(frozen=True, eq=False)
class Lid:
    """What a portrait shows about one eye, on the raster.

    Attributes:
        skin: [r, c, 3], the skin all around, going on over the eye.
        grain: [r, c], what is fine in it, as a share of its light.
        edge: [c], the share of the light that the upper lid's edge takes.
        lashes: [h, c], the same of the lashes above it, from the line upwards.
        above: [c], how far above the line of the lid, in eye widths, its lashes and its shade end.
        rims: [r, c], the rims of glasses that run there.
    """

    skin: Array
    grain: Array
    edge: Array
    lashes: Array
    above: Array
    rims: Array


def portrait_lids(crop: Array, landmarks: Array) -> tuple[Lid | None, Lid | None]:
    """Return the lids of a portrait crop [s, s, 3] in [0, 1] with landmarks [68, 2], the picture's left eye first.

    None for an eye that is too small.
    """
    first, second = (_portrait_lid(crop, landmarks, eye, brow) for eye, brow in EYES)
    return first, second


def _portrait_lid(crop: Array, landmarks: Array, eye: tuple[int, ...], brow: tuple[int, ...]) -> Lid | None:
    frame = eye_frame(landmarks[[eye[0], eye[3]]])
    if frame.width * len(crop) < 8:
        return None
    u = np.linspace(_LEFT, _RIGHT, _COLUMNS, dtype=np.float32)
    v = np.linspace(_TOP, _BOTTOM, _ROWS, dtype=np.float32)[:, None]
    inside = u.clip(0.0, 1.0)
    upper, lower = lid_lines(frame.local(landmarks[list(eye)]), inside)
    brow_line = lid_line(frame.local(landmarks[list(brow)]), inside) + _BROW
    seen = _sampled(crop, frame, u, np.broadcast_to(v, (_ROWS, _COLUMNS)))
    beside = np.maximum(np.maximum(-u, u - 1.0), 0.0) / _EYE_BESIDE

    def skin_above(above: Array) -> Array:
        hidden = (v > upper - above) & (v < lower + _EYE_BELOW) & (beside < 1.0)
        return _filled(seen, ~hidden & (v > np.minimum(brow_line, upper - above - 0.04)))

    above = np.full(_COLUMNS, _EYE_ABOVE, np.float32)
    skin = skin_above(above)
    above = _dark_above(seen, skin, v, upper, upper - brow_line)
    skin = skin_above(above)
    light = skin.mean(axis=-1)
    # Roots are the darkest; what runs along the lid as a fold or a shadow does is no lash.
    roots = _sampled(crop, frame, u, upper + np.linspace(_ROOTS_BELOW, -_ROOTS_ABOVE, 7, dtype=np.float32)[:, None])
    under = _sampled_raster(light[..., None], u, upper)[..., 0]
    edge = 1.0 - roots.mean(axis=-1).min(axis=0) / np.maximum(under, 0.02)
    edge = cv2.GaussianBlur(edge[None], (0, 0), 0.08 * _FINE, sigmaY=0.1, borderType=cv2.BORDER_REPLICATE)[0]
    height = np.linspace(0.0, 1.0, _HEIGHTS, dtype=np.float32)[:, None]
    standing = _sampled(crop, frame, u, upper - _LASHES * height).mean(axis=-1)
    level = cv2.GaussianBlur(standing, (0, 0), 0.06 * _FINE, sigmaY=0.01)
    lashes = np.clip(1.0 - standing / np.maximum(level, 0.02) - 0.03, 0.0, 0.8) * np.sqrt(1.0 - height)
    return Lid(
        skin,
        _grain(seen),
        np.clip(edge, _LEAST_EDGE, _MOST_EDGE),
        lashes.astype(np.float32),
        above,
        _rims(seen, skin, v, upper),
    )


def _dark_above(seen: Array, skin: Array, v: Array, upper: Array, most: Array) -> Array:
    """Return how far above a lid's line [c] what is darker than skin goes on, in eye widths; readers err, too.

    Args:
        seen, skin: [r, c, 3], what the portrait shows and what skin would be there; v: [r, 1]; most: [c], no further.
    """
    dark = seen.mean(axis=-1) < _DARK * skin.mean(axis=-1)
    found = np.zeros(_COLUMNS, np.float32)
    going_on = np.ones(_COLUMNS, bool)
    for height in np.arange(0.0, _DARK_MOST, 1.0 / _FINE):
        row = np.round((upper - height - _TOP) * _FINE).astype(int).clip(0, _ROWS - 1)
        # Light may fall between lashes.
        going_on &= dark[row, np.arange(_COLUMNS)] | (height < _LIGHT_BETWEEN)
        found[going_on] = height
    found = np.minimum(found, np.maximum(most, _EYE_ABOVE))
    wide = cv2.GaussianBlur(cv2.dilate(found[None], np.ones((1, 9), np.uint8)), (0, 0), 0.06 * _FINE, sigmaY=0.1)
    return np.asarray(np.maximum(wide[0] + _BEYOND_DARK, _EYE_ABOVE), np.float32)


def _rims(seen: Array, skin: Array, v: Array, upper: Array) -> Array:
    """Return where the rims of glasses run above an eye [r, c]: thin dark lines that go on beyond it to a side.

    Args:
        seen, skin: [r, c, 3], what the portrait shows and what skin would be there; v: [r, 1]; upper: [c], the lid.
    """
    light = seen.mean(axis=-1)
    # Lashes and folds are wider than a rim, or shorter.
    thin = cv2.morphologyEx(light, cv2.MORPH_BLACKHAT, np.ones((_RIM_WIDTH, 1), np.uint8))
    lines = ((thin > _RIM_DARK * skin.mean(axis=-1)) & (v < upper - _RIM_ABOVE)).astype(np.uint8)
    lines = cv2.morphologyEx(lines, cv2.MORPH_CLOSE, np.ones((3, 7), np.uint8))
    _, parts, stats, _ = cv2.connectedComponentsWithStats(lines, connectivity=8)
    long = np.flatnonzero(stats[:, cv2.CC_STAT_WIDTH] >= _RIM_LENGTH * _FINE)
    rims = np.isin(parts, long[long > 0]).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(cv2.dilate(rims, np.ones((3, 3), np.uint8)), (0, 0), 0.8), np.float32)


def _sampled(crop: Array, frame: EyeFrame, u: Array, v: Array) -> Array:
    """Return the crop's colours [h, n, 3] at u [n] and v [h, n]."""
    place = frame.picture(np.broadcast_to(u, v.shape), v) * np.float32(len(crop)) - np.float32(0.5)
    return np.asarray(cv2.remap(crop, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _filled(seen: Array, known: NDArray[np.bool_]) -> Array:
    """Return colours [r, c, 3] that go on smoothly where they are not known, from what looks like skin."""
    light = seen.mean(axis=-1)
    weight = known.astype(np.float32)
    for _ in range(2):
        around, amount = (cv2.GaussianBlur(part, (0, 0), 0.12 * _FINE) for part in (light * weight, weight))
        usual = around / np.maximum(amount, 1e-3)
        weight = np.asarray(known * ramp(light / np.maximum(usual, 0.02), _SKIN - 0.1, _SKIN + 0.05), np.float32)
    colour = seen * weight[..., None]
    filled, done = np.zeros_like(seen), np.zeros_like(light)
    # From near by first; ever wider where there is nothing near.
    for reach in (0.03, 0.08, 0.2, 0.5):
        near, amount = (cv2.GaussianBlur(part, (0, 0), reach * _FINE) for part in (colour, weight))
        usable = np.clip(amount / 0.1, 0.0, 1.0) * (1.0 - done)
        filled += (usable / np.maximum(amount, 1e-4))[..., None] * near
        done += usable
    filled = filled / np.maximum(done, 1e-3)[..., None]
    start = filled.copy()
    # As a soap film: without the edges that fillings from different widths have.
    free = (1.0 - weight)[..., None]
    for _ in range(_FILLING):
        filled = start + free * (cv2.blur(filled, (5, 5), borderType=cv2.BORDER_REPLICATE) - start)
    return np.asarray(filled, np.float32)


def _grain(seen: Array) -> Array:
    """Return what is fine in the skin [r, c], as a share of its light: that of the cheek, mirrored up over the eye."""
    light = seen[_CHEEK:].mean(axis=-1)
    fine = np.clip(light / np.maximum(cv2.GaussianBlur(light, (0, 0), 0.03 * _FINE), 0.02) - 1.0, -_GRAIN, _GRAIN)
    return np.asarray(np.pad(fine, ((_CHEEK, 0), (0, 0)), mode="symmetric"), np.float32)


def close_lids(
    head: Array, lids: tuple[Lid | None, Lid | None], opened: Array, target: Array, light: Array | None
) -> list[tuple[Patch, Array]]:
    """Draw what closing lids bring down over the eyes, in place; return what was drawn: patches, and how much [h, w].

    Args:
        head: [s, s, 3], with the edges of the portrait's own lids brought down (`lid_layer.lid_displacement`).
        opened: [68, 2], the target with the source's lids; target: [68, 2], with its own; unit square.
        light: [m, m, 3], what the light of the portrait is multiplied by.
    """
    drawn: list[tuple[Patch, Array]] = []
    size = len(head)
    for lid, (eye, _) in zip(lids, EYES, strict=True):
        frame = eye_frame(target[[eye[0], eye[3]]])
        if lid is None or frame.width * size < 4:
            continue
        old, new = frame.local(opened[list(eye)]), frame.local(target[list(eye)])
        fall = new[[1, 2], 1] - old[[1, 2], 1]
        most = float(fall[np.abs(fall).argmax()])
        patch = frame.patch(size, 0.7)
        if patch is None or abs(most) <= _OWN:
            continue
        gap = float((old[[5, 4], 1] - old[[1, 2], 1]).max())
        shut = float(np.clip(most / max(gap, 1e-3), 0.0, 1.0))
        u, v = frame.pixels(patch, size)
        inside = u.clip(0.0, 1.0)
        upper_old = lid_lines(old, inside)[0]
        upper, lower = lid_lines(new, inside)
        pixel = np.float32(1.0 / (frame.width * size))
        made = float(ramp(np.array(abs(most)), _OWN, _MADE))
        part = head[patch]
        cover = np.zeros_like(u)
        if shut > 0.0:
            skin = _shaded_skin(lid, u, v, upper_old, upper, shut)
            if light is not None:
                place = frame.picture(u, v) * np.float32(len(light)) - np.float32(0.5)
                skin *= cv2.remap(light, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            above = np.interp(u, np.linspace(_LEFT, _RIGHT, _COLUMNS), lid.above)
            cover = made * ramp((v - upper_old) / above, -1.15, -0.7)
            cover *= 1.0 - _sampled_raster(lid.rims[..., None], u, v)[..., 0]
            cover *= np.clip((upper - v) / pixel + 0.5, 0.0, 1.0)
            cover *= ramp(u, -_EYE_BESIDE, -0.02) * ramp(1.0 - u, -_EYE_BESIDE, -0.02)
            part += cover[..., None] * (skin - part)
        beyond = v - upper
        shade = _SHADE * np.exp(-np.maximum(beyond, 0.0) / _SHADE_REACH) * (beyond > 0.0) * (v < lower)
        # One that opens wider keeps its own edge and lashes.
        if shut > 0.0:
            wide = max(_EDGE_WIDTH, 0.6 * float(pixel))
            edge = np.interp(u, np.linspace(_LEFT, _RIGHT, _COLUMNS), lid.edge) * np.exp(-0.5 * (beyond / wide) ** 2)
            dark = np.maximum(edge, _lashes(lid, u, beyond, 1.0 - (1.0 + _HANG) * shut))
            shade = np.maximum(dark * ramp(u, -0.06, 0.15) * ramp(1.0 - u, -0.06, 0.15), shade)
        shade = made * shade
        part *= (1.0 - shade)[..., None]
        drawn.append((patch, np.maximum(cover, shade)))
    return drawn


def _shaded_skin(lid: Lid, u: Array, v: Array, upper_old: Array, upper: Array, shut: float) -> Array:
    """Return the skin of a lid that is down by the share `shut` [h, w, 3]; it lies on a ball."""
    skin = _sampled_raster(lid.skin, u, v) * (1.0 + _sampled_raster(lid.grain[..., None], u, v))
    down = np.clip((v - upper_old) / np.maximum(upper - upper_old, 1e-2), 0.0, 1.0)
    relief = 0.05 * np.sin(np.pi * down) - _FOLD * np.exp(-(((v - upper_old + 0.04) / _FOLD_WIDTH) ** 2))
    return np.asarray(skin * (1.0 + relief * shut)[..., None], np.float32)


def _sampled_raster(raster: Array, u: Array, v: Array) -> Array:
    """Return a raster's [r, c, n] entries [..., n] at u and v [...]."""
    column, row = (np.atleast_2d((at - low) * np.float32(_FINE)) for at, low in ((u, _LEFT), (v, _TOP)))
    found = cv2.remap(
        raster, column.astype(np.float32), row.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(found, np.float32).reshape(*np.shape(u), raster.shape[-1])


def _lashes(lid: Lid, u: Array, beyond: Array, upright: float) -> Array:
    """Return the share of the light that lashes take [h, w]; they stand (1), point at the viewer (0) or hang (-1)."""
    if abs(upright) < 0.05:
        return np.zeros_like(beyond)
    height = -beyond / np.float32(upright)
    column = ((u - _LEFT) * np.float32(_FINE)).astype(np.float32)
    row = np.minimum(height * np.float32((_HEIGHTS - 1) / _LASHES), _HEIGHTS - 1).astype(np.float32)
    found = cv2.remap(lid.lashes, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found * (height >= 0.0), np.float32)
