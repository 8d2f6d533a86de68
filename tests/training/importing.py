# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints in the published layouts, the bundles that are imported from them, and a short training of their D."""

from pathlib import Path
from typing import Any, Literal

import made_up_faces
import torch
from filled_weights import golden, lia_state, lpd_embedder, lpd_generator

from training.__main__ import main
from training.shards import write_shard

Published = Literal["lia", "lpd", "lpd-tuned"]


def checkpoint_of(published: Published) -> dict[str, Any]:
    """Return what a published file holds; of the fine-tuned LPD the running averages are what counts."""
    if published == "lia":
        return {"gen": lia_state()}
    if published == "lpd":
        return {"embedder": lpd_embedder(), "generator": lpd_generator()}
    identity = {"identity_embedding": torch.from_numpy(golden("lpd_256")["identity_embedding_ft"])}
    averages = {"embedder": lpd_embedder(), "generator": lpd_generator() | identity}
    return {"embedder": {}, "generator": {}, "running_averages": averages}


def import_bundle(published: Published, folder: Path) -> tuple[Path, Path]:
    """Return a bundle, and the checkpoint that it was imported from."""
    checkpoint, bundle = folder / f"{published}.pt", folder / "bundle"
    torch.save(checkpoint_of(published), checkpoint)
    kind = published.partition("-")[0]
    arguments = ["--kind", kind, "--checkpoint", str(checkpoint), "--out", str(bundle)]
    assert main(["import-backbone", *arguments]) == 0
    return bundle, checkpoint


def train_adaptor(bundle: Path, checkpoint: Path, folder: Path, *options: str) -> Path:
    """Train a bundle's LP-adaptor on a few made-up faces, and return the training's folder."""
    data, out = folder / "data", folder / "adaptor"
    if not data.is_dir():
        data.mkdir(parents=True)
        arrays = made_up_faces.faces(4, side=128)
        pictures = list(arrays.pop("images"))
        write_shard(data / "faces-train-00000.npz", arrays, pictures)
    arguments = ["--bundle", str(bundle), "--checkpoint", str(checkpoint), "--data", str(data), "--out", str(out)]
    assert main(["adaptor", *arguments, *options]) == 0
    return out
