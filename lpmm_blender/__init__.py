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
    handlers,
    operators,
    panels,
    preferences,
    runtime_session,
)

_registered = False


def register() -> None:
    """Add the operators, panels, preferences and handlers."""
    global _registered
    if _registered:
        return
    preferences.register()
    operators.register()
    panels.register()
    bake_settings.register()
    bake_operators.register()
    bake_panel.register()
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
    bake_panel.unregister()
    bake_operators.unregister()
    bake_settings.unregister()
    runtime_session.session().stop()
    panels.unregister()
    operators.unregister()
    preferences.unregister()
