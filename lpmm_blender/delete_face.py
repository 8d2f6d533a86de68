# SPDX-License-Identifier: GPL-3.0-or-later
"""Deleting a whole face: X on the rig leaves what is parented to it, its collection, and a hidden camera."""

from typing import Any

import bpy
from bpy.types import ID, Context, Menu, Object, Operator

from .operators import poll_own_face
from .rig import IMAGE, PHOTO, rig_of


def delete_face(rig: Object) -> None:
    """Remove a rig, what is parented to it, its collection if nothing else is in it, and data that nobody else uses."""
    things = [rig, *rig.children_recursive]
    collections = [
        collection
        for collection in rig.users_collection
        if isinstance(collection, bpy.types.Collection)
        and collection.library is None
        and not collection.is_embedded_data
        and not collection.children
        and set(collection.objects) <= set(things)
    ]
    data = list(dict.fromkeys(found for thing in things for found in _data_of(thing)))
    bpy.data.batch_remove([*things, *collections])
    # What uses another goes first: a mesh, its material, the image in that.
    while unused := [found for found in data if not found.users and found.library is None]:
        data = [found for found in data if found.users or found.library is not None]
        bpy.data.batch_remove(unused)


def _data_of(thing: Object) -> list[ID]:
    """Return the datablocks that an object is made of."""
    materials = [slot.material for slot in thing.material_slots if slot.material is not None]
    found: list[Any] = [*materials]
    for material in materials:
        # The live picture's, and those of bakes.
        nodes = material.node_tree.nodes if material.node_tree else ()
        found += [getattr(node, "image", None) for node in nodes]
    found += [thing.data, *(thing.get(name) for name in (IMAGE, PHOTO))]
    animation = thing.animation_data
    if animation is not None:
        found += [animation.action, *(strip.action for track in animation.nla_tracks for strip in track.strips)]
    return [one for one in found if isinstance(one, ID)]


class LPMM_OT_delete_face(Operator):
    bl_idname = "lpmm.delete_face"
    bl_label = "Delete LPMM Face"
    bl_description = "Delete the whole face: the rig, its plane and camera, its collection, its images and actions"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        return poll_own_face(cls, context, "delete its instance or its override")

    def execute(self, context: Context) -> set[str]:
        rig = rig_of(context.active_object)
        assert rig is not None, "the poll said so"
        name = rig.name
        delete_face(rig)
        self.report({"INFO"}, f"{name}: deleted")
        return {"FINISHED"}


def _draw_entry(self: Menu, context: Context) -> None:
    if rig_of(context.active_object) is not None:
        self.layout.separator()
        self.layout.operator(LPMM_OT_delete_face.bl_idname, icon="TRASH")


def register() -> None:
    """Register the operator and its entry in the Object menu."""
    bpy.utils.register_class(LPMM_OT_delete_face)
    bpy.types.VIEW3D_MT_object.append(_draw_entry)


def unregister() -> None:
    """Undo `register`."""
    bpy.types.VIEW3D_MT_object.remove(_draw_entry)
    bpy.utils.unregister_class(LPMM_OT_delete_face)
