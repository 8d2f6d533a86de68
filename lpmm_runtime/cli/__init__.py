# SPDX-License-Identifier: GPL-3.0-or-later
"""The console command `lpmm`: one file a sub-command, each with `add_parser(subparsers)` and `run(args)`.

A sub-command's module imports at its top only what the light half may; the rest inside `run`, so that `--help`
is quick and works without the runtime's packages.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import NoReturn

from lpmm_runtime.errors import LpmmError

COMMANDS = ("demo", "render", "sheet", "capture", "landmarks", "bundle", "bench", "serve")

# Which extra brings a package that a command may miss.
EXTRAS = {"onnxruntime": "runtime", "cv2": "runtime", "av": "runtime", "tqdm": "runtime", "bpy": "blender"}


class OneLineParser(argparse.ArgumentParser):
    """Says a usage error in one line instead of repeating the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return its exit status, 0 only on success."""
    parser = OneLineParser(prog="lpmm", description="A neural talking-head face rig, without and with Blender.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {}
    for name in COMMANDS:
        # The blender half of the project may not be installed beside the runtime.
        if find_spec(f"{__name__}.{name}"):
            modules[name] = import_module(f"{__name__}.{name}")
            modules[name].add_parser(subparsers)
    args = parser.parse_args(argv)
    try:
        status: int = modules[args.command].run(args)
        return status
    except LpmmError as error:
        print(f"lpmm {args.command}: error: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        install = f"pip install 'lpmm-blender[{EXTRAS[package]}]'"
        print(f"lpmm {args.command}: error: the package {package} is missing: {install}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"lpmm {args.command}: interrupted", file=sys.stderr)
        return 130
    return 1
