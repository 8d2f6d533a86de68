# SPDX-License-Identifier: GPL-3.0-or-later
"""`lpmm sheet`: what portraits can do, on one picture: each at rest, in the bundle's expressions and in head poses."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lpmm_runtime.bundle import load_bundle
from lpmm_runtime.cli import arguments
from lpmm_runtime.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from lpmm_runtime.engine import Character, Engine

    Pixels = NDArray[np.uint8]

DESCRIPTION = """Show what portraits can do before rigging them: each photo at rest, with every expression of the bundle
(its presets without the visemes) and in nine head poses, as a contact sheet."""

POSES: tuple[tuple[str, dict[str, float]], ...] = (
    ("yaw -25", {"headYaw": -25.0}),
    ("yaw 25", {"headYaw": 25.0}),
    ("pitch 15", {"headPitch": 15.0}),
    ("pitch -15", {"headPitch": -15.0}),
    ("roll -20", {"headRoll": -20.0}),
    ("roll 20", {"headRoll": 20.0}),
    ("yaw -15 pitch 8", {"headYaw": -15.0, "headPitch": 8.0}),
    ("yaw 15 pitch -8", {"headYaw": 15.0, "headPitch": -8.0}),
    ("yaw 15 roll -12", {"headYaw": 15.0, "headRoll": -12.0}),
)
_VISEME = "Viseme "


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the sub-command."""
    parser = subparsers.add_parser("sheet", help="a contact sheet of portraits", description=DESCRIPTION)
    parser.add_argument("photos", type=Path, nargs="+", metavar="PHOTO", help="portraits")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="sheet.png")
    parser.add_argument("--size", type=arguments.positive, default=160, metavar="PIXELS", help="side of a tile")
    parser.add_argument("--columns", type=arguments.positive, default=5, metavar="N", help="tiles in a portrait's row")
    parser.add_argument("--across", type=arguments.positive, default=2, metavar="N", help="portraits side by side")
    arguments.add_bundle(parser)
    arguments.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Render the sheet, and print what was written."""
    bundle = load_bundle(args.bundle)

    from lpmm_runtime.engine import Engine
    from lpmm_runtime.portrait import read_image
    from lpmm_runtime.video import check_output, write_png

    if args.out.suffix.lower() != ".png":
        raise OutputError(f"{args.out}: a sheet is written as .png")
    check_output(args.out, 1)
    photos = [read_image(path) for path in args.photos]
    engine = Engine(bundle, args.device, args.threads)
    blocks = []
    for path, photo in zip(args.photos, photos, strict=True):
        character = engine.create_character(photo, name=str(path))
        blocks.append(_grid(_tiles(engine, character, args.size), args.columns))
    sheet = _grid(blocks, args.across)
    write_png(args.out, sheet)
    print(f"wrote {args.out}: {sheet.shape[1]} × {sheet.shape[0]}")
    return 0


def _tiles(engine: "Engine", character: "Character", size: int) -> "list[Pixels]":
    presets = {name: preset for name, preset in engine.bundle.presets.items() if not name.startswith(_VISEME)}
    shown: list[tuple[str, Mapping[str, float]]] = [("rest", {}), *((name, {name: 1.0}) for name in presets)]
    controls = set(engine.bundle.rig.control_names)
    shown += [(name, values) for name, values in POSES if controls.issuperset(values)]
    return [_tile(engine, character, caption, values, size) for caption, values in shown]


def _tile(engine: "Engine", character: "Character", caption: str, values: "Mapping[str, float]", size: int) -> "Pixels":
    import cv2
    import numpy as np

    from lpmm_runtime.frame import evaluate_channels

    params = evaluate_channels(engine.bundle.rig, character.params, values, engine.bundle.presets)
    # Rendered larger, for the smallest frames are too coarse to judge a lid by.
    frame = engine.render(character, params, view="crop", size=max(size, 256))[..., :3]
    tile = cv2.resize(np.ascontiguousarray(frame), (size, size), interpolation=cv2.INTER_AREA)
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(tile, caption, (4, size - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.36, colour, thickness, cv2.LINE_AA)
    return np.asarray(tile, np.uint8)


def _grid(tiles: "list[Pixels]", columns: int) -> "Pixels":
    """Return tiles of one size in rows; what is left over of the last row is dark."""
    import numpy as np

    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    height, width = tiles[0].shape[:2]
    sheet = np.full((rows * height, columns * width, 3), 32, np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = tile
    return sheet
