# SPDX-License-Identifier: GPL-3.0-or-later
"""Thumbnails: each preset at full weight on the rig's own portrait, rendered by the runtime when first looked at.

A thread of its own asks the runtime and lets every live frame go first; a timer turns what came into Blender
previews. Drawing a panel never waits: until its thumbnail is there a preset has none.
"""

import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import bpy.utils.previews
import numpy as np
from bpy.types import ImagePreview, Object
from numpy.typing import NDArray

from lpmm_runtime.errors import LpmmError
from lpmm_runtime.presets import Preset

from . import live_frames, runtime_session
from .frame_request import FrameRequest
from .rig import photo_path, record_of

logger = logging.getLogger("lpmm_blender")

SIDE, ICON_SIDE = 128, 32
"""Pixels: the picture under the list, and the icon in a row."""

_KEPT = 512
_RETRY_SECONDS = 30.0
_POLL_SECONDS = 0.05
_SHOWN_AT_ONCE = 4
"""Previews made in one run of the timer; each takes a fraction of a millisecond."""

Key = tuple[Any, ...]


@dataclass(frozen=True)
class _Answer:
    key: Key
    pixels: NDArray[np.uint8] | None
    """[SIDE, SIDE, 4], first row on top; None when it could not be had."""


_changed = threading.Condition()
_wishes: OrderedDict[Key, FrameRequest] = OrderedDict()
_rendering: Key | None = None
_answers: list[_Answer] = []
_failed: dict[Key, float] = {}
_thread: threading.Thread | None = None

_previews: Any = None
_known: OrderedDict[Key, str] = OrderedDict()


def thumbnail(rig: Object, preset: Preset) -> ImagePreview | None:
    """Return the thumbnail of a preset of a rig, or None and ask for it. Does not wait.

    Raises:
        LpmmError: if the rig is damaged.
    """
    request = _request(rig, preset)
    key = _key_of(request, preset)
    if _previews is not None and key in _known:
        _known.move_to_end(key)
        return _previews[_known[key]]
    if time.monotonic() - _failed.get(key, -_RETRY_SECONDS) >= _RETRY_SECONDS:
        _ask(key, request)
    return None


def icon_of(rig: Object, preset: Preset) -> int:
    """Return the icon of a preset's thumbnail for a layout; 0 while there is none."""
    try:
        preview = thumbnail(rig, preset)
    except (LpmmError, KeyError, AttributeError):
        return 0  # The photo was deleted, say; the slate over the face tells of it.
    return preview.icon_id if preview is not None else 0


def show_arrived() -> float | None:
    """Timer: turn what the thread has finished into previews; ends when nothing is under way."""
    with _changed:
        answers = _answers[:_SHOWN_AT_ONCE]
        del _answers[:_SHOWN_AT_ONCE]
        under_way = bool(_wishes or _answers or _rendering is not None)
    for answer in answers:
        if answer.pixels is None:
            _failed[answer.key] = time.monotonic()
        else:
            _failed.pop(answer.key, None)
            _keep(answer.key, answer.pixels)
    if answers:
        _redraw()
    return _POLL_SECONDS if under_way else None


def stop() -> None:
    """Forget every wish, and release every preview."""
    global _thread, _previews
    with _changed:
        thread, _thread = _thread, None
        _wishes.clear()
        _answers.clear()
        _changed.notify_all()
    if thread is not None:
        # A thumbnail in progress would else start a runtime again that is about to be stopped.
        thread.join(timeout=2.0)
    if bpy.app.timers.is_registered(show_arrived):
        bpy.app.timers.unregister(show_arrived)
    _known.clear()
    _failed.clear()
    if _previews is not None:
        bpy.utils.previews.remove(_previews)
        _previews = None


def _request(rig: Object, preset: Preset) -> FrameRequest:
    record = record_of(rig)
    return FrameRequest(photo_path(rig), record.box, record.base, "crop", SIDE, {}, {}, ((preset, 1.0),))


def _key_of(request: FrameRequest, preset: Preset) -> Key:
    return (
        str(request.photo),
        _changed_at(request.photo),
        request.box,
        request.base,
        str(runtime_session.session().settings.bundle),
        tuple(sorted(preset.controls.items())),
        tuple(sorted(preset.params.items())),
    )


def _changed_at(photo: Path) -> float:
    try:
        return photo.stat().st_mtime
    except OSError:
        return 0.0


def _ask(key: Key, request: FrameRequest) -> None:
    global _thread
    with _changed:
        if key == _rendering or any(answer.key == key for answer in _answers):
            return
        _wishes[key] = request
        # What is drawn now is wanted first; what was scrolled out of sight comes last.
        _wishes.move_to_end(key, last=False)
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_render_wishes, name="lpmm-thumbnails", daemon=True)
            _thread.start()
        _changed.notify_all()
    if not bpy.app.timers.is_registered(show_arrived):
        bpy.app.timers.register(show_arrived, first_interval=_POLL_SECONDS, persistent=True)


def _render_wishes() -> None:
    global _rendering
    me = threading.current_thread()
    while True:
        with _changed:
            while _thread is me and (not _wishes or live_frames.under_way()):
                # A live frame in progress is no event of ours: look again soon, but only while somebody waits.
                _changed.wait(0.05 if _wishes else None)
            if _thread is not me:
                return
            key, request = _wishes.popitem(last=False)
            _rendering = key
        pixels = None
        try:
            pixels = runtime_session.session().render(request).pixels
        except LpmmError as fault:
            logger.info("LPMM: no thumbnail: %s", fault)
        except Exception:
            # The thread must outlive a defect, or no thumbnail would ever come again.
            logger.exception("LPMM: no thumbnail")
        with _changed:
            _rendering = None
            if _thread is me:
                _answers.append(_Answer(key, pixels))


def _keep(key: Key, pixels: NDArray[np.uint8]) -> None:
    global _previews
    if _previews is None:
        _previews = bpy.utils.previews.new()
    if key in _known:
        return
    while len(_known) >= _KEPT:
        del _previews[_known.popitem(last=False)[1]]
    name = f"{time.monotonic_ns()}"
    fill_preview(_previews.new(name), pixels)
    _known[key] = name


def fill_preview(preview: ImagePreview, pixels: NDArray[np.uint8]) -> None:
    """Put an aligned crop [side, side, 4] uint8 RGBA, first row on top, into a preview; its icon is the face alone."""
    side = pixels.shape[0]
    # The face takes 1/1.8 of the aligned crop, and an icon in a row is tiny.
    step = max(1, round(side / 1.8 / ICON_SIDE))
    small = min(ICON_SIDE, side // step)
    edge = (side - small * step) // 2
    face = pixels[edge : edge + small * step, edge : edge + small * step]
    icon = face.reshape(small, step, small, step, 4).mean(axis=(1, 3))
    for size, values, name in ((side, pixels, "image"), (small, icon, "icon")):
        setattr(preview, f"{name}_size", (size, size))
        opaque = np.multiply(values[::-1], 1.0 / 255.0, dtype=np.float32)
        opaque[..., 3] = 1.0
        getattr(preview, f"{name}_pixels_float").foreach_set(opaque.ravel())


def _redraw() -> None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in {"VIEW_3D", "PROPERTIES"}:
                area.tag_redraw()
