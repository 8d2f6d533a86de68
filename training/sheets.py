# SPDX-License-Identifier: GPL-3.0-or-later
"""Sheets of small pictures that show how far a training has come."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]

# How many samples a sheet shows.
SHOWN = 6
# Marks need room on small crops.
_SIDE = 192
_TRUE, _READ = (60, 220, 60), (255, 60, 60)


def _tiles(images: NDArray[np.float32]) -> list[Picture]:
    """Return pictures uint8 [s, s, 3] of float32 ones [n, 3, s, s] in [0, 1]."""
    return [np.ascontiguousarray((image.transpose(1, 2, 0).clip(0, 1) * 255).astype(np.uint8)) for image in images]


def crops(images: NDArray[np.float32], truth: Points, read: Points) -> Picture:
    """Return crops [n, 3, s, s] in a row, with true landmarks [n, m, 2] in green and read ones in red."""
    tiles = [np.asarray(cv2.resize(tile, (_SIDE, _SIDE)), np.uint8) for tile in _tiles(images)]
    for tile, *both in zip(tiles, truth, read, strict=True):
        for points, colour in zip(both, (_TRUE, _READ), strict=True):
            for x, y in points * tile.shape[0] * 16:
                cv2.circle(tile, (int(x), int(y)), 18, colour, -1, cv2.LINE_AA, 4)
    return np.concatenate(tiles, axis=1)


def boxes(images: NDArray[np.float32], truth: Sequence[Points], found: Sequence[Sequence[Sequence[float]]]) -> Picture:
    """Return scenes [n, 3, s, s] in a row, with true boxes in green and found ones in red, all in the unit square."""
    tiles = _tiles(images)
    for tile, *both in zip(tiles, truth, found, strict=True):
        for edges, colour in zip(both, (_TRUE, _READ), strict=True):
            for box in edges:
                left, top, right, bottom = (round(float(edge) * tile.shape[0]) for edge in box)
                cv2.rectangle(tile, (left, top), (right, bottom), colour, 1)
    return np.concatenate(tiles, axis=1)


def rows(*pictures: Tensor) -> Picture:
    """Return rows of pictures [n, 3, s, s] in [0, 1], one below the other: what was given, wanted and drawn, say."""
    bands = [np.concatenate(_tiles(part[:SHOWN].detach().float().cpu().numpy()), axis=1) for part in pictures]
    return np.concatenate(bands, axis=0)
