# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the toy head as a face kit folder: facekit.npz, facekit_meta.json, landmarks68.json and textures/."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.toykit import skeleton as rig
from training.toykit.body import VERTEX_GROUPS, Body, build_body, occlusion
from training.toykit.expressions import PRESETS, expression_targets
from training.toykit.hair import build_hair
from training.toykit.landmarks import landmark_document
from training.toykit.mesh import build_head
from training.toykit.paint import write_textures
from training.toykit.proxies import ProxyMesh, build_proxies
from training.toykit.surface import Array
from training.toykit.targets import Target, macro_targets, shape_targets

_SOURCE = "procedural"


def write_toy_kit(folder: Path, seed: int = 0) -> None:
    """Write a toy face kit; the same seed writes the same bytes.

    Args:
        folder: made if it is missing; files of an earlier kit are replaced.
        seed: of the textures' grain. The head's shape does not depend on it.
    """
    textures = folder / "textures"
    textures.mkdir(parents=True, exist_ok=True)
    head = build_head()
    skeleton = rig.build_skeleton(head)
    body = build_body(head, skeleton)
    bound = [*build_proxies(body), *build_hair(body)]
    shapes, modifiers, asymmetries = shape_targets(body.points)
    targets = [*macro_targets(body.points), *shapes, *_padded(expression_targets(head), len(body.points))]

    arrays = _body_arrays(body, skeleton) | _target_arrays(targets)
    for proxy in bound:
        arrays |= _proxy_arrays(proxy, body)
    # numpy dates every member of the archive 1980, which keeps the bytes reproducible.
    np.savez_compressed(folder / "facekit.npz", **arrays)  # type: ignore[arg-type]
    meta = {
        "bones": list(rig.BONE_NAMES),
        "pose_units": list(rig.POSE_UNITS),
        "expression_presets": PRESETS,
        "targets": [
            {
                "category": target.category,
                "name": target.name,
                "n": int(_moved(target.delta).sum()),
                "source": _SOURCE,
            }
            for target in targets
        ],
        "proxies": {
            proxy.name: {
                "kind": proxy.kind,
                "texture": proxy.texture,
                "sources": [_SOURCE],
                "verts": len(proxy.offsets),
                "tris": len(proxy.triangles),
            }
            for proxy in bound
        },
        "vert_groups": list(VERTEX_GROUPS),
        "modifiers": modifiers,
        "asym": asymmetries,
    }
    _write_json(folder / "facekit_meta.json", meta)
    _write_json(folder / "landmarks68.json", landmark_document(head))
    write_textures(textures, head, np.random.default_rng(seed))


def _write_json(path: Path, document: Mapping[str, object]) -> None:
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _padded(targets: list[Target], count: int) -> list[Target]:
    """Return targets of the head mesh as targets of the whole body, whose helper vertices stay."""
    return [
        Target(target.category, target.name, np.pad(target.delta, ((0, count - len(target.delta)), (0, 0))))
        for target in targets
    ]


def _milli(delta: Array) -> NDArray[np.int16]:
    return np.rint(delta * 1000.0).astype(np.int16)


def _moved(delta: Array) -> NDArray[np.bool_]:
    return (_milli(delta) != 0).any(axis=1)


def _target_arrays(targets: list[Target]) -> dict[str, NDArray]:
    kept = [np.flatnonzero(_moved(target.delta)) for target in targets]
    return {
        "t_ptr": np.cumsum([0] + [len(rows) for rows in kept]).astype(np.int32),
        "t_idx": np.concatenate(kept).astype(np.uint16),
        "t_delta_milli": np.concatenate(
            [_milli(target.delta[rows]) for target, rows in zip(targets, kept, strict=True)]
        ),
    }


def _body_arrays(body: Body, skeleton: rig.Skeleton) -> dict[str, NDArray]:
    head = body.head
    bones, shares = rig.strongest(body.weights, 8)
    return {
        "base_v": body.points.astype(np.float32),
        "orig_vid": np.arange(len(body.points)).astype(np.uint16),
        "tri": head.triangles.astype(np.uint16),
        "rv_vert": head.render_vertex.astype(np.uint16),
        "rv_uv": head.uv.astype(np.float32),
        "rv_uv_mh": head.uv.astype(np.float32),
        "bone_idx": bones,
        "bone_w": shares.astype(np.float32),
        "bone_parent": skeleton.parents,
        "joint_ptr": np.cumsum([0] + [len(rows) for rows in body.joints]).astype(np.int32),
        "joint_idx": np.concatenate(body.joints).astype(np.uint16),
        "vert_group": body.group,
        "poseunit_quat": skeleton.pose_units.astype(np.float32),
        "ao": occlusion(body).astype(np.float32),
    }


def _proxy_arrays(proxy: ProxyMesh, body: Body) -> dict[str, NDArray]:
    bones, shares = rig.strongest(proxy.weights, 6)
    scale = [
        (low, high, abs(body.points[low, axis] - body.points[high, axis]))
        for axis, (low, high) in enumerate(body.measures)
    ]
    arrays: dict[str, NDArray] = {
        "ref": proxy.references.astype(np.uint16),
        "w": proxy.reference_weights.astype(np.float32),
        "off": proxy.offsets.astype(np.float32),
        "scale": np.array(scale, np.float32),
        "tri": proxy.triangles.astype(np.uint16),
        "rv_vert": proxy.render_vertex.astype(np.uint16),
        "rv_uv": proxy.uv.astype(np.float32),
        "bone_idx": bones,
        "bone_w": shares.astype(np.float16),
    }
    return {f"px/{proxy.name}/{key}": array for key, array in arrays.items()}
