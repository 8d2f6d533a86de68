# SPDX-License-Identifier: GPL-3.0-or-later
"""Short trainings of the LP-adaptor's perceptron on a finished bundle: the paper's way, its ablations, and a 3DMM's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lpmm_runtime import landmarks68
from lpmm_runtime.controls import HEAD_CONTROLS
from lpmm_runtime.crop import square_of_landmarks
from lpmm_runtime.morphable import LandmarkModel
from lpmm_runtime.onnx_sessions import OnnxSessions
from training import adaptor, loop
from training.adaptor import Readings
from training.backbones.interface import TalkingHead
from training.lp_adaptor import LpAdaptor, Weights
from training.lp_regressor import FaceData
from training.shard_columns import Columns
from training.synth.samples import CONTROL_NAMES

Array = NDArray[np.float32]

FULL, NO_REGULARISER, LATENT = "Eq. 2, both losses", "no pose regulariser", "latents, no RGB loss"
MORPH_NAMES = (*HEAD_CONTROLS, *CONTROL_NAMES)
# Portraits, spread over the training faces, that Eq. 3 draws with.
_IDENTITIES = 4
_SEED = 1
_WARM_BATCH = 256
# Of head angles in degrees and of control values, which go from 0 to 1.
_LEAST_DEVIATION = 0.1
_READ_AT_ONCE = 8


@dataclass(frozen=True)
class Budget:
    """How long the small trainings are.

    Attributes:
        warm_up_steps: of latent regression; steps: of Eq. 2, `batch` pictures each.
        faces: training faces; compared: held-out faces that the results are compared on.
    """

    warm_up_steps: int
    steps: int
    batch: int
    faces: int
    compared: int


@dataclass(frozen=True, eq=False)
class Mapping3dmm:
    """A StyleRig-style rig: the same perceptron, from 3DMM-like parameters.

    Attributes:
        adaptor: θ [n, q] → d [n, w]; scale: [q], what makes degrees and control values θ.
    """

    adaptor: LpAdaptor
    scale: Array

    def offsets(self, values: Array) -> Array:
        """Return d [n, w] of head angles in degrees and control values [n, q], in the order of `MORPH_NAMES`."""
        return offsets(self.adaptor, (values / self.scale).astype(np.float32))

    def offset_of(self, values: Mapping[str, float]) -> Array:
        """Return d [w] of values by name."""
        return self.offsets(np.array([[values.get(name, 0.0) for name in MORPH_NAMES]], np.float32))[0]


@torch.no_grad()
def offsets(network: LpAdaptor, params: Array) -> Array:
    """Return D(p) [n, w] of params [n, k]."""
    return network.eval()(torch.from_numpy(params)).numpy()


def morph_values(arrays: Columns, count: int) -> Array:
    """Return the 3DMM-like parameters [n, q] of the first faces of a shard's arrays: degrees and control values."""
    return np.concatenate([arrays["angles"][:count], arrays["controls"][:count]], axis=1).astype(np.float32)


def true_params(model: LandmarkModel, arrays: Columns, count: int) -> Array:
    """Return the params [n, k] of the true points of the first faces of a shard's arrays, known irises among them."""
    faces = arrays["landmarks"][:count]
    squares = [square_of_landmarks(points) for points in faces]
    if model.points > landmarks68.COUNT and "irises" in arrays:
        faces = np.concatenate([faces, arrays["irises"][:count]], axis=1)
    aligned = [square.to_unit(points) for square, points in zip(squares, faces, strict=True)]
    return model.likeliest_params(np.stack(aligned))


class SmallTrainings:
    """Trainings on the same faces with everything but the perceptron frozen.

    Attributes:
        known: the params of the training faces' true landmarks and the latents that E reads; v̄ is the latents' mean.
        head: the bundle in torch.
    """

    def __init__(self, sessions: OnnxSessions, head: TalkingHead, arrays: Columns, budget: Budget):
        self.sessions, self.head, self.budget = sessions, head, budget
        self._faces = FaceData(arrays, head.image_size)
        self._count = min(budget.faces, len(self._faces))
        params = true_params(sessions.bundle.rig.model, arrays, self._count)
        self.known = Readings(params, self._latents())

    @property
    def mean(self) -> Array:
        """v̄ [w]."""
        return self.known.mean

    @property
    def face_count(self) -> int:
        return self._count

    def lpmm(self) -> dict[str, LpAdaptor]:
        """Return the adaptors from params, by what their training was; the first two share their warm-up."""
        budget = self.budget
        with tempfile.TemporaryDirectory() as name:
            folders = {key: Path(name) / str(number) for number, key in enumerate((FULL, NO_REGULARISER, LATENT))}
            full = self._train(self.known, folders[FULL], Weights(), budget.warm_up_steps, budget.steps)
            warm = folders[FULL] / "lp_adaptor_warm.pt"
            if warm.is_file():
                folders[NO_REGULARISER].mkdir()
                shutil.copyfile(warm, folders[NO_REGULARISER] / warm.name)
            plain = Weights(pose_reg=0.0)
            free = self._train(self.known, folders[NO_REGULARISER], plain, budget.warm_up_steps, budget.steps)
            latent = self._train(self.known, folders[LATENT], Weights(), budget.warm_up_steps + budget.steps, 0)
        return {FULL: full, NO_REGULARISER: free, LATENT: latent}

    def morph(self) -> Mapping3dmm:
        """Return the rig from 3DMM-like parameters, trained as `FULL` is; the average pose has the average θ."""
        values = morph_values(self._faces.arrays, self._count)
        # What these faces hardly do must not be a hundred deviations of a face that does it.
        scale = np.maximum(values.std(axis=0), _LEAST_DEVIATION)
        theta = (values / scale).astype(np.float32)
        readings = Readings(theta, self.known.latents)
        with tempfile.TemporaryDirectory() as name:
            network = self._train(
                readings,
                Path(name),
                Weights(),
                self.budget.warm_up_steps,
                self.budget.steps,
                theta.mean(axis=0, keepdims=True),
            )
        return Mapping3dmm(network, scale.astype(np.float32))

    def average_pose(self, portraits: int = _IDENTITIES) -> Array:
        """Return F(G(v̄)) [n, k] of some of the training faces (Eq. 4)."""
        rows = np.linspace(0, self._count - 1, portraits).astype(np.int64)
        batch = self._faces.batch(rows, np.random.default_rng(0), train=False)
        latents = torch.from_numpy(self.known.latents[rows])
        with torch.no_grad():
            identity = self.head.identify(batch.images, batch.landmarks, latents)
            frames = self.head.draw(identity, torch.from_numpy(self.mean).expand(len(rows), -1))
        return adaptor.params_of(self.sessions, frames)

    @torch.no_grad()
    def _latents(self) -> Array:
        latents = []
        for start in tqdm(range(0, self._count, _READ_AT_ONCE), desc="E of the faces", unit="batch", mininterval=5):
            rows = np.arange(start, min(self._count, start + _READ_AT_ONCE))
            images = self._faces.batch(rows, np.random.default_rng(0), train=False).images
            latents.append(self.head.encode_pose(images).numpy())
        return np.concatenate(latents)

    def _train(
        self, known: Readings, folder: Path, weights: Weights, warm: int, steps: int, base: Array | None = None
    ) -> LpAdaptor:
        batch = self.budget.batch

        def schedule(count: int, size: int, rate: float) -> loop.Schedule:
            return loop.Schedule(count, size, rate, seed=_SEED, bf16=False, log_every=max(1, count))

        warm_up = schedule(warm, min(_WARM_BATCH, self._count), 1e-3)
        rgb = schedule(steps, batch, 3e-4)
        folder.mkdir(exist_ok=True)
        return adaptor.train(
            self.sessions, self.head, self._faces, known, warm_up, rgb, weights, _IDENTITIES, folder, base
        ).eval()
