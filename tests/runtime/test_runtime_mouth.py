# SPDX-License-Identifier: GPL-3.0-or-later
"""The inside of an opening mouth, on a drawn face whose lips, teeth and skin are known."""

import cv2
import numpy as np
import pytest

from lpmm_runtime.backbones.mouth_layer import _JAW, _SKULL, draw_mouth, inner_lips, portrait_mouth

SIZE = 256
SKIN, LIP, TOOTH, WHITE = (0.75, 0.55, 0.45), (0.70, 0.38, 0.36), (0.92, 0.90, 0.85), (0.80, 0.80, 0.80)

# An average head's points and its upper incisors, in interocular distances: to the right, down, towards the viewer.
HEAD_PLACES = {
    36: (-0.5, 0.017, -0.169),
    39: (-0.197, 0.043, -0.119),
    42: (0.197, 0.043, -0.119),
    45: (0.5, 0.017, -0.169),
    27: (0.0, 0.0, 0.0),
    30: (0.0, 0.437, 0.22),
    33: (0.0, 0.541, 0.141),
}
TEETH_PLACE = (0.0, 0.62, -0.039)


def turn(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The rotation [3, 3] of a head by degrees."""
    (a, b, c), (d, e, f) = np.cos(np.radians([yaw, pitch, roll])), np.sin(np.radians([yaw, pitch, roll]))
    about_y = np.array([[a, 0, d], [0, 1, 0], [-d, 0, a]])
    about_x = np.array([[1, 0, 0], [0, b, -e], [0, e, b]])
    return np.array([[c, -f, 0], [f, c, 0], [0, 0, 1]]) @ about_x @ about_y


def face(gap: float, jaw: float | None = None) -> np.ndarray:
    """Landmarks [68, 2] of a face whose inner lips are `gap` apart: the lower one went down, and the jaw, if unsaid."""
    points = np.full((68, 2), 0.5, np.float32)
    points[8, 1] = 0.85 + (gap if jaw is None else jaw)
    points[36:42] = [(0.32, 0.4), (0.36, 0.38), (0.4, 0.38), (0.44, 0.4), (0.4, 0.42), (0.36, 0.42)]
    points[42:48] = [(0.56, 0.4), (0.6, 0.38), (0.64, 0.38), (0.68, 0.4), (0.64, 0.42), (0.6, 0.42)]
    points[31:36] = [(0.46, 0.58), (0.48, 0.59), (0.5, 0.59), (0.52, 0.59), (0.54, 0.58)]
    x = np.array([0.40, 0.45, 0.5, 0.55, 0.60])
    low = 0.68 + gap * np.array([0.0, 0.8, 1.0, 0.8, 0.0])
    points[60:65] = np.stack([x, np.full(5, 0.68)], axis=-1)
    points[65:68] = np.stack([x, low], axis=-1)[3:0:-1]
    points[48:55] = [(0.38, 0.68), (0.42, 0.66), (0.46, 0.65), (0.5, 0.65), (0.54, 0.65), (0.58, 0.66), (0.62, 0.68)]
    points[55:60] = [(0.58, 0.71 + gap), (0.54, 0.72 + gap), (0.5, 0.72 + gap), (0.46, 0.72 + gap), (0.42, 0.71 + gap)]
    return points


def filled(picture: np.ndarray, outline: np.ndarray, colour: tuple[float, float, float]) -> None:
    points = np.round((outline * SIZE - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(picture, [points], colour, cv2.LINE_8, 4)


def portrait(gap: float) -> np.ndarray:
    """The face [256, 256, 3]; its teeth fill what the lips leave open."""
    picture = np.full((SIZE, SIZE, 3), SKIN, np.float32)
    points = face(gap)
    for start in (36, 42):
        filled(picture, points[start : start + 6], WHITE)
    filled(picture, points[48:60], LIP)
    if gap:
        filled(picture, inner_lips(points), TOOTH)
    return (picture + np.random.default_rng(0).normal(0, 0.01, picture.shape)).clip(0, 1).astype(np.float32)


def opened(before: float, after: float, picture: np.ndarray) -> np.ndarray:
    """What is drawn on a moved head that has nothing but lips where its mouth is."""
    head = np.full_like(picture, LIP)
    draw_mouth(head, picture, portrait_mouth(picture, face(before)), face(before), face(after))
    return head


def brightness(picture: np.ndarray, x: float, y: float) -> float:
    row, column = int(y * SIZE), int(x * SIZE)
    return float(picture[row - 1 : row + 2, column - 4 : column + 5].mean())


def test_an_opening_mouth_shows_upper_teeth_then_the_dark() -> None:
    picture = opened(0.0, 0.12, portrait(0.0))
    teeth, dark = brightness(picture, 0.5, 0.69), brightness(picture, 0.45, 0.72)
    assert teeth > 2.5 * dark and dark < 0.25
    lower = brightness(picture, 0.5, 0.795)
    assert lower > 1.3 * dark, "no lower teeth"
    assert np.array_equal(picture[: int(0.6 * SIZE)], np.full_like(picture[: int(0.6 * SIZE)], LIP))


def test_lips_that_part_before_a_closed_jaw_bare_teeth_that_meet() -> None:
    picture = portrait(0.0)
    closed, dropped = np.full_like(picture, LIP), np.full_like(picture, LIP)
    target = face(0.04, jaw=0.0)
    draw_mouth(closed, picture, portrait_mouth(picture, face(0.0)), face(0.0), target)
    draw_mouth(dropped, picture, portrait_mouth(picture, face(0.0)), face(0.0), face(0.04, jaw=0.04))
    between = [float(closed[int(y * SIZE), SIZE // 2 + 4].mean()) for y in (0.686, 0.692, 0.7, 0.706)]
    assert min(between) > 0.5
    assert float(dropped[int(0.7 * SIZE), SIZE // 2 + 4].mean()) < 0.5 * min(between)


def test_the_lower_teeth_move_as_the_jaw_does() -> None:
    assert sum(_JAW.values()) == pytest.approx(1.0, abs=0.01), "what moves as a whole takes them along"
    picture, between = portrait(0.0), []
    for jaw in (0.01, 0.03):
        head = np.full_like(picture, LIP)
        # The lips part alike.
        draw_mouth(head, picture, portrait_mouth(picture, face(0.0)), face(0.0), face(0.05, jaw))
        column = head[int(0.69 * SIZE) : int(0.725 * SIZE), SIZE // 2 + 4]
        between.append(int((column.mean(axis=-1) < 0.4).sum()))
    assert between[0] <= 2 and 3 <= between[1] - between[0] <= 7, between


def test_a_mouth_that_opens_no_further_is_left_alone() -> None:
    for before, after in ((0.0, 0.004), (0.06, 0.06), (0.06, 0.02)):
        assert np.array_equal(opened(before, after, portrait(before)), np.full((SIZE, SIZE, 3), LIP, np.float32))


def test_teeth_behind_lips_that_part_a_little_are_whole() -> None:
    # Not half a lip: what is drawn there does not depend on what the moved head shows.
    picture, shown = portrait(0.0), []
    for colour in (LIP, (0.2, 0.9, 0.2)):
        head = np.full_like(picture, colour)
        draw_mouth(head, picture, portrait_mouth(picture, face(0.0)), face(0.0), face(0.022))
        shown.append(head[int(0.6905 * SIZE), SIZE // 2])
    np.testing.assert_allclose(*shown, atol=0.03)


def test_teeth_that_show_keep_their_size_and_their_place() -> None:
    picture = portrait(0.05)
    mouth = portrait_mouth(picture, face(0.05))
    assert mouth.teeth.max() > 0.9
    frame = opened(0.05, 0.15, picture)
    assert frame[int(0.705 * SIZE), SIZE // 2] == pytest.approx(TOOTH, abs=0.08)
    assert brightness(frame, 0.46, 0.76) < 0.45


def test_beside_the_teeth_that_show_they_go_on() -> None:
    picture = portrait(0.05)
    columns = (np.arange(SIZE) + 0.5) / SIZE
    hidden = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(hidden, [np.round(inner_lips(face(0.05)) * SIZE).astype(np.int32)], 1)
    hidden[:, np.abs(columns - 0.5) < 0.05] = 0
    picture[hidden > 0] = (0.17, 0.07, 0.065)
    mouth = portrait_mouth(picture, face(0.05))
    interocular = 0.36
    assert mouth.ends[:, 0] == pytest.approx((-0.05 / interocular, 0.05 / interocular), abs=0.015)
    frame = opened(0.05, 0.15, picture)
    own = brightness(frame, 0.5, 0.69)
    for x in (0.43, 0.57):
        assert 0.6 * own < brightness(frame, x, 0.69) < own
        assert brightness(frame, x, 0.735) < 0.5 * own
    # A portrait without teeth has none that end.
    assert not portrait_mouth(portrait(0.0), face(0.0)).ends.any()


def test_an_upper_lip_that_rises_leaves_the_teeth_where_they_are_and_bares_more_of_them_then_gum() -> None:
    # What shows of them is 0.083 of the interocular distance, a tooth some 0.105.
    picture, before, after = portrait(0.03), face(0.03), face(0.03)
    for points in (slice(49, 54), slice(61, 64)):
        after[points, 1] -= 0.04
    # A mark on a tooth tells where the teeth are.
    row = int(0.695 * SIZE)
    picture[row - 1 : row + 2, SIZE // 2 - 3 : SIZE // 2 + 4] = (0.3, 0.3, 0.6)
    head = np.full_like(picture, LIP)
    draw_mouth(head, picture, portrait_mouth(picture, before), before, after)
    assert head[row, SIZE // 2] == pytest.approx((0.3, 0.3, 0.6), abs=0.1)
    assert head[int(0.677 * SIZE), SIZE // 2 + 8] == pytest.approx(TOOTH, abs=0.15)
    for place in (0.654, 0.665):
        red, green, blue = head[int(place * SIZE), SIZE // 2]
        assert red > 1.3 * green and red > 1.3 * blue and red > 0.3


def test_a_shine_on_lips_is_no_tooth() -> None:
    gap = 0.03
    shining = portrait(gap)
    filled(shining, inner_lips(face(gap)), tuple(float(1.15 * part + 0.01) for part in LIP))
    assert portrait_mouth(portrait(gap), face(gap)).teeth.max() > 0.9
    assert portrait_mouth(shining, face(gap)).teeth.max() < 0.05
    # Lips that hardly part show none, however bright it is there.
    assert portrait_mouth(portrait(0.012), face(0.012)).teeth.max() < 0.05


def test_a_mouth_that_is_wide_open_keeps_its_own_inside() -> None:
    picture = portrait(0.16)
    filled(picture, inner_lips(face(0.16)), (0.4, 0.1, 0.2))
    head = np.full_like(picture, LIP)
    draw_mouth(head, picture, portrait_mouth(picture, face(0.16)), face(0.16), face(0.3))
    assert np.array_equal(head, np.full_like(picture, LIP))


def test_the_upper_teeth_move_as_a_rigid_head_takes_them() -> None:
    places = np.array([TEETH_PLACE, *(HEAD_PLACES[point] for point in _SKULL)])
    for yaw, pitch, roll in ((25, 0, 0), (-25, 10, 0), (0, 15, 0), (0, -15, 12), (0, 0, 20)):
        turned = places @ turn(yaw, pitch, roll).T
        ways = (turned - places)[:, :2]
        told = sum(weight * way for weight, way in zip(_SKULL.values(), ways[1:], strict=True))
        assert told == pytest.approx(ways[0], abs=0.012)


def test_teeth_outside_a_misread_outline_are_found() -> None:
    picture = portrait(0.05)
    read = face(0.05)
    read[65:68, 1] -= 0.014
    shown = portrait_mouth(picture, read).inside
    true = portrait_mouth(picture, face(0.05)).inside
    assert shown.sum() == pytest.approx(true.sum(), rel=0.1)


def test_teeth_dragged_along_by_the_lower_lip_are_painted_over() -> None:
    picture, before, after = portrait(0.05), face(0.05), face(0.15)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    # All below the lips' middle moves down, the teeth's lower half with it, and further than the lip was read.
    place = np.dstack([x, np.where(y > 0.8 * SIZE, y - 0.115 * SIZE, y)]).astype(np.float32)
    head = cv2.remap(picture, place, None, cv2.INTER_LINEAR)
    row = int(0.838 * SIZE)
    assert head[row, SIZE // 2].mean() > 0.8
    draw_mouth(head, picture, portrait_mouth(picture, before), before, after, place)
    assert head[row, SIZE // 2].mean() < 0.6


def test_where_rows_of_teeth_are_is_read_off_those_that_show() -> None:
    interocular, whole = 0.36, portrait(0.08)
    upper, lower = portrait_mouth(whole, face(0.08)).rows
    assert upper == pytest.approx(0.08 / interocular, abs=0.03)
    assert upper - 0.05 < lower < upper, "a closed jaw's rows overlap"
    half = portrait(0.08)
    dark = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(dark, [np.round(inner_lips(face(0.08)) * SIZE).astype(np.int32)], 1)
    dark[: int(0.71 * SIZE)] = 0
    half[dark > 0] = (0.17, 0.07, 0.065)
    upper, lower = portrait_mouth(half, face(0.08)).rows
    assert upper == pytest.approx(0.03 / interocular, abs=0.025)
    assert lower > upper + 0.05, "an open jaw's do not"


def test_lips_that_touch_have_no_teeth() -> None:
    mouth = portrait_mouth(portrait(0.0), face(0.0))
    assert mouth.inside.max() == 0.0 and mouth.teeth.max() == 0.0


def test_a_grey_portrait_stays_grey() -> None:
    grey = np.repeat(portrait(0.0).mean(axis=-1, keepdims=True), 3, axis=-1)
    head = grey.copy()
    draw_mouth(head, grey, portrait_mouth(grey, face(0.0)), face(0.0), face(0.12))
    assert np.ptp(head, axis=-1).max() < 1e-5 and np.abs(head - grey).max() > 0.2


def test_darker_light_gives_darker_teeth() -> None:
    lit = opened(0.0, 0.12, portrait(0.0))
    dim = opened(0.0, 0.12, 0.5 * portrait(0.0))
    assert brightness(dim, 0.5, 0.69) < 0.65 * brightness(lit, 0.5, 0.69)


def test_pressed_lips_that_cross_open_nothing() -> None:
    picture = portrait(0.0)
    head = np.full_like(picture, LIP)
    draw_mouth(head, picture, portrait_mouth(picture, face(0.0)), face(0.0), face(-0.03))
    assert np.array_equal(head, np.full_like(picture, LIP))
    # Nor does what is crossed beside what is open.
    crossed = face(0.05)
    crossed[67] = crossed[61] - (0.0, 0.02)
    outline = inner_lips(crossed)
    assert outline[:, 1].min() > 0.665


def test_the_shade_between_two_teeth_goes_with_them() -> None:
    picture = portrait(0.05)
    for x in (0.47, 0.53):
        column = round(x * SIZE)
        picture[int(0.69 * SIZE) : int(0.72 * SIZE), column : column + 2] = 0.25
    frame = opened(0.05, 0.15, picture)
    # The mouth's dark would be seen there.
    assert frame[int(0.705 * SIZE), round(0.47 * SIZE)] == pytest.approx(0.25, abs=0.15)
    assert portrait_mouth(picture, face(0.05)).teeth[int(0.705 * SIZE), round(0.47 * SIZE)] > 0.9


def test_lower_teeth_take_the_colour_of_the_teeth_that_show() -> None:
    yellow = portrait(0.05)
    yellow[np.abs(yellow - TOOTH).max(axis=-1) < 0.06] = (0.85, 0.75, 0.5)
    seen = []
    for picture in (portrait(0.05), yellow):
        head = np.full_like(picture, LIP)
        draw_mouth(head, picture, portrait_mouth(picture, face(0.05)), face(0.05), face(0.12, jaw=0.08))
        seen.append(head[int(0.793 * SIZE), SIZE // 2 + 3])
    white, tinted = seen
    assert white.min() > 0.5
    assert tinted[2] / tinted[0] < 0.75 * white[2] / white[0]


def test_a_lower_lip_that_landmarks_cut_into_stays_a_lip() -> None:
    # Teeth fill the upper half of what landmarks call open: below is lip, and shines.
    picture = portrait(0.0)
    filled(picture, inner_lips(face(0.04)), TOOTH)
    misread, shine = face(0.07), (0.95, 0.75, 0.74)
    filled(picture, np.array([(0.48, 0.732), (0.52, 0.732), (0.52, 0.742), (0.48, 0.742)], np.float32), shine)
    head = np.full_like(picture, LIP)
    target = face(0.14)
    draw_mouth(head, picture, portrait_mouth(picture, misread), misread, target)
    # The lip's red is as thick as it was: from 0.72, where the teeth end, to 0.75 at rest, here 0.79 to 0.82.
    assert np.abs(head[int(0.805 * SIZE), SIZE // 2] - LIP).max() < 0.05
    assert head[int(0.765 * SIZE), SIZE // 2].mean() < 0.6 * np.mean(LIP)


def test_the_inside_of_a_mouth_that_is_wide_open_is_kept_until_it_is_stretched_far() -> None:
    picture = portrait(0.0)
    filled(picture, inner_lips(face(0.12)), (0.3, 0.1, 0.1))
    kept = opened(0.12, 0.15, picture)
    assert np.array_equal(kept, np.full_like(kept, LIP))
    assert not np.array_equal(opened(0.12, 0.3, picture), np.full_like(kept, LIP))


def test_teeth_of_a_turned_head_reach_further_on_the_side_that_is_near() -> None:
    picture = portrait(0.0)

    def ends(nose: float) -> tuple[float, float]:
        """How far teeth reach to the picture's left and right of the middle."""
        source, target = face(0.0), face(0.12)
        source[30, 0] = target[30, 0] = 0.5 + nose
        for points in (source, target):  # a mouth as wide as the arch
            points[60:68, 0] = 0.5 + 2.2 * (points[60:68, 0] - 0.5)
        head = np.full_like(picture, LIP)
        draw_mouth(head, picture, portrait_mouth(picture, source), source, target)
        bright = np.flatnonzero(head[int(0.686 * SIZE)].min(axis=-1) > 0.45) / SIZE
        return 0.5 - float(bright.min()), float(bright.max()) - 0.5

    left, right = ends(0.0)
    assert left == pytest.approx(right, abs=0.01)
    near, far = ends(0.05)
    assert near > left + 0.005 and far < right - 0.01


@pytest.mark.parametrize("nose", [-0.13, 0.13])
def test_teeth_of_a_far_turned_head_reach_its_far_corner(nose: float) -> None:
    picture, source, target = portrait(0.0), face(0.0), face(0.12)
    source[30, 0] = target[30, 0] = 0.5 + nose
    head = np.full_like(picture, LIP)
    draw_mouth(head, picture, portrait_mouth(picture, source), source, target)
    columns = np.flatnonzero(head[int(0.686 * SIZE)].min(axis=-1) > 0.42) / SIZE
    reach = float((np.sign(nose) * (columns - 0.5)).max())
    assert 0.05 < reach < 0.1, "the mouth's corner is 0.1 aside, and in the dark"


def test_a_wide_open_mouth_is_round() -> None:
    points = face(0.1)
    # The lips' inner points are near the middle, far from the corners, on a circle.
    for row, x in zip((60, 61, 62, 63, 64), (-1.0, -0.25, 0.0, 0.25, 1.0), strict=True):
        points[row] = 0.5 + 0.1 * np.array([x, -np.sqrt(1 - x * x)])
    points[[67, 66, 65]] = points[[61, 62, 63]] * [1, -1] + [0, 1]
    off = np.linalg.norm(inner_lips(points) - 0.5, axis=1) / 0.1
    assert np.abs(off - 1.0).max() < 0.06
