# SPDX-License-Identifier: GPL-3.0-or-later
"""LPD's generator, adapted to one person's photos; the embedder stays as it is.

python -m training finetune-identity --checkpoint latent-pose-release.pth --photos ada*.jpg --out runs/ada/ada.pth
python -m training import-backbone --kind lpd --checkpoint runs/ada/ada.pth --out bundles/ada

The identity starts as the mean embedding of the photos and is trained with all of the generator's weights. Some 125
steps for one photo, 230 for more than thirty, are what the method's authors advise.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpmm_runtime.bundle import DEFAULT_BUNDLE, load_bundle, sha256_of
from training import loop, processes, sheets
from training.backbones.lpd import IMAGE_SIZE, Lpd, load_lpd, lpd_of_states
from training.draws import Draw
from training.import_backbone import face_crops

_SCALES = 3
_MATTE_WEIGHT = 1.0


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the step."""
    parser = subparsers.add_parser(
        "finetune-identity",
        help="adapt LPD's generator to a person's photos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="LPD's published meta-model")
    parser.add_argument("--photos", type=Path, nargs="+", required=True, metavar="FILE", help="of one person")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the fine-tuned checkpoint")
    parser.add_argument("--steps", type=int, help="default: 125 for one photo, up to 230 for thirty")
    parser.add_argument("--batch", type=int, default=8, help="photos a step, at most (default: 8)")
    parser.add_argument("--rate", type=float, default=5e-5, help="peak learning rate (default: 5e-5)")
    parser.add_argument(
        "--finder", type=Path, default=DEFAULT_BUNDLE, metavar="BUNDLE", help="bundle that finds the face"
    )
    parser.add_argument("--device", default="cpu", help="torch device (cpu, cuda)")
    parser.add_argument("--seed", type=int, default=1)
    loop.add_options(parser)
    parser.set_defaults(run=run, shared=True)


def run(args: argparse.Namespace) -> int:
    """Fine-tune, and write the checkpoint."""
    if args.out.is_dir():
        raise ValueError(f"{args.out}: is a folder; --out names the checkpoint to write")
    model = load_lpd(args.checkpoint)
    if model.fine_tuned:
        raise ValueError(f"{args.checkpoint}: is fine-tuned already; start from the meta-model")
    photos = face_crops(args.photos, load_bundle(args.finder), IMAGE_SIZE)
    steps = args.steps if args.steps is not None else advised_steps(len(photos))
    schedule = loop.Schedule(
        steps,
        min(args.batch, len(photos)),
        args.rate,
        weight_decay=0.0,
        seed=args.seed,
        device=args.device,
        bf16=False,
        log_every=max(1, steps // 10),
        accumulate=args.accumulate,
        tensorboard=args.tensorboard,
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    # Other photos or another checkpoint are another training, and must not be gone on with.
    stamp = hashlib.sha256(sha256_of(args.checkpoint).encode() + photos.numpy().tobytes()).hexdigest()[:8]
    tuned = fine_tune(model, photos, schedule, args.out.parent / f"{args.out.stem}-training-{stamp}")
    if processes.is_first():
        save(tuned, args.out)
        print(f"checkpoint: {args.out}: {len(photos)} photos, {steps} steps")
    return 0


def advised_steps(photos: int) -> int:
    """Return how long the authors advise to train: 125 steps for one photo, 230 from thirty on."""
    return round(125 + 105 * min(1.0, (photos - 1) / 29))


@dataclass(frozen=True)
class PersonBatch:
    """Photos [n, 3, 256, 256] and their pose latents [n, 256]; mattes [n, 1, 256, 256] as the meta-model gives them."""

    photos: Tensor
    poses: Tensor
    mattes: Tensor


def fine_tune(model: Lpd, photos: Tensor, schedule: loop.Schedule, folder: Path) -> Lpd:
    """Return a copy of a meta-model adapted to photos [m, 3, 256, 256] in [0, 1]; the embedder is shared.

    The photo's pixels are compared inside the matte that the meta-model gives for its pose: no segmentation of the
    photos is needed, and the matte stays what it was.
    """
    device = schedule.device
    with torch.no_grad():
        identity = model.identity(photos)
        poses = torch.cat([model.embedder.pose_encoder(photo[None]) for photo in photos])
        mattes = torch.cat([model.generator(identity, pose[None])[1] for pose in poses])
    state = {name: value.clone() for name, value in model.generator.state_dict().items()}
    tuned = lpd_of_states(model.embedder.state_dict(), state | {"identity_embedding": identity}, folder, model.padding)
    generator = tuned.generator.requires_grad_(True).to(device)

    def make_batch(draw: Draw) -> PersonBatch:
        rows = torch.from_numpy(draw.shared.choice(len(photos), schedule.batch, replace=False)[draw.part])
        return PersonBatch(photos[rows].to(device), poses[rows].to(device), mattes[rows].to(device))

    def loss(batch: PersonBatch, _step: int) -> Tensor:
        image, matte = generator(identity.to(device), batch.poses)
        return picture_loss(image, batch.photos * batch.mattes) + _MATTE_WEIGHT * F.l1_loss(matte, batch.mattes)

    @torch.no_grad()
    def pictures() -> loop.Pictures:
        drawn = [generator(identity.to(device), pose[None].to(device))[0] for pose in poses[: sheets.SHOWN]]
        return {"photos_drawn": sheets.rows(photos, torch.cat(drawn))}

    loop.train("identity", generator, schedule, folder, make_batch, loss, pictures=pictures)
    generator.cpu().eval().requires_grad_(False)
    return tuned


def picture_loss(drawn: Tensor, truth: Tensor) -> Tensor:
    """Return the ℓ1 of pictures, summed over three scales."""
    total = F.l1_loss(drawn, truth)
    for _ in range(_SCALES - 1):
        drawn, truth = F.avg_pool2d(drawn, 2), F.avg_pool2d(truth, 2)
        total = total + F.l1_loss(drawn, truth)
    return total


def save(model: Lpd, path: Path) -> None:
    """Write a fine-tuned checkpoint in the published layout, whole or not at all."""

    def state(module: nn.Module) -> dict[str, Tensor]:
        return {name: value.contiguous() for name, value in module.state_dict().items()}

    unfinished = path.with_suffix(".tmp")
    content = {
        "args": {"gen_padding": model.padding},
        "embedder": state(model.embedder),
        "generator": state(model.generator),
    }
    torch.save(content, unfinished)
    unfinished.replace(path)
