# SPDX-License-Identifier: GPL-3.0-or-later
"""The rig object: an Empty whose custom properties are the face.

They are raw ID properties, because those stay visible, keyable, driven and evaluated when the add-on is off.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import bpy
from bpy.types import Collection, Object, Scene

from lpmm_runtime.channels import param_name
from lpmm_runtime.controls import Control
from lpmm_runtime.errors import LpmmError

from .rig_record import RigRecord, dump_record, parse_record

RECORD = "lpmm"
PHOTO = "lpmm_photo"
IMAGE = "lpmm_image"
PRESET_PREFIX = "preset:"
KEY_GROUP = "LPMM"

PARAM_SOFT, PARAM_HARD = 3.0, 12.0
"""Standard deviations: ±3 spans the data; animation is clamped to the hard range, and NLA layers add up."""

LONGEST_NAME = 63
"""Bytes in the name of an ID property."""


def is_rig(thing: Object | None) -> bool:
    """Whether an object is an LPMM rig."""
    return thing is not None and thing.type == "EMPTY" and RECORD in thing


def rigs_of(scene: Scene) -> list[Object]:
    """Return the rigs that a scene shows: its own, and those in collections that it instances."""
    found: dict[Object, None] = {}
    seen: set[Collection] = set()
    waiting: list[Iterable[Object]] = [scene.objects]
    while waiting:
        for thing in waiting.pop():
            if is_rig(thing):
                found[thing] = None
            collection = thing.instance_collection if thing.instance_type == "COLLECTION" else None
            if collection is not None and collection not in seen:
                seen.add(collection)
                waiting.append(collection.all_objects)
    return list(found)


def all_rigs() -> list[Object]:
    """Return the rigs of the file, in a scene or not."""
    return [thing for thing in bpy.data.objects if is_rig(thing)]


def rig_of(thing: Object | None) -> Object | None:
    """Return the rig that an object is, or hangs from (its plane, its camera), or None."""
    while thing is not None and not is_rig(thing):
        thing = thing.parent
    return thing


def record_of(rig: Object) -> RigRecord:
    """Return what the rig remembers.

    Raises:
        RigRecordError: if it cannot be read.
    """
    return parse_record(rig[RECORD])


def write_record(rig: Object, record: RigRecord) -> None:
    """Make the rig remember a record."""
    rig[RECORD] = dump_record(record)


def data_path(name: str) -> str:
    """Return the RNA path of a custom property, for keys and drivers."""
    return f'["{bpy.utils.escape_identifier(name)}"]'


def photo_path(rig: Object) -> Path:
    """Return where the rig's photo lies; a packed photo whose file is gone is written out for the session.

    Raises:
        LpmmError: if the photo was removed from the file.
    """
    photo = rig.get(PHOTO)
    if photo is None:
        raise LpmmError(f"{rig.name}: its photo was removed from the file; add the face again")
    path = Path(bpy.path.abspath(photo.filepath, library=photo.library))
    if photo.packed_file is not None and not path.is_file():
        path = Path(bpy.app.tempdir) / f"lpmm-{photo.session_uid}-{path.name}"
        if not path.is_file():
            path.write_bytes(photo.packed_file.data)
    return path


def add_sliders(rig: Object, controls: Sequence[Control], component_names: Sequence[str]) -> None:
    """Give the rig a property for every control and every param, at rest."""
    for control in controls:
        span = control.maximum - control.minimum
        add_slider(
            rig,
            control.name,
            soft=(control.minimum, control.maximum),
            hard=(control.minimum - 2.0 * span, control.maximum + 2.0 * span),
            description=control.description,
            precision=1 if span > 10 else 2,
        )
    for index, component in enumerate(component_names):
        add_slider(
            rig,
            param_name(index),
            soft=(-PARAM_SOFT, PARAM_SOFT),
            hard=(-PARAM_HARD, PARAM_HARD),
            description=f"LPMM coefficient {index + 1} ({component}), in standard deviations, added to the controls",
            precision=2,
        )


def add_slider(
    rig: Object,
    name: str,
    *,
    soft: tuple[float, float],
    hard: tuple[float, float],
    description: str,
    precision: int,
) -> None:
    """Give the rig one animatable property; a value that it has already stays."""
    rig[name] = float(rig.get(name, 0.0))
    rig.id_properties_ui(name).update(
        min=hard[0],
        max=hard[1],
        soft_min=soft[0],
        soft_max=soft[1],
        default=0.0,
        step=100.0 if soft[1] - soft[0] > 10 else 1.0,  # hundredths of a unit
        precision=precision,
        description=description,
    )
    rig.property_overridable_library_set(data_path(name), True)


def add_preset_slider(rig: Object, name: str, description: str) -> None:
    """Give the rig the weight of a preset, 0 to 1."""
    add_slider(
        rig,
        PRESET_PREFIX + name,
        soft=(0.0, 1.0),
        hard=(-2.0, 3.0),
        description=description or f"Weight of the preset {name}",
        precision=2,
    )


def slider_names(rig: Object) -> Iterator[str]:
    """Yield every animatable property of the rig: controls, params, preset weights."""
    record = record_of(rig)
    yield from (name for name in record.controls if name in rig)
    yield from (param_name(index) for index in range(len(record.base_params)) if param_name(index) in rig)
    yield from (PRESET_PREFIX + name for name in record.presets if PRESET_PREFIX + name in rig)
