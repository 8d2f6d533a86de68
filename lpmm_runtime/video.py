# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames to files: one PNG, numbered PNGs, or a near-lossless H.264 clip."""

import os
import re
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.errors import OutputError

Pixels = NDArray[np.uint8]

NUMBERED = re.compile(r"[^%]*%0?\d{0,2}d[^%]*")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv")
# Visually lossless; 0 would be lossless, which most players cannot show.
CRF = 10
# FFmpeg's number for BT.709, and for the limited ("TV") range, which players assume.
BT709, LIMITED = 1, 1


def check_output(out: Path, frame_count: int) -> None:
    """Check that `frame_count` frames can go to `out`, before any is rendered.

    Raises:
        OutputError: if the name is neither a PNG, a numbered PNG nor a video, or its folder cannot be made.
    """
    suffix = out.suffix.lower()
    if suffix != ".png" and suffix not in VIDEO_SUFFIXES:
        raise OutputError(f"{out}: unknown kind of output; wanted .png, %04d.png or {', '.join(VIDEO_SUFFIXES)}")
    if "%" in str(out):
        if suffix != ".png" or not NUMBERED.fullmatch(out.name) or "%" in str(out.parent):
            raise OutputError(f"{out}: not a file name pattern; wanted one number such as %04d, and .png")
    elif suffix == ".png" and frame_count > 1:
        raise OutputError(f"{out}: {frame_count} frames need a numbered name such as {out.stem}%04d.png, or a video")
    if out.is_dir():
        raise OutputError(f"{out}: is a folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out.parent}: cannot be made: {error.strerror or error}") from error
    if not os.access(out.parent, os.W_OK):
        raise OutputError(f"{out.parent}: cannot be written to")


def write_frames(out: Path, frames: Iterable[Pixels], fps: Fraction, first_frame: int = 1) -> list[Path]:
    """Write frames where `out` says, and return the files.

    Args:
        out: `x.png` for one frame, `dir/%04d.png` for numbered ones, `clip.mp4` for a video.
        frames: [H, W, 3] or [H, W, 4] uint8 RGB(A), all of one size; a video drops alpha.
        fps: of the video.
        first_frame: the first number of a sequence.

    Raises:
        OutputError: if a file cannot be written; a video that was begun is removed.
    """
    if out.suffix.lower() in VIDEO_SUFFIXES:
        write_video(out, frames, fps)
        return [out]
    written = []
    for number, frame in enumerate(frames, first_frame):
        path = out.with_name(out.name % number) if "%" in out.name else out
        write_png(path, frame)
        written.append(path)
    return written


def write_png(path: Path, frame: Pixels) -> None:
    """Write a picture [H, W, 3] or [H, W, 4] uint8 RGB(A) as PNG.

    Raises:
        OutputError: if it cannot be written.
    """
    code = cv2.COLOR_RGBA2BGRA if frame.shape[2] == 4 else cv2.COLOR_RGB2BGR
    encoded, data = cv2.imencode(".png", cv2.cvtColor(frame, code))
    if not encoded:
        raise OutputError(f"{path}: the picture {frame.shape} cannot be encoded as PNG")
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_video(path: Path, frames: Iterable[Pixels], fps: Fraction) -> None:
    """Write an H.264 clip in BT.709; an odd width or height gains one repeated row or column.

    Raises:
        OutputError: if it cannot be written; nothing half-made is left.
    """
    import av  # only videos need it

    # Written beside its place and moved there when it is whole; the suffix tells FFmpeg the container.
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        with av.open(str(partial), "w") as container:
            stream = None
            for frame in frames:
                if stream is None:
                    stream = container.add_stream("libx264", rate=fps, options={"crf": str(CRF), "preset": "medium"})
                    stream.height, stream.width = (edge + edge % 2 for edge in frame.shape[:2])
                    stream.pix_fmt = "yuv420p"
                    context = stream.codec_context
                    context.color_primaries = context.color_trc = context.colorspace = BT709
                    context.color_range = LIMITED
                picture = av.VideoFrame.from_ndarray(_even(frame[..., :3]), format="rgb24")
                converted = picture.reformat(
                    format="yuv420p", dst_colorspace="ITU709", src_color_range="JPEG", dst_color_range="MPEG"
                )
                container.mux(stream.encode(converted))
            if stream is None:
                raise OutputError(f"{path}: there are no frames to write")
            container.mux(stream.encode(None))
        partial.replace(path)
    except (OSError, av.FFmpegError) as error:
        raise OutputError(f"{path}: the video cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _even(frame: Pixels) -> Pixels:
    height, width = frame.shape[:2]
    return np.ascontiguousarray(np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"))
