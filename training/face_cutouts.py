# SPDX-License-Identifier: GPL-3.0-or-later
"""Cut-outs of heads for the face finder's scenes: with hair, beards and hats the kit has too little of, or faceless."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from lpmm_runtime.crop import face_box
from training import brushes

Array = NDArray[np.float32]

# Room about a picture of a head, for a body below it and hair or a hat on it, in pictures.
_ROOM = 0.5


@dataclass(frozen=True)
class Cutout:
    """Pixels to lay over a scene: float32 [h, w, 3] in 0–255, coverage [h, w] in 0–1, landmarks [68, 2] in pixels."""

    image: Array
    alpha: Array
    landmarks: Array


def cut_out(image: NDArray[np.uint8], alpha: NDArray[np.uint8], landmarks: Array, rng: np.random.Generator) -> Cutout:
    """Return a head, perhaps mirrored, with room about it and a body that goes on below the picture's edge.

    Args:
        image: [s, s, 3]; alpha: [s, s], the head's coverage; landmarks: [68, 2] in the unit square.
    """
    if rng.random() < 0.5:
        image, alpha = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(alpha[:, ::-1])
        landmarks = landmarks68.mirror(landmarks).astype(np.float32)
    side = image.shape[0]
    room = int(_ROOM * side)
    border = (room, 2 * room, room, room, cv2.BORDER_REPLICATE)
    wide = np.asarray(cv2.copyMakeBorder(image, *border), np.float32)
    cover = np.asarray(cv2.copyMakeBorder(alpha, *border), np.float32) / np.float32(255)
    # Cloth below the edge is one row drawn out: give it folds.
    folds = np.asarray(cv2.resize(rng.normal(0, rng.uniform(0, 22), (8, 8)), wide.shape[1::-1]), np.float32)
    wide[room + side :] += folds[room + side :, :, None]
    wide *= np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.05, 3)).astype(np.float32)
    return Cutout(wide.clip(0, 255), cover * _trunk(side, room, cover.shape, rng), landmarks * side + room)


def dress(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    """Add hair behind the head, a beard, a hat, each now and then."""
    if rng.random() < 0.3:
        cutout = _hair(cutout, rng)
    if rng.random() < 0.15:
        cutout = _beard(cutout, rng)
    if rng.random() < 0.18:
        cutout = _hat(cutout, rng)
    return replace(cutout, image=cutout.image.clip(0, 255))


def take_face_away(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    """Return hair, skin or cloth in the face's place, or its pieces shuffled, or the body without its head."""
    left, top, right, bottom = face_box(cutout.landmarks)
    height = bottom - top
    kind = rng.random()
    if kind < 0.2:
        rows = np.arange(cutout.alpha.shape[0], dtype=np.float32)
        neck = bottom + height * rng.uniform(-0.05, 0.1)
        below = np.clip((rows - neck) / (0.03 * height), 0, 1).astype(np.float32)
        return replace(cutout, alpha=cutout.alpha * below[:, None])
    if kind < 0.4:
        return _shuffled(cutout, rng)
    shape = cutout.alpha.shape
    mask = np.zeros(shape, np.float32)
    axes = ((right - left) * rng.uniform(0.5, 0.65), height * rng.uniform(0.5, 0.65))
    brushes.ellipse(mask, (0.5 * (left + right), 0.5 * (top + bottom)), axes)
    if kind < 0.65:
        fill = brushes.tint(brushes.HAIR_COLOURS, rng) + brushes.streaks(shape, rng, rng.uniform(3, 20))
    elif kind < 0.9:
        nose = cutout.landmarks[30].astype(int)
        fill = cutout.image[nose[1], nose[0]] + brushes.streaks(shape, rng, rng.uniform(0, 20))
    else:
        fill = rng.random(3) * 255 + brushes.streaks(shape, rng, rng.uniform(3, 40))
    image = brushes.blend(cutout.image, fill, _softened(mask, rng, 1, 4))
    return replace(cutout, image=image.clip(0, 255))


def _softened(mask: Array, rng: np.random.Generator, least: float, most: float) -> Array:
    """Blur a mask by a sigma between two, in 256ths of its width."""
    return brushes.blurred(mask, rng.uniform(least, most) * mask.shape[1] / 256)


def _trunk(side: int, room: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return what is kept [h, w] of the drawn-out coverage: shoulders and a trunk, sometimes faded or cut early.

    Otherwise the finder would learn that faces have a straight edge below them.
    """
    mask = np.zeros(shape[:2], np.float32)
    middle = room + 0.5 * side
    shoulder, waist = rng.uniform(0.5, 0.72) * side, rng.uniform(0.35, 0.75) * side
    end = room + side * (1 + (rng.uniform(0.4, 1.0) if rng.random() < 0.9 else 0.0))
    edge = room + rng.uniform(0.8, 1.0) * side
    right = [(middle + shoulder, room), (middle + shoulder, edge), (middle + waist, end)]
    brushes.polygon(mask, [*right, *((2 * middle - x, y) for x, y in reversed(right))])
    if rng.random() < 0.4:
        mask = _softened(mask, rng, 0.5, 8)
    if rng.random() < 0.2:
        start = room + rng.uniform(0.75, 0.95) * side
        rows = np.arange(shape[0], dtype=np.float32)
        mask *= np.clip(1 - (rows - start) / (side * rng.uniform(0.05, 0.3)), 0, 1).astype(np.float32)[:, None]
    return mask


def _hair(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    left, top, right, bottom = face_box(cutout.landmarks)
    width, height = right - left, bottom - top
    alpha = cutout.alpha
    mask = np.zeros(alpha.shape, np.float32)
    axes = (width * rng.uniform(0.6, 0.95), height * rng.uniform(0.6, 1.1))
    brushes.ellipse(mask, (0.5 * (left + right), top + height * rng.uniform(0.2, 0.6)), axes)
    mask = _softened(mask, rng, 0.5, 3)
    hair = brushes.tint(brushes.HAIR_COLOURS, rng) + brushes.streaks(alpha.shape, rng, rng.uniform(3, 18))
    return replace(cutout, image=brushes.blend(hair, cutout.image, alpha), alpha=np.maximum(alpha, mask))


def _beard(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    points = cutout.landmarks
    mask = np.zeros(cutout.alpha.shape, np.float32)
    brushes.polygon(mask, np.concatenate([points[3:14], points[[35, 33, 31]]]))
    brushes.polygon(mask, points[list(landmarks68.MOUTH_OUTER)], 0.0)
    mask = _softened(mask, rng, 1, 3) * np.float32(rng.uniform(0.3, 0.95))
    hair = brushes.tint(brushes.HAIR_COLOURS, rng) + brushes.streaks(mask.shape, rng, rng.uniform(3, 18))
    return replace(cutout, image=brushes.blend(cutout.image, hair, mask))


def _hat(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    points = cutout.landmarks
    left, top, right, bottom = face_box(points)
    width, height, middle = right - left, bottom - top, 0.5 * (left + right)
    mask = np.zeros(cutout.alpha.shape, np.float32)
    brim = points[landmarks68.REGIONS["brows"], 1].min() - height * rng.uniform(0.0, 0.22)
    crown = top - height * rng.uniform(0.1, 0.4)
    wide, narrow = width * rng.uniform(0.5, 0.75), width * rng.uniform(0.3, 0.65)
    outline = [(middle - wide, brim), (middle + wide, brim), (middle + narrow, crown), (middle - narrow, crown)]
    brushes.polygon(mask, outline)
    if rng.random() < 0.5:
        axes = (width * rng.uniform(0.6, 1.1), height * rng.uniform(0.03, 0.12))
        brushes.ellipse(mask, (middle, brim), axes, float(rng.normal(0, 4)))
    mask = _softened(mask, rng, 0.5, 3)
    cloth = rng.random(3) * 255 + brushes.streaks(mask.shape, rng, rng.uniform(3, 25))
    alpha = np.maximum(cutout.alpha, mask)
    return replace(cutout, image=brushes.blend(cutout.image, cloth, mask), alpha=alpha)


def _shuffled(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    left, top, right, bottom = face_box(cutout.landmarks)
    image = cutout.image.copy()
    columns, rows = (np.linspace(a, b, 4).astype(int) for a, b in ((left, right), (top, bottom)))
    cells = [(slice(*rows[i : i + 2]), slice(*columns[j : j + 2])) for i in range(3) for j in range(3)]
    pieces = [image[cell].copy() for cell in cells]
    for cell, piece in zip(cells, np.roll(rng.permutation(9), 1), strict=True):
        image[cell] = cv2.resize(pieces[piece], image[cell].shape[1::-1])
    return replace(cutout, image=brushes.blurred(image, 0.7))
