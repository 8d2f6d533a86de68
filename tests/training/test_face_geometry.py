# SPDX-License-Identifier: GPL-3.0-or-later
"""Landmarks as warps and lids: at rest nothing moves, at the points the warp is exact, eyes close and stay apart."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from lpmm_runtime import landmarks68
from lpmm_runtime.backbones.background import background_plate
from lpmm_runtime.backbones.lid_layer import lid_displacement, source_lids
from training.backbones.face_geometry import landmark_flow, line_maps, warp, with_lids, with_source_lids
from training.export import export_graph
from training.synth.facekit import FaceKit
from training.synth.head import LandmarkSampler
from training.synth.motion import Motion
from training.synth.people import mean_person


@pytest.fixture(scope="module")
def faces(loaded_toy_kit: FaceKit) -> dict[str, np.ndarray]:
    sampler, person = LandmarkSampler(loaded_toy_kit), mean_person()
    blink = Motion(controls={"eyeBlinkLeft": 1.0})
    return {
        "rest": sampler.aligned(person, Motion())[0],
        "turned": sampler.aligned(person, Motion(yaw=12, roll=8))[0],
        "wink": sampler.aligned(person, blink)[0],
    }


def batch(points: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(points)[None]


def test_nothing_moves_at_rest(faces) -> None:
    rest = batch(faces["rest"])
    assert landmark_flow(rest, rest, 32).abs().max() < 1e-4


def test_the_warp_takes_target_points_to_source_points(faces) -> None:
    source, target = batch(faces["rest"]), batch(faces["turned"])
    flow = landmark_flow(source, target, 256)
    at = functional.grid_sample(flow, 2 * target[:, None] - 1, align_corners=False)[0, :, 0].T
    error = (target[0] + at - source[0]).norm(dim=-1)
    assert error.median() < 0.004


def test_the_torso_stays_and_the_hair_follows(faces) -> None:
    source = batch(faces["rest"])
    target = source + torch.tensor([0.05, 0.0])
    flow = landmark_flow(source, target, 64)[0, 0]
    assert flow[63].abs().max() < 0.03
    assert flow[4, 32] == pytest.approx(-0.05, abs=0.02)


def test_lines_are_bright_on_the_landmarks(faces) -> None:
    lines = line_maps(batch(faces["rest"]), 64)
    assert lines.shape == (1, 9, 64, 64)
    x, y = (faces["rest"][30] * 64).astype(int)
    assert lines[0, 3, y, x] > 0.5 and lines[0, 0, 2, 2] < 1e-3


def test_a_closed_share_closes_one_eye_and_leaves_the_other(faces) -> None:
    source, target = batch(faces["rest"]), batch(faces["turned"])
    closed = with_lids(source, target, torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2))[0].numpy()
    opened = with_source_lids(source, target)[0].numpy()
    before, after = landmarks68.eye_openness(opened), landmarks68.eye_openness(closed)
    assert after[1] < 1e-3 * before[1]  # the picture's left eye is the subject's right
    assert after[0] == pytest.approx(before[0], rel=1e-4)


def test_who_squints_raises_the_lower_lid_and_who_blinks_drops_the_upper(faces) -> None:
    rest = faces["rest"]

    def ways(openness: float, raised: float) -> tuple[float, float]:
        """How far the upper lid falls and the lower one rises, in shares of the gap."""
        shares = torch.tensor([[openness, 1.0]]), torch.tensor([[raised, 0.4]])
        moved = with_lids(batch(rest), batch(rest), *shares)[0].numpy() - rest
        gap = np.linalg.norm(rest[[37, 38]] - rest[[41, 40]], axis=1)
        assert np.abs(moved[42:48]).max() < 1e-6, "an eye that does not close keeps its lower lid"
        return float((moved[[37, 38], 1] / gap).mean()), float((-moved[[41, 40], 1] / gap).mean())

    assert ways(0.5, 0.4) == pytest.approx((0.1, 0.4), abs=0.02)
    assert ways(0.5, 0.0) == pytest.approx((0.44, 0.06), abs=0.02)
    assert ways(0.0, 0.4) == pytest.approx((0.6, 0.4), abs=0.02)
    # No further than the eye closes.
    assert ways(0.8, 0.4) == pytest.approx((0.0, 0.2), abs=0.02)


def test_runtime_and_training_agree_on_the_open_lids(faces) -> None:
    ours = source_lids(faces["rest"], faces["turned"])
    theirs = with_source_lids(batch(faces["rest"]), batch(faces["turned"]))[0].numpy()
    assert np.abs(ours - theirs).max() < 1e-5


def test_a_wink_moves_one_lid_down_over_its_eye(faces) -> None:
    rest = faces["rest"]
    wink = with_lids(batch(rest), batch(rest), torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2))[0].numpy()
    patches = lid_displacement(rest, wink, 256)
    assert len(patches) == 1
    (rows, columns), shift = patches[0]
    eye = rest[list(landmarks68.EYE_LEFT)].mean(axis=0) * 256
    assert rows.start < eye[1] < rows.stop and columns.start < eye[0] < columns.stop
    # The skin that now covers the eye comes from above it.
    assert shift[int(eye[1]) - rows.start, int(eye[0]) - columns.start, 1] < -1.0
    assert np.abs(shift[0]).max() < 0.5


def test_equal_lids_need_no_layer(faces) -> None:
    assert lid_displacement(faces["rest"], faces["rest"], 256) == []


def test_the_plate_is_the_background_and_hides_the_head() -> None:
    crop = np.full((64, 64, 3), 0.25, np.float32)
    alpha = np.zeros((64, 64), np.float32)
    crop[20:44, 20:44], alpha[20:44, 20:44] = 1.0, 1.0
    plate = background_plate(crop, alpha)
    assert np.array_equal(plate[:15], crop[:15])
    assert np.abs(plate - 0.25).max() < 0.02


def test_an_exported_warp_looks_up_what_torch_samples(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(2, 12, 20, 24, generator=generator)
    # Some of it points beyond the picture's edges.
    flow = 0.6 * torch.rand(2, 2, 16, 16, generator=generator) - 0.3

    class Warp(torch.nn.Module):
        def forward(self, image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
            return warp(image, flow)

    export_graph(Warp(), tmp_path / "warp.onnx", {"image": image, "flow": flow}, ["moved"], tolerance=1e-5)
    operators = {node.op_type for node in onnx.load(tmp_path / "warp.onnx").graph.node}
    assert "Gather" in operators and "GridSample" not in operators
