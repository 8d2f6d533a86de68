# SPDX-License-Identifier: GPL-3.0-or-later
"""The operators that bring presets in and out: files, the bundle's library, Action assets."""

from pathlib import Path

import bpy
from bpy.props import BoolProperty, CollectionProperty, EnumProperty, StringProperty
from bpy.types import Context, Event, Object, OperatorFileListElement
from bpy_extras.io_utils import ImportHelper

from lpmm_runtime.errors import LpmmError

from . import runtime_session
from .preset_actions import publish_preset
from .preset_files import ImportReport, add_presets, export_presets, import_presets
from .preset_operators import PresetOperator, RigOperator, set_active_preset
from .rig import record_of

ON_CLASH = [
    ("RENAME", "Number the New", "Add it as Name.001, beside the one that is there"),
    ("REPLACE", "Replace the Old", "Give the one that is there the new contents; its value and keys stay"),
]


class LPMM_OT_import_preset(RigOperator, ImportHelper):
    bl_idname = "lpmm.import_preset"
    bl_label = "Import Presets"
    changes_list = True
    bl_description = "Add saved blendshapes to the face: the chosen files, or with no file chosen the whole folder"

    filename_ext = ".json"
    filter_glob: StringProperty(default="*.json", options={"HIDDEN"})  # type: ignore[valid-type]
    files: CollectionProperty(type=OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]
    directory: StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]
    on_clash: EnumProperty(  # type: ignore[valid-type]
        name="If the Name Is Taken", items=ON_CLASH, description="By a preset with other contents"
    )

    def act(self, _context: Context, rig: Object) -> set[str]:
        chosen = [Path(self.directory) / entry.name for entry in self.files if entry.name]
        path = Path(self.filepath or self.directory)
        return _tell(self, rig, import_presets(rig, chosen or [path], self.on_clash))


class LPMM_OT_add_library_presets(RigOperator):
    bl_idname = "lpmm.add_library_presets"
    bl_label = "Add from Library"
    changes_list = True
    bl_description = "Add a preset that comes with the model bundle"

    preset: StringProperty(  # type: ignore[valid-type]
        name="Preset", description="The preset; empty means all of them", options={"SKIP_SAVE"}
    )
    on_clash: EnumProperty(  # type: ignore[valid-type]
        name="If the Name Is Taken",
        items=ON_CLASH,
        description="By a preset with other contents",
        options={"SKIP_SAVE"},
    )

    def act(self, _context: Context, rig: Object) -> set[str]:
        library = runtime_session.session().bundle().presets
        if self.preset and self.preset not in library:
            raise LpmmError(f"The model bundle has no preset named {self.preset!r}")
        chosen = [library[self.preset]] if self.preset else list(library.values())
        return _tell(self, rig, add_presets(rig, chosen, self.on_clash))


class LPMM_OT_export_presets(PresetOperator):
    bl_idname = "lpmm.export_presets"
    bl_label = "Export Presets"
    bl_description = "Write presets as JSON files, one each, into a folder"
    bl_options = {"REGISTER"}

    directory: StringProperty(name="Folder", subtype="DIR_PATH", options={"SKIP_SAVE"})  # type: ignore[valid-type]
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})  # type: ignore[valid-type]
    filter_glob: StringProperty(default="*.json", options={"HIDDEN"})  # type: ignore[valid-type]
    which: EnumProperty(  # type: ignore[valid-type]
        name="Presets", items=[("ACTIVE", "Active", "The active one"), ("ALL", "All", "All of this face")]
    )
    overwrite: BoolProperty(  # type: ignore[valid-type]
        name="Overwrite", description="Replace files of the same name; otherwise a number is added"
    )

    def invoke(self, context: Context, _event: Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def act_on(self, _context: Context, rig: Object, name: str) -> set[str]:
        names = list(record_of(rig).presets) if self.which == "ALL" else [name]
        folder = Path(bpy.path.abspath(self.directory))
        written = export_presets(rig, names, folder, overwrite=self.overwrite)
        what = written[0].name if len(written) == 1 else f"{len(written)} presets"
        self.report({"INFO"}, f"Wrote {what} to {folder}")
        return {"FINISHED"}


class LPMM_OT_publish_preset(PresetOperator):
    bl_idname = "lpmm.publish_preset"
    bl_label = "Publish as Action Asset"
    bl_description = (
        "Make the preset an Action asset, with a preview, for the Asset Browser; published again, it is made anew"
    )

    def act_on(self, _context: Context, rig: Object, name: str) -> set[str]:
        action, no_preview = publish_preset(rig, name)
        if no_preview:
            self.report({"WARNING"}, f"{action.name} has no preview: {no_preview}")
        return {"FINISHED"}


def _tell(operator: RigOperator, rig: Object, report: ImportReport) -> set[str]:
    """Report what was added; what went wrong comes last, because the status bar shows the last line."""
    if report.changed:
        set_active_preset(rig, (report.added or report.replaced)[-1])
    if report.changed or report.skipped:
        operator.report({"INFO"}, report.summary())
    for fault in report.faults:
        # A script that called the operator gets an error as an exception, and would miss what was added.
        operator.report({"WARNING" if report.changed else "ERROR"}, fault.partition("\n")[0])
    return {"FINISHED"} if report.changed else {"CANCELLED"}


register, unregister = bpy.utils.register_classes_factory(
    (LPMM_OT_import_preset, LPMM_OT_add_library_presets, LPMM_OT_export_presets, LPMM_OT_publish_preset)
)
