# SPDX-License-Identifier: GPL-3.0-or-later
"""The arithmetic of a frame, presets and channel names."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import K

from lpmm_runtime.bundle import Bundle
from lpmm_runtime.channels import param_index, param_name, split_channels
from lpmm_runtime.errors import LpmmError, PresetError, UnknownChannelError
from lpmm_runtime.frame import effective_values, evaluate_channels, evaluate_params
from lpmm_runtime.presets import Preset, check_preset, load_preset, save_preset

BASE = np.linspace(-1, 1, K).astype(np.float32)
NOD = Preset("Nod", {"headPitch": 20.0, "jawOpen": 0.4}, {"p02": 2.0})


def test_at_rest_the_params_are_the_base_to_the_bit(bundle: Bundle) -> None:
    resting = evaluate_params(bundle.rig, BASE, {"headYaw": 0.0, "jawOpen": 0.0}, {"p01": 0.0}, [(NOD, 0.0)])
    assert resting.tobytes() == BASE.tobytes()


def test_raw_params_add_by_name_and_by_index(bundle: Bundle) -> None:
    by_name = evaluate_params(bundle.rig, BASE, {}, {"p03": 1.5})
    by_index = evaluate_params(bundle.rig, BASE, {}, {2: 1.5})
    assert np.allclose(by_name - BASE, np.eye(K)[2] * 1.5)
    assert np.array_equal(by_name, by_index)


def test_a_preset_adds_with_its_weight(bundle: Bundle) -> None:
    half = evaluate_params(bundle.rig, BASE, {}, {}, [(NOD, 0.5)])
    by_hand = evaluate_params(bundle.rig, BASE, {"headPitch": 10.0, "jawOpen": 0.2}, {"p02": 1.0})
    assert np.allclose(half, by_hand, atol=1e-6)


def test_a_presets_controls_join_the_sliders_before_the_map(bundle: Bundle) -> None:
    values, raw = effective_values({"headPitch": -5.0}, {"p02": 1.0}, [(NOD, 1.0), (NOD, 0.5)], K)
    assert values == {"headPitch": 25.0, "jawOpen": pytest.approx(0.6)}
    assert raw[1] == pytest.approx(4.0)


def test_mixed_channels_are_sorted_into_their_kinds(bundle: Bundle) -> None:
    values = {"jawOpen": 0.3, "p08": -1.0, "Smile": 1.0}
    params = evaluate_channels(bundle.rig, BASE, values, bundle.presets)
    smile = bundle.presets["Smile"]
    assert np.allclose(params, evaluate_params(bundle.rig, BASE, {"jawOpen": 0.3}, {7: -1.0}, [(smile, 1.0)]))


def test_unknown_names_are_refused_with_the_nearest(bundle: Bundle) -> None:
    with pytest.raises(UnknownChannelError, match="'jawopen'; did you mean 'jawOpen'"):
        split_channels({"jawopen": 1.0}, bundle.rig.control_names, K, [])
    with pytest.raises(UnknownChannelError, match="tongueOut"):
        evaluate_params(bundle.rig, BASE, {"tongueOut": 1.0}, {})


@pytest.mark.parametrize("name", ["p00", "p09", "p1", "p001", "q01", "p-1", "p٠١"])
def test_what_is_no_param_is_refused(name: str) -> None:
    with pytest.raises(UnknownChannelError, match="no such param"):
        param_index(name, K)


def test_param_names_count_from_one() -> None:
    assert [param_index(param_name(i), 40) for i in range(40)] == list(range(40))
    assert param_name(0) == "p01"
    assert param_name(39) == "p40"


def test_a_preset_survives_its_file(tmp_path: Path) -> None:
    save_preset(NOD, tmp_path / "nod.json")
    assert load_preset(tmp_path / "nod.json") == NOD


GOOD: dict[str, Any] = {"format": "lpmm-preset", "format_version": 1, "name": "A", "controls": {}, "params": {}}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("not json", "not JSON"),
        ("[]", '"format" is not'),
        (json.dumps({**GOOD, "format": "x"}), '"format" is not'),
        (json.dumps({**GOOD, "format_version": 9}), "format version 9"),
        (json.dumps({**GOOD, "name": " "}), 'no "name"'),
        (json.dumps({**GOOD, "controls": [1]}), '"controls" is not an object'),
        (json.dumps({**GOOD, "controls": {"jawOpen": "wide"}}), "jawOpen is not a finite number"),
        (json.dumps({**GOOD, "controls": {"jawOpen": float("nan")}}), "jawOpen is not a finite number"),
        (json.dumps({**GOOD, "controls": {"jawOpen": 10**400}}), "jawOpen is not a finite number"),
        (json.dumps({**GOOD, "params": {"p01": True}}), "p01 is not a finite number"),
        (json.dumps({**GOOD, "params": {"yaw": 1}}), "'yaw' is no param name"),
        (json.dumps({**GOOD, "weight": 1}), "unknown key 'weight'"),
        ("[" * 100_000, "not JSON"),
        ('{"format": ' + "1" * 10_000 + "}", "not "),
    ],
)
def test_a_malformed_preset_is_named_in_one_line(tmp_path: Path, content: str, fault: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(PresetError) as caught:
        load_preset(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_binary_or_missing_preset_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PresetError, match=r"bad\.json: not a preset"):
        load_preset(tmp_path / "bad.json")
    with pytest.raises(PresetError, match=r"gone\.json: no such file"):
        load_preset(tmp_path / "gone.json")
    with pytest.raises(LpmmError, match="cannot be read"):
        load_preset(tmp_path)


def test_a_preset_that_does_not_fit_the_bundle_is_refused(bundle: Bundle) -> None:
    with pytest.raises(PresetError, match=r"x\.json: preset 'A': .*'mouthPucker'"):
        check_preset(Preset("A", {"mouthPucker": 1.0}), bundle.rig.control_names, K, "x.json")
    with pytest.raises(PresetError, match="p40"):
        check_preset(Preset("A", {}, {"p40": 1.0}), bundle.rig.control_names, K, "x.json")


def test_the_light_half_needs_numpy_alone() -> None:
    modules = ("bundle", "channels", "client", "controls", "crop", "curves", "errors", "frame", "json_files", "presets")
    blocked = "import sys; sys.modules.update(dict.fromkeys(['onnxruntime', 'cv2', 'av', 'tqdm', 'torch', 'bpy']));"
    code = blocked + "".join(f"import lpmm_runtime.{name};" for name in modules)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
