# SPDX-License-Identifier: GPL-3.0-or-later
"""Landmark scores on held-out synthetic people: what k components can say, and what the LP-regressor reads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from tqdm import tqdm

from lpmm_runtime import landmarks68
from lpmm_runtime.bundle import Bundle
from lpmm_runtime.crop import face_box, square_of_landmarks
from lpmm_runtime.engine import Engine
from lpmm_runtime.face_finding import placed, refine
from lpmm_runtime.morphable import LandmarkModel
from lpmm_runtime.portrait import as_batch, crop_at, whole_square
from lpmm_runtime.second_look import second_look
from training.evaluation.independent_reader import Reader
from training.evaluation.measures import interocular, nme_by_region

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

# The paper's Table 1.
TRUNCATIONS = (5, 10, 20, 40, 136)


@dataclass(frozen=True, eq=False)
class LabelledFaces:
    """Pictures uint8 [n, s, s, 3] with true landmarks [n, 68, 2] in pixels and head angles [n, 3] in degrees."""

    images: Pixels
    landmarks: Array
    angles: Array

    @staticmethod
    def of_shard(arrays: dict[str, NDArray], most: int) -> "LabelledFaces":
        """Return the first `most` faces of a face shard's arrays (`shards.read_all`)."""
        images = arrays["images"][:most]
        landmarks = (arrays["landmarks"][:most] * images.shape[1]).astype(np.float32)
        return LabelledFaces(images, landmarks, arrays["angles"][:most])


def truncation(model: LandmarkModel, landmarks: Array) -> dict[str, dict[str, float]]:
    """Return the NME that keeping k components costs on true landmarks [n, 68, 2] (pixels), by k and region.

    All components, be they 136 or, with irises, 140, are a change of basis and cost nothing, so that k = 136 is 0 by
    definition; a k between the bundle's and that cannot be known from it and is left out.
    """
    squares = [square_of_landmarks(points) for points in landmarks]
    aligned = np.stack([square.to_unit(points) for square, points in zip(squares, landmarks, strict=True)])
    scores = {}
    for k in TRUNCATIONS:
        if k <= model.k:
            shorter = model.truncated(k)
            rebuilt = shorter.landmarks(shorter.likeliest_params(aligned))[:, : landmarks68.COUNT]
            scores[str(k)] = nme_by_region(rebuilt, aligned)
        elif k == 2 * landmarks68.COUNT:
            scores[str(k)] = nme_by_region(aligned, aligned)
    return scores


class ReaderByK:
    """The LP-regressor in the true aligned crop, with only its first k params: one pass, no re-cropping.

    The alignment that F may also read is used, for it is part of F. An F that reads landmarks before it fits params
    is also read uncut, as k = 136.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._side = engine.sessions.image_side("lp_regressor")
        self._uncut = _uncut_reader(engine.bundle)

    def read(self, image: Pixels, truth: Array) -> dict[int, NDArray[np.floating]]:
        """Return by k the landmarks [68, 2], in pixels, of a picture whose true ones say the crop."""
        model = self._engine.bundle.rig.model
        square = whole_square(square_of_landmarks(truth))
        batch = as_batch(crop_at(image, square, self._side))
        answer = self._engine.sessions.run("lp_regressor", {"image": batch})
        units: dict[int, NDArray[np.floating]] = {
            k: model.truncated(k).landmarks(answer["params"][0, :k])[: landmarks68.COUNT]
            for k in TRUNCATIONS
            if k <= model.k
        }
        if self._uncut is not None:
            units[2 * landmarks68.COUNT] = self._uncut(batch)
        if "alignment" in answer:
            units = {k: placed(unit, answer["alignment"][0]) for k, unit in units.items()}
        return {k: square.to_picture(unit) for k, unit in units.items()}


def reading_by_k(engine: Engine, faces: LabelledFaces) -> dict[str, dict[str, float]]:
    """Return the NME of `ReaderByK` by k and region: the paper's Table 1."""
    reader = ReaderByK(engine)
    read: dict[int, list[NDArray[np.floating]]] = {}
    for image, truth in zip(
        tqdm(faces.images, desc="F by k", unit="face", mininterval=2), faces.landmarks, strict=True
    ):
        for k, points in reader.read(image, truth).items():
            read.setdefault(k, []).append(points)
    return {str(k): nme_by_region(np.stack(rows), faces.landmarks) for k, rows in read.items()}


def _uncut_reader(bundle: Bundle) -> Callable[[Array], Array] | None:
    """Return a reader of aligned landmarks [68, 2] (unit square) from an image [1, 3, s, s], before F fits params.

    Such an F ends in (landmarks − L̄) · projection; None for an F that gives its params straight.
    """
    graph = onnx.load(str(bundle.graph("lp_regressor")))
    sizes = {item.name: tuple(item.dims) for item in graph.graph.initializer}
    mean = bundle.rig.model.mean
    count = len(mean)
    for node in graph.graph.node:
        if "params" in node.output and node.op_type == "MatMul" and sizes.get(node.input[1]) == (count, bundle.k):
            off = node.input[0]
            graph.graph.output.append(onnx.helper.make_tensor_value_info(off, onnx.TensorProto.FLOAT, ["n", count]))
            session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
            points = landmarks68.COUNT
            return lambda image: (session.run([off], {"image": image})[0][0] + mean).reshape(-1, 2)[:points]
    return None


def reading_as_shipped(engine: Engine, faces: LabelledFaces) -> dict[str, dict[str, float]]:
    """Return the NME as the runtime reads given the face's box: re-cropped until it stays, and after the second look.

    Keys: "reading", and "second_look" where the bundle has one.
    """
    readings, again = [], []
    for image, truth in zip(
        tqdm(faces.images, desc="F as shipped", unit="face", mininterval=2), faces.landmarks, strict=True
    ):
        reading = refine(engine.sessions, image, face_box(truth))
        readings.append(reading.landmarks)
        better = second_look(engine.sessions, image, reading.square, reading.landmarks)
        if better is not None:
            again.append(better)
    scores = {"reading": nme_by_region(np.stack(readings), faces.landmarks)}
    if again:
        scores["second_look"] = nme_by_region(np.stack(again), faces.landmarks)
    return scores


def score_synthetic(engine: Engine, faces: LabelledFaces) -> dict[str, Any]:
    """Return all landmark scores on held-out synthetic people."""
    return {
        "faces": len(faces.images),
        "picture_side": faces.images.shape[1],
        "truncation": truncation(engine.bundle.rig.model, faces.landmarks),
        "regressor_by_k": reading_by_k(engine, faces),
        "as_shipped": reading_as_shipped(engine, faces),
    }


def _brow_heights(landmarks: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return how far both brows stand above the eyes [n], in interocular distances, for landmarks [n, 68, 2]."""
    across = landmarks[:, 45] - landmarks[:, 36]
    down = np.stack([-across[:, 1], across[:, 0]], axis=-1) / np.linalg.norm(across, axis=-1, keepdims=True)
    above = landmarks[:, 36:48].mean(axis=1) - landmarks[:, 17:27].mean(axis=1)
    return (above * down).sum(axis=-1) / interocular(landmarks)


def score_reader(reader: Reader, faces: LabelledFaces) -> dict[str, Any]:
    """Return how the reader itself errs on heads whose truth is known: its NME, its angles' slopes, its lids.

    Keys: `nme`; `angles`: by axis the least-squares slope of read against true degrees and the sd about it (a reader
    that turns 20° into 17° has slope 0.85); `closed_eye`: what openness it reads, as a share of open eyes', where
    the true eye is shut, which is the least that a blink can score; `brow_slope`, `mouth_gap_slope`: read against true.
    """
    reads, rows = [], []
    for row, (image, truth) in enumerate(
        zip(tqdm(faces.images, desc="the reader", unit="face", mininterval=2), faces.landmarks, strict=True)
    ):
        read = reader.read(image, face_box(truth))
        # A neighbouring shape may be taken for the face.
        if read is not None and nme_by_region(read.landmarks, truth)["all"] < 30:
            reads.append(read)
            rows.append(row)
    if len(reads) < 10:
        return {"faces": len(faces.images), "read": len(reads)}
    landmarks = np.stack([read.landmarks for read in reads])
    truth = faces.landmarks[rows]
    angles, true_angles = np.stack([read.angles for read in reads]), faces.angles[rows].astype(np.float64)
    near = np.abs(true_angles[:, 0]) < 35
    slopes = {}
    for axis, name in enumerate(("headYaw", "headPitch", "headRoll")):
        slope, start = np.polyfit(true_angles[near, axis], angles[near, axis], 1)
        spread = float(np.std(angles[near, axis] - slope * true_angles[near, axis] - start))
        slopes[name] = {"slope": float(slope), "sd": spread}
    openness, true_openness = landmarks68.eye_openness(landmarks), landmarks68.eye_openness(truth)
    shut, wide = true_openness < 0.05, true_openness > 0.22
    lids = None
    if shut.any() and wide.any():
        lids = {"eyes": int(shut.sum()), "share": float(openness[shut].mean() / openness[wide].mean())}
    gaps = np.linalg.norm(landmarks[:, 62] - landmarks[:, 66], axis=-1) / interocular(landmarks)
    true_gaps = np.linalg.norm(truth[:, 62] - truth[:, 66], axis=-1) / interocular(truth)
    return {
        "faces": len(faces.images),
        "read": len(reads),
        "nme": nme_by_region(landmarks, truth),
        "angles": slopes,
        "closed_eye": lids,
        "brow_slope": float(np.polyfit(_brow_heights(truth)[near], _brow_heights(landmarks)[near], 1)[0]),
        "mouth_gap_slope": float(np.polyfit(true_gaps[near], gaps[near], 1)[0]),
    }
