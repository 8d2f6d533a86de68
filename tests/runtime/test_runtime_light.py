# SPDX-License-Identifier: GPL-3.0-or-later
"""A face that turns takes the light otherwise: the generator's factors shade the moved head and nothing else."""

import numpy as np
import pytest

from lpmm_runtime.backbones.background import background_plate
from lpmm_runtime.backbones.beyond_crop import crop_alone
from lpmm_runtime.backbones.head_drawing import FrameMaps, compose, draw_head
from lpmm_runtime.backbones.mouth_layer import portrait_mouth
from lpmm_runtime.backbones.portrait_canvas import Canvas

SIZE, MAP = 128, 64


@pytest.fixture(scope="module")
def landmarks() -> np.ndarray:
    """A face whose eyes and mouth are shut: nothing but the light changes it."""
    angle = np.linspace(0.0, np.pi, 17)
    points = np.full((68, 2), 0.5, np.float32)
    points[:17] = np.stack([0.5 - 0.25 * np.cos(angle), 0.45 + 0.3 * np.sin(angle)], axis=1)
    for first, middle in ((36, 0.4), (42, 0.6)):
        points[first : first + 6, 0] = middle + 0.04 * np.array([-1.0, -0.4, 0.4, 1.0, 0.4, -0.4])
        points[first : first + 6, 1] = 0.42
    points[48:68] = np.stack([np.linspace(0.42, 0.58, 20), np.full(20, 0.65)], axis=1)
    return points


def composed(landmarks: np.ndarray, light: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the crop, the head's matte and the frame of a head that stands still under a light."""
    crop = np.random.default_rng(2).uniform(0.3, 0.6, (SIZE, SIZE, 3)).astype(np.float32)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    alpha = (np.hypot(x - 0.5, y - 0.5) < 0.3).astype(np.float32)
    detail = np.zeros((SIZE, SIZE), np.float32)
    nothing = None, None
    plate = background_plate(crop, alpha)
    wide = crop_alone(crop, plate, alpha)
    canvas = Canvas(crop, alpha, plate, wide, (detail, detail), portrait_mouth(crop, landmarks), nothing, nothing)
    small = alpha[:: SIZE // MAP, :: SIZE // MAP]
    maps = FrameMaps(
        flow=np.zeros((MAP, MAP, 2), np.float32),
        paint=np.zeros((MAP, MAP, 3), np.float32),
        mask=np.ones((MAP, MAP), np.float32),
        alpha=small,
        light=light,
    )
    frame = compose(canvas, draw_head(canvas, landmarks, landmarks, np.zeros((2, 2), np.float32), maps), light)
    return crop, alpha, frame


def test_light_shades_the_head_and_leaves_the_background(landmarks: np.ndarray) -> None:
    light = np.full((32, 32, 3), [0.8, 0.9, 1.1], np.float32)
    crop, alpha, frame = composed(landmarks, light)
    inside = np.s_[SIZE // 2 - 20 : SIZE // 2 + 10, SIZE // 2 - 10 : SIZE // 2 + 10]
    assert frame[..., :3][inside] == pytest.approx(crop[inside] * light[0, 0], abs=1e-3)
    far = np.s_[:8, :8]
    assert alpha[far].max() == 0.0 and frame[..., :3][far] == pytest.approx(crop[far], abs=1e-6)


def test_a_light_of_one_changes_nothing(landmarks: np.ndarray) -> None:
    _, _, plain = composed(landmarks, None)
    _, _, lit = composed(landmarks, np.ones((32, 32, 3), np.float32))
    assert lit == pytest.approx(plain, abs=1e-5)
