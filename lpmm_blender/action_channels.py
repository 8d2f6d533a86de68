# SPDX-License-Identifier: GPL-3.0-or-later
"""The animation of one property, wherever it lives: F-curves of actions and NLA strips, drivers, keying sets.

Actions have layers, strips and slots since Blender 4.4, and nothing but those since 5.0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bpy
from bpy.types import ID, Action, AnimData, NlaStrip, Object

from lpmm_runtime.errors import LpmmError


class LinkedActionError(LpmmError):
    """An action that would have to change belongs to another file."""


@dataclass(frozen=True)
class ActionUse:
    """An action as a datablock uses it; `slot` is None where actions have no slots, or none is chosen."""

    action: Action
    slot: Any | None


def action_uses(thing: ID) -> list[ActionUse]:
    """Return the actions that animate a datablock: the active one, the NLA's, and the one set aside in tweak mode."""
    animation = thing.animation_data
    if animation is None:
        return []
    uses = [ActionUse(animation.action, getattr(animation, "action_slot", None))] if animation.action else []
    aside = getattr(animation, "action_tweak_storage", None)
    if aside is not None:
        handle = getattr(animation, "action_slot_handle_tweak_storage", None)
        slots = [slot for slot in getattr(aside, "slots", ()) if slot.handle == handle]
        uses += [ActionUse(aside, slot) for slot in slots or [None]]
    for strip in _strips(animation):
        if strip.action is not None:
            uses.append(ActionUse(strip.action, getattr(strip, "action_slot", None)))
    return list({(use.action, getattr(use.slot, "handle", None)): use for use in uses}.values())


def curves_of_use(use: ActionUse) -> list[Any]:
    """Return the F-curve collections of a use: those of its slot."""
    if not hasattr(use.action, "layers"):
        return [use.action.fcurves]
    if use.slot is None:
        return []
    bags = [strip.channelbag(use.slot) for layer in use.action.layers for strip in layer.strips]
    return [bag.fcurves for bag in bags if bag is not None]


def all_curves(action: Action) -> list[Any]:
    """Return every F-curve collection of an action, whichever slot it belongs to."""
    if not hasattr(action, "layers"):
        return [action.fcurves]
    return [bag.fcurves for layer in action.layers for strip in layer.strips for bag in strip.channelbags]


def new_curves(action: Action, slot_name: str) -> Any:
    """Return an F-curve collection for objects in a new action."""
    if not hasattr(action, "layers"):
        action.id_root = "OBJECT"
        return action.fcurves
    slot = action.slots.new(id_type="OBJECT", name=slot_name)
    layer = action.layers.new("Layer")
    return layer.strips.new(type="KEYFRAME").channelbag(slot, ensure=True).fcurves


def is_animated(thing: ID, path: str) -> bool:
    """Whether a property has F-curves or a driver."""
    uses = action_uses(thing)
    curves = [curve for use in uses for collection in curves_of_use(use) for curve in collection]
    drivers = thing.animation_data.drivers if thing.animation_data is not None else ()
    return any(curve.data_path == path for curve in (*curves, *drivers))


def rename_channel(thing: ID, old: str, new: str) -> list[Object]:
    """Let everything that animates, or is driven by, the property at path `old` follow it to `new`.

    Returns:
        Other objects that the same keys animate; those keys no longer reach their property `old`.

    Raises:
        LinkedActionError: naming the action; nothing is changed then.
    """
    touched = [use for use in action_uses(thing) if _has_path(use, old)]
    for use in touched:
        if use.action.library is not None:
            raise LinkedActionError(f"{use.action.name}: keys of {old} are in this linked action, which cannot change")
    for use in touched:
        for collection in curves_of_use(use):
            for curve in list(collection):
                if curve.data_path == old:
                    curve.data_path = new
    if thing.animation_data is not None:
        for driver in thing.animation_data.drivers:
            if driver.data_path == old:
                driver.data_path = new
    for owner in _animated_datablocks():
        for driver in owner.animation_data.drivers:
            for variable in driver.driver.variables:
                for target in variable.targets:
                    if target.id == thing and target.data_path == old:
                        target.data_path = new
    for scene in bpy.data.scenes:
        for keying_set in scene.keying_sets:
            for path in keying_set.paths:
                if path.id == thing and path.data_path == old:
                    path.data_path = new
    return _others_using(thing, touched)


def remove_channel(thing: ID, path: str) -> None:
    """Remove the F-curves and drivers of a property.

    Raises:
        LinkedActionError: naming the action; nothing is removed then.
    """
    touched = [use for use in action_uses(thing) if _has_path(use, path)]
    for use in touched:
        if use.action.library is not None:
            raise LinkedActionError(f"{use.action.name}: keys of {path} are in this linked action, which cannot change")
    for use in touched:
        for collection in curves_of_use(use):
            for curve in [curve for curve in collection if curve.data_path == path]:
                collection.remove(curve)
    if thing.animation_data is not None:
        for driver in [driver for driver in thing.animation_data.drivers if driver.data_path == path]:
            thing.animation_data.drivers.remove(driver)


def _has_path(use: ActionUse, path: str) -> bool:
    return any(curve.data_path == path for collection in curves_of_use(use) for curve in collection)


def _strips(animation: AnimData) -> Iterator[NlaStrip]:
    waiting = [strip for track in animation.nla_tracks for strip in track.strips]
    while waiting:
        strip = waiting.pop()
        waiting += strip.strips  # A meta strip's own; any other has none.
        yield strip


def _animated_datablocks() -> Iterator[ID]:
    for collection in bpy.data.bl_rna.properties:
        if collection.type != "COLLECTION":
            continue
        for thing in getattr(bpy.data, collection.identifier):
            # Materials, lights, worlds and scenes carry a node tree that is in no collection.
            for owner in (thing, getattr(thing, "node_tree", None)):
                if isinstance(owner, ID) and getattr(owner, "animation_data", None) is not None:
                    yield owner


def _others_using(thing: ID, uses: list[ActionUse]) -> list[Object]:
    def keys(some: list[ActionUse]) -> set[tuple[Action, int | None]]:
        return {(use.action, getattr(use.slot, "handle", None)) for use in some}

    shared = keys(uses)
    return [other for other in bpy.data.objects if other != thing and shared & keys(action_uses(other))]
