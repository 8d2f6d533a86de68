# SPDX-License-Identifier: GPL-3.0-or-later
"""Presets on a rig, as shape keys are on a mesh: a slider from 0 to 1 each, which can be muted and soloed.

The weight is the property `preset:NAME`, the mute switch `mute:NAME`; both are raw properties, keyed and driven like
any other. What a preset holds, and the list's order, is in the rig record. Which preset is soloed, if any, is the text
property `lpmm_solo`: one at a time, as in the NLA editor.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from bpy.types import Object

from lpmm_runtime.errors import PresetError
from lpmm_runtime.presets import Preset, check_preset, load_preset

from .action_channels import remove_channel, rename_channel
from .rig import LONGEST_NAME, PRESET_PREFIX, add_preset_slider, data_path, record_of, write_record
from .rig_record import RigRecord

MUTE_PREFIX = "mute:"
SOLO = "lpmm_solo"

Direction = Literal["UP", "DOWN", "TOP", "BOTTOM"]

_NUMBERED = re.compile(r"(.+)\.\d{3,}")


def read_fitting(rig: Object, path: Path) -> Preset:
    """Read a preset file that fits the rig.

    Raises:
        PresetError: naming the file, if it is no preset or does not fit the rig.
    """
    preset = load_preset(path)
    record = record_of(rig)
    check_preset(preset, record.controls, len(record.base_params), str(path))
    check_name(preset.name, str(path))
    return preset


def add_preset(rig: Object, preset: Preset) -> None:
    """Give the rig the slider of a preset that fits it; one of the same name is replaced in its place."""
    add_preset_slider(rig, preset.name, preset.description)
    _add_mute(rig, preset.name)
    if SOLO not in rig:
        # Made here, because a library override keeps only what its original has.
        set_solo(rig, None)
    write_record(rig, record_of(rig).with_preset(preset))
    rig.update_tag()


def remove_preset(rig: Object, name: str, *, keys: bool = False) -> None:
    """Take a preset and its slider from the rig.

    Its keys and drivers stay, without effect, as a removed shape key's do: a preset that comes back under the
    same name, by undo of a thought or a new import, finds its animation again.

    Args:
        keys: remove its keys and drivers too.

    Raises:
        PresetError: if there is no such preset.
        LinkedActionError: if keys to be removed are in another file.
    """
    contents(rig, name)
    for prefix in (PRESET_PREFIX, MUTE_PREFIX):
        if keys:
            remove_channel(rig, data_path(prefix + name))
        if prefix + name in rig:
            del rig[prefix + name]
    if soloed(rig) == name:
        set_solo(rig, None)
    write_record(rig, record_of(rig).without_preset(name))
    rig.update_tag()


def rename_preset(rig: Object, old: str, new: str) -> list[Object]:
    """Rename a preset in its place; its keys, drivers, NLA strips and keying sets follow.

    Returns:
        Other objects animated by the same keys, which no longer reach their preset `old`.

    Raises:
        PresetError: if there is no such preset, or the new name is empty, too long or taken.
        LinkedActionError: if its keys are in another file.
    """
    preset, new = contents(rig, old), new.strip()
    record = record_of(rig)
    if new == old:
        return []
    check_name(new, rig.name)
    if new in record.presets:
        raise PresetError(f"{rig.name}: a preset named {new!r} is there already")
    weight, muted = rig.get(PRESET_PREFIX + old, 0.0), is_muted(rig, old)
    others: dict[Object, None] = {}
    for prefix in (PRESET_PREFIX, MUTE_PREFIX):
        others |= dict.fromkeys(rename_channel(rig, data_path(prefix + old), data_path(prefix + new)))
        if prefix + old in rig:
            del rig[prefix + old]
    rig[PRESET_PREFIX + new] = weight
    add_preset_slider(rig, new, preset.description)
    set_muted(rig, new, muted)
    if soloed(rig) == old:
        set_solo(rig, new)
    renamed = replace(preset, name=new)
    _write_presets(rig, record, [renamed if key == old else value for key, value in record.presets.items()])
    return list(others)


def duplicate_preset(rig: Object, name: str) -> Preset:
    """Add a copy of a preset right below it, at weight 0, and return it.

    Raises:
        PresetError: if there is no such preset.
    """
    copy = replace(contents(rig, name), name=free_name(name, record_of(rig).presets))
    add_preset(rig, copy)
    record = record_of(rig)
    others = [preset for key, preset in record.presets.items() if key != copy.name]
    others.insert([preset.name for preset in others].index(name) + 1, copy)
    _write_presets(rig, record, others)
    return copy


def move_preset(rig: Object, name: str, direction: Direction) -> int:
    """Move a preset in the list and return its new place; at the end of the list it stays.

    Raises:
        PresetError: if there is no such preset.
    """
    preset, record = contents(rig, name), record_of(rig)
    names = list(record.presets)
    place = names.index(name)
    last = len(names) - 1
    new = {"UP": max(place - 1, 0), "DOWN": min(place + 1, last), "TOP": 0, "BOTTOM": last}[direction]
    presets = [value for key, value in record.presets.items() if key != name]
    presets.insert(new, preset)
    _write_presets(rig, record, presets)
    return new


def contents(rig: Object, name: str) -> Preset:
    """Return what a preset of the rig holds.

    Raises:
        PresetError: if there is no such preset.
    """
    preset = record_of(rig).presets.get(name)
    if preset is None:
        raise PresetError(f"{rig.name}: has no preset named {name!r}")
    return preset


def is_muted(rig: Object, name: str) -> bool:
    """Whether a preset is switched off."""
    return bool(rig.get(MUTE_PREFIX + name, False))


def set_muted(rig: Object, name: str, muted: bool) -> None:
    """Switch a preset off or on; its weight stays."""
    _add_mute(rig, name)
    rig[MUTE_PREFIX + name] = muted
    rig.update_tag()


def soloed(rig: Object) -> str | None:
    """Return the preset that alone is heard, or None."""
    name = rig.get(SOLO, "")
    return name if name in record_of(rig).presets else None


def set_solo(rig: Object, name: str | None) -> None:
    """Let one preset alone have an effect, even a muted one; None ends it."""
    rig[SOLO] = name or ""
    rig.property_overridable_library_set(data_path(SOLO), True)
    rig.update_tag()


def heard(presets: Mapping[str, Preset], values: Any) -> list[Preset]:
    """Return the presets that have an effect: the soloed one alone, else all that are not muted.

    Args:
        presets: the rig's presets by name.
        values: gives a property's value by name, as `get` of an evaluated rig does.
    """
    solo = presets.get(values.get(SOLO, ""))
    if solo is not None:
        return [solo]
    return [preset for name, preset in presets.items() if not values.get(MUTE_PREFIX + name, False)]


def free_name(name: str, taken: Iterable[str]) -> str:
    """Return `name`, or with the first free number behind it: "Smile.001", as Blender numbers names."""
    taken = set(taken)
    if name not in taken:
        return name
    stem = base_name(name)
    number = 1
    while True:
        suffix = f".{number:03d}"
        room = LONGEST_NAME - len((PRESET_PREFIX + suffix).encode())
        numbered = stem.encode()[:room].decode(errors="ignore") + suffix
        if numbered not in taken:
            return numbered
        number += 1


def base_name(name: str) -> str:
    """Return a name without the number that made it unique."""
    match = _NUMBERED.fullmatch(name)
    return match.group(1) if match else name


def check_name(name: str, where: str) -> None:
    """Check that a property can carry the name.

    Raises:
        PresetError: beginning with `where`, if it is empty, not printable or too long.
    """
    if not name.strip() or not name.isprintable():
        raise PresetError(f"{where}: {name!r} is no name for a preset")
    if len((PRESET_PREFIX + name).encode()) > LONGEST_NAME:
        raise PresetError(f"{where}: the name {name!r} is too long for a Blender property")


def _add_mute(rig: Object, name: str) -> None:
    key = MUTE_PREFIX + name
    rig[key] = bool(rig.get(key, False))
    rig.id_properties_ui(key).update(default=False, description=f"Switch the preset {name} off; its weight stays")
    rig.property_overridable_library_set(data_path(key), True)


def _write_presets(rig: Object, record: RigRecord, presets: Iterable[Preset]) -> None:
    write_record(rig, replace(record, presets={preset.name: preset for preset in presets}))
    rig.update_tag()
