# SPDX-License-Identifier: GPL-3.0-or-later
"""The same sections in the Properties editor: the Object Data tab of a rig."""

from typing import Any

import bpy
from bpy.types import Context, Panel

from .bake_panel import LPMM_PT_output
from .panels import SECTIONS, LPMM_PT_face
from .performance_operators import LPMM_PT_performance
from .rig import is_rig


def _in_data_tab(section: type[Panel]) -> type[Panel]:
    """Return a panel that shows a section of the sidebar in the Object Data tab."""

    def poll(_cls: type[Panel], context: Context) -> bool:
        # The tab of a rig's plane or camera is about the mesh and the lens.
        shown = getattr(section, "poll", None)
        return is_rig(context.object) and (shown is None or shown(context))

    members: dict[str, Any] = {
        "__doc__": section.__doc__,
        "bl_label": section.bl_label,
        "bl_space_type": "PROPERTIES",
        "bl_region_type": "WINDOW",
        "bl_context": "data",
        "bl_options": getattr(section, "bl_options", set()),
        "poll": classmethod(poll),
        "draw": section.draw,
        # What the section's own draw functions read.
        "group": getattr(section, "group", ""),
    }
    if hasattr(section, "draw_header_preset"):
        members["draw_header_preset"] = section.draw_header_preset
    if section is not LPMM_PT_face:
        members["bl_parent_id"] = _name(LPMM_PT_face)
    return type(_name(section), (Panel,), members)


def _name(section: type[Panel]) -> str:
    return section.__name__.replace("LPMM_PT_", "LPMM_PT_data_")


_EVERY_SECTION = (*SECTIONS, LPMM_PT_performance, LPMM_PT_output)
register, unregister = bpy.utils.register_classes_factory(tuple(_in_data_tab(section) for section in _EVERY_SECTION))
