# SPDX-License-Identifier: GPL-3.0-or-later
"""What a generator must beat, each given the truth: copying, plain landmark warps, and the exact motion of pixels."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from training.backbones.face_geometry import landmark_flow
from training.backbones.portrait_flow import background_plate

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

_GRID = 64
# Of the radial basis function |r|, in the unit square: landmarks that nearly meet may give way.
_SMOOTHING = 0.01
_BORDER = np.linspace(0.0, 1.0, 5)


@dataclass(frozen=True, eq=False)
class TruePair:
    """Two frames of one person and all that is known between them; sides are equal.

    Attributes:
        source, target: uint8 [s, s, 3]; source_alpha, target_alpha: float32 [s, s], the head's coverage.
        source_landmarks, target_landmarks: [68, 2] in the unit square; source_irises, target_irises: [2, 2].
        flow: float32 [s, s, 2], target pixel → source pixel, in sides; visible: bool [s, s], where the source shows
            what the target shows; layer: uint8 [s, s], 0 is the background.
    """

    source: Pixels
    target: Pixels
    source_alpha: Array
    target_alpha: Array
    source_landmarks: Array
    target_landmarks: Array
    source_irises: Array
    target_irises: Array
    flow: Array
    visible: NDArray[np.bool_]
    layer: NDArray[np.uint8]

    @property
    def side(self) -> int:
        return self.source.shape[0]

    @property
    def points(self) -> tuple[Array, Array]:
        """Landmarks and irises [70, 2] of the source and of the target."""
        return (
            np.concatenate([self.source_landmarks, self.source_irises]),
            np.concatenate([self.target_landmarks, self.target_irises]),
        )


@dataclass(frozen=True, eq=False)
class Rivals:
    """Pictures by name, and the flows (in sides) of those that have one."""

    pictures: dict[str, Pixels]
    flows: dict[str, Array]


def rivals_of(pair: TruePair) -> Rivals:
    """Return the rivals' pictures and flows.

    "copy" is the source; "landmark_warp" a radial-basis warp of the true displacements of landmarks and irises, with
    the picture's border nailed down; "layered_warp" moving least squares on the same points, the head lifted off by
    its true matte over the same made-up background that the generator uses; "exact_flow" the source moved by the true
    motion.
    """
    radial = radial_flow(*pair.points, pair.side)
    affine = _moving_least_squares(pair)
    matte = moved(pair.source_alpha, affine)[..., None]
    plate = _plate(pair)
    layered = matte * moved(pair.source.astype(np.float32), affine) + (1 - matte) * plate
    return Rivals(
        pictures={
            "copy": pair.source,
            "landmark_warp": moved(pair.source, radial),
            "layered_warp": np.clip(np.rint(layered), 0, 255).astype(np.uint8),
            "exact_flow": moved(pair.source, pair.flow),
        },
        flows={"copy": np.zeros_like(radial), "landmark_warp": radial, "layered_warp": affine},
    )


def moved(picture: NDArray, flow: Array) -> NDArray:
    """Return a picture [s, s, ...] sampled where a backward flow [s, s, 2] (in sides) points, edges repeated."""
    side = picture.shape[0]
    y, x = np.mgrid[:side, :side].astype(np.float32)
    return cv2.remap(
        picture, x + flow[..., 0] * side, y + flow[..., 1] * side, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def radial_flow(source: Array, target: Array, side: int) -> Array:
    """Return the backward flow [side, side, 2], in sides, of a radial-basis warp (kernel |r| and an affine part)."""
    x, y = np.meshgrid(_BORDER, _BORDER)
    border = np.stack([x.ravel(), y.ravel()], axis=1)
    border = border[(border == 0).any(axis=1) | (border == 1).any(axis=1)]
    centres = np.concatenate([target, border]).astype(np.float64)
    shifts = np.concatenate([source - target, np.zeros_like(border)]).astype(np.float64)
    count = len(centres)
    kernel = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    # |r| is conditionally negative definite: a smoothing term is taken off.
    kernel -= _SMOOTHING * np.eye(count)
    affine = np.concatenate([np.ones((count, 1)), centres], axis=1)
    system = np.block([[kernel, affine], [affine.T, np.zeros((3, 3))]])
    weights = np.linalg.lstsq(system, np.concatenate([shifts, np.zeros((3, 2))]), rcond=None)[0]
    step = (np.arange(_GRID) + 0.5) / _GRID
    gx, gy = np.meshgrid(step, step)
    grid = np.stack([gx.ravel(), gy.ravel()], axis=1)
    distances = np.linalg.norm(grid[:, None] - centres[None], axis=-1)
    flow = distances @ weights[:count] + np.concatenate([np.ones((len(grid), 1)), grid], axis=1) @ weights[count:]
    small = flow.reshape(_GRID, _GRID, 2).astype(np.float32)
    return np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)


def _moving_least_squares(pair: TruePair) -> Array:
    source, target = (torch.from_numpy(points[None]) for points in pair.points)
    with torch.no_grad():
        flow = landmark_flow(source, target, pair.side)[0]
    return np.ascontiguousarray(flow.permute(1, 2, 0).numpy())


def _plate(pair: TruePair) -> Array:
    picture = torch.from_numpy(pair.source).permute(2, 0, 1)[None].float() / 255.0
    alpha = torch.from_numpy(pair.source_alpha)[None, None]
    with torch.no_grad():
        plate = background_plate(picture, alpha)[0]
    return 255.0 * plate.permute(1, 2, 0).numpy()
