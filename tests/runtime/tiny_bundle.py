# SPDX-License-Identifier: GPL-3.0-or-later
"""A tiny bundle whose graphs really compute: its "faces" are red discs, which it finds, reads and recolours."""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lpmm_runtime.bundle import write_manifest
from lpmm_runtime.controls import head_features
from lpmm_runtime.crop import face_box, square_of_box
from lpmm_runtime.presets import Preset, save_preset

K, W, SIDE = 8, 5, 32
FINDER_SIDE = 64
CONTROLS = ("jawOpen", "eyeBlinkLeft")
GAZE = ("eyeLookOutLeft", "eyeLookInRight")
IRIS_SCHEME = "ibug68+iris2"
# The disc's diameter in the aligned crop.
DISC = 0.5

Array = NDArray[np.float32]


def write_tiny_bundle(folder: Path, seed: int = 0, scheme: str = "ibug68") -> Path:
    """Write the bundle into `folder` (made if it is not there) and return it.

    With irises, p07 moves the subject's left one and p08 the right one to the picture's right, and the gaze controls
    are those alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "presets").mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    mean, eigenvectors, sigma = _landmark_model(rng, scheme)
    gaze = GAZE if scheme == IRIS_SCHEME else ()
    directions = rng.normal(size=(len(CONTROLS), K)).astype(np.float32)
    readout = np.zeros((head_features(np.zeros(K, np.float32)).shape[0], 3), np.float32)
    readout[4:7] = np.eye(3) * 10  # params p04…p06 show yaw, pitch, roll, 10° a standard deviation
    coefficients = np.zeros((3, K), np.float32)
    coefficients[:, 3:6] = np.eye(3) * 3
    np.savez(
        folder / "lpmm.npz",
        mean=mean,
        eigenvectors=eigenvectors,
        sigma=sigma,
        control_names=np.array([*CONTROLS, *gaze]),
        control_directions=np.concatenate([directions, np.eye(K, dtype=np.float32)[6:][: len(gaze)]]),
        head_exponents=np.eye(3, dtype=np.int64),
        head_coefficients=coefficients,
        head_readout=readout,
        mean_pose_latent=rng.normal(size=W).astype(np.float32),
    )
    _write_finder(folder / "face_finder.onnx")
    _write_regressor(folder / "lp_regressor.onnx", mean, sigma, rng)
    _write_pose_encoder(folder / "pose_encoder.onnx", rng)
    _write_adaptor(folder / "lp_adaptor.onnx", rng)
    _write_identity_encoder(folder / "identity_encoder.onnx")
    _write_generator(folder / "generator.onnx", rng)
    save_preset(Preset("Smile", {"jawOpen": 0.5}, {"p07": 1.5}), folder / "presets" / "smile.json")
    write_manifest(folder, tiny_manifest(scheme))
    return folder


def tiny_manifest(scheme: str = "ibug68") -> dict[str, Any]:
    """Return the tiny bundle's manifest without its files."""
    faces = [("jawOpen", "mouth", 0, 1), ("eyeBlinkLeft", "eyes", 0, 1)]
    faces += [(name, "eyes", 0, 1) for name in GAZE if scheme == IRIS_SCHEME]
    heads = [(name, "head", -45.0, 45.0) for name in ("headYaw", "headPitch", "headRoll")]
    return {
        "name": "tiny",
        "version": "1",
        "licence": "CC0-1.0",
        "landmark_scheme": scheme,
        "k": K,
        "image_size": SIDE,
        "backbone": {"kind": "image", "latent_size": W, "alpha": False},
        "controls": [
            {"name": name, "group": group, "minimum": low, "maximum": high, "description": f"{name}."}
            for name, group, low, high in [*heads, *faces]
        ],
        "components": ["x", "y", "scale", "yaw", "pitch", "roll", "seventh", "eighth"],
        "model_card": {"data": "none", "licence": "CC0-1.0", "scores": {}, "command": "", "commit": ""},
    }


def disc_photo(width: int = 320, height: int = 240, x: float = 150, y: float = 110, diameter: float = 80) -> Any:
    """Return a photo [height, width, 3] uint8 RGB of a red disc with two eyes over a blue-green pattern."""
    rows, columns = np.mgrid[:height, :width]
    photo = np.empty((height, width, 3), np.uint8)
    photo[..., 0] = 40
    photo[..., 1] = 90 + 40 * np.sin(columns / 9)
    photo[..., 2] = 120 + 60 * np.sin(rows / 7)
    cv2.circle(photo, (round(x), round(y)), round(diameter / 2), (220, 60, 50), -1)
    for side in (-1, 1):
        centre = (round(x + side * 0.2 * diameter), round(y - 0.1 * diameter))
        cv2.circle(photo, centre, max(1, round(0.05 * diameter)), (20, 20, 20), -1)
    return photo


def _landmark_model(rng: np.random.Generator, scheme: str) -> tuple[Array, Array, Array]:
    points = _plain_face()
    if scheme == IRIS_SCHEME:
        points = np.concatenate([points, [points[36:42].mean(axis=0), points[42:48].mean(axis=0)]])
    count = len(points)
    square = square_of_box(face_box(points))
    mean = square.to_unit(points)
    across, down = np.zeros((count, 2)), np.zeros((count, 2))
    across[:, 0], down[:, 1] = 1, 1
    rows = [across.ravel(), down.ravel(), (mean - 0.5).ravel(), *rng.normal(size=(K - 3, 2 * count))]
    if scheme == IRIS_SCHEME:
        rows[-2:] = np.eye(2 * count)[[2 * 69, 2 * 68]]
    eigenvectors = np.linalg.qr(np.array(rows).T)[0].T
    eigenvectors *= np.sign(np.sum(eigenvectors * np.array(rows), axis=1, keepdims=True))
    sigma = np.array([0.5, 0.5, 0.3, *([0.02] * (K - 3))])
    return mean.ravel().astype(np.float32), eigenvectors.astype(np.float32), sigma.astype(np.float32)


def _plain_face() -> Array:
    angles = np.linspace(math.pi, 0, 17)
    jaw = np.stack([np.cos(angles), 0.2 + np.sin(angles)], axis=1)

    def ring(x: float, y: float, rx: float, ry: float, count: int) -> Array:
        turn = math.pi + np.arange(count) * 2 * math.pi / count
        return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], axis=1)

    def line(x0: float, y0: float, x1: float, y1: float, count: int) -> Array:
        return np.linspace((x0, y0), (x1, y1), count)

    brows = [line(-0.8, -0.5, -0.2, -0.55, 5), line(0.2, -0.55, 0.8, -0.5, 5)]
    nose = [line(0, -0.3, 0, 0.2, 4), line(-0.2, 0.3, 0.2, 0.3, 5)]
    eyes = [ring(-0.45, -0.3, 0.15, 0.06, 6), ring(0.45, -0.3, 0.15, 0.06, 6)]
    mouth = [ring(0, 0.7, 0.35, 0.12, 12), ring(0, 0.7, 0.25, 0.03, 8)]
    return np.concatenate([jaw, *brows, *nose, *eyes, *mouth]).astype(np.float32)


class _Graph:
    """Nodes and constants of a graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, op: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def redness(self) -> str:
        """Return the mask [n, 1, s, s] of the red pixels of "image"."""
        axis = self.constant([1], np.int64)
        red, green, blue = (
            self.add("Slice", "image", self.constant([c], np.int64), self.constant([c + 1], np.int64), axis)
            for c in range(3)
        )
        excess = self.add("Sub", red, self.add("Max", green, blue))
        steep = self.add("Mul", self.add("Sub", excess, self.constant(0.25)), self.constant(10.0))
        return self.add("Clip", steep, self.constant(0.0), self.constant(1.0))

    def mean(self, value: str) -> str:
        """Return the mean [n, 1] of [n, 1, s, s]."""
        pooled = self.add("GlobalAveragePool", value)
        return self.add("Reshape", pooled, self.constant([-1, 1], np.int64))

    def pooled(self, value: str, cells: int, side: int, channels: int) -> str:
        """Return [n, channels · cells²]: cell averages of [n, channels, side, side]."""
        step = side // cells
        small = self.add("AveragePool", value, kernel_shape=[step, step], strides=[step, step])
        return self.add("Reshape", small, self.constant([-1, channels * cells * cells], np.int64))

    def write(self, path: Path, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        def infos(shapes: dict[str, Any]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", *shape]) for n, shape in shapes.items()]

        graph = helper.make_graph(self.nodes, path.stem, infos(inputs), infos(outputs), self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 9
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)


def _diameter(graph: _Graph, share: str) -> str:
    return graph.add("Sqrt", graph.add("Mul", share, graph.constant(4 / math.pi)))


def _write_finder(path: Path) -> None:
    graph, cells = _Graph(), 8
    mask = graph.redness()
    half = graph.add("Mul", _diameter(graph, graph.mean(mask)), graph.constant(0.5))
    centres = (np.arange(cells) + 0.5) / cells
    x, y = (grid.ravel() for grid in np.meshgrid(centres, centres))
    signs = graph.constant(np.tile([[[-1.0, -1.0, 1.0, 1.0]]], (1, cells * cells, 1)))
    spread = graph.add("Mul", graph.add("Unsqueeze", half, graph.constant([2], np.int64)), signs)
    graph.add("Add", spread, graph.constant(np.stack([x, y, x, y], axis=1)[None]), output="boxes")
    full = graph.add("Mul", graph.pooled(mask, cells, FINDER_SIDE, 1), graph.constant(2.0))
    graph.add("Min", full, graph.constant(1.0), output="scores")
    graph.write(path, {"image": [3, FINDER_SIDE, FINDER_SIDE]}, {"boxes": [cells**2, 4], "scores": [cells**2]})


def _write_regressor(path: Path, mean: Array, sigma: Array, rng: np.random.Generator) -> None:
    graph = _Graph()
    mask = graph.redness()
    share = graph.add("Add", graph.mean(mask), graph.constant(1e-6))
    centres = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    shifts = [
        graph.add("Div", graph.mean(graph.add("Mul", mask, graph.constant(grid[None, None]))), share)
        for grid in np.meshgrid(centres, centres)
    ]
    growth = graph.add("Sub", graph.add("Div", _diameter(graph, share), graph.constant(DISC)), graph.constant(1.0))
    # p sigma e moves every landmark; a unit shift has length √n, a unit growth the mean face's own length.
    step = math.sqrt(len(mean) // 2)
    lengths = (step, step, float(np.linalg.norm(mean - 0.5)))
    placed = [
        graph.add("Mul", value, graph.constant(length / s))
        for value, length, s in zip((*shifts, growth), lengths, sigma, strict=False)
    ]
    look = graph.constant(rng.normal(scale=0.3, size=(48, K - 3)))
    rest = graph.add("MatMul", graph.pooled("image", 4, SIDE, 3), look)
    graph.add("Concat", *placed, rest, axis=1, output="params")
    graph.write(path, {"image": [3, SIDE, SIDE]}, {"params": [K]})


def _write_pose_encoder(path: Path, rng: np.random.Generator) -> None:
    graph = _Graph()
    weights = graph.constant(rng.normal(scale=0.3, size=(48, W)))
    graph.add("MatMul", graph.pooled("image", 4, SIDE, 3), weights, output="pose_latent")
    graph.write(path, {"image": [3, SIDE, SIDE]}, {"pose_latent": [W]})


def _write_adaptor(path: Path, rng: np.random.Generator) -> None:
    graph = _Graph()
    hidden = graph.add("Tanh", graph.add("MatMul", "params", graph.constant(rng.normal(scale=0.5, size=(K, 16)))))
    graph.add("MatMul", hidden, graph.constant(rng.normal(scale=0.3, size=(16, W))), output="pose_offset")
    graph.write(path, {"params": [K]}, {"pose_offset": [W]})


def _write_identity_encoder(path: Path) -> None:
    graph = _Graph()
    graph.add("Mul", "image", graph.constant(0.5), output="appearance")
    graph.write(path, {"image": [3, SIDE, SIDE]}, {"appearance": [3, SIDE, SIDE]})


def _write_generator(path: Path, rng: np.random.Generator) -> None:
    graph = _Graph()
    tint = graph.add("Sigmoid", graph.add("MatMul", "pose_latent", graph.constant(rng.normal(size=(W, 3)))))
    tint = graph.add("Reshape", tint, graph.constant([-1, 3, 1, 1], np.int64))
    mixed = graph.add("Add", "appearance", graph.add("Mul", tint, graph.constant(0.5)))
    graph.add("Clip", mixed, graph.constant(0.0), graph.constant(1.0), output="image")
    graph.write(path, {"pose_latent": [W], "appearance": [3, SIDE, SIDE]}, {"image": [3, SIDE, SIDE]})
