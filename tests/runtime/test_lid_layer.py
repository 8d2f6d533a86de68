# SPDX-License-Identifier: GPL-3.0-or-later
"""A lid that closes takes the skin above it along, and never the brow."""

import numpy as np
import pytest

from lpmm_runtime import landmarks68
from lpmm_runtime.backbones.lid_layer import lid_displacement
from lpmm_runtime.bundle import DEFAULT_BUNDLE, load_bundle

SIZE = 256
BROWS = {"eye_right": slice(17, 22), "eye_left": slice(22, 27)}
EYES = {"eye_right": landmarks68.EYE_RIGHT, "eye_left": landmarks68.EYE_LEFT}


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return load_bundle(DEFAULT_BUNDLE).rig.model.mean.reshape(-1, 2)[: landmarks68.COUNT].astype(np.float32)


def _closed(face: np.ndarray, amount: float) -> np.ndarray:
    shut = face.copy()
    for eye in EYES.values():
        for upper, lower in ((eye[1], eye[5]), (eye[2], eye[4])):
            shut[upper] += amount * (face[lower] - face[upper])
    return shut


@pytest.mark.parametrize("height", [0.25, 0.5])
@pytest.mark.parametrize("amount", [0.4, 1.0])
def test_no_brow_comes_down_with_a_lid(face: np.ndarray, height: float, amount: float) -> None:
    opened = face.copy()
    for name, eye in EYES.items():
        width = np.linalg.norm(opened[eye[3]] - opened[eye[0]])
        opened[BROWS[name], 1] = opened[[eye[1], eye[2]], 1].min() - height * width
    patches = lid_displacement(opened, _closed(opened, amount), SIZE)
    assert len(patches) == 2
    for ((rows, columns), displacement), (name, eye) in zip(patches, EYES.items(), strict=True):
        ways = np.zeros((SIZE, SIZE), np.float32)
        ways[rows, columns] = np.abs(displacement).max(axis=-1)
        gap = SIZE * np.linalg.norm(opened[eye[1]] - opened[eye[5]])
        # Skin at the lid's line comes from where the lid was; what is shown where the brow is, is the brow.
        assert ways.max() > 0.8 * amount * gap
        thick = 0.1 * SIZE * np.linalg.norm(opened[eye[3]] - opened[eye[0]])
        brow = np.round(opened[BROWS[name]] * SIZE + [0.0, thick]).astype(int)
        assert ways[brow[:, 1], brow[:, 0]].max() < 0.05 * amount * gap
