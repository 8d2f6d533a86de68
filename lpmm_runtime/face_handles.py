# SPDX-License-Identifier: GPL-3.0-or-later
"""The places of a face that can be pulled at: where they are, which sliders move them, what may come along."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.conjugate_gaze import GAZE_CONTROLS
from lpmm_runtime.frame import RigModel
from lpmm_runtime.landmarks68 import IRISES


@dataclass(frozen=True)
class Handle:
    """A place of the face that can be pulled.

    Attributes:
        name: for people.
        landmarks: its place is their mean.
        controls: the sliders that are tried, where the bundle has them.
        region: the landmarks that may come along.
        turns_head: the whole face moves, so no params are used.
        together: an iris, which takes the other along to where it looks; no params are used.
    """

    name: str
    landmarks: tuple[int, ...]
    controls: tuple[str, ...]
    region: tuple[int, ...]
    turns_head: bool = False
    together: bool = False

    @property
    def uses_params(self) -> bool:
        """Whether params may do what the controls cannot."""
        return not (self.turns_head or self.together)

    @property
    def mirrored(self) -> str:
        """The name of the handle on the other side; its own when it lies in the middle."""
        swap = {"Left": "Right", "Right": "Left"}
        head, _, side = self.name.rpartition(" ")
        return f"{head} {swap[side]}" if side in swap else self.name


@dataclass(frozen=True)
class Pull:
    """A handle and where it is wanted: (x, y) in the unit square of the aligned crop, y down."""

    handle: Handle
    target: tuple[float, float]


def _sided(
    name: str, right: Sequence[int], left: Sequence[int], controls: str, regions: Sequence[range]
) -> list[Handle]:
    """Return both handles of a pair; in `controls` * stands for the side, regions are the right's and the left's."""
    return [
        Handle(f"{name} {side}", tuple(points), tuple(controls.replace("*", side).split()), tuple(region))
        for side, points, region in (("Right", right, regions[0]), ("Left", left, regions[1]))
    ]


_JAW, _MOUTH = range(17), range(48, 68)
_LOWER_FACE = (*_JAW, *_MOUTH)
_EYES = (range(36, 42), range(42, 48))
_BROWS = (range(17, 22), range(22, 27))
_IRISES = range(IRISES.start, IRISES.stop)

HANDLES: dict[str, Handle] = {
    handle.name: handle
    for handle in (
        *_sided("Upper Eyelid", (37, 38), (43, 44), "eyeBlink* eyeWide*", _EYES),
        *_sided("Lower Eyelid", (40, 41), (46, 47), "eyeSquint*", _EYES),
        *_sided("Outer Brow", (18, 19), (24, 25), "browOuterUp* browDown*", _BROWS),
        *_sided("Inner Brow", (21,), (22,), "browInnerUp browDown*", _BROWS),
        *_sided("Mouth Corner", (48,), (54,), "mouthSmile* mouthFrown* mouthStretch* mouthDimple*", (_MOUTH, _MOUTH)),
        Handle("Upper Lip", (51, 62), ("mouthUpperUp", "mouthUpperUpLeft", "mouthUpperUpRight"), (*_MOUTH,)),
        Handle("Lower Lip", (57, 66), ("mouthLowerDown", "mouthLowerDownLeft", "mouthLowerDownRight"), (*_MOUTH,)),
        Handle("Jaw", (8,), ("jawOpen", "jawLeft", "jawRight"), _LOWER_FACE),
        Handle("Head", (30,), ("headYaw", "headPitch"), tuple(range(IRISES.stop)), turns_head=True),
        *(
            Handle(f"Gaze {side}", (iris,), GAZE_CONTROLS, (*_EYES[0], *_EYES[1], *_IRISES), together=True)
            for side, iris in zip(("Right", "Left"), _IRISES, strict=True)
        ),
    )
}


def handles_of(rig: RigModel) -> dict[str, Handle]:
    """Return the handles of a bundle by name: irises cannot be pulled where it has none, or no control turns them."""
    known = set(rig.control_names)
    return {
        name: handle
        for name, handle in HANDLES.items()
        if max(handle.landmarks) < rig.model.points and (handle.uses_params or known.intersection(handle.controls))
    }


def handle_place(landmarks: NDArray[np.floating], handle: Handle) -> NDArray[np.float64]:
    """Return the place (x, y) of a handle on landmarks [n, 2]."""
    return np.asarray(landmarks, np.float64)[list(handle.landmarks)].mean(axis=0)
