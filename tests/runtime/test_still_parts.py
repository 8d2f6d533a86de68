# SPDX-License-Identifier: GPL-3.0-or-later
"""What no control moves is the photo's own, and what one moves follows it from its first step on."""

from dataclasses import replace

import numpy as np
import pytest

from lpmm_runtime import landmarks68
from lpmm_runtime.backbones.head_drawing import _trusted
from lpmm_runtime.backbones.portrait_flow import _moving
from lpmm_runtime.backbones.turned_side import TurnedSide
from lpmm_runtime.bundle import DEFAULT_BUNDLE, load_bundle
from lpmm_runtime.engine import Character, Engine

SIZE = 256


def about(ada: Character, region: slice | tuple[int, ...], room: int = 2) -> tuple[slice, slice]:
    points = ada.identity.landmarks[region if isinstance(region, slice) else list(region)] * SIZE
    (left, top), (right, bottom) = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))
    return slice(int(top) - room, int(bottom) + room), slice(int(left) - room, int(right) + room)


def change(default_engine: Engine, ada: Character, controls: dict[str, float]) -> np.ndarray:
    """How far each pixel of the crop is from the photo's, [s, s], of 255."""
    frames = []
    for values in ({}, controls):
        offset = default_engine.bundle.rig.controls.offset(values, ada.params)
        params = (ada.params + offset).astype(np.float32)
        frames.append(default_engine.render(ada, params, view="crop", size=SIZE)[..., :3].astype(int))
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
    default_engine: Engine, ada: Character, control: str, moved: slice, still: slice | tuple[int, ...]
) -> None:
    changed = change(default_engine, ada, {control: 1.0})
    assert changed[about(ada, moved)].mean() > 2.0
    assert changed[about(ada, still)].mean() < 0.25


@pytest.mark.parametrize("also", [{}, {"jawOpen": 1.0}])
def test_a_small_step_is_followed(default_engine: Engine, ada: Character, also: dict[str, float]) -> None:
    brows = about(ada, landmarks68.REGIONS["brows"])
    few, more, rest = (
        change(default_engine, ada, also | {"browInnerUp": value})[brows].mean() for value in (0.1, 0.2, 0.0)
    )
    assert rest < few < more
    assert few - rest > 0.25 * (more - rest)


def face() -> np.ndarray:
    points = load_bundle(DEFAULT_BUNDLE).rig.model.mean.reshape(-1, 2)[: landmarks68.COUNT]
    return np.asarray(points, np.float32)


def test_near_what_moves_all_may_and_near_what_stays_nothing() -> None:
    source, target = face(), face()
    target[48:68, 1] += 0.02
    target[4:13, 1] += 0.02
    moving = _moving(source, target, 64)
    x, y = (source[57] * 64).astype(int)
    assert moving[y, x] == 1.0 and moving[60, x] == 1.0
    # The eyes, the brows, and the hair above them.
    assert moving[: int(source[36:48, 1].max() * 64)].max() < 0.05


@pytest.mark.parametrize("degrees", [0.2, 5.0, 20.0])
def test_a_head_that_turns_moves_all_of_itself(degrees: float) -> None:
    angle, middle = np.radians(degrees), np.array([0.5, 0.6])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    moving = _moving(face(), ((face() - middle) @ turn + middle).astype(np.float32), 64)
    assert moving.min() == 1.0


def test_hair_is_shown_as_it_is_where_faces_are_painted() -> None:
    nothing, drawn_out = np.zeros((64, 64), np.float32), np.zeros((64, 64), np.float32)
    drawn_out[:, :16] = 1.0
    flow = np.zeros((128, 128, 2), np.float32)
    side = TurnedSide(flow, flow[::2, ::2], drawn_out, nothing, nothing, np.zeros(2, np.float32))

    def trusted(mask: float, mended: np.ndarray = nothing) -> np.ndarray:
        return _trusted(np.full((128, 128), mask, np.float32), face(), replace(side, skin=mended))

    middle = (128 * face()[30]).astype(int)
    assert trusted(0.72)[middle[1], middle[0]] == pytest.approx(0.72, abs=1e-3)
    assert trusted(0.72)[:20, 48:].min() > 0.9
    # Hair that a turn draws out is painted, and skin whose streaks are mended is not.
    assert trusted(0.72)[:, :24].max() == pytest.approx(0.72, abs=1e-3)
    assert trusted(0.3, drawn_out)[:, :24].min() == pytest.approx(1.0)
    # What is not seen at all is painted everywhere, and what surely is nowhere.
    assert trusted(0.3).max() == pytest.approx(0.3) and trusted(0.95).min() == pytest.approx(1.0)
