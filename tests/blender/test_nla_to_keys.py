# SPDX-License-Identifier: GPL-3.0-or-later
"""Bake NLA to Keys: the face moves as before, from one action."""

import bpy
import pytest
from animating import drive, evaluated, key, key_influence, layer
from bpy.types import Object, Scene
from reference import Reference, difference, shown_by

from lpmm_blender.action_curves import active_fcurves
from lpmm_blender.nla_to_keys import NlaBakeError, bake_nla_to_keys

LAST = 12
SLIDERS = ("p07", "p08", "headYaw", "preset:Smile")


@pytest.fixture
def layered(scene: Scene, rig: Object) -> Object:
    """A rig with layers, a keyed influence, a cycle, a driver and a transform."""
    scene.frame_start, scene.frame_end = 1, LAST
    key(rig, "headYaw", {1: 0, 4: 30}).modifiers.new("CYCLES")
    layer(rig, "p07", {1: 0, LAST: 3})
    key_influence(layer(rig, "p07", {1: 2, LAST: 2}, "ADD"), {1: 0, LAST: 1})
    layer(rig, "preset:Smile", {1: 0, 6: 1, LAST: 0}, "COMBINE")
    drive(rig, "p08", rig, '["p07"]', "-x")
    for frame, height in ((1, 0.0), (LAST, 1.0)):
        rig.location.z = height
        rig.keyframe_insert("location", index=2, frame=frame, group="Place")
    return rig


def course(scene: Scene, rig: Object) -> list[tuple[float, ...]]:
    """Return the evaluated sliders and the height, frame by frame."""
    values = []
    for frame in range(1, LAST + 1):
        scene.frame_set(frame)
        height = rig.evaluated_get(bpy.context.evaluated_depsgraph_get()).matrix_world.translation.z
        values.append((*(evaluated(rig, name) for name in SLIDERS), height))
    return values


def close(first: list[tuple[float, ...]], second: list[tuple[float, ...]]) -> bool:
    return all(a == pytest.approx(b, abs=1e-4) for a, b in zip(first, second, strict=True))


def test_the_face_moves_as_before(scene: Scene, layered: Object, reference: Reference) -> None:
    before = course(scene, layered)
    assert len(set(before)) == LAST
    action = bake_nla_to_keys(scene, layered, 1, LAST)
    assert layered.animation_data.action == action
    assert all(track.mute for track in layered.animation_data.nla_tracks)
    assert close(course(scene, layered), before)
    scene.frame_set(7)
    channels = dict(zip(("p07", "p08", "headYaw", "Smile"), before[6], strict=False))
    assert difference(shown_by(layered), reference.frame(channels)) <= 1


def test_there_is_a_key_on_every_frame(scene: Scene, layered: Object) -> None:
    bake_nla_to_keys(scene, layered, 1, LAST)
    curves = {curve.data_path: curve for curve in active_fcurves(layered)}
    assert set(curves) == {'["p07"]', '["headYaw"]', '["preset:Smile"]', "location"}
    for curve in curves.values():
        assert [point.co.x for point in curve.keyframe_points] == list(range(1, LAST + 1))
        assert {point.interpolation for point in curve.keyframe_points} == {"LINEAR"}
        assert len(curve.modifiers) == 0
    assert curves["location"].array_index == 2
    assert curves["location"].group.name == "Place"


def test_drivers_become_keys_only_when_asked_for(scene: Scene, layered: Object) -> None:
    before = course(scene, layered)
    bake_nla_to_keys(scene, layered, 1, LAST)
    assert [curve.mute for curve in layered.animation_data.drivers] == [False]
    assert close(course(scene, layered), before)
    bake_nla_to_keys(scene, layered, 1, LAST, drivers=True)
    assert [curve.mute for curve in layered.animation_data.drivers] == [True]
    assert '["p08"]' in {curve.data_path for curve in active_fcurves(layered)}
    assert close(course(scene, layered), before)


def test_nothing_is_lost(scene: Scene, layered: Object) -> None:
    former = layered.animation_data.action
    tracks = [track.name for track in layered.animation_data.nla_tracks]
    bake_nla_to_keys(scene, layered, 1, LAST)
    assert former.use_fake_user
    assert [track.name for track in layered.animation_data.nla_tracks] == tracks


def test_the_operator_bakes_the_scenes_range_in_steps(scene: Scene, layered: Object) -> None:
    bpy.context.view_layer.objects.active = layered
    scene.frame_set(5)
    assert bpy.ops.lpmm.bake_nla(step=3) == {"FINISHED"}
    curve = next(curve for curve in active_fcurves(layered) if curve.data_path == '["p07"]')
    assert [point.co.x for point in curve.keyframe_points] == [1, 4, 7, 10]
    assert scene.frame_current == 5


def test_time_remapping_does_not_move_the_keys(scene: Scene, layered: Object) -> None:
    before = course(scene, layered)
    scene.render.frame_map_new = 200
    bake_nla_to_keys(scene, layered, 1, LAST)
    assert scene.render.frame_map_new == 200
    scene.render.frame_map_new = 100
    assert close(course(scene, layered), before)


def test_a_face_without_animation_is_refused(scene: Scene, rig: Object) -> None:
    rig.animation_data_create()
    with pytest.raises(NlaBakeError, match="no animation"):
        bake_nla_to_keys(scene, rig, 1, LAST)
    key(rig, "p07", {1: 0, 2: 1})
    with pytest.raises(NlaBakeError, match="no frames"):
        bake_nla_to_keys(scene, rig, 5, 4)
