# SPDX-License-Identifier: GPL-3.0-or-later
"""Between the face as it stands and presets: a preset from the pose, the pose from a preset.

Every function here leaves the picture as it is; what changes is which sliders make it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from bpy.types import Depsgraph, Object

from lpmm_runtime.channels import param_name
from lpmm_runtime.errors import PresetError
from lpmm_runtime.frame import effective_values
from lpmm_runtime.presets import Preset

from .action_channels import is_animated
from .frames import request_of
from .preset_sliders import add_preset, check_name, contents, free_name, set_muted, set_solo
from .rig import PRESET_PREFIX, data_path, record_of, slider_names

_AT_REST = 1e-6
"""Smaller values, and decimals beyond it, are rounding: sliders are single precision in the interface."""


@dataclass(frozen=True)
class PoseChange:
    """What became of the sliders.

    Attributes:
        preset: the preset concerned.
        changed: the properties that were written.
        animated: those that should have changed but have keys or a driver, which decide what they are.
    """

    preset: Preset
    changed: tuple[str, ...] = ()
    animated: tuple[str, ...] = ()


def capture(rig: Object, depsgraph: Depsgraph, name: str, description: str = "") -> Preset:
    """Return a preset that at weight 1 makes the face that the rig shows now: sliders and presets together.

    Raises:
        PresetError: if the face is at rest.
        LpmmError: if a slider is not a number.
    """
    request = request_of(rig, depsgraph)
    k = len(record_of(rig).base_params)
    controls, params = effective_values(request.controls, request.raw, request.presets, k)
    preset = Preset(
        name,
        _moved(controls.items()),
        _moved((param_name(index), float(value)) for index, value in enumerate(params)),
        description,
    )
    if not preset.controls and not preset.params:
        raise PresetError(f"{rig.name}: the face is at rest, so there is nothing to keep as a preset")
    return preset


def add_from_pose(rig: Object, depsgraph: Depsgraph, name: str, *, hand_over: bool = False) -> PoseChange:
    """Add a preset that holds the pose, under a free name.

    Args:
        hand_over: put every other slider at rest and the new preset at 1; otherwise it begins at 0.

    Raises:
        PresetError: if the face is at rest, or the name cannot be had.
    """
    check_name(name, rig.name)
    preset = capture(rig, depsgraph, free_name(name, record_of(rig).presets))
    add_preset(rig, preset)
    return _hand_over(rig, preset) if hand_over else PoseChange(preset)


def update_from_pose(rig: Object, depsgraph: Depsgraph, name: str) -> PoseChange:
    """Let a preset hold the pose, put it at 1 and every other slider at rest: the face stays as it is.

    Raises:
        PresetError: if there is no such preset, or the face is at rest.
    """
    preset = capture(rig, depsgraph, name, contents(rig, name).description)
    add_preset(rig, preset)
    return _hand_over(rig, preset)


def apply_preset(rig: Object, depsgraph: Depsgraph, name: str) -> PoseChange:
    """Add what a preset contributes to the sliders, and put it at 0.

    Raises:
        PresetError: if there is no such preset, or it contributes nothing.
    """
    preset = contents(rig, name)
    request = request_of(rig, depsgraph)
    weight = next((weight for some, weight in request.presets if some.name == name), 0.0)
    if weight == 0.0:
        raise PresetError(f"{rig.name}: the preset {name!r} is at 0 or switched off, so there is nothing to apply")
    now = {**request.controls, **request.raw}
    values = {key: now.get(key, 0.0) + weight * value for key, value in {**preset.controls, **preset.params}.items()}
    return _write(rig, preset, {**values, PRESET_PREFIX + name: 0.0})


def _hand_over(rig: Object, preset: Preset) -> PoseChange:
    own = PRESET_PREFIX + preset.name
    values = {name: 0.0 for name in slider_names(rig) if rig[name] != 0.0}
    set_solo(rig, None)
    set_muted(rig, preset.name, False)
    return _write(rig, preset, {**values, own: 1.0})


def _write(rig: Object, preset: Preset, values: dict[str, float]) -> PoseChange:
    for name, value in values.items():
        rig[name] = value
    rig.update_tag()
    animated = tuple(name for name in values if is_animated(rig, data_path(name)))
    return PoseChange(preset, tuple(values), animated)


def _moved(values: Iterable[tuple[str, float]]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in values if abs(value) > _AT_REST}
