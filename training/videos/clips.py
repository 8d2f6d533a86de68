# SPDX-License-Identifier: GPL-3.0-or-later
"""A source's videos to clips: runs of frames of one shot in which one face is clearly seen all the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lpmm_runtime.errors import VideoError
from lpmm_runtime.face_tracking import is_same_face
from lpmm_runtime.video_frames import VideoFrame, open_video
from training.videos.layout import Source, SourceFile, Track
from training.videos.shot_cuts import ShotCuts
from training.videos.visible_faces import FaceLook, FaceSample

# How many frames of a bin are tried before the next bin's turn.
_TRIES = 8


@dataclass(frozen=True)
class Gathering:
    """Which frames are taken.

    Attributes:
        every: every n-th frame.
        shortest: clips of fewer frames are left out.
        sample: this many frames a source, evenly spread, instead of clips; None takes clips.
    """

    every: int = 1
    shortest: int = 8
    sample: int | None = None


@dataclass(frozen=True, eq=False)
class ClipFrame:
    """A sample and where it is from.

    Attributes:
        clip: 0-based within the source; its frames are in order.
        file: which of the source's files.
        number, seconds: of the frame in its file.
        sample: the face.
    """

    clip: int
    file: int
    number: int
    seconds: float
    sample: FaceSample


@dataclass(eq=False)
class Tally:
    """What became of a source's frames.

    Attributes:
        seen: frames that were looked at.
        left_out: frames left out, by reason.
        cuts: shot cuts met.
        faults: one line a file that is missing or damaged, in whole or in part.
    """

    seen: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    cuts: int = 0
    faults: list[str] = field(default_factory=list)


def gather(source: Source, look: FaceLook, gathering: Gathering, tally: Tally) -> Iterator[ClipFrame]:
    """Yield a source's samples in order; at most `shortest` wait in memory. Faults of files go to the tally."""
    clips = _Clips(gathering.shortest if gathering.sample is None else 1, tally)
    bins = None if gathering.sample is None else _Bins(gathering.sample, _length(source))
    for file, entry in enumerate(source.files):
        try:
            with open_video(entry.path) as video:
                yield from _gather_file(file, entry, video.frames(), look, gathering, bins, clips, tally)
                if video.fault:
                    tally.faults.append(f"{entry.path}: {video.fault}")
        except VideoError as error:
            tally.faults.append(str(error))
        yield from clips.end()


def _gather_file(
    file: int,
    entry: SourceFile,
    frames: Iterator[VideoFrame],
    look: FaceLook,
    gathering: Gathering,
    bins: _Bins | None,
    clips: _Clips,
    tally: Tally,
) -> Iterator[ClipFrame]:
    shots = ShotCuts()
    near = None
    track: Track | None = None
    for frame in frames:
        if shots.starts_shot(frame.pixels):
            tally.cuts += 1
            near = None
            yield from clips.end()
        if entry.tracks:
            height, width = frame.pixels.shape[:2]
            current, near = _tracked(entry.tracks, frame.seconds, width, height)
            if current is not track:
                track = current
                yield from clips.end()
            if track is None:
                continue
        if bins is not None:
            if not bins.wants():
                continue
        elif frame.number % gathering.every:
            continue
        tally.seen += 1
        sample = look.look(frame.pixels, near, only_near=bool(entry.tracks))
        if isinstance(sample, str):
            tally.left_out[sample] += 1
            near = None
            yield from clips.end()
            continue
        jumped = near is not None and not entry.tracks and not is_same_face(near, sample.found)
        # Sampled frames lie seconds apart: a head may have moved that far.
        if jumped and bins is None:
            yield from clips.end()
        near = sample.found
        if bins is not None:
            bins.fill()
        yield from clips.add(file, frame, sample)


class _Clips:
    """Numbers clips, and holds the first frames of each back until there are enough of them."""

    def __init__(self, shortest: int, tally: Tally) -> None:
        self._shortest = shortest
        self._tally = tally
        self._number = 0
        self._waiting: list[ClipFrame] = []
        self._open = False

    def add(self, file: int, frame: VideoFrame, sample: FaceSample) -> Iterator[ClipFrame]:
        self._waiting.append(ClipFrame(self._number, file, frame.number, frame.seconds, sample))
        if self._open or len(self._waiting) >= self._shortest:
            self._open = True
            yield from self._waiting
            self._waiting = []

    def end(self) -> Iterator[ClipFrame]:
        if self._waiting:
            self._tally.left_out[f"in a clip of fewer than {self._shortest} frames"] += len(self._waiting)
            self._waiting = []
        if self._open:
            self._number += 1
            self._open = False
        yield from ()


class _Bins:
    """Spreads the wanted number of frames evenly: the first clear one of each stretch."""

    def __init__(self, wanted: int, total: int) -> None:
        self._wanted = wanted
        self._total = max(total, 1)
        self._position = -1
        self._bin = -1
        self._tries = 0
        self._filled = False

    def wants(self) -> bool:
        """Whether the next frame is to be looked at."""
        self._position += 1
        current = min(self._position * self._wanted // self._total, self._wanted - 1)
        if current != self._bin:
            self._bin, self._tries, self._filled = current, 0, False
        if self._filled or self._tries >= _TRIES:
            return False
        self._tries += 1
        return True

    def fill(self) -> None:
        """The frame looked at was taken."""
        self._filled = True


def _length(source: Source) -> int:
    """Return how many frames of a source there are to choose from, as its files promise."""
    total = 0
    for entry in source.files:
        try:
            with open_video(entry.path) as video:
                if entry.tracks:
                    total += round(sum(t.seconds[-1] - t.seconds[0] for t in entry.tracks) * float(video.fps))
                else:
                    total += video.frame_count or _count(entry.path)
        except VideoError:
            continue
    return total


def _count(path: Path) -> int:
    with open_video(path) as video:
        return sum(1 for _ in video.frames())


def _tracked(
    tracks: tuple[Track, ...], seconds: float, width: int, height: int
) -> tuple[Track | None, tuple[float, float, float, float] | None]:
    for track in tracks:
        if (box := track.box_at(seconds, width, height)) is not None:
            return track, box
    return None, None
