# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, strips and drivers as an animator makes them, on every Blender."""

from collections.abc import Mapping
from typing import Any

import bpy
from bpy.types import Action, FCurve, NlaStrip, Object

from lpmm_blender.action_curves import active_fcurves
from lpmm_blender.rig import data_path


def key(rig: Object, name: str, values: Mapping[float, float], interpolation: str = "LINEAR") -> FCurve:
    """Key a slider in the active action, and return its F-curve."""
    kept = rig[name]
    for frame, value in values.items():
        rig[name] = float(value)
        rig.keyframe_insert(data_path(name), frame=frame)
    rig[name] = kept
    curve = next(curve for curve in active_fcurves(rig) if curve.data_path == data_path(name))
    for point in curve.keyframe_points:
        point.interpolation = interpolation
    curve.update()
    return curve


def push_down(rig: Object, name: str, start: int = 1, blend: str = "REPLACE") -> NlaStrip:
    """Make the active action a strip on a new track above the others."""
    animation = rig.animation_data
    action, slot = animation.action, getattr(animation, "action_slot", None)
    action.name = name
    track = animation.nla_tracks.new()
    track.name = name
    animation.action = None
    strip = track.strips.new(name, start, action)
    if slot is not None:
        strip.action_slot = slot
        # Among several slots Blender chooses none at first, and makes the strip one frame long.
        strip.action_frame_start, strip.action_frame_end = action.frame_range
    strip.blend_type = blend
    return strip


def layer(rig: Object, name: str, values: Mapping[float, float], blend: str = "REPLACE") -> NlaStrip:
    """Return a strip that animates one slider."""
    key(rig, name, values)
    return push_down(rig, f"{name} {blend}", 1, blend)


def key_influence(strip: NlaStrip, values: Mapping[float, float]) -> None:
    """Animate how much of a strip counts."""
    strip.use_animated_influence = True
    for frame, value in values.items():
        strip.influence = value
        strip.keyframe_insert("influence", frame=frame)
    for curve in strip.fcurves:
        for point in curve.keyframe_points:
            point.interpolation = "LINEAR"


def drive(rig: Object, name: str, source: Any, path: str, expression: str = "x") -> FCurve:
    """Drive a slider by a property of another datablock."""
    curve = rig.driver_add(data_path(name))
    driver = curve.driver
    driver.type = "SCRIPTED"
    driver.expression = expression
    variable = driver.variables.new()
    variable.name = "x"
    target = variable.targets[0]
    target.id_type = "SCENE" if isinstance(source, bpy.types.Scene) else "OBJECT"
    target.id = source
    target.data_path = path
    return curve


def evaluated(rig: Object, name: str) -> float:
    """Return a slider's value at the current frame."""
    return float(rig.evaluated_get(bpy.context.evaluated_depsgraph_get())[name])


def strip_of_action(rig: Object, action: Action, start: int) -> NlaStrip:
    """Lay an existing action on a new track, as dropping it into the NLA editor does."""
    return rig.animation_data.nla_tracks.new().strips.new(action.name, start, action)
