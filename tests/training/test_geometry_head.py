# SPDX-License-Identifier: GPL-3.0-or-later
"""The geometry head learns from landmarks what a person makes of a motion, and that a slider moves no head."""

from pathlib import Path

import numpy as np
import pytest
import torch

from training.backbones.portrait_flow import _OPEN_GAP, GeometryHead, LatentSpace
from training.geometry_head import FRAMES, FaceMotions, evaluate, sample, train
from training.loop import Schedule
from training.synth.canonical import CanonicalFrame
from training.synth.facekit import FaceKit
from training.synth.head import LandmarkSampler
from training.synth.motion import Motion

PEOPLE = 30


@pytest.fixture(scope="module")
def motions(loaded_toy_kit: FaceKit) -> FaceMotions:
    return sample(loaded_toy_kit, PEOPLE, 3, "train")


@pytest.fixture(scope="module")
def space(motions: FaceMotions) -> LatentSpace:
    return LatentSpace.fit(motions.canonical.reshape(-1, 70, 2), 16)


def test_a_group_is_one_person_in_one_crop(motions: FaceMotions) -> None:
    assert motions.landmarks.shape == (PEOPLE, FRAMES, 70, 2)
    assert motions.pairs == 2 * PEOPLE * FRAMES * (FRAMES - 1)
    # The first frame's crop is its own aligned one, and a head that turns in it need not stay in the middle.
    middles = motions.landmarks[:, 0, :68].mean(axis=1)
    assert np.abs(middles - 0.5).max() < 0.1
    # Half of what a rig does, which is half of all, leaves the head alone, and moves the face all the same.
    still = (motions.turns[:, 1:-1] == motions.turns[:, :1]).all(axis=-1)
    assert 0.1 < still.mean() < 0.4
    assert np.abs(motions.landmarks[:, 1:-1] - motions.landmarks[:, :1])[still].max(axis=(1, 2)).mean() > 0.01
    # And some of it turns the head by very little: what a network never saw between still and far it takes for still.
    turned = np.linalg.norm(motions.turns[::2, 1:-1] - motions.turns[::2, :1], axis=-1)
    assert ((turned > 0.0) & (turned < 5.0)).mean() > 0.05


def test_train_and_test_people_never_meet(loaded_toy_kit: FaceKit) -> None:
    train_people, test_people = (sample(loaded_toy_kit, 2, 3, split) for split in ("train", "test"))
    assert np.abs(train_people.landmarks - test_people.landmarks).max() > 0.01


def test_pairs_are_ordered_differences_and_mirror_images(motions: FaceMotions, space: LatentSpace) -> None:
    half = motions.pairs // 2
    rows = np.array([0, 7, half // 2, half - 1])
    landmarks, source, target, change, turned = motions.batch(rows, space)
    assert landmarks.shape == (4, 68, 2) and source.shape == target.shape == (4, 16)
    assert change.shape == (4, 70, 2) and turned.shape == (4,)
    # Pair 0 goes from the first person's first frame to the second.
    np.testing.assert_allclose(landmarks[0], motions.landmarks[0, 0, :68])
    np.testing.assert_allclose(change[0], motions.landmarks[0, 1] - motions.landmarks[0, 0], atol=1e-6)
    mirrored = motions.batch(rows + half, space)
    np.testing.assert_allclose(mirrored[3][:, 30, 0], -change[:, 30, 0], atol=1e-5)
    np.testing.assert_allclose(mirrored[3][:, 30, 1], change[:, 30, 1], atol=1e-5)
    np.testing.assert_array_equal(mirrored[4], turned)
    np.testing.assert_allclose(turned[0], np.linalg.norm(motions.turns[0, 1] - motions.turns[0, 0]), rtol=1e-5)


def test_a_head_learns_what_people_make_of_motions(motions: FaceMotions, space: LatentSpace, tmp_path: Path) -> None:
    torch.manual_seed(0)
    head = GeometryHead(space, hidden=64)
    tests = motions.batch(np.arange(0, motions.pairs, 7), space)
    before = evaluate(head, tests)
    train(head, space, motions, motions, Schedule(600, 64, 3e-3, bf16=False, log_every=600), tmp_path)
    after = evaluate(head, tests)
    assert after["points_off"] < 0.8 * before["points_off_canonical"], (before, after)
    assert after["still_off"] < before["still_off"], (before, after)
    assert 0.85 < after["small_gain"] < 1.15, after


def test_there_and_back_are_opposites(motions: FaceMotions, space: LatentSpace) -> None:
    torch.manual_seed(0)
    head = GeometryHead(space, hidden=16, factors=8)
    torch.nn.init.normal_(head.leave.weight)
    landmarks, source, target, *_ = motions.batch(np.arange(0, motions.pairs, 97), space)
    there, back = head(landmarks, source, target), head(landmarks, target, source)
    assert there.abs().max() > 0.1
    torch.testing.assert_close(there, -back)
    torch.testing.assert_close(head(landmarks, source, source), torch.zeros_like(there))


def test_one_eye_squints_alone_though_latents_raise_both_lower_lids(loaded_toy_kit: FaceKit) -> None:
    rest = np.asarray(CanonicalFrame(LandmarkSampler(loaded_toy_kit)).points(Motion()), np.float32)
    everything = np.eye(140, dtype=np.float32)
    space = LatentSpace(rest.ravel(), everything, everything)
    head = GeometryHead(space)

    def lids(uppers: tuple[float, float], lowers: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """The openness and the rises of eyes whose lids come towards each other by so many canonical gaps."""
        moved = rest.copy()
        for eye, upper, lower in zip((36, 42), uppers, lowers, strict=True):
            moved[[eye + 1, eye + 2], 1] += upper * _OPEN_GAP
            moved[[eye + 4, eye + 5], 1] -= lower * _OPEN_GAP
        latents = torch.from_numpy(space.encode(np.stack([rest, moved])))
        openness, raised = head.lids(torch.from_numpy(rest[None, :68]), latents[:1], latents[1:])
        return openness[0].numpy(), raised[0].numpy()

    both = lids((0.14, 0.14), (0.25, 0.25))
    assert both[0][0] == pytest.approx(both[0][1], abs=1e-3) and both[1] == pytest.approx([0.25, 0.25], abs=0.03)
    openness, raised = lids((0.14, 0.0), (0.25, 0.25))
    assert openness[1] == pytest.approx(1.0, abs=0.02) and raised[1] < 0.02
    assert openness[0] < both[0][0] - 0.15 and raised[0] == pytest.approx(0.5, abs=0.06)
    # Latents that know which lower lid rises are believed.
    openness, raised = lids((0.14, 0.0), (0.5, 0.0))
    assert openness[1] == pytest.approx(1.0, abs=0.02) and raised == pytest.approx([0.5, 0.0], abs=0.06)
    # A wink is no squint, and a nod that raises both lower lids a little closes neither eye more than the other.
    openness, raised = lids((1.0, 0.0), (0.0, 0.02))
    assert openness[0] < 0.02 and openness[1] > 0.96 and raised.max() < 0.03
    openness, _ = lids((0.02, 0.0), (0.18, 0.18))
    assert openness[0] == pytest.approx(openness[1], abs=0.03)
