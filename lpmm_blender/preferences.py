# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's preferences: which Python, device, bundle and resources the runtime uses."""

import tempfile
from pathlib import Path

import bpy
from bpy.props import EnumProperty, IntProperty, StringProperty
from bpy.types import AddonPreferences, Context

from . import gpu_runtime
from .runtime_session import RuntimeSettings, session


def apply_preferences(_self: object = None, _context: Context | None = None) -> None:
    """Give the session the settings of the preferences; without preferences (plain import) its own stay."""
    addon = bpy.context.preferences.addons.get(__package__)
    if addon is None or addon.preferences is None:
        return
    chosen = addon.preferences
    home = user_folder()
    session().configure(
        RuntimeSettings(
            python=_path(chosen.runtime_python),
            bundle=_path(chosen.bundle_folder),
            device=chosen.device,
            threads=chosen.threads or None,
            characters=chosen.portraits or None,
            log=(home or Path(tempfile.gettempdir())) / "runtime.log",
            packages=gpu_runtime.installed_in(home) if home is not None and chosen.device != "cpu" else None,
        )
    )


class LPMM_Preferences(AddonPreferences):
    bl_idname = __package__

    runtime_python: StringProperty(  # type: ignore[valid-type]
        name="Python for the Runtime",
        description=(
            "An interpreter with numpy, onnxruntime and opencv. "
            "Empty uses Blender's own with what the extension brings, or the GPU runtime"
        ),
        subtype="FILE_PATH",
        update=apply_preferences,
    )
    device: EnumProperty(  # type: ignore[valid-type]
        name="Device",
        items=[
            ("auto", "Automatic", "CUDA when it is there, else the CPU"),
            ("cuda", "CUDA", "An NVIDIA GPU; needs the GPU runtime, or a Python with onnxruntime-gpu"),
            ("cpu", "CPU", "Works everywhere"),
        ],
        default="auto",
        update=apply_preferences,
    )
    bundle_folder: StringProperty(  # type: ignore[valid-type]
        name="Model Bundle",
        description="The folder of a model bundle; empty uses the one that comes with the add-on",
        subtype="DIR_PATH",
        update=apply_preferences,
    )

    threads: IntProperty(  # type: ignore[valid-type]
        name="CPU Threads",
        description="How many threads the runtime computes with on the CPU; 0 uses the cores, at most four",
        min=0,
        max=256,
        update=apply_preferences,
    )
    portraits: IntProperty(  # type: ignore[valid-type]
        name="Portraits in Memory",
        description=(
            "How many portraits the runtime keeps ready at once, each tens of megabytes for a large photo; "
            "others are prepared again when they are needed. 0 is the runtime's own limit"
        ),
        min=0,
        max=1000,
        update=apply_preferences,
    )

    def draw(self, _context: Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "runtime_python")
        layout.prop(self, "device")
        layout.prop(self, "threads")
        layout.prop(self, "portraits")
        layout.prop(self, "bundle_folder")
        # Here, because its operators need this module.
        from . import gpu_runtime_operators

        gpu_runtime_operators.draw(layout, user_folder())


def _path(text: str) -> Path | None:
    return Path(bpy.path.abspath(text)) if text else None


def user_folder() -> Path | None:
    """Return the add-on's folder in the user's files; a legacy add-on or a plain import has none."""
    try:
        return Path(bpy.utils.extension_path_user(__package__, create=True))
    except ValueError:
        return None


register, unregister = bpy.utils.register_classes_factory((LPMM_Preferences,))
