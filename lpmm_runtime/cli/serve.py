# SPDX-License-Identifier: GPL-3.0-or-later
"""`lpmm serve`: the runtime as a process that others ask for frames."""

import argparse
from typing import Any

from lpmm_runtime.cli.arguments import add_bundle, add_device, positive

CHARACTERS = 16


def add_parser(subparsers: Any) -> None:
    """Add the `serve` sub-command."""
    parser = subparsers.add_parser(
        "serve",
        help="render frames for another process, as Blender's add-on asks",
        description="Render frames for clients on this machine (lpmm_runtime.client) until stdin closes. The first "
        "line of stdin is the key that clients must know; stdout gets one line of JSON with the port.",
    )
    add_bundle(parser)
    add_device(parser)
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1 (default: any free one)")
    parser.add_argument(
        "--characters",
        type=positive,
        default=CHARACTERS,
        metavar="N",
        help="portraits held prepared at once; others are prepared again when asked for (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until stdin closes, and return the exit status."""
    from lpmm_runtime.server import ServeOptions, serve

    return serve(ServeOptions(args.bundle, args.device, args.threads, args.port, args.characters))
