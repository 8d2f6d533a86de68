# SPDX-License-Identifier: GPL-3.0-or-later
"""A bake does only what is left to do, and whatever ends it, its files and its manifest agree."""

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from animating import key
from bpy.types import Object, Scene
from reference import Reference, read_png
from tiny_bundle import disc_photo, write_tiny_bundle

from lpmm_blender.add_face import FaceOptions, add_face
from lpmm_blender.bake import BakeOptions, bake_faces, make_jobs, sample
from lpmm_blender.bake_manifest import BakeError, read_manifest
from lpmm_blender.bake_run import BakeOutcome, BakeRun
from lpmm_blender.runtime_session import RuntimeSession, RuntimeSettings

LAST = 33
"""More than are under way at any moment."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the frames go under `options`."""
    return tmp_path / "Ada"


@pytest.fixture
def options(tmp_path: Path) -> BakeOptions:
    """A few dozen frames."""
    return BakeOptions(folder=str(tmp_path), start=1, end=LAST)


@pytest.fixture
def moving(rig: Object) -> Object:
    """A rig that looks different on every frame."""
    key(rig, "p07", {1: -3, LAST: 1})
    return rig


def channels_at(frame: int) -> dict[str, float]:
    return {"p07": -3.0 + (frame - 1) / 8}


def assert_consistent(folder: Path, reference: Reference) -> set[int]:
    """Return the frames that the manifest claims, after seeing that each is what it should be."""
    manifest = read_manifest(folder)
    assert manifest is not None
    for frame, entry in manifest.frames.items():
        assert entry.is_in(folder)
        assert np.array_equal(read_png(folder / entry.file), reference.frame(channels_at(frame))), frame
    assert list(folder.glob(".*")) == [], "half a file was left"
    return set(manifest.frames)


Happening = Callable[[BakeRun], object]


class _EventfulRun(BakeRun):
    """A bake in which something happens once some files are there."""

    def after(self, files: int, happens: Happening) -> "_EventfulRun":
        self._files, self._happens = files, happens
        return self

    def _enter(self, ledger: object, writing: object) -> None:
        super()._enter(ledger, writing)  # type: ignore[arg-type]
        if self.done == self._files:
            self._happens(self)


def run_until(
    runtime: RuntimeSession, scene: Scene, rig: Object, options: BakeOptions, files: int, happens: Happening
) -> BakeOutcome:
    """Bake, and let something happen after some files."""
    requests = {rig: {}}
    sample(scene, requests, range(1, LAST + 1))
    (outcome,) = _EventfulRun(runtime, make_jobs(scene, requests, options)).after(files, happens).run()
    return outcome


def test_a_second_bake_renders_nothing(scene: Scene, moving: Object, options: BakeOptions, folder: Path) -> None:
    bake_faces(scene, [moving], options)
    times = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    (outcome,) = bake_faces(scene, [moving], options)
    assert (outcome.rendered, outcome.kept) == (0, LAST)
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")} == times
    (outcome,) = bake_faces(scene, [moving], replace(options, overwrite=True))
    assert (outcome.rendered, outcome.kept) == (LAST, 0)


def test_only_the_frames_that_changed_are_rendered(
    scene: Scene, moving: Object, options: BakeOptions, folder: Path, reference: Reference
) -> None:
    bake_faces(scene, [moving], options)
    curve = key(moving, "p08", {5: 0, 7: 1, 9: 0})
    curve.extrapolation = "CONSTANT"
    (outcome,) = bake_faces(scene, [moving], options)
    assert (outcome.rendered, outcome.kept) == (3, LAST - 3)
    assert np.array_equal(read_png(folder / "0007.png"), reference.frame({**channels_at(7), "p08": 1.0}))


def test_a_longer_range_adds_frames_and_a_shorter_one_forgets_none(
    scene: Scene, moving: Object, options: BakeOptions, folder: Path, reference: Reference
) -> None:
    bake_faces(scene, [moving], replace(options, end=4))
    (outcome,) = bake_faces(scene, [moving], replace(options, start=3, end=6))
    assert (outcome.rendered, outcome.kept) == (2, 2)
    assert assert_consistent(folder, reference) == {1, 2, 3, 4, 5, 6}


def test_a_file_that_was_damaged_or_lost_is_rendered_again(
    scene: Scene, moving: Object, options: BakeOptions, folder: Path, reference: Reference
) -> None:
    bake_faces(scene, [moving], options)
    (folder / "0003.png").unlink()
    (folder / "0005.png").write_bytes((folder / "0005.png").read_bytes()[:40])
    (outcome,) = bake_faces(scene, [moving], options)
    assert outcome.rendered == 2
    assert assert_consistent(folder, reference) == set(range(1, LAST + 1))


def test_another_depth_photo_or_bundle_renders_everything(
    runtime: RuntimeSession,
    settings: RuntimeSettings,
    scene: Scene,
    tmp_path: Path,
    options: BakeOptions,
) -> None:
    photo = tmp_path / "Ada.png"
    cv2.imwrite(str(photo), disc_photo()[..., ::-1])
    rig = add_face(scene, photo, FaceOptions())
    key(rig, "p07", {1: 0, LAST: 3})
    bake_faces(scene, [rig], options)

    def rendered(**changes: object) -> int:
        (outcome,) = bake_faces(scene, [rig], replace(options, **changes))
        return outcome.rendered

    assert rendered(bits=16) == LAST
    assert rendered(bits=16) == 0
    cv2.imwrite(str(photo), disc_photo(diameter=90)[..., ::-1])
    assert rendered(bits=16) == LAST
    runtime.configure(replace(settings, bundle=write_tiny_bundle(tmp_path / "other", seed=1)))
    try:
        assert rendered(bits=16) == LAST
    finally:
        runtime.configure(settings)


def test_a_cancelled_bake_keeps_its_frames_and_goes_on_later(
    runtime: RuntimeSession, scene: Scene, moving: Object, options: BakeOptions, folder: Path, reference: Reference
) -> None:
    outcome = run_until(runtime, scene, moving, options, 4, lambda run: run.cancel())
    there = assert_consistent(folder, reference)
    assert 4 <= len(there) < LAST and outcome.missing == LAST - len(there)
    (outcome,) = bake_faces(scene, [moving], options)
    assert (outcome.kept, outcome.rendered) == (len(there), LAST - len(there))
    assert assert_consistent(folder, reference) == set(range(1, LAST + 1))


def test_a_bake_killed_midway_claims_no_frame_that_it_has_replaced(
    runtime: RuntimeSession, scene: Scene, moving: Object, options: BakeOptions, folder: Path
) -> None:
    bake_faces(scene, [moving], options)
    old = read_manifest(folder)
    key(moving, "p08", {1: 1, LAST: 1})
    claimed = []

    def look(_run: BakeRun) -> None:
        # What a kill at this moment would leave on the disk.
        claimed.append(read_manifest(folder))

    run_until(runtime, scene, moving, options, 3, look)
    assert old is not None and len(old.frames) == LAST
    (then,) = claimed
    assert len(then.frames) < LAST
    assert all(entry.request != old.frames[frame].request for frame, entry in then.frames.items())


def test_a_full_disk_ends_the_bake_with_one_line(
    runtime: RuntimeSession, scene: Scene, moving: Object, options: BakeOptions, folder: Path, reference: Reference
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(_run: BakeRun) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))

    try:
        with pytest.raises(BakeError, match=r"^Ada: .*Ada cannot be written: File too large$"):
            run_until(runtime, scene, moving, options, 4, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(assert_consistent(folder, reference)) < LAST
    bake_faces(scene, [moving], options)
    assert assert_consistent(folder, reference) == set(range(1, LAST + 1))


def test_a_folder_that_cannot_be_made_is_named(scene: Scene, moving: Object, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(BakeError, match=r"taken.*cannot be written: Not a directory"):
        bake_faces(scene, [moving], BakeOptions(str(tmp_path / "taken"), 1, 2))
    assert moving.get("lpmm_bake") is None


def test_a_damaged_manifest_is_named_and_nothing_is_overwritten(
    scene: Scene, moving: Object, options: BakeOptions, folder: Path
) -> None:
    bake_faces(scene, [moving], options)
    before = {path: path.read_bytes() for path in folder.glob("*.png")}
    (folder / "lpmm-bake.json").write_text('{"format": "lpmm-bake", "format_version": 1, "rig": "Ada"}')
    key(moving, "p08", {1: 1, LAST: 1})
    with pytest.raises(BakeError, match=r"lpmm-bake\.json: damaged"):
        bake_faces(scene, [moving], options)
    assert {path: path.read_bytes() for path in folder.glob("*.png")} == before


def test_a_killed_runtime_is_started_again_and_told_of_once(
    runtime: RuntimeSession, scene: Scene, moving: Object, options: BakeOptions, folder: Path, reference: Reference
) -> None:
    reports = runtime.reports
    outcome = run_until(runtime, scene, moving, options, 4, lambda _: os.kill(runtime.process.pid, signal.SIGKILL))
    assert (outcome.written, outcome.missing) == (LAST, 0)
    assert runtime.reports == reports + 1
    assert assert_consistent(folder, reference) == set(range(1, LAST + 1))


@pytest.fixture
def one_start(tmp_path: Path, settings: RuntimeSettings, runtime: RuntimeSession) -> Iterator[None]:
    """A runtime that starts once and never again."""
    started = tmp_path / "started"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ -e {started} ] && exit 3\ntouch {started}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    runtime.configure(replace(settings, python=python))
    yield
    runtime.configure(settings)


def test_a_runtime_that_stays_dead_ends_the_bake_with_one_line(
    one_start: None,
    runtime: RuntimeSession,
    scene: Scene,
    moving: Object,
    options: BakeOptions,
    folder: Path,
    reference: Reference,
) -> None:
    with pytest.raises(BakeError, match=r"^Ada: frame \d+: .*exit status 3") as fault:
        run_until(runtime, scene, moving, options, 4, lambda _: os.kill(runtime.process.pid, signal.SIGKILL))
    assert "\n" not in str(fault.value)
    assert 4 <= len(assert_consistent(folder, reference)) < LAST


def test_a_runtime_changed_midway_ends_the_bake(
    runtime: RuntimeSession,
    settings: RuntimeSettings,
    scene: Scene,
    moving: Object,
    options: BakeOptions,
    folder: Path,
    reference: Reference,
) -> None:
    other = replace(settings, threads=2)
    with pytest.raises(BakeError, match="settings were changed"):
        run_until(runtime, scene, moving, options, 4, lambda _: runtime.configure(other))
    runtime.configure(settings)
    assert len(assert_consistent(folder, reference)) < LAST
