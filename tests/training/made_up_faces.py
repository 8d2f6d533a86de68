# SPDX-License-Identifier: GPL-3.0-or-later
"""Faces and groups of frames in the shards' layout, made up in a moment: noise about plausible landmarks."""

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.bundle import ARRAYS, DEFAULT_BUNDLE
from lpmm_runtime.landmarks68 import COUNT, IRISES
from lpmm_runtime.morphable import LandmarkModel
from training.geometry_head import FaceMotions

Arrays = dict[str, NDArray]


def landmark_model(k: int) -> LandmarkModel:
    """Return the default bundle's LPMM, shortened."""
    with np.load(DEFAULT_BUNDLE / ARRAYS, allow_pickle=False) as archive:
        return LandmarkModel(archive["mean"], archive["eigenvectors"], archive["sigma"]).truncated(k)


def _points(rng: np.random.Generator, count: int) -> tuple[NDArray, NDArray, NDArray]:
    model = landmark_model(20)
    points = (model.landmarks(rng.standard_normal((count, 20), np.float32)) * 0.7 + 0.15).astype(np.float32)
    canonical = points + rng.normal(0, 0.01, (count, 70, 2))
    return points[:, :COUNT], points[:, IRISES], canonical.astype(np.float32)


def _pictures(rng: np.random.Generator, count: int, side: int) -> NDArray[np.uint8]:
    coarse = rng.integers(0, 256, (count, side // 8, side // 8, 3), np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def faces(count: int, side: int = 64, seed: int = 0) -> Arrays:
    """Return `count` samples as face shards hold them."""
    rng = np.random.default_rng([seed, 1])
    landmarks, irises, canonical = _points(rng, count)
    return {
        "landmarks": landmarks,
        "irises": irises,
        "canonical": canonical,
        "images": _pictures(rng, count, side),
    }


def groups(count: int, frames: int = 3, side: int = 128, seed: int = 0) -> Arrays:
    """Return `count` groups as group shards hold them; every frame goes to the next."""
    rng = np.random.default_rng([seed, 2])
    landmarks, irises, canonical = (part.reshape(count, frames, -1, 2) for part in _points(rng, count * frames))
    pairs = np.stack([np.arange(frames), np.roll(np.arange(frames), -1)], axis=1)
    return {
        "landmarks": landmarks,
        "irises": irises,
        "canonical": canonical,
        "pairs": np.tile(pairs, (count, 1, 1)).astype(np.int64),
        "flow": rng.normal(0, 0.02, (count, frames, side, side, 2)).astype(np.float16),
        "layers": rng.integers(0, 4, (count, frames, side, side), np.uint8),
        "alpha": _pictures(rng, count * frames, side)[..., 0],
        "images": _pictures(rng, count * frames, side),
    }


def motions(count: int, frames: int = 3, seed: int = 0) -> FaceMotions:
    """Return `count` groups of landmarks in motion; every second frame's head is as the first's."""
    rng = np.random.default_rng([seed, 3])
    landmarks, irises, canonical = (part.reshape(count, frames, -1, 2) for part in _points(rng, count * frames))
    turns = np.where(np.arange(frames)[None, :, None] % 2, 0.0, rng.normal(0, 9, (count, frames, 3)))
    seen = np.concatenate([landmarks, irises], axis=2)
    return FaceMotions(seen, canonical, turns.astype(np.float32))
