# SPDX-License-Identifier: GPL-3.0-or-later
"""The runtime is another process: its death, or its absence, is told once and spoils no picture unseen."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import bpy
import pytest
from bpy.types import Object, Scene
from reference import Reference, change_slider, difference, read_png, render_with_cycles, shown_by

from lpmm_blender.runtime_session import RuntimeSession, RuntimeSettings
from lpmm_blender.slate import paint_slate


def kill(runtime: RuntimeSession) -> None:
    process = runtime.process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)


def test_a_killed_runtime_is_reported_once_and_started_again(
    runtime: RuntimeSession, rig: Object, reference: Reference, caplog: pytest.LogCaptureFixture
) -> None:
    reports = runtime.reports
    pid = runtime.process.pid
    kill(runtime)
    change_slider(rig, "jawOpen", 0.7)
    change_slider(rig, "jawOpen", 0.4)
    assert difference(shown_by(rig), reference.frame({"jawOpen": 0.4})) == 0
    assert runtime.reports == reports + 1
    assert "killed by signal 9" in runtime.status.fault
    assert len([record for record in caplog.records if "killed by signal 9" in record.message]) == 1
    assert runtime.running and runtime.process.pid != pid


def test_a_killed_runtime_does_not_spoil_the_render(
    runtime: RuntimeSession, scene: Scene, rig: Object, reference: Reference, tmp_path: Path
) -> None:
    def kill_at_frame_3(scene: Scene, _: object = None) -> None:
        if scene.frame_current == 3:
            kill(runtime)

    render_with_cycles(scene)
    scene.frame_start, scene.frame_end = 1, 6
    for frame in range(1, 7):
        rig["p07"] = frame / 2
        rig.keyframe_insert('["p07"]', frame=frame)
    scene.render.filepath = f"{tmp_path}/####"
    bpy.app.handlers.render_pre.append(kill_at_frame_3)
    try:
        bpy.ops.render.render(animation=True)
    finally:
        bpy.app.handlers.render_pre.remove(kill_at_frame_3)
    for frame in range(1, 7):
        expected = reference.frame({"p07": frame / 2})
        assert difference(read_png(tmp_path / f"{frame:04d}.png"), expected) <= 1


@pytest.fixture
def no_runtime(runtime: RuntimeSession, settings: RuntimeSettings, rig: Object) -> Iterator[None]:
    """A rig whose runtime cannot be started any more."""
    runtime.configure(replace(settings, python=Path("/nowhere/python")))
    yield
    runtime.configure(settings)


def test_a_runtime_that_cannot_start_gives_slates_and_one_report(
    no_runtime: None, runtime: RuntimeSession, scene: Scene, rig: Object, tmp_path: Path
) -> None:
    render_with_cycles(scene)
    scene.frame_start, scene.frame_end = 1, 4
    scene.render.filepath = f"{tmp_path}/####"
    reports = runtime.reports
    bpy.ops.render.render(animation=True)
    assert runtime.reports == reports + 1
    assert "/nowhere/python" in runtime.status.fault
    side = rig["lpmm_image"].size[0]
    reason = runtime.status.fault.removeprefix("Ada: ")
    for frame in range(1, 5):
        assert difference(read_png(tmp_path / f"{frame:04d}.png"), paint_slate(side, side, reason)) == 0


def test_a_render_tries_once_to_start_a_runtime_that_cannot_start(
    runtime: RuntimeSession, settings: RuntimeSettings, scene: Scene, rig: Object, tmp_path: Path
) -> None:
    attempts, python = tmp_path / "attempts", tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho tried >> {attempts}\nexit 3\n")
    python.chmod(0o755)
    runtime.configure(replace(settings, python=python))
    render_with_cycles(scene)
    scene.frame_start, scene.frame_end = 1, 4
    scene.render.filepath = f"{tmp_path}/####"
    bpy.ops.render.render(animation=True)
    assert attempts.read_text() == "tried\n"
    assert "exit status 3" in runtime.status.fault
    runtime.configure(settings)


def test_after_a_slate_the_face_comes_back(
    no_runtime: None,
    runtime: RuntimeSession,
    settings: RuntimeSettings,
    scene: Scene,
    rig: Object,
    reference: Reference,
) -> None:
    scene.frame_set(2)
    assert difference(shown_by(rig), reference.frame({})) > 50
    runtime.configure(settings)
    scene.frame_set(3)
    assert difference(shown_by(rig), reference.frame({})) == 0


def test_a_vanished_photo_is_named_on_the_slate(
    runtime: RuntimeSession, scene: Scene, rig: Object, reference: Reference
) -> None:
    rig["lpmm_photo"].filepath = "/nowhere/Ada.png"
    scene.frame_set(2)
    assert "/nowhere/Ada.png" in runtime.status.fault
    assert difference(shown_by(rig), reference.frame({})) > 50


def test_a_slider_that_is_not_a_number_is_named(runtime: RuntimeSession, scene: Scene, rig: Object) -> None:
    change_slider(rig, "p03", float("nan"))
    assert "p03 is nan" in runtime.status.fault
