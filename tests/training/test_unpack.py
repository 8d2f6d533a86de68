# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle unpacked into a run's folder is what it was, and training goes on from it."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from lpmm_runtime.bundle import ARRAYS, load_bundle
from training import export
from training.__main__ import main
from training.run_folder import Options, RunFolder


@pytest.fixture(scope="module")
def unpacked(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked") / "run"
    assert main(["unpack", str(toy_run / "bundle"), "--out", str(folder), "--size", "toy"]) == 0
    return folder


def run_in(folder: Path, kit: Path) -> RunFolder:
    return RunFolder(Options(kit, folder, "toy", "cpu", 1, 1))


def test_unpacked_networks_answer_as_the_bundles_graphs_do(unpacked: Path, toy_run: Path, toy_kit: Path) -> None:
    run = run_in(unpacked, toy_kit)
    models = run.models(run.saved_controls("calibrated_controls"))
    seen = set()
    for graph in export.graphs(models):
        session = onnxruntime.InferenceSession(str(toy_run / "bundle" / f"{graph.name}.onnx"))
        told = session.run(list(graph.outputs), {name: value.numpy() for name, value in graph.inputs.items()})
        with torch.no_grad():
            answers = graph.network.eval()(*graph.inputs.values())
        answers = (answers,) if isinstance(answers, torch.Tensor) else answers
        for answer, expected in zip(answers, told, strict=True):
            np.testing.assert_allclose(answer.numpy(), expected, atol=2e-3)
        seen.add(graph.name)
    assert seen == {path.stem for path in (toy_run / "bundle").glob("*.onnx")}


def test_the_latent_space_is_the_one_that_was_fitted(unpacked: Path, toy_run: Path, toy_kit: Path) -> None:
    fitted, found = (run_in(folder, toy_kit).latent_space for folder in (toy_run, unpacked))
    np.testing.assert_array_equal(found.basis, fitted.basis)
    np.testing.assert_allclose(found.project, fitted.project, rtol=1e-4, atol=1e-4)


def test_training_goes_on_from_what_was_unpacked_and_exports(
    unpacked: Path, toy_run: Path, toy_kit: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(unpacked, folder)
    shutil.copy(toy_run / "face-motions.npz", folder)
    shutil.copy(toy_run / "face-motions-test.npz", folder)
    told = json.loads((folder / "geometry_head.jsonl").read_text("utf-8").splitlines()[-1])
    common = ["default", "--kit", str(toy_kit), "--out", str(folder), "--size", "toy", "--workers", "1"]
    assert main([*common, "--stages", "geometry_head", "export"]) == 0
    lines = [json.loads(line) for line in (folder / "geometry_head.jsonl").read_text("utf-8").splitlines()]
    # Its first scores are those of a head that has learned already.
    assert lines[1]["step"] < told["step"]
    assert lines[1]["points_off"] < 1.1 * told["points_off"]
    before, after = (load_bundle(run / "bundle", graphs=True) for run in (toy_run, folder))
    with np.load(before.path / ARRAYS) as old, np.load(after.path / ARRAYS) as new:
        for name in old.files:
            np.testing.assert_array_equal(old[name], new[name])


def test_a_bundle_of_another_size_is_refused(toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unpack", str(toy_run / "bundle"), "--out", str(tmp_path / "run"), "--size", "default"]) == 1
    assert "lp_regressor.onnx: was not exported from a network of this size" in capsys.readouterr().err


def test_a_folder_with_a_run_in_it_is_left_alone(
    toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "lpmm.npz").write_bytes(b"mine")
    assert main(["unpack", str(toy_run / "bundle"), "--out", str(folder), "--size", "toy"]) == 1
    assert "holds a run already" in capsys.readouterr().err
    assert (folder / "lpmm.npz").read_bytes() == b"mine"
