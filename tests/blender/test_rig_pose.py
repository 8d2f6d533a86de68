# SPDX-License-Identifier: GPL-3.0-or-later
"""Posing as a whole: reset, mirror, copy and paste, keys, and both sides together."""

import json
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
from bpy.types import Object, Scene
from reference import Reference, difference, shown_by
from sided_bundle import GAZE, write_sided_bundle

from lpmm_blender.add_face import FaceOptions, add_face
from lpmm_blender.face_pose import PoseError, names_in_group, paste_pose, pose_text
from lpmm_blender.pair_sliders import PAIRS, is_even, pair_property
from lpmm_blender.rig import slider_names
from lpmm_blender.runtime_session import RuntimeSettings, session


@pytest.fixture(scope="module")
def sided_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny bundle with left and right controls."""
    return write_sided_bundle(tmp_path_factory.mktemp("sided") / "sided")


@pytest.fixture(scope="module")
def sided_reference(sided_bundle: Path, portrait: Path) -> Reference:
    """The engine's answers for it."""
    return Reference(sided_bundle, portrait)


@pytest.fixture
def sided(settings: RuntimeSettings, sided_bundle: Path, portrait: Path) -> Object:
    """A rig with left and right controls, active."""
    session().configure(replace(settings, bundle=sided_bundle))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return active(add_face(bpy.context.scene, portrait, FaceOptions()))


def active(rig: Object) -> Object:
    """Make a rig the active object."""
    bpy.context.view_layer.objects.active = rig
    return rig


def settle() -> None:
    """Let Blender do what it does after an operator."""
    bpy.context.view_layer.update()


def keyed(rig: Object) -> set[str]:
    """Return the sliders that have keys."""
    if rig.animation_data is None or rig.animation_data.action is None:
        return set()
    return {name for name in slider_names(rig) if _has_keys(rig, f'["{name}"]')}


def _has_keys(rig: Object, path: str) -> bool:
    action = rig.animation_data.action
    if hasattr(action, "fcurves"):
        return action.fcurves.find(path) is not None
    bag = action.layers[0].strips[0].channelbag(rig.animation_data.action_slot)
    return bag.fcurves.find(path) is not None


def test_one_section_is_reset_and_the_others_stay(sided: Object, sided_reference: Reference) -> None:
    for name in ("headYaw", "eyeBlinkRight", "jawOpen", "p03", "preset:Smile"):
        sided[name] = 0.5
    bpy.ops.lpmm.reset_sliders(group="eyes")
    settle()
    assert sided["eyeBlinkRight"] == 0.0
    left = {name: 0.5 for name in ("headYaw", "jawOpen", "p03", "Smile")}
    assert difference(shown_by(sided), sided_reference.frame(left)) == 0
    bpy.ops.lpmm.reset_sliders(group="coefficients")
    assert sided["p03"] == 0.0 and sided["headYaw"] == 0.5
    bpy.ops.lpmm.reset_sliders(group="presets")
    assert sided["preset:Smile"] == 0.0 and sided["jawOpen"] == 0.5
    bpy.ops.lpmm.reset_sliders()
    settle()
    assert difference(shown_by(sided), sided_reference.frame({})) == 0


def test_the_sections_hold_every_slider_once(sided: Object) -> None:
    groups = ("head", "eyes", "brows", "mouth", "presets", "coefficients")
    sorted_in = [name for group in groups for name in names_in_group(sided, group)]
    assert sorted(sorted_in) == sorted(slider_names(sided)) == sorted(names_in_group(sided, "all"))


def test_reset_is_undone_in_one_step(sided: Object) -> None:
    sided["jawOpen"] = 0.7
    bpy.ops.ed.undo_push(message="open")
    bpy.ops.lpmm.reset_sliders()
    bpy.ops.ed.undo_push(message="reset")
    bpy.ops.ed.undo()
    assert bpy.data.objects["Ada"]["jawOpen"] == 0.7


def test_a_mirrored_pose_swaps_sides_and_turns_the_head(sided: Object, sided_reference: Reference) -> None:
    values = {"headYaw": 20.0, "headPitch": 4.0, "headRoll": -8.0, "eyeBlinkLeft": 0.9, "mouthSmileRight": 0.3}
    for name, value in values.items():
        sided[name] = value
    bpy.ops.lpmm.mirror_pose()
    settle()
    expected = {"headYaw": -20.0, "headPitch": 4.0, "headRoll": 8.0, "eyeBlinkRight": 0.9, "mouthSmileLeft": 0.3}
    assert {name: sided[name] for name in slider_names(sided) if sided[name]} == pytest.approx(expected)
    assert difference(shown_by(sided), sided_reference.frame(expected)) == 0


def test_coefficients_are_mirrored_through_the_landmarks(sided: Object) -> None:
    # The tiny model's first component moves the face across, the second down, the third makes it larger.
    for name, value in (("p01", 0.4), ("p02", 0.3), ("p03", 0.2)):
        sided[name] = value
    bpy.ops.lpmm.mirror_pose()
    assert [sided[name] for name in ("p01", "p02")] == pytest.approx([-0.4, 0.3], abs=1e-4)
    assert sided["p03"] == pytest.approx(0.2, abs=0.05)


def test_a_pose_goes_from_one_face_to_another(sided: Object, portrait: Path, sided_reference: Reference) -> None:
    other = add_face(bpy.context.scene, portrait, FaceOptions())
    other["jawOpen"] = 1.0
    for name, value in (("headYaw", 15.0), ("p02", -1.25), ("preset:Smile", 0.5)):
        sided[name] = value
    pasted = paste_pose(other, pose_text(sided))
    settle()
    assert set(pasted.names) == {"headYaw", "p02", "preset:Smile", "jawOpen"} and not pasted.unknown
    assert difference(shown_by(other), sided_reference.frame({"headYaw": 15.0, "p02": -1.25, "Smile": 0.5})) == 0


def test_what_a_face_lacks_is_named_and_the_rest_is_pasted(sided: Object) -> None:
    text = json.dumps({"format": "lpmm-pose", "format_version": 1, "values": {"headYaw": 5, "tailWag": 1.0}})
    assert paste_pose(sided, text).unknown == ("tailWag",)
    assert sided["headYaw"] == 5.0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no LPMM pose"),
        ("a shopping list", "no LPMM pose"),
        ('{"format": "lpmm-preset"}', "no LPMM pose"),
        ('{"format": "lpmm-pose", "format_version": 9, "values": {}}', "version 9"),
        ('{"format": "lpmm-pose", "format_version": 1, "values": {"headYaw": "far"}}', "headYaw is 'far'"),
        ('{"format": "lpmm-pose", "format_version": 1, "values": {"headYaw": NaN}}', "headYaw is nan"),
        ('{"format": "lpmm-pose", "format_version": 1, "values": {"tailWag": 1}}', "none of the pose's sliders"),
        ('{"format": "lpmm-pose", "format_version": 1, "values": [1]}', "values"),
    ],
)
def test_a_text_that_is_no_pose_is_refused_in_one_line(sided: Object, text: str, fault: str) -> None:
    sided["jawOpen"] = 0.4
    with pytest.raises(PoseError, match=fault) as raised:
        paste_pose(sided, text)
    assert "\n" not in str(raised.value)
    assert sided["jawOpen"] == 0.4


def test_key_all_and_key_what_moved(sided: Object) -> None:
    sided["jawOpen"], sided["p02"] = 0.5, 1.0
    bpy.ops.lpmm.key_sliders(which="MOVED")
    assert keyed(sided) == {"jawOpen", "p02"}
    bpy.ops.lpmm.key_sliders(which="ALL")
    assert keyed(sided) == set(slider_names(sided))


def test_there_is_nothing_to_key_at_rest(sided: Object) -> None:
    assert bpy.ops.lpmm.key_sliders(which="MOVED") == {"CANCELLED"}
    assert keyed(sided) == set()


def test_the_keying_set_keys_every_slider_of_the_selected_faces(sided: Object, portrait: Path) -> None:
    other = add_face(bpy.context.scene, portrait, FaceOptions())
    outside = add_face(bpy.context.scene, portrait, FaceOptions())
    for thing in bpy.data.objects:
        thing.select_set(thing in (sided, other))
    bpy.context.scene.frame_set(7)
    window = bpy.context.window_manager.windows[0]
    with bpy.context.temp_override(window=window, area=window.screen.areas[0], selected_objects=[sided, other]):
        assert bpy.ops.anim.keyframe_insert_by_name(type="LPMM_KSI_face") == {"FINISHED"}
    for rig in (sided, other):
        assert keyed(rig) == set(slider_names(rig))
    assert keyed(outside) == set()


def test_auto_keying_keys_what_a_pose_operator_changed(scene: Scene, sided: Object) -> None:
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = True
    sided["eyeBlinkLeft"] = 0.9
    bpy.ops.lpmm.mirror_pose()
    assert keyed(sided) == {"eyeBlinkLeft", "eyeBlinkRight"}


def test_both_sides_move_together(sided: Object, sided_reference: Reference) -> None:
    sided.lpmm_both_eyeBlink = 0.6
    settle()
    assert difference(shown_by(sided), sided_reference.frame({"eyeBlinkLeft": 0.6, "eyeBlinkRight": 0.6})) == 0
    assert is_even(sided, "eyeBlink") and sided.lpmm_both_eyeBlink == pytest.approx(0.6)


def test_eyes_that_move_together_look_to_one_side(sided: Object) -> None:
    sided.lpmm_both_eyesLookLeft = 0.7
    gaze = {name: sided[name] for name in GAZE if abs(sided[name]) > 0}
    assert gaze == pytest.approx({"eyeLookOutLeft": 0.7, "eyeLookInRight": 0.7})
    bpy.ops.lpmm.mirror_pose()
    assert sided.lpmm_both_eyesLookRight == pytest.approx(0.7)
    assert sided.lpmm_both_eyesLookLeft == 0.0
    assert not hasattr(sided, "lpmm_both_eyeLookIn")


def test_moving_both_sides_is_one_undo(sided: Object) -> None:
    bpy.ops.ed.undo_push(message="at rest")
    sided.lpmm_both_mouthSmile = 0.8
    bpy.ops.ed.undo_push(message="smile")
    bpy.ops.ed.undo()
    rig = bpy.data.objects["Ada"]
    assert (rig["mouthSmileLeft"], rig["mouthSmileRight"]) == (0.0, 0.0)
    bpy.ops.ed.redo()
    rig = bpy.data.objects["Ada"]
    assert (rig["mouthSmileLeft"], rig["mouthSmileRight"]) == pytest.approx((0.8, 0.8))


def test_uneven_sides_become_even_when_moved_together(sided: Object) -> None:
    sided["eyeBlinkLeft"], sided["eyeBlinkRight"] = 1.0, 0.0
    assert not is_even(sided, "eyeBlink") and sided.lpmm_both_eyeBlink == pytest.approx(0.5)
    sided.lpmm_both_eyeBlink = 0.25
    assert is_even(sided, "eyeBlink")


def test_both_sides_store_nothing_and_are_keyed_by_their_sides(sided: Object) -> None:
    before = set(sided.keys())
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = True
    sided.lpmm_both_eyeBlink = 0.6
    assert set(sided.keys()) == before
    assert keyed(sided) == {"eyeBlinkLeft", "eyeBlinkRight"}
    for pair in PAIRS:
        assert not Object.bl_rna.properties[pair_property(pair)].is_animatable


def test_playing_does_not_move_the_other_side(sided: Object, sided_reference: Reference) -> None:
    sided.lpmm_symmetry = True
    for frame, value in ((1, 0.0), (11, 1.0)):
        sided["eyeBlinkLeft"] = value
        sided.keyframe_insert('["eyeBlinkLeft"]', frame=frame)
    bpy.context.scene.frame_set(11)
    assert sided["eyeBlinkRight"] == 0.0
    assert difference(shown_by(sided), sided_reference.frame({"eyeBlinkLeft": 1.0})) == 0


def test_pose_operators_say_why_they_cannot_run(sided: Object, tmp_path: Path) -> None:
    bpy.context.view_layer.objects.active = None
    with pytest.raises(RuntimeError, match="Select an LPMM face"):
        bpy.ops.lpmm.mirror_pose()
    active(sided)["lpmm"] = "nonsense"
    with pytest.raises(RuntimeError, match="cannot be read"):
        bpy.ops.lpmm.paste_pose()


def test_mirroring_a_pose_costs_no_precision(sided: Object) -> None:
    values = np.random.default_rng(1).uniform(0, 1, 3).round(3)
    for name, value in zip(("eyeBlinkLeft", "jawOpen", "headYaw"), values, strict=True):
        sided[name] = float(value)
    bpy.ops.lpmm.mirror_pose()
    bpy.ops.lpmm.mirror_pose()
    assert [sided[name] for name in ("eyeBlinkLeft", "jawOpen", "headYaw")] == pytest.approx(list(values))
