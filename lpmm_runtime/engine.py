# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine: a bundle's models on one device, characters in, frames out."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.backbones import Identity
from lpmm_runtime.bundle import Bundle
from lpmm_runtime.crop import CropSquare

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]
Base = Literal["PHOTO", "NEUTRAL"]
View = Literal["crop", "full"]


@dataclass(frozen=True, eq=False)
class Character:
    """One portrait under one bundle, with its identity features.

    Attributes:
        name: for people.
        photo: [H, W, 3] uint8 RGB.
        square: the aligned crop, whole pixels; it may reach beyond the photo.
        box: (left, top, right, bottom), the face box that the landmarks give, photo pixels.
        landmarks: [68, 2] float32, photo pixels (pixel centres at +0.5).
        params: [k] float32, the photo's own params, p_base.
        head_angles: (yaw, pitch, roll) in degrees that the params show.
        pose_latent: [w] float32, v = E(photo).
        base_offset: [w] float32, D(p_base).
        identity: the backbone's cached features.
    """

    name: str
    photo: Pixels
    square: CropSquare
    box: Box
    landmarks: Array
    params: Array
    head_angles: tuple[float, float, float]
    pose_latent: Array
    base_offset: Array
    identity: Identity = field(repr=False)

    @property
    def photo_size(self) -> tuple[int, int]:
        """The photo's (width, height), pixels."""
        return self.photo.shape[1], self.photo.shape[0]


class Engine:
    """A bundle's models on one device; safe to call from several threads."""

    def __init__(
        self, bundle: Bundle, device: Literal["auto", "cpu", "cuda"] = "auto", threads: int | None = None
    ) -> None:
        raise NotImplementedError

    @property
    def device(self) -> str:
        """Where the models run: "cuda" or "cpu"."""
        raise NotImplementedError

    def create_character(self, photo: Pixels, box: Box | None = None, name: str = "") -> Character:
        """Find the face, align, read and encode it.

        Args:
            photo: [H, W, 3] uint8 RGB.
            box: the face box in photo pixels, brows and forehead to chin, if it is known.
            name: for people and for errors.

        Raises:
            NoFaceError: if there is no face.
            PhotoError: if the photo or the face is too small.
            BoxError: if the box is empty or outside the photo.
        """
        raise NotImplementedError

    def render(
        self,
        character: Character,
        params: NDArray[np.floating],
        *,
        base: Base = "PHOTO",
        view: View = "crop",
        size: int | None = None,
        pose_latent: NDArray[np.floating] | None = None,
        influence: float = 0.0,
    ) -> Pixels:
        """Return the frame [H, W, 4] uint8 RGBA of params [k]; the same inputs give the same bytes."""
        raise NotImplementedError
