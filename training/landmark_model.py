# SPDX-License-Identifier: GPL-3.0-or-later
"""The LPMM: a PCA of aligned landmarks (paper, Sec. 3.1, Eq. 1), its truncation errors, and a picture of it."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lpmm_runtime import landmarks68
from lpmm_runtime.morphable import LandmarkModel
from training.synth.canonical import CanonicalFrame
from training.synth.facekit import FaceKit
from training.synth.head import LandmarkSampler
from training.synth.motion import Motion, sample_expression, sample_head_angles
from training.synth.people import Person, Split, sample_brows, sample_shape

Array = NDArray[np.float32]

# How many motions of each person a `LandmarkSet` holds, one after the other.
MOTIONS = 4
# Were eyes to part here as seldom as in pictures, 40 components would hardly tell one's gaze from the other's.
_EYES_APART = 0.35
# What a point counts for when directions are chosen, where irises are among the points: two of seventy would be
# rounded off, and 40 components that went by variance alone would tell brows from brows before smiles from smirks.
_REGION_WEIGHTS = {"jaw": 0.8, "brows": 0.8, "nose": 1.0, "eyes": 1.3, "mouth": 1.3}
_IRIS_WEIGHT = 3.2
TRUNCATIONS = (5, 10, 20, 40, 136)


@dataclass(frozen=True)
class LandmarkSet:
    """What many people in many motions show.

    Attributes:
        landmarks: [n, 70, 2], in the unit square of their aligned crops, irises last; [n, 68, 2] of faces whose irises
            are not known. Each person's `MOTIONS` follow each other.
        angles: [n, 3], yaw, pitch and roll in degrees.
        canonical: [n, 70, 2], the same motions on the mean person.
    """

    landmarks: Array
    angles: Array
    canonical: Array


def shape_only(kit: FaceKit, rng: np.random.Generator) -> Person:
    """Return a person with a shape and brows, and no other appearance: all that landmarks need."""
    morphs, tags = sample_shape(kit, rng)
    ethnicity = (tags["caucasian"], tags["asian"], tags["african"])
    return Person(morphs=morphs, ethnicity=ethnicity, brows=sample_brows(kit, rng))


def sample_landmarks(kit: FaceKit, people: int, seed: int, split: Split) -> LandmarkSet:
    """Return the landmarks of `people` random people in `MOTIONS` random motions; train and test seeds never meet."""
    sampler = LandmarkSampler(kit)
    frame = CanonicalFrame(sampler)
    landmarks, angles, canonical = [], [], []
    for number in tqdm(range(people), desc=f"landmarks ({split})", unit="person", mininterval=5):
        rng = np.random.default_rng([seed, 7, 0 if split == "train" else 1, number])
        person = shape_only(kit, rng)
        for _ in range(MOTIONS):
            yaw, pitch, roll = sample_head_angles(rng)
            motion = sample_expression(rng, kit.expression_presets, _EYES_APART)
            motion = Motion(yaw, pitch, roll, 0.0, 0.0, motion.gaze, motion.controls, motion.units, motion.targets)
            landmarks.append(sampler.aligned_points(person, motion, float(rng.uniform(10, 38))))
            angles.append((yaw, pitch, roll))
            canonical.append(frame.points(motion))
    return LandmarkSet(np.stack(landmarks), np.array(angles, np.float32), np.stack(canonical))


def fit(landmarks: Array, k: int) -> LandmarkModel:
    """Return the PCA of landmarks [n, 68, 2] or [n, 70, 2] and of their mirror images with k components, at most all.

    With them the model is its own mirror image: what the left of a face can do its right can do as well. Signs
    are fixed so that a retrained model keeps its sliders' directions: the largest entry of each eigenvector is
    positive. Of 68 points it is the plain PCA. With irises, which k directions are kept goes by variances weighted by
    region; in those directions it is the plain PCA.
    """
    both = np.concatenate([landmarks, landmarks68.mirror(landmarks)]).astype(np.float64)
    flat = both.reshape(len(both), -1)
    mean = flat.mean(axis=0)
    return _model_of(mean, np.cov(flat - mean, rowvar=False), k)


def fit_parts(parts: Iterable[Array], k: int) -> LandmarkModel:
    """Return what `fit` does of landmarks that come in parts [m, n, 2], of which one at a time is in memory.

    Raises:
        ValueError: if there are fewer than two faces.
    """
    count = 0
    total, products = np.zeros(1), np.zeros((1, 1))
    for part in parts:
        both = np.concatenate([part, landmarks68.mirror(part)]).astype(np.float64)
        # About the crop's middle, so that the products do not drown what differs.
        flat = both.reshape(len(both), -1) - 0.5
        count += len(flat)
        total = total + flat.sum(axis=0)
        products = products + flat.T @ flat
    if count < 4:
        raise ValueError("an LPMM needs more than one face")
    mean = total / count
    covariance = (products - count * np.outer(mean, mean)) / (count - 1)
    return _model_of(mean + 0.5, covariance, k)


def _model_of(mean: NDArray[np.float64], covariance: NDArray[np.float64], k: int) -> LandmarkModel:
    weights = np.ones((len(mean) // 2, 2))
    if len(weights) > landmarks68.COUNT:
        for name, region in landmarks68.REGIONS.items():
            weights[region] = _REGION_WEIGHTS[name]
        weights[landmarks68.COUNT :] = _IRIS_WEIGHT
    weights = weights.ravel()
    _, kept = _leading(covariance * np.outer(weights, weights), k)
    kept = np.linalg.qr(kept / weights[:, None])[0]
    values, turns = _leading(kept.T @ covariance @ kept, k)
    eigenvectors = (kept @ turns).T
    largest = np.take_along_axis(eigenvectors, np.abs(eigenvectors).argmax(axis=1)[:, None], axis=1)
    eigenvectors = eigenvectors * np.sign(largest)
    sigma = np.sqrt(np.maximum(values, 1e-12))
    return LandmarkModel(mean.astype(np.float32), eigenvectors.astype(np.float32), sigma.astype(np.float32))


def _leading(covariance: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the k largest variances [k] and their directions [n, k]."""
    values, vectors = np.linalg.eigh(covariance)
    order = np.argsort(values)[::-1][:k]
    return values[order], vectors[:, order]


def truncation_errors(full: LandmarkModel, landmarks: Array, model: LandmarkModel | None = None) -> dict[int, float]:
    """Return the NME in percent that keeping only k components costs, for each k of Table 1 that the full model has.

    It is the NME of the 68 points; the last k of Table 1 stands for all components, which are more with irises.

    Args:
        model: that of the k it has, where the full model's first are not it (`fit`).
    """
    errors = {}
    for k in TRUNCATIONS:
        if k <= full.k:
            shorter = full if k == TRUNCATIONS[-1] else full.truncated(k)
            shorter = model if model is not None and k == model.k else shorter
            rebuilt = shorter.landmarks(shorter.params(landmarks))
            errors[k] = float(landmarks68.interocular_nme(rebuilt, landmarks).mean())
    return errors


def component_names(model: LandmarkModel, data: LandmarkSet) -> list[str]:
    """Return a name for each component: the head angle it follows (|r| > 0.6), or the region that it moves most."""
    params = model.params(data.landmarks)
    regions = landmarks68.REGIONS | ({"gaze": landmarks68.IRISES} if model.points > landmarks68.COUNT else {})
    names = []
    for row in range(model.k):
        r = [np.corrcoef(params[:, row], data.angles[:, axis])[0, 1] for axis in range(3)]
        best = int(np.argmax(np.abs(r)))
        if abs(r[best]) > 0.6:
            names.append(("yaw", "roll", "pitch")[(0, 2, 1)[best]])
            continue
        moved = np.linalg.norm(model.eigenvectors[row].reshape(-1, 2), axis=1)
        shares = {name: float(np.square(moved[region]).mean()) for name, region in regions.items()}
        names.append(max(shares, key=lambda name: shares[name]))
    return names


def draw_components(model: LandmarkModel, count: int, names: list[str], cell: int = 150) -> NDArray[np.uint8]:
    """Return a picture uint8 [h, w, 3]: a row a component, from −3σ to +3σ (the paper's Fig. 3)."""
    steps = (-3.0, -1.5, 0.0, 1.5, 3.0)
    sheet = np.full((count * cell, len(steps) * cell, 3), 255, np.uint8)
    for row in range(count):
        for column, step in enumerate(steps):
            params = np.zeros(model.k, np.float32)
            params[row] = step
            face = (model.landmarks(params) - 0.5) * 1.5 * cell + cell / 2
            tile = sheet[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
            for line in landmarks68.POLYLINES:
                points = np.round(face[list(line)] * 16).astype(np.int32)
                cv2.polylines(tile, [points], False, (40, 40, 40), 1, cv2.LINE_AA, 4)
            for x, y in np.round(face[landmarks68.COUNT :] * 16).astype(int):
                cv2.circle(tile, (int(x), int(y)), 24, (40, 40, 40), -1, cv2.LINE_AA, 4)
        label = f"p{row + 1:02d} {names[row]}"
        cv2.putText(sheet, label, (4, row * cell + 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (160, 60, 20), 1, cv2.LINE_AA)
    return sheet
