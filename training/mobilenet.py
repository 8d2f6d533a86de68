# SPDX-License-Identifier: GPL-3.0-or-later
"""MobileNetV2 (Sandler et al., 2018) with a head that keeps the last map's places, for reading faces."""

from torch import Tensor, nn

# (expansion, channels, repeats, stride), table 2 of the MobileNetV2 paper.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def _divisible(channels: float) -> int:
    return max(8, int(channels + 4) // 8 * 8)


def conv(inner: int, outer: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True) -> nn.Sequential:
    """Return a convolution, its batch norm and, if `active`, a ReLU6."""
    layers: list[nn.Module] = [
        nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outer),
    ]
    if active:
        layers.append(nn.ReLU6(inplace=True))
    return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """Expand, filter depthwise, project; with a shortcut where the shapes allow one."""

    def __init__(self, inner: int, outer: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inner * expansion
        expand = [conv(inner, wide, 1)] if expansion != 1 else []
        self.layers = nn.Sequential(
            *expand, conv(wide, wide, 3, stride, groups=wide), conv(wide, outer, 1, active=False)
        )
        self.shortcut = stride == 1 and inner == outer

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.shortcut else self.layers(x)


class MobileNetV2(nn.Module):
    """The trunk: image [n, 3, s, s] in [0, 1] → features [n, channels, s/32, s/32]."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        inner = _divisible(32 * width)
        blocks: list[nn.Module] = [conv(3, inner, 3, 2)]
        self._channels = [inner]
        for expansion, channels, repeats, stride in _STAGES:
            outer = _divisible(channels * width)
            for repeat in range(repeats):
                blocks.append(InvertedResidual(inner, outer, stride if repeat == 0 else 1, expansion))
                inner = outer
                self._channels.append(outer)
        self.blocks = nn.Sequential(*blocks)
        self.channels = inner

    def forward(self, image: Tensor) -> Tensor:
        return self.blocks(image * 2.0 - 1.0)

    def maps(self, image: Tensor, taps: tuple[int, ...]) -> list[Tensor]:
        """Return the outputs of the blocks `taps`, in order."""
        x, taken = image * 2.0 - 1.0, []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in taps:
                taken.append(x)
        return taken

    def channels_after(self, block: int) -> int:
        """Return how many channels a block's output has."""
        return self._channels[block]


class Readout(nn.Module):
    """Features → numbers. The map is flattened, not averaged: where a feature lies is what landmarks are about."""

    def __init__(self, channels: int, cells: int, outputs: int, squeezed: int = 64, hidden: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(channels, squeezed, 1),
            nn.Flatten(),
            nn.Linear(squeezed * cells * cells, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU6(inplace=True),
            nn.Linear(hidden, outputs),
        )
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)


def parameter_count(module: nn.Module) -> int:
    """Return the number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
