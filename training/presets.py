# SPDX-License-Identifier: GPL-3.0-or-later
"""The expressions and mouth shapes that ship with a bundle, in control space; write them into a bundle anew.

python -m training presets runs/default/bundle
"""

import argparse
import shutil
from collections.abc import Iterable
from pathlib import Path

from lpmm_runtime.bundle import load_bundle, write_manifest
from lpmm_runtime.errors import LpmmError
from lpmm_runtime.presets import Preset, check_preset, save_preset

FOLDER = "presets"


def _pair(control: str, value: float) -> dict[str, float]:
    """Return a control on both sides of the face."""
    return {f"{control}Left": value, f"{control}Right": value}


EXPRESSIONS = (
    Preset("Smile", {**_pair("mouthSmile", 0.95), **_pair("eyeSquint", 0.4)}, description="A friendly smile."),
    Preset(
        "Laugh",
        {**_pair("mouthSmile", 0.9), "jawOpen": 0.4, "mouthUpperUp": 0.4, **_pair("eyeSquint", 0.5)},
        description="A laugh: mouth open, eyes narrowed.",
    ),
    Preset(
        "Grin",
        {**_pair("mouthSmile", 0.9), "mouthUpperUp": 0.8, "mouthLowerDown": 0.5, **_pair("eyeSquint", 0.5)},
        description="A broad smile that bares the teeth.",
    ),
    Preset(
        "Snarl",
        {
            **_pair("browDown", 1.1),
            "noseSneer": 0.7,
            **_pair("eyeSquint", 0.5),
            "mouthUpperUp": 0.7,
            "mouthLowerDown": 0.9,
            **_pair("mouthStretch", 0.2),
        },
        description="Brows down, teeth clenched and bared.",
    ),
    Preset(
        "Smirk",
        {
            "mouthSmileLeft": 1.1,
            "mouthFrownRight": 0.3,
            "mouthLeft": 0.3,
            "eyeSquintLeft": 0.5,
            "browOuterUpLeft": 0.36,
        },
        description="One corner of the mouth up, on the subject's left.",
    ),
    Preset(
        "Surprised",
        {"browInnerUp": 1.1, **_pair("browOuterUp", 0.5), **_pair("eyeWide", 0.9), "jawOpen": 0.29},
        description="Brows up, eyes wide, jaw dropped.",
    ),
    Preset(
        "Angry",
        {
            **_pair("browDown", 1.1),
            "noseSneer": 0.3,
            **_pair("eyeSquint", 0.4),
            **_pair("mouthFrown", 0.9),
            "mouthPress": 0.8,
        },
        description="Brows down, lips pressed.",
    ),
    Preset(
        "Sad",
        {
            "browInnerUp": 1.2,
            **_pair("mouthFrown", 1.38),
            "mouthShrugLower": 0.5,
            "jawOpen": 0.029,
            **_pair("eyeBlink", 0.3),
        },
        description="Inner brows up, corners of the mouth down.",
    ),
    Preset(
        "Afraid",
        {
            "browInnerUp": 1.2,
            **_pair("browOuterUp", 0.2),
            **_pair("eyeWide", 1.3),
            **_pair("mouthStretch", 0.3),
            **_pair("mouthFrown", 0.75),
            "mouthLowerDown": 0.5,
            "jawOpen": 0.14,
        },
        description="Brows up and together, eyes wide, mouth drawn back.",
    ),
    Preset(
        "Disgusted",
        {
            "noseSneer": 1.2,
            **_pair("browDown", 0.8),
            **_pair("eyeSquint", 0.6),
            **_pair("mouthFrown", 0.6),
            "mouthShrugLower": 0.15,
        },
        description="Nose wrinkled, upper lip raised.",
    ),
    Preset(
        "Doubtful",
        {
            "browOuterUpLeft": 0.9,
            "browDownRight": 0.9,
            "eyeWideLeft": 0.6,
            "eyeSquintRight": 0.9,
            "mouthRight": 0.7,
            **_pair("mouthFrown", 0.5),
        },
        description="One brow up, the other down.",
    ),
    Preset(
        "Pout",
        {"mouthShrugLower": 1.2, "mouthPucker": 0.6, **_pair("mouthFrown", 1.0), **_pair("browDown", 0.3)},
        description="Lower lip pushed up and out.",
    ),
    Preset(
        "Shout",
        {
            "jawOpen": 0.58,
            "mouthUpperUp": 0.4,
            "mouthLowerDown": 0.4,
            **_pair("browDown", 0.65),
            **_pair("eyeSquint", 0.3),
            "noseSneer": 0.3,
        },
        description="Mouth wide open, brows down.",
    ),
    Preset(
        "Tired",
        {**_pair("eyeBlink", 0.55), "browInnerUp": 0.15, **_pair("mouthFrown", 0.16), "jawOpen": 0.029},
        description="Heavy lids, slack mouth.",
    ),
    Preset(
        "Wink",
        {"eyeBlinkLeft": 1.0, "eyeSquintLeft": 0.3, **_pair("mouthSmile", 0.6), "browDownLeft": 0.12},
        description="The subject's left eye closed, with a smile.",
    ),
    Preset("Kiss", {"mouthPucker": 1.0, "mouthShrugLower": 0.4}, description="Lips pursed."),
    Preset("Asleep", {**_pair("eyeBlink", 1.0), "jawOpen": 0.039}, description="Eyes closed, face relaxed."),
)

VISEMES = (
    Preset("Viseme Sil", {"mouthPress": 0.15}, description="Silence: the mouth closed."),
    Preset(
        "Viseme PP",
        {"mouthPress": 0.8},
        description="Lips closed, as in p, b, m.",
    ),
    Preset(
        "Viseme FF",
        {"mouthShrugLower": 0.5, "mouthUpperUp": 1.4},
        description="Lower lip to the teeth: f, v.",
    ),
    Preset("Viseme TH", {"jawOpen": 0.1, "mouthLowerDown": 0.25}, description="As in think, this."),
    Preset("Viseme DD", {"jawOpen": 0.08, "mouthUpperUp": 0.25, "mouthLowerDown": 0.3}, description="As in t, d."),
    Preset("Viseme KK", {"jawOpen": 0.17, **_pair("mouthStretch", 0.1)}, description="As in k, g."),
    Preset(
        "Viseme CH",
        {"mouthFunnel": 0.5, "mouthPucker": 0.2, "jawOpen": 0.029},
        description="Lips forward, teeth together, as in chin, join, she.",
    ),
    Preset(
        "Viseme SS",
        {
            **_pair("mouthStretch", 0.3),
            **_pair("mouthFrown", 0.3),
            "mouthLowerDown": 0.4,
            "mouthUpperUp": 0.5,
            "jawOpen": 0.02,
        },
        description="Teeth together, lips apart, as in s, z.",
    ),
    Preset("Viseme NN", {**_pair("mouthStretch", 0.1), "jawOpen": 0.17}, description="As in n, l."),
    Preset("Viseme RR", {"mouthFunnel": 0.35, "mouthPucker": 0.2, "jawOpen": 0.08}, description="As in red."),
    Preset("Viseme AA", {"jawOpen": 0.44}, description="As in car."),
    Preset("Viseme E", {"jawOpen": 0.29, **_pair("mouthStretch", 0.3)}, description="As in bed."),
    Preset(
        "Viseme IH",
        {**_pair("mouthStretch", 0.3), **_pair("mouthFrown", 0.12), "jawOpen": 0.27},
        description="As in tip, see.",
    ),
    Preset("Viseme OH", {"mouthFunnel": 0.8, "jawOpen": 0.2}, description="As in toe."),
    Preset("Viseme OU", {"mouthPucker": 0.75, "mouthFunnel": 0.2, "jawOpen": 0.09}, description="As in book, you."),
)

# For bundles that can turn the eyes. Sides are the subject's, as in the controls' names.
GAZES = (
    Preset("Look Left", {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0}, description="Both eyes to the subject's left."),
    Preset(
        "Look Right", {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0}, description="Both eyes to the subject's right."
    ),
    Preset("Look Up", _pair("eyeLookUp", 1.0), description="Both eyes up."),
    Preset("Look Down", _pair("eyeLookDown", 1.0), description="Both eyes down, the upper lids with them."),
)


def shipped_presets(control_names: Iterable[str]) -> tuple[Preset, ...]:
    """Return the presets of a bundle with these controls: expressions, visemes, and gazes if its eyes can turn."""
    known = set(control_names)
    gaze = all(known.issuperset(preset.controls) for preset in GAZES)
    return (*EXPRESSIONS, *VISEMES, *(GAZES if gaze else ()))


def write_presets(bundle: Path, control_names: Iterable[str], k: int) -> None:
    """Write every shipped preset into a bundle's folder, in place of what its `presets` folder holds.

    The manifest is the caller's to write afterwards.

    Args:
        bundle: the bundle's folder.
        control_names, k: what the bundle has, and the presets must not go beyond.

    Raises:
        PresetError: if a preset does not fit; nothing is written then.
    """
    known = tuple(control_names)
    shipped = shipped_presets(known)
    for preset in shipped:
        check_preset(preset, known, k, "training/presets.py")
    folder = bundle / FOLDER
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for preset in shipped:
        save_preset(preset, folder / f"{preset.name.lower().replace(' ', '-')}.json")


def replace_presets(bundle: Path) -> int:
    """Give a finished bundle the presets of this file, and its manifest their hashes; return how many there are.

    Raises:
        BundleError: if the bundle is not whole; its other files' hashes are not papered over.
        PresetError: if a preset does not fit the bundle.
    """
    whole = load_bundle(bundle)
    write_presets(bundle, whole.rig.control_names, whole.k)
    write_manifest(bundle, {key: value for key, value in whole.manifest.items() if key != "files"})
    return len(shipped_presets(whole.rig.control_names))


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the step."""
    text = "Write the shipped presets into a finished bundle, in place of those it has."
    parser = subparsers.add_parser("presets", help="give a bundle the shipped presets anew", description=text)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the presets, and say so."""
    try:
        count = replace_presets(args.bundle)
    except LpmmError as error:
        raise ValueError(str(error)) from error
    print(f"wrote {count} presets into {args.bundle}")
    return 0
