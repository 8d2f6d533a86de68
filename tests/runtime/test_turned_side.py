# SPDX-License-Identifier: GPL-3.0-or-later
"""The side of a head that a turn uncovers gets detail of natural scale, which moves as what is beside it does."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from lpmm_runtime.backbones.head_detail import head_detail, skin_grain
from lpmm_runtime.backbones.turned_side import TurnedSide, show_detail, turned_side

SIZE, MAP = 256, 128
# The head, in sides: its left edge stays where it is while the rest moves to the right by TURN.
LEFT, MIDDLE, RADIUS = 0.3, 0.58, 0.28
TURN, WIDTH = 0.1, 0.14
STRETCHED = np.s_[112:144, 80:108]


def face() -> np.ndarray:
    """Landmarks [68, 2] on an oval in the right half of the head."""
    angle = np.linspace(0.0, np.pi, 17)
    points = np.full((68, 2), 0.0, np.float32)
    points[:17] = np.stack([0.68 - 0.08 * np.cos(angle), 0.5 + 0.12 * np.sin(angle)], axis=1)
    points[17:27] = np.stack([np.linspace(0.61, 0.75, 10), np.full(10, 0.46)], axis=1)
    points[27:68] = (0.68, 0.52)
    return points


def matte(size: int, middle: float = MIDDLE) -> np.ndarray:
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    return np.clip((RADIUS - np.hypot(x - middle, y - 0.5)) * size / 2, 0, 1).astype("f4")


def grain(seed: int = 3) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal((SIZE, SIZE)), (0, 0), 1.5)
    return np.repeat((0.5 + 0.1 * noise / noise.std())[..., None], 3, axis=2).astype("f4")


def turn(amount: float) -> np.ndarray:
    """A flow [m, m, 2], in sides: a narrow strip at the head's left edge is drawn out."""
    x = (np.arange(MAP) + 0.5) / MAP
    across = -amount * np.clip((x - LEFT) / WIDTH, 0, 1)
    return np.stack([np.tile(across, (MAP, 1)), np.zeros((MAP, MAP))], axis=-1).astype("f4")


def pixels() -> np.ndarray:
    return np.stack(np.meshgrid(*[np.arange(SIZE, dtype=np.float32)] * 2), axis=-1)


def turned(amount: float) -> TurnedSide:
    target = np.maximum(matte(MAP), matte(MAP, MIDDLE + amount))
    return turned_side(turn(amount), target, matte(SIZE), face() + np.float32([amount, 0]))


def detail_of(head: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return head_detail(head, matte(SIZE)), skin_grain(head, face())


def gradients(picture: np.ndarray) -> tuple[float, float]:
    """Return how much a picture changes from left to right, and from top to bottom."""
    across, down = np.diff(picture[..., 0], axis=1), np.diff(picture[..., 0], axis=0)
    return float((across**2).mean()), float((down**2).mean())


def test_a_head_at_rest_shows_no_detail_and_keeps_its_flow() -> None:
    side = turned(0.0)
    assert side.amount.max() == 0.0
    assert not side.flow.any()


def test_what_is_drawn_out_gets_a_texture_of_natural_scale() -> None:
    head, side = grain(), turned(TURN)
    place = pixels() + cv2.resize(side.flow, (SIZE, SIZE)) * np.float32(SIZE)
    moved = cv2.remap(head, place, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    before = gradients(moved[STRETCHED])
    show_detail(moved, detail_of(head), side)
    after, truth = gradients(moved[STRETCHED]), gradients(head[STRETCHED])
    # Streaks change from row to row and hardly along; the photo's own grain does alike both ways.
    assert before[0] < 0.15 * before[1]
    assert after[0] > 0.4 * after[1]
    assert after[0] > 2.0 * before[0]
    assert after[0] > 0.2 * truth[0]


def test_a_hairline_in_what_is_drawn_out_stays_as_sharp_as_the_flow_leaves_it() -> None:
    side = turned(TURN)
    hairline = round((LEFT + 0.02) * SIZE)
    head = np.full((SIZE, SIZE, 3), 0.7, np.float32)
    head[:, :hairline] = 0.2
    head[:, hairline:] += 0.02 * np.random.default_rng(5).standard_normal((SIZE, 1, 1)).astype("f4")
    place = pixels() + cv2.resize(side.flow, (SIZE, SIZE)) * np.float32(SIZE)
    moved = cv2.remap(head, place, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    before = np.abs(np.diff(moved[STRETCHED][..., 0], axis=1)).max(axis=1)
    streaks = np.diff(moved[STRETCHED][..., 0], axis=0)[:, -8:].std()
    show_detail(moved, (np.zeros((SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE), np.float32)), side)
    assert np.median(np.abs(np.diff(moved[STRETCHED][..., 0], axis=1)).max(axis=1)) > 0.8 * np.median(before)
    assert np.diff(moved[STRETCHED][..., 0], axis=0)[:, -8:].std() < 0.4 * streaks


def test_the_detail_moves_as_what_is_beside_it() -> None:
    for amount in (0.06, 0.08, TURN):
        side = turned(amount)
        shown = side.amount > 0.5
        assert shown.any()
        rigid = cv2.resize(side.rigid, (64, 64))[shown][:, 0]
        # Nearly: the first of what is not drawn out is still slow.
        assert np.median(rigid) == pytest.approx(-amount, abs=0.2 * amount)


def test_detail_comes_in_gradually_as_a_head_turns() -> None:
    amounts = [turned(float(amount)).amount for amount in np.linspace(0.0, TURN, 41)]
    assert amounts[-1].max() > 0.9
    assert max(np.abs(later - earlier).max() for earlier, later in pairwise(amounts)) < 0.35


def test_the_face_is_left_to_the_flow() -> None:
    flow = turn(TURN)
    points = face()
    points[:, 0] -= 0.3  # the stretched strip is within the face
    target = np.maximum(matte(MAP), matte(MAP, MIDDLE + TURN))
    side = turned_side(flow, target, matte(SIZE), points)
    inside = np.s_[66:70, 45:50]
    assert side.amount[33:35, 23:25].max() == 0.0
    np.testing.assert_allclose(side.flow[inside], flow[inside], atol=2e-3)


def test_streaks_within_the_face_give_way_to_the_skins_grain() -> None:
    # The strip that is drawn out is cheek, within the jaw's outline and far from eyes and mouth.
    points = face()
    points[:17, 0] = np.linspace(0.31, 0.78, 17)
    points[:17, 1] = 0.5 + 0.2 * np.sqrt(np.sin(np.linspace(0.0, np.pi, 17)).clip(0.0))
    side = turned_side(turn(TURN), matte(MAP), matte(SIZE), points)
    cheek, pixel = np.s_[33:37, 23:26], np.s_[132:148, 92:104]
    assert side.amount[cheek].max() < 0.3 and side.skin[cheek].min() > 0.7
    head = grain()
    place = pixels() + cv2.resize(side.flow, (SIZE, SIZE)) * np.float32(SIZE)
    moved = cv2.remap(head, place, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    before = gradients(moved[pixel])
    show_detail(moved, detail_of(head), side)
    after = gradients(moved[pixel])
    assert before[0] < 0.15 * before[1]
    assert after[1] < 0.6 * before[1] and after[0] > 0.3 * after[1]
    # Where nothing is drawn out the skin is the portrait's.
    assert turned_side(turn(0.0), matte(MAP), matte(SIZE), points).skin.max() == 0.0


def test_frames_without_a_turned_side_stay_as_they_are() -> None:
    moved = grain()
    show_detail(moved, (grain(5)[..., 0], grain(6)[..., 0]), turned(0.0))
    np.testing.assert_array_equal(moved, grain())


def combed(degrees: float) -> np.ndarray:
    """Hair [s, s, 3] of fine strands that run at an angle, 0 from left to right."""
    noise = np.random.default_rng(4).standard_normal((3 * SIZE, 3 * SIZE)).astype("f4")
    noise = cv2.GaussianBlur(noise, (0, 0), 25.0, sigmaY=1.2)
    turn = cv2.getRotationMatrix2D((1.5 * SIZE, 1.5 * SIZE), degrees, 1.0)
    noise = cv2.warpAffine(noise, turn, noise.shape)[SIZE : 2 * SIZE, SIZE : 2 * SIZE]
    return np.repeat((0.4 + 0.05 * noise / noise.std())[..., None], 3, axis=2).astype("f4")


def run_of(detail: np.ndarray) -> tuple[float, float]:
    """Return the angle in degrees that strands run at, and how much of the change is across them, 0 to 1."""
    across, down = np.gradient(detail, axis=1), np.gradient(detail, axis=0)
    xx, yy, xy = (across**2).mean(), (down**2).mean(), (across * down).mean()
    angle = np.degrees(0.5 * np.arctan2(-2.0 * xy, yy - xx))
    return float(-angle % 180.0), float(np.hypot(yy - xx, 2.0 * xy) / (xx + yy))


@pytest.mark.parametrize("degrees", [20.0, 65.0, 110.0, 160.0])
def test_strands_go_on_beyond_the_head_the_way_they_run_at_its_edge(degrees: float) -> None:
    detail = head_detail(combed(degrees), matte(SIZE))
    beyond = detail[100:156, 20:60]
    angle, coherent = run_of(beyond)
    assert abs((angle - degrees + 90.0) % 180.0 - 90.0) < 15.0
    assert coherent > 0.6
    inside = detail[100:156, 120:176]
    assert 0.5 * inside.std() < beyond.std() < 1.5 * inside.std()


def test_hair_without_a_direction_gets_none() -> None:
    assert run_of(head_detail(grain(), matte(SIZE))[100:156, 20:60])[1] < 0.4


def test_black_hair_with_highlights_goes_on_as_black_hair() -> None:
    head = np.full((SIZE, SIZE, 3), 0.04, np.float32)
    head[:, ::9] = 0.3
    beyond = head_detail(cv2.GaussianBlur(head, (0, 0), 1.0), matte(SIZE))[100:156, 20:60]
    shown = (0.04 + beyond).clip(0.0)
    assert shown.mean() < 0.05 and shown.std() > 0.005


def test_a_hairline_is_no_detail_and_hair_beside_it_is() -> None:
    head = combed(90.0)
    head[:, round(MIDDLE * SIZE) :] += 0.35
    detail = head_detail(head, matte(SIZE))[100:156]
    edge, hair = (detail[:, round(at * SIZE) - 3 : round(at * SIZE) + 3] for at in (MIDDLE, MIDDLE - 0.12))
    assert np.abs(edge).max() < 0.1 * hair.std() and hair.std() > 0.005


def test_nothing_of_the_head_comes_again_beyond_its_edge() -> None:
    head = combed(90.0)
    cv2.line(head, (90, 110), (110, 150), (0.9, 0.9, 0.9), 2)
    cv2.line(head, (110, 110), (90, 150), (0.9, 0.9, 0.9), 2)
    detail = head_detail(head, matte(SIZE))
    beyond = detail[:, : round((MIDDLE - RADIUS - 0.02) * SIZE)]
    mark = detail[108:152, 88:112]
    for turned_mark in (mark, mark[:, ::-1]):
        assert cv2.matchTemplate(beyond, np.ascontiguousarray(turned_mark), cv2.TM_CCOEFF_NORMED).max() < 0.5


def test_the_detail_of_a_portrait_is_the_same_each_time_and_small_where_none_is() -> None:
    head = np.full((SIZE, SIZE, 3), 0.4, np.float32)
    assert np.abs(head_detail(head, matte(SIZE))).max() < 1e-5
    first, second = (head_detail(grain(), matte(SIZE)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_crop_that_is_all_head_has_its_own_detail() -> None:
    detail = head_detail(grain(), np.ones((SIZE, SIZE), np.float32))
    assert np.isfinite(detail).all()
    assert detail.std() > 0.03


def test_the_skins_grain_repeats_no_mark_of_it() -> None:
    rng = np.random.default_rng(2)
    head = (0.6 + 0.01 * rng.standard_normal((SIZE, SIZE, 1)) * np.ones(3)).astype("f4")
    points = np.full((68, 2), 0.9, np.float32)
    points[[3, 31, 41]] = [[0.3, 0.5], [0.5, 0.55], [0.5, 0.45]]
    x, y = (int(SIZE * at) for at in 0.5 * points[3] + 0.25 * (points[31] + points[41]))
    cv2.circle(head, (x, y), 4, (0.2, 0.1, 0.1), 1)
    cv2.line(head, (x - 10, y + 8), (x + 10, y - 8), (0.4, 0.3, 0.3), 1)
    texture = skin_grain(head, points)
    mark = cv2.cvtColor(head, cv2.COLOR_RGB2GRAY)[y - 8 : y + 8, x - 8 : x + 8]
    assert cv2.matchTemplate(texture, mark, cv2.TM_CCOEFF_NORMED).max() < 0.6
    # Nearly as strong as the grain beside the marks, which is 0.01.
    assert 0.007 < texture.std() < 0.02
    assert not skin_grain(np.full((SIZE, SIZE, 3), 0.5, np.float32), points).any()
