# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m training prepare`: videos to aligned 256² crops with 68 landmarks a frame, in shards (paper, Sec. 4.1)."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import get_args

from lpmm_runtime.bundle import DEFAULT_BUNDLE
from lpmm_runtime.errors import LpmmError
from training.videos.clips import Gathering
from training.videos.frame_shards import Coding
from training.videos.layout import Layout, find_sources
from training.videos.prepare import SUMMARY, Preparation, Summary, prepare
from training.videos.readers import READER_KINDS, ReaderChoice
from training.videos.visible_faces import Visibility

DESCRIPTION = """Turn videos into training data: in every frame the face is found, its 68 points are read, and the
square of 1.8 × its box is cropped to 256² (what lies outside the picture is padded as LPD does). Shot cuts and lost
faces split clips. The same command again goes on where it was stopped, and leaves alone what is done."""

# More lines than this stay in the summary's file.
_MOST_LINES = 100


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the step."""
    parser = subparsers.add_parser("prepare", help="videos to aligned crops with landmarks", description=DESCRIPTION)
    parser.add_argument("folder", type=Path, metavar="VIDEOS", help="a folder of videos, or VoxCeleb1/2's own tree")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the shards go")
    parser.add_argument(
        "--layout",
        choices=get_args(Layout),
        default="auto",
        help="how the folder is laid out (default: VoxCeleb's where it looks like it, else any folder)",
    )
    parser.add_argument(
        "--sample",
        type=_positive,
        metavar="N",
        help="N frames a video, evenly spread, instead of clips (the paper: 64)",
    )
    parser.add_argument("--every", type=_positive, default=1, metavar="N", help="take every N-th frame (default: 1)")
    parser.add_argument(
        "--shortest", type=_positive, default=8, metavar="N", help="leave out clips of fewer frames (default: 8)"
    )
    parser.add_argument(
        "--smallest-face", type=_positive, default=64, metavar="PIXELS", help="of the face's box (default: 64)"
    )
    parser.add_argument(
        "--least-score", type=float, default=0.6, metavar="S", help="of the face finder, 0 to 1 (default: 0.6)"
    )
    parser.add_argument(
        "--reader", choices=READER_KINDS, default="bundle", help="who reads the 68 points (default: the bundle)"
    )
    parser.add_argument(
        "--reader-python",
        metavar="PYTHON",
        help="a Python that has mediapipe (default: this one), for --reader mediapipe",
    )
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="model bundle")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu", help="of the bundle's models")
    parser.add_argument("--per-shard", type=_positive, default=1024, metavar="N", help="most frames a shard")
    parser.add_argument(
        "--coding", choices=get_args(Coding), default="jpeg", help="of the crops: jpeg (quality 95) or png (exact)"
    )
    parser.add_argument(
        "--workers", type=_positive, default=os.cpu_count() or 1, metavar="N", help="processes (default: the cores)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prepare, print what became of the videos, and return 0 if any frame was kept.

    Raises:
        FileNotFoundError, ValueError: for bad input, one line.
    """
    sources = find_sources(args.folder, args.layout)
    preparation = Preparation(
        folder=args.out,
        readers=ReaderChoice(args.reader, args.bundle, args.device, args.reader_python),
        visibility=Visibility(args.least_score, args.smallest_face),
        gathering=Gathering(args.every, args.shortest, args.sample),
        per_shard=args.per_shard,
        coding=args.coding,
    )
    try:
        summary = prepare(preparation, sources, args.workers)
    except LpmmError as error:
        raise ValueError(str(error)) from error
    except KeyboardInterrupt:
        print("interrupted; run the same again to go on")
        return 130
    print("\n".join(report(summary, args.out)))
    return 0 if summary.frames else 1


def report(summary: Summary, folder: Path) -> list[str]:
    """Return the summary's lines, for people."""
    lines = [
        f"{folder}: {summary.frames} frames in {summary.clips} clips of {summary.kept} of {summary.sources} videos, "
        f"{summary.shards} shards" + (f" ({summary.done_before} videos done before)" if summary.done_before else "")
    ]
    if summary.left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in summary.left_out.most_common())
        lines.append(f"frames left out of {summary.seen}: {reasons}")
    for title, faults in (("kept in part", summary.damaged), ("rejected", summary.rejected)):
        lines += [f"{title}: {fault}" for fault in faults[:_MOST_LINES]]
        if len(faults) > _MOST_LINES:
            lines.append(f"{title}: {len(faults) - _MOST_LINES} more, in {folder / SUMMARY}")
    return lines


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value
