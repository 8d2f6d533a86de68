# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles whose landmark scheme ends in two irises: read, moved by gaze controls, mirrored, left out where 68 do."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bundle import IRIS_SCHEME, K, write_tiny_bundle

from lpmm_runtime.bundle import Bundle, load_bundle
from lpmm_runtime.cli import main
from lpmm_runtime.engine import Engine
from lpmm_runtime.errors import BundleError
from lpmm_runtime.landmark_drag import Pose, placed_landmarks
from lpmm_runtime.landmarks68 import COUNT, IRISES, irises_of, mirror
from lpmm_runtime.mirroring import mirror_offsets
from lpmm_runtime.morphable import LandmarkModel


@pytest.fixture(scope="module")
def iris_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("irises") / "tiny", scheme=IRIS_SCHEME)


@pytest.fixture(scope="module")
def iris_bundle(iris_folder: Path) -> Bundle:
    return load_bundle(iris_folder, graphs=True)


def test_both_schemes_load_and_say_how_many_points_they_have(iris_bundle: Bundle, bundle: Bundle) -> None:
    assert iris_bundle.rig.model.points == 70
    assert bundle.rig.model.points == COUNT


@pytest.mark.parametrize(("wrong", "size"), [("ibug68", 136), (IRIS_SCHEME, 140)])
def test_arrays_of_the_other_scheme_are_refused(tmp_path: Path, wrong: str, size: int) -> None:
    other = "ibug68" if wrong == IRIS_SCHEME else IRIS_SCHEME
    folder = write_tiny_bundle(tmp_path / "tiny", scheme=other)
    manifest = json.loads((folder / "bundle.json").read_text("utf-8"))
    (folder / "bundle.json").write_text(json.dumps(manifest | {"landmark_scheme": wrong}), encoding="utf-8")
    with pytest.raises(BundleError, match=rf"lpmm\.npz: mean has shape .*, not \({size},\)"):
        load_bundle(folder)


def test_a_photos_irises_lie_in_its_eyes_the_pictures_left_one_first(
    iris_bundle: Bundle, photo: NDArray[np.uint8]
) -> None:
    reading = Engine(iris_bundle, device="cpu", threads=1).read_face(photo)
    assert reading.landmarks.shape == (COUNT, 2)
    assert reading.irises is not None and reading.irises.shape == (2, 2)
    # The tiny F reads its look params off the picture: an iris may lie well off the eye's middle.
    eye = np.ptp(reading.landmarks[36:42], axis=0).max()
    for iris, points in zip(reading.irises, (slice(36, 42), slice(42, 48)), strict=True):
        assert np.linalg.norm(iris - reading.landmarks[points].mean(axis=0)) < eye


def test_a_character_is_made_and_drawn_as_ever(iris_bundle: Bundle, photo: NDArray[np.uint8]) -> None:
    engine = Engine(iris_bundle, device="cpu", threads=1)
    character = engine.create_character(photo)
    assert character.landmarks.shape == (COUNT, 2)
    params = character.params + iris_bundle.rig.controls.offset({"eyeLookOutLeft": 1.0}, character.params)
    assert np.any(engine.render(character, params) != engine.render(character, character.params))


def test_one_eye_looks_outward_alone(iris_bundle: Bundle) -> None:
    model, controls = iris_bundle.rig.model, iris_bundle.rig.controls
    rest = np.zeros(K, np.float32)
    moved = model.landmarks(rest + controls.offset({"eyeLookOutLeft": 1.0}, rest)) - model.landmarks(rest)
    right, left = moved[IRISES]
    assert left[0] > 0.01  # the subject's left is the picture's right
    assert np.abs(right).max() < 0.1 * left[0]
    assert np.abs(moved[:COUNT]).max() < 0.1 * left[0]


def test_the_mirror_of_one_irises_way_is_the_others(iris_bundle: Bundle) -> None:
    model = iris_bundle.rig.model
    left = np.eye(K)[6]
    mirrored = mirror_offsets(model, left)
    assert mirrored[7] < -0.9
    assert np.abs(mirrored[:7]).max() < 0.15
    points = model.landmarks(left)
    irises = irises_of(mirror(points))
    assert irises is not None
    assert np.allclose(irises[0], [1.0 - points[69, 0], points[69, 1]])


def test_the_landmark_command_adds_irises_and_changes_nothing_else(
    iris_folder: Path, bundle_folder: Path, photo_file: Path, tmp_path: Path
) -> None:
    answers = {}
    for name, folder in (("with", iris_folder), ("without", bundle_folder)):
        out = tmp_path / f"{name}.json"
        arguments = ["landmarks", str(photo_file), "--json", str(out), "--bundle", str(folder), "--device", "cpu"]
        assert main(arguments) == 0
        answers[name] = json.loads(out.read_text("utf-8"))[str(photo_file)]
    assert set(answers["without"]) == {"box", "landmarks", "params", "pose"}
    assert set(answers["with"]) == {*answers["without"], "irises"}
    assert np.shape(answers["with"]["landmarks"]) == (COUNT, 2)
    assert np.shape(answers["with"]["irises"]) == (2, 2)


def test_a_face_that_is_pulled_at_has_its_irises_in_place_too(iris_bundle: Bundle) -> None:
    rig = iris_bundle.rig
    placed = placed_landmarks(rig, Pose(np.zeros(K), {}, {}))
    assert np.allclose(placed, rig.model.landmarks(np.zeros(K)), atol=1e-5)


def test_params_of_68_points_leave_what_only_irises_say_average() -> None:
    rng = np.random.default_rng(5)
    vectors = np.linalg.qr(rng.normal(size=(140, 6)))[0].T
    vectors[-1] = np.eye(140)[138]  # only an iris
    vectors = np.linalg.qr(vectors[::-1].T)[0].T[::-1].astype(np.float32)
    model = LandmarkModel(rng.uniform(size=140).astype(np.float32), vectors, np.full(6, 0.05, np.float32))
    params = rng.normal(size=(4, 6)).astype(np.float32)
    found = model.likeliest_params(model.landmarks(params)[:, :COUNT])
    assert np.allclose(found[:, :5], params[:, :5], atol=0.01)
    assert np.abs(found[:, 5]).max() < 0.01
    assert np.allclose(model.likeliest_params(model.landmarks(params)), params, atol=1e-4)
