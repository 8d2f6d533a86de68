# SPDX-License-Identifier: GPL-3.0-or-later
"""What a control ought to move, and what it was seen to move: pure arithmetic on landmarks read back."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from training.evaluation.measures import Mask, interocular, masked_mean, polygon_mask
from training.synth.motion import GAZE_CONTROLS

Points = NDArray[np.float64]
Pixels = NDArray[np.uint8]

# Parts of a face that a control moves or leaves alone; left is the subject's.
PARTS: dict[str, tuple[int, ...]] = {
    "jaw": tuple(range(3, 14)),
    "brow_right": tuple(range(17, 22)),
    "brow_left": tuple(range(22, 27)),
    "nose": tuple(range(27, 36)),
    "eye_right": landmarks68.EYE_RIGHT,
    "eye_left": landmarks68.EYE_LEFT,
    "mouth": tuple(range(48, 68)),
}
# How a direction reads in the face's own frame (x to the picture's right along the eyes, y down), and where.
_UP, _DOWN, _RIGHT, _LEFT = (0.0, -1.0), (0.0, 1.0), (1.0, 0.0), (-1.0, 0.0)
_WAYS: dict[str, tuple[tuple[int, ...], tuple[float, float]]] = {
    "browInnerUp": ((20, 21, 22, 23), _UP),
    "browDownLeft": (PARTS["brow_left"], _DOWN),
    "browDownRight": (PARTS["brow_right"], _DOWN),
    "browOuterUpLeft": ((25, 26), _UP),
    "browOuterUpRight": ((17, 18), _UP),
    "jawOpen": ((7, 8, 9), _DOWN),
    "jawLeft": ((7, 8, 9), _RIGHT),
    "jawRight": ((7, 8, 9), _LEFT),
    "mouthSmileLeft": ((54,), _UP),
    "mouthSmileRight": ((48,), _UP),
    "mouthFrownLeft": ((54,), _DOWN),
    "mouthFrownRight": ((48,), _DOWN),
    "mouthStretchLeft": ((54,), _RIGHT),
    "mouthStretchRight": ((48,), _LEFT),
    "mouthLeft": (PARTS["mouth"], _RIGHT),
    "mouthRight": (PARTS["mouth"], _LEFT),
    "mouthUpperUp": ((50, 51, 52, 61, 62, 63), _UP),
    "mouthLowerDown": ((56, 57, 58, 65, 66, 67), _DOWN),
    "mouthShrugLower": ((56, 57, 58), _UP),
    "noseSneer": ((31, 35), _UP),
}
# Which way an iris goes; In and Out are the left eye's, and the other's are mirrored.
_GAZES = {"In": _LEFT, "Out": _RIGHT, "Up": _UP, "Down": _DOWN}
# A part that moves less than this share of the interocular distance cannot be told from the reader's own noise.
LEAST_MOTION = 0.004
_PART_REACH = 0.04
# A part's own skin reaches this far about it, in interocular distances.
_OWN_REACH = 0.1


def parts_of(control: str) -> tuple[str, ...]:
    """Return the parts that a control may move: all else is leakage."""
    side = "left" if control.endswith("Left") else "right" if control.endswith("Right") else ""
    if control.startswith("eye"):
        return (f"eye_{side}",) if side else ("eye_left", "eye_right")
    if control.startswith("brow"):
        return (f"brow_{side}",) if side else ("brow_left", "brow_right")
    if control.startswith("jaw") or control == "mouthShrugLower":
        return ("mouth", "jaw")
    if control.startswith("nose"):
        return ("nose", "mouth", "brow_left", "brow_right")
    return ("mouth",)


def lid_gaps(landmarks: Points) -> NDArray[np.float64]:
    """Return the open heights [2] of the subject's left and right eye, in interocular distances."""
    gaps = []
    for eye in (landmarks68.EYE_LEFT, landmarks68.EYE_RIGHT):
        p = landmarks[list(eye)]
        gaps.append(0.5 * (np.linalg.norm(p[1] - p[5]) + np.linalg.norm(p[2] - p[4])))
    return np.array(gaps) / float(interocular(landmarks))


def leakage(
    control: str,
    rest: Points,
    moved: Points,
    alone: Points | None = None,
    irises: tuple[Points, Points] | None = None,
) -> dict[str, Any]:
    """Return what a control moved where, from landmarks [68, 2] read before and after.

    A reader of whole faces moves brows when an eye shuts, though no pixel of a brow did. `alone` is what it reads in
    the frame with all but the control's own parts put back to rest (`only_moved_parts`): the other points move there
    by the reader's doing, and what they move beyond it is the control's. Without it all counts as the control's.

    Keys: `motion`, the mean displacement of the parts it may move, in percent of the interocular distance; `leakage`,
    the mean displacement of all other points as a share of that (None where nothing moved); `worst_part` and
    `worst_leakage`, likewise of the part that follows most; `reader_leakage`, what the reader alone adds;
    `along`, how far its points went where they should. What a gaze control moves is an iris, which no landmark shows:
    with `irises`, [2, 2] at rest and moved, the first three go by its own eye's, and `other_iris` is what the other
    one moved as a share of that.
    """
    distance = float(interocular(rest))
    shift = (moved - rest) / distance
    amount = np.linalg.norm(shift, axis=-1)
    mine = {index for part in parts_of(control) for index in PARTS[part]}
    others = {name: list(points) for name, points in PARTS.items() if name not in parts_of(control)}
    if control.startswith("mouth"):
        others.pop("jaw", None)  # the contour under a pulled mouth is the cheek's and the mouth's both
    motion = float(amount[sorted(mine)].mean())
    along, other_iris = _along(control, rest, shift), None
    if control in GAZE_CONTROLS and irises is not None:
        motion, along, other_iris = _iris_motion(control, rest, (irises[1] - irises[0]) / distance)
    result: dict[str, Any] = {
        "motion": 100 * motion,
        "leakage": None,
        "worst_part": None,
        "worst_leakage": None,
        "reader_leakage": None,
        "along": along,
        "other_iris": other_iris,
    }
    if motion >= LEAST_MOTION:
        by_control = amount if alone is None else np.linalg.norm(moved - alone, axis=-1) / distance
        shares = {name: float(by_control[points].mean()) / motion for name, points in others.items()}
        worst = max(shares, key=lambda name: shares[name])
        everywhere = [index for points in others.values() for index in points]
        result |= {
            "leakage": float(by_control[everywhere].mean()) / motion,
            "worst_part": worst,
            "worst_leakage": shares[worst],
        }
        if alone is not None:
            by_reader = np.linalg.norm(alone - rest, axis=-1) / distance
            result["reader_leakage"] = float(by_reader[everywhere].mean()) / motion
    return result


def _along(control: str, rest: Points, shift: Points) -> float | None:
    if control not in _WAYS:
        return None
    points, way = _WAYS[control]
    return float(100 * (shift[list(points)] @ _in_picture(way, rest)).mean())


def _iris_motion(control: str, rest: Points, shift: Points) -> tuple[float, float, float | None]:
    """Return how far its own iris moved, how far the right way in percent, and the other's share of it."""
    own = 1 if control.endswith("Left") else 0
    x, y = _GAZES[control.removeprefix("eyeLook").removesuffix("Left").removesuffix("Right")]
    amount = np.linalg.norm(shift, axis=-1)
    along = float(100 * shift[own] @ _in_picture((x if own else -x, y), rest))
    share = float(amount[1 - own] / amount[own]) if amount[own] >= LEAST_MOTION else None
    return float(amount[own]), along, share


def _in_picture(way: tuple[float, float], rest: Points) -> Points:
    """Return a direction of the face's own frame in the picture."""
    axis = rest[landmarks68.OUTER_EYE_CORNERS[1]] - rest[landmarks68.OUTER_EYE_CORNERS[0]]
    axis = axis / np.linalg.norm(axis)
    return np.asarray(way[0] * axis + way[1] * np.array([-axis[1], axis[0]]))


def only_moved_parts(control: str, landmarks: tuple[Points, Points], pictures: tuple[Pixels, Pixels]) -> Pixels:
    """Return the moved frame with everything but the control's own parts put back to rest, blended at the border.

    Args:
        landmarks: at rest and moved, [68, 2] in pixels; pictures: likewise, uint8 [s, s, 3].
    """
    distance = float(interocular(landmarks[0]))
    shape = (pictures[0].shape[0], pictures[0].shape[1])
    mask = np.zeros(shape, bool)
    for part in parts_of(control):
        both = np.concatenate([points[list(PARTS[part])] for points in landmarks])
        mask |= polygon_mask(both, shape, _OWN_REACH * distance)
    soft = cv2.GaussianBlur(mask.astype(np.float64), (0, 0), 0.03 * distance)[..., None]
    mixed = soft * pictures[1] + (1 - soft) * pictures[0]
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def pixel_leakage(control: str, landmarks: tuple[Points, Points], pictures: tuple[Pixels, Pixels]) -> float | None:
    """Return the mean change of pixels about the other parts as a share of that about the moved ones.

    Args:
        landmarks: at rest and moved, [68, 2] in pixels; pictures: likewise, uint8 [s, s, 3].
    """
    rest, moved = landmarks
    shape = pictures[0].shape[:2]
    reach = _PART_REACH * float(interocular(rest))

    def about(names: list[str]) -> Mask:
        mask = np.zeros(shape, bool)
        for name in names:
            for points in (rest, moved):
                mask |= polygon_mask(points[list(PARTS[name])], (shape[0], shape[1]), reach)
        return mask

    mine = list(parts_of(control))
    inside = about(mine)
    # Skin beside a moved part stretches with it; what the mask leaves of the others is some way off.
    near = about([name for name in PARTS if name not in mine and name != "jaw"]) & ~_grown(inside, 3 * reach)
    change = np.abs(pictures[1].astype(np.float64) - pictures[0].astype(np.float64)).mean(axis=-1)
    there, here = masked_mean(change, near), masked_mean(change, inside)
    return None if there is None or not here else there / here


def _grown(mask: Mask, reach: float) -> Mask:
    size = 2 * round(reach) + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((size, size), np.uint8)) > 0


def eye_white(picture: Pixels, landmarks: Points, eye: tuple[int, ...]) -> int:
    """Return how many pixels inside an eye's outline look like eye-white: bright for this skin, and greyer than it.

    Args:
        landmarks: [68, 2], where the open eye is; also says where the cheek's skin is.
    """
    values = picture.astype(np.float64)
    brightness = values.max(axis=-1)
    saturation = (brightness - values.min(axis=-1)) / np.maximum(brightness, 1.0)
    shape = (picture.shape[0], picture.shape[1])
    cheeks = [0.5 * (landmarks[[a]] + landmarks[[b]]) for a, b in ((41, 48), (46, 54))]
    radius = 0.06 * float(interocular(landmarks))
    skin = np.zeros(shape, bool)
    for centre in cheeks:
        corners = np.concatenate([centre + radius * np.array(d) for d in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
        skin |= polygon_mask(corners, shape)
    inside = polygon_mask(landmarks[list(eye)], shape)
    if not skin.any():
        return 0
    grey = saturation < 0.62 * float(np.median(saturation[skin]))
    bright = brightness > 0.62 * float(np.median(brightness[skin]))
    return int(np.count_nonzero(inside & grey & bright))
