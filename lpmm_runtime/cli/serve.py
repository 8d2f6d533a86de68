# SPDX-License-Identifier: GPL-3.0-or-later
"""`lpmm serve`: the runtime as a process that others ask for frames."""

import argparse
import sys
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the `serve` sub-command."""
    parser = subparsers.add_parser(
        "serve",
        help="render frames for another process, as Blender's add-on asks",
        description="Renders frames for clients on this machine until stdin closes. The first line of stdin is the "
        "key that clients must know; stdout gets one line of JSON with the port. The client is "
        "lpmm_runtime.client.",
    )
    parser.add_argument("--bundle", type=Path, default=None, help="the model bundle's folder (default: the built-in)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: the cores, at most 4)")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1 (default: any free one)")
    parser.add_argument(
        "--characters", type=int, default=16, help="portraits held prepared at once (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until stdin closes, and return the exit status."""
    try:
        from lpmm_runtime.bundle import DEFAULT_BUNDLE
        from lpmm_runtime.server import ServeOptions, serve
    except ImportError as error:
        print(
            f"lpmm serve: {sys.executable} cannot import {error.name}: install onnxruntime and "
            f"opencv-python-headless for it ({error})",
            file=sys.stderr,
        )
        return 1
    return serve(
        ServeOptions(
            bundle=args.bundle or DEFAULT_BUNDLE,
            device=args.device,
            threads=args.threads,
            port=args.port,
            characters=args.characters,
        )
    )
