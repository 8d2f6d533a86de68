# SPDX-License-Identifier: GPL-3.0-or-later
"""Faces that are gone: what the runtime and the live frames hold for them is let go.

An undo that brings a face back needs nothing of this: its next frame makes the character anew.
"""

from pathlib import Path

import bpy

from lpmm_runtime.errors import LpmmError
from lpmm_runtime.protocol import Box

from . import frames, runtime_session
from .rig import all_rigs, photo_path, record_of

_RETRY_SECONDS = 0.5


def release_deleted() -> None:
    """Drop the characters that no rig of the file uses any more, now or as soon as the runtime is not busy."""
    if not _release() and not bpy.app.timers.is_registered(_release_later):
        bpy.app.timers.register(_release_later, first_interval=_RETRY_SECONDS, persistent=True)


def stop() -> None:
    """Do not try again."""
    if bpy.app.timers.is_registered(_release_later):
        bpy.app.timers.unregister(_release_later)


def _release_later() -> float | None:
    return None if _release() else _RETRY_SECONDS


def _release() -> bool:
    wanted: set[tuple[Path, Box | None]] = set()
    living = [rig for rig in all_rigs() if rig.users]
    for rig in living:
        try:
            wanted.add((photo_path(rig), record_of(rig).box))
        except LpmmError:
            continue  # A damaged rig shows a slate and uses no character.
    frames.keep_only({rig.session_uid for rig in living})
    return runtime_session.session().release_characters(wanted)
