# SPDX-License-Identifier: GPL-3.0-or-later
"""The backbone interface: a one-shot talking head as the engine sees it, whatever is inside."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.errors import BundleError

if TYPE_CHECKING:
    from lpmm_runtime.backbones.beyond_crop import Strip
    from lpmm_runtime.onnx_sessions import OnnxSessions

Array = NDArray[np.float32]

# What a backbone remembers of a portrait; only the backbone that made it looks inside.
Identity = Any

_CLASSES = {
    "image": ("lpmm_runtime.backbones.image", "ImageBackbone"),
    "portrait_flow": ("lpmm_runtime.backbones.portrait_flow", "PortraitFlowBackbone"),
}


class Backbone(Protocol):
    """A generator G with its identity features; built from the sessions of one bundle."""

    def identify(
        self,
        crop: Array,
        landmarks: Array,
        pose_latent: Array,
        irises: Array | None = None,
        around: NDArray[np.uint8] | None = None,
        mirrored_latent: Array | None = None,
    ) -> Identity:
        """Return the identity of a portrait, to be cached.

        Args:
            crop: [H, H, 3] float32 RGB in [0, 1], the aligned crop at its own resolution.
            landmarks: [68, 2] float32, in the crop's unit square.
            pose_latent: [w] float32, v = E(crop).
            irises: [2, 2] float32, likewise in the unit square, the picture's left one first; None if the bundle's
                landmark scheme has none.
            around: [w, w, 4] uint8, the same photo with the crop in its middle (`beyond_crop.SURROUNDINGS` on every
                side), if it is known; 0 in the last where the picture is beyond the photo.
            mirrored_latent: [w] float32, E of the crop's mirror image: the far side of a face seen from a side may be
                made up of it. None leaves that as the photo shows it.
        """
        ...

    def with_full_blink(self, identity: Identity, pose_latent: Array) -> Identity:
        """Return an identity that knows that both eyes are shut at a pose latent [w], for lids to meet there."""
        ...

    def render(self, identity: Identity, pose_latent: Array, size: int) -> Array:
        """Return the frame G(identity, v̂): [size, size, 4] float32 RGBA in [0, 1], in the crop's frame.

        Colour is not premultiplied and stands over the portrait's own background; alpha is the head's matte, or 1.
        At the portrait's own latent, and its own size, it is the crop exactly.
        """
        ...

    def render_with_surroundings(
        self, identity: Identity, pose_latent: Array, size: int
    ) -> "tuple[Array, tuple[Strip, ...]]":
        """Return the frame as `render` does, and what it changes of the photo beyond the crop."""
        ...


def create_backbone(kind: str, sessions: "OnnxSessions") -> Backbone:
    """Return the backbone of a kind, over a bundle's graphs.

    Raises:
        BundleError: if this program has no such kind.
    """
    if kind not in _CLASSES:
        known = ", ".join(sorted(_CLASSES))
        raise BundleError(f"{sessions.bundle.path}: unknown backbone kind {kind!r} (known: {known})")
    module, name = _CLASSES[kind]
    backbone: Backbone = getattr(import_module(module), name)(sessions)
    return backbone
