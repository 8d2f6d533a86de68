# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle back into a run's folder, so that training goes on from what ships: `python -m training unpack BUNDLE`.

    python -m training unpack lpmm_runtime/bundles/default --out runs/next
    python -m training default --kit KIT --out runs/next --stages data generator export

Graphs hold weights folded, turned and without names. A network of the same shape, whose every weight is a number of its
own, is exported the same way; where such a number comes to lie in its graph, the bundle's graph holds that weight.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from lpmm_runtime.bundle import load_bundle
from lpmm_runtime.errors import LpmmError
from training import export, loop
from training.backbones.portrait_flow import LatentSpace
from training.recipe import Size
from training.run_folder import Options, RunFolder

Array = NDArray[np.float32]

# Weight number n is written as n / _UNIT: small, so that the numbered network still computes finite numbers, and exact.
_UNIT = 1 << 24


class _Weights:
    """A network's parameters, and the statistics of its batch norms, numbered one by one."""

    def __init__(self, network: nn.Module) -> None:
        self._tensors: list[tuple[str, Tensor]] = list(network.named_parameters())
        for name, module in network.named_modules():
            if isinstance(module, nn.BatchNorm1d):
                self._tensors += [(f"{name}.{key}", getattr(module, key)) for key in ("running_mean", "running_var")]
            elif isinstance(module, nn.BatchNorm2d):
                # These follow a convolution and are folded into it: kernel and shift say all that they do.
                self._tensors = [(own, tensor) for own, tensor in self._tensors if own != f"{name}.weight"]
                _stand_aside(module)
        sizes = [tensor.numel() for _, tensor in self._tensors]
        self._starts = 1 + np.concatenate([[0], np.cumsum(sizes)])
        if self._starts[-1] > _UNIT:
            raise ValueError(f"{self._starts[-1]} weights are more than float32 can number")
        for (_, tensor), start in zip(self._tensors, self._starts, strict=False):
            numbers = torch.arange(int(start), int(start) + tensor.numel(), dtype=torch.float32)
            tensor.data.copy_((numbers / _UNIT).reshape(tensor.shape))

    def read(self, numbered: list[Array], held: list[Array]) -> dict[int, tuple[Tensor, Array]]:
        """Return what a graph holds of the weights: by identity, each tensor and its values.

        Args:
            numbered: the initial values of the numbered network's graph; held: those of the other, in the same order.
        """
        found = {}
        for numbers, there in zip(numbered, held, strict=True):
            numbers = numbers.astype(np.float64).ravel() * _UNIT
            order = np.argsort(numbers)
            place = int(np.searchsorted(self._starts, numbers[order[0]] + 0.5, "right")) - 1 if len(order) else -1
            if not 0 <= place < len(self._tensors):
                continue
            tensor, start = self._tensors[place][1], self._starts[place]
            # A whole tensor, in whatever order, or something else.
            if len(order) == tensor.numel() and (np.abs(numbers[order] - start - np.arange(len(order))) < 0.25).all():
                found[id(tensor)] = tensor, there.ravel()[order].reshape(tuple(tensor.shape))
        return found


def _stand_aside(norm: nn.BatchNorm2d) -> None:
    """Make a batch norm do nothing but shift."""
    assert norm.running_mean is not None and norm.running_var is not None
    norm.weight.data.fill_(1.0)
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0 - norm.eps)


def _initial_values(path: Path) -> list[Array]:
    graph = onnx.load(str(path)).graph
    return [numpy_helper.to_array(value) for value in graph.initializer]


def read_weights(models: export.TrainedModels, bundle: Path) -> None:
    """Give networks the weights that a bundle's graphs hold.

    Args:
        models: of the bundle's shapes; their weights are lost.

    Raises:
        LpmmError: if a graph is not one of such a network, naming its file.
    """
    found: dict[int, tuple[Tensor, Array]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for graph in export.graphs(models):
            path = bundle / f"{graph.name}.onnx"
            weights = _Weights(graph.network)
            template = Path(folder) / path.name
            export.write_graph(graph.network, template, graph.inputs, graph.outputs)
            numbered, held = _initial_values(template), _initial_values(path)
            if [value.shape for value in numbered] != [value.shape for value in held]:
                raise LpmmError(f"{path}: was not exported from a network of this size by this version")
            found |= weights.read(numbered, held)
    for tensor, values in found.values():
        tensor.data.copy_(torch.from_numpy(values))
    for network in _networks(models).values():
        for name, parameter in network.named_parameters():
            if id(parameter) not in found and not _stands_aside(network, name):
                raise LpmmError(f"{bundle}: its graphs do not hold {name}")


def _stands_aside(network: nn.Module, name: str) -> bool:
    owner, _, own = name.rpartition(".")
    return own == "weight" and isinstance(network.get_submodule(owner), nn.BatchNorm2d)


def _networks(models: export.TrainedModels) -> dict[str, nn.Module]:
    """Return the networks under their checkpoints' names."""
    return {
        "face_finder": models.face_finder,
        "lp_regressor": models.lp_regressor,
        "pose_encoder": models.pose_encoder.encoder,
        "lp_adaptor": models.lp_adaptor.adaptor,
        "landmark_refiner": models.landmark_refiner,
        "geometry_head": models.backbone.geometry,
        "generator": models.backbone,
    }


def latent_space(bundle: Path) -> LatentSpace:
    """Return the pose latents of a bundle of the default backbone. Raises LpmmError if it has none."""
    path = bundle / "generator.onnx"
    values = {value.name: value for value in onnx.load(str(path)).graph.initializer}
    try:
        mean, basis = (numpy_helper.to_array(values[f"backbone.geometry.{name}"]) for name in ("mean", "basis"))
    except KeyError as error:
        raise LpmmError(f"{path}: holds no {error.args[0]}: not a generator of the default backbone") from None
    return LatentSpace.of_basis(mean.copy(), basis.copy())


def unpack(bundle: Path, options: Options) -> None:
    """Write a bundle's parts into a run's new folder, as checkpoints that training starts from.

    Raises:
        LpmmError: if the bundle is not one of the default backbone at this size.
        ValueError: if the folder has a run's files already.
    """
    loaded = load_bundle(bundle)
    run = RunFolder(options)
    if (run.folder / "lpmm.npz").exists():
        raise ValueError(f"{run.folder}: holds a run already")
    run.folder.mkdir(parents=True, exist_ok=True)
    space = latent_space(bundle)
    model, controls = loaded.rig.model, loaded.rig.controls
    np.savez(run.folder / "lpmm.npz", mean=model.mean, eigenvectors=model.eigenvectors, sigma=model.sigma)
    np.savez(run.folder / "latent_space.npz", **vars(space))
    np.savez(run.folder / "mean_latent.npz", mean_latent=loaded.rig.mean_pose_latent)
    card = loaded.manifest["model_card"]
    kept = {"components": loaded.manifest["components"], "truncation_nme": card["scores"].get("truncation_nme", {})}
    (run.folder / "lpmm.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    for name in ("fitted_controls", "controls", "calibrated_controls"):
        run.save_controls(name, controls)

    models = run.models(controls, trained=False)
    read_weights(models, bundle)
    rig = run.slider_rig(controls, trained=False)
    rig.adaptor.load_state_dict(models.lp_adaptor.state_dict())
    for name, network in (_networks(models) | {"slider_rig": rig}).items():
        loop.save_weights(run.folder / f"{name}.pt", network)
        if name in card["scores"]:
            (run.folder / f"{name}.jsonl").write_text(json.dumps(card["scores"][name]) + "\n", "utf-8")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the `unpack` step."""
    parser = subparsers.add_parser("unpack", help="a default bundle back into a run's folder, to train it further")
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--out", type=Path, required=True, help="the run's new folder")
    parser.add_argument("--size", choices=get_args(Size), default="default", help="what the bundle was made at")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Unpack the bundle."""
    options = Options(Path(), args.out, args.size, "cpu", 1, 0)
    unpack(args.bundle, options)
    print(f"run: {args.out}")
    return 0
