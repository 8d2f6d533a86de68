# SPDX-License-Identifier: GPL-3.0-or-later
"""The inside of an opening mouth: the portrait's own teeth as far as it shows any, else drawn ones; tongue and dark.

Upper teeth sit in the skull, lower teeth and the tongue in the jaw, and both keep their size: lips that part before a
closed jaw bare rows that meet, and only a jaw that drops shows the dark between them. All lengths are in interocular
distances (outer eye corners), so a mouth looks the same at every size.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Patch = tuple[slice, slice]

# An inner-lip gap that grows by less than the first shows no more of the mouth.
_GROWN_FROM, _GROWN_FULL = 0.01, 0.035
# A portrait's lips that are nearer to each other show nothing of its mouth, and no teeth until the second: what is
# bright there is a shine on lips. The same of what is hardly paler than they are.
_SHOWS, _TEETH_SHOW, _PALER = 0.02, (0.045, 0.06), (0.045, 0.075)
# So much of the gap between landmarks of inner lips may be lip, which is not as dark as a mouth; of a wider one the
# tongue is seen.
_MOST_CUT, _DARKER, _TONGUE_SHOWS, _CUT_SEEN = 0.6, 0.55, 0.2, 0.008
# A mouth as open as that shows its inside, which may be stretched so many times; one as wide open as the last shows
# all of it, and no mouth opens so far that it were stretched too much.
_OPEN, _STRETCHED, _WIDE_OPEN = (0.12, 0.22), (1.4, 2.2), (0.25, 0.35)
_DARK = np.array([0.06, 0.026, 0.024], np.float32)
_TONGUE = np.array([0.55, 0.25, 0.24], np.float32)
_TEETH = np.array([0.93, 0.88, 0.80], np.float32)
# As wide is the shade between two of a portrait's teeth at most.
_SHADE = 0.05
# The shade within a mouth is red.
_FROM_WITHIN = np.array([0.30, 0.17, 0.12], np.float32)
# Where the incisors end below the upper lip of a mouth at rest, and how far the arch reaches to either side.
_INCISORS, _ARCH = 0.042, 0.36
# How much higher upper teeth at the sides end than those in the middle, of their place squared, and by how much more at
# most where a portrait shows it.
_ROW_BEND, _STEEPER = 0.16, 0.05
# Borders between teeth from the middle outwards; the further ones are seen from the side.
_BORDERS = np.array([0.0, 0.088, 0.158, 0.222, 0.268, 0.300, 0.327, 0.350], np.float32)
# An arch is a parabola: how far back a tooth is, of its place to the side squared. A nose's tip is so far before the
# eyes, and a turn is believed up to a tangent.
_ARCH_DEPTH, _NOSE_REACH, _STEEPEST = 2.6, 0.4, 1.2
# Lower teeth end as far below the upper ones' edge with a closed jaw (they stand behind it), and as far above the lower
# lip of a portrait whose jaw is open.
_OVERBITE, _ABOVE_LIP = 0.03, 0.03
# Between teeth that a portrait shows and its lower lip it is dark by more than that if its jaw is open.
_JAW_OPEN = 0.04
# How high the tongue rises, of what the rows are apart, and half its width, of the mouth's.
_TONGUE_RISE, _TONGUE_WIDTH = 0.7, 0.36
# How far lower teeth stand above the lower lip, at most with a closed jaw, at most with one that has dropped as far as
# the last, and at least.
_BARED, _BARED_OPEN, _LEAST_BARED, _DROPPED = 0.085, 0.025, 0.01, 0.25
# How far the lower row's middle may be beside the lower lip's.
_OFF_LIP = 0.03
# How far lower teeth reach to either side, how much higher those at the side are seen, of their place squared, and
# where gum begins below their edge.
_LOWER_ARCH, _LOWER_RISE, _LOWER_GUM = 0.26, 0.25, (0.075, 0.1)
# Lower incisors are narrower than upper ones.
_LOWER_SIZE = 0.62
# The jaw's way from the ways of points, fitted as _SKULL's is, on turns and expressions of 145 people: the chin's, less
# where a rigid head takes it. It is right to within 4 % in turns and 1 % in expressions, but of a wide yawn it misses a
# third: there the lower lip bounds it.
_JAW = {36: -0.364, 39: -0.019, 42: -0.019, 45: -0.364, 27: 1.622, 30: 0.917, 33: -1.983, 8: 1.21}
# Teeth in the middle are no further aside.
_MIDDLE = 0.08
# So wide is the end of what a portrait shows of its teeth, that says how they go on.
_END = 0.03
_EYE_WHITE, _LIGHT_HUE, _MOST_BLUE = 0.72, 0.6, 0.02
_UPPER_INNER, _LOWER_INNER = (60, 61, 62, 63, 64), (64, 65, 66, 67, 60)
_LIP_PAIRS = ((61, 67), (62, 66), (63, 65))
_OUTER = tuple(range(48, 60))
# The way of the upper teeth from the ways of points that hardly any expression moves: of a rigid head in weak
# perspective it is a fixed sum, here that of an average head. On 14 people it is right to within 0.7 % of the
# interocular distance in turns, nods and expressions; the nose's base alone is 5 % off, the upper lip 6.
_SKULL = {36: 0.415, 39: 0.149, 42: 0.149, 45: 0.415, 27: -1.192, 30: -0.168, 33: 1.232}
# Above what a portrait shows of its teeth they go on as they begin below the lip's shade, up to the height of a tooth,
# but at least so far, then comes gum. Its line is as level as this wide a stretch of the teeth's edges, and so soft.
_LIPS_SHADE, _TOOTH, _LEAST_HIDDEN, _LEVEL, _GUM_SOFT, _HIDDEN = 0.012, 0.105, 0.02, 0.15, 0.012, 0.1
# Gums are about as bright, and as pink, as lips are.
_GUM_COLOUR, _GUM_AS_LIPS = np.array([0.72, 0.42, 0.40], np.float32), 0.6


@dataclass(frozen=True, eq=False)
class PortraitMouth:
    """What a portrait says of its mouth, at one size.

    Attributes:
        inside: [s, s] in [0, 1], what of the mouth's inside the portrait shows.
        teeth: [s, s] in [0, 1], its teeth; teeth_colour: [3], theirs, or what teeth would be in its light.
        light: [3], how bright white is in its light.
        gums: [3], their colour in its light.
        grey: whether the portrait has no colours.
        lip: [3], how far above its landmarks 67, 66 and 65 the lower lip begins, in interocular distances: a reader of
            landmarks cuts into lips that shine.
        begin: [s], the row in which each column's teeth begin, −inf where it has none; gum: [s], where their gum does.
        ends: [2, 3], of its teeth at the picture's left and right: where they end along the eyes' line and how far
            below the upper lip's inner edge, in interocular distances, and how bright they are there beside
            `teeth_colour`.
        rows: [2], how far below the upper lip's inner edge its upper teeth end in the middle and its lower ones begin,
            in interocular distances.
    """

    inside: Array
    teeth: Array
    teeth_colour: Array
    light: Array
    gums: Array
    grey: bool
    lip: Array
    begin: Array
    gum: Array
    ends: Array
    rows: Array


def portrait_mouth(crop: Array, landmarks: Array) -> PortraitMouth:
    """Return what a portrait [s, s, 3] in [0, 1] says of its mouth; `landmarks` [68, 2] are in the unit square."""
    size = len(crop)
    grey = float(np.ptp(crop.reshape(-1, 3)[:: max(1, size * size // 4096)], axis=1).mean()) < 0.01
    inside, light = _shown_inside(crop, landmarks), _light(crop, landmarks)
    if grey:
        light = np.full(3, light.mean(), np.float32)
    lips = _lip_colours(crop, inside, landmarks)
    teeth = _teeth(crop, inside, landmarks, lips)
    colour = _teeth_colour(crop, teeth, light, grey)
    gums = light * _neutral(_GUM_COLOUR, grey)
    if len(lips):
        gums = (gums + _GUM_AS_LIPS * (np.median(lips, axis=0) - gums)).astype(np.float32)
    lip = _lower_lip(crop, teeth, landmarks, lips)
    if lip.max() > _CUT_SEEN:
        put = _with_lower_lip(landmarks, lip)
        band = np.concatenate([_smooth(put[list(_LOWER_INNER)]), landmarks[[48, 59, 58, 57, 56, 55, 54]]])
        inside = inside * (1.0 - _filled(band * np.float32(size), (slice(0, size), slice(0, size))))
    begin, gum = _beginnings(teeth, _interocular(landmarks) * size)
    ends = _ends(crop, teeth, colour, landmarks)
    return PortraitMouth(inside, teeth, colour, light, gums, grey, lip, begin, gum, ends, _rows(teeth, landmarks, lip))


def _lip_colours(crop: Array, inside: Array, landmarks: Array) -> Array:
    """Return the colours [n, 3] of what is within the outer lips and not inside the mouth."""
    size = len(crop)
    outer = _filled(landmarks[list(_OUTER)] * size, (slice(0, size), slice(0, size)))
    return np.asarray(crop[(outer > 0.9) & (inside < 0.05)], np.float32)


def _lower_lip(crop: Array, teeth: Array, landmarks: Array, lips: Array) -> Array:
    """Return `PortraitMouth.lip`: between inner lips is teeth or dark; what is neither, below, is lip."""
    size = len(crop)
    lip = np.zeros(3, np.float32)
    if not len(lips):
        return lip
    dark = (crop.mean(axis=-1) < _DARKER * float(np.median(lips.mean(axis=-1)))).astype(np.float32)
    mouth = np.maximum(teeth, dark)
    share = np.linspace(0.0, 1.0, 33, dtype=np.float32)
    for number, (upper, lower) in enumerate(_LIP_PAIRS):
        way = landmarks[lower] - landmarks[upper]
        apart = float(np.linalg.norm(way)) / _interocular(landmarks)
        places = (landmarks[upper] + share[:, None] * way) * np.float32(size) - np.float32(0.5)
        seen = cv2.remap(mouth, places[None, :, 0], places[None, :, 1], cv2.INTER_LINEAR)[0] > 0.5
        if seen.any() and apart < _TONGUE_SHOWS:
            lip[number] = min(float(1.0 - share[np.flatnonzero(seen)[-1]]), _MOST_CUT) * apart
    return lip


def _with_lower_lip(landmarks: Array, lip: Array) -> Array:
    """Return landmarks [68, 2] whose lower inner lip is where the lower lip begins."""
    put = landmarks.copy()
    axis = (landmarks[45] - landmarks[36]).astype(np.float32)
    up = np.array([axis[1], -axis[0]], np.float32)
    for amount, gap, (_, lower) in zip(lip, _gaps(landmarks), _LIP_PAIRS, strict=True):
        if gap > 0.0:
            put[lower] += min(float(amount), _MOST_CUT * gap / _interocular(landmarks)) * up
    return put


def _teeth_colour(crop: Array, teeth: Array, light: Array, grey: bool) -> Array:
    """Return what teeth are like in full light [3]: some portraits show it."""
    seen = crop[teeth > 0.9]
    if len(seen) >= 20:
        brightness = seen.mean(axis=1)
        return np.asarray(np.median(seen[brightness >= np.quantile(brightness, 0.6)], axis=0), np.float32)
    return light * _neutral(_TEETH, grey)


def _neutral(colour: Array, grey: bool) -> Array:
    return np.full(3, colour.mean(), np.float32) if grey else colour


def _lit(colour: Array, light: Array, from_within: Array) -> Array:
    """Return a colour [3] in a light [h, w], and in what comes back from within the mouth where that is missing."""
    light = light[..., None]
    return np.asarray(colour * (light + (1.0 - light) * from_within), np.float32)


def _light(crop: Array, landmarks: Array) -> Array:
    """Skin says how bright the light is only if its own colour is known; eye-white does, where an eye is open."""
    size = len(crop)
    row, column = (int(np.clip(share * size, 0, size - 1)) for share in (landmarks[30, 1], landmarks[30, 0]))
    light = np.full(3, np.clip(crop[row, column].mean() / 0.75, 0.2, 1.0), np.float32)
    eyes = np.zeros((size, size), np.uint8)
    for start in (36, 42):
        cv2.fillPoly(eyes, [np.round(landmarks[start : start + 6] * size - 0.5).astype(np.int32)], 1)
    seen = crop[eyes > 0]
    if len(seen) >= 40:
        brightness = seen.mean(axis=1)
        whites = seen[brightness >= np.quantile(brightness, 0.8)].mean(axis=0) / _EYE_WHITE
        # Eye-white is bluer than teeth are, and mirrors the sky: only some of its hue is the light's, and little blue.
        hue = np.minimum(_LIGHT_HUE * (whites - whites.mean()), [np.inf, np.inf, _MOST_BLUE * whites.mean()])
        light = np.maximum(light, whites.mean() + hue)
    return np.asarray(np.clip(light, 0.2, 1.0), np.float32)


def _shown_inside(crop: Array, landmarks: Array) -> Array:
    """Return [s, s]: the inner lips' polygon, settled by colour, for a reader of landmarks cuts into teeth."""
    size = len(crop)
    whole = (slice(0, size), slice(0, size))
    distance = _interocular(landmarks) * size
    nothing = np.zeros((size, size), np.float32)
    if _gap(landmarks) < _SHOWS * _interocular(landmarks):
        return nothing
    polygon = _filled(inner_lips(landmarks) * size, whole)
    outer = _filled(landmarks[list(_OUTER)] * size, whole) > 0.5
    reach = max(1, round(0.03 * distance))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    core = (polygon > 0.5).astype(np.uint8)
    sure = cv2.erode(core, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))) > 0
    near = (cv2.dilate(core, kernel) > 0) & outer
    lips = cv2.dilate(outer.astype(np.uint8), kernel) > 0
    if not sure.any() or not (lips & ~near).any():
        return polygon
    labels = np.full((size, size), cv2.GC_BGD, np.uint8)
    labels[near] = cv2.GC_PR_BGD
    labels[core > 0] = cv2.GC_PR_FGD
    labels[sure] = cv2.GC_FGD
    rows, columns = np.nonzero(lips)
    box = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    part = np.ascontiguousarray(labels[box])
    picture = np.round(255.0 * np.clip(crop[box], 0.0, 1.0)).astype(np.uint8)
    # Its clustering draws random numbers: the same portrait must get the same mouth.
    cv2.setRNGSeed(0)
    cv2.grabCut(
        np.ascontiguousarray(picture), part, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK
    )
    cut = nothing
    cut[box] = np.isin(part, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(cut, (0, 0), max(0.6, 0.003 * size)), np.float32)


def _teeth(crop: Array, inside: Array, landmarks: Array, lips: Array) -> Array:
    """Return [s, s]: what of a mouth's inside is about as bright as `lips` [n, 3], or brighter, and less red."""
    size = len(crop)
    if not len(lips) or inside.max() < 0.5:
        return np.zeros_like(inside)
    lip = np.median(lips, axis=0)
    bright = _step(crop.mean(axis=-1) / max(float(lip.mean()), 0.02), 0.75, 1.0)
    paleness = (crop[..., 1] + crop[..., 2]) / (2.0 * crop[..., 0] + 1e-3) - (lip[1] + lip[2]) / (2 * lip[0] + 1e-3)
    # Where teeth are much paler than lips the border is between the two: lips shine, and are cut into by landmarks.
    seen = paleness[(inside > 0.5) & (bright > 0.5)]
    apart = 0.5 * float(np.quantile(seen, 0.8)) if len(seen) else 0.0
    pale = _step(paleness, max(-0.02, 0.7 * apart), max(0.05, 1.3 * apart))
    coloured = float(lip.max() - lip.min()) >= 0.02
    if not coloured:
        pale = _step(crop.mean(axis=-1) / max(float(lip.mean()), 0.02), 1.0, 1.25)
    teeth = inside * bright * pale
    # What is below the first row is a shine on the lower lip, or teeth that do not move with the skull.
    begun = np.maximum.accumulate(teeth > 0.5, axis=0)
    teeth[np.maximum.accumulate(begun & (teeth < 0.3), axis=0)] = 0.0
    # The shade between two teeth goes where they go.
    width = max(1, round(_SHADE * _interocular(landmarks) * size))
    whole = cv2.morphologyEx(teeth, cv2.MORPH_CLOSE, np.ones((width, 2 * width), np.uint8))
    teeth = cv2.max(teeth, cv2.min(whole, inside))
    teeth = cv2.GaussianBlur(teeth, (0, 0), max(0.6, 0.004 * size))
    unit = _interocular(landmarks)
    enough = float(_step(np.float32(teeth.sum() / (unit * size) ** 2), 0.008, 0.016))
    enough *= float(_step(np.float32(_gap(landmarks) / unit), *_TEETH_SHOW))
    found = paleness[teeth > 0.5]
    if coloured and len(found):
        enough *= float(_step(np.float32(np.median(found)), *_PALER))
    return np.asarray(enough * np.clip(1.6 * teeth, 0.0, 1.0), np.float32)


def draw_mouth(
    head: Array, crop: Array, mouth: PortraitMouth, source: Array, target: Array, place: Array | None = None
) -> None:
    """Draw the inside of a mouth that opens wider than the portrait's, in place.

    Args:
        head: [s, s, 3], the moved head; crop: [s, s, 3], the portrait; mouth: what it says of its mouth.
        source, target: landmarks [68, 2] in the unit square.
        place: [s, s, 2], where in the portrait, in pixels, the moved head's pixels come from.
    """
    size = len(head)
    source, target = (_with_lower_lip(landmarks, mouth.lip) for landmarks in (source, target))
    unit = _interocular(source) * size
    before, after = _gap(source) * size / unit, _gap(target) * size / unit
    grown = after - before
    strength = float(np.clip((grown - _GROWN_FROM) / (_GROWN_FULL - _GROWN_FROM), 0.0, 1.0))
    # The inside of a mouth that is open is better than any that is drawn, until it is stretched too far.
    stretched = _step(np.float32(after / max(before, 1e-6)), *_STRETCHED)
    stretched *= 1.0 - float(_step(np.float32(before), *_WIDE_OPEN))
    strength *= 1.0 - float(_step(np.float32(before), *_OPEN) * (1.0 - stretched))
    if strength == 0.0 or unit < 4.0:
        return
    outline = inner_lips(target) * size
    room = round(0.06 * unit) + 3
    low, high = np.floor(outline.min(axis=0)).astype(int) - room, np.ceil(outline.max(axis=0)).astype(int) + room
    rows, columns = slice(max(0, low[1]), min(size, high[1])), slice(max(0, low[0]), min(size, high[0]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    region = _filled(outline, (rows, columns))
    if place is not None:
        # The portrait's teeth that the lips' motion dragged along must go, too.
        from_x, from_y = (np.ascontiguousarray(place[rows, columns, axis], np.float32) for axis in (0, 1))
        region = np.maximum(region, cv2.remap(mouth.inside, from_x, from_y, cv2.INTER_LINEAR))
    region = cv2.GaussianBlur(region, (0, 0), max(0.6, 0.004 * size))
    y, x = np.mgrid[rows, columns].astype(np.float32) + np.float32(0.5)
    inside = _inside(crop, mouth, source * size, target * size, x, y, unit)
    # Lips shade what is behind them.
    shade = cv2.GaussianBlur(region, (0, 0), 0.035 * unit)
    inside *= np.clip(0.52 + 0.68 * shade, 0.0, 1.0)[..., None]
    area = head[rows, columns]
    area += (strength * region)[..., None] * (inside - area)


@dataclass(frozen=True, eq=False)
class _Teeth:
    """Where both rows of a frame are, in outer eye distances of a head seen from the front.

    Attributes:
        aside, below: [h, w], a pixel's place, from where the skull takes the middle of the portrait's upper lip.
        along: [h, w], the place along the arch that is seen there, and seen: [h, w], whether any is.
        cosine: of the head's yaw; taller: such a distance to the portrait's.
        upper, lower: where the upper row ends and the lower one begins, in the middle; lower_aside: its middle.
        lip: where the lower lip begins, in the middle.
        soft: half of what an edge's step takes.
    """

    aside: Array
    below: Array
    along: Array
    seen: Array
    cosine: float
    taller: float
    upper: float
    lower: float
    lower_aside: float
    lip: float
    soft: float


def _inside(crop: Array, mouth: PortraitMouth, source: Array, target: Array, x: Array, y: Array, unit: float) -> Array:
    """Return what is behind the lips at the pixels (x, y), [h, w, 3]; landmarks are in pixels."""
    skull, jaw = (
        sum(weight * (target[point] - source[point]) for point, weight in of.items()) for of in (_SKULL, _JAW)
    )
    lip = source[61:64].mean(axis=0)
    teeth = _placed_teeth(mouth, source, target, lip + skull, lip + jaw, x, y)
    dark = np.ones((*x.shape, 3), np.float32) * (mouth.light * _neutral(_DARK, mouth.grey))
    width = float(np.linalg.norm(target[64] - target[60])) / unit
    result = _with_tongue(dark, mouth, teeth, width)
    result = _with_lower_teeth(result, mouth, teeth, unit)
    result = _with_upper_teeth(result, mouth, teeth, unit)
    # Teeth that the portrait shows are better than any that are drawn.
    return _over(result, *_own_teeth(crop, mouth, source, target, lip + skull, x, y))


def _placed_teeth(
    mouth: PortraitMouth, source: Array, target: Array, upper: Array, lower: Array, x: Array, y: Array
) -> _Teeth:
    """Return where teeth are; skull and jaw take the middle of the portrait's upper lip to `upper` and `lower` [2]."""
    sine, cosine = _turn(target)
    axis = target[45] - target[36]
    unit = float(np.linalg.norm(axis)) / cosine
    aside, below = _frame(x, y, upper, axis, unit)
    places = np.stack([lower, target[66], target[60], target[64]])
    across, down = _frame(places[:, 0], places[:, 1], upper, axis, unit)
    # Lips wrap about the teeth: what is seen of those on the far side ends at the mouth's corner, not before it.
    furthest = max(float(across[3]), 1e-3) if sine > 0.0 else max(-float(across[2]), 1e-3)
    depth = min(_ARCH_DEPTH, cosine * cosine / (4.0 * abs(sine) * furthest + 1e-6))
    along, seen = _along_arch(aside, sine, cosine, depth)
    taller = float(np.linalg.norm(source[45] - source[36])) / unit
    dropped, lip = float(down[0]), float(down[1])
    bared = _BARED + float(np.clip(dropped / _DROPPED, 0.0, 1.0)) * (_BARED_OPEN - _BARED)
    return _Teeth(
        aside=aside,
        below=below,
        along=along,
        seen=seen,
        cosine=cosine,
        taller=taller,
        upper=float(mouth.rows[0]) * taller,
        lower=float(np.clip(float(mouth.rows[1]) * taller + dropped, lip - bared, lip - _LEAST_BARED)),
        lower_aside=float(np.clip(across[0], across[1] - _OFF_LIP, across[1] + _OFF_LIP)),
        lip=lip,
        soft=max(0.006, 0.7 / unit),
    )


def _with_tongue(result: Array, mouth: PortraitMouth, teeth: _Teeth, width: float) -> Array:
    """Return a mouth's inside [h, w, 3] with a tongue: a dome behind the lower teeth, darker towards the throat."""
    apart = max(0.0, teeth.lower - teeth.upper)
    aside, above = teeth.aside - teeth.lower_aside, teeth.lower - teeth.below
    rise, wide = max(_TONGUE_RISE * apart, 1e-3), max(_TONGUE_WIDTH * width, 1e-3)
    dome = 1.0 - (aside / wide) ** 2 - (np.maximum(above, 0.0) / rise) ** 2
    groove = 1.0 - 0.1 * np.exp(-((aside / 0.035) ** 2))
    lit = (0.3 + 0.7 * np.clip(dome, 0.0, 1.0)) * groove * (0.8 + 0.2 * _step(above, 0.0, 0.06))
    colour = mouth.light * _neutral(_TONGUE, mouth.grey)
    return _over(result, colour * lit[..., None], _step(dome, 0.0, 0.5) * _step(np.float32(apart), 0.04, 0.12))


def _with_lower_teeth(result: Array, mouth: PortraitMouth, teeth: _Teeth, unit: float) -> Array:
    """Return a mouth's inside [h, w, 3] with the lower teeth and their gum, in the jaw."""
    place = teeth.along - teeth.lower_aside
    scallop = 0.003 * np.cos(2.0 * np.pi * _tooth_phase(place / _LOWER_SIZE))
    under = teeth.below - (teeth.lower - _LOWER_RISE * place**2 + scallop)
    cover = teeth.seen * _step(under, -teeth.soft, teeth.soft) * _step(_LOWER_ARCH - np.abs(place), 0.0, 0.02)
    lit = 0.8 * _into_the_dark(place, _LOWER_ARCH)
    lit *= 1.0 - 0.2 * _between(place / _LOWER_SIZE, _BORDERS, unit * _LOWER_SIZE)
    # Their edges are thin, and where they enter the lip it shades them.
    lit *= (0.8 + 0.2 * _step(under, 0.0, 0.02)) * (1.0 - 0.5 * _step(teeth.below - teeth.lip, -0.01, 0.025))
    colour = _lit(mouth.teeth_colour, lit, _neutral(_FROM_WITHIN, mouth.grey))
    return _over(result, _over(colour, 0.8 * mouth.gums, _step(under, *_LOWER_GUM)), cover)


def _with_upper_teeth(result: Array, mouth: PortraitMouth, teeth: _Teeth, unit: float) -> Array:
    """Return a mouth's inside [h, w, 3] with the upper teeth; where the portrait shows its own, with what goes on."""
    along, soft = teeth.along, teeth.soft
    from_within = _neutral(_FROM_WITHIN, mouth.grey)
    scallop = 0.004 * np.cos(2.0 * np.pi * _tooth_phase(along))
    edge = _INCISORS - _ROW_BEND * along**2 - scallop
    on_arch = teeth.seen * _step(_ARCH - np.abs(along), 0.0, 0.02)
    lit = _into_the_dark(along, _ARCH) * (1.0 - 0.12 * _between(along, _BORDERS, unit))
    lit *= 0.76 + 0.24 * _step(teeth.below, -0.06, 0.03)
    has_own = float(_step(np.float32(mouth.teeth.sum() / unit**2), 0.004, 0.01))
    cover = on_arch * _step(edge - teeth.below, -soft, soft) * (1.0 - has_own)
    scale = 1.0 if not has_own else teeth.taller

    def row(lit: Array, edge: Array) -> Array:
        """Return teeth [h, w, 3] that end at `edge`, and above them their gum."""
        colour = _lit(mouth.teeth_colour, lit, from_within)
        # It comes down between teeth.
        gum = _step(edge + 2.0 * scallop * _into_the_dark(along, _ARCH) - scale * _TOOTH - teeth.below, 0.0, _GUM_SOFT)
        return _over(colour, lit[..., None] * mouth.gums, gum)

    result = _over(result, row(lit, edge), cover)
    if not has_own:
        return result
    # Below and beside its own, where its lips hid them, they go on: from where the middle ends to where the sides do.
    own_edge = np.zeros_like(along)
    inner = has_own * on_arch
    outer: list[tuple[Array, Array, Array]] = []
    for side, (end, bottom, bright) in zip((-1.0, 1.0), mouth.ends, strict=True):
        bend = _ROW_BEND * end**2
        below = float(np.clip(teeth.taller * bottom, teeth.upper - bend - _STEEPER, teeth.upper - bend))
        bent = teeth.upper - (teeth.upper - below) * np.minimum(np.abs(along) / max(end, _MIDDLE), 1.0) ** 2
        own_edge = np.where(side * along >= 0.0, bent, own_edge)
        beyond = _step(side * (teeth.aside - np.float32(teeth.cosine * end)), -0.01, 0.01)
        inner = inner * (1.0 - beyond)
        # Back teeth end in a straighter row than incisors.
        last = below + np.minimum(bend - _ROW_BEND * along**2, 0.0) - 0.4 * scallop
        # As bright as they end, and from there on into the dark.
        shown = bright * np.minimum(lit / _into_the_dark(np.atleast_1d(end), _ARCH)[0], 1.0)
        outer.append((shown, last, has_own * on_arch * beyond * _step(last - teeth.below, -soft, soft)))
    own_edge = own_edge - scallop
    inner = inner * _step(own_edge - teeth.below, -soft, soft)
    for shown, last, cover in ((lit, own_edge, inner), *outer):
        result = _over(result, row(shown, last), cover)
    return result


def _turn(landmarks: Array) -> tuple[float, float]:
    """Return sine and cosine of a head's yaw, as the nose's tip says it against the outer corners of the eyes."""
    axis = landmarks[45] - landmarks[36]
    off = landmarks[30] - 0.5 * (landmarks[36] + landmarks[45])
    tangent = float(np.clip(off @ axis / max(float(axis @ axis), 1e-12) / _NOSE_REACH, -_STEEPEST, _STEEPEST))
    cosine = 1.0 / float(np.hypot(1.0, tangent))
    return tangent * cosine, cosine


def _along_arch(u: Array, sine: float, cosine: float, depth: float) -> tuple[Array, Array]:
    """Return which place along the arch of teeth is seen at `u` to the side, and whether [h, w] any is.

    A tooth x to the side lies depth · x² behind the middle ones, and is seen at x cos ψ − depth · x² sin ψ.
    """
    bend = 4.0 * depth * sine
    root = cosine * cosine - bend * u
    # The smaller root, in the form that a bend of 0 does not trouble.
    x = 2.0 * u / (cosine + np.sqrt(np.maximum(root, 0.0)))
    return np.asarray(x, np.float32), _step(np.asarray(root, np.float32), 0.0, 0.35)


def _own_teeth(
    crop: Array, mouth: PortraitMouth, source: Array, target: Array, place: Array, x: Array, y: Array
) -> tuple[Array, Array]:
    """Return the portrait's teeth [h, w, 3], where the skull takes them, and how far they cover [h, w].

    Args:
        place: [2], where the skull takes what is behind the portrait's upper lip's inner edge.
    """
    axis_old, axis_new = source[45] - source[36], target[45] - target[36]
    width_old, width_new = float(np.linalg.norm(axis_old)) + 1e-6, float(np.linalg.norm(axis_new)) + 1e-6
    axis_old, axis_new = axis_old / width_old, axis_new / width_new
    down_old, down_new = np.array([-axis_old[1], axis_old[0]]), np.array([-axis_new[1], axis_new[0]])
    lip = source[61:64].mean(axis=0)
    along = ((x - place[0]) * axis_new[0] + (y - place[1]) * axis_new[1]) * (width_old / width_new)
    across = (x - place[0]) * down_new[0] + (y - place[1]) * down_new[1]
    from_x = (lip[0] + along * axis_old[0] + across * down_old[0] - 0.5).astype(np.float32)
    from_y = (lip[1] + along * axis_old[1] + across * down_old[1] - 0.5).astype(np.float32)
    # What the lip hid of them goes on as they begin.
    column = np.clip(np.rint(from_x), 0, len(crop) - 1).astype(np.int32)
    hidden = mouth.begin[column] - from_y
    gum = _step((mouth.gum[column] - from_y) / np.float32(width_old), 0.0, _GUM_SOFT)
    from_y = np.where((hidden > 0.0) & (hidden < _HIDDEN * width_old), mouth.begin[column], from_y)
    teeth = cv2.remap(crop, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    teeth = _over(teeth, mouth.gums, gum)
    cover = cv2.remap(mouth.teeth, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return teeth, cover


def _ends(crop: Array, teeth: Array, colour: Array, landmarks: Array) -> Array:
    """Return `PortraitMouth.ends`; zeros where it shows no teeth."""
    rows, columns = np.nonzero(teeth > 0.5)
    if not len(rows):
        return np.zeros((2, 3), np.float32)
    pixels = landmarks * np.float32(len(crop))
    unit = _interocular(landmarks) * len(crop)
    origin = pixels[61:64].mean(axis=0)
    along, below = _frame(columns + np.float32(0.5), rows + np.float32(0.5), origin, pixels[45] - pixels[36], unit)
    light = crop[rows, columns].mean(axis=-1) / max(float(colour.mean()), 0.02)
    found = []
    for side in (-1.0, 1.0):
        end = float(np.quantile(side * along, 0.99))
        near = side * along > end - _END
        found.append((side * end, np.quantile(below[near], 0.95), np.clip(np.median(light[near]), 0.2, 1.0)))
    return np.array(found, np.float32)


def _rows(teeth: Array, landmarks: Array, lip: Array) -> Array:
    """Return `PortraitMouth.rows`: where lips hide them, rows are taken to be where most people's are."""
    gap = _gap(_with_lower_lip(landmarks, lip)) / _interocular(landmarks)
    upper, lower = _INCISORS, max(0.0, gap - _ABOVE_LIP)
    rows, columns = np.nonzero(teeth > 0.5)
    if len(rows):
        pixels, unit = landmarks * np.float32(len(teeth)), _interocular(landmarks) * len(teeth)
        origin = pixels[61:64].mean(axis=0)
        along, below = _frame(columns + np.float32(0.5), rows + np.float32(0.5), origin, pixels[45] - pixels[36], unit)
        middle = np.abs(along) < _MIDDLE
        if middle.any():
            end = float(np.quantile(below[middle], 0.95))
            if gap - end < _JAW_OPEN:
                lower = max(0.0, end - _OVERBITE)
            # A lip that covers the rest of a row does not say where it ends.
            upper = max(end, _INCISORS if gap - end < _JAW_OPEN else 0.0)
    return np.array([upper, lower], np.float32)


def _beginnings(teeth: Array, unit: float) -> tuple[Array, Array]:
    """Return the rows [s] at which a column's teeth [s, s] begin, below the lip's shade, and their gum does.

    They are −inf where it has no teeth.
    """
    seen = teeth > 0.5
    has = seen.any(axis=0)
    first, last = seen.argmax(axis=0), len(teeth) - 1 - seen[::-1].argmax(axis=0)
    rows = np.minimum(first + _LIPS_SHADE * unit, 0.5 * (first + last))
    width = 2 * max(1, round(0.5 * _LEVEL * unit)) + 1
    share = cv2.blur(has.astype(np.float32)[None], (width, 1))[0]
    edge = cv2.blur(np.where(has, last, 0).astype(np.float32)[None], (width, 1))[0] / np.maximum(share, 1e-3)
    gum = np.minimum(edge - _TOOTH * unit, rows - _LEAST_HIDDEN * unit)
    begin, gums = (np.where(has, which, -np.inf).astype(np.float32) for which in (rows, gum))
    return begin, gums


def _frame(x: Array, y: Array, origin: Array, axis: Array, unit: float) -> tuple[Array, Array]:
    """Return pixels (x, y) along an axis and to its right (down, for an axis to the right), in `unit` pixels."""
    u, v = axis / (float(np.linalg.norm(axis)) + 1e-6)
    right, down = x - np.float32(origin[0]), y - np.float32(origin[1])
    return (right * u + down * v) / np.float32(unit), (down * u - right * v) / np.float32(unit)


def _into_the_dark(along: Array, arch: float) -> Array:
    """Return how bright [h, w] teeth are along an arch: cheeks shade the back ones, where a row ends is hardly seen."""
    share = np.minimum(np.abs(along) / np.float32(arch), 1.0)
    return np.asarray(1.0 - 0.5 * share**2 - 0.35 * share**8, np.float32)


def _between(along: Array, borders: Array, unit: float) -> Array:
    """Return [h, w]: 1 between two teeth, 0 on one."""
    width = max(0.006, 0.6 / unit)
    away = np.min(np.abs(np.abs(along)[..., None] - borders), axis=-1)
    return np.asarray(np.exp(-((away / width) ** 2)), np.float32)


def _tooth_phase(along: Array) -> Array:
    """Return [h, w], 0 at one border of a tooth and 1 at the other."""
    return np.asarray(np.interp(np.abs(along), _BORDERS, np.arange(len(_BORDERS))), np.float32) % np.float32(1.0)


def _step(value: Array | np.float32, low: float, high: float) -> Array:
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)


def _over(below: Array, above: Array, cover: Array) -> Array:
    return np.asarray(below + cover[..., None] * (above - below), np.float32)


def inner_lips(landmarks: Array) -> Array:
    """Return the inner lips' outline [n, 2] as two smooth curves from corner to corner; they meet where they cross."""
    lips = landmarks.copy()
    for (upper, lower), gap in zip(_LIP_PAIRS, _gaps(landmarks), strict=True):
        if gap < 0.0:
            lips[[upper, lower]] = 0.5 * (landmarks[upper] + landmarks[lower])
    return np.concatenate([_smooth(lips[list(_UPPER_INNER)])[:-1], _smooth(lips[list(_LOWER_INNER)])[:-1]])


def _smooth(points: Array, pieces: int = 6) -> Array:
    """Return a smooth curve through points [n, 2], [(n − 1)·pieces + 1, 2].

    Between them run cubics whose slope in a point is that of the parabola through it and its neighbours, and at an end
    through the first or the last three. A lip's middle points lie close together and far from its corners: by their
    order alone, without regard to how far apart they are, a wide open mouth would be drawn as a wedge.
    """
    steps = np.diff(points, axis=0)
    spans = np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), np.float32(1e-6))
    slopes = steps / spans
    inner = (slopes[:-1] * spans[1:] + slopes[1:] * spans[:-1]) / (spans[:-1] + spans[1:])
    turns = np.concatenate([2 * slopes[:1] - inner[:1], inner, 2 * slopes[-1:] - inner[-1:]])
    t = np.linspace(0.0, 1.0, pieces, endpoint=False, dtype=np.float32)[None, :, None]
    leave, arrive = turns[:-1, None] * spans[:, None], turns[1:, None] * spans[:, None]
    step = steps[:, None]
    curve = points[:-1, None] + t * (leave + t * (3 * step - 2 * leave - arrive + t * (leave + arrive - 2 * step)))
    return np.concatenate([curve.reshape(-1, 2), points[-1:]]).astype(np.float32)


def _filled(polygon: Array, patch: Patch) -> Array:
    rows, columns = patch
    area = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    points = np.round((polygon - np.array([columns.start, rows.start]) - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(area, [points], 255, cv2.LINE_AA, 4)
    return area.astype(np.float32) / np.float32(255)


def _gap(landmarks: Array) -> float:
    """Return how far the inner lips are apart; pressed lips cross, which opens nothing."""
    return float(np.maximum(_gaps(landmarks), 0.0).mean())


def _gaps(landmarks: Array) -> Array:
    """Return [3], how far each lower inner lip point is below its upper one, across the eyes' line."""
    axis = (landmarks[45] - landmarks[36]) / _interocular(landmarks)
    apart = np.stack([landmarks[lower] - landmarks[upper] for upper, lower in _LIP_PAIRS])
    return np.asarray(apart @ np.array([-axis[1], axis[0]]), np.float32)


def _interocular(landmarks: Array) -> float:
    return float(np.linalg.norm(landmarks[45] - landmarks[36])) + 1e-9
