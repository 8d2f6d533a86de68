# SPDX-License-Identifier: GPL-3.0-or-later
"""Control accuracy: command a control, render it, read the frame back; also what stays still, and how steadily."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lpmm_runtime import landmarks68
from lpmm_runtime.controls import HEAD_CONTROLS
from training.evaluation.control_effects import eye_white, leakage, lid_gaps, only_moved_parts, pixel_leakage
from training.evaluation.independent_reader import FaceRead
from training.evaluation.measures import interocular, psnr, second_difference
from training.evaluation.subjects import Performer, Subject
from training.synth.motion import GAZE_CONTROLS

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

HEAD_COMMANDS: dict[str, tuple[float, ...]] = {
    "headYaw": (-25.0, -15.0, 15.0, 25.0),
    "headPitch": (-15.0, -7.5, 7.5, 15.0),
    "headRoll": (-20.0, -10.0, 10.0, 20.0),
}
_BACKGROUND_AXES = ("headYaw", "headRoll")
# Eyes narrower than this, in interocular distances, are hidden or half shut at rest: what closes there is no blink.
_OPEN_EYE = 0.055
# How far a head may shade what is about it, in crop sides: left out of the background.
_SHADOW = 0.03
_PERSON = 0.2
# A change of params so small that the frame should be the photo, though no shortcut may say so.
_NUDGE = 1e-3
_RAMPS: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "headYaw": ({"headYaw": -10.0}, {"headYaw": 10.0}),
    "headRoll": ({"headRoll": -8.0}, {"headRoll": 8.0}),
    "jawOpen": ({"jawOpen": 0.0}, {"jawOpen": 1.0}),
    "blink": ({"eyeBlinkLeft": 0.0, "eyeBlinkRight": 0.0}, {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}),
}


@dataclass(frozen=True)
class ControlAmounts:
    """How long the steadiness ramps are, in frames."""

    ramp_frames: int = 25


def score_subject(subject: Subject, amounts: ControlAmounts) -> dict[str, Any]:
    """Return all control scores of one subject; {"read": False} where the reader sees no face at rest."""
    rest = subject.rest_read
    if rest is None:
        return {"name": subject.name, "labelled": subject.labelled, "read": False, "rest": rest_fidelity(subject)}
    return {
        **score_performer(subject),
        "labelled": subject.labelled,
        "crop_side": round(subject.character.square.side),
        "rest": rest_fidelity(subject),
        "reader_noise": reader_noise(subject, rest),
        "background": background_change(subject),
        "steadiness": steadiness(subject, amounts.ramp_frames),
    }


def rest_fidelity(subject: Subject) -> dict[str, Any]:
    """Return the PSNR in dB of the crop at rest, and with every param nudged by a thousandth either way.

    The first may come from a shortcut that hands the photo back; the second cannot.
    """
    at_rest = psnr(subject.rest, subject.photo_crop)
    nudged = []
    for sign in (-1.0, 1.0):
        params = subject.character.params + np.float32(sign * _NUDGE)
        frame = subject.engine.render(subject.character, params, view="crop", size=subject.rest.shape[0])
        nudged.append(psnr(np.ascontiguousarray(frame[..., :3]), subject.photo_crop))
    return {"psnr": at_rest, "psnr_nudged": min(value for value in nudged if value is not None)}


def reader_noise(subject: Performer, rest: FaceRead) -> float | None:
    """Return how far landmarks wander, in percent of the interocular distance, when the same frame gets grain."""
    rng = np.random.default_rng(0)
    grain = rng.normal(0.0, 1.5, subject.rest.shape)
    again = subject.read(np.clip(np.rint(subject.rest + grain), 0, 255).astype(np.uint8))
    return None if again is None else _wander(rest.landmarks, again.landmarks)


def _wander(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return float(100 * np.linalg.norm(second - first, axis=-1).mean() / interocular(first))


def head_angles(subject: Performer, rest: FaceRead) -> list[dict[str, Any]]:
    """Return, for each commanded head angle, what was achieved about each axis, in degrees (None: not read)."""
    rows = []
    for axis, (name, commands) in enumerate(HEAD_COMMANDS.items()):
        for command in commands:
            moved = subject.read(subject.crop({name: command}))
            turned = None if moved is None else subject.reader.turned(rest, moved)
            row: dict[str, Any] = {"control": name, "commanded": command, "achieved": None, "crosstalk": None}
            if turned is not None:
                row["achieved"] = float(turned[axis])
                row["crosstalk"] = float(np.abs(np.delete(turned, axis)).max())
            rows.append(row)
    return rows


def background_change(subject: Subject) -> list[dict[str, Any]]:
    """Return the mean change of the background in grey levels (of 255) at each turn of the head.

    Measured inside the crop only (the rest of the photo is never touched and would thin the figure), where neither
    frame shows the head with a margin for its shadow: `by_matte` goes by the bundle's own matte, `by_person` by the
    reader's person mask, shoulders left out, which the bundle cannot bend.
    """
    photo, square = subject.character.photo, subject.character.square
    height, width = photo.shape[:2]
    inside = np.zeros((height, width), bool)
    side, left, top = round(square.side), round(square.left), round(square.top)
    inside[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = True
    rest = subject.full({})
    rest_person = subject.reader.person(photo)
    reach = max(1, round(_SHADOW * side))
    rows = []
    for name in _BACKGROUND_AXES:
        for command in HEAD_COMMANDS[name]:
            frame = subject.full({name: command})
            change = np.abs(frame[..., :3].astype(np.float64) - photo).mean(axis=-1)
            row: dict[str, Any] = {"control": name, "commanded": command, "by_matte": None, "by_person": None}
            if subject.engine.bundle.alpha:
                head = (rest[..., 3] > 12) | (frame[..., 3] > 12)
                row["by_matte"] = _mean_outside(change, head, inside, reach)
            person = subject.reader.person(np.ascontiguousarray(frame[..., :3]))
            if rest_person is not None and person is not None:
                row["by_person"] = _mean_outside(change, np.maximum(rest_person, person) > _PERSON, inside, reach)
            rows.append(row)
    return rows


def _mean_outside(change: NDArray[np.float64], head: Mask, inside: Mask, reach: int) -> float | None:
    grown = cv2.dilate(head.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
    background = inside & ~grown
    # Less than a fiftieth of the crop is no background to speak of.
    if np.count_nonzero(background) < 0.02 * np.count_nonzero(inside):
        return None
    return float(change[background].mean())


def eyes(subject: Performer, rest: FaceRead) -> dict[str, Any]:
    """Return what is left of the eyes' open height at a full blink and at either wink, as shares of the open height.

    Keys: `blink` {left, right}; `wink` {left, right: {closed, other, other_as_read}}; `eye_white` {left, right}, the
    share of the pixels that look like eye-white which a full blink leaves. Eyes that are not open at rest are left out.
    """
    open_gaps = lid_gaps(rest.landmarks)
    usable = {side: bool(gap >= _OPEN_EYE) for side, gap in zip(("left", "right"), open_gaps, strict=True)}
    result: dict[str, Any] = {"open_gap": dict(zip(("left", "right"), open_gaps.tolist(), strict=True))}
    result |= {"blink": {}, "wink": {}, "eye_white": {}}
    names = {control.name for control in subject.controls}
    if "eyeBlinkLeft" not in names or "eyeBlinkRight" not in names:
        return result
    frame = subject.crop({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0})
    both = subject.read(frame)
    for index, (side, eye) in enumerate((("left", landmarks68.EYE_LEFT), ("right", landmarks68.EYE_RIGHT))):
        if not usable[side]:
            continue
        if both is not None:
            result["blink"][side] = float(lid_gaps(both.landmarks)[index] / open_gaps[index])
        before = eye_white(subject.rest, rest.landmarks, eye)
        if before >= 40:
            result["eye_white"][side] = eye_white(frame, rest.landmarks, eye) / before
        name = "eyeBlink" + side.capitalize()
        winked = subject.crop({name: 1.0})
        wink = subject.read(winked)
        if wink is None or not all(usable.values()):
            continue
        shut = only_moved_parts(name, (rest.landmarks, wink.landmarks), (subject.rest, winked))
        alone = subject.read(shut)
        gaps = lid_gaps(wink.landmarks)
        # A reader of whole faces half shuts the other eye by itself: what it makes of the shut eye alone is 1.
        other = gaps[1 - index] / (open_gaps if alone is None else lid_gaps(alone.landmarks))[1 - index]
        result["wink"][side] = {
            "closed": float(gaps[index] / open_gaps[index]),
            "other": float(other),
            "other_as_read": float(gaps[1 - index] / open_gaps[1 - index]),
        }
    return result


def mouth(subject: Performer, rest: FaceRead) -> dict[str, Any]:
    """Return the inner-lip gap over the interocular distance at rest and at jawOpen ½ and 1."""
    if all(control.name != "jawOpen" for control in subject.controls):
        return {}
    result: dict[str, Any] = {"rest": float(landmarks68.mouth_openness(rest.landmarks))}
    for value in (0.5, 1.0):
        read = subject.read(subject.crop({"jawOpen": value}))
        result[f"jawOpen {value:g}"] = None if read is None else float(landmarks68.mouth_openness(read.landmarks))
    full = result["jawOpen 1"]
    result["opened"] = None if full is None else full - result["rest"]
    return result


def expressions(subject: Performer, rest: FaceRead) -> dict[str, dict[str, Any]]:
    """Return by control what it moved and what leaked (`control_effects.leakage`), at its maximum.

    Gaze is left out where the reader sees no irises.
    """
    result: dict[str, dict[str, Any]] = {}
    for control in subject.controls:
        if control.name in HEAD_CONTROLS or (control.name in GAZE_CONTROLS and rest.irises is None):
            continue
        frame = subject.crop({control.name: control.maximum})
        read = subject.read(frame)
        if read is None:
            continue
        points, pictures = (rest.landmarks, read.landmarks), (subject.rest, frame)
        alone = subject.read(only_moved_parts(control.name, points, pictures))
        irises = None if rest.irises is None or read.irises is None else (rest.irises, read.irises)
        scores = leakage(control.name, *points, None if alone is None else alone.landmarks, irises)
        scores["pixel_leakage"] = pixel_leakage(control.name, points, pictures)
        result[control.name] = scores
    return result


def steadiness(subject: Performer, frames: int) -> dict[str, dict[str, Any]]:
    """Return by ramp the frame-to-frame second differences along a slow, even motion.

    Keys: `landmarks` mean and `landmarks_worst`, percent of the interocular distance; `landmark_step`, the mean
    first difference beside it; `pixels` mean over crop and frames and `pixels_worst` of any frame, of 255.
    """
    known = {control.name for control in subject.controls}
    result: dict[str, dict[str, Any]] = {}
    for name, (start, end) in _RAMPS.items():
        if not known.issuperset(start):
            continue
        pictures, points = [], []
        for share in np.linspace(0.0, 1.0, frames):
            picture = subject.crop({key: start[key] + share * (end[key] - start[key]) for key in start})
            read = subject.read(picture)
            pictures.append(picture)
            if read is not None:
                points.append(read.landmarks)
        scores: dict[str, Any] = {"frames": frames}
        if len(points) == frames:
            series = np.stack(points)
            scale = 100.0 / float(np.mean(interocular(series)))
            bends = scale * np.linalg.norm(second_difference(series), axis=-1)
            steps = scale * np.linalg.norm(np.diff(series, axis=0), axis=-1)
            scores |= {
                "landmarks": float(bends.mean()),
                "landmarks_worst": float(bends.mean(axis=-1).max()),
                "landmark_step": float(steps.mean()),
            }
        jumps = [
            float(np.abs(second_difference(np.stack(pictures[row : row + 3]))).mean()) for row in range(frames - 2)
        ]
        scores |= {"pixels": float(np.mean(jumps)), "pixels_worst": float(np.max(jumps))}
        result[name] = scores
    return result


def score_performer(performer: Performer) -> dict[str, Any]:
    """Return what a performer's controls do: `head`, `eyes`, `mouth`, `controls`; `read` says whether it was seen."""
    rest = performer.rest_read
    if rest is None:
        return {"name": performer.name, "read": False}
    return {
        "name": performer.name,
        "read": True,
        "head": head_angles(performer, rest),
        "eyes": eyes(performer, rest),
        "mouth": mouth(performer, rest),
        "controls": expressions(performer, rest),
    }


def score_subjects(subjects: list[Subject], amounts: ControlAmounts) -> list[dict[str, Any]]:
    """Return the control scores of every subject, with a progress bar."""
    bar = tqdm(subjects, desc="controls read back", unit="subject", mininterval=2)
    return [score_subject(subject, amounts) for subject in bar]
