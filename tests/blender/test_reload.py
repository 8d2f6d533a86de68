# SPDX-License-Identifier: GPL-3.0-or-later
"""Save and reload, undo, several rigs and duplicates."""

import shutil
from pathlib import Path

import bpy
import pytest
from bpy.types import Object, Scene
from reference import Reference, change_slider, difference, names_in_file, shown_by

from lpmm_blender.add_face import FaceOptions, add_face
from lpmm_blender.runtime_session import RuntimeSession, RuntimeSettings


def save_and_reload(path: Path) -> Object:
    """Return the rig after a round trip through a .blend."""
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(path))
    return bpy.data.objects["Ada"]


def test_sliders_keys_and_presets_survive_a_reload(rig: Object, reference: Reference, tmp_path: Path) -> None:
    rig["headYaw"] = 20.0
    rig.keyframe_insert('["headYaw"]', frame=5)
    rig["preset:Smile"] = 0.5
    rig.id_properties_ui("p03").update(soft_max=2.0)
    datablocks = names_in_file()
    rig = save_and_reload(tmp_path / "face.blend")
    assert names_in_file() == datablocks
    assert rig.id_properties_ui("p03").as_dict()["soft_max"] == 2.0
    bpy.context.scene.frame_set(5)
    assert difference(shown_by(rig), reference.frame({"headYaw": 20.0, "Smile": 0.5})) == 0


def test_a_saved_file_shows_its_face_without_a_runtime(
    runtime: RuntimeSession, rig: Object, reference: Reference, tmp_path: Path
) -> None:
    change_slider(rig, "jawOpen", 0.8)
    runtime.stop()
    rig = save_and_reload(tmp_path / "face.blend")
    assert difference(shown_by(rig), reference.frame({"jawOpen": 0.8})) == 0
    assert runtime.process is None


def test_a_reloaded_scene_locks_the_interface(scene: Scene, rig: Object, tmp_path: Path) -> None:
    scene.render.use_lock_interface = False
    save_and_reload(tmp_path / "face.blend")
    assert bpy.context.scene.render.use_lock_interface


def test_a_file_without_a_face_starts_no_runtime(runtime: RuntimeSession, scene: Scene, tmp_path: Path) -> None:
    runtime.stop()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "empty.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "empty.blend"))
    bpy.context.scene.frame_set(3)
    assert not runtime.running and runtime.process is None
    assert not bpy.context.scene.render.use_lock_interface


def test_a_project_folder_may_move(scene: Scene, portrait: Path, reference: Reference, tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    shutil.copy(portrait, before)
    add_face(scene, before / portrait.name, FaceOptions())
    bpy.ops.wm.save_as_mainfile(filepath=str(before / "face.blend"))
    bpy.ops.file.make_paths_relative()
    bpy.ops.wm.save_mainfile()
    before.rename(after)
    bpy.ops.wm.open_mainfile(filepath=str(after / "face.blend"))
    rig = bpy.data.objects["Ada"]
    change_slider(rig, "jawOpen", 0.5)
    assert difference(shown_by(rig), reference.frame({"jawOpen": 0.5})) == 0


def test_a_packed_photo_needs_no_file(scene: Scene, portrait: Path, reference: Reference, tmp_path: Path) -> None:
    photo = tmp_path / portrait.name
    shutil.copy(portrait, photo)
    rig = add_face(scene, photo, FaceOptions())
    rig["lpmm_photo"].pack()
    photo.unlink()
    rig = save_and_reload(tmp_path / "face.blend")
    change_slider(rig, "p08", 1.5)
    assert difference(shown_by(rig), reference.frame({"p08": 1.5})) == 0


def test_undo_and_redo_take_the_face_along(rig: Object, reference: Reference) -> None:
    bpy.ops.ed.undo_push(message="at rest")
    rig["jawOpen"] = 0.9
    bpy.ops.ed.undo_push(message="open")
    bpy.ops.ed.undo()
    rig = bpy.data.objects["Ada"]
    change_slider(rig, "jawOpen", rig["jawOpen"])
    assert rig["jawOpen"] == 0.0
    assert difference(shown_by(rig), reference.frame({})) == 0


def test_two_rigs_of_one_photo_move_on_their_own(scene: Scene, portrait: Path, reference: Reference) -> None:
    first, second = add_face(scene, portrait, FaceOptions()), add_face(scene, portrait, FaceOptions(view="full"))
    change_slider(first, "headYaw", 25.0)
    change_slider(second, "p07", -2.0)
    assert difference(shown_by(first), reference.frame({"headYaw": 25.0})) == 0
    assert difference(shown_by(second), reference.frame({"p07": -2.0}, view="full")) == 0


def test_a_face_in_an_instanced_collection_moves(scene: Scene, rig: Object, reference: Reference) -> None:
    for frame in (1, 5):
        rig["p07"] = float(frame)
        rig.keyframe_insert('["p07"]', frame=frame)
    instance = bpy.data.objects.new("instance", None)
    instance.instance_type, instance.instance_collection = "COLLECTION", bpy.data.collections["Ada"]
    scene.collection.objects.link(instance)
    scene.collection.children.unlink(bpy.data.collections["Ada"])
    scene.frame_set(1)
    scene.frame_set(5)
    assert difference(shown_by(rig), reference.frame({"p07": 5.0})) == 0


def test_a_duplicated_face_gets_a_picture_of_its_own(scene: Scene, rig: Object, reference: Reference) -> None:
    for thing in (rig, *rig.children):
        thing.select_set(True)
    bpy.ops.object.duplicate()
    twin = bpy.data.objects["Ada.001"]
    change_slider(rig, "p07", 2.0)
    change_slider(twin, "p07", -2.0)
    assert difference(shown_by(rig), reference.frame({"p07": 2.0})) == 0
    assert difference(shown_by(twin), reference.frame({"p07": -2.0})) == 0
    planes = [next(child for child in face.children if child.type == "MESH") for face in (rig, twin)]
    images = [plane.material_slots[0].material.node_tree.nodes.active.image for plane in planes]
    assert images == [rig["lpmm_image"], twin["lpmm_image"]]


def test_an_empty_duplicated_alone_gets_a_plane(scene: Scene, rig: Object) -> None:
    bpy.ops.object.select_all(action="DESELECT")
    rig.select_set(True)
    bpy.ops.object.duplicate()
    twin = bpy.data.objects["Ada.001"]
    change_slider(twin, "p07", 1.0)
    assert [child.type for child in twin.children] == ["MESH"]


@pytest.mark.parametrize("overridden", [False, True])
def test_a_linked_face_shows_and_an_overridden_one_moves(
    scene: Scene,
    rig: Object,
    reference: Reference,
    tmp_path: Path,
    overridden: bool,
) -> None:
    rig["p07"] = 1.0
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, wanted):
        wanted.collections = ["Ada"]
    linked = wanted.collections[0]
    scene = bpy.context.scene
    scene.collection.children.link(linked)
    rig = next(thing for thing in linked.objects if thing.type == "EMPTY")
    expected = {"p07": 1.0}
    if overridden:
        own = linked.override_hierarchy_create(scene, bpy.context.view_layer, do_fully_editable=True)
        rig = next(thing for thing in own.objects if thing.type == "EMPTY")
        rig["p07"] = 2.0
        expected = {"p07": 2.0}
    scene.frame_set(2)
    assert difference(shown_by(rig), reference.frame(expected)) == 0


def test_settings_that_change_stop_the_old_runtime(
    runtime: RuntimeSession, settings: RuntimeSettings, rig: Object
) -> None:
    process = runtime.process
    runtime.configure(RuntimeSettings(bundle=settings.bundle, device="cpu", threads=2, log=settings.log))
    assert not process.alive
