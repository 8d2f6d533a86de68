# SPDX-License-Identifier: GPL-3.0-or-later
"""The keying set "LPMM Face": every slider of the selected faces, for I and for Auto Keying."""

import bpy
from bpy.types import Context, KeyingSet, KeyingSetInfo, Object

from .rig import KEY_GROUP, data_path, rig_of, slider_names
from .rig_record import RigRecordError


class LPMM_KSI_face(KeyingSetInfo):
    bl_idname = "LPMM_KSI_face"
    bl_label = "LPMM Face"
    bl_description = "Insert a key for every slider of the selected LPMM faces"

    def poll(self, context: Context) -> bool:
        return bool(_selected_rigs(context))

    def iterator(self, context: Context, keying_set: KeyingSet) -> None:
        for rig in _selected_rigs(context):
            self.generate(context, keying_set, rig)

    def generate(self, _context: Context, keying_set: KeyingSet, rig: Object) -> None:
        for name in slider_names(rig):
            keying_set.paths.add(rig, data_path(name), group_method="NAMED", group_name=KEY_GROUP)


def _selected_rigs(context: Context) -> list[Object]:
    rigs: dict[Object, None] = {}
    for thing in (context.active_object, *context.selected_objects):
        rig = rig_of(thing)
        if rig is not None and _is_readable(rig):
            rigs[rig] = None
    return list(rigs)


def _is_readable(rig: Object) -> bool:
    try:
        return any(True for _ in slider_names(rig))
    except RigRecordError:
        return False


register, unregister = bpy.utils.register_classes_factory((LPMM_KSI_face,))
