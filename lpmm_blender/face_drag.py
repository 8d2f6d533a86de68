# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulling at the face of a rig: where its handles are in the scene, and what a pull does to its sliders."""

from dataclasses import dataclass

import numpy as np
from bpy.types import Object
from mathutils import Vector

from lpmm_runtime.channels import param_name
from lpmm_runtime.crop import CropSquare
from lpmm_runtime.errors import LpmmError
from lpmm_runtime.face_handles import HANDLES, Handle, Pull, handle_place, handles_of
from lpmm_runtime.frame import RigModel
from lpmm_runtime.landmark_drag import Pose, placed_landmarks, solve_pulls

from . import runtime_session
from .frame_request import FrameRequest
from .frames import request_of_values
from .pair_sliders import SYMMETRY
from .plane import planes_of
from .rig import IMAGE, photo_path, record_of


@dataclass(frozen=True)
class FacePlane:
    """Where the crop's unit square lies in the scene.

    Attributes:
        plane: the object that shows the picture.
        square: the crop in the picture, as shares of its width and height: left, top, width, height.
    """

    plane: Object
    square: tuple[float, float, float, float]

    def point(self, place: tuple[float, float]) -> Vector:
        """Return the point of the scene where a place (x, y) of the unit square lies, y down."""
        left, top, width, height = self.square
        low, high = self._corners()
        u, v = left + place[0] * width, top + place[1] * height
        x = low.x + u * (high.x - low.x)
        z = high.z - v * (high.z - low.z)
        return self.plane.matrix_world @ Vector((x, 0.5 * (low.y + high.y), z))

    def place(self, origin: Vector, direction: Vector) -> tuple[float, float] | None:
        """Return the place of the unit square that a ray meets; None when it runs along the plane."""
        into = self.plane.matrix_world.inverted_safe()
        start, along = into @ origin, into.to_3x3() @ direction
        low, high = self._corners()
        if abs(along.y) < 1e-9 * max(along.length, 1e-12):
            return None
        hit = start + (0.5 * (low.y + high.y) - start.y) / along.y * along
        left, top, width, height = self.square
        u = (hit.x - low.x) / max(high.x - low.x, 1e-12)
        v = (high.z - hit.z) / max(high.z - low.z, 1e-12)
        return (u - left) / width, (v - top) / height

    def _corners(self) -> tuple[Vector, Vector]:
        box = [Vector(corner) for corner in self.plane.bound_box]
        return Vector(map(min, zip(*box, strict=True))), Vector(map(max, zip(*box, strict=True)))


class FaceDrag:
    """One drag: it starts from the sliders as they are, and every pull is answered from there.

    Raises:
        LpmmError: if the bundle cannot be read or is not the rig's, or the face has no such handle.
    """

    def __init__(self, rig: Object, handle: str) -> None:
        self._rig = rig
        self._rig_model, self._pose = model_and_pose(rig, request_of_values(rig, rig))
        if handle not in handles_on(rig, self._rig_model):
            raise LpmmError(f"{rig.name}: no irises, or no sliders that turn them: {handle} cannot be pulled")
        self._handle = HANDLES[handle]
        self._start = placed_landmarks(self._rig_model, self._pose)
        self._written: dict[str, float] = {}
        self._movable: dict[str, None] = {}

    @property
    def keyed(self) -> list[str]:
        """The sliders that a key of this drag takes in: none if it changed nothing, else all that it might have.

        A slider that only the next drag moved would have its one key there, and change this frame, too.
        """
        return [name for name in self._movable if name in self._rig] if self.written else []

    @property
    def written(self) -> list[str]:
        """The sliders that the drag has changed so far."""
        return [name for name, before in self._written.items() if self._rig[name] != before]

    def pull(self, offset: tuple[float, float], *, coefficients: bool = True) -> None:
        """Write the sliders that move the handle by (x, y) from where it began, crop sides, y down.

        With the rig's symmetry on, the handle on the other side is pulled likewise; an iris takes the other along
        either way.
        """
        pulls = [self._to(self._handle.name, offset)]
        sided = self._handle.mirrored != self._handle.name and not self._handle.together
        if sided and getattr(self._rig, SYMMETRY, False):
            pulls.append(self._to(self._handle.mirrored, (-offset[0], offset[1])))
        self._movable = dict.fromkeys(name for pull in pulls for name in pull.handle.controls)
        if coefficients and self._handle.uses_params:
            self._movable |= dict.fromkeys(param_name(index) for index in range(self._rig_model.k))
        values = solve_pulls(self._rig_model, self._pose, pulls, params=coefficients)
        values = {name: value for name, value in values.items() if name in self._rig}
        for name in values:
            self._written.setdefault(name, float(self._rig[name]))
        for name, before in self._written.items():
            self._rig[name] = values.get(name, before)
        self._rig.update_tag()

    def cancel(self) -> None:
        """Put the sliders back to where the drag began."""
        for name, before in self._written.items():
            self._rig[name] = before
        self._rig.update_tag()

    def _to(self, name: str, offset: tuple[float, float]) -> Pull:
        x, y = handle_place(self._start, HANDLES[name])
        return Pull(HANDLES[name], (float(x) + offset[0], float(y) + offset[1]))


def handles_on(rig: Object, model: RigModel) -> dict[str, Handle]:
    """Return the handles of a face by name: those of its bundle whose sliders the rig has."""
    return {
        name: handle
        for name, handle in handles_of(model).items()
        if handle.uses_params or any(control in rig for control in handle.controls)
    }


def handle_places(rig: Object, request: FrameRequest) -> dict[str, tuple[float, float]]:
    """Return where a face's handles are in a frame, by name: (x, y) in the crop's unit square, y down.

    Raises:
        LpmmError: if the bundle cannot be read or is not the rig's.
    """
    model, pose = model_and_pose(rig, request)
    landmarks = placed_landmarks(model, pose)
    places = {name: handle_place(landmarks, handle) for name, handle in handles_on(rig, model).items()}
    return {name: (float(x), float(y)) for name, (x, y) in places.items()}


def model_and_pose(rig: Object, request: FrameRequest) -> tuple[RigModel, Pose]:
    """Return the bundle's arithmetic and the pose of a frame of the rig.

    Raises:
        LpmmError: if the bundle cannot be read or is not the rig's.
    """
    model = runtime_session.session().bundle().rig
    record = record_of(rig)
    if model.k != len(record.base_params):
        raise LpmmError(f"{rig.name}: was made with another bundle ({record.bundle_name} {record.bundle_version})")
    base = np.array(record.base_params) if record.base == "PHOTO" else np.zeros(model.k)
    known = set(model.control_names)
    controls = {name: value for name, value in request.controls.items() if name in known}
    return model, Pose(base, controls, request.raw, request.presets)


def face_plane(rig: Object) -> FacePlane | None:
    """Return where the face lies in the scene; None without a plane, or before the runtime has found the face."""
    image = rig.get(IMAGE)
    planes = [] if image is None else planes_of(rig, image)
    if not planes:
        return None
    record = record_of(rig)
    if record.view == "crop":
        return FacePlane(planes[0], (0.0, 0.0, 1.0, 1.0))
    square = _known_square(rig)
    if square is None:
        return None
    width, height = record.photo_size
    return FacePlane(planes[0], (square.left / width, square.top / height, square.side / width, square.side / height))


def _known_square(rig: Object) -> CropSquare | None:
    character = runtime_session.session().known_character(photo_path(rig), record_of(rig).box)
    return None if character is None else character.square
