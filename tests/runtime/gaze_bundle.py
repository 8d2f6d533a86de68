# SPDX-License-Identifier: GPL-3.0-or-later
"""The tiny bundle with irises that its eight gaze controls move in all directions, by a param each."""

from pathlib import Path
from typing import Any

import numpy as np
from tiny_bundle import CONTROLS, IRIS_SCHEME, K, tiny_manifest, write_tiny_bundle

from lpmm_runtime.bundle import write_manifest

# The param, counted from 0, and how far a control at 1 moves it: p05 and p06 move the subject's left and right iris
# down, p07 and p08 to the picture's right.
MOVES = {
    "eyeLookInLeft": (6, -1.0),
    "eyeLookInRight": (7, 1.1),
    "eyeLookOutLeft": (6, 0.9),
    "eyeLookOutRight": (7, -1.0),
    "eyeLookUpLeft": (4, -0.5),
    "eyeLookUpRight": (5, -0.5),
    "eyeLookDownLeft": (4, 0.6),
    "eyeLookDownRight": (5, 0.6),
}


def write_gaze_bundle(folder: Path) -> Path:
    """Write the bundle into `folder` and return it."""
    write_tiny_bundle(folder, scheme=IRIS_SCHEME)
    path = folder / "lpmm.npz"
    with np.load(path) as archive:
        arrays: dict[str, Any] = dict(archive)
    rows = arrays["eigenvectors"].astype(np.float64)
    rows[4:] = np.eye(rows.shape[1])[[2 * 69 + 1, 2 * 68 + 1, 2 * 69, 2 * 68]]
    found = np.linalg.qr(rows.T)[0].T
    arrays["eigenvectors"] = (found * np.sign(np.sum(found * rows, axis=1, keepdims=True))).astype(np.float32)
    arrays["control_names"] = np.array([*CONTROLS, *MOVES])
    directions = np.zeros((len(MOVES), K), np.float32)
    for row, (index, by) in enumerate(MOVES.values()):
        directions[row, index] = by
    arrays["control_directions"] = np.concatenate([arrays["control_directions"][: len(CONTROLS)], directions])
    np.savez(path, **arrays)
    manifest = tiny_manifest(IRIS_SCHEME)
    manifest["controls"] = [entry for entry in manifest["controls"] if entry["name"] not in MOVES]
    for name in MOVES:
        manifest["controls"].append(
            {"name": name, "group": "eyes", "minimum": 0, "maximum": 1, "description": f"{name}."}
        )
    write_manifest(folder, manifest)
    return folder
