# SPDX-License-Identifier: GPL-3.0-or-later
"""LPMM for Blender: a face rig whose face is a neural talking head.

As an extension Blender calls `register`; in a script or a test `import lpmm_blender; lpmm_blender.register()`
does the same in the `bpy` module.
"""

import atexit

from . import (
    bake_operators,
    bake_panel,
    bake_settings,
    data_panels,
    delete_face,
    face_drop,
    face_gizmos,
    gpu_runtime_operators,
    handlers,
    keying_set,
    operators,
    output_operators,
    pair_sliders,
    panels,
    performance_operators,
    pose_operators,
    preferences,
    preset_assets,
    preset_file_operators,
    preset_list,
    preset_operators,
    preset_thumbnails,
    runtime_operators,
    runtime_session,
)

# In the order in which they register; children of panels come after their parents.
_PARTS = (
    preferences,
    gpu_runtime_operators,
    operators,
    pair_sliders,
    pose_operators,
    delete_face,
    runtime_operators,
    keying_set,
    face_drop,
    face_gizmos,
    preset_operators,
    preset_file_operators,
    preset_assets,
    preset_list,
    bake_settings,
    bake_operators,
    output_operators,
    panels,
    performance_operators,
    bake_panel,
    data_panels,
    handlers,
)
_registered = False


def register() -> None:
    """Add the operators, panels, preferences and handlers."""
    global _registered
    if _registered:
        return
    for part in _PARTS:
        part.register()
    preferences.apply_preferences()
    # Blender itself unregisters at exit, the bpy module does not, and both need the handlers gone by then.
    atexit.register(unregister)
    _registered = True


def unregister() -> None:
    """Remove what `register` added, and end the runtime."""
    global _registered
    if not _registered:
        return
    _registered = False
    atexit.unregister(unregister)
    handlers.unregister()
    preset_thumbnails.stop()
    runtime_session.session().stop()
    for part in reversed(_PARTS[: _PARTS.index(handlers)]):
        part.unregister()
