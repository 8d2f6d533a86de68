# SPDX-License-Identifier: GPL-3.0-or-later
"""Import Performance: a captured take onto the active rig's timeline, and its section of the sidebar."""

from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty
from bpy.types import Context, Event, Operator, Panel
from bpy_extras.io_utils import ImportHelper

from lpmm_runtime.errors import LpmmError
from lpmm_runtime.take import load_take

from . import runtime_session
from .operators import active_rig
from .performance_keys import PerformanceOptions, import_performance


class LPMM_OT_import_performance(Operator, ImportHelper):
    bl_idname = "lpmm.import_performance"
    bl_label = "Import Performance"
    bl_description = "Key the face with a take that was captured from a video (lpmm capture)"
    bl_options = {"REGISTER", "UNDO"}

    filename_ext = ".json"
    filter_glob: StringProperty(default="*.json", options={"HIDDEN"})  # type: ignore[valid-type]
    start: IntProperty(  # type: ignore[valid-type]
        name="Start Frame", description="The scene's frame on which the performance begins", default=1
    )
    onto: EnumProperty(  # type: ignore[valid-type]
        name="Keys On",
        items=[
            (
                "CONTROLS",
                "Controls",
                "Head, eyes, brows and mouth; what they cannot say goes to the coefficients beside them",
            ),
            ("COEFFICIENTS", "Coefficients", "The LPMM coefficients alone; the controls stay free"),
        ],
    )
    relative: BoolProperty(  # type: ignore[valid-type]
        name="Relative",
        description="Add what the performance changes to the face as it is at rest, so that the performer's "
        "face shape stays behind",
        default=True,
    )
    influence: FloatProperty(  # type: ignore[valid-type]
        name="Influence", description="How much of the performance is taken", default=1.0, min=0.0, max=1.0
    )
    set_range: BoolProperty(  # type: ignore[valid-type]
        name="Extend Scene", description="Let the scene end no sooner than the performance", default=True
    )

    @classmethod
    def poll(cls, context: Context) -> bool:
        if active_rig(context) is None:
            cls.poll_message_set("Select an LPMM face")
            return False
        return True

    def invoke(self, context: Context, event: Event) -> set[str]:
        self.start = context.scene.frame_current
        return super().invoke(context, event)

    def execute(self, context: Context) -> set[str]:
        path = Path(self.filepath)
        options = PerformanceOptions(self.start, self.onto, self.relative, self.influence)
        try:
            take = load_take(path)
            bundle = runtime_session.session().bundle()
            last = import_performance(context.scene, active_rig(context), take, bundle, path.stem, options)[1]
        except LpmmError as fault:
            self.report({"ERROR"}, str(fault).partition("\n")[0])
            return {"CANCELLED"}
        if self.set_range:
            context.scene.frame_end = max(context.scene.frame_end, last)
        unseen = int((~take.seen).sum())
        said = f"{path.name}: keys from frame {self.start} to {last}"
        if unseen:
            self.report({"WARNING"}, f"{said}; in {unseen} of the take's frames no face was seen")
        else:
            self.report({"INFO"}, said)
        return {"FINISHED"}


class LPMM_PT_performance(Panel):
    bl_label = "Performance"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "LPMM"
    bl_parent_id = "LPMM_PT_face"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        return active_rig(context) is not None

    def draw(self, _context: Context) -> None:
        self.layout.operator(LPMM_OT_import_performance.bl_idname, icon="IMPORT", text="Import Performance…")


register, unregister = bpy.utils.register_classes_factory((LPMM_OT_import_performance, LPMM_PT_performance))
