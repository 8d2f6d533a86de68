# SPDX-License-Identifier: GPL-3.0-or-later
"""One frame to one sample: the face found, read, checked to be clearly visible, and cropped by LPD's policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.crop import face_box
from lpmm_runtime.face_finding import KEPT_IOU, Box, iou
from training.backbones.lpd_crop import CROP_SIZE, crop_face, enlarged_square
from training.videos.readers import FaceFinder, PointReader

Pixels = NDArray[np.uint8]

NO_FACE = "no face found"
UNSURE = "the face found cannot be read"
SMALL = "face too small"
CUT_OFF = "face cut off by the picture's edge"


@dataclass(frozen=True)
class Visibility:
    """When a face counts as clearly seen.

    Attributes:
        least_score: of the finder, in [0, 1].
        smallest_face: longer side of the face box, pixels.
        inside: the least share of the landmarks that lie within the picture.
    """

    least_score: float = 0.6
    smallest_face: int = 64
    inside: float = 0.95


@dataclass(frozen=True, eq=False)
class FaceSample:
    """An aligned face.

    Attributes:
        picture: [256, 256, 3] uint8 RGB.
        landmarks: [68, 2] float32 in the crop's unit square.
        square: (left, top, right, bottom), whole pixels of the frame, right and bottom exclusive.
        box: the face box of the landmarks, frame pixels.
        found: the finder's box, frame pixels; where to look in the next frame.
        score: the finder's.
    """

    picture: Pixels
    landmarks: NDArray[np.float32]
    square: tuple[int, int, int, int]
    box: Box
    found: Box
    score: float


class FaceLook:
    """Looks at frames with a finder and a reader."""

    def __init__(self, finder: FaceFinder, reader: PointReader, visibility: Visibility) -> None:
        self._finder = finder
        self._reader = reader
        self._visibility = visibility

    def look(self, picture: Pixels, near: Box | None, only_near: bool = False) -> FaceSample | str:
        """Return the face of a frame [H, W, 3] uint8 RGB, or why there is none.

        Args:
            near: where it was a moment ago, or where it is known to be.
            only_near: take no other face.
        """
        findings = [f for f in self._finder.find(picture, near) if f.score >= self._visibility.least_score]
        if near is not None and only_near:
            findings = sorted((f for f in findings if iou(f.box, near) >= KEPT_IOU), key=lambda f: -iou(f.box, near))
        if not findings:
            return NO_FACE
        finding = findings[0]
        landmarks = self._reader.read(picture, finding.box)
        if landmarks is None:
            return UNSURE
        box = face_box(landmarks)
        if iou(box, finding.box) < KEPT_IOU:
            return UNSURE
        if max(box[2] - box[0], box[3] - box[1]) < self._visibility.smallest_face:
            return SMALL
        height, width = picture.shape[:2]
        inside = ((landmarks >= 0) & (landmarks < [width, height])).all(axis=1).mean()
        if inside < self._visibility.inside:
            return CUT_OFF
        square = enlarged_square(box)
        unit = (landmarks - square[:2]) / (square[2] - square[0])
        return FaceSample(
            picture=crop_face(picture, box, CROP_SIZE),
            landmarks=unit.astype(np.float32),
            square=square,
            box=box,
            found=finding.box,
            score=finding.score,
        )
