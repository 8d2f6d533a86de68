# SPDX-License-Identifier: GPL-3.0-or-later
"""From a rig's evaluated sliders to the picture on its plane: exact frames now, live frames when they come."""

import logging
import math

import bpy
from bpy.types import Depsgraph, Image, Object

from lpmm_runtime.channels import param_name
from lpmm_runtime.errors import LpmmError

from . import live_frames, runtime_session
from .baked_plane import shows_bake
from .frame_request import FrameRequest
from .plane import planes_of, store_pixels, write_pixels
from .preset_sliders import heard
from .rig import IMAGE, PRESET_PREFIX, all_rigs, photo_path, record_of
from .slate import paint_slate

logger = logging.getLogger("lpmm_blender")

_shown: dict[int, FrameRequest] = {}
"""What each rig's image shows, by the rig's session_uid; no entry when that is unknown."""

_POLL_SECONDS = 0.01


def request_of(rig: Object, depsgraph: Depsgraph) -> FrameRequest:
    """Return the frame that the rig's evaluated sliders ask for.

    Only the evaluated copy is right during a render: the rig's own properties and the context's depsgraph
    are stale then.

    Raises:
        LpmmError: if the rig is damaged or a slider is not a number.
    """
    return request_of_values(rig, rig.evaluated_get(depsgraph))


def request_of_values(rig: Object, evaluated: Object) -> FrameRequest:
    """Return the frame that slider values ask for: those of the rig's evaluated copy, or its own.

    Raises:
        LpmmError: if the rig is damaged or a slider is not a number.
    """
    record = record_of(rig)

    def value(name: str) -> float:
        number = evaluated.get(name, 0.0)
        if not isinstance(number, int | float) or not math.isfinite(number):
            raise LpmmError(f"{rig.name}: {name} is {number!r}, not a number")
        return float(number)

    params = [param_name(index) for index in range(len(record.base_params))]
    return FrameRequest(
        photo=photo_path(rig),
        box=record.box,
        base=record.base,
        view=record.view,
        size=record.size,
        controls={name: value(name) for name in record.controls},
        raw={name: value(name) for name in params},
        presets=tuple((preset, value(PRESET_PREFIX + preset.name)) for preset in heard(record.presets, evaluated)),
    )


def show_exact(rig: Object, depsgraph: Depsgraph) -> None:
    """Put exactly this frame on the rig's image, waiting for it; a slate with the reason if it cannot be had."""
    if shows_bake(rig):
        return
    _shown.pop(rig.session_uid, None)
    try:
        request = request_of(rig, depsgraph)
        frame = runtime_session.session().render(request)
        write_pixels(image_of(rig), frame.pixels)
        _shown[rig.session_uid] = request
    except LpmmError as fault:
        show_fault(rig, str(fault))
    except Exception as fault:
        # Blender would finish the render with the last picture, so that nobody sees that this frame is wrong.
        logger.exception("LPMM: %s: no frame", rig.name)
        show_fault(rig, f"{type(fault).__name__}: {fault}")


def show_live(rig: Object, depsgraph: Depsgraph) -> None:
    """Ask for this frame and return at once; a timer shows it when it comes, unless a newer one overtakes it."""
    if shows_bake(rig):
        return
    try:
        request = request_of(rig, depsgraph)
    except LpmmError as fault:
        show_fault(rig, str(fault))
        return
    key = rig.session_uid
    if live_frames.wanted(key) == request or (live_frames.wanted(key) is None and _shown.get(key) == request):
        return
    live_frames.want(key, request)
    if not bpy.app.timers.is_registered(_show_arrived):
        bpy.app.timers.register(_show_arrived, first_interval=_POLL_SECONDS, persistent=True)


def show_anew(depsgraph: Depsgraph, rigs: list[Object]) -> None:
    """Ask for the current frame of several rigs, whatever their images show now."""
    for rig in rigs:
        _shown.pop(rig.session_uid, None)
        show_live(rig, depsgraph)


def show_fault(rig: Object, reason: str) -> None:
    """Paint the slate on the rig's image, and report the reason once."""
    _shown.pop(rig.session_uid, None)
    runtime_session.session().report(f"{rig.name}: {reason}")
    image = rig.get(IMAGE)
    if image is not None:
        width, height = image.size
        write_pixels(image, paint_slate(max(width, 64), max(height, 64), reason))


def image_of(rig: Object) -> Image:
    """Return the image that shows the rig's face.

    Raises:
        LpmmError: if it was deleted.
    """
    image = rig.get(IMAGE)
    if image is None:
        raise LpmmError(f"{rig.name}: its image was deleted; add the face again")
    return image


def is_shown(rig: Object, depsgraph: Depsgraph) -> bool:
    """Whether the rig's image shows what its evaluated sliders ask for."""
    try:
        return _shown.get(rig.session_uid) == request_of(rig, depsgraph)
    except LpmmError:
        return False


def mark_shown(rig: Object, request: FrameRequest) -> None:
    """Remember that the rig's image shows a frame already."""
    _shown[rig.session_uid] = request


def keep_only(keys: set[int]) -> None:
    """Forget what is known and wanted of rigs other than these, given by session_uid."""
    for key in set(_shown) - keys:
        del _shown[key]
    live_frames.keep_only(keys)


def forget_shown() -> None:
    """Forget what the images show and what was wanted: after loading a file, an undo, when a render begins."""
    _shown.clear()
    live_frames.clear()


def stop() -> None:
    """End the live frames."""
    forget_shown()
    live_frames.stop()
    if bpy.app.timers.is_registered(_show_arrived):
        bpy.app.timers.unregister(_show_arrived)


def _show_arrived() -> float | None:
    """Timer: show what the live thread has finished; ends when nothing is under way."""
    rigs = {rig.session_uid: rig for rig in all_rigs()}
    arrived = live_frames.take_arrived()
    for answer in arrived:
        rig = rigs.get(answer.key)
        if rig is None:
            continue
        if answer.frame is None:
            show_fault(rig, answer.fault)
        else:
            store_pixels(image_of(rig), answer.stored)
            _shown[answer.key] = answer.request
        # A still viewport adds up samples of the old and the new picture, unless something that it draws has changed.
        image = rig.get(IMAGE)
        for plane in planes_of(rig, image) if image is not None else ():
            plane.update_tag()
    if arrived:
        _redraw()
    return _POLL_SECONDS if live_frames.under_way() else None


def _redraw() -> None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in {"VIEW_3D", "IMAGE_EDITOR", "NODE_EDITOR"}:
                area.tag_redraw()
