# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a bake still right? A look that costs next to nothing, for the panel, and a whole one."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bpy.types import Depsgraph, Object, Scene

from .bake import Requests, sample, source_of
from .bake_manifest import FILE_NAME, BakeError, BakeManifest, BakeSource, read_manifest, request_hash
from .baked_plane import baked_folder
from .frames import request_of


@dataclass(frozen=True)
class BakeState:
    """What the panel tells of a bake.

    Attributes:
        manifest: of the baked folder.
        stale: why the baked frames are not what a bake would give now, one line each; empty when nothing was found.
    """

    manifest: BakeManifest
    stale: tuple[str, ...]


def state_of(scene: Scene, rig: Object, depsgraph: Depsgraph) -> BakeState:
    """Look at what can be seen at once: bundle, photo, missing frames, and the sliders of the current frame.

    Raises:
        LpmmError: if the bake or the rig cannot be read.
    """
    manifest = _manifest_of(rig)
    stale = [f"The {what} has changed" for what in _source_now(rig, manifest).differences(manifest.source)]
    missing = manifest.end + 1 - manifest.start - sum(manifest.start <= n <= manifest.end for n in manifest.frames)
    if missing:
        stale.append(f"{missing} frames are missing")
    number = scene.frame_current
    on_step = manifest.start <= number <= manifest.end and (number - manifest.start) % manifest.step == 0
    entry = manifest.frames.get(number)
    if on_step and entry is not None and entry.request != request_hash(request_of(rig, depsgraph)):
        stale.append(f"Frame {number} differs")
    return BakeState(manifest, tuple(stale))


def changed_frames(scene: Scene, rig: Object) -> list[int]:
    """Return every frame of the bake that a bake would render anew.

    Raises:
        LpmmError: if the bake or the rig cannot be read.
    """
    manifest = _manifest_of(rig)
    folder = baked_folder(rig)
    assert folder is not None
    numbers = range(manifest.start, manifest.end + 1)
    if _source_now(rig, manifest).differences(manifest.source):
        return list(numbers)
    requests: Requests = {rig: {}}
    sample(scene, requests, range(manifest.start, manifest.end + 1, manifest.step))
    changed = []
    for number in numbers:
        held = manifest.start + (number - manifest.start) // manifest.step * manifest.step
        entry = manifest.frames.get(number)
        if entry is None or entry.request != request_hash(requests[rig][held]) or not entry.is_in(folder):
            changed.append(number)
    return changed


def _manifest_of(rig: Object) -> BakeManifest:
    folder = baked_folder(rig)
    if folder is None:
        raise BakeError(f"{rig.name}: was not baked yet")
    path = folder / FILE_NAME
    try:
        state = path.stat()
    except OSError as fault:
        raise BakeError(f"{path}: {fault.strerror or fault}") from fault
    manifest = _read(folder, state.st_mtime_ns, state.st_size)
    if manifest is None:
        raise BakeError(f"{path}: no such file")
    return manifest


def _source_now(rig: Object, manifest: BakeManifest) -> BakeSource:
    """Return what the rig's frames depend on now, under the bake's own output settings."""
    return source_of(rig, manifest.source.bits, manifest.source.alpha)


@lru_cache(maxsize=16)
def _read(folder: Path, _changed: int, _size: int) -> BakeManifest | None:
    return read_manifest(folder)


def as_ranges(numbers: list[int]) -> str:
    """Return sorted numbers for people: "3, 7–12"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{first}" if first == last else f"{first}–{last}" for first, last in runs)
