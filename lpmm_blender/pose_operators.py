# SPDX-License-Identifier: GPL-3.0-or-later
"""The operators on a face's pose: reset, key, mirror, copy and paste."""

import bpy
from bpy.props import EnumProperty, StringProperty
from bpy.types import Context, Object, Operator

from lpmm_runtime.errors import LpmmError

from . import runtime_session
from .face_pose import ALL, key_names, mirror_pose, moved_names, names_in_group, paste_pose, pose_text, write_values
from .rig import record_of, rig_of, slider_names
from .rig_record import RigRecordError


class _PoseOperator(Operator):
    """What the operators on the active rig's pose share: a face is selected, it can be read, it may be changed."""

    bl_options = {"REGISTER", "UNDO"}
    changes = True

    @classmethod
    def poll(cls, context: Context) -> bool:
        rig = rig_of(context.active_object)
        if rig is None:
            cls.poll_message_set("Select an LPMM face")
            return False
        try:
            record_of(rig)
        except RigRecordError as fault:
            cls.poll_message_set(f"This face cannot be read: {fault}")
            return False
        if cls.changes and rig.library is not None:
            cls.poll_message_set("The face is linked from another file; make a library override to pose it")
            return False
        return cls.poll_pose(rig)

    @classmethod
    def poll_pose(cls, _rig: Object) -> bool:
        return True

    def auto_key(self, context: Context, rig: Object, names: list[str]) -> None:
        """Key what the operator wrote, as sliders do by themselves with Auto Keying on."""
        if context.scene.tool_settings.use_keyframe_insert_auto:
            key_names(rig, names, context.scene.frame_current)


def _polled_rig(context: Context) -> Object:
    rig = rig_of(context.active_object)
    assert rig is not None, "the poll said so"
    return rig


class LPMM_OT_reset_sliders(_PoseOperator):
    bl_idname = "lpmm.reset_sliders"
    bl_label = "Reset Face"
    bl_description = "Put the face, or one section of it, at rest. Keys stay, and take over again with the next frame"

    group: StringProperty(default=ALL, options={"SKIP_SAVE", "HIDDEN"})  # type: ignore[valid-type]

    def execute(self, context: Context) -> set[str]:
        rig = _polled_rig(context)
        names = write_values(rig, dict.fromkeys(names_in_group(rig, self.group), 0.0))
        self.auto_key(context, rig, names)
        return {"FINISHED"}


class LPMM_OT_key_sliders(_PoseOperator):
    bl_idname = "lpmm.key_sliders"
    bl_label = "Key Face"
    bl_description = "Insert keys for the face at the current frame"

    which: EnumProperty(  # type: ignore[valid-type]
        name="Sliders",
        items=[
            ("ALL", "The Whole Face", "Every slider, so that nothing of the pose can drift"),
            ("MOVED", "What Differs from Rest", "Only the sliders that are not at zero"),
        ],
    )
    names: StringProperty(  # type: ignore[valid-type]
        description="Sliders to key, one a line, in place of those above", options={"SKIP_SAVE", "HIDDEN"}
    )

    @classmethod
    def description(cls, _context: Context, properties: "LPMM_OT_key_sliders") -> str:
        if properties.names:
            return "Insert a key for both sides at the current frame"
        if properties.which == "MOVED":
            return "Insert keys at the current frame for the sliders that are not at rest, and for no others"
        return "Insert a key for every slider of the face at the current frame"

    def execute(self, context: Context) -> set[str]:
        rig = _polled_rig(context)
        if self.names:
            names = [name for name in self.names.split("\n") if name in rig]
        else:
            names = list(slider_names(rig)) if self.which == "ALL" else moved_names(rig)
        if not names:
            self.report({"WARNING"}, f"{rig.name}: every slider is at rest, so there is nothing to key")
            return {"CANCELLED"}
        key_names(rig, names, context.scene.frame_current)
        self.report({"INFO"}, f"Keyed {len(names)} sliders of {rig.name}")
        return {"FINISHED"}


class LPMM_OT_mirror_pose(_PoseOperator):
    bl_idname = "lpmm.mirror_pose"
    bl_label = "Mirror Pose"
    bl_description = "Swap the left and the right of the face, and turn the head to the other side"

    def execute(self, context: Context) -> set[str]:
        rig = _polled_rig(context)
        try:
            model = runtime_session.session().bundle().rig.model
        except LpmmError:
            model = None  # Needed only where LPMM coefficients are in use, which `mirror_pose` checks.
        try:
            names = mirror_pose(rig, model)
        except LpmmError as fault:
            self.report({"ERROR"}, str(fault))
            return {"CANCELLED"}
        self.auto_key(context, rig, names)
        return {"FINISHED"}


class LPMM_OT_copy_pose(_PoseOperator):
    bl_idname = "lpmm.copy_pose"
    bl_label = "Copy Pose"
    bl_description = "Copy the sliders of this face to the clipboard, as text"
    bl_options = {"REGISTER"}
    changes = False

    def execute(self, context: Context) -> set[str]:
        context.window_manager.clipboard = pose_text(_polled_rig(context))
        return {"FINISHED"}


class LPMM_OT_paste_pose(_PoseOperator):
    bl_idname = "lpmm.paste_pose"
    bl_label = "Paste Pose"
    bl_description = "Give this face the pose on the clipboard; sliders that the pose leaves out go to rest"

    def execute(self, context: Context) -> set[str]:
        rig = _polled_rig(context)
        try:
            pasted = paste_pose(rig, context.window_manager.clipboard)
        except LpmmError as fault:
            self.report({"ERROR"}, str(fault))
            return {"CANCELLED"}
        self.auto_key(context, rig, list(pasted.names))
        if pasted.unknown:
            self.report({"WARNING"}, f"{rig.name} has no {', '.join(pasted.unknown)}; the rest was pasted")
        return {"FINISHED"}


register, unregister = bpy.utils.register_classes_factory(
    (
        LPMM_OT_reset_sliders,
        LPMM_OT_key_sliders,
        LPMM_OT_mirror_pose,
        LPMM_OT_copy_pose,
        LPMM_OT_paste_pose,
    )
)
