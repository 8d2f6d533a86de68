# SPDX-License-Identifier: GPL-3.0-or-later
"""A run's folder: the options it was begun with, its data, what was drawn once, and its checkpoints as models."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from lpmm_runtime.controls import ControlMap
from lpmm_runtime.mirroring import mirror_offsets
from lpmm_runtime.morphable import LandmarkModel
from training import (
    adaptor_data,
    export,
    face_finder,
    generator,
    geometry_head,
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
from training.backbones.portrait_flow import LatentSpace, PortraitFlow
from training.geometry_head import FaceMotions
from training.recipe import RECIPES, Recipe, Size
from training.shard_columns import Columns
from training.shards import Kind, open_all, read_all
from training.slider_motions import SliderMotions
from training.synth.facekit import FaceKit
from training.synth.people import Split

# Groups of slider motions drawn of each person, and the share of the people that D is not trained on.
_GROUPS_EACH, _SPARED = 3, 0.03
SLIDER_MOTIONS = "slider-motions"
Network = TypeVar("Network", bound=torch.nn.Module)
Motions = TypeVar("Motions", FaceMotions, SliderMotions, landmark_model.LandmarkSet)


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
    steps_times: float = 1.0
    rate_times: float = 1.0
    stream: bool = False

    @property
    def recipe(self) -> Recipe:
        return RECIPES[self.size]


class RunFolder:
    """One run folder: what was drawn, and every model as it was trained."""

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
        train, test = self.shards("faces", "train"), self.shards("faces", "test")
        return lp_regressor.FaceData(train, size), lp_regressor.FaceData(test, size)

    def faces_at(self, size: int) -> tuple[lp_regressor.FaceData, lp_regressor.FaceData]:
        """Train and test pictures, cut to crops of another size."""
        train, test = self.faces
        return lp_regressor.FaceData(train.arrays, size), lp_regressor.FaceData(test.arrays, size)

    @cached_property
    def group_arrays(self) -> tuple[Columns, Columns]:
        return self.shards("groups", "train"), self.shards("groups", "test")

    def shards(self, kind: Kind, split: Split, most: int | None = None) -> Columns:
        """Return shards' arrays: all of them in memory, or what of them is asked for."""
        return (open_all if self.options.stream else read_all)(self.data_folder, kind, split, most)

    @cached_property
    def groups(self) -> tuple[generator.GroupData, generator.GroupData]:
        """Train and test groups."""
        train, test = self.group_arrays
        return generator.GroupData(train), generator.GroupData(test)

    @cached_property
    def landmark_set(self) -> landmark_model.LandmarkSet:
        """The landmarks that the LPMM is fitted on."""

        def draw() -> landmark_model.LandmarkSet:
            return landmark_model.sample_landmarks(self.kit, self.recipe.landmark_people, self.options.seed, "train")

        return self._drawn("landmarks-train", landmark_model.LandmarkSet, draw)

    @cached_property
    def landmark_model(self) -> LandmarkModel:
        with np.load(self.folder / "lpmm.npz", allow_pickle=False) as archive:
            return LandmarkModel(archive["mean"], archive["eigenvectors"], archive["sigma"])

    @cached_property
    def latent_space(self) -> LatentSpace:
        with np.load(self.folder / "latent_space.npz", allow_pickle=False) as archive:
            return LatentSpace(**{name: archive[name] for name in archive.files})

    def schedule(self, steps: int, batch: int, rate: float, bf16: bool = True) -> loop.Schedule:
        steps = max(1, round(steps * self.options.steps_times))
        return loop.Schedule(
            steps=steps,
            batch=batch * self.options.batch_times,
            rate=rate * self.options.rate_times,
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
        return self.weights("lp_regressor", model) if trained else model

    def pose_encoder(self, trained: bool = True) -> pose_latent.PoseEncoder:
        recipe = self.recipe
        model = pose_latent.PoseEncoder(recipe.latent_size, recipe.encoder_size, recipe.reader_width)
        return self.weights("pose_encoder", model) if trained else model

    def backbone(self, trained: bool = True) -> PortraitFlow:
        model = PortraitFlow(self.latent_space, self.recipe.channels)
        if trained:
            self.weights("generator", model)
            self.weights("geometry_head", model.geometry)
        return model

    def new_adaptor(self) -> lp_adaptor.LpAdaptor:
        """Return D, untrained."""
        return lp_adaptor.LpAdaptor(self.landmark_model.k, self.recipe.latent_size)

    def slider_rig(self, fitted: ControlMap, trained: bool = True) -> slider_rig.SliderRig:
        """Return D and the control map, as they ship; or D new and the map as given."""
        params = mirror_offsets(self.landmark_model, np.eye(self.recipe.k)).astype(np.float32)
        adaptor = mirrored.MirroredAdaptor(self.new_adaptor(), torch.from_numpy(params), self.mirrored_latents())
        rig = slider_rig.SliderRig(adaptor, fitted)
        return self.weights("slider_rig", rig) if trained else rig

    def mirrored_latents(self) -> torch.Tensor:
        """Return M [w, w]: v @ M is the latent of the mirrored motion."""
        return torch.from_numpy(self.latent_space.mirror())

    def weights(self, name: str, model: Network) -> Network:
        """Return the model with the weights that were trained under a name, ready for use."""
        loop.load_weights(self.folder / f"{name}.pt", model)
        return model.eval()

    def mean_latent(self) -> NDArray[np.float32]:
        """Return v̄ [w]: the average pose latent of the training motions and their mirror images."""
        with np.load(self.folder / "mean_latent.npz", allow_pickle=False) as archive:
            return np.asarray(archive["mean_latent"])

    def models(self, controls: ControlMap, trained: bool = True) -> export.TrainedModels:
        """Return all that a bundle with these controls is made of."""
        finder, refiner = face_finder.FaceFinder(), landmark_refiner.LandmarkRefiner()
        if trained:
            self.weights("face_finder", finder)
            self.weights("landmark_refiner", refiner)
        lpmm = json.loads((self.folder / "lpmm.json").read_text("utf-8"))
        return export.TrainedModels(
            landmark_model=self.landmark_model,
            controls=controls,
            component_names=lpmm["components"],
            mean_latent=self.mean_latent(),
            face_finder=finder,
            lp_regressor=self.regressor(trained),
            pose_encoder=mirrored.MirroredEncoder(self.pose_encoder(trained), self.mirrored_latents()),
            lp_adaptor=self.slider_rig(controls, trained).adaptor,
            landmark_refiner=refiner,
            backbone=self.backbone(trained),
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
    def spared_motions(self) -> SliderMotions:
        """What D is scored on of `slider_motions`: the people spared."""
        return self.slider_motions.part(slice(-self._spared_groups, None))

    @property
    def _spared_groups(self) -> int:
        """How many groups, the last people's, D is not trained on."""
        return _GROUPS_EACH * max(1, round(_SPARED * self.recipe.slider_people))

    @cached_property
    def slider_motions(self) -> SliderMotions:
        """What sliders make of faces."""

        def draw() -> SliderMotions:
            people, encode = self.recipe.slider_people, self.latent_space.encode
            return slider_motions.sample(self.kit, self.landmark_model, encode, people, _GROUPS_EACH, self.options.seed)

        return self._drawn(SLIDER_MOTIONS, SliderMotions, draw)

    @cached_property
    def face_motions(self) -> tuple[FaceMotions, FaceMotions]:
        """What the geometry head learns from, and what it is scored on."""
        people, seed = self.recipe.geometry_people, self.options.seed

        def drawn(name: str, count: int, split: Split) -> FaceMotions:
            return self._drawn(name, FaceMotions, lambda: geometry_head.sample(self.kit, count, seed, split))

        return drawn("face-motions", people, "train"), drawn("face-motions-test", max(2, people // 30), "test")

    def _drawn(self, name: str, kind: type[Motions], draw: Callable[[], Motions]) -> Motions:
        """Return motions that are drawn once a run and kept in its folder."""
        kept = self.folder / f"{name}.npz"
        processes.from_first(lambda: None if kept.exists() else np.savez(kept, **vars(draw())))
        with np.load(kept, allow_pickle=False) as archive:
            return kind(**{name: archive[name] for name in archive.files})

    def save_controls(self, name: str, controls: ControlMap) -> None:
        """Keep a control map under a name."""
        np.savez(self.folder / f"{name}.npz", **(vars(controls) | {"names": np.array(controls.names)}))

    def saved_controls(self, name: str) -> ControlMap:
        """Return the control map that was kept under a name."""
        with np.load(self.folder / f"{name}.npz", allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        names = tuple(str(name) for name in arrays.pop("names"))
        return ControlMap(names, **arrays)
