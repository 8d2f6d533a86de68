# SPDX-License-Identifier: GPL-3.0-or-later
"""Half a blink that is nearer to half a blink: lids meet later on their slider's way, most of them before its end.

A blink is one step in param space for all eyes, made long enough to shut wide ones, and the eyes of many would be shut
at two thirds of it. What is left open at half the way says where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.controls import ControlMap
from lpmm_runtime.engine import Character, Engine
from lpmm_runtime.frame import evaluate_params
from training.evaluation.control_effects import lid_gaps
from training.sitters import REST, sitters
from training.synth.facekit import FaceKit

Array = NDArray[np.float64]

_LIDS = ("eyeBlinkLeft", "eyeBlinkRight")
_HALF = 0.5
# Beyond where the lids of the average training person meet: eyes of photographs need a seventh more, and some are wide,
# or read as narrow. What is still left open the runtime closes (`blink_gains`).
_FURTHER = 1.35
# A factor beyond these is a broken model's, not one to be made up for.
_LEAST, _MOST = 0.6, 1.4


def shut_at(engine: Engine, kit: FaceKit, people: int, seed: int) -> Array:
    """Return the slider's value at which either eye [people, 2] of training people is shut.

    It is where a line through the open height at rest and at half a blink, as the generator's landmarks say them,
    meets 0.
    """
    found = []
    for sitter in sitters(kit, people, seed, "lids"):
        character = engine.create_character(*sitter.render(REST), "a synthetic portrait")
        rest, half = (_gaps(engine, character, blink) for blink in (0.0, _HALF))
        found.append(_HALF / np.maximum(1.0 - half / np.maximum(rest, 1e-9), 1e-3))
    return np.array(found)


def _gaps(engine: Engine, character: Character, blink: float) -> Array:
    """Return how far both eyes [2] are open by the generator's landmarks, with both blinks at a value."""
    params = evaluate_params(engine.bundle.rig, character.params, dict.fromkeys(_LIDS, blink), {})
    latent = engine.pose_latent_of(character, params)
    feeds = {**character.identity.features, "pose_latent": latent[None]}
    return lid_gaps(engine.sessions.run("generator", feeds)["landmarks"][0, :68].astype(np.float64))


def scaled(controls: ControlMap, factor: float) -> ControlMap:
    """Return the controls with blinks that go `factor` times as far."""
    directions, moves = controls.directions.copy(), controls.moves.copy()
    for name in _LIDS:
        directions[controls.names.index(name)] *= np.float32(factor)
        moves[controls.names.index(name)] *= np.float32(factor)
    return replace(controls, directions=directions, moves=moves)


def calibrate(
    controls: ControlMap, bundle_of: Callable[[ControlMap], Engine], kit: FaceKit, people: int, seed: int
) -> tuple[ControlMap, dict[str, float]]:
    """Scale blinks until lids meet where photographs of people want it.

    Args:
        bundle_of: writes a bundle with these controls, and opens it.

    Returns:
        The controls, and the median value at which eyes are shut before and after.
    """
    before = shut_at(bundle_of(controls), kit, people, seed)
    factor = float(np.clip(_FURTHER * np.median(before), _LEAST, _MOST))
    candidate = scaled(controls, factor)
    after = shut_at(bundle_of(candidate), kit, people, seed)
    return candidate, {"lids_shut_at_before": float(np.median(before)), "lids_shut_at": float(np.median(after))}
