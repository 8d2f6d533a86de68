# SPDX-License-Identifier: GPL-3.0-or-later
"""Which videos there are, and whose: a plain folder, or VoxCeleb's own trees.

- Any folder: every video file beneath it is a source of its own.
- VoxCeleb clips: `…/id00012/21Uxsk56VDQ/00001.mp4`; the utterances of one video are one source of that speaker.
- VoxCeleb tracks: whole videos named `21Uxsk56VDQ.mp4` (any suffix) and the published
  `…/id00012/21Uxsk56VDQ/00001.txt`, which say in which frames, at 25 a second, and where the speaker is seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.video_frames import SUFFIXES

Layout = Literal["auto", "folder", "voxceleb"]
Box = tuple[float, float, float, float]

# The tracks count frames at this rate, whatever the video's own is.
TRACK_RATE = 25.0
_SPEAKER = re.compile(r"id\d{5}")
_TRACK_ROW = re.compile(r"\s*(\d+)((?:\s+-?\d+(?:\.\d+)?){4})\s*")
# A track's boxes are shares of the picture, or pixels; no share is beyond this.
_LARGEST_SHARE = 2.0


@dataclass(frozen=True, eq=False)
class Track:
    """Where one person is seen in a video.

    Attributes:
        seconds: [n] float64, rising.
        boxes: [n, 4] float64, left, top, right, bottom.
        shares: whether boxes are shares of the picture's width and height, not pixels.
    """

    seconds: NDArray[np.float64]
    boxes: NDArray[np.float64]
    shares: bool

    def box_at(self, seconds: float, width: int, height: int) -> Box | None:
        """Return the box in pixels at a time, or None where the track is not."""
        if not len(self.seconds) or not self.seconds[0] <= seconds <= self.seconds[-1]:
            return None
        scale = (width, height, width, height) if self.shares else (1, 1, 1, 1)
        left, top, right, bottom = (
            float(np.interp(seconds, self.seconds, self.boxes[:, edge])) * scale[edge] for edge in range(4)
        )
        return left, top, right, bottom


@dataclass(frozen=True, eq=False)
class SourceFile:
    """A video file, and where in it to look: everywhere if there are no tracks."""

    path: Path
    tracks: tuple[Track, ...] = ()


@dataclass(frozen=True, eq=False)
class Source:
    """What becomes shards of its own.

    Attributes:
        name: unique, a relative path in POSIX form.
        speaker: who is seen, or "" where the layout does not say.
        files: its video files.
    """

    name: str
    speaker: str
    files: tuple[SourceFile, ...]


def find_sources(folder: Path, layout: Layout = "auto") -> list[Source]:
    """Return the sources of a folder, by name.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if there is no video in it, or the layout is not VoxCeleb's where that is wanted.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    entries = sorted(path for path in folder.rglob("*") if not _hidden(path.relative_to(folder)))
    videos = [path for path in entries if path.suffix.lower() in SUFFIXES and path.is_file()]
    tracks = [path for path in entries if path.suffix == ".txt" and _utterance(path)]
    if not videos:
        raise ValueError(f"{folder}: holds no video files ({', '.join(sorted(SUFFIXES))})")
    if layout != "folder":
        clips = [path for path in videos if _utterance(path)]
        if clips:
            return _of_utterances(clips)
        if tracks:
            return _of_tracks(videos, tracks)
        if layout == "voxceleb":
            raise ValueError(f"{folder}: not VoxCeleb's layout (…/id00012/VIDEO/00001.mp4, or VIDEO.mp4 and tracks)")
    return [Source(path.relative_to(folder).as_posix(), "", (SourceFile(path),)) for path in videos]


def read_track(path: Path) -> Track:
    """Read a published track: rows of frame, x, y, width, height.

    Raises:
        ValueError: if there is no such row; names the file.
    """
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := _TRACK_ROW.fullmatch(line):
            rows.append([float(match.group(1)), *(float(number) for number in match.group(2).split())])
    if not rows:
        raise ValueError(f"{path}: holds no track (rows of frame, x, y, width, height)")
    table = np.array(sorted(rows), np.float64)
    boxes = np.concatenate([table[:, 1:3], table[:, 1:3] + table[:, 3:5]], axis=1)
    return Track(table[:, 0] / TRACK_RATE, boxes, bool(table[:, 1:].max() <= _LARGEST_SHARE))


def _of_utterances(clips: Iterable[Path]) -> list[Source]:
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in clips:
        groups.setdefault((path.parts[-3], path.parts[-2]), []).append(path)
    return [
        Source(f"{speaker}/{video}", speaker, tuple(SourceFile(path) for path in paths))
        for (speaker, video), paths in sorted(groups.items())
    ]


def _of_tracks(videos: Iterable[Path], tracks: Iterable[Path]) -> list[Source]:
    by_name = {path.stem: path for path in videos}
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in tracks:
        groups.setdefault((path.parts[-3], path.parts[-2]), []).append(path)
    return [
        Source(f"{speaker}/{video}", speaker, (SourceFile(by_name[video], tuple(read_track(path) for path in paths)),))
        for (speaker, video), paths in sorted(groups.items())
        if video in by_name
    ]


def _utterance(path: Path) -> bool:
    return len(path.parts) >= 3 and bool(_SPEAKER.fullmatch(path.parts[-3]))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
