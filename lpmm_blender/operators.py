# SPDX-License-Identifier: GPL-3.0-or-later
"""The operators: thin shells over the functions that do the work."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, FloatVectorProperty, StringProperty
from bpy.types import Context, Event, Object, Operator, Space
from bpy_extras.io_utils import ImportHelper

from lpmm_runtime.errors import LpmmError

from . import frames, handlers, runtime_session
from .add_face import FaceOptions, add_face
from .rig import rig_of, rigs_of


def active_rig(context: Context) -> Object | None:
    """Return the rig that is active, or whose plane or camera is."""
    return rig_of(context.active_object)


def poll_own_face(operator: type[Operator], context: Context, instead: str) -> bool:
    """Return whether a face of this file is active; else say why the operator is disabled.

    Args:
        instead: what to do with a face that is linked from another file.
    """
    rig = active_rig(context)
    if rig is None:
        operator.poll_message_set("Select an LPMM face")
        return False
    if rig.library is not None:
        operator.poll_message_set(f"The face is linked from another file; {instead}")
        return False
    return True


class _RigOperator(Operator):
    """What the operators on the active rig share."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        if active_rig(context) is None:
            cls.poll_message_set("Select an LPMM face")
            return False
        return True


class LPMM_OT_add_face(Operator, ImportHelper):
    bl_idname = "lpmm.add_face"
    bl_label = "Add LPMM Face"
    bl_description = "Make a face rig of a portrait photo"
    bl_options = {"REGISTER", "UNDO"}

    # Not remembered, so that a file dropped into the viewport is told from the last one chosen by hand.
    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})  # type: ignore[valid-type]
    filter_glob: StringProperty(  # type: ignore[valid-type]
        default="*.png;*.jpg;*.jpeg;*.webp;*.bmp;*.tif;*.tiff", options={"HIDDEN"}
    )
    base: EnumProperty(  # type: ignore[valid-type]
        name="At Rest",
        items=[
            ("PHOTO", "The Photo", "With every slider at rest the face is the photo"),
            ("NEUTRAL", "Neutral", "With every slider at rest the face is frontal and without expression"),
        ],
    )
    view: EnumProperty(  # type: ignore[valid-type]
        name="Picture",
        items=[
            ("crop", "Face", "A square around the face"),
            ("full", "Whole Photo", "The whole photo; only the face in it changes"),
        ],
    )
    plane_height: FloatProperty(  # type: ignore[valid-type]
        name="Height", description="Height of the image plane", default=2.0, min=0.001, subtype="DISTANCE"
    )
    cut_out: BoolProperty(  # type: ignore[valid-type]
        name="Cut Out", description="Show the head without its background, where the bundle can tell them apart"
    )
    camera: BoolProperty(  # type: ignore[valid-type]
        name="Camera", description="Add a camera that renders the picture pixel for pixel, and make it active"
    )
    exact_colours: BoolProperty(  # type: ignore[valid-type]
        name="Exact Colors",
        description="Use the Standard view for the scene, so that the photo's colors stay as they are",
        default=True,
    )
    use_box: BoolProperty(  # type: ignore[valid-type]
        name="Face Box by Hand", description="Say where the face is, when it is not found by itself"
    )
    box: FloatVectorProperty(  # type: ignore[valid-type]
        name="Face Box",
        description="Left, top, right and bottom of the face, brows and forehead to chin, in pixels of the photo",
        size=4,
        min=0.0,
        precision=0,
    )
    show_in_viewport: BoolProperty(  # type: ignore[valid-type]
        name="Show in Viewport",
        description="Let a viewport in Solid mode show textures without light, or it would show a grey plane",
        default=True,
    )

    @classmethod
    def poll(cls, context: Context) -> bool:
        if context.mode != "OBJECT":
            cls.poll_message_set("Faces are added in Object Mode")
            return False
        return True

    def invoke(self, context: Context, event: Event) -> set[str]:
        if self.properties.is_property_set("filepath"):
            return context.window_manager.invoke_props_dialog(self)  # A dropped file is chosen already.
        return ImportHelper.invoke(self, context, event)

    def draw(self, _context: Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        if self.options.is_invoke and self.properties.is_property_set("filepath"):
            layout.label(text=Path(self.filepath).name, icon="IMAGE_DATA")
        for name in ("base", "view", "plane_height", "cut_out", "camera", "exact_colours", "show_in_viewport"):
            layout.prop(self, name)
        layout.prop(self, "use_box")
        if self.use_box:
            column = layout.column(align=True)
            for index, side in enumerate(("Left", "Top", "Right", "Bottom")):
                column.prop(self, "box", index=index, text=side)

    def execute(self, context: Context) -> set[str]:
        options = FaceOptions(
            base=self.base,
            view=self.view,
            box=tuple(self.box) if self.use_box else None,
            plane_height=self.plane_height,
            cut_out=self.cut_out,
            camera=self.camera,
            exact_colours=self.exact_colours,
        )
        try:
            with _wait_cursor(context):
                rig = add_face(context.scene, Path(self.filepath), options)
        except LpmmError as fault:
            self.report({"ERROR"}, str(fault).partition("\n")[0])
            return {"CANCELLED"}
        for thing in context.selected_objects:
            thing.select_set(False)
        rig.select_set(True)
        context.view_layer.objects.active = rig
        if self.show_in_viewport and context.space_data is not None:
            _show_textures(context.space_data)
        return {"FINISHED"}


class LPMM_OT_refresh(Operator):
    bl_idname = "lpmm.refresh"
    bl_label = "Refresh Faces"
    bl_description = "Ask for the current frame of every face of the scene again"

    def execute(self, context: Context) -> set[str]:
        runtime_session.session().try_again()
        frames.show_anew(context.evaluated_depsgraph_get(), rigs_of(context.scene))
        return {"FINISHED"}


class LPMM_OT_restart_runtime(Operator):
    bl_idname = "lpmm.restart_runtime"
    bl_label = "Restart Runtime"
    bl_description = "End the runtime; it starts again, with the bundle read anew, for the next frame"

    def execute(self, context: Context) -> set[str]:
        runtime_session.session().stop()
        frames.show_anew(context.evaluated_depsgraph_get(), rigs_of(context.scene))
        return {"FINISHED"}


class LPMM_OT_wait_for_frames(Operator):
    bl_idname = "lpmm.wait_for_frames"
    bl_label = "Wait for Every Frame"
    bl_description = (
        "Let frame changes wait for their picture, so that playback and viewport renders show every frame. "
        "Ordinary renders always do"
    )

    def invoke(self, context: Context, _event: Event) -> set[str]:
        return self.execute(context)

    def execute(self, _context: Context) -> set[str]:
        handlers.wait_for_every_frame(not handlers.waits_for_every_frame())
        return {"FINISHED"}


@contextmanager
def _wait_cursor(context: Context) -> Iterator[None]:
    """Show that Blender is busy: the first face waits for the runtime to start."""
    if context.window is None:
        yield
        return
    context.window.cursor_modal_set("WAIT")
    try:
        yield
    finally:
        context.window.cursor_modal_restore()


def _show_textures(space: Space) -> None:
    if space.type == "VIEW_3D" and space.shading.type == "SOLID":
        space.shading.color_type = "TEXTURE"
        space.shading.light = "FLAT"


register, unregister = bpy.utils.register_classes_factory(
    (
        LPMM_OT_add_face,
        LPMM_OT_refresh,
        LPMM_OT_restart_runtime,
        LPMM_OT_wait_for_frames,
    )
)
