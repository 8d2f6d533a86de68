# SPDX-License-Identifier: GPL-3.0-or-later
"""LPD's two encoders: ResNeXt50 (32×4d) for the identity, MobileNetV2 for the pose; names as in its checkpoint.

Both take RGB [n, 3, 256, 256] in [0, 1], without further normalisation.
"""

from __future__ import annotations

from torch import Tensor, nn

IDENTITY_SIZE = 512
POSE_SIZE = 256
_GROUPS = 32
# Output channels, blocks and first stride of ResNeXt's layers; a block's inner width is half its output's.
_LAYERS = ((256, 3, 1), (512, 4, 2), (1024, 6, 2), (2048, 3, 2))
# Expansion, channels, blocks, first stride of MobileNetV2's stages.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class Bottleneck(nn.Module):
    """1×1, grouped 3×3, 1×1, and the shortcut."""

    def __init__(self, inner: int, outer: int, stride: int, downsample: bool) -> None:
        super().__init__()
        width = outer // 2
        self.conv1 = nn.Conv2d(inner, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=_GROUPS, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outer, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outer)
        self.relu = nn.ReLU()
        self.downsample = (
            nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer)) if downsample else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNeXt50(nn.Module):
    """An image → an identity embedding [n, 512]."""

    def __init__(self, classes: int = IDENTITY_SIZE) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inner = 64
        for number, (outer, blocks, stride) in enumerate(_LAYERS, start=1):
            layer = [Bottleneck(inner, outer, stride, True)]
            layer += [Bottleneck(outer, outer, 1, False) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(*layer))
            inner = outer
        self.fc = nn.Linear(inner, classes)

    def forward(self, image: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        for number in range(1, len(_LAYERS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return self.fc(x.mean(dim=(2, 3)))


def _conv_bn(inner: int, outer: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inner, outer, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outer), nn.ReLU6())


class InvertedResidual(nn.Module):
    """Expand, depthwise, project; the input is added where shapes allow."""

    def __init__(self, inner: int, outer: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inner * expansion
        self._adds = stride == 1 and inner == outer
        expand = [_conv_bn(inner, width, 1)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            _conv_bn(width, width, 3, stride, groups=width),
            nn.Conv2d(width, outer, 1, bias=False),
            nn.BatchNorm2d(outer),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return x + y if self._adds else y


class MobileNetV2(nn.Module):
    """An image → a pose latent [n, 256]."""

    def __init__(self, classes: int = POSE_SIZE) -> None:
        super().__init__()
        features: list[nn.Module] = [_conv_bn(3, 32, 3, stride=2)]
        inner = 32
        for expansion, outer, blocks, first_stride in _STAGES:
            for block in range(blocks):
                features.append(InvertedResidual(inner, outer, first_stride if block == 0 else 1, expansion))
                inner = outer
        features.append(_conv_bn(inner, 1280, 1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(image).mean(dim=(2, 3)))
