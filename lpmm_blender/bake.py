# SPDX-License-Identifier: GPL-3.0-or-later
"""Bake faces: their frames as numbered PNGs with a manifest, and an image sequence on the plane.

    bake_faces(scene, [rig], BakeOptions(folder="//frames/{rig}"))

works without a window, and is what the operator does in steps.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import bpy
from bpy.types import Object, Scene

from lpmm_runtime.bundle import DEFAULT_BUNDLE, MANIFEST, sha256_of

from . import runtime_session
from .bake_manifest import BakeError, BakeManifest, BakeSource, file_name
from .bake_run import BakeJob, BakeOutcome, BakeRun
from .baked_plane import show_bake
from .frame_request import FrameRequest
from .frames import request_of
from .interface_lock import keep_lock
from .png_files import Bits
from .rig import photo_path, rigs_of
from .rig_sampling import depsgraph_at, sampling

DEFAULT_FOLDER = "//lpmm_bake/{blend}/{rig}"
"""Named after the .blend, so that two shots in one directory do not overwrite each other's frames."""

Requests = dict[Object, dict[int, FrameRequest]]


@dataclass(frozen=True)
class BakeOptions:
    """How faces are baked.

    Attributes:
        folder: "//…" is relative to the .blend; {blend} and {rig} stand for their names, and without {rig} every rig
            gets a folder below it.
        start, end: first and last frame; None is the scene's.
        step: 2 renders every other frame, and the frames between hold the one before ("on twos").
        bits: a channel of the PNGs, 8 or 16.
        alpha: whether they have a fourth channel.
        overwrite: render what is there already, too.
    """

    folder: str = DEFAULT_FOLDER
    start: int | None = None
    end: int | None = None
    step: int = 1
    bits: Bits = 8
    alpha: bool = True
    overwrite: bool = False

    def range_in(self, scene: Scene) -> tuple[int, int]:
        """Return the first and the last frame."""
        start = scene.frame_start if self.start is None else self.start
        return start, scene.frame_end if self.end is None else self.end


def bake_faces(
    scene: Scene, rigs: Sequence[Object], options: BakeOptions | None = None, *, show: bool = True
) -> tuple[BakeOutcome, ...]:
    """Bake rigs, and wait for it.

    Args:
        scene: its range and its time are baked; it stays at its frame.
        show: let the planes show the baked frames.

    Raises:
        LpmmError: why it could not be done; what was written stays, and the next bake goes on from there.
    """
    options = options or BakeOptions()
    check_bake(scene, rigs, options)
    start, end = options.range_in(scene)
    requests: Requests = {rig: {} for rig in rigs}
    sample(scene, requests, range(start, end + 1, options.step))
    outcomes = BakeRun(runtime_session.session(), make_jobs(scene, requests, options)).run()
    if show:
        for rig in rigs:
            show_baked_frames(scene, rig, options)
    return outcomes


def check_bake(scene: Scene, rigs: Sequence[Object], options: BakeOptions) -> None:
    """Refuse what cannot become right.

    Raises:
        BakeError: in one line, what to change.
    """
    start, end = options.range_in(scene)
    if not rigs:
        raise BakeError("no LPMM face is chosen: select one, or bake all")
    if end < start:
        raise BakeError(f"the last frame ({end}) comes before the first ({start})")
    if start < 0:
        raise BakeError(f"frame {start}: Blender's image sequences have no negative frames; begin at 0 or later")
    if options.step < 1:
        raise BakeError(f"a step of {options.step} leads nowhere; it is 1 or more")
    if scene.render.frame_map_old != scene.render.frame_map_new:
        raise BakeError(
            f"time remapping ({scene.render.frame_map_old} to {scene.render.frame_map_new}) would show other frames "
            "of the image sequence; set both to 100, or render live"
        )
    if options.folder.startswith("//") and not bpy.data.filepath:
        raise BakeError(f"{options.folder}: save the file first, or choose a folder that is not relative to it")
    folders: dict[Path, Object] = {}
    for rig in rigs:
        folder = folder_of(rig, options.folder)
        if folder in folders:
            raise BakeError(f"{folders[folder].name} and {rig.name} would both be baked into {folder}; rename one")
        folders[folder] = rig


def sample(scene: Scene, requests: Requests, numbers: Iterable[int]) -> None:
    """Add to `requests` what the rigs' evaluated sliders ask for at some frames.

    Raises:
        LpmmError: if a rig is damaged or a slider is no number.
    """
    with sampling(scene, list(requests)) as sampler:
        for number in numbers:
            depsgraph = depsgraph_at(sampler, number)
            for rig, asked in requests.items():
                asked[number] = request_of(rig, depsgraph)


def make_jobs(scene: Scene, requests: Requests, options: BakeOptions) -> list[BakeJob]:
    """Return the rigs' bakes, which no longer need Blender's data.

    Raises:
        LpmmError: if a photo or the bundle cannot be read.
    """
    start, end = options.range_in(scene)
    fps = scene.render.fps / scene.render.fps_base
    jobs = []
    for rig, asked in requests.items():
        manifest = BakeManifest(rig.name, source_of(rig, options.bits, options.alpha), start, end, options.step, fps)
        held = {number: asked[start + (number - start) // options.step * options.step] for number in _all(start, end)}
        jobs.append(BakeJob(folder_of(rig, options.folder), manifest, held, options.overwrite))
    return jobs


def show_baked_frames(scene: Scene, rig: Object, options: BakeOptions) -> None:
    """Let a rig's planes show what was just baked.

    Raises:
        BakeError: if its material cannot be edited.
    """
    start, end = options.range_in(scene)
    first = folder_of(rig, options.folder) / file_name(start)
    path = bpy.path.relpath(str(first)) if options.folder.startswith("//") else str(first)
    show_bake(rig, path, start, end)
    for one in bpy.data.scenes:
        if rig in rigs_of(one):
            keep_lock(one)


def folder_of(rig: Object, folder: str) -> Path:
    """Return where a rig's frames go."""
    blend = Path(bpy.data.filepath).stem or "untitled"
    if "{rig}" not in folder:
        folder = folder.rstrip("/\\") + "/{rig}"
    folder = folder.replace("{blend}", bpy.path.clean_name(blend)).replace("{rig}", bpy.path.clean_name(rig.name))
    return Path(bpy.path.abspath(folder))


def source_of(rig: Object, bits: Bits, alpha: bool) -> BakeSource:
    """Return what all frames of a rig depend on. Cheap: a file is read once for each state of it.

    Raises:
        BakeError: if the photo or the bundle cannot be read.
    """
    bundle = runtime_session.session().settings.bundle or DEFAULT_BUNDLE
    photo = photo_path(rig)
    return BakeSource(
        bundle=bundle.name,
        bundle_sha256=_hash_of(bundle / MANIFEST),
        photo=photo.name,
        photo_sha256=_hash_of(photo),
        bits=bits,
        alpha=alpha,
    )


def _all(start: int, end: int) -> range:
    return range(start, end + 1)


def _hash_of(path: Path) -> str:
    try:
        state = path.stat()
        return _hash_of_state(path, state.st_mtime_ns, state.st_size)
    except OSError as fault:
        raise BakeError(f"{path}: cannot be read: {fault.strerror or fault}") from fault


@lru_cache(maxsize=64)
def _hash_of_state(path: Path, _changed: int, _size: int) -> str:
    return sha256_of(path)
