# SPDX-License-Identifier: GPL-3.0-or-later
"""What is behind a head is made up of what is seen around it: lines go on, nothing visible changes."""

import cv2
import numpy as np
import pytest

from lpmm_runtime.backbones.background import background_plate, background_sources, head_colours, spread, uncovered
from lpmm_runtime.backbones.head_drawing import _change
from lpmm_runtime.backbones.pixel_maps import pixels

SIZE = 256


def scene() -> np.ndarray:
    """Horizontal planks with a grain: [s, s, 3]."""
    y = np.arange(SIZE)[:, None]
    planks = 0.5 + 0.3 * np.sign(np.sin(y / 9.0)) * np.ones((1, SIZE))
    grain = 0.04 * np.random.default_rng(4).standard_normal((SIZE, SIZE))
    return np.clip(np.stack([planks + grain, 0.8 * planks + grain, 0.6 * planks + grain], axis=-1), 0, 1).astype("f4")


def head() -> np.ndarray:
    """A matte [s, s]: a disc in the middle, with a soft edge."""
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.clip((70.0 - np.hypot(x - 128, y - 140)) / 3.0, 0, 1).astype("f4")


@pytest.fixture(scope="module")
def portrait() -> tuple[np.ndarray, np.ndarray]:
    alpha = head()
    skin = np.array([0.9, 0.2, 0.2], np.float32)
    return scene() * (1 - alpha[..., None]) + alpha[..., None] * skin, alpha


def test_lines_go_on_behind_the_head(portrait: tuple[np.ndarray, np.ndarray]) -> None:
    crop, alpha = portrait
    plate = background_plate(crop, alpha, background_sources(crop, alpha))
    # Right beside what is seen its colours are spread, whatever the patches say.
    hidden = uncovered(cv2.erode(alpha, np.ones((25, 25), np.uint8))) == 0.0
    assert hidden.sum() > 5000
    off = np.abs(plate - scene())[hidden].mean()
    spread = np.abs(background_plate(crop, alpha) - scene())[hidden].mean()
    assert off < 0.6 * spread, (off, spread)


def test_nothing_of_the_head_is_left(portrait: tuple[np.ndarray, np.ndarray]) -> None:
    crop, alpha = portrait
    plate = background_plate(crop, alpha, background_sources(crop, alpha))
    # The planks' red is at most 1.7 times their blue, the head's 4.5 times.
    redness = plate[..., 0] / (plate[..., 2] + 0.05)
    assert redness.max() < 2.2


def test_colours_spread_to_what_is_beside_them_first() -> None:
    picture = np.full((SIZE, SIZE, 3), 0.8, np.float32)
    picture[170:] = 0.0
    y, x = np.mgrid[:SIZE, :SIZE]
    away = np.hypot(x - 128, y - 140)
    filled = spread(picture, np.clip((away - 70.0) / 3.0, 0, 1).astype("f4"))
    # A few pixels from the wall the dark thing at the hole's other side is not felt, nor the wall beside that.
    beside = (away < 69) & (away > 64)
    assert np.abs(filled[beside & (y < 130)] - 0.8).mean() < 0.025
    assert filled[beside & (y > 185)].mean() < 0.01


def test_what_is_seen_stays_as_it_is(portrait: tuple[np.ndarray, np.ndarray]) -> None:
    crop, alpha = portrait
    plate = background_plate(crop, alpha, background_sources(crop, alpha))
    seen = uncovered(alpha) == 1.0
    assert seen.mean() > 0.5
    np.testing.assert_array_equal(plate[seen], crop[seen])


def test_a_portrait_always_gets_the_same_background(portrait: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = (background_sources(*portrait) for _ in range(2))
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first, second)


def test_sources_serve_every_size(portrait: tuple[np.ndarray, np.ndarray]) -> None:
    crop, alpha = portrait
    sources = background_sources(crop, alpha)
    small, small_alpha = crop[::4, ::4].copy(), alpha[::4, ::4].copy()
    plate = background_plate(small, small_alpha, sources)
    assert plate.shape == (SIZE // 4, SIZE // 4, 3)
    hidden = uncovered(small_alpha) == 0.0
    spread = background_plate(small, small_alpha)
    truth = scene()[::4, ::4]
    assert np.abs(plate - truth)[hidden].mean() < 0.7 * np.abs(spread - truth)[hidden].mean()


def test_a_head_that_fills_the_crop_has_colours_spread_behind_it() -> None:
    crop, alpha = scene(), np.ones((SIZE, SIZE), np.float32)
    alpha[:, :8] = 0.0
    sources = background_sources(crop, alpha)
    assert sources is None
    plate = background_plate(crop, alpha, sources)
    assert np.isfinite(plate).all()
    assert plate.min() >= 0.0
    assert plate.max() <= 1.0


def test_a_picture_without_a_head_is_its_own_background() -> None:
    crop, alpha = scene(), np.zeros((SIZE, SIZE), np.float32)
    np.testing.assert_array_equal(background_plate(crop, alpha, background_sources(crop, alpha)), crop)


def test_background_that_a_matte_took_for_head_does_not_move_with_it() -> None:
    true = (head() > 0.5).astype(np.float32)
    skin = np.array([0.9, 0.2, 0.2], np.float32)
    crop = np.where(true[..., None] > 0.5, skin, scene())
    too_wide = cv2.dilate(true, np.ones((5, 5), np.uint8))
    edge = (too_wide > 0.5) & (true < 0.5)
    assert edge.sum() > 200
    off = np.abs(head_colours(crop, too_wide) - skin)[edge].mean()
    assert off < 0.1 * np.abs(crop - skin)[edge].mean(), off


def test_inside_the_head_and_at_its_true_edge_its_colours_stay(portrait: tuple[np.ndarray, np.ndarray]) -> None:
    crop, alpha = portrait
    colours = head_colours(crop, alpha)
    deep = cv2.erode(alpha, np.ones((15, 15), np.uint8)) == 1.0
    np.testing.assert_allclose(colours[deep], crop[deep], atol=1e-6)
    edge = (alpha == 1.0) & ~deep
    assert np.abs(colours[edge] - crop[edge]).mean() < 0.005


def test_a_crop_that_is_all_head_keeps_its_colours() -> None:
    crop = scene()
    np.testing.assert_array_equal(head_colours(crop, np.ones((SIZE, SIZE), np.float32)), crop)


def disc(x: float, radius: float = 60.0) -> np.ndarray:
    row, column = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    return np.clip((radius - np.hypot(column - x, row - 128)) / 4.0, 0, 1).astype("f4")


def test_where_a_head_was_and_is_no_more_the_background_is_made_up() -> None:
    place = pixels(SIZE).copy()  # nothing moves where the head is gone
    was, now = disc(100), disc(140)
    change = _change(place, np.ones((SIZE, SIZE), np.float32), now, was, None)
    bared = (was > 0.5) & (now < 0.01)
    assert bared.sum() > 1500
    assert change[cv2.erode(bared.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0].mean() > 0.95


def test_the_edge_of_a_head_that_hardly_moves_is_the_portraits_own() -> None:
    head_matte = disc(128)
    place = pixels(SIZE) + np.float32(0.4 * SIZE / 128)
    painted = np.full((SIZE, SIZE), 0.5, np.float32)
    change = _change(place, painted, head_matte, head_matte, None)
    edge = (head_matte > 0.05) & (head_matte < 0.95)
    assert change[edge].max() < 0.1
    assert change[disc(128, 40.0) == 1.0].min() > 0.95
    # A head that moves further takes its edge along.
    far = _change(pixels(SIZE) + np.float32(4.0 * SIZE / 128), painted, head_matte, head_matte, None)
    assert far[edge].min() > 0.9


def test_patches_that_disagree_leave_no_blocks() -> None:
    side, size = 128, 512
    rng = np.random.default_rng(5)
    crop = cv2.GaussianBlur(rng.random((size, size, 3)).astype(np.float32), (0, 0), 6)
    crop = np.clip(0.5 + 8.0 * (crop - 0.5), 0.0, 1.0).astype(np.float32)
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    alpha = (np.hypot(x - 0.5, y - 0.5) < 0.3).astype(np.float32)
    # Every place is said to look like another one.
    sources = (np.round(rng.uniform(-20, 20, (side, side, 2))) / side).astype(np.float32)
    steps = np.abs(np.diff(background_plate(crop, alpha, sources), axis=1))[160:352, 160:352].mean(axis=(0, 2))
    by_phase = [steps[phase :: size // side].mean() for phase in range(size // side)]
    assert max(by_phase) < 1.25 * min(by_phase)
