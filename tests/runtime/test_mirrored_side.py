# SPDX-License-Identifier: GPL-3.0-or-later
"""A face taken from a side that turns back: its far side is its mirror image where the photo shows too little."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from lpmm_runtime import landmarks68
from lpmm_runtime.backbones.mirrored_side import (
    FarSide,
    aligned,
    alignment,
    far_side,
    from_a_side,
    mirrored_irises,
    mirrored_share,
    relit,
    turns_back,
)
from lpmm_runtime.bundle import DEFAULT_BUNDLE, load_bundle
from lpmm_runtime.engine import Character, Engine
from lpmm_runtime.frame import evaluate_channels
from lpmm_runtime.portrait import read_image

SIDE = 64


@pytest.fixture(scope="module")
def face(engine: Engine) -> np.ndarray:
    """The average face, in the unit square: [68, 2]."""
    return engine.bundle.rig.model.landmarks(np.zeros(engine.bundle.k, np.float32))[:68]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load_bundle(DEFAULT_BUNDLE), "cpu", 1)


def at(engine: Engine, yaw: float) -> np.ndarray:
    """The average face, turned."""
    rig = engine.bundle.rig
    return rig.model.landmarks(evaluate_channels(rig, np.zeros(rig.k, np.float32), {"headYaw": yaw}, {}))[:68]


def stretched(right: bool = True, factor: float = 4.0) -> np.ndarray:
    """A flow [64, 64, 2] that draws what lies beside x = 0.6 (or 0.4) out, so many times."""
    x = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    away = np.maximum(x - 0.6, 0.0) if right else np.minimum(x - 0.4, 0.0)
    flow = np.zeros((SIDE, SIDE, 2), np.float32)
    flow[..., 0] = away * (1.0 / factor - 1.0)
    return flow


HEAD = np.ones((SIDE, SIDE), np.float32)


def test_a_face_from_the_front_has_no_far_side(engine: Engine) -> None:
    assert not from_a_side(at(engine, 0.0)) and not from_a_side(at(engine, 3.0))
    assert from_a_side(at(engine, 12.0)) and from_a_side(at(engine, -12.0))


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_it_turns_back_or_further(engine: Engine, side: float) -> None:
    source = at(engine, side * 20.0)
    assert turns_back(source, at(engine, side * 8.0)) and turns_back(source, at(engine, side * -15.0))
    assert not turns_back(source, at(engine, side * 30.0)) and not turns_back(source, source)


def test_irises_change_sides_in_the_mirror() -> None:
    irises = np.array([[0.3, 0.41], [0.6, 0.42]], np.float32)
    np.testing.assert_allclose(mirrored_irises(irises), [[0.4, 0.42], [0.7, 0.41]], atol=1e-6)


@pytest.mark.parametrize("right", [True, False])
def test_what_is_drawn_out_on_the_far_side_is_wanted(engine: Engine, right: bool) -> None:
    source = at(engine, 20.0 if right else -20.0)
    side = far_side(stretched(right), HEAD, source, at(engine, 0.0))
    wanted = side.wanted if right else side.wanted[:, ::-1]
    assert side.any and side.right is right
    assert wanted[20:40, 46:56].min() > 0.9 and wanted[:, :34].max() == 0.0


def test_what_is_drawn_out_on_the_near_side_is_not(engine: Engine) -> None:
    assert not far_side(stretched(right=False), HEAD, at(engine, 20.0), at(engine, 0.0)).any


def test_a_portrait_at_rest_wants_nothing(engine: Engine) -> None:
    source = at(engine, 20.0)
    assert not far_side(np.zeros((SIDE, SIDE, 2), np.float32), HEAD, source, source).any


def far(engine: Engine) -> FarSide:
    return far_side(stretched(), HEAD, at(engine, 20.0), at(engine, 0.0))


def test_the_mirrored_portrait_stands_where_it_is_whole(engine: Engine) -> None:
    whole = mirrored_share(far(engine), np.zeros((SIDE, SIDE, 2), np.float32), None)
    assert whole[20:40, 46:54].min() > 0.9 and whole[:, :34].max() < 1e-3
    as_bad = mirrored_share(far(engine), stretched(), None)
    assert as_bad.max() == 0.0


def test_nothing_comes_from_beyond_the_photo(engine: Engine) -> None:
    photo = np.ones((128, 128), np.float32)
    photo[:64] = 0.0
    share = mirrored_share(far(engine), np.zeros((SIDE, SIDE, 2), np.float32), photo)
    assert share[:28].max() < 1e-3 and share[38:40, 46:54].min() > 0.9


def test_frames_are_brought_together_by_their_landmarks(face: np.ndarray) -> None:
    turn = np.array([[1.05, 0.04], [-0.03, 0.97]], np.float32)
    mirrored = ((face - 0.5) @ turn + 0.5 + (0.02, -0.015)).astype(np.float32)
    way = alignment(face, mirrored, 128)
    spot = np.zeros((128, 128), np.float32)
    x, y = mirrored[45] * 128
    cv2.circle(spot, (round(float(x) * 16), round(float(y) * 16)), 3 * 16, 1.0, -1, cv2.LINE_AA, 4)
    found = aligned(spot, way)
    rows, columns = np.nonzero(found > 0.5)
    assert np.hypot(columns.mean() - face[45, 0] * 128, rows.mean() - face[45, 1] * 128) < 1.0


def test_a_brow_that_is_elsewhere_is_brought_too(face: np.ndarray) -> None:
    mirrored = face.copy()
    mirrored[17:22, 1] += 0.02
    way = alignment(face, mirrored, 128)
    column, row = (face[19] * 128).astype(int)
    assert 0.006 < way[row, column, 1] < 0.02
    assert abs(way[int(face[8, 1] * 128), int(face[8, 0] * 128), 1]) < 0.003


def test_light_is_the_frames() -> None:
    rng = np.random.default_rng(0)
    mirrored = (0.4 + 0.05 * rng.standard_normal((128, 128, 3))).astype(np.float32)
    darker = 0.6 * mirrored
    share = np.zeros((SIDE, SIDE), np.float32)
    share[:, 32:] = 1.0
    both = np.ones((128, 128), np.float32)
    lit = relit(mirrored, darker, both, share)
    assert lit.mean() == pytest.approx(darker.mean(), rel=0.05)


def test_a_hand_beside_the_face_is_no_coloured_light() -> None:
    mirrored = np.full((128, 128, 3), 0.4, np.float32)
    green = mirrored * np.float32([0.3, 1.2, 0.3])
    lit = relit(mirrored, green, np.ones((128, 128), np.float32), np.zeros((SIDE, SIDE), np.float32))
    red, as_green, _ = lit.mean(axis=(0, 1))
    assert as_green / red < 1.35


@pytest.fixture(scope="module")
def turned(engine: Engine) -> Character:
    """A portrait taken from a side: a rendered one, turned by the rig."""
    portrait = engine.create_character(read_image(DEFAULT_BUNDLE.parents[1] / "portraits" / "cleo.jpg"))
    rig = engine.bundle.rig
    frame = engine.render(portrait, evaluate_channels(rig, portrait.params, {"headYaw": 25.0}, {}), view="full")
    return engine.create_character(np.ascontiguousarray(frame[..., :3]), portrait.box)


def frame_of(engine: Engine, character: Character, values: dict[str, float]) -> np.ndarray:
    params = evaluate_channels(engine.bundle.rig, character.params, values, {})
    return engine.render(character, params, size=256).astype(np.float64)


def alone(character: Character) -> Character:
    return replace(character, identity=replace(character.identity, mirrored=None, canvases={}))


def test_a_turned_portrait_uses_its_mirror_image_on_the_far_side_alone(engine: Engine, turned: Character) -> None:
    assert turned.head_angles[0] > 15.0 and turned.identity.mirrored is not None
    change = np.abs(frame_of(engine, turned, {"headYaw": -25.0}) - frame_of(engine, alone(turned), {"headYaw": -25.0}))
    change = change[..., :3].max(axis=-1) > 12
    latent = engine.pose_latent_of(turned, evaluate_channels(engine.bundle.rig, turned.params, {"headYaw": -25.0}, {}))
    maps = engine.sessions.run("generator", {**turned.identity.features, "pose_latent": latent[None]})
    bridge = round(256 * float(maps["landmarks"][0, 27, 0]))
    assert change[:, bridge:].mean() > 0.05
    assert not change[:, :bridge].any()


def test_it_does_not_where_the_head_turns_further_or_keeps_still(engine: Engine, turned: Character) -> None:
    for values in ({"headYaw": 15.0}, {"jawOpen": 1.0}, {"eyeBlinkLeft": 1.0, "mouthSmileRight": 1.0}, {}):
        np.testing.assert_array_equal(frame_of(engine, turned, values), frame_of(engine, alone(turned), values))


def bends(engine: Engine, character: Character) -> np.ndarray:
    """How unsteadily frames change along an even turn back, frame by frame."""
    frames = np.stack([frame_of(engine, character, {"headYaw": yaw})[..., :3] for yaw in np.linspace(0.0, -25.0, 26)])
    return np.abs(frames[2:] - 2 * frames[1:-1] + frames[:-2]).mean(axis=(1, 2, 3))


def test_it_comes_in_smoothly(engine: Engine, turned: Character) -> None:
    # Whole at once, half way, it would be 1.33 times as unsteady there as the portrait alone.
    assert (bends(engine, turned) / bends(engine, alone(turned))).max() < 1.2


def test_a_portrait_from_the_front_needs_none(engine: Engine) -> None:
    portrait = engine.create_character(read_image(DEFAULT_BUNDLE.parents[1] / "portraits" / "ada.jpg"))
    assert portrait.identity.mirrored is None


def test_the_mirrored_portrait_is_one(turned: Character) -> None:
    mirror = turned.identity.mirrored
    np.testing.assert_array_equal(mirror.crop, turned.identity.crop[:, ::-1])
    there = landmarks68.mirror(turned.identity.landmarks)
    assert np.abs(mirror.landmarks - there).max() < 0.02
    own, theirs = (one.features["source_alpha"][0, 0] for one in (turned.identity, mirror))
    np.testing.assert_array_equal(theirs, own[:, ::-1])
