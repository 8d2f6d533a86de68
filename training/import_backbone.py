# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle from a published talking head's checkpoint, which the user supplies.

python -m training import-backbone --kind lia --checkpoint vox.pt --out bundles/lia
python -m training import-backbone --kind lpd --checkpoint latent-pose-release.pth --out bundles/ada --photos ada*.jpg

The checkpoint gives pose encoder, identity encoder and generator. The LPMM, its controls and presets, the face finder
and the LP-regressor come from another bundle. The LP-adaptor is trained afterwards (`python -m training adaptor`);
until then it answers zero, and sliders move nothing.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from lpmm_runtime.bundle import ARRAYS, DEFAULT_BUNDLE, MANIFEST, Bundle, load_bundle, sha256_of, write_manifest
from lpmm_runtime.engine import Engine
from lpmm_runtime.portrait import crop_at, read_image
from training import export
from training.backbones import lia_backbone, lpd, lpd_backbone
from training.backbones.interface import PictureBackbone
from training.lp_adaptor import LpAdaptor

Kind = Literal["lia", "lpd"]
KINDS: dict[Kind, Callable[[Path], PictureBackbone]] = {"lia": lia_backbone.load, "lpd": lpd_backbone.load}
UNTRAINED = "not trained yet: sliders move nothing (python -m training adaptor)"
# From the bundle that supplies the rest, as they are.
_BORROWED = ("face_finder", "lp_regressor")
# An export may differ from its network by this many times what float32 itself costs, where that is more.
_NOISE_SHARE = 10.0


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the step."""
    parser = subparsers.add_parser(
        "import-backbone",
        help="make a bundle from a published LIA or LPD checkpoint",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kind", choices=get_args(Kind), required=True, help="whose checkpoint it is")
    parser.add_argument("--checkpoint", type=Path, required=True, help="the published file; nothing in it is executed")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder")
    parser.add_argument(
        "--lpmm-from",
        type=Path,
        default=DEFAULT_BUNDLE,
        metavar="BUNDLE",
        help="bundle that gives LPMM, controls, presets, face finder and LP-regressor (default: the one shipped)",
    )
    parser.add_argument(
        "--photos",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="lpd: photos of one person, whose mean embedding becomes the bundle's identity",
    )
    parser.add_argument("--name", help="the bundle's name (default: the kind and the checkpoint's)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Import, and print where the bundle is."""
    if args.photos and args.kind != "lpd":
        raise ValueError(f"--photos: a {args.kind} bundle takes its identity from each portrait itself")
    check_target(args.out)
    lender = load_bundle(args.lpmm_from)
    backbone = KINDS[args.kind](args.checkpoint)
    if args.photos:
        model = lpd.load_lpd(args.checkpoint)
        if model.fine_tuned:
            raise ValueError(f"--photos: {args.checkpoint} is fine-tuned and has its person's identity already")
        backbone = lpd_backbone.backbone_of(model, face_crops(args.photos, lender, lpd.IMAGE_SIZE))
    name = args.name or f"{args.kind}-{args.checkpoint.stem}"
    card = {
        "data": f"the checkpoint's authors' ({backbone.name}); LPMM and LP-regressor: bundle {lender.name}",
        "licence": backbone.licence,
        "backbone": args.kind,
        "checkpoint_sha256": sha256_of(args.checkpoint),
        "lp_adaptor": UNTRAINED,
        "scores": {},
        "command": f"python -m training import-backbone --kind {args.kind}",
        "commit": export.commit(),
    }
    write_bundle(backbone, lender, args.out, name, card)
    print(f"bundle: {args.out}\nlicence: {backbone.licence}\nLP-adaptor: {UNTRAINED}")
    return 0


def check_target(folder: Path) -> None:
    """Raise ValueError if a folder holds something that is no bundle: that is not overwritten."""
    if folder.exists() and not (folder / MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: exists and is no bundle; choose another --out")


def face_crops(photos: list[Path], bundle: Bundle, size: int) -> Tensor:
    """Return the aligned crops [n, 3, size, size] in [0, 1] of photos, found and read by a bundle's own models.

    Raises:
        LpmmError: naming the photo that cannot be read or has no face.
    """
    engine = Engine(bundle, device="cpu")
    crops = []
    for path in photos:
        photo = read_image(path)
        crops.append(crop_at(photo, engine.read_face(photo, None, str(path)).square, size))
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()


def write_bundle(backbone: PictureBackbone, lender: Bundle, folder: Path, name: str, card: dict[str, Any]) -> None:
    """Write a bundle, whole or not at all, replacing one that is there.

    Args:
        lender: gives LPMM, controls, presets, face finder and LP-regressor.
        card: the model card.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.parent / f".{folder.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        _write_files(backbone, lender, unfinished, name, card)
        load_bundle(unfinished, graphs=True)
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_files(backbone: PictureBackbone, lender: Bundle, folder: Path, name: str, card: dict[str, Any]) -> None:
    for graph in _BORROWED:
        shutil.copyfile(lender.graph(graph), folder / f"{graph}.onnx")
    for preset in (file for file in lender.manifest["files"] if file.startswith("presets/")):
        (folder / "presets").mkdir(exist_ok=True)
        shutil.copyfile(lender.path / preset, folder / preset)
    with np.load(lender.path / ARRAYS, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    w = backbone.latent_size
    np.savez(folder / ARRAYS, **(arrays | {"mean_pose_latent": np.zeros(w, np.float32)}))
    _export_graphs(backbone, folder)
    export_adaptor(zero_adaptor(lender.k, w), folder / "lp_adaptor.onnx")
    write_manifest(
        folder,
        {
            "name": name,
            "version": "1",
            "licence": backbone.licence,
            "landmark_scheme": lender.manifest["landmark_scheme"],
            "k": lender.k,
            "image_size": backbone.image_size,
            "backbone": {"kind": "image", "latent_size": w, "alpha": backbone.alpha},
            "controls": lender.manifest["controls"],
            "components": lender.manifest["components"],
            "model_card": card,
        },
    )


def zero_adaptor(k: int, latent_size: int) -> LpAdaptor:
    """Return an LP-adaptor that answers zero: every frame shows the base pose."""
    adaptor = LpAdaptor(k, latent_size)
    last = adaptor.layers[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return adaptor


def export_adaptor(adaptor: LpAdaptor, path: Path) -> None:
    """Write an LP-adaptor's graph."""
    k = adaptor.layers[0].in_features
    params = torch.randn(2, int(k), generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    export.export_graph(adaptor, path, {"params": params}, ["pose_offset"])


@torch.no_grad()
def _export_graphs(backbone: PictureBackbone, folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    # Smooth, as faces are: white noise would be magnified by every warp.
    coarse = torch.rand(2, 3, 6, 6, generator=generator)
    pictures = nn.functional.interpolate(coarse, (backbone.image_size,) * 2, mode="bicubic").clamp(0.0, 1.0)
    latent = backbone.encode_pose(pictures)
    identity = backbone.identify(pictures, pictures, latent)
    _export(backbone.pose_encoder, folder / "pose_encoder.onnx", {"image": pictures}, ["pose_latent"])
    _export(backbone.identity_encoder, folder / "identity_encoder.onnx", {"image": pictures}, backbone.features)
    inputs = dict(zip(backbone.features, identity, strict=True)) | {"pose_latent": latent.flip(0)}
    outputs = ["image", "alpha"] if backbone.alpha else ["image"]
    _export(backbone.generator, folder / "generator.onnx", inputs, outputs)


def _export(network: nn.Module, path: Path, inputs: dict[str, Tensor], outputs: tuple[str, ...] | list[str]) -> None:
    try:
        export.export_graph(network, path, inputs, outputs)
    except export.ExportError:
        # Weights may be such that rounding itself is magnified; then no two implementations agree any better.
        noise = _rounding_noise(network, inputs)
        export.export_graph(network, path, inputs, outputs, tolerance=_NOISE_SHARE * noise)


def _rounding_noise(network: nn.Module, inputs: dict[str, Tensor]) -> float:
    """Return how far float32 is from float64."""
    single = network(*inputs.values())
    double = network.double()(*(value.double() for value in inputs.values()))
    network.float()
    pairs = [(single, double)] if isinstance(single, Tensor) else zip(single, double, strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)
