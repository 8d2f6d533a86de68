# SPDX-License-Identifier: GPL-3.0-or-later
"""NLA strips, drivers and F-curve modifiers: the evaluated number is the one worked out by hand, the picture too."""

from collections.abc import Mapping

import bpy
import numpy as np
import pytest
from animating import drive, evaluated, key, key_influence, layer, push_down, strip_of_action
from bpy.types import Object, Scene
from reference import Reference, difference, shown_by

from lpmm_blender.add_face import FaceOptions, add_face

SLOTS = hasattr(bpy.types, "ActionSlot")


def assert_shown(scene: Scene, rig: Object, reference: Reference, expected: Mapping[int, Mapping[str, float]]) -> None:
    """See that at each frame the sliders have these values and the plane shows their picture."""
    pictures = []
    for frame, channels in expected.items():
        scene.frame_set(frame)
        for name, value in channels.items():
            assert evaluated(rig, name) == pytest.approx(value, abs=1e-5), (frame, name)
        wanted = reference.frame(channels)
        assert difference(shown_by(rig), wanted) <= 1, frame
        pictures.append(wanted)
    assert len(expected) < 2 or any(difference(pictures[0], other) > 1 for other in pictures[1:])


def test_pushing_down_changes_nothing(scene: Scene, rig: Object, reference: Reference) -> None:
    key(rig, "headYaw", {1: 0, 11: 30})
    expected = {frame: {"headYaw": 3.0 * (frame - 1)} for frame in (1, 4, 9, 11)}
    assert_shown(scene, rig, reference, expected)
    push_down(rig, "turn")
    assert rig.animation_data.action is None
    assert_shown(scene, rig, reference, expected)


@pytest.mark.parametrize(
    ("blend", "result"),
    [
        ("REPLACE", lambda lower, upper: upper),
        ("ADD", lambda lower, upper: lower + upper),
        ("COMBINE", lambda lower, upper: lower + upper),
        ("SUBTRACT", lambda lower, upper: lower - upper),
        ("MULTIPLY", lambda lower, upper: lower * upper),
    ],
)
def test_stacked_strips_blend(scene: Scene, rig: Object, reference: Reference, blend: str, result: object) -> None:
    layer(rig, "p07", {1: 1, 9: 3})
    layer(rig, "p07", {1: 0, 9: 4}, blend)
    lower = {1: 1.0, 5: 2.0, 9: 3.0}
    upper = {1: 0.0, 5: 2.0, 9: 4.0}
    assert_shown(scene, rig, reference, {frame: {"p07": result(lower[frame], upper[frame])} for frame in lower})


def test_three_layers_of_different_sliders_work_together(scene: Scene, rig: Object, reference: Reference) -> None:
    layer(rig, "headYaw", {1: -20, 9: 20})
    layer(rig, "jawOpen", {1: 0, 9: 0.8})
    layer(rig, "preset:Smile", {1: 0, 9: 1}, "COMBINE")
    scene.frame_set(7)
    assert evaluated(rig, "preset:Smile") == pytest.approx(0.75)
    wanted = reference.frame({"headYaw": 10.0, "jawOpen": 0.6, "Smile": 0.75})
    assert difference(shown_by(rig), wanted) <= 1


def test_a_scaled_strip_plays_slower(scene: Scene, rig: Object, reference: Reference) -> None:
    strip = layer(rig, "p07", {1: 0, 5: 4})
    strip.scale = 2.0
    assert_shown(scene, rig, reference, {1: {"p07": 0.0}, 3: {"p07": 1.0}, 5: {"p07": 2.0}, 9: {"p07": 4.0}})


def test_a_reversed_strip_plays_backwards(scene: Scene, rig: Object, reference: Reference) -> None:
    strip = layer(rig, "p07", {1: 0, 5: 4})
    strip.use_reverse = True
    assert_shown(scene, rig, reference, {1: {"p07": 4.0}, 2: {"p07": 3.0}, 5: {"p07": 0.0}})


def test_a_repeated_strip_plays_again(scene: Scene, rig: Object, reference: Reference) -> None:
    strip = layer(rig, "p07", {1: 0, 5: 4})
    strip.repeat = 2.0
    assert_shown(scene, rig, reference, {3: {"p07": 2.0}, 7: {"p07": 2.0}, 8: {"p07": 3.0}})


def test_a_strip_that_starts_later_is_moved(scene: Scene, rig: Object, reference: Reference) -> None:
    key(rig, "p07", {1: 0, 5: 4})
    push_down(rig, "late", 11).extrapolation = "NOTHING"
    assert_shown(scene, rig, reference, {3: {"p07": 0.0}, 13: {"p07": 2.0}, 15: {"p07": 4.0}})


@pytest.mark.parametrize("blend", ["REPLACE", "COMBINE"])
def test_a_keyed_influence_mixes(scene: Scene, rig: Object, reference: Reference, blend: str) -> None:
    layer(rig, "p07", {1: 1, 9: 1})
    key_influence(layer(rig, "p07", {1: 3, 9: 3}, blend), {1: 0, 9: 1})
    top = 3.0 if blend == "REPLACE" else 4.0
    expected = {frame: {"p07": 1.0 + (top - 1.0) * (frame - 1) / 8} for frame in (1, 3, 5, 9)}
    assert_shown(scene, rig, reference, expected)


def test_blending_in_fades_a_strip(scene: Scene, rig: Object, reference: Reference) -> None:
    strip = layer(rig, "p07", {1: 2, 9: 2})
    strip.blend_in = 4.0
    assert_shown(scene, rig, reference, {1: {"p07": 0.0}, 3: {"p07": 1.0}, 6: {"p07": 2.0}})


def test_a_muted_track_counts_for_nothing(scene: Scene, rig: Object, reference: Reference) -> None:
    layer(rig, "p07", {1: 1, 9: 1})
    layer(rig, "p07", {1: 3, 9: 3})
    rig.animation_data.nla_tracks[1].mute = True
    assert_shown(scene, rig, reference, {4: {"p07": 1.0}})


def test_the_active_action_lies_over_the_strips(scene: Scene, rig: Object, reference: Reference) -> None:
    layer(rig, "p07", {1: 1, 9: 1})
    key(rig, "p07", {1: 0, 9: 2})
    rig.animation_data.action_blend_type = "ADD"
    assert_shown(scene, rig, reference, {1: {"p07": 1.0}, 5: {"p07": 2.0}, 9: {"p07": 3.0}})


def test_a_driver_follows_a_slider_that_the_nla_animates(scene: Scene, rig: Object, reference: Reference) -> None:
    drive(rig, "p08", rig, '["p07"]', "-x / 2")
    layer(rig, "p07", {1: 0, 9: 4})
    layer(rig, "p07", {1: 0, 9: 2}, "ADD")
    expected = {1: {"p07": 0.0, "p08": 0.0}, 5: {"p07": 3.0, "p08": -1.5}, 9: {"p07": 6.0, "p08": -3.0}}
    assert_shown(scene, rig, reference, expected)


def test_a_driver_follows_a_bone(scene: Scene, rig: Object, reference: Reference) -> None:
    armature = bpy.data.objects.new("rig", bpy.data.armatures.new("rig"))
    scene.collection.objects.link(armature)
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    bone = armature.data.edit_bones.new("jaw")
    bone.tail.z = 1.0
    bpy.ops.object.mode_set(mode="OBJECT")
    pose = armature.pose.bones["jaw"]
    for frame, height in ((1, 0.0), (9, 0.8)):
        pose.location.y = height
        pose.keyframe_insert("location", index=1, frame=frame)
    curve = drive(rig, "jawOpen", armature, 'pose.bones["jaw"].location.y')
    assert curve.driver.is_valid
    scene.frame_set(9)
    assert evaluated(rig, "jawOpen") == pytest.approx(0.8)
    scene.frame_set(1)
    assert_shown(scene, rig, reference, {1: {"jawOpen": 0.0}, 9: {"jawOpen": 0.8}})


def test_a_cycle_repeats(scene: Scene, rig: Object, reference: Reference) -> None:
    key(rig, "p07", {1: 0, 5: 4}).modifiers.new("CYCLES")
    assert_shown(scene, rig, reference, {3: {"p07": 2.0}, 6: {"p07": 1.0}, 12: {"p07": 3.0}})


def test_noise_is_what_the_curve_says(scene: Scene, rig: Object, reference: Reference) -> None:
    curve = key(rig, "headYaw", {1: 0, 20: 0})
    noise = curve.modifiers.new("NOISE")
    noise.strength, noise.scale, noise.phase = 40.0, 3.0, 0.7
    values = {frame: {"headYaw": curve.evaluate(frame)} for frame in (2, 5, 9, 14)}
    assert len({round(one["headYaw"], 3) for one in values.values()}) == 4
    assert_shown(scene, rig, reference, values)


def test_a_cycle_below_and_a_driver_beside_and_a_strip_above(scene: Scene, rig: Object, reference: Reference) -> None:
    key(rig, "p07", {1: 0, 5: 4}).modifiers.new("CYCLES")
    push_down(rig, "cycle").action_frame_end = 20
    layer(rig, "p07", {1: 1, 20: 1}, "ADD")
    drive(rig, "p08", rig, '["p07"]')
    expected = {3: 3.0, 6: 2.0, 12: 4.0}
    assert_shown(scene, rig, reference, {frame: {"p07": value, "p08": value} for frame, value in expected.items()})


@pytest.mark.skipif(not SLOTS, reason="actions have slots since Blender 4.4")
def test_one_action_serves_two_faces_by_slots(
    scene: Scene, rig: Object, portrait: object, reference: Reference
) -> None:
    twin = add_face(scene, portrait, FaceOptions())
    key(rig, "p07", {1: 0, 9: 4})
    shared = rig.animation_data.action
    slot = shared.slots.new(id_type="OBJECT", name="twin")
    animation = twin.animation_data_create()
    animation.action, animation.action_slot = shared, slot
    key(twin, "p07", {1: 0, 9: -4})
    assert animation.action == shared and len(shared.slots) == 2
    assert_shown(scene, rig, reference, {1: {"p07": 0.0}, 5: {"p07": 2.0}})
    assert_shown(scene, twin, reference, {1: {"p07": 0.0}, 5: {"p07": -2.0}})
    push_down(twin, "shared")
    assert_shown(scene, twin, reference, {1: {"p07": 0.0}, 5: {"p07": -2.0}})


def test_an_action_of_one_face_can_be_laid_on_another(
    scene: Scene, rig: Object, portrait: object, reference: Reference
) -> None:
    twin = add_face(scene, portrait, FaceOptions())
    strip = layer(rig, "p07", {1: 0, 9: 4})
    twin.animation_data_create()
    strip_of_action(twin, strip.action, 3)
    assert_shown(scene, twin, reference, {3: {"p07": 0.0}, 7: {"p07": 2.0}, 11: {"p07": 4.0}})


def test_values_between_frames_are_evaluated_there(scene: Scene, rig: Object, reference: Reference) -> None:
    layer(rig, "p07", {1: 0, 2: 4})
    scene.frame_set(1, subframe=0.5)
    assert evaluated(rig, "p07") == pytest.approx(2.0)
    assert np.array_equal(shown_by(rig), reference.frame({"p07": 2.0}))
