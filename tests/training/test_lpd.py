# SPDX-License-Identifier: GPL-3.0-or-later
"""LPD in torch agrees with the goldens: embeddings, every block, frames and mattes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from filled_weights import golden, lpd_embedder, lpd_generator, unit_batch
from torch import Tensor, nn

from training.backbones.lpd import Lpd, Padding, SpectralConv, lpd_of_states
from training.backbones.lpd_backbone import plain_convolution

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def expected() -> dict:
    return golden("lpd_256")


@pytest.fixture(scope="module")
def lpd() -> Lpd:
    return lpd_of_states(lpd_embedder(), lpd_generator(), Path("filled"))


def close(found: Tensor, truth: np.ndarray) -> bool:
    return bool(np.abs(found.numpy() - truth).max() <= TOLERANCE)


def test_identity_and_pose_embeddings(lpd: Lpd, expected) -> None:
    photos = {name: unit_batch(name) for name in ("source", "driving")}
    for name, photo in photos.items():
        assert close(lpd.identity(photo), expected[f"id_{name}"])
        assert close(lpd.embedder.pose_encoder(photo), expected[f"pose_{name}"])
    assert close(lpd.identity(torch.cat([*photos.values()])), expected["id_mean_src_drv"])


def test_frames_and_mattes(lpd: Lpd, expected) -> None:
    def given(name: str) -> Tensor:
        return torch.from_numpy(expected[name])

    image, matte = lpd.generator(given("id_source"), given("pose_driving"))
    assert close(image[..., ::2, ::2], expected["rgb_A_sub2"]) and close(matte[..., ::2, ::2], expected["segm_A_sub2"])
    image, matte = lpd.generator(given("id_mean_src_drv"), given("pose_source"))
    assert close(image[..., ::4, ::4], expected["rgb_B_sub4"]) and close(matte[..., ::4, ::4], expected["segm_B_sub4"])
    image, _ = lpd.generator(given("id_source"), given("pose_free"))
    assert close(image[..., ::4, ::4], expected["rgb_srcid_free_sub4"])


def test_a_fine_tuned_generator_ignores_the_identity_it_is_given(expected) -> None:
    state = lpd_generator() | {"identity_embedding": torch.from_numpy(expected["identity_embedding_ft"])}
    tuned = lpd_of_states(lpd_embedder(), state, Path("filled"))
    pose, stranger = torch.from_numpy(expected["pose_free"]), torch.ones(1, 512)
    assert close(tuned.generator.affine(stranger, pose), expected["affine_ft_free"])
    stages = tuned.generator.stages(stranger, pose)
    for number, stage in enumerate(stages):
        step = max(1, stage.shape[-1] // 16)
        assert close(stage[0, :4, ::step, ::step], expected[f"block{number:02d}_ft_free_ch0_4_sub"]), number
    image, matte = tuned.generator(stranger, pose)
    assert close(image[..., ::4, ::4], expected["rgb_ft_free_sub4"])
    assert close(matte[..., ::4, ::4], expected["segm_ft_free_sub4"])


@pytest.mark.parametrize("padding", ["zero", "reflection"])
def test_a_folded_convolution_is_the_normalised_one(padding: Padding) -> None:
    conv = SpectralConv(5, 6, 3, bias=True, padding=padding).eval()
    x = torch.randn(2, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(plain_convolution(conv)(x), conv(x), atol=1e-6)
    border = nn.functional.pad(x, (1, 1, 1, 1), mode="reflect" if padding == "reflection" else "constant")
    sigma = torch.dot(conv.weight_u, conv.weight_orig.flatten(1) @ conv.weight_v)
    assert torch.allclose(conv(x), nn.functional.conv2d(border, conv.weight_orig / sigma, conv.bias), atol=1e-5)


def test_training_finds_the_largest_singular_value() -> None:
    conv = SpectralConv(4, 3, 3).train()
    for _ in range(100):
        conv(torch.zeros(1, 4, 4, 4))
    assert torch.linalg.matrix_norm(conv.eval().weight.flatten(1), 2).item() == pytest.approx(1.0, abs=1e-3)
