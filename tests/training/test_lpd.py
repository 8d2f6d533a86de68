# SPDX-License-Identifier: GPL-3.0-or-later
"""LPD in torch agrees with the goldens: embeddings, every block, frames and mattes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from filled_weights import golden, lpd_embedder, lpd_generator, unit_batch
from torch import Tensor

from training.backbones.lpd import Lpd, lpd_of_states

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
