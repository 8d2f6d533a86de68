# SPDX-License-Identifier: GPL-3.0-or-later
"""`lpmm render`: a photo and channel values to a picture, numbered pictures or a clip, without Blender."""

import argparse
import math
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from lpmm_runtime.bundle import Bundle, load_bundle
from lpmm_runtime.channels import split_channels
from lpmm_runtime.cli import arguments
from lpmm_runtime.curves import Curves, load_curves
from lpmm_runtime.errors import CurvesError, ParamsError, PresetError, TakeError, UnknownChannelError
from lpmm_runtime.frame import evaluate_channels
from lpmm_runtime.presets import Preset, check_preset, load_preset
from lpmm_runtime.take import Take, check_take, load_take

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from lpmm_runtime.engine import Base, Character, Engine, View

DESCRIPTION = """Render a portrait photo with channel values: controls (headYaw, jawOpen, …; degrees for the head,
else 0 to 1), params (p01 … p40, in standard deviations) and presets (0 to 1)."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the sub-command."""
    parser = subparsers.add_parser("render", help="render frames from a photo", description=DESCRIPTION)
    parser.add_argument("photo", type=Path, metavar="PHOTO", help="portrait: JPEG, PNG, WebP, TIFF or BMP")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="x.png, dir/%%04d.png, or clip.mp4 (.mov, .mkv)"
    )
    parser.add_argument(
        "--set",
        type=arguments.setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a channel's value on every frame; may be repeated",
    )
    parser.add_argument("--curves", type=Path, metavar="FILE", help="channel values per frame (JSON)")
    parser.add_argument(
        "--preset",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a preset file whose name becomes a channel; may be repeated",
    )
    parser.add_argument(
        "--base",
        choices=("photo", "neutral"),
        default="photo",
        help="what channels add to: the photo's own pose or the mean face's (default: photo)",
    )
    parser.add_argument("--take", type=Path, metavar="FILE", help="a performance to follow (see lpmm capture)")
    parser.add_argument(
        "--influence",
        type=_influence,
        default=1.0,
        metavar="X",
        help="how much of the take is mixed in, 0 to 1 (default: 1)",
    )
    parser.add_argument(
        "--relative",
        action="store_true",
        help="add the take's changes to the photo's own pose, from the frame on that is nearest to it",
    )
    parser.add_argument(
        "--reference",
        type=int,
        metavar="N",
        help="the take's frame, from 0, that stands for the photo's own pose, for --relative (default: the nearest)",
    )
    parser.add_argument(
        "--drive-by",
        choices=("latents", "params"),
        default="latents",
        help="what of the take drives: the pose encoder's latents, or the params alone (default: latents)",
    )
    parser.add_argument("--crop", action="store_true", help="write the aligned crop instead of the full photo")
    parser.add_argument(
        "--size",
        type=arguments.positive,
        metavar="PIXELS",
        help="side of the crop; the full photo is scaled alike (default: its own size)",
    )
    parser.add_argument("--alpha", action="store_true", help="keep the head's matte as alpha (PNG only)")
    parser.add_argument(
        "--box",
        type=arguments.box,
        metavar="L,T,R,B",
        help="the face's box in pixels, forehead to chin (default: search)",
    )
    parser.add_argument("--first-frame", type=int, default=1, metavar="N", help="first number of %%04d (default: 1)")
    arguments.add_bundle(parser)
    arguments.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Render, and print what was written."""
    curves = load_curves(args.curves) if args.curves else None
    take = load_take(args.take) if args.take else None
    frame_count, fps = _length(curves, take, args)
    bundle = load_bundle(args.bundle)
    if take:
        if args.reference is not None and not 0 <= args.reference < take.frame_count:
            raise TakeError(f"{args.take}: has no frame {args.reference}, only 0 to {take.frame_count - 1}")
        check_take(take, bundle, str(args.take), latents=args.drive_by == "latents")
    presets = _presets(bundle, args.preset)
    constants = _constants(bundle, presets, args.set, curves, args.curves)

    from lpmm_runtime.engine import Engine
    from lpmm_runtime.portrait import read_image
    from lpmm_runtime.video import check_output, write_frames

    photo = read_image(args.photo)
    check_output(args.out, frame_count)
    engine = Engine(bundle, args.device, args.threads)
    character = engine.create_character(photo, args.box, str(args.photo))
    frames = _frames(engine, character, presets, constants, curves, take, frame_count, args)
    written = write_frames(args.out, frames, fps, args.first_frame)
    where = str(written[0]) if len(written) == 1 else f"{written[0]} … {written[-1].name}"
    print(f"wrote {where}: {frame_count} frame{'s' if frame_count > 1 else ''} on {engine.device}")
    return 0


def _presets(bundle: Bundle, paths: list[Path]) -> dict[str, Preset]:
    presets = dict(bundle.presets)
    for path in paths:
        preset = load_preset(path)
        check_preset(preset, bundle.rig.control_names, bundle.k, str(path))
        if preset.name in bundle.rig.control_names:
            raise PresetError(f"{path}: the preset's name {preset.name!r} is a control's")
        presets[preset.name] = preset
    return presets


def _constants(
    bundle: Bundle,
    presets: dict[str, Preset],
    settings: list[tuple[str, float]],
    curves: Curves | None,
    curves_path: Path | None,
) -> dict[str, float]:
    """Return the constant channels, after checking every name before anything slow begins."""
    constants = dict(settings)
    for name, value in constants.items():
        if not math.isfinite(value):
            raise ParamsError(f"--set {name}: {value} is not finite")
    names = bundle.rig.control_names
    split_channels(constants, names, bundle.k, presets)
    if curves:
        try:
            split_channels(curves.at(0), names, bundle.k, presets)
        except UnknownChannelError as error:
            raise CurvesError(f"{curves_path}: {error}") from error
        for name in constants:
            if name in curves.channels:
                raise CurvesError(f"{curves_path}: {name!r} is both here and in --set")
    return constants


def _length(curves: Curves | None, take: Take | None, args: argparse.Namespace) -> tuple[int, Fraction]:
    """Return the number of frames and their rate."""
    if take is None:
        return (curves.frame_count, curves.fps) if curves else (1, Fraction(24))
    if curves and (curves.frame_count, curves.fps) != (take.frame_count, take.fps):
        raise CurvesError(
            f"{args.curves}: {curves.frame_count} frames at {float(curves.fps):g} a second do not fit "
            f"{args.take}: {take.frame_count} at {float(take.fps):g}"
        )
    return take.frame_count, take.fps


def _frames(
    engine: "Engine",
    character: "Character",
    presets: dict[str, Preset],
    constants: dict[str, float],
    curves: Curves | None,
    take: Take | None,
    frame_count: int,
    args: argparse.Namespace,
) -> "Iterator[NDArray[np.uint8]]":
    from tqdm import tqdm

    from lpmm_runtime.driving import Drive, Driver

    rig = engine.bundle.rig
    rest = character.params if args.base == "photo" else character.params * 0
    base: Base = "PHOTO" if args.base == "photo" else "NEUTRAL"
    view: View = "crop" if args.crop else "full"
    drive = Drive(take, args.influence, args.drive_by, args.relative, args.reference) if take else None
    driver = Driver(engine, character, drive) if drive else None
    for frame in tqdm(range(frame_count), unit="frame", delay=1, leave=False):
        values = {**constants, **(curves.at(frame) if curves else {})}
        if driver:
            pixels = driver.render(frame, values, presets, base=base, view=view, size=args.size)
        else:
            params = evaluate_channels(rig, rest, values, presets)
            pixels = engine.render(character, params, base=base, view=view, size=args.size)
        yield pixels if args.alpha else pixels[..., :3]


def _influence(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value
