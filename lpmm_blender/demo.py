# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo: one photo, a keyed rig, a preset's action over it, and the rendered clip."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import bpy
import cv2
import numpy as np
from bpy.types import Object, Scene
from numpy.typing import NDArray
from tqdm import tqdm

import lpmm_blender
from lpmm_runtime.channels import param_name
from lpmm_runtime.errors import LpmmError
from lpmm_runtime.presets import Preset
from lpmm_runtime.protocol import Box, View

from .add_face import FaceOptions, add_face
from .preset_sliders import add_preset
from .rig import KEY_GROUP, PRESET_PREFIX, data_path, record_of
from .runtime_session import RuntimeSettings, session

FPS = 24
LENGTH = 96
"""Frames in which the performance below is written; other lengths stretch it."""

SHEET_STEP, SHEET_COLUMNS, TILE = 8, 4, 320

Keys = Sequence[tuple[int, float]]

_BLINKS: Keys = ((1, 0), (12, 0), (15, 1), (17, 1), (21, 0), (52, 0), (55, 1), (57, 1), (61, 0))
_SMILE: Keys = ((1, 0), (48, 0), (60, 1), (72, 1), (82, 0))
# Eyes go before the head does, and it catches up with them.
_GLANCE_LEFT: Keys = ((1, 0), (5, 0), (9, 0.9), (14, 0.9), (24, 0.2), (30, 0))
_GLANCE_RIGHT: Keys = ((1, 0), (29, 0), (33, 0.9), (40, 0.8), (48, 0.1), (54, 0))
PERFORMANCE: Mapping[str, Keys] = {
    "headYaw": ((1, 0), (8, 0), (24, 20), (30, 20), (48, -20), (54, -20), (66, 0)),
    "headPitch": ((1, 0), (30, 0), (40, 6), (50, 0)),
    "headRoll": ((1, 0), (56, 0), (66, 7), (80, 0)),
    "eyeBlinkLeft": _BLINKS,
    "eyeBlinkRight": _BLINKS,
    "eyeLookOutLeft": _GLANCE_LEFT,
    "eyeLookInRight": _GLANCE_LEFT,
    "eyeLookInLeft": _GLANCE_RIGHT,
    "eyeLookOutRight": _GLANCE_RIGHT,
    "jawOpen": ((1, 0), (26, 0), (32, 0.9), (36, 0.2), (40, 0.9), (46, 0)),
    "mouthSmileLeft": _SMILE,
    "mouthSmileRight": _SMILE,
}
PRESET_WEIGHT: Keys = ((1, 0), (7, 1), (14, 1), (19, 0))
PRESET_START = 76
SURPRISED = {
    "browInnerUp": 1.0,
    "browOuterUpLeft": 1.0,
    "browOuterUpRight": 1.0,
    "eyeWideLeft": 1.0,
    "eyeWideRight": 1.0,
    "jawOpen": 0.5,
}


@dataclass(frozen=True)
class DemoOptions:
    """What the demo is made of.

    Attributes:
        photo: the portrait.
        out: the folder for the results.
        view: the "crop" around the face, or the "full" photo.
        size: the crop's side, pixels.
        box: the face box in photo pixels, when the face is not found by itself.
        frames: the clip's length.
        bundle, device, threads: as in `RuntimeSettings`.
    """

    photo: Path
    out: Path
    view: View = "crop"
    size: int = 512
    box: Box | None = None
    frames: int = LENGTH
    bundle: Path | None = None
    device: str = "auto"
    threads: int | None = None


@dataclass(frozen=True)
class DemoResult:
    """Where the results lie."""

    clip: Path
    blend: Path
    sheet: Path


def make_demo(options: DemoOptions) -> DemoResult:
    """Make the clip, the .blend and the contact sheet.

    Raises:
        LpmmError: if the photo, the bundle or the runtime is at fault, or a frame could not be had.
    """
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    result = DemoResult(out / "lpmm-demo.mp4", out / "lpmm-demo.blend", out / "lpmm-demo.png")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    session().configure(
        RuntimeSettings(bundle=options.bundle, device=options.device, threads=options.threads, log=out / "runtime.log")
    )
    lpmm_blender.register()
    try:
        print(f"reading {options.photo}")
        scene = bpy.context.scene
        size = None if options.view == "full" else options.size
        face = FaceOptions(view=options.view, size=size, box=options.box, camera=True)
        rig = add_face(scene, options.photo, face)
        print(f"rig {rig.name!r}: {len(record_of(rig).controls)} controls, runtime on {session().status.device}")
        _animate(scene, rig, options.frames)
        _set_up_render(scene, result.clip)
        rig["lpmm_photo"].pack()
        with _quiet_blender(out / "blender.log"):
            _render(scene)
            bpy.ops.wm.save_as_mainfile(filepath=str(result.blend))
    finally:
        lpmm_blender.unregister()
    _write_contact_sheet(result.clip, result.sheet)
    return result


def _animate(scene: Scene, rig: Object, frames: int) -> None:
    scene.render.fps = FPS
    scene.frame_start, scene.frame_end = 1, frames
    stretch = frames / LENGTH
    for name, keys in PERFORMANCE.items():
        if name in rig:
            _key(rig, name, keys, stretch)
    performance = _push_down(rig, "Performance", 1)
    performance.blend_type = "REPLACE"

    preset = _demo_preset(rig)
    _key(rig, PRESET_PREFIX + preset, PRESET_WEIGHT, stretch)
    strip = _push_down(rig, preset, round(1 + (PRESET_START - 1) * stretch))
    strip.blend_type = "ADD"
    strip.extrapolation = "NOTHING"


def _key(rig: Object, name: str, keys: Keys, stretch: float) -> None:
    limits = rig.id_properties_ui(name).as_dict()
    for frame, value in keys:
        rig[name] = min(max(float(value), limits["soft_min"]), limits["soft_max"])
        rig.keyframe_insert(data_path(name), frame=1 + (frame - 1) * stretch, group=KEY_GROUP)
    rig[name] = 0.0


def _push_down(rig: Object, name: str, start: int) -> bpy.types.NlaStrip:
    """Make the active action a strip on a track of its own, above the others."""
    animation = rig.animation_data
    action = animation.action
    action.name = name
    track = animation.nla_tracks.new()
    track.name = name
    strip = track.strips.new(name, start, action)
    animation.action = None
    return strip


def _demo_preset(rig: Object) -> str:
    """Return a preset of the rig; without one, the rig gets what its controls allow."""
    record = record_of(rig)
    if record.presets:
        return next((name for name in record.presets if "urpris" in name), next(iter(record.presets)))
    controls = {name: value for name, value in SURPRISED.items() if name in record.controls}
    params = {} if controls else {param_name(len(record.base_params) - 1): 2.0}
    add_preset(rig, Preset("Surprised", controls, params))
    return "Surprised"


def _set_up_render(scene: Scene, clip: Path) -> None:
    # Cycles on the CPU is exact with one sample and no filter, and needs no graphics driver.
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = 1
    scene.cycles.use_denoising = False
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.filter_width = 0.01
    # H.264 wants even sides; a camera pixel more or less at the edge shows nothing else.
    scene.render.resolution_x += scene.render.resolution_x % 2
    scene.render.resolution_y += scene.render.resolution_y % 2
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "VIDEO"
    settings.file_format = "FFMPEG"
    scene.render.ffmpeg.format = "MPEG4"
    scene.render.ffmpeg.codec = "H264"
    scene.render.ffmpeg.constant_rate_factor = "PERC_LOSSLESS"
    scene.render.filepath = str(clip)


def _render(scene: Scene) -> None:
    reports = session().reports
    frames = scene.frame_end - scene.frame_start + 1
    with tqdm(total=frames, desc="rendering", unit="frame", file=sys.stderr) as progress:

        def count(_scene: Scene, _other: object = None) -> None:
            progress.update()

        bpy.app.handlers.render_post.append(count)
        try:
            bpy.ops.render.render(animation=True)
        finally:
            bpy.app.handlers.render_post.remove(count)
    if session().reports != reports:
        raise LpmmError(session().status.fault)


@contextmanager
def _quiet_blender(log: Path) -> Iterator[None]:
    """Send what Blender's C code prints to standard output, two lines a frame, into a log."""
    sys.stdout.flush()
    kept = os.dup(1)
    with log.open("wb") as stream:
        os.dup2(stream.fileno(), 1)
        try:
            yield
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)


def _write_contact_sheet(clip: Path, sheet: Path) -> None:
    """Write every 8th frame of the clip, as the clip shows it."""
    tiles: list[NDArray[np.uint8]] = []
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0), start=1):
            if number % SHEET_STEP == 0:
                tiles.append(_tile(frame.to_ndarray(format="bgr24").astype(np.uint8), number))
    if not tiles:
        raise LpmmError(f"{clip}: has fewer than {SHEET_STEP} frames")
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % SHEET_COLUMNS)
    rows = [np.hstack(tiles[start : start + SHEET_COLUMNS]) for start in range(0, len(tiles), SHEET_COLUMNS)]
    cv2.imwrite(str(sheet), np.vstack(rows))


def _tile(picture: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    height = round(TILE * picture.shape[0] / picture.shape[1])
    tile = cv2.resize(picture, (TILE, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(tile, str(number), (8, height - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, thickness, cv2.LINE_AA)
    return tile
