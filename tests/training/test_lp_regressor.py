# SPDX-License-Identifier: GPL-3.0-or-later
"""The LP-regressor: heatmaps say where landmarks are, and the crop rule and the LPMM say what params that means."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lpmm_runtime import landmarks68
from lpmm_runtime.crop import square_of_landmarks
from lpmm_runtime.morphable import LandmarkModel
from training import landmark_model
from training.landmark_reader import LandmarkReader, cell_centres, expected_places, heat_loss
from training.lp_regressor import FaceData, LpRegressor, evaluate, point_weights, true_alignment


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


@pytest.fixture(scope="module")
def iris_model(faces: np.ndarray) -> LandmarkModel:
    """The model of the same faces with two irises that look about within the eyes."""
    rng = np.random.default_rng(4)
    eyes = np.stack([faces[:, 36:42].mean(axis=1), faces[:, 42:48].mean(axis=1)], axis=1)
    points = np.concatenate([faces, eyes + rng.normal(0, 0.005, (len(faces), 1, 2))], axis=1).astype(np.float32)
    return landmark_model.fit(points, 20)


@torch.no_grad()
def test_irises_are_read_fitted_and_mirrored_with_the_landmarks(iris_model: LandmarkModel) -> None:
    torch.manual_seed(0)
    regressor = LpRegressor(iris_model, size=64, width=0.25).eval()
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    assert regressor.reader(image).shape[1] == 70
    params, alignment = regressor(image)
    points = regressor.landmarks(params, alignment)
    assert points.shape == (2, 70, 2)
    flipped = regressor.landmarks(*regressor(image.flip(3)))
    torch.testing.assert_close(flipped, torch.from_numpy(landmarks68.mirror(points.numpy())), atol=2e-3, rtol=0)
    # Irises take no part in the crop rule, even where they are read far off.
    astray = points.clone()
    astray[:, 68:] = 2.0
    torch.testing.assert_close(true_alignment(astray), true_alignment(points))


def test_scores_of_a_reader_of_irises_stay_comparable(
    iris_model: LandmarkModel, model: LandmarkModel, faces: np.ndarray
) -> None:
    rng = np.random.default_rng(6)
    landmarks = (faces[:6] - 0.5) * 0.8 + 0.5
    irises = np.stack([landmarks[:, 36:42].mean(axis=1), landmarks[:, 42:48].mean(axis=1)], axis=1)
    arrays = {"images": rng.integers(0, 255, (6, 80, 80, 3), np.uint8), "landmarks": landmarks, "irises": irises}
    data = FaceData(arrays, 64)
    seventy = evaluate(LpRegressor(iris_model, 64, 0.25), data)
    assert set(seventy) - set(evaluate(LpRegressor(model, 64, 0.25), data)) == {"nme_irises"}
    regions = {name: region.stop - region.start for name, region in landmarks68.REGIONS.items()}
    mean = sum(seventy[f"nme_{name}"] * count for name, count in regions.items()) / landmarks68.COUNT
    assert seventy["nme"] == pytest.approx(mean, rel=1e-5)
    weights = point_weights(70)
    assert float(weights[68]) == float(weights[40]) > float(weights[5])


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
