# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tour looks at beside the screen: the face, its sliders, keys and picture, and the runtime."""

import os
import sys
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy.types import Object
from bpy_extras.view3d_utils import location_3d_to_region_2d
from numpy.typing import NDArray
from window import Hand

PHOTO = Path(os.environ["LPMM_TOUR_PHOTO"]).absolute()
PACKAGE = "bl_ext.user_default.lpmm"


def rig() -> Object:
    """Return the tour's face; undo and reopening replace the object."""
    return bpy.data.objects[PHOTO.stem]


def session() -> Any:
    """Return the add-on's session with the runtime."""
    return sys.modules[f"{PACKAGE}.runtime_session"].session()


def bake_is_over() -> bool:
    """Whether no bake is running."""
    return sys.modules[f"{PACKAGE}.bake_operators"].current_bake() is None


def is_settled() -> bool:
    """Whether the face shows what its sliders say: no live frame is asked for or on its way."""
    return not sys.modules[f"{PACKAGE}.live_frames"].under_way()


def picture_bytes() -> int:
    """Return a number that changes with the picture on the plane."""
    image = rig()["lpmm_image"]
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    return hash(values.tobytes())


def read_pixels(path: Path) -> NDArray[np.float32]:
    """Return the numbers of a picture file."""
    image = bpy.data.images.load(str(path))
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    bpy.data.images.remove(image)
    return values


def pose() -> dict[str, float]:
    """Return the sliders of the face."""
    return {name: value for name, value in rig().items() if isinstance(value, float)}


def key_frames(path: str) -> list[int]:
    """Return the frames with keys of a property, in the action and in the strips."""
    channels = import_module(f"{PACKAGE}.action_channels")
    uses = channels.action_uses(rig())
    curves = [curve for use in uses for collection in channels.curves_of_use(use) for curve in collection]
    return [round(point.co.x) for curve in curves if curve.data_path == path for point in curve.keyframe_points]


def write_take(path: Path) -> None:
    """Write two seconds of a head that turns and a jaw that opens, as if they had been captured."""
    take = import_module("lpmm_runtime.take")
    evaluate_params = import_module("lpmm_runtime.frame").evaluate_params
    bundle = session().bundle()
    rest = np.zeros(bundle.k, np.float32)
    swing = np.sin(np.linspace(0.0, 2.0 * np.pi, 48))
    controls = [{"headYaw": 14.0 * float(s), "jawOpen": 0.4 * abs(float(s))} for s in swing]
    params = np.stack([evaluate_params(bundle.rig, rest, values, {}) for values in controls])
    performance = take.Take(
        source="nods.mov",
        fps=Fraction(bpy.context.scene.render.fps),
        bundle=f"{bundle.name} {bundle.version}",
        models=take.models_of(bundle),
        seen=np.ones(len(params), bool),
        params=params,
        pose_latents=np.zeros((len(params), bundle.latent_size), np.float32),
        head_angles=bundle.rig.controls.head_angles(params),
        squares=np.full((len(params), 3), 100.0, np.float32),
    )
    take.save_take(performance, path)


def handle_on_screen(hand: Hand, name: str) -> tuple[float, float]:
    """Return the place of a handle of the face in the window."""
    drag = import_module(f"{PACKAGE}.face_drag")
    gizmos = import_module(f"{PACKAGE}.face_gizmos")
    request = gizmos.request_of(rig(), bpy.context.view_layer.depsgraph)
    landmarks = drag.placed_landmarks(*drag.model_and_pose(rig(), request))
    place = drag.handle_place(landmarks, drag.HANDLES[name])
    region = hand.region("WINDOW")
    point = drag.face_plane(rig()).point((float(place[0]), float(place[1])))
    x, y = location_3d_to_region_2d(region, hand.area("VIEW_3D").spaces.active.region_3d, point)
    return region.x + x, region.y + y
