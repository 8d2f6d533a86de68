# SPDX-License-Identifier: GPL-3.0-or-later
"""A head follows its sliders from the first degree on: an eased turn must not stand still and then set out."""

import numpy as np
import pytest

from lpmm_runtime.engine import Character, Engine


@pytest.mark.parametrize("control", ["headYaw", "headPitch", "headRoll"])
@pytest.mark.parametrize("way", [-1.0, 1.0])
def test_a_turn_by_a_degree_is_seen(default_engine: Engine, ada: Character, control: str, way: float) -> None:
    controls = default_engine.bundle.rig.controls

    def frame(degrees: float) -> np.ndarray:
        offset = controls.offset({control: degrees}, ada.params)
        params = (ada.params + offset).astype(np.float32)
        return default_engine.render(ada, params, view="crop", size=256)[..., :3].astype(int)

    rest, one, four = (frame(way * degrees) for degrees in (0.0, 1.0, 4.0))
    change, further = np.abs(one - rest).mean(), np.abs(four - rest).mean()
    # Pictures change less and less the further things move: the first degree of four makes at least an eighth.
    assert change > further / 8, (change, further)
