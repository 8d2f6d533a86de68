# SPDX-License-Identifier: GPL-3.0-or-later
"""The LP-adaptor D: params → pose-latent residual d, with v̂ = v̄ + D(p) (paper, Sec. 3.3, Eq. 2–4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training import loop, sheets
from training.backbones.interface import TalkingHead
from training.draws import Draw

# How much the latents themselves count in the warm-up, beside differences of one person's latents.
_ABSOLUTE_SHARE = 0.25


class LpAdaptor(nn.Module):
    """A three-layer perceptron with ELU between: params [n, k] in standard deviations → d [n, w]."""

    def __init__(self, k: int, latent_size: int, hidden: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(k, hidden), nn.ELU(), nn.Linear(hidden, hidden), nn.ELU(), nn.Linear(hidden, latent_size)
        )

    def forward(self, params: Tensor) -> Tensor:
        return self.layers(params)


@dataclass(frozen=True)
class Weights:
    """λ_rgb and λ_pose-reg of Eq. 2."""

    rgb: float = 1.0
    pose_reg: float = 0.05


@dataclass(frozen=True)
class AdaptorBatch:
    """A batch: a fixed identity to draw with, the images' params p = F(I) [n, k] and latents v = E(I) [n, w]."""

    identity: object
    params: Tensor
    latents: Tensor


def warm_up(
    adaptor: LpAdaptor,
    mean: Tensor,
    params: Tensor,
    latents: Tensor,
    basis: Tensor,
    schedule: loop.Schedule,
    folder: Path,
) -> None:
    """Bring D near by plain regression on known params and latents, before pictures refine it.

    Whether a brow is high or raised nobody can tell from one face: that regression alone would answer a raised brow
    with half a rise. Two motions of one person do tell, and differences are what the rig adds to a photo's latent.

    Args:
        mean: v̄ [w].
        params: [g, m, k] and latents [g, m, w] of g people in m motions each, people told apart or not (m = 1).
        basis: [w, q], what a latent entry changes; errors are measured there.
    """
    people, each = params.shape[:2]

    def make_batch(draw: Draw) -> tuple[Tensor, Tensor]:
        rows = torch.from_numpy(draw.rows(people))
        first = draw.shared.integers(0, each, schedule.batch)[draw.part]
        step = draw.shared.integers(1, max(each, 2), schedule.batch)[draw.part]
        noise = draw.shared.standard_normal((2, schedule.batch, params.shape[2]), np.float32)[:, draw.part]
        moments = torch.from_numpy(np.stack([first, (first + step) % each][: min(each, 2)]))
        return params[rows, moments] + 0.02 * torch.from_numpy(noise[: len(moments)]), latents[rows, moments]

    def loss(batch: tuple[Tensor, Tensor], _step: int) -> Tensor:
        return pair_loss(adaptor, mean, basis, *batch)

    loop.train("lp_adaptor_warm", adaptor, schedule, folder, make_batch, loss)


def pair_loss(adaptor: nn.Module, mean: Tensor, basis: Tensor, params: Tensor, latents: Tensor) -> Tensor:
    """Return the ℓ1 of one or two motions' latents [m, n, w], and of what changes between two, in percent.

    Args:
        mean: v̄ [w].
        basis: [w, q], what a latent entry changes.
        params: [m, n, k].
    """
    answer = adaptor(params.flatten(0, 1)).reshape(latents.shape)
    absolute = 100.0 * ((mean + answer - latents) @ basis).abs().mean()
    if len(params) == 1:
        return absolute
    change = 100.0 * ((answer[1] - answer[0] - (latents[1] - latents[0])) @ basis).abs().mean()
    return change + _ABSOLUTE_SHARE * absolute


def train(
    adaptor: LpAdaptor,
    mean: Tensor,
    backbone: TalkingHead,
    mean_params: Callable[[np.random.Generator], Tensor],
    make_batch: Callable[[Draw], AdaptorBatch],
    schedule: loop.Schedule,
    weights: Weights,
    folder: Path,
) -> None:
    """Train D by Eq. 2: L_rgb (Eq. 3) between G(v̄ + D(p)) and G(v), and L_pose-reg (Eq. 4), ‖D(F(G(v̄)))‖₁.

    Args:
        mean: v̄ [w].
        mean_params: F(G(v̄)) [m, k] for some identities.
    """

    def loss(batch: AdaptorBatch, step: int) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():
            truth = backbone.draw(batch.identity, batch.latents)
        drawn = backbone.draw(batch.identity, mean + adaptor(batch.params))
        rgb = F.l1_loss(drawn, truth)
        base = mean_params(np.random.default_rng([schedule.seed, 5, step]))
        pose_reg = adaptor(base).abs().mean()
        total = weights.rgb * 10.0 * rgb + weights.pose_reg * pose_reg
        return total, {"rgb": float(rgb.detach()), "pose_reg": float(pose_reg.detach())}

    @torch.no_grad()
    def pictures() -> loop.Pictures:
        shown = make_batch(Draw(schedule.seed, 0, schedule.batch, 0, schedule.batch))
        wanted = backbone.draw(shown.identity, shown.latents)
        drawn = backbone.draw(shown.identity, mean + adaptor(shown.params))
        return {"wanted_drawn": sheets.rows(wanted, drawn)}

    loop.train("lp_adaptor", adaptor, schedule, folder, make_batch, loss, pictures=pictures)
