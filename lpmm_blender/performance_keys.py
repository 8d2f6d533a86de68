# SPDX-License-Identifier: GPL-3.0-or-later
"""A take as keys on a rig: what the semantic sliders can say goes to them, the rest to the coefficients."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from bpy.types import Object, Scene
from numpy.typing import NDArray

from lpmm_runtime.bundle import Bundle
from lpmm_runtime.channels import param_name
from lpmm_runtime.controls import HEAD_CONTROLS
from lpmm_runtime.frame import RigModel
from lpmm_runtime.take import Take, check_take

from .action_curves import NewAction
from .rig import KEY_GROUP, PARAM_HARD, data_path, record_of

Array = NDArray[np.float32]
Onto = Literal["CONTROLS", "COEFFICIENTS"]

# Steps of the projected gradient; the controls' directions are few and far from parallel.
_STEPS = 200
# Of a landmark's distance: a slider must earn its movement.
_RIDGE = 1e-3


@dataclass(frozen=True)
class PerformanceOptions:
    """How a take becomes keys.

    Attributes:
        start: the scene frame of the take's first one.
        onto: "CONTROLS" keys head, eyes, brows and mouth, and on the coefficients what they cannot say;
            "COEFFICIENTS" keys these alone.
        relative: what the performance changes from its frame nearest to the face's own rest on; else its very pose,
            with the performer's face shape.
        influence: 0 to 1; scales it all.
    """

    start: int = 1
    onto: Onto = "CONTROLS"
    relative: bool = True
    influence: float = 1.0


def import_performance(
    scene: Scene, rig: Object, take: Take, bundle: Bundle, where: str, options: PerformanceOptions | None = None
) -> tuple[int, int]:
    """Give the rig a new action with the take's keys; an action that it has stays in the file.

    Args:
        scene: whose frame rate the keys follow: the performance keeps its speed.
        bundle: the models that read the take and that the rig is shown with.
        where: the take's name, for the action and for errors.

    Returns:
        The first and the last scene frame with keys.

    Raises:
        TakeError: if the take was captured with other models.
        RigRecordError: if the rig's record cannot be read.
    """
    options = options or PerformanceOptions()
    check_take(take, bundle, where, latents=False)
    record = record_of(rig)
    base = np.array(record.base_params, np.float32) if record.base == "PHOTO" else np.zeros(bundle.k, np.float32)
    params = at_scene_rate(take.params, take.fps, scene_rate(scene))
    offsets = params - base
    if options.relative:
        offsets = params - take.params[take.nearest_frame(base, bundle.rig.model.sigma)]
    offsets = options.influence * offsets
    channels = split_onto_controls(bundle.rig, base, offsets) if options.onto == "CONTROLS" else {}
    rest = offsets - _said(bundle.rig, base, channels, len(offsets))
    frames = [float(options.start + row) for row in range(len(offsets))]
    action = NewAction(f"{rig.name} {where}", rig)
    for name, values in channels.items():
        if name in rig:
            action.add_keys(data_path(name), 0, frames, values, KEY_GROUP)
    for index in range(bundle.k):
        if param_name(index) in rig:
            values = np.clip(rest[:, index], -PARAM_HARD, PARAM_HARD)
            action.add_keys(data_path(param_name(index)), 0, frames, values, KEY_GROUP)
    action.give_to(rig)
    return options.start, options.start + len(offsets) - 1


def scene_rate(scene: Scene) -> Fraction:
    """Return a scene's frames a second."""
    return Fraction(scene.render.fps) / Fraction(scene.render.fps_base).limit_denominator(1001)


def at_scene_rate(values: Array, fps: Fraction, rate: Fraction) -> Array:
    """Return values [n, d] of a take at another rate, interpolated, as long in seconds as before."""
    if fps == rate:
        return values.copy()
    seconds = (len(values) - 1) / fps
    ticks = np.arange(math.floor(seconds * rate) + 1) * float(fps / rate)
    rows = np.arange(len(values))
    return np.stack([np.interp(ticks, rows, column) for column in values.T], axis=1).astype(np.float32)


def split_onto_controls(rig: RigModel, base: Array, offsets: Array) -> dict[str, Array]:
    """Return what the controls can say of params offsets [n, k] from `base` [k], by name, [n] each.

    Head angles are those that the params show; the other controls are fitted within their range, by least squares
    on the landmarks.
    """
    start = rig.controls.head_angles(base)
    angles = rig.controls.commanded(start, rig.controls.head_angles(base + offsets) - start)
    limits = {control.name: (control.minimum, control.maximum) for control in rig.control_list}
    channels: dict[str, Array] = {}
    for column, name in enumerate(HEAD_CONTROLS):
        channels[name] = np.clip(angles[:, column], *limits[name]).astype(np.float32)
    left = (offsets - _said(rig, base, channels, len(offsets))) * rig.model.sigma
    # By what they add to the params, not by what is seen of it: the sum must be the params that were read.
    directions = rig.controls.directions * rig.model.sigma
    low = np.array([limits[name][0] for name in rig.controls.names], np.float32)
    high = np.array([limits[name][1] for name in rig.controls.names], np.float32)
    gram = directions @ directions.T
    gram += _RIDGE * np.trace(gram) / max(len(gram), 1) * np.eye(len(gram), dtype=np.float32)
    values = np.zeros((len(offsets), len(directions)), np.float32)
    step = 1.0 / max(float(np.linalg.eigvalsh(gram)[-1]), 1e-12) if len(gram) else 0.0
    for _ in range(_STEPS):
        values = np.clip(values - step * (values @ gram - left @ directions.T), low, high)
    return channels | {name: values[:, row] for row, name in enumerate(rig.controls.names)}


def _said(rig: RigModel, base: Array, channels: dict[str, Array], count: int) -> Array:
    """Return S(controls) [n, k] of the channels' values."""
    said = np.zeros((count, len(base)), np.float32)
    if channels:
        for row in range(count):
            said[row] = rig.controls.offset({name: float(values[row]) for name, values in channels.items()}, base)
    return said
