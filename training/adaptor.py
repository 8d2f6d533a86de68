# SPDX-License-Identifier: GPL-3.0-or-later
"""The LP-adaptor of an imported backbone: trained on face pictures with everything else frozen (Sec. 3.3).

python -m training adaptor --bundle bundles/lia --checkpoint vox.pt --data runs/default --out runs/lia-adaptor
python -m training adaptor --bundle bundles/lia --checkpoint vox.pt --data frames --out runs/lia-adaptor  # prepared

Params are what the bundle's own LP-regressor reads, p = F(I); latents are the backbone's, v = E(I); v̄ is their average
over the training set. Eq. 2–4 then compare G(v̄ + D(p)) with G(v) on a fixed identity. A short regression of the
latents comes first: it costs no pictures. The result replaces the bundle's `lp_adaptor.onnx` and its v̄.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from lpmm_runtime.bundle import ARRAYS, Bundle, load_bundle, sha256_of, write_manifest
from lpmm_runtime.onnx_sessions import OnnxSessions
from training import export, loop, lp_adaptor, processes
from training.backbones.interface import TalkingHead
from training.draws import Draw
from training.import_backbone import KINDS, export_adaptor
from training.lp_adaptor import AdaptorBatch, LpAdaptor, Weights
from training.lp_regressor import FaceData
from training.shard_columns import Columns
from training.shards import open_all
from training.videos.frame_shards import INDEX, open_frames

Array = NDArray[np.float32]
_READ_AT_ONCE = 4


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the step."""
    parser = subparsers.add_parser(
        "adaptor",
        help="train the LP-adaptor of an imported backbone",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", type=Path, required=True, help="of import-backbone; its LP-adaptor is replaced")
    parser.add_argument("--checkpoint", type=Path, required=True, help="the file that the bundle was made of")
    parser.add_argument("--data", type=Path, required=True, help="a run's folder, or the frames of `prepare`")
    parser.add_argument("--out", type=Path, required=True, help="folder for the training's checkpoints and log")
    parser.add_argument("--steps", type=int, default=2000, help="steps of Eq. 2 (default: 2000)")
    parser.add_argument("--batch", type=int, default=4, help="pictures a step (default: 4)")
    parser.add_argument("--rate", type=float, default=3e-4, help="peak learning rate (default: 3e-4)")
    parser.add_argument("--warm-up-steps", type=int, default=3000, help="steps of latent regression (default: 3000)")
    parser.add_argument("--faces", type=int, default=4000, help="training pictures used at most (default: 4000)")
    parser.add_argument("--identities", type=int, default=1, help="fixed identities drawn with (default: 1)")
    parser.add_argument("--rgb-weight", type=float, default=Weights().rgb, help="λ_rgb of Eq. 2")
    parser.add_argument("--pose-weight", type=float, default=Weights().pose_reg, help="λ_pose-reg of Eq. 2")
    parser.add_argument("--device", default="cpu", help="torch device (cpu, cuda)")
    parser.add_argument("--seed", type=int, default=1)
    loop.add_options(parser)
    parser.set_defaults(run=run, shared=True)


def run(args: argparse.Namespace) -> int:
    """Train, and write the result into the bundle."""
    bundle = load_bundle(args.bundle)
    head = load_head(bundle, args.checkpoint, args.device)
    # Each picture is read once: they need not be in memory.
    faces = FaceData(open_faces(args.data), head.image_size)
    count = min(args.faces, len(faces))
    args.out.mkdir(parents=True, exist_ok=True)
    landmarks = faces.arrays["landmarks"][:count]
    processes.from_first(lambda: check_training_folder(args.out, bundle, landmarks))
    sessions = OnnxSessions(bundle, device="cpu")
    readings = args.out / "readings.npz"
    known = processes.from_first(lambda: read_faces(sessions, head, faces, count, args.device, readings))

    def schedule(steps: int, batch: int, rate: float) -> loop.Schedule:
        often = max(1, min(500, steps // 10))
        return loop.Schedule(
            steps,
            batch,
            rate,
            seed=args.seed,
            device=args.device,
            bf16=False,
            log_every=often,
            accumulate=args.accumulate,
            tensorboard=args.tensorboard,
        )

    warm_up = schedule(args.warm_up_steps, min(256, count), 1e-3)
    rgb = schedule(args.steps, args.batch, args.rate)
    weights = Weights(args.rgb_weight, args.pose_weight)
    adaptor = train(sessions, head, faces, known, warm_up, rgb, weights, args.identities, args.out)
    if not processes.is_first():
        return 0
    last = json.loads((args.out / "lp_adaptor.jsonl").read_text("utf-8").splitlines()[-1])
    store(bundle, adaptor.cpu(), known.mean, last | {"faces": count, "identities": args.identities})
    print(f"bundle: {bundle.path}: LP-adaptor trained, loss {last['loss']:.4f} after {last['step']} steps")
    return 0


def open_faces(folder: Path) -> Columns:
    """Return the face pictures of a run, of its data folder, or of frames from videos. Raises FileNotFoundError."""
    if (folder / INDEX).is_file():
        return open_frames(folder)
    return open_all(folder / "data" if (folder / "data").is_dir() else folder, "faces", "train")


def load_head(bundle: Bundle, checkpoint: Path, device: str) -> TalkingHead:
    """Return the talking head that an imported bundle was made of.

    Raises:
        ValueError: if the bundle was not imported, or from another file.
    """
    card = bundle.manifest["model_card"]
    kind = card.get("backbone")
    if kind not in KINDS:
        raise ValueError(f"{bundle.path}: was not made by import-backbone (known: {', '.join(KINDS)})")
    if checkpoint.is_file() and sha256_of(checkpoint) != card.get("checkpoint_sha256"):
        raise ValueError(f"{checkpoint}: is not the checkpoint that {bundle.path} was made of")
    backbone = KINDS[kind](checkpoint)
    backbone.to(device)
    return backbone


def check_training_folder(folder: Path, bundle: Bundle, landmarks: Array) -> None:
    """Raise ValueError if a folder holds a training on other models or faces: it would be gone on with."""
    graphs = ("lp_regressor", "pose_encoder", "identity_encoder", "generator")
    made_of = {name: bundle.manifest["files"][f"{name}.onnx"]["sha256"] for name in graphs}
    made_of["faces"] = hashlib.sha256(np.ascontiguousarray(landmarks).tobytes()).hexdigest()
    note = folder / "made_of.json"
    if note.is_file() and json.loads(note.read_text("utf-8")) != made_of:
        raise ValueError(f"{folder}: holds a training of another bundle or on other faces; choose another --out")
    note.write_text(json.dumps(made_of, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Readings:
    """What F and E read of the training faces: params [m, k], latents [m, w]."""

    params: Array
    latents: Array

    @property
    def mean(self) -> Array:
        """v̄ [w], the average latent."""
        return self.latents.mean(axis=0)


def params_of(sessions: OnnxSessions, images: Tensor) -> Array:
    """Return F's params [n, k] of aligned crops [n, 3, s, s]."""
    side = sessions.image_side("lp_regressor")
    small = nn.functional.interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return sessions.run("lp_regressor", {"image": small.clamp(0.0, 1.0).cpu().numpy()})["params"]


@torch.no_grad()
def read_faces(
    sessions: OnnxSessions, head: TalkingHead, faces: FaceData, count: int, device: str, kept: Path | None = None
) -> Readings:
    """Return params and latents of the first `count` faces, aligned; `kept` is a file to keep them in."""
    if kept is not None and kept.is_file():
        with np.load(kept, allow_pickle=False) as archive:
            return Readings(archive["params"], archive["latents"])
    params, latents = [], []
    for start in tqdm(range(0, count, _READ_AT_ONCE), desc="reading faces", unit="batch", mininterval=5):
        images = _crops(faces, np.arange(start, min(count, start + _READ_AT_ONCE)))
        params.append(params_of(sessions, images))
        latents.append(head.encode_pose(images.to(device)).cpu().numpy())
    readings = Readings(np.concatenate(params), np.concatenate(latents))
    if kept is not None:
        np.savez(kept, params=readings.params, latents=readings.latents)
    return readings


def train(
    sessions: OnnxSessions,
    head: TalkingHead,
    faces: FaceData,
    known: Readings,
    warm_up: loop.Schedule,
    schedule: loop.Schedule,
    weights: Weights,
    identities: int,
    folder: Path,
    base: Array | None = None,
) -> LpAdaptor:
    """Return D, trained by latent regression and then by Eq. 2–4, all else frozen.

    Args:
        sessions: the bundle's, for F.
        known: what F and E read of the faces.
        identities: how many faces, spread over the set, are drawn with.
        base: [b, k], the params of the average pose, where they are not F's: Eq. 4 then takes them for F(G(v̄)).
    """
    torch.manual_seed(schedule.seed)
    device = schedule.device
    adaptor = LpAdaptor(known.params.shape[1], head.latent_size)
    mean, params, latents = (torch.from_numpy(part) for part in (known.mean, known.params, known.latents))
    if warm_up.steps:
        # A perceptron on a few numbers: no device is faster than the CPU.
        basis = torch.eye(head.latent_size)
        lp_adaptor.warm_up(
            adaptor, mean, params[:, None], latents[:, None], basis, replace(warm_up, device="cpu"), folder
        )
    adaptor.to(device)
    mean, params, latents = mean.to(device), params.to(device), latents.to(device)
    rows = np.linspace(0, len(known.params) - 1, identities).astype(np.int64)
    drawn = [_identity(head, faces, int(row), latents[row : row + 1], device) for row in rows]
    if base is None:
        with torch.no_grad():
            frames = [head.draw(identity, mean[None]) for identity in drawn]
            base = np.concatenate([params_of(sessions, frame) for frame in frames])
    average_pose = torch.from_numpy(base).to(device)

    def make_batch(draw: Draw) -> AdaptorBatch:
        chosen = torch.from_numpy(draw.rows(len(params))).to(device)
        return AdaptorBatch(drawn[int(draw.shared.integers(0, len(drawn)))], params[chosen], latents[chosen])

    lp_adaptor.train(adaptor, mean, head, lambda _rng: average_pose, make_batch, schedule, weights, folder)
    return adaptor


@torch.no_grad()
def _identity(head: TalkingHead, faces: FaceData, row: int, latent: Tensor, device: str) -> Any:
    batch = faces.batch(np.array([row]), np.random.default_rng(0), train=False)
    return head.identify(batch.images.to(device), batch.landmarks.to(device), latent)


def _crops(faces: FaceData, rows: NDArray[np.int64]) -> Tensor:
    return faces.batch(rows, np.random.default_rng(0), train=False).images


def store(bundle: Bundle, adaptor: LpAdaptor, mean: Array, scores: dict[str, Any]) -> None:
    """Write a trained adaptor and v̄ into a bundle, and say so in its model card."""
    export_adaptor(adaptor, bundle.graph("lp_adaptor"))
    with np.load(bundle.path / ARRAYS, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(bundle.path / ARRAYS, **(arrays | {"mean_pose_latent": mean.astype(np.float32)}))
    manifest = {name: value for name, value in bundle.manifest.items() if name != "files"}
    card = manifest["model_card"]
    trained = f"trained on {scores['faces']} faces, {scores['step']} steps of Eq. 2"
    manifest["model_card"] = card | {
        "lp_adaptor": trained,
        "scores": card["scores"] | {"lp_adaptor": scores},
        "commit": export.commit(),
    }
    write_manifest(bundle.path, manifest)
    load_bundle(bundle.path)
