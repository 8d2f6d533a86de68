# SPDX-License-Identifier: GPL-3.0-or-later
"""LIA in torch agrees with the goldens: latents, features, flows and frames."""

from pathlib import Path

import numpy as np
import pytest
import torch
from filled_weights import golden, lia_state, unit_batch
from torch import Tensor

from training.backbones.lia import CHANNELS, SIZES, Level, Lia, lia_of_state, relative_motion

LATENT_TOLERANCE, MOST, MEAN = 2e-5, 1e-4, 5e-6


@pytest.fixture(scope="module")
def expected() -> dict:
    return golden("lia_256")


@pytest.fixture(scope="module")
def lia() -> Lia:
    return lia_of_state(lia_state(), Path("filled"))


@pytest.fixture(scope="module")
def source(lia: Lia) -> tuple[Tensor, Tensor, list[Tensor]]:
    return lia.enc(2 * unit_batch("source") - 1)


@pytest.fixture(scope="module")
def driving(lia: Lia) -> tuple[Tensor, Tensor, list[Tensor]]:
    return lia.enc(2 * unit_batch("driving") - 1)


@pytest.fixture(scope="module")
def absolute(lia: Lia, source, driving) -> list[Level]:
    return lia.dec.levels(lia.latent(source[0], driving[1]), source[2])


def close(found: Tensor, truth: np.ndarray) -> bool:
    off = np.abs(found.numpy() - truth)
    return bool(off.max() <= MOST and off.mean() <= MEAN)


def test_appearance_and_motion_latents(lia: Lia, expected, source, driving) -> None:
    for name, (w, alpha, _) in {"source": source, "driving": driving}.items():
        assert np.abs(w.numpy() - expected[f"w_{name}"]).max() < LATENT_TOLERANCE
        assert np.abs(alpha.numpy() - expected[f"alpha_{name}"]).max() < LATENT_TOLERANCE
    assert np.abs(lia.dec.direction.basis().numpy() - expected["direction_Q"]).max() < 1e-6


def test_the_folded_motion_head_is_the_five_layers(lia: Lia, source) -> None:
    matrix, bias = lia.enc.motion_matrix()
    assert torch.allclose(source[0] @ matrix.T + bias, source[1], atol=LATENT_TOLERANCE)


def test_source_features(expected, source) -> None:
    for size, channels, feature in zip(SIZES, CHANNELS, source[2], strict=True):
        assert feature.shape == (1, channels, size, size)
        step = max(1, size // 16)
        assert close(feature[0, :4, ::step, ::step], expected[f"feat{size}_ch0_sub"])
        mean, sd, largest, squares = expected[f"feat{size}_stats"]
        assert float(feature.mean()) == pytest.approx(mean, abs=1e-5)
        assert float(feature.std(correction=0)) == pytest.approx(sd, rel=1e-5)
        assert float(feature.abs().max()) == pytest.approx(largest, rel=1e-5)
        assert float(feature.double().square().sum()) == pytest.approx(squares, rel=1e-5)


def test_flows_and_blended_features_of_every_level(expected, absolute) -> None:
    for size, level in zip(SIZES, absolute, strict=True):
        step = max(1, size // 32)
        assert close(level.logits[0, :, ::step, ::step], expected[f"flowlogits_abs_{size}_sub"])
        step = max(1, size // 16)
        assert close(level.blend[0, :4, ::step, ::step], expected[f"blend_abs_{size}_ch0_sub"])


def test_absolute_relative_and_free_driving(lia: Lia, expected, source, driving, absolute) -> None:
    w, own, features = source
    free = torch.from_numpy(expected["alpha_free"])
    assert close(absolute[-1].rgb[..., ::2, ::2], expected["img_abs_sub2"])
    frames = {
        "free": lia.latent(w, free),
        "rel": lia.latent(w, relative_motion(free, driving[1], own)),
        "src": lia.latent(w, own),
        "none": w,
    }
    for name, z in frames.items():
        if f"latent_{name}" in expected:
            assert np.abs(z.numpy() - expected[f"latent_{name}"]).max() < LATENT_TOLERANCE
        assert close(lia.dec(z, features)[..., ::4, ::4], expected[f"img_{name}_sub4"]), name
