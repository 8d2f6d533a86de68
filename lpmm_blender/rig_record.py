# SPDX-License-Identifier: GPL-3.0-or-later
"""The rig record: what a rig must remember to show its face again after a reload.

It is one JSON string on the rig object, so undo, duplication, appending and library overrides carry it as they
carry any property. Format version 2:

    {"format": "lpmm-rig", "format_version": 1, "base": "PHOTO" | "NEUTRAL", "view": "crop" | "full",
     "size": null | pixels, "box": null | [left, top, right, bottom], "photo_size": [width, height],
     "base_params": [k numbers], "components": [k names], "controls": {name: group},
     "bundle": {"name": "...", "version": "..."}, "cut_out": false, "plane_height": 2.0,
     "presets": {name: {"name": "...", "controls": {...}, "params": {...}, "description": "..."}}}

Version 1 had neither `cut_out` nor `plane_height`; it is read with what those rigs were.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

from lpmm_runtime.errors import LpmmError
from lpmm_runtime.presets import Preset
from lpmm_runtime.protocol import Base, Box, View

FORMAT = "lpmm-rig"
FORMAT_VERSION = 2


class RigRecordError(LpmmError):
    """A rig's record cannot be read."""


@dataclass(frozen=True)
class RigRecord:
    """What a rig remembers beside its sliders.

    Attributes:
        base: "PHOTO" or "NEUTRAL", what the face is at rest.
        view: "crop" or "full".
        size: the crop's side in pixels; None is the photo's own resolution.
        box: the face box given by hand, in photo pixels; None lets the runtime find the face.
        photo_size: (width, height) of the photo when the rig was made.
        base_params: the photo's params [k], standard deviations, when the rig was made.
        components: the names of the k components.
        controls: the group ("head", "eyes", …) of every control that the bundle had when the rig was made, by name.
        bundle_name, bundle_version: the bundle that the rig was made with.
        presets: contents by name, in the list's order; the weight is the property `preset:NAME`.
        cut_out: the head alone stands on the plane.
        plane_height: of a plane that the rig is given, Blender units; None where an older rig does not tell.
    """

    base: Base
    view: View
    size: int | None
    box: Box | None
    photo_size: tuple[int, int]
    base_params: tuple[float, ...]
    components: tuple[str, ...]
    controls: Mapping[str, str]
    bundle_name: str
    bundle_version: str
    presets: Mapping[str, Preset] = field(default_factory=dict)
    cut_out: bool = False
    plane_height: float | None = None

    def with_preset(self, preset: Preset) -> "RigRecord":
        """Return the record with one preset more, or replaced."""
        return replace(self, presets={**self.presets, preset.name: preset})

    def without_preset(self, name: str) -> "RigRecord":
        """Return the record without one preset."""
        return replace(self, presets={key: value for key, value in self.presets.items() if key != name})


def dump_record(record: RigRecord) -> str:
    """Return the record as the JSON string that stands on the rig."""
    values = asdict(record)
    values["bundle"] = {"name": values.pop("bundle_name"), "version": values.pop("bundle_version")}
    return json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, **values})


@lru_cache(maxsize=64)
def version_of(text: str) -> int:
    """Return the format version of a record's JSON string.

    Raises:
        RigRecordError: if it is no rig record, or one of a newer add-on.
    """
    try:
        values = json.loads(text)
        if values["format"] != FORMAT:
            raise RigRecordError(f'rig record: format is "{values["format"]}", not "{FORMAT}"')
        version = values["format_version"]
    except (json.JSONDecodeError, KeyError, TypeError) as fault:
        raise RigRecordError(f"rig record: damaged ({fault!r})") from fault
    if not isinstance(version, int) or version < 1:
        raise RigRecordError(f"rig record: damaged (format version {version!r})")
    if version > FORMAT_VERSION:
        raise RigRecordError(
            f"rig record: made by a newer version of the add-on (format {version}, "
            f"this one reads up to {FORMAT_VERSION})"
        )
    return version


@lru_cache(maxsize=64)
def parse_record(text: str) -> RigRecord:
    """Return the record of a JSON string.

    Cached, because it is asked for on every frame; records are never changed in place.

    Raises:
        RigRecordError: if the text is no rig record, or one of a newer add-on.
    """
    try:
        values: dict[str, Any] = json.loads(text)
        for version in range(version_of(text), FORMAT_VERSION):
            values = _MIGRATIONS[version](values)
        return RigRecord(
            base=values["base"],
            view=values["view"],
            size=values["size"],
            box=None if values["box"] is None else tuple(values["box"]),
            photo_size=tuple(values["photo_size"]),
            base_params=tuple(values["base_params"]),
            components=tuple(values["components"]),
            controls=dict(values["controls"]),
            bundle_name=values["bundle"]["name"],
            bundle_version=values["bundle"]["version"],
            presets={name: Preset(**preset) for name, preset in values["presets"].items()},
            cut_out=values["cut_out"],
            plane_height=values["plane_height"],
        )
    except (json.JSONDecodeError, KeyError, TypeError) as fault:
        raise RigRecordError(f"rig record: damaged ({fault!r})") from fault


def _from_version_1(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "cut_out": False, "plane_height": None}


# What makes a record of one version one of the next.
_MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_version_1}
