# SPDX-License-Identifier: GPL-3.0-or-later
"""`lpmm capture`: a driving video to a take, which drives portraits and keys rigs."""

import argparse
import math
import sys
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from lpmm_runtime.bundle import load_bundle
from lpmm_runtime.cli import arguments
from lpmm_runtime.errors import OutputError

if TYPE_CHECKING:
    from lpmm_runtime.video_frames import VideoFrame

DESCRIPTION = """Capture the performance of a face in a video: params, head angles and pose latents of every frame, in
a crop that is steadied over time. Frames in which the face is not seen are marked, and filled in from those beside."""

# More runs of unseen frames than this are counted, not listed.
_MOST_RUNS = 5


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the sub-command."""
    parser = subparsers.add_parser("capture", help="a driving video to a take", description=DESCRIPTION)
    parser.add_argument("video", type=Path, metavar="VIDEO", help="a video of one talking face")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the take: a .json file")
    parser.add_argument("--fps", type=_rate, metavar="N", help="frames a second of the take (default: the video's)")
    parser.add_argument("--start", type=_seconds, default=0.0, metavar="SECONDS", help="where to begin (default: 0)")
    parser.add_argument("--end", type=_seconds, metavar="SECONDS", help="where to stop (default: the video's end)")
    parser.add_argument(
        "--steadiness",
        type=_seconds,
        default=0.12,
        metavar="SECONDS",
        help="how far in time the crop is smoothed; 0 follows every reading (default: 0.12)",
    )
    parser.add_argument(
        "--smoothing",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="the same for params and latents; about 0.04 calms a noisy video, more eats blinks (default: 0)",
    )
    arguments.add_bundle(parser)
    arguments.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Capture, write the take, and print what it holds."""
    if args.end is not None and args.end <= args.start:
        raise OutputError(f"--end {args.end:g} is not after --start {args.start:g}: nothing to capture")
    if args.out.suffix.lower() != ".json":
        raise OutputError(f"{args.out}: a take is a .json file")
    if not args.out.parent.is_dir():
        raise OutputError(f"{args.out.parent}: no such folder")
    bundle = load_bundle(args.bundle)

    from tqdm import tqdm

    from lpmm_runtime.capture import capture
    from lpmm_runtime.onnx_sessions import OnnxSessions
    from lpmm_runtime.take import save_take

    def progress(frames: "Iterable[VideoFrame]", name: str) -> "Iterable[VideoFrame]":
        bar: Iterable[VideoFrame] = tqdm(frames, desc=name, unit="frame", delay=1, leave=False)
        return bar

    sessions = OnnxSessions(bundle, args.device, args.threads)
    take, fault = capture(
        sessions,
        args.video,
        fps=args.fps,
        start=args.start,
        end=args.end,
        steadiness=args.steadiness,
        smoothing=args.smoothing,
        progress=progress,
    )
    save_take(take, args.out)
    print(f"wrote {args.out}: {take.frame_count} frames at {float(take.fps):g} a second on {sessions.device}")
    runs = take.unseen_runs()
    if runs:
        listed = ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in runs[:_MOST_RUNS])
        more = f" and {len(runs) - _MOST_RUNS} more" if len(runs) > _MOST_RUNS else ""
        count = sum(b - a + 1 for a, b in runs)
        print(f"no face in {count} frames, filled in from those beside: {listed}{more}")
    if fault:
        print(f"lpmm capture: warning: {args.video}: {fault}", file=sys.stderr)
    return 0


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of frames a second") from error
    if not 1 <= rate <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to 1000 frames a second")
    return rate


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from error
    if not math.isfinite(value) or value < 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds from 0 on")
    return value
