# SPDX-License-Identifier: GPL-3.0-or-later
"""What a talking head must offer: a pose encoder E, an identity, a generator G, and the size of a pose latent.

`TalkingHead` is all that training an LP-adaptor needs. A backbone that paints whole pictures is a `PictureBackbone`:
three networks and a licence, from which both the training and the bundle are made. A new one is one file that returns
it, and a line in `import_backbone.KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn


class TalkingHead(Protocol):
    """A frozen talking head: v = E(crop), identity of a portrait, frame = G(identity, v)."""

    @property
    def latent_size(self) -> int:
        """w, the length of a pose latent."""
        ...

    @property
    def image_size(self) -> int:
        """The side of the crops that it takes and draws, pixels."""
        ...

    def encode_pose(self, crops: Tensor) -> Tensor:
        """Return v [n, w] of aligned crops [n, 3, s, s] in [0, 1]; they may be of another size."""
        ...

    def identify(self, crops: Tensor, landmarks: Tensor, latents: Tensor) -> Any:
        """Return the identities of portraits, for `draw`.

        Args:
            crops: [n, 3, s, s] in [0, 1], s = `image_size`.
            landmarks: [n, 68, 2] in the crops' unit squares; latents: [n, w]. Not every backbone looks at them.
        """
        ...

    def draw(self, identity: Any, latent: Tensor) -> Tensor:
        """Return G(identity, v) [n, 3, s, s], differentiable in v [n, w]."""
        ...


@dataclass(frozen=True)
class PictureBackbone:
    """A backbone whose generator paints the whole crop. Images are RGB [n, 3, s, s] in [0, 1], and are not clamped.

    Attributes:
        name: for people: "LIA 256".
        licence: what its code and weights allow, in one line.
        latent_size: w; image_size: s.
        pose_encoder: image → v [n, w].
        identity_encoder: image → one tensor for each of `features`.
        features: names of the identity's tensors, as the graphs will carry them.
        generator: (the features in order, v) → image, or (image, alpha [n, 1, s, s]); with alpha the image stands
            over black.
        alpha: whether there is a matte.
        published: portrait [1, 3, s, s] → (v [1, w] → frame), computed in the plain form of the publication; the
            yardstick of exports and of their speed.
    """

    name: str
    licence: str
    latent_size: int
    image_size: int
    pose_encoder: nn.Module
    identity_encoder: nn.Module
    features: tuple[str, ...]
    generator: nn.Module
    alpha: bool
    published: Callable[[Tensor], Callable[[Tensor], Tensor]]

    def encode_pose(self, crops: Tensor) -> Tensor:
        """See `TalkingHead.encode_pose`."""
        return self.pose_encoder(self._sized(crops))

    def identify(self, crops: Tensor, landmarks: Tensor, latents: Tensor) -> tuple[Tensor, ...]:
        """See `TalkingHead.identify`."""
        found = self.identity_encoder(self._sized(crops))
        return (found,) if isinstance(found, Tensor) else tuple(found)

    def draw(self, identity: tuple[Tensor, ...], latent: Tensor) -> Tensor:
        """See `TalkingHead.draw`."""
        drawn = self.generator(*(part.expand(len(latent), *part.shape[1:]) for part in identity), latent)
        return drawn if isinstance(drawn, Tensor) else drawn[0]

    def to(self, device: str) -> None:
        """Move the networks to a torch device."""
        for network in (self.pose_encoder, self.identity_encoder, self.generator):
            network.to(device)

    def _sized(self, crops: Tensor) -> Tensor:
        if crops.shape[-1] == self.image_size:
            return crops
        size = (self.image_size, self.image_size)
        return nn.functional.interpolate(crops, size, mode="bilinear", align_corners=False, antialias=True)
