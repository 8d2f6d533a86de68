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
from dataclasses import replace
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import torch

from lpmm_runtime.bundle import load_bundle
from lpmm_runtime.controls import ControlMap
from lpmm_runtime.engine import Engine
from training import (
    adaptor_data,
    control_fit,
    export,
    face_finder,
    generator,
    geometry_head,
    head_calibration,
    landmark_model,
    landmark_refiner,
    lid_calibration,
    loop,
    lp_regressor,
    pose_latent,
    processes,
    slider_rig,
)
from training.backbones.portrait_flow import IDENTITY_SIZE, MAP_SIZE, LatentSpace
from training.recipe import Size
from training.run_folder import SLIDER_MOTIONS, Options, RunFolder
from training.shards import Kind, ShardPlan, make_shards
from training.synth.people import Split

VERSION = "0.1.0"
# The others wait while the first of several processes does these.
_FOR_THE_FIRST = {"data", "lpmm", "calibration", "export"}
# Face pictures that the finder's scenes take large faces from; more add little.
_FINDER_SHARDS = 12
# Held-out faces that say how far readings of one face differ.
_SPREAD_FACES = 100
STAGES = (
    "data",
    "lpmm",
    "face_finder",
    "lp_regressor",
    "landmark_refiner",
    "pose_encoder",
    "geometry_head",
    "generator",
    "lp_adaptor",
    "controls",
    "calibration",
    "export",
)


class DefaultRun(RunFolder):
    """The stages that fill a run's folder."""

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
        space = LatentSpace.fit(both, recipe.latent_size)
        np.savez(self.folder / "latent_space.npz", **vars(space))
        np.savez(self.folder / "mean_latent.npz", mean_latent=space.average(canonical))
        # They were said in the model and the latents before.
        (self.folder / f"{SLIDER_MOTIONS}.npz").unlink(missing_ok=True)

    def face_finder(self) -> None:
        """Train the face finder."""
        train, test = self.group_arrays
        train_faces = self.shards("faces", "train", most=_FINDER_SHARDS)
        test_faces = self.shards("faces", "test")
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
        # What was unpacked has learned that already.
        if not (self.folder / "lp_regressor.pt").exists():
            train, test = self.faces_at(recipe.coarse_size)
            # On a CPU, bfloat16 is no faster than float32 here.
            schedule = self.schedule(recipe.coarse_steps, recipe.coarse_batch, 2e-3, bf16=self.on_gpu)
            lp_regressor.train(model, train, test, schedule, self.folder, "lp_regressor_coarse")
            self.weights("lp_regressor_coarse", model)
        schedule = self.schedule(recipe.lp_regressor_steps, recipe.lp_regressor_batch, 2e-3, bf16=self.on_gpu)
        lp_regressor.train(model, *self.faces, schedule, self.folder)

    def landmark_refiner(self) -> None:
        """Train the second look at eyes and mouth."""
        train, test = self.faces_at(IDENTITY_SIZE)
        schedule = self.schedule(self.recipe.refiner_steps, 48, 2e-3, bf16=False)
        landmark_refiner.train(landmark_refiner.LandmarkRefiner(), train, test, schedule, self.folder)

    def pose_encoder_stage(self) -> None:
        """Train E."""
        recipe = self.recipe
        schedule = self.schedule(recipe.pose_encoder_steps, recipe.lp_regressor_batch, 1e-3, bf16=self.on_gpu)
        encoder, faces = self.pose_encoder(trained=False), self.faces_at(recipe.encoder_size)
        pose_latent.train(encoder, self.latent_space, self.regressor(), *faces, schedule, self.folder)

    def geometry_head(self) -> None:
        """Train the geometry head."""
        head = self.backbone(trained=False).geometry
        schedule = self.schedule(self.recipe.geometry_steps, 256, 2e-3, bf16=False)
        geometry_head.train(head, self.latent_space, *self.face_motions, schedule, self.folder)

    def generator(self) -> None:
        """Train G."""
        recipe = self.recipe
        model = self.backbone(trained=False)
        self.weights("geometry_head", model.geometry)
        schedule = self.schedule(recipe.generator_steps, recipe.generator_batch, 2e-3)
        generator.train_generator(model, *self.groups, schedule, self.folder)

    def lp_adaptor(self) -> None:
        """Train D with everything else frozen."""
        recipe = self.recipe
        adaptor_data.train(
            self.new_adaptor(),
            self.regressor(),
            self.pose_encoder(),
            self.backbone(),
            self.latent_space,
            torch.from_numpy(self.mean_latent()),
            self.known_people(),
            self.groups[0],
            self.schedule(recipe.warm_up_steps, 256, 1e-3, bf16=False),
            self.schedule(recipe.lp_adaptor_steps, recipe.lp_adaptor_batch, 3e-4, bf16=False),
            self.folder,
        )

    def controls(self) -> None:
        """Fit the controls, then train them and D together."""
        recipe, seed = self.recipe, self.options.seed

        def fit() -> None:
            model, known = self.landmark_model, self.landmark_set
            found = control_fit.fit(self.kit, model, known, recipe.control_people, seed)
            self.save_controls("fitted_controls", found)

        processes.from_first(fit)
        fitted = self.saved_controls("fitted_controls")
        rig = self.slider_rig(fitted, trained=False)
        self.weights("lp_adaptor", rig.adaptor.adaptor)
        slider_rig.train(
            rig,
            fitted,
            torch.from_numpy(self.mean_latent()),
            self.known_people(),
            self.trained_motions,
            self.spared_motions,
            adaptor_data.measured(torch.from_numpy(self.latent_space.basis)),
            # For so few numbers no device is faster than the CPU.
            replace(self.schedule(recipe.slider_steps, 64, 1e-3, bf16=False), device="cpu"),
            self.folder,
        )
        processes.from_first(lambda: self.save_controls("controls", rig.controls(fitted)))

    def calibration(self) -> None:
        """Bend the head map until frames turn as far as they are told, and scale blinks to the way that lids go."""
        trial = self.folder / "calibration-bundle"

        def bundle_of(controls: ControlMap) -> Engine:
            export.export_bundle(self.models(controls), trial, {}, "calibration", VERSION)
            return Engine(load_bundle(trial), "cpu", None)

        people, seed = self.recipe.calibration_people, self.options.seed
        fitted = self.saved_controls("controls")
        turned, scores = head_calibration.calibrate(fitted, bundle_of, self.kit, people, seed)
        controls, of_lids = lid_calibration.calibrate(turned, bundle_of, self.kit, people, seed)
        self.save_controls("calibrated_controls", controls)
        (self.folder / "calibration.jsonl").write_text(json.dumps(scores | of_lids) + "\n", "utf-8")
        shutil.rmtree(trial)

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
            "calibration",
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
        models = self.models(self.saved_controls("calibrated_controls"))
        export.export_bundle(models, bundle, card, f"lpmm-{options.size}", VERSION)
        # A run that goes on from a bundle may have no pictures.
        if any(self.data_folder.glob("faces-test-*.npz")):
            held_out = self.shards("faces", "test")
            shown = slice(0, _SPREAD_FACES)
            export.say_reading_spread(bundle, held_out["images"][shown], held_out["landmarks"][shown])
        load_bundle(bundle, graphs=True)
        print(f"bundle: {bundle}")


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
    parser.add_argument("--steps-times", type=float, default=1.0, help="multiply every number of steps")
    parser.add_argument(
        "--rate-times", type=float, default=1.0, help="multiply every learning rate, to train on gently"
    )
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
        args.steps_times,
        args.rate_times,
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
        "geometry_head": job.geometry_head,
        "generator": job.generator,
        "lp_adaptor": job.lp_adaptor,
        "controls": job.controls,
        "calibration": job.calibration,
        "export": job.export,
    }
    for name in STAGES:
        if name in args.stages and name in _FOR_THE_FIRST:
            processes.from_first(stages[name])
        elif name in args.stages:
            stages[name]()
    return 0
