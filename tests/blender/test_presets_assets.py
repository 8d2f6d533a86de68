# SPDX-License-Identifier: GPL-3.0-or-later
"""Presets as Action assets, and their way back onto a face."""

from pathlib import Path

import bpy
import numpy as np
import pytest
from bpy.types import Action, Object, Scene
from numpy.typing import NDArray
from reference import Reference, change_slider, difference, shown_by

from lpmm_blender.action_channels import all_curves
from lpmm_blender.add_face import add_face
from lpmm_blender.frame_request import FrameRequest
from lpmm_blender.preset_actions import PREVIEW_SIDE, apply_action, publish_preset
from lpmm_blender.preset_assets import action_of_file
from lpmm_blender.preset_sliders import add_preset
from lpmm_blender.runtime_session import RuntimeSession
from lpmm_runtime.errors import PresetError
from lpmm_runtime.presets import Preset

WIDE = Preset("Wide", {"jawOpen": 0.8, "headYaw": 10.0}, {"p08": -1.0}, "Wide open.")


@pytest.fixture
def published(rig: Object) -> Action:
    """The action of a preset of the rig."""
    bpy.context.view_layer.objects.active = rig
    add_preset(rig, WIDE)
    assert bpy.ops.lpmm.publish_preset(preset="Wide") == {"FINISHED"}
    return bpy.data.actions["Wide"]


def test_a_published_preset_is_an_asset_with_its_channels(published: Action) -> None:
    assert published.asset_data.description == "Wide open."
    assert "LPMM" in published.asset_data.tags
    assert _values(published) == pytest.approx({'["jawOpen"]': 0.8, '["headYaw"]': 10.0, '["p08"]': -1.0})
    assert published.use_fake_user


def test_its_preview_shows_the_preset_on_this_portrait(
    published: Action, runtime: RuntimeSession, portrait: Path
) -> None:
    request = FrameRequest(portrait, None, "PHOTO", "crop", PREVIEW_SIDE, {}, {}, ((WIDE, 1.0),))
    assert difference(_preview_of(published), runtime.render(request).pixels) == 0


def test_publishing_again_updates_the_asset(published: Action, rig: Object) -> None:
    add_preset(rig, Preset("Wide", {"jawOpen": 0.3}))
    bpy.ops.lpmm.publish_preset(preset="Wide")
    assert [action.name for action in bpy.data.actions] == ["Wide"]
    assert _values(published) == pytest.approx({'["jawOpen"]': 0.3})


def test_publishing_never_touches_an_action_of_the_same_name(rig: Object) -> None:
    rig["headYaw"] = 5.0
    rig.keyframe_insert('["headYaw"]', frame=1)
    rig.animation_data.action.name = "Smile"
    action, _ = publish_preset(rig, "Smile")
    assert action.name == "Smile.001"
    assert _values(bpy.data.actions["Smile"]) == {'["headYaw"]': 5.0}


def test_the_asset_brings_its_pose_onto_any_face(
    published: Action, scene: Scene, portrait: Path, reference: Reference
) -> None:
    other = add_face(scene, portrait)
    assert "preset:Wide" not in other
    apply_action(other, published)
    bpy.context.view_layer.update()
    assert difference(shown_by(other), reference.frame({**WIDE.controls, **WIDE.params})) <= 1


def test_a_pose_is_blended_in_by_a_factor(published: Action, rig: Object) -> None:
    rig["jawOpen"], rig["p07"] = 0.4, 1.0
    apply_action(rig, published, 0.5)
    assert rig["jawOpen"] == pytest.approx(0.6) and rig["headYaw"] == pytest.approx(5.0)
    assert rig["p08"] == pytest.approx(-0.5) and rig["p07"] == 1.0
    apply_action(rig, published, 0.25, "ADD")
    assert rig["jawOpen"] == pytest.approx(0.8) and rig["p08"] == pytest.approx(-0.75)


def test_an_action_without_the_faces_channels_is_refused(rig: Object) -> None:
    thing = bpy.data.objects.new("thing", None)
    thing.keyframe_insert("location", frame=1)
    with pytest.raises(PresetError, match="moves nothing"):
        apply_action(rig, thing.animation_data.action)


def test_the_operators_want_an_asset_to_be_chosen(rig: Object) -> None:
    bpy.context.view_layer.objects.active = rig
    assert not bpy.ops.lpmm.apply_preset_asset.poll()
    assert not bpy.ops.lpmm.blend_preset_asset.poll()


def test_an_asset_of_another_file_is_applied_and_leaves_nothing_behind(
    published: Action, scene: Scene, portrait: Path, tmp_path: Path
) -> None:
    path = tmp_path / "library.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    rig = add_face(bpy.context.scene, portrait)
    with action_of_file(str(path), "Wide") as action:
        apply_action(rig, action)
    assert rig["jawOpen"] == pytest.approx(0.8)
    assert not bpy.data.actions and not bpy.data.libraries
    with pytest.raises(PresetError, match=r"library\.blend.*Gone"), action_of_file(str(path), "Gone"):
        pass
    with (
        pytest.raises(PresetError, match=r"none\.blend.*cannot be read"),
        action_of_file(str(path.with_name("none.blend")), "Wide"),
    ):
        pass


def test_the_shelf_applies_a_preset_of_this_file(published: Action, rig: Object) -> None:
    click = bpy.ops.lpmm.apply_shelf_preset
    assert click(asset_library_type="LOCAL", relative_asset_identifier="Action/Wide") == {"FINISHED"}
    assert rig["jawOpen"] == pytest.approx(0.8)
    with pytest.raises(RuntimeError, match="Action/Gone"):
        click(asset_library_type="LOCAL", relative_asset_identifier="Action/Gone")


def test_the_shelf_applies_a_preset_of_an_asset_library(
    published: Action, scene: Scene, portrait: Path, tmp_path: Path
) -> None:
    (tmp_path / "deeper").mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "deeper" / "faces.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    rig = add_face(bpy.context.scene, portrait)
    bpy.context.view_layer.objects.active = rig
    bpy.context.preferences.filepaths.asset_libraries.new(name="Poses", directory=str(tmp_path))
    wide = {
        "asset_library_type": "CUSTOM",
        "asset_library_identifier": "Poses",
        "relative_asset_identifier": "deeper/faces.blend/Action/Wide",
    }
    assert bpy.ops.lpmm.apply_shelf_preset(**wide) == {"FINISHED"}
    assert rig["jawOpen"] == pytest.approx(0.8) and not bpy.data.actions
    with pytest.raises(RuntimeError, match="no asset library 'Other'"):
        bpy.ops.lpmm.apply_shelf_preset(**{**wide, "asset_library_identifier": "Other"})


def test_a_published_preset_can_be_a_strip_in_the_nla(
    published: Action, scene: Scene, rig: Object, reference: Reference
) -> None:
    change_slider(rig, "p07", 1.0)
    strip = rig.animation_data_create().nla_tracks.new().strips.new("Wide", 1, published)
    if hasattr(strip, "action_slot"):
        strip.action_slot = published.slots[0]
    scene.frame_set(1)
    assert difference(shown_by(rig), reference.frame({**WIDE.controls, **WIDE.params, "p07": 1.0})) <= 1


def _values(action: Action) -> dict[str, float]:
    return {curve.data_path: curve.evaluate(1.0) for curves in all_curves(action) for curve in curves}


def _preview_of(action: Action) -> NDArray[np.uint8]:
    width, height = action.preview.image_size
    flat = np.empty(width * height * 4, np.float32)
    action.preview.image_pixels_float.foreach_get(flat)
    return np.rint(flat.reshape(height, width, 4)[::-1] * 255).astype(np.uint8)
