# SPDX-License-Identifier: GPL-3.0-or-later
"""A procedural toy head in the face kit's format, for trying the training pipeline without the real kit."""

import argparse
import sys
from pathlib import Path

from training.toykit.archive import write_toy_kit

__all__ = ["add_parser", "run", "write_toy_kit"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the `toykit` command."""
    parser = subparsers.add_parser("toykit", help="write a toy face kit", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--seed", type=int, default=0, help="of the textures' grain")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the `toykit` command; returns the exit status."""
    try:
        write_toy_kit(args.out, args.seed)
    except OSError as error:
        print(f"toykit: {error}", file=sys.stderr)
        return 1
    print(f"wrote a toy face kit to {args.out}")
    return 0
