# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks that treat a face's two sides alike: each answers for a face and for its mirror image, and is averaged.

Training on mirrored faces makes a network nearly symmetric. Nearly is not enough for a rig: a head that turns further
to one side than to the other is seen at once.
"""

import torch
from torch import Tensor, nn

from training.lp_adaptor import LpAdaptor
from training.pose_latent import PoseEncoder


class MirroredAdaptor(nn.Module):
    """D, the same for a face and for its mirror image.

    Args:
        params, latents: [k, k] and [w, w], from params and latents (as rows) to those of the mirror image.
    """

    params: Tensor
    latents: Tensor

    def __init__(self, adaptor: LpAdaptor, params: Tensor, latents: Tensor) -> None:
        super().__init__()
        self.adaptor = adaptor
        self.register_buffer("params", params)
        self.register_buffer("latents", latents)

    def forward(self, params: Tensor) -> Tensor:
        return 0.5 * (self.adaptor(params) + self.adaptor(params @ self.params) @ self.latents)


class MirroredEncoder(nn.Module):
    """E, the same for a crop and for its mirror image; `latents` as for D."""

    latents: Tensor

    def __init__(self, encoder: PoseEncoder, latents: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("latents", latents)

    @property
    def size(self) -> int:
        """The side of its crops."""
        return self.encoder.reader.size

    def forward(self, image: Tensor) -> Tensor:
        both = self.encoder(torch.cat([image, image.flip(3)]))
        read, mirrored = both.reshape(2, -1, both.shape[1]).unbind()
        return 0.5 * (read + mirrored @ self.latents)
