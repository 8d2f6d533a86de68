# SPDX-License-Identifier: GPL-3.0-or-later
"""Bake NLA to Keys: what strips, layers and modifiers make of a face, as one action with a key on every frame.

The evaluated values are read beside the scene, which stays at its frame. Nothing is lost: tracks are muted, the
former action is kept.
"""

from collections.abc import Sequence
from typing import Any

from bpy.types import Action, FCurve, Object, Scene

from lpmm_runtime.errors import LpmmError

from .action_curves import NewAction, active_fcurves, nla_fcurves
from .rig_sampling import depsgraph_at, sampling


class NlaBakeError(LpmmError):
    """A rig's NLA cannot be baked."""

    code = "bad_nla"


def bake_nla_to_keys(
    scene: Scene, rig: Object, start: int, end: int, step: int = 1, *, drivers: bool = False, name: str = ""
) -> Action:
    """Give a rig one action with what its action, its NLA and, if asked, its drivers make of it.

    Every animated property of the rig is keyed, its transforms too.

    Args:
        start, end, step: which frames get keys.
        drivers: key driven properties, too, and mute their drivers; else the drivers go on driving.
        name: the action's name; empty is the rig's.

    Returns:
        The action, which is the rig's active one.

    Raises:
        NlaBakeError: if there is nothing to bake, or the range is empty.
    """
    animation = rig.animation_data
    driven = {_key(curve): curve for curve in animation.drivers} if animation is not None else {}
    curves = [*active_fcurves(rig), *nla_fcurves(rig)]
    groups: dict[tuple[str, int], str] = {_key(c): c.group.name if c.group is not None else "" for c in curves}
    if drivers:
        groups |= {key: groups.get(key, "") for key in driven}
    else:
        groups = {key: group for key, group in groups.items() if key not in driven}
    frames = range(start, end + 1, step) if step > 0 else ()
    if not groups:
        raise NlaBakeError(f"{rig.name}: has no animation to bake")
    if not frames:
        raise NlaBakeError(f"{rig.name}: there are no frames from {start} to {end} in steps of {step}")
    if animation.use_tweak_mode:
        raise NlaBakeError(f"{rig.name}: an NLA strip is being tweaked; leave its tweak mode first")
    values = _sample(scene, rig, list(groups), frames)

    new = NewAction(name or f"{rig.name} baked", rig)
    for (path, index), numbers in values.items():
        new.add_keys(path, index, [float(frame) for frame in frames], numbers, groups[path, index])
    new.give_to(rig)
    animation.action_blend_type, animation.action_influence = "REPLACE", 1.0
    for track in animation.nla_tracks:
        track.mute, track.is_solo = True, False
    if drivers:
        for curve in driven.values():
            curve.mute = True
    return new.action


def _key(curve: FCurve) -> tuple[str, int]:
    return curve.data_path, curve.array_index


def _sample(
    scene: Scene, rig: Object, keys: Sequence[tuple[str, int]], frames: Sequence[int]
) -> dict[tuple[str, int], list[float]]:
    """Return the evaluated values by property; what is no number, or no longer there, is left out."""
    values: dict[tuple[str, int], list[float]] = {key: [] for key in keys if _number(rig, *key) is not None}
    with sampling(scene, [rig]) as sampler:
        for frame in frames:
            evaluated = rig.evaluated_get(depsgraph_at(sampler, frame))
            for key, numbers in values.items():
                number = _number(evaluated, *key)
                assert number is not None
                numbers.append(number)
    return values


def _number(thing: Object, path: str, index: int) -> float | None:
    try:
        value: Any = thing.path_resolve(path)
    except ValueError:
        return None
    try:
        return float(value[index] if hasattr(value, "__getitem__") else value)
    except (TypeError, ValueError, IndexError):
        return None
