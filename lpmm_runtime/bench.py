# SPDX-License-Identifier: GPL-3.0-or-later
"""The bench: wall-clock times of opening, preparing and rendering on this machine."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tqdm import tqdm

from lpmm_runtime.bundle import Bundle
from lpmm_runtime.engine import Character, Engine, View
from lpmm_runtime.face_finding import Box
from lpmm_runtime.onnx_sessions import Device

SIZES = (256, 512, 1024)
WARM_UP = 3


def measure(
    bundle: Bundle,
    photo: NDArray[np.uint8],
    box: Box | None,
    name: str,
    frame_count: int,
    device: Device,
    threads: int | None,
) -> dict[str, Any]:
    """Return the report: times in milliseconds, and what they were taken on.

    Args:
        photo: [H, W, 3] uint8 RGB.
        frame_count: frames timed for each view and size, each with params of its own.
    """
    started = time.perf_counter()
    engine = Engine(bundle, device, threads)
    open_ms = _since(started)
    started = time.perf_counter()
    character = engine.create_character(photo, box, name)
    character_ms = _since(started)
    runs: list[tuple[View, int | None]] = [*(("crop", size) for size in SIZES), ("full", None)]
    frames = {}
    with tqdm(total=len(runs) * frame_count, unit="frame", delay=1, leave=False) as bar:
        for view, size in runs:
            label = f"{view} {size or 'native'}"
            frames[label] = _time_frames(engine, character, view, size, frame_count, bar.update)
    return {
        "bundle": f"{bundle.name} {bundle.version}",
        "device": engine.device,
        "threads": threads,
        "machine": {"system": platform.platform(), "processor": platform.processor(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), "onnxruntime": onnxruntime.__version__},
        "photo_size": list(character.photo_size),
        "crop_side": round(character.square.side),
        "open_ms": open_ms,
        "create_character_ms": character_ms,
        "frame_ms": frames,
    }


def _time_frames(
    engine: Engine,
    character: Character,
    view: View,
    size: int | None,
    frame_count: int,
    step: Callable[[int], Any],
) -> dict[str, float]:
    times = []
    for frame in range(-WARM_UP, frame_count):
        # Every frame differs, as in playback, so that no cache answers.
        params = character.params + np.float32(0.5) * np.sin(np.float32(frame + 0.5))
        started = time.perf_counter()
        engine.render(character, params, view=view, size=size)
        if frame >= 0:
            times.append(_since(started))
            step(1)
    ordered = sorted(times)
    return {
        "median": round(statistics.median(ordered), 3),
        "p90": round(ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))], 3),
        "smallest": ordered[0],
    }


def _since(started: float) -> float:
    return round(1000 * (time.perf_counter() - started), 3)
