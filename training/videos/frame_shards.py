# SPDX-License-Identifier: GPL-3.0-or-later
"""Shards of aligned video frames: written one at a time, read one at a time (docs/frame-shards-format.md)."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from training.shard_columns import Column, open_columns
from training.videos.clips import ClipFrame

Pixels = NDArray[np.uint8]
Coding = Literal["jpeg", "png"]

FORMAT = "lpmm-frames"
FORMAT_VERSION = 1
INDEX = "index.jsonl"
SHARDS = "shards"
_JPEG_QUALITY = 95
# The share of speakers that no model is trained on.
_HELD_OUT = 0.05


@dataclass(frozen=True)
class ShardEntry:
    """A line of the index.

    Attributes:
        file: of the shard, relative to the set's folder, POSIX form.
        source, speaker: whose frames they are.
        frames: how many.
        clips: how many clips they belong to.
        bytes, sha256: of the file.
    """

    file: str
    source: str
    speaker: str
    frames: int
    clips: int
    bytes: int
    sha256: str


class ShardWriter:
    """Writes one source's shards; at most one shard's coded frames are held in memory."""

    def __init__(self, folder: Path, source: str, speaker: str, files: list[str], per_shard: int, coding: Coding):
        self.entries: list[ShardEntry] = []
        self._folder = folder
        self._source = source
        self._speaker = speaker
        self._files = files
        self._per_shard = per_shard
        self._coding = coding
        self._frames: list[ClipFrame] = []
        self._coded: list[Pixels] = []

    def add(self, frame: ClipFrame) -> None:
        """Take a frame; a full shard is written."""
        self._coded.append(_encode(frame.sample.picture, self._coding))
        self._frames.append(frame)
        if len(self._frames) >= self._per_shard:
            self.flush()

    def flush(self) -> None:
        """Write what is held, if anything."""
        if not self._frames:
            return
        frames, samples = self._frames, [frame.sample for frame in self._frames]
        name = f"{SHARDS}/{self._source}-{len(self.entries):03d}.npz"
        arrays = {
            "coded": np.concatenate(self._coded),
            "coded_end": np.cumsum([len(data) for data in self._coded]),
            "landmarks": np.stack([sample.landmarks for sample in samples]),
            "square": np.array([sample.square for sample in samples], np.int32),
            "score": np.array([sample.score for sample in samples], np.float32),
            "clip": np.array([frame.clip for frame in frames], np.int32),
            "video": np.array([frame.file for frame in frames], np.int32),
            "frame": np.array([frame.number for frame in frames], np.int32),
            "seconds": np.array([frame.seconds for frame in frames], np.float64),
            "videos": np.array(self._files),
            "speaker": np.array(self._speaker),
        }
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with unfinished.open("wb") as file:
            np.savez(file, **arrays)
        digest = file_digest(unfinished)
        size = unfinished.stat().st_size
        unfinished.replace(path)
        clips = len(np.unique(arrays["clip"]))
        self.entries.append(ShardEntry(name, self._source, self._speaker, len(frames), clips, size, digest))
        self._frames, self._coded = [], []


def file_digest(path: Path) -> str:
    """Return a file's sha256, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_index(folder: Path, entries: Iterator[ShardEntry]) -> None:
    """Write the index, a line a shard, whole or not at all."""
    unfinished = folder / f"{INDEX}.tmp"
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION}) + "\n")
        for entry in entries:
            file.write(json.dumps(asdict(entry)) + "\n")
    unfinished.replace(folder / INDEX)


def read_index(folder: Path) -> list[ShardEntry]:
    """Return the index of a set.

    Raises:
        FileNotFoundError: if there is none: the set is not finished.
        ValueError: if it is none.
    """
    path = folder / INDEX
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file; run `python -m training prepare` to its end first") from error
    try:
        head = json.loads(lines[0])
        if (head["format"], head["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise ValueError
        return [ShardEntry(**json.loads(line)) for line in lines[1:]]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{path}: not an index of {FORMAT} version {FORMAT_VERSION}") from error


def read_shard(path: Path, decode: bool = True) -> dict[str, Any]:
    """Return a shard's arrays; with `images` [n, 256, 256, 3] uint8 RGB in the place of the coded ones."""
    with np.load(path, allow_pickle=False) as archive:
        arrays: dict[str, Any] = {name: archive[name] for name in archive.files}
    if decode:
        data, ends = arrays.pop("coded"), arrays.pop("coded_end")
        starts = np.concatenate([[0], ends[:-1]])
        arrays["images"] = np.stack([_decode(data[a:b]) for a, b in zip(starts, ends, strict=True)])
    return arrays


def stream_shards(folder: Path, seed: int | None = None, part: int = 0, parts: int = 1) -> Iterator[dict[str, Any]]:
    """Yield a set's shards, one in memory at a time.

    Args:
        seed: shuffles the shards; None keeps the index's order.
        part, parts: which share of them, for several processes; every shard belongs to exactly one part.
    """
    entries = read_index(folder)
    order = np.arange(len(entries)) if seed is None else np.random.default_rng(seed).permutation(len(entries))
    for number in order[part::parts]:
        yield read_shard(folder / entries[int(number)].file)


def open_frames(folder: Path, entries: list[ShardEntry] | None = None) -> dict[str, Column]:
    """Return a set's columns, read where they lie: `images`, `landmarks` and what else a shard says of each frame.

    Args:
        entries: some of the index; None is all of it.
    """
    chosen = read_index(folder) if entries is None else entries
    return open_columns([folder / entry.file for entry in chosen], leave_out=("videos",))


def held_out_split(entries: list[ShardEntry]) -> tuple[list[ShardEntry], list[ShardEntry]]:
    """Return the shards to train on and those of every twentieth speaker (source, where none is known), to test on.

    Whoever is held out stays so when the set grows.

    Raises:
        ValueError: if there is one speaker only.
    """
    people = {entry.speaker or entry.source for entry in entries}
    if len(people) < 2:
        raise ValueError(f"{len(people)} speaker or video: at least two are needed, one to test on")
    last = min(people, key=_order)
    out = {person for person in people if _order(person) < _HELD_OUT} or {last}
    out = out if len(out) < len(people) else {last}
    parts: tuple[list[ShardEntry], list[ShardEntry]] = ([], [])
    for entry in entries:
        parts[(entry.speaker or entry.source) in out].append(entry)
    return parts


def _order(person: str) -> float:
    return zlib.crc32(person.encode()) / 2**32


def _encode(picture: Pixels, coding: Coding) -> Pixels:
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    if coding == "png":
        return np.asarray(cv2.imencode(".png", bgr)[1].ravel(), np.uint8)
    # Full-resolution colour: lips and lids are a few pixels high.
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    return np.asarray(cv2.imencode(".jpg", bgr, options)[1].ravel(), np.uint8)


def _decode(data: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)
