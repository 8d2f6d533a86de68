# SPDX-License-Identifier: GPL-3.0-or-later
"""The pose of a rig as values by slider: by group, in the mirror, and as text from one rig to another.

The text is JSON, so that it can be read, mailed and edited:

    {"format": "lpmm-pose", "format_version": 1, "values": {"headYaw": 20.0, "p03": -1.0, "preset:Smile": 0.5}}

It names every slider that is not at rest; pasting puts the others at rest.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from bpy.types import Object

from lpmm_runtime.channels import PARAM_PATTERN, param_name
from lpmm_runtime.errors import LpmmError
from lpmm_runtime.mirroring import mirror_controls, mirror_offsets
from lpmm_runtime.morphable import LandmarkModel

from .rig import KEY_GROUP, PRESET_PREFIX, data_path, record_of, slider_names

FORMAT = "lpmm-pose"
FORMAT_VERSION = 1

ALL, PRESETS, COEFFICIENTS = "all", "presets", "coefficients"
"""Groups beside those of the controls ("head", "eyes", …)."""

AT_REST = 1e-6
"""Smaller values are rounding: the interface's sliders are single precision."""


class PoseError(LpmmError):
    """A text is no pose, or a pose cannot be had."""


@dataclass(frozen=True)
class Pasted:
    """What pasting did.

    Attributes:
        names: the sliders that were written.
        unknown: those of the text that this rig has not.
    """

    names: tuple[str, ...]
    unknown: tuple[str, ...]


def names_in_group(rig: Object, group: str) -> list[str]:
    """Return the rig's sliders of a group: a group of controls, `ALL`, `PRESETS` or `COEFFICIENTS`."""
    groups = record_of(rig).controls
    return [name for name in slider_names(rig) if group in (ALL, groups.get(name) or _kind(name))]


def moved_names(rig: Object) -> list[str]:
    """Return the sliders that are not at rest."""
    return [name for name in slider_names(rig) if abs(rig[name]) > AT_REST]


def key_names(rig: Object, names: list[str], frame: float) -> None:
    """Insert a key for each of these sliders."""
    for name in names:
        rig.keyframe_insert(data_path(name), frame=frame, group=KEY_GROUP)


def mirror_pose(rig: Object, model: LandmarkModel | None) -> list[str]:
    """Swap left and right: controls by name, head yaw and roll by sign, LPMM coefficients through the landmarks.

    Preset weights stay: what a preset holds is not the pose's to change.

    Args:
        model: the LPMM; may be None while no coefficient is in use.

    Returns:
        The sliders that were written.

    Raises:
        PoseError: if the model is needed and is not the rig's.
    """
    record = record_of(rig)
    controls = {name: float(rig[name]) for name in record.controls if name in rig}
    values = {name: value for name, value in mirror_controls(controls).items() if name in rig}
    params = [param_name(index) for index in range(len(record.base_params))]
    offsets = np.array([float(rig.get(name, 0.0)) for name in params])
    if (np.abs(offsets) > AT_REST).any():
        if model is None or model.k != len(params):
            raise PoseError(f"{rig.name}: its LPMM coefficients belong to another bundle and cannot be mirrored")
        mirrored = mirror_offsets(model, offsets)
        values |= {name: float(value) for name, value in zip(params, mirrored, strict=True) if name in rig}
    return write_values(rig, values)


def write_values(rig: Object, values: Mapping[str, float]) -> list[str]:
    """Write those sliders that would change, and return them."""
    changed = [name for name, value in values.items() if abs(rig[name] - value) > AT_REST]
    for name in changed:
        rig[name] = float(values[name])
    rig.update_tag()
    return changed


def pose_text(rig: Object) -> str:
    """Return the rig's pose as text."""
    values = {name: round(float(rig[name]), 6) for name in moved_names(rig)}
    return json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, "values": values}, ensure_ascii=False)


def paste_pose(rig: Object, text: str) -> Pasted:
    """Give the rig the pose of a text; sliders that it does not name go to rest.

    Raises:
        PoseError: if the text is no pose; the rig then stays as it was.
    """
    values = _parse_pose(text)
    names = list(slider_names(rig))
    unknown = tuple(sorted(set(values) - set(names)))
    if values and len(unknown) == len(values):
        raise PoseError(f"{rig.name}: has none of the pose's sliders ({unknown[0]}, …)")
    return Pasted(tuple(write_values(rig, {name: values.get(name, 0.0) for name in names})), unknown)


def _parse_pose(text: str) -> dict[str, float]:
    try:
        data: Any = json.loads(text)
    except ValueError as fault:
        raise PoseError("the clipboard holds no LPMM pose; copy one first") from fault
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise PoseError("the clipboard holds no LPMM pose; copy one first")
    if data.get("format_version") != FORMAT_VERSION:
        raise PoseError(f"the pose on the clipboard has format version {data.get('format_version')!r}, not 1")
    values = data.get("values")
    if not isinstance(values, dict):
        raise PoseError('the pose on the clipboard has no "values"')
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise PoseError(f"the pose on the clipboard: {name} is {value!r}, not a number")
    return {name: float(value) for name, value in values.items()}


def _kind(name: str) -> str:
    if name.startswith(PRESET_PREFIX):
        return PRESETS
    return COEFFICIENTS if PARAM_PATTERN.fullmatch(name) else ""
