# SPDX-License-Identifier: GPL-3.0-or-later
"""Videos to shards: every source on its own, in parallel, each done once whatever interrupts the run."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from training.videos.clips import Gathering, Tally, gather
from training.videos.frame_shards import FORMAT, FORMAT_VERSION, Coding, ShardEntry, ShardWriter, write_index
from training.videos.layout import Source
from training.videos.readers import ReaderChoice
from training.videos.visible_faces import FaceLook, Visibility

RECORDS = "records"
SETTINGS = "settings.json"
SUMMARY = "summary.json"


@dataclass(frozen=True)
class Preparation:
    """Everything that decides what a set holds.

    Attributes:
        folder: where the set goes.
        readers: who finds and reads.
        visibility, gathering: which frames are taken.
        per_shard: the most frames a shard holds.
        coding: of the crops: "jpeg" (quality 95, full colour) or "png" (exact, about four times the size).
    """

    folder: Path
    readers: ReaderChoice = field(default_factory=ReaderChoice)
    visibility: Visibility = field(default_factory=Visibility)
    gathering: Gathering = field(default_factory=Gathering)
    per_shard: int = 1024
    coding: Coding = "jpeg"

    def settings(self) -> dict[str, Any]:
        """Return what two runs into one folder must agree on, as JSON values."""
        manifest = (self.readers.bundle / "bundle.json").read_bytes()
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "reader": self.readers.kind,
            "bundle": json.loads(manifest)["files"],
            **asdict(self.visibility),
            **asdict(self.gathering),
            "per_shard": self.per_shard,
            "coding": self.coding,
        }


@dataclass(frozen=True)
class Record:
    """What became of a source.

    Attributes:
        source, speaker: whose.
        stamps: (path, bytes, modification time in ns) of each file as it was read.
        shards: what was written.
        seen, cuts, clips: frames looked at, shot cuts met, clips kept.
        left_out: frames left out, by reason.
        faults: one line a file that is missing or damaged, in whole or in part.
    """

    source: str
    speaker: str
    stamps: tuple[tuple[str, int, int], ...]
    shards: tuple[ShardEntry, ...]
    seen: int
    cuts: int
    clips: int
    left_out: dict[str, int]
    faults: tuple[str, ...]

    @property
    def frames(self) -> int:
        """Frames kept."""
        return sum(shard.frames for shard in self.shards)

    @property
    def rejection(self) -> str | None:
        """Why nothing of the source was kept, one line; None if something was."""
        if self.shards:
            return None
        if self.faults:
            return "; ".join(self.faults)
        reasons = Counter(self.left_out).most_common()
        why = ", ".join(f"{reason} ({count})" for reason, count in reasons) or "no frame was looked at"
        return f"{self.source}: nothing usable in {self.seen} frames: {why}"


@dataclass(eq=False)
class Summary:
    """What a run came to.

    Attributes:
        sources, kept: how many there are, and how many gave frames.
        frames, clips, shards: that the set holds.
        seen: frames looked at.
        left_out: frames left out, by reason.
        rejected: a line a source of which nothing was kept.
        damaged: a line a file of which a part was kept.
        done_before: sources that an earlier run had done.
    """

    sources: int = 0
    kept: int = 0
    frames: int = 0
    clips: int = 0
    shards: int = 0
    seen: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    rejected: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    done_before: int = 0

    def add(self, record: Record) -> None:
        """Count a source."""
        self.sources += 1
        self.kept += bool(record.shards)
        self.frames += record.frames
        self.clips += record.clips
        self.shards += len(record.shards)
        self.seen += record.seen
        self.left_out.update(record.left_out)
        if (line := record.rejection) is not None:
            self.rejected.append(line)
        else:
            self.damaged.extend(record.faults)


def prepare(preparation: Preparation, sources: list[Source], workers: int) -> Summary:
    """Make the shards that are missing, then the index and the summary.

    Raises:
        ValueError: if the folder holds a set made with other settings, or a worker process died.
        LpmmError: if the models cannot be opened.
    """
    folder = preparation.folder
    folder.mkdir(parents=True, exist_ok=True)
    _agree_on_settings(preparation)
    for leftover in folder.rglob(".*.tmp"):  # of a run that was killed
        leftover.unlink(missing_ok=True)
    missing = [source for source in sources if _finished(folder, source) is None]
    done_before = len(sources) - len(missing)
    bar = partial(tqdm, total=len(sources), initial=done_before, desc="prepare", unit="video", mininterval=1)
    if workers <= 1 or len(missing) <= 1:
        if missing:
            worker = _Worker(preparation)
            try:
                for source in bar(missing):
                    worker.make(source)
            finally:
                worker.close()
    else:
        preparation.readers.open()[1].close()  # what is wrong with the models is said here, not in a dying worker
        _make_in_parallel(preparation, missing, min(workers, len(missing)), bar)
    summary = Summary(done_before=done_before)
    write_index(folder, _entries(folder, sources, summary))
    _write_whole(folder / SUMMARY, json.dumps(vars(summary), indent=1) + "\n")
    return summary


def _make_in_parallel(preparation: Preparation, missing: list[Source], workers: int, bar: Callable[..., Any]) -> None:
    # Onnxruntime does not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (preparation,)) as pool:
        futures = [pool.submit(_make, source) for source in missing]
        try:
            for future in bar(as_completed(futures)):
                future.result()
        except BrokenProcessPool as error:
            raise ValueError("a worker process died (out of memory?); run the same again to go on") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _entries(folder: Path, sources: list[Source], summary: Summary) -> Iterator[ShardEntry]:
    for source in sources:
        record = _read_record(folder, source.name)
        if record is not None:
            summary.add(record)
            yield from record.shards


class _Worker:
    """One process's models, opened once."""

    def __init__(self, preparation: Preparation) -> None:
        cv2.setNumThreads(1)
        self._preparation = preparation
        finder, self._reader = preparation.readers.open()
        self._look = FaceLook(finder, self._reader, preparation.visibility)

    def make(self, source: Source) -> None:
        """Make a source's shards, then the record that says so."""
        plan = self._preparation
        stamps = _stamps(source)
        old = _read_record(plan.folder, source.name)
        for entry in old.shards if old else ():
            (plan.folder / entry.file).unlink(missing_ok=True)
        names = [entry.path.name for entry in source.files]
        writer = ShardWriter(plan.folder, source.name, source.speaker, names, plan.per_shard, plan.coding)
        tally = Tally()
        clips = set()
        try:
            for frame in gather(source, self._look, plan.gathering, tally):
                clips.add(frame.clip)
                writer.add(frame)
            writer.flush()
        except (OSError, MemoryError, cv2.error) as error:
            if isinstance(error, OSError) and not _is_input(error, source):
                raise
            tally.faults.append(f"{source.name}: {' '.join(str(error).split()) or type(error).__name__}")
            writer.flush()
        record = Record(
            source=source.name,
            speaker=source.speaker,
            stamps=stamps,
            shards=tuple(writer.entries),
            seen=tally.seen,
            cuts=tally.cuts,
            clips=len(clips),
            left_out=dict(tally.left_out),
            faults=tuple(tally.faults),
        )
        path = _record_path(plan.folder, source.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, json.dumps(asdict(record), indent=1) + "\n")

    def close(self) -> None:
        """End what the reader started."""
        self._reader.close()


_worker: _Worker | None = None


def _start_worker(preparation: Preparation) -> None:
    global _worker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = _Worker(preparation)


def _end_with_parent() -> None:
    # A pool's worker does not notice that its parent was killed, and would wait for work for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make(source: Source) -> None:
    assert _worker is not None
    _worker.make(source)


def _agree_on_settings(preparation: Preparation) -> None:
    path = preparation.folder / SETTINGS
    wanted = preparation.settings()
    if not path.exists():
        if any(preparation.folder.iterdir()):
            raise ValueError(f"{preparation.folder}: holds other things than a set of frames; name a new folder")
        _write_whole(path, json.dumps(wanted, indent=1) + "\n")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error})") from error
    for name, value in wanted.items():
        if found.get(name) != value:
            there, here = ("other models", "these") if name == "bundle" else (found.get(name), value)
            raise ValueError(f"{preparation.folder}: made with another {name} ({there}, now {here}); name a new folder")


def _finished(folder: Path, source: Source) -> Record | None:
    """Return the record of a source that is done: same files as now, every shard there in full."""
    record = _read_record(folder, source.name)
    if record is None or record.stamps != _stamps(source):
        return None
    for entry in record.shards:
        path = folder / entry.file
        if not path.is_file() or path.stat().st_size != entry.bytes:
            return None
    return record


def _read_record(folder: Path, name: str) -> Record | None:
    try:
        data = json.loads(_record_path(folder, name).read_text(encoding="utf-8"))
        data["stamps"] = tuple((str(path), int(size), int(time)) for path, size, time in data["stamps"])
        data["shards"] = tuple(ShardEntry(**entry) for entry in data["shards"])
        data["faults"] = tuple(data["faults"])
        return Record(**data)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or half of one: the source is made again


def _record_path(folder: Path, name: str) -> Path:
    return folder / RECORDS / f"{name}.json"


def _stamps(source: Source) -> tuple[tuple[str, int, int], ...]:
    stamps = []
    for entry in source.files:
        try:
            stat = entry.path.stat()
            stamps.append((entry.path.name, stat.st_size, stat.st_mtime_ns))
        except OSError:
            stamps.append((entry.path.name, 0, 0))
    return tuple(stamps)


def _is_input(error: OSError, source: Source) -> bool:
    """Whether the fault is a source's own file's; a full disk is no video's fault."""
    return error.filename is not None and any(str(entry.path) == str(error.filename) for entry in source.files)


def _write_whole(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
