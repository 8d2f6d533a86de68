# SPDX-License-Identifier: GPL-3.0-or-later
"""Action assets on a face: operators for the Asset Browser, whose own Pose Library serves armatures only."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy
from bpy.props import EnumProperty, FloatProperty, StringProperty
from bpy.types import Action, AssetRepresentation, AssetShelf, Context, Event, Menu, Object, UILayout

from lpmm_runtime.errors import LpmmError, PresetError

from .operators import active_rig
from .preset_actions import TAG, apply_action, mix_pose, pose_of
from .preset_operators import RigOperator, key_if_recording

_PIXELS_FOR_ALL = 300
"""How far the mouse goes from nothing to the whole pose."""


class LPMM_AST_presets(AssetShelf):
    """The published presets along the lower edge of the viewport, while a face is active."""

    bl_idname = "LPMM_AST_presets"
    bl_space_type = "VIEW_3D"
    bl_activate_operator = "LPMM_OT_apply_shelf_preset"
    bl_default_preview_size = 64
    filter_action = True  # Newer versions leave out all other kinds before they ask asset_poll.

    @classmethod
    def poll(cls, context: Context) -> bool:
        return context.mode == "OBJECT" and active_rig(context) is not None

    @classmethod
    def asset_poll(cls, asset: AssetRepresentation) -> bool:
        return asset.id_type == "ACTION" and TAG in asset.metadata.tags

    @classmethod
    def draw_context_menu(cls, _context: Context, _asset: AssetRepresentation, layout: UILayout) -> None:
        layout.operator(LPMM_OT_apply_preset_asset.bl_idname)
        layout.operator_context = "INVOKE_DEFAULT"
        layout.operator(LPMM_OT_blend_preset_asset.bl_idname)


class _AssetOperator(RigOperator):
    """What the operators share; they cannot inherit from each other, because a registered class must have no heirs."""

    factor: FloatProperty(  # type: ignore[valid-type]
        name="Factor",
        description="How far toward the pose",
        default=1.0,
        soft_min=0.0,
        soft_max=1.0,
        options={"SKIP_SAVE"},
    )
    how: EnumProperty(  # type: ignore[valid-type]
        name="How",
        items=[
            ("REPLACE", "Replace", "Go from the sliders' values to the pose's"),
            ("ADD", "Add", "Add the pose to the sliders' values"),
        ],
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: Context) -> bool:
        asset = getattr(context, "asset", None)
        if asset is None or asset.id_type != "ACTION":
            cls.poll_message_set("Choose an Action asset in the Asset Browser")
            return False
        return super().poll(context)

    def act(self, context: Context, rig: Object) -> set[str]:
        with asset_action(context.asset) as action:
            key_if_recording(context, rig, apply_action(rig, action, self.factor, self.how))
        return {"FINISHED"}


class LPMM_OT_apply_preset_asset(_AssetOperator):
    bl_idname = "lpmm.apply_preset_asset"
    bl_label = "Apply to LPMM Face"
    bl_description = "Bring the pose of the Action asset onto the active face"


class LPMM_OT_blend_preset_asset(_AssetOperator):
    bl_idname = "lpmm.blend_preset_asset"
    bl_label = "Blend onto LPMM Face"
    bl_description = "Drag sideways to bring the pose of the Action asset onto the active face; click to accept"

    def invoke(self, context: Context, event: Event) -> set[str]:
        rig = active_rig(context)
        assert rig is not None  # As poll has seen.
        try:
            with asset_action(context.asset) as action:
                self._pose = pose_of(rig, action)
        except LpmmError as fault:
            self.report({"ERROR"}, str(fault))
            return {"CANCELLED"}
        # Kept by name: an undo during the drag would leave a reference to a rig that is no more.
        self._rig = rig.name
        self._before = {name: float(rig[name]) for name in self._pose}
        self._start = event.mouse_x
        self.factor = 0.0
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: Context, event: Event) -> set[str]:
        rig = bpy.data.objects.get(self._rig)
        if rig is None:
            return {"CANCELLED"}
        if event.type == "MOUSEMOVE":
            self.factor = min(max((event.mouse_x - self._start) / _PIXELS_FOR_ALL, 0.0), 1.0)
            mix_pose(rig, self._before, self._pose, self.factor, self.how)
            context.workspace.status_text_set(
                f"Blend: {self.factor:.0%}   Left mouse button: accept   Esc or right mouse button: cancel"
            )
        elif event.type in {"LEFTMOUSE", "RET", "NUMPAD_ENTER"} and event.value == "PRESS":
            context.workspace.status_text_set(None)
            key_if_recording(context, rig, tuple(self._pose))
            return {"FINISHED"}
        elif event.type in {"ESC", "RIGHTMOUSE"}:
            context.workspace.status_text_set(None)
            mix_pose(rig, self._before, self._pose, 0.0, "REPLACE")
            return {"CANCELLED"}
        return {"RUNNING_MODAL"}


class LPMM_OT_apply_shelf_preset(RigOperator):
    bl_idname = "lpmm.apply_shelf_preset"
    bl_label = "Apply to LPMM Face"
    bl_description = "Bring the pose of the Action asset onto the active face"

    # Blender fills these in; a shelf's item is in no context while it is clicked.
    asset_library_type: EnumProperty(  # type: ignore[valid-type]
        items=[
            ("LOCAL", "Current File", "", 1),
            ("ALL", "All Libraries", "", 2),
            ("ESSENTIALS", "Essentials", "", 3),
            ("CUSTOM", "Custom", "", 100),
        ],
        options={"HIDDEN", "SKIP_SAVE"},
    )
    asset_library_identifier: StringProperty(options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]
    relative_asset_identifier: StringProperty(options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]

    def act(self, context: Context, rig: Object) -> set[str]:
        with self._action(context) as action:
            key_if_recording(context, rig, apply_action(rig, action))
        return {"FINISHED"}

    @contextmanager
    def _action(self, context: Context) -> Iterator[Action]:
        # "Action/Name" in this file, "folder/file.blend/Action/Name" in a library.
        path, _, name = self.relative_asset_identifier.replace("\\", "/").rpartition("Action/")
        if self.asset_library_type == "LOCAL":
            action = bpy.data.actions.get((name, None))
            if action is None:
                raise PresetError(f"{self.relative_asset_identifier}: this file has no such Action")
            yield action
            return
        library = context.preferences.filepaths.asset_libraries.get(self.asset_library_identifier)
        if library is None:
            raise PresetError(f"{self.relative_asset_identifier}: no asset library {self.asset_library_identifier!r}")
        with action_of_file(str(Path(library.path) / path.rstrip("/")), name) as action:
            yield action


@contextmanager
def asset_action(asset: AssetRepresentation) -> Iterator[Action]:
    """Yield the action of an asset, of this file or for the time of the block of another.

    Raises:
        PresetError: if its file cannot be read, or has it no more.
    """
    if asset.local_id is not None:
        yield asset.local_id
    else:
        with action_of_file(asset.full_library_path, asset.name) as action:
            yield action


@contextmanager
def action_of_file(path: str, name: str) -> Iterator[Action]:
    """Yield an action of another file, which leaves nothing behind in this one.

    Raises:
        PresetError: naming the file, if it cannot be read, or has no such action.
    """
    with bpy.types.BlendData.temp_data() as temporary:
        try:
            with temporary.libraries.load(path) as (there, wanted):
                wanted.actions = [name] if name in there.actions else []
        except OSError as error:
            raise PresetError(f"{path}: cannot be read: {error}") from error
        if not wanted.actions or wanted.actions[0] is None:
            raise PresetError(f"{path}: has no Action named {name!r}")
        yield wanted.actions[0]


def _draw_entries(self: Menu, context: Context) -> None:
    asset = getattr(context, "asset", None)
    if asset is None or asset.id_type != "ACTION" or active_rig(context) is None:
        return
    self.layout.operator_context = "INVOKE_DEFAULT"
    self.layout.operator(LPMM_OT_apply_preset_asset.bl_idname)
    self.layout.operator(LPMM_OT_blend_preset_asset.bl_idname)
    self.layout.separator()


_register_classes, _unregister_classes = bpy.utils.register_classes_factory(
    (LPMM_OT_apply_preset_asset, LPMM_OT_blend_preset_asset, LPMM_OT_apply_shelf_preset, LPMM_AST_presets)
)


def register() -> None:
    """Add the operators, and their entries in the Asset Browser's context menu."""
    _register_classes()
    bpy.types.ASSETBROWSER_MT_context_menu.prepend(_draw_entries)


def unregister() -> None:
    """Remove them."""
    bpy.types.ASSETBROWSER_MT_context_menu.remove(_draw_entries)
    _unregister_classes()
