# SPDX-License-Identifier: GPL-3.0-or-later
"""The LPMM of real videos, and an LP-regressor that reads its params (paper, Sec. 3.1 and 3.2).

python -m training prepare VIDEOS --out frames
python -m training lpmm --data frames --out runs/real --device cuda
python -m training import-backbone --kind lia --checkpoint vox.pt --lpmm-from runs/real/bundle --out bundles/lia

Both are made of the landmarks that `prepare` read. The result is another bundle with these two in it, whole: its named
sliders, its head angles and its LP-adaptor are carried over by the landmarks that both LPMMs speak of.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lpmm_runtime import landmarks68
from lpmm_runtime.bundle import ARRAYS, DEFAULT_BUNDLE, Bundle, load_bundle, sha256_of, write_manifest
from lpmm_runtime.controls import HEAD_CONTROLS
from lpmm_runtime.crop import square_of_landmarks
from lpmm_runtime.morphable import LandmarkModel
from training import export, landmark_model, loop, lp_regressor, processes
from training.import_backbone import check_target
from training.lp_regressor import FaceData, LpRegressor
from training.presets import write_presets
from training.rebase import Rebase
from training.shard_columns import Column
from training.videos.frame_shards import INDEX, held_out_split, open_frames, read_index

Array = NDArray[np.float32]

_AT_ONCE = 4096
# Frames that head angles and names are fitted on, spread over the set; more say nothing new.
_READOUT_FRAMES = 20_000


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the step."""
    parser = subparsers.add_parser(
        "lpmm",
        help="fit an LPMM and an LP-regressor on the frames of videos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FRAMES", help="what `prepare` wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for the training; the bundle is OUT/bundle")
    parser.add_argument(
        "--bundle", type=Path, default=DEFAULT_BUNDLE, help="gives everything else (default: the one shipped)"
    )
    parser.add_argument("--name", help="the bundle's name (default: the other bundle's and the data's)")
    parser.add_argument("--k", type=int, default=40, help="params (default: 40)")
    parser.add_argument("--size", type=int, default=160, help="side of the LP-regressor's crops (default: 160)")
    parser.add_argument("--width", type=float, default=1.0, help="MobileNetV2's width multiplier (default: 1)")
    parser.add_argument("--steps", type=int, default=20000, help="default: 20000")
    parser.add_argument("--batch", type=int, default=64, help="pictures a step (default: 64)")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate (default: 2e-3)")
    parser.add_argument("--device", default="cpu", help="torch device (cpu, cuda)")
    parser.add_argument("--seed", type=int, default=1)
    loop.add_options(parser)
    parser.set_defaults(run=run, shared=True)


@dataclass(frozen=True)
class Reading:
    """What the frames gave.

    Attributes:
        model: their LPMM.
        landmarks: [n, 68, 2], of some frames, aligned.
        scores: of both models, on speakers held out.
    """

    model: LandmarkModel
    landmarks: Array
    scores: dict[str, Any]


def run(args: argparse.Namespace) -> int:
    """Fit, train, and write the bundle."""
    if not 6 <= args.k <= 136:
        raise ValueError(f"--k {args.k}: an LPMM has 6 to 136 params")
    base = load_bundle(args.bundle)
    entries = read_index(args.data)
    try:
        chosen, kept = held_out_split(entries)
    except ValueError as error:
        raise ValueError(f"{args.data}: {error}") from error
    train, held_out = open_frames(args.data, chosen), open_frames(args.data, kept)
    args.out.mkdir(parents=True, exist_ok=True)
    processes.from_first(lambda: _check_folder(args, base))
    full = processes.from_first(lambda: landmark_model.fit_parts(aligned(train["landmarks"]), 136))
    model = full.truncated(args.k)
    regressor = _train(args, model, train, held_out)
    if not processes.is_first():
        return 0
    last = json.loads((args.out / "lp_regressor.jsonl").read_text("utf-8").splitlines()[-1])
    some = np.linspace(0, len(train["landmarks"]) - 1, min(_READOUT_FRAMES, len(train["landmarks"]))).astype(int)
    truth = np.concatenate(list(aligned(held_out["landmarks"])))
    scores = {"truncation_nme": landmark_model.truncation_errors(full, truth), "lp_regressor": last}
    reading = Reading(model, _aligned(train["landmarks"][some]), scores)
    frames = sum(entry.frames for entry in entries)
    card = {
        "data": f"{frames} frames of {len({e.speaker or e.source for e in entries})} speakers or videos "
        f"({args.data.name}) for LPMM and LP-regressor; all else: bundle {base.name}, carried over",
        "command": "python -m training lpmm",
    }
    name = args.name or f"{base.name}-{args.data.name}"
    bundle = write_bundle(base, reading, regressor, args.out / "bundle", name, card)
    print(f"bundle: {bundle}: NME {last['nme']:.2f} % on {len(truth)} frames held out")
    return 0


def aligned(landmarks: Column | Array) -> Iterator[Array]:
    """Yield landmarks [m, 68, 2] in the unit squares of their aligned crops, some at a time."""
    for start in range(0, len(landmarks), _AT_ONCE):
        yield _aligned(landmarks[start : start + _AT_ONCE])


def _aligned(landmarks: Array) -> Array:
    return np.stack([square_of_landmarks(face).to_unit(face) for face in landmarks]).astype(np.float32)


def _check_folder(args: argparse.Namespace, base: Bundle) -> None:
    """Raise ValueError if the folder holds another training: it would be gone on with."""
    check_target(args.out / "bundle")
    made_of = {name: getattr(args, name) for name in ("k", "size", "width")}
    made_of |= {"frames": sha256_of(args.data / INDEX), "bundle": sha256_of(base.path / ARRAYS)}
    note = args.out / "made_of.json"
    if note.is_file() and json.loads(note.read_text("utf-8")) != made_of:
        raise ValueError(f"{args.out}: holds a training on other frames or of another size; choose another --out")
    note.write_text(json.dumps(made_of, indent=1) + "\n", encoding="utf-8")


def _train(
    args: argparse.Namespace, model: LandmarkModel, train: Mapping[str, Column], held_out: Mapping[str, Column]
) -> LpRegressor:
    torch.manual_seed(args.seed)
    schedule = loop.Schedule(
        args.steps,
        args.batch,
        args.rate,
        seed=args.seed,
        device=args.device,
        bf16=args.device != "cpu",
        log_every=max(1, min(500, args.steps // 10)),
        accumulate=args.accumulate,
        tensorboard=args.tensorboard,
    )
    sets = FaceData(train, args.size), FaceData(held_out, args.size)
    lp_regressor.train(LpRegressor(model, args.size, args.width), *sets, schedule, args.out)
    # The running averages, and on the CPU.
    trained = LpRegressor(model, args.size, args.width)
    loop.load_weights(args.out / "lp_regressor.pt", trained)
    return trained.eval()


def write_bundle(
    base: Bundle, reading: Reading, regressor: LpRegressor, folder: Path, name: str, card: dict[str, Any]
) -> Path:
    """Write `base` with another LPMM and LP-regressor, whole or not at all, replacing a bundle that is there."""
    unfinished = folder.parent / f".{folder.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(base.path, unfinished)
    try:
        _write_files(base, reading, regressor, unfinished, name, card)
        load_bundle(unfinished, graphs=True)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _write_files(
    base: Bundle, reading: Reading, regressor: LpRegressor, folder: Path, name: str, card: dict[str, Any]
) -> None:
    model, rig = reading.model, base.rig
    rebase = Rebase(rig.model, model)
    controls = rebase.controls(rig.controls, reading.landmarks)
    with np.load(base.path / ARRAYS, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    arrays |= {"mean": model.mean, "eigenvectors": model.eigenvectors, "sigma": model.sigma}
    arrays |= {
        "control_names": np.array(controls.names),
        "control_directions": controls.directions,
        "control_moves": controls.moves,
        "head_coefficients": controls.head_coefficients,
        "head_readout": controls.head_readout,
    }
    np.savez(folder / ARRAYS, **arrays)
    rebase.write_adaptor(base.graph("lp_adaptor"), folder / "lp_adaptor.onnx")
    side = regressor.reader.size
    coarse = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    picture = nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    export.export_graph(regressor, folder / "lp_regressor.onnx", {"image": picture}, ["params", "alignment"])
    listed = [entry for entry in base.manifest["controls"] if entry["name"] in {*controls.names, *HEAD_CONTROLS}]
    # Presets may name params, which are others now.
    write_presets(folder, [entry["name"] for entry in listed], model.k)
    angles = rig.controls.head_angles(rig.model.likeliest_params(reading.landmarks))
    known = landmark_model.LandmarkSet(reading.landmarks, angles, np.zeros((len(angles), 70, 2), np.float32))
    manifest = {key: value for key, value in base.manifest.items() if key != "files"}
    manifest |= {
        "name": name,
        "version": "1",
        "licence": f"{base.licence}; LPMM and LP-regressor: as the videos that they were made of",
        "landmark_scheme": landmarks68.scheme_of(model.points),
        "k": model.k,
        "controls": listed,
        "components": landmark_model.component_names(model, known),
        "model_card": base.manifest["model_card"]
        | card
        | {"scores": base.manifest["model_card"]["scores"] | reading.scores, "commit": export.commit()},
    }
    write_manifest(folder, manifest)
