# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a brow's five landmarks lie: on what is drawn of it, not on the ridge that it grows on.

iBUG's points run along a brow's upper edge, from its outer tip to the upper corner of its inner end. Brows of the kit
are strips whose textures say where there is hair: thin or bushy, arched or level, they follow no vertices of the body.
Labels that do stand up to a quarter of an eye's width beside the brow that a picture shows.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synth.facekit import FaceKit, Proxy

Array = NDArray[np.float32]

# From here on, coverage is seen as hair.
_SEEN = 0.3
# A strip's triangles are sampled this many times along an edge; the samples are drawn, so many pixels a decimetre.
_SAMPLES, _PIXELS = 32, 800
# A brow's inner end is round: so far along it is its upper corner.
_INNER_END = 0.96
# Single hairs that stand off are no edge: pixels that coverage is smoothed by, and columns to a side that count as one.
_SMOOTH, _COLUMN = 2.0, 4


def brow_marks(kit: FaceKit, proxy: Proxy) -> Proxy:
    """Return a brow's ten landmarks (17 to 26 of the 68) as a proxy of ten vertices: bound to the body as the brow is.

    They are found on the kit's base head, seen from the front.
    """
    strip = _Strip(kit, proxy)
    return strip.at(strip.edges())


def average_brow_marks(kit: FaceKit) -> Proxy:
    """Return the landmarks of an average brow, and of its mirror image, for people of whom no brow is known."""
    strips = [_Strip(kit, proxy) for proxy in kit.proxies.values() if proxy.kind == "eyebrows"]
    edges = np.mean([strip.edges() for strip in strips], axis=0)
    return strips[0].at(0.5 * (edges + edges[::-1] * [-1.0, 1.0]))


class _Strip:
    """A brow's mesh on the base head, sampled: `positions` [n, 2] from the front, y up, and how much hair is there."""

    def __init__(self, kit: FaceKit, proxy: Proxy) -> None:
        self._proxy = proxy
        steps = np.linspace(0.0, 1.0, _SAMPLES)
        first, second = (part.ravel() for part in np.meshgrid(steps, steps))
        within = np.stack([1.0 - first - second, first, second], axis=1)[first + second <= 1.0].astype(np.float32)
        self._corners = np.repeat(proxy.render_vertex[proxy.triangles], len(within), axis=0)
        self._shares = np.tile(within, (len(proxy.triangles), 1))
        uv = np.einsum("sc,tcd->tsd", within, proxy.uv[proxy.triangles]).reshape(-1, 2)
        self._covered = _coverage(kit, proxy.name, uv)
        places = proxy.rest(kit.body.base)
        self._positions = (places[self._corners] * self._shares[..., None]).sum(axis=1)[:, :2]

    def edges(self) -> Array:
        """Return the upper edges [10, 2] of both brows, from the picture's left to its right."""
        left = self._positions[:, 0] < 0
        mirrored = self._positions * np.array([-1.0, 1.0], np.float32)
        first = _upper_edge(self._positions[left], self._covered[left])
        second = _upper_edge(mirrored[~left], self._covered[~left])
        return np.concatenate([first, second[::-1] * np.array([-1.0, 1.0], np.float32)])

    def at(self, wanted: Array) -> Proxy:
        """Return the strip's places nearest to `wanted` [m, 2] as a proxy of m vertices."""
        nearest = [np.linalg.norm(self._positions - place, axis=1).argmin() for place in wanted]
        return self._proxy.blended(self._corners[nearest], self._shares[nearest])


def _coverage(kit: FaceKit, texture: str, uv: Array) -> Array:
    """Return how much hair a texture has at places [n, 2]."""
    image = cv2.imread(str(kit.texture_path(texture)), cv2.IMREAD_UNCHANGED)
    alpha = image[..., 3] if image.ndim == 3 and image.shape[2] == 4 else np.full(image.shape[:2], 255)
    height, width = alpha.shape
    column = np.clip(uv[:, 0] * width, 0, width - 1).astype(np.int64)
    row = np.clip((1.0 - uv[:, 1]) * height, 0, height - 1).astype(np.int64)
    return (alpha[row, column] / 255.0).astype(np.float32)


def _upper_edge(positions: Array, covered: Array) -> Array:
    """Return five places [5, 2] along a brow's upper edge, from its left end, which is the outer one, to its right.

    Args:
        positions: [n, 2], samples of the strip, y up; covered: [n], how much hair is there.
    """
    low = positions.min(axis=0) - 4 * _SMOOTH / _PIXELS
    pixels = np.floor((positions - low) * _PIXELS).astype(np.int64)
    drawn = np.zeros((pixels.max(axis=0) + 1 + int(4 * _SMOOTH))[::-1], np.float32)
    np.maximum.at(drawn, (pixels[:, 1], pixels[:, 0]), covered)
    seen = cv2.GaussianBlur(drawn, (0, 0), _SMOOTH) > _SEEN
    columns = np.flatnonzero(seen.any(axis=0))
    points = []
    for share in np.linspace(0.0, _INNER_END, 5):
        column = round(columns[0] + share * (columns[-1] - columns[0]))
        near = seen[:, max(column - _COLUMN, 0) : column + _COLUMN + 1]
        points.append((column, np.median([np.flatnonzero(strip)[-1] for strip in near.T if strip.any()])))
    return low + (np.array(points, np.float32) + 0.5) / _PIXELS
