# SPDX-License-Identifier: GPL-3.0-or-later
"""The operators on the list of presets: thin shells over preset_sliders and preset_poses."""

from collections.abc import Iterable

import bpy
from bpy.props import BoolProperty, EnumProperty, IntProperty, StringProperty
from bpy.types import Context, Event, Object, Operator

from lpmm_runtime.errors import LpmmError

from .face_pose import write_values
from .operators import active_rig
from .preset_poses import PoseChange, add_from_pose, apply_preset, update_from_pose
from .preset_sliders import (
    duplicate_preset,
    is_muted,
    move_preset,
    remove_preset,
    rename_preset,
    set_muted,
    set_solo,
    soloed,
)
from .rig import KEY_GROUP, PRESET_PREFIX, data_path, record_of


def active_preset(rig: Object) -> str | None:
    """Return the name of the preset that is active in the list, or None."""
    names = list(record_of(rig).presets)
    return names[min(max(rig.lpmm_active_preset, 0), len(names) - 1)] if names else None


def set_active_preset(rig: Object, name: str) -> None:
    """Make a preset the active one of the list."""
    names = list(record_of(rig).presets)
    if name in names:
        rig.lpmm_active_preset = names.index(name)


def key_if_recording(context: Context, rig: Object, names: Iterable[str]) -> bool:
    """Key sliders while auto-keying is on, and return whether it is."""
    if not context.scene.tool_settings.use_keyframe_insert_auto:
        return False
    for name in names:
        rig.keyframe_insert(data_path(name), frame=context.scene.frame_current, group=KEY_GROUP)
    return True


class RigOperator(Operator):
    """What the operators here share: a rig that may be changed, and errors that become reports.

    Attributes:
        changes_list: whether presets come, go or get other contents. A library override keeps values only: new
            properties are gone after a reload, removed ones are back.
    """

    bl_options = {"REGISTER", "UNDO"}
    changes_list = False

    @classmethod
    def poll(cls, context: Context) -> bool:
        rig = active_rig(context)
        if rig is None:
            cls.poll_message_set("Select an LPMM face")
            return False
        if rig.library is not None:
            cls.poll_message_set("This face is linked from another file: make a library override of it first")
            return False
        if cls.changes_list and rig.override_library is not None:
            cls.poll_message_set("The presets of a library override can be used, but changed only in their own file")
            return False
        return True

    def execute(self, context: Context) -> set[str]:
        rig = active_rig(context)
        try:
            return self.act(context, rig)
        except LpmmError as fault:
            self.report({"ERROR"}, str(fault).partition("\n")[0])
            return {"CANCELLED"}

    def act(self, context: Context, rig: Object) -> set[str]:
        """Do it.

        Raises:
            LpmmError: what is to be reported.
        """
        raise NotImplementedError

    def follow_up(self, context: Context, rig: Object, change: PoseChange) -> None:
        """Key what was written while auto-keying is on, and say which sliders will not stay."""
        if not key_if_recording(context, rig, change.changed) and change.animated:
            self.report({"WARNING"}, f"Keys or drivers decide over {', '.join(change.animated)}; mind them")


class PresetOperator(RigOperator):
    """An operator on one preset: the named one, or the active one of the list."""

    preset: StringProperty(  # type: ignore[valid-type]
        name="Preset", description="The preset; empty means the active one", options={"SKIP_SAVE", "HIDDEN"}
    )

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not super().poll(context):
            return False
        rig = active_rig(context)
        try:
            if rig is not None and record_of(rig).presets:
                return True
        except LpmmError as fault:
            cls.poll_message_set(str(fault))
            return False
        cls.poll_message_set("This face has no presets")
        return False

    def act(self, context: Context, rig: Object) -> set[str]:
        return self.act_on(context, rig, self.preset or active_preset(rig) or "")

    def act_on(self, context: Context, rig: Object, name: str) -> set[str]:
        """Do it to the preset of this name."""
        raise NotImplementedError


class LPMM_OT_add_preset(RigOperator):
    bl_idname = "lpmm.add_preset"
    bl_label = "Add Preset from Pose"
    changes_list = True
    bl_description = "Keep what the face shows now, sliders and presets together, as a new preset"

    name: StringProperty(name="Name", default="Preset")  # type: ignore[valid-type]
    hand_over: BoolProperty(  # type: ignore[valid-type]
        name="Clear the Sliders",
        description="Put all other sliders at rest and the new preset at 1: the face stays as it is",
    )

    def invoke(self, context: Context, _event: Event) -> set[str]:
        return context.window_manager.invoke_props_dialog(self)

    def act(self, context: Context, rig: Object) -> set[str]:
        change = add_from_pose(rig, context.evaluated_depsgraph_get(), self.name, hand_over=self.hand_over)
        set_active_preset(rig, change.preset.name)
        self.follow_up(context, rig, change)
        return {"FINISHED"}


class LPMM_OT_update_preset(PresetOperator):
    bl_idname = "lpmm.update_preset"
    bl_label = "Update Preset from Pose"
    changes_list = True
    bl_description = (
        "Let the preset hold what the face shows now, at 1, and put all other sliders at rest: the face does not change"
    )

    def act_on(self, context: Context, rig: Object, name: str) -> set[str]:
        self.follow_up(context, rig, update_from_pose(rig, context.evaluated_depsgraph_get(), name))
        return {"FINISHED"}


class LPMM_OT_apply_preset(PresetOperator):
    bl_idname = "lpmm.apply_preset"
    bl_label = "Apply Preset"
    bl_description = "Move what the preset does now into the sliders, and put it at 0; the face stays as it is"

    def act_on(self, context: Context, rig: Object, name: str) -> set[str]:
        self.follow_up(context, rig, apply_preset(rig, context.evaluated_depsgraph_get(), name))
        return {"FINISHED"}


class LPMM_OT_rename_preset(PresetOperator):
    bl_idname = "lpmm.rename_preset"
    bl_label = "Rename Preset"
    changes_list = True
    bl_description = "Rename the preset; its keys, drivers and NLA strips follow"

    name: StringProperty(name="Name")  # type: ignore[valid-type]

    def invoke(self, context: Context, _event: Event) -> set[str]:
        rig = active_rig(context)
        self.name = self.preset or (active_preset(rig) if rig is not None else None) or ""
        return context.window_manager.invoke_props_dialog(self)

    def act_on(self, context: Context, rig: Object, name: str) -> set[str]:
        others = rename_preset(rig, name, self.name)
        if others:
            shared = ", ".join(other.name for other in others)
            self.report({"WARNING"}, f"The same keys animate {shared}, whose preset {name!r} they no longer reach")
        return {"FINISHED"}


class LPMM_OT_remove_preset(PresetOperator):
    bl_idname = "lpmm.remove_preset"
    bl_label = "Remove Preset"
    changes_list = True
    bl_description = "Take the preset and its slider from the face"

    keys: BoolProperty(  # type: ignore[valid-type]
        name="Remove Its Keys",
        description="Remove its keys and drivers too; otherwise they wait, as a removed shape key's do, for a preset "
        "of this name",
        # Or the plain button would remember it.
        options={"SKIP_SAVE"},
    )

    def act_on(self, _context: Context, rig: Object, name: str) -> set[str]:
        remove_preset(rig, name, keys=self.keys)
        rig.lpmm_active_preset = max(0, min(rig.lpmm_active_preset, len(record_of(rig).presets) - 1))
        return {"FINISHED"}


class LPMM_OT_duplicate_preset(PresetOperator):
    bl_idname = "lpmm.duplicate_preset"
    bl_label = "Duplicate Preset"
    changes_list = True
    bl_description = "Add a copy of the preset below it"

    def act_on(self, _context: Context, rig: Object, name: str) -> set[str]:
        set_active_preset(rig, duplicate_preset(rig, name).name)
        return {"FINISHED"}


class LPMM_OT_move_preset(PresetOperator):
    bl_idname = "lpmm.move_preset"
    bl_label = "Move Preset"
    changes_list = True
    bl_description = "Move the preset in the list"

    direction: EnumProperty(  # type: ignore[valid-type]
        name="Direction",
        items=[("UP", "Up", ""), ("DOWN", "Down", ""), ("TOP", "To Top", ""), ("BOTTOM", "To Bottom", "")],
    )

    def act_on(self, _context: Context, rig: Object, name: str) -> set[str]:
        rig.lpmm_active_preset = move_preset(rig, name, self.direction)
        return {"FINISHED"}


class LPMM_OT_mute_preset(PresetOperator):
    bl_idname = "lpmm.mute_preset"
    bl_label = "Mute Preset"
    bl_description = "Switch the preset off or on; its value stays"

    def act_on(self, _context: Context, rig: Object, name: str) -> set[str]:
        set_muted(rig, name, not is_muted(rig, name))
        return {"FINISHED"}


class LPMM_OT_solo_preset(PresetOperator):
    bl_idname = "lpmm.solo_preset"
    bl_label = "Solo Preset"
    bl_description = "Let this preset alone have an effect, or all again"

    def act_on(self, _context: Context, rig: Object, name: str) -> set[str]:
        set_solo(rig, None if soloed(rig) == name else name)
        return {"FINISHED"}


class LPMM_OT_clear_presets(PresetOperator):
    bl_idname = "lpmm.clear_presets"
    bl_label = "Clear Presets"
    bl_description = "Put every preset at 0; keys stay"

    def act_on(self, _context: Context, rig: Object, _name: str) -> set[str]:
        write_values(rig, {PRESET_PREFIX + name: 0.0 for name in record_of(rig).presets})
        return {"FINISHED"}


class LPMM_OT_unmute_presets(PresetOperator):
    bl_idname = "lpmm.unmute_presets"
    bl_label = "Unmute All Presets"
    bl_description = "Switch every preset on, and end the solo"

    def act_on(self, _context: Context, rig: Object, _name: str) -> set[str]:
        set_solo(rig, None)
        for name in record_of(rig).presets:
            set_muted(rig, name, False)
        return {"FINISHED"}


_register_classes, _unregister_classes = bpy.utils.register_classes_factory(
    (
        LPMM_OT_add_preset,
        LPMM_OT_update_preset,
        LPMM_OT_apply_preset,
        LPMM_OT_rename_preset,
        LPMM_OT_remove_preset,
        LPMM_OT_duplicate_preset,
        LPMM_OT_move_preset,
        LPMM_OT_mute_preset,
        LPMM_OT_solo_preset,
        LPMM_OT_clear_presets,
        LPMM_OT_unmute_presets,
    )
)


def register() -> None:
    """Add the operators, and the active row of a rig's list."""
    _register_classes()
    bpy.types.Object.lpmm_active_preset = IntProperty(
        name="Active Preset", min=0, options=set(), override={"LIBRARY_OVERRIDABLE"}
    )


def unregister() -> None:
    """Remove them."""
    del bpy.types.Object.lpmm_active_preset
    _unregister_classes()
