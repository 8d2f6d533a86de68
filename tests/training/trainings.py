# SPDX-License-Identifier: GPL-3.0-or-later
"""Every model's training, some steps at toy width: `python trainings.py FOLDER`, alone or under torchrun."""

import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import made_up_faces
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpmm_runtime.controls import ControlMap
from training import (
    adaptor_data,
    face_finder,
    generator,
    geometry_head,
    landmark_refiner,
    loop,
    lp_regressor,
    pose_latent,
    processes,
    slider_rig,
)
from training.backbones.portrait_flow import LatentSpace, PortraitFlow
from training.draws import Draw
from training.face_scenes import FaceScenes
from training.landmark_model import LandmarkSet
from training.landmark_reader import LandmarkReader, heat_loss
from training.lp_adaptor import LpAdaptor
from training.mirrored import MirroredAdaptor
from training.slider_motions import SliderMotions
from training.slider_rig import SliderRig

RATE = 1e-3
STEPS = 2


def train_all(folder: Path) -> None:
    """Train every model as its stage does."""
    # Of several processes' starts, the first one's counts.
    torch.manual_seed(processes.rank())
    schedule = loop.Schedule(STEPS, 8, RATE, bf16=False, log_every=STEPS)
    # Every batch norm waits for the other process, each way.
    once = replace(schedule, steps=1)
    faces = lp_regressor.FaceData(made_up_faces.faces(12), 64)
    model = made_up_faces.landmark_model(10)
    regressor = lp_regressor.LpRegressor(model, 64, 0.25)
    lp_regressor.train(regressor, faces, faces, once, folder)
    landmark_refiner.train(landmark_refiner.LandmarkRefiner(), faces, faces, schedule, folder)
    space = LatentSpace.fit(faces.arrays["canonical"][:], 6)
    encoder = pose_latent.PoseEncoder(6, 64, 0.25)
    pose_latent.train(encoder, space, regressor, faces, faces, once, folder)

    heads = made_up_faces.groups(4)
    scenes = FaceScenes(heads, size=64, backdrops=4)
    face_finder.train(face_finder.FaceFinder(64), scenes, scenes, once, folder)
    pairs = generator.GroupData(heads)
    flow = PortraitFlow(space, 8)
    posed = made_up_faces.motions(4)
    geometry_head.train(flow.geometry, space, posed, posed, schedule, folder)
    generator.train_generator(flow, pairs, pairs, replace(schedule, batch=4), folder)

    points = np.concatenate([faces.arrays["landmarks"][:], faces.arrays["irises"][:]], axis=1)
    known = LandmarkSet(points, np.zeros((12, 3), np.float32), faces.arrays["canonical"][:])
    twice = np.stack([model.params(known.landmarks)] * 2, axis=1), np.stack([space.encode(known.canonical)] * 2, axis=1)
    people = adaptor_data.both_ways(*twice, model, space)
    adaptor = LpAdaptor(10, 6, 16)
    adaptor_data.train(
        adaptor,
        regressor,
        encoder,
        flow,
        space,
        torch.from_numpy(space.average(known.canonical)),
        people,
        pairs,
        schedule,
        replace(schedule, batch=4),
        folder,
    )
    # From the start, not from what the LP-adaptor learned of noisy networks' readings.
    _train_slider_rig(LpAdaptor(10, 6, 16), space, people, schedule, folder)


def _train_slider_rig(
    adaptor: LpAdaptor, space: LatentSpace, people: tuple[Tensor, Tensor], schedule: loop.Schedule, folder: Path
) -> None:
    rng = np.random.default_rng(4)

    def some(*shape: int) -> NDArray[np.float32]:
        return rng.normal(0.0, 0.3, shape).astype(np.float32)

    names = ("eyeBlinkLeft", "eyeBlinkRight", "jawOpen")
    controls = ControlMap(names, some(3, 10), some(3, 140), np.eye(3, dtype=np.int64), some(3, 10), some(32, 3))
    motions = SliderMotions(some(9, 4, 10), some(9, 4, 6), some(9, 4, 3), 20.0 * some(9, 4, 3))
    rig = SliderRig(MirroredAdaptor(adaptor, torch.eye(10), torch.from_numpy(space.mirror())), controls)
    measured = adaptor_data.measured(torch.from_numpy(space.basis))
    slider_rig.train(rig, controls, torch.zeros(6), people, motions, motions, measured, schedule, folder)


def train_exactly(folder: Path, stop: int | None = None) -> None:
    """Train the LP-regressor's network in float64 and in two passes a step; interrupted at `stop`, and gone on with.

    Batch norms one after the other make so much of float32's noise that nothing could be compared.
    """
    faces = lp_regressor.FaceData(made_up_faces.faces(12), 64)
    schedule = loop.Schedule(2, 8, RATE, bf16=False, accumulate=2)

    def make_batch(draw: Draw) -> lp_regressor.FaceBatch:
        return faces.batch(draw.rows(len(faces)), draw.own, train=True)

    for end in (schedule.steps,) if stop is None else (stop, schedule.steps):
        torch.manual_seed(processes.rank())
        reader = LandmarkReader(64, 0.25).double()

        def loss(batch: lp_regressor.FaceBatch, step: int, end: int = end, reader: LandmarkReader = reader) -> Tensor:
            if step == end:
                raise KeyboardInterrupt
            return heat_loss(reader(batch.images.double()), batch.landmarks).mean()

        with suppress(KeyboardInterrupt):
            loop.train("exact", reader, schedule, folder, make_batch, loss)


if __name__ == "__main__":
    loop._CHECKPOINT_EVERY = 1
    with processes.joined("cpu"):
        train_all(Path(sys.argv[1]))
        train_exactly(Path(sys.argv[1]), stop=1)
