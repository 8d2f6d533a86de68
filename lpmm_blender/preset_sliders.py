# SPDX-License-Identifier: GPL-3.0-or-later
"""Presets on a rig: a saved blendshape becomes a slider from 0 to 1, its contents are kept in the rig record."""

from pathlib import Path

from bpy.types import Object

from lpmm_runtime.errors import PresetError
from lpmm_runtime.presets import Preset, check_preset, load_preset

from .rig import LONGEST_NAME, PRESET_PREFIX, add_preset_slider, record_of, write_record


def import_preset(rig: Object, path: Path) -> Preset:
    """Give the rig the slider of a preset file; a preset of the same name is replaced and keeps its weight.

    Raises:
        PresetError: naming the file, if it is no preset or does not fit the rig, which then stays as it was.
    """
    preset = load_preset(path)
    record = record_of(rig)
    check_preset(preset, record.controls, len(record.base_params), str(path))
    if len((PRESET_PREFIX + preset.name).encode()) > LONGEST_NAME:
        raise PresetError(f"{path}: the name {preset.name!r} is too long for a Blender property")
    add_preset(rig, preset)
    return preset


def add_preset(rig: Object, preset: Preset) -> None:
    """Give the rig the slider of a preset that fits it."""
    add_preset_slider(rig, preset.name, preset.description)
    write_record(rig, record_of(rig).with_preset(preset))
    rig.update_tag()


def remove_preset(rig: Object, name: str) -> None:
    """Take a preset and its slider from the rig; its keys stay, without effect, as with any removed property."""
    write_record(rig, record_of(rig).without_preset(name))
    if PRESET_PREFIX + name in rig:
        del rig[PRESET_PREFIX + name]
    rig.update_tag()
