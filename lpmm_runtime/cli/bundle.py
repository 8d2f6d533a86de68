# SPDX-License-Identifier: GPL-3.0-or-later
"""`lpmm bundle info|verify`: what a bundle is, and whether it is whole."""

import argparse
import json
from pathlib import Path

from lpmm_runtime.bundle import DEFAULT_BUNDLE, Bundle, load_bundle


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the sub-command."""
    parser = subparsers.add_parser("bundle", help="describe or check a model bundle", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("info", "Print what the bundle's manifest says: models, controls, presets, scores."),
        ("verify", "Check every hash, array and graph; exit status 1 and one line naming the file if one is wrong."),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument(
            "folder", type=Path, nargs="?", default=DEFAULT_BUNDLE, metavar="DIR", help="default: the one shipped"
        )


def run(args: argparse.Namespace) -> int:
    """Describe the bundle, or check it."""
    bundle = load_bundle(args.folder, graphs=args.action == "verify")
    if args.action == "info":
        print(describe(bundle))
        return 0
    count = len(bundle.manifest["files"])
    print(f"{bundle.path}: {bundle.name} {bundle.version} is whole: {count} files, all hashes, arrays and graphs agree")
    for name in bundle.unlisted_files:
        print(f"note: {name} is not listed in bundle.json and never read")
    return 0


def describe(bundle: Bundle) -> str:
    """Return what a bundle is, for people."""
    size = sum((bundle.path / name).stat().st_size for name in bundle.manifest["files"])
    card = bundle.manifest["model_card"]
    lines = [
        f"{bundle.name} {bundle.version} ({bundle.path})",
        f"licence      {bundle.licence}",
        f"backbone     {bundle.backbone_kind}, pose latent of {bundle.latent_size}, trained at {bundle.image_size} px",
        f"matte        {'yes' if bundle.alpha else 'no'}",
        f"params       {bundle.k}",
        f"files        {len(bundle.manifest['files'])}, {size / 1e6:.1f} MB",
        "controls",
    ]
    for control in bundle.rig.control_list:
        span = f"{control.minimum:g} to {control.maximum:g}"
        lines.append(f"  {control.name:<20} {span:<12} {control.description}")
    lines.append("presets      " + (", ".join(sorted(bundle.presets)) or "none"))
    lines.append("model card")
    for key, value in card.items():
        lines.append(f"  {key:<20} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines)
