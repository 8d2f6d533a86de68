# SPDX-License-Identifier: GPL-3.0-or-later
"""The runtime's log, one click away."""

import bpy
from bpy.types import Context, Operator, Text

from . import runtime_session

LOG_NAME = "LPMM runtime log"

_LOG_TAIL = 200_000
"""Bytes of the log that are shown; it is cut at a megabyte, and its end is what matters."""

_LINES_SHOWN = 25
"""The end of the log that stands in the window at first."""


class LPMM_OT_show_log(Operator):
    bl_idname = "lpmm.show_log"
    bl_label = "Show Log"
    bl_description = "Open what the runtime wrote while it worked, in a text editor window of its own"

    @classmethod
    def poll(cls, _context: Context) -> bool:
        if not runtime_session.session().settings.log.is_file():
            cls.poll_message_set("The runtime was not started yet, so there is no log")
            return False
        return True

    def execute(self, context: Context) -> set[str]:
        text = _read_log()
        if bpy.app.background or context.window is None:
            return {"FINISHED"}
        bpy.ops.wm.window_new()
        area = context.window_manager.windows[-1].screen.areas[0]
        area.type = "TEXT_EDITOR"
        space = area.spaces.active
        space.text = text
        space.top = max(0, len(text.lines) - _LINES_SHOWN)
        return {"FINISHED"}


def _read_log() -> Text:
    log = runtime_session.session().settings.log
    text = bpy.data.texts.get(LOG_NAME) or bpy.data.texts.new(LOG_NAME)
    text.use_fake_user = False  # A look at the log is no part of the file.
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _LOG_TAIL))
        lines = stream.read().decode(errors="replace")
    text.clear()
    text.write(lines)
    text.current_line_index = max(0, len(text.lines) - _LINES_SHOWN)
    return text


register, unregister = bpy.utils.register_classes_factory((LPMM_OT_show_log,))
