# SPDX-License-Identifier: GPL-3.0-or-later
"""A head that rises out of its crop moves as a whole: in the full view no hair stays behind above it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from lpmm_runtime.backbones.beyond_crop import (
    Strip,
    Surroundings,
    carried_on,
    crop_alone,
    strips_beyond,
    surroundings,
    wide_canvas,
    within_crop,
)
from lpmm_runtime.bundle import DEFAULT_BUNDLE
from lpmm_runtime.crop import CropSquare
from lpmm_runtime.engine import Engine
from lpmm_runtime.frame import evaluate_channels
from lpmm_runtime.paste import paste
from lpmm_runtime.portrait import read_image

SIZE, MARGIN = 128, 32
CHIN = (0.5, 0.8)
HAIR, WALL = (0.5, 0.3, 0.15), (0.45, 0.55, 0.7)


def scene(top: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A head that rises above its crop to row `top` of 192: the picture [192, 192, 4] uint8, the crop and its matte."""
    rng = np.random.default_rng(0)
    truth = np.zeros((192, 192), np.float32)
    cv2.ellipse(truth, (96, 96), (40, 96 - top), 0, 0, 360, 1.0, -1)
    picture = truth[..., None] * np.float32(HAIR) + (1.0 - truth[..., None]) * np.float32(WALL)
    picture = np.clip(picture + rng.normal(0.0, 0.02, picture.shape), 0.0, 1.0).astype(np.float32)
    middle = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    around = (255 * np.dstack([picture, np.ones_like(truth)])).astype(np.uint8)
    return around, (around[middle][..., :3] / 255).astype(np.float32), truth[middle].copy()


def surrounded(around: np.ndarray, _: np.ndarray, alpha: np.ndarray) -> Surroundings:
    return surroundings(around, alpha, chin=0.9)


@pytest.fixture(scope="module")
def known() -> Surroundings:
    return surrounded(*scene())


def face() -> np.ndarray:
    points = np.full((68, 2), 0.5, np.float32)
    points[17:27, 1] = 0.45
    points[8] = CHIN
    return points


def test_the_matte_goes_on_as_the_photo_does(known: Surroundings) -> None:
    truth = np.zeros((192, 192), np.float32)
    cv2.ellipse(truth, (96, 96), (40, 84), 0, 0, 360, 1.0, -1)
    above = np.s_[:MARGIN]
    assert truth[above].sum() > 500
    assert np.abs(known.alpha[above] - truth[above]).sum() < 0.15 * truth[above].sum()


def test_a_wall_of_the_hairs_colour_is_not_taken_for_hair() -> None:
    picture, crop, alpha = scene(top=20)
    picture[:28, :, :3] = 255 * np.float32(HAIR)
    wide = surrounded(picture, crop, alpha).alpha
    assert wide[:MARGIN, :40].max() < 0.01 and wide[:MARGIN, -40:].max() < 0.01


def test_a_head_within_its_crop_goes_on_nowhere() -> None:
    wide = surrounded(*scene(top=50)).alpha
    assert wide[:MARGIN].max() == 0.0 and wide[:, :MARGIN].max() == 0.0


def motion(degrees: float, way: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """The flow [192, 192, 2] of a head that rolls about its chin and goes so far the other way, in crop sides."""
    x = (np.arange(-MARGIN, SIZE + MARGIN) + 0.5) / SIZE
    place = x[None, :] - CHIN[0] + 1j * (x[:, None] - CHIN[1])
    flow = (np.exp(1j * np.radians(degrees)) - 1.0) * place + complex(*way)
    return np.stack([flow.real, flow.imag], axis=-1).astype(np.float32)


def rolled(known: Surroundings, degrees: float) -> tuple[Strip, ...]:
    """Return what changes beyond the crop when all of the head rolls."""
    _, crop, alpha = scene()
    canvas, flow = wide_canvas(known, crop), within_crop(motion(degrees))
    place = (SIZE * flow + np.stack(np.meshgrid(*[np.arange(SIZE)] * 2), axis=-1)).astype(np.float32)
    moved = cv2.remap(alpha, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return strips_beyond(canvas, *carried_on(canvas, flow, moved, face()))


def pasted(known: Surroundings, beyond: tuple[Strip, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the photo [192, 192, 3] and the picture [192, 192, 4] with strips about a crop that stays."""
    _, crop, alpha = scene()
    photo, frame = known.picture[..., :3], np.dstack([crop, alpha])
    return photo, paste(photo, CropSquare(96.0, 96.0, 128.0), frame, frame, matte=True, beyond=beyond)


def test_what_a_head_leaves_above_its_crop_is_background_and_where_it_goes_is_hair(known: Surroundings) -> None:
    _, picture = pasted(known, rolled(known, -25.0))
    # The crown, 0.86 crops above the chin, goes aside by 0.36 of one, and down by 0.08.
    left, arrived = (picture[26:31, columns].reshape(-1, 4) / 255 for columns in (slice(76, 88), slice(132, 146)))
    assert np.abs(left[:, :3] - WALL).mean() < 0.05 and left[:, 3].max() < 0.1
    assert np.abs(arrived[:, :3] - HAIR).mean() < 0.05 and arrived[:, 3].min() > 0.9


def test_at_rest_the_photo_stands_beyond_the_crop_and_the_matte_goes_on(known: Surroundings) -> None:
    still = np.zeros((*known.alpha.shape, 2), np.float32)
    photo, picture = pasted(known, strips_beyond(wide_canvas(known, scene()[1]), still, known.alpha))
    assert np.array_equal(picture[..., :3], photo)
    assert picture[24, 96, 3] == 255 and picture[24, 20, 3] == 0


def test_a_crop_of_which_no_surroundings_are_known_changes_nothing_beyond() -> None:
    _, crop, alpha = scene()
    canvas = crop_alone(crop, crop, alpha)
    flow, wide = carried_on(canvas, np.full((SIZE, SIZE, 2), 0.1, np.float32), alpha, face())
    assert strips_beyond(canvas, flow, wide) == ()
    assert np.array_equal(within_crop(wide), alpha)


@pytest.mark.parametrize("degrees", [0.0, 20.0, -12.0])
def test_above_the_crop_a_head_rolls_on(known: Surroundings, degrees: float) -> None:
    _, crop, alpha = scene()
    flow = motion(degrees)
    carried, _ = carried_on(wide_canvas(known, crop), within_crop(flow), alpha, face())
    assert np.abs(carried - flow)[:MARGIN, MARGIN:-MARGIN].max() < 0.01


@pytest.mark.parametrize("degrees", [0.0, 15.0])
def test_a_crown_near_the_crops_edge_follows_nods_and_turns_less_the_nearer_it_is(
    known: Surroundings, degrees: float
) -> None:
    _, crop, alpha = scene()
    way = np.float32([0.08, -0.05])
    flow = motion(degrees, (float(way[0]), float(way[1])))
    canvas = wide_canvas(known, crop)
    carried, _ = carried_on(canvas, within_crop(flow), alpha, face())
    aside, nodded = ((carried - motion(degrees)) / way)[:, 96].T
    crown = canvas.crown + MARGIN
    assert nodded[crown] == pytest.approx(0.0, abs=0.05) and nodded[crown + 50] == pytest.approx(1.0, abs=0.05)
    assert (np.diff(nodded[crown : crown + 50]) > -0.03).all()
    # Aside it does what the networks say within the crop, and beyond it less and less.
    np.testing.assert_allclose(aside[MARGIN : MARGIN + 50], 1.0, atol=1e-3)
    assert (np.diff(aside[:MARGIN]) > 0.0).all() and aside[0] < 0.3
    # A crown that the networks saw goes where they say.
    low = surrounded(*scene(top=50))
    seen, _ = carried_on(wide_canvas(low, scene(top=50)[1]), within_crop(flow), scene(top=50)[2], face())
    np.testing.assert_allclose(within_crop(seen), within_crop(flow), atol=1e-6)


def test_fluff_goes_with_the_head_beside_it_though_the_networks_leave_it_behind() -> None:
    around, crop, alpha = scene(top=50)
    loose = cv2.GaussianBlur(cv2.dilate(alpha, np.ones((9, 9), np.uint8)) - alpha, (0, 0), 0.8)
    known = replace(surrounded(around, crop, alpha), fluff=np.pad(0.6 * loose, MARGIN))
    flow = np.where(alpha[..., None] > 0.5, np.float32([0.06, 0.0]), np.float32(0.0)).astype(np.float32)
    moved = np.roll(alpha, -round(0.06 * SIZE), axis=1)
    flow = np.where(moved[..., None] > 0.5, np.float32([0.06, 0.0]), flow).astype(np.float32)
    carried, wide = carried_on(wide_canvas(known, crop), flow, moved, face())
    went = np.roll(0.6 * loose, -round(0.06 * SIZE), axis=1)
    beside = (went > 0.4) & (moved < 0.01) & (np.arange(SIZE)[:, None] < 90)
    assert beside.sum() > 100
    assert within_crop(wide)[beside].mean() > 0.35
    np.testing.assert_allclose(within_crop(carried)[beside].mean(axis=0), [0.06, 0.0], atol=0.01)


@pytest.mark.parametrize("scale", [1, 2])
def test_strips_are_laid_over_what_of_the_photo_they_meet(known: Surroundings, scale: int) -> None:
    beyond = rolled(known, 10.0)
    assert len(beyond) > 0
    # A photo that begins within the strips, and a frame that is smaller than the crop.
    photo = np.full((150 * scale, 150 * scale, 3), 90, np.uint8)
    frame = np.zeros((SIZE, SIZE, 4), np.float32)
    picture = paste(photo, CropSquare(*[54.0 * scale] * 2, 128.0 * scale), frame, frame, matte=True, beyond=beyond)
    rows, columns = np.nonzero((picture[..., :3] != 90).any(axis=-1))
    assert len(rows) and rows.max() < 124 * scale and columns.max() < 124 * scale


def test_a_portraits_hair_rolls_along_above_the_crop(default_engine: Engine) -> None:
    ben = default_engine.create_character(read_image(DEFAULT_BUNDLE.parents[1] / "portraits" / "ben.jpg"))
    rest, rolled = (
        default_engine.render(ben, evaluate_channels(default_engine.bundle.rig, ben.params, values, {}), view="full")
        for values in ({}, {"headRoll": 12.0})
    )
    top = round(ben.square.top)
    rows = slice(top - 20, top)
    was, now = rest[rows, :, 3] > 200, rolled[rows, :, 3] > 50
    gone, come = was & ~now, now & (rest[rows, :, 3] == 0)
    assert was.sum() > 500 and gone.sum() > 200 and come.sum() > 200
    # What the hair left is as bright as the wall around it, and where it went it is as dark as hair.
    wall, hair = ben.photo[rows][rest[rows, :, 3] == 0].mean(), ben.photo[rows][was].mean()
    assert rolled[rows, :, :3][gone].mean() > hair + 0.7 * (wall - hair)
    assert rolled[rows, :, :3][come].mean() < hair + 0.5 * (wall - hair)


def test_no_hair_stands_beside_a_head_that_rolls(default_engine: Engine) -> None:
    ben = default_engine.create_character(read_image(DEFAULT_BUNDLE.parents[1] / "portraits" / "ben.jpg"))
    rig = default_engine.bundle.rig
    for values in ({"headRoll": -20.0}, {"headYaw": 15.0, "headPitch": -8.0, "headRoll": 10.0}):
        frame = default_engine.render(ben, evaluate_channels(rig, ben.params, values, {}), view="full")
        head = (frame[: round(ben.square.y), :, 3] > 128).astype(np.uint8)
        # Nothing that a small disc does not fit in, and nothing apart.
        opened = cv2.morphologyEx(head, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (45, 45)))
        assert (head & ~opened)[: round(ben.square.top) + 40].sum() < 120
        assert cv2.connectedComponents(head)[0] == 2
