# SPDX-License-Identifier: GPL-3.0-or-later
"""`lpmm bench`: how long the runtime takes on this machine, as JSON."""

import argparse
import json
from pathlib import Path

from lpmm_runtime.bundle import load_bundle
from lpmm_runtime.cli import arguments
from lpmm_runtime.errors import OutputError, PhotoError

PORTRAITS = Path(__file__).parents[1] / "portraits"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the sub-command."""
    parser = subparsers.add_parser("bench", help="time the runtime", description=__doc__)
    parser.add_argument("photo", type=Path, nargs="?", metavar="PHOTO", help="portrait (default: the one shipped)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where to write (default: standard output)")
    parser.add_argument(
        "--frames", type=arguments.positive, default=30, metavar="N", help="frames a size (default: 30)"
    )
    parser.add_argument("--box", type=arguments.box, metavar="L,T,R,B", help="the face's box instead of searching")
    arguments.add_bundle(parser)
    arguments.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, and write the report."""
    photo = args.photo or _shipped_portrait()
    bundle = load_bundle(args.bundle)

    from lpmm_runtime.bench import measure
    from lpmm_runtime.portrait import read_image

    report = measure(bundle, read_image(photo), args.box, str(photo), args.frames, args.device, args.threads)
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    if args.json is None:
        print(text, end="")
        return 0
    try:
        args.json.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{args.json}: cannot be written: {error.strerror or error}") from error
    print(f"wrote {args.json}")
    return 0


def _shipped_portrait() -> Path:
    for path in sorted(PORTRAITS.glob("*")):
        if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"):
            return path
    raise PhotoError(f"{PORTRAITS}: no portrait is shipped here; name a PHOTO")
