# SPDX-License-Identifier: GPL-3.0-or-later
"""The face kit on disk, and the arithmetic from morph weights and bone rotations to vertices.

A kit is a folder of plain data: `facekit.npz` (geometry, morph targets, a face rig, proxies), `facekit_meta.json`
(names), `landmarks68.json` (where the iBUG points lie) and `textures/`. Units are decimetres, Y up, the face looks
along +Z and +X is the subject's left.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synth import quaternions
from training.synth.mouth_pulls import mouth_pulls

Array = NDArray[np.float32]
Indices = NDArray[np.int64]

# The kit moves both corners of the mouth by these; people and sliders also move one. The halves' sum is the whole.
_HALVED = ("mouth-corner-puller", "mouth-retraction", "mouth-depression")
# On either side of the middle, dm, a half fades into the other.
_HALVES_MEET = 0.12
_LEFT_CORNER, _LIPS_MEET = 54, (62, 66)


@dataclass(frozen=True)
class Rig:
    """Bones with their pose units. `pose_units` is [u, b, 4], rotations in world axes about each bone's head."""

    bones: tuple[str, ...]
    parents: Indices
    unit_names: dict[str, int]
    pose_units: NDArray[np.float64]

    def transforms(
        self, heads: Array, units: Mapping[str, float], rotations: Mapping[str, NDArray[np.float64]]
    ) -> Array:
        """Return each bone's world transform [b, 3, 4].

        Args:
            heads: [b, 3], the bone heads on the morphed rest mesh.
            units: weights of pose units; unknown names are an error.
            rotations: further rotations by bone name, applied after the units.
        """
        local = np.tile(quaternions.IDENTITY, (len(self.bones), 1))
        for name, weight in units.items():
            if weight:
                local = quaternions.multiply(quaternions.power(self.pose_units[self.unit_names[name]], weight), local)
        for name, rotation in rotations.items():
            bone = self.bones.index(name)
            local[bone] = quaternions.multiply(rotation, local[bone])
        turn = quaternions.matrix(local)
        shift = heads - np.einsum("bij,bj->bi", turn, heads)
        world = np.zeros((len(self.bones), 3, 4))
        world[0, :, :3] = np.eye(3)
        for bone in range(1, len(self.bones)):
            parent = world[self.parents[bone]]
            world[bone, :, :3] = parent[:, :3] @ turn[bone]
            world[bone, :, 3] = parent[:, :3] @ shift[bone] + parent[:, 3]
        return world.astype(np.float32)


@dataclass(frozen=True)
class Body:
    """Morphable, skinned vertices: the whole base mesh, or the few that the landmarks need.

    Attributes:
        base: [n, 3], rest positions.
        deltas: [t, n·3], one row a morph target.
        weights: [n, b], skinning weights.
        joints: [b, n], rows that average the vertices of each bone's head.
    """

    base: Array
    deltas: Array
    weights: Array
    joints: Array

    def morphed(self, rows: Indices, amounts: Array) -> Array:
        """Return rest positions [n, 3] with the targets `rows` added by `amounts`."""
        return self.base + (amounts @ self.deltas[rows]).reshape(-1, 3)

    def skinned(self, rest: Array, transforms: Array) -> Array:
        """Return posed positions [n, 3] of rest positions under bone transforms [b, 3, 4]."""
        return skin(rest, self.weights, transforms)


@dataclass(frozen=True)
class Proxy:
    """A mesh bound to the body: eyes, teeth, tongue, lashes, brows or hair.

    A vertex is Σ w·V[ref] + offset·scale on the morphed rest mesh, then skinned with its own weights.
    """

    name: str
    kind: str
    references: Indices
    reference_weights: Array
    offsets: Array
    scale_pairs: Array
    triangles: Indices
    render_vertex: Indices
    uv: Array
    weights: Array

    def rest(self, body_rest: Array) -> Array:
        """Return the proxy's rest positions [n, 3] on a morphed body."""
        scale = np.array(
            [
                abs(body_rest[int(a), axis] - body_rest[int(b), axis]) / distance
                for axis, (a, b, distance) in enumerate(self.scale_pairs)
            ],
            np.float32,
        )
        bound = (body_rest[self.references] * self.reference_weights[..., None]).sum(axis=1)
        return (bound + self.offsets * scale).astype(np.float32)

    def blended(self, rows: Indices, shares: Array) -> "Proxy":
        """Return a proxy without triangles whose vertices are shares [m, c] of this one's vertices `rows` [m, c]."""
        return replace(
            self,
            references=self.references[rows].reshape(len(rows), -1),
            reference_weights=(self.reference_weights[rows] * shares[..., None]).reshape(len(rows), -1),
            offsets=(self.offsets[rows] * shares[..., None]).sum(axis=1),
            triangles=np.zeros((0, 3), np.int64),
            render_vertex=np.arange(len(rows)),
            uv=np.zeros((len(rows), 2), np.float32),
            weights=(self.weights[rows] * shares[..., None]).sum(axis=1),
        )

    def bound_to(self, place: Indices) -> "Proxy":
        """Return the proxy on a part of the body: `place` says where in it each of the body's vertices is."""
        pairs = self.scale_pairs.copy()
        pairs[:, :2] = place[pairs[:, :2].astype(np.int64)]
        return replace(self, references=place[self.references], scale_pairs=pairs)


@dataclass(frozen=True)
class LandmarkRows:
    """Which vertices the 68 landmarks follow.

    Attributes:
        pairs: [68, 2] vertex rows and pair_weights [68, 2]: a landmark is their weighted sum.
        contour: [17, c] candidate rows of each jaw point; the silhouette picks among them.
    """

    pairs: Indices
    pair_weights: Array
    contour: Indices


def skin(rest: Array, weights: Array, transforms: Array) -> Array:
    """Return rest positions [n, 3] moved by skinning weights [n, b] and bone transforms [b, 3, 4]."""
    blended = (weights @ transforms.reshape(len(transforms), 12)).reshape(-1, 3, 4)
    return np.einsum("nij,nj->ni", blended[:, :, :3], rest) + blended[:, :, 3]


def vertex_normals(triangles: Indices, positions: Array) -> Array:
    """Return area-weighted unit normals [n, 3]."""
    a, b, c = (positions[triangles[:, corner]] for corner in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.zeros_like(positions)
    flat = triangles.ravel()
    repeated = np.repeat(faces, 3, axis=0)
    for axis in range(3):
        normals[:, axis] = np.bincount(flat, weights=repeated[:, axis], minlength=len(positions))
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)


def _dense_weights(bones: NDArray[np.integer], weights: NDArray[np.floating], count: int) -> Array:
    dense = np.zeros((len(bones), count), np.float32)
    np.add.at(dense, (np.arange(len(bones))[:, None], bones.astype(np.int64)), weights.astype(np.float32))
    return dense


class FaceKit:
    """A face kit, loaded. Raises FileNotFoundError if the folder is not one."""

    def __init__(self, folder: Path) -> None:
        for name in ("facekit.npz", "facekit_meta.json", "landmarks68.json", "textures"):
            if not (folder / name).exists():
                raise FileNotFoundError(f"{folder} is not a face kit: {name} is missing")
        self.folder = folder
        with np.load(folder / "facekit.npz", allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        meta = json.loads((folder / "facekit_meta.json").read_text("utf-8"))
        marks = json.loads((folder / "landmarks68.json").read_text("utf-8"))

        bones = tuple(meta["bones"])
        base = arrays["base_v"].astype(np.float32)
        self.landmark_rows = _landmark_rows(marks)
        self.targets, deltas = _with_halves(
            {target["name"]: row for row, target in enumerate(meta["targets"])}, _dense_deltas(arrays, len(base)), base
        )
        self.targets, deltas = _with_pulls(self.targets, deltas, base, self.landmark_rows)
        self.modifiers: list[dict[str, str | None]] = meta["modifiers"]
        self.asymmetries: list[str] = meta["asym"]
        self.expression_presets: dict[str, dict[str, float]] = meta["expression_presets"]
        self.rig = Rig(
            bones=bones,
            parents=arrays["bone_parent"].astype(np.int64),
            unit_names={name: row for row, name in enumerate(meta["pose_units"])},
            pose_units=arrays["poseunit_quat"].astype(np.float64),
        )
        self.body = Body(
            base=base,
            deltas=deltas,
            weights=_dense_weights(arrays["bone_idx"], arrays["bone_w"], len(bones)),
            joints=_joint_rows(arrays, len(bones), len(base)),
        )
        self.triangles: Indices = arrays["tri"].astype(np.int64)
        self.render_vertex: Indices = arrays["rv_vert"].astype(np.int64)
        self.uv: Array = arrays["rv_uv"].astype(np.float32)
        self.occlusion: Array = arrays.get("ao", np.ones(len(base))).astype(np.float32)
        self.proxies = {name: _proxy(name, info, arrays, len(bones)) for name, info in meta["proxies"].items()}
        self._face_colours: dict[str, NDArray[np.float64]] = {}

    def textures(self) -> set[str]:
        """Return the texture names that the kit has, without endings."""
        return self._textures

    @cached_property
    def _textures(self) -> set[str]:
        return {path.stem for path in (self.folder / "textures").iterdir()}

    def texture_path(self, name: str) -> Path:
        """Return the file of a texture; raises FileNotFoundError."""
        for ending in (".png", ".jpg"):
            path = self.folder / "textures" / (name + ending)
            if path.exists():
                return path
        raise FileNotFoundError(f"the face kit {self.folder} has no texture {name}")

    def face_colour(self, texture: str) -> NDArray[np.float64]:
        """Return the linear colour [3] of a skin texture in the face: its median over the visible vertices."""
        if texture not in self._face_colours:
            image = cv2.imread(str(self.texture_path(texture)), cv2.IMREAD_COLOR)
            rows = self.landmark_rows
            marks = (self.body.base[rows.pairs] * rows.pair_weights[..., None]).sum(axis=1)
            rest = self.body.base[self.render_vertex]
            low, high = marks[8, 1], marks[27, 1] + 0.5 * (marks[27, 1] - marks[8, 1])
            uv = self.uv[(rest[:, 2] > marks[0, 2]) & (rest[:, 1] > low) & (rest[:, 1] < high)]
            height, width = image.shape[:2]
            column = np.clip(uv[:, 0] * width, 0, width - 1).astype(np.int64)
            row = np.clip((1.0 - uv[:, 1]) * height, 0, height - 1).astype(np.int64)
            self._face_colours[texture] = np.median((image[row, column, ::-1] / 255.0) ** 2.2, axis=0)
        return self._face_colours[texture]

    def rows(self, morphs: Mapping[str, float]) -> tuple[Indices, Array]:
        """Return target rows and amounts of a morph mapping; targets that the kit lacks are left out."""
        known = [(self.targets[name], amount) for name, amount in morphs.items() if amount and name in self.targets]
        return (
            np.array([row for row, _ in known], np.int64),
            np.array([amount for _, amount in known], np.float32),
        )


def _dense_deltas(arrays: Mapping[str, NDArray], count: int) -> Array:
    pointer = arrays["t_ptr"]
    deltas = np.zeros((len(pointer) - 1, count, 3), np.float32)
    for row in range(len(pointer) - 1):
        span = slice(pointer[row], pointer[row + 1])
        deltas[row, arrays["t_idx"][span]] = arrays["t_delta_milli"][span] * np.float32(1e-3)
    return deltas.reshape(len(deltas), -1)


def _with_halves(targets: dict[str, int], deltas: Array, base: Array) -> tuple[dict[str, int], Array]:
    """Return targets and their deltas with the two halves of each that is `_HALVED`: "mouth-left-retraction"."""
    step = np.clip(0.5 + 0.5 * base[:, 0] / _HALVES_MEET, 0.0, 1.0)
    left = step * step * (3.0 - 2.0 * step)
    named, rows = dict(targets), [deltas]
    for name, row in targets.items():
        people, slash, stem = name.rpartition("/")
        if stem not in _HALVED:
            continue
        for side, share in (("left", left), ("right", 1.0 - left)):
            named[f"{people}{slash}{stem.replace('mouth-', f'mouth-{side}-')}"] = len(deltas) + len(rows) - 1
            rows.append((deltas[row].reshape(-1, 3) * share[:, None]).reshape(1, -1))
    return named, np.concatenate(rows).astype(np.float32)


def _with_pulls(
    targets: dict[str, int], deltas: Array, base: Array, rows: LandmarkRows
) -> tuple[dict[str, int], Array]:
    """Return targets and their deltas with `mouth_pulls`; they are the same for people of all origins."""
    marks = (base[rows.pairs] * rows.pair_weights[..., None]).sum(axis=1)
    fields = mouth_pulls(base, marks[_LEFT_CORNER], 0.5 * (marks[_LIPS_MEET[0]] + marks[_LIPS_MEET[1]]))
    named = dict(targets)
    people = {name.rpartition("/")[0] for name in targets if name.endswith(f"/{_HALVED[0]}")}
    for number, name in enumerate(fields):
        named |= {f"{origin}/{name}": len(deltas) + number for origin in sorted(people)}
    return named, np.concatenate([deltas, np.stack(list(fields.values())).reshape(len(fields), -1)]).astype(np.float32)


def _joint_rows(arrays: Mapping[str, NDArray], bones: int, vertices: int) -> Array:
    pointer, index = arrays["joint_ptr"], arrays["joint_idx"].astype(np.int64)
    rows = np.zeros((bones, vertices), np.float32)
    for bone in range(bones):
        span = index[pointer[bone] : pointer[bone + 1]]
        if len(span):
            np.add.at(rows[bone], span, 1.0 / len(span))
    return rows


def _proxy(name: str, info: Mapping[str, str], arrays: Mapping[str, NDArray], bones: int) -> Proxy:
    def part(key: str) -> NDArray:
        return arrays[f"px/{name}/{key}"]

    return Proxy(
        name=name,
        kind=info["kind"],
        references=part("ref").astype(np.int64),
        reference_weights=part("w").astype(np.float32),
        offsets=part("off").astype(np.float32),
        scale_pairs=part("scale").astype(np.float64),
        triangles=part("tri").astype(np.int64),
        render_vertex=part("rv_vert").astype(np.int64),
        uv=part("rv_uv").astype(np.float32),
        weights=_dense_weights(part("bone_idx"), part("bone_w"), bones),
    )


def _landmark_rows(marks: Mapping[str, list]) -> LandmarkRows:
    refined = marks["refined_kit"]
    pairs = np.array([[points[0][0], points[-1][0]] for points in refined], np.int64)
    weights = np.array([[points[0][1], points[1][1] if len(points) > 1 else 0.0] for points in refined], np.float32)
    candidates = marks["contour_candidates_kit"]
    longest = max(len(rows) for rows in candidates)
    contour = np.array([rows + [rows[0]] * (longest - len(rows)) for rows in candidates], np.int64)
    return LandmarkRows(pairs, weights, contour)
