# SPDX-License-Identifier: GPL-3.0-or-later
"""The gaze layer: irises are found, go where they are sent, and leave the lids alone."""

import cv2
import numpy as np
import pytest

from lpmm_runtime.backbones.gaze_layer import Eye, gaze_shift, portrait_eyes, turned
from lpmm_runtime.backbones.lid_layer import Opening
from lpmm_runtime.landmarks68 import EYE_LEFT, EYE_RIGHT

SIZE = 400
WIDTH = 0.2
SKIN, WHITE, IRIS = (0.8, 0.6, 0.5), (0.92, 0.92, 0.9), (0.25, 0.15, 0.1)


def lids(x: float, gap: float = 0.34) -> np.ndarray:
    """Six landmarks of a level eye whose corner at the picture's left is at (x, 0.5), `gap` eye widths open."""
    u, v = np.array([0, 0.3, 0.7, 1, 0.7, 0.3]), np.array([0, -0.55, -0.55, 0, 0.45, 0.45]) * gap
    return np.stack([x + WIDTH * u, 0.5 + WIDTH * v], axis=-1).astype(np.float32)


def face(iris_u: float = 0.5, gap: float = 0.34, radius: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """A picture of two eyes on skin, and its landmarks; irises `iris_u` eye widths from the left corners."""
    landmarks = np.full((68, 2), 0.9, np.float32)
    picture = np.full((SIZE, SIZE, 3), SKIN, np.float32)
    for indices, x in ((EYE_RIGHT, 0.2), (EYE_LEFT, 0.6)):
        points = lids(x, gap)
        landmarks[list(indices)] = points
        edge = [points[0]]
        for a, b, c, d in ((0, 1, 2, 3), (3, 4, 5, 0)):
            curve = np.polyfit(points[[a, b, c, d], 0], points[[a, b, c, d], 1], 3)
            at = np.linspace(points[a, 0], points[d, 0], 40)
            edge += list(np.stack([at, np.polyval(curve, at)], axis=-1))
        opening = np.zeros((SIZE, SIZE), np.uint8)
        cv2.fillPoly(opening, [np.round(np.array(edge) * SIZE).astype(np.int32)], 1)
        eye = np.full_like(picture, WHITE)
        centre = (round((x + iris_u * WIDTH) * SIZE), round((0.5 - 0.03 * WIDTH) * SIZE))
        cv2.circle(eye, centre, round(radius * WIDTH * SIZE), IRIS, -1, cv2.LINE_AA)
        picture[opening > 0] = eye[opening > 0]
    return picture, landmarks


def eyes_of(picture: np.ndarray, landmarks: np.ndarray) -> tuple[Eye, Eye]:
    first, second = portrait_eyes(picture, landmarks, None)
    assert first is not None and second is not None
    return first, second


def darkness(patch: np.ndarray, eye: Eye) -> np.ndarray:
    """The middle [2] of what is dark between the lids, in the eye's frame."""
    dark = ((patch.mean(axis=-1) < 0.5) & (np.minimum(eye.above, eye.beneath) > 0)).astype(float)
    return np.array([(eye.u * dark).sum(), (eye.v * dark).sum()]) / dark.sum()


@pytest.mark.parametrize("at", [0.36, 0.5, 0.62])
def test_irises_are_found_where_they_are(at: float) -> None:
    for eye in eyes_of(*face(at)):
        assert eye.iris[0] == pytest.approx(at, abs=0.04)
        assert eye.iris[1] == pytest.approx(-0.03, abs=0.05)


def test_a_shut_or_tiny_eye_has_no_iris_to_move() -> None:
    assert portrait_eyes(*face(gap=0.05), None) == (None, None)
    picture, landmarks = face()
    small = np.ascontiguousarray(cv2.resize(picture, (30, 30), interpolation=cv2.INTER_AREA))
    assert portrait_eyes(small, landmarks, None) == (None, None)


@pytest.mark.parametrize("radius", [0.18, 0.22, 0.26])
def test_irises_are_found_as_large_as_they_are(radius: float) -> None:
    for eye in eyes_of(*face(radius=radius)):
        assert eye.radius == pytest.approx(radius, abs=0.02)


@pytest.mark.parametrize("shift", [(0.15, 0.0), (-0.15, 0.0), (0.0, -0.12), (0.0, 0.12)])
def test_an_iris_goes_as_one_behind_lids_that_stay(shift: tuple[float, float]) -> None:
    picture, landmarks = face()
    eye, _ = eyes_of(picture, landmarks)
    patch = picture[eye.rows, eye.columns]
    moved = turned(eye, patch, np.array(shift, np.float32), Opening())
    went = darkness(moved, eye) - darkness(patch, eye)
    assert went[0] == pytest.approx(shift[0], abs=0.02)
    # Lids hide a part of what goes up or down.
    assert abs(went[1]) < 0.02 if shift[1] == 0.0 else np.sign(shift[1]) * went[1] > 0.02
    outside = np.minimum(eye.above, eye.beneath) < -0.04
    assert np.array_equal(moved[outside], patch[outside])
    # Where the iris has left there is eye-white, not a smear of it.
    left = np.hypot(eye.u - eye.iris[0], eye.v - eye.iris[1]) < 0.15
    left &= np.hypot(eye.u - eye.iris[0] - shift[0], eye.v - eye.iris[1] - shift[1]) > 0.24
    left &= np.minimum(eye.above, eye.beneath) > 0.04
    assert left.any() and moved[left].mean() > 0.8


def test_lids_that_open_wider_bare_the_whole_iris_and_eye_white() -> None:
    picture, landmarks = face(gap=0.26)
    eye, _ = eyes_of(picture, landmarks)
    patch = picture[eye.rows, eye.columns]
    wide = turned(eye, patch, np.zeros(2, np.float32), Opening(rise=0.1))
    bared = (eye.above < -0.01) & (eye.above > -0.06) & (eye.beneath > 0) & (np.abs(eye.u - 0.5) < 0.3)
    on_iris = np.hypot(eye.u - eye.iris[0], eye.v - eye.iris[1]) < eye.radius - 0.02
    assert (bared & on_iris).any() and wide[bared & on_iris].mean() < 0.4
    beside = bared & (np.hypot(eye.u - eye.iris[0], eye.v - eye.iris[1]) > 0.26)
    # Eye-white in the lid's shade, no skin: it has hardly any colour.
    assert beside.any() and np.ptp(wide[beside], axis=-1).max() < 0.1
    seen = (eye.above > 0.06) & (eye.beneath > 0.02)
    assert np.abs(wide[seen] - patch[seen]).max() < 0.02


def test_lids_that_open_by_next_to_nothing_bare_next_to_nothing() -> None:
    picture, landmarks = face()
    eye = eyes_of(picture, landmarks)[0]
    patch = picture[eye.rows, eye.columns]
    bared = turned(eye, patch, np.zeros(2, np.float32), Opening(rise=1e-5))
    assert np.abs(bared - patch).max() < 2e-3


def test_at_rest_nothing_moves_and_readings_noise_is_not_followed() -> None:
    picture, landmarks = face()
    eye, _ = eyes_of(picture, landmarks)
    corners = landmarks[[EYE_RIGHT[0], EYE_RIGHT[3]]]
    still = np.zeros((16, 16, 2), np.float32)
    for middle in (eye.middle, eye.middle + np.float32(0.004 * WIDTH)):
        shift, way = gaze_shift(eye, corners, middle, still)
        assert not shift.any() and way == Opening()
    patch = picture[eye.rows, eye.columns]
    assert turned(eye, patch, np.zeros(2, np.float32), Opening()) is patch


def test_what_the_flow_already_carries_is_not_moved_twice() -> None:
    picture, landmarks = face()
    eye, _ = eyes_of(picture, landmarks)
    corners = landmarks[[EYE_RIGHT[0], EYE_RIGHT[3]]]
    along = np.array([0.03, 0.01], np.float32)
    flow = np.broadcast_to(-along, (16, 16, 2)).astype(np.float32)
    assert gaze_shift(eye, corners + along, eye.middle + along, flow)[0] == pytest.approx([0, 0], abs=1e-5)
    further = gaze_shift(eye, corners + along, eye.middle + along + np.array([0.1 * WIDTH, 0], np.float32), flow)[0]
    assert further == pytest.approx([0.1, 0.0], abs=1e-4)


@pytest.mark.parametrize("way", [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_an_iris_does_not_leave_the_eye(way: tuple[int, int]) -> None:
    picture, landmarks = face()
    eye, _ = eyes_of(picture, landmarks)
    corners = landmarks[[EYE_RIGHT[0], EYE_RIGHT[3]]]
    wanted = eye.middle + np.float32(WIDTH) * np.array(way, np.float32)
    shift, way = gaze_shift(eye, corners, wanted, np.zeros((16, 16, 2), np.float32))
    u, v = eye.iris + shift
    assert 0.1 < u < 0.9
    # Between the lids' lines, which give way to it, so that most of it is seen.
    row, column = np.unravel_index(np.argmin(np.hypot(eye.u - u, eye.v - v)), eye.u.shape)
    assert min(eye.above[row, column] + way.rise, eye.beneath[row, column] + way.sink) > 0
    assert (u, v) != pytest.approx(tuple(eye.iris), abs=0.03)
