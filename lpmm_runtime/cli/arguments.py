# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments that several sub-commands share."""

import argparse
from pathlib import Path

from lpmm_runtime.bundle import DEFAULT_BUNDLE


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """Add --bundle."""
    parser.add_argument(
        "--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="model bundle (default: the one shipped)"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device and --threads."""
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where the models run (default: CUDA when it is there, else the CPU)",
    )
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="CPU threads of the models (default: the cores, at most 4)"
    )


def positive(text: str) -> int:
    """Return `text` as a whole number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def box(text: str) -> tuple[float, float, float, float]:
    """Return `text` "left,top,right,bottom" as numbers."""
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not left,top,right,bottom in pixels") from error
    return left, top, right, bottom


def setting(text: str) -> tuple[str, float]:
    """Return `text` "NAME=VALUE" as the name and the number."""
    name, equals, value = text.rpartition("=")
    try:
        if not (name and equals):
            raise ValueError
        return name.strip(), float(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE with a number") from error
