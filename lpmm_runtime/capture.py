# SPDX-License-Identifier: GPL-3.0-or-later
"""A driving video to a take: the face followed, its crop steadied, params and pose latents read in every frame."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.crop import CropSquare, square_of_landmarks
from lpmm_runtime.errors import NoFaceError, VideoError
from lpmm_runtime.face_finding import SURE_SCORE, Box
from lpmm_runtime.face_tracking import is_same_face, track
from lpmm_runtime.onnx_sessions import OnnxSessions
from lpmm_runtime.portrait import as_batch
from lpmm_runtime.steadying import crop_between_pixels, filled, smoothed, steadied
from lpmm_runtime.take import Take, models_of
from lpmm_runtime.video_frames import VideoFrame, at_rate, open_video

Table = NDArray[np.float64]
# Wraps the frames of a pass, to show how far it is; called with the pass's name.
Progress = Callable[[Iterable[VideoFrame], str], Iterable[VideoFrame]]

# A face that was not seen for so long may be found anywhere again, seconds.
_FORGOTTEN_AFTER = 0.5


def capture(
    sessions: OnnxSessions,
    path: Path,
    *,
    fps: Fraction | None = None,
    start: float = 0.0,
    end: float | None = None,
    steadiness: float = 0.12,
    smoothing: float = 0.0,
    progress: Progress = lambda frames, _name: frames,
) -> tuple[Take, str | None]:
    """Read a performance out of a video.

    Args:
        fps: of the take; None is the video's own.
        start, end: the part that is read, seconds.
        steadiness: how far in time the crop is smoothed, seconds (a Gaussian's sigma).
        smoothing: the same for params and latents; 0 leaves them as they were read.

    Returns:
        The take, and what is wrong with the file if a part of it is missing, else None.

    Raises:
        VideoError: if it is no video, or has no frame in that part.
        NoFaceError: if there is no face in any frame.
    """
    with open_video(path) as video:
        rate = fps or video.fps
        squares, seen = _follow(sessions, progress(_part(video.frames(), rate, start, end), "follow"), rate)
        fault = video.fault
    if not len(squares):
        raise VideoError(f"{path}: has no frame from {start:g} s on" + ("" if end is None else f" to {end:g} s"))
    if not seen.any():
        raise NoFaceError(f"{path}: no face found in any of {len(seen)} frames")
    squares = steadied(filled(squares, seen), steadiness * float(rate))
    bundle = sessions.bundle
    params, latents = np.zeros((len(seen), bundle.k)), np.zeros((len(seen), bundle.latent_size))
    with open_video(path) as video:
        frames = progress(_part(video.frames(), rate, start, end), "read")
        for row, frame in enumerate(frames):
            if seen[row]:
                params[row], latents[row] = _read(sessions, frame.pixels, CropSquare(*squares[row]))
    params = smoothed(filled(params, seen), smoothing * float(rate))
    latents = smoothed(filled(latents, seen), smoothing * float(rate))
    take = Take(
        source=Path(path).name,
        fps=rate,
        bundle=f"{bundle.name} {bundle.version}",
        models=models_of(bundle),
        seen=seen,
        params=params.astype(np.float32),
        pose_latents=latents.astype(np.float32),
        head_angles=bundle.rig.controls.head_angles(params.astype(np.float32)),
        squares=squares.astype(np.float32),
    )
    return take, fault


def _part(frames: Iterator[VideoFrame], rate: Fraction, start: float, end: float | None) -> Iterator[VideoFrame]:
    ticks = at_rate(frames, rate)
    # Half a frame of slack: 0.04 s is frame 1 at 25 frames a second, whatever its float says.
    slack = 0.5 / float(rate)
    if end is not None:
        ticks = takewhile(lambda frame: frame.seconds < end - slack, ticks)
    return (frame for frame in ticks if frame.seconds >= start - slack)


def _follow(sessions: OnnxSessions, frames: Iterable[VideoFrame], rate: Fraction) -> tuple[Table, NDArray[np.bool_]]:
    squares: list[tuple[float, float, float]] = []
    seen: list[bool] = []
    near: Box | None = None
    unseen = 0
    for frame in frames:
        if unseen > _FORGOTTEN_AFTER * rate:
            near = None
        face = track(sessions, frame.pixels, near)
        if face is not None and near is not None:
            # Something face-like elsewhere, while the face itself turns away, is no reason to jump there.
            stayed = is_same_face(near, face.finding.box)
            face = face if stayed or face.finding.score >= SURE_SCORE else None
        seen.append(face is not None)
        if face is None:
            unseen += 1
            squares.append((0.0, 0.0, 0.0))
            continue
        unseen = 0
        near = face.finding.box
        # Not the crop it was read in: that one stays where it was for movements of up to a percent.
        square = square_of_landmarks(face.reading.landmarks.astype(np.float64))
        squares.append((square.x, square.y, square.side))
    return np.array(squares, np.float64).reshape(-1, 3), np.array(seen, bool)


def _read(sessions: OnnxSessions, picture: NDArray[np.uint8], square: CropSquare) -> tuple[Table, Table]:
    """Return params [k] and pose latent [w] of a frame's steadied crop."""
    sides = {graph: sessions.image_side(graph) for graph in ("lp_regressor", "pose_encoder")}
    images = {side: as_batch(crop_between_pixels(picture, square, side)) for side in set(sides.values())}
    params = sessions.run("lp_regressor", {"image": images[sides["lp_regressor"]]})["params"][0]
    latent = sessions.run("pose_encoder", {"image": images[sides["pose_encoder"]]})["pose_latent"][0]
    return params.astype(np.float64), latent.astype(np.float64)
