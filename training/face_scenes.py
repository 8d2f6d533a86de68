# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenes for the face finder: heads of many sizes over busy backdrops, among things that are no faces."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from lpmm_runtime.crop import face_box
from training import augment, brushes
from training.face_cutouts import Cutout, cut_out, dress, take_face_away
from training.shard_columns import Columns
from training.synth.backdrops import sample_backdrop

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]

# Of the square's side: the longer side of face boxes.
SMALLEST_FACE, LARGEST_FACE = 0.06, 0.78
# Bars about a photo that is not square, as the runtime lays them.
BAR = 128
# A face counts from this share of it on that is seen; below, the finder may say what it likes.
SEEN_ENOUGH, SEEN_HARDLY = 0.65, 0.12

_BACKDROPS, _BACKDROP_SIDE = 300, 256


@dataclass(frozen=True)
class Scene:
    """A picture and its faces.

    Attributes:
        image: uint8 [s, s, 3].
        boxes: float32 [m, 4], left, top, right, bottom in the unit square; a face cut by the frame keeps its whole box.
        sure: [m], whether a face counts; the others are seen too little to count for or against.
    """

    image: Picture
    boxes: Array
    sure: NDArray[np.bool_]


class FaceScenes:
    """Composes scenes from heads in memory or in shards; the same generator gives the same scene.

    Args:
        groups: the arrays of group shards: images, alpha and landmarks are used.
        pictures: the arrays of face shards, whose faces stand in their own light and backdrop; None does without.
        size: side of the scenes, pixels.
        seed: of the backdrops, which are made once.
        backdrops: how many of them.
    """

    def __init__(
        self,
        groups: Columns,
        pictures: Columns | None = None,
        size: int = 192,
        seed: int = 0,
        backdrops: int = _BACKDROPS,
    ) -> None:
        self.size = size
        self._heads = groups["images"]
        self._alpha = groups["alpha"].reshape(self._heads.shape[:3])
        self._landmarks = groups["landmarks"].reshape(-1, landmarks68.COUNT, 2)
        self._pictures = pictures
        rng = np.random.default_rng([seed, 17])
        self._backdrops = [_busy(sample_backdrop(rng, _BACKDROP_SIDE), rng) for _ in range(backdrops)]

    def scene(self, rng: np.random.Generator) -> Scene:
        """Return a scene with any number of faces from none to five."""
        work = _Work(self._backdrop(rng), _content(self.size, rng))
        if self._pictures is not None and rng.random() < 0.25:
            self._lay_picture(work, rng)
        count = int(rng.choice(5, p=[0.14, 0.44, 0.24, 0.12, 0.06]))
        # Portraits are searched most: their sizes come most often.
        smallest, largest = (SMALLEST_FACE, LARGEST_FACE) if rng.random() < 0.6 else (0.15, 0.6)
        main = np.exp(rng.uniform(np.log(smallest), np.log(largest)))
        sizes = [main, *(main * np.exp(rng.normal(-0.2, 0.45, max(0, count - 1))))][:count]
        layers = [(float(np.clip(size, SMALLEST_FACE, LARGEST_FACE)), True) for size in sizes]
        if rng.random() < 0.45:
            others = np.exp(rng.uniform(np.log(0.08), np.log(0.7), int(rng.integers(1, 4))))
            layers += [(float(size), False) for size in others]
        for _ in range(int(rng.integers(0, 4)) if rng.random() < 0.5 else 0):
            _lay_blob(work, rng)
        for size, is_face in sorted(layers):
            self._lay_head(work, rng, size, is_face)
        if rng.random() < 0.15:
            _lay_blob(work, rng)
        return work.finished(rng)

    def _backdrop(self, rng: np.random.Generator) -> Picture:
        side = int(rng.uniform(0.3, 1.0) * _BACKDROP_SIDE)
        picture = self._backdrops[int(rng.integers(len(self._backdrops)))]
        left, top = rng.integers(0, _BACKDROP_SIDE - side + 1, 2)
        cut = picture[top : top + side, left : left + side]
        if rng.random() < 0.5:
            cut = cut[:, ::-1]
        if rng.random() < 0.3:
            cut = cut.transpose(1, 0, 2)
        if rng.random() < 0.25:
            cut = np.concatenate([cut, cut[:, ::-1]], axis=1)
            cut = np.concatenate([cut, cut[::-1]], axis=0)
        cut = np.ascontiguousarray(cut)
        image = np.asarray(cv2.resize(cut, (self.size, self.size), interpolation=cv2.INTER_AREA), np.uint8)
        if rng.random() < 0.4:
            self._patch(image, rng)
        if rng.random() < 0.2:
            # Faces before the night, or in a flash.
            image = (image * rng.uniform(0.05, 0.5)).astype(np.uint8)
        return image

    def _patch(self, image: Picture, rng: np.random.Generator) -> None:
        """Lay cloth, hair and other backdrops over it: pieces of pictures that hold no face."""
        side = self._heads.shape[1]
        for _ in range(int(rng.integers(1, 6))):
            row = int(rng.integers(len(self._heads)))
            extent = int(rng.uniform(0.12, 0.35) * side)
            left, top = (int(v) for v in rng.integers(0, side - extent, 2))
            points = self._landmarks[row] * side
            (low_x, low_y), (high_x, high_y) = points.min(axis=0), points.max(axis=0)
            if left < high_x and left + extent > low_x and top < high_y and top + extent > low_y:
                continue
            width, height = (int(v) for v in np.exp(rng.uniform(np.log(8), np.log(self.size), 2)))
            piece = cv2.resize(self._heads[row, top : top + extent, left : left + extent], (width, height))
            x, y = (int(v) for v in rng.integers(0, self.size, 2))
            room = image[y : y + height, x : x + width]
            room[:] = piece[: room.shape[0], : room.shape[1]]

    def _lay_picture(self, work: _Work, rng: np.random.Generator) -> None:
        """Fill the scene with a face picture, near enough to leave nothing beside it."""
        assert self._pictures is not None
        row = int(rng.integers(len(self._pictures["images"])))
        image, points = self._pictures["images"][row], self._pictures["landmarks"][row].astype(np.float32)
        if rng.random() < 0.5:
            image, points = augment.mirrored(image, points)
        side = image.shape[0]
        cutout = Cutout(image.astype(np.float32), np.ones((side, side), np.float32), points * side)
        left, top, right, bottom = work.content
        wide = max(right - left, bottom - top)
        scale = wide / side * rng.uniform(1.0, 1.9)
        slack = 0.5 * (scale * side - wide)
        centre = np.array([0.5 * (left + right), 0.5 * (top + bottom)]) + rng.uniform(-slack, slack, 2)
        work.lay(cutout, _similarity(np.full(2, 0.5 * side), centre, scale, 0.0), is_face=True)

    def _lay_head(self, work: _Work, rng: np.random.Generator, size: float, is_face: bool) -> None:
        row = int(rng.integers(len(self._heads)))
        image, alpha, points = self._heads[row], self._alpha[row], self._landmarks[row].astype(np.float32)
        box = np.array(face_box(points))
        wanted = round(1.5 * size * self.size / float((box[2:] - box[:2]).max()))
        if wanted < image.shape[0]:
            small = (max(wanted, 16),) * 2
            image, alpha = (
                np.asarray(cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), np.uint8)
                for pixels in (image, alpha)
            )
        cutout = cut_out(image, alpha, points, rng)
        cutout = dress(cutout, rng) if is_face else take_face_away(cutout, rng)
        box = np.array(face_box(cutout.landmarks))
        face = size * self.size
        left, top, right, bottom = work.content
        middle = np.array([0.5 * (left + right), 0.5 * (top + bottom)])
        inset = face * (rng.uniform(0.1, 0.5) if rng.random() < 0.2 else 0.5)
        low = np.minimum(np.array([left, top]) + inset, middle)
        high = np.maximum(np.array([right, bottom]) - inset, middle)
        for _ in range(6):
            centre = rng.uniform(low, high)
            if work.is_free(centre, face):
                break
        else:
            return
        scale = face / float((box[2:] - box[:2]).max())
        angle = float(np.clip(rng.normal(0, 9), -20, 20))
        work.lay(cutout, _similarity(0.5 * (box[:2] + box[2:]), centre, scale, angle), is_face)


class _Work:
    """A scene in the making: pixels, where faces are seen, and their boxes."""

    def __init__(self, image: Picture, content: tuple[int, int, int, int]) -> None:
        self.size = image.shape[0]
        self.content = content
        self._image = image.astype(np.float32)
        self._boxes: list[tuple[float, float, float, float]] = []
        self._landmarks: list[Array] = []
        self._areas: list[float] = []
        self._owner = np.full((self.size, self.size), -1, np.int8)

    def is_free(self, centre: NDArray, face: float) -> bool:
        """Return whether a face there would leave the others to be seen, more or less."""
        for left, top, right, bottom in self._boxes:
            reach = 0.42 * (face + max(right - left, bottom - top))
            if np.hypot(centre[0] - 0.5 * (left + right), centre[1] - 0.5 * (top + bottom)) < reach:
                return False
        return True

    def lay(self, cutout: Cutout, matrix: Array, is_face: bool) -> None:
        """Lay a cut-out over the scene by an affine map [2, 3] from its pixels to the scene's."""
        points = augment.apply_matrix(matrix, cutout.landmarks).astype(np.float32)
        pixels = matrix.astype(np.float64)
        # Pixel centres lie at +0.5 in both pictures.
        pixels[:, 2] += pixels[:, :2] @ np.array([0.5, 0.5]) - 0.5
        whole = (self.size, self.size)
        cover = np.asarray(cv2.warpAffine(cutout.alpha, pixels, whole), np.float32)
        laid = cv2.warpAffine(cutout.image, pixels, whole, borderMode=cv2.BORDER_REPLICATE)
        self.cover(np.asarray(laid, np.float32), cover)
        if is_face:
            hull = np.asarray(cv2.convexHull(np.concatenate([points, _forehead(points)])), np.float32)[:, 0]
            mask = np.zeros(whole, np.float32)
            brushes.polygon(mask, hull)
            self._owner[(mask > 0.5) & (cover > 0.5)] = len(self._boxes)
            self._boxes.append(face_box(points))
            self._landmarks.append(points)
            self._areas.append(float(cv2.contourArea(hull)))

    def cover(self, laid: Array, cover: Array) -> None:
        """Blend pixels float32 [s, s, 3] in by their coverage [s, s], hiding what lies below."""
        self._image = brushes.blend(self._image, laid, cover)
        self._owner[cover > 0.5] = -1

    def finished(self, rng: np.random.Generator) -> Scene:
        """Return the scene as a camera took it, between its bars."""
        left, top, right, bottom = self.content
        inside = self._owner[top:bottom, left:right]
        seen = np.array([np.count_nonzero(inside == face) for face in range(len(self._boxes))])
        share = seen / np.maximum(self._areas, 1.0)
        marks = np.zeros((landmarks68.COUNT, 2), np.float32)
        if self._landmarks:
            marks = self._landmarks[int(rng.integers(len(self._landmarks)))]
        image = augment.distort(self._image.clip(0, 255).astype(np.uint8), marks, rng)
        framed = np.full_like(image, BAR)
        framed[top:bottom, left:right] = image[top:bottom, left:right]
        boxes = np.array(self._boxes, np.float32).reshape(-1, 4) / self.size
        kept = share > SEEN_HARDLY
        return Scene(framed, boxes[kept], share[kept] >= SEEN_ENOUGH)


def _similarity(source: NDArray, target: NDArray, scale: float, degrees: float) -> Array:
    """Return the affine map [2, 3] that turns and scales about `source` and brings it to `target`."""
    angle = np.radians(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.concatenate([turn, (target - turn @ source)[:, None]], axis=1).astype(np.float32)


def _content(size: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Return where the photo lies in the square, left, top, right, bottom: in the middle, of some aspect."""
    width = height = 1.0
    if rng.random() < 0.7:
        aspect = float(rng.choice([0.5625, 0.6667, 0.75, 0.8, rng.uniform(0.5, 1.0)]))
        width, height = (aspect, 1.0) if rng.random() < 0.5 else (1.0, aspect)
    if rng.random() < 0.15:
        shrink = rng.uniform(0.5, 0.95)
        width, height = width * shrink, height * shrink
    left, top = round(0.5 * (1 - width) * size), round(0.5 * (1 - height) * size)
    return left, top, left + max(8, round(width * size)), top + max(8, round(height * size))


def _forehead(points: Array) -> Array:
    """Return the landmarks' brows [10, 2] raised to where the box ends, nearly."""
    height = points[:, 1].max() - points[:, 1].min()
    return points[landmarks68.REGIONS["brows"]] - np.array([0, 0.18 * height], np.float32)


def _lay_blob(work: _Work, rng: np.random.Generator) -> None:
    """Lay an oval, a limb or a board over the scene: of skin's colour as often as not, lit from one side."""
    size = work.size
    mask = np.zeros((size, size), np.float32)
    centre = rng.uniform(0, size, 2)
    length = np.exp(rng.uniform(np.log(0.04), np.log(0.4))) * size
    kind = rng.random()
    if kind < 0.5:
        brushes.ellipse(mask, centre, (length * rng.uniform(0.4, 0.8), 0.6 * length), float(rng.uniform(0, 180)))
    elif kind < 0.75:
        brushes.stroke(mask, centre, centre + rng.normal(0, length, 2), max(2.0, length * rng.uniform(0.15, 0.4)))
    else:
        corners = cv2.boxPoints((tuple(centre), (length, length * rng.uniform(0.2, 1.5)), float(rng.uniform(0, 180))))
        brushes.polygon(mask, corners)
    if rng.random() < 0.4:
        mask = brushes.blurred(mask, rng.uniform(0.5, 3))
    colour = brushes.tint(brushes.SKIN_COLOURS, rng) if rng.random() < 0.6 else rng.random(3) * 255
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) - centre[::-1, None, None].astype(np.float32)
    slope = (rng.normal(0, 0.5, 2) / length).astype(np.float32)
    light = 1 + np.clip(x * slope[0] + y * slope[1], -0.7, 0.7)
    fill = np.asarray(colour, np.float32) * light[..., None] + brushes.streaks(mask.shape, rng, rng.uniform(0, 15))
    work.cover(fill.clip(0, 255).astype(np.float32), mask)


def _busy(image: Picture, rng: np.random.Generator) -> Picture:
    """Return a backdrop with more of what rooms, streets and gardens hold: stripes, leaves, lettering, lamps."""
    size = image.shape[0]
    values = image.astype(np.float32)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    for _ in range(int(rng.integers(0, 4))):
        left, top = rng.integers(-size // 4, size, 2)
        right, bottom = (np.array([left, top]) + rng.integers(size // 8, size, 2)).tolist()
        area = np.s_[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
        angle, wave = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(4), np.log(60)))
        pattern = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / wave))
        if rng.random() < 0.4:
            pattern *= np.sin((y * np.cos(angle) - x * np.sin(angle)) * (2 * np.pi / wave))
        if rng.random() < 0.5:
            pattern = np.sign(pattern)
        values[area] += (pattern[..., None] * rng.normal(0, 35, 3))[area]
    if rng.random() < 0.35:
        cells = int(rng.integers(24, 128))
        leaves = np.asarray(cv2.resize(rng.normal(0, 1, (cells, cells)), (size, size)), np.float32)
        values += np.maximum(leaves, 0)[..., None] * rng.normal(0, 45, 3).astype(np.float32)
    for _ in range(int(rng.integers(0, 5)) if rng.random() < 0.4 else 0):
        text = "".join(chr(int(c)) for c in rng.integers(48, 123, int(rng.integers(2, 9))))
        where, colour = [int(v) for v in rng.integers(0, size, 2)], [float(v) for v in rng.random(3) * 255]
        font, scale = int(rng.integers(0, 8)), float(rng.uniform(0.4, 3))
        cv2.putText(values, text, where, font, scale, colour, int(rng.integers(1, 6)), cv2.LINE_AA)
    for _ in range(int(rng.integers(1, 12)) if rng.random() < 0.3 else 0):
        where, colour = [int(v) for v in rng.integers(0, size, 2)], [float(v) for v in rng.uniform(150, 255, 3)]
        cv2.circle(values, where, int(rng.integers(2, 16)), colour, -1, cv2.LINE_AA)
    if rng.random() < 0.3:
        values = brushes.blurred(values, rng.uniform(0.5, 3))
    return values.clip(0, 255).astype(np.uint8)
