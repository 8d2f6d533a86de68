# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture dragged from the file manager into a 3D viewport: it may become a face."""

import bpy
from bpy.types import Context, FileHandler

from .operators import LPMM_OT_add_face


class LPMM_FH_photo(FileHandler):
    bl_idname = "LPMM_FH_photo"
    bl_label = "LPMM Face"
    bl_import_operator = LPMM_OT_add_face.bl_idname
    bl_file_extensions = ".png;.jpg;.jpeg;.webp;.bmp;.tif;.tiff"

    @classmethod
    def poll_drop(cls, context: Context) -> bool:
        return context.area is not None and context.area.type == "VIEW_3D" and context.mode == "OBJECT"


register, unregister = bpy.utils.register_classes_factory((LPMM_FH_photo,))
