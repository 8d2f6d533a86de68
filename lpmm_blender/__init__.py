# SPDX-License-Identifier: GPL-3.0-or-later
"""LPMM for Blender: a face rig whose face is a neural talking head.

As an extension Blender calls `register`; in a script or a test `import lpmm_blender; lpmm_blender.register()`
does the same in the `bpy` module.
"""

import atexit

from . import (
    handlers,
    operators,
    panels,
    performance_operators,
    preferences,
    preset_assets,
    preset_list,
    preset_operators,
    preset_thumbnails,
    runtime_session,
)

_PRESET_PARTS = (preset_operators, preset_assets, preset_list)
_registered = False


def register() -> None:
    """Add the operators, panels, preferences and handlers."""
    global _registered
    if _registered:
        return
    preferences.register()
    operators.register()
    for part in _PRESET_PARTS:
        part.register()
    panels.register()
    performance_operators.register()
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
    preset_thumbnails.stop()
    runtime_session.session().stop()
    performance_operators.unregister()
    panels.unregister()
    for part in reversed(_PRESET_PARTS):
        part.unregister()
    operators.unregister()
    preferences.unregister()
