# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames out of video files: upright 8-bit RGB one after the other, and what was wrong with the file."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace
from numpy.typing import NDArray

from lpmm_runtime.errors import VideoError

Pixels = NDArray[np.uint8]

SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".wmv", ".flv", ".3gp")
)
_USUAL_RATES = tuple(Fraction(n) for n in (10, 12, 15, 24, 25, 30, 48, 50, 60, 100, 120)) + tuple(
    Fraction(n * 1000, 1001) for n in (24, 30, 60, 120)
)
# Files that name no colour matrix are BT.709 from this height on, BT.601 below, as players take them.
_HD_HEIGHT = 720
# A file may promise a little more than it holds: edit lists, and the decoder's delay.
_SLACK_SHARE, _SLACK_FRAMES = 0.02, 2


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One frame.

    Attributes:
        number: 0-based.
        seconds: when it is shown, from the first frame on.
        pixels: [H, W, 3] uint8 RGB, upright, square pixels.
    """

    number: int
    seconds: float
    pixels: Pixels


class Video:
    """An open video file; read its frames once.

    Attributes:
        path: of the file.
        fps: frames a second; a usual rate where it is within half a percent of one.
        frame_count: how many frames it promises, or None.
        fault: after the frames were read, why some of them are missing, one line without the file's name; or None.
    """

    def __init__(self, path: Path, container: av.container.InputContainer) -> None:
        self.path = path
        self.fault: str | None = None
        self._container = container
        cover = av.stream.Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not streams:
            what = "sound only, no picture" if container.streams.audio else "no picture"
            raise VideoError(f"{path}: holds {what}")
        self._stream = streams[0]
        self._stream.thread_type = "AUTO"
        self.fps = usual_rate(self._stream.average_rate or self._stream.guessed_rate)
        self.frame_count = self._promised()

    def frames(self) -> Iterator[VideoFrame]:
        """Yield the frames in the order in which they are shown; sets `fault` at the end.

        Raises:
            VideoError: if not one frame can be decoded.
        """
        number, damaged, first, last = 0, 0, None, 0.0
        try:
            for packet in self._container.demux(self._stream):
                try:
                    decoded = packet.decode()
                except av.InvalidDataError:
                    damaged += 1
                    continue
                for frame in decoded:
                    if frame.is_corrupt:
                        damaged += 1
                        continue
                    seconds = float(number / self.fps) if frame.time is None else frame.time
                    first = seconds if first is None else first
                    last = max(last, seconds - first)
                    yield VideoFrame(number, seconds - first, self._upright(frame))
                    number += 1
        except (av.FFmpegError, OSError) as error:
            self.fault = f"ends after {number} frames: {_reason(error)}"
        if number == 0:
            raise VideoError(f"{self.path}: {self.fault or 'no frame of it can be decoded'}")
        if self.fault is None and self._ends_early(number, last):
            self.fault = f"cut short: {number} of {self.frame_count} frames"
        elif self.fault is None and damaged:
            self.fault = f"damaged: {damaged} frames cannot be decoded"

    def _promised(self) -> int | None:
        if self._stream.frames:
            return int(self._stream.frames)
        length = self._container.duration
        return round(length / av.time_base * self.fps) if length else None

    def _ends_early(self, number: int, last: float) -> bool:
        promised = (self.frame_count or 0) * (1 - _SLACK_SHARE) - _SLACK_FRAMES
        length = (self._container.duration or 0) / av.time_base
        end = last + (1 + _SLACK_FRAMES) / float(self.fps)
        # Both: an edit list shows less than the track holds, and sound may go on after the picture.
        return number < promised and end < length * (1 - _SLACK_SHARE)

    def _upright(self, frame: av.VideoFrame) -> Pixels:
        matrix = frame.colorspace
        if matrix not in set(Colorspace):
            matrix = Colorspace.ITU709 if frame.height >= _HD_HEIGHT else Colorspace.ITU601
        pixels = frame.reformat(format="rgb24", src_colorspace=matrix).to_ndarray()
        aspect = self._stream.sample_aspect_ratio
        if aspect and aspect != 1:
            width = max(1, round(frame.width * aspect))
            pixels = np.asarray(cv2.resize(pixels, (width, frame.height), interpolation=cv2.INTER_AREA), np.uint8)
        return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


@contextmanager
def open_video(path: Path) -> Iterator[Video]:
    """Open a video file of whatever FFmpeg reads, and close it at the end.

    Raises:
        VideoError: if there is no such file, or it holds no video; one line that names it.
    """
    path = Path(path)
    try:
        container = av.open(str(path), metadata_errors="replace")
    except FileNotFoundError as error:
        raise VideoError(f"{path}: no such file") from error
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: not a video that can be read ({_reason(error)})") from error
    with container:
        yield Video(path, container)


def at_rate(frames: Iterable[VideoFrame], fps: Fraction) -> Iterator[VideoFrame]:
    """Yield frames at a constant rate: number n shows what is on screen at n / fps seconds.

    Phones' videos have no constant rate; a frame that stays is repeated, one that is overtaken is dropped.
    """
    number = 0
    shown: VideoFrame | None = None
    for frame in frames:
        due = round(frame.seconds * fps)
        while shown is not None and number < due:
            yield replace(shown, number=number, seconds=float(number / fps))
            number += 1
        shown = frame
    if shown is not None:
        yield replace(shown, number=number, seconds=float(number / fps))


def usual_rate(rate: Fraction | None) -> Fraction:
    """Return a stream's rate as the usual rate that it is near to, else as it is; 25 where it is senseless."""
    if rate is None or not 1 <= rate <= 1000:
        return Fraction(25)
    nearest = min(_USUAL_RATES, key=lambda usual: abs(usual - rate))
    # 24 and 23.976 are 0.1 % apart: the nearest wins.
    return nearest if abs(nearest - rate) < rate / 200 else Fraction(rate).limit_denominator(1001)


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())
