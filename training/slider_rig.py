# SPDX-License-Identifier: GPL-3.0-or-later
"""D and the control map trained together, so that a slider does on every face what it says and nothing else.

A control is one direction for all faces, and D answers each face differently: fitted apart, a raised brow or a dropped
jaw moves the whole head, up here and aside there. Both together learn what the rig does, D(p + S) − D(p), from faces
whose every motion is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lpmm_runtime.controls import ControlMap
from lpmm_runtime.mirroring import mirrored_control
from training import loop, lp_adaptor
from training.draws import Draw
from training.mirrored import MirroredAdaptor
from training.slider_motions import SliderMotions

# How much what sliders do counts beside what people do.
_SLIDER_SHARE = 6.0
# Photographs' params lie further out than any drawn person's, and are read with errors.
_WIDENED, _NOISE = 0.6, 0.2
# Directions and polynomial stay near where they started unless it helps. They may leave what landmarks say: where a
# slider takes a face `ControlMap.moves` knows.
_PULL = 0.02


@dataclass(frozen=True)
class SliderBatch:
    """What people do and what sliders do.

    Attributes:
        params: [2, n, k] and latents: [2, n, w], of two moments of people.
        starts: [n, k], params that sliders start from; angles: [n, 3], the head angles that these show, degrees.
        values: [n, m, c], sliders'; turns: [n, m, 3], degrees.
        changes: [n, m, w], what these should add to the latents.
    """

    params: Tensor
    latents: Tensor
    starts: Tensor
    angles: Tensor
    values: Tensor
    turns: Tensor
    changes: Tensor


class SliderRig(nn.Module):
    """D, and the control map's directions and head polynomial; left and right are mirror images."""

    exponents: Tensor
    start_directions: Tensor
    start_head: Tensor
    head_signs: Tensor

    def __init__(self, adaptor: MirroredAdaptor, controls: ControlMap) -> None:
        super().__init__()
        self.adaptor = adaptor
        self._others = [controls.names.index(mirrored_control(name)) for name in controls.names]
        exponents = torch.from_numpy(controls.head_exponents)
        self.register_buffer("exponents", exponents, persistent=False)
        # Yaw and roll change their sign in the mirror.
        signs = 1.0 - 2.0 * ((exponents[:, 0] + exponents[:, 2]) % 2)
        self.register_buffer("head_signs", signs[:, None].float(), persistent=False)
        self.free_directions = nn.Parameter(torch.from_numpy(controls.directions.copy()))
        self.free_head = nn.Parameter(torch.from_numpy(controls.head_coefficients.copy()))
        self.register_buffer("start_directions", self.free_directions.detach().clone(), persistent=False)
        self.register_buffer("start_head", self.free_head.detach().clone(), persistent=False)

    @property
    def directions(self) -> Tensor:
        """The linear controls' directions [c, k]."""
        return 0.5 * (self.free_directions + self.free_directions[self._others] @ self.adaptor.params)

    @property
    def head_coefficients(self) -> Tensor:
        """The head polynomial's coefficients [t, k]."""
        return 0.5 * (self.free_head + self.head_signs * (self.free_head @ self.adaptor.params))

    def head(self, angles: Tensor) -> Tensor:
        """Return P(θ) [..., k] of angles [..., 3] in degrees."""
        return ((angles[..., None, :] / 30.0) ** self.exponents).prod(dim=-1) @ self.head_coefficients

    def changes(self, batch: SliderBatch) -> Tensor:
        """Return D(p + S) − D(p) [n, m, w] of a batch's starts and sliders."""
        angles = batch.angles[:, None]
        offset = batch.values @ self.directions + self.head(angles + batch.turns) - self.head(angles)
        moved = self.adaptor((batch.starts[:, None] + offset).flatten(0, 1))
        return moved.reshape(*offset.shape[:2], -1) - self.adaptor(batch.starts)[:, None]

    def pull(self) -> Tensor:
        """Return the loss of directions and polynomial that leave where they started."""
        drift = (self.directions - self.start_directions).square().mean()
        return _PULL * (drift + (self.head_coefficients - self.start_head).square().mean())

    def controls(self, fitted: ControlMap) -> ControlMap:
        """Return the control map with what was learned."""
        return replace(
            fitted,
            directions=self.directions.detach().cpu().numpy().copy(),
            head_coefficients=self.head_coefficients.detach().cpu().numpy().copy(),
        )


def train(
    rig: SliderRig,
    controls: ControlMap,
    mean: Tensor,
    people: tuple[Tensor, Tensor],
    motions: SliderMotions,
    held_out: SliderMotions,
    measured: Tensor,
    schedule: loop.Schedule,
    folder: Path,
) -> None:
    """Train D and the control map in place.

    Args:
        controls: the map that the rig started from; it reads the starts' head angles.
        mean: v̄ [w].
        people: params [g, m, k] and latents [g, m, w] of g people in m motions each.
        measured: [w, q], what a latent entry changes; errors are measured there.
    """
    params, latents = people
    middle = motions.params[:, 0].mean(axis=0)

    def make_batch(draw: Draw) -> SliderBatch:
        rows = torch.from_numpy(draw.rows(len(params)))
        rng, count, moments = draw.shared, schedule.batch, params.shape[1]
        first, step = (rng.integers(low, moments, count)[draw.part] for low in (0, 1))
        second = (first + step) % moments
        wider = 1.0 + _WIDENED * rng.random((count, 1), np.float32)[draw.part]
        noise = _NOISE * rng.random((count, 1), np.float32)[draw.part]
        noise = noise * rng.standard_normal((count, len(middle)), np.float32)[draw.part]
        chosen = rng.integers(0, len(motions.params), count)[draw.part]
        starts = middle + wider * (motions.params[chosen, 0] - middle) + noise
        tensors = (
            starts,
            controls.head_angles(starts),
            motions.values[chosen, 1:],
            motions.turns[chosen, 1:],
            motions.latents[chosen, 1:] - motions.latents[chosen, :1],
        )
        pair = torch.from_numpy(np.stack([first, second]))
        return SliderBatch(params[rows, pair], latents[rows, pair], *(torch.from_numpy(part) for part in tensors))

    def loss(batch: SliderBatch, _step: int) -> tuple[Tensor, dict[str, float]]:
        by_people = lp_adaptor.pair_loss(rig.adaptor, mean, measured, batch.params, batch.latents)
        by_sliders = 100.0 * ((rig.changes(batch) - batch.changes) @ measured).abs().mean()
        figures = {"people": float(by_people.detach()), "sliders": float(by_sliders.detach())}
        return by_people + _SLIDER_SHARE * by_sliders + rig.pull(), figures

    loop.train(
        "slider_rig", rig, schedule, folder, make_batch, loss, lambda: evaluate(rig, controls, held_out, measured)
    )


@torch.no_grad()
def evaluate(rig: SliderRig, controls: ControlMap, motions: SliderMotions, measured: Tensor) -> dict[str, float]:
    """Return how far what sliders do is off on other people, weighted and in percent of the crop's side."""
    starts = motions.params[:, 0]
    tensors = (
        starts,
        controls.head_angles(starts),
        motions.values[:, 1:],
        motions.turns[:, 1:],
        motions.latents[:, 1:] - motions.latents[:, :1],
    )
    nobody = torch.empty(0)
    batch = SliderBatch(nobody, nobody, *(torch.from_numpy(part) for part in tensors))
    off = 100.0 * ((rig.changes(batch) - batch.changes) @ measured).abs()
    still = (batch.turns == 0.0).all(dim=-1)
    return {"off_still": float(off[still].mean()), "off_turned": float(off[~still].mean())}
