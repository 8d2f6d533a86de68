# SPDX-License-Identifier: GPL-3.0-or-later
"""Import Performance: a take becomes keys that show what was captured, at the scene's own speed."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import bpy
import numpy as np
import pytest
from bpy.types import Object, Scene
from numpy.typing import NDArray
from reference import Reference, difference, shown_by
from tiny_bundle import CONTROLS, K, W

from lpmm_blender.performance_keys import (
    PerformanceOptions,
    at_scene_rate,
    import_performance,
    scene_rate,
    split_onto_controls,
)
from lpmm_blender.rig import record_of
from lpmm_runtime.bundle import Bundle, load_bundle
from lpmm_runtime.frame import evaluate_params
from lpmm_runtime.take import Take, models_of, save_take

PARAMS = [f"p{number:02d}" for number in range(1, K + 1)]
HEAD = ("headYaw", "headPitch", "headRoll")


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture
def take(bundle: Bundle) -> Take:
    """Five frames at 24 a second: the head turns, the jaw opens, and something that no slider says."""
    rng = np.random.default_rng(2)
    base = rng.normal(scale=0.2, size=K).astype(np.float32)
    rows = [
        evaluate_params(bundle.rig, base, {"headYaw": 5.0 * n, "jawOpen": 0.2 * n}, {"p08": 0.3 * n}) for n in range(5)
    ]
    params = np.stack(rows)
    return Take(
        source="talk.mov",
        fps=Fraction(24),
        bundle="tiny 1",
        models=models_of(bundle),
        seen=np.ones(5, bool),
        params=params,
        pose_latents=np.zeros((5, W), np.float32),
        head_angles=bundle.rig.controls.head_angles(params),
        squares=np.full((5, 3), 50, np.float32),
    )


def base_of(rig: Object) -> NDArray[np.float32]:
    return np.array(record_of(rig).base_params, np.float32)


def shown_params(scene: Scene, rig: Object, bundle: Bundle, frame: int) -> NDArray[np.float32]:
    scene.frame_set(frame)
    controls = {name: rig[name] for name in (*HEAD, *CONTROLS)}
    return evaluate_params(bundle.rig, base_of(rig), controls, {name: rig[name] for name in PARAMS})


@pytest.mark.parametrize("onto", ["CONTROLS", "COEFFICIENTS"])
@pytest.mark.parametrize("relative", [True, False])
def test_keys_show_what_was_captured(
    scene: Scene, rig: Object, take: Take, bundle: Bundle, onto: str, relative: bool
) -> None:
    options = PerformanceOptions(start=10, onto=onto, relative=relative)  # type: ignore[arg-type]
    assert import_performance(scene, rig, take, bundle, "talk", options) == (10, 14)
    base = base_of(rig)
    nearest = take.params[take.nearest_frame(base, bundle.rig.model.sigma)]
    for row in range(5):
        wanted = base + take.params[row] - nearest if relative else take.params[row]
        assert shown_params(scene, rig, bundle, 10 + row) == pytest.approx(wanted, abs=2e-3)


def test_a_keyed_frame_is_the_picture_of_the_captured_params(
    scene: Scene, rig: Object, take: Take, bundle: Bundle, reference: Reference
) -> None:
    import_performance(scene, rig, take, bundle, "talk", PerformanceOptions(start=1, relative=False))
    scene.frame_set(4)
    raw = {name: float(value) for name, value in zip(PARAMS, take.params[3] - base_of(rig), strict=True)}
    assert difference(shown_by(rig), reference.frame(raw)) <= 1


def test_what_a_slider_can_say_is_said_by_the_slider(take: Take, bundle: Bundle) -> None:
    base = take.params[0]
    channels = split_onto_controls(bundle.rig, base, take.params - base)
    assert channels["headYaw"] == pytest.approx(5.0 * np.arange(5), abs=2.0)
    assert channels["jawOpen"] == pytest.approx(0.2 * np.arange(5), abs=0.1)
    assert np.abs(channels["eyeBlinkLeft"]).max() < 0.1
    wild = split_onto_controls(bundle.rig, base, 40 * (take.params - base))
    assert wild["jawOpen"].min() >= 0 and wild["jawOpen"].max() <= 1 and np.abs(wild["headYaw"]).max() <= 45


def test_a_performance_keeps_its_speed_in_any_scene(scene: Scene, rig: Object, take: Take, bundle: Bundle) -> None:
    scene.render.fps, scene.render.fps_base = 48, 1.0
    first, last = import_performance(
        scene, rig, take, bundle, "talk", PerformanceOptions(onto="COEFFICIENTS", relative=False)
    )
    assert (first, last) == (1, 9)
    assert shown_params(scene, rig, bundle, 5) == pytest.approx(take.params[2], abs=2e-3)
    between = 0.5 * (take.params[2] + take.params[3])
    assert shown_params(scene, rig, bundle, 6) == pytest.approx(between, abs=2e-3)
    scene.render.fps, scene.render.fps_base = 30, 1.001
    assert scene_rate(scene) == Fraction(30000, 1001)
    assert np.array_equal(at_scene_rate(take.params, Fraction(24), Fraction(24)), take.params)


def test_influence_scales_the_performance(scene: Scene, rig: Object, take: Take, bundle: Bundle) -> None:
    import_performance(scene, rig, take, bundle, "talk", PerformanceOptions(relative=False, influence=0.5))
    base = base_of(rig)
    assert shown_params(scene, rig, bundle, 5) == pytest.approx(base + 0.5 * (take.params[4] - base), abs=2e-3)


def test_an_action_that_was_there_is_kept(scene: Scene, rig: Object, take: Take, bundle: Bundle) -> None:
    rig["p01"] = 1.0
    rig.keyframe_insert('["p01"]', frame=1)
    former = rig.animation_data.action
    import_performance(scene, rig, take, bundle, "talk")
    assert rig.animation_data.action is not former and rig.animation_data.action.name == "Ada talk"
    assert former.use_fake_user and former.name in bpy.data.actions


def test_the_operator_keys_the_active_rig(scene: Scene, rig: Object, take: Take, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    save_take(take, path)
    bpy.context.view_layer.objects.active = rig
    scene.frame_end = 20
    assert bpy.ops.lpmm.import_performance(filepath=str(path), start=30) == {"FINISHED"}
    assert rig.animation_data.action.frame_range[:] == (30, 34)
    assert scene.frame_end == 34


def test_bad_takes_leave_the_rig_as_it_was(scene: Scene, rig: Object, take: Take, tmp_path: Path) -> None:
    bpy.context.view_layer.objects.active = rig
    text, foreign = tmp_path / "text.json", tmp_path / "foreign.json"
    text.write_text("no take")
    save_take(replace(take, models={**take.models, "LPMM": "0" * 64}), foreign)
    for path, fault in (
        (text, "not a take"),
        (foreign, "captured with another LPMM"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(RuntimeError, match=fault):
            bpy.ops.lpmm.import_performance(filepath=str(path))
    assert rig.animation_data is None and not bpy.data.actions
