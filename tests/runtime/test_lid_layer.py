# SPDX-License-Identifier: GPL-3.0-or-later
"""A lid that closes takes the skin above it along, and never the brow."""

import numpy as np
import pytest

from lpmm_runtime import landmarks68
from lpmm_runtime.backbones.lid_layer import (
    Opening,
    blink_gains,
    eye_opening,
    lid_displacement,
    openings,
    with_closed_further,
    with_given_way,
)
from lpmm_runtime.bundle import DEFAULT_BUNDLE, load_bundle

SIZE = 512
BROWS = {"eye_right": slice(17, 22), "eye_left": slice(22, 27)}
EYES = {"eye_right": landmarks68.EYE_RIGHT, "eye_left": landmarks68.EYE_LEFT}


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return load_bundle(DEFAULT_BUNDLE).rig.model.mean.reshape(-1, 2)[: landmarks68.COUNT].astype(np.float32)


def _closed(face: np.ndarray, amount: float) -> np.ndarray:
    shut = face.copy()
    for eye in EYES.values():
        for upper, lower in ((eye[1], eye[5]), (eye[2], eye[4])):
            shut[upper] += amount * (face[lower] - face[upper])
    return shut


@pytest.mark.parametrize("height", [0.25, 0.5])
@pytest.mark.parametrize("amount", [0.4, 1.0])
def test_no_brow_comes_down_with_a_lid(face: np.ndarray, height: float, amount: float) -> None:
    opened = face.copy()
    for name, eye in EYES.items():
        width = np.linalg.norm(opened[eye[3]] - opened[eye[0]])
        opened[BROWS[name], 1] = opened[[eye[1], eye[2]], 1].min() - height * width
    patches = lid_displacement(opened, _closed(opened, amount), SIZE)
    assert len(patches) == 2
    for ((rows, columns), displacement), (name, eye) in zip(patches, EYES.items(), strict=True):
        ways = np.zeros((SIZE, SIZE), np.float32)
        ways[rows, columns] = np.abs(displacement).max(axis=-1)
        gap = SIZE * np.linalg.norm(opened[eye[1]] - opened[eye[5]])
        # Skin at the lid's line comes from where the lid was; what is shown where the brow is, is the brow.
        assert ways.max() > 0.8 * amount * gap
        thick = 0.05 * SIZE * np.linalg.norm(opened[eye[3]] - opened[eye[0]])
        brow = np.round(opened[BROWS[name]] * SIZE + [0.0, thick]).astype(int)
        assert ways[brow[:, 1], brow[:, 0]].max() < 0.05 * amount * gap


def test_lids_give_way_as_far_as_they_are_told(face: np.ndarray) -> None:
    ways = Opening(0.1, 0.0), Opening(0.02, 0.05)
    opened = with_given_way(face, face, ways)
    for found, told in zip(openings(face, opened), ways, strict=True):
        assert found == pytest.approx(told, abs=1e-4)
    assert openings(opened, face) == pytest.approx(np.zeros((2, 2)), abs=1e-6)
    corners = [eye[place] for eye in EYES.values() for place in (0, 3)]
    assert np.array_equal(opened[corners], face[corners])


def test_a_shut_eye_stays_shut_wherever_it_would_look(face: np.ndarray) -> None:
    ways = Opening(0.08, 0.0), Opening(0.05, 0.05)
    shut = _closed(face, 1.0)
    np.testing.assert_allclose(with_given_way(face, shut, ways), shut, atol=1e-6)
    half = _closed(face, 0.5)
    for found, told in zip(openings(half, with_given_way(face, half, ways)), ways, strict=True):
        assert found == pytest.approx(tuple(0.5 * way for way in told), abs=1e-3)


def test_a_whole_eyeball_is_bared_and_not_stretched(face: np.ndarray) -> None:
    wide = with_given_way(face, face, (Opening(0.1), Opening(0.1)))
    for whole in (False, True):
        ((rows, columns), displacement), _ = lid_displacement(face, wide, SIZE, (whole, whole))
        x, y = (face[list(EYES["eye_right"])].mean(axis=0) * SIZE).astype(int)
        assert (np.abs(displacement[y - rows.start, x - columns.start]).max() < 0.05) == whole


def test_between_the_lids_is_the_open_eye_and_nothing_of_a_shut_one(face: np.ndarray) -> None:
    eye = EYES["eye_left"]
    found = eye_opening(eye, face, SIZE, 0.0)
    assert found is not None
    (rows, columns), between = found
    x, y = (face[list(eye)].mean(axis=0) * SIZE).astype(int)
    assert between[y - rows.start, x - columns.start] == 1.0 and between[0].max() == 0.0
    shut = eye_opening(eye, _closed(face, 1.0), SIZE, 0.0)
    assert shut is not None and shut[1].max() < 0.6
    assert eye_opening(eye, face, 24, 0.0) is None


def test_a_blink_that_landmarks_fall_short_of_shuts_the_eyes(face: np.ndarray) -> None:
    gains = blink_gains(face, _closed(face, 0.7))
    assert gains == pytest.approx([1 / 0.7] * 2, rel=1e-3)
    for told, wanted in ((0.0, 0.0), (0.35, 0.5), (0.7, 1.0), (0.9, 1.0)):
        np.testing.assert_allclose(
            with_closed_further(face, _closed(face, told), gains), _closed(face, wanted), atol=1e-4
        )
    # Lids that open are left alone, and so is a head that turns.
    wide = with_given_way(face, face, (Opening(0.1), Opening(0.1)))
    assert np.array_equal(with_closed_further(face, wide, gains), wide)
    moved = face + np.float32([0.1, -0.05])
    np.testing.assert_allclose(with_closed_further(face, moved, gains), moved, atol=1e-4)


def test_eyes_that_a_blink_shuts_close_as_landmarks_say(face: np.ndarray) -> None:
    for blinked in (1.0, 1.2):
        gains = blink_gains(face, _closed(face, blinked))
        assert gains == pytest.approx((1.0, 1.0), abs=1e-4)
    # What hardly closes says nothing, and eyes that are shut cannot shut further.
    assert blink_gains(face, _closed(face, 0.1)) == (1.0, 1.0)
    shut = _closed(face, 0.95)
    assert blink_gains(shut, _closed(face, 0.97)) == (1.0, 1.0)
