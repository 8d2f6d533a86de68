# SPDX-License-Identifier: GPL-3.0-or-later
"""A frame as the rig asks for it: evaluated sliders, without Blender data, so that any thread may carry it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.frame import RigModel, evaluate_params
from lpmm_runtime.presets import Preset
from lpmm_runtime.protocol import Base, Box, View


def as_stored(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a frame [height, width, 4] uint8, first row on top, as an image stores it: floats, first row below."""
    return np.multiply(pixels[::-1], 1.0 / 255.0, dtype=np.float32)


@dataclass(frozen=True)
class FrameRequest:
    """One frame of one rig.

    Attributes:
        photo: the portrait.
        box: the face box given by hand, photo pixels, or None.
        base: "PHOTO" or "NEUTRAL".
        view: "crop" or "full".
        size: the crop's side in pixels; None is the photo's own resolution.
        controls: control values by name.
        raw: param values by name, standard deviations.
        presets: presets with their weights.
    """

    photo: Path
    box: Box | None
    base: Base
    view: View
    size: int | None
    controls: Mapping[str, float]
    raw: Mapping[str, float]
    presets: tuple[tuple[Preset, float], ...]

    def params(self, rig_model: RigModel, photo_params: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the params [k] of the frame.

        Args:
            rig_model: the bundle's arithmetic.
            photo_params: the photo's own params [k].

        Raises:
            UnknownChannelError: for a control or param that the bundle has not.
        """
        base = photo_params if self.base == "PHOTO" else np.zeros(rig_model.k, np.float32)
        return evaluate_params(rig_model, base, self.controls, self.raw, self.presets)
