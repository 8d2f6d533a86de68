# SPDX-License-Identifier: GPL-3.0-or-later
"""The default backbone's pose latents and its pose encoder E: image → v."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lpmm_runtime import landmarks68
from training import loop
from training.backbones.portrait_flow import LatentSpace
from training.draws import Draw
from training.landmark_reader import LandmarkReader, copy_reader, expected_places, heat_loss
from training.lp_regressor import FaceBatch, FaceData, LpRegressor
from training.mobilenet import Readout
from training.shard_columns import Column

# The points that say expression count more than those that say the turn of the head twice over.
_POINTS = 70
_EYES, _MOUTH, _IRISES = slice(36, 48), slice(48, 68), slice(68, 70)


class PoseEncoder(nn.Module):
    """E: aligned crop [n, 3, s, s] in [0, 1] → pose latent [n, w].

    It reads landmarks and irises off heatmaps as F does, and from them and the trunk's coarse map says what of them is
    motion and what is the person.
    """

    def __init__(self, latent_size: int, size: int = 128, width: float = 1.0) -> None:
        super().__init__()
        self.reader = LandmarkReader(size, width, points=_POINTS)
        self.coarse = Readout(self.reader.trunk.channels, (size + 31) // 32, latent_size)
        self.fine = nn.Sequential(
            nn.BatchNorm1d(2 * _POINTS), nn.Linear(2 * _POINTS, 256), nn.ELU(), nn.Linear(256, latent_size)
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.latent_and_heat(image)[0]

    def latent_and_heat(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pose latent, and the heatmaps [n, 70, s/4, s/4] that it was read from."""
        heat, features = self.reader.heat_and_features(image)
        places = expected_places(heat).flatten(1)
        return self.coarse(features).float() + self.fine(places).float(), heat


def mirrored_canonical(points: np.ndarray) -> np.ndarray:
    """Return canonical points [n, 70, 2] of the mirrored motion; the mean person is as good as symmetric."""
    return landmarks68.mirror(points)


def batch_latents(batch: FaceBatch, canonical: np.ndarray | Column, space: LatentSpace) -> Tensor:
    """Return the true latents [n, w] of a batch; `canonical` is the data's [N, 70, 2]."""
    points = canonical[batch.rows]
    points = np.where(batch.mirrored[:, None, None], mirrored_canonical(points), points)
    return torch.from_numpy(space.encode(points))


def train(
    encoder: PoseEncoder,
    space: LatentSpace,
    regressor: LpRegressor,
    data: FaceData,
    held_out: FaceData,
    schedule: loop.Schedule,
    folder: Path,
) -> None:
    """Train E on the canonical points that its latent stands for, starting from the LP-regressor's reader."""
    copy_reader(regressor.reader, encoder.reader)
    encoder.to(schedule.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    basis = torch.from_numpy(space.basis).to(schedule.device)
    weights = torch.ones(_POINTS, device=schedule.device)
    weights[_EYES], weights[_MOUTH], weights[_IRISES] = 3.0, 2.0, 3.0

    def make_batch(draw: Draw) -> tuple[FaceBatch, Tensor]:
        batch = data.batch(draw.rows(len(data)), draw.own, train=True)
        return batch, batch_latents(batch, data.arrays["canonical"], space)

    def loss(made: tuple[FaceBatch, Tensor], _step: int) -> Tensor:
        batch, truth = made
        images = batch.images.to(schedule.device).contiguous(memory_format=torch.channels_last)
        with schedule.autocast():
            latent, heat = encoder.latent_and_heat(images)
        gathered = heat_loss(heat, torch.cat([batch.landmarks, batch.irises], dim=1).to(schedule.device)).mean()
        off = latent - truth.to(schedule.device)
        points = (off @ basis).reshape(-1, _POINTS, 2)
        return 100.0 * (points.abs().sum(dim=-1) * weights).mean() + 0.1 * off.abs().mean() + gathered

    loop.train("pose_encoder", encoder, schedule, folder, make_batch, loss, lambda: evaluate(encoder, space, held_out))


@torch.no_grad()
def evaluate(encoder: PoseEncoder, space: LatentSpace, data: FaceData, most: int = 500) -> dict[str, float]:
    """Return errors of E in percent of the crop's side, on aligned crops of held-out people."""
    encoder.eval()
    rng = np.random.default_rng(0)
    rows = np.arange(min(most, len(data)))
    device = next(encoder.parameters()).device
    errors = []
    for start in range(0, len(rows), 50):
        batch = data.batch(rows[start : start + 50], rng, train=False)
        truth = batch_latents(batch, data.arrays["canonical"], space)
        off = encoder(batch.images.to(device)).cpu() - truth
        errors.append(100.0 * (off @ torch.from_numpy(space.basis)).reshape(-1, _POINTS, 2).norm(dim=-1))
    error = torch.cat(errors)
    return {
        "canonical_error": float(error.mean()),
        "canonical_error_eyes": float(error[:, _EYES].mean()),
        "canonical_error_mouth": float(error[:, _MOUTH].mean()),
    }
