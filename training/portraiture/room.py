# SPDX-License-Identifier: GPL-3.0-or-later
"""What is around a portrait: three soft lights, a pale sky, and a room far enough behind to be out of focus."""

from itertools import product
from typing import Literal

import bpy
import numpy as np
from mathutils import Vector
from numpy.typing import NDArray

from training.portraiture import materials
from training.portraiture.materials import Colour
from training.portraiture.objects import add_mesh

Array = NDArray[np.floating]
Room = Literal["shelves", "window", "panels"]
Triple = tuple[float, float, float]

# How far behind the face the room ends, decimetres.
_DEPTH = 14.0
_SHELF, _BOARD = 1.55, (0.16, 0.1, 0.06)
_CORNERS = np.array(list(product((-1.0, 1.0), repeat=3)))
_SIDES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])


def light(face: Array, key_side: int, rim: float) -> None:
    """Light a face [3]: a warm key (−1 from the picture's left, 1 from its right), a cold fill, a rim, and a sky.

    Args:
        rim: watts of the light from behind.
    """
    _lamp("key", face + np.array([5.5 * key_side, 4.0, 7.0]), face, 4.0, 900.0, (1.0, 0.95, 0.88))
    _lamp("fill", face + np.array([-7.0 * key_side, 0.5, 6.0]), face, 7.0, 250.0, (0.85, 0.92, 1.0))
    _lamp("rim", face + np.array([-4.0 * key_side, 5.0, -6.0]), face, 3.0, rim, (1.0, 0.97, 0.92))
    sky = bpy.data.worlds.new("sky")
    sky.use_nodes = True  # Blender 4 has none otherwise
    background = sky.node_tree.nodes["Background"]
    background.inputs["Color"].default_value = (0.5, 0.55, 0.62, 1.0)
    background.inputs["Strength"].default_value = 0.35
    bpy.context.scene.world = sky


def furnish(room: Room, wall: Colour, face: Array, seed: int) -> None:
    """Build a room behind a face [3]: its upright and level edges show what a moving head would drag along."""
    back = face + np.array([0.0, 0.0, -_DEPTH])
    _box(back, (0.0, 0.0, -1.0), (40.0, 40.0, 0.5), wall)
    rng = np.random.default_rng([seed, 1])
    {"shelves": _shelves, "window": _window, "panels": _panels}[room](back, wall, rng)


def _shelves(back: Array, wall: Colour, rng: np.random.Generator) -> None:
    for level in range(-3, 5):
        foot = _SHELF * level - 1.2
        _box(back, (0.0, foot, 0.2), (9.0, 0.05, 0.6), _BOARD)
        left = -6.5
        while left < 6.5:
            width, height = rng.uniform(0.06, 0.2), rng.uniform(0.75, 1.25)
            colour = np.array([0.3, 0.25, 0.2]) * np.exp(rng.normal(0.0, 0.22, 3)) * rng.choice([0.3, 1.0, 1.6])
            if rng.random() < 0.82:
                red, green, blue = colour.clip(0.01, 0.8).tolist()
                _box(
                    back,
                    (left, foot + 0.05 + 0.5 * height, 0.3),
                    (0.475 * width, 0.5 * height, 0.35),
                    (red, green, blue),
                )
            left += width


def _window(back: Array, wall: Colour, rng: np.random.Generator) -> None:
    bar, middle = (0.7, 0.68, 0.64), back + np.array([-2.6, 0.8, 0.3])
    _box(middle, (0.0, 0.0, 0.0), (1.5, 2.4, 0.05), (0.85, 0.93, 1.0), glow=1.6)
    for step in (-1, 0, 1):
        _box(middle, (1.5 * step, 0.0, 0.15), (0.07, 2.4, 0.05), bar)
        _box(middle, (0.0, 1.6 * step, 0.15), (1.5, 0.06, 0.05), bar)
    _box(back, (2.6, 1.0, 0.4), (0.9, 1.2, 0.05), (0.12, 0.16, 0.2))
    _box(back, (2.6, 1.0, 0.45), (0.7, 1.0, 0.05), (0.55, 0.42, 0.25))
    _box(back, (0.0, -2.2, 0.4), (20.0, 0.08, 0.1), (0.75, 0.72, 0.68))


def _panels(back: Array, wall: Colour, rng: np.random.Generator) -> None:
    for number in range(-8, 9):
        shade = 0.9 + 0.05 * (number % 3)
        red, green, blue = (shade * value for value in wall)
        _box(back, (0.95 * number, 0.0, 0.3), (0.455, 20.0, 0.1), (red, green, blue))
    for place in rng.uniform([-4.0, -1.5, 1.0], [4.0, 3.5, 3.0], (7, 3)).tolist():
        _box(back, place, (0.09, 0.09, 0.05), (1.0, 0.75, 0.45), glow=12.0)


def _box(origin: Array, shift: Triple, half: Triple, colour: Colour, glow: float = 0.0) -> None:
    add_mesh("box", origin + shift + _CORNERS * half, _SIDES, materials.plain(colour, glow), smooth=False)


def _lamp(name: str, place: Array, face: Array, size: float, power: float, colour: Colour) -> None:
    lamp = bpy.data.lights.new(name, "AREA")
    lamp.size, lamp.energy, lamp.color = size, power, colour
    thing = bpy.data.objects.new(name, lamp)
    thing.location = tuple(place)
    thing.rotation_euler = (Vector(face) - Vector(place)).to_track_quat("-Z", "Y").to_euler()
    bpy.context.scene.collection.objects.link(thing)
