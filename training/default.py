# SPDX-License-Identifier: GPL-3.0-or-later
"""The default bundle from a face kit, in one command: every stage in order, each resumable.

python -m training default --kit KIT --out runs/default                    # hours on a CPU
python -m training default --kit KIT --out runs/gpu --size gpu --device cuda
python -m training default --kit KIT --out runs/toy --size toy             # minutes, ugly, working
torchrun --nproc-per-node 8 -m training default --kit KIT --out runs/gpu --size gpu --device cuda --batch-times 8
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lpmm_runtime.bundle import load_bundle
from lpmm_runtime.controls import ControlMap
from lpmm_runtime.engine import Engine
from lpmm_runtime.mirroring import mirror_offsets
from lpmm_runtime.morphable import LandmarkModel
from training import (
    adaptor_data,
    control_fit,
    export,
    face_finder,
    generator,
    head_calibration,
    landmark_model,
    landmark_refiner,
    loop,
    lp_adaptor,
    lp_regressor,
    mirrored,
    pose_latent,
    processes,
    slider_motions,
    slider_rig,
)
from training.backbones.portrait_flow import MAP_SIZE, LatentSpace, PortraitFlow
from training.recipe import RECIPES, Recipe, Size
from training.shard_columns import Columns
from training.shards import Kind, ShardPlan, make_shards, open_all, read_all
from training.slider_motions import SliderMotions
from training.synth.facekit import FaceKit
from training.synth.people import Split

VERSION = "0.1.0"
# The others wait while the first of several processes does these.
_FOR_THE_FIRST = {"data", "lpmm", "head_angles", "export"}
# Face pictures that the finder's scenes take large faces from; more add little.
_FINDER_SHARDS = 12
# Groups of slider motions drawn of each person, and the share of the people that D is not trained on.
_GROUPS_EACH, _SPARED = 3, 0.03
_SLIDER_MOTIONS = "slider-motions.npz"
Network = TypeVar("Network", bound=torch.nn.Module)
STAGES = (
    "data",
    "lpmm",
    "face_finder",
    "lp_regressor",
    "landmark_refiner",
    "pose_encoder",
    "generator",
    "lp_adaptor",
    "controls",
    "head_angles",
    "export",
)


@dataclass(frozen=True)
class Options:
    """What the command line said."""

    kit: Path
    out: Path
    size: Size
    device: str
    workers: int
    seed: int
    note: str = ""
    accumulate: int = 1
    tensorboard: bool = False
    batch_times: int = 1
    stream: bool = False

    @property
    def recipe(self) -> Recipe:
        return RECIPES[self.size]


class DefaultRun:
    """One run folder: its data, its checkpoints, and the stages that fill it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.recipe = options.recipe
        self.folder = options.out
        self.data_folder = options.out / "data"

    @property
    def on_gpu(self) -> bool:
        return self.options.device != "cpu"

    @cached_property
    def kit(self) -> FaceKit:
        return FaceKit(self.options.kit)

    @cached_property
    def faces(self) -> tuple[lp_regressor.FaceData, lp_regressor.FaceData]:
        """Train and test pictures."""
        size = self.recipe.regressor_size
        train, test = self._shards("faces", "train"), self._shards("faces", "test")
        return lp_regressor.FaceData(train, size), lp_regressor.FaceData(test, size)

    def faces_at(self, size: int) -> tuple[lp_regressor.FaceData, lp_regressor.FaceData]:
        """Train and test pictures, cut to crops of another size."""
        train, test = self.faces
        return lp_regressor.FaceData(train.arrays, size), lp_regressor.FaceData(test.arrays, size)

    @cached_property
    def group_arrays(self) -> tuple[Columns, Columns]:
        return self._shards("groups", "train"), self._shards("groups", "test")

    def _shards(self, kind: Kind, split: Split, most: int | None = None) -> Columns:
        """Return shards' arrays: all of them in memory, or what of them is asked for."""
        return (open_all if self.options.stream else read_all)(self.data_folder, kind, split, most)

    @cached_property
    def groups(self) -> tuple[generator.GroupData, generator.GroupData]:
        """Train and test groups."""
        train, test = self.group_arrays
        return generator.GroupData(train), generator.GroupData(test)

    @cached_property
    def landmark_set(self) -> landmark_model.LandmarkSet:
        with np.load(self.folder / "landmarks-train.npz", allow_pickle=False) as archive:
            return landmark_model.LandmarkSet(archive["landmarks"], archive["angles"], archive["canonical"])

    @cached_property
    def landmark_model(self) -> LandmarkModel:
        with np.load(self.folder / "lpmm.npz", allow_pickle=False) as archive:
            return LandmarkModel(archive["mean"], archive["eigenvectors"], archive["sigma"])

    @cached_property
    def latent_space(self) -> LatentSpace:
        with np.load(self.folder / "latent_space.npz", allow_pickle=False) as archive:
            return LatentSpace(**{name: archive[name] for name in archive.files})

    def schedule(self, steps: int, batch: int, rate: float, bf16: bool = True) -> loop.Schedule:
        return loop.Schedule(
            steps=steps,
            batch=batch * self.options.batch_times,
            rate=rate,
            seed=self.options.seed,
            device=self.options.device,
            bf16=bf16,
            log_every=max(10, min(500, steps // 10)),
            ahead=max(1, self.options.workers // 2),
            accumulate=self.options.accumulate,
            tensorboard=self.options.tensorboard,
        )

    def regressor(self, trained: bool = True) -> lp_regressor.LpRegressor:
        model = lp_regressor.LpRegressor(self.landmark_model, self.recipe.regressor_size, self.recipe.reader_width)
        return self._weights("lp_regressor", model) if trained else model

    def pose_encoder(self, trained: bool = True) -> pose_latent.PoseEncoder:
        recipe = self.recipe
        model = pose_latent.PoseEncoder(recipe.latent_size, recipe.encoder_size, recipe.reader_width)
        return self._weights("pose_encoder", model) if trained else model

    def backbone(self, trained: bool = True) -> PortraitFlow:
        model = PortraitFlow(self.latent_space, self.recipe.channels)
        if trained:
            self._weights("generator", model)
            self._weights("geometry_head", model.geometry)
        return model

    def adaptor(self, trained: bool = True) -> lp_adaptor.LpAdaptor:
        """Return D as Eq. 2–4 leave it."""
        model = lp_adaptor.LpAdaptor(self.landmark_model.k, self.recipe.latent_size)
        return self._weights("lp_adaptor", model) if trained else model

    def slider_rig(self, fitted: ControlMap, trained: bool = True) -> slider_rig.SliderRig:
        """Return D and the control map, as they ship."""
        params = mirror_offsets(self.landmark_model, np.eye(self.recipe.k)).astype(np.float32)
        adaptor = mirrored.MirroredAdaptor(
            self.adaptor(not trained), torch.from_numpy(params), self._mirrored_latents()
        )
        rig = slider_rig.SliderRig(adaptor, fitted)
        return self._weights("slider_rig", rig) if trained else rig

    def _mirrored_latents(self) -> torch.Tensor:
        return torch.from_numpy(self.latent_space.mirror())

    def _weights(self, name: str, model: Network) -> Network:
        loop.load_weights(self.folder / f"{name}.pt", model)
        return model.eval()

    def data(self) -> None:
        """Draw the pictures and the frame groups."""
        recipe, options = self.recipe, self.options
        sets: tuple[tuple[Kind, int, int], ...] = (
            ("faces", recipe.face_size, recipe.faces),
            ("groups", MAP_SIZE, recipe.groups),
        )
        for kind, size, count in sets:
            for split in get_args(Split):
                shards = count if split == "train" else 1
                plan = ShardPlan(
                    options.kit, self.data_folder, kind, split, size, shards, options.seed, recipe.per_shard
                )
                make_shards(plan, options.workers)

    def lpmm(self) -> None:
        """Fit the LPMM and the latent space; write their scores and the picture of the components."""
        recipe, seed = self.recipe, self.options.seed
        path = self.folder / "landmarks-train.npz"
        if not path.exists():
            train = landmark_model.sample_landmarks(self.kit, recipe.landmark_people, seed, "train")
            np.savez(path, **vars(train))
        test = landmark_model.sample_landmarks(self.kit, max(20, recipe.landmark_people // 10), seed, "test")
        full = landmark_model.fit(self.landmark_set.landmarks, 2 * self.landmark_set.landmarks.shape[1])
        model = landmark_model.fit(self.landmark_set.landmarks, recipe.k)
        np.savez(self.folder / "lpmm.npz", mean=model.mean, eigenvectors=model.eigenvectors, sigma=model.sigma)
        names = landmark_model.component_names(model, self.landmark_set)
        scores = {
            "truncation_nme": landmark_model.truncation_errors(full, test.landmarks[:, : full.points], model),
            "components": names,
        }
        (self.folder / "lpmm.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
        sheet = landmark_model.draw_components(model, min(8, model.k), names)
        cv2.imwrite(str(self.folder / "components.png"), sheet[..., ::-1])
        canonical = self.landmark_set.canonical
        both = np.concatenate([canonical, pose_latent.mirrored_canonical(canonical)])
        np.savez(self.folder / "latent_space.npz", **vars(LatentSpace.fit(both, recipe.latent_size)))
        # They were said in the model and the latents before.
        (self.folder / _SLIDER_MOTIONS).unlink(missing_ok=True)

    def face_finder(self) -> None:
        """Train the face finder."""
        train, test = self.group_arrays
        train_faces = self._shards("faces", "train", most=_FINDER_SHARDS)
        test_faces = self._shards("faces", "test")
        face_finder.train(
            face_finder.FaceFinder(),
            face_finder.FaceScenes(train, train_faces),
            face_finder.FaceScenes(test, test_faces),
            self.schedule(self.recipe.face_finder_steps, 16, 2e-3),
            self.folder,
        )

    def lp_regressor(self) -> None:
        """Train F: on small crops first, which are cheap, then on its own."""
        recipe, model = self.recipe, self.regressor(trained=False)
        train, test = self.faces_at(recipe.coarse_size)
        # On a CPU, bfloat16 is no faster than float32 here.
        schedule = self.schedule(recipe.coarse_steps, recipe.coarse_batch, 2e-3, bf16=self.on_gpu)
        lp_regressor.train(model, train, test, schedule, self.folder, "lp_regressor_coarse")
        self._weights("lp_regressor_coarse", model)
        schedule = self.schedule(recipe.lp_regressor_steps, recipe.lp_regressor_batch, 2e-3, bf16=self.on_gpu)
        lp_regressor.train(model, *self.faces, schedule, self.folder)

    def landmark_refiner(self) -> None:
        """Train the second look at eyes and mouth."""
        train, test = self.faces_at(MAP_SIZE)
        schedule = self.schedule(self.recipe.refiner_steps, 48, 2e-3, bf16=False)
        landmark_refiner.train(landmark_refiner.LandmarkRefiner(), train, test, schedule, self.folder)

    def pose_encoder_stage(self) -> None:
        """Train E."""
        recipe = self.recipe
        schedule = self.schedule(recipe.pose_encoder_steps, recipe.lp_regressor_batch, 1e-3, bf16=self.on_gpu)
        encoder, faces = self.pose_encoder(trained=False), self.faces_at(recipe.encoder_size)
        pose_latent.train(encoder, self.latent_space, self.regressor(), *faces, schedule, self.folder)

    def generator(self) -> None:
        """Train the geometry head, then G."""
        recipe = self.recipe
        model = self.backbone(trained=False)
        geometry = self.schedule(recipe.geometry_steps, 256, 1e-3, bf16=False)
        generator.train_geometry(model, self.latent_space, *self.groups, geometry, self.folder)
        loop.load_weights(self.folder / "geometry_head.pt", model.geometry)
        schedule = self.schedule(recipe.generator_steps, recipe.generator_batch, 2e-3)
        generator.train_generator(model, *self.groups, schedule, self.folder)

    def lp_adaptor(self) -> None:
        """Train D with everything else frozen."""
        recipe = self.recipe
        adaptor_data.train(
            self.adaptor(trained=False),
            self.regressor(),
            self.pose_encoder(),
            self.backbone(),
            self.latent_space,
            self.landmark_set,
            self.known_people(),
            self.groups[0],
            self.schedule(recipe.warm_up_steps, 256, 1e-3, bf16=False),
            self.schedule(recipe.lp_adaptor_steps, recipe.lp_adaptor_batch, 3e-4, bf16=False),
            self.folder,
        )

    def known_people(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return params and latents of people in known motions: as people make them, and as sliders do."""
        known, motions = self.landmark_set, self.trained_motions
        params = self.landmark_model.params(known.landmarks), self.latent_space.encode(known.canonical)
        free = [part.reshape(-1, landmark_model.MOTIONS, part.shape[-1]) for part in params]
        return adaptor_data.both_ways(
            np.concatenate([free[0], motions.params]),
            np.concatenate([free[1], motions.latents]),
            self.landmark_model,
            self.latent_space,
        )

    @property
    def trained_motions(self) -> SliderMotions:
        """What D learns from of `slider_motions`: the people spared are not among them."""
        return self.slider_motions.part(slice(None, -self._spared_groups))

    @property
    def _spared_groups(self) -> int:
        """How many groups, the last people's, D is not trained on."""
        return _GROUPS_EACH * max(1, round(_SPARED * self.recipe.slider_people))

    @cached_property
    def slider_motions(self) -> SliderMotions:
        """What sliders make of faces."""
        kept = self.folder / _SLIDER_MOTIONS

        def draw() -> None:
            recipe, encode = self.recipe, self.latent_space.encode
            drawn = slider_motions.sample(
                self.kit, self.landmark_model, encode, recipe.slider_people, _GROUPS_EACH, self.options.seed
            )
            np.savez(kept, **vars(drawn))

        processes.from_first(lambda: None if kept.exists() else draw())
        with np.load(kept, allow_pickle=False) as archive:
            return SliderMotions(**{name: archive[name] for name in archive.files})

    def controls(self) -> None:
        """Fit the controls, then train them and D together."""
        recipe, seed = self.recipe, self.options.seed

        def fit() -> None:
            model, known = self.landmark_model, self.landmark_set
            found = control_fit.fit(self.kit, model, known, recipe.control_people, seed)
            self._save_controls("fitted_controls", found)

        processes.from_first(fit)
        fitted = self._saved_controls("fitted_controls")
        rig = self.slider_rig(fitted, trained=False)
        slider_rig.train(
            rig,
            fitted,
            torch.from_numpy(self.mean_latent()),
            self.known_people(),
            self.trained_motions,
            self.slider_motions.part(slice(-self._spared_groups, None)),
            adaptor_data.measured(torch.from_numpy(self.latent_space.basis)),
            # For so few numbers no device is faster than the CPU.
            replace(self.schedule(recipe.slider_steps, 64, 1e-3, bf16=False), device="cpu"),
            self.folder,
        )
        processes.from_first(lambda: self._save_controls("controls", rig.controls(fitted)))

    def _save_controls(self, name: str, controls: ControlMap) -> None:
        np.savez(self.folder / f"{name}.npz", **(vars(controls) | {"names": np.array(controls.names)}))

    def _saved_controls(self, name: str) -> ControlMap:
        with np.load(self.folder / f"{name}.npz", allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        names = tuple(str(name) for name in arrays.pop("names"))
        return ControlMap(names, **arrays)

    def head_angles(self) -> None:
        """Bend the head map until a bundle's frames turn as far as they are told."""
        trial = self.folder / "head-angles-bundle"

        def bundle_of(controls: ControlMap) -> Engine:
            export.export_bundle(self._models(controls), trial, {}, "head-angles", VERSION)
            return Engine(load_bundle(trial), "cpu", None)

        people, seed = self.recipe.calibration_people, self.options.seed
        fitted = self._saved_controls("controls")
        controls, scores = head_calibration.calibrate(fitted, bundle_of, self.kit, people, seed)
        self._save_controls("calibrated_controls", controls)
        (self.folder / "head_angles.jsonl").write_text(json.dumps(scores) + "\n", "utf-8")
        shutil.rmtree(trial)

    def _models(self, controls: ControlMap) -> export.TrainedModels:
        finder = face_finder.FaceFinder()
        loop.load_weights(self.folder / "face_finder.pt", finder)
        lpmm = json.loads((self.folder / "lpmm.json").read_text("utf-8"))
        return export.TrainedModels(
            landmark_model=self.landmark_model,
            controls=controls,
            component_names=lpmm["components"],
            mean_latent=self.mean_latent(),
            face_finder=finder,
            lp_regressor=self.regressor(),
            pose_encoder=mirrored.MirroredEncoder(self.pose_encoder(), self._mirrored_latents()),
            lp_adaptor=self.slider_rig(controls).adaptor,
            landmark_refiner=self._weights("landmark_refiner", landmark_refiner.LandmarkRefiner()),
            backbone=self.backbone(),
        )

    def export(self) -> None:
        """Write the bundle, check that it loads, and say what it scores."""
        lpmm = json.loads((self.folder / "lpmm.json").read_text("utf-8"))
        scores = {"truncation_nme": lpmm["truncation_nme"]}
        for name in (
            "face_finder",
            "lp_regressor",
            "landmark_refiner",
            "pose_encoder",
            "geometry_head",
            "generator",
            "lp_adaptor",
            "slider_rig",
            "head_angles",
        ):
            log = self.folder / f"{name}.jsonl"
            if log.exists():
                scores[name] = json.loads(log.read_text("utf-8").splitlines()[-1])
        options = self.options
        card = {
            "data": "synthetic heads rendered from a CC0 face kit made of MakeHuman's assets; its 14 skins are an "
            "earlier revision of the CC0 files, marked public domain by MakeHuman",
            "licence": "CC0-1.0",
            "scores": scores,
            "command": f"python -m training default --size {options.size} --seed {options.seed}",
            "commit": export.commit(),
        }
        if options.note:
            card["note"] = options.note
        bundle = self.folder / "bundle"
        models = self._models(self._saved_controls("calibrated_controls"))
        export.export_bundle(models, bundle, card, f"lpmm-{options.size}", VERSION)
        load_bundle(bundle, graphs=True)
        print(f"bundle: {bundle}")

    def mean_latent(self) -> NDArray[np.float32]:
        """Return v̄ [w]: the average pose latent of the training motions and their mirror images."""
        return self.latent_space.average(self.landmark_set.canonical)


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the `default` step."""
    parser = subparsers.add_parser("default", help="make the default bundle from a face kit, every stage")
    parser.add_argument("--kit", type=Path, required=True, help="the face kit's folder")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder: data, checkpoints, bundle")
    parser.add_argument("--size", choices=get_args(Size), default="default", help="how much of everything")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="only these")
    parser.add_argument("--device", default="cpu", help="torch device (cpu, cuda)")
    parser.add_argument(
        "--workers", type=int, default=2, help="processes that draw data; half as many threads prepare batches"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--note", default="", help="what else the model card should say of this run")
    parser.add_argument("--batch-times", type=int, default=1, help="multiply every batch, for many GPUs")
    parser.add_argument("--stream", action="store_true", help="leave pictures on disk until they are asked for")
    loop.add_options(parser)
    parser.set_defaults(run=run, shared=True)


def run(args: argparse.Namespace) -> int:
    """Run the stages in order."""
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    options = Options(
        args.kit,
        args.out,
        args.size,
        args.device,
        args.workers,
        args.seed,
        args.note,
        args.accumulate,
        args.tensorboard,
        args.batch_times,
        args.stream,
    )
    job = DefaultRun(options)
    stages = {
        "data": job.data,
        "lpmm": job.lpmm,
        "face_finder": job.face_finder,
        "lp_regressor": job.lp_regressor,
        "landmark_refiner": job.landmark_refiner,
        "pose_encoder": job.pose_encoder_stage,
        "generator": job.generator,
        "lp_adaptor": job.lp_adaptor,
        "controls": job.controls,
        "head_angles": job.head_angles,
        "export": job.export,
    }
    for name in STAGES:
        if name in args.stages and name in _FOR_THE_FIRST:
            processes.from_first(stages[name])
        elif name in args.stages:
            stages[name]()
    return 0
