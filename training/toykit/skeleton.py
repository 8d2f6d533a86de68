# SPDX-License-Identifier: GPL-3.0-or-later
"""The toy head's bones, how they hold the skin, and the pose units that turn them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.toykit import surface
from training.toykit.mesh import HeadMesh
from training.toykit.surface import Array, bump, smooth_step

# Name, parent, head. Lips, brows and cheeks turn about points deep inside, which slides them over the face.
BONES: tuple[tuple[str, str | None, tuple[float, float, float]], ...] = (
    ("root_static", None, (0.0, 5.2, 0.0)),
    ("neck01", "root_static", (0.0, 5.90, 0.09)),
    ("neck02", "neck01", (0.0, 6.24, 0.20)),
    ("neck03", "neck02", (0.0, 6.60, 0.30)),
    ("head", "neck03", (0.0, 6.91, 0.40)),
    ("jaw", "head", (0.0, 6.98, 0.59)),
    ("oris05", "head", (0.0, 6.70, 0.70)),
    ("levator05.L", "head", (0.10, 6.64, 0.80)),
    ("levator05.R", "head", (-0.10, 6.64, 0.80)),
    ("oculi01.L", "head", (0.32, 7.40, 0.80)),
    ("oculi01.R", "head", (-0.32, 7.40, 0.80)),
    ("risorius03.L", "head", (0.20, 7.00, 0.70)),
    ("risorius03.R", "head", (-0.20, 7.00, 0.70)),
    ("levator06.L", "head", (0.06, 6.95, 1.10)),
    ("levator06.R", "head", (-0.06, 6.95, 1.10)),
    ("eye.L", "head", (surface.EYE_CENTRE[0], surface.EYE_CENTRE[1], surface.EYE_CENTRE[2])),
    ("eye.R", "head", (-surface.EYE_CENTRE[0], surface.EYE_CENTRE[1], surface.EYE_CENTRE[2])),
    ("oris01", "jaw", (0.0, 6.58, 0.75)),
    ("tongue00", "jaw", (0.0, 6.50, 0.80)),
)
BONE_NAMES = tuple(name for name, _, _ in BONES)

# The names of a full kit's units, in its order; those without a turn below leave the face alone.
POSE_UNITS = (
    *("Rest", "LeftBrowDown", "RightBrowDown", "LeftOuterBrowUp", "RightOuterBrowUp", "LeftInnerBrowUp"),
    *("RightInnerBrowUp", "NoseWrinkler", "LeftUpperLidOpen", "RightUpperLidOpen", "LeftUpperLidClosed"),
    *("RightUpperLidClosed", "LeftLowerLidUp", "RightLowerLidUp", "LeftEyeDown", "RightEyeDown", "LeftEyeUp"),
    *(
        "RightEyeUp",
        "LeftEyeturnRight",
        "RightEyeturnRight",
        "LeftEyeturnLeft",
        "RightEyeturnLeft",
        "LeftCheekUp",
    ),
    *("RightCheekUp", "CheeksPump", "CheeksSuck", "NasolabialDeepener", "ChinLeft", "ChinRight", "ChinDown"),
    *("ChinForward", "lowerLipUp", "lowerLipDown", "lowerLipBackward", "lowerLipForward", "UpperLipUp"),
    *("UpperLipBackward", "UpperLipForward", "UpperLipStretched", "JawDrop", "JawDropStretched", "LipsKiss"),
    *("MouthMoveLeft", "MouthMoveRight", "MouthLeftPullUp", "MouthRightPullUp", "MouthLeftPullSide"),
    *(
        "MouthRightPullSide",
        "MouthLeftPullDown",
        "MouthRightPullDown",
        "MouthLeftPlatysma",
        "MouthRightPlatysma",
    ),
    *("TongueOut", "TongueUshape", "TongueUp", "TongueDown", "TongueLeft", "TongueRight", "TonguePointUp"),
    "TonguePointDown",
)

# Turns in degrees about X (positive lowers what is in front), Y (positive turns to the subject's left) and Z.
# ".*" stands for the side in the unit's name; turns about Y and Z are given for the left side.
Turn = tuple[float, float, float]
_TURNS: dict[str, dict[str, Turn]] = {
    "JawDrop": {"jaw": (20.0, 0, 0), "levator05.*": (4.0, -2.0, 0)},
    "JawDropStretched": {"jaw": (26.0, 0, 0), "levator05.*": (5.0, 2.0, 0)},
    "ChinDown": {"jaw": (8.0, 0, 0)},
    "UpperLipUp": {"oris05": (-5.0, 0, 0)},
    "lowerLipDown": {"oris01": (6.0, 0, 0)},
    "lowerLipUp": {"oris01": (-3.0, 0, 0)},
    "LipsKiss": {"levator05.*": (0, -8.0, 0), "oris05": (-2.0, 0, 0), "oris01": (2.0, 0, 0)},
    "NoseWrinkler": {"levator06.*": (-8.0, 0, 0), "oculi01.*": (4.0, -1.5, 0), "oris05": (-1.5, 0, 0)},
    "CheeksPump": {"risorius03.*": (0, 7.0, 0)},
    "CheeksSuck": {"risorius03.*": (0, -5.0, 0)},
    "TongueOut": {"tongue00": (-4.0, 0, 0)},
    "TongueUp": {"tongue00": (-8.0, 0, 0)},
}
_SIDED_TURNS: dict[str, dict[str, Turn]] = {
    "{}CheekUp": {"risorius03.*": (-5.0, 0, 0)},
    "{}BrowDown": {"oculi01.*": (4.0, -1.0, 0)},
    "{}OuterBrowUp": {"oculi01.*": (-4.0, 1.0, 0)},
    "{}InnerBrowUp": {"oculi01.*": (-4.0, -1.0, 0)},
    "Mouth{}PullUp": {"levator05.*": (-9.0, 3.0, 0), "risorius03.*": (-2.0, 0, 0)},
    "Mouth{}PullSide": {"levator05.*": (0, 7.0, 0)},
    "Mouth{}PullDown": {"levator05.*": (7.0, 1.0, 0)},
    "Mouth{}Platysma": {"levator05.*": (6.0, 5.0, 0)},
}
# Not mirrored: both halves go the same way.
_SHIFTS: dict[str, dict[str, float]] = {
    "MouthMove{}": {"levator05.L": 6.0, "levator05.R": 6.0, "oris05": 5.0, "oris01": 5.0},
    "Chin{}": {"jaw": 5.0},
    "Tongue{}": {"tongue00": 8.0},
}


@dataclass(frozen=True)
class Skeleton:
    """Bones, their heads' vertices, skinning and pose units, as a kit stores them.

    Attributes:
        parents: [b]; joints: each bone's head vertices, none for the root.
        weights: [v, b] for the body's own vertices.
        pose_units: [u, b, 4] quaternions.
    """

    parents: NDArray[np.int16]
    weights: Array
    pose_units: Array


def build_skeleton(head: HeadMesh) -> Skeleton:
    """Return the skeleton of a head mesh."""
    parents = [-1 if parent is None else BONE_NAMES.index(parent) for _, parent, _ in BONES]
    return Skeleton(np.array(parents, np.int16), _weights(head), pose_unit_quaternions())


def jaw_share(head: HeadMesh) -> Array:
    """Return how much each vertex goes with the jaw, [v], 0 to 1."""
    x, y, z = np.abs(head.points[:, 0]), head.points[:, 1], head.points[:, 2]
    at_corner = 0.5 * np.clip(x / surface.MOUTH_HALF_WIDTH, 0.0, 1.0) ** 4 * bump((y - surface.MOUTH_Y) / 0.10)
    share = np.where(head.lower, 1.0 - at_corner, at_corner * smooth_step((6.72 - y) / 0.10))
    share = np.where(head.corner, 0.5, share)
    beyond = (x > surface.MOUTH_HALF_WIDTH + 0.02) & (head.depth == 0)
    share = np.where(beyond, smooth_step((6.80 - y) / 0.34), share)
    share *= smooth_step((z - 0.70) / 0.20)
    # Under the chin the skin hangs between the jaw and the neck; inside, the cavity's end stays put.
    below_jaw = head.row - surface.JAW_ROW
    share *= np.interp(below_jaw, [0, 1, 2, 3], [1.0, 0.75, 0.3, 0.0])
    inside = head.depth >= 2
    hold = np.where(head.corner, 0.5, np.where(head.lower, 1.0, 0.0)) * smooth_step((z - 0.65) / 0.25)
    return np.where(inside, hold, share)


def _weights(head: HeadMesh) -> Array:
    points = head.points
    x, y = points[:, 0], points[:, 1]
    weights = np.zeros((len(points), len(BONES)))

    def place(name: str) -> Array:
        return weights[:, BONE_NAMES.index(name)]

    def take(name: str, share: Array, source: str) -> None:
        """Move a share of one bone's hold to another."""
        moved = share * place(source)
        place(source)[:] -= moved
        place(name)[:] += moved

    neck = head.row > surface.JAW_ROW
    levels = [5.35, 5.80, 6.05, 6.25, 6.50]
    steps = np.where(neck, np.interp(y, levels, [0.0, 1.0, 2.0, 3.0, 4.0]), 4.0)
    for number, name in enumerate(("root_static", "neck01", "neck02", "neck03", "head")):
        place(name)[:] = np.maximum(1.0 - np.abs(steps - number), 0.0)
    chin_skin = np.interp(head.row - surface.JAW_ROW, [0, 1, 2, 3], [0.0, 0.7, 0.35, 0.0]) * (points[:, 2] > 0.5)
    for name in ("root_static", "neck01", "neck02", "neck03"):
        take("head", np.where(neck, chin_skin, 0.0), name)
    jaw = jaw_share(head)
    for name in ("neck01", "neck02", "neck03", "head"):
        take("jaw", jaw, name)

    skin = head.depth <= 2
    almond = surface.lens(x, 1.3 * surface.MOUTH_HALF_WIDTH, 0.8) * skin
    take("oris05", 0.9 * almond * bump((y - 6.67) / 0.09) * ~head.lower, "head")
    take("oris01", 0.9 * almond * bump((y - 6.60) / 0.09) * head.lower, "jaw")
    for side, sign in (("L", 1.0), ("R", -1.0)):
        corner = 0.9 * bump((sign * x - 0.23) / 0.13) * bump((y - surface.MOUTH_Y) / 0.11) * skin * (points[:, 2] > 0.8)
        for source in ("head", "jaw", "oris05", "oris01"):
            take(f"levator05.{side}", corner * (head.row <= surface.JAW_ROW), source)
        flat = (points[:, 2] > 0.8) & (head.depth == 0)
        take(f"oculi01.{side}", 0.9 * bump((sign * x - 0.30) / 0.20) * bump((y - 7.43) / 0.07) * flat, "head")
        take(
            f"risorius03.{side}",
            0.9 * bump((sign * x - 0.40) / 0.14) * bump((y - 6.93) / 0.15) * flat,
            "head",
        )
        take(f"levator06.{side}", 0.8 * bump((sign * x - 0.10) / 0.06) * bump((y - 6.90) / 0.05) * flat, "head")
    return weights


def _quaternion(turn: Turn) -> Array:
    """Return (w, x, y, z) of a rotation vector in degrees."""
    angle = np.radians(np.array(turn, np.float64))
    size = float(np.linalg.norm(angle))
    if size == 0.0:
        return np.array([1.0, 0.0, 0.0, 0.0])
    return np.concatenate([[np.cos(size / 2)], angle / size * np.sin(size / 2)])


def _turns() -> Iterator[tuple[str, str, Turn]]:
    """Yield (unit, bone, turn) of every turn, with the sides written out."""

    def both(unit: str, bones: dict[str, Turn], sides: str) -> Iterator[tuple[str, str, Turn]]:
        for bone, (about_x, about_y, about_z) in bones.items():
            if not bone.endswith(".*"):
                yield unit, bone, (about_x, about_y, about_z)
                continue
            for side in sides:
                sign = 1.0 if side == "L" else -1.0
                yield unit, bone[:-1] + side, (about_x, sign * about_y, sign * about_z)

    for unit, bones in _TURNS.items():
        yield from both(unit, bones, "LR")
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        for pattern, bones in _SIDED_TURNS.items():
            yield from both(pattern.format(side), bones, side[0])
        for pattern, shifts in _SHIFTS.items():
            for bone, degrees in shifts.items():
                yield pattern.format(side), bone, (0.0, sign * degrees, 0.0)
        eye = f"eye.{side[0]}"
        yield f"{side}EyeDown", eye, (20.0, 0.0, 0.0)
        yield f"{side}EyeUp", eye, (-20.0, 0.0, 0.0)
        yield f"{side}EyeturnRight", eye, (0.0, -25.0, 0.0)
        yield f"{side}EyeturnLeft", eye, (0.0, 25.0, 0.0)


def pose_unit_quaternions() -> Array:
    """Return the pose units' rotations [u, b, 4] in world axes."""
    units = np.zeros((len(POSE_UNITS), len(BONES), 4))
    units[..., 0] = 1.0
    for unit, bone, turn in _turns():
        units[POSE_UNITS.index(unit), BONE_NAMES.index(bone)] = _quaternion(turn)
    return units


def strongest(weights: Array, count: int) -> tuple[NDArray[np.uint8], Array]:
    """Return the `count` strongest bones [v, count] of dense weights [v, b] and their shares, summing to 1."""
    count_here = min(count, weights.shape[1])
    order = np.argsort(-weights, axis=1, kind="stable")[:, :count_here]
    shares = np.take_along_axis(weights, order, axis=1)
    shares /= shares.sum(axis=1, keepdims=True)
    order = np.where(shares > 0, order, 0)
    pad = ((0, 0), (0, count - count_here))
    return np.pad(order, pad).astype(np.uint8), np.pad(shares, pad)
