# SPDX-License-Identifier: GPL-3.0-or-later
"""LPMM for Blender: a face rig whose face is a neural talking head.

As an extension Blender calls `register`; in a script or a test `import lpmm_blender; lpmm_blender.register()`
does the same in the `bpy` module.
"""

import atexit

from . import (
    data_panels,
    face_drop,
    face_gizmos,
    handlers,
    keying_set,
    operators,
    pair_sliders,
    panels,
    pose_operators,
    preferences,
    runtime_operators,
    runtime_session,
)

_RIG_PARTS = (pair_sliders, pose_operators, runtime_operators, keying_set, face_drop, face_gizmos)

_registered = False


def register() -> None:
    """Add the operators, panels, preferences and handlers."""
    global _registered
    if _registered:
        return
    preferences.register()
    operators.register()
    for part in _RIG_PARTS:
        part.register()
    panels.register()
    data_panels.register()
    handlers.register()
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
    runtime_session.session().stop()
    data_panels.unregister()
    panels.unregister()
    for part in reversed(_RIG_PARTS):
        part.unregister()
    operators.unregister()
    preferences.unregister()
