# SPDX-License-Identifier: GPL-3.0-or-later
"""Face finding: letterbox, find, suppress, then align, read and re-crop until the crop stays."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.crop import CropSquare, face_box, square_of_box, square_of_landmarks
from lpmm_runtime.errors import BoxError, NoFaceError
from lpmm_runtime.landmarks68 import COUNT, OUTER_EYE_CORNERS, irises_of
from lpmm_runtime.onnx_sessions import OnnxSessions
from lpmm_runtime.portrait import as_batch, crop_at, cut_square, resize, whole_square

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]

# A finding counts from this score on; below SURE_SCORE closer and wider views are searched too.
FACE_SCORE = 0.5
SURE_SCORE = 0.8
SUPPRESS_IOU = 0.35
# The photo is searched at most at this long side; a face that matters is large enough in it.
SEARCH_SIDE = 1280
REFINEMENTS = 4
# The crop stays when centre and side move by less than this share of the side.
SETTLED = 0.01
# A reading that leaves the finding it started from was no face.
KEPT_IOU = 0.2
# Standard normal params are √k long, give or take 0.7 whatever k, those of photographs shorter: few faces are longer.
_LONGER = 1.0
# A face is read anew in boxes that are off by so much of their size, left and right, up and down.
_NUDGE = 0.1
# How much of its box's size is left about a face that is read alone, and above it for hair.
_ALONE, _ABOVE = 0.15, 0.4
# A finding may be a part of a face: it is read in boxes so many times as large, and what is read must hold so much of
# it.
_WIDER, _HELD = (1.6, 2.2), 0.6


@dataclass(frozen=True)
class Finding:
    """A face box (left, top, right, bottom) in photo pixels, and its score in [0, 1]."""

    box: Box
    score: float


@dataclass(frozen=True, eq=False)
class FaceReading:
    """What the LP-regressor read in a settled crop.

    Attributes:
        square: the crop, whole pixels.
        params: [k] float32, standard deviations.
        landmarks: [68, 2] float32, photo pixels (pixel centres at +0.5).
        box: the face box of the landmarks, photo pixels.
        irises: [2, 2] float32, likewise, the picture's left one first; None where the bundle's scheme has none.
    """

    square: CropSquare
    params: Array
    landmarks: Array
    box: Box
    irises: Array | None = None

    @property
    def length(self) -> float:
        """How long the params are, in standard deviations."""
        return float(np.linalg.norm(self.params))

    @property
    def likely(self) -> bool:
        """Whether a face has such params."""
        return self.length <= math.sqrt(len(self.params)) + _LONGER


def read_face(sessions: OnnxSessions, photo: Pixels, box: Box | None = None, name: str = "photo") -> FaceReading:
    """Find the main face of a photo, or take the box given, and read it.

    Args:
        photo: [H, W, 3] uint8 RGB.
        box: a face box in photo pixels, forehead to chin; None searches.
        name: the photo's name, for errors.

    Raises:
        NoFaceError: if the search finds none.
        BoxError: if the box given is empty or outside the photo.
    """
    if box is not None:
        given = _checked_box(box, photo, name)
        reading = read_box(sessions, photo, given)
        # Whoever gave the box knows better than a reading that leaves it.
        held = reading is not None and iou(reading.box, given) >= KEPT_IOU
        return reading if reading and held else refine(sessions, photo, given, steps=0)
    doubtful = []
    for finding in find_faces(sessions, photo):
        reading = read_box(sessions, photo, finding.box)
        if reading is None or not is_face(sessions, photo, reading):
            continue
        if reading.likely:
            return reading
        doubtful.append(reading)
    if doubtful:
        return min(doubtful, key=lambda read: read.length)
    raise NoFaceError(f"{name}: no face found; if there is one, give its box by hand")


def find_faces(sessions: OnnxSessions, photo: Pixels) -> list[Finding]:
    """Return the faces of a photo [H, W, 3] uint8 RGB, the main one (large and sure) first."""
    height, width = photo.shape[:2]
    scale = min(1.0, SEARCH_SIDE / max(height, width))
    searched = resize(photo, max(1, round(width * scale)), max(1, round(height * scale)))
    findings = _find_in(sessions, searched, [_whole_view(searched)])
    if not findings or max(finding.score for finding in findings) < SURE_SCORE:
        findings = suppress([*findings, *_find_in(sessions, searched, _other_views(searched))])
    factors = (width / searched.shape[1], height / searched.shape[0])
    return [Finding(_scaled(f.box, factors), f.score) for f in main_first(findings)]


def read_box(sessions: OnnxSessions, photo: Pixels, box: Box) -> FaceReading | None:
    """Read the face in a box (left, top, right, bottom; photo pixels); None where every reading leaves the box.

    Of two heads that touch, eyes may be read off one and a mouth off the other, and some boxes hold but a part of a
    face: params longer than most faces'. Then the box is read anew, first with what is about it painted over, then in
    wider views; if no reading is likely, the first that holds the box is taken.
    """
    first = None
    for times, alone in ((1.0, False), (1.0, True), *((wider, False) for wider in _WIDER)):
        start = _wider(box, times)
        reading = refine(sessions, _alone(photo, start) if alone else photo, start)
        if iou(reading.box, start) >= KEPT_IOU and (times == 1.0 or _shared(reading.box, box) >= _HELD * _area(box)):
            if reading.likely:
                return reading
            first = first or reading
    return first


def is_face(sessions: OnnxSessions, photo: Pixels, reading: FaceReading) -> bool:
    """Return whether readings from elsewhere agree with each other, as those of a face do: of a cup each is another.

    How far they may differ the bundle says (`reading_spread`); True if it does not.
    """
    limit = sessions.bundle.reading_spread
    return limit is None or reading_spread(sessions, photo, reading.box) <= limit


def reading_spread(sessions: OnnxSessions, photo: Pixels, box: Box) -> float:
    """Return how far single readings from four boxes about `box` lie from their mean, in outer eye distances."""
    left, top, right, bottom = box
    aside, down = _NUDGE * (right - left), _NUDGE * (bottom - top)
    ways = ((aside, 0.0), (-aside, 0.0), (0.0, down), (0.0, -down))
    nudged = [(left + x, top + y, right + x, bottom + y) for x, y in ways]
    read = np.stack([refine(sessions, photo, start, steps=0).landmarks for start in nudged]).astype(np.float64)
    middle = read.mean(axis=0)
    a, b = OUTER_EYE_CORNERS
    off = np.linalg.norm(read - middle, axis=-1).mean()
    return float(off / max(float(np.linalg.norm(middle[a] - middle[b])), 1e-6))


def refine(sessions: OnnxSessions, photo: Pixels, box: Box, steps: int = REFINEMENTS) -> FaceReading:
    """Align a crop on a box, read it, and re-crop by what was read until the crop stays, at most `steps` times."""
    side = sessions.image_side("lp_regressor")
    model = sessions.bundle.rig.model
    square = whole_square(square_of_box(box))
    for step in range(steps + 1):
        image = as_batch(crop_at(photo, square, side))
        answer = sessions.run("lp_regressor", {"image": image})
        params = answer["params"][0]
        unit = model.landmarks(params).astype(np.float64)
        if "alignment" in answer:
            unit = placed(unit, answer["alignment"][0])
        points = square.to_picture(unit)
        landmarks = points[:COUNT]
        wanted = square_of_landmarks(landmarks)
        moved = max(abs(wanted.x - square.x), abs(wanted.y - square.y), abs(wanted.side - square.side))
        following = whole_square(wanted)
        if moved < SETTLED * square.side or following == square or step == steps or wanted.side < 8:
            break
        square = following
    points = points.astype(np.float32)
    return FaceReading(square, params, points[:COUNT], face_box(landmarks), irises_of(points))


def placed(landmarks: NDArray[np.floating], alignment: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return aligned landmarks [n, 2] where they lie in a crop that is not quite aligned, in its unit square.

    Args:
        alignment: [3], the aligned square in the crop: shift x and y in crop sides, log of its side.
    """
    return (landmarks - 0.5) * np.exp(alignment[2]) + 0.5 + alignment[:2]


def suppress(findings: list[Finding]) -> list[Finding]:
    """Return the findings, surest first, without those that overlap a surer one."""
    kept: list[Finding] = []
    for finding in sorted(findings, key=lambda f: f.score, reverse=True):
        if all(iou(finding.box, other.box) < SUPPRESS_IOU for other in kept):
            kept.append(finding)
    return kept


def main_first(findings: list[Finding]) -> list[Finding]:
    """Return the findings by score times size: a portrait's face is sure and large, a bystander's is small."""
    return sorted(findings, key=lambda f: f.score * math.sqrt(_area(f.box)), reverse=True)


def iou(first: Box, second: Box) -> float:
    """Return the intersection over union of two boxes."""
    shared = _shared(first, second)
    return shared / (_area(first) + _area(second) - shared) if shared else 0.0


def _shared(first: Box, second: Box) -> float:
    """Return the area that two boxes share."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0.0) * max(height, 0.0)


def _wider(box: Box, times: float) -> Box:
    left, top, right, bottom = box
    aside, up = 0.5 * (times - 1.0) * (right - left), 0.5 * (times - 1.0) * (bottom - top)
    return left - aside, top - up, right + aside, bottom + up


def _alone(photo: Pixels, box: Box) -> Pixels:
    """Return a photo [H, W, 3] with what is around a box in one colour, the mean of what is left."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    rows = slice(max(0, int(top - _ABOVE * height)), max(1, int(bottom + _ALONE * height)))
    columns = slice(max(0, int(left - _ALONE * width)), max(1, int(right + _ALONE * width)))
    kept = photo[rows, columns]
    painted = np.empty_like(photo)
    painted[:] = kept.mean(axis=(0, 1)) if kept.size else 128
    painted[rows, columns] = kept
    return painted


def _find_in(sessions: OnnxSessions, photo: Pixels, views: list[CropSquare]) -> list[Finding]:
    side = sessions.image_side("face_finder")
    found = []
    for view in views:
        image = resize(cut_square(photo, view, border=128), side, side)
        answer = sessions.run("face_finder", {"image": as_batch(np.asarray(image, np.float32) / np.float32(255))})
        boxes, scores = answer["boxes"][0].astype(np.float64), answer["scores"][0]
        for row in np.flatnonzero(scores >= FACE_SCORE):
            corners = view.to_picture(boxes[row].reshape(2, 2))
            (left, top), (right, bottom) = corners
            if right > left and bottom > top:
                found.append(Finding((left, top, right, bottom), float(scores[row])))
    return suppress(found)


def _whole_view(photo: Pixels) -> CropSquare:
    height, width = photo.shape[:2]
    return whole_square(CropSquare(0.5 * width, 0.5 * height, max(width, height)))


def _other_views(photo: Pixels) -> list[CropSquare]:
    height, width = photo.shape[:2]
    wide = CropSquare(0.5 * width, 0.5 * height, 1.8 * max(width, height))
    side = max(0.6 * max(width, height), 1.0)
    xs = {0.5 * side, width - 0.5 * side, 0.5 * width} if width > side else {0.5 * width}
    ys = {0.5 * side, height - 0.5 * side, 0.5 * height} if height > side else {0.5 * height}
    near = [CropSquare(x, y, side) for y in sorted(ys) for x in sorted(xs)]
    return [whole_square(view) for view in (wide, *near)]


def _checked_box(box: Box, photo: Pixels, name: str) -> Box:
    height, width = photo.shape[:2]
    left, top, right, bottom = (float(value) for value in box)
    text = f"{left:g},{top:g},{right:g},{bottom:g}"
    if not all(math.isfinite(value) for value in (left, top, right, bottom)) or right <= left or bottom <= top:
        raise BoxError(f"{name}: face box {text} is empty; wanted left,top,right,bottom in pixels")
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        raise BoxError(f"{name}: face box {text} lies outside the photo ({width} × {height})")
    if max(right - left, bottom - top) > 4 * max(width, height):
        raise BoxError(f"{name}: face box {text} is far larger than the photo ({width} × {height})")
    return left, top, right, bottom


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _scaled(box: Box, factors: tuple[float, float]) -> Box:
    return box[0] * factors[0], box[1] * factors[1], box[2] * factors[0], box[3] * factors[1]
