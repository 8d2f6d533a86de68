# SPDX-License-Identifier: GPL-3.0-or-later
"""LPD 256 (Burkov et al., 2020), written from its published facts: embedder and generator with segmentation.

e = mean of identity embeddings [n, 512] over a person's photos, v = pose latent [n, 256]; the generator draws a head
over black and its matte from [e, v]. Images are RGB in [0, 1]. Parameter names are the published checkpoint's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.backbones.checkpoints import CheckpointError, check_settings, load_strictly, read_checkpoint, settings_of
from training.backbones.lpd_encoders import IDENTITY_SIZE, POSE_SIZE, MobileNetV2, ResNeXt50

IMAGE_SIZE = 256
CONSTANT_SIZE = 4
_NORM_FLOOR = 1e-4
# (inner, outer) channels of the blocks that keep the size, and of those that double it.
_RESIDUAL = ((512, 512), (512, 512))
_UP = ((512, 512), (512, 512), (512, 512), (512, 256), (256, 128), (128, 64))
Padding = Literal["zero", "reflection"]
_SETTINGS: dict[str, object] = {
    "embedder": "unsupervised_pose_separate_embResNeXt_segmentation",
    "generator": "vector_pose_unsupervised_segmentation_noBottleneck",
    "embed_channels": IDENTITY_SIZE,
    "pose_embedding_size": POSE_SIZE,
    "average_function": "sum",
    "num_channels": 64,
    "max_num_channels": 512,
    "norm_layer": "in",
    "gen_padding": ("zero", "reflection"),
    "gen_constant_input_size": CONSTANT_SIZE,
    "gen_num_residual_blocks": len(_RESIDUAL),
    "image_size": IMAGE_SIZE,
}


class Spectral(nn.Module):
    """A weight divided by its largest singular value, as stored vectors u and v estimate it.

    Evaluation uses u and v as they are; training improves them by one power iteration a step.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, *shape: int, bias: bool) -> None:
        super().__init__()
        self.weight_orig = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_uniform_(self.weight_orig, a=5**0.5)
        columns = self.weight_orig[0].numel()
        self.register_buffer("weight_u", F.normalize(torch.randn(shape[0]), dim=0))
        self.register_buffer("weight_v", F.normalize(torch.randn(columns), dim=0))
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None

    @property
    def weight(self) -> Tensor:
        """The weight as it is used."""
        matrix = self.weight_orig.flatten(1)
        if self.training:
            with torch.no_grad():
                self.weight_v = F.normalize(matrix.T @ self.weight_u, dim=0, eps=1e-12)
                self.weight_u = F.normalize(matrix @ self.weight_v, dim=0, eps=1e-12)
        return self.weight_orig / torch.dot(self.weight_u, matrix @ self.weight_v)


class SpectralConv(Spectral):
    """A convolution of stride 1 that keeps the size; the border is zero or mirrored."""

    def __init__(self, inner: int, outer: int, size: int, bias: bool = False, padding: Padding = "zero") -> None:
        super().__init__(outer, inner, size, size, bias=bias)
        self.mirrors = padding == "reflection"

    def forward(self, x: Tensor) -> Tensor:
        margin = self.weight_orig.shape[-1] // 2
        if self.mirrors and margin:
            return F.conv2d(F.pad(x, (margin,) * 4, mode="reflect"), self.weight, self.bias)
        return F.conv2d(x, self.weight, self.bias, padding=margin)


class SpectralLinear(Spectral):
    """A linear layer."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__(outer, inner, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class AdaIN(nn.Module):
    """Instance normalisation whose offset and factor the projector gives, channel by channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor, affine: Tensor) -> Tensor:
        """Return x [n, c, h, w] normalised, with `affine` [n, 2c]: offsets, then factors."""
        offset, factor = affine[:, : self.channels, None, None], affine[:, self.channels :, None, None]
        return F.instance_norm(x, eps=_NORM_FLOOR) * factor + offset


class Block(nn.Module):
    """Two normalised convolutions and a skip; with `up` the size doubles."""

    def __init__(self, inner: int, outer: int, up: bool, padding: Padding) -> None:
        super().__init__()
        self.up = up
        # The numbers are the checkpoint's: activations, enlargement and padding hold places of their own.
        places: list[nn.Module] = [
            AdaIN(inner),
            nn.ReLU(),
            *([nn.Upsample(scale_factor=2)] if up else []),
            nn.Identity(),
            SpectralConv(inner, outer, 3, padding=padding),
            AdaIN(outer),
            nn.ReLU(),
            nn.Identity(),
            SpectralConv(outer, outer, 3, padding=padding),
        ]
        self.block = nn.ModuleList(places)
        if up:
            self.skip = nn.Sequential(nn.Upsample(scale_factor=2), SpectralConv(inner, outer, 1, bias=True))

    @property
    def affine_sizes(self) -> list[int]:
        """How many numbers each AdaIN takes."""
        return [2 * layer.channels for layer in self.block if isinstance(layer, AdaIN)]

    def forward(self, x: Tensor, *affine: Tensor) -> Tensor:
        given = iter(affine)
        y = x
        for layer in self.block:
            y = layer(y, next(given)) if isinstance(layer, AdaIN) else layer(y)
        if not self.up:
            return y + x
        # The 1×1 convolution commutes with the enlargement, and is a quarter of the work before it.
        enlarge, convolve = self.skip
        return y + enlarge(convolve(x))


class ConstantInput(nn.Module):
    """Where the generator starts from."""

    def __init__(self) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.randn(1, 512, CONSTANT_SIZE, CONSTANT_SIZE))


class LpdGenerator(nn.Module):
    """(identity embedding [n, 512], pose latent [n, 256]) → head over black [n, 3, 256, 256] and matte [n, 1, …].

    A fine-tuned generator has an identity of its own, `identity_embedding` [1, 512], and ignores the one given.
    """

    def __init__(self, padding: Padding = "zero", fine_tuned: bool = False) -> None:
        super().__init__()
        self.constant = ConstantInput()
        blocks = [Block(inner, outer, False, padding) for inner, outer in _RESIDUAL]
        blocks += [Block(inner, outer, True, padding) for inner, outer in _UP]
        last = _UP[-1][1]
        self.decoder_blocks = nn.ModuleList(
            [*blocks, AdaIN(last), nn.ReLU(), SpectralConv(last, 4, 3, bias=True), nn.Tanh()]
        )
        self._sizes = [size for block in blocks for size in block.affine_sizes] + [2 * last]
        joint = IDENTITY_SIZE + POSE_SIZE
        self.affine_params_projector = nn.Sequential(
            SpectralLinear(joint, joint), nn.ReLU(), SpectralLinear(joint, sum(self._sizes))
        )
        self.identity_embedding = nn.Parameter(torch.zeros(1, IDENTITY_SIZE)) if fine_tuned else None

    def affine(self, identity: Tensor, pose: Tensor) -> Tensor:
        """Return every AdaIN's numbers [n, 13056]."""
        if self.identity_embedding is not None:
            identity = self.identity_embedding.expand(len(pose), -1)
        return self.affine_params_projector(torch.cat([identity, pose], dim=1))

    def stages(self, identity: Tensor, pose: Tensor) -> list[Tensor]:
        """Return what each of the decoder's twelve blocks gives."""
        given = iter(self.affine(identity, pose).split(self._sizes, dim=1))
        x = self.constant.constant.expand(len(pose), -1, -1, -1)
        made = []
        for layer in self.decoder_blocks:
            if isinstance(layer, Block):
                x = layer(x, next(given), next(given))
            elif isinstance(layer, AdaIN):
                x = layer(x, next(given))
            else:
                x = layer(x)
            made.append(x)
        return made

    def forward(self, identity: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        y = self.stages(identity, pose)[-1]
        matte = 0.5 * y[:, 3:] + 0.5
        return (0.75 * y[:, :3] + 0.5) * matte, matte


class LpdEmbedder(nn.Module):
    """Both encoders."""

    def __init__(self) -> None:
        super().__init__()
        self.identity_encoder = ResNeXt50()
        self.pose_encoder = MobileNetV2()


class Lpd(nn.Module):
    """Embedder and generator."""

    def __init__(self, padding: Padding = "zero", fine_tuned: bool = False) -> None:
        super().__init__()
        self.padding: Padding = padding
        self.embedder = LpdEmbedder()
        self.generator = LpdGenerator(padding, fine_tuned)

    @property
    def fine_tuned(self) -> bool:
        """Whether the generator carries one person's identity."""
        return self.generator.identity_embedding is not None

    def identity(self, photos: Tensor) -> Tensor:
        """Return a person's embedding [1, 512]: the mean over photos [m, 3, 256, 256]."""
        return self.embedder.identity_encoder(photos).mean(dim=0, keepdim=True)


def load_lpd(path: Path) -> Lpd:
    """Read a published checkpoint: the meta-model (`latent-pose-release.pth`) or a fine-tuned one.

    The running averages are used where there are any, as published inference does.

    Raises:
        CheckpointError: naming the file and what is wrong with it.
    """
    content = read_checkpoint(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: not an LPD checkpoint: it is no dictionary")
    check_settings(path, content.get("args"), _SETTINGS)
    averages = content.get("running_averages")
    states: dict[str, Mapping[str, Any]] = {}
    for part in ("embedder", "generator"):
        averaged = averages.get(part) if isinstance(averages, Mapping) else None
        state = averaged if averaged else content.get(part)
        if not isinstance(state, Mapping):
            raise CheckpointError(f'{path}: not an LPD checkpoint: it has no state dict "{part}"')
        states[part] = state
    padding = settings_of(content.get("args")).get("gen_padding", "zero")
    return lpd_of_states(states["embedder"], states["generator"], path, padding)


def lpd_of_states(
    embedder: Mapping[str, Any], generator: Mapping[str, Any], path: Path, padding: Padding = "zero"
) -> Lpd:
    """Return the network of two state dicts, checked key by key; `path` is for errors."""
    with torch.device("meta"):
        model = Lpd(padding, fine_tuned="identity_embedding" in generator)
    load_strictly(model.embedder, embedder, path, "LPD embedder")
    load_strictly(model.generator, generator, path, "LPD generator")
    return model.eval().requires_grad_(False)
