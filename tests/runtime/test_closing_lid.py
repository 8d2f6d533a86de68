# SPDX-License-Identifier: GPL-3.0-or-later
"""A closing lid brings skin down over the eye, an edge at its end, and moves nothing beside it."""

import cv2
import numpy as np
import pytest

from lpmm_runtime.backbones.closing_lid import close_lids, portrait_lids
from lpmm_runtime.landmarks68 import EYE_LEFT, EYE_RIGHT

SIZE = 400
WIDTH = 0.2
SKIN, WHITE, IRIS, DARK = (0.8, 0.6, 0.5), (0.92, 0.92, 0.9), (0.25, 0.15, 0.1), (0.1, 0.08, 0.08)
CORNERS = {EYE_RIGHT: 0.2, EYE_LEFT: 0.6}


def portrait() -> tuple[np.ndarray, np.ndarray]:
    """Two open eyes with lashes under the rims of glasses, and their landmarks; brows stand 0.6 eye widths above."""
    landmarks = np.full((68, 2), 0.9, np.float32)
    landmarks[17:22] = np.stack([np.linspace(0.2, 0.4, 5), np.full(5, 0.38)], axis=-1)
    landmarks[22:27] = landmarks[17:22] + np.array([0.4, 0.0])
    picture = np.full((SIZE, SIZE, 3), SKIN, np.float32)
    for indices, x in CORNERS.items():
        u, v = np.array([0, 0.3, 0.7, 1, 0.7, 0.3]), 0.34 * np.array([0, -0.55, -0.55, 0, 0.45, 0.45])
        landmarks[list(indices)] = np.stack([x + WIDTH * u, 0.5 + WIDTH * v], axis=-1)
        points = np.round(landmarks[list(indices)] * SIZE).astype(np.int32)
        opening = np.zeros((SIZE, SIZE), np.uint8)
        cv2.fillPoly(opening, [points], 1)
        eye = np.full_like(picture, WHITE)
        cv2.circle(eye, (round((x + 0.5 * WIDTH) * SIZE), round(0.497 * SIZE)), round(0.2 * WIDTH * SIZE), IRIS, -1)
        picture[opening > 0] = eye[opening > 0]
        cv2.polylines(picture, [points[:4]], False, DARK, 2)
        for root in np.linspace(points[1], points[2], 8):
            foot, tip = np.round(root).astype(int), np.round(root - [0, 0.12 * WIDTH * SIZE]).astype(int)
            cv2.line(picture, foot.tolist(), tip.tolist(), DARK, 1)
    rim = round((0.5 - 0.52 * WIDTH) * SIZE)
    picture[rim - 2 : rim + 2] = DARK
    return picture, landmarks


def closed(landmarks: np.ndarray, amount: float) -> np.ndarray:
    shut = landmarks.copy()
    for eye in CORNERS:
        for upper, lower in ((eye[1], eye[5]), (eye[2], eye[4])):
            shut[upper] += amount * (landmarks[lower] - landmarks[upper])
    return shut


def at(picture: np.ndarray, eye_x: float, u: float, v: float) -> np.ndarray:
    return picture[round((0.5 + WIDTH * v) * SIZE), round((eye_x + WIDTH * u) * SIZE)]


@pytest.fixture(scope="module")
def shut() -> tuple[np.ndarray, np.ndarray, list]:
    picture, landmarks = portrait()
    head = picture.copy()
    drawn = close_lids(head, portrait_lids(picture, landmarks), landmarks, closed(landmarks, 1.0), None)
    return picture, head, drawn


def test_a_shut_eye_is_skin_with_an_edge_where_its_lids_meet(shut: tuple[np.ndarray, np.ndarray, list]) -> None:
    _, head, _ = shut
    for x in CORNERS.values():
        for u in (0.35, 0.5, 0.65):
            for v in (-0.12, -0.05, 0.05):
                assert at(head, x, u, v) == pytest.approx(SKIN, abs=0.12)
            column = head[
                round((0.5 + 0.1 * WIDTH) * SIZE) : round((0.5 + 0.2 * WIDTH) * SIZE), round((x + WIDTH * u) * SIZE)
            ]
            assert column.mean(axis=-1).min() < 0.7 * np.mean(SKIN)


def test_rims_of_glasses_and_all_else_stay_where_they_are(shut: tuple[np.ndarray, np.ndarray, list]) -> None:
    picture, head, drawn = shut
    rim = slice(round((0.5 - 0.56 * WIDTH) * SIZE), round((0.5 - 0.48 * WIDTH) * SIZE))
    assert np.array_equal(head[rim], picture[rim])
    touched = np.zeros((SIZE, SIZE))
    for patch, amount in drawn:
        touched[patch] = np.maximum(touched[patch], amount)
    # What was drawn is told, or the portrait would be shown over it.
    changed = np.abs(head - picture).max(axis=-1) > 1e-3
    assert changed.any() and touched[changed].min() > 0.0


def test_a_half_shut_eye_shows_the_lower_half_of_its_iris() -> None:
    picture, landmarks = portrait()
    head = picture.copy()
    close_lids(head, portrait_lids(picture, landmarks), landmarks, closed(landmarks, 0.5), None)
    for x in CORNERS.values():
        assert at(head, x, 0.5, 0.1).mean() < 1.2 * np.mean(IRIS)
        assert at(head, x, 0.5, -0.12) == pytest.approx(SKIN, abs=0.12)


def test_the_light_of_the_frame_falls_on_the_skin_that_is_made() -> None:
    picture, landmarks = portrait()
    lids, target = portrait_lids(picture, landmarks), closed(landmarks, 1.0)
    bright, dim = picture.copy(), picture.copy()
    close_lids(bright, lids, landmarks, target, None)
    close_lids(dim, lids, landmarks, target, np.full((16, 16, 3), 0.5, np.float32))
    assert at(dim, 0.2, 0.5, -0.05) == pytest.approx(0.5 * at(bright, 0.2, 0.5, -0.05), rel=0.02)


def test_lids_that_stay_draw_nothing_and_tiny_eyes_have_none() -> None:
    picture, landmarks = portrait()
    head = picture.copy()
    assert close_lids(head, portrait_lids(picture, landmarks), landmarks, closed(landmarks, 0.03), None) == []
    assert np.array_equal(head, picture)
    small = np.ascontiguousarray(cv2.resize(picture, (30, 30), interpolation=cv2.INTER_AREA))
    assert portrait_lids(small, landmarks) == (None, None)


def test_lashes_and_shade_that_the_landmarks_miss_go_with_the_lid() -> None:
    picture, landmarks = portrait()
    for x in CORNERS.values():
        # Shade up to 0.33 eye widths above the line of the lid, which the rim does not hide.
        left, right = (round((x + share * WIDTH) * SIZE) for share in (0.2, 0.8))
        top, bottom = (round((0.5 + v * WIDTH) * SIZE) for v in (-0.5, -0.15))
        picture[top:bottom, left:right] *= np.float32(0.7)
    head = picture.copy()
    close_lids(head, portrait_lids(picture, landmarks), landmarks, closed(landmarks, 1.0), None)
    for x in CORNERS.values():
        assert at(picture, x, 0.5, -0.4).mean() < 0.75 * np.mean(SKIN)
        assert at(head, x, 0.5, -0.3).mean() > 0.85 * np.mean(SKIN)


def test_a_clear_rim_through_what_a_lid_brings_down_is_left() -> None:
    picture, landmarks = portrait()
    rim = round((0.5 - 0.32 * WIDTH) * SIZE)
    picture[rim - 2 : rim + 2] = DARK
    lids = portrait_lids(picture, landmarks)
    head = picture.copy()
    close_lids(head, lids, landmarks, closed(landmarks, 1.0), None)
    for lid, x in zip(lids, CORNERS.values(), strict=True):
        assert lid is not None and lid.rims.max() > 0.9
        for u in (0.2, 0.5, 0.8):
            row = round((0.5 - 0.32 * WIDTH) * SIZE) - 1
            assert head[row, round((x + u * WIDTH) * SIZE)].mean() < 0.5 * np.mean(SKIN)
