# SPDX-License-Identifier: GPL-3.0-or-later
"""The LP-regressor F: image → params (paper, Sec. 3.2), MobileNetV2 with ℓ1 between true and rebuilt landmarks.

Beside the params it says the crop's misalignment (shift, scale): the model is fitted on aligned landmarks, and a
first crop never is. The runtime re-crops with it until the crop stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lpmm_runtime import landmarks68
from lpmm_runtime.crop import FOREHEAD, SCALE, square_of_landmarks
from lpmm_runtime.morphable import LandmarkModel
from training import augment, loop, sheets
from training.draws import Draw
from training.landmark_reader import LandmarkReader, expected_places, heat_loss
from training.neighbours import with_neighbour
from training.shard_columns import Columns

Array = NDArray[np.float32]

# Lids and lips carry expression and are small: they count more.
_POINT_WEIGHTS = {"jaw": 1.0, "brows": 1.0, "nose": 1.0, "eyes": 2.0, "mouth": 1.5}
_HEAT_WEIGHT = 1.0
# How many crops show somebody else's face, too.
_NEIGHBOURS = 0.25
# An error is constant in heatmap cells: a face that is seen this much nearer than in training is read more exactly.
_NEARER = 1.06


@dataclass(frozen=True)
class FaceBatch:
    """Crops float32 [n, 3, s, s], landmarks [n, 68, 2] and irises [n, 2, 2] in their unit squares; rows of the data."""

    images: Tensor
    landmarks: Tensor
    irises: Tensor
    rows: NDArray[np.int64]
    mirrored: NDArray[np.bool_]

    def points(self, count: int) -> Tensor:
        """Return the landmarks [n, 68, 2], or with the irises [n, 70, 2], by their count."""
        return self.landmarks if count == landmarks68.COUNT else torch.cat([self.landmarks, self.irises], dim=1)


class FaceData:
    """Face pictures, in memory or in shards, cut and distorted anew each time."""

    def __init__(self, arrays: Columns, size: int) -> None:
        self.arrays = arrays
        self.size = size

    def __len__(self) -> int:
        return len(self.arrays["images"])

    def sample(self, row: int, rng: np.random.Generator, train: bool) -> tuple[NDArray[np.uint8], Array, bool]:
        """Return a crop uint8 [s, s, 3], landmarks and irises [70, 2] in its unit square, whether it is mirrored."""
        jitter = augment.CropJitter() if train else augment.CropJitter(0.0, 0.0, 0.0)
        matrix = augment.crop_matrix(rng, jitter, square_of_landmarks(self.arrays["landmarks"][row]))
        image = augment.cut(self.arrays["images"][row], matrix, self.size)
        points = np.concatenate([self.arrays["landmarks"][row], self._irises(row)])
        points = augment.apply_matrix(matrix, points).astype(np.float32)
        landmarks, irises = points[: landmarks68.COUNT], points[landmarks68.COUNT :]
        flip = train and bool(rng.random() < 0.5)
        if train and rng.random() < _NEIGHBOURS:
            image = self._accompanied(image, landmarks, rng)
        if train:
            image = augment.distort(image, (landmarks * self.size).astype(np.float32), rng)
        if flip:
            image, landmarks = augment.mirrored(image, landmarks)
            irises = irises[::-1].copy()
            irises[:, 0] = 1.0 - irises[:, 0]
        return image, np.concatenate([landmarks, irises]), flip

    def _accompanied(self, image: NDArray[np.uint8], landmarks: Array, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return a crop with somebody else of the data beside its face."""
        row = int(rng.integers(len(self)))
        place = self.arrays["landmarks"][row]
        matrix = augment.crop_matrix(rng, augment.CropJitter(), square_of_landmarks(place))
        other = augment.cut(self.arrays["images"][row], matrix, self.size)
        marks = augment.apply_matrix(matrix, place).astype(np.float32)
        return with_neighbour(image, self.size * landmarks, other, self.size * marks, rng)

    def _irises(self, row: int) -> Array:
        if "irises" in self.arrays:
            return self.arrays["irises"][row]
        # Frames of videos say none; what learns from those does not look at them.
        landmarks = self.arrays["landmarks"][row]
        return np.stack([landmarks[list(eye)].mean(axis=0) for eye in (landmarks68.EYE_RIGHT, landmarks68.EYE_LEFT)])

    def batch(
        self, rows: NDArray[np.int64], rng: np.random.Generator | list[np.random.Generator], train: bool
    ) -> FaceBatch:
        """Return the samples of `rows`, drawn from one generator or from one each."""
        rngs = rng if isinstance(rng, list) else [rng] * len(rows)
        made = [self.sample(int(row), own, train) for row, own in zip(rows, rngs, strict=True)]
        images = torch.from_numpy(np.stack([image for image, _, _ in made])).permute(0, 3, 1, 2).float() / 255.0
        points = torch.from_numpy(np.stack([points for _, points, _ in made]))
        landmarks, irises = points[:, : landmarks68.COUNT], points[:, landmarks68.COUNT :]
        return FaceBatch(images, landmarks, irises, rows, np.array([flip for _, _, flip in made]))


class LpRegressor(nn.Module):
    """F: the landmarks that MobileNetV2 reads, aligned by the crop rule and projected into the LPMM."""

    mirror: Tensor
    mean: Tensor
    directions: Tensor
    projection: Tensor

    def __init__(self, model: LandmarkModel, size: int = 128, width: float = 1.0) -> None:
        super().__init__()
        self.reader = LandmarkReader(size, width, points=model.points)
        self.k, self.points = model.k, model.points
        self.register_buffer("mirror", torch.from_numpy(landmarks68.mirror_order(model.points)), persistent=False)
        self.register_buffer("mean", torch.from_numpy(model.mean))
        self.register_buffer("directions", torch.from_numpy(model.sigma[:, None] * model.eigenvectors))
        self.register_buffer("projection", torch.from_numpy((model.eigenvectors / model.sigma[:, None]).T))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return params [n, k] in standard deviations, and the alignment [n, 3]: shift in crop sides, log scale.

        The crop and its mirror image are both read: what they disagree about averages out.
        """
        side = int(image.shape[-1])
        margin = round(0.5 * side * (1.0 - 1.0 / _NEARER))
        inner = side - 2 * margin
        near = image[:, :, margin : margin + inner, margin : margin + inner]
        near = nn.functional.interpolate(near, (side, side), mode="bilinear", align_corners=False)
        places = expected_places(self.reader(torch.cat([near, near.flip(3)])))
        read, mirrored = places.reshape(2, -1, self.points, 2).unbind()
        mirrored = mirrored[:, self.mirror] * places.new_tensor([-1.0, 1.0]) + places.new_tensor([1.0, 0.0])
        return self.fit((0.5 * (read + mirrored) - 0.5) * (inner / side) + 0.5)

    def fit(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return params and alignment of points [n, p, 2] in a crop's unit square: crop rule, then Eq. 1 solved."""
        alignment = true_alignment(points)
        scale = torch.exp(-alignment[:, None, 2:])
        aligned = (points - 0.5 - alignment[:, None, :2]) * scale + 0.5
        return (aligned.flatten(1) - self.mean) @ self.projection, alignment

    def landmarks(self, params: Tensor, alignment: Tensor) -> Tensor:
        """Return points [n, p, 2], the landmarks and the irises that the model has, in the crop's unit square."""
        aligned = (self.mean + params @ self.directions).reshape(len(params), -1, 2)
        scale = torch.exp(alignment[:, None, 2:])
        return (aligned - 0.5) * scale + 0.5 + alignment[:, None, :2]


def point_weights(count: int = landmarks68.COUNT) -> Tensor:
    """Return the loss weight of each of the 68 or 70 points, averaging 1; irises count as lids do."""
    weights = torch.full((count,), _POINT_WEIGHTS["eyes"])
    for name, region in landmarks68.REGIONS.items():
        weights[region] = _POINT_WEIGHTS[name]
    return weights / weights.mean()


def loss(model: LpRegressor, heat: Tensor, landmarks: Tensor, weights: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Return the ℓ1 between true and rebuilt landmarks [n, p, 2], in percent of the crop's side (Sec. 3.2), and more.

    What the heatmaps say before the LPMM rounds it off counts as well, and where their heat lies.
    """
    read = expected_places(heat)
    rebuilt = model.landmarks(*model.fit(read))
    error, rough = (100.0 * ((points - landmarks).abs().sum(dim=-1) * weights).mean() for points in (rebuilt, read))
    gathered = (heat_loss(heat, landmarks) * weights).mean()
    return error + rough + _HEAT_WEIGHT * gathered, {"rebuilt": float(error.detach()), "heat": float(gathered.detach())}


def true_alignment(landmarks: Tensor) -> Tensor:
    """Return the alignment [n, 3] of crops whose points are [n, p, 2] in their unit squares (`crop`'s rule)."""
    landmarks = landmarks[:, : landmarks68.COUNT]
    low, high = landmarks.amin(dim=1), landmarks.amax(dim=1)
    left, right = low[:, 0], high[:, 0]
    top, bottom = low[:, 1] - FOREHEAD * (high[:, 1] - low[:, 1]), high[:, 1]
    side = SCALE * torch.maximum(right - left, bottom - top)
    return torch.stack([0.5 * (left + right) - 0.5, 0.5 * (top + bottom) - 0.5, torch.log(side)], dim=-1)


@torch.no_grad()
def evaluate(model: LpRegressor, data: FaceData, most: int = 1000) -> dict[str, float]:
    """Return the NME in percent (outer eye corners) over aligned crops: of the 68 landmarks, by region, of irises."""
    model.eval()
    rng = np.random.default_rng(0)
    rows = np.arange(min(most, len(data)))
    errors = []
    distances = []
    for start in range(0, len(rows), 50):
        batch = data.batch(rows[start : start + 50], rng, train=False)
        rebuilt = model.landmarks(*model(batch.images.to(model.mean.device))).cpu()
        errors.append((rebuilt - batch.points(model.points)).norm(dim=-1))
        a, b = landmarks68.OUTER_EYE_CORNERS
        distances.append((batch.landmarks[:, a] - batch.landmarks[:, b]).norm(dim=-1))
    error = 100.0 * torch.cat(errors) / torch.cat(distances)[:, None]
    scores = {"nme": float(error[:, : landmarks68.COUNT].mean())}
    for name, region in landmarks68.REGIONS.items():
        scores[f"nme_{name}"] = float(error[:, region].mean())
    if model.points > landmarks68.COUNT:
        scores["nme_irises"] = float(error[:, landmarks68.IRISES].mean())
    return scores


def train(
    model: LpRegressor,
    data: FaceData,
    held_out: FaceData,
    schedule: loop.Schedule,
    folder: Path,
    name: str = "lp_regressor",
) -> None:
    """Train F, going on from `folder/NAME.pt`; scores on `held_out` go to its log.

    The crops' size is the data's: heatmaps are read at any, and most can be learned on small, cheap ones.
    """
    weights = point_weights(model.points).to(schedule.device)
    model.to(schedule.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def make_batch(draw: Draw) -> FaceBatch:
        return data.batch(draw.rows(len(data)), draw.own, train=True)

    def batch_loss(batch: FaceBatch, _step: int) -> tuple[Tensor, dict[str, float]]:
        images = batch.images.to(schedule.device).contiguous(memory_format=torch.channels_last)
        with schedule.autocast():
            heat = model.reader(images)
        return loss(model, heat, batch.points(model.points).to(schedule.device), weights)

    @torch.no_grad()
    def pictures() -> loop.Pictures:
        model.eval()
        shown = held_out.batch(np.arange(min(sheets.SHOWN, len(held_out))), np.random.default_rng(0), train=False)
        read = model.landmarks(*model(shown.images.to(schedule.device))).cpu()
        return {"crops": sheets.crops(shown.images.numpy(), shown.points(model.points).numpy(), read.numpy())}

    loop.train(name, model, schedule, folder, make_batch, batch_loss, lambda: evaluate(model, held_out), pictures)
