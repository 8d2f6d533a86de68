# SPDX-License-Identifier: GPL-3.0-or-later
"""Handles on the irises: both eyes turn together, live, keyable and undoable; a face without irises has none."""

from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
from bpy.types import Object
from gaze_bundle import write_gaze_bundle
from reference import Reference, difference, shown_by

from lpmm_blender.action_curves import active_fcurves
from lpmm_blender.add_face import FaceOptions, add_face
from lpmm_blender.face_drag import FaceDrag, handle_places
from lpmm_blender.frames import request_of
from lpmm_blender.rig import data_path, slider_names
from lpmm_blender.runtime_session import RuntimeSettings, session
from lpmm_runtime.conjugate_gaze import GAZE_CONTROLS
from lpmm_runtime.face_handles import HANDLES

GAZES = ("Gaze Right", "Gaze Left")


@pytest.fixture(scope="module")
def gaze_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny bundle with irises and gaze controls."""
    return write_gaze_bundle(tmp_path_factory.mktemp("gaze") / "gaze")


@pytest.fixture
def face(settings: RuntimeSettings, gaze_bundle: Path, portrait: Path) -> Object:
    """A rig of that bundle, active."""
    session().configure(replace(settings, bundle=gaze_bundle))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    rig = add_face(bpy.context.scene, portrait, FaceOptions())
    bpy.context.view_layer.objects.active = rig
    bpy.context.view_layer.update()
    return rig


def places(rig: Object) -> dict[str, np.ndarray]:
    """Return where the handles of the evaluated face are."""
    bpy.context.view_layer.update()
    request = request_of(rig, bpy.context.evaluated_depsgraph_get())
    return {name: np.array(place) for name, place in handle_places(rig, request).items()}


def posed(rig: Object) -> dict[str, float]:
    """Return the sliders that are well away from rest."""
    return {name: rig[name] for name in slider_names(rig) if abs(rig[name]) > 0.01}


@pytest.mark.parametrize("symmetry", [False, True])
@pytest.mark.parametrize("handle", GAZES)
def test_a_pulled_iris_turns_both_eyes_and_the_picture_shows_it(
    face: Object, gaze_bundle: Path, portrait: Path, handle: str, symmetry: bool
) -> None:
    face.lpmm_symmetry = symmetry
    before = places(face)
    bpy.ops.lpmm.drag_face(handle=handle, offset=(0.008, -0.004))
    assert np.abs(places(face)[handle] - before[handle] - (0.008, -0.004)).max() < 0.0005
    values = posed(face)
    assert set(values) == {"eyeLookOutLeft", "eyeLookInRight", "eyeLookUpLeft", "eyeLookUpRight"}
    assert values["eyeLookOutLeft"] == values["eyeLookInRight"]
    assert values["eyeLookUpLeft"] == values["eyeLookUpRight"]
    sliders = {name: face[name] for name in GAZE_CONTROLS}
    assert difference(shown_by(face), Reference(gaze_bundle, portrait).frame(sliders)) == 0


def test_one_drag_from_side_to_side_never_crosses_the_eyes(face: Object) -> None:
    drag = FaceDrag(face, "Gaze Left")
    for x in (0.01, 0.03, 0.005, -0.004, -0.03):
        drag.pull((x, 0.0))
        to_left = face["eyeLookOutLeft"], face["eyeLookInRight"]
        to_right = face["eyeLookInLeft"], face["eyeLookOutRight"]
        assert to_left[0] == to_left[1] and to_right[0] == to_right[1]
        assert (to_left[0] > 0) == (x > 0) and (to_right[0] > 0) == (x < 0)
    assert to_right == (1.0, 1.0)
    drag.pull((0.0, 0.0))
    assert posed(face) == {} and drag.written == []


def test_a_gaze_drag_keys_the_gaze_sliders_and_no_others(face: Object) -> None:
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = True
    bpy.ops.lpmm.drag_face(handle="Gaze Right", offset=(0.008, 0.0))
    keyed = {curve.data_path for curve in active_fcurves(face)}
    assert keyed == {data_path(name) for name in GAZE_CONTROLS}
    there = posed(face)
    bpy.context.scene.frame_set(10)
    bpy.ops.lpmm.drag_face(handle="Gaze Left", offset=(-0.02, 0.004))
    assert {"eyeLookInLeft", "eyeLookOutRight", "eyeLookDownLeft", "eyeLookDownRight"} == set(posed(face))
    bpy.context.scene.frame_set(1)
    assert posed(face) == pytest.approx(there)


def test_a_gaze_drag_is_undone_in_one_step(face: Object) -> None:
    name = face.name
    bpy.ops.ed.undo_push(message="at rest")
    bpy.ops.lpmm.drag_face(handle="Gaze Left", offset=(0.008, 0.004))
    assert len(posed(face)) == 4
    bpy.ops.ed.undo_push(message="dragged")
    bpy.ops.ed.undo()
    assert posed(bpy.data.objects[name]) == {}


def test_irises_have_handles_in_the_eyes(face: Object) -> None:
    where = places(face)
    assert set(where) == set(HANDLES)
    for side in ("Right", "Left"):
        above, below = where[f"Upper Eyelid {side}"], where[f"Lower Eyelid {side}"]
        assert np.linalg.norm(where[f"Gaze {side}"] - 0.5 * (above + below)) < 0.1
    assert where["Gaze Right"][0] < where["Gaze Left"][0]


@pytest.mark.parametrize("handle", GAZES)
def test_a_face_without_irises_has_no_handles_there_and_says_so_in_one_line(rig: Object, handle: str) -> None:
    bpy.context.view_layer.objects.active = rig
    assert set(HANDLES) - set(places(rig)) == set(GAZES)
    with pytest.raises(RuntimeError, match=f"no irises.*{handle} cannot be pulled") as raised:
        bpy.ops.lpmm.drag_face(handle=handle, offset=(0.01, 0.0))
    assert len(str(raised.value).strip().splitlines()) == 1
    assert posed(rig) == {}


def test_a_face_without_gaze_sliders_has_no_such_handles_either(face: Object) -> None:
    for name in GAZE_CONTROLS:
        del face[name]
    assert set(HANDLES) - set(places(face)) == set(GAZES)
