# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody else in a crop: seen beside the face, never over it."""

from dataclasses import replace

import cv2
import made_up_faces
import numpy as np
import pytest
import torch

from training import generator, lp_regressor
from training.draws import Draw
from training.generator import GroupData
from training.lp_regressor import FaceData
from training.neighbours import with_neighbour

SIDE = 96


def ring(middle: tuple[float, float], radius: float) -> np.ndarray:
    """Return 68 landmarks on a circle, the eyes' level."""
    angles = np.linspace(0.0, 2.0 * np.pi, 68, endpoint=False)
    points = np.array(middle) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    aside = np.array((0.3 * radius, 0.0))
    points[36:42], points[42:48] = middle - aside, middle + aside
    return points.astype(np.float32)


@pytest.fixture
def marks() -> np.ndarray:
    return ring((0.5 * SIDE, 0.5 * SIDE), 0.2 * SIDE)


@pytest.mark.parametrize("seed", range(12))
def test_a_neighbour_is_seen_and_covers_nothing_of_the_face(marks: np.ndarray, seed: int) -> None:
    own, other = (np.full((SIDE, SIDE, 3), grey, np.uint8) for grey in (40, 200))
    both = with_neighbour(own, marks, other, marks, np.random.default_rng(seed))
    assert both.shape == own.shape and both.dtype == np.uint8
    face = cv2.fillConvexPoly(np.zeros((SIDE, SIDE), np.uint8), cv2.convexHull(np.round(marks).astype(np.int32)), 1) > 0
    assert (both[face] == 40).all()
    assert (both > 150).mean() > 0.02
    assert np.array_equal(both, with_neighbour(own, marks, other, marks, np.random.default_rng(seed)))


def test_neighbours_stand_on_either_side_and_at_all_sizes(marks: np.ndarray) -> None:
    own, other = (np.full((SIDE, SIDE, 3), grey, np.uint8) for grey in (40, 200))
    shares = []
    for seed in range(60):
        seen = with_neighbour(own, marks, other, marks, np.random.default_rng(seed))[..., 0] > 150
        left, right = seen[:, : SIDE // 2].sum(), seen[:, SIDE // 2 :].sum()
        shares.append((left > right, seen.mean()))
    sides, sizes = np.array([side for side, _ in shares]), np.array([size for _, size in shares])
    assert 0.3 < sides.mean() < 0.7
    assert sizes.max() > 2.0 * np.median(sizes)


def test_only_training_crops_are_shared(monkeypatch: pytest.MonkeyPatch, marks: np.ndarray) -> None:
    calls = []

    def seen(image: np.ndarray, *_: object) -> np.ndarray:
        calls.append(image.shape)
        return image

    monkeypatch.setattr(lp_regressor, "with_neighbour", seen)
    images = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    data = FaceData({"images": images, "landmarks": np.stack([marks, marks]) / SIDE}, 64)  # type: ignore[arg-type]
    for seed in range(40):
        data.sample(0, np.random.default_rng(seed), train=False)
    assert not calls
    for seed in range(40):
        data.sample(0, np.random.default_rng(seed), train=True)
    assert 3 < len(calls) < 25 and set(calls) == {(64, 64, 3)}


@pytest.fixture
def everybody_accompanied(monkeypatch: pytest.MonkeyPatch) -> GroupData:
    monkeypatch.setattr(generator, "_NEIGHBOURS", 1.0)
    return GroupData(made_up_faces.groups(6))


@pytest.mark.parametrize("in_front", [False, True])
def test_somebody_beside_a_moving_head_stays_where_he_is(
    everybody_accompanied: GroupData, monkeypatch: pytest.MonkeyPatch, in_front: bool
) -> None:
    monkeypatch.setattr(generator, "_IN_FRONT", float(in_front))
    data, draw = everybody_accompanied, Draw(0, 1, 16, 0, 16)
    y, x = torch.meshgrid(*[(torch.arange(128) + 0.5) / 128] * 2, indexing="ij")
    heads = [((torch.hypot(x - middle, y - 0.5) < 0.25).float()).expand(16, 1, 128, 128) for middle in (0.45, 0.55)]
    wall = torch.full((16, 3, 128, 128), 0.2)
    alone = replace(
        data.batch(np.arange(16) % len(data)),
        source=wall,
        target=wall,
        source_alpha=heads[0],
        target_alpha=heads[1],
        layer=heads[1],
    )
    both = generator.accompanied(alone, data, draw)
    changed = (both.target - alone.target).abs().amax(dim=1, keepdim=True) > 0.1
    assert changed.any()
    if in_front:
        # What he hides is no longer of the head, and moves no more.
        hidden = both.target_alpha < alone.target_alpha - 0.9
        assert hidden.any() and (both.layer[hidden] == 0).all()
        assert both.flow.abs().amax(dim=1, keepdim=True)[hidden].max() == 0.0 and (both.visible[hidden] == 1).all()
        assert (both.visible <= torch.maximum(alone.visible, (both.layer == 0).float())).all()
    else:
        assert not (changed & (alone.target_alpha > 0.999)).any()
        assert torch.equal(both.flow, alone.flow) and torch.equal(both.source_alpha, alone.source_alpha)
    # Beside both heads he is seen alike.
    beside = (torch.maximum(*heads) == 0) & changed
    apart = (both.source - both.target).abs().amax(dim=1, keepdim=True)
    assert beside.any() and apart[beside].max() < 1e-6


def test_who_is_beside_whom_does_not_depend_on_how_a_batch_is_split(everybody_accompanied: GroupData) -> None:
    data = everybody_accompanied

    def made(first: int, count: int) -> torch.Tensor:
        draw = Draw(3, 5, 8, first, count)
        return generator.accompanied(data.batch(draw.rows(len(data))), data, draw).target

    assert torch.equal(made(0, 8), torch.cat([made(0, 4), made(4, 4)]))
