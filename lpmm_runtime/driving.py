# SPDX-License-Identifier: GPL-3.0-or-later
"""A take drives a portrait: v̂ = v_take(frame) + D(p) − D(p_take), mixed with the sliders alone (Sec. 4.4, Fig. 6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.engine import Base, Character, Engine, Pixels, View
from lpmm_runtime.frame import evaluate_channels
from lpmm_runtime.presets import Preset
from lpmm_runtime.take import Take

Array = NDArray[np.float32]
Route = Literal["latents", "params"]


@dataclass(frozen=True, eq=False)
class Drive:
    """How a take drives.

    Attributes:
        take: whose performance.
        influence: 0 to 1; 0 is the portrait at its own rest.
        route: "latents" hands the pose encoder's v_take on and adds the edits to it; "params" puts the
            LP-regressor's params in the place of the portrait's and leaves all to the LP-adaptor.
        relative: what the performance changes from its reference frame on is added to the portrait's own pose,
            so that the performer's face shape stays behind.
        reference: 0-based frame for `relative`; None is the frame nearest to the portrait's own pose.
    """

    take: Take
    influence: float = 1.0
    route: Route = "latents"
    relative: bool = False
    reference: int | None = None


class Driver:
    """A portrait under a drive."""

    def __init__(self, engine: Engine, character: Character, drive: Drive) -> None:
        take = drive.take
        self._engine = engine
        self._character = character
        self._drive = drive
        self._params, self._latents = take.params, take.pose_latents
        if drive.relative:
            row = drive.reference
            if row is None:
                row = take.nearest_frame(character.params, engine.bundle.rig.model.sigma)
            self._params = character.params + (take.params - take.params[row])
            self._latents = character.pose_latent + (take.pose_latents - take.pose_latents[row])

    def render(
        self,
        frame: int,
        values: Mapping[str, float],
        presets: Mapping[str, Preset],
        *,
        base: Base = "PHOTO",
        view: View = "crop",
        size: int | None = None,
    ) -> Pixels:
        """Return the picture of the take's 0-based `frame`, the sliders' `values` added; see `Engine.render`."""
        rig = self._engine.bundle.rig
        start = self._character.params if base == "PHOTO" else np.zeros_like(self._character.params)
        taken, influence = self._params[frame], self._drive.influence
        if self._drive.route == "params":
            mixed = start + np.float32(influence) * (taken - start)
            params = evaluate_channels(rig, mixed, values, presets)
            return self._engine.render(self._character, params, base=base, view=view, size=size)
        return self._engine.render(
            self._character,
            evaluate_channels(rig, start, values, presets),
            base=base,
            view=view,
            size=size,
            pose_latent=self._latents[frame],
            influence=influence,
            take_params=taken,
            driven_params=evaluate_channels(rig, taken, values, presets),
        )
