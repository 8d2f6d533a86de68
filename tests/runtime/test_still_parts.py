# SPDX-License-Identifier: GPL-3.0-or-later
"""What no control moves is the photo's own, and what one moves follows it from its first step on."""

from pathlib import Path

import numpy as np
import pytest

from lpmm_runtime import landmarks68
from lpmm_runtime.backbones.portrait_flow import _moving
from lpmm_runtime.bundle import DEFAULT_BUNDLE, load_bundle
from lpmm_runtime.engine import Character, Engine
from lpmm_runtime.portrait import read_image

PORTRAIT = Path(DEFAULT_BUNDLE).parents[1] / "portraits" / "ada.jpg"
SIZE = 256


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load_bundle(DEFAULT_BUNDLE), "cpu", 2)


@pytest.fixture(scope="module")
def character(engine: Engine) -> Character:
    return engine.create_character(read_image(PORTRAIT))


def about(character: Character, region: slice | tuple[int, ...], room: int = 2) -> tuple[slice, slice]:
    points = character.identity.landmarks[region if isinstance(region, slice) else list(region)] * SIZE
    (left, top), (right, bottom) = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))
    return slice(int(top) - room, int(bottom) + room), slice(int(left) - room, int(right) + room)


def change(engine: Engine, character: Character, controls: dict[str, float]) -> np.ndarray:
    """How far each pixel of the crop is from the photo's, [s, s], of 255."""
    frames = []
    for values in ({}, controls):
        offset = engine.bundle.rig.controls.offset(values, character.params)
        params = (character.params + offset).astype(np.float32)
        frames.append(engine.render(character, params, view="crop", size=SIZE)[..., :3].astype(int))
    return np.abs(frames[1] - frames[0]).max(axis=-1)


@pytest.mark.parametrize(
    ("control", "moved", "still"),
    [
        ("mouthSmileLeft", landmarks68.REGIONS["mouth"], landmarks68.REGIONS["brows"]),
        ("jawOpen", landmarks68.REGIONS["mouth"], landmarks68.REGIONS["brows"]),
        ("eyeBlinkLeft", landmarks68.EYE_LEFT, landmarks68.REGIONS["mouth"]),
        ("browInnerUp", landmarks68.REGIONS["brows"], landmarks68.REGIONS["mouth"]),
    ],
)
def test_a_control_leaves_other_parts_pixel_for_pixel(
    engine: Engine, character: Character, control: str, moved: slice, still: slice | tuple[int, ...]
) -> None:
    changed = change(engine, character, {control: 1.0})
    assert changed[about(character, moved)].mean() > 2.0
    assert changed[about(character, still)].mean() < 0.25


@pytest.mark.parametrize("also", [{}, {"jawOpen": 1.0}])
def test_a_small_step_is_followed(engine: Engine, character: Character, also: dict[str, float]) -> None:
    brows = about(character, landmarks68.REGIONS["brows"])
    few, more, rest = (
        change(engine, character, also | {"browInnerUp": value})[brows].mean() for value in (0.1, 0.2, 0.0)
    )
    assert rest < few < more
    assert few - rest > 0.25 * (more - rest)


def test_near_what_moves_all_may_and_far_from_it_nothing() -> None:
    source = np.random.default_rng(0).uniform(0.45, 0.55, (68, 2)).astype(np.float32)
    source[0] = (0.9, 0.9)
    target = source.copy()
    target[0, 1] += 0.02
    moving = _moving(source, target, 64)
    assert moving[57, 57] == 1.0 and moving[:40, :40].max() == 0.0
    # As one: a turn, however small, moves all of a head.
    assert _moving(source, source + np.float32(1e-5), 64)[26:38, 26:38].min() == 1.0
