# SPDX-License-Identifier: GPL-3.0-or-later
"""The toy kit's textures: skins painted over the mesh's own atlas, irises, strands, teeth and a tongue."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.toykit import mesh, proxies, surface
from training.toykit.hair import STYLES
from training.toykit.landmarks import landmark_mixes
from training.toykit.mesh import HeadMesh
from training.toykit.surface import Array, smooth_step

Mask = NDArray[np.float32]

_SKIN_SIZE = 400
# Name to sRGB colour, 0 to 1.
SKINS: dict[str, tuple[float, float, float]] = {
    "skin_middleage_darkskinned_female": (0.47, 0.31, 0.23),
    "skin_middleage_darkskinned_male": (0.42, 0.28, 0.21),
    "skin_middleage_lightskinned_female2": (0.87, 0.69, 0.59),
    "skin_middleage_lightskinned_male": (0.82, 0.63, 0.52),
    "skin_middleage_lightskinned_male2": (0.85, 0.66, 0.57),
    "skin_old_darkskinned_female": (0.50, 0.35, 0.28),
    "skin_old_darkskinned_male": (0.45, 0.32, 0.26),
    "skin_old_lightskinned_male2": (0.84, 0.68, 0.61),
    "skin_young_darkskinned_male": (0.40, 0.26, 0.18),
    "skin_young_lightskinned_female2": (0.91, 0.73, 0.63),
    "skin_young_lightskinned_female3": (0.90, 0.71, 0.58),
    "skin_young_lightskinned_male": (0.86, 0.66, 0.54),
    "skin_young_lightskinned_male2": (0.83, 0.64, 0.50),
    "skin_young_lightskinned_male3": (0.88, 0.70, 0.60),
}
IRISES: dict[str, tuple[float, float, float]] = {
    "eye_blue": (0.30, 0.45, 0.65),
    "eye_bluegreen": (0.28, 0.50, 0.52),
    "eye_brown": (0.33, 0.18, 0.09),
    "eye_brownlight": (0.48, 0.30, 0.15),
    "eye_deepblue": (0.16, 0.26, 0.52),
    "eye_green": (0.34, 0.46, 0.24),
    "eye_grey": (0.45, 0.48, 0.50),
    "eye_ice": (0.60, 0.72, 0.80),
    "eye_lightblue": (0.45, 0.62, 0.78),
}
# The procedural ones serve styles that a kit has no texture for.
HAIR = (
    *(f"hair_{style}" for style in STYLES if style not in ("bob01", "afro01")),
    "hair_proc_curly",
    "hair_proc_strands",
)


def write_textures(folder: Path, head: HeadMesh, rng: np.random.Generator) -> None:
    """Write every texture of the kit into a folder."""
    masks = _skin_masks(head)
    for name, colour in SKINS.items():
        _write(folder / f"{name}.jpg", _skin(name, colour, masks, rng))
    for name, colour in IRISES.items():
        _write(folder / f"{name}.png", _eyes(colour, rng))
    for number, name in enumerate(HAIR):
        _write(folder / f"{name}.png", _hair(number, name.endswith("curly"), rng))
    for number, name in enumerate(proxies.BROWS):
        _write(folder / f"{name}.png", _brows(0.5 + 0.04 * number, rng))
    for name in proxies.LASHES:
        _write(folder / f"{name}.png", _lashes(rng))
    _write(folder / "teeth.png", _teeth())
    _write(folder / "tongue01.png", _tongue(rng))


def _write(path: Path, picture: Array) -> None:
    """Write a picture [h, w, 3 or 4] in RGB(A), 0 to 1."""
    pixels = np.rint(np.clip(picture, 0.0, 1.0) * 255).astype(np.uint8)
    order = [2, 1, 0, 3][: pixels.shape[2]] if pixels.shape[2] == 4 else [2, 1, 0]
    if not cv2.imwrite(str(path), pixels[..., order]):
        raise OSError(f"{path}: the picture could not be written")


def _noise(rng: np.random.Generator, size: int, grain: int) -> Array:
    """Return smooth noise [size, size] with features of `grain` pixels, about -1 to 1."""
    cells = max(2, size // grain)
    coarse = rng.uniform(-1.0, 1.0, (cells, cells)).astype(np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC).astype(np.float64)


def _pixels(uv: Array, size: int) -> NDArray[np.int32]:
    return np.rint(np.stack([uv[..., 0], 1.0 - uv[..., 1]], axis=-1) * size * 16).astype(np.int32)


def _skin_masks(head: HeadMesh) -> dict[str, Array]:
    """Return where on the atlas the lips, the cheeks, the scalp, the beard and so on are, [size, size] each."""
    vertices = head.vertex_triangles
    centre = head.points[vertices].mean(axis=1)
    x, y, z = np.abs(centre[:, 0]), centre[:, 1], centre[:, 2]
    row = head.row[vertices]
    skin = (head.depth[vertices] == 0).all(axis=1)
    front = skin & (z > 0.75)
    chosen = {
        "rim": ((head.depth[vertices] >= 1).any(axis=1) & (head.depth[vertices] <= 1).all(axis=1), 3),
        "nostrils": (front & (y < 6.865) & (y > 6.835) & (x > 0.03) & (x < 0.1), 5),
        "cheeks": (front & (np.hypot(x - 0.38, y - 7.0) < 0.14), 41),
        "lids": (front & (np.hypot((x - surface.EYE_X) / 1.4, y - 7.29) < 0.085), 11),
        "scalp": (skin & (y > np.interp(z, [-0.8, 0.3, 0.9, 1.3], [6.5, 7.3, 7.7, 7.9])), 25),
        "beard": (front & (y < 6.84) & (row <= surface.JAW_ROW + 1).all(axis=1), 25),
        "inner_lips": ((head.depth[vertices] == 2).any(axis=1) & (head.depth[vertices] <= 2).all(axis=1), 3),
    }
    corners = _pixels(head.uv[head.triangles], _SKIN_SIZE)
    masks = {}
    for name, (faces, blur) in chosen.items():
        mask = np.zeros((_SKIN_SIZE, _SKIN_SIZE), np.float32)
        for triangle in corners[faces]:
            cv2.fillConvexPoly(mask, triangle, (1.0,), cv2.LINE_8, shift=4)
        masks[name] = cv2.GaussianBlur(mask, (blur, blur), 0).astype(np.float64)
    # The atlas's first uvs are the vertices' own, so the landmarks outline the lips exactly.
    outline = np.array([head.uv[mix[0][0]] for mix in landmark_mixes(head)[48:60]])
    lips = np.zeros((_SKIN_SIZE, _SKIN_SIZE), np.float32)
    cv2.fillPoly(lips, [_pixels(outline, _SKIN_SIZE)], (1.0,), cv2.LINE_8, shift=4)
    masks["lips"] = cv2.GaussianBlur(lips, (3, 3), 0).astype(np.float64)
    left, low, right, high = (round(edge * _SKIN_SIZE) for edge in mesh.CAVITY_PATCH)
    masks["mouth"] = np.zeros((_SKIN_SIZE, _SKIN_SIZE))
    masks["mouth"][_SKIN_SIZE - high - 4 : _SKIN_SIZE - low + 4, left - 4 : right + 4] = 1.0
    return masks


def _skin(name: str, colour: tuple[float, float, float], masks: dict[str, Array], rng: np.random.Generator) -> Array:
    base = np.array(colour)
    mottle = 1.0 + 0.035 * _noise(rng, _SKIN_SIZE, 24) + 0.02 * _noise(rng, _SKIN_SIZE, 3)
    skin = base * mottle[..., None]
    male, dark = name.rstrip("23").endswith("_male"), "dark" in name
    red = base * (np.array([0.80, 0.62, 0.62]) if dark else np.array([0.86, 0.60, 0.60]))

    def lay(mask: str, over: Array, strength: float) -> None:
        painted = masks[mask] > 0
        share = strength * masks[mask][painted][:, None]
        skin[painted] = skin[painted] * (1.0 - share) + (over[painted] if over.ndim == 3 else over) * share

    lay("cheeks", base * np.array([1.0, 0.85, 0.83]), 0.6)
    lay("lids", base * np.array([0.84, 0.76, 0.76]), 0.5)
    stubble = 0.75 + 0.08 * _noise(rng, _SKIN_SIZE, 2)
    if male:
        lay("beard", base * stubble[..., None], 0.7)
    lay("scalp", base * (stubble - 0.15)[..., None], 0.8)
    if name.startswith("skin_old"):
        skin *= (1.0 - 0.08 * np.clip(_noise(rng, _SKIN_SIZE, 10), 0.0, 1.0))[..., None]
    lay("lips", red, 0.9)
    lay("inner_lips", 0.8 * red, 0.9)
    lay("rim", base * np.array([0.85, 0.62, 0.60]), 0.8)
    lay("nostrils", base * 0.35, 0.7)
    lay("mouth", np.array([0.50, 0.16, 0.16]), 1.0)
    return skin


def _eyes(colour: tuple[float, float, float], rng: np.random.Generator) -> Array:
    size = 256
    x, y = np.meshgrid((np.arange(size) + 0.5) / size, 1.0 - (np.arange(size) + 0.5) / size)
    picture = np.ones((size, size, 4)) * [0.90, 0.88, 0.86, 1.0]
    iris = proxies.EYE_DISC_RADIUS * 24.0 / proxies.EYE_DISC_DEGREES
    fibres = 1.0 + 0.35 * np.interp(np.linspace(0, 97, 720), np.arange(98), rng.uniform(-1, 1, 98))
    for u, v in proxies.EYE_DISCS.values():
        distance = np.hypot(x - u, y - v)
        turn = ((np.degrees(np.arctan2(y - v, x - u)) % 360.0) * 2).astype(int) % 720
        flesh = smooth_step((distance - 0.10) / 0.12)[..., None]
        picture[..., :3] = np.where(
            (distance < proxies.EYE_DISC_RADIUS)[..., None],
            picture[..., :3] * (1.0 - 0.25 * flesh * np.array([0.2, 1.0, 1.0])),
            picture[..., :3],
        )
        shade = (
            np.array(colour)
            * fibres[turn][..., None]
            * (1.15 - 0.6 * smooth_step((distance / iris - 0.7) / 0.3))[..., None]
        )
        shade = np.where((distance < 0.42 * iris)[..., None], 0.02, shade)
        edge = smooth_step((iris - distance) / 0.006)[..., None]
        picture[..., :3] = picture[..., :3] * (1.0 - edge) + shade * edge
    u, v = proxies.CORNEA_SPOT
    picture[np.hypot(x - u, y - v) < 0.06] = [0.8, 0.85, 1.0, 0.0]
    return picture


def _hair(number: int, curly: bool, rng: np.random.Generator) -> Array:
    """Return strands that run down the picture, opaque but for frayed ends near its bottom."""
    size = 256
    strand = np.repeat(rng.uniform(0.25, 1.0, (1, size)), size, axis=0)
    strand = 0.6 * strand + 0.4 * (0.5 + 0.5 * _noise(rng, size, 6 if curly else 16))
    if curly:
        wave = (np.arange(size)[None] + 6 * np.sin(np.arange(size)[:, None] / 5.0)).astype(int) % size
        strand = np.take_along_axis(strand, wave, axis=1)
    height = 1.0 - (np.arange(size)[:, None] + 0.5) / size
    ends = 0.04 + 0.14 * rng.uniform(0.0, 1.0, (1, size))
    alpha = smooth_step((height - ends) / 0.05)
    grey = (0.30 + 0.02 * number) * strand
    return np.stack([grey, grey, grey, alpha], axis=-1)


def _brows(density: float, rng: np.random.Generator) -> Array:
    """Return hairs in the left brow's half (top) and the right brow's (bottom), thinner towards the edges."""
    size = 128
    alpha = np.zeros((size, size), np.float32)
    for centre in (32, 96):
        for _ in range(int(800 * density)):
            x = rng.uniform(3, 122)
            y = centre + rng.normal(0.0, 10.0)
            lean = rng.uniform(4, 10)
            end = (round((x + lean) * 8), round((y - 0.3 * lean) * 8))
            cv2.line(alpha, (round(x * 8), round(y * 8)), end, (1.0,), 1, cv2.LINE_AA, 3)
    alpha = np.clip(1.3 * cv2.GaussianBlur(alpha, (3, 3), 0), 0.0, 1.0)
    brown = np.ones((size, size, 3)) * [0.16, 0.11, 0.08]
    return np.concatenate([brown, alpha[..., None]], axis=-1)


def _lashes(rng: np.random.Generator) -> Array:
    """Return lashes that stand on the bottom of each half: the upper lid's half on top."""
    size = 128
    alpha = np.zeros((size, size), np.float32)
    for bottom, count in ((64, 34), (128, 20)):
        for root in np.linspace(4, 124, count):
            tip = root + rng.uniform(-4, 4)
            height = rng.uniform(36, 60)
            start, end = (round(root * 8), (bottom - 1) * 8), (round(tip * 8), round((bottom - height) * 8))
            cv2.line(alpha, start, end, (1.0,), 2, cv2.LINE_AA, 3)
    return np.concatenate([np.full((size, size, 3), 0.03), np.clip(alpha, 0.0, 1.0)[..., None]], axis=-1)


def _teeth() -> Array:
    """Return the upper teeth in the top half and the lower ones in the bottom half, gums at each half's top."""
    size = 128
    x, y = np.meshgrid((np.arange(size) + 0.5) / size, (np.arange(size) + 0.5) / size)
    within = (x * 12.0) % 1.0
    white = 1.0 - 0.55 * np.exp(-np.square(np.minimum(within, 1.0 - within) / 0.08))
    picture = np.ones((size, size, 4))
    picture[..., :3] = np.array([0.93, 0.90, 0.84]) * white[..., None]
    gum = (y % 0.5) < 0.14
    picture[gum, :3] = [0.72, 0.36, 0.36]
    return picture


def _tongue(rng: np.random.Generator) -> Array:
    size = 64
    shade = 0.95 + 0.08 * _noise(rng, size, 4)
    shade -= 0.15 * np.exp(-np.square((np.arange(size)[None] - 31.5) / 4.0))
    return np.array([0.86, 0.50, 0.50]) * shade[..., None]
