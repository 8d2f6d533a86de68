# SPDX-License-Identifier: GPL-3.0-or-later
"""The model bundle: a versioned folder of bundle.json, lpmm.npz, presets and ONNX graphs (docs/bundle-format.md)."""

import hashlib
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from lpmm_runtime.controls import HEAD_CONTROLS, Control, ControlMap, head_features
from lpmm_runtime.errors import BundleError, PresetError
from lpmm_runtime.frame import RigModel
from lpmm_runtime.json_files import read_json
from lpmm_runtime.morphable import LandmarkModel
from lpmm_runtime.presets import Preset, check_preset, load_preset

FORMAT = "lpmm-bundle"
FORMAT_VERSION = 1
MANIFEST = "bundle.json"
ARRAYS = "lpmm.npz"
GRAPHS = ("face_finder", "lp_regressor", "lp_adaptor", "pose_encoder", "identity_encoder", "generator")
# `controls.head_features` pairs the first six params.
SMALLEST_K = 6
DEFAULT_BUNDLE = Path(__file__).parent / "bundles" / "default"
_MOVES, _REACH, _SPREAD = "control_moves", "head_reach", "reading_spread"
# Arrays that a bundle may leave out.
_OPTIONAL = (_MOVES, _REACH)

_MANIFEST_TYPES: dict[str, type] = {
    "name": str,
    "version": str,
    "licence": str,
    "landmark_scheme": str,
    "k": int,
    "image_size": int,
    "backbone": dict,
    "files": dict,
    "controls": list,
    "components": list,
    "model_card": dict,
}


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest, hashes and arrays were checked.

    Attributes:
        path: the folder.
        name, version, licence: as the manifest says.
        image_size: the side of the crop that the models were trained at, pixels.
        backbone_kind: which runtime file renders it: "portrait_flow", "image", …
        latent_size: w, the length of a pose latent.
        alpha: whether the backbone gives a head matte.
        rig: the LPMM, the controls and v̄.
        presets: the bundle's presets by name.
        manifest: bundle.json as it was read.
        reading_spread: how far readings of one face from nudged boxes differ at most, in outer eye distances
            (`face_finding.reading_spread`); None where the bundle does not say.
    """

    path: Path
    name: str
    version: str
    licence: str
    image_size: int
    backbone_kind: str
    latent_size: int
    alpha: bool
    rig: RigModel
    presets: Mapping[str, Preset]
    manifest: Mapping[str, Any]
    reading_spread: float | None = None

    @property
    def k(self) -> int:
        """The number of params."""
        return self.rig.k

    def graph(self, name: str) -> Path:
        """Return the path of the ONNX graph called `name` (one of GRAPHS)."""
        return self.path / f"{name}.onnx"

    @property
    def unlisted_files(self) -> tuple[str, ...]:
        """Files in the folder that the manifest does not list; they are never read."""
        return tuple(sorted(set(_files_in(self.path)) - set(self.manifest["files"])))


def load_bundle(path: Path = DEFAULT_BUNDLE, *, graphs: bool = False) -> Bundle:
    """Read and check a bundle: format version, every hash, every array; with `graphs` every ONNX graph's shapes.

    Args:
        path: the bundle's folder.
        graphs: also open the graphs (needs onnxruntime).

    Raises:
        BundleError: naming the file that is wrong and what is wrong with it.
    """
    path = Path(path)
    manifest = _read_manifest(path)
    _check_hashes(path, manifest["files"])
    rig = _read_rig(path / ARRAYS, manifest)
    backbone = manifest["backbone"]
    bundle = Bundle(
        path=path,
        name=manifest["name"],
        version=manifest["version"],
        licence=manifest["licence"],
        image_size=manifest["image_size"],
        backbone_kind=backbone["kind"],
        latent_size=backbone["latent_size"],
        alpha=backbone["alpha"],
        rig=rig,
        presets=_read_presets(path, manifest, rig),
        manifest=manifest,
        reading_spread=manifest.get(_SPREAD),
    )
    if graphs:
        from lpmm_runtime.onnx_sessions import OnnxSessions  # needs onnxruntime, which the light half has not

        OnnxSessions(bundle, device="cpu", threads=1)
    return bundle


def write_manifest(folder: Path, manifest_without_files: Mapping[str, Any]) -> Path:
    """Write bundle.json for a folder, with the sha256 of every file in it, and return its path.

    Args:
        folder: the bundle's folder, all other files already in place.
        manifest_without_files: every other key of the manifest; `format` and `format_version` are filled in.

    Raises:
        BundleError: if the manifest would not be readable again.
    """
    folder = Path(folder)
    files = {name: {"sha256": sha256_of(folder / name)} for name in _files_in(folder)}
    manifest = {"format": FORMAT, "format_version": FORMAT_VERSION, **manifest_without_files, "files": files}
    target = folder / MANIFEST
    _check_manifest(manifest, target)
    target.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return target


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file as hexadecimal text."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files_in(folder: Path) -> list[str]:
    names = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return sorted(
        name.as_posix() for name in names if name.as_posix() != MANIFEST and not any(p[0] == "." for p in name.parts)
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such bundle folder")
    manifest: dict[str, Any] = read_json(path, "a bundle", BundleError)
    _check_manifest(manifest, path)
    return manifest


def _check_manifest(manifest: Any, path: Path) -> None:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f'{path}: not a bundle: "format" is not "{FORMAT}"')
    if manifest.get("format_version") != FORMAT_VERSION:
        raise BundleError(
            f"{path}: bundle format version {manifest.get('format_version')!r}, this program reads {FORMAT_VERSION}"
        )
    for key, kind in _MANIFEST_TYPES.items():
        if not isinstance(manifest.get(key), kind):
            raise BundleError(f'{path}: "{key}" is missing or not {kind.__name__}')
    if manifest["landmark_scheme"] not in landmarks68.SCHEMES:
        known = " and ".join(landmarks68.SCHEMES)
        raise BundleError(f"{path}: landmark scheme {manifest['landmark_scheme']!r}, this program knows {known}")
    backbone = manifest["backbone"]
    kinds = (("kind", str), ("latent_size", int), ("alpha", bool))
    for key, kind in kinds:
        if not isinstance(backbone.get(key), kind):
            raise BundleError(f'{path}: backbone "{key}" is missing or not {kind.__name__}')
    if manifest["k"] < SMALLEST_K:
        raise BundleError(f'{path}: "k" is {manifest["k"]}; the head angles are read from {SMALLEST_K} params')
    if len(manifest["components"]) != manifest["k"]:
        raise BundleError(f"{path}: {len(manifest['components'])} components for k = {manifest['k']}")
    spread = manifest.get(_SPREAD, 1.0)
    if not isinstance(spread, int | float) or isinstance(spread, bool) or not 0.0 < spread < math.inf:
        raise BundleError(f'{path}: "{_SPREAD}" is {spread!r}, not a number above 0')
    required = [ARRAYS, *(f"{name}.onnx" for name in GRAPHS)]
    for name in required:
        if name not in manifest["files"]:
            raise BundleError(f'{path}: "files" does not list {name}')
    for name in manifest["files"]:
        if PurePosixPath(name).is_absolute() or {"..", ""} & set(name.split("/")) or "\\" in name or ":" in name:
            raise BundleError(f'{path}: "files" lists {name!r}, which is not a plain path inside the bundle')


def _check_hashes(folder: Path, files: Mapping[str, Any]) -> None:
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{path}: listed in {MANIFEST}, but missing")
        expected = entry.get("sha256") if isinstance(entry, dict) else None
        if not isinstance(expected, str):
            raise BundleError(f"{folder / MANIFEST}: no sha256 for {name}")
        try:
            found = sha256_of(path)
        except OSError as error:
            raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from error
        if found != expected.lower():
            raise BundleError(f"{path}: damaged: its sha256 is {found[:12]}…, {MANIFEST} says {expected[:12]}…")


def _read_rig(path: Path, manifest: Mapping[str, Any]) -> RigModel:
    k, w, n = manifest["k"], manifest["backbone"]["latent_size"], landmarks68.SCHEMES[manifest["landmark_scheme"]]
    arrays = _read_arrays(path)
    c, t = len(arrays["control_names"]), len(arrays["head_exponents"])
    features = head_features(np.zeros(k, np.float32)).shape[0]
    shapes = {
        "mean": (2 * n,),
        "eigenvectors": (k, 2 * n),
        "sigma": (k,),
        "control_names": (c,),
        "control_directions": (c, k),
        _MOVES: (c, 2 * n),
        "head_exponents": (t, 3),
        "head_coefficients": (t, k),
        "head_readout": (features, 3),
        _REACH: (3, 3),
        "mean_pose_latent": (w,),
    }
    for name in arrays:
        found, shape = arrays[name], shapes[name]
        if found.shape != shape:
            raise BundleError(f"{path}: {name} has shape {found.shape}, not {shape}")
        if name != "control_names" and not np.isfinite(found).all():
            raise BundleError(f"{path}: {name} holds values that are not finite")
    if not (arrays["sigma"] > 0).all():
        raise BundleError(f"{path}: sigma is not positive throughout")
    names = tuple(str(name) for name in arrays["control_names"])
    single = {name: array.astype(np.float32) for name, array in arrays.items() if array.dtype.kind == "f"}
    # Where a bundle does not say them, its directions do.
    moves = single.get(_MOVES, single["control_directions"] * single["sigma"] @ single["eigenvectors"])
    controls = ControlMap(
        names=names,
        directions=single["control_directions"],
        moves=moves,
        head_exponents=arrays["head_exponents"].astype(np.int64),
        head_coefficients=single["head_coefficients"],
        head_readout=single["head_readout"],
        head_reach=single.get(_REACH, np.zeros((3, 3), np.float32)),
    )
    control_list = _read_controls(path.parent / MANIFEST, manifest["controls"])
    missing = {control.name for control in control_list} ^ {*names, *HEAD_CONTROLS}
    if missing:
        raise BundleError(f"{path}: control {min(missing)!r} is not both here and in {MANIFEST}")
    return RigModel(
        model=LandmarkModel(single["mean"], single["eigenvectors"], single["sigma"]),
        controls=controls,
        control_list=control_list,
        mean_pose_latent=single["mean_pose_latent"],
        component_names=tuple(str(name) for name in manifest["components"]),
    )


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    floats = ("mean", "eigenvectors", "sigma", "control_directions", "head_coefficients", "head_readout")
    kinds = {name: "f" for name in (*floats, *_OPTIONAL, "mean_pose_latent")} | {
        "control_names": "U",
        "head_exponents": "iu",
    }
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name, kind in kinds.items():
                if name not in archive:
                    if name in _OPTIONAL:
                        continue
                    raise BundleError(f"{path}: has no array {name!r}")
                arrays[name] = archive[name]
                if arrays[name].dtype.kind not in kind or arrays[name].ndim == 0:
                    raise BundleError(f"{path}: {name} has dtype {arrays[name].dtype}")
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path}: not a readable npz ({error})") from error
    return arrays


def _read_controls(path: Path, entries: list[Any]) -> tuple[Control, ...]:
    controls = []
    for entry in entries:
        try:
            controls.append(
                Control(
                    name=str(entry["name"]),
                    group=str(entry["group"]),
                    minimum=float(entry["minimum"]),
                    maximum=float(entry["maximum"]),
                    description=str(entry["description"]),
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{path}: control {entry!r} wants name, group, minimum, maximum, description") from error
    if len({control.name for control in controls}) != len(controls):
        raise BundleError(f"{path}: a control is listed twice")
    return tuple(controls)


def _read_presets(folder: Path, manifest: Mapping[str, Any], rig: RigModel) -> dict[str, Preset]:
    presets: dict[str, Preset] = {}
    for name in sorted(manifest["files"]):
        if not (name.startswith("presets/") and name.endswith(".json")):
            continue
        path = folder / name
        try:
            preset = load_preset(path)
            check_preset(preset, rig.control_names, rig.k, str(path))
        except PresetError as error:
            raise BundleError(str(error)) from error
        if preset.name in presets or preset.name in rig.control_names:
            raise BundleError(f"{path}: the name {preset.name!r} is taken by another preset or control")
        presets[preset.name] = preset
    return presets
