# SPDX-License-Identifier: GPL-3.0-or-later
"""The layers of LIA 256, as its published weights are laid out: equalised, modulated and blurred convolutions.

Tensors are NCHW float32. Module and parameter names are those of the published checkpoint, so that it loads strictly.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STYLE_SIZE = 512
SLOPE = 0.2
_DEMODULATION_FLOOR = 1e-8


def binomial_kernel(gain: float = 1.0) -> Tensor:
    """Return the blur kernel [4, 4]: the outer product of (1, 3, 3, 1), summing to `gain`."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(row, row) * (gain / 64.0)


def blur(x: Tensor, kernel: Tensor, before: int, after: int) -> Tensor:
    """Return x [n, c, h, w], zero-padded and correlated channel by channel with a kernel [4, 4]."""
    channels = int(x.shape[1])
    padded = F.pad(x, (before, after, before, after))
    return F.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)


class Kernel(nn.Module):
    """A place for a blur kernel [4, 4] in the state dict."""

    kernel: Tensor

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.register_buffer("kernel", binomial_kernel(gain))


class Blur(Kernel):
    """`blur` with paddings of its own."""

    def __init__(self, before: int, after: int, gain: float = 1.0) -> None:
        super().__init__(gain)
        self._padding = before, after

    def forward(self, x: Tensor) -> Tensor:
        return blur(x, self.kernel, *self._padding)


class Upsample(Kernel):
    """×2 for the skip paths: a zero after each sample, then the blur with gain 4."""

    def __init__(self) -> None:
        super().__init__(4.0)

    def forward(self, x: Tensor) -> Tensor:
        channels = int(x.shape[1])
        return F.conv_transpose2d(x, self.kernel.expand(channels, 1, -1, -1), stride=2, padding=1, groups=channels)


class EqualConv(nn.Module):
    """A convolution without bias whose stored weight [o, i, k, k] is divided by √(i k²)."""

    def __init__(self, inner: int, outer: int, size: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outer, inner, size, size))
        self._stride, self._padding = stride, padding

    @property
    def scaled(self) -> Tensor:
        """The weight as it is used."""
        return self.weight / math.sqrt(self.weight[0].numel())

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.scaled, stride=self._stride, padding=self._padding)


class EqualLinear(nn.Module):
    """A linear layer whose stored weight [o, i] is divided by √i."""

    def __init__(self, inner: int, outer: int, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outer, inner))
        self.bias = nn.Parameter(torch.full((outer,), bias))

    @property
    def scaled(self) -> Tensor:
        """The weight as it is used."""
        return self.weight / math.sqrt(self.weight.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.scaled, self.bias)


class FusedLeakyReLU(nn.Module):
    """lrelu(x + b)·√2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias, SLOPE) * math.sqrt(2.0)


class ModulatedConv(nn.Module):
    """A convolution whose input channels are scaled by a style, and whose outputs are normalised again.

    With `upsample` the picture doubles: a transposed convolution, then a blur. This is the plain form, with weights
    of each sample's own; `lia_backbone` has the one that is exported.
    """

    def __init__(self, inner: int, outer: int, size: int, demodulate: bool = True, upsample: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, outer, inner, size, size))
        self.modulation = EqualLinear(STYLE_SIZE, inner, bias=1.0)
        self.demodulate, self.upsample = demodulate, upsample
        if upsample:
            self.blur = Blur(1, 1, gain=4.0)

    @property
    def scaled(self) -> Tensor:
        """The weight [o, i, k, k] before modulation."""
        return self.weight[0] / math.sqrt(self.weight[0, 0].numel())

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        """Return features of x [n, i, h, w] under the style of latents [n, 512]."""
        n, inner, height, width = x.shape
        style = self.modulation(latent)
        weight = self.scaled[None] * style[:, None, :, None, None]
        if self.demodulate:
            weight = weight * torch.rsqrt(weight.square().sum(dim=(2, 3, 4), keepdim=True) + _DEMODULATION_FLOOR)
        grouped = x.reshape(1, n * inner, height, width)
        size = weight.shape[-1]
        if self.upsample:
            turned = weight.transpose(1, 2).reshape(n * inner, -1, size, size)
            y = F.conv_transpose2d(grouped, turned, stride=2, groups=n)
            return self.blur(y.reshape(n, -1, *y.shape[2:]))
        y = F.conv2d(grouped, weight.reshape(-1, inner, size, size), padding=size // 2, groups=n)
        return y.reshape(n, -1, height, width)


class NoiseWeight(nn.Module):
    """A weight that the checkpoint stores and that inference never uses: no noise is passed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class StyledConv(nn.Module):
    """A 3×3 modulated convolution and its activation."""

    def __init__(self, inner: int, outer: int, upsample: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv(inner, outer, 3, upsample=upsample)
        self.noise = NoiseWeight()
        self.activate = FusedLeakyReLU(outer)

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        return self.activate(self.conv(x, latent))
