# SPDX-License-Identifier: GPL-3.0-or-later
"""LPD in the form that is exported: spectral norms folded into plain weights, and an identity that may be fixed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from training.backbones.interface import PictureBackbone
from training.backbones.lpd import IMAGE_SIZE, Lpd, LpdGenerator, SpectralConv, SpectralLinear, load_lpd
from training.backbones.lpd_encoders import POSE_SIZE

LICENCE = "Apache-2.0 (LPD's code, 2020 Samsung; its weights carry no statement of their own)"
FEATURES = ("identity",)


class FixedIdentity(nn.Module):
    """One person's embedding, whatever the picture: a fine-tuned generator's, or the mean over several photos."""

    embedding: Tensor

    def __init__(self, embedding: Tensor) -> None:
        super().__init__()
        self.register_buffer("embedding", embedding.detach().clone().reshape(1, -1))

    def forward(self, image: Tensor) -> Tensor:
        return self.embedding.expand(image.shape[0], -1)


def folded(generator: LpdGenerator) -> LpdGenerator:
    """Return a copy without spectral norms, and without an identity of its own: the given one is used."""
    plain = copy.deepcopy(generator).eval()
    plain.identity_embedding = None
    for parent in list(plain.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, SpectralConv):
                setattr(parent, name, plain_convolution(layer))
            elif isinstance(layer, SpectralLinear):
                linear = nn.Linear(layer.weight_orig.shape[1], layer.weight_orig.shape[0])
                linear.load_state_dict({"weight": layer.weight, "bias": layer.bias})
                setattr(parent, name, linear)
    return plain


def plain_convolution(layer: SpectralConv) -> nn.Conv2d:
    """Return the convolution that a normalised one is in evaluation."""
    outer, inner, size, _ = layer.weight_orig.shape
    mode: Literal["reflect", "zeros"] = "reflect" if layer.mirrors and size > 1 else "zeros"
    plain = nn.Conv2d(inner, outer, size, padding=size // 2, bias=layer.bias is not None, padding_mode=mode)
    state = {"weight": layer.weight} | ({} if layer.bias is None else {"bias": layer.bias})
    plain.load_state_dict(state)
    return plain


def load(path: Path) -> PictureBackbone:
    """Return the backbone of a published LPD checkpoint, the meta-model or a fine-tuned one.

    Raises:
        CheckpointError: naming the file and what is wrong with it.
    """
    return backbone_of(load_lpd(path))


def backbone_of(model: Lpd, photos: Tensor | None = None) -> PictureBackbone:
    """Return the backbone of a loaded network.

    Args:
        photos: [m, 3, 256, 256] in [0, 1], a person's; their mean embedding becomes the identity of every portrait.
            None reads each portrait's own; a fine-tuned network has its own already.
    """
    fixed: Tensor | None = model.generator.identity_embedding
    if fixed is None and photos is not None:
        with torch.no_grad():
            fixed = model.identity(photos)
    identity: nn.Module = model.embedder.identity_encoder if fixed is None else FixedIdentity(fixed)

    def published(portrait: Tensor) -> Callable[[Tensor], Tensor]:
        embedding = identity(portrait)
        return lambda pose: model.generator(embedding, pose)[0]

    return PictureBackbone(
        name="LPD 256",
        licence=LICENCE,
        latent_size=POSE_SIZE,
        image_size=IMAGE_SIZE,
        pose_encoder=model.embedder.pose_encoder.eval().requires_grad_(False),
        identity_encoder=identity.eval().requires_grad_(False),
        features=FEATURES,
        generator=folded(model.generator).requires_grad_(False),
        alpha=True,
        published=published,
    )
