# SPDX-License-Identifier: GPL-3.0-or-later
"""The LP-adaptor on the default backbone: the pictures, params and latents that it is trained with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lpmm_runtime import landmarks68
from lpmm_runtime.crop import square_of_landmarks
from lpmm_runtime.mirroring import mirror_offsets
from lpmm_runtime.morphable import LandmarkModel
from training import loop, lp_adaptor
from training.backbones.portrait_flow import MAP_SIZE, Identity, LatentSpace, PortraitFlow, background_plate, composite
from training.draws import Draw
from training.generator import GroupData
from training.lp_adaptor import AdaptorBatch, LpAdaptor, Weights
from training.lp_regressor import LpRegressor
from training.pose_latent import PoseEncoder

Array = NDArray[np.float32]

# Points that no expression moves, and how much their common place counts beside single points: a face that shifts as a
# whole when a brow is raised is seen at once.
_STABLE = (*range(27, 36), 36, 39, 42, 45)
_PLACE_WEIGHT = 20.0
# F(G(v̄)) is read once from this many identities.
_BASE_FACES = 16


class FlowBackbone:
    """The default backbone, frozen: a `TalkingHead`."""

    image_size = MAP_SIZE

    def __init__(self, model: PortraitFlow, encoder: PoseEncoder) -> None:
        self._model = model.eval().requires_grad_(False)
        self._encoder = encoder.eval().requires_grad_(False)
        self.latent_size = model.latent_size

    def encode_pose(self, crops: Tensor) -> Tensor:
        """See `TalkingHead.encode_pose`."""
        side = self._encoder.reader.size
        if crops.shape[-1] != side:
            crops = F.interpolate(crops, (side, side), mode="bilinear", antialias=True)
        return self._encoder(crops)

    def identify(self, crops: Tensor, landmarks: Tensor, latents: Tensor) -> tuple[Identity, Tensor]:
        """See `TalkingHead.identify`; the identities and their background plates."""
        identity = self._model.identify(crops, landmarks, latents)
        return identity, background_plate(crops, identity.alpha)

    def draw(self, identity: tuple[Identity, Tensor], latent: Tensor) -> Tensor:
        """See `TalkingHead.draw`."""
        known, plate = identity
        return composite(self._model(known, latent), plate)


def both_ways(params: Array, latents: Array, model: LandmarkModel, space: LatentSpace) -> tuple[Tensor, Tensor]:
    """Return params [g, m, k] and latents [g, m, w] of people in m motions each, followed by their mirror images'."""
    mirrors = mirror_offsets(model, np.eye(model.k)).astype(np.float32), space.mirror()
    first, second = (
        torch.from_numpy(np.concatenate([part, part @ mirror]))
        for part, mirror in zip((params, latents), mirrors, strict=True)
    )
    return first, second


def _column_weights() -> Tensor:
    """Return how much each canonical coordinate [140] counts: what is small and expressive more than the jaw's turn."""
    weights = torch.ones(70)
    weights[landmarks68.REGIONS["brows"]], weights[landmarks68.REGIONS["eyes"]] = 3.0, 3.0
    weights[landmarks68.REGIONS["mouth"]] = 1.5
    weights[landmarks68.IRISES] = 3.0
    return weights.repeat_interleave(2)


def measured(basis: Tensor) -> Tensor:
    """Return [w, 142], what a latent entry changes, weighted: the canonical points, and the place of the whole face."""
    place = basis.reshape(len(basis), -1, 2)[:, _STABLE].mean(dim=1)
    return torch.cat([basis * _column_weights(), _PLACE_WEIGHT * place], dim=1)


def _aligned(images: Tensor, landmarks: Tensor, size: int) -> Tensor:
    """Return the aligned crops [n, 3, size, size] of pictures [n, 3, s, s] with landmarks [n, 68, 2]."""
    matrices = []
    for points in landmarks.numpy():
        square = square_of_landmarks(points)
        matrices.append([[square.side, 0, 2 * square.x - 1], [0, square.side, 2 * square.y - 1]])
    grid = F.affine_grid(torch.tensor(matrices, dtype=torch.float32), [len(images), 3, size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def train(
    adaptor: LpAdaptor,
    regressor: LpRegressor,
    encoder: PoseEncoder,
    model: PortraitFlow,
    space: LatentSpace,
    mean: Tensor,
    people: tuple[Tensor, Tensor],
    groups: GroupData,
    warm_up: loop.Schedule,
    schedule: loop.Schedule,
    folder: Path,
) -> None:
    """Train D: first on known motions, then by Eq. 2–4 on rendered frames, all else frozen.

    Args:
        mean: v̄ [w].
        people: params [g, m, k] and latents [g, m, w] of people in m known motions each.
    """
    basis = torch.from_numpy(space.basis)
    lp_adaptor.warm_up(adaptor, mean, *people, measured(basis), warm_up, folder)
    regressor.eval().requires_grad_(False)
    backbone = FlowBackbone(model, encoder)
    frames = groups.landmarks.shape[1]

    def identities(people: NDArray[np.int64]) -> tuple[Identity, Tensor]:
        images = torch.from_numpy(groups.images[people, 0]).permute(0, 3, 1, 2).float() / 255.0
        landmarks = torch.from_numpy(groups.landmarks[people, 0])
        own = torch.from_numpy(space.encode(groups.canonical[people, 0]))
        return backbone.identify(images, landmarks, own)

    @torch.no_grad()
    def make_batch(draw: Draw) -> AdaptorBatch:
        people = len(groups.landmarks)
        identity = identities(draw.rows(people))
        # Any face may drive: its params and its latent are read by F and E, as they will be in use.
        drivers, chosen = draw.rows(people), draw.rows(frames)
        images = torch.from_numpy(groups.images[drivers, chosen]).permute(0, 3, 1, 2).float() / 255.0
        crops = _aligned(images, torch.from_numpy(groups.landmarks[drivers, chosen]), regressor.reader.size)
        return AdaptorBatch(identity, regressor(crops)[0], backbone.encode_pose(crops))

    with torch.no_grad():
        rng = np.random.default_rng(schedule.seed)
        identity = identities(rng.integers(0, len(groups.landmarks), _BASE_FACES))
        base = backbone.draw(identity, mean.expand(_BASE_FACES, -1))
        known_identity = identity[0]
        targets = model(known_identity, mean.expand(_BASE_FACES, -1)).landmarks[:, :68]
        base_params = regressor(_aligned(base, targets, regressor.reader.size))[0]

    lp_adaptor.train(adaptor, mean, backbone, lambda _rng: base_params, make_batch, schedule, Weights(), folder)
