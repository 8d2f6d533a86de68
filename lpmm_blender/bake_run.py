# SPDX-License-Identifier: GPL-3.0-or-later
"""The bake at work: requests to the runtime, several ahead, and PNG files from what it answers.

Knows nothing of Blender data, so that it may run on a thread beside the interface. Each picture is rendered once,
however many frames show it; files that show what they should already stay.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lpmm_runtime.client import Frame, RuntimeDied
from lpmm_runtime.errors import LpmmError

from .bake_manifest import (
    BakedFrame,
    BakeError,
    BakeManifest,
    file_name,
    read_manifest,
    request_hash,
    write_manifest,
)
from .frame_request import FrameRequest
from .png_files import encode_png
from .runtime_session import RuntimeSession
from .whole_files import write_whole

IN_FLIGHT = 4
"""Requests asked ahead: the runtime never waits for a file, and a cancelled bake leaves it little to do."""

_WRITERS = 4
_SAVE_SECONDS = 2.0
_ANSWER_SECONDS = 300.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class BakeJob:
    """One rig's bake.

    Attributes:
        folder: where the files go; made when it is not there.
        manifest: what the folder will hold, without frames.
        requests: what each frame shows.
        overwrite: render every frame anew.
    """

    folder: Path
    manifest: BakeManifest
    requests: Mapping[int, FrameRequest]
    overwrite: bool = False


@dataclass(frozen=True)
class BakeOutcome:
    """What became of one rig's bake.

    Attributes:
        rig: the rig's name.
        folder: where the files are.
        rendered: pictures that the runtime rendered.
        written: files written.
        kept: files that showed the right picture already.
        missing: frames without a file, because the bake was cancelled.
    """

    rig: str
    folder: Path
    rendered: int
    written: int
    kept: int
    missing: int


class _CancelledError(Exception):
    pass


class BakeRun:
    """A bake of one or several rigs; `cancel` and the progress may be used from another thread.

    Attributes:
        done, total: frames that have their file, and all frames.
    """

    def __init__(self, session: RuntimeSession, jobs: Sequence[BakeJob]) -> None:
        self._session = session
        self._jobs = tuple(jobs)
        self._settings = session.settings
        self._cancelled = threading.Event()
        self.done = 0
        self.total = sum(len(job.requests) for job in jobs)

    def cancel(self) -> None:
        """Let the bake end soon; what is written stays."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def run(self) -> tuple[BakeOutcome, ...]:
        """Bake, and wait for it. After a cancel the outcomes say what is missing.

        Raises:
            BakeError: why it could not go on; files and manifests are consistent then, too.
        """
        return tuple(self._bake(job) for job in self._jobs)

    def _bake(self, job: BakeJob) -> BakeOutcome:
        rig = job.manifest.rig
        try:
            ledger = _Ledger(job)
        except OSError as fault:
            raise BakeError(f"{rig}: {job.folder} cannot be written: {fault.strerror or fault}") from fault
        kept = len(job.requests) - sum(map(len, ledger.wanted.values()))
        self.done += kept
        rendered = 0
        end: Exception | None = None
        with ThreadPoolExecutor(_WRITERS, thread_name_prefix="lpmm-bake") as pool:
            writing: deque[Future[dict[int, BakedFrame]]] = deque()
            try:
                for digest, frame in self._pictures(job, ledger.wanted):
                    rendered += 1
                    writing.append(pool.submit(_write, job, ledger.wanted[digest], digest, frame))
                    while writing and (writing[0].done() or len(writing) > 2 * _WRITERS):
                        self._enter(ledger, writing.popleft())
            except (OSError, BakeError, _CancelledError) as reason:
                end = reason
            # What is under way is finished and entered, whatever ended the loop.
            for future in writing:
                try:
                    self._enter(ledger, future)
                except OSError as reason:
                    end = end or reason
        ledger.save_what_can_be()
        if isinstance(end, OSError):
            raise BakeError(f"{rig}: {job.folder} cannot be written: {end.strerror or end}") from end
        if isinstance(end, BakeError):
            raise end
        missing = sum(frame not in ledger.entries for frame in job.requests)
        written = len(job.requests) - kept - missing
        return BakeOutcome(rig, job.folder, rendered, written, kept, missing)

    def _enter(self, ledger: "_Ledger", writing: "Future[dict[int, BakedFrame]]") -> None:
        written = writing.result()
        ledger.enter(written)
        self.done += len(written)

    def _pictures(self, job: BakeJob, wanted: Mapping[str, Sequence[int]]) -> "Iterator[tuple[str, Frame]]":
        """Yield every picture that is wanted, with several requests under way."""
        waiting: deque[tuple[str, int, Future[Frame] | None]] = deque()
        for digest, frames in wanted.items():
            waiting.append((digest, frames[0], self._ask(job, frames[0])))
            if len(waiting) >= IN_FLIGHT:
                digest, number, future = waiting.popleft()
                yield digest, self._answer(job, number, future)
        for digest, number, future in waiting:
            yield digest, self._answer(job, number, future)

    def _ask(self, job: BakeJob, number: int) -> "Future[Frame] | None":
        """Ask for a frame; None when the runtime is dead, so that `_answer` must revive it."""
        self._check()
        try:
            return self._session.submit(job.requests[number])
        except RuntimeDied:
            return None
        except LpmmError as fault:
            raise BakeError(f"{job.manifest.rig}: frame {number}: {_first_line(fault)}") from fault

    def _answer(self, job: BakeJob, number: int, future: "Future[Frame] | None") -> Frame:
        try:
            if future is not None:
                try:
                    return self._wait(future)
                except RuntimeDied:
                    self._check()
            # Once more, by the way that revives a dead runtime and tells of it.
            return self._session.render(job.requests[number])
        except LpmmError as fault:
            raise BakeError(f"{job.manifest.rig}: frame {number}: {_first_line(fault)}") from fault

    def _wait(self, future: "Future[Frame]") -> Frame:
        deadline = time.monotonic() + _ANSWER_SECONDS
        while True:
            try:
                return future.result(_POLL_SECONDS)
            except TimeoutError as error:
                self._check()
                if time.monotonic() > deadline:
                    raise RuntimeDied(f"the runtime has not answered for {_ANSWER_SECONDS:g} s") from error

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise _CancelledError
        if self._session.settings != self._settings:
            # Else half of the frames would be another bundle's.
            raise BakeError("the runtime's settings were changed during the bake; bake again")


class _Ledger:
    """The folder's manifest while files are being replaced.

    Attributes:
        entries: what is true of the folder now, by frame.
        wanted: the frames that lack their picture, by the hash of their request.

    Raises:
        OSError: the folder cannot be made or written.
    """

    def __init__(self, job: BakeJob) -> None:
        self._job = job
        self._saved_at = time.monotonic()
        job.folder.mkdir(parents=True, exist_ok=True)
        self.entries = {} if job.overwrite else _true_entries(job)
        self.wanted: dict[str, list[int]] = {}
        for frame, request in job.requests.items():
            digest = request_hash(request)
            entry = self.entries.get(frame)
            if entry is None or entry.request != digest:
                self.entries.pop(frame, None)
                self.wanted.setdefault(digest, []).append(frame)
        self._save()

    def enter(self, written: Mapping[int, BakedFrame]) -> None:
        """Note files that are whole."""
        self.entries.update(written)
        if time.monotonic() - self._saved_at > _SAVE_SECONDS:
            self.save_what_can_be()

    def save_what_can_be(self) -> None:
        """Write the manifest; where it cannot be written, the one on disk claims less but nothing that is not so."""
        try:
            self._save()
        except OSError:
            self._saved_at = time.monotonic()

    def _save(self) -> None:
        write_manifest(self._job.folder, self._job.manifest.with_frames(self.entries))
        self._saved_at = time.monotonic()


def _first_line(fault: LpmmError) -> str:
    # A runtime that does not start quotes its log.
    return str(fault).partition("\n")[0].rstrip(":")


def _true_entries(job: BakeJob) -> dict[int, BakedFrame]:
    """Return what an earlier bake left in the folder that is still good."""
    earlier = read_manifest(job.folder)
    if earlier is None or earlier.source.differences(job.manifest.source):
        return {}
    return {frame: entry for frame, entry in earlier.frames.items() if entry.is_in(job.folder)}


def _write(job: BakeJob, frames: Sequence[int], digest: str, picture: Frame) -> dict[int, BakedFrame]:
    source = job.manifest.source
    data = encode_png(picture.pixels, source.bits, source.alpha)
    for frame in frames:
        write_whole(job.folder / file_name(frame), data)
    return {frame: BakedFrame(file_name(frame), digest, len(data)) for frame in frames}
