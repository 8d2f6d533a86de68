# SPDX-License-Identifier: GPL-3.0-or-later
"""The bake's options as Blender properties: the scene remembers them, and the operator takes them."""

from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, IntProperty, PointerProperty, StringProperty
from bpy.types import PropertyGroup, Scene

from .bake import DEFAULT_FOLDER, BakeOptions

# Without it Blender 4.5 and later make a relative folder absolute when it is typed.
_RELATIVE = {"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5, 0) else set()


class BakeProperties:
    """The properties that the scene's settings and the operator share."""

    which: EnumProperty(  # type: ignore[valid-type]
        name="Faces",
        items=[
            ("ACTIVE", "Active", "The active face"),
            ("SELECTED", "Selected", "Every selected face"),
            ("ALL", "All", "Every face of the scene"),
        ],
        options={"SKIP_SAVE"},
    )
    folder: StringProperty(  # type: ignore[valid-type]
        name="Folder",
        description="Where the frames go; {blend} and {rig} stand for the names of the file and the face",
        default=DEFAULT_FOLDER,
        subtype="DIR_PATH",
        options={"SKIP_SAVE", *_RELATIVE},
    )
    use_range: BoolProperty(  # type: ignore[valid-type]
        name="Custom Range",
        description="Bake other frames than the scene's range",
        options={"SKIP_SAVE"},
    )
    start: IntProperty(name="Start", default=1, min=0, options={"SKIP_SAVE"})  # type: ignore[valid-type]
    end: IntProperty(name="End", default=250, min=0, options={"SKIP_SAVE"})  # type: ignore[valid-type]
    step: IntProperty(  # type: ignore[valid-type]
        name="Step",
        description="2 renders every other frame; the frames between hold the picture before them",
        default=1,
        min=1,
        options={"SKIP_SAVE"},
    )
    bits: EnumProperty(  # type: ignore[valid-type]
        name="Color Depth",
        items=[
            ("8", "8", "All that the runtime's frames have"),
            ("16", "16", "The same values in 16-bit files, for pipelines that want them"),
        ],
        options={"SKIP_SAVE"},
    )
    alpha: BoolProperty(  # type: ignore[valid-type]
        name="Alpha",
        description="Write the head's transparency; a plane that is cut out needs it",
        default=True,
        options={"SKIP_SAVE"},
    )


NAMES = tuple(BakeProperties.__annotations__)


def options_of(values: Any, overwrite: bool = False) -> BakeOptions:
    """Return the options that an object with the properties asks for."""
    return BakeOptions(
        folder=values.folder,
        start=values.start if values.use_range else None,
        end=values.end if values.use_range else None,
        step=values.step,
        bits=16 if values.bits == "16" else 8,
        alpha=values.alpha,
        overwrite=overwrite,
    )


class LPMM_BakeSettings(BakeProperties, PropertyGroup):
    """How the scene's faces are baked."""


def register() -> None:
    """Give every scene its settings."""
    bpy.utils.register_class(LPMM_BakeSettings)
    Scene.lpmm_bake_settings = PointerProperty(type=LPMM_BakeSettings)


def unregister() -> None:
    """Take them away; their values stay in the file."""
    del Scene.lpmm_bake_settings
    bpy.utils.unregister_class(LPMM_BakeSettings)
