# SPDX-License-Identifier: GPL-3.0-or-later
"""A rig's life: duplicated, appended, linked, renamed, deleted, undone, opened from an older file."""

import json
import shutil
import threading
import time
from pathlib import Path

import bpy
import pytest
from bpy.types import Collection, Object, Scene
from reference import Reference, change_slider, difference, names_in_file, shown_by

from lpmm_blender.add_face import FaceOptions, add_face
from lpmm_blender.face_drop import LPMM_FH_photo
from lpmm_blender.operators import LPMM_OT_add_face
from lpmm_blender.plane import planes_of
from lpmm_blender.rig import RECORD, record_of
from lpmm_blender.rig_record import FORMAT_VERSION, version_of
from lpmm_blender.runtime_session import RuntimeSession


def select(*things: Object) -> None:
    """Select these objects and no others."""
    for thing in bpy.data.objects:
        thing.select_set(thing in things)
    bpy.context.view_layer.objects.active = things[0]


def duplicate(rig: Object, linked: bool = False) -> Object:
    """Do Shift-D, or Alt-D, on a rig with all that hangs from it."""
    before = set(bpy.data.objects)
    select(rig, *rig.children)
    bpy.ops.object.duplicate(linked=linked)
    bpy.context.view_layer.update()
    return next(thing for thing in set(bpy.data.objects) - before if thing.type == "EMPTY")


def delete(*things: Object) -> None:
    """Do X on objects."""
    for thing in things:
        thing.hide_set(False)
    select(*things)
    bpy.ops.object.delete()
    bpy.context.view_layer.update()


def materials_of(rig: Object) -> list[str]:
    """Return the names of the materials that the rig's planes wear."""
    return [slot.material.name for child in rig.children for slot in child.material_slots]


@pytest.mark.parametrize("linked", [False, True], ids=["shift-d", "alt-d"])
def test_a_duplicate_is_a_character_of_its_own(rig: Object, reference: Reference, linked: bool) -> None:
    change_slider(rig, "p07", 1.0)
    twin = duplicate(rig, linked)
    assert difference(shown_by(twin), shown_by(rig)) == 0
    change_slider(rig, "p07", 2.0)
    change_slider(twin, "p07", -2.0)
    assert difference(shown_by(rig), reference.frame({"p07": 2.0})) == 0
    assert difference(shown_by(twin), reference.frame({"p07": -2.0})) == 0
    for face in (rig, twin):
        assert len(planes_of(face, face["lpmm_image"])) == 1
    assert not set(materials_of(rig)) & set(materials_of(twin))


def test_duplicates_of_duplicates_and_many_faces(rig: Object, reference: Reference) -> None:
    faces = [rig]
    for _ in range(5):
        faces.append(duplicate(faces[-1], linked=len(faces) % 2 == 0))
    for index, face in enumerate(faces):
        change_slider(face, "p07", float(index))
    assert len({face["lpmm_image"] for face in faces}) == len(faces)
    for index, face in enumerate(faces):
        assert difference(shown_by(face), reference.frame({"p07": float(index)})) == 0


def test_an_empty_duplicated_alone_gets_a_plane_like_the_first(scene: Scene, portrait: Path) -> None:
    rig = add_face(scene, portrait, FaceOptions(plane_height=3.0, cut_out=True))
    rig.empty_display_size = 9.0
    select(rig)
    bpy.ops.object.duplicate()
    bpy.context.view_layer.update()
    twin = bpy.data.objects["Ada.001"]
    (plane,) = twin.children
    bpy.context.view_layer.update()
    assert plane.dimensions.z == pytest.approx(3.0)
    (slot,) = plane.material_slots
    assert any(node.bl_idname == "ShaderNodeBsdfTransparent" for node in slot.material.node_tree.nodes)


def test_a_duplicate_survives_undo_and_redo(rig: Object, reference: Reference) -> None:
    bpy.ops.ed.undo_push(message="one")
    duplicate(rig)
    bpy.ops.ed.undo_push(message="two")
    twin = bpy.data.objects["Ada.001"]
    change_slider(twin, "p07", 2.0)
    bpy.ops.ed.undo_push(message="moved")
    bpy.ops.ed.undo()
    bpy.ops.ed.undo()
    assert "Ada.001" not in bpy.data.objects
    assert difference(shown_by(bpy.data.objects["Ada"]), reference.frame({})) == 0
    bpy.ops.ed.redo()
    bpy.ops.ed.redo()
    rig, twin = bpy.data.objects["Ada"], bpy.data.objects["Ada.001"]
    assert twin["lpmm_image"] != rig["lpmm_image"]
    assert difference(shown_by(rig), reference.frame({})) == 0
    assert difference(shown_by(twin), reference.frame({"p07": 2.0})) == 0


def test_a_deleted_face_leaves_nothing_behind(runtime: RuntimeSession, scene: Scene, rig: Object) -> None:
    assert len(runtime.photos) == 1
    delete(rig, *rig.children)
    assert runtime.photos == ()
    for collection in list(bpy.data.collections):
        bpy.data.collections.remove(collection)
    bpy.data.orphans_purge(do_recursive=True)
    assert not any(names_in_file().values())


def test_delete_face_takes_its_collection_camera_and_data_along(
    runtime: RuntimeSession, scene: Scene, portrait: Path
) -> None:
    before = names_in_file()
    rig = add_face(scene, portrait, FaceOptions(camera=True))
    rig.keyframe_insert('["jawOpen"]', frame=1)
    select(rig)
    assert bpy.ops.lpmm.delete_face() == {"FINISHED"}
    bpy.context.view_layer.update()
    assert names_in_file() == before and not bpy.data.actions
    assert runtime.photos == ()
    assert not bpy.ops.lpmm.delete_face.poll()


def test_delete_face_leaves_what_others_use(runtime: RuntimeSession, rig: Object) -> None:
    twin = duplicate(rig)
    lamp = bpy.data.objects.new("lamp", None)
    rig.users_collection[0].objects.link(lamp)
    picture = shown_by(twin)
    select(rig)
    assert bpy.ops.lpmm.delete_face() == {"FINISHED"}
    bpy.context.view_layer.update()
    assert lamp.users_collection and len(runtime.photos) == 1
    assert [thing.type for thing in twin.children] == ["MESH"]
    assert difference(shown_by(twin), picture) == 0


def test_undo_brings_a_deleted_face_back_alive(runtime: RuntimeSession, rig: Object, reference: Reference) -> None:
    bpy.ops.ed.undo_push(message="before")
    select(rig)
    bpy.ops.lpmm.delete_face()
    bpy.ops.ed.undo_push(message="deleted")
    bpy.ops.ed.undo()
    rig = bpy.data.objects["Ada"]
    change_slider(rig, "p07", 2.0)
    assert difference(shown_by(rig), reference.frame({"p07": 2.0})) == 0


def test_the_runtime_keeps_a_photo_that_another_face_needs(runtime: RuntimeSession, rig: Object) -> None:
    twin = duplicate(rig)
    delete(rig, *rig.children)
    assert len(runtime.photos) == 1
    delete(twin, *twin.children)
    assert runtime.photos == ()


def test_undoing_a_deletion_brings_the_face_back_alive(
    runtime: RuntimeSession, rig: Object, reference: Reference
) -> None:
    change_slider(rig, "p07", 1.0)
    bpy.ops.ed.undo_push(message="there")
    delete(rig, *rig.children)
    bpy.ops.ed.undo_push(message="gone")
    assert runtime.photos == ()
    bpy.ops.ed.undo()
    rig = bpy.data.objects["Ada"]
    assert difference(shown_by(rig), reference.frame({"p07": 1.0})) == 0
    change_slider(rig, "p07", -1.0)
    assert difference(shown_by(rig), reference.frame({"p07": -1.0})) == 0


def test_undo_and_redo_show_what_the_sliders_say(rig: Object, reference: Reference) -> None:
    for value in (0.0, 0.5, 1.0):
        change_slider(rig, "jawOpen", value)
        bpy.ops.ed.undo_push(message=f"{value}")
    for step, value in ((bpy.ops.ed.undo, 0.5), (bpy.ops.ed.undo, 0.0), (bpy.ops.ed.redo, 0.5), (bpy.ops.ed.redo, 1.0)):
        step()
        rig = bpy.data.objects["Ada"]
        assert rig["jawOpen"] == value
        assert difference(shown_by(rig), reference.frame({"jawOpen": value})) == 0


def test_a_renamed_face_goes_on(rig: Object, reference: Reference) -> None:
    rig.name, rig["lpmm_image"].name, bpy.data.collections["Ada"].name = "Grace", "picture", "Hopper"
    change_slider(rig, "jawOpen", 0.5)
    assert difference(shown_by(rig), reference.frame({"jawOpen": 0.5})) == 0


def library_of(rig: Object, folder: Path) -> Path:
    """Save the open file as a library and begin a new one."""
    rig["p07"] = 1.0
    path = folder / "library.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return path


def take(library: Path, link: bool) -> Collection:
    """Append or link the face's collection into the scene."""
    with bpy.data.libraries.load(str(library), link=link) as (_, wanted):
        wanted.collections = ["Ada"]
    collection = wanted.collections[0]
    if not link:
        bpy.context.scene.collection.children.link(collection)
        bpy.context.view_layer.update()
    return collection


def test_an_appended_face_is_at_home_twice(rig: Object, reference: Reference, tmp_path: Path) -> None:
    library = library_of(rig, tmp_path)
    faces = [next(thing for thing in take(library, link=False).objects if thing.type == "EMPTY") for _ in range(2)]
    for face, value in zip(faces, (2.0, -2.0), strict=True):
        change_slider(face, "p07", value)
    for face, value in zip(faces, (2.0, -2.0), strict=True):
        assert face.library is None
        assert difference(shown_by(face), reference.frame({"p07": value})) == 0


def test_two_overrides_of_one_linked_face_have_pictures_of_their_own(
    rig: Object, reference: Reference, tmp_path: Path
) -> None:
    linked = take(library_of(rig, tmp_path), link=True)
    scene, view_layer = bpy.context.scene, bpy.context.view_layer
    values = {"Ada": 2.0, "Ada.001": -2.0}
    for _ in values:
        linked.override_hierarchy_create(scene, view_layer, do_fully_editable=True)
    view_layer.update()

    def faces() -> list[Object]:
        return [bpy.data.objects[name, None] for name in values]

    for face, value in zip(faces(), values.values(), strict=True):
        change_slider(face, "p07", value)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.context.scene.frame_set(3)
    for face, value in zip(faces(), values.values(), strict=True):
        assert face.override_library is not None and face["lpmm_image"].library is None
        assert len(planes_of(face, face["lpmm_image"])) == 1
        assert difference(shown_by(face), reference.frame({"p07": value})) == 0


def as_version_1(rig: Object) -> None:
    """Make a rig what the first version of the add-on made."""
    record = json.loads(rig[RECORD])
    record["format_version"] = 1
    del record["cut_out"], record["plane_height"]
    rig[RECORD] = json.dumps(record)


def test_a_face_of_an_older_file_is_brought_up_to_date(rig: Object, reference: Reference, tmp_path: Path) -> None:
    rig["jawOpen"] = 0.5
    as_version_1(rig)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "old.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "old.blend"))
    rig = bpy.data.objects["Ada"]
    assert version_of(rig[RECORD]) == FORMAT_VERSION
    assert record_of(rig).plane_height is None and not record_of(rig).cut_out
    bpy.context.scene.frame_set(2)
    assert difference(shown_by(rig), reference.frame({"jawOpen": 0.5})) == 0


def test_a_face_appended_from_an_older_file_is_brought_up_to_date(rig: Object, tmp_path: Path) -> None:
    as_version_1(rig)
    collection = take(library_of(rig, tmp_path), link=False)
    (rig,) = (thing for thing in collection.objects if thing.type == "EMPTY")
    assert version_of(rig[RECORD]) == FORMAT_VERSION


def test_a_face_of_a_newer_file_is_left_as_it_is(rig: Object, tmp_path: Path) -> None:
    record = json.loads(rig[RECORD]) | {"format_version": FORMAT_VERSION + 1, "novelty": 1}
    rig[RECORD] = json.dumps(record)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "new.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "new.blend"))
    assert json.loads(bpy.data.objects["Ada"][RECORD]) == record


@pytest.mark.parametrize("pack", [False, True], ids=["beside", "packed"])
def test_a_photo_is_packed_and_unpacked_and_the_face_stays(
    scene: Scene, portrait: Path, reference: Reference, tmp_path: Path, pack: bool
) -> None:
    photo = tmp_path / portrait.name
    shutil.copy(portrait, photo)
    rig = add_face(scene, photo, FaceOptions())
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "face.blend"))
    if pack:
        rig["lpmm_photo"].pack()
        rig["lpmm_photo"].unpack(method="WRITE_LOCAL")
        photo.unlink()
    else:
        bpy.ops.file.make_paths_relative()
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "face.blend"))
    rig = bpy.data.objects["Ada"]
    change_slider(rig, "jawOpen", 0.5)
    assert difference(shown_by(rig), reference.frame({"jawOpen": 0.5})) == 0


def test_a_photo_that_was_removed_shows_a_slate(runtime: RuntimeSession, rig: Object, reference: Reference) -> None:
    reports = runtime.reports
    bpy.data.images.remove(rig["lpmm_photo"])
    change_slider(rig, "jawOpen", 0.5)
    assert difference(shown_by(rig), reference.frame({"jawOpen": 0.5})) > 20
    assert runtime.reports == reports + 1 and "photo was removed" in runtime.status.fault


def test_a_dropped_picture_is_offered_as_a_face(scene: Scene) -> None:
    assert LPMM_FH_photo.bl_import_operator == LPMM_OT_add_face.bl_idname
    assert {".png", ".jpg"} <= set(LPMM_FH_photo.bl_file_extensions.split(";"))
    assert not LPMM_FH_photo.poll_drop(bpy.context)  # No 3D viewport under the pointer.


def test_a_face_is_not_added_outside_object_mode(scene: Scene, rig: Object, portrait: Path) -> None:
    (plane,) = (child for child in rig.children if child.type == "MESH")
    bpy.context.view_layer.objects.active = plane
    bpy.ops.object.mode_set(mode="EDIT")
    with pytest.raises(RuntimeError, match="Object Mode"):
        bpy.ops.lpmm.add_face(filepath=str(portrait))


def test_a_busy_runtime_is_not_waited_for_when_a_face_goes(runtime: RuntimeSession, rig: Object) -> None:
    with runtime._lock:
        released: list[bool] = []
        asking = threading.Thread(target=lambda: released.append(runtime.release_characters(set())))
        started = time.monotonic()
        asking.start()
        asking.join(5.0)
    assert released == [False] and time.monotonic() - started < 5.0
    assert len(runtime.photos) == 1
