# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m training STEP …`: every step of training, from data to bundle."""

import argparse
import sys
from contextlib import nullcontext

from lpmm_runtime.errors import LpmmError
from training import (
    adaptor,
    bench_backbone,
    default,
    finetune_identity,
    import_backbone,
    portraits,
    presets,
    processes,
    toykit,
    unpack,
    video_lpmm,
)
from training.evaluation import step as evaluate
from training.export import ExportError
from training.journal import check_tensorboard
from training.paper import step as report
from training.videos import step as prepare

_STEPS = (
    default,
    evaluate,
    report,
    prepare,
    video_lpmm,
    import_backbone,
    finetune_identity,
    adaptor,
    bench_backbone,
    presets,
    portraits,
    toykit,
    unpack,
)


def main(argv: list[str] | None = None) -> int:
    """Run one step; return its exit status. Bad input is one line on stderr and status 1.

    A step that sets `shared` may be run by many processes; it has `--device`.
    """
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    subparsers = parser.add_subparsers(metavar="STEP", required=True)
    for step in _STEPS:
        step.add_parser(subparsers)
    args = parser.parse_args(argv)
    try:
        shared = getattr(args, "shared", False)
        if processes.wanted() > 1 and not shared:
            raise ValueError("this step runs in one process: start it without torchrun")
        if getattr(args, "tensorboard", False):
            check_tensorboard()
        with processes.joined(args.device) if shared else nullcontext() as device:
            if device:
                args.device = device
            return int(args.run(args))
    except (FileNotFoundError, LpmmError, ExportError, ValueError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
