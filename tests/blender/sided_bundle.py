# SPDX-License-Identifier: GPL-3.0-or-later
"""The tiny bundle with controls on both sides of the face."""

from pathlib import Path
from typing import Any

import numpy as np
from tiny_bundle import CONTROLS, K, tiny_manifest, write_tiny_bundle

from lpmm_runtime.bundle import write_manifest

GAZE = ("eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight")
SIDED = ("eyeBlinkRight", "mouthSmileLeft", "mouthSmileRight", "jawLeft", "jawRight", *GAZE)


def write_sided_bundle(folder: Path) -> Path:
    """Write the bundle into `folder` and return it."""
    write_tiny_bundle(folder)
    path = folder / "lpmm.npz"
    with np.load(path) as archive:
        arrays: dict[str, Any] = dict(archive)
    arrays["control_names"] = np.array([*CONTROLS, *SIDED])
    more = np.random.default_rng(7).normal(size=(len(SIDED), K)).astype(np.float32)
    arrays["control_directions"] = np.concatenate([arrays["control_directions"], more])
    np.savez(path, **arrays)
    manifest = tiny_manifest()
    for name in SIDED:
        group = "eyes" if name.startswith("eye") else "mouth"
        manifest["controls"].append(
            {"name": name, "group": group, "minimum": 0, "maximum": 1, "description": f"{name}."}
        )
    write_manifest(folder, manifest)
    return folder
