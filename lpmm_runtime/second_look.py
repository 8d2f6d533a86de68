# SPDX-License-Identifier: GPL-3.0-or-later
"""The second look: lids and lips read again from close by, once a portrait, where a bundle's identity encoder does."""

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.crop import CropSquare
from lpmm_runtime.onnx_sessions import OnnxSessions
from lpmm_runtime.portrait import as_batch, crop_at

Array = NDArray[np.float32]


def second_look(
    sessions: OnnxSessions, photo: NDArray[np.uint8], square: CropSquare, landmarks: NDArray[np.floating]
) -> Array | None:
    """Return landmarks [68, 2] in photo pixels as they are read again in the crop of a square, None if nothing does.

    Args:
        photo: [H, W, 3] uint8 RGB.
        landmarks: [68, 2], the LP-regressor's, photo pixels.
    """
    names = sessions.input_names("identity_encoder")
    if "source_landmarks" not in sessions.output_names("identity_encoder") or "image" not in names:
        return None
    side = sessions.image_side("identity_encoder")
    feeds: dict[str, Array] = {
        "image": as_batch(np.clip(crop_at(photo, square, side), 0.0, 1.0)),
        "landmarks": square.to_unit(landmarks)[None].astype(np.float32),
        "pose_latent": np.zeros((1, sessions.bundle.latent_size), np.float32),
    }
    answer = sessions.run("identity_encoder", {name: feeds[name] for name in names})
    return square.to_picture(answer["source_landmarks"][0]).astype(np.float32)
