# SPDX-License-Identifier: GPL-3.0-or-later
"""Landmarks read off a face crop: MobileNetV2, a path back up to fine maps, and one heatmap a landmark.

A landmark is its heatmap's expected place (integral regression, Sun et al., 2018). Numbers that are regressed from the
last, coarse map learn a lid's height only after very many faces; a heatmap knows from the start where it looks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpmm_runtime import landmarks68
from training.mobilenet import MobileNetV2, conv

# Blocks of the trunk whose outputs are the last at strides 4, 8, 16 and 32.
_TAPS = (3, 6, 13, 17)


class LandmarkReader(nn.Module):
    """Image [n, 3, s, s] in [0, 1] → logits of heatmaps [n, points, s/4, s/4]."""

    def __init__(
        self, size: int = 128, width: float = 1.0, points: int = landmarks68.COUNT, channels: int = 64
    ) -> None:
        super().__init__()
        self.size = size
        self.trunk = MobileNetV2(width)
        taken = [self.trunk.channels_after(tap) for tap in _TAPS]
        self.sideways = nn.ModuleList(nn.Conv2d(inner, channels, 1) for inner in taken)
        self.mix = nn.ModuleList(
            nn.Sequential(conv(channels, channels, 3, groups=channels), conv(channels, channels, 1)) for _ in taken[:-1]
        )
        # The softmax takes no notice of a bias.
        self.heat = nn.Conv2d(channels, points, 1, bias=False)
        nn.init.normal_(self.heat.weight, std=0.01)

    def forward(self, image: Tensor) -> Tensor:
        return self.heat_and_features(image)[0]

    def heat_and_features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the heatmaps' logits and the trunk's last map [n, c, s/32, s/32]."""
        taps = self.trunk.maps(image, _TAPS)
        x = self.sideways[-1](taps[-1])
        for tap, sideways, mix in zip(taps[-2::-1], list(self.sideways)[-2::-1], list(self.mix)[::-1], strict=True):
            x = mix(F.interpolate(x, scale_factor=2.0, mode="nearest") + sideways(tap))
        return self.heat(x).float(), taps[-1]


def cell_centres(side: int) -> Tensor:
    """Return the places [side²] × [x, y] of a heatmap's cells in the unit square."""
    step = (torch.arange(side, dtype=torch.float32) + 0.5) / side
    y, x = torch.meshgrid(step, step, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def expected_places(heat: Tensor) -> Tensor:
    """Return the places [n, points, 2] that heatmap logits [n, points, h, h] say, in the crop's unit square."""
    return heat.flatten(2).softmax(dim=-1) @ cell_centres(heat.shape[-1]).to(heat.device)


@torch.no_grad()
def copy_reader(source: LandmarkReader, target: LandmarkReader) -> None:
    """Start a reader of as many points or more from another; points of its own start afresh."""
    state = target.state_dict()
    for name, tensor in source.state_dict().items():
        (state[name][: len(tensor)] if tensor.ndim else state[name]).copy_(tensor)
    target.load_state_dict(state)


def heat_loss(heat: Tensor, landmarks: Tensor, spread: float = 1.0) -> Tensor:
    """Return the cross-entropy [n, points] of heatmaps to Gaussians about the landmarks, `spread` cells wide.

    The expected place alone does not say where the heat shall lie; this gathers it, and early training with it.
    """
    side = heat.shape[-1]
    centres = cell_centres(side).to(heat.device)
    away = (centres[None, None] - landmarks[:, :, None]).square().sum(dim=-1) * side**2
    wanted = (-0.5 * away / spread**2).softmax(dim=-1)
    return -(wanted * heat.flatten(2).log_softmax(dim=-1)).sum(dim=-1)
