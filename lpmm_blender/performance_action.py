# SPDX-License-Identifier: GPL-3.0-or-later
"""A new action full of keys, made at once, whether Blender gives actions slots (since 4.4) or not."""

from typing import Any

import bpy
import numpy as np
from bpy.types import Object
from numpy.typing import NDArray

from .rig import data_path

_LINEAR = "LINEAR"


class NewAction:
    """An action under construction, with a slot for one object where there are slots."""

    def __init__(self, name: str, thing: Object) -> None:
        self.action: Any = bpy.data.actions.new(name)
        self._slot: Any = None
        holder: Any = self.action
        if hasattr(self.action, "slots"):
            self._slot = self.action.slots.new(id_type="OBJECT", name=thing.name)
            strip = self.action.layers.new("Layer").strips.new(type="KEYFRAME")
            holder = strip.channelbag(self._slot, ensure=True)
        self._curves, self._groups = holder.fcurves, holder.groups

    def add_keys(self, name: str, frames: list[float], values: NDArray[np.floating], group: str) -> None:
        """Key one custom property with linear keys; on each frame the value is the take's own."""
        curve = self._curves.new(data_path(name))
        curve.group = self._groups.get(group) or self._groups.new(group)
        points = curve.keyframe_points
        points.add(len(frames))
        points.foreach_set("co", np.column_stack([frames, values]).astype(np.float32).ravel())
        linear = points[0].bl_rna.properties["interpolation"].enum_items[_LINEAR].value
        points.foreach_set("interpolation", np.full(len(frames), linear, np.int32))
        curve.update()

    def give_to(self, thing: Object) -> None:
        """Make it the object's active action; the one before stays in the file, with a fake user."""
        animation = thing.animation_data or thing.animation_data_create()
        if animation.action is not None:
            animation.action.use_fake_user = True
        animation.action = self.action
        if self._slot is not None:
            animation.action_slot = self._slot
