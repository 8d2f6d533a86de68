# SPDX-License-Identifier: GPL-3.0-or-later
"""The background behind a head, made up once a portrait: patches of what the photo shows around the head.

A place behind the head gets the neighbourhood of a visible place such that all patches that overlap it agree, from
coarse to fine (Wexler, Shechtman, Irani, "Space-Time Completion of Video", 2007); which place that is a randomised
search finds (Barnes et al., "PatchMatch", 2009). What is kept is where each place comes from, so a plate of any size is
made of the photo's own pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.backbones.pixel_maps import pixels
from lpmm_runtime.portrait import resize

Array = NDArray[np.float32]
Places = NDArray[np.int64]
Mask = NDArray[np.bool_]

# The matte is grown by this share of the side before the background behind it is made up, so that no hair is left.
_MARGIN = 0.025
_SIDES, _ROUNDS = (32, 64, 128), (6, 4, 2)
_REACH = 3
_SEARCHES = 2
# What a source's distance (in sides, squared) costs in squared colour: near ones first, and clothes do not climb.
_FAR, _FROM_BELOW = 5.0, 5.0
# What it costs that other places have taken a source, each: one that is taken again and again is drawn out to a line.
_OFTEN = 0.2
# As far as this share of the side behind what is seen its colours are spread.
_BESIDE = 0.022
# As far as this share of the side a matte errs about the head's edge.
_EDGE = 0.012
# A coarse pixel counts as wholly seen once one part in so many of it is.
_NEAR_FIRST = 4.0
# Places deep behind the head, in pixels, say less about what their neighbours should be.
_DEPTH_FALL = 0.35


def uncovered(alpha: Array, unit: float = 1.0) -> Array:
    """Return [s, s]: 1 where only background is seen of a head with matte `alpha` [s, s], 0 behind and close to it.

    Args:
        unit: the aligned crop's side, as a share of the picture's: below 1 for a picture of more than the crop.
    """
    reach = max(1, round(_MARGIN * unit * len(alpha)))
    covered = cv2.dilate(alpha, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)))
    return np.clip(1.0 - covered / 0.5, 0.0, 1.0).astype(np.float32)


def background_sources(crop: Array, alpha: Array, unit: float = 1.0, photo: Array | None = None) -> Array | None:
    """Return how far away, x then y, each place's background is found [128 / unit, …, 2], in sides; None if nowhere.

    Args:
        crop: [s, s, 3] in [0, 1]; alpha: [m, m], the head's matte; unit: see `uncovered`; photo: [s, s], 0 where the
            picture is beyond the photo and shows nothing new.
    """
    sides = [round(_SIDES[0] / unit) * (side // _SIDES[0]) for side in _SIDES]
    side = sides[-1]
    crop, alpha = resize(crop, side, side), resize(alpha, side, side)
    photo = np.ones_like(alpha) if photo is None else resize(photo, side, side)
    bare = uncovered(alpha, unit)
    hidden = (bare < 1.0).astype(np.uint8)
    picture = spread(crop, bare * (photo > 0.5))
    rng = np.random.default_rng(0)
    found: _Matches | None = None
    for size, rounds in zip(sides, _ROUNDS, strict=True):
        # A place is hidden as soon as a part of it is.
        hole = cv2.resize(hidden * np.float32(1), (size, size), interpolation=cv2.INTER_AREA) > 0
        beyond = cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA) < 0.999
        filled = resize(picture, size, size)
        picture = np.where((hole | beyond)[..., None], filled, resize(crop, size, size)).astype(np.float32)
        # A head that fills the crop leaves no whole patch on coarse scales.
        found = _Matches.between(hole, beyond, rng, found, unit)
        if found is not None:
            for _ in range(rounds):
                picture = found.improve(picture, hole, rng)
    return found.offsets() / np.float32(side) if found else None


def background_plate(
    crop: Array, alpha: Array, sources: Array | None = None, unit: float = 1.0, photo: Array | None = None
) -> Array:
    """Return the background [s, s, 3]: the crop's own outside the head, behind it what `sources` point to.

    Args:
        crop: [s, s, 3] in [0, 1]; alpha: [s, s], the head's matte; sources: `background_sources` of the portrait, or
            None: the colours around, spread; unit: see `uncovered`; photo: see `background_sources`.
    """
    bare = uncovered(alpha, unit)
    seen = bare if photo is None else bare * (photo > 0.5)
    if sources is None:
        return np.clip(spread(crop, seen), 0.0, 1.0)
    size = len(crop)
    # Patches reach over what is seen, too.
    around = np.abs(sources).max(axis=-1) > 0.0
    around = cv2.resize(around.astype(np.float32), (size, size), interpolation=cv2.INTER_NEAREST)
    made_up = _made_up(crop, cv2.max(around, 1.0 - bare), sources)
    # Patches are like what is next to the head, not the same: they take its light (Perez et al., "Poisson Image
    # Editing", 2003, by coarser scales instead of a solver).
    made_up += spread(crop - made_up, seen * around)
    # Right beside what is seen its colours go on, whatever the patches say: a matte's soft edge shows little more.
    hidden = cv2.distanceTransform((seen < 1.0).astype(np.uint8), cv2.DIST_L2, 5) / np.float32(_BESIDE * unit * size)
    beside = np.clip(1.0 - hidden, 0.0, 1.0)[..., None]
    made_up += beside * (spread(crop, seen) - made_up)
    return np.clip(crop + (1.0 - seen[..., None]) * (made_up - crop), 0.0, 1.0).astype(np.float32)


def _made_up(crop: Array, hole: Array, sources: Array) -> Array:
    """Return the crop [s, s, 3], and around its `hole` [s, s] the mean of all patches that cover a place.

    None of them ends at once: their words count less toward their ends, and there are neither seams nor blocks.
    """
    size, side = len(crop), len(sources)
    left, top, width, height = cv2.boundingRect((hole > 0.0).astype(np.uint8))
    if not width:
        return crop.copy()
    rows, columns = slice(top, top + height), slice(left, left + width)
    row = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(side / size)
    middle = np.floor(row + np.float32(0.5)).astype(np.int64)

    def patches(step: int) -> tuple[Places, Array]:
        """Return the patches that are so many before the nearest, and what their words count, along one side [s]."""
        away = row - np.float32(0.5) - (middle - step)
        word = np.cos(0.5 * np.pi / _REACH * away) ** 2 / _REACH
        return np.clip(middle - step, 0, side - 1), word.astype(np.float32)

    steps = [patches(step) for step in range(1 - _REACH, 1 + _REACH)]
    total = np.zeros((height, width, 3), np.float32)
    ways = sources * np.float32(size)
    here = pixels(size)[rows, columns]
    for across, right in steps:
        strip = np.zeros_like(total)
        wide = ways[:, across[columns]]
        for down, word in steps:
            place = cv2.add(here, wide[down[rows]])
            shown = cv2.remap(crop, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            cv2.accumulateProduct(shown, _everywhere(word[rows, None], shown), strip)
        cv2.accumulateProduct(strip, _everywhere(right[None, columns], strip), total)
    made_up = crop.copy()
    made_up[rows, columns] = total
    return made_up


def _everywhere(words: Array, picture: Array) -> Array:
    return np.ascontiguousarray(np.broadcast_to(words[..., None], picture.shape))


def head_colours(crop: Array, alpha: Array, unit: float = 1.0) -> Array:
    """Return the crop [s, s, 3] with the head's colours going on beyond its edge, so that no background moves with it.

    An edge pixel stays as it is where it is nearer to the head's colours further in than to the background's further
    out: hair does, a matte's error does not.

    Args:
        crop: [s, s, 3] in [0, 1]; alpha: [s, s], the head's matte; unit: see `uncovered`.
    """
    reach = max(1, round(_EDGE * unit * len(crop)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    inner, outer = cv2.erode(alpha, kernel), 1.0 - cv2.dilate(alpha, kernel)
    if inner.max() < 1.0 or outer.max() < 1.0:
        return crop
    head, behind = spread(crop, inner), spread(crop, np.asarray(outer, np.float32))
    way = head - behind
    share = ((crop - behind) * way).sum(axis=-1) / np.maximum((way * way).sum(axis=-1), 1e-3)
    own = np.clip((share - 0.3) / 0.4, 0.0, 1.0) * np.clip(2.0 * alpha - 1.0, 0.0, 1.0)
    kept = np.maximum(inner, own)[..., None]
    return np.clip(crop + (1.0 - kept) * (head - crop), 0.0, 1.0).astype(np.float32)


def spread(picture: Array, seen: Array) -> Array:
    """Return the picture [s, s, c] where it is `seen` [s, s], and elsewhere what coarser scales show, near ones first.

    A coarse pixel that is seen in part shows that part alone: else what is far away would tint what is next to it.
    """
    colours, weights = [picture * seen[..., None]], [seen]
    while min(weights[-1].shape) > 2:
        height, width = (max(1, edge // 2) for edge in weights[-1].shape)
        colour = cv2.resize(colours[-1], (width, height), interpolation=cv2.INTER_AREA)
        weight = cv2.resize(weights[-1], (width, height), interpolation=cv2.INTER_AREA)
        gain = np.minimum(_NEAR_FIRST, 1.0 / np.maximum(weight, 1e-6))
        colours.append(colour * gain[..., None])
        weights.append(weight * gain)
    filled = colours[-1] / np.maximum(weights[-1], 1e-4)[..., None]
    for colour, share in zip(reversed(colours[:-1]), reversed(weights[:-1]), strict=True):
        height, width = share.shape
        coarse = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
        filled = colour + (1.0 - share[..., None]) * coarse
    return np.asarray(filled, np.float32)


@dataclass(eq=False)
class _Matches:
    """Which visible place each place whose patch is partly hidden is like; places are (row, column).

    Attributes:
        side: of the picture, pixels.
        places: [n, 2], where patches are partly hidden; number: [s, s], their rows in `places`, −1 elsewhere.
        sources: [m, 2], where patches are all visible; source_number: [s, s], likewise.
        best: [n], rows of `sources`.
        weight: [n], what a place's word counts.
        unit: see `uncovered`.
    """

    side: int
    places: Places
    number: Places
    sources: Places
    source_number: Places
    best: Places
    weight: Array
    unit: float

    @classmethod
    def between(
        cls, hole: Mask, beyond: Mask, rng: np.random.Generator, coarser: "_Matches | None", unit: float
    ) -> "_Matches | None":
        """Return matches for a `hole` [s, s], random ones or those of half the side; None if nothing is visible.

        What is `beyond` [s, s] the photo is no source.
        """
        side = len(hole)
        near, unknown = (
            cv2.dilate(mask.astype(np.uint8), np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)) > 0
            for mask in (hole, hole | beyond)
        )
        whole = np.zeros_like(near)
        whole[_REACH:-_REACH, _REACH:-_REACH] = True
        places, sources = np.argwhere(near & whole), np.argwhere(~unknown & whole)
        if not len(sources) or not len(places):
            return None
        best = rng.integers(len(sources), size=len(places))
        source_number = _numbered(sources, side)
        if coarser is not None:
            offsets = np.repeat(np.repeat(coarser._pixel_offsets(), 2, axis=0), 2, axis=1)
            known = _looked_up(source_number, places + 2 * offsets[tuple(places.T)])
            best = np.where(known >= 0, known, best)
        depth = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5)[tuple(places.T)]
        weight = np.exp(-_DEPTH_FALL * depth) + 1e-3
        numbers = _numbered(places, side), source_number
        return cls(side, places, numbers[0], sources, numbers[1], best, weight.astype(np.float32), unit)

    def improve(self, picture: Array, hole: Mask, rng: np.random.Generator) -> Array:
        """Search for better matches, and return the picture [s, s, 3] with its hole painted by them."""
        wanted, offered = _patches(picture, self.places), _patches(picture, self.sources)
        used = _OFTEN * np.bincount(self.best, minlength=len(self.sources)).astype(np.float32)
        cost = self._cost(wanted, offered, np.arange(len(self.places)), self.best) + used[self.best]

        def consider(candidate: Places) -> None:
            rows = np.flatnonzero(candidate >= 0)
            price = self._cost(wanted, offered, rows, candidate[rows]) + used[candidate[rows]]
            better = price < cost[rows]
            self.best[rows[better]], cost[rows[better]] = candidate[rows[better]], price[better]

        for search in range(_SEARCHES):
            for step in (1, 2) if search else (1, 4):
                for way in ((0, step), (step, 0), (0, -step), (-step, 0)):
                    neighbour = _looked_up(self.number, self.places - way)
                    theirs = _looked_up(self.source_number, self.sources[self.best[neighbour]] + way)
                    consider(np.where(neighbour >= 0, theirs, -1))
            radius = self.side / 2
            while radius >= 1.0:
                jump = np.round(rng.uniform(-radius, radius, self.places.shape)).astype(np.int64)
                consider(_looked_up(self.source_number, self.sources[self.best] + jump))
                radius /= 2
        unlike = ((wanted - offered[self.best]) ** 2).sum(axis=1)
        return self._painted(picture, hole, np.exp(-unlike / (np.quantile(unlike, 0.75) + 1e-6)) * self.weight)

    def offsets(self) -> Array:
        """Return the way from each place to its source [s, s, 2], x then y, pixels."""
        return np.ascontiguousarray(self._pixel_offsets()[..., ::-1], np.float32)

    def _pixel_offsets(self) -> Places:
        offsets = np.zeros((self.side, self.side, 2), np.int64)
        offsets[tuple(self.places.T)] = self.sources[self.best] - self.places
        # No patch is centred at the very edge: what is there goes with its neighbours.
        inner = offsets[_REACH:-_REACH, _REACH:-_REACH]
        return np.pad(inner, ((_REACH, _REACH), (_REACH, _REACH), (0, 0)), mode="edge")

    def _cost(self, wanted: Array, offered: Array, rows: Places, candidate: Places) -> Array:
        way = (self.sources[candidate] - self.places[rows]) / (self.unit * self.side)
        far = _FAR * (way**2).sum(axis=1) + _FROM_BELOW * np.maximum(way[:, 0], 0.0) ** 2
        unlike = ((wanted[rows] - offered[candidate]) ** 2).sum(axis=1)
        return np.asarray(unlike + far * wanted.shape[1], np.float32)

    def _painted(self, picture: Array, hole: Mask, weight: Array) -> Array:
        total, weights = np.zeros_like(picture), np.zeros(picture.shape[:2], np.float32)
        rows, columns = self.places.T
        from_rows, from_columns = self.sources[self.best].T
        for down in range(-_REACH, _REACH + 1):
            for right in range(-_REACH, _REACH + 1):
                here = (rows + down, columns + right)
                total[here] += weight[:, None] * picture[from_rows + down, from_columns + right]
                weights[here] += weight
        painted = total / np.maximum(weights, 1e-9)[..., None]
        return np.where((hole & (weights > 0.0))[..., None], painted, picture).astype(np.float32)


def _numbered(places: Places, side: int) -> Places:
    numbers = np.full((side, side), -1, np.int64)
    numbers[tuple(places.T)] = np.arange(len(places))
    return numbers


def _looked_up(numbers: Places, places: Places) -> Places:
    """Return the numbers [n] at places [n, 2], −1 for those outside."""
    inside = ((places >= 0) & (places < len(numbers))).all(axis=1)
    rows, columns = np.clip(places, 0, len(numbers) - 1).T
    return np.where(inside, numbers[rows, columns], -1)


def _patches(picture: Array, places: Places) -> Array:
    """Return the patches around places [n, 2] as rows of numbers."""
    side = 2 * _REACH + 1
    windows = np.lib.stride_tricks.sliding_window_view(picture, (side, side), axis=(0, 1))  # type: ignore[call-overload]
    rows, columns = (places - _REACH).T
    return np.ascontiguousarray(windows[rows, columns].reshape(len(places), -1))
