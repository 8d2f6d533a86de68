# SPDX-License-Identifier: GPL-3.0-or-later
"""The "image" backbone: a generator that paints the whole crop itself, as LIA and LPD do."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.backbones.background import background_plate, background_sources
from lpmm_runtime.backbones.beyond_crop import Strip
from lpmm_runtime.errors import BundleError
from lpmm_runtime.onnx_sessions import OnnxSessions
from lpmm_runtime.portrait import as_batch, resize

Array = NDArray[np.float32]

# The mean change of the picture, in shares of white, over which the photo gives way to what the generator paints.
_GIVES_WAY = 0.012


@dataclass(frozen=True, eq=False)
class ImageIdentity:
    """What a portrait leaves behind.

    Attributes:
        crop: [H, H, 3], the photo's own pixels.
        features: the encoder's, by name.
        pose_latent: [w], the crop's own.
        plate: [z, z, 3], the background behind the head, at the generator's size; None without a matte.
        rest: [z, z, 4], what the generator paints at the crop's own latent, over the plate.
    """

    crop: Array
    features: dict[str, Array]
    pose_latent: Array
    plate: Array | None
    rest: Array


class ImageBackbone:
    """Runs identity_encoder once a portrait and generator once a frame; resizes the picture it gives."""

    def __init__(self, sessions: OnnxSessions) -> None:
        """Check the generator's outputs.

        Raises:
            BundleError: if it gives no picture, or not the matte that the manifest promises.
        """
        outputs = ["image", "alpha"] if sessions.bundle.alpha else ["image"]
        for name in outputs:
            if name not in sessions.output_names("generator"):
                raise BundleError(f"{sessions.bundle.graph('generator')}: has no output {name!r}")
        self._sessions = sessions

    def identify(
        self,
        crop: Array,
        landmarks: Array,
        pose_latent: Array,
        irises: Array | None = None,
        around: NDArray[np.uint8] | None = None,
        mirrored_latent: Array | None = None,
    ) -> ImageIdentity:
        """See `Backbone.identify`."""
        names = self._sessions.input_names("identity_encoder")
        feeds: dict[str, Array] = {"landmarks": landmarks[None], "pose_latent": pose_latent[None]}
        if "image" in names:
            side = self._sessions.image_side("identity_encoder")
            feeds["image"] = as_batch(np.clip(resize(crop, side, side), 0.0, 1.0))
        features = self._sessions.run("identity_encoder", {name: feeds[name] for name in names})
        image, alpha = self._paint(features, pose_latent)
        plate = None
        if self._sessions.bundle.alpha:
            size = len(image)
            small = np.clip(resize(crop, size, size), 0.0, 1.0).astype(np.float32)
            matte = np.ascontiguousarray(alpha)
            plate = background_plate(small, matte, background_sources(small, matte))
        return ImageIdentity(crop, features, pose_latent, plate, _over(image, alpha, plate))

    def with_full_blink(self, identity: ImageIdentity, pose_latent: Array) -> ImageIdentity:
        """See `Backbone.with_full_blink`; this generator paints lids as it knows them."""
        return identity

    def render(self, identity: ImageIdentity, pose_latent: Array, size: int) -> Array:
        """See `Backbone.render`.

        At the portrait's own latent it is the photo; away from it the generator's picture alone. Between, what the
        generator lacks of the photo is faded out with the first slight motion, so that nothing jumps.
        """
        crop = np.clip(resize(identity.crop, size, size), 0.0, 1.0)
        if np.array_equal(pose_latent, identity.pose_latent):
            return np.dstack([crop, np.clip(resize(identity.rest[..., 3], size, size), 0.0, 1.0)])
        painted = _over(*self._paint(identity.features, pose_latent), identity.plate)
        change = float(np.abs(painted[..., :3] - identity.rest[..., :3]).mean())
        kept = max(0.0, 1.0 - change / _GIVES_WAY)
        frame = np.asarray(resize(painted, size, size), np.float32)
        if kept:
            lacking = crop - resize(np.ascontiguousarray(identity.rest[..., :3]), size, size)
            frame[..., :3] += np.float32(kept) * lacking
        return np.clip(frame, 0.0, 1.0)

    def render_with_surroundings(
        self, identity: ImageIdentity, pose_latent: Array, size: int
    ) -> tuple[Array, tuple[Strip, ...]]:
        """See `Backbone.render_with_surroundings`; this generator says nothing of what is beyond the crop."""
        return self.render(identity, pose_latent, size), ()

    def _paint(self, features: dict[str, Array], pose_latent: Array) -> tuple[Array, Array]:
        """Return the generator's image [z, z, 3] and matte [z, z], 1 throughout where it gives none."""
        answer = self._sessions.run("generator", {**features, "pose_latent": pose_latent[None]})
        image = answer["image"][0].transpose(1, 2, 0)
        if not self._sessions.bundle.alpha:
            return image, np.ones(image.shape[:2], np.float32)
        return image, np.clip(answer["alpha"][0, 0], 0.0, 1.0)


def _over(image: Array, alpha: Array, plate: Array | None) -> Array:
    """Return RGBA [z, z, 4] of an image that stands over black, laid over a plate."""
    matte = alpha[..., None]
    colour = image if plate is None else image + (1.0 - matte) * plate
    return np.ascontiguousarray(np.concatenate([np.clip(colour, 0.0, 1.0), matte], axis=-1), np.float32)
