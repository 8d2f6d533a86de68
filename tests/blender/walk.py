# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of tests/gui/tour.py without a window, with the add-on installed from its zip; run by test_walk.py.

    python walk.py ZIP BUNDLE PHOTO OUT

Writes what the face shows after each step, and the sliders' evaluated values beside it, into the folder OUT.
"""

import json
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import bpy
import numpy as np
from bpy.types import Object

# Where the project is installed for development its packages would be found, too; those of the zip are meant.
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(getattr(finder, "__module__", ""))]

ZIP, BUNDLE, PHOTO, OUT = map(Path, sys.argv[1:])
PACKAGE = "bl_ext.user_default.lpmm"
PRESET = "preset:Pout"
YAW = {1: -30.0, 120: 40.0, 240: -20.0}
POUT = {60: 0.0, 100: 1.0, 140: 1.0, 180: 0.0}


def rig() -> Object:
    """Return the face; undo and reopening replace the object."""
    return bpy.data.objects[PHOTO.stem]


def note(step: str) -> None:
    """Save what the plane shows now, and which values were asked for."""
    face, slider_names = rig(), import_module(f"{PACKAGE}.rig").slider_names
    image = face["lpmm_image"]
    pixels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(pixels)
    width, height = image.size
    np.save(OUT / f"{step}.npy", np.rint(pixels.reshape(height, width, 4)[::-1] * 255).astype(np.uint8))
    evaluated = face.evaluated_get(bpy.context.evaluated_depsgraph_get())
    values = {name.removeprefix("preset:"): float(evaluated[name]) for name in slider_names(face)}
    (OUT / f"{step}.json").write_text(json.dumps(values))


def set_slider(name: str, value: float) -> None:
    """Do what dragging a slider does."""
    rig()[name] = value
    rig().update_tag()
    bpy.context.view_layer.update()


def key_slider(name: str, values: Mapping[int, float]) -> None:
    """Key a slider, with straight lines between the keys."""
    for frame, value in values.items():
        bpy.context.scene.frame_set(frame)
        set_slider(name, value)
        rig().keyframe_insert(f'["{name}"]')
    for curve in import_module(f"{PACKAGE}.action_curves").active_fcurves(rig()):
        for point in curve.keyframe_points:
            point.interpolation = "LINEAR"


def push_down(name: str) -> None:
    """Make the active action a strip on a track of its own above the others."""
    animation = rig().animation_data
    action, slot = animation.action, getattr(animation, "action_slot", None)
    animation.action = None
    strip = animation.nla_tracks.new().strips.new(name, int(action.frame_range[0]), action)
    strip.name = name
    if slot is not None:
        strip.action_slot = slot
    strip.action_frame_start, strip.action_frame_end = action.frame_range


def install() -> None:
    bpy.ops.extensions.package_install_files(filepath=str(ZIP), repo="user_default", enable_on_install=True)
    chosen = bpy.context.preferences.addons[PACKAGE].preferences
    chosen.bundle_folder, chosen.device = str(BUNDLE), "cpu"
    runtime = Path(import_module("lpmm_runtime").__file__)
    assert runtime.is_relative_to(bpy.utils.resource_path("USER")), f"{runtime} is not the zip's"


def add() -> None:
    bpy.data.batch_remove([*bpy.data.objects, *bpy.data.collections])
    assert bpy.ops.lpmm.add_face(filepath=str(PHOTO), camera=True) == {"FINISHED"}
    note("added")


def slide() -> None:
    set_slider("headYaw", 20.0)
    note("slid")


def key() -> None:
    key_slider("headYaw", YAW)
    assert bpy.ops.lpmm.key_sliders(which="ALL") == {"FINISHED"}


def play() -> None:
    for frame in range(1, 25):
        bpy.context.scene.frame_set(frame)
        note(f"played-{frame}")


def use_preset() -> None:
    path = OUT / "pout.json"
    shape = {"format": "lpmm-preset", "format_version": 1, "name": "Pout", "controls": {"jawOpen": 0.3}}
    path.write_text(json.dumps({**shape, "params": {"p08": 1.5}}))
    bpy.context.scene.frame_set(120)
    assert bpy.ops.lpmm.import_preset(filepath=str(path)) == {"FINISHED"}
    set_slider(PRESET, 1.0)
    note("preset")
    set_slider(PRESET, 0.0)


def layer() -> None:
    push_down("Head turn")
    key_slider(PRESET, POUT)
    push_down("Pout")
    over = rig().animation_data.nla_tracks[1].strips[0]
    over.blend_type, over.extrapolation = "COMBINE", "NOTHING"
    for frame in (30, 80, 120, 200):
        bpy.context.scene.frame_set(frame)
        note(f"strips-{frame}")


def render() -> None:
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.samples, scene.cycles.filter_width = "CPU", 1, 0.01
    scene.cycles.use_denoising = scene.cycles.use_adaptive_sampling = False
    scene.render.image_settings.file_format = "PNG"
    scene.frame_start, scene.frame_end = min(YAW), max(YAW)
    scene.render.filepath = str(OUT / "render" / "####")
    bpy.ops.render.render(animation=True)


def bake() -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(OUT / "walk.blend"))
    bpy.context.view_layer.objects.active = rig()
    assert bpy.ops.lpmm.bake_face() == {"FINISHED"}
    bpy.ops.wm.save_mainfile()


def reopen() -> None:
    bpy.ops.wm.open_mainfile(filepath=str(OUT / "walk.blend"))
    assert [track.strips[0].name for track in rig().animation_data.nla_tracks] == ["Head turn", "Pout"]
    bpy.context.view_layer.objects.active = rig()
    assert bpy.ops.lpmm.show_live() == {"FINISHED"}
    bpy.context.scene.frame_set(130)
    note("reopened")


for step in (install, add, slide, key, play, use_preset, layer, render, bake, reopen):
    step()
    print("ok", step.__name__, flush=True)
bpy.ops.preferences.addon_disable(module=PACKAGE)
