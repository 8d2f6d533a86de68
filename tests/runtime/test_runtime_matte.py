# SPDX-License-Identifier: GPL-3.0-or-later
"""The matte of a portrait: where the network is in doubt, colours decide."""

import cv2
import numpy as np

from lpmm_runtime.backbones.matte import decided, fluff, regained_matte, rounded, settled_matte
from lpmm_runtime.backbones.pixel_maps import enlarged


def portrait() -> tuple[np.ndarray, np.ndarray]:
    """A brown disc on speckled blue [300, 300, 3], and its true matte [128, 128]."""
    rng = np.random.default_rng(0)
    truth = np.zeros((300, 300), np.float32)
    cv2.circle(truth, (150, 150), 90, 1.0, -1, cv2.LINE_AA)
    crop = truth[..., None] * np.float32([0.5, 0.35, 0.2]) + (1 - truth[..., None]) * np.float32([0.4, 0.5, 0.8])
    crop += rng.normal(0, 0.03, crop.shape).astype(np.float32)
    return crop.clip(0, 1), cv2.resize(truth, (128, 128), interpolation=cv2.INTER_AREA)


def doubtful(truth: np.ndarray) -> np.ndarray:
    """The matte with a hole half seen at its edge, and a cloud of doubt on the background."""
    alpha = cv2.GaussianBlur(truth, (0, 0), 1.5)
    cv2.circle(alpha, (30, 64), 10, 0.25, -1)
    cv2.circle(alpha, (104, 30), 8, 0.7, -1)
    return alpha


def test_doubt_is_settled_by_colour() -> None:
    crop, truth = portrait()
    alpha = doubtful(truth)
    settled = settled_matte(crop, alpha)
    assert settled.shape == (128, 128) and settled.dtype == np.float32
    assert np.abs(settled - truth).mean() < 0.3 * np.abs(alpha - truth).mean()
    assert settled[64, 30] > 0.95 and settled[30, 104] < 0.05


def test_the_same_portrait_gets_the_same_matte() -> None:
    crop, truth = portrait()
    assert np.array_equal(settled_matte(crop, doubtful(truth)), settled_matte(crop, doubtful(truth)))


def test_a_matte_of_one_kind_is_left_alone() -> None:
    crop, _ = portrait()
    for alpha in (np.ones((128, 128), np.float32), np.full((128, 128), 0.5, np.float32)):
        assert np.array_equal(settled_matte(crop, alpha), alpha)


def test_an_enlarged_matte_has_no_steps_along_its_edge() -> None:
    y, x = np.mgrid[:128, :128] - 63.5
    alpha = (np.hypot(x, y) < 40.0).astype(np.float32)

    def unevenness(matte: np.ndarray) -> float:
        """Return how much the edge's distance from the middle varies, in pixels of the small matte."""
        wide = decided(enlarged(matte[..., None], 1024)[..., 0])
        (outline,), _ = cv2.findContours((wide > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        return float(np.linalg.norm(outline[:, 0] - 511.5, axis=-1).std()) / 8

    assert unevenness(rounded(alpha)) < 0.65 * unevenness(alpha)
    # Where it is sure it stays so.
    assert np.abs(rounded(alpha) - alpha)[np.abs(np.hypot(x, y) - 40.0) > 4.0].max() < 1e-3


def test_hair_that_is_like_the_head_near_by_is_regained() -> None:
    crop, truth = portrait()
    bitten = truth.copy()
    cv2.circle(bitten, (98, 50), 9, 0.0, -1)
    regained = regained_matte(crop, bitten, lowest=0.9)
    lost, found = (np.abs(truth - matte).mean() for matte in (bitten, regained))
    assert found < 0.2 * lost
    # Not where clothes would be.
    assert np.array_equal(regained_matte(crop, bitten, lowest=0.2), bitten)


def test_a_background_of_the_heads_colour_does_not_join_it() -> None:
    crop, truth = portrait()
    # A plank of the head's colour goes on behind it, to the picture's edge.
    crop[100:200, 150:] = crop[150, 150]
    assert np.abs(regained_matte(crop, truth, lowest=0.9) - truth).max() < 0.05


def test_a_wall_of_the_clothes_colour_does_not_join_the_head() -> None:
    crop, truth = portrait()
    shoulders = np.zeros((300, 300), np.float32)
    cv2.ellipse(shoulders, (150, 300), (140, 80), 0, 0, 360, 1.0, -1)
    wall = (0.6, 0.6, 0.55)
    crop[shoulders > 0] = wall
    # The wall beside the neck is like them; further up and aside another colour begins.
    crop[205:238, 58:84] = wall
    alpha = np.maximum(truth, cv2.resize(shoulders, (128, 128), interpolation=cv2.INTER_AREA))
    assert np.abs(regained_matte(crop, alpha, lowest=0.76) - alpha).max() < 0.05


def fluffy(full_circle: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A brown disc and curls that thin out over speckled blue [256, 256, 3], the disc's matte and how dense curls are,
    both [128, 128]; curls are all around it, or to one side."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:256, :256] - 127.5
    away = np.hypot(x, y) - 60.0
    density = np.where(away > 0.0, np.clip(0.85 - away / 30.0, 0.0, 1.0), 1.0)
    if not full_circle:
        density = np.where((away > 0.0) & (x < 45), 0.0, density)
    hair = cv2.GaussianBlur((rng.random((256, 256)) < density).astype(np.float32), (0, 0), 0.6)
    crop = hair[..., None] * np.float32([0.35, 0.22, 0.12]) + (1 - hair[..., None]) * np.float32([0.4, 0.55, 0.85])
    crop += rng.normal(0, 0.02, crop.shape).astype(np.float32)
    disc, dense = (
        cv2.resize(part.astype(np.float32), (128, 128), interpolation=cv2.INTER_AREA) for part in (away <= 0, density)
    )
    return crop.clip(0, 1).astype(np.float32), disc, dense


def test_hair_that_lets_the_background_through_is_as_dense_as_it_is() -> None:
    crop, disc, dense = fluffy()
    found = fluff(crop, disc, lowest=1.0)
    assert found is not None
    matte = np.maximum(disc, found)
    ring = (disc < 0.01) & (dense > 0.2)
    assert np.abs(matte - dense)[ring].mean() < 0.12
    assert decided(matte)[dense == 0.0].max() == 0.0
    # No seam between the two: from within to without it only falls.
    assert (np.diff(matte[64, 64:110]) < 0.06).all() and matte[64, 64:92].min() > 0.7


def test_what_stands_beside_a_head_is_not_its_fluff_and_clothes_are_not_either() -> None:
    crop, disc, _ = fluffy(full_circle=False)
    assert fluff(crop, disc, lowest=1.0) is None
    plain, truth = portrait()
    assert fluff(plain, truth, lowest=1.0) is None
    crop, disc, _ = fluffy()
    low = fluff(crop, disc, lowest=0.5)
    assert low is not None and low[:60].max() > 0.3 and low[66:].max() == 0.0
