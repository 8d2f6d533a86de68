# SPDX-License-Identifier: GPL-3.0-or-later
"""F-curves of an action, whether Blender gives actions slots (since 4.4) or not."""

from collections.abc import Iterator, Sequence
from typing import Any

import bpy
import numpy as np
from bpy.types import Action, FCurve, Object
from numpy.typing import NDArray

_LINEAR = "LINEAR"


def fcurves_of(action: Action | None, slot: Any = None) -> Iterator[FCurve]:
    """Yield an action's F-curves, those of one slot where there are slots; None yields nothing."""
    if action is None:
        return
    if not hasattr(action, "slots"):
        yield from action.fcurves
        return
    if slot is None:
        return
    for layer in action.layers:
        for strip in layer.strips:
            bag = strip.channelbag(slot)
            if bag is not None:
                yield from bag.fcurves


def active_fcurves(thing: Object) -> Iterator[FCurve]:
    """Yield the F-curves of an object's active action."""
    animation = thing.animation_data
    if animation is not None:
        yield from fcurves_of(animation.action, getattr(animation, "action_slot", None))


def nla_fcurves(thing: Object) -> Iterator[FCurve]:
    """Yield the F-curves in the actions of an object's NLA strips."""
    animation = thing.animation_data
    for track in animation.nla_tracks if animation is not None else ():
        for strip in track.strips:
            yield from fcurves_of(strip.action, getattr(strip, "action_slot", None))


class NewAction:
    """An action full of keys, made at once, with a slot for one object where there are slots."""

    def __init__(self, name: str, thing: Object) -> None:
        self.action: Action = bpy.data.actions.new(name)
        self._slot: Any = None
        holder: Any = self.action
        if hasattr(self.action, "slots"):
            self._slot = self.action.slots.new(id_type="OBJECT", name=thing.name)
            strip = self.action.layers.new("Layer").strips.new(type="KEYFRAME")
            holder = strip.channelbag(self._slot, ensure=True)
        self._curves, self._groups = holder.fcurves, holder.groups

    def add_keys(
        self, path: str, index: int, frames: Sequence[float], values: Sequence[float] | NDArray[np.floating], group: str
    ) -> None:
        """Add one F-curve with linear keys, in a group unless its name is empty."""
        curve = self._curves.new(path, index=index)
        if group:
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
