# SPDX-License-Identifier: GPL-3.0-or-later
"""The section "Output" of the sidebar tab: colours, bake, and whether the bake is still right."""

import bpy
from bpy.types import Context, Object, Panel, UILayout

from lpmm_runtime.errors import LpmmError

from . import bake_operators
from .bake_check import state_of
from .baked_plane import BAKE, shows_bake
from .exact_colours import colour_faults
from .operators import active_rig


class LPMM_PT_output(Panel):
    bl_label = "Output"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "LPMM"
    bl_parent_id = "LPMM_PT_face"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        return active_rig(context) is not None

    def draw(self, context: Context) -> None:
        layout = self.layout
        rig = active_rig(context)
        assert rig is not None
        _draw_colours(layout, context)
        if rig.get(BAKE) is not None:
            _draw_state(layout, context, rig)
        settings = context.scene.lpmm_bake_settings
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        column.row().prop(settings, "which", expand=True)
        column.prop(settings, "folder")
        column.prop(settings, "use_range")
        if settings.use_range:
            pair = column.column(align=True)
            pair.prop(settings, "start")
            pair.prop(settings, "end")
        column.prop(settings, "step")
        column.row().prop(settings, "bits", expand=True)
        column.prop(settings, "alpha")
        _draw_bake(layout)
        layout.operator("lpmm.bake_nla", icon="NLA")


def _draw_colours(layout: UILayout, context: Context) -> None:
    faults = colour_faults(context.scene)
    if not faults:
        return
    box = layout.box()
    _draw_lines(box, (*faults, "Renders will not have the photo's colors"))
    box.operator("lpmm.exact_colours", icon="COLOR")


def _draw_state(layout: UILayout, context: Context, rig: Object) -> None:
    baked = shows_bake(rig)
    row = layout.row(align=True)
    row.operator("lpmm.show_live", icon="PLAY", depress=not baked)
    row.operator("lpmm.show_bake", icon="RENDER_ANIMATION", depress=baked)
    try:
        # The view layer's own depsgraph: asking for an updated one would evaluate the scene in a draw call.
        state = state_of(context.scene, rig, context.view_layer.depsgraph)
    except LpmmError as fault:
        _draw_lines(layout.box(), (str(fault),))
        return
    manifest = state.manifest
    every = f", every {manifest.step}" if manifest.step > 1 else ""
    layout.label(text=f"Frames {manifest.start} to {manifest.end}{every}", icon="IMAGE_DATA")
    if state.stale:
        _draw_lines(layout.box(), (*state.stale, "Bake again to have it right"))
    layout.operator("lpmm.check_bake", icon="VIEWZOOM")


def _draw_bake(layout: UILayout) -> None:
    run = bake_operators.current_bake()
    if run is None:
        layout.operator_context = "INVOKE_DEFAULT"
        layout.operator("lpmm.bake_face", icon="RENDER_ANIMATION")
        return
    row = layout.row(align=True)
    row.progress(text=f"{run.done} of {run.total}", factor=run.done / max(1, run.total), type="BAR")
    row.operator("lpmm.cancel_bake", text="", icon="X")


def _draw_lines(layout: UILayout, lines: tuple[str, ...]) -> None:
    column = layout.column(align=True)
    column.alert = True
    for index, line in enumerate(lines):
        column.label(text=line, icon="ERROR" if index == 0 else "BLANK1")


register, unregister = bpy.utils.register_classes_factory((LPMM_PT_output,))
