# SPDX-License-Identifier: GPL-3.0-or-later
"""Degrees that are degrees: what a bundle's frames show of a commanded head angle, against true renders of it.

The generator carries a turn a little further than the landmarks it is given, and a nod less far. The LP-regressor
reads both the frames and renders of the same heads truly turned, so its own errors cancel; the head map is then
bent until both read the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.controls import HEAD_CONTROLS, ControlMap
from lpmm_runtime.engine import Engine
from lpmm_runtime.face_finding import Box, refine
from training.sitters import REST, sitters
from training.synth.facekit import FaceKit
from training.synth.motion import Motion

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

_COMMANDS = {"headYaw": (-25.0, -15.0, 15.0, 25.0), "headPitch": (-15.0, -8.0, 8.0, 15.0), "headRoll": (-20.0, 20.0)}
# Yaw and roll to one side are the other's mirror image.
_MIRRORED = ("headYaw", "headRoll")
# Frames of nods that read right to the LP-regressor read shorter than true ones to mediapipe's mesh where they look
# down, by a seventh, and hardly where they look up: so much further than the former asks go nods below 0 and above.
FURTHER = {"headPitch": (1.2, 1.05)}
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
        below, above = FURTHER.get(name, (1.0, 1.0))
        return np.asarray(self.true[name] * np.where(np.array(_COMMANDS[name]) < 0.0, below, above))

    def worst(self) -> float:
        """Return the largest difference from that, in degrees."""
        return max(float(np.abs(self.wanted(name) - self.shown[name]).max()) for name in self.true)


def measure(engine: Engine, kit: FaceKit, people: int, seed: int) -> HeadReadings:
    """Turn the heads of `people` training people about one axis at a time, truly and by the bundle, and read both."""
    controls = engine.bundle.rig.controls
    true: dict[str, list[list[float]]] = {name: [] for name in _COMMANDS}
    shown: dict[str, list[list[float]]] = {name: [] for name in _COMMANDS}

    def angle(picture: Pixels, box: Box, axis: int) -> float:
        return float(controls.head_angles(refine(engine.sessions, picture, box).params)[axis])

    for sitter in sitters(kit, people, seed, "head angles"):
        portrait, box = sitter.render(REST)
        character = engine.create_character(portrait, box, "a synthetic portrait")
        for axis, name in enumerate(HEAD_CONTROLS):
            start = angle(portrait, box, axis)
            rows: tuple[list[float], list[float]] = ([], [])
            for command in _COMMANDS[name]:
                turned, turned_box = sitter.render(_turned(REST, name, command))
                params = character.params + controls.offset({name: command}, character.params)
                frame = engine.render(character, params.astype(np.float32))[..., :3]
                for row, picture in zip(rows, (turned, np.ascontiguousarray(frame)), strict=True):
                    row.append(angle(picture, turned_box, axis) - start)
            true[name].append(rows[0])
            shown[name].append(rows[1])
    return HeadReadings(*({name: np.mean(rows, axis=0) for name, rows in part.items()} for part in (true, shown)))


def _turned(motion: Motion, control: str, degrees: float) -> Motion:
    yaw, pitch, roll = (degrees if name == control else 0.0 for name in HEAD_CONTROLS)
    return replace(motion, yaw=yaw, pitch=pitch, roll=roll)


def response(readings: HeadReadings) -> Array:
    """Return [3, 3], a row an axis: what to command, as a multiple c₀ + c₁·t + c₂·t² of an angle of t · 30°."""
    rows = []
    for name in HEAD_CONTROLS:
        t = np.array(_COMMANDS[name]) / 30.0
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
    t = angles / 30.0
    wanted_angles = angles * (multiples[:, 0] + multiples[:, 1] * t + multiples[:, 2] * t**2)

    def terms(of: Array) -> Array:
        return np.asarray(np.prod((of[:, None, :] / 30.0) ** controls.head_exponents, axis=-1))

    wanted = terms(wanted_angles) @ controls.head_coefficients.astype(np.float64)
    found = np.linalg.lstsq(terms(angles), wanted, rcond=None)[0]
    return replace(controls, head_coefficients=found.astype(np.float32))


def calibrate(
    controls: ControlMap, bundle_of: Callable[[ControlMap], Engine], kit: FaceKit, people: int, seed: int
) -> tuple[ControlMap, dict[str, float]]:
    """Bend a head map until a bundle's frames show what they are told, and keep it if they do so better.

    Args:
        bundle_of: writes a bundle with these controls, and opens it.

    Returns:
        The better controls, and the largest mean difference in degrees before and after.
    """
    before = measure(bundle_of(controls), kit, people, seed)
    candidate = bent(controls, response(before))
    after = measure(bundle_of(candidate), kit, people, seed)
    scores = {"head_angle_off_before": before.worst(), "head_angle_off": min(before.worst(), after.worst())}
    return (candidate if after.worst() < before.worst() else controls), scores
