# SPDX-License-Identifier: GPL-3.0-or-later
"""The other operators of the Output section: live or baked, check the bake, exact colours, NLA to keys."""

import bpy
from bpy.props import BoolProperty, IntProperty
from bpy.types import Context, Object, Operator

from lpmm_runtime.errors import LpmmError

from . import frames
from .bake_check import as_ranges, changed_frames
from .baked_plane import BAKE, show_bake_again, show_live, shows_bake
from .exact_colours import colour_faults, make_colours_exact
from .interface_lock import keep_lock
from .nla_to_keys import bake_nla_to_keys
from .operators import active_rig


class LPMM_OT_show_live(Operator):
    bl_idname = "lpmm.show_live"
    bl_label = "Live"
    bl_description = "Let the plane show the live face again; the baked frames stay"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        rig = _poll_bake(cls, context)
        if rig is not None and not shows_bake(rig):
            cls.poll_message_set("The plane shows the live face already")
            return False
        return rig is not None

    def execute(self, context: Context) -> set[str]:
        rig = active_rig(context)
        assert rig is not None
        try:
            show_live(rig)
        except LpmmError as fault:
            self.report({"ERROR"}, str(fault))
            return {"CANCELLED"}
        keep_lock(context.scene)
        depsgraph = context.evaluated_depsgraph_get()
        if bpy.app.background:
            frames.show_exact(rig, depsgraph)
        else:
            frames.show_anew(depsgraph, [rig])
        return {"FINISHED"}


class LPMM_OT_show_bake(Operator):
    bl_idname = "lpmm.show_bake"
    bl_label = "Baked"
    bl_description = "Let the plane show the frames that were baked before"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        rig = _poll_bake(cls, context)
        if rig is not None and shows_bake(rig):
            cls.poll_message_set("The plane shows the baked frames already")
            return False
        return rig is not None

    def execute(self, context: Context) -> set[str]:
        rig = active_rig(context)
        assert rig is not None
        try:
            show_bake_again(rig)
        except LpmmError as fault:
            self.report({"ERROR"}, str(fault))
            return {"CANCELLED"}
        keep_lock(context.scene)
        return {"FINISHED"}


class LPMM_OT_check_bake(Operator):
    bl_idname = "lpmm.check_bake"
    bl_label = "Check Bake"
    bl_description = "Compare every baked frame's sliders with those of now"

    @classmethod
    def poll(cls, context: Context) -> bool:
        return _poll_bake(cls, context) is not None

    def execute(self, context: Context) -> set[str]:
        rig = active_rig(context)
        assert rig is not None
        try:
            changed = changed_frames(context.scene, rig)
        except LpmmError as fault:
            self.report({"ERROR"}, str(fault))
            return {"CANCELLED"}
        if changed:
            self.report({"WARNING"}, f"{rig.name}: {len(changed)} frames would be baked anew: {as_ranges(changed)}")
        else:
            self.report({"INFO"}, f"{rig.name}: every baked frame is right")
        return {"FINISHED"}


class LPMM_OT_exact_colours(Operator):
    bl_idname = "lpmm.exact_colours"
    bl_label = "Use Exact Colors"
    bl_description = "Use the Standard view without look, exposure, gamma or curves, so that the photo's colors stay"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not colour_faults(context.scene):
            cls.poll_message_set("The scene's colors are exact already")
            return False
        return True

    def execute(self, context: Context) -> set[str]:
        make_colours_exact(context.scene)
        return {"FINISHED"}


class LPMM_OT_bake_nla(Operator):
    bl_idname = "lpmm.bake_nla"
    bl_label = "Bake NLA to Keys"
    bl_description = (
        "Give the face one action with a key on every frame, of all that its NLA, action and modifiers make. "
        "The tracks are muted, and the former action is kept"
    )
    bl_options = {"REGISTER", "UNDO"}

    use_range: BoolProperty(name="Custom Range", description="Other frames than the scene's")  # type: ignore[valid-type]
    start: IntProperty(name="Start", default=1)  # type: ignore[valid-type]
    end: IntProperty(name="End", default=250)  # type: ignore[valid-type]
    step: IntProperty(name="Step", description="Frames from key to key", default=1, min=1)  # type: ignore[valid-type]
    drivers: BoolProperty(  # type: ignore[valid-type]
        name="Drivers", description="Key driven sliders too, and mute their drivers"
    )

    @classmethod
    def poll(cls, context: Context) -> bool:
        rig = active_rig(context)
        if rig is None or rig.animation_data is None:
            cls.poll_message_set("Select an LPMM face with animation")
            return False
        return True

    def execute(self, context: Context) -> set[str]:
        rig = active_rig(context)
        assert rig is not None
        scene = context.scene
        start, end = (self.start, self.end) if self.use_range else (scene.frame_start, scene.frame_end)
        try:
            action = bake_nla_to_keys(scene, rig, start, end, self.step, drivers=self.drivers)
        except LpmmError as fault:
            self.report({"ERROR"}, str(fault))
            return {"CANCELLED"}
        self.report({"INFO"}, f"{rig.name}: frames {start} to {end} are keys of {action.name!r}")
        return {"FINISHED"}


def _poll_bake(operator: type[Operator], context: Context) -> Object | None:
    """Return the active rig if it was baked; else say why the operator is disabled."""
    rig = active_rig(context)
    if rig is None or rig.get(BAKE) is None:
        operator.poll_message_set("The face was not baked yet")
        return None
    return rig


register, unregister = bpy.utils.register_classes_factory(
    (LPMM_OT_show_live, LPMM_OT_show_bake, LPMM_OT_check_bake, LPMM_OT_exact_colours, LPMM_OT_bake_nla)
)
