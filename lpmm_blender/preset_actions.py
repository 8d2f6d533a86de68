# SPDX-License-Identifier: GPL-3.0-or-later
"""Presets as Action assets: what the Asset Browser keeps, and how such an action gets onto a rig.

Blender's Pose Library serves armatures only. An action here has one key for each control and param of the preset, on
the custom property's own path, so it can be laid into the NLA like any other action, and any face can wear it.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

import bpy
from bpy.types import Action, Object

from lpmm_runtime.errors import LpmmError, PresetError
from lpmm_runtime.presets import Preset

from . import runtime_session
from .action_channels import all_curves, new_curves
from .frame_request import FrameRequest
from .preset_sliders import contents
from .preset_thumbnails import fill_preview
from .rig import data_path, photo_path, record_of, slider_names

TAG = "LPMM"
PREVIEW_SIDE = 256

How = Literal["REPLACE", "ADD"]

_PROPERTY = re.compile(r'\["((?:[^"\\]|\\.)*)"\]')


def publish_preset(rig: Object, name: str) -> tuple[Action, str]:
    """Make, or make anew, the Action asset of a preset: its values on the properties they are for.

    Returns:
        The action, and why it has no preview, or "".

    Raises:
        PresetError: if there is no such preset, or it is empty.
    """
    preset = contents(rig, name)
    values = {**preset.controls, **preset.params}
    if not values:
        raise PresetError(f"{rig.name}: the preset {name!r} is empty")
    action = _published(name)
    if action is None:
        action = bpy.data.actions.new(name)
        action.asset_mark()
        action.asset_data.tags.new(TAG, skip_if_exists=True)
        curves = new_curves(action, TAG)
    else:
        curves = all_curves(action)[0]
        for curve in list(curves):
            curves.remove(curve)
    action.asset_data.description = preset.description
    for channel, value in values.items():
        curve = curves.new(data_path(channel), index=0)
        curve.keyframe_points.insert(1.0, value)
        curve.update()
    return action, _make_preview(action, rig, preset)


def apply_action(rig: Object, action: Action, factor: float = 1.0, how: How = "REPLACE") -> tuple[str, ...]:
    """Bring the pose of an action onto a rig, and return the sliders that it concerns.

    Args:
        factor, how: see `mix_pose`.

    Raises:
        PresetError: if the action has no channel that this rig has.
    """
    pose = pose_of(rig, action)
    mix_pose(rig, {name: float(rig[name]) for name in pose}, pose, factor, how)
    return tuple(pose)


def pose_of(rig: Object, action: Action) -> dict[str, float]:
    """Return the values of an action's first frame for the sliders that a rig has.

    Raises:
        PresetError: if it has none of them.
    """
    known = set(slider_names(rig))
    frame = action.frame_range[0]
    pose = {
        name: curve.evaluate(frame)
        for curves in all_curves(action)
        for curve in curves
        if (name := _property_of(curve)) in known
    }
    if not pose:
        raise PresetError(f"{action.name}: this action moves nothing that {rig.name!r} has")
    return pose


def mix_pose(rig: Object, before: Mapping[str, float], pose: Mapping[str, float], factor: float, how: How) -> None:
    """Set sliders to their values `before` with a share of a pose.

    Args:
        factor: how far: 0 leaves the face as it is, 1 is the whole pose.
        how: "REPLACE" goes from the sliders' values toward the pose's; "ADD" adds the pose to them.
    """
    for name, value in pose.items():
        start = before[name]
        rig[name] = start + factor * (value if how == "ADD" else value - start)
    rig.update_tag()


def _published(name: str) -> Action | None:
    action = bpy.data.actions.get((name, None))
    if action is None or action.asset_data is None or TAG not in action.asset_data.tags or not all_curves(action):
        return None
    return action


def _property_of(curve: Any) -> str | None:
    match = _PROPERTY.fullmatch(curve.data_path)
    return bpy.utils.unescape_identifier(match.group(1)) if match else None


def _make_preview(action: Action, rig: Object, preset: Preset) -> str:
    record = record_of(rig)
    try:
        request = FrameRequest(photo_path(rig), record.box, record.base, "crop", PREVIEW_SIDE, {}, {}, ((preset, 1.0),))
        pixels = runtime_session.session().render(request).pixels
    except LpmmError as fault:
        return str(fault)
    fill_preview(action.preview_ensure(), pixels)
    return ""
