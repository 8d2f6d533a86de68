# SPDX-License-Identifier: GPL-3.0-or-later
"""The preferences' buttons for the GPU runtime: install, cancel, remove."""

import sys
from pathlib import Path

import bpy
from bpy.types import Context, Event, Operator, UILayout

from . import gpu_runtime, preferences, runtime_session

_TICK = 0.5
"""Seconds between two looks at the installation."""

_installation: gpu_runtime.Installation | None = None
_fault = ""


def installation() -> gpu_runtime.Installation | None:
    """Return the installation that runs, or None."""
    return _installation


class LPMM_OT_install_gpu_runtime(Operator):
    bl_idname = "lpmm.install_gpu_runtime"
    bl_label = "Install GPU Runtime"
    bl_description = (
        f"Download onnxruntime-gpu and the CUDA libraries ({gpu_runtime.DOWNLOAD}) from the Python Package Index, "
        "into the add-on's own folder"
    )

    @classmethod
    def poll(cls, context: Context) -> bool:
        addon = context.preferences.addons.get(__package__)
        if sys.platform == "darwin":
            cls.poll_message_set("The GPU runtime needs an NVIDIA GPU, under Linux or Windows")
        elif not bpy.app.online_access:
            cls.poll_message_set("Allow Online Access in Preferences, System, first")
        elif _installation is not None:
            cls.poll_message_set("It is being installed")
        elif preferences.user_folder() is None:
            cls.poll_message_set("Only the extension has a folder to install it into")
        elif addon is not None and addon.preferences.runtime_python:
            cls.poll_message_set("A Python for the runtime is set: onnxruntime-gpu belongs there")
        else:
            return True
        return False

    def invoke(self, context: Context, event: Event) -> set[str]:
        return context.window_manager.invoke_confirm(
            self,
            event,
            title="Install the GPU runtime?",
            message=f"This downloads {gpu_runtime.DOWNLOAD} and needs an NVIDIA GPU with a driver for CUDA 12.",
            confirm_text="Download and Install",
            icon="IMPORT",
        )

    def execute(self, _context: Context) -> set[str]:
        global _installation, _fault
        home = preferences.user_folder()
        assert home is not None
        try:
            _installation = gpu_runtime.Installation(home)
        except OSError as error:
            self.report({"ERROR"}, f"{sys.executable}: cannot start the installation: {error.strerror}")
            return {"CANCELLED"}
        _fault = ""
        if not bpy.app.timers.is_registered(watch):
            bpy.app.timers.register(watch, first_interval=_TICK, persistent=True)
        return {"FINISHED"}


class LPMM_OT_cancel_gpu_runtime(Operator):
    bl_idname = "lpmm.cancel_gpu_runtime"
    bl_label = "Cancel"
    bl_description = "End the installation of the GPU runtime"

    @classmethod
    def poll(cls, _context: Context) -> bool:
        if _installation is None:
            cls.poll_message_set("Nothing is being installed")
            return False
        return True

    def execute(self, _context: Context) -> set[str]:
        stop()
        return {"FINISHED"}


class LPMM_OT_remove_gpu_runtime(Operator):
    bl_idname = "lpmm.remove_gpu_runtime"
    bl_label = "Remove GPU Runtime"
    bl_description = "Delete the installed GPU runtime; the CPU takes over"

    @classmethod
    def poll(cls, _context: Context) -> bool:
        home = preferences.user_folder()
        if _installation is not None:
            cls.poll_message_set("It is being installed")
        elif home is None or gpu_runtime.installed_in(home) is None:
            cls.poll_message_set("The GPU runtime is not installed")
        else:
            return True
        return False

    def invoke(self, context: Context, event: Event) -> set[str]:
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, _context: Context) -> set[str]:
        home = preferences.user_folder()
        assert home is not None
        runtime_session.session().stop()
        try:
            gpu_runtime.remove_from(home)
        except OSError as error:
            self.report({"ERROR"}, f"{error.filename}: {error.strerror}")
            return {"CANCELLED"}
        finally:
            preferences.apply_preferences()
        return {"FINISHED"}


def watch() -> float | None:
    """Look whether the installation is over, and use what it installed; a timer calls this."""
    global _installation, _fault
    if _installation is None:
        return None
    progress = _installation.progress()
    _redraw_preferences()
    if not progress.over:
        return _TICK
    _installation, _fault = None, progress.fault
    if _fault:
        runtime_session.session().report(f"the GPU runtime was not installed: {_fault}")
    else:
        preferences.apply_preferences()
    return None


def stop() -> None:
    """End a running installation: it was cancelled, or the add-on goes."""
    global _installation
    if _installation is not None:
        _installation.cancel()
        _installation = None


def draw(layout: UILayout, home: Path | None) -> None:
    """Draw the buttons, and how an installation stands."""
    row = layout.row(align=True)
    if _installation is not None:
        row.label(text=_installation.progress().line[:80] or "Starting…", icon="SORTTIME")
        row.operator("lpmm.cancel_gpu_runtime", icon="X")
        return
    if home is not None and gpu_runtime.installed_in(home) is not None:
        row.label(text="The GPU runtime is installed", icon="CHECKMARK")
        row.operator("lpmm.remove_gpu_runtime", text="Remove", icon="TRASH")
    else:
        row.operator("lpmm.install_gpu_runtime", text="Install GPU Runtime…", icon="IMPORT")
    if _fault:
        column = layout.column()
        column.alert = True
        column.label(text=f"Not installed: {_fault}", icon="ERROR")


def _redraw_preferences() -> None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "PREFERENCES":
                area.tag_redraw()


_register_classes, _unregister_classes = bpy.utils.register_classes_factory(
    (LPMM_OT_install_gpu_runtime, LPMM_OT_cancel_gpu_runtime, LPMM_OT_remove_gpu_runtime)
)


def register() -> None:
    """Add the buttons."""
    _register_classes()


def unregister() -> None:
    """Remove them, and end what runs."""
    if bpy.app.timers.is_registered(watch):
        bpy.app.timers.unregister(watch)
    stop()
    _unregister_classes()
