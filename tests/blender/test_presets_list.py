# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of presets: mute and solo, names and what hangs on them, order, and undo."""

from collections.abc import Iterator
from typing import Any

import bpy
import pytest
from bpy.types import Object, Scene
from reference import Reference, change_slider, difference, shown_by

from lpmm_blender.action_channels import action_uses, curves_of_use
from lpmm_blender.preset_list import ensure_rows
from lpmm_blender.preset_operators import active_preset
from lpmm_blender.preset_sliders import (
    add_preset,
    duplicate_preset,
    free_name,
    move_preset,
    remove_preset,
    rename_preset,
    set_muted,
    set_solo,
    soloed,
)
from lpmm_blender.rig import LONGEST_NAME, data_path, record_of
from lpmm_runtime.errors import PresetError
from lpmm_runtime.presets import Preset

OPEN = Preset("Open", {"jawOpen": 0.8})
SMILE = {"jawOpen": 0.5, "p07": 1.5}
"""What the tiny bundle's own preset holds."""


@pytest.fixture
def two(rig: Object) -> Object:
    """A rig with the presets Smile and Open, both at work."""
    add_preset(rig, OPEN)
    bpy.context.view_layer.objects.active = rig
    change_slider(rig, "preset:Smile", 1.0)
    change_slider(rig, "preset:Open", 0.5)
    return rig


def is_shown(rig: Object, reference: Reference, **channels: float) -> bool:
    """Whether the rig shows the frame of these channels, but for rounding."""
    bpy.context.view_layer.update()
    return difference(shown_by(rig), reference.frame(channels)) <= 1


def test_a_muted_preset_has_no_effect_and_keeps_its_weight(two: Object, reference: Reference) -> None:
    assert is_shown(two, reference, jawOpen=0.9, p07=1.5)
    set_muted(two, "Smile", True)
    assert is_shown(two, reference, jawOpen=0.4)
    assert two["preset:Smile"] == 1.0
    set_muted(two, "Smile", False)
    assert is_shown(two, reference, jawOpen=0.9, p07=1.5)


def test_a_soloed_preset_alone_has_an_effect(two: Object, reference: Reference) -> None:
    two["p08"] = 1.0
    set_solo(two, "Open")
    assert is_shown(two, reference, jawOpen=0.4, p08=1.0)
    set_solo(two, "Smile")
    assert is_shown(two, reference, **SMILE, p08=1.0)
    set_solo(two, None)
    assert is_shown(two, reference, jawOpen=0.9, p07=1.5, p08=1.0)


def test_solo_is_stronger_than_mute(two: Object, reference: Reference) -> None:
    set_muted(two, "Open", True)
    set_solo(two, "Open")
    assert is_shown(two, reference, jawOpen=0.4)


def test_mute_can_be_keyed(scene: Scene, two: Object, reference: Reference) -> None:
    for frame, muted in ((1, True), (10, False)):
        set_muted(two, "Smile", muted)
        two.keyframe_insert('["mute:Smile"]', frame=frame)
    scene.frame_set(5)
    assert is_shown(two, reference, jawOpen=0.4)
    scene.frame_set(10)
    assert is_shown(two, reference, jawOpen=0.9, p07=1.5)


def test_a_rig_without_mute_switches_still_shows_and_mutes(two: Object, reference: Reference) -> None:
    del two["mute:Smile"], two["mute:Open"]
    change_slider(two, "preset:Smile", 0.0)
    assert is_shown(two, reference, jawOpen=0.4)
    assert bpy.ops.lpmm.mute_preset(preset="Open") == {"FINISHED"}
    assert is_shown(two, reference)


def test_a_duplicated_rig_mutes_on_its_own(scene: Scene, two: Object, reference: Reference) -> None:
    set_muted(two, "Smile", True)
    twin = two.copy()
    scene.collection.objects.link(twin)
    set_muted(twin, "Smile", False)
    twin.update_tag()
    assert is_shown(two, reference, jawOpen=0.4)
    assert is_shown(twin, reference, jawOpen=0.9, p07=1.5)


def test_mute_and_solo_are_kept_in_the_file(two: Object, tmp_path: Any, reference: Reference) -> None:
    set_muted(two, "Smile", True)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "muted.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "muted.blend"))
    bpy.context.scene.frame_set(1)
    assert is_shown(bpy.data.objects["Ada"], reference, jawOpen=0.4)


def test_a_renamed_preset_keeps_its_keys_drivers_strips_and_place(
    scene: Scene, two: Object, reference: Reference
) -> None:
    two["preset:Smile"] = 0.0
    two.keyframe_insert('["preset:Smile"]', frame=1)
    two["preset:Smile"] = 1.0
    two.keyframe_insert('["preset:Smile"]', frame=11)
    two.keyframe_insert('["mute:Smile"]', frame=1)
    _push_down(two)
    two.keyframe_insert('["preset:Smile"]', frame=20)
    follower = bpy.data.objects.new("follower", None)
    scene.collection.objects.link(follower)
    _drive(follower, "location", 0, two, '["preset:Smile"]')
    other = two.copy()  # Animates with the same strip.
    scene.collection.objects.link(other)

    others = rename_preset(two, "Smile", 'Grin "big"')

    assert others == [other]
    assert list(record_of(two).presets) == ['Grin "big"', "Open"]
    assert "preset:Smile" not in two and "mute:Smile" not in two
    paths = {curve.data_path for curve in _curves(two)}
    assert paths == {data_path('preset:Grin "big"'), data_path('mute:Grin "big"')}
    scene.frame_set(11)
    assert two['preset:Grin "big"'] == pytest.approx(1.0)
    assert follower.matrix_world.translation.x == pytest.approx(1.0)
    assert is_shown(two, reference, jawOpen=0.9, p07=1.5)


def test_a_rename_in_tweak_mode_reaches_the_action_set_aside(scene: Scene, two: Object) -> None:
    two.keyframe_insert('["preset:Smile"]', frame=1)
    _push_down(two)
    two.keyframe_insert('["preset:Smile"]', frame=5)
    two.animation_data.use_tweak_mode = True
    rename_preset(two, "Smile", "Grin")
    two.animation_data.use_tweak_mode = False
    assert [curve.data_path for curve in _curves(two)] == ['["preset:Grin"]'] * 2
    assert len(action_uses(two)) == 2


def test_a_driven_weight_stays_driven_after_a_rename(scene: Scene, two: Object, reference: Reference) -> None:
    hand = bpy.data.objects.new("hand", None)
    scene.collection.objects.link(hand)
    _drive(two, '["preset:Open"]', -1, hand, "location.x")
    rename_preset(two, "Open", "Wide")
    hand.location.x = 1.0
    scene.frame_set(2)
    assert is_shown(two, reference, jawOpen=1.3, p07=1.5)


def test_a_keying_set_follows_a_rename(scene: Scene, two: Object) -> None:
    keying_set = scene.keying_sets.new(name="Face")
    keying_set.paths.add(two, '["preset:Smile"]')
    rename_preset(two, "Smile", "Grin")
    assert [path.data_path for path in keying_set.paths] == ['["preset:Grin"]']


def test_solo_and_mute_follow_a_rename(two: Object, reference: Reference) -> None:
    set_muted(two, "Smile", True)
    set_solo(two, "Open")
    rename_preset(two, "Open", "Wide")
    rename_preset(two, "Smile", "Grin")
    assert soloed(two) == "Wide" and two["mute:Grin"] is True
    set_solo(two, None)
    assert is_shown(two, reference, jawOpen=0.4)


@pytest.mark.parametrize("name", ["Open", " ", "x" * 60, "two\nlines"])
def test_a_preset_cannot_get_a_name_that_is_taken_or_impossible(two: Object, name: str) -> None:
    before = dict(two.items())
    with pytest.raises(PresetError):
        rename_preset(two, "Smile", name)
    assert dict(two.items()) == before


def test_a_removed_preset_leaves_its_keys_unless_told_otherwise(scene: Scene, two: Object) -> None:
    two.keyframe_insert('["preset:Smile"]', frame=1)
    two.keyframe_insert('["preset:Open"]', frame=1)
    remove_preset(two, "Smile")
    assert "preset:Smile" not in two and "mute:Smile" not in two
    assert {curve.data_path for curve in _curves(two)} == {'["preset:Smile"]', '["preset:Open"]'}
    add_preset(two, Preset("Smile", {"jawOpen": 0.3}))
    scene.frame_set(3)
    assert two["preset:Smile"] == 1.0, "a preset that comes back finds its keys"
    bpy.ops.lpmm.remove_preset(preset="Smile", keys=True)
    assert {curve.data_path for curve in _curves(two)} == {'["preset:Open"]'}


def test_a_duplicate_stands_below_at_rest(two: Object) -> None:
    copy = duplicate_preset(two, "Smile")
    assert list(record_of(two).presets) == ["Smile", "Smile.001", "Open"]
    assert copy.controls == record_of(two).presets["Smile"].controls
    assert two["preset:Smile.001"] == 0.0


def test_presets_move_in_the_list_and_stop_at_its_ends(two: Object, reference: Reference) -> None:
    add_preset(two, Preset("Third", {"p01": 1.0}))
    assert move_preset(two, "Smile", "DOWN") == 1
    assert list(record_of(two).presets) == ["Open", "Smile", "Third"]
    assert move_preset(two, "Open", "UP") == 0
    assert move_preset(two, "Open", "BOTTOM") == 2
    assert move_preset(two, "Third", "TOP") == 0
    assert list(record_of(two).presets) == ["Third", "Smile", "Open"]
    assert is_shown(two, reference, jawOpen=0.9, p07=1.5)


def test_the_buttons_work_on_the_active_preset(two: Object) -> None:
    two.lpmm_active_preset = 1
    assert active_preset(two) == "Open"
    bpy.ops.lpmm.move_preset(direction="UP")
    assert active_preset(two) == "Open" and list(record_of(two).presets) == ["Open", "Smile"]
    bpy.ops.lpmm.duplicate_preset()
    assert active_preset(two) == "Open.001"
    bpy.ops.lpmm.rename_preset(name="Wide")
    assert active_preset(two) == "Wide"
    bpy.ops.lpmm.solo_preset()
    assert soloed(two) == "Wide"
    bpy.ops.lpmm.mute_preset()
    bpy.ops.lpmm.unmute_presets()
    assert soloed(two) is None and two["mute:Wide"] is False
    bpy.ops.lpmm.clear_presets()
    assert two["preset:Smile"] == two["preset:Open"] == 0.0
    for _ in range(3):
        bpy.ops.lpmm.remove_preset()
    assert active_preset(two) is None
    assert not bpy.ops.lpmm.remove_preset.poll()


def test_a_row_of_the_list_is_the_preset_at_its_place_and_renames_it(two: Object) -> None:
    ensure_rows(bpy.context.window_manager, 2)
    rows = bpy.context.window_manager.lpmm_preset_rows
    assert [row.title for row in rows][:3] == ["Smile", "Open", ""]
    rows[1].title = "Wide"
    assert list(record_of(two).presets) == ["Smile", "Wide"]
    rows[1].title = "Smile"
    assert list(record_of(two).presets) == ["Smile", "Wide"], "a taken name is refused"


def test_undo_takes_back_a_rename_with_its_keys(two: Object, reference: Reference) -> None:
    two.keyframe_insert('["preset:Open"]', frame=1)
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.lpmm.rename_preset("EXEC_DEFAULT", True, preset="Open", name="Wide")
    bpy.ops.ed.undo()
    rig = bpy.data.objects["Ada"]
    assert list(record_of(rig).presets) == ["Smile", "Open"]
    assert rig["preset:Open"] == 0.5 and "preset:Wide" not in rig
    assert {curve.data_path for curve in _curves(rig)} == {'["preset:Open"]'}


def test_mute_and_solo_of_a_library_override_outlive_a_reload(two: Object, tmp_path: Any) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "faces.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene, view_layer = bpy.context.scene, bpy.context.view_layer
    with bpy.data.libraries.load(str(tmp_path / "faces.blend"), link=True) as (_there, wanted):
        wanted.collections = ["Ada"]
    scene.collection.children.link(wanted.collections[0])
    own = wanted.collections[0].override_hierarchy_create(scene, view_layer, do_fully_editable=True)
    rig = next(thing for thing in own.all_objects if thing.type == "EMPTY")
    bpy.context.view_layer.objects.active = rig
    assert bpy.ops.lpmm.mute_preset(preset="Smile") == bpy.ops.lpmm.solo_preset(preset="Open") == {"FINISHED"}
    for changes_list in ("duplicate_preset", "rename_preset", "import_preset", "add_preset", "update_preset"):
        assert not getattr(bpy.ops.lpmm, changes_list).poll(), "it would be lost with the reload"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    (rig,) = (thing for thing in bpy.data.objects if thing.type == "EMPTY" and thing.override_library is not None)
    assert rig["mute:Smile"] is True and soloed(rig) == "Open"


def test_a_linked_face_cannot_be_changed_and_says_why(two: Object, tmp_path: Any) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "faces.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "faces.blend"), link=True) as (_there, wanted):
        wanted.objects = ["Ada"]
    (rig,) = wanted.objects
    bpy.context.scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    assert not bpy.ops.lpmm.duplicate_preset.poll()


def test_numbered_names_are_blenders_and_never_too_long() -> None:
    assert free_name("Smile", []) == "Smile"
    assert free_name("Smile", ["Smile", "Smile.001"]) == "Smile.002"
    assert free_name("Smile.001", ["Smile.001"]) == "Smile.002"
    longest = "ä" * 28
    numbered = free_name(longest, [longest])
    assert numbered.endswith("ä.001") and len(f"preset:{numbered}".encode()) <= LONGEST_NAME


def _curves(rig: Object) -> Iterator[bpy.types.FCurve]:
    for use in action_uses(rig):
        for collection in curves_of_use(use):
            yield from collection


def _push_down(rig: Object) -> None:
    animation = rig.animation_data
    strip = animation.nla_tracks.new().strips.new("strip", 1, animation.action)
    if hasattr(animation, "action_slot"):
        strip.action_slot = animation.action_slot
    animation.action = None


def _drive(thing: Object, path: str, index: int, source: Object, source_path: str) -> None:
    driver = thing.driver_add(path, index).driver
    driver.type = "SUM"
    variable = driver.variables.new()
    variable.targets[0].id = source
    variable.targets[0].data_path = source_path
