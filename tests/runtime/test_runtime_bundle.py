# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle loads when it is whole, and says which file is wrong when it is not."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from tiny_bundle import K, W, tiny_manifest

from lpmm_runtime.bundle import Bundle, load_bundle, write_manifest
from lpmm_runtime.errors import BundleError


def rehash(folder: Path) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    write_manifest(folder, {key: value for key, value in manifest.items() if key != "files"})


def edit_manifest(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**manifest, **changes}))


def edit_arrays(folder: Path, **changes: Any) -> None:
    arrays = dict(np.load(folder / "lpmm.npz"))
    np.savez(folder / "lpmm.npz", **{**arrays, **changes})
    rehash(folder)


def test_a_whole_bundle_loads_with_its_rig_and_presets(bundle: Bundle) -> None:
    assert (bundle.k, bundle.latent_size, bundle.backbone_kind, bundle.alpha) == (K, W, "image", False)
    assert bundle.rig.control_names == ("headYaw", "headPitch", "headRoll", "jawOpen", "eyeBlinkLeft")
    assert bundle.presets["Smile"].params == {"p07": 1.5}
    assert bundle.rig.mean_pose_latent.dtype == np.float32


def test_a_whole_bundle_passes_the_graph_checks(bundle_folder: Path) -> None:
    load_bundle(bundle_folder, graphs=True)


@pytest.mark.parametrize("name", ["generator.onnx", "lpmm.npz", "presets/smile.json"])
def test_one_flipped_bit_is_found_and_the_file_named(own_bundle: Path, name: str) -> None:
    data = bytearray((own_bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (own_bundle / name).write_bytes(data)
    with pytest.raises(BundleError, match=rf"{re.escape(name)}: damaged"):
        load_bundle(own_bundle)


def test_a_missing_file_is_named(own_bundle: Path) -> None:
    (own_bundle / "lp_adaptor.onnx").unlink()
    with pytest.raises(BundleError, match=r"lp_adaptor\.onnx: listed in bundle\.json, but missing"):
        load_bundle(own_bundle)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere: no such bundle folder"):
        load_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"format": "zip"}, "not a bundle"),
        ({"format_version": 2}, "format version 2"),
        ({"k": "8"}, '"k" is missing or not int'),
        ({"k": 0, "components": []}, '"k" is 0'),
        ({"landmark_scheme": "wflw98"}, "wflw98"),
        ({"components": ["yaw"]}, "1 components for k = 8"),
        ({"backbone": {"kind": "image"}}, 'backbone "latent_size"'),
        ({"reading_spread": 0}, '"reading_spread" is 0, not a number above 0'),
        ({"reading_spread": "wide"}, "\"reading_spread\" is 'wide'"),
        ({"files": {}}, "does not list lpmm.npz"),
        ({"controls": [{"name": "headYaw"}]}, "wants name, group"),
        ({"controls": tiny_manifest()["controls"][:3]}, "'eyeBlinkLeft' is not both"),
    ],
)
def test_a_wrong_manifest_is_refused(own_bundle: Path, changes: dict[str, Any], fault: str) -> None:
    edit_manifest(own_bundle, **changes)
    with pytest.raises(BundleError, match=re.escape(fault)):
        load_bundle(own_bundle)


@pytest.mark.parametrize("name", ["../secret.json", "/etc/passwd", "a\\b.json", ""])
def test_a_manifest_cannot_reach_outside_its_folder(own_bundle: Path, name: str) -> None:
    files = json.loads((own_bundle / "bundle.json").read_text())["files"]
    edit_manifest(own_bundle, files={**files, name: {"sha256": "0"}})
    with pytest.raises(BundleError, match="not a plain path inside the bundle"):
        load_bundle(own_bundle)


def test_a_manifest_that_is_not_json_is_named(own_bundle: Path) -> None:
    (own_bundle / "bundle.json").write_text("{")
    with pytest.raises(BundleError, match=r"bundle\.json: not a bundle: not JSON"):
        load_bundle(own_bundle)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"mean": np.zeros(10, np.float32)}, r"mean has shape \(10,\), not \(136,\)"),
        ({"sigma": np.zeros(K, np.float32)}, "sigma is not positive"),
        ({"control_directions": np.full((2, K), np.nan, np.float32)}, "not finite"),
        ({"control_moves": np.zeros((2, 140), np.float32)}, r"control_moves has shape \(2, 140\), not \(2, 136\)"),
        ({"head_reach": np.zeros((2, 3), np.float32)}, r"head_reach has shape \(2, 3\), not \(3, 3\)"),
        ({"mean_pose_latent": np.zeros(W + 1, np.float32)}, r"mean_pose_latent has shape \(6,\), not \(5,\)"),
        ({"head_exponents": np.eye(3, dtype=np.float32)}, "head_exponents has dtype float32"),
        ({"control_names": np.array(["jawOpen", "tongueOut"])}, "is not both"),
    ],
)
def test_wrong_arrays_are_refused(own_bundle: Path, changes: dict[str, Any], fault: str) -> None:
    edit_arrays(own_bundle, **changes)
    with pytest.raises(BundleError, match=rf"lpmm\.npz: .*{fault}"):
        load_bundle(own_bundle)


def test_where_controls_move_landmarks_is_said_or_follows_from_directions(own_bundle: Path) -> None:
    rig = load_bundle(own_bundle).rig
    by_directions = rig.model.landmarks(rig.controls.directions) - rig.model.landmarks(np.zeros(K))
    assert np.allclose(rig.controls.moves.reshape(2, -1, 2), by_directions, atol=1e-6)
    moves = np.random.default_rng(1).normal(size=(2, 136)).astype(np.float32)
    edit_arrays(own_bundle, control_moves=moves)
    assert np.array_equal(load_bundle(own_bundle).rig.controls.moves, moves)


def test_pickled_arrays_are_refused(own_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"lpmm\.npz: not a readable npz"):
        edit_arrays(own_bundle, mean=np.array([{"a": 1}], dtype=object))
        load_bundle(own_bundle)


def edit_graph(path: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    rehash(path.parent)


def rename_output(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.output[:] = ["coefficients" if name == "params" else name for name in node.output]
    model.graph.output[0].name = "coefficients"


def fix_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def halve_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16


@pytest.mark.parametrize(
    ("change", "fault"),
    [(rename_output, "has no output 'params'"), (fix_batch, "batch dimension must be free"), (halve_input, "")],
)
def test_a_graph_with_the_wrong_interface_is_named(
    own_bundle: Path, change: Callable[[onnx.ModelProto], None], fault: str
) -> None:
    edit_graph(own_bundle / "lp_regressor.onnx", change)
    load_bundle(own_bundle)
    with pytest.raises(BundleError, match=rf"lp_regressor\.onnx: .*{fault}"):
        load_bundle(own_bundle, graphs=True)


def test_a_graph_of_another_k_is_named(own_bundle: Path, bundle_folder: Path) -> None:
    model = onnx.load(own_bundle / "lp_adaptor.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = K + 1
    onnx.save(model, own_bundle / "lp_adaptor.onnx")
    rehash(own_bundle)
    with pytest.raises(BundleError, match=r"lp_adaptor\.onnx"):
        load_bundle(own_bundle, graphs=True)


def test_a_graph_that_is_not_onnx_is_named(own_bundle: Path) -> None:
    (own_bundle / "generator.onnx").write_bytes(b"not a graph")
    rehash(own_bundle)
    with pytest.raises(BundleError, match=r"generator\.onnx: not a graph") as caught:
        load_bundle(own_bundle, graphs=True)
    assert "\n" not in str(caught.value)


def test_a_preset_beyond_the_bundle_is_named(own_bundle: Path) -> None:
    path = own_bundle / "presets" / "smile.json"
    path.write_text(path.read_text().replace("p07", "p09"))
    rehash(own_bundle)
    with pytest.raises(BundleError, match=r"smile\.json: .*'p09'"):
        load_bundle(own_bundle)


def test_unlisted_files_are_told_but_not_read(own_bundle: Path) -> None:
    (own_bundle / "presets" / "later.json").write_text("not a preset")
    (own_bundle / ".DS_Store").write_text("")
    bundle = load_bundle(own_bundle)
    assert bundle.unlisted_files == ("presets/later.json",)
    assert list(bundle.presets) == ["Smile"]


def test_a_manifest_is_checked_before_it_is_written(own_bundle: Path) -> None:
    before = (own_bundle / "bundle.json").read_bytes()
    with pytest.raises(BundleError, match='"licence"'):
        write_manifest(own_bundle, {key: v for key, v in tiny_manifest().items() if key != "licence"})
    assert (own_bundle / "bundle.json").read_bytes() == before
