# SPDX-License-Identifier: GPL-3.0-or-later
"""What cameras, crops and people do to pictures of faces: distortions in training that carry over to photographs."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from lpmm_runtime.crop import CropSquare

Picture = NDArray[np.uint8]
Array = NDArray[np.float32]


@dataclass(frozen=True)
class CropJitter:
    """How far a training crop may differ from the aligned one: standard deviations.

    Attributes:
        shift: of the centre, in crop sides; scale: of the log side; turn: in degrees.
    """

    shift: float = 0.03
    scale: float = 0.06
    turn: float = 6.0


def crop_matrix(rng: np.random.Generator, jitter: CropJitter, square: CropSquare) -> Array:
    """Return the affine map [2, 3] from a picture's unit square to the unit square of a jittered crop.

    Args:
        square: the aligned crop, in the picture's unit square.
    """
    side = np.exp(np.clip(rng.normal(0, jitter.scale), -0.2, 0.2)) * square.side
    angle = np.radians(np.clip(rng.normal(0, jitter.turn), -20, 20))
    shift = np.clip(rng.normal(0, jitter.shift, 2), -0.1, 0.1) * square.side
    centre = np.array([square.x, square.y]) + shift
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / side
    return np.concatenate([turn, (0.5 - turn @ centre)[:, None]], axis=1).astype(np.float32)


def apply_matrix(matrix: Array, points: Array) -> Array:
    """Return points [..., 2] moved by an affine map [2, 3]."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def cut(picture: Picture, matrix: Array, size: int) -> Picture:
    """Return the crop uint8 [size, size, 3] that a unit-square map cuts from a picture."""
    side = picture.shape[0]
    pixels = np.concatenate([matrix[:, :2] * (size / side), matrix[:, 2:] * size], axis=1).astype(np.float64)
    # Pixel centres lie at +0.5 in both pictures.
    pixels[:, 2] += pixels[:, :2] @ np.array([0.5, 0.5]) - 0.5
    return cv2.warpAffine(picture, pixels, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def distort(image: Picture, landmarks: Array, rng: np.random.Generator) -> Picture:
    """Return the picture as some camera might have taken it.

    Args:
        image: uint8 [s, s, 3].
        landmarks: [68, 2] in pixels; glasses and hands go where they do on faces.
    """
    if rng.random() < 0.06:
        image = _glasses(image, landmarks, rng)
    kind = rng.random()
    if kind < 0.06:
        image = _occluder(image, rng)
    elif kind < 0.13:
        image = _hand(image, landmarks, rng)
    elif kind < 0.17:
        image = _microphone(image, landmarks, rng)
    values = image.astype(np.float32) / 255.0
    values = _tone(values, rng)
    if rng.random() < 0.2:
        values = _vignette(values, rng)
    if rng.random() < 0.2:
        values = cv2.GaussianBlur(values, (0, 0), float(rng.uniform(0.3, 1.8)))
    elif rng.random() < 0.12:
        values = _motion_blur(values, rng)
    if rng.random() < 0.25:
        values = _rescale(values, rng)
    if rng.random() < 0.4:
        grain = rng.standard_normal(values.shape, np.float32) * float(rng.uniform(0.0, 0.045))
        values = values + (grain if rng.random() < 0.6 else grain.mean(axis=2, keepdims=True))
    out = (values.clip(0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.4:
        out = _jpeg(out, int(rng.integers(30, 96)))
    return out


def mirrored(image: Picture, landmarks: Array) -> tuple[Picture, Array]:
    """Return the mirrored picture and its landmarks [68, 2] (unit square)."""
    return np.ascontiguousarray(image[:, ::-1]), landmarks68.mirror(landmarks).astype(np.float32)


def _tone(values: Array, rng: np.random.Generator) -> Array:
    gamma = np.exp(rng.normal(0, 0.28))
    # White balance errs from warm to cold, seldom to green or purple.
    cast = rng.normal(0, 0.12) * np.array([1.0, 0.1, -1.0]) + rng.normal(0, 0.03, 3)
    gain = np.exp(rng.normal(0, 0.15) + cast).astype(np.float32)
    values = np.power(values, np.float32(gamma)) * gain
    grey = values.mean(axis=2, keepdims=True)
    monochrome = rng.random() < 0.1
    values = grey + (values - grey) * np.float32(0.0 if monochrome else rng.uniform(0.45, 1.35))
    if monochrome and rng.random() < 0.4:
        values = values * np.exp(rng.uniform(0.05, 0.25) * np.array([1.0, 0.2, -1.0])).astype(np.float32)
    pivot = np.float32(values.mean())
    return (values - pivot) * np.float32(np.exp(rng.normal(0, 0.2))) + pivot + np.float32(rng.normal(0, 0.04))


def _vignette(values: Array, rng: np.random.Generator) -> Array:
    axis = np.linspace(-1, 1, values.shape[0], dtype=np.float32)
    centre = rng.normal(0, 0.4, 2).astype(np.float32)
    distance = (axis[None, :] - centre[0]) ** 2 + (axis[:, None] - centre[1]) ** 2
    return values * (1.0 - np.float32(rng.uniform(0.1, 0.35)) * distance.clip(0, 2)[..., None])


def _motion_blur(values: Array, rng: np.random.Generator) -> Array:
    length = int(rng.integers(3, 8))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1.0
    turn = cv2.getRotationMatrix2D((length / 2 - 0.5, length / 2 - 0.5), float(rng.uniform(0, 180)), 1.0)
    kernel = cv2.warpAffine(kernel, turn, (length, length))
    return cv2.filter2D(values, -1, kernel / max(kernel.sum(), 1e-3))


def _rescale(values: Array, rng: np.random.Generator) -> Array:
    size = values.shape[0]
    small = int(size * rng.uniform(0.3, 0.9))
    down = cv2.resize(values, (small, small), interpolation=cv2.INTER_AREA)
    return cv2.resize(down, (size, size), interpolation=int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC])))


def _jpeg(image: Picture, quality: int) -> Picture:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def _occluder(image: Picture, rng: np.random.Generator) -> Picture:
    """Something before the face: a blob of any colour, often skin, from the edge inwards or afloat."""
    size = image.shape[0]
    mask = np.zeros(image.shape[:2], np.uint8)
    centre = tuple(int(v) for v in rng.uniform(0.0, 1.0, 2) * size)
    axes = tuple(int(v) for v in rng.uniform(0.05, 0.22, 2) * size)
    cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1, cv2.LINE_AA)
    colour = rng.integers(0, 256, 3)
    if rng.random() < 0.5:
        y, x = rng.integers(size // 3, 2 * size // 3, 2)
        colour = image[y, x]
    texture = colour + rng.normal(0, rng.uniform(0, 25), (*image.shape[:2], 1))
    alpha = cv2.GaussianBlur(mask, (0, 0), 1.0)[..., None] / 255.0
    return (image * (1 - alpha) + texture.clip(0, 255) * alpha).astype(np.uint8)


def _hand(image: Picture, landmarks: Array, rng: np.random.Generator) -> Picture:
    """A hand before the face, or holding something to it: a palm and fingers in the colour of the face's skin."""
    size = image.shape[0]
    cheek = landmarks[[2, 14, 30, 33]].mean(axis=0).clip(0, size - 1).astype(int)
    skin = image[cheek[1], cheek[0]].astype(np.float32) * np.exp(rng.normal(0, 0.15)) + rng.uniform(0, 12)
    reach = float(np.linalg.norm(landmarks[16] - landmarks[0])) * rng.uniform(0.7, 1.1)
    # It comes from below or from a side, and ends on the jaw, the mouth, a cheek, an eye or the brow.
    end = landmarks[int(rng.choice([3, 5, 8, 11, 13, 48, 54, 57, 36, 45, 19, 24]))] + rng.normal(0, 0.08, 2) * reach
    outward = end - landmarks[30] + rng.normal(0, 0.25, 2) * reach + np.array([0.0, 0.35 * reach])
    outward = outward / (np.linalg.norm(outward) + 1e-6)
    across = np.array([-outward[1], outward[0]])
    mask = np.zeros(image.shape[:2], np.uint8)
    shade = np.ones(image.shape[:2], np.float32)
    width = 0.11 * reach

    def stroke(start: NDArray, stop: NDArray, thick: float, light: float) -> None:
        a, b = (tuple(int(v * 16) for v in point) for point in (start, stop))
        part = np.zeros_like(mask)
        cv2.line(part, a, b, 255, max(1, round(thick)), cv2.LINE_AA, 4)
        edge = cv2.GaussianBlur(part, (0, 0), max(0.6, 0.3 * thick)).astype(np.float32) / 255.0
        np.copyto(shade, light * (0.55 + 0.45 * edge), where=part > 127)
        np.maximum(mask, part, out=mask)

    palm = end + outward * reach * 0.4
    stroke(palm, palm + outward * reach, 4.2 * width, 0.9)
    for finger in range(int(rng.integers(1, 5))):
        aside = across * width * (finger - 1.5)
        tip = end + aside + across * rng.normal(0, 0.3) * width + outward * abs(finger - 1.5) * 0.35 * width
        stroke(palm + aside, tip, width * rng.uniform(0.85, 1.05), float(rng.uniform(0.85, 1.1)))
    alpha = cv2.GaussianBlur(mask, (0, 0), 0.6)[..., None] / 255.0
    return (image * (1 - alpha) + (skin * shade[..., None]).clip(0, 255) * alpha).astype(np.uint8)


def _microphone(image: Picture, landmarks: Array, rng: np.random.Generator) -> Picture:
    """A microphone, a cup or a bottle before the mouth or the chin."""
    out = image.copy()
    reach = float(np.linalg.norm(landmarks[16] - landmarks[0]))
    head = landmarks[57] + np.array([rng.normal(0, 0.12), rng.uniform(0.05, 0.4)]) * reach
    foot = head + np.array([rng.normal(0, 0.5), 1.0]) * reach
    colour = [float(v) for v in rng.uniform(0, 70) + rng.uniform(0, 1) ** 3 * rng.integers(0, 180, 3)]
    a, b = (tuple(int(v * 16) for v in point) for point in (head, foot))
    cv2.line(out, a, b, colour, max(1, round(reach * rng.uniform(0.05, 0.12))), cv2.LINE_AA, 4)
    radius = int(16 * reach * rng.uniform(0.07, 0.14))
    cv2.circle(out, a, radius, [0.8 * v + 12 for v in colour], -1, cv2.LINE_AA, 4)
    bright = (a[0] - radius // 3, a[1] - radius // 3)
    cv2.circle(out, bright, radius // 3, [min(1.3 * v + 30, 255) for v in colour], -1, cv2.LINE_AA, 4)
    return out


def _glasses(image: Picture, landmarks: Array, rng: np.random.Generator) -> Picture:
    """Two rims, a bridge and temples about the eyes, with clear, tinted or reflecting lenses."""
    out = image.copy()
    right, left = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
    across = left - right
    distance = float(np.linalg.norm(across))
    if distance < 8:
        return out
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    axes = (distance * rng.uniform(0.3, 0.42), distance * rng.uniform(0.2, 0.36))
    drop = distance * rng.uniform(0.0, 0.08)
    colour = tuple(int(v) for v in (rng.integers(0, 60, 3) if rng.random() < 0.7 else rng.integers(0, 256, 3)))
    thick = max(1, round(distance * rng.uniform(0.015, 0.09)))
    tint = rng.uniform(0.75, 0.97) if rng.random() < 0.2 else rng.uniform(0.0, 0.25)
    lens = np.zeros(image.shape[:2], np.uint8)
    square = rng.random() < 0.5
    for eye in (right, left):
        centre = eye + np.array([0.0, drop])
        if square:
            box = cv2.boxPoints(((float(centre[0]), float(centre[1])), (2 * axes[0], 2 * axes[1]), angle))
            points = np.round(box * 16).astype(np.int32)
            cv2.fillPoly(lens, [points], 255, cv2.LINE_AA, 4)
        else:
            where = tuple(int(v) for v in np.round(centre))
            cv2.ellipse(lens, where, (int(axes[0]), int(axes[1])), angle, 0, 360, 255, -1, cv2.LINE_AA)
    weight = (lens / 255.0 * tint)[..., None]
    shade = np.array(colour) * 0.5 if rng.random() < 0.8 else np.array([230, 235, 245])
    out = (out * (1 - weight) + shade * weight).astype(np.uint8)
    edges, _ = cv2.findContours((lens > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(out, edges, -1, colour, thick, cv2.LINE_AA)
    inner = across / distance * axes[0]
    for start, end in (
        (right + inner, left - inner),
        (right - inner, landmarks[0]),
        (left + inner, landmarks[16]),
    ):
        a, b = (tuple(int(v) for v in np.round(p + np.array([0.0, drop]))) for p in (start, end))
        cv2.line(out, a, b, colour, max(1, thick - 1), cv2.LINE_AA)
    return out
