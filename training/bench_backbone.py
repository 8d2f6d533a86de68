# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast an imported backbone draws a frame: its bundle in onnxruntime against the published form in torch.

python -m training bench-backbone --bundle bundles/lia --checkpoint vox.pt --threads 2 --json bench.json
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from tqdm import tqdm

from lpmm_runtime.bundle import Bundle, load_bundle
from lpmm_runtime.onnx_sessions import OnnxSessions
from training.adaptor import load_head
from training.backbones.interface import PictureBackbone

_WARM_UP = 2


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the step."""
    parser = subparsers.add_parser(
        "bench-backbone",
        help="time an imported backbone against its published form",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", type=Path, required=True, help="made by import-backbone")
    parser.add_argument("--checkpoint", type=Path, required=True, help="the file that the bundle was made of")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of either (default: 2)")
    parser.add_argument("--frames", type=int, default=15, help="frames timed of either (default: 15)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Time, and print the report."""
    bundle = load_bundle(args.bundle)
    backbone = load_head(bundle, args.checkpoint, "cpu")
    assert isinstance(backbone, PictureBackbone)
    report = measure(bundle, backbone, args.threads, args.frames)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(
        f"{backbone.name}, {args.threads} threads: onnxruntime {report['onnxruntime_ms']:.0f} ms a frame, "
        f"torch {report['torch_ms']:.0f} ms: {report['ratio']:.2f} × as fast; they differ by {report['most_off']:.1e}"
    )
    return 0


@torch.inference_mode()
def measure(bundle: Bundle, backbone: PictureBackbone, threads: int, frames: int) -> dict[str, Any]:
    """Return medians in milliseconds of the per-frame part, both forms taking turns on the same frames."""
    torch.set_num_threads(threads)
    sessions = OnnxSessions(bundle, device="cpu", threads=threads)
    generator = torch.Generator().manual_seed(0)
    side = (backbone.image_size, backbone.image_size)
    coarse = torch.rand(2, 3, 6, 6, generator=generator)
    portrait, other = nn.functional.interpolate(coarse, side, mode="bicubic").clamp(0.0, 1.0).split(1)
    start, end = backbone.encode_pose(portrait), backbone.encode_pose(other)
    draw = backbone.published(portrait)
    image_feed = {"image": portrait.numpy()}
    names = sessions.input_names("identity_encoder")
    features = sessions.run("identity_encoder", {name: image_feed[name] for name in names})
    times: dict[str, list[float]] = {"onnxruntime": [], "torch": []}
    most_off = 0.0
    for frame in tqdm(range(-_WARM_UP, frames), unit="frame", delay=1, leave=False):
        # Every frame differs, as in playback.
        latent: Tensor = start + (frame + _WARM_UP) / (frames + _WARM_UP) * (end - start)
        begun = time.perf_counter()
        found = sessions.run("generator", {**features, "pose_latent": latent.numpy()})["image"]
        between = time.perf_counter()
        truth = draw(latent).numpy()
        ended = time.perf_counter()
        most_off = max(most_off, float(np.abs(found - truth).max()))
        if frame >= 0:
            times["onnxruntime"].append(1000 * (between - begun))
            times["torch"].append(1000 * (ended - between))
    fast, plain = (statistics.median(times[name]) for name in ("onnxruntime", "torch"))
    return {
        "backbone": backbone.name,
        "threads": threads,
        "frames": frames,
        "onnxruntime_ms": round(fast, 2),
        "torch_ms": round(plain, 2),
        "ratio": round(plain / fast, 3),
        "most_off": most_off,
        "machine": {"system": platform.platform(), "processor": platform.processor()},
        "versions": {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__},
    }
