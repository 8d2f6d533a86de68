# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole training, at toy size on a toy kit: one command, from nothing to a bundle that the runtime draws with."""

import json
from pathlib import Path

import numpy as np
import pytest

from lpmm_runtime.bundle import load_bundle
from lpmm_runtime.crop import face_box
from lpmm_runtime.engine import Engine
from training.__main__ import main
from training.synth.facekit import FaceKit
from training.synth.samples import SampleMaker

pytestmark = pytest.mark.timeout(900)


def test_the_bundle_is_whole_and_small_and_says_where_it_is_from(toy_run: Path) -> None:
    bundle = load_bundle(toy_run / "bundle", graphs=True)
    assert bundle.k == 40
    assert sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file()) < 30e6
    card = json.loads((bundle.path / "bundle.json").read_text("utf-8"))["model_card"]
    assert {"data", "licence", "scores", "command", "commit"} <= set(card)
    # What hardly learned to read differs by more than the least that the shipped bundle's readings may.
    assert bundle.reading_spread is not None and bundle.reading_spread > 0.06


def test_its_eyes_can_be_turned_one_by_one(toy_run: Path) -> None:
    bundle = load_bundle(toy_run / "bundle")
    assert bundle.manifest["landmark_scheme"] == "ibug68+iris2"
    assert {"Look Left", "Look Right", "Look Up", "Look Down"} <= set(bundle.presets)
    model, controls = bundle.rig.model, bundle.rig.controls
    rest = np.zeros(bundle.k, np.float32)
    width = float(model.mean[2 * 45] - model.mean[2 * 42])
    for name, own, other, way in (("eyeLookOutLeft", 69, 68, 1), ("eyeLookOutRight", 68, 69, -1)):
        moved = model.landmarks(rest + controls.offset({name: 1.0}, rest)) - model.landmarks(rest)
        assert way * moved[own, 0] > 0.12 * width
        assert abs(moved[other, 0]) < 0.75 * abs(moved[own, 0])  # through a D that has hardly learned
    scores = bundle.manifest["model_card"]["scores"]
    assert scores["lp_regressor"]["nme_irises"] > 0 and scores["truncation_nme"]["136"] < 0.01


def test_the_runtime_draws_with_it(toy_run: Path, loaded_toy_kit: FaceKit) -> None:
    face = SampleMaker(loaded_toy_kit, 256).face(np.random.default_rng(2), "test")
    engine = Engine(load_bundle(toy_run / "bundle"), device="cpu", threads=1)
    box = face_box(face.landmarks * 256)
    character = engine.create_character(face.image, box=box)
    reading = engine.read_face(face.image, box)
    assert reading.irises is not None and reading.irises.shape == (2, 2)
    rest = engine.render(character, character.params, view="full")
    assert np.array_equal(rest[..., :3], face.image)
    turned = character.params + engine.bundle.rig.controls.offset({"headYaw": 15.0}, character.params)
    moved = engine.render(character, turned, view="full")
    assert np.abs(moved[..., :3].astype(int) - face.image).max() > 20
    again = engine.render(character, turned, view="full")
    assert np.array_equal(moved, again)


def test_a_second_run_trains_nothing_again(toy_run: Path, toy_kit: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in toy_run.glob("*.pt")}
    stages = ["data", "face_finder", "lp_regressor", "pose_encoder", "generator", "lp_adaptor", "controls"]
    arguments = ["default", "--kit", str(toy_kit), "--out", str(toy_run), "--size", "toy", "--workers", "1"]
    assert main([*arguments, "--stages", *stages]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in toy_run.glob("*.pt")} == before


def test_every_model_learned_something(toy_run: Path) -> None:
    for name in ("lp_regressor_coarse", "geometry_head", "lp_adaptor_warm", "slider_rig", "landmark_refiner"):
        lines = [json.loads(line) for line in (toy_run / f"{name}.jsonl").read_text("utf-8").splitlines()]
        assert lines[-1]["loss"] < lines[0]["loss"], name


def test_a_folder_that_is_no_kit_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["default", "--kit", str(tmp_path), "--out", str(tmp_path / "run"), "--size", "toy"]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("training: ") and "is not a face kit" in lines[-1]
