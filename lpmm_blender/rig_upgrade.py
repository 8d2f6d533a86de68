# SPDX-License-Identifier: GPL-3.0-or-later
"""Rigs of older files: brought to what this add-on writes, once, when they are opened or appended."""

from bpy.types import Object

from .rig import IMAGE, RECORD, all_rigs, data_path, record_of, write_record
from .rig_record import FORMAT_VERSION, RigRecordError, version_of


def upgrade_rigs() -> list[Object]:
    """Rewrite every rig of this file that an older add-on made, and return them.

    Rigs that cannot be read are left alone: their panel and their picture say what is wrong with them. So are
    linked ones, which are read as well as their own file's are.
    """
    return [rig for rig in all_rigs() if _upgrade(rig)]


def _upgrade(rig: Object) -> bool:
    if rig.library is not None or rig.override_library is not None:
        return False
    try:
        if version_of(rig[RECORD]) == FORMAT_VERSION:
            return False
        write_record(rig, record_of(rig))
    except RigRecordError:
        return False
    if IMAGE in rig:
        rig.property_overridable_library_set(data_path(IMAGE), True)
    return True
