# SPDX-License-Identifier: GPL-3.0-or-later
"""LIA's decoder in the form that is exported: the same numbers as `lia.Decoder`, in less time.

- Weights are fixed: the style scales the activations before a convolution and the demodulation scales them after it.
- All styles of a frame are one matrix product.
- A picture's colours are read from the warped features by a 1×1 convolution. Warping commutes with it, so the finest
  features are kept as the three colours that they give: nothing else reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.backbones.interface import PictureBackbone
from training.backbones.lia import (
    IMAGE_SIZE,
    MOTION_SIZE,
    SIZES,
    Lia,
    ToFlow,
    ToRgb,
    load_lia,
    sampling_grid,
    warp_feature,
)
from training.backbones.stylegan_layers import SLOPE, EqualConv, FusedLeakyReLU, ModulatedConv, StyledConv

LICENCE = "CC-BY-NC-4.0: non-commercial use only (LIA's code; its weights carry no statement of their own)"
FEATURES = ("appearance", *(f"feature_{size}" for size in SIZES[:-1]), f"colour_{SIZES[-1]}")
_GAIN = math.sqrt(2.0)
_FLOOR = 1e-8


class _Styles(nn.Module):
    """w [n, 512] and alpha [n, 20] → the styles of every modulated convolution."""

    matrix: Tensor
    bias: Tensor

    def __init__(self, convolutions: list[ModulatedConv]) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.cat([conv.modulation.scaled for conv in convolutions]).T.contiguous())
        self.register_buffer("bias", torch.cat([conv.modulation.bias for conv in convolutions]))
        self._sizes = [len(conv.modulation.bias) for conv in convolutions]

    def forward(self, z: Tensor) -> list[Tensor]:
        return list((z @ self.matrix + self.bias).split(self._sizes, dim=1))


class _Conv(nn.Module):
    """A styled 3×3 convolution with fixed weights; √2 of the activation is in the factors."""

    weight: Tensor
    power: Tensor
    bias: Tensor

    def __init__(self, layer: StyledConv) -> None:
        super().__init__()
        weight = layer.conv.scaled
        self.register_buffer("weight", weight.contiguous())
        self.register_buffer("power", weight.square().sum(dim=(2, 3)).T.contiguous())
        self.register_buffer("bias", layer.activate.bias * _GAIN)

    def convolve(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, padding=1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        demodulation = _GAIN * torch.rsqrt(style.square() @ self.power + _FLOOR)
        y = self.convolve(x * style[:, :, None, None])
        return F.leaky_relu(y * demodulation[:, :, None, None] + self.bias, SLOPE)


class _UpConv(_Conv):
    """The same, doubling the size: a transposed convolution, then the blur."""

    kernel: Tensor

    def __init__(self, layer: StyledConv) -> None:
        super().__init__(layer)
        self.register_buffer("kernel", layer.conv.blur.kernel.expand(len(self.weight), 1, -1, -1).contiguous())
        self.weight = self.weight.transpose(0, 1).contiguous()

    def convolve(self, x: Tensor) -> Tensor:
        y = F.conv_transpose2d(x, self.weight, stride=2)
        return F.conv2d(y, self.kernel, padding=1, groups=len(self.kernel))


class _Flow(nn.Module):
    """A level's flow and mask logits from its features; the style is on the weights, which are few."""

    weight: Tensor
    bias: Tensor
    kernel: Tensor

    def __init__(self, layer: ToFlow) -> None:
        super().__init__()
        self.register_buffer("weight", layer.conv.scaled.flatten(1))
        self.register_buffer("bias", layer.bias.detach().clone())
        self.register_buffer("kernel", layer.upsample.kernel.expand(3, 1, -1, -1).contiguous())

    def forward(self, x: Tensor, style: Tensor, coarser: Tensor | None) -> Tensor:
        weight = self.weight * style[:, None]
        own = (weight @ x.flatten(2)).unflatten(2, x.shape[2:]) + self.bias
        if coarser is None:
            return own
        return own + F.conv_transpose2d(coarser, self.kernel, stride=2, padding=1, groups=3)


class _Colour(nn.Module):
    """Adds what warped features, or the colours already read from them, show to the picture so far."""

    weight: Tensor
    inner_bias: Tensor
    bias: Tensor
    kernel: Tensor

    def __init__(self, layer: ToRgb) -> None:
        super().__init__()
        read, activate = layer.conv
        assert isinstance(read, EqualConv) and isinstance(activate, FusedLeakyReLU)
        self.register_buffer("weight", read.scaled)
        self.register_buffer("inner_bias", activate.bias.detach().clone())
        self.register_buffer("bias", layer.bias.detach().clone())
        self.register_buffer("kernel", layer.upsample.kernel.expand(3, 1, -1, -1).contiguous())

    def read(self, features: Tensor) -> Tensor:
        """Return the colours [n, 3, r, r] of features, before the activation."""
        return F.conv2d(features, self.weight)

    def forward(self, colours: Tensor, coarser: Tensor | None) -> Tensor:
        own = _GAIN * F.leaky_relu(colours + self.inner_bias, SLOPE) + self.bias
        if coarser is None:
            return own
        return own + F.conv_transpose2d(coarser, self.kernel, stride=2, padding=1, groups=3)


class LiaGenerator(nn.Module):
    """(w [n, 512], features as `LiaIdentity` gives them, alpha [n, 20]) → the frame [n, 3, 256, 256] in [0, 1]."""

    basis: Tensor
    start: Tensor

    def __init__(self, model: Lia) -> None:
        super().__init__()
        decoder = model.dec
        convs = cast(list[StyledConv], [decoder.conv1, *decoder.convs])
        flows = cast(list[ToFlow], list(decoder.to_flows))
        self.styles = _Styles([*(layer.conv for layer in convs), *(layer.conv for layer in flows)])
        self.convs = nn.ModuleList(_UpConv(layer) if layer.conv.upsample else _Conv(layer) for layer in convs)
        self.flows = nn.ModuleList(_Flow(layer) for layer in flows)
        self.colours = nn.ModuleList(_Colour(cast(ToRgb, layer)) for layer in decoder.to_rgbs)
        self.register_buffer("basis", decoder.direction.basis().T.contiguous())
        self.register_buffer("start", decoder.input.input.detach().clone())
        for number, size in enumerate(SIZES):
            self.register_buffer(f"grid_{number}", sampling_grid(size))

    def forward(self, w: Tensor, *given: Tensor) -> Tensor:
        *features, alpha = given
        styles = self.styles(w + alpha @ self.basis)
        conv_styles, flow_styles = styles[: len(self.convs)], styles[len(self.convs) :]
        x = self.convs[0](self.start.expand(len(alpha), -1, -1, -1), conv_styles[0])
        logits: Tensor | None = None
        rgb: Tensor | None = None
        last = len(SIZES) - 1
        for number, (feature, colour) in enumerate(zip(features, self.colours, strict=True)):
            for layer in (2 * number + 1, 2 * number + 2):
                x = self.convs[layer](x, conv_styles[layer])
            logits = self.flows[number](x, flow_styles[number], logits)
            warped, mask = warp_feature(feature, logits, self.get_buffer(f"grid_{number}"))
            assert isinstance(colour, _Colour)
            rgb = colour(warped if number == last else colour.read(warped), rgb)
            if number < last:
                x = warped + x * (1.0 - mask)
        assert rgb is not None
        return 0.5 * rgb + 0.5


class LiaIdentity(nn.Module):
    """A portrait [n, 3, 256, 256] in [0, 1] → w [n, 512] and its features, the finest as colours."""

    def __init__(self, model: Lia) -> None:
        super().__init__()
        self.net = model.enc.net_app
        self.colour = _Colour(cast(ToRgb, model.dec.to_rgbs[-1]))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        w, features = self.net(2.0 * image - 1.0)
        return w, *features[:-1], self.colour.read(features[-1])


class LiaPose(nn.Module):
    """An image [n, 3, 256, 256] in [0, 1] → alpha [n, 20]; the five layers of the motion head are one."""

    matrix: Tensor
    bias: Tensor

    def __init__(self, model: Lia) -> None:
        super().__init__()
        self.net = model.enc.net_app
        matrix, bias = model.enc.motion_matrix()
        self.register_buffer("matrix", matrix.T.contiguous())
        self.register_buffer("bias", bias)

    def forward(self, image: Tensor) -> Tensor:
        w, _ = self.net(2.0 * image - 1.0)
        return w @ self.matrix + self.bias


def load(path: Path) -> PictureBackbone:
    """Return the backbone of a published LIA checkpoint; v is alpha of absolute driving, z = w + Q·v.

    Raises:
        CheckpointError: naming the file and what is wrong with it.
    """
    return backbone_of(load_lia(path))


def backbone_of(model: Lia) -> PictureBackbone:
    """Return the backbone of a loaded network."""

    def published(portrait: Tensor) -> Callable[[Tensor], Tensor]:
        w, _, features = model.enc(2.0 * portrait - 1.0)
        return lambda alpha: 0.5 * model.dec(model.latent(w, alpha), features) + 0.5

    return PictureBackbone(
        name="LIA 256",
        licence=LICENCE,
        latent_size=MOTION_SIZE,
        image_size=IMAGE_SIZE,
        pose_encoder=LiaPose(model).eval().requires_grad_(False),
        identity_encoder=LiaIdentity(model).eval().requires_grad_(False),
        features=FEATURES,
        generator=LiaGenerator(model).eval().requires_grad_(False),
        alpha=False,
        published=published,
    )
