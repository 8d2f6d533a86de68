# SPDX-License-Identifier: GPL-3.0-or-later
"""Presets: saved blendshapes, a named sparse set of controls and params, stored as JSON."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lpmm_runtime.channels import PARAM_PATTERN, param_name, unknown_channel
from lpmm_runtime.errors import PresetError
from lpmm_runtime.json_files import finite_number, read_json

FORMAT = "lpmm-preset"
FORMAT_VERSION = 1
KEYS = {"format", "format_version", "name", "controls", "params", "description"}


@dataclass(frozen=True)
class Preset:
    """One saved blendshape, applied with a weight of 0 to 1.

    Attributes:
        name: as the slider is called.
        controls: control values at weight 1; degrees for the head.
        params: param values at weight 1 by name (`p01`…), standard deviations.
        description: one sentence for people.
    """

    name: str
    controls: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, float] = field(default_factory=dict)
    description: str = ""


def load_preset(path: Path) -> Preset:
    """Read a preset file.

    Raises:
        PresetError: if there is no such file, or it is not a preset; the message names the file and the fault.
    """
    return parse_preset(read_json(path, "a preset", PresetError), str(path))


def parse_preset(data: Any, where: str) -> Preset:
    """Return the preset that JSON `data` holds; `where` names its origin in errors.

    Raises:
        PresetError: if `data` is not a preset.
    """
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise PresetError(f'{where}: not a preset: "format" is not "{FORMAT}"')
    if data.get("format_version") != FORMAT_VERSION:
        raise PresetError(
            f"{where}: preset format version {data.get('format_version')!r}, this program reads {FORMAT_VERSION}"
        )
    name = data.get("name")
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise PresetError(f'{where}: preset has no "name"')
    description = data.get("description", "")
    if not isinstance(description, str):
        raise PresetError(f'{where}: preset "description" is not text')
    unknown = sorted(set(data) - KEYS)
    if unknown:
        raise PresetError(f"{where}: preset has an unknown key {unknown[0]!r}")
    controls = _numbers(data.get("controls", {}), "controls", where)
    params = _numbers(data.get("params", {}), "params", where)
    for param in params:
        if not PARAM_PATTERN.fullmatch(param):
            raise PresetError(f"{where}: preset params: {param!r} is no param name such as p07")
    return Preset(name, controls, params, description)


def check_preset(preset: Preset, control_names: Iterable[str], k: int, where: str) -> None:
    """Check that a preset fits a bundle with these controls and k params.

    Raises:
        PresetError: naming the first control or param that the bundle has not.
    """
    known = set(control_names)
    for name in preset.controls:
        if name not in known:
            raise PresetError(f"{where}: preset {preset.name!r}: {unknown_channel(name, known)}")
    params = {param_name(i) for i in range(k)}
    for name in preset.params:
        if name not in params:
            raise PresetError(f"{where}: preset {preset.name!r}: no such param: {name!r} (k is {k})")


def save_preset(preset: Preset, path: Path) -> None:
    """Write a preset file.

    Raises:
        PresetError: if it cannot be written.
    """
    data = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": preset.name,
        "description": preset.description,
        "controls": dict(preset.controls),
        "params": dict(preset.params),
    }
    try:
        Path(path).write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise PresetError(f"{path}: cannot be written: {error.strerror or error}") from error


def _numbers(values: Any, key: str, where: str) -> dict[str, float]:
    if not isinstance(values, dict):
        raise PresetError(f'{where}: preset "{key}" is not an object of numbers by name')
    numbers = {}
    for name, value in values.items():
        number = finite_number(value)
        if number is None:
            raise PresetError(f"{where}: preset {key}: {name} is not a finite number")
        numbers[name] = number
    return numbers
