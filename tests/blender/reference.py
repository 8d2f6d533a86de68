# SPDX-License-Identifier: GPL-3.0-or-later
"""What a frame must look like: the engine asked directly, and the pictures that Blender made."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import bpy
import cv2
import numpy as np
from bpy.types import Image, Object, Scene
from numpy.typing import NDArray

from lpmm_runtime.bundle import load_bundle
from lpmm_runtime.engine import Engine
from lpmm_runtime.frame import evaluate_channels
from lpmm_runtime.portrait import read_image
from lpmm_runtime.presets import Preset


class Reference:
    """One photo under one bundle, rendered without the add-on."""

    def __init__(self, bundle: Path, photo: Path) -> None:
        self._bundle = load_bundle(bundle)
        self._engine = Engine(self._bundle, "cpu", 1)
        self._character = self._engine.create_character(read_image(photo))

    def frame(
        self,
        channels: Mapping[str, float],
        base: str = "PHOTO",
        view: str = "crop",
        presets: Mapping[str, Preset] = MappingProxyType({}),
    ) -> NDArray[np.uint8]:
        """Return the frame [H, W, 4] uint8 of controls, params and weights of the bundle's presets and others."""
        start = self._character.params if base == "PHOTO" else np.zeros_like(self._character.params)
        params = evaluate_channels(self._bundle.rig, start, channels, {**self._bundle.presets, **presets})
        return self._engine.render(self._character, params, base=base, view=view, size=None)


def pixels_of(image: Image) -> NDArray[np.uint8]:
    """Return a Blender image [H, W, 4] uint8, first row on top."""
    width, height = image.size
    flat = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(flat)
    return np.rint(flat.reshape(height, width, 4)[::-1] * 255).astype(np.uint8)


def shown_by(rig: Object) -> NDArray[np.uint8]:
    """Return what the rig's image shows."""
    return pixels_of(rig["lpmm_image"])


def difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> int:
    """Return the largest difference of two pictures' colours."""
    assert first.shape[:2] == second.shape[:2]
    return int(np.abs(first[..., :3].astype(int) - second[..., :3].astype(int)).max())


def read_png(path: Path) -> NDArray[np.uint8]:
    """Return a rendered PNG [H, W, 3 or 4] uint8, RGB or RGBA as it was written."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA if picture.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def render_with_cycles(scene: Scene) -> None:
    """Let renders be done by Cycles without noise or filter, which needs no graphics card."""
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = 1
    scene.cycles.use_denoising = False
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.filter_width = 0.01
    scene.render.threads_mode = "FIXED"
    scene.render.threads = 2
    scene.render.image_settings.file_format = "PNG"


def change_slider(rig: Object, name: str, value: float) -> None:
    """Do what dragging a slider does."""
    rig[name] = value
    rig.update_tag()
    bpy.context.view_layer.update()


def names_in_file() -> dict[str, Any]:
    """Return the names of all datablocks that a face is made of."""
    kinds = ("collections", "objects", "meshes", "cameras", "materials", "images", "actions")
    return {kind: sorted(thing.name for thing in getattr(bpy.data, kind)) for kind in kinds}
