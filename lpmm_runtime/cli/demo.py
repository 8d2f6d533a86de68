# SPDX-License-Identifier: GPL-3.0-or-later
"""`lpmm demo`: a photo becomes a keyed rig in Blender, and the rig a rendered clip."""

import argparse
from importlib.util import find_spec
from pathlib import Path

from lpmm_runtime.cli import arguments
from lpmm_runtime.errors import LpmmError

PORTRAITS = Path(__file__).parents[1] / "portraits"

DESCRIPTION = """The whole way, from nothing: builds a face rig from a portrait in Blender (the bpy module), keys a head
turn, blinks, the jaw and a smile, lays a preset's action over them as an NLA strip, and renders the clip. Writes
lpmm-demo.mp4, lpmm-demo.blend and lpmm-demo.png, a contact sheet of every 8th frame."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the sub-command."""
    parser = subparsers.add_parser("demo", help="photo to rig to clip, in Blender", description=DESCRIPTION)
    parser.add_argument("--photo", type=Path, metavar="FILE", help="a portrait photo (default: one that we rendered)")
    parser.add_argument("--out", type=Path, default=Path("lpmm-demo"), metavar="DIR",
                        help="folder for the results (default: ./lpmm-demo)")  # fmt: skip
    parser.add_argument("--full", action="store_true", help="show the whole photo instead of a square around the face")
    parser.add_argument("--size", type=arguments.positive, default=512, metavar="PIXELS",
                        help="side of the square (default: 512)")  # fmt: skip
    parser.add_argument("--box", type=arguments.box, metavar="L,T,R,B",
                        help="the face's box in pixels, forehead to chin, instead of searching")  # fmt: skip
    parser.add_argument("--frames", type=arguments.positive, default=96, metavar="N",
                        help="length of the clip, at 24 frames a second (default: 96)")  # fmt: skip
    arguments.add_bundle(parser)
    arguments.add_device(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the demo, and print where it lies."""
    if find_spec("bpy") is None:
        raise LpmmError(
            "Blender's Python module is not installed: pip install 'lpmm-blender[blender,runtime]' "
            "(bpy 5.0 needs Python 3.11)"
        )
    from lpmm_blender.demo import DemoOptions, make_demo

    result = make_demo(
        DemoOptions(
            photo=args.photo or _shipped_portrait(),
            out=args.out,
            view="full" if args.full else "crop",
            size=args.size,
            box=args.box,
            frames=args.frames,
            bundle=args.bundle,
            device=args.device,
            threads=args.threads,
        )
    )
    print(f"clip:          {result.clip}")
    print(f"Blender file:  {result.blend}")
    print(f"contact sheet: {result.sheet}")
    return 0


def _shipped_portrait() -> Path:
    portraits = sorted(path for path in PORTRAITS.glob("*") if path.suffix in {".png", ".jpg"})
    if not portraits:
        raise LpmmError(f"{PORTRAITS}: no portrait there; choose one with --photo")
    return portraits[0]
