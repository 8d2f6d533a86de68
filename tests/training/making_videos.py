# SPDX-License-Identifier: GPL-3.0-or-later
"""Short video files for the tests: talking faces of our own runtime's making, and hostile ones."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.engine import Engine
from lpmm_runtime.frame import evaluate_channels

Pixels = NDArray[np.uint8]
SIDE = 512
RATE = 25


def talking(engine: Engine, photo: Pixels, count: int) -> list[Pixels]:
    """Return frames [512, 512, 3] of a portrait that turns and speaks."""
    character = engine.create_character(photo)
    frames = []
    for t in np.linspace(0, 1, count):
        values = {"headYaw": 16 * t - 8, "jawOpen": 0.4 * np.sin(np.pi * t) ** 2}
        params = evaluate_channels(engine.bundle.rig, character.params, values, {})
        frames.append(square(engine.render(character, params, view="full")[..., :3]))
    return frames


def square(photo: Pixels, side: int = SIDE) -> Pixels:
    """Return the picture's upper middle square at another size."""
    height, width = photo.shape[:2]
    edge, left = min(height, width), max(0, (width - height) // 2)
    return np.ascontiguousarray(
        cv2.resize(photo[:edge, left : left + edge], (side, side), interpolation=cv2.INTER_AREA)
    )


def wandering(photo: Pixels, count: int) -> list[Pixels]:
    """Return frames of a still that slides by two pixels a frame."""
    return [np.roll(photo, 2 * number, axis=1) for number in range(count)]


def empty(count: int) -> list[Pixels]:
    """Return frames with a soft gradient and nothing in it."""
    ramp = np.linspace(60, 120, SIDE)[None, :, None] + np.linspace(0, 40, SIDE)[:, None, None]
    return [np.broadcast_to(ramp + number, (SIDE, SIDE, 3)).astype(np.uint8) for number in range(count)]


def write_video(
    path: Path, frames: list[Pixels], pix_fmt: str = "yuv420p", rotation: int = 0, faststart: bool = False
) -> Path:
    """Write an H.264 file of fine quality; `rotation` only tells players to turn it, counter-clockwise."""
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "8", "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if rotation:
            stream.set_display_rotation(rotation)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """Write a file with half a second of sound and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        tone = np.sin(np.arange(8000) / 8).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate = 16000
        frame.time_base = Fraction(1, 16000)
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut_file(path: Path, share: float) -> Path:
    """Cut a file's end off."""
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path
