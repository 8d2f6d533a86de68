# SPDX-License-Identifier: GPL-3.0-or-later
"""A head follows its sliders from the first degree on: an eased turn must not stand still and then set out."""

from pathlib import Path

import numpy as np
import pytest

from lpmm_runtime.bundle import DEFAULT_BUNDLE, load_bundle
from lpmm_runtime.engine import Character, Engine
from lpmm_runtime.portrait import read_image

PORTRAIT = Path(DEFAULT_BUNDLE).parents[1] / "portraits" / "ada.jpg"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load_bundle(DEFAULT_BUNDLE), "cpu", 2)


@pytest.fixture(scope="module")
def character(engine: Engine) -> Character:
    return engine.create_character(read_image(PORTRAIT))


@pytest.mark.parametrize("control", ["headYaw", "headPitch", "headRoll"])
@pytest.mark.parametrize("way", [-1.0, 1.0])
def test_a_turn_by_a_degree_is_seen(engine: Engine, character: Character, control: str, way: float) -> None:
    controls = engine.bundle.rig.controls

    def frame(degrees: float) -> np.ndarray:
        offset = controls.offset({control: degrees}, character.params)
        params = (character.params + offset).astype(np.float32)
        return engine.render(character, params, view="crop", size=256)[..., :3].astype(int)

    rest, one, four = (frame(way * degrees) for degrees in (0.0, 1.0, 4.0))
    change, further = np.abs(one - rest).mean(), np.abs(four - rest).mean()
    # Pictures change less and less the further things move: the first degree of four makes at least an eighth.
    assert change > further / 8, (change, further)
