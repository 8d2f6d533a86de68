# SPDX-License-Identifier: GPL-3.0-or-later
"""One face through the frames of a video: searched near where it was, then everywhere."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.crop import CropSquare
from lpmm_runtime.face_finding import (
    KEPT_IOU,
    Box,
    FaceReading,
    Finding,
    find_faces,
    iou,
    is_face,
    read_box,
    refine,
)
from lpmm_runtime.onnx_sessions import OnnxSessions
from lpmm_runtime.portrait import cut_square, whole_square

Pixels = NDArray[np.uint8]

# How far around the last box the face is looked for first, in longer sides of the box.
NEIGHBOURHOOD = 3.0
# From one frame to the next the same face overlaps itself by this much.
SAME_FACE_IOU = 0.3


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """A face found and read in a frame.

    Attributes:
        finding: the finder's box and score.
        reading: what the LP-regressor read there.
    """

    finding: Finding
    reading: FaceReading


def find_near(sessions: OnnxSessions, picture: Pixels, near: Box | None) -> list[Finding]:
    """Return the faces of a picture [H, W, 3] uint8 RGB, the main one first.

    Args:
        near: where a face was a moment ago. If one is surely still there, the rest is not searched, and it is first.
    """
    if near is None:
        return find_faces(sessions, picture)
    square = _around(near)
    cut = cut_square(picture, square, border=128)
    left, top = square.left, square.top
    local = [
        Finding((f.box[0] + left, f.box[1] + top, f.box[2] + left, f.box[3] + top), f.score)
        for f in find_faces(sessions, cut)
    ]
    stayed = [finding for finding in local if iou(finding.box, near) >= SAME_FACE_IOU]
    if stayed:
        best = max(stayed, key=lambda finding: iou(finding.box, near) * finding.score)
        return [best, *(finding for finding in local if finding is not best)]
    return find_faces(sessions, picture)


def track(sessions: OnnxSessions, picture: Pixels, near: Box | None) -> TrackedFace | None:
    """Find and read the face that was at `near` (brows and forehead to chin, pixels), or else the main one.

    Returns None where no finding holds when it is read.
    """
    findings = find_near(sessions, picture, near)
    for finding in findings:
        # From one frame to the next a face is read in one way: two that differ by a hair would make it tremble.
        reading = refine(sessions, picture, finding.box) if near else read_box(sessions, picture, finding.box)
        if reading is None:
            continue
        if iou(reading.box, finding.box) >= KEPT_IOU if near else is_face(sessions, picture, reading):
            return TrackedFace(finding, reading)
    return None


def is_same_face(first: Box, second: Box) -> bool:
    """Whether two boxes of neighbouring frames can be one face's."""
    return iou(first, second) >= SAME_FACE_IOU


def _around(box: Box) -> CropSquare:
    left, top, right, bottom = box
    side = math.ceil(NEIGHBOURHOOD * max(right - left, bottom - top))
    return whole_square(CropSquare(0.5 * (left + right), 0.5 * (top + bottom), max(side, 8)))
