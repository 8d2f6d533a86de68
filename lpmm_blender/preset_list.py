# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of presets, drawn as Blender draws shape keys: thumbnail, name, value, mute, solo.

What the list shows is in the rig record, not in an RNA collection, which a UIList wants. So the window manager has
rows without contents: row i stands for the i-th preset of the active rig. Nothing can be out of step with the record,
and nothing of it is saved.
"""

from contextlib import suppress

import bpy
from bpy.props import CollectionProperty, IntProperty, StringProperty
from bpy.types import Context, Menu, Object, PropertyGroup, UILayout, UIList, WindowManager

from . import preset_thumbnails, runtime_session
from .operators import active_rig
from .preset_operators import active_preset
from .preset_sliders import MUTE_PREFIX, heard, is_muted, soloed
from .rig import PRESET_PREFIX, data_path, record_of

_FEWEST_ROWS = 64
_ROWS = 8
# As wide as a value needs and no wider: in a sidebar of the usual width the names need the rest.
_SLIDER_WIDTH, _SWITCH_SCALE = 2.0, 0.85
_PREVIEW_SCALE = 6.0


def _title_of(row: "LPMM_PresetRow") -> str:
    rig = active_rig(bpy.context)
    names = list(record_of(rig).presets) if rig is not None else []
    return names[row.place] if row.place < len(names) else ""


def _rename(row: "LPMM_PresetRow", title: str) -> None:
    old = _title_of(row)
    if old and title.strip() and title != old:
        # The operator reports why it cannot be, and the row keeps its name then.
        with suppress(RuntimeError):
            # With an undo step, which Blender does not make for properties of the window manager.
            bpy.ops.lpmm.rename_preset("EXEC_DEFAULT", True, preset=old, name=title)


class LPMM_PresetRow(PropertyGroup):
    """A place in the list."""

    place: IntProperty()  # type: ignore[valid-type]
    title: str


class LPMM_UL_presets(UIList):
    bl_idname = "LPMM_UL_presets"

    def draw_item(
        self,
        context: Context,
        layout: UILayout,
        _data: WindowManager,
        item: LPMM_PresetRow,
        _icon: int,
        _active_data: Object,
        _active_property: str,
        _index: int = 0,
        _flag: int = 0,
    ) -> None:
        rig = active_rig(context)
        if rig is None:
            return
        record = record_of(rig)
        name = item.title
        preset = record.presets.get(name)
        if preset is None:
            return
        row = layout.row(align=True)
        title = row.row(align=True)
        icon = preset_thumbnails.icon_of(rig, preset)
        if icon:
            title.label(text="", icon_value=icon)
        else:
            title.label(text="", icon="SHAPEKEY_DATA")
        title.prop(item, "title", text="", emboss=False)
        slider = row.row(align=True)
        slider.ui_units_x = _SLIDER_WIDTH
        slider.active = any(other.name == name for other in heard(record.presets, rig))
        if PRESET_PREFIX + name in rig:
            slider.prop(rig, data_path(PRESET_PREFIX + name), text="", slider=True)
        switches = row.row(align=True)
        switches.scale_x = _SWITCH_SCALE
        _draw_mute(switches, rig, name)
        star = "SOLO_ON" if soloed(rig) == name else "SOLO_OFF"
        switches.operator("lpmm.solo_preset", text="", icon=star, emboss=False).preset = name

    def filter_items(self, context: Context, data: WindowManager, property_name: str) -> tuple[list[int], list[int]]:
        rows = getattr(data, property_name)
        rig = active_rig(context)
        names = list(record_of(rig).presets) if rig is not None else []
        wanted = self.filter_name.lower()
        flags = [
            self.bitflag_filter_item if place < len(names) and wanted in names[place].lower() else 0
            for place in range(len(rows))
        ]
        order = []
        if self.use_filter_sort_alpha:
            alphabetical = sorted(range(len(names)), key=lambda place: names[place].lower())
            ranks = {place: rank for rank, place in enumerate(alphabetical)}
            order = [ranks.get(place, place) for place in range(len(rows))]
        return flags, order


class LPMM_MT_preset_library(Menu):
    bl_idname = "LPMM_MT_preset_library"
    bl_label = "Add from Library"

    def draw(self, context: Context) -> None:
        rig = active_rig(context)
        here = record_of(rig).presets if rig is not None else {}
        self.layout.operator("lpmm.add_library_presets", text="All", icon="ASSET_MANAGER")
        self.layout.separator()
        for name in runtime_session.session().bundle().presets:
            icon = "CHECKMARK" if name in here else "BLANK1"
            self.layout.operator("lpmm.add_library_presets", text=name, icon=icon).preset = name


class LPMM_MT_presets(Menu):
    bl_idname = "LPMM_MT_presets"
    bl_label = "Presets"

    def draw(self, _context: Context) -> None:
        layout = self.layout
        layout.operator_context = "INVOKE_DEFAULT"
        layout.operator("lpmm.rename_preset", text="Rename…", icon="GREASEPENCIL")
        layout.operator("lpmm.duplicate_preset", text="Duplicate", icon="DUPLICATE")
        layout.operator("lpmm.remove_preset", text="Remove with Its Keys", icon="X").keys = True
        layout.operator("lpmm.move_preset", text="Move to Top", icon="TRIA_UP_BAR").direction = "TOP"
        layout.operator("lpmm.move_preset", text="Move to Bottom", icon="TRIA_DOWN_BAR").direction = "BOTTOM"
        layout.separator()
        layout.operator("lpmm.clear_presets", text="Put All at 0", icon="LOOP_BACK")
        layout.operator("lpmm.unmute_presets", text="Unmute All", icon="CHECKBOX_HLT")
        layout.separator()
        layout.menu(LPMM_MT_preset_library.bl_idname, icon="ASSET_MANAGER")
        layout.operator("lpmm.import_preset", text="Import…", icon="IMPORT")
        layout.operator("lpmm.export_presets", text="Export…", icon="EXPORT").which = "ACTIVE"
        layout.operator("lpmm.export_presets", text="Export All…", icon="EXPORT").which = "ALL"
        layout.separator()
        layout.operator("lpmm.publish_preset", icon="ACTION")


def draw_presets(layout: UILayout, context: Context, rig: Object) -> None:
    """Draw the list of a rig's presets, its buttons, and the active one below."""
    presets = record_of(rig).presets
    window_manager = context.window_manager
    if len(window_manager.lpmm_preset_rows) < max(len(presets), 1):
        _grow_soon()
    row = layout.row()
    row.template_list(
        LPMM_UL_presets.bl_idname, "", window_manager, "lpmm_preset_rows", rig, "lpmm_active_preset", rows=_ROWS
    )
    buttons = row.column(align=True)
    buttons.operator("lpmm.add_preset", text="", icon="ADD")
    buttons.operator("lpmm.remove_preset", text="", icon="REMOVE")
    buttons.separator()
    buttons.menu(LPMM_MT_presets.bl_idname, text="", icon="DOWNARROW_HLT")
    buttons.separator()
    buttons.operator("lpmm.move_preset", text="", icon="TRIA_UP").direction = "UP"
    buttons.operator("lpmm.move_preset", text="", icon="TRIA_DOWN").direction = "DOWN"
    name = active_preset(rig)
    if name is None:
        return
    column = layout.column()
    icon = preset_thumbnails.icon_of(rig, presets[name])
    if icon:
        column.template_icon(icon_value=icon, scale=_PREVIEW_SCALE)
    if presets[name].description:
        column.label(text=presets[name].description)
    if PRESET_PREFIX + name in rig:
        column.prop(rig, data_path(PRESET_PREFIX + name), text=name, slider=True)
    pair = column.row(align=True)
    pair.operator("lpmm.apply_preset", text="Apply")
    pair.operator("lpmm.update_preset", text="Update")


def _draw_mute(row: UILayout, rig: Object, name: str) -> None:
    icon = "CHECKBOX_DEHLT" if is_muted(rig, name) else "CHECKBOX_HLT"
    if MUTE_PREFIX + name in rig:
        # The property itself, so that hovering and pressing I keys it.
        row.prop(rig, data_path(MUTE_PREFIX + name), text="", icon=icon, emboss=False)
    else:
        row.operator("lpmm.mute_preset", text="", icon=icon, emboss=False).preset = name


def _grow_soon() -> None:
    # Drawing must not change data; a newly opened file has no rows.
    if not bpy.app.timers.is_registered(_grow):
        bpy.app.timers.register(_grow, first_interval=0.0)


def _grow() -> None:
    window_manager = bpy.context.window_manager
    rig = active_rig(bpy.context) if hasattr(bpy.context, "active_object") else None
    ensure_rows(window_manager, len(record_of(rig).presets) if rig is not None else 0)
    for window in window_manager.windows:
        for area in window.screen.areas:
            area.tag_redraw()


def ensure_rows(window_manager: WindowManager, count: int) -> None:
    """Let the window manager have at least `count` rows."""
    rows = window_manager.lpmm_preset_rows
    for place in range(len(rows), max(2 * count, _FEWEST_ROWS)):
        rows.add().place = place


_register_classes, _unregister_classes = bpy.utils.register_classes_factory(
    (LPMM_PresetRow, LPMM_UL_presets, LPMM_MT_preset_library, LPMM_MT_presets)
)


def register() -> None:
    """Add the list, its menus and its rows."""
    _register_classes()
    # Not in the class: Blender 4.2 as a module crashes at exit over functions that only went with their class.
    LPMM_PresetRow.title = StringProperty(
        name="Name", description="The preset's name; double-click to rename", get=_title_of, set=_rename
    )
    WindowManager.lpmm_preset_rows = CollectionProperty(type=LPMM_PresetRow, options={"SKIP_SAVE"})


def unregister() -> None:
    """Remove them."""
    if bpy.app.timers.is_registered(_grow):
        bpy.app.timers.unregister(_grow)
    del WindowManager.lpmm_preset_rows
    del LPMM_PresetRow.title
    _unregister_classes()
