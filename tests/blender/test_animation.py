# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, drivers, NLA layers and plain values of the properties reach the image."""

import json
from pathlib import Path

import bpy
import pytest
from bpy.types import Object, Scene
from reference import Reference, change_slider, difference, shown_by

from lpmm_blender.preset_files import import_presets
from lpmm_blender.preset_sliders import read_fitting, remove_preset
from lpmm_blender.rig import record_of
from lpmm_runtime.errors import PresetError


def test_a_moved_slider_changes_the_image(rig: Object, reference: Reference) -> None:
    change_slider(rig, "jawOpen", 0.8)
    assert difference(shown_by(rig), reference.frame({"jawOpen": 0.8})) == 0
    assert difference(shown_by(rig), reference.frame({})) > 4


def test_a_keyed_control_is_evaluated_at_the_frame(scene: Scene, rig: Object, reference: Reference) -> None:
    for frame, value in ((1, 0.0), (11, 30.0)):
        rig["headYaw"] = value
        rig.keyframe_insert('["headYaw"]', frame=frame)
    curves = [fcurve for fcurve in _fcurves(rig) if fcurve.data_path == '["headYaw"]']
    curves[0].keyframe_points[0].interpolation = "LINEAR"
    scene.frame_set(6)
    assert difference(shown_by(rig), reference.frame({"headYaw": 15.0})) <= 1
    assert difference(shown_by(rig), reference.frame({"headYaw": 20.0})) > 1


def test_an_integer_value_works_like_any_other(rig: Object, reference: Reference) -> None:
    change_slider(rig, "p07", 2)
    assert difference(shown_by(rig), reference.frame({"p07": 2.0})) == 0


def test_a_driver_reaches_the_image(scene: Scene, rig: Object, reference: Reference) -> None:
    hand = bpy.data.objects.new("hand", None)
    scene.collection.objects.link(hand)
    driver = rig.driver_add('["p07"]').driver
    variable = driver.variables.new()
    variable.targets[0].id = hand
    variable.targets[0].data_path = "location.x"
    driver.type = "SUM"
    hand.location.x = 2.5
    scene.frame_set(2)
    assert difference(shown_by(rig), reference.frame({"p07": 2.5})) == 0


def test_nla_layers_add_up_beyond_the_soft_limit(scene: Scene, rig: Object, reference: Reference) -> None:
    for blend, value in (("REPLACE", 0.9), ("ADD", 0.6)):
        rig["jawOpen"] = value
        rig.keyframe_insert('["jawOpen"]', frame=1)
        track = rig.animation_data.nla_tracks.new()
        track.strips.new(blend, 1, rig.animation_data.action).blend_type = blend
        rig.animation_data.action = None
    scene.frame_set(1)
    assert difference(shown_by(rig), reference.frame({"jawOpen": 1.5})) == 0


def test_a_preset_is_a_slider_from_0_to_1(rig: Object, reference: Reference) -> None:
    change_slider(rig, "preset:Smile", 0.5)
    assert difference(shown_by(rig), reference.frame({"Smile": 0.5})) == 0
    assert difference(shown_by(rig), reference.frame({"jawOpen": 0.25, "p07": 0.75})) <= 1


def test_an_imported_preset_can_be_used_replaced_and_removed(rig: Object, reference: Reference, tmp_path: Path) -> None:
    path = _write_preset(tmp_path / "wide.json", name='Wide "open"', controls={"jawOpen": 1.0})
    import_presets(rig, [path])
    slider = 'preset:Wide "open"'
    change_slider(rig, slider, 0.5)
    assert difference(shown_by(rig), reference.frame({"jawOpen": 0.5})) == 0
    import_presets(rig, [_write_preset(path, name='Wide "open"', controls={"jawOpen": 0.5})], "REPLACE")
    assert rig[slider] == 0.5
    change_slider(rig, slider, 1.0)
    assert difference(shown_by(rig), reference.frame({"jawOpen": 0.5})) == 0
    remove_preset(rig, 'Wide "open"')
    bpy.context.view_layer.update()
    assert slider not in rig
    assert difference(shown_by(rig), reference.frame({})) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ('{"format": "other"}', "not a preset"),
        ('{"format": "lpmm-preset", "format_version": 1, "name": "X", "controls": {"tailWag": 1}}', "tailWag"),
        ('{"format": "lpmm-preset", "format_version": 1, "name": "X", "params": {"p39": 1}}', "p39"),
    ],
)
def test_a_bad_preset_is_named_and_changes_nothing(rig: Object, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    before = (dict(rig.items()), record_of(rig))
    with pytest.raises(PresetError, match=rf"bad\.json.*{said}"):
        read_fitting(rig, path)
    assert import_presets(rig, [path]).added == []
    assert (dict(rig.items()), record_of(rig)) == before


def test_the_import_operator_adds_sliders_to_the_face_of_the_active_plane(rig: Object, tmp_path: Path) -> None:
    plane = next(child for child in rig.children if child.type == "MESH")
    bpy.context.view_layer.objects.active = plane
    path = _write_preset(tmp_path / "frown.json", name="Frown", params={"p08": -1.0})
    assert bpy.ops.lpmm.import_preset(filepath=str(path)) == {"FINISHED"}
    assert rig["preset:Frown"] == 0.0


def test_reset_and_key_act_on_every_slider(scene: Scene, rig: Object) -> None:
    bpy.context.view_layer.objects.active = rig
    rig["p02"], rig["preset:Smile"] = 1.0, 0.5
    bpy.ops.lpmm.reset_sliders()
    assert rig["p02"] == rig["preset:Smile"] == 0.0
    bpy.ops.lpmm.key_sliders()
    keyed = {fcurve.data_path for fcurve in _fcurves(rig)}
    assert {'["headYaw"]', '["jawOpen"]', '["p08"]', '["preset:Smile"]'} <= keyed


def _fcurves(rig: Object) -> list[bpy.types.FCurve]:
    action = rig.animation_data.action
    if hasattr(action, "layers") and action.layers:
        return list(action.layers[0].strips[0].channelbag(rig.animation_data.action_slot).fcurves)
    return list(action.fcurves)


def _write_preset(path: Path, **fields: object) -> Path:
    path.write_text(json.dumps({"format": "lpmm-preset", "format_version": 1, **fields}))
    return path
