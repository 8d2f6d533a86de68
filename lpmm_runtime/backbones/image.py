# SPDX-License-Identifier: GPL-3.0-or-later
"""The "image" backbone: a generator that paints the whole crop itself, as LIA and LPD do."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.errors import BundleError
from lpmm_runtime.onnx_sessions import OnnxSessions
from lpmm_runtime.portrait import as_batch, resize

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ImageIdentity:
    """The crop [H, H, 3], the encoder's features by name, and the crop's own latent [w]."""

    crop: Array
    features: dict[str, Array]
    pose_latent: Array


class ImageBackbone:
    """Runs identity_encoder once a portrait and generator once a frame; resizes the picture it gives."""

    def __init__(self, sessions: OnnxSessions) -> None:
        """Check the generator's outputs.

        Raises:
            BundleError: if it gives no picture.
        """
        if "image" not in sessions.output_names("generator"):
            raise BundleError(f"{sessions.bundle.graph('generator')}: has no output 'image'")
        self._sessions = sessions

    def identify(self, crop: Array, landmarks: Array, pose_latent: Array) -> ImageIdentity:
        """See `Backbone.identify`."""
        names = self._sessions.input_names("identity_encoder")
        feeds: dict[str, Array] = {"landmarks": landmarks[None], "pose_latent": pose_latent[None]}
        if "image" in names:
            side = self._sessions.image_side("identity_encoder")
            feeds["image"] = as_batch(np.clip(resize(crop, side, side), 0.0, 1.0))
        features = self._sessions.run("identity_encoder", {name: feeds[name] for name in names})
        return ImageIdentity(crop, features, pose_latent)

    def render(self, identity: ImageIdentity, pose_latent: Array, size: int) -> Array:
        """See `Backbone.render`; away from the portrait's own latent the picture is the generator's alone."""
        frame = np.ones((size, size, 4), np.float32)
        if np.array_equal(pose_latent, identity.pose_latent):
            frame[..., :3] = np.clip(resize(identity.crop, size, size), 0.0, 1.0)
            return frame
        answer = self._sessions.run("generator", {**identity.features, "pose_latent": pose_latent[None]})
        frame[..., :3] = np.clip(resize(answer["image"][0].transpose(1, 2, 0), size, size), 0.0, 1.0)
        if "alpha" in answer:
            frame[..., 3] = np.clip(resize(answer["alpha"][0, 0], size, size), 0.0, 1.0)
        return frame
