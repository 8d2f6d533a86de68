# SPDX-License-Identifier: GPL-3.0-or-later
"""Baked frames are the runtime's own, whatever animates the face, and the animator's scene stays as it was."""

import json
from pathlib import Path

import bpy
import cv2
import numpy as np
import pytest
from animating import drive, key, layer
from bpy.types import Object, Scene
from reference import Reference, difference, names_in_file, read_png

from lpmm_blender.add_face import FaceOptions, add_face
from lpmm_blender.bake import BakeOptions, bake_faces
from lpmm_blender.bake_manifest import BakeError, read_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where Ada's frames go under `options`."""
    return tmp_path / "frames" / "Ada"


@pytest.fixture
def options(tmp_path: Path) -> BakeOptions:
    """A few frames."""
    return BakeOptions(folder=str(tmp_path / "frames"), start=1, end=5)


def wrong_frames(folder: Path, reference: Reference, expected: dict[int, dict[str, float]]) -> list[int]:
    """Return the frames whose file is not exactly the runtime's answer to the channels expected there."""
    return [
        frame
        for frame, channels in expected.items()
        if not np.array_equal(read_png(folder / f"{frame:04d}.png"), reference.frame(channels))
    ]


def test_baked_frames_are_the_runtimes(
    scene: Scene, rig: Object, reference: Reference, folder: Path, options: BakeOptions
) -> None:
    key(rig, "headYaw", {1: 0, 5: 40})
    (outcome,) = bake_faces(scene, [rig], options)
    assert (outcome.rendered, outcome.written, outcome.kept, outcome.missing) == (5, 5, 0, 0)
    assert wrong_frames(folder, reference, {frame: {"headYaw": 10.0 * (frame - 1)} for frame in range(1, 6)}) == []
    assert difference(read_png(folder / "0001.png"), read_png(folder / "0005.png")) > 4


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
def test_depth_and_alpha_are_as_asked_for(
    scene: Scene, rig: Object, reference: Reference, folder: Path, options: BakeOptions, bits: int, alpha: bool
) -> None:
    bake_faces(scene, [rig], BakeOptions(options.folder, 1, 1, bits=bits, alpha=alpha))
    picture = cv2.imread(str(folder / "0001.png"), cv2.IMREAD_UNCHANGED)
    assert picture.dtype == (np.uint16 if bits == 16 else np.uint8)
    assert picture.shape[2] == (4 if alpha else 3)
    rgb = picture[..., 2::-1].astype(int)
    assert np.array_equal(rgb, reference.frame({})[..., :3].astype(int) * (257 if bits == 16 else 1))


def test_the_manifest_tells_what_each_file_shows(
    scene: Scene, rig: Object, folder: Path, options: BakeOptions, tiny_bundle: Path
) -> None:
    scene.render.fps = 30
    key(rig, "p07", {1: 0, 3: 2, 5: 0})
    bake_faces(scene, [rig], options)
    values = json.loads((folder / "lpmm-bake.json").read_text())
    assert (values["format"], values["format_version"], values["rig"]) == ("lpmm-bake", 1, "Ada")
    assert (values["start"], values["end"], values["step"], values["fps"]) == (1, 5, 1, 30.0)
    assert values["source"]["photo"] == "Ada.png" and values["source"]["bits"] == 8
    assert sorted(values["frames"]) == ["1", "2", "3", "4", "5"]
    manifest = read_manifest(folder)
    assert all(entry.is_in(folder) for entry in manifest.frames.values())
    hashes = [manifest.frames[frame].request for frame in range(1, 6)]
    assert hashes[0] == hashes[4] and hashes[1] == hashes[3] and len(set(hashes)) == 3


def test_a_picture_that_several_frames_show_is_rendered_once(
    scene: Scene, rig: Object, reference: Reference, folder: Path, options: BakeOptions
) -> None:
    key(rig, "p07", {1: 0, 3: 2}, "CONSTANT")
    (outcome,) = bake_faces(scene, [rig], options)
    assert (outcome.rendered, outcome.written) == (2, 5)
    assert wrong_frames(folder, reference, {1: {}, 2: {}, 3: {"p07": 2.0}, 5: {"p07": 2.0}}) == []


def test_on_twos_the_frames_between_hold_the_one_before(
    scene: Scene, rig: Object, reference: Reference, folder: Path, options: BakeOptions
) -> None:
    key(rig, "p07", {1: 0, 5: 4})
    bake_faces(scene, [rig], BakeOptions(options.folder, 1, 5, step=2))
    values = {1: 0.0, 2: 0.0, 3: 2.0, 4: 2.0, 5: 4.0}
    assert wrong_frames(folder, reference, {frame: {"p07": value} for frame, value in values.items()}) == []


def test_nla_drivers_and_modifiers_reach_the_files(
    scene: Scene, rig: Object, reference: Reference, folder: Path, options: BakeOptions
) -> None:
    hand = bpy.data.objects.new("hand", None)
    scene.collection.objects.link(hand)
    hand.location.x = 0
    hand.keyframe_insert("location", index=0, frame=1)
    hand.location.x = 8
    hand.keyframe_insert("location", index=0, frame=5)
    drive(rig, "p08", hand, "location.x", "x / 4")
    drive(rig, "headPitch", hand, "location.x", "frame * 2")
    layer(rig, "jawOpen", {1: 0.2, 5: 0.2})
    layer(rig, "jawOpen", {1: 0.0, 5: 0.8}, "ADD")
    curve = key(rig, "p07", {1: 0, 3: 2})
    curve.modifiers.new("CYCLES")
    hand.hide_viewport = rig.hide_viewport = rig.hide_render = True

    expected = {}
    for frame in range(1, 6):
        scene.frame_set(frame)
        graph = bpy.context.evaluated_depsgraph_get()
        names = ("p07", "p08", "headPitch", "jawOpen")
        expected[frame] = {name: rig.evaluated_get(graph)[name] for name in names}
    assert expected[4]["p07"] == pytest.approx(1.0) and expected[5]["jawOpen"] == pytest.approx(1.0)
    assert expected[5]["p08"] == pytest.approx(2.0) and expected[3]["headPitch"] == pytest.approx(6.0)
    scene.frame_set(2)
    bake_faces(scene, [rig], options)
    assert wrong_frames(folder, reference, expected) == []


def test_the_scene_stays_as_it_was(scene: Scene, rig: Object, options: BakeOptions) -> None:
    moved: list[str] = []
    key(rig, "headYaw", {1: 0, 5: 40})
    scene.frame_set(3, subframe=0.25)
    rig["headYaw"] = 33.0
    before = (names_in_file(), [one.name for one in bpy.data.scenes], rig["lpmm_image"].pixels[:])
    bpy.app.handlers.frame_change_post.append(lambda scene, _: moved.append(scene.name))
    try:
        bake_faces(scene, [rig], options, show=False)
    finally:
        bpy.app.handlers.frame_change_post.pop()
    assert moved and scene.name not in moved
    assert (scene.frame_current, scene.frame_subframe, rig["headYaw"]) == (3, 0.25, 33.0)
    assert (names_in_file(), [one.name for one in bpy.data.scenes], rig["lpmm_image"].pixels[:]) == before


def test_a_driver_on_the_scene_itself_is_right_and_the_scene_is_put_back(
    scene: Scene, rig: Object, reference: Reference, folder: Path, options: BakeOptions
) -> None:
    scene["master"] = 0.0
    for frame, value in ((1, 0.0), (5, 2.0)):
        scene["master"] = value
        scene.keyframe_insert('["master"]', frame=frame)
    drive(rig, "p07", scene, '["master"]')
    key(rig, "headYaw", {1: 0, 5: 40})
    expected = {}
    for frame in range(1, 6):
        scene.frame_set(frame)
        expected[frame] = {"p07": rig.evaluated_get(bpy.context.evaluated_depsgraph_get())["p07"]}
        expected[frame]["headYaw"] = 10.0 * (frame - 1)
    assert expected[5]["p07"] == 2.0 and expected[1]["p07"] == 0.0
    scene.frame_set(2)
    rig["headYaw"] = 33.0
    bake_faces(scene, [rig], options)
    assert wrong_frames(folder, reference, expected) == []
    assert (scene.frame_current, rig["headYaw"]) == (2, 33.0)


def test_several_faces_are_baked_into_folders_of_their_own(
    scene: Scene, rig: Object, portrait: Path, reference: Reference, tmp_path: Path, options: BakeOptions
) -> None:
    twin = add_face(scene, portrait, FaceOptions())
    twin.name = "Grace"
    key(rig, "p07", {1: 0, 5: 4})
    key(twin, "p08", {1: 0, 5: -4})
    bpy.context.view_layer.objects.active = rig
    arguments = {"folder": options.folder, "use_range": True, "start": 1, "end": 5}
    assert bpy.ops.lpmm.bake_face(which="ALL", **arguments) == {"FINISHED"}
    root = tmp_path / "frames"
    assert wrong_frames(root / "Ada", reference, {3: {"p07": 2.0}, 5: {"p07": 4.0}}) == []
    assert wrong_frames(root / "Grace", reference, {3: {"p08": -2.0}, 5: {"p08": -4.0}}) == []


def test_the_operator_takes_what_it_is_not_told_from_the_scene(
    scene: Scene, rig: Object, tmp_path: Path, options: BakeOptions
) -> None:
    settings = scene.lpmm_bake_settings
    settings.folder, settings.bits = options.folder, "16"
    settings.use_range, settings.start, settings.end = True, 2, 3
    bpy.context.view_layer.objects.active = rig
    assert bpy.ops.lpmm.bake_face(end=4) == {"FINISHED"}
    manifest = read_manifest(tmp_path / "frames" / "Ada")
    assert (manifest.start, manifest.end, manifest.source.bits) == (2, 4, 16)


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({}, BakeOptions("//bake", 1, 2), "save the file first"),
        ({}, BakeOptions("/tmp/bake", -3, 2), "negative"),
        ({}, BakeOptions("/tmp/bake", 3, 2), "before the first"),
        ({}, BakeOptions("/tmp/bake", 1, 2, step=0), "step"),
        ({"frame_map_new": 200}, BakeOptions("/tmp/bake", 1, 2), "time remapping"),
    ],
)
def test_what_cannot_become_right_is_refused(
    scene: Scene, rig: Object, change: dict[str, int], options: BakeOptions, said: str
) -> None:
    for name, value in change.items():
        setattr(scene.render, name, value)
    with pytest.raises(BakeError, match=said):
        bake_faces(scene, [rig], options)
    assert rig.get("lpmm_bake") is None


def test_two_faces_never_share_a_folder(scene: Scene, rig: Object, portrait: Path, options: BakeOptions) -> None:
    first, second = rig, add_face(scene, portrait, FaceOptions())
    first.name, second.name = "Ada:x", "Ada/x"
    with pytest.raises(BakeError, match=r"Ada:x and Ada/x"):
        bake_faces(scene, [first, second], options)


def test_a_photo_that_vanished_is_named(scene: Scene, rig: Object, options: BakeOptions) -> None:
    rig["lpmm_photo"].filepath = "/nowhere/Ada.png"
    with pytest.raises(BakeError, match=r"/nowhere/Ada\.png"):
        bake_faces(scene, [rig], options)
