# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulling at the face itself: which sliders put a landmark where it is wanted.

LPMM is a landmark model, so a picture of its landmarks can be the controller. The sliders are found by damped
least squares: the pulled landmarks go to their targets, landmarks outside the handle's region stay, and of all ways
to do it the one with the smallest change is taken: by controls as far as they go, by params beyond that.

The model's landmarks live in crops that are aligned anew for every frame: an opening mouth makes the face taller, so
the aligned face shrinks. A picture does not. `placed_landmarks` therefore lays the eyes' corners and the bridge of
the nose, which no expression moves, over those of the face that has only turned its head; and those where they come
to lie when a head turns about the top of its neck.

Irises are pulled in their own way: either one turns both eyes, by gaze controls alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.channels import param_name
from lpmm_runtime.conjugate_gaze import ConjugateGaze
from lpmm_runtime.controls import HEAD_CONTROLS
from lpmm_runtime.face_handles import Pull, handle_place
from lpmm_runtime.frame import RawParams, RigModel, effective_values
from lpmm_runtime.landmarks68 import IRISES
from lpmm_runtime.presets import Preset

Array = NDArray[np.float64]

_FIXED = np.array((27, 28, 29, 36, 39, 42, 45))
"""Landmarks that no expression moves: the bridge of the nose and the corners of the eyes."""

_PIVOT = np.array((0.0, -0.75, 1.2))
"""From the pivot of the head to the middle of those landmarks: right, down and forward, in distances of the outer
eye corners. Measured on what the default generator draws for turns of up to 30°."""

_PRECISION = 0.0005
"""What the pulled landmark may be off for a change that costs 1, in crop sides."""

_STILLNESS = 0.002
"""The same for every landmark outside the region: it is held, but four times as loosely."""

_CONTROL_COST = 3.0
"""What a control's natural unit costs: enough that two which undo each other are not moved for a tenth of a pixel."""

_PARAM_COST = 1.5
"""What a param of one standard deviation costs."""

_HEAD_UNIT = 30.0
"""Degrees that count as one natural unit of a head control."""

_STEPS = 6


@dataclass(frozen=True)
class Pose:
    """A face as its sliders make it.

    Attributes:
        base: [k], the params at rest.
        controls, raw, presets: as `evaluate_params` takes them.
    """

    base: NDArray[np.floating]
    controls: Mapping[str, float]
    raw: RawParams
    presets: tuple[tuple[Preset, float], ...] = ()


def placed_landmarks(rig: RigModel, pose: Pose) -> Array:
    """Return where the landmarks [n, 2] of a pose lie in the picture, in the unit square of the aligned crop.

    Raises:
        UnknownChannelError: for a param that the rig has not.
    """
    zero = np.zeros((1, 0))
    return _Problem(rig, pose, (), ()).landmarks(zero)[0]


def solve_pulls(rig: RigModel, pose: Pose, pulls: Sequence[Pull], *, params: bool = True) -> dict[str, float]:
    """Return the new values of the sliders that put every pulled handle where it is wanted, as nearly as they can.

    Args:
        rig: the bundle's arithmetic.
        pose: the face when the drag began; where nothing is pulled, nothing changes.
        pulls: handles of the bundle and their targets.
        params: let LPMM coefficients do what the controls within their natural range cannot.

    Returns:
        Slider values by name (controls, and params `p01`…), only those that change.

    Raises:
        UnknownChannelError: for a param that the rig has not.
    """
    ranges = {control.name: (control.minimum, control.maximum) for control in rig.control_list}
    irises = [pull for pull in pulls if pull.handle.together]
    pulls = [pull for pull in pulls if not pull.handle.together]
    names = list(dict.fromkeys(name for pull in pulls for name in pull.handle.controls if name in ranges))
    free = params and any(pull.handle.uses_params for pull in pulls)
    problem = _Problem(rig, pose, names, pulls, range(rig.k) if free else ())
    step = problem.solve(ranges)
    found = {name: value for name, value in problem.values(step).items() if value is not None}
    return found | _solve_gaze(rig, pose, irises, ranges) if irises else found


def _solve_gaze(
    rig: RigModel, pose: Pose, pulls: Sequence[Pull], ranges: Mapping[str, tuple[float, float]]
) -> dict[str, float]:
    """Return the gaze controls that change when both eyes turn until the pulled irises are where they are wanted."""
    gaze = ConjugateGaze(pose.controls, ranges)
    low, high = gaze.limits(pull.handle.landmarks[0] - IRISES.start for pull in pulls)
    targets = np.array([pull.target for pull in pulls])

    def places(controls: Mapping[str, float]) -> Array:
        landmarks = placed_landmarks(rig, replace(pose, controls={**pose.controls, **controls}))
        return np.stack([handle_place(landmarks, pull.handle) for pull in pulls])

    def descend(amounts: Array) -> Array:
        for _ in range(_STEPS):
            here = places(gaze.turned(amounts))
            nudges = np.where(amounts + 1e-3 > high, -1e-3, 1e-3)  # Beyond its range an eye does not move.
            there = np.stack([places(gaze.turned(amounts + nudge)) for nudge in np.diag(nudges)], axis=-1)
            jacobian = ((there - here[..., None]) / nudges).reshape(-1, 2) / _PRECISION
            error = (here - targets).ravel() / _PRECISION
            before, amounts = amounts, _bounded_step(jacobian, error, amounts, np.ones(2), low, high)
            if np.abs(amounts - before).max() < 1e-4:
                break
        return amounts

    if np.abs(places({}) - targets).max() < 1e-9:
        return {}  # Eyes that two opposite sliders turn would be set right though nobody pulls.
    amounts = descend(np.zeros(2))
    reached = places(gaze.turned(amounts))
    lacking = (targets - reached).mean(axis=0)
    held = (amounts <= low) & (lacking < 0) | (amounts >= high) & (lacking > 0)
    if held.any():
        # However far to the side they are wanted, the eyes shall not rise or sink to come a hair nearer.
        targets[:, held] = reached[:, held]
        amounts = np.where(held, amounts, descend(amounts))
    values = gaze.turned(amounts).items()
    return {name: value for name, value in values if abs(value - pose.controls.get(name, 0.0)) > 1e-5}


class _Problem:
    """The least squares of one drag: unknowns are changes of controls, in natural units, and of params."""

    def __init__(
        self, rig: RigModel, pose: Pose, names: Sequence[str], pulls: Sequence[Pull], params: Iterable[int] = ()
    ) -> None:
        self._rig, self._pose, self._names, self._pulls = rig, pose, list(names), pulls
        self._params = list(params)
        values, total = effective_values(pose.controls, pose.raw, pose.presets, rig.k)
        self._units = np.array([_HEAD_UNIT if name in HEAD_CONTROLS else 1.0 for name in self._names])
        rows = {name: row for row, name in enumerate(rig.controls.names)}
        base = np.asarray(pose.base, np.float64)
        self._angles = np.array([values.get(name, 0.0) for name in HEAD_CONTROLS])
        self._start = rig.controls.head_angles(np.asarray(base, np.float32)).astype(np.float64)
        self._base = base
        self._still = base + total
        linear = np.array([values.get(name, 0.0) for name in rows])
        self._moved = linear @ rig.controls.moves.astype(np.float64)
        # How an unknown moves the landmarks; a head control's own effect is not linear and is added apart.
        self._ways = np.zeros((len(self._names) + len(self._params), len(rig.model.mean)))
        for place, name in enumerate(self._names):
            if name in rows:
                self._ways[place] = rig.controls.moves[rows[name]]
        for place, index in enumerate(self._params, len(self._names)):
            self._ways[place] = rig.model.sigma[index] * rig.model.eigenvectors[index]

    def landmarks(self, steps: Array) -> Array:
        """Return the placed landmarks [n, points, 2], irises among them, for changes [n, u]."""
        head = np.stack([self._head_offset(step) for step in steps]) if self._turning else self._head_offset(None)
        turned = self._turned(self._shape(self._base + head), steps)
        moved = (self._moved + steps @ self._ways).reshape(len(steps), -1, 2)
        shape = self._shape(self._still + head) + moved
        return _laid_over(shape, np.broadcast_to(turned, shape.shape))

    def solve(self, ranges: Mapping[str, tuple[float, float]]) -> Array:
        """Return the change [u] that fits best, with every control in its natural range.

        First the controls alone; the params then do what is left.
        """
        low, high = self._limits(ranges)
        if not len(low):
            return np.zeros(0)
        named = np.arange(len(low)) < len(self._names)
        step = self._descend(np.zeros(len(low)), np.where(named, low, 0.0), np.where(named, high, 0.0))
        if self._params:
            step = self._descend(step, np.where(named, step, low), np.where(named, step, high))
        return step

    def _descend(self, step: Array, low: Array, high: Array) -> Array:
        count = len(step)
        start = self.landmarks(np.zeros((1, count)))[0]
        for _ in range(_STEPS):
            moved = self.landmarks(np.concatenate([step[None], step + 1e-3 * np.eye(count)]))
            residuals = self._residuals(moved, start)
            jacobian = (residuals[1:] - residuals[0]).T / 1e-3
            before, step = step, _bounded_step(jacobian, residuals[0], step, self._costs, low, high)
            if np.abs(step - before).max() < 1e-4:
                break
        return step

    def values(self, step: Array) -> dict[str, float | None]:
        """Return slider values after a change; None for a slider that stays."""
        found: dict[str, float | None] = {}
        for name, change in zip(self._names, step[: len(self._names)] * self._units, strict=True):
            before = float(self._pose.controls.get(name, 0.0))
            found[name] = before + float(change) if abs(change) > 1e-5 else None
        raw = {name: float(value) for name, value in self._pose.raw.items() if isinstance(name, str)}
        for index, change in zip(self._params, step[len(self._names) :], strict=True):
            name = param_name(index)
            found[name] = raw.get(name, 0.0) + float(change) if abs(change) > 1e-4 else None
        return found

    @property
    def _turning(self) -> bool:
        return any(name in HEAD_CONTROLS for name in self._names)

    @property
    def _costs(self) -> Array:
        return np.array([_CONTROL_COST] * len(self._names) + [_PARAM_COST] * len(self._params))

    def _head_angles(self, step: Array | None) -> Array:
        angles = self._angles.copy()
        for place, name in enumerate(self._names):
            if name in HEAD_CONTROLS and step is not None:
                angles[HEAD_CONTROLS.index(name)] += _HEAD_UNIT * step[place]
        return angles

    def _turned(self, shapes: Array, steps: Array) -> Array:
        """Return faces that have only turned their heads, [points, 2] or one a step, where they lie in the picture."""
        if not self._turning:
            return _turned_about_pivot(shapes, self._shape(self._base), self._start, self._shown_angles(None))
        rest = self._shape(self._base)
        each = zip(shapes, steps, strict=True)
        return np.stack([_turned_about_pivot(one, rest, self._start, self._shown_angles(step)) for one, step in each])

    def _shown_angles(self, step: Array | None) -> Array:
        """Return the angles that the landmarks turn by: the head map is bent to make up for what the picture adds."""
        angles = self._head_angles(step)
        if not angles.any():
            return angles
        turned = self._base + self._head_offset(step)
        return np.asarray(self._rig.controls.head_angles(turned) - self._start, np.float64)

    def _head_offset(self, step: Array | None) -> Array:
        return np.asarray(self._rig.controls.turned(self._start, self._head_angles(step)), np.float64)

    def _shape(self, params: Array) -> Array:
        model = self._rig.model
        flat = model.mean + (params * model.sigma) @ model.eigenvectors
        return flat.reshape(*flat.shape[:-1], -1, 2)

    def _limits(self, ranges: Mapping[str, tuple[float, float]]) -> tuple[Array, Array]:
        low, high = [], []
        for name, unit in zip(self._names, self._units, strict=True):
            value = float(self._pose.controls.get(name, 0.0))
            # A slider that is beyond its range already may stay there.
            low.append(min(ranges[name][0] - value, 0.0) / unit)
            high.append(max(ranges[name][1] - value, 0.0) / unit)
        reach = np.full(len(self._params), 6.0)
        return np.array([*low, *-reach]), np.array([*high, *reach])

    def _residuals(self, landmarks: Array, start: Array) -> Array:
        """Return what is wrong with landmarks [n, points, 2], weighted: [n, r]."""
        count = len(landmarks)
        parts = [
            (landmarks[:, list(pull.handle.landmarks)].mean(axis=1) - pull.target) / _PRECISION for pull in self._pulls
        ]
        region = {index for pull in self._pulls for index in pull.handle.region}
        outside = [index for index in range(landmarks.shape[1]) if index not in region]
        if outside:
            still = (landmarks[:, outside] - start[outside]).reshape(count, -1)
            parts.append(still / (_STILLNESS * np.sqrt(len(outside))))
        return np.concatenate(parts, axis=1)


def _bounded_step(jacobian: Array, residual: Array, step: Array, costs: Array, low: Array, high: Array) -> Array:
    """Return the step between the bounds that minimises |residual after it|² + |costs · step|².

    Unknowns that would leave their bounds are held there, and the others are solved again; then those that would
    rather come back are let go, one after the other (Stark, Parker, "Bounded-Variable Least-Squares", 1995).
    """
    square = jacobian.T @ jacobian + np.diag(costs**2)
    linear = jacobian.T @ (residual - jacobian @ step)
    held = np.zeros(len(step), bool)
    found = step.copy()

    def solved() -> Array:
        free = ~held
        best = found.copy()
        known = linear[free] + square[np.ix_(free, held)] @ found[held]
        best[free] = np.linalg.solve(square[np.ix_(free, free)], -known)
        return best

    for _ in range(len(step) + 1):
        found = solved()
        beyond = ~held & ((found < low) | (found > high))
        if not beyond.any():
            break
        found = np.clip(found, low, high)
        held |= beyond
    for _ in range(2 * len(step)):
        slope = square @ found + linear
        gain = np.where(found <= low, -slope, slope) * (held & (low < high))
        if not len(gain) or gain.max() < 1e-9 * np.abs(linear).max():
            break
        held[gain.argmax()] = False
        while True:
            way = solved() - found
            beyond = ~held & ((found + way < low) | (found + way > high))
            if not beyond.any():
                found = found + way
                break
            # As far as the first of them may go.
            room = np.where(way < 0.0, low - found, high - found)[beyond] / way[beyond]
            first = np.flatnonzero(beyond)[room.argmin()]
            found = found + max(float(room.min()), 0.0) * way
            found[first] = low[first] if way[first] < 0.0 else high[first]
            held[first] = True
    return found


def _laid_over(shapes: Array, onto: Array) -> Array:
    """Return shapes [n, points, 2] shifted and scaled so that their fixed landmarks lie over those of `onto`."""
    own, other = shapes[:, _FIXED], onto[:, _FIXED]
    own_middle, other_middle = own.mean(axis=1, keepdims=True), other.mean(axis=1, keepdims=True)
    spread = own - own_middle
    scale = (spread * (other - other_middle)).sum(axis=(1, 2)) / (spread**2).sum(axis=(1, 2))
    return scale[:, None, None] * (shapes - own_middle) + other_middle


def _turned_about_pivot(shape: Array, rest: Array, start: Array, angles: Array) -> Array:
    """Return the landmarks [n, 2] of a head turned by `angles` [3] from `start` [3], degrees, beside those at rest."""
    if not angles.any():
        return shape
    turn = _rotation(start + angles) @ _rotation(start).T
    outer = float(np.linalg.norm(rest[36] - rest[45]))
    # The aligned face is as large as its crop wants it. Its eyes hardly draw together as it turns away, so letting
    # them would shrink the whole face: the chin was off by 0.05 at 30°, twice what the eyes are now.
    scale = outer / float(np.linalg.norm(shape[36] - shape[45]))
    lever = _rotation(start) @ _PIVOT * outer
    middle = rest[_FIXED].mean(axis=0) + (turn @ lever - lever)[:2]
    return scale * (shape - shape[_FIXED].mean(axis=0)) + middle


def _rotation(angles: Array) -> Array:
    """Return the rotation [3, 3] of (yaw, pitch, roll) in degrees, for x right, y down and z towards the viewer."""
    (a, b, c), (u, v, w) = np.cos(np.radians(angles)), np.sin(np.radians(angles))
    yaw = np.array(((a, 0.0, u), (0.0, 1.0, 0.0), (-u, 0.0, a)))
    pitch = np.array(((1.0, 0.0, 0.0), (0.0, b, -v), (0.0, v, b)))
    roll = np.array(((c, -w, 0.0), (w, c, 0.0), (0.0, 0.0, 1.0)))
    return roll @ yaw @ pitch
