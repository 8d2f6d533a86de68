# SPDX-License-Identifier: GPL-3.0-or-later
"""Symmetry: one slider that moves the left and the right control of a pair together.

It is an RNA property with a getter and a setter, which stores nothing. So both sides change within the user's own
edit: one undo takes both back, and no handler has to guess afterwards who moved what, against animation. It cannot
be keyed itself; the keys lie on the two sides, and with Auto Keying on it sets them as the sides' own sliders do.
"""

from collections.abc import Callable

import bpy
from bpy.props import BoolProperty, FloatProperty
from bpy.types import Object

from .rig import KEY_GROUP, data_path, is_rig

# ARKit's controls with sides, without jawLeft/Right and mouthLeft/Right, which move one thing to either side.
_SIDED = (
    *("browDown", "browOuterUp", "cheekSquint", "noseSneer"),
    *("eyeBlink", "eyeSquint", "eyeWide", "eyeLookUp", "eyeLookDown"),
    *("mouthDimple", "mouthFrown", "mouthLowerDown", "mouthPress", "mouthSmile", "mouthStretch", "mouthUpperUp"),
)
PAIRS: dict[str, tuple[str, str]] = {
    **{pair: (f"{pair}Left", f"{pair}Right") for pair in _SIDED},
    # Eyes that move together look to one side; mirrored, they would cross.
    "eyesLookLeft": ("eyeLookOutLeft", "eyeLookInRight"),
    "eyesLookRight": ("eyeLookInLeft", "eyeLookOutRight"),
}
"""The controls that one slider moves, the left eye's or the left side's first, by the name of the two."""

SYMMETRY = "lpmm_symmetry"


def pair_property(pair: str) -> str:
    """Return the name of the RNA property on objects that moves both sides of a pair."""
    return f"lpmm_both_{pair}"


def is_even(rig: Object, pair: str) -> bool:
    """Whether both sides have the same value."""
    left, right = PAIRS[pair]
    return abs(float(rig[left]) - float(rig[right])) < 1e-6


def _getter(pair: str) -> Callable[[Object], float]:
    def get_both(self: Object) -> float:
        left, right = PAIRS[pair]
        return 0.5 * (float(self.get(left, 0.0)) + float(self.get(right, 0.0)))

    return get_both


def _setter(pair: str) -> Callable[[Object, float], None]:
    def set_both(self: Object, value: float) -> None:
        names = [name for name in PAIRS[pair] if name in self]
        if not is_rig(self):
            return
        for name in names:
            self[name] = value
        self.update_tag()
        scene = bpy.context.scene
        if scene is not None and scene.tool_settings.use_keyframe_insert_auto:
            for name in names:
                self.keyframe_insert(data_path(name), frame=scene.frame_current, group=KEY_GROUP)

    return set_both


def register() -> None:
    """Add the properties to objects."""
    Object.lpmm_symmetry = BoolProperty(
        name="Symmetry",
        description="Move the left and the right side of the face together",
        options={"LIBRARY_EDITABLE"},
        override={"LIBRARY_OVERRIDABLE"},
    )
    for pair in PAIRS:
        both = FloatProperty(
            name=f"{pair}, Both Sides",
            description="Move both sides together; the keys lie on the left and the right control",
            get=_getter(pair),
            set=_setter(pair),
            min=-2.0,
            max=3.0,
            soft_min=0.0,
            soft_max=1.0,
            precision=2,
            step=1,
            options=set(),
        )
        setattr(Object, pair_property(pair), both)


def unregister() -> None:
    """Remove them."""
    for pair in PAIRS:
        delattr(Object, pair_property(pair))
    delattr(Object, SYMMETRY)
