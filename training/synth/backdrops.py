# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands behind heads: painted rooms, streets, foliage, night lights, crowds and plain walls, out of focus."""

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_HAIR = np.array([[28, 22, 20], [50, 35, 26], [90, 62, 42], [170, 135, 90], [150, 145, 140]], np.float32)
_SKIN = np.array([[226, 180, 155], [205, 150, 120], [165, 110, 82], [105, 68, 50]], np.float32)


def sample_backdrop(rng: np.random.Generator, size: int = 128) -> NDArray[np.uint8]:
    """Return a backdrop uint8 [size, size, 3] of some kind of place, in some light and focus."""
    scenes = (_wall, _room, _foliage, _lights, _street, _crowd, _clutter)
    scene = scenes[int(rng.choice(len(scenes), p=[0.2, 0.2, 0.16, 0.1, 0.12, 0.12, 0.1]))]
    image = scene(rng, size)
    if rng.random() < 0.25:
        _people(image, rng)
    if rng.random() < 0.7:
        image = image * (1.0 + _noise(rng, size, rng.uniform(0.3, 1.2)) * rng.uniform(0.0, 0.15))[..., None]
    grey = image.mean(axis=2, keepdims=True)
    image = grey + (image - grey) * np.float32(rng.uniform(0.3, 1.1))
    cast = np.exp(rng.normal(0, 0.1) * np.array([1.0, 0.1, -1.0]))
    image = image * (np.exp(np.clip(rng.normal(-0.1, 0.5), -1.8, 0.6)) * cast).astype(np.float32)
    if rng.random() < 0.75:
        image = cv2.GaussianBlur(image, (0, 0), float(size / 128 * np.exp(rng.uniform(np.log(0.4), np.log(7)))))
    return image.clip(0, 255).astype(np.uint8)


def plain_room(rng: np.random.Generator, size: int = 512) -> NDArray[np.uint8]:
    """Return an out-of-focus room, uint8 [size, size, 3]: a wall, and upright and level edges that show any drag."""
    wall = rng.uniform(120, 200) * np.array([1.0, rng.uniform(0.9, 1.0), rng.uniform(0.8, 1.0)])
    image = np.tile(wall, (size, size, 1)) * np.linspace(1.06, 0.88, size)[:, None, None]
    for _ in range(int(rng.integers(3, 6))):
        left, width = int(rng.uniform(0, size)), int(rng.uniform(0.03, 0.2) * size)
        image[:, left : left + width] *= rng.uniform(0.65, 1.15) * np.exp(rng.normal(0, 0.05, 3))
    level = int(rng.uniform(0.55, 0.8) * size)
    image[level : level + max(2, size // 60)] *= 0.75
    return cv2.GaussianBlur(image.clip(0, 255).astype(np.uint8), (0, 0), size / 170)


def _tone(rng: np.random.Generator, low: float = 20, high: float = 230, colour: float = 0.16) -> Array:
    """Return a natural colour [3]: a grey, more or less warm or cold, now and then vivid."""
    shade = rng.uniform(low, high)
    if rng.random() < 0.12:
        colour = 0.5
    values = shade * np.exp(rng.normal(0, colour, 3) * [1.0, 0.5, 1.0])
    return np.asarray(values.clip(0, 255), np.float32)


def _plain(colour: Array, size: int) -> Array:
    return np.tile(colour.astype(np.float32), (size, size, 1))


def _noise(rng: np.random.Generator, size: int, slope: float) -> Array:
    """Return fractal noise [size, size] of about unit spread; a small slope is rough."""
    total = np.zeros((size, size), np.float32)
    for cells in (3, 6, 12, 24, 48):
        grain = rng.standard_normal((cells, cells), np.float32) * (3 / cells) ** slope
        total += cv2.resize(grain, (size, size), interpolation=cv2.INTER_CUBIC)
    return total / max(float(total.std()), 1e-3)


def _shade(image: Array, rng: np.random.Generator) -> None:
    """Darken an image towards one side."""
    size = image.shape[0]
    axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    ramp = rng.normal(0, 0.4) * axis[None, :] + rng.normal(-0.2, 0.4) * axis[:, None]
    image *= np.exp(ramp)[..., None].astype(np.float32)


def _box(image: Array, left: float, top: float, right: float, bottom: float, colour: Array) -> None:
    cv2.rectangle(image, (round(left), round(top)), (round(right), round(bottom)), [float(v) for v in colour], -1)


def _disc(image: Array, x: float, y: float, rx: float, ry: float, colour: Array, angle: float = 0.0) -> None:
    axes = (max(1, round(rx)), max(1, round(ry)))
    cv2.ellipse(image, (round(x), round(y)), axes, angle, 0, 360, [float(v) for v in colour], -1, cv2.LINE_AA)


def _wall(rng: np.random.Generator, size: int) -> Array:
    """A studio's paper, a wall, or the dark behind a flash."""
    image = _plain(_tone(rng, 5, 40) if rng.random() < 0.3 else _tone(rng), size)
    _shade(image, rng)
    if rng.random() < 0.35:  # boards, bricks, curtains
        pitch = rng.uniform(0.04, 0.2) * size
        groove = np.abs((np.arange(size) + rng.uniform(0, pitch)) % pitch - pitch / 2) / (pitch / 2)
        lines = 1.0 - rng.uniform(0.1, 0.5) * np.clip(groove * rng.uniform(1, 6) - rng.uniform(0, 3), 0, 1)
        image *= (lines[None, :, None] if rng.random() < 0.6 else lines[:, None, None]).astype(np.float32)
    return image


def _room(rng: np.random.Generator, size: int) -> Array:
    """Walls meeting, a floor or table, doors, shelves, pictures, lamps and windows."""
    image = _plain(_tone(rng, 60, 220), size)
    corner = rng.uniform(-0.2, 1.2) * size
    _box(image, corner, 0, size, size, _tone(rng, 60, 220))
    _shade(image, rng)
    floor = rng.uniform(0.6, 1.2) * size
    _box(image, 0, floor, size, size, _tone(rng, 20, 160))
    for _ in range(int(rng.integers(1, 7))):
        left, top = rng.uniform(-0.2, 1.0, 2) * size
        width, height = rng.uniform(0.06, 0.5, 2) * size
        frame = _tone(rng, 10, 200)
        _box(image, left, top, left + width, top + height, frame)
        inset = rng.uniform(0.01, 0.05) * size
        inner = _tone(rng, 180, 255, 0.05) if rng.random() < 0.3 else _tone(rng)
        _box(image, left + inset, top + inset, left + width - inset, top + height - inset, inner)
        if rng.random() < 0.3:
            for row in np.arange(top, top + height, max(4.0, height / rng.uniform(2, 6))):
                _box(image, left, row, left + width, row + inset, frame)
                _books(image, rng, left, row - 0.6 * height / 4, left + width, row)
    for _ in range(int(rng.integers(0, 3)) if rng.random() < 0.4 else 0):
        x, y = rng.uniform(0, size, 2)
        _disc(image, x, y, 0.05 * size, 0.05 * size, np.array([255, 235, 190], np.float32))
    return image


def _books(image: Array, rng: np.random.Generator, left: float, top: float, right: float, bottom: float) -> None:
    place = left
    while place < right:
        width = rng.uniform(1.5, 6)
        _box(image, place, top + rng.uniform(0, 3), place + width, bottom, _tone(rng))
        place += width + 0.5


def _foliage(rng: np.random.Generator, size: int) -> Array:
    """Leaves against light, over grass or earth; or a meadow under the sky."""
    green = np.array([70, 95, 45], np.float32) * np.exp(rng.normal(0, 0.2, 3)).astype(np.float32)
    image = _plain(green * rng.uniform(0.2, 0.8), size)
    if rng.random() < 0.45:
        horizon = rng.uniform(0.1, 0.8) * size
        _box(image, 0, 0, size, horizon, np.array([170, 195, 225], np.float32) * rng.uniform(0.7, 1.2))
    count, largest = int(rng.integers(60, 220)), rng.uniform(0.02, 0.1) * size
    places = rng.uniform(0, size, (count, 2))
    scales = rng.uniform(0.2, 1.0, (count, 2)) * largest
    tones = np.exp(rng.normal(0, 0.5, count))
    for (x, y), (rx, ry), tone in zip(places, scales, tones, strict=True):
        _disc(image, x, y, rx, ry, (green * tone).clip(0, 255), rng.uniform(0, 180))
    for _ in range(int(rng.integers(0, 25))):
        x, y = rng.uniform(0, size, 2)
        radius = rng.uniform(0.01, 0.04) * size
        _disc(image, x, y, radius, radius, np.array([225, 235, 220], np.float32))
    for _ in range(int(rng.integers(0, 5))):
        x, lean, width = rng.uniform(0, size), rng.normal(0, 0.15) * size, rng.uniform(0.01, 0.08) * size
        ends = (round(x), 0), (round(x + lean), size)
        cv2.line(image, *ends, [float(v) for v in _tone(rng, 25, 110)], max(1, round(width)), cv2.LINE_AA)
    return image


def _lights(rng: np.random.Generator, size: int) -> Array:
    """Lamps out of focus in the dark."""
    image = _plain(_tone(rng, 4, 45, 0.3), size)
    _shade(image, rng)
    radius = rng.uniform(0.01, 0.08) * size
    warm = np.array([255, 190, 110], np.float32)
    for _ in range(int(rng.integers(4, 40))):
        x, y = rng.uniform(0, size, 2)
        colour = (warm if rng.random() < 0.7 else rng.uniform(40, 255, 3)) * rng.uniform(0.3, 1.0)
        _disc(image, x, y, radius, radius, np.asarray(colour, np.float32))
    return image


def _street(rng: np.random.Generator, size: int) -> Array:
    """A sky over house fronts with windows, and the ground."""
    image = _plain(np.array([180, 200, 225], np.float32) * rng.uniform(0.5, 1.3), size)
    place = -rng.uniform(0, 0.3) * size
    ground = rng.uniform(0.65, 1.1) * size
    while place < size:
        width = rng.uniform(0.15, 0.7) * size
        top = rng.uniform(-0.3, 0.5) * size
        _box(image, place, top, place + width, ground, _tone(rng, 40, 210))
        pane = _tone(rng, 15, 120, 0.1)
        step_x, step_y = rng.uniform(0.06, 0.16, 2) * size
        share_x, share_y = rng.uniform(0.3, 0.75, 2)
        for x in np.arange(place + 0.3 * step_x, place + width - share_x * step_x, step_x):
            for y in np.arange(top + 0.4 * step_y, ground - step_y, step_y):
                _box(image, x, y, x + share_x * step_x, y + share_y * step_y, pane)
        place += width
    _box(image, 0, ground, size, size, _tone(rng, 60, 170, 0.05))
    _shade(image, rng)
    return image


def _crowd(rng: np.random.Generator, size: int) -> Array:
    """Other people, before whatever there is."""
    image = (_room, _wall, _street, _lights)[int(rng.integers(4))](rng, size)
    for _ in range(int(rng.integers(1, 4))):
        _people(image, rng)
    return image


def _people(image: Array, rng: np.random.Generator) -> None:
    """Paint one to three others: clothes, a neck, a head with hair and shadowed features, never as sharp as a face."""
    size = image.shape[0]
    for _ in range(int(rng.integers(1, 4))):
        head = rng.uniform(0.07, 0.26) * size
        x, y = rng.uniform(-0.05, 1.05) * size, rng.uniform(0.1, 0.8) * size
        skin = _SKIN[int(rng.integers(len(_SKIN)))] * np.float32(rng.uniform(0.5, 1.05))
        hair = _HAIR[int(rng.integers(len(_HAIR)))] * np.float32(rng.uniform(0.5, 1.1))
        patch = image.copy()
        _disc(patch, x, y + 3.4 * head, 2.1 * head, 2.3 * head, _tone(rng, 10, 220, 0.3))
        _box(patch, x - 0.4 * head, y + 0.6 * head, x + 0.4 * head, y + 1.5 * head, skin * 0.75)
        _disc(patch, x, y - 0.15 * head, 0.98 * head, 1.2 * head, hair)
        if rng.random() < 0.35:
            _box(patch, x - 0.98 * head, y, x + 0.98 * head, y + rng.uniform(0.6, 2) * head, hair)
        turned = x + rng.normal(0, 0.25) * head
        if rng.random() < 0.8:
            _disc(patch, turned, y + 0.15 * head, 0.72 * head, 1.0 * head, skin)
            for side in (-0.3, 0.3):
                _disc(patch, turned + side * head, y, 0.17 * head, 0.1 * head, skin * 0.5)
            _disc(
                patch, turned, y + 0.62 * head, 0.28 * head, 0.09 * head, skin * np.array([0.75, 0.5, 0.5], np.float32)
            )
        image[:] = cv2.GaussianBlur(patch, (0, 0), max(0.3, float(rng.uniform(0.04, 0.2) * head)))


def _clutter(rng: np.random.Generator, size: int) -> Array:
    """Signs, lettering, cloth and things of every shape."""
    image = _wall(rng, size)
    for _ in range(int(rng.integers(2, 12))):
        x, y = rng.uniform(0, size, 2)
        width, height = rng.uniform(0.03, 0.4, 2) * size
        if rng.random() < 0.5:
            box = cv2.boxPoints(((float(x), float(y)), (float(width), float(height)), float(rng.normal(0, 20))))
            cv2.fillPoly(image, [np.round(box).astype(np.int32)], [float(v) for v in _tone(rng)], cv2.LINE_AA)
        else:
            _disc(image, x, y, width / 2, height / 2, _tone(rng), rng.uniform(0, 180))
    for _ in range(int(rng.integers(0, 5))):
        letters = "".join(chr(int(c)) for c in rng.integers(65, 91, int(rng.integers(2, 9))))
        where = (int(rng.uniform(-0.2, 0.9) * size), int(rng.uniform(0.05, 1) * size))
        scale, colour = float(rng.uniform(0.3, 2.0) * size / 128), [float(v) for v in _tone(rng)]
        cv2.putText(image, letters, where, int(rng.integers(0, 6)), scale, colour, int(rng.integers(1, 5)), cv2.LINE_AA)
    return image
