# SPDX-License-Identifier: GPL-3.0-or-later
"""Degrees that are degrees: what a bundle's frames show of a commanded head angle, against true renders of it.

The generator carries a turn a little further than the landmarks it is given, and a nod less far. The LP-regressor
reads both the frames and renders of the same heads truly turned, so its own errors cancel; the head map is then
bent until both read the same. From portraits that are turned already less is shown of a turn, or more: what is asked
of the map from there is fitted next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.controls import HEAD_CONTROLS, UNIT, ControlMap
from lpmm_runtime.engine import Engine
from lpmm_runtime.face_finding import Box, refine
from training.sitters import REST, Sitter, sitters
from training.synth.facekit import FaceKit
from training.synth.motion import Motion

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

_COMMANDS = {"headYaw": (-25.0, -15.0, 15.0, 25.0), "headPitch": (-15.0, -8.0, 8.0, 15.0), "headRoll": (-20.0, 20.0)}
# Portraits that start turned, and what is asked of them; by rolled ones all is as from level ones.
_STARTS = {"headYaw": (12.0, 24.0), "headPitch": (-12.0, 12.0)}
_FROM_THERE = {"headYaw": (-25.0, 25.0), "headPitch": (-15.0, 15.0)}
# Yaw and roll to one side are the other's mirror image.
_MIRRORED = ("headYaw", "headRoll")
# Frames of nods that read right to the LP-regressor read shorter than true ones to mediapipe's mesh where they look
# down, by a seventh, and on photographs where they look up, by an eighth: so much further than the former asks go nods
# below 0 and above.
FURTHER = {"headPitch": (1.2, 1.12)}
# A ratio beyond these is a broken model's, not one to be made up for.
_LEAST, _MOST = 0.6, 1.6
# Where the bent map is fitted, degrees.
_REACH = (35.0, 20.0, 25.0)


@dataclass(frozen=True)
class HeadReadings:
    """Mean angles read, in degrees, for each of `_COMMANDS`: of true renders and of a bundle's frames."""

    true: dict[str, Array]
    shown: dict[str, Array]

    def wanted(self, name: str) -> Array:
        """Return what a control's frames shall read."""
        return np.asarray(self.true[name] * _further(name, np.array(_COMMANDS[name])))

    def worst(self) -> float:
        """Return the largest difference from that, in degrees."""
        return max(float(np.abs(self.wanted(name) - self.shown[name]).max()) for name in self.true)


def measure(engine: Engine, kit: FaceKit, people: int, seed: int) -> HeadReadings:
    """Turn the heads of `people` training people about one axis at a time, truly and by the bundle, and read both."""
    true: dict[str, list[list[float]]] = {name: [] for name in _COMMANDS}
    shown: dict[str, list[list[float]]] = {name: [] for name in _COMMANDS}

    for sitter in sitters(kit, people, seed, "head angles"):
        for name, commands in _COMMANDS.items():
            rows = _readings(engine, sitter, name, 0.0, commands)
            true[name].append(rows[0])
            shown[name].append(rows[1])
    return HeadReadings(*({name: np.mean(rows, axis=0) for name, rows in part.items()} for part in (true, shown)))


def measure_from_turned(engine: Engine, kit: FaceKit, people: int, seed: int) -> dict[str, Array]:
    """Return, by control, rows (start, command, ratio [of what shall be read to what is], what is missing in degrees).

    Of `people` training people whose portraits are turned by `_STARTS`, each command of `_FROM_THERE`: [n, 4].
    """
    found: dict[str, list[tuple[Array, Array]]] = {}
    for sitter in sitters(kit, people, seed, "turned heads"):
        for name, starts in _STARTS.items():
            rows = [_readings(engine, sitter, name, start, _FROM_THERE[name]) for start in starts]
            found.setdefault(name, []).append((np.array([row[0] for row in rows]), np.array([row[1] for row in rows])))
    table: dict[str, Array] = {}
    for name, people_rows in found.items():
        true, shown = (np.mean([rows[part] for rows in people_rows], axis=0) for part in (0, 1))
        start, command = (grid.ravel() for grid in np.meshgrid(_STARTS[name], _FROM_THERE[name], indexing="ij"))
        wanted = true.ravel() * _further(name, command)
        table[name] = np.column_stack([start, command, wanted / shown.ravel(), wanted - shown.ravel()])
    return table


def _readings(
    engine: Engine, sitter: Sitter, name: str, start: float, commands: tuple[float, ...]
) -> tuple[list[float], list[float]]:
    """Return the angles read, from where a head starts, of true renders and of a bundle's frames."""
    controls, axis = engine.bundle.rig.controls, HEAD_CONTROLS.index(name)

    def angle(picture: Pixels, box: Box) -> float:
        return float(controls.head_angles(refine(engine.sessions, picture, box).params)[axis])

    portrait, box = sitter.render(_turned(REST, name, start))
    character = engine.create_character(portrait, box, "a synthetic portrait")
    own = angle(portrait, box)
    rows: tuple[list[float], list[float]] = ([], [])
    for command in commands:
        turned, turned_box = sitter.render(_turned(REST, name, start + command))
        params = character.params + controls.offset({name: command}, character.params)
        frame = engine.render(character, params.astype(np.float32), view="full")[..., :3]
        for row, picture in zip(rows, (turned, np.ascontiguousarray(frame)), strict=True):
            row.append(angle(picture, turned_box) - own)
    return rows


def _further(name: str, commands: NDArray[np.floating]) -> Array:
    below, above = FURTHER.get(name, (1.0, 1.0))
    return np.where(commands < 0.0, below, above)


def _turned(motion: Motion, control: str, degrees: float) -> Motion:
    yaw, pitch, roll = (degrees if name == control else 0.0 for name in HEAD_CONTROLS)
    return replace(motion, yaw=yaw, pitch=pitch, roll=roll)


def response(readings: HeadReadings) -> Array:
    """Return [3, 3], a row an axis: what to command, as a multiple c₀ + c₁·t + c₂·t² of an angle of t · 30°."""
    rows = []
    for name in HEAD_CONTROLS:
        t = np.array(_COMMANDS[name]) / UNIT
        ratio = np.clip(readings.wanted(name) / readings.shown[name], _LEAST, _MOST)
        if len(t) == 2:
            rows.append([ratio.mean(), 0.0, 0.0])
            continue
        # Mirrored axes bend alike on both sides; a nod up and one down need not.
        powers = (0, 2) if name in _MIRRORED else (0, 1)
        found = np.linalg.lstsq(np.stack([t**power for power in powers], axis=1), ratio, rcond=None)[0]
        row = [0.0, 0.0, 0.0]
        for power, value in zip(powers, found, strict=True):
            row[power] = float(value)
        rows.append(row)
    return np.array(rows)


def bent(controls: ControlMap, multiples: Array) -> ControlMap:
    """Return the controls with a head map P'(θ) ≈ P(g(θ)), g a `response`, in the same terms."""
    grid = [np.linspace(-reach, reach, 9) for reach in _REACH]
    angles = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, 3)
    t = angles / UNIT
    wanted_angles = angles * (multiples[:, 0] + multiples[:, 1] * t + multiples[:, 2] * t**2)

    def terms(of: Array) -> Array:
        return np.asarray(np.prod((of[:, None, :] / UNIT) ** controls.head_exponents, axis=-1))

    wanted = terms(wanted_angles) @ controls.head_coefficients.astype(np.float64)
    found = np.linalg.lstsq(terms(angles), wanted, rcond=None)[0]
    return replace(controls, head_coefficients=found.astype(np.float32))


def reaching(controls: ControlMap, table: dict[str, Array]) -> ControlMap:
    """Return the controls with multiples for portraits that are turned (`measure_from_turned`, of controls without)."""
    reach = np.zeros((3, 3))
    for name, rows in table.items():
        start, command = rows[:, 0] / UNIT, rows[:, 1] / UNIT
        ratio = np.clip(rows[:, 2], _LEAST, _MOST)
        # To one side as to the other; a nod from a raised head need not be as one from a bent one.
        terms = (np.abs(start) if name in _MIRRORED else start, start * command)
        found = np.linalg.lstsq(np.stack(terms, axis=1), ratio - 1.0, rcond=None)[0]
        reach[HEAD_CONTROLS.index(name), [0 if name in _MIRRORED else 1, 2]] = found
    return replace(controls, head_reach=reach.astype(np.float32))


def calibrate(
    controls: ControlMap, bundle_of: Callable[[ControlMap], Engine], kit: FaceKit, people: int, seed: int
) -> tuple[ControlMap, dict[str, float]]:
    """Bend a head map until a bundle's frames show what they are told, and keep it if they do so better.

    Args:
        controls: the map; what it was told of turned portraits is forgotten.
        bundle_of: writes a bundle with these controls, and opens it.

    Returns:
        The better controls, and the largest mean difference in degrees before and after; likewise of portraits that
        are turned.
    """
    plain = replace(controls, head_reach=np.zeros((3, 3), np.float32))
    before = measure(bundle_of(plain), kit, people, seed)
    candidate = bent(plain, response(before))
    engine = bundle_of(candidate)
    after = measure(engine, kit, people, seed)
    if after.worst() >= before.worst():
        candidate, engine = plain, bundle_of(plain)
    table = measure_from_turned(engine, kit, people, seed)
    further = reaching(candidate, table)
    again = measure_from_turned(bundle_of(further), kit, people, seed)
    off, off_now = (max(float(np.abs(rows[:, 3]).max()) for rows in one.values()) for one in (table, again))
    return (further if off_now < off else candidate), {
        "head_angle_off_before": before.worst(),
        "head_angle_off": min(before.worst(), after.worst()),
        "turned_head_angle_off_before": off,
        "turned_head_angle_off": min(off, off_now),
    }
