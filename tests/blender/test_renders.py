# SPDX-License-Identifier: GPL-3.0-or-later
"""Every rendered frame is the right one: the frame number is coded in the params and read back from the files."""

from pathlib import Path

import bpy
import pytest
from bpy.types import Object, Scene
from reference import Reference, difference, read_png, render_with_cycles

from lpmm_blender import frames

FRAMES = range(1, 25)


@pytest.fixture
def coded(scene: Scene, rig: Object) -> Object:
    """A rig whose params say which frame it is."""
    render_with_cycles(scene)
    scene.frame_start, scene.frame_end = FRAMES[0], FRAMES[-1]
    for frame in FRAMES:
        for name, value in channels_at(frame).items():
            rig[name] = value
            rig.keyframe_insert(f'["{name}"]', frame=frame)
    scene.frame_set(1)
    return rig


def channels_at(frame: int) -> dict[str, float]:
    """Return channels that tell each frame from every other, neighbours most of all."""
    return {"p07": (frame * 7 % 24) / 4 - 3, "headYaw": (frame * 5 % 24) * 3 - 36}


def wrong_frames(reference: Reference, folder: Path, frames: list[int]) -> list[int]:
    """Return the frames whose file is not the runtime's answer for them."""
    return [
        frame
        for frame in frames
        if difference(read_png(folder / f"{frame:04d}.png"), reference.frame(channels_at(frame))) > 1
    ]


def test_the_code_tells_frames_apart(reference: Reference) -> None:
    pictures = [reference.frame(channels_at(frame)) for frame in FRAMES]
    assert all(difference(a, b) > 1 for i, a in enumerate(pictures) for b in pictures[:i])


@pytest.mark.parametrize("persistent_data", [False, True])
def test_an_animation_rendered_forwards(
    scene: Scene, coded: Object, reference: Reference, tmp_path: Path, persistent_data: bool
) -> None:
    scene.render.use_persistent_data = persistent_data
    scene.render.filepath = f"{tmp_path}/####"
    bpy.ops.render.render(animation=True)
    assert wrong_frames(reference, tmp_path, list(FRAMES)) == []
    assert scene.render.use_persistent_data == persistent_data


def test_an_animation_rendered_in_steps(scene: Scene, coded: Object, reference: Reference, tmp_path: Path) -> None:
    scene.frame_step = 5
    scene.render.filepath = f"{tmp_path}/####"
    bpy.ops.render.render(animation=True)
    assert wrong_frames(reference, tmp_path, list(FRAMES[::5])) == []


def test_stills_rendered_out_of_order(scene: Scene, coded: Object, reference: Reference, tmp_path: Path) -> None:
    order = [17, 3, 24, 3, 1, 12, 11, 23]
    for frame in order:
        scene.frame_set(frame)
        scene.render.filepath = f"{tmp_path}/{frame:04d}.png"
        bpy.ops.render.render(write_still=True)
    assert wrong_frames(reference, tmp_path, order) == []


def test_motion_blur_does_not_mix_frames(
    scene: Scene, coded: Object, reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def count_and_show(rig: Object, depsgraph: bpy.types.Depsgraph) -> None:
        asked.append(scene.frame_current)
        show_exact(rig, depsgraph)

    show_exact = frames.show_exact
    monkeypatch.setattr(frames, "show_exact", count_and_show)
    scene.render.use_motion_blur = True
    scene.frame_end = 6
    scene.render.filepath = f"{tmp_path}/####"
    bpy.ops.render.render(animation=True)
    assert wrong_frames(reference, tmp_path, list(range(1, 7))) == []
    assert sorted(set(asked)) == list(range(1, 7))
    assert len(asked) <= 2 * 6 + 1, "a motion-blur step asked for a frame of its own"


def test_a_hidden_rig_still_moves_its_face(scene: Scene, coded: Object, reference: Reference, tmp_path: Path) -> None:
    coded.hide_render = coded.hide_viewport = True
    scene.frame_end = 4
    scene.render.filepath = f"{tmp_path}/####"
    bpy.ops.render.render(animation=True)
    assert wrong_frames(reference, tmp_path, [1, 2, 3, 4]) == []


def test_remapped_time_shows_the_frames_of_the_animation(
    scene: Scene, coded: Object, reference: Reference, tmp_path: Path
) -> None:
    scene.render.frame_map_old, scene.render.frame_map_new = 100, 50
    scene.frame_start, scene.frame_end = 1, 4
    scene.render.filepath = f"{tmp_path}/####"
    bpy.ops.render.render(animation=True)
    for frame in (1, 2, 3, 4):
        expected = reference.frame(channels_at(2 * frame))
        assert difference(read_png(tmp_path / f"{frame:04d}.png"), expected) <= 1
