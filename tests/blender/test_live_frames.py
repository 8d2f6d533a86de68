# SPDX-License-Identifier: GPL-3.0-or-later
"""Live frames: a drag never waits, and what is shown in the end is the newest wish.

The bpy module has no event loop, so these tests call what Blender's timer would.
"""

import os
import signal
import time
from collections.abc import Iterator

import bpy
import pytest
from bpy.types import Depsgraph, Object
from reference import Reference, difference, shown_by

from lpmm_blender import frames, live_frames
from lpmm_blender.plane import planes_of
from lpmm_blender.rig import IMAGE
from lpmm_blender.runtime_session import RuntimeSession


@pytest.fixture(autouse=True)
def no_live_frames_left() -> Iterator[None]:
    """Each test begins and ends without wishes."""
    frames.forget_shown()
    yield
    frames.stop()


def drag(rig: Object, name: str, value: float) -> None:
    """Do what a drag in a window leads to."""
    frames.show_live(rig, _depsgraph_with(rig, name, value))


def show_what_comes(seconds: float = 30.0) -> None:
    """Run the timer until nothing is under way."""
    deadline = time.monotonic() + seconds
    while frames._show_arrived() is not None:
        assert time.monotonic() < deadline, "no live frame came"
        time.sleep(0.005)


def test_a_drag_ends_with_the_newest_value(rig: Object, reference: Reference) -> None:
    for step in range(1, 41):
        drag(rig, "jawOpen", step / 40)
    show_what_comes()
    assert difference(shown_by(rig), reference.frame({"jawOpen": 1.0})) == 0


def test_a_drag_does_not_wait_for_a_runtime_that_must_be_started(
    runtime: RuntimeSession, rig: Object, reference: Reference
) -> None:
    runtime.stop()
    before = shown_by(rig)
    drag(rig, "jawOpen", 0.6)
    assert not runtime.running or difference(shown_by(rig), before) == 0
    show_what_comes()
    assert difference(shown_by(rig), reference.frame({"jawOpen": 0.6})) == 0


def test_a_value_that_is_shown_is_not_asked_for_again(rig: Object) -> None:
    drag(rig, "jawOpen", 0.6)
    show_what_comes()
    drag(rig, "jawOpen", 0.6)
    assert not live_frames.under_way()


def test_a_killed_runtime_comes_back_under_a_drag(runtime: RuntimeSession, rig: Object, reference: Reference) -> None:
    reports = runtime.reports
    os.kill(runtime.process.pid, signal.SIGKILL)
    drag(rig, "headYaw", 12.0)
    show_what_comes()
    assert difference(shown_by(rig), reference.frame({"headYaw": 12.0})) == 0
    assert runtime.reports == reports + 1


def test_answers_of_an_older_file_are_thrown_away(runtime: RuntimeSession, rig: Object) -> None:
    before = shown_by(rig)
    runtime.stop()  # So that the answer is still to come when it is no longer wanted.
    drag(rig, "headYaw", 30.0)
    time.sleep(0.1)
    frames.forget_shown()
    deadline = time.monotonic() + 30
    while runtime.status.frame_ms is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.1)
    assert live_frames.take_arrived() == []
    assert difference(shown_by(rig), before) == 0


def test_several_rigs_are_all_served(rig: Object, reference: Reference) -> None:
    twin = rig.copy()
    twin["lpmm_image"] = rig["lpmm_image"].copy()
    bpy.context.scene.collection.objects.link(twin)
    for step in range(1, 11):
        drag(rig, "jawOpen", step / 10)
        drag(twin, "headYaw", 2.0 * step)
    show_what_comes()
    assert difference(shown_by(rig), reference.frame({"jawOpen": 1.0})) == 0
    assert difference(shown_by(twin), reference.frame({"headYaw": 20.0, "jawOpen": 0.0})) == 0


def _depsgraph_with(rig: Object, name: str, value: float) -> bpy.types.Depsgraph:
    """Return the depsgraph after a change, without the exact answer that background mode gives to it."""
    handlers = bpy.app.handlers.depsgraph_update_post
    kept = list(handlers)
    handlers.clear()
    try:
        rig[name] = value
        rig.update_tag()
        bpy.context.view_layer.update()
        return bpy.context.evaluated_depsgraph_get()
    finally:
        handlers.extend(kept)


def test_a_frame_that_arrives_restarts_the_viewports_sampling(rig: Object) -> None:
    drag(rig, "headYaw", 9.0)
    bpy.context.view_layer.update()
    changed: set[str] = set()

    def note(_scene: object, depsgraph: Depsgraph) -> None:
        changed.update(update.id.original.name for update in depsgraph.updates if isinstance(update.id, Object))

    bpy.app.handlers.depsgraph_update_post.append(note)
    try:
        show_what_comes()
        bpy.context.view_layer.update()
    finally:
        bpy.app.handlers.depsgraph_update_post.remove(note)
    # Else a viewport that nobody touches shows the old face through the new one.
    assert {plane.name for plane in planes_of(rig, rig[IMAGE])} <= changed
    assert planes_of(rig, rig[IMAGE])
