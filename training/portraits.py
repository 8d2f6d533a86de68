# SPDX-License-Identifier: GPL-3.0-or-later
"""The portraits that ship, rendered by Cycles: what the demo, the sheet and the tests use as photos.

python -m training portraits --kit KIT --out lpmm_runtime/portraits        # needs bpy; minutes a portrait
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from training.synth.facekit import FaceKit
from training.synth.motion import Motion
from training.synth.people import ETHNICITIES, Person, Strands, brow_morphs, macro_morphs, sample_shape

if TYPE_CHECKING:
    from training.portraiture.scene import Portrait

# Of the drawn shape's distance from the average: what is left is a face one might meet.
_MILDNESS = 0.45
_JPEG_QUALITY = 92
_LASH, _THICK_BROW = (0.01, 0.01, 0.01), "eyebrow001"


def shape(kit: FaceKit, seed: int, macro: dict[str, float], ethnicity: tuple[float, float, float]) -> dict[str, float]:
    """Return the morphs of a face drawn by `seed` and brought near to the average, on the build that `macro` says."""
    drawn, _ = sample_shape(kit, np.random.default_rng(seed))
    builds = ("universal-", *ETHNICITIES)
    own = {name: _MILDNESS * amount for name, amount in drawn.items() if not name.startswith(builds)}
    return own | macro | brow_morphs(ethnicity, 0.65)


def relaxed(yaw: float, brows: float = 0.0) -> Motion:
    """Return a faint smile into the camera, the head turned by `yaw` degrees."""
    controls = {"eyeBlinkLeft": 0.06, "eyeBlinkRight": 0.06, "mouthSmileLeft": 0.34, "mouthSmileRight": 0.34}
    return Motion(yaw=yaw, pitch=2.0, controls=controls | {"browInnerUp": brows})


def portraits(kit: FaceKit) -> dict[str, Portrait]:
    """Return the portraits that ship, by name."""
    from training.portraiture.scene import Pigment, Portrait
    from training.portraiture.strands import Hair

    european, african, asian = (0.8, 0.15, 0.05), (0.1, 0.05, 0.85), (0.25, 0.7, 0.05)

    def dark(name: str, density: float, red: float = 0.02) -> Strands:
        return Strands(name, name, (red, 0.7 * red, 0.6 * red), 0.4, density=density)

    def lashes(name: str) -> Strands:
        return Strands(name, name, _LASH, 0.2, density=0.9)

    return {
        "ada": Portrait(
            Person(
                shape(kit, 11, macro_morphs(0.02, 0.46, european, weight=0.42), european),
                european,
                skin="skin_young_lightskinned_female2",
                iris="eye_brownlight",
                brows=dark(_THICK_BROW, 1.1, red=0.05),
                lashes=lashes("eyelashes01"),
            ),
            relaxed(4.0),
            Hair("long", 45_000, 1.55, parting=-0.18, locks=0.55, frizz=0.012),
            Pigment(0.6, 0.4),
            shirt=(0.16, 0.03, 0.035),
            neckline=5.95,
            room="shelves",
            wall=(0.36, 0.34, 0.32),
            exposure=0.25,
            seed=3,
        ),
        "ben": Portrait(
            Person(
                shape(kit, 23, macro_morphs(1.0, 0.6, african, weight=0.5, muscle=0.75), african),
                african,
                skin="skin_young_darkskinned_male",
                iris="eye_brown",
                brows=dark(_THICK_BROW, 0.8, red=0.01),
                lashes=lashes("eyelashes02"),
            ),
            relaxed(-5.0),
            Hair("curls", 26_000, 0.28, parting=0.0, locks=0.75, frizz=0.012),
            Pigment(0.97, 0.2),
            shirt=(0.45, 0.46, 0.44),
            neckline=6.05,
            room="window",
            wall=(0.55, 0.5, 0.42),
            skin_gain=(1.3, 1.25, 1.2),
            beard=(11_000, 0.022),
            key_side=1,
            exposure=0.5,
            seed=4,
        ),
        "cleo": Portrait(
            Person(
                shape(kit, 37, macro_morphs(0.05, 0.52, asian, weight=0.45), asian),
                asian,
                skin="skin_young_lightskinned_female3",
                iris="eye_brown",
                brows=dark("eyebrow012", 1.0),
                lashes=lashes("eyelashes03"),
            ),
            relaxed(3.0, brows=0.2),
            Hair("tied", 45_000, 0.0, parting=0.0, locks=0.35, frizz=0.006),
            Pigment(0.9, 0.2),
            shirt=(0.05, 0.09, 0.12),
            neckline=6.0,
            room="panels",
            wall=(0.3, 0.38, 0.36),
            skin_gain=(1.0, 0.93, 0.84),
            rim=30.0,
            exposure=0.15,
            seed=5,
        ),
    }


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the `portraits` step."""
    parser = subparsers.add_parser("portraits", help="render the portraits that ship; needs bpy")
    parser.add_argument("--kit", type=Path, required=True, help="the face kit's folder")
    parser.add_argument("--out", type=Path, required=True, help="where the pictures go")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these (default: all)")
    parser.add_argument("--size", type=int, default=768, help="side in pixels")
    parser.add_argument("--samples", type=int, default=192, help="of Cycles, a pixel")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Render the portraits."""
    try:
        from training.portraiture.scene import render
    except ModuleNotFoundError as error:
        raise ValueError(f"portraits are rendered by Blender's Cycles: {error} (install bpy)") from error

    kit = FaceKit(args.kit)
    all_of_them = portraits(kit)
    unknown = sorted(set(args.only or ()) - set(all_of_them))
    if unknown:
        raise ValueError(f"no portrait {', '.join(unknown)}; there are {', '.join(all_of_them)}")
    args.out.mkdir(parents=True, exist_ok=True)
    for name, portrait in all_of_them.items():
        if args.only and name not in args.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            rendered = Path(folder) / f"{name}.png"
            render(kit, portrait, rendered, args.size, args.samples)
            picture = cv2.imread(str(rendered), cv2.IMREAD_COLOR)
        cv2.imwrite(str(args.out / f"{name}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return 0
