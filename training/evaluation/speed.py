# SPDX-License-Identifier: GPL-3.0-or-later
"""Speed and size: what a frame costs on this machine, with how many threads, and how busy the machine was."""

import os
import statistics
import time
from typing import Any

import numpy as np

from lpmm_runtime import bench
from lpmm_runtime.bundle import GRAPHS
from lpmm_runtime.engine import Engine
from training.evaluation.subjects import Subject


def score_speed(engine: Engine, subject: Subject, frames: int, threads: int) -> dict[str, Any]:
    """Return milliseconds a frame at 256², 512² and 1024², of the LP-regressor alone, and the graphs' sizes in MB.

    `load` is the machine's load average before and after: times taken beside other work are upper bounds.
    """
    before = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    character = subject.character
    report = bench.measure(engine.bundle, character.photo, character.box, subject.name, frames, "cpu", threads)
    timed = Engine(engine.bundle, "cpu", threads)
    side = timed.sessions.image_side("lp_regressor")
    rng = np.random.default_rng(0)
    times = []
    for _ in range(frames + bench.WARM_UP):
        image = rng.random((1, 3, side, side), np.float32)
        started = time.perf_counter()
        timed.sessions.run("lp_regressor", {"image": image})
        times.append(1000 * (time.perf_counter() - started))
    kept = times[bench.WARM_UP :]
    after = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "threads": threads,
        "load": [before, after],
        "machine": report["machine"],
        "frame_ms": report["frame_ms"],
        "lp_regressor_ms": {"median": statistics.median(kept), "smallest": min(kept)},
        "create_character_ms": report["create_character_ms"],
        "open_ms": report["open_ms"],
        "graph_mb": {name: engine.bundle.graph(name).stat().st_size / 1e6 for name in GRAPHS},
    }
