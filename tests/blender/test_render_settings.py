# SPDX-License-Identifier: GPL-3.0-or-later
"""The right frame under every engine and setting, and settings that a render changed are put back."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
import pytest
from animating import key
from bpy.types import Depsgraph, Object, Scene
from reference import Reference, difference, read_png, render_with_cycles

from lpmm_blender import frames, handlers
from lpmm_blender.add_face import FaceOptions, add_face
from lpmm_blender.exact_colours import colour_faults

EEVEE = "BLENDER_EEVEE" if bpy.app.version >= (5, 0, 0) else "BLENDER_EEVEE_NEXT"


@pytest.fixture
def moving(scene: Scene, rig: Object) -> Object:
    """A rig that looks different on every frame and between them."""
    render_with_cycles(scene)
    key(rig, "p07", {-7: -4, 25: 4})
    scene.frame_set(1)
    return rig


def channels_at(frame: float) -> dict[str, float]:
    return {"p07": -4.0 + (frame + 7) / 4}


def still(scene: Scene, path: Path) -> np.ndarray:
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    return read_png(path)


@pytest.mark.parametrize("engine", ["BLENDER_WORKBENCH", EEVEE])
def test_other_engines_show_the_right_frame(
    scene: Scene, portrait: Path, reference: Reference, tmp_path: Path, engine: str
) -> None:
    rig = add_face(scene, portrait, FaceOptions(camera=True))
    key(rig, "p07", {1: -2, 3: 2})
    render_with_cycles(scene)
    scene.render.engine = engine
    scene.render.filter_size = 0.0
    if engine == "BLENDER_WORKBENCH":
        scene.display.shading.light, scene.display.shading.color_type = "FLAT", "TEXTURE"
        scene.display.render_aa = "OFF"
    else:
        scene.eevee.taa_render_samples = 1
        # Software OpenGL takes seconds for a full-size frame.
        scene.render.resolution_percentage = 25
    scene.frame_set(1)
    scene.frame_set(3)
    picture = still(scene, tmp_path / "frame.png")[..., :3].astype(int)
    whole = reference.frame({"p07": 2.0})[..., :3].astype(int)
    if engine == "BLENDER_WORKBENCH":
        assert np.abs(picture - whole).max() <= 1
        return
    # A quarter of the size: compare with the picture, and with that of another frame.
    wrong = reference.frame({"p07": -2.0})[..., :3].astype(int)
    step = whole.shape[0] / picture.shape[0]
    rows = ((np.arange(picture.shape[0]) + 0.5) * step).astype(int)
    near, far = (np.abs(picture - one[rows][:, rows]).mean() for one in (whole, wrong))
    assert near < 4 and far > 3 * near


def test_several_faces_in_one_render(
    scene: Scene, moving: Object, portrait: Path, reference: Reference, tmp_path: Path
) -> None:
    twin = add_face(scene, portrait, FaceOptions())
    key(twin, "headYaw", {1: -40, 5: 40})
    width = moving["lpmm_image"].size[0]
    camera = scene.camera
    camera.data.ortho_scale *= 2
    scene.render.resolution_x = 2 * width
    camera.location.x += 1.0  # The planes are two units wide: half of one.
    twin.location.x = moving.location.x + 2.0
    scene.frame_start, scene.frame_end = 1, 3
    scene.render.filepath = f"{tmp_path}/####"
    bpy.ops.render.render(animation=True)
    for frame in (1, 2, 3):
        picture = read_png(tmp_path / f"{frame:04d}.png")
        assert difference(picture[:, :width], reference.frame(channels_at(frame))) <= 1
        assert difference(picture[:, width:], reference.frame({"headYaw": -40.0 + 20.0 * (frame - 1)})) <= 1


def test_a_transparent_film_shows_the_face_and_nothing_beside_it(
    scene: Scene, moving: Object, reference: Reference, tmp_path: Path
) -> None:
    scene.render.film_transparent = True
    scene.render.image_settings.color_mode = "RGBA"
    width = scene.render.resolution_x
    scene.render.resolution_x = 2 * width
    scene.camera.data.ortho_scale *= 2
    picture = still(scene, tmp_path / "frame.png")
    left = width // 2
    face = picture[:, left : left + width]
    # An odd width puts the face half a pixel off; its inside is exact all the same.
    assert (face[:, 1:-1, 3] == 255).all()
    assert (picture[:, : left - 1, 3] == 0).all() and (picture[:, left + width + 1 :, 3] == 0).all()


def test_both_eyes_see_the_same_frame(scene: Scene, moving: Object, reference: Reference, tmp_path: Path) -> None:
    scene.render.use_multiview = True
    scene.render.image_settings.views_format = "INDIVIDUAL"
    stereo = scene.camera.data.stereo
    stereo.convergence_mode, stereo.interocular_distance = "PARALLEL", 0.0
    scene.frame_start, scene.frame_end = 2, 3
    scene.render.filepath = f"{tmp_path}/####"
    bpy.ops.render.render(animation=True)
    for frame in (2, 3):
        for eye in "LR":
            picture = read_png(tmp_path / f"{frame:04d}_{eye}.png")
            assert difference(picture, reference.frame(channels_at(frame))) <= 1, (frame, eye)


@pytest.mark.parametrize("position", ["START", "CENTER", "END"])
@pytest.mark.parametrize("shutter", [0.5, 2.0])
def test_motion_blur_shows_the_picture_of_the_frame(
    scene: Scene, moving: Object, reference: Reference, tmp_path: Path, position: str, shutter: float
) -> None:
    # With a shutter of two frames the steps of the blur fall on whole frames: those before and after.
    scene.render.use_motion_blur = True
    scene.render.motion_blur_position, scene.render.motion_blur_shutter = position, shutter
    scene.frame_set(4)
    assert difference(still(scene, tmp_path / "frame.png"), reference.frame(channels_at(4))) <= 1


@pytest.mark.parametrize("blur", [False, True])
def test_a_still_between_two_frames_is_exact(
    scene: Scene, moving: Object, reference: Reference, tmp_path: Path, blur: bool
) -> None:
    scene.render.use_motion_blur = blur
    scene.frame_set(4, subframe=0.5)
    assert difference(still(scene, tmp_path / "frame.png"), reference.frame(channels_at(4.5))) <= 1
    assert difference(reference.frame(channels_at(4)), reference.frame(channels_at(4.5))) > 1


@pytest.mark.parametrize("blur", [False, True])
def test_slow_motion_by_time_remapping_shows_the_moments_between(
    scene: Scene, moving: Object, reference: Reference, tmp_path: Path, blur: bool
) -> None:
    scene.render.use_motion_blur = blur
    scene.render.frame_map_old, scene.render.frame_map_new = 100, 200
    scene.frame_start, scene.frame_end = 3, 6
    scene.render.filepath = f"{tmp_path}/####"
    bpy.ops.render.render(animation=True)
    for frame in range(3, 7):
        expected = reference.frame(channels_at(frame / 2))
        assert difference(read_png(tmp_path / f"{frame:04d}.png"), expected) <= 1, frame


def _film_of(scene: Scene) -> Scene:
    """Return a scene whose sequencer shows another scene."""
    film = bpy.data.scenes.new("film")
    film.render.resolution_x, film.render.resolution_y = scene.render.resolution_x, scene.render.resolution_y
    film.view_settings.view_transform = "Standard"
    film.render.dither_intensity = 0.0
    film.sequence_editor_create()
    film.sequencer_colorspace_settings.name = "sRGB"
    editor = film.sequence_editor
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    strip = strips.new_scene(name="shot", scene=scene, channel=1, frame_start=11)
    strip.frame_final_duration = 3
    film.frame_start, film.frame_end = 11, 13
    return film


def test_a_scene_strip_shows_the_frames_of_its_scene(
    scene: Scene, moving: Object, reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def note(rig: Object, depsgraph: Depsgraph) -> None:
        asked.append(handlers._render.active)
        show_exact(rig, depsgraph)

    show_exact = frames.show_exact
    monkeypatch.setattr(frames, "show_exact", note)
    scene.frame_start = 1
    scene.render.use_persistent_data = True
    film = _film_of(scene)
    film.render.filepath = f"{tmp_path}/####"
    bpy.context.window.scene = film
    bpy.ops.render.render(animation=True)
    for number, frame in ((11, 1), (12, 2), (13, 3)):
        picture = read_png(tmp_path / f"{number:04d}.png")
        assert difference(picture, reference.frame(channels_at(frame))) <= 1, number
    assert asked and all(asked), "a strip's frame was not taken for a render's"
    assert scene.render.use_persistent_data and not handlers._render.active


COMPOSITOR = """
import sys
from pathlib import Path
import bpy
import lpmm_blender
from lpmm_blender.add_face import FaceOptions, add_face
from lpmm_blender.runtime_session import RuntimeSettings, session
bundle, photo, out = sys.argv[1:]
lpmm_blender.register()
session().configure(RuntimeSettings(bundle=Path(bundle), device="cpu", threads=1, log=Path(out) / "runtime.log"))
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
rig = add_face(scene, Path(photo), FaceOptions(camera=True))
for frame, value in ((-7, -4.0), (25, 4.0)):
    rig["p07"] = value
    rig.keyframe_insert('["p07"]', frame=frame)
from lpmm_blender.action_curves import active_fcurves
for curve in active_fcurves(rig):
    for point in curve.keyframe_points:
        point.interpolation = "LINEAR"
other = bpy.data.scenes.new("comp")
for one in (scene, other):
    one.render.engine, one.cycles.samples, one.cycles.filter_width = "CYCLES", 1, 0.01
    one.cycles.use_denoising = False
    one.view_settings.view_transform, one.render.dither_intensity = "Standard", 0.0
    one.render.image_settings.file_format = "PNG"
other.render.resolution_x, other.render.resolution_y = scene.render.resolution_x, scene.render.resolution_y
other.camera = scene.camera
if hasattr(other, "compositing_node_group"):
    tree = other.compositing_node_group = bpy.data.node_groups.new("comp", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    sink = tree.nodes.new("NodeGroupOutput")
else:
    other.use_nodes = True
    tree = other.node_tree
    tree.nodes.clear()
    sink = tree.nodes.new("CompositorNodeComposite")
layers = tree.nodes.new("CompositorNodeRLayers")
layers.scene = scene
tree.links.new(layers.outputs["Image"], sink.inputs[0])
# Blender evaluates a scene that was left between two frames at the same part of the frame.
scene.frame_set(9, subframe=0.5)
other.frame_start, other.frame_end = 3, 4
other.render.filepath = out + "/####"
bpy.context.window.scene = other
bpy.ops.render.render(animation=True)
lpmm_blender.unregister()
"""


def test_the_compositor_of_another_scene_gets_the_right_frame(
    tiny_bundle: Path, portrait: Path, reference: Reference, tmp_path: Path
) -> None:
    # In a process of its own: Blender 4.5 crashes, with no add-on, when it composites scenes after it has rendered a
    # scene strip of another file.
    command = [sys.executable, "-c", COMPOSITOR, str(tiny_bundle), str(portrait), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    for frame in (3, 4):
        picture = read_png(tmp_path / f"{frame:04d}.png")
        assert difference(picture, reference.frame(channels_at(frame + 0.5))) <= 1, frame


def test_a_render_that_fails_puts_persistent_data_back(scene: Scene, moving: Object) -> None:
    scene.render.use_persistent_data = True
    scene.camera = None
    with pytest.raises(RuntimeError, match="no camera"):
        bpy.ops.render.render()
    assert scene.render.use_persistent_data and not handlers._render.active


def test_a_cancelled_render_puts_everything_back(
    scene: Scene, moving: Object, reference: Reference, tmp_path: Path
) -> None:
    # What Esc leads to, by the events alone: the bpy module has no keyboard.
    scene.render.use_persistent_data = True
    handlers._on_render_init(scene)
    assert not scene.render.use_persistent_data
    handlers._on_render_pre(scene)
    handlers._on_render_end(scene)
    assert scene.render.use_persistent_data and not handlers._render.active
    scene.render.use_persistent_data = False
    scene.frame_set(6)
    assert difference(still(scene, tmp_path / "frame.png"), reference.frame(channels_at(6))) <= 1
    assert not scene.render.use_persistent_data


CHANGES: list[tuple[str, Callable[[Scene], None]]] = [
    ("view transform", lambda scene: setattr(scene.view_settings, "view_transform", "AgX")),
    ("Exposure", lambda scene: setattr(scene.view_settings, "exposure", 0.5)),
    ("gamma", lambda scene: setattr(scene.view_settings, "gamma", 0.9)),
    ("curves", lambda scene: setattr(scene.view_settings, "use_curve_mapping", True)),
]


@pytest.mark.parametrize(("named", "change"), CHANGES, ids=[name for name, _ in CHANGES])
def test_settings_that_change_colours_are_named_and_mended_by_one_click(
    scene: Scene, moving: Object, reference: Reference, tmp_path: Path, named: str, change: Callable[[Scene], None]
) -> None:
    assert colour_faults(scene) == ()
    assert not bpy.ops.lpmm.exact_colours.poll()
    change(scene)
    (fault,) = colour_faults(scene)
    assert named in fault
    if named == "view transform":
        assert difference(still(scene, tmp_path / "wrong.png"), reference.frame(channels_at(1))) > 20
    assert bpy.ops.lpmm.exact_colours() == {"FINISHED"}
    assert colour_faults(scene) == ()
    assert difference(still(scene, tmp_path / "frame.png"), reference.frame(channels_at(1))) <= 1
