# SPDX-License-Identifier: GPL-3.0-or-later
"""The tour of the add-on in a real window, from the zip on: what an animator does in the first ten minutes.

    LPMM_TOUR_ZIP=dist/lpmm-….zip LPMM_TOUR_PHOTO=portrait.png LPMM_TOUR_OUT=tour BLENDER_USER_RESOURCES=tour/user \\
        blender --factory-startup --no-window-focus --window-geometry 0 0 1400 1050 --python tests/gui/tour.py

It installs the zip from disk, drops a picture, adds a face, drags a slider and a handle with a synthetic mouse, keys,
plays, imports a preset, pushes down to the NLA, imports a performance, renders 240 frames while the viewport shows the
plane, renders the viewport, bakes, saves and reopens.
Beside Blender 4.2 or later it needs an X screen that nothing else uses, for which Xvfb is good enough, `xdotool`, and
ImageMagick's `import`. The zip has to be one for this Blender's Python (`python -m lpmm_blender.build --python 3.N`);
nothing else is installed, and BLENDER_USER_RESOURCES keeps your own Blender's files out of it.

LPMM_TOUR_OUT gets `report.json` (with the milliseconds that the add-on took of the main thread in drags and playback),
`console.txt`, a screenshot a step, and in `pictures/` those of docs/animators.md.
Blender exits with 0 when every step did what it should and the console has no error. `test_tour.py` runs this under
pytest where $LPMM_BLENDER names a Blender.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import bpy
import numpy as np
from bpy.types import Area, Region, Window

sys.path.insert(0, str(Path(__file__).resolve().parent))

from stopwatch import Stopwatch
from tour_state import (
    PACKAGE,
    PHOTO,
    bake_is_over,
    handle_on_screen,
    is_settled,
    key_frames,
    picture_bytes,
    pose,
    read_pixels,
    rig,
    session,
    write_take,
)
from window import Console, Hand, Wait, found, screenshot

ZIP = Path(os.environ["LPMM_TOUR_ZIP"]).absolute()
OUT = Path(os.environ["LPMM_TOUR_OUT"]).absolute()
PICTURES = OUT / "pictures"
FRAMES = 240
YAW = '["headYaw"]'
SMILE = '["preset:Crooked smile"]'

hand = Hand()
watch = Stopwatch(PACKAGE)


def expect(holds: bool, what: str) -> None:
    """Fail the step unless something holds."""
    if not holds:
        raise AssertionError(what)


def wait_until(holds: Callable[[], bool], seconds: float, what: str) -> Wait:
    """Wait until something holds, and fail the step if it does not in time."""
    end = time.monotonic() + seconds
    while not holds():
        expect(time.monotonic() < end, f"{what}: not after {seconds:g} s")
        yield 0.1


def picture(name: str, *regions: Region | Area | Window, margins: tuple[int, int, int, int] = (0, 0, 0, 0)) -> None:
    """Save a picture for the documentation."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    screenshot(PICTURES / f"{name}.jpg", *regions, margins=margins)


def installs() -> Wait:
    """Install from disk, with nothing set in the preferences."""
    preferences = bpy.context.preferences
    with hand.over():
        bpy.ops.extensions.package_install_files(filepath=str(ZIP), repo="user_default", enable_on_install=True)
    expect(PACKAGE in preferences.addons, "the extension is not enabled")
    expect(preferences.addons[PACKAGE].preferences.runtime_python == "", "a Python is set")
    # Open from the beginning, for their pictures: nothing tells where the header of a closed section lies.
    for section in (bpy.types.LPMM_PT_performance, bpy.types.LPMM_PT_output):
        bpy.utils.unregister_class(section)
        section.bl_options = set()
        bpy.utils.register_class(section)
    yield 1.0


def looks_at_the_preferences() -> Wait:
    """Open the add-on's preferences, where the GPU runtime waits for online access."""
    with hand.over():
        bpy.ops.screen.userpref_show("INVOKE_DEFAULT", section="ADDONS")
    yield 1.0
    bpy.context.window_manager.addon_search = "LPMM"
    bpy.ops.preferences.addon_show(module=PACKAGE)
    window = bpy.context.window_manager.windows[-1]
    expect(window.screen.areas[0].type == "PREFERENCES", "the preferences have no window")
    yield 2.0
    # Without the lines above, which tell where this machine keeps its files.
    picture("animators-preferences", window, margins=(168, 226, 0, 90))
    expect(not bpy.ops.lpmm.install_gpu_runtime.poll(), "the GPU runtime would be installed without online access")
    with bpy.context.temp_override(window=window):
        bpy.ops.wm.window_close()
    yield 1.0


def drops_a_picture() -> Wait:
    """Drop the portrait from the file manager: it is offered as a face; Return accepts."""
    hand.move(*hand.centre("WINDOW"))
    yield 0.5
    with hand.over():
        bpy.ops.wm.drop_import_file("INVOKE_DEFAULT", directory=str(PHOTO.parent), files=[{"name": PHOTO.name}])
    yield 1.0
    # In the menu of what may be done with a picture, the key of "Add LPMM Face".
    yield from hand.press("l")
    yield 1.0
    picture("animators-add", hand.area("VIEW_3D"))
    yield from hand.press("Return")
    yield from wait_until(lambda: PHOTO.stem in bpy.data.objects, 60.0, "a face is made of the dropped picture")


def adds_a_face() -> Wait:
    """Choose a portrait; the runtime starts from the zip alone."""
    bpy.data.batch_remove([*bpy.data.objects, *bpy.data.collections])
    with hand.over():
        bpy.ops.lpmm.add_face(filepath=str(PHOTO), camera=True)
    space = hand.area("VIEW_3D").spaces.active
    space.show_region_ui = True
    space.region_3d.view_perspective = "CAMERA"
    yield 1.0
    hand.region("UI").active_panel_category = "LPMM"
    bpy.context.scene.frame_end = FRAMES
    expect(session().running, "the runtime does not run")
    maps = Path(f"/proc/{session().process.pid}/maps").read_text()
    libraries = {line.split()[-1] for line in maps.splitlines() if "onnxruntime" in line}
    expect(bool(libraries), "the runtime runs without onnxruntime")
    user = bpy.utils.resource_path("USER")
    expect(all(path.startswith(user) for path in libraries), f"onnxruntime is not the zip's: {sorted(libraries)}")
    yield 1.0


def drags_a_slider() -> Wait:
    """Turn the head with the mouse on the slider."""
    start = yield from found(hand.find(YAW))
    before = picture_bytes()
    with watch.over("drag"):
        yield from hand.drag(start, (45.0, 0.0))
    yaw = rig()["headYaw"]
    expect(yaw > 2.0, f"headYaw is {yaw} after the drag")
    yield from wait_until(lambda: picture_bytes() != before, 20.0, "the picture follows the slider")
    yield from wait_until(is_settled, 20.0, "the picture is that of the last value")
    yield 1.0
    picture("animators-slider", hand.area("VIEW_3D"))


def drags_at_512() -> Wait:
    """Drag the slider of a face of 512 × 512 pixels, for the time that the handlers take of the main thread."""
    module = import_module(f"{PACKAGE}.rig")
    record, yaw, before = module.record_of(rig()), rig()["headYaw"], picture_bytes()
    module.write_record(rig(), replace(record, size=512))
    with hand.over():
        bpy.ops.lpmm.refresh()
    yield from wait_until(lambda: tuple(rig()["lpmm_image"].size) == (512, 512), 60.0, "the picture has 512 pixels")
    start = yield from found(hand.find(YAW))
    large = picture_bytes()
    with watch.over("drag at 512"):
        yield from hand.drag(start, (60.0, 0.0), steps=40)
        yield from wait_until(lambda: picture_bytes() != large, 20.0, "the picture follows the slider")
    expect(watch.median("drag at 512") is not None, "the drag called no handler")
    module.write_record(rig(), record)
    rig()["headYaw"] = yaw
    rig().update_tag()
    yield 0.5
    yield from wait_until(is_settled, 20.0, "the picture is that of the last value")
    expect(picture_bytes() == before, "the picture is not what it was")
    # Of values that a script set, a later undo would know nothing.
    with hand.over():
        bpy.ops.ed.undo_push(message="As before")


def drags_a_handle() -> Wait:
    """Pull at the corner of the mouth in the picture."""
    bpy.context.window_manager.lpmm_show_handles = True
    hand.area("VIEW_3D").tag_redraw()
    yield 1.5
    before = pose()
    start = handle_on_screen(hand, "Mouth Corner Left")
    yield from hand.drag(start, (14.0, 22.0))
    yield 1.5
    moved = {name: value for name, value in pose().items() if value != before[name]}
    expect(bool(moved), "no slider moved with the handle")
    hand.move(*start)
    yield 0.5
    picture("animators-handles", hand.area("VIEW_3D"))
    bpy.context.window_manager.lpmm_show_handles = False
    with hand.over():
        bpy.ops.ed.undo()
    yield 1.0
    expect(pose() == before, "undo does not bring the pose back")


def keys() -> Wait:
    """Key with I over the slider, and the whole face with the button."""
    scene = bpy.context.scene
    start = yield from found(hand.find(YAW))
    for frame, by in ((1, -90.0), (120, 130.0), (FRAMES, -70.0)):
        scene.frame_set(frame)
        yield 0.5
        yield from hand.drag(start, (by, 0.0))
        hand.move(*start)
        yield 0.3
        yield from hand.press("i")
    expect(key_frames(YAW) == [1, 120, FRAMES], f"headYaw has keys at {key_frames(YAW)}")
    with hand.over():
        bpy.ops.lpmm.key_sliders(which="ALL")
    expect(key_frames('["jawOpen"]') == [FRAMES], "Key All does not key the jaw")
    yield 0.5


def plays() -> Wait:
    """Play; the picture moves along."""
    scene = bpy.context.scene
    scene.frame_set(1)
    yield 0.5
    seen: set[int] = set()
    frames: set[int] = set()
    with hand.over():
        bpy.ops.screen.animation_play()

    def moves() -> bool:
        seen.add(picture_bytes())
        frames.add(scene.frame_current)
        return len(seen) > 8 and len(frames) > 8

    with watch.over("playback"):
        yield from wait_until(moves, 120.0, "nine frames and nine pictures are played")
    with hand.over():
        bpy.ops.screen.animation_cancel(restore_frame=False)
    yield 0.5


def imports_a_preset() -> Wait:
    """Import a preset from a file, use its slider, and look at the list."""
    path = OUT / "crooked-smile.json"
    path.write_text(
        json.dumps(
            {
                "format": "lpmm-preset",
                "format_version": 1,
                "name": "Crooked smile",
                "description": "One corner up.",
                "controls": {"mouthSmileLeft": 1.0, "browDownRight": 0.6, "jawOpen": 0.15},
                "params": {},
            }
        )
    )
    bpy.context.scene.frame_set(120)
    with hand.over():
        bpy.ops.lpmm.import_preset(filepath=str(path))
    yield 1.0
    place = yield from found(hand.find(SMILE, scroll=8))
    before = picture_bytes()
    yield from hand.drag(place, (120.0, 0.0))
    value = rig()["preset:Crooked smile"]
    expect(0.0 < value <= 1.0, f"the preset's slider is at {value}")
    rig()["preset:Crooked smile"] = 1.0
    rig().update_tag()
    yield from wait_until(lambda: picture_bytes() != before, 20.0, "the picture follows the preset")
    # The thumbnails are rendered one by one, after the picture; those that were drawn were asked for.
    yield 1.0
    thumbnails = import_module(f"{PACKAGE}.preset_thumbnails")

    def shown() -> bool:
        return not bpy.app.timers.is_registered(thumbnails.show_arrived)

    yield from wait_until(shown, 120.0, "the thumbnails are there")
    yield 1.0
    picture("animators-presets", hand.area("VIEW_3D"))


def pushes_down() -> Wait:
    """Push the action down, and lay the preset over it as a strip of its own."""
    face = rig()
    animator = bpy.data.workspaces["Animation"]
    hand.window.workspace = animator
    yield 1.5
    hand.area("DOPESHEET_EDITOR").spaces.active.mode = "ACTION"
    yield 0.5
    with hand.over(area="DOPESHEET_EDITOR"):
        bpy.ops.action.push_down()
    animated = face.animation_data
    expect(len(animated.nla_tracks) == 1 and animated.action is None, "the action was not pushed down")
    for frame, value in ((60, 0.0), (100, 1.0), (140, 1.0), (180, 0.0)):
        face["preset:Crooked smile"] = value
        face.keyframe_insert(SMILE, frame=frame)
    # The editor learns of the new action when it is drawn.
    hand.area("DOPESHEET_EDITOR").tag_redraw()
    yield 1.5
    with hand.over(area="DOPESHEET_EDITOR"):
        bpy.ops.action.push_down()
    expect(len(animated.nla_tracks) == 2, "there are not two tracks")
    for track, name in zip(animated.nla_tracks, ("Head turn", "Crooked smile"), strict=True):
        track.name = track.strips[0].name = name
    over = animated.nla_tracks[1].strips[0]
    over.blend_type, over.extrapolation = "COMBINE", "NOTHING"
    hand.area("DOPESHEET_EDITOR").ui_type = "NLA_EDITOR"
    yield 0.5
    with hand.over(area="NLA_EDITOR"):
        bpy.ops.nla.view_all()
    bpy.context.scene.frame_set(120)
    camera = next(area for area in hand.window.screen.areas if area.type == "VIEW_3D")
    for area in hand.window.screen.areas:
        if area.type == "VIEW_3D":
            area.spaces.active.shading.color_type, area.spaces.active.shading.light = "TEXTURE", "FLAT"
            area.spaces.active.region_3d.view_perspective = "CAMERA"
    yield 2.0
    expect(abs(rig()["preset:Crooked smile"] - 1.0) < 1e-3, "the strip does not play")
    picture("animators-nla", hand.area("NLA_EDITOR"), camera)
    hand.window.workspace = bpy.data.workspaces["Layout"]
    yield 1.0
    # A render locks the interface: what the viewport shows has to be there before.
    hand.area("VIEW_3D").tag_redraw()
    yield 3.0


def imports_a_performance() -> Wait:
    """Key the face with a take, look at it, and take it back."""
    path = OUT / "nods.json"
    write_take(path)
    with hand.over():
        bpy.ops.ed.undo_push(message="Before the performance")
        bpy.ops.lpmm.import_performance("EXEC_DEFAULT", True, filepath=str(path), start=60)
    yield 0.5
    curves = import_module(f"{PACKAGE}.action_curves").active_fcurves(rig())
    frames = [round(point.co.x) for curve in curves if curve.data_path == YAW for point in curve.keyframe_points]
    expect((frames[0], frames[-1]) == (60, 107), f"the performance keys headYaw from {frames[0]} to {frames[-1]}")
    before = picture_bytes()
    bpy.context.scene.frame_set(72)
    yield from wait_until(lambda: picture_bytes() != before, 20.0, "the picture follows the performance")
    expect(rig()["headYaw"] > 8.0, f"headYaw is {rig()['headYaw']} in the performance")
    # The next section's: only properties can be found, and this one has none.
    yield from found(hand.find("folder"))
    # Away from there, or its tooltip would cover the picture.
    hand.away()
    yield 1.0
    picture("animators-performance", hand.area("VIEW_3D"), hand.area("DOPESHEET_EDITOR"))
    with hand.over():
        bpy.ops.ed.undo()
    yield 1.0
    expect(rig().animation_data.action is None, "undo does not take the performance back")
    bpy.context.scene.frame_set(1)
    yield 1.0


def renders() -> Wait:
    """Render the animation in the window, small, while the viewport shows the plane."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 1, False
    scene.render.resolution_percentage = max(1, round(100 * 96 / scene.render.resolution_x))
    scene.render.image_settings.file_format = "PNG"
    scene.render.filepath = str(OUT / "render" / "####")
    # In no window of its own, which without a window manager would lie over the viewport.
    bpy.context.preferences.view.render_display_type = "NONE"
    with hand.over():
        bpy.ops.render.render("INVOKE_DEFAULT", animation=True)
    done = OUT / "render"
    yield from wait_until(lambda: len(list(done.glob("*.png"))) > 20, 120.0, "the render begins")
    screenshot(OUT / "rendering.png")
    yield from wait_until(lambda: len(list(done.glob("*.png"))) == FRAMES, 500.0, f"{FRAMES} frames are rendered")
    yield from wait_until(lambda: not bpy.app.is_job_running("RENDER"), 30.0, "the render ends")
    moved = {path.read_bytes() for path in done.glob("*.png")}
    # The head is never at rest before the last key; only pictures as small as these may be alike now and then.
    expect(len(moved) > 0.8 * FRAMES, f"only {len(moved)} of {FRAMES} rendered frames differ")
    yield 1.0


def renders_the_viewport() -> Wait:
    """Render some frames as the viewport shows them; each is the frame that was rendered before."""
    scene, space = bpy.context.scene, hand.area("VIEW_3D").spaces.active
    samples = range(1, FRAMES + 1, 48)
    scene.frame_step, scene.render.filepath = samples.step, str(OUT / "viewport" / "####")
    space.overlay.show_overlays = False
    with hand.over():
        bpy.ops.render.opengl("INVOKE_DEFAULT", animation=True)
    done = OUT / "viewport"

    def rendered_all() -> bool:
        # Blender 5.2 notices that it is done with the next event.
        hand.away()
        hand.move(*hand.centre("WINDOW"))
        over = all(operator.bl_idname != "RENDER_OT_opengl" for operator in hand.window.modal_operators)
        return over and all((done / f"{frame:04d}.png").is_file() for frame in samples)

    yield from wait_until(rendered_all, 200.0, "the viewport is rendered")
    space.overlay.show_overlays, scene.frame_step = True, 1
    scene.render.resolution_percentage = 100
    rendered = {frame: read_pixels(OUT / "render" / f"{frame:04d}.png") for frame in samples}
    for frame in samples:
        shown = read_pixels(done / f"{frame:04d}.png")
        nearest = min(samples, key=lambda other: float(np.abs(rendered[other] - shown).mean()))
        expect(nearest == frame, f"the viewport's frame {frame} is the render's frame {nearest}")
    scene.frame_set(1)
    yield 1.0


def saves() -> Wait:
    """Save, which a bake with relative paths wants."""
    bpy.ops.wm.save_as_mainfile(filepath=str(OUT / "tour.blend"))
    yield 0.5


def bakes() -> Wait:
    """Bake the face; the plane shows the sequence then."""
    with hand.over():
        bpy.ops.lpmm.bake_face("INVOKE_DEFAULT")
    folder = OUT / "lpmm_bake" / "tour" / PHOTO.stem
    yield from wait_until(lambda: len(list(folder.glob("*.png"))) > 20, 120.0, "the bake begins")
    screenshot(OUT / "baking.png")
    yield from wait_until(lambda: (folder / "lpmm-bake.json").is_file() and bake_is_over(), 500.0, "the bake ends")
    yield 1.0
    expect(len(list(folder.glob("*.png"))) == FRAMES, f"{len(list(folder.glob('*.png')))} frames were baked")
    yield from hand.scroll(40)
    picture("animators-bake", hand.area("VIEW_3D"))
    bpy.ops.wm.save_mainfile()
    yield 0.5


def reopens() -> Wait:
    """Open the saved file again; the bake is shown, and Live switches back."""
    bpy.ops.wm.open_mainfile(filepath=str(OUT / "tour.blend"))
    yield 2.0
    expect(len(rig().animation_data.nla_tracks) == 2, "the strips are gone")
    bpy.context.view_layer.objects.active = rig()
    with hand.over():
        bpy.ops.lpmm.show_live()
    bpy.context.scene.frame_set(30)
    yield from wait_until(lambda: session().running, 60.0, "the runtime runs for the reopened file")
    yield 3.0
    expect(session().status.fault == "", session().status.fault)


STEPS: tuple[Callable[[], Wait], ...] = (
    installs,
    looks_at_the_preferences,
    drops_a_picture,
    adds_a_face,
    drags_a_slider,
    drags_at_512,
    drags_a_handle,
    keys,
    plays,
    imports_a_preset,
    pushes_down,
    imports_a_performance,
    renders,
    renders_the_viewport,
    saves,
    bakes,
    reopens,
)


def walk(console: Console) -> Iterator[float]:
    """Walk the tour and write the report."""
    report: dict[str, object] = {"blender": bpy.app.version_string, "python": sys.version.split()[0], "steps": []}
    failed = ""
    for step in STEPS:
        begun = time.monotonic()
        try:
            yield from step()
        except Exception:
            failed = f"{step.__name__}: {traceback.format_exc()}"
        screenshot(OUT / f"{step.__name__}.png")
        report["steps"].append({"step": step.__name__, "seconds": round(time.monotonic() - begun, 1)})
        console.say(f"{'FAILED' if failed else 'ok'} {step.__name__} ({time.monotonic() - begun:.1f} s)")
        if failed:
            break
    report["failed"], report["console"] = failed, console.faults()
    report["main_thread_ms"] = watch.report()
    (OUT / "report.json").write_text(json.dumps(report, indent=2))
    for line in (failed, *report["console"]):
        if line:
            console.say(line)


def main() -> None:
    """Begin when the window is up."""
    bpy.context.preferences.view.show_splash = False
    OUT.mkdir(parents=True, exist_ok=True)
    console = Console(OUT / "console.txt")
    tour = walk(console)

    def tick() -> float | None:
        wait = next(tour, None)
        if wait is None:
            report = json.loads((OUT / "report.json").read_text())
            bpy.ops.preferences.addon_disable(module=PACKAGE)
            os._exit(1 if report["failed"] or report["console"] else 0)
        return wait

    bpy.app.timers.register(tick, first_interval=2.0, persistent=True)


main()
