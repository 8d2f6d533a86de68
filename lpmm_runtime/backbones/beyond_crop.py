# SPDX-License-Identifier: GPL-3.0-or-later
"""A head beyond its crop: hair that rises out of the square which the networks see, and heads that move out of it.

What the networks say ends at the crop's edges. From there a head goes on as what is known of it moves, and what belongs
to it beyond them the photo's colours say, once a portrait.
"""

from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from lpmm_runtime.backbones.background import background_plate, background_sources, head_colours, spread
from lpmm_runtime.backbones.matte import decided, fluff, regained_matte, rounded
from lpmm_runtime.backbones.pixel_maps import changed, enlarged_part, pixels, ramp
from lpmm_runtime.portrait import as_bytes, as_floats, resize

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Inside = NDArray[np.bool_]
Part = tuple[slice, slice]
Scalar = TypeVar("Scalar", bound=np.generic)

# How far beyond the crop a head is followed, in its sides; maps there go on with the networks' 128 pixels a side.
SURROUNDINGS = 0.25
_CROP = 128
_BORDER = round(SURROUNDINGS * _CROP)
_WIDE = _CROP + 2 * _BORDER
# How far within the crop's edge, in its sides, what is made of both its sides is blended.
BAND = 0.08
# As deep within the crop, in its sides, what the networks say of its matte counts alone.
_DEEP = 0.1
# As far from the crop's sides, in its sides, what is no roll of the head fades, and over so many rows below its crown.
_FADES, _CROWN = 0.15, 20
# A crown above this row is too near the crop's edge for the networks to have seen it as one.
_HIGH = 4
# The networks' matte is the head for sure from the second on; fluff beside it goes with that.
_SURE = (0.5, 0.95)
# Above the crop a head that moves widens by a pixel of 128 to either side in so many rows at most.
_WIDENS = 2
# Over so many pixels of 128 the head's motion at the crop's edge is taken together.
_BESIDE = (9, 5)
# Necks and shoulders are followed no further than the crop: between these heights of it the head ends.
_ENDS = (0.55, 0.8)
# Over this share of its side the surroundings end.
_LAST = 0.05
# An outline's bend is seen in so many rows; what is above it is between these heights, all in pixels of 128.
_BEND, _CAPS = 14, (3.0, 20.0)
# So much higher and wider than it a head may be, and likely is.
_AT_MOST, _LIKELY = (2.4, 1.22), (1.2, 1.06)
# A head beyond the crop is at least so many pixels of 128².
_ANYTHING = 8
_ROUNDS = 4
# Of a hard cut, pixels of 128.
_SOFTNESS = 0.6


@dataclass(frozen=True, eq=False)
class Surroundings:
    """A photo around an aligned crop.

    Attributes:
        picture: [w, w, 4] uint8, the crop in its middle; last 255 where the photo is, 0 beyond it.
        alpha: [192, 192], the head's matte there; sources: of the background behind it (`background_sources`).
        fluff: [192, 192], what of the matte is fluffy hair (`matte.fluff`), or None.
    """

    picture: Pixels
    alpha: Array
    sources: Array | None
    fluff: Array | None = None


@dataclass(frozen=True, eq=False)
class WideCanvas:
    """Surroundings at a frame's size.

    Attributes:
        head: [w, w, 3], as `head_colours`; plate: [w, w, 3], the background; margin: of both beyond the crop, pixels;
            0 where nothing but the crop is known.
        alpha: [192, 192], the matte; crown: its first row, of 128 from the crop's upper edge; negative above it.
        fluff: [192, 192], of the matte, or None.
    """

    head: Array
    plate: Array
    alpha: Array
    margin: int
    crown: int = _CROP
    fluff: Array | None = None


@dataclass(frozen=True, eq=False)
class Strip:
    """A part of the photo beyond the crop.

    Attributes:
        top, left: its place, pixels of the frame, from the crop's corner; negative outside.
        colour: [h, w, 3]; change: [h, w], how much of it is to be seen, exactly 0 where the photo is; alpha: [h, w].
    """

    top: int
    left: int
    colour: Array
    change: Array
    alpha: Array


def surroundings(picture: Pixels, alpha: Array, chin: float) -> Surroundings:
    """Return a photo around a crop with its head's matte and background.

    Args:
        picture: [w, w, 4] uint8, the crop in its middle with `SURROUNDINGS` about it, last where the photo is; alpha:
            [128, 128], the crop's matte; chin: how far down it is, in crop sides.
    """
    small, photo = _parted(resize(picture, _WIDE, _WIDE))
    lowest = (chin + SURROUNDINGS) / (1.0 + 2.0 * SURROUNDINGS)
    wide = regained_matte(small, _continued(small, alpha), lowest)
    loose = fluff(small, wide, lowest)
    if loose is not None:
        wide = cv2.max(wide, loose)
    return Surroundings(picture, wide, background_sources(small, decided(wide), _CROP / _WIDE, photo), loose)


def _parted(picture: Pixels) -> tuple[Array, Array]:
    return as_floats(np.ascontiguousarray(picture[..., :3])), as_floats(np.ascontiguousarray(picture[..., 3]))


def photo_in_crop(known: Surroundings) -> Array:
    """Return [128, 128]: 1 where a crop shows the photo, 0 beyond it."""
    return np.ascontiguousarray(within_crop(_parted(resize(known.picture, _WIDE, _WIDE))[1]))


def within_crop(wide: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return the part of a map [192, 192] that is of the crop [128, 128], a view."""
    return wide[_BORDER:-_BORDER, _BORDER:-_BORDER]


def wide_canvas(known: Surroundings, crop: Array) -> WideCanvas:
    """Return surroundings at the size of a crop [s, s, 3], which stands in their middle exactly."""
    size = len(crop)
    margin = round(SURROUNDINGS * size)
    side = size + 2 * margin
    picture, photo = _parted(resize(known.picture, side, side))
    picture[margin : margin + size, margin : margin + size] = crop
    alpha = decided(enlarged_part(rounded(known.alpha), (slice(0, side), slice(0, side)), side))
    unit = size / side
    plate = background_plate(picture, alpha, known.sources, unit, photo)
    rows = np.flatnonzero((decided(known.alpha) > 0.5).any(axis=1))
    crown = int(rows[0]) - _BORDER if len(rows) else _CROP
    return WideCanvas(head_colours(picture, alpha, unit), plate, known.alpha, margin, crown, known.fluff)


def crop_alone(head: Array, plate: Array, alpha: Array) -> WideCanvas:
    """Return a crop [s, s, 3] as the canvas of a photo of which nothing else is known."""
    return WideCanvas(head, plate, np.pad(alpha, _BORDER), 0)


def carried_on(canvas: WideCanvas, flow: Array, alpha: Array, face: Array) -> tuple[Array, Array]:
    """Return a frame's flow [192, 192, 2] and matte [192, 192], going on beyond its crop.

    The matte is the networks' deep within the crop; near its edges, beyond which they saw nothing, it is what the known
    one is moved to.

    Args:
        flow: [128, 128, 2], from target to source, in crop sides; alpha: [128, 128], the target's matte; face: [68, 2],
            the target's landmarks.
    """
    if canvas.fluff is not None:
        # The networks know no hair that is neither head nor background, and leave it where it was.
        sure = ramp(alpha, *_SURE)
        flow = cv2.add(flow, cv2.multiply(cv2.subtract(spread(flow, sure), flow), cv2.merge([1.0 - sure] * 2)))
    wide_flow = _wide_flow(flow, alpha, face, canvas.crown)
    place = cv2.add(wide_flow * np.float32(_CROP), pixels(_WIDE))
    moved = cv2.remap(canvas.alpha, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(0,))
    # A head beyond the crop has come out of it.
    moved = cv2.min(moved, _come_out(alpha))
    wide = np.asarray(moved, np.float32)
    deep = _deep() if canvas.margin else np.float32(1.0)
    within_crop(wide)[:] += deep * (alpha - within_crop(wide))
    if canvas.fluff is not None:
        loose = cv2.remap(canvas.fluff, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(0,))
        wide = cv2.max(wide, loose)
    return wide_flow, wide


def strips_beyond(canvas: WideCanvas, flow: Array, alpha: Array, light: Array | None = None) -> tuple[Strip, ...]:
    """Return what a frame changes beyond its crop; nothing where nothing is known of it.

    Args:
        flow: [192, 192, 2], alpha: [192, 192], see `carried_on`; light: [m, m, 3], gains in the crop, or None.
    """
    if not canvas.margin:
        return ()
    still = canvas.alpha
    way = cv2.magnitude(*cv2.split(flow)) * np.float32(_CROP)
    amount = cv2.max(way * cv2.max(alpha, still), 4.0 * np.abs(alpha - still))
    change = changed(amount) * _ending()
    maps = cv2.merge([*cv2.split(flow), rounded(alpha), change])
    parts = (_bounded(part, cv2.max(change, alpha), len(canvas.plate)) for part in _parts(canvas))
    return tuple(_strip(canvas, part, maps, light) for part in parts if part is not None)


def _strip(canvas: WideCanvas, part: Part, maps: Array, light: Array | None) -> Strip:
    """Return a part of the surroundings; maps are [192, 192, 4]: the flow in crop sides, the matte, the change."""
    side = len(canvas.plate)
    across, down, matte, change = cv2.split(enlarged_part(maps, part, side))
    alpha = decided(matte)
    place = cv2.merge([across, down]) * np.float32(side - 2 * canvas.margin)
    place = cv2.add(place, pixels(side)[part])
    head = cv2.remap(canvas.head, place, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    head = np.clip(head, 0.0, 1.0)
    if light is not None:
        head *= enlarged_part(_repeated(light, round(SURROUNDINGS * len(light))), part, side)
    behind = canvas.plate[part]
    colour = behind + alpha[..., None] * (head - behind)
    return Strip(part[0].start - canvas.margin, part[1].start - canvas.margin, colour, change, alpha)


def _come_out(alpha: Array) -> Array:
    """Return the most of a head [192, 192] that may have come out of a crop [128, 128]: above it, widening slowly."""
    most = _repeated(cv2.dilate(alpha, np.ones((9, 9), np.uint8)), _BORDER)
    within_crop(most)[:] = cv2.dilate(alpha, np.ones((3, 3), np.uint8))
    row = np.ascontiguousarray(_repeated(alpha[:1], _BORDER)[_BORDER : _BORDER + 1])
    for above in range(_BORDER):
        if above % _WIDENS == 0:
            row = cv2.dilate(row, np.ones((1, 3), np.uint8))
        most[_BORDER - 1 - above] = row
    return most


def _continued(picture: Array, alpha: Array) -> Array:
    """Return a crop's matte [128, 128], and around it where a picture [192, 192, 3] goes on with the head's colours."""
    alone = np.pad(alpha, _BORDER)
    own = decided(alpha) > 0.5
    at_most, likely = (_caps(own, *shape) for shape in (_AT_MOST, _LIKELY))
    if not at_most.any():
        return alone
    labels = np.where(likely, cv2.GC_PR_FGD, np.where(at_most, cv2.GC_PR_BGD, cv2.GC_BGD)).astype(np.uint8)
    within_crop(labels)[:] = np.where(own, cv2.GC_FGD, cv2.GC_BGD)
    # Its clustering draws random numbers: the same portrait must get the same matte.
    cv2.setRNGSeed(0)
    cv2.grabCut(as_bytes(picture), labels, None, np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    cut = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    # Strands that are no wider than a pixel are as often a leak into what is behind.
    cut = cv2.morphologyEx(cut, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    within_crop(cut)[:] = own
    _, parts = cv2.connectedComponents(cut, connectivity=4)
    beyond = np.isin(parts, np.unique(within_crop(parts)[own])).astype(np.float32)
    within_crop(beyond)[:] = 0.0
    if beyond.sum() < _ANYTHING:
        return alone
    within_crop(beyond)[:] = decided(alpha)
    wide = np.asarray(cv2.GaussianBlur(beyond, (0, 0), _SOFTNESS), np.float32)
    within_crop(wide)[:] = alpha
    return wide


def _caps(own: Inside, higher: float, wider: float) -> Inside:
    """Return where a head [128, 128] may go on above and beside its crop: [192, 192]."""
    upper = own.copy()
    upper[round(_ENDS[0] * _CROP) :] = False
    # Turned, until the left edge, and then the right one, is above.
    beside = (np.rot90(_cap(np.rot90(upper, turn), higher, wider), -turn) for turn in (-1, 1))
    return np.asarray(_cap(own, higher, wider) | next(beside) | next(beside))


def _cap(own: Inside, higher: float, wider: float) -> Inside:
    """Return where a head [128, 128] may go on above its first row: [192, 192].

    A parabola, which closes as the head's outline bends in its first rows, made so much higher and wider.
    """
    nowhere = np.zeros((_WIDE, _WIDE), np.bool_)
    columns = np.flatnonzero(own[0])
    if len(columns) < 2:
        return nowhere
    # Of a head and a raised hand, the wider.
    run = max(np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1), key=len)
    middle = int(run[len(run) // 2])
    widths = [0.5 * len(run)]
    for row in own[1:_BEND]:
        if not row[middle]:
            break
        beside = np.flatnonzero(~row)
        left, right = beside[beside < middle], beside[beside > middle]
        widths.append(0.5 * ((right[0] if len(right) else _CROP) - (left[-1] if len(left) else -1) - 1))
    growth = np.polyfit(np.arange(len(widths)), np.square(widths), 1)[0] if len(widths) > 2 else 0.0
    height = higher * float(np.clip(widths[0] ** 2 / max(growth, 1e-6), *_CAPS))
    y, x = np.mgrid[:_WIDE, :_WIDE] - _BORDER
    share = -(y + 0.5) / height
    half = wider * widths[0]
    return np.asarray((share > 0.0) & (np.square(x - 0.5 * (run[0] + run[-1])) < half**2 * (1.0 - share)))


def _wide_flow(flow: Array, alpha: Array, face: Array, crown: int) -> Array:
    """Return a flow [192, 192, 2] that goes on beyond the crop [128, 128, 2] as at its edge, rolling with the head.

    Its `crown`, the first row of the head, hardly follows a nod or a turn: what is no roll fades up to there.
    """
    brows = float(face[landmarks68.REGIONS["brows"], 1].mean())
    few = slice(4, None, 8)
    row = np.arange(_CROP, dtype=np.float32)[few]
    weight = alpha[few, few] * (1.0 - ramp((row + 0.5) / _CROP, brows, brows + 0.15))[:, None]
    if weight.sum() < 1.0:
        weight = alpha[few, few] + np.float32(1e-3)
    # In complex numbers, a similarity that fits the upper head; of it, the turn alone, about the chin.
    places, ways = row[None, :] + 1j * row[:, None], (flow[few, few] @ np.array([1, 1j])) * _CROP
    away = places - (weight * places).sum() / weight.sum()
    turn = 1.0 + (weight * away.conj() * ways).sum() / (weight * np.abs(away) ** 2).sum()
    turn = turn / abs(turn) - 1.0
    x = (np.arange(_WIDE) - _BORDER + 0.5)[None, :] / _CROP - face[8][:, None]
    across = np.add.outer(-turn.imag * x[1], turn.real * x[0])
    down = np.add.outer(turn.real * x[1], turn.imag * x[0])
    rolling = cv2.merge([part.astype(np.float32) for part in (across, down)])
    # What is beside the head at the crop's edge goes with the head next to it.
    weight = alpha + np.float32(1e-3)
    near = cv2.blur(cv2.multiply(cv2.subtract(flow, within_crop(rolling)), cv2.merge([weight] * 2)), _BESIDE)
    near = cv2.divide(near, cv2.merge([cv2.blur(weight, _BESIDE)] * 2))
    rest = cv2.multiply(_repeated(near, _BORDER), _fading())
    within_crop(rest)[:] = flow - within_crop(rolling)
    height = np.arange(_WIDE, dtype=np.float32) - _BORDER
    if crown < _HIGH:
        # Aside the networks' word is taken as far as it goes, or the sides of a turned head's hair would be sheared.
        rest[..., 0] *= np.exp(np.minimum(height, 0.0) / (_FADES * _CROP))[:, None]
        rest[..., 1] *= ramp(height, crown, crown + max(_CROWN, _DEEP * _CROP - crown))[:, None]
    return np.asarray(cv2.add(rolling, rest), np.float32)


@cache
def _fading() -> Array:
    """Return [192, 192, 2]: 1 in the crop, above and below it, and less the further to its sides."""
    place = np.arange(_WIDE, dtype=np.float32) - _BORDER
    away = np.maximum(np.maximum(-place, place - _CROP + 1), 0.0) / _CROP
    return np.asarray(cv2.merge([np.tile(np.exp(-away / _FADES).astype(np.float32), (_WIDE, 1))] * 2), np.float32)


@cache
def _deep() -> Array:
    """Return [128, 128]: 0 at a crop's edges, 1 deep within, and below the head."""
    place = (np.arange(_CROP, dtype=np.float32) + np.float32(0.5)) / np.float32(_CROP)
    beside = ramp(np.minimum(place, 1.0 - place), 0.0, _DEEP)[None, :]
    below = ramp(place, *_ENDS)[:, None]
    return np.asarray(ramp(place, 0.0, _DEEP)[:, None] * (below + (1.0 - below) * beside), np.float32)


@cache
def _ending() -> Array:
    """Return [192, 192]: 1, and 0 at the outer edges and below the head."""
    place = (np.arange(_WIDE, dtype=np.float32) + 0.5) / _WIDE
    edge = ramp(np.minimum(place, 1.0 - place), 0.0, _LAST)
    down = (place * _WIDE - _BORDER) / _CROP
    return np.asarray((edge * (1.0 - ramp(down, *_ENDS)))[:, None] * edge[None, :], np.float32)


def _repeated(part: Array, border: int) -> Array:
    """Return a map with its edge repeated around it."""
    return np.asarray(cv2.copyMakeBorder(part, border, border, border, border, cv2.BORDER_REPLICATE), np.float32)


def _parts(canvas: WideCanvas) -> tuple[Part, Part, Part]:
    """Return what is above, left and right of a crop and a band within it, in pixels of the surroundings."""
    side, margin = len(canvas.plate), canvas.margin
    size = side - 2 * margin
    band = int(np.ceil(BAND * size))
    middle = slice(margin + band, margin + round(_ENDS[1] * size))
    return (
        (slice(0, margin + band), slice(0, side)),
        (middle, slice(0, margin + band)),
        (middle, slice(margin + size - band, side)),
    )


def _bounded(part: Part, outside: Array, side: int) -> Part | None:
    """Return what of a part has anything of a map [192, 192], pixels of the surroundings; None if nothing has."""
    scale = side / _WIDE
    rows, columns = (slice(int(edge.start / scale), int(np.ceil(edge.stop / scale))) for edge in part)
    left, top, width, height = cv2.boundingRect((outside[rows, columns] > 0.0).astype(np.uint8))
    if not width:
        return None

    def within(edge: slice, first: int, count: int) -> slice:
        # Enlarged, a cell reaches into its neighbours.
        start, stop = int((first - 1) * scale), int(np.ceil((first + count + 1) * scale))
        return slice(max(edge.start, start), min(edge.stop, stop))

    return within(part[0], rows.start + top, height), within(part[1], columns.start + left, width)
