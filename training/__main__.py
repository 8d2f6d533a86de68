# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m training STEP …`: every step of training, from data to bundle."""

import argparse
import sys

from training import default, portraits, presets, toykit


def main(argv: list[str] | None = None) -> int:
    """Run one step; return its exit status. Bad input is one line on stderr and status 1."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    subparsers = parser.add_subparsers(metavar="STEP", required=True)
    for step in (default, portraits, presets, toykit):
        step.add_parser(subparsers)
    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except (FileNotFoundError, ValueError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
