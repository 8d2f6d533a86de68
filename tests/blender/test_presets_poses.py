# SPDX-License-Identifier: GPL-3.0-or-later
"""A preset from the pose, a pose from the preset: the picture stays, the sliders that make it change."""

import bpy
import pytest
from bpy.types import Object, Scene
from reference import Reference, change_slider, difference, shown_by

from lpmm_blender.preset_poses import add_from_pose, apply_preset, update_from_pose
from lpmm_blender.preset_sliders import set_muted
from lpmm_blender.rig import record_of
from lpmm_runtime.errors import PresetError

POSE = {"headYaw": 12.0, "headPitch": -5.0, "jawOpen": 0.4, "p08": -0.7}


@pytest.fixture
def posed(rig: Object) -> Object:
    """A rig in a pose of sliders and a preset."""
    bpy.context.view_layer.objects.active = rig
    for name, value in POSE.items():
        rig[name] = value
    change_slider(rig, "preset:Smile", 0.6)
    return rig


def test_a_preset_from_the_pose_shows_that_pose_alone(posed: Object, reference: Reference) -> None:
    pose = shown_by(posed)
    assert difference(pose, reference.frame({**POSE, "Smile": 0.6})) == 0
    change = add_from_pose(posed, bpy.context.evaluated_depsgraph_get(), "Mine")
    assert change.preset.controls == pytest.approx({"headYaw": 12.0, "headPitch": -5.0, "jawOpen": 0.7})
    assert change.preset.params == pytest.approx({"p07": 0.9, "p08": -0.7})
    assert posed["preset:Mine"] == 0.0
    bpy.context.view_layer.update()
    assert difference(shown_by(posed), pose) == 0
    bpy.ops.lpmm.reset_sliders()
    change_slider(posed, "preset:Mine", 1.0)
    assert difference(shown_by(posed), pose) <= 1


def test_a_muted_preset_is_no_part_of_the_pose(posed: Object) -> None:
    set_muted(posed, "Smile", True)
    preset = add_from_pose(posed, bpy.context.evaluated_depsgraph_get(), "Mine").preset
    assert preset.controls["jawOpen"] == pytest.approx(0.4) and "p07" not in preset.params


def test_a_pose_can_be_handed_over_to_the_new_preset(posed: Object) -> None:
    pose = shown_by(posed)
    assert bpy.ops.lpmm.add_preset(name="Smile", hand_over=True) == {"FINISHED"}
    assert posed["preset:Smile.001"] == 1.0
    assert all(posed[name] == 0.0 for name in (*POSE, "preset:Smile"))
    bpy.context.view_layer.update()
    assert difference(shown_by(posed), pose) <= 1


def test_a_face_at_rest_gives_no_preset(rig: Object) -> None:
    bpy.context.view_layer.objects.active = rig
    with pytest.raises(PresetError, match="at rest"):
        add_from_pose(rig, bpy.context.evaluated_depsgraph_get(), "Nothing")
    with pytest.raises(RuntimeError, match="at rest"):
        bpy.ops.lpmm.update_preset()
    assert list(record_of(rig).presets) == ["Smile"]


def test_applying_moves_the_preset_into_the_sliders(posed: Object) -> None:
    pose = shown_by(posed)
    assert bpy.ops.lpmm.apply_preset(preset="Smile") == {"FINISHED"}
    assert posed["preset:Smile"] == 0.0
    assert posed["jawOpen"] == pytest.approx(0.7) and posed["p07"] == pytest.approx(0.9)
    bpy.context.view_layer.update()
    assert difference(shown_by(posed), pose) <= 1


def test_nothing_is_applied_of_a_preset_without_effect(posed: Object) -> None:
    set_muted(posed, "Smile", True)
    with pytest.raises(PresetError, match="nothing to apply"):
        apply_preset(posed, bpy.context.evaluated_depsgraph_get(), "Smile")
    assert posed["jawOpen"] == 0.4 and posed["preset:Smile"] == 0.6


def test_updating_makes_the_preset_the_pose(posed: Object, reference: Reference) -> None:
    pose = shown_by(posed)
    assert bpy.ops.lpmm.update_preset(preset="Smile") == {"FINISHED"}
    assert posed["preset:Smile"] == 1.0 and posed["jawOpen"] == posed["headYaw"] == 0.0
    bpy.context.view_layer.update()
    assert difference(shown_by(posed), pose) <= 1
    change_slider(posed, "preset:Smile", 0.0)
    assert difference(shown_by(posed), reference.frame({})) == 0


def test_sliders_that_keys_decide_are_named(scene: Scene, posed: Object) -> None:
    posed.keyframe_insert('["jawOpen"]', frame=1)
    scene.frame_set(1)
    change = update_from_pose(posed, bpy.context.evaluated_depsgraph_get(), "Smile")
    assert change.animated == ("jawOpen",)


def test_the_pose_is_that_of_the_animation(scene: Scene, rig: Object) -> None:
    for frame, value in ((1, 0.0), (11, 1.0)):
        rig["jawOpen"] = value
        rig.keyframe_insert('["jawOpen"]', frame=frame)
    scene.frame_set(11)
    preset = add_from_pose(rig, bpy.context.evaluated_depsgraph_get(), "Frame").preset
    assert preset.controls == {"jawOpen": 1.0}


def test_applying_keys_the_sliders_while_auto_keying_is_on(scene: Scene, posed: Object) -> None:
    scene.tool_settings.use_keyframe_insert_auto = True
    scene.frame_set(5)
    change_slider(posed, "preset:Smile", 0.5)
    bpy.ops.lpmm.apply_preset(preset="Smile")
    scene.frame_set(9)
    assert posed["jawOpen"] == pytest.approx(0.65) and posed["preset:Smile"] == 0.0
    posed["jawOpen"] = 0.0
    scene.frame_set(5)
    assert posed["jawOpen"] == pytest.approx(0.65)
