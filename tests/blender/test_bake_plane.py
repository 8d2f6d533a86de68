# SPDX-License-Identifier: GPL-3.0-or-later
"""The plane of a baked face: an image sequence that needs neither add-on nor runtime, and a bake that ages visibly."""

import os
import subprocess
import sys
from pathlib import Path

import bpy
import pytest
from animating import key
from bpy.types import Image, Object, Scene
from reference import Reference, change_slider, difference, read_png, render_with_cycles, shown_by

from lpmm_blender.add_face import FaceOptions, add_face
from lpmm_blender.bake import BakeOptions, bake_faces, folder_of
from lpmm_blender.bake_check import as_ranges, changed_frames, state_of
from lpmm_blender.baked_plane import show_live, shows_bake
from lpmm_blender.runtime_session import RuntimeSession

LAST = 6


@pytest.fixture
def baked(scene: Scene, rig: Object, tmp_path: Path) -> Object:
    """A saved file with a baked rig, its bake beside it, and a frame before and after the baked ones."""
    render_with_cycles(scene)
    key(rig, "p07", {2: -3, LAST: 1})
    scene.frame_start, scene.frame_end = 2, LAST
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.context.view_layer.objects.active = rig
    assert bpy.ops.lpmm.bake_face() == {"FINISHED"}
    return rig


def channels_at(frame: int) -> dict[str, float]:
    return {"p07": float(min(max(frame, 2), LAST)) - 5.0}


def image_shown(rig: Object) -> Image:
    """Return the image that the rig's plane shows: in a render, and as the active node in Solid and Workbench."""
    plane = next(child for child in rig.children if child.type == "MESH")
    tree = plane.material_slots[0].material.node_tree
    emission = next(node for node in tree.nodes if node.bl_idname == "ShaderNodeEmission")
    node = emission.inputs["Color"].links[0].from_node
    assert tree.nodes.active == node
    return node.image


def render(scene: Scene, path: Path, frame: int) -> Path:
    scene.frame_set(frame)
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    return path


def test_the_plane_shows_a_relative_sequence(baked: Object, tmp_path: Path) -> None:
    image = image_shown(baked)
    assert image == baked["lpmm_bake"] and image.source == "SEQUENCE"
    assert image.filepath.replace("\\", "/") == "//lpmm_bake/shot/Ada/0002.png"
    assert (tmp_path / "lpmm_bake" / "shot" / "Ada" / "0006.png").is_file()
    assert shows_bake(baked)


@pytest.mark.parametrize("persistent_data", [False, True])
def test_a_baked_face_renders_without_asking_the_runtime(
    scene: Scene,
    baked: Object,
    runtime: RuntimeSession,
    reference: Reference,
    tmp_path: Path,
    persistent_data: bool,
) -> None:
    runtime.stop()
    scene.render.use_persistent_data = persistent_data
    scene.frame_start, scene.frame_end = 1, LAST + 1
    scene.render.filepath = f"{tmp_path}/####"
    bpy.ops.render.render(animation=True)
    for frame in range(1, LAST + 2):
        assert difference(read_png(tmp_path / f"{frame:04d}.png"), reference.frame(channels_at(frame))) <= 1, frame
    assert runtime.process is None
    assert scene.render.use_persistent_data == persistent_data


def test_a_single_baked_frame_is_shown_at_every_time(
    scene: Scene, baked: Object, reference: Reference, tmp_path: Path
) -> None:
    assert bpy.ops.lpmm.bake_face(use_range=True, start=3, end=3) == {"FINISHED"}
    for frame in (2, 3, 5):
        picture = read_png(render(scene, tmp_path / f"{frame}.png", frame))
        assert difference(picture, reference.frame(channels_at(3))) <= 1


@pytest.mark.parametrize("bits", ["8", "16"])
def test_motion_blur_leaves_a_baked_frame_alone(
    scene: Scene, baked: Object, reference: Reference, tmp_path: Path, bits: str
) -> None:
    assert bpy.ops.lpmm.bake_face(bits=bits) == {"FINISHED"}
    scene.render.use_motion_blur = True
    scene.render.motion_blur_shutter = 1.5
    picture = read_png(render(scene, tmp_path / "blurred.png", 4))
    assert difference(picture, reference.frame(channels_at(4))) <= 1


FARM = """
import sys
import bpy
assert "lpmm_blender" not in sys.modules and not hasattr(bpy.types, "LPMM_OT_bake_face")
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.wm.open_mainfile(filepath=sys.argv[1], load_ui=False)
scene = bpy.context.scene
for frame in map(int, sys.argv[3:]):
    scene.frame_set(frame)
    scene.render.filepath = f"{sys.argv[2]}/{frame:04d}.png"
    bpy.ops.render.render(write_still=True)
"""


def test_a_farm_worker_renders_a_baked_file_without_add_on_or_runtime(
    scene: Scene, baked: Object, reference: Reference, tmp_path: Path
) -> None:
    bpy.ops.wm.save_mainfile()
    shipped = tmp_path / "elsewhere"
    (shipped / "lpmm_bake").mkdir(parents=True)
    (tmp_path / "shot.blend").rename(shipped / "shot.blend")
    (tmp_path / "lpmm_bake" / "shot").rename(shipped / "lpmm_bake" / "shot")
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-P", "-c", FARM, str(shipped / "shot.blend"), str(tmp_path), "5", "3"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=plain, cwd="/")
    assert result.returncode == 0, result.stdout + result.stderr
    for frame in (3, 5):
        assert difference(read_png(tmp_path / f"{frame:04d}.png"), reference.frame(channels_at(frame))) <= 1


def test_a_cut_out_bake_keeps_its_transparency(
    scene: Scene, portrait: Path, reference: Reference, tmp_path: Path
) -> None:
    rig = add_face(scene, portrait, FaceOptions(cut_out=True, camera=True))
    bake_faces(scene, [rig], BakeOptions(str(tmp_path / "frames"), 1, 1))
    plane = next(child for child in rig.children if child.type == "MESH")
    tree = plane.material_slots[0].material.node_tree
    mix = next(node for node in tree.nodes if node.bl_idname == "ShaderNodeMixShader")
    assert mix.inputs[0].links[0].from_node.image == rig["lpmm_bake"]
    show_live(rig)
    assert mix.inputs[0].links[0].from_node.image == rig["lpmm_image"]


def test_live_shows_the_face_of_now_and_baked_the_old_one_again(
    scene: Scene, baked: Object, reference: Reference, tmp_path: Path
) -> None:
    scene.frame_set(3)
    key(baked, "p08", {2: 1, LAST: 1})
    scene.frame_set(4)
    assert bpy.ops.lpmm.show_live() == {"FINISHED"}
    now = reference.frame({**channels_at(4), "p08": 1.0})
    assert difference(shown_by(baked), now) == 0
    assert image_shown(baked) == baked["lpmm_image"]
    assert difference(read_png(render(scene, tmp_path / "live.png", 4)), now) <= 1
    assert bpy.ops.lpmm.show_bake() == {"FINISHED"}
    assert difference(read_png(render(scene, tmp_path / "baked.png", 4)), reference.frame(channels_at(4))) <= 1


def test_frames_baked_anew_are_shown_anew(scene: Scene, baked: Object, reference: Reference, tmp_path: Path) -> None:
    render(scene, tmp_path / "before.png", 4)
    key(baked, "p08", {2: 1, LAST: 1})
    assert bpy.ops.lpmm.bake_face() == {"FINISHED"}
    expected = reference.frame({**channels_at(4), "p08": 1.0})
    assert difference(read_png(render(scene, tmp_path / "after.png", 4)), expected) <= 1
    plane = next(child for child in baked.children if child.type == "MESH")
    assert len(plane.material_slots[0].material.node_tree.nodes) == 4
    assert sum(image.source == "SEQUENCE" for image in bpy.data.images) == 1


def test_a_duplicate_of_a_baked_face_bakes_into_an_image_of_its_own(
    scene: Scene, baked: Object, reference: Reference
) -> None:
    bpy.ops.object.select_all(action="DESELECT")
    for thing in (baked, *baked.children):
        thing.hide_set(False)
        thing.select_set(True)
    bpy.ops.object.duplicate()
    twin = bpy.data.objects["Ada.001"]
    twin.animation_data_clear()
    change_slider(twin, "p07", 2.0)
    bpy.context.view_layer.objects.active = twin
    assert bpy.ops.lpmm.bake_face() == {"FINISHED"}
    assert twin["lpmm_bake"] != baked["lpmm_bake"]
    assert (image_shown(twin), image_shown(baked)) == (twin["lpmm_bake"], baked["lpmm_bake"])
    folder = folder_of(twin, BakeOptions().folder)
    assert folder != folder_of(baked, BakeOptions().folder)
    assert difference(read_png(folder / "0003.png"), reference.frame({"p07": 2.0})) == 0


def test_a_reloaded_file_still_shows_its_bake(scene: Scene, baked: Object, tmp_path: Path) -> None:
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    rig = bpy.data.objects["Ada"]
    assert shows_bake(rig) and image_shown(rig) == rig["lpmm_bake"]
    bpy.context.view_layer.objects.active = rig
    assert bpy.ops.lpmm.show_live() == {"FINISHED"}
    assert image_shown(rig) == rig["lpmm_image"]


def test_the_interface_is_locked_for_live_faces_only(scene: Scene, baked: Object) -> None:
    assert not scene.render.use_lock_interface
    bpy.ops.lpmm.show_live()
    assert scene.render.use_lock_interface
    bpy.ops.lpmm.show_bake()
    assert not scene.render.use_lock_interface


def test_a_lock_of_the_animators_own_stays(scene: Scene, portrait: Path, tmp_path: Path) -> None:
    scene.render.use_lock_interface = True
    rig = add_face(scene, portrait, FaceOptions())
    bake_faces(scene, [rig], BakeOptions(str(tmp_path), 1, 1))
    assert scene.render.use_lock_interface


def test_the_lock_goes_with_the_last_face(scene: Scene, rig: Object) -> None:
    bpy.context.view_layer.update()
    assert scene.render.use_lock_interface
    bpy.ops.object.select_all(action="DESELECT")
    for thing in (rig, *rig.children):
        thing.hide_set(False)
        thing.select_set(True)
    bpy.ops.object.delete()
    bpy.context.view_layer.update()
    assert not scene.render.use_lock_interface


def stale(scene: Scene, rig: Object) -> tuple[str, ...]:
    return state_of(scene, rig, bpy.context.evaluated_depsgraph_get()).stale


def test_a_fresh_bake_is_told_to_be_right(scene: Scene, baked: Object) -> None:
    for frame in (1, 2, 4, LAST, LAST + 3):
        scene.frame_set(frame)
        assert stale(scene, baked) == ()
    assert changed_frames(scene, baked) == []


def test_a_bake_that_aged_says_which_frames(scene: Scene, baked: Object, tmp_path: Path) -> None:
    curve = key(baked, "p08", {3: 0, 4: 1, 5: 1, 6: 0})
    assert curve is not None
    scene.frame_set(3)
    assert stale(scene, baked) == ()
    scene.frame_set(4)
    assert stale(scene, baked) == ("Frame 4 differs",)
    assert changed_frames(scene, baked) == [4, 5]
    (tmp_path / "lpmm_bake" / "shot" / "Ada" / "0002.png").unlink()
    assert as_ranges(changed_frames(scene, baked)) == "2, 4–5"


def test_another_photo_is_told(scene: Scene, baked: Object, tmp_path: Path, portrait: Path) -> None:
    other = tmp_path / "other.png"
    other.write_bytes(portrait.read_bytes() + b" ")
    baked["lpmm_photo"].filepath = str(other)
    scene.frame_set(3)
    assert stale(scene, baked) == ("The photo has changed",)
    assert changed_frames(scene, baked) == list(range(2, LAST + 1))


def test_the_panels_look_is_cheap(scene: Scene, baked: Object, runtime: RuntimeSession) -> None:
    runtime.stop()
    state_of(scene, baked, bpy.context.evaluated_depsgraph_get())
    assert runtime.process is None, "drawing the panel started the runtime"
