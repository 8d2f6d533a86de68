# SPDX-License-Identifier: GPL-3.0-or-later
"""The LP-regressor: heatmaps say where landmarks are, and the crop rule and the LPMM say what params that means."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lpmm_runtime.crop import square_of_landmarks
from lpmm_runtime.morphable import LandmarkModel
from training.landmark_reader import LandmarkReader, cell_centres, expected_places, heat_loss
from training.lp_regressor import LpRegressor, true_alignment


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """Made-up aligned landmarks [400, 68, 2]: random shapes about a random mean, cut by the crop rule."""
    rng = np.random.default_rng(3)
    shapes = rng.normal(0, 0.02, (6, 68, 2))
    raw = rng.uniform(0.3, 0.7, (68, 2)) + np.einsum("ni,ijk->njk", rng.normal(0, 1, (400, 6)), shapes)
    return np.stack([square_of_landmarks(points).to_unit(points) for points in raw]).astype(np.float32)


@pytest.fixture(scope="module")
def model(faces: np.ndarray) -> LandmarkModel:
    flat = faces.reshape(len(faces), -1)
    mean = flat.mean(axis=0)
    _, values, vectors = np.linalg.svd(flat - mean, full_matrices=False)
    return LandmarkModel(mean, vectors[:20], (values[:20] / np.sqrt(len(flat))).astype(np.float32))


@pytest.fixture(scope="module")
def regressor(model: LandmarkModel) -> LpRegressor:
    return LpRegressor(model, size=64, width=0.25).eval()


def test_params_are_the_projection_of_aligned_landmarks(
    faces: np.ndarray, model: LandmarkModel, regressor: LpRegressor
) -> None:
    shift, scale = np.array([0.04, -0.03], np.float32), 1.1
    misplaced = (faces - 0.5) * scale + 0.5 + shift
    params, alignment = regressor.fit(torch.from_numpy(misplaced.astype(np.float32)))
    torch.testing.assert_close(params[:, :5], torch.from_numpy(model.params(faces))[:, :5], atol=2e-3, rtol=0)
    expected = torch.tensor([*shift, np.log(scale)], dtype=torch.float32).expand(len(faces), 3)
    torch.testing.assert_close(alignment, expected, atol=1e-4, rtol=0)


def test_rebuilt_landmarks_are_the_read_ones_where_the_model_spans_them(
    faces: np.ndarray, regressor: LpRegressor
) -> None:
    points = torch.from_numpy((faces - 0.5) * 0.9 + 0.52)
    torch.testing.assert_close(regressor.landmarks(*regressor.fit(points)), points, atol=2e-3, rtol=0)


@torch.no_grad()
def test_a_mirrored_crop_is_read_as_mirrored(regressor: LpRegressor) -> None:
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    _, alignment = regressor(image)
    _, mirrored = regressor(image.flip(3))
    torch.testing.assert_close(mirrored, alignment * torch.tensor([-1.0, 1.0, 1.0]), atol=1e-4, rtol=1e-3)


def test_the_alignment_is_the_crop_rule(faces: np.ndarray) -> None:
    points = faces * 0.8 + 0.13
    for row, alignment in enumerate(true_alignment(torch.from_numpy(points)).numpy()[:20]):
        square = square_of_landmarks(points[row])
        assert alignment == pytest.approx([square.x - 0.5, square.y - 0.5, np.log(square.side)], abs=1e-5)


def peaks(places: Tensor, side: int, spread: float) -> Tensor:
    away = (cell_centres(side)[None, None] - places[:, :, None]).square().sum(dim=-1) * side**2
    return (-0.5 * away / spread**2).reshape(*places.shape[:2], side, side)


def test_a_heatmap_says_its_peak_to_a_fraction_of_a_cell() -> None:
    places = torch.rand(2, 68, 2, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    torch.testing.assert_close(expected_places(peaks(places, 32, 1.2)), places, atol=1e-3, rtol=0)


def test_heat_elsewhere_costs_more_than_heat_in_place() -> None:
    places = torch.rand(2, 68, 2, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2
    right = heat_loss(peaks(places, 32, 1.0), places)
    assert bool((heat_loss(peaks(places + 0.03, 32, 1.0), places) > right).all())
    assert bool((heat_loss(peaks(places, 32, 3.0), places) > right).all())


def test_f_learns_where_a_mark_is() -> None:
    """A few steps on pictures whose only content is a bright square: the heat must follow it."""
    torch.manual_seed(0)
    reader = LandmarkReader(64, 0.25, channels=16)
    optimiser = torch.optim.AdamW(reader.parameters(), 4e-3)
    generator = torch.Generator().manual_seed(2)

    def batch() -> tuple[Tensor, Tensor]:
        corner = torch.randint(8, 48, (16, 2), generator=generator)
        images = torch.zeros(16, 3, 64, 64)
        for row, (x, y) in enumerate(corner.tolist()):
            images[row, :, y : y + 8, x : x + 8] = 1.0
        return images, ((corner + 4) / 64.0)[:, None].expand(-1, 68, -1)

    misses = []
    for _ in range(60):
        images, places = batch()
        heat = reader(images)
        read = expected_places(heat)
        misses.append(float((read - places).abs().mean().detach()))
        loss = 100 * (read - places).abs().mean() + heat_loss(heat, places).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert np.mean(misses[-5:]) < 0.25 * misses[0]
