# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar tab "LPMM", and the entry of the Add menu."""

import re

import bpy
from bpy.types import Context, Menu, Object, Panel, UILayout

from lpmm_runtime.channels import param_name

from . import handlers, runtime_session
from .face_pose import ALL, COEFFICIENTS
from .operators import LPMM_OT_add_face, active_rig
from .pair_sliders import PAIRS, is_even, pair_property
from .preset_list import draw_presets
from .rig import data_path, record_of
from .rig_record import RigRecord, RigRecordError

LABEL_SHARE = 0.4


class _LpmmPanel(Panel):
    """What the panels share."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "LPMM"


class _RigPanel(_LpmmPanel):
    """A section for the active rig; the sections of controls name their group."""

    bl_parent_id = "LPMM_PT_face"
    group = ""

    @classmethod
    def poll(cls, context: Context) -> bool:
        rig = active_rig(context)
        record = None if rig is None else _readable(rig)
        return record is not None and (not cls.group or cls.group in record.controls.values())

    def draw(self, context: Context) -> None:
        rig = active_rig(context)
        assert rig is not None
        column = self.layout.column(align=True)
        names = [name for name, group in record_of(rig).controls.items() if group == self.group and name in rig]
        pairs = [(name, _right_of(name)) for name in names if name.endswith("Left") and _right_of(name) in names]
        together = [pair for pair, both in PAIRS.items() if rig.lpmm_symmetry and set(both) <= set(names)]
        moved_together = {name for pair in together for name in PAIRS[pair]}
        paired = {name for pair in pairs for name in pair} | moved_together
        unit = " (°)" if self.group == "head" else ""
        for name in names:
            if name not in paired:
                column.prop(rig, data_path(name), text=label_of(name) + unit, slider=True)
        for pair in sorted(together, key=lambda pair: names.index(PAIRS[pair][0])):
            _draw_together(column, rig, pair)
        pairs = [both for both in pairs if not moved_together.issuperset(both)]
        if pairs:
            # The subject's left, which is the picture's right.
            row = _labelled_row(column, "")
            row.label(text="Left")
            row.label(text="Right")
        for left, right in pairs:
            row = _labelled_row(column, label_of(left.removesuffix("Left")))
            row.prop(rig, data_path(left), text="", slider=True)
            row.prop(rig, data_path(right), text="", slider=True)

    def draw_header_preset(self, _context: Context) -> None:
        if self.group:
            row = self.layout.row()
            row.emboss = "NONE"
            row.operator("lpmm.reset_sliders", text="", icon="LOOP_BACK").group = self.group
            row.separator()


class LPMM_PT_face(_LpmmPanel):
    bl_label = "LPMM Face"

    def draw(self, context: Context) -> None:
        layout = self.layout
        rig = active_rig(context)
        if rig is None:
            layout.label(text="No face is selected", icon="INFO")
            layout.operator(LPMM_OT_add_face.bl_idname, text="Add LPMM Face…", icon="USER")
            return
        record = _readable(rig)
        if record is None:
            layout.label(text="This face cannot be read", icon="ERROR")
            return
        row = layout.row()
        row.label(text=rig.name, icon="USER")
        row.prop(context.window_manager, "lpmm_show_handles", text="", icon="VIEW_PAN")
        row.prop(rig, "lpmm_symmetry", text="", icon="MOD_MIRROR")
        grid = layout.grid_flow(columns=2, even_columns=True, row_major=True, align=True)
        grid.operator("lpmm.key_sliders", icon="KEY_HLT", text="Key All").which = "ALL"
        grid.operator("lpmm.key_sliders", icon="KEYFRAME_HLT", text="Key Moved").which = "MOVED"
        grid.operator("lpmm.copy_pose", icon="COPYDOWN", text="Copy")
        grid.operator("lpmm.paste_pose", icon="PASTEDOWN", text="Paste")
        grid.operator("lpmm.mirror_pose", icon="ARROW_LEFTRIGHT", text="Mirror")
        grid.operator("lpmm.reset_sliders", icon="LOOP_BACK", text="Reset All").group = ALL


class LPMM_PT_head(_RigPanel):
    bl_label = "Head"
    group = "head"


class LPMM_PT_eyes(_RigPanel):
    bl_label = "Eyes"
    group = "eyes"


class LPMM_PT_brows(_RigPanel):
    bl_label = "Brows"
    group = "brows"


class LPMM_PT_mouth(_RigPanel):
    bl_label = "Mouth"
    group = "mouth"


class LPMM_PT_presets(_RigPanel):
    bl_label = "Presets"

    def draw(self, context: Context) -> None:
        rig = active_rig(context)
        assert rig is not None
        draw_presets(self.layout, context, rig)


class LPMM_PT_coefficients(_RigPanel):
    bl_label = "LPMM Coefficients"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        rig = active_rig(context)
        return rig is not None and _readable(rig) is not None

    def draw_header_preset(self, _context: Context) -> None:
        row = self.layout.row()
        row.emboss = "NONE"
        row.operator("lpmm.reset_sliders", text="", icon="LOOP_BACK").group = COEFFICIENTS
        row.separator()

    def draw(self, context: Context) -> None:
        rig = active_rig(context)
        assert rig is not None
        column = self.layout.column(align=True)
        for index, component in enumerate(record_of(rig).components):
            name = param_name(index)
            if name in rig:
                column.prop(rig, data_path(name), text=f"{index + 1:02d} {component}", slider=True)


class LPMM_PT_runtime(_LpmmPanel):
    bl_label = "Runtime"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, _context: Context) -> None:
        layout = self.layout
        session = runtime_session.session()
        status = session.status
        column = layout.column(align=True)
        if session.running:
            speed = "" if status.frame_ms is None else f", {status.frame_ms:.0f} ms a frame"
            column.label(text=f"{status.device.upper()}, {status.bundle}{speed}", icon="CHECKMARK")
        else:
            column.label(text="Not running; starts when needed", icon="PAUSE")
        if status.fault:
            _draw_wrapped(layout.box(), status.fault)
        row = layout.row(align=True)
        row.operator("lpmm.refresh", icon="FILE_REFRESH", text="Refresh")
        row.operator("lpmm.restart_runtime", icon="RECOVER_LAST", text="Restart")
        row.operator("lpmm.show_log", icon="TEXT", text="Log")
        layout.operator("lpmm.wait_for_frames", depress=handlers.waits_for_every_frame())


_ACRONYM_FREE = re.compile(r"(?<=[a-z])(?=[A-Z])")


def label_of(control: str) -> str:
    """Return a control's name for people: `mouthSmileLeft` is "Mouth Smile Left"."""
    words = _ACRONYM_FREE.sub(" ", control)
    return words[:1].upper() + words[1:]


def _right_of(name: str) -> str:
    return name.removesuffix("Left") + "Right"


def _draw_together(layout: UILayout, rig: Object, pair: str) -> None:
    row = layout.row(align=True)
    # Uneven sides are shown as such: the first touch makes them even.
    row.prop(rig, pair_property(pair), text=label_of(pair) + ("" if is_even(rig, pair) else " ≠"), slider=True)
    key = row.operator("lpmm.key_sliders", text="", icon="DECORATE_ANIMATE")
    key.names = "\n".join(PAIRS[pair])


def _labelled_row(layout: UILayout, text: str) -> UILayout:
    split = layout.split(factor=LABEL_SHARE, align=True)
    split.label(text=text)
    return split.row(align=True)


def _draw_wrapped(layout: UILayout, text: str, columns: int = 42) -> None:
    column = layout.column(align=True)
    column.alert = True
    for start in range(0, len(text), columns):
        column.label(text=text[start : start + columns], icon="ERROR" if start == 0 else "BLANK1")


def _readable(rig: Object) -> RigRecord | None:
    try:
        return record_of(rig)
    except RigRecordError:
        return None


def _draw_add_entry(self: Menu, _context: Context) -> None:
    self.layout.operator_context = "INVOKE_DEFAULT"
    self.layout.operator(LPMM_OT_add_face.bl_idname, text="LPMM Face…", icon="USER")


SECTIONS: tuple[type[Panel], ...] = (
    LPMM_PT_face,
    LPMM_PT_head,
    LPMM_PT_eyes,
    LPMM_PT_brows,
    LPMM_PT_mouth,
    LPMM_PT_presets,
    LPMM_PT_coefficients,
    LPMM_PT_runtime,
)

_register_classes, _unregister_classes = bpy.utils.register_classes_factory(SECTIONS)


def register() -> None:
    """Add the panels and the menu entry."""
    _register_classes()
    bpy.types.VIEW3D_MT_add.append(_draw_add_entry)


def unregister() -> None:
    """Remove them."""
    bpy.types.VIEW3D_MT_add.remove(_draw_add_entry)
    _unregister_classes()
