# SPDX-License-Identifier: GPL-3.0-or-later
"""What ships treats both sides of a face alike: a mirrored question gets the mirrored answer."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lpmm_runtime import landmarks68
from lpmm_runtime.bundle import load_bundle
from lpmm_runtime.mirroring import mirror_offsets
from lpmm_runtime.onnx_sessions import OnnxSessions
from training.backbones.portrait_flow import GeometryHead, LatentSpace
from training.pose_latent import mirrored_canonical


@pytest.fixture(scope="module")
def space(toy_run: Path) -> LatentSpace:
    with np.load(toy_run / "latent_space.npz", allow_pickle=False) as archive:
        return LatentSpace(**{name: archive[name] for name in archive.files})


@pytest.fixture(scope="module")
def sessions(toy_run: Path) -> OnnxSessions:
    return OnnxSessions(load_bundle(toy_run / "bundle"), "cpu", 1)


def test_the_adaptor_answers_mirrored_params_with_the_mirrored_latent(
    space: LatentSpace, sessions: OnnxSessions
) -> None:
    model = sessions.bundle.rig.model
    params = np.random.default_rng(0).normal(0, 1, (3, model.k)).astype(np.float32)
    mirrored = mirror_offsets(model, params).astype(np.float32)
    answers = [sessions.run("lp_adaptor", {"params": p})["pose_offset"] for p in (params, mirrored)]
    assert np.abs(answers[0]).max() > 0.01
    np.testing.assert_allclose(answers[1], answers[0] @ space.mirror(), atol=2e-3)


def test_the_pose_encoder_reads_a_mirrored_crop_as_mirrored(space: LatentSpace, sessions: OnnxSessions) -> None:
    side = sessions.image_side("pose_encoder")
    crop = np.random.default_rng(1).random((1, 3, side, side), np.float32)
    read, mirrored = (
        sessions.run("pose_encoder", {"image": np.ascontiguousarray(image)})["pose_latent"]
        for image in (crop, crop[..., ::-1])
    )
    np.testing.assert_allclose(mirrored, read @ space.mirror(), atol=2e-3)


def test_the_geometry_head_moves_a_mirrored_face_the_mirrored_way(space: LatentSpace) -> None:
    torch.manual_seed(0)
    head = GeometryHead(space).eval()
    torch.nn.init.normal_(head.leave.weight, std=1.0)
    rng = np.random.default_rng(2)
    points = rng.uniform(0.2, 0.8, (1, 70, 2)).astype(np.float32)
    latents = rng.normal(0, 1, (2, 1, len(space.basis))).astype(np.float32)
    with torch.no_grad():
        moved, mirrored = (
            head(*(torch.from_numpy(part) for part in parts)).numpy()
            for parts in (
                (points[:, : landmarks68.COUNT], *latents),
                (mirrored_canonical(points)[:, : landmarks68.COUNT], *(latents @ space.mirror())),
            )
        )
    assert np.abs(moved).max() > 0.01
    np.testing.assert_allclose(mirrored_canonical(mirrored) - [1.0, 0.0], moved, atol=1e-4)
