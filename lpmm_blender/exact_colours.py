# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a scene's settings changes the photo's colours on the way to the rendered file."""

from bpy.types import Scene

from .plane import show_exact_colours


def colour_faults(scene: Scene) -> tuple[str, ...]:
    """Return, for people, the settings that change colours; empty when a rendered face is the runtime's frame."""
    view = scene.view_settings
    faults = []
    if view.view_transform != "Standard":
        faults.append(f"The view transform is {view.view_transform}")
    if view.look != "None":
        faults.append(f"The look is {view.look}")
    if view.exposure != 0.0 or view.gamma != 1.0:
        faults.append("Exposure or gamma is set")
    if view.use_curve_mapping:
        faults.append("View curves are on")
    if getattr(view, "use_white_balance", False):
        faults.append("White balance is on")
    return tuple(faults)


def make_colours_exact(scene: Scene) -> None:
    """Let rendered faces have the photo's own colours."""
    show_exact_colours(scene)
    scene.view_settings.use_curve_mapping = False
    if hasattr(scene.view_settings, "use_white_balance"):
        scene.view_settings.use_white_balance = False
