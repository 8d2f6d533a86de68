# SPDX-License-Identifier: GPL-3.0-or-later
"""Bake Face: the operator, and the thread that renders beside the interface.

In a window *Bake Face* is modal: the sliders are read first, a slice of time after another, and then a thread renders
while the animator works on. Called as a function, as in `blender -b`, it waits and returns when all is done.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence

import bpy
from bpy.props import BoolProperty
from bpy.types import Context, Event, Object, Operator, Timer

from lpmm_runtime.errors import LpmmError

from . import frames, runtime_session
from .bake import BakeOptions, bake_faces, check_bake, make_jobs, sample, show_baked_frames
from .bake_manifest import BakeError
from .bake_run import BakeOutcome, BakeRun
from .bake_settings import NAMES, BakeProperties, options_of
from .frame_request import FrameRequest
from .operators import active_rig
from .rig import all_rigs, rig_of, rigs_of

_TICK = 0.05
_SAMPLING_SECONDS = 0.03


class BakeThread:
    """A bake beside the interface.

    Attributes:
        run: the bake; its progress may be read at any time.
        outcomes: what became of it, once it is over.
        fault: why it failed, in one line, or "".
    """

    def __init__(self, run: BakeRun) -> None:
        self.run = run
        self.outcomes: tuple[BakeOutcome, ...] = ()
        self.fault = ""
        self._thread = threading.Thread(target=self._work, name="lpmm-bake", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            self.outcomes = self.run.run()
        except LpmmError as fault:
            self.fault = str(fault)
        except Exception as fault:
            # The operator waits for an outcome; a defect must end the bake, and be told.
            frames.logger.exception("LPMM: the bake failed")
            self.fault = f"{type(fault).__name__}: {fault}"

    def stop(self) -> None:
        """Cancel the bake and wait until its files are whole."""
        self.run.cancel()
        self._thread.join(10.0)


_current: BakeThread | None = None


def current_bake() -> BakeRun | None:
    """Return the bake that is running beside the interface, or None."""
    return None if _current is None or _current.over else _current.run


class LPMM_OT_bake_face(BakeProperties, Operator):
    bl_idname = "lpmm.bake_face"
    bl_label = "Bake Face"
    bl_description = (
        "Render the face's frames into numbered PNGs and let the plane show them, so that the file renders "
        "where there is neither add-on nor runtime. What was baked before and is still right is kept"
    )
    bl_options = {"UNDO"}

    overwrite: BoolProperty(  # type: ignore[valid-type]
        name="Everything Anew",
        description="Render what is still right, too",
        options={"SKIP_SAVE"},
    )
    show: BoolProperty(  # type: ignore[valid-type]
        name="Show the Bake",
        description="Let the plane show the baked frames",
        default=True,
        options={"SKIP_SAVE"},
    )

    _timer: Timer | None = None

    @classmethod
    def poll(cls, context: Context) -> bool:
        if current_bake() is not None:
            cls.poll_message_set("A bake is running")
            return False
        if active_rig(context) is None and not rigs_of(context.scene):
            cls.poll_message_set("There is no LPMM face in the scene")
            return False
        return True

    def execute(self, context: Context) -> set[str]:
        rigs, options = self._ask(context)
        try:
            outcomes = bake_faces(context.scene, rigs, options, show=self.show)
        except LpmmError as fault:
            self.report({"ERROR"}, str(fault).partition("\n")[0])
            return {"CANCELLED"}
        self._tell(outcomes)
        return {"FINISHED"}

    def invoke(self, context: Context, _event: Event) -> set[str]:
        if context.window is None or bpy.app.background:
            return self.execute(context)
        rigs, options = self._ask(context)
        start, end = options.range_in(context.scene)
        try:
            check_bake(context.scene, rigs, options)
        except LpmmError as fault:
            self.report({"ERROR"}, str(fault))
            return {"CANCELLED"}
        self._options = options
        self._scene_name = context.scene.name
        # By number, because an undo replaces the objects.
        self._asked: dict[int, dict[int, FrameRequest]] = {rig.session_uid: {} for rig in rigs}
        self._to_sample = deque(range(start, end + 1, options.step))
        self._samples = len(self._to_sample)
        self._job: BakeThread | None = None
        self._timer = context.window_manager.event_timer_add(_TICK, window=context.window)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: Context, event: Event) -> set[str]:
        if event.type == "ESC" and event.value == "PRESS":
            if self._job is None:
                return self._end(context, "Bake cancelled; nothing was written")
            self._job.run.cancel()
            return {"RUNNING_MODAL"}
        if event.type != "TIMER":
            # While sliders are read nothing may change; then the animator works on.
            return {"RUNNING_MODAL"} if self._job is None else {"PASS_THROUGH"}
        try:
            return self._step(context)
        except (LpmmError, ReferenceError) as fault:
            return self._end(context, str(fault).partition("\n")[0], failed=True)

    def cancel(self, context: Context) -> None:
        """Blender ends the operator: another file is being opened, or the window closes."""
        if self._job is not None:
            self._job.stop()
        self._end(context, "")

    def _step(self, context: Context) -> set[str]:
        global _current
        if self._job is None:
            scene, rigs = self._scene_and_rigs()
            requests = {rig: self._asked[rig.session_uid] for rig in rigs}
            if self._to_sample:
                sample(scene, requests, _for_a_while(self._to_sample))
                self._show_progress(context, "reading sliders", self._samples - len(self._to_sample), self._samples)
                return {"RUNNING_MODAL"}
            self._job = _current = BakeThread(
                BakeRun(runtime_session.session(), make_jobs(scene, requests, self._options))
            )
        run = self._job.run
        if not self._job.over:
            self._show_progress(context, "baking", run.done, run.total)
            return {"PASS_THROUGH"}
        if self._job.fault:
            return self._end(context, self._job.fault, failed=True)
        if run.cancelled:
            return self._end(context, f"Bake cancelled; {run.done} of {run.total} frames are there")
        scene, rigs = self._scene_and_rigs()
        if self.show:
            for rig in rigs:
                show_baked_frames(scene, rig, self._options)
        self._tell(self._job.outcomes)
        self._end(context, "")
        return {"FINISHED"}

    def _end(self, context: Context, said: str, failed: bool = False) -> set[str]:
        global _current
        _current = None
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
        if context.workspace is not None:
            context.workspace.status_text_set(None)
        _redraw(context)
        if said:
            self.report({"ERROR" if failed else "WARNING"}, said)
        return {"CANCELLED"}

    def _show_progress(self, context: Context, what: str, done: int, total: int) -> None:
        if context.workspace is not None:
            context.workspace.status_text_set(f"LPMM: {what}, {done} of {total} frames   [Esc] Cancel")
        _redraw(context)

    def _ask(self, context: Context) -> tuple[list[Object], BakeOptions]:
        """Return what is to be baked, and how: as the caller says, else as the scene remembers."""
        remembered = context.scene.lpmm_bake_settings
        for name in NAMES:
            if not self.properties.is_property_set(name):
                setattr(self, name, getattr(remembered, name))
        return chosen_rigs(context, self.which), options_of(self, self.overwrite)

    def _scene_and_rigs(self) -> tuple[bpy.types.Scene, list[Object]]:
        scene = bpy.data.scenes.get(self._scene_name)
        rigs = [rig for rig in all_rigs() if rig.session_uid in self._asked]
        if scene is None or len(rigs) != len(self._asked):
            raise BakeError("a face was removed during its bake; the frames so far are kept")
        return scene, rigs

    def _tell(self, outcomes: Sequence[BakeOutcome]) -> None:
        for one in outcomes:
            self.report({"INFO"}, f"{one.rig}: {one.written} frames baked, {one.kept} kept, in {one.folder}")


class LPMM_OT_cancel_bake(Operator):
    bl_idname = "lpmm.cancel_bake"
    bl_label = "Cancel Bake"
    bl_description = "End the bake; the frames so far are kept, and the next bake goes on from there"

    @classmethod
    def poll(cls, _context: Context) -> bool:
        if current_bake() is None:
            cls.poll_message_set("No bake is running")
            return False
        return True

    def execute(self, _context: Context) -> set[str]:
        run = current_bake()
        if run is not None:
            run.cancel()
        return {"FINISHED"}


def chosen_rigs(context: Context, which: str) -> list[Object]:
    """Return the rigs that "ACTIVE", "SELECTED" or "ALL" stands for."""
    if which == "ALL":
        return rigs_of(context.scene)
    things = context.selected_objects if which == "SELECTED" else [context.active_object]
    rigs = {rig.session_uid: rig for rig in map(rig_of, things) if rig is not None}
    return list(rigs.values())


def _for_a_while(waiting: deque[int]) -> Iterator[int]:
    """Take numbers until a slice of time is over, at least one."""
    end = time.monotonic() + _SAMPLING_SECONDS
    while waiting:
        yield waiting.popleft()
        if time.monotonic() > end:
            return


def _redraw(context: Context) -> None:
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


_register_classes, _unregister_classes = bpy.utils.register_classes_factory((LPMM_OT_bake_face, LPMM_OT_cancel_bake))


def register() -> None:
    """Add the operators."""
    _register_classes()


def unregister() -> None:
    """Remove them; a bake that is running ends, its files whole."""
    if _current is not None:
        _current.stop()
    _unregister_classes()
