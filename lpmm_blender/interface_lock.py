# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface lock: on while a scene has a live face, and as the animator had it when there is none.

A render in a window crashes when a handler writes an image that the viewport shows, unless Blender locks the
interface; `render_init` is too late to ask for that.
"""

from bpy.types import Scene

from .baked_plane import shows_bake
from .rig import rigs_of

_LOCKED_BY_US = "lpmm_locked_interface"


def keep_lock(scene: Scene) -> None:
    """Lock the interface for a scene's live faces, or give the lock back when there are none."""
    render = scene.render
    # Written only when it differs, because writing it causes another update.
    if any(not shows_bake(rig) for rig in rigs_of(scene)):
        if not render.use_lock_interface:
            render.use_lock_interface = True
            scene[_LOCKED_BY_US] = True
    elif _LOCKED_BY_US in scene:
        del scene[_LOCKED_BY_US]
        render.use_lock_interface = False


def is_locked_for_faces(scene: Scene) -> bool:
    """Whether it was `keep_lock` that locked the interface."""
    return _LOCKED_BY_US in scene
