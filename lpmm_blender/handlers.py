# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender's events: which of them make a rig ask for a frame, and how a render is kept right.

Four facts, measured on Blender 4.2 to 5.2, shape this file. During a render only frame_change_post with its own
depsgraph is right. A render in a window calls handlers on worker threads. It crashes unless the interface is
locked before it begins. And Cycles with Persistent Data would show the first frame forever.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import bpy
from bpy.app.handlers import persistent
from bpy.types import Collection, Depsgraph, Object, Scene

from . import character_release, frames, runtime_session
from .character_release import release_deleted
from .image_sharing import separate_shared_images
from .interface_lock import is_locked_for_faces, keep_lock
from .rig import IMAGE, all_rigs, is_rig, rigs_of
from .rig_upgrade import upgrade_rigs


@dataclass
class _RenderState:
    """What a render in progress changed or must know.

    Attributes:
        scene: the scene being rendered, "" without a render. The sequencer's scene strips and the compositor render
            other scenes within it, each with events of its own.
        moments: (frame, subframe) of the picture by scene; other moments are steps of its motion blur.
        persistent_data: the scenes whose Persistent Data was switched off.
    """

    scene: str = ""
    moments: dict[str, tuple[int, float]] = field(default_factory=dict)
    persistent_data: set[str] = field(default_factory=set)

    @property
    def active(self) -> bool:
        return bool(self.scene)


_render = _RenderState()
_wait_for_frames = False
_pauses = 0


@contextmanager
def paused() -> Iterator[None]:
    """Leave every frame change and update inside without an answer: the sliders are only being read."""
    global _pauses
    _pauses += 1
    try:
        yield
    finally:
        _pauses -= 1


def wait_for_every_frame(wait: bool) -> None:
    """Make frame changes wait for their picture even outside a render: for viewport renders."""
    global _wait_for_frames
    _wait_for_frames = wait


def waits_for_every_frame() -> bool:
    """Whether frame changes outside a render wait for their picture."""
    return _wait_for_frames


@persistent
def _on_frame_change(scene: Scene, depsgraph: Depsgraph) -> None:
    if _pauses:
        return
    moment = (scene.frame_current, scene.frame_subframe)
    if _render.active and _render.moments.setdefault(scene.name, moment) != moment:
        return  # A motion-blur step: the picture is that of the frame.
    exact = _render.active or bpy.app.background or _wait_for_frames or _is_viewport_render()
    for rig in rigs_of(scene):
        if exact:
            frames.show_exact(rig, depsgraph)
        else:
            frames.show_live(rig, depsgraph)


@persistent
def _on_depsgraph_update(scene: Scene, depsgraph: Depsgraph) -> None:
    if _render.active or _pauses:
        return
    rigs = [update.id.original for update in depsgraph.updates if isinstance(update.id, Object)]
    rigs = [rig for rig in rigs if is_rig(rig)]
    if any(isinstance(update.id, Collection) for update in depsgraph.updates):
        # Something came or went: a deleted face, perhaps the last, or an appended one of an older file.
        release_deleted()
        upgrade_rigs()
        if not rigs and is_locked_for_faces(scene):
            keep_lock(scene)
    if not rigs:
        return
    keep_lock(scene)
    fresh = separate_shared_images()
    for rig in {rig.session_uid: rig for rig in (*rigs, *fresh)}.values():
        if bpy.app.background:
            if not frames.is_shown(rig, depsgraph):
                frames.show_exact(rig, depsgraph)
        else:
            frames.show_live(rig, depsgraph)


@persistent
def _on_render_init(scene: Scene, _: object = None) -> None:
    if not _render.active:
        _render.scene = scene.name
        frames.forget_shown()
        runtime_session.session().try_again()
    if scene.render.use_persistent_data and rigs_of(scene):
        _render.persistent_data.add(scene.name)
        scene.render.use_persistent_data = False


@persistent
def _on_render_pre(scene: Scene, _: object = None) -> None:
    if scene.name == _render.scene:
        _render.moments.clear()
    _render.moments[scene.name] = (scene.frame_current, scene.frame_subframe)


@persistent
def _on_render_end(scene: Scene, _: object = None) -> None:
    if scene.name == _render.scene:
        _render.scene = ""
        _render.moments.clear()
    if scene.name in _render.persistent_data:
        _render.persistent_data.discard(scene.name)
        scene.render.use_persistent_data = True


@persistent
def _on_load(_path: object = None, _other: object = None) -> None:
    _render.scene = ""
    _render.moments.clear()
    _render.persistent_data.clear()
    frames.forget_shown()
    runtime_session.session().forget_characters()
    if not all_rigs():
        return
    for scene in bpy.data.scenes:
        keep_lock(scene)
    upgrade_rigs()
    separate_shared_images()
    _show_current_frame()


@persistent
def _on_save(_path: object = None, _other: object = None) -> None:
    # Packed, so that the file shows its faces where there is no add-on, and before the runtime has started;
    # Blender would drop the pixels of an unsaved image otherwise.
    for rig in all_rigs():
        image = rig.get(IMAGE)
        if image is not None and image.library is None and image.is_dirty:
            image.pack()


@persistent
def _on_undo_redo(_scene: object = None, _other: object = None) -> None:
    # An undo brings back old datablocks, and their images' pixels with them or not.
    frames.forget_shown()
    release_deleted()
    if not all_rigs():
        return
    separate_shared_images()
    if bpy.app.background:
        depsgraph = bpy.context.evaluated_depsgraph_get()
        for rig in rigs_of(bpy.context.scene):
            frames.show_exact(rig, depsgraph)
    else:
        _show_current_frame()


def _show_current_frame() -> None:
    if bpy.app.background:
        return  # The next frame change or render asks for it; until then nobody looks.
    frames.show_anew(bpy.context.evaluated_depsgraph_get(), rigs_of(bpy.context.scene))


def _is_viewport_render() -> bool:
    """Whether a viewport render of an animation is running: it sends no render events."""
    windows = bpy.context.window_manager.windows
    return any(operator.bl_idname == "RENDER_OT_opengl" for window in windows for operator in window.modal_operators)


_HANDLERS = {
    "frame_change_post": _on_frame_change,
    "depsgraph_update_post": _on_depsgraph_update,
    "render_init": _on_render_init,
    "render_pre": _on_render_pre,
    "render_complete": _on_render_end,
    "render_cancel": _on_render_end,
    "load_post": _on_load,
    "save_pre": _on_save,
    "undo_post": _on_undo_redo,
    "redo_post": _on_undo_redo,
}


def register() -> None:
    """Listen to Blender's events."""
    for event, handler in _HANDLERS.items():
        getattr(bpy.app.handlers, event).append(handler)


def unregister() -> None:
    """Stop listening; a handler left at interpreter exit hangs Blender 4.5 and crashes 4.2 as a module."""
    for event, handler in _HANDLERS.items():
        listeners = getattr(bpy.app.handlers, event)
        if handler in listeners:
            listeners.remove(handler)
    frames.stop()
    character_release.stop()
