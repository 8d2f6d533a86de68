# SPDX-License-Identifier: GPL-3.0-or-later
"""Handles on the picture: a pull is a pose like any other, live, keyable and undoable."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
from bpy.types import Object
from mathutils import Vector
from reference import Reference, difference, shown_by

from lpmm_blender.add_face import FaceOptions, add_face
from lpmm_blender.face_drag import FaceDrag, FacePlane, face_plane, model_and_pose
from lpmm_blender.frames import request_of
from lpmm_blender.rig import slider_names
from lpmm_blender.runtime_session import RuntimeSettings, session
from lpmm_runtime.bundle import DEFAULT_BUNDLE
from lpmm_runtime.face_handles import HANDLES, handle_place
from lpmm_runtime.landmark_drag import placed_landmarks

PORTRAITS = Path(DEFAULT_BUNDLE).parents[1] / "portraits"
HALF_PIXEL = 0.002


@pytest.fixture(scope="module")
def face_settings(settings: RuntimeSettings) -> Iterator[RuntimeSettings]:
    """Settings of a runtime over the default bundle, whose landmarks are a face's."""
    return replace(settings, bundle=DEFAULT_BUNDLE)


@pytest.fixture
def face(face_settings: RuntimeSettings) -> Object:
    """A portrait with its rig, active."""
    return _add(face_settings, FaceOptions(size=128))


def _add(face_settings: RuntimeSettings, options: FaceOptions) -> Object:
    session().configure(face_settings)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    rig = add_face(bpy.context.scene, PORTRAITS / "ada.jpg", options)
    bpy.context.view_layer.objects.active = rig
    bpy.context.view_layer.update()
    return rig


def where(rig: Object, handle: str) -> np.ndarray:
    """Return where a handle of the evaluated face is."""
    model, pose = model_and_pose(rig, request_of(rig, bpy.context.evaluated_depsgraph_get()))
    return handle_place(placed_landmarks(model, pose), HANDLES[handle])


def posed(rig: Object) -> dict[str, float]:
    """Return the sliders that are not at rest."""
    return {name: rig[name] for name in slider_names(rig) if rig[name]}


@pytest.mark.parametrize("handle", ["Upper Eyelid Left", "Mouth Corner Right", "Jaw", "Head"])
def test_a_pulled_handle_moves_and_the_picture_with_it(face: Object, handle: str) -> None:
    before, picture = where(face, handle), shown_by(face)
    bpy.ops.lpmm.drag_face(handle=handle, offset=(0.004, 0.01))
    bpy.context.view_layer.update()
    assert np.abs(where(face, handle) - before - (0.004, 0.01)).max() < HALF_PIXEL
    assert difference(shown_by(face), picture) > 20


def test_the_picture_is_the_sliders(face: Object) -> None:
    bpy.ops.lpmm.drag_face(handle="Jaw", offset=(0.0, 0.03))
    bpy.context.view_layer.update()
    sliders = posed(face)
    dragged = shown_by(face)
    bpy.ops.lpmm.reset_sliders()
    for name, value in sliders.items():
        face[name] = value
    face.update_tag()
    bpy.context.view_layer.update()
    assert difference(shown_by(face), dragged) == 0


def test_a_drag_is_undone_in_one_step(face: Object) -> None:
    bpy.ops.ed.undo_push(message="at rest")
    bpy.ops.lpmm.drag_face(handle="Jaw", offset=(0.0, 0.03))
    bpy.ops.ed.undo_push(message="dragged")
    bpy.ops.ed.undo()
    assert posed(bpy.data.objects["ada"]) == {}


def test_a_drag_that_goes_back_leaves_the_face_as_it_was(face: Object) -> None:
    face["mouthSmileLeft"] = 0.4
    drag = FaceDrag(face, "Mouth Corner Left")
    for step in (0.0, 0.01, 0.02, 0.01, 0.0):
        drag.pull((0.0, -step))
    assert posed(face) == {"mouthSmileLeft": 0.4} and drag.written == []
    drag.pull((0.01, 0.02))
    assert drag.written
    drag.cancel()
    assert posed(face) == {"mouthSmileLeft": 0.4}


def test_a_drag_leaves_keys_with_auto_keying(face: Object) -> None:
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = True
    bpy.ops.lpmm.drag_face(handle="Jaw", offset=(0.0, 0.03))
    moved = posed(face)
    assert "jawOpen" in moved
    bpy.context.scene.frame_set(10)
    bpy.ops.lpmm.drag_face(handle="Jaw", offset=(0.0, -0.03))
    bpy.context.scene.frame_set(1)
    assert posed(face) == pytest.approx(moved, abs=1e-5)
    bpy.context.scene.frame_set(10)
    assert face["jawOpen"] < moved["jawOpen"]


def test_a_slider_that_only_the_second_drag_moves_leaves_the_first_frame_alone(face: Object) -> None:
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = True
    bpy.ops.lpmm.drag_face(handle="Mouth Corner Left", offset=(0.01, -0.015), coefficients=False)
    moved = posed(face)
    bpy.context.scene.frame_set(10)
    bpy.ops.lpmm.drag_face(handle="Mouth Corner Left", offset=(0.0, 0.06), coefficients=False)
    assert set(posed(face)) - set(moved), "the second drag moves no other slider"
    bpy.context.scene.frame_set(1)
    assert posed(face) == pytest.approx(moved, abs=1e-5)


def test_a_drag_that_changes_nothing_leaves_no_keys(face: Object) -> None:
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = True
    bpy.ops.lpmm.drag_face(handle="Jaw", offset=(0.0, 0.0))
    assert face.animation_data is None or face.animation_data.action is None


def test_symmetry_pulls_the_other_side_too(face: Object) -> None:
    face.lpmm_symmetry = True
    left, right = where(face, "Mouth Corner Left"), where(face, "Mouth Corner Right")
    bpy.ops.lpmm.drag_face(handle="Mouth Corner Left", offset=(0.006, -0.012))
    bpy.context.view_layer.update()
    assert np.abs(where(face, "Mouth Corner Left") - left - (0.006, -0.012)).max() < HALF_PIXEL
    assert np.abs(where(face, "Mouth Corner Right") - right - (-0.006, -0.012)).max() < HALF_PIXEL


def test_without_coefficients_only_named_sliders_move(face: Object) -> None:
    bpy.ops.lpmm.drag_face(handle="Outer Brow Left", offset=(0.0, -0.02), coefficients=False)
    assert all(name.startswith("brow") for name in posed(face))


@pytest.mark.parametrize("view", ["crop", "full"])
def test_handles_lie_on_the_plane_and_a_ray_finds_them_again(face_settings: RuntimeSettings, view: str) -> None:
    rig = _add(face_settings, FaceOptions(view=view, plane_height=3.0))
    rig.location, rig.rotation_euler = (1.0, 2.0, 3.0), (0.2, 0.1, 0.7)
    bpy.context.view_layer.update()
    plane = face_plane(rig)
    assert isinstance(plane, FacePlane)
    for place in ((0.0, 0.0), (0.5, 0.4), (1.0, 1.0)):
        point = plane.point(place)
        eye = point + Vector((0.3, -2.0, 0.5))
        assert plane.place(eye, point - eye) == pytest.approx(place, abs=1e-4)
    if view == "crop":
        corner = plane.plane.matrix_world @ Vector((-1.5, 0.0, 1.5))
        assert (plane.point((0.0, 0.0)) - corner).length < 1e-4
    else:
        width, height = rig["lpmm_photo"].size
        left, top, wide, tall = plane.square
        assert wide * width == pytest.approx(tall * height)
        assert left < 0.5 < left + wide and top < 0.6 < top + tall


def test_a_view_along_the_plane_finds_no_place(face: Object) -> None:
    plane = face_plane(face)
    assert plane is not None and plane.place(Vector((0, -1, 0)), Vector((1, 0, 0))) is None


def test_handles_stay_with_the_features_of_the_photo(face: Object, face_settings: RuntimeSettings) -> None:
    character = session().known_character(PORTRAITS / "ada.jpg", None)
    assert character is not None
    model, pose = model_and_pose(face, request_of(face, bpy.context.evaluated_depsgraph_get()))
    read = model.model.landmarks(character.params)
    assert np.abs(placed_landmarks(model, pose) - read).max() < 1e-3


def test_a_face_of_another_bundle_is_refused_in_one_line(face: Object, settings: RuntimeSettings) -> None:
    session().configure(settings)
    with pytest.raises(RuntimeError, match="another bundle") as raised:
        bpy.ops.lpmm.drag_face(handle="Jaw", offset=(0.0, 0.03))
    assert len(str(raised.value).strip().splitlines()) == 1


def test_a_drag_needs_a_face(face: Object, reference: Reference) -> None:
    bpy.context.view_layer.objects.active = None
    with pytest.raises(RuntimeError, match="Select an LPMM face"):
        bpy.ops.lpmm.drag_face(handle="Jaw")
