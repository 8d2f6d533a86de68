# SPDX-License-Identifier: GPL-3.0-or-later
"""LIA 256 (Wang et al., 2022), written from its published facts: encoder, motion head and flow decoder.

An image has an appearance latent w [n, 512] and motion coefficients alpha [n, 20]; a frame is drawn from the
source's features and z = w_source + Q·alpha, Q an orthonormal basis of motion directions. Images here are RGB in
[−1, 1], as the network was trained. Parameter names are the published checkpoint's (`vox.pt` and its like).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.backbones.checkpoints import CheckpointError, check_settings, load_strictly, read_checkpoint
from training.backbones.stylegan_layers import (
    STYLE_SIZE,
    Blur,
    EqualConv,
    EqualLinear,
    FusedLeakyReLU,
    Kernel,
    ModulatedConv,
    StyledConv,
    Upsample,
    binomial_kernel,
)

IMAGE_SIZE = 256
MOTION_SIZE = 20
# Channels of the decoder's levels of 8, 16, … 256 pixels; the encoder's features have the same.
CHANNELS = (512, 512, 512, 256, 128, 64)
SIZES = (8, 16, 32, 64, 128, 256)
_SETTINGS = {"size": IMAGE_SIZE, "latent_dim_style": STYLE_SIZE, "latent_dim_motion": MOTION_SIZE} | {
    "channel_multiplier": 1
}


class ResBlock(nn.Module):
    """Halves the picture: two convolutions, and a blurred 1×1 beside them."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(EqualConv(inner, inner, 3, padding=1), FusedLeakyReLU(inner))
        self.conv2 = nn.Sequential(Blur(2, 2), EqualConv(inner, outer, 3, stride=2), FusedLeakyReLU(outer))
        self.skip = nn.Sequential(Blur(1, 1), EqualConv(inner, outer, 1, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2.0)


class AppearanceNet(nn.Module):
    """An image [n, 3, 256, 256] → w [n, 512] and the features [n, c, r, r] of 8, 16, … 256 pixels."""

    def __init__(self) -> None:
        super().__init__()
        widths = CHANNELS[::-1]
        first = nn.Sequential(EqualConv(3, widths[0], 1), FusedLeakyReLU(widths[0]))
        blocks = [ResBlock(inner, outer) for inner, outer in zip(widths, [*widths[1:], STYLE_SIZE], strict=True)]
        self.convs = nn.ModuleList([first, *blocks, EqualConv(STYLE_SIZE, STYLE_SIZE, 4)])

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = []
        x = image
        for layer in self.convs:
            x = layer(x)
            features.append(x)
        return x[:, :, 0, 0], features[5::-1]


class Encoder(nn.Module):
    """The appearance net, and the motion head: five affine layers without anything between them."""

    def __init__(self) -> None:
        super().__init__()
        self.net_app = AppearanceNet()
        self.fc = nn.Sequential(
            *(EqualLinear(STYLE_SIZE, STYLE_SIZE) for _ in range(4)), EqualLinear(STYLE_SIZE, MOTION_SIZE)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return w [n, 512], alpha [n, 20] and the features."""
        w, features = self.net_app(image)
        return w, self.fc(w), features

    def motion_matrix(self) -> tuple[Tensor, Tensor]:
        """Return the head as one matrix [20, 512] and bias [20], multiplied out in float64."""
        matrix = torch.eye(STYLE_SIZE, dtype=torch.float64)
        bias = torch.zeros(STYLE_SIZE, dtype=torch.float64)
        for layer in self.fc:
            assert isinstance(layer, EqualLinear)
            weight = layer.weight.detach().double() / math.sqrt(layer.weight.shape[1])
            matrix, bias = weight @ matrix, weight @ bias + layer.bias.detach().double()
        return matrix.float(), bias.float()


class Direction(nn.Module):
    """The motion directions; their orthonormal form is what is used."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(STYLE_SIZE, MOTION_SIZE))

    def basis(self) -> Tensor:
        """Return Q [512, 20]: reduced QR with the signs that LAPACK's Householder vectors give."""
        return torch.linalg.qr(self.weight + 1e-8)[0]

    def forward(self, alpha: Tensor) -> Tensor:
        return alpha @ self.basis().T


class ToFlow(nn.Module):
    """Adds a level's flow (2) and mask (1) to the raw logits so far."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(inner, 3, 1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.upsample = Upsample()

    def forward(self, x: Tensor, latent: Tensor, coarser: Tensor | None) -> Tensor:
        own = self.conv(x, latent) + self.bias
        return own if coarser is None else own + self.upsample(coarser)


class ToRgb(nn.Module):
    """Adds what a level's warped features show to the picture so far."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(EqualConv(inner, 3, 1), FusedLeakyReLU(3))
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.upsample = Upsample()

    def forward(self, warped: Tensor, coarser: Tensor | None) -> Tensor:
        own = self.conv(warped) + self.bias
        return own if coarser is None else own + self.upsample(coarser)


class UnusedRgb(nn.Module):
    """Weights that the checkpoint stores and that inference never uses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(EqualConv(CHANNELS[0], 3, 1), FusedLeakyReLU(3))
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))


class ConstantInput(nn.Module):
    """Where the decoder starts from, [1, 512, 4, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, CHANNELS[0], 4, 4))


def sampling_grid(size: int) -> Tensor:
    """Return the grid [1, size, size, 2] of zero flow, x then y.

    It includes both ends, and is sampled with align_corners=False: zero flow zooms slightly. So it was trained.
    """
    axis = torch.from_numpy(np.linspace(-1.0, 1.0, size).astype(np.float32))
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], dim=-1)[None]


def warp_feature(feature: Tensor, logits: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Return a feature [n, c, r, r] moved by a level's logits [n, 3, r, r] and masked, and the mask [n, 1, r, r]."""
    place = grid + torch.tanh(logits[:, :2]).permute(0, 2, 3, 1)
    mask = torch.sigmoid(logits[:, 2:])
    moved = F.grid_sample(feature, place, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved * mask, mask


@dataclass(frozen=True)
class Level:
    """What a level of the decoder made: raw logits, blended features, the picture so far."""

    logits: Tensor
    blend: Tensor
    rgb: Tensor


class Decoder(nn.Module):
    """Source features and z [n, 512] → the frame [n, 3, 256, 256]."""

    def __init__(self) -> None:
        super().__init__()
        self.direction = Direction()
        self.input = ConstantInput()
        self.conv1 = StyledConv(CHANNELS[0], CHANNELS[0])
        self.to_rgb1 = UnusedRgb()
        self.convs = nn.ModuleList()
        for inner, outer in zip((CHANNELS[0], *CHANNELS), CHANNELS, strict=False):
            self.convs.extend([StyledConv(inner, outer, upsample=True), StyledConv(outer, outer)])
        self.to_flows = nn.ModuleList(ToFlow(channels) for channels in CHANNELS)
        self.to_rgbs = nn.ModuleList(ToRgb(channels) for channels in CHANNELS)

    def levels(self, z: Tensor, features: list[Tensor]) -> list[Level]:
        """Return every level, coarse to fine."""
        x = self.conv1(self.input.input.expand(len(z), -1, -1, -1), z)
        logits: Tensor | None = None
        rgb: Tensor | None = None
        made = []
        for number, (size, feature) in enumerate(zip(SIZES, features, strict=True)):
            x = self.convs[2 * number + 1](self.convs[2 * number](x, z), z)
            logits = self.to_flows[number](x, z, logits)
            warped, mask = warp_feature(feature, logits, sampling_grid(size).to(x))
            x = warped + x * (1.0 - mask)
            rgb = self.to_rgbs[number](warped, rgb)
            made.append(Level(logits, x, rgb))
        return made

    def forward(self, z: Tensor, features: list[Tensor]) -> Tensor:
        return self.levels(z, features)[-1].rgb


class Lia(nn.Module):
    """The whole network, in the plain form of its publication."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = Encoder()
        self.dec = Decoder()

    def latent(self, w: Tensor, alpha: Tensor) -> Tensor:
        """Return z [n, 512] of w [n, 512] and alpha [n, 20] (absolute driving)."""
        return w + self.dec.direction(alpha)

    def forward(self, source: Tensor, driving: Tensor) -> Tensor:
        """Return the source driven absolutely: images [n, 3, 256, 256] in [−1, 1]; the result is not clamped."""
        w, _, features = self.enc(source)
        return self.dec(self.latent(w, self.enc(driving)[1]), features)


def relative_motion(driving: Tensor, first: Tensor, source: Tensor) -> Tensor:
    """Return the alpha of relative driving: the source's own, and what the driving moved since its first frame."""
    return driving - first + source


def load_lia(path: Path) -> Lia:
    """Read a published checkpoint (`vox.pt`, `taichi.pt`, `ted.pt`).

    Raises:
        CheckpointError: naming the file and what is wrong with it.
    """
    content = read_checkpoint(path)
    if not isinstance(content, Mapping) or not isinstance(content.get("gen"), Mapping):
        raise CheckpointError(f'{path}: not a LIA checkpoint: it has no state dict "gen"')
    check_settings(path, content.get("args"), _SETTINGS)
    return lia_of_state(content["gen"], path)


def lia_of_state(state: Mapping[str, Any], path: Path) -> Lia:
    """Return the network of a state dict, checked key by key; `path` is for errors."""
    with torch.device("meta"):
        model = Lia()
    load_strictly(model, state, path, "LIA generator")
    for name, module in model.named_modules():
        if isinstance(module, Kernel) and not torch.allclose(module.kernel, binomial_kernel(module.gain), atol=1e-6):
            raise CheckpointError(f"{path}: {name}.kernel is not the blur of LIA 256")
    return model.eval().requires_grad_(False)
