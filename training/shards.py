# SPDX-License-Identifier: GPL-3.0-or-later
"""Shards: numbered npz files of samples, each made from its own seed, so that a run can stop and go on anywhere."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.shard_columns import Column, open_columns
from training.synth.people import Split

Kind = Literal["faces", "groups"]

SAMPLES_PER_SHARD: dict[Kind, int] = {"faces": 500, "groups": 50}
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class ShardPlan:
    """A set of shards to make.

    Attributes:
        kit: the face kit's folder.
        folder: where the shards go.
        kind: "faces" (single labelled pictures) or "groups" (frames of one person with their motion).
        split: "train" or "test" people; their seeds never meet.
        size: side of the pictures, pixels.
        shards: how many there shall be.
        seed: of the whole set.
    """

    kit: Path
    folder: Path
    kind: Kind
    split: Split
    size: int
    shards: int
    seed: int = 0
    per_shard: int | None = None

    def path(self, shard: int) -> Path:
        """Return the file of a shard."""
        return self.folder / f"{self.kind}-{self.split}-{shard:05d}.npz"


def make_shards(plan: ShardPlan, workers: int) -> None:
    """Make the shards that are missing, with a progress bar. Raises FileNotFoundError if the kit is none."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    missing = [shard for shard in range(plan.shards) if not plan.path(shard).exists()]
    if not missing:
        return
    title = f"{plan.kind} ({plan.split})"
    if workers <= 1:
        for shard in tqdm(missing, desc=title, unit="shard"):
            make_shard(plan, shard)
        return
    # A GL context does not survive a fork.
    with multiprocessing.get_context("spawn").Pool(min(workers, len(missing))) as pool:
        for _ in tqdm(
            pool.imap_unordered(partial(make_shard, plan), missing), desc=title, total=len(missing), unit="shard"
        ):
            pass


_makers: dict[tuple[Path, int], object] = {}


def make_shard(plan: ShardPlan, shard: int) -> Path:
    """Make one shard and return its path; the same plan and number give the same samples."""
    from training.synth.facekit import FaceKit
    from training.synth.samples import SampleMaker

    key = (plan.kit, plan.size)
    maker = _makers.get(key)
    if not isinstance(maker, SampleMaker):
        maker = _makers[key] = SampleMaker(FaceKit(plan.kit), plan.size)
    count = plan.per_shard or SAMPLES_PER_SHARD[plan.kind]
    columns: dict[str, list[NDArray]] = {}
    stream = [plan.seed, get_args(Split).index(plan.split), get_args(Kind).index(plan.kind), shard]
    for row in range(count):
        rng = np.random.default_rng([*stream, row])
        sample = maker.face(rng, plan.split) if plan.kind == "faces" else maker.group(rng, plan.split)
        for name, value in vars(sample).items():
            columns.setdefault(name, []).append(value)
    arrays = {name: np.stack(values) for name, values in columns.items() if name not in ("image", "images")}
    pictures = columns.get("image") or [frame for group in columns["images"] for frame in group]
    if plan.kind == "groups":
        arrays["alpha"] = np.stack([frame[..., 3] for frame in pictures])
        pictures = [frame[..., :3] for frame in pictures]
    write_shard(plan.path(shard), arrays, pictures)
    return plan.path(shard)


def write_shard(path: Path, arrays: dict[str, NDArray], pictures: list[NDArray[np.uint8]]) -> None:
    """Write arrays and pictures [s, s, 3], those as JPEG, whole or not at all."""
    encoded = [_encode(picture) for picture in pictures]
    arrays = arrays | {"jpeg": np.concatenate(encoded), "jpeg_end": np.cumsum([len(data) for data in encoded])}
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    with unfinished.open("wb") as file:
        np.savez(file, **arrays)
    unfinished.replace(path)


def _paths(folder: Path, kind: Kind, split: Split) -> list[Path]:
    paths = sorted(folder.glob(f"{kind}-{split}-*.npz"))
    if not paths:
        raise FileNotFoundError(f"{folder} holds no {kind} shards of {split} people")
    return paths


def read_shards(folder: Path, kind: Kind, split: Split) -> Iterator[dict[str, NDArray]]:
    """Yield each shard's arrays in order, with `images` uint8 [n, s, s, 3] decoded.

    Raises FileNotFoundError if there is none.
    """
    for path in _paths(folder, kind, split):
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        ends = arrays.pop("jpeg_end")
        data = arrays.pop("jpeg")
        starts = np.concatenate([[0], ends[:-1]])
        arrays["images"] = np.stack([_decode(data[a:b]) for a, b in zip(starts, ends, strict=True)])
        yield arrays


def read_all(folder: Path, kind: Kind, split: Split, most: int | None = None) -> dict[str, NDArray]:
    """Return the shards' arrays joined; at most `most` shards."""
    shards = []
    for number, arrays in enumerate(read_shards(folder, kind, split)):
        if most is not None and number >= most:
            break
        shards.append(arrays)
    return {name: np.concatenate([arrays[name] for arrays in shards]) for name in shards[0]}


def open_all(folder: Path, kind: Kind, split: Split, most: int | None = None) -> dict[str, Column]:
    """Return what `read_all` does, left on disk until it is asked for."""
    return open_columns(_paths(folder, kind, split)[:most])


def _encode(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    return cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)[1].ravel()


def _decode(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
