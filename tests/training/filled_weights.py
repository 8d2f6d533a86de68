# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights and pictures by rule, so that the goldens' networks can be made anywhere from a list of keys.

A key K of shape S gets float32(a + b·n), n standard normal numbers of PCG64(crc32(prefix + K)); a and b stand in the
list of keys. The rules with a name are below.
"""

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

DATA = Path(__file__).parent.parent / "data" / "backbones"
State = dict[str, Tensor]

# (first offset, channels) of each AdaIN's slices of the projector's answer: offsets to add, then factors.
_ADAIN_CHANNELS = (512,) * 11 + (256, 256, 128, 128, 64, 64)


def golden(name: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of a golden file."""
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def keys(name: str, part: str) -> dict[str, tuple[list[int], Any, Any]]:
    """Return (shape, a, b) by key of one part of a checkpoint: ("lia", "gen"), ("lpd", "generator"), …"""
    return json.loads((DATA / f"{name}_keys.json").read_text("utf-8"))[part]


def lia_state(prefix: str = "lia/") -> State:
    """Return LIA's state dict; another prefix gives other weights."""
    state = {}
    for key, (shape, a, b) in keys("lia", "gen").items():
        if key.endswith(".kernel"):
            row = torch.tensor([1.0, 3.0, 3.0, 1.0])
            gain = 1.0 if key.startswith("enc.") else 4.0
            state[key] = torch.outer(row, row) * (gain / 64)
        else:
            state[key] = _tensor(a + b * _normal(prefix + key, shape))
    return state


def lpd_embedder(prefix: str = "lpd/embedder/") -> State:
    """Return the state dict of LPD's two encoders."""
    return _lpd("embedder", prefix)


def lpd_generator(prefix: str = "lpd/generator/") -> State:
    """Return the state dict of LPD's generator."""
    state = _lpd("generator", prefix)
    for key in [key for key in state if key.endswith("weight_orig")]:
        stem = key.removesuffix("orig")
        u, v = _singular_pair(state[key], prefix + stem + "u")
        state[stem + "u"], state[stem + "v"] = u, v
    return state


def picture(kind: str, size: int = 256) -> NDArray[np.uint8]:
    """Return the goldens' smooth picture [size, size, 3] uint8: "source" or "driving"."""
    if kind == "source":
        x, y, wide, high, turn = 0.50, 0.52, 0.17, 0.23, 0.0
        waves, phases = ((1.0, 0.5), (0.5, 1.5), (1.5, 1.0)), (0.3, 1.1, 2.2)
    else:
        x, y, wide, high, turn = 0.57, 0.46, 0.19, 0.21, 0.25
        waves, phases = ((0.8, 0.9), (1.2, 0.4), (0.6, 1.3)), (1.9, 0.2, 2.9)
    axis = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(axis, axis)
    du, dv = u - x, v - y
    p, q = math.cos(turn) * du + math.sin(turn) * dv, -math.sin(turn) * du + math.cos(turn) * dv
    head = np.exp(-((p / wide) ** 2) / 2 - (q / high) ** 2 / 2)
    eyes = sum(np.exp(-((p - e) ** 2 + (q + 0.06) ** 2) / (2 * 0.025**2)) for e in (-0.075, 0.075))
    mouth = np.exp(-((p / 0.07) ** 2) / 2 - ((q - 0.11) / 0.022) ** 2 / 2)
    out = np.empty((size, size, 3))
    for c, ((fx, fy), phase) in enumerate(zip(waves, phases, strict=True)):
        ground = 0.40 + 0.18 * np.sin(2 * np.pi * (fx * u + fy * v) + phase)
        out[..., c] = (
            ground + (0.45, 0.33, 0.25)[c] * head - (0.35, 0.30, 0.28)[c] * eyes - (0.10, 0.28, 0.24)[c] * mouth
        )
    return np.clip(np.floor(out * 255 + 0.5), 0, 255).astype(np.uint8)


def unit_batch(kind: str) -> Tensor:
    """Return that picture as [1, 3, 256, 256] float32 in [0, 1]."""
    return torch.from_numpy(picture(kind)).permute(2, 0, 1)[None].float() / 255


def _lpd(part: str, prefix: str) -> State:
    state = {}
    for key, (shape, a, b) in keys("lpd", part).items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.zeros(shape, dtype=torch.int64)
        elif b == "20 power iterations":
            continue
        elif a == "affine":
            offset = np.concatenate([np.repeat([0.0, 1.0], c) for c in _ADAIN_CHANNELS])
            state[key] = _tensor(offset + b * _normal(prefix + key, shape))
        else:
            fan_in = math.prod(shape[1:]) if len(shape) > 1 else (shape[0] if shape else 1)
            scale = {"he": math.sqrt(2 / fan_in), "lecun": math.sqrt(1 / fan_in)}.get(b, b)
            state[key] = _tensor(a + scale * _normal(prefix + key, shape))
    return state


def _singular_pair(weight: Tensor, seed: str) -> tuple[Tensor, Tensor]:
    matrix = weight.reshape(len(weight), -1).double().numpy()
    u = _normal(seed, [len(weight)])
    u /= np.linalg.norm(u)
    for _ in range(20):
        v = matrix.T @ u
        v /= np.linalg.norm(v)
        u = matrix @ v
        u /= np.linalg.norm(u)
    return _tensor(u), _tensor(v)


def _normal(seed: str, shape: list[int]) -> NDArray[np.float64]:
    return np.random.Generator(np.random.PCG64(zlib.crc32(seed.encode()))).standard_normal(tuple(shape))


def _tensor(values: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))
