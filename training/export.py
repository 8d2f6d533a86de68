# SPDX-License-Identifier: GPL-3.0-or-later
"""Export: networks to ONNX, checked against torch, and everything into a model bundle."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lpmm_runtime import bundle as bundles
from lpmm_runtime import landmarks68
from lpmm_runtime.controls import ControlMap
from lpmm_runtime.crop import face_box
from lpmm_runtime.face_finding import reading_spread
from lpmm_runtime.morphable import LandmarkModel
from lpmm_runtime.onnx_sessions import OnnxSessions
from training.backbones.portrait_flow import IDENTITY_SIZE, MAP_SIZE, Identity, PortraitFlow
from training.control_fit import control_list
from training.face_finder import FaceFinder
from training.landmark_refiner import LandmarkRefiner
from training.lp_regressor import LpRegressor
from training.mirrored import MirroredAdaptor, MirroredEncoder
from training.presets import write_presets

_OPSET = 18
# Largest difference between torch and onnxruntime that an export may show, in the outputs' own units.
_TOLERANCE = 2e-3
# What differs by this share of the outer eye distance, or by so many times what all but a few known faces do, is none.
_LEAST_SPREAD, _ROOM, _MOST = 0.06, 2.0, 0.98
_FEATURES = ("source_image", "source_alpha", "source_features", "source_landmarks", "source_latent")


class ExportError(RuntimeError):
    """A graph that does not say what its network says."""


@dataclass(frozen=True)
class TrainedModels:
    """Everything that a bundle is made of."""

    landmark_model: LandmarkModel
    controls: ControlMap
    component_names: list[str]
    mean_latent: NDArray[np.float32]
    face_finder: FaceFinder
    lp_regressor: LpRegressor
    pose_encoder: MirroredEncoder
    lp_adaptor: MirroredAdaptor
    landmark_refiner: LandmarkRefiner
    backbone: PortraitFlow


class _IdentityGraph(nn.Module):
    def __init__(self, backbone: PortraitFlow, refiner: LandmarkRefiner) -> None:
        super().__init__()
        self.backbone, self.refiner = backbone, refiner

    def forward(self, image: Tensor, landmarks: Tensor, pose_latent: Tensor) -> tuple[Tensor, ...]:
        small = nn.functional.avg_pool2d(image, IDENTITY_SIZE // MAP_SIZE)
        identity = self.backbone.identify(small, self.refiner(image, landmarks), pose_latent)
        return identity.image, identity.alpha, identity.features, identity.landmarks, identity.latent + 0.0


class _GeneratorGraph(nn.Module):
    def __init__(self, backbone: PortraitFlow) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(
        self, image: Tensor, alpha: Tensor, features: Tensor, landmarks: Tensor, latent: Tensor, pose_latent: Tensor
    ) -> tuple[Tensor, ...]:
        maps = self.backbone(Identity(image, alpha, features, landmarks, latent), pose_latent)
        points = torch.cat([maps.landmarks[:, :68], maps.landmarks[:, 68:]], dim=1)
        return maps.flow, maps.paint, maps.mask, maps.alpha, points, maps.light


def write_graph(network: nn.Module, path: Path, inputs: dict[str, Tensor], outputs: Sequence[str]) -> None:
    """Write a network as ONNX with a free batch dimension.

    Args:
        inputs: examples by input name.
    """
    network = network.eval().float().cpu()
    names = list(inputs)
    one = tuple(value[:1] for value in inputs.values())
    with warnings.catch_warnings():
        # The tracer warns of every constant it keeps; what it wrote is checked by `export_graph`.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            one,
            str(path),
            input_names=names,
            output_names=list(outputs),
            dynamic_axes={name: {0: "n"} for name in [*names, *outputs]},
            opset_version=_OPSET,
            dynamo=False,
        )


def export_graph(
    network: nn.Module,
    path: Path,
    inputs: dict[str, Tensor],
    outputs: Sequence[str],
    tolerance: float = _TOLERANCE,
) -> None:
    """Write a network as ONNX with a free batch dimension, and check it against torch on two rows.

    Args:
        inputs: examples by input name, two rows each.
        tolerance: the largest difference that is accepted.

    Raises:
        ExportError: if onnxruntime answers differently.
    """
    write_graph(network, path, inputs, outputs)
    with torch.no_grad():
        expected = network(*inputs.values())
    expected = (expected,) if isinstance(expected, Tensor) else expected
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(list(outputs), {name: value.numpy() for name, value in inputs.items()})
    for name, truth, value in zip(outputs, expected, found, strict=True):
        off = float(np.abs(truth.numpy() - value).max())
        if not off <= tolerance:
            raise ExportError(f"{path}: output {name} is off by {off:.2g}")


@dataclass(frozen=True)
class Graph:
    """One file of a bundle: a network, examples of its inputs by name (two rows each), and its outputs' names."""

    name: str
    network: nn.Module
    inputs: dict[str, Tensor]
    outputs: Sequence[str]


def graphs(models: TrainedModels) -> Iterator[Graph]:
    """Yield the networks of a bundle as its files hold them."""
    generator = torch.Generator().manual_seed(0)

    def picture(size: int) -> Tensor:
        coarse = torch.rand(2, 3, 8, 8, generator=generator)
        return nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")

    regressor, encoder, finder = models.lp_regressor, models.pose_encoder, models.face_finder
    yield Graph("lp_regressor", regressor, {"image": picture(regressor.reader.size)}, ["params", "alignment"])
    yield Graph("pose_encoder", encoder, {"image": picture(encoder.size)}, ["pose_latent"])
    yield Graph("face_finder", finder, {"image": picture(finder.size)}, ["boxes", "scores"])
    k, w = models.landmark_model.k, len(models.mean_latent)
    params = torch.randn(2, k, generator=generator)
    yield Graph("lp_adaptor", models.lp_adaptor, {"params": params}, ["pose_offset"])

    landmarks = torch.from_numpy(models.landmark_model.landmarks(0.3 * params.numpy())[:, : landmarks68.COUNT])
    latent = torch.from_numpy(models.mean_latent) + 0.3 * torch.randn(2, w, generator=generator)
    identity = {"image": picture(IDENTITY_SIZE), "landmarks": landmarks, "pose_latent": latent}
    identify = _IdentityGraph(models.backbone, models.landmark_refiner).eval()
    yield Graph("identity_encoder", identify, identity, _FEATURES)
    with torch.no_grad():
        features = dict(zip(_FEATURES, identify(*identity.values()), strict=True))
    moved = features | {"pose_latent": latent + 0.5 * torch.randn(2, w, generator=generator)}
    outputs = ["flow", "paint", "mask", "alpha", "landmarks", "light"]
    yield Graph("generator", _GeneratorGraph(models.backbone), moved, outputs)


def export_bundle(models: TrainedModels, folder: Path, card: dict[str, Any], name: str, version: str) -> None:
    """Write the whole bundle into a new folder, replacing what is there.

    Args:
        card: the model card: data, licence, scores, command, commit.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for graph in graphs(models):
        export_graph(graph.network, folder / f"{graph.name}.onnx", graph.inputs, graph.outputs)
    k, w = models.landmark_model.k, len(models.mean_latent)
    controls = models.controls
    np.savez(
        folder / "lpmm.npz",
        mean=models.landmark_model.mean,
        eigenvectors=models.landmark_model.eigenvectors,
        sigma=models.landmark_model.sigma,
        control_names=np.array(controls.names),
        control_directions=controls.directions,
        control_moves=controls.moves,
        head_exponents=controls.head_exponents,
        head_coefficients=controls.head_coefficients,
        head_readout=controls.head_readout,
        head_reach=controls.head_reach,
        mean_pose_latent=models.mean_latent,
    )
    listed = control_list(controls.names)
    write_presets(folder, [control.name for control in listed], k)
    bundles.write_manifest(
        folder,
        {
            "format": "lpmm-bundle",
            "format_version": 1,
            "name": name,
            "version": version,
            "licence": "CC0-1.0",
            "landmark_scheme": landmarks68.scheme_of(models.landmark_model.points),
            "k": k,
            "image_size": IDENTITY_SIZE,
            "backbone": {"kind": "portrait_flow", "latent_size": w, "alpha": True},
            "controls": [vars(control) for control in listed],
            "components": models.component_names,
            "model_card": card,
        },
    )


def say_reading_spread(bundle: Path, pictures: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> None:
    """Write into a bundle how far its readings of one face differ, with room: what differs by more is no face.

    Args:
        pictures: [n, s, s, 3] of faces that no network was trained on; landmarks: [n, 68, 2] in their unit squares.
    """
    sessions = OnnxSessions(bundles.load_bundle(bundle), "cpu", None)
    boxes = [face_box(points * picture.shape[0]) for points, picture in zip(landmarks, pictures, strict=True)]
    spreads = [reading_spread(sessions, picture, box) for picture, box in zip(pictures, boxes, strict=True)]
    spread = max(_LEAST_SPREAD, _ROOM * float(np.quantile(spreads, _MOST)))
    manifest = {name: value for name, value in sessions.bundle.manifest.items() if name != "files"}
    bundles.write_manifest(bundle, manifest | {"reading_spread": round(spread, 3)})


def commit() -> str:
    """Return the commit that the code is at, or "unknown"."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
