# SPDX-License-Identifier: GPL-3.0-or-later
"""The toy face kit loads as the real one does, and its face behaves like a face."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from training import toykit
from training.synth.facekit import FaceKit
from training.synth.head import LandmarkSampler, crop_camera, frontal_camera, pose_head, project_landmarks
from training.synth.motion import CONTROL_POSES, Motion, sample_expression
from training.synth.people import Person, mean_person, sample_person
from training.synth.renderer import LAYERS, Renderer, Stage
from training.synth.stage import even_lighting

Array = NDArray[np.floating]

# Mirror images of controls that move one side.
_SIDED = [name for name in CONTROL_POSES if name.endswith("Left")]


@pytest.fixture(scope="module")
def sampler(loaded_toy_kit: FaceKit) -> LandmarkSampler:
    return LandmarkSampler(loaded_toy_kit)


@pytest.fixture(scope="module")
def renderer(loaded_toy_kit: FaceKit) -> Renderer:
    return Renderer(loaded_toy_kit, size=160, supersampling=2)


def _seen(sampler: LandmarkSampler, motion: Motion, person: Person | None = None) -> Array:
    """Return landmarks and irises [70, 2] in a fixed crop of the resting face, y down."""
    person = person or mean_person()
    rest = sampler.points(person, Motion())
    camera = frontal_camera(rest.middle, 12.0)
    camera = crop_camera(camera, project_landmarks(rest, camera)[0])
    return np.concatenate(project_landmarks(sampler.points(person, motion), camera))


def test_the_same_seed_writes_the_same_bytes(toy_kit: Path, tmp_path: Path) -> None:
    toykit.write_toy_kit(tmp_path, seed=0)
    files = sorted(path.relative_to(toy_kit) for path in toy_kit.rglob("*") if path.is_file())
    assert len(files) > 50
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for path in files:
        assert (tmp_path / path).read_bytes() == (toy_kit / path).read_bytes(), path


def test_the_command_writes_a_kit_that_loads(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    toykit.add_parser(parser.add_subparsers())
    args = parser.parse_args(["toykit", "--out", str(tmp_path / "kit"), "--seed", "3"])
    assert args.run(args) == 0
    assert FaceKit(tmp_path / "kit").proxies


def test_the_command_fails_in_one_line_where_it_cannot_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert toykit.run(argparse.Namespace(out=tmp_path / "file", seed=0)) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_every_part_that_the_sampler_may_pick_is_there(loaded_toy_kit: FaceKit) -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        person = sample_person(loaded_toy_kit, rng, "train")
        for name in (person.skin, person.iris):
            loaded_toy_kit.texture_path(name)
        for strands in (person.hair, person.brows, person.lashes):
            if strands:
                loaded_toy_kit.texture_path(strands.texture)
                assert strands.proxy in loaded_toy_kit.proxies
        unknown = [name for name in person.morphs if name not in loaded_toy_kit.targets]
        # The average body has no target of its own, as in the real kit.
        assert all("averagemuscle-averageweight" in name for name in unknown)


def test_every_control_moves_landmarks(sampler: LandmarkSampler) -> None:
    rest = _seen(sampler, Motion())
    still = [name for name in CONTROL_POSES if np.abs(_seen(sampler, Motion(controls={name: 1.0})) - rest).max() < 2e-3]
    assert still == []


def test_the_landmarks_lie_where_a_face_has_them(sampler: LandmarkSampler) -> None:
    face = _seen(sampler, Motion())
    assert face.min() > 0.15 and face.max() < 0.85
    x, y = face.T
    brows, eyes, nose, mouth = (y[landmarks68.REGIONS[name]] for name in ("brows", "eyes", "nose", "mouth"))
    assert brows.max() < eyes.min() < eyes.max() < nose.max() < mouth.min() < mouth.max() < y[8]
    # The subject's right is the picture's left.
    assert x[0] < x[17] < x[36] < x[39] < x[27] < x[42] < x[45] < x[26] < x[16]
    assert x[48] < x[51] < x[54]
    assert (np.diff(x[:17]) > 0).all()


def test_the_resting_face_is_its_own_mirror_image(sampler: LandmarkSampler, toy_kit: Path) -> None:
    flip = json.loads((toy_kit / "landmarks68.json").read_text("utf-8"))["flip"]
    assert sorted(flip) == list(range(68))
    assert [flip[place] for place in flip] == list(range(68))
    points = sampler.points(mean_person(), Motion()).fixed
    np.testing.assert_allclose(points[flip] * [-1, 1, 1], points, atol=4e-3)


@pytest.mark.parametrize(
    ("stem", "way"), [("In", (-1, 0)), ("Out", (1, 0)), ("Up", (0, -1)), ("Down", (0, 1))], ids=str
)
def test_a_gaze_control_turns_its_own_eye_alone(sampler: LandmarkSampler, stem: str, way: tuple[int, int]) -> None:
    rest = _seen(sampler, Motion())
    moved = _seen(sampler, Motion(controls={f"eyeLook{stem}Left": 1.0})) - rest
    width = rest[45, 0] - rest[42, 0]
    # The subject's left eye is the picture's right one, and the nose lies to its left.
    assert moved[69] @ way > (0.15 if way[0] else 0.08) * width
    assert abs(moved[69] @ way[::-1]) < 0.3 * (moved[69] @ way)
    assert np.abs(moved[68]).max() < 1e-6
    lids = -moved[[43, 44], 1]
    follow = {"Down": -1.0, "Up": 1.0}.get(stem)
    assert (follow * lids > 1e-3).all() if follow else np.abs(lids).max() < 1e-6
    assert np.abs(moved[36:42]).max() < 1e-6


def test_eyes_mostly_look_together_and_sometimes_apart(loaded_toy_kit: FaceKit) -> None:
    looks = []
    for seed in range(400):
        motion = sample_expression(np.random.default_rng(seed), loaded_toy_kit.expression_presets)
        looks.append((motion.eye_gaze("left"), motion.eye_gaze("right")))
    gazes = np.array(looks)
    apart = np.any(gazes[:, 0] != gazes[:, 1], axis=1)
    assert 0.03 < apart.mean() < 0.13
    # As far as the controls turn an eye.
    assert gazes[..., 0].max() > 26 and gazes[..., 0].min() < -26
    assert gazes[..., 1].max() > 17 and gazes[..., 1].min() < -19


@pytest.mark.parametrize("left", _SIDED)
def test_the_right_side_moves_as_the_left(sampler: LandmarkSampler, left: str) -> None:
    ours = _seen(sampler, Motion(controls={left: 1.0}))
    theirs = _seen(sampler, Motion(controls={left.replace("Left", "Right"): 1.0}))
    # Targets are rounded to a ten-thousandth of a metre.
    np.testing.assert_allclose(landmarks68.mirror(ours), theirs, atol=2e-3)


def test_closing_the_lids_closes_the_gap(sampler: LandmarkSampler) -> None:
    rest = landmarks68.eye_openness(_seen(sampler, Motion()))
    assert (rest > 0.2).all()
    both = _seen(sampler, Motion(controls={"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}))
    assert (landmarks68.eye_openness(both) < 0.2 * rest).all()
    left, right = landmarks68.eye_openness(_seen(sampler, Motion(controls={"eyeBlinkLeft": 1.0})))
    assert left < 0.2 * rest[0]
    assert right == pytest.approx(rest[1], rel=1e-3)


def test_dropping_the_jaw_opens_the_mouth(sampler: LandmarkSampler) -> None:
    rest = _seen(sampler, Motion())
    assert landmarks68.mouth_openness(rest) < 0.02
    open_ = _seen(sampler, Motion(units={"JawDrop": 1.0}))
    assert landmarks68.mouth_openness(open_) > 0.25
    assert open_[8, 1] > rest[8, 1] + 0.02
    np.testing.assert_allclose(open_[36:48], rest[36:48], atol=1e-4)


def test_a_head_turn_takes_the_nose_to_that_side(sampler: LandmarkSampler) -> None:
    rest = _seen(sampler, Motion())
    assert _seen(sampler, Motion(yaw=25.0))[30, 0] > rest[30, 0] + 0.03
    assert _seen(sampler, Motion(pitch=15.0))[30, 1] < rest[30, 1] - 0.02
    rolled = _seen(sampler, Motion(roll=15.0))
    assert rolled[45, 1] > rolled[36, 1] + 0.03


def test_people_differ_and_stay_whole(sampler: LandmarkSampler, loaded_toy_kit: FaceKit) -> None:
    rng = np.random.default_rng(1)
    faces = []
    for _ in range(12):
        person = sample_person(loaded_toy_kit, rng, "train")
        motion = replace(sample_expression(rng, loaded_toy_kit.expression_presets), yaw=float(rng.normal(0, 20)))
        assert np.isfinite(_seen(sampler, motion, person)).all()
        faces.append(sampler.aligned(person, Motion())[0])
    spread = np.std(faces, axis=0).mean()
    assert 0.001 < spread < 0.05


def test_closed_lids_cover_the_eyeballs(renderer: Renderer) -> None:
    assert (_layers(renderer, Motion()) == LAYERS["eyes"]).sum() > 60
    closed = Motion(controls={"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0})
    assert (_layers(renderer, closed) == LAYERS["eyes"]).sum() == 0


def test_an_open_mouth_shows_teeth_or_tongue_and_a_closed_one_neither(renderer: Renderer) -> None:
    inside = (LAYERS["teeth"], LAYERS["tongue"])
    assert not np.isin(_layers(renderer, Motion()), inside).any()
    assert np.isin(_layers(renderer, Motion(controls={"jawOpen": 1.0})), inside).sum() > 10


@pytest.mark.parametrize("yaw", [-35.0, 0.0, 35.0])
def test_the_open_face_has_no_holes(renderer: Renderer, yaw: float) -> None:
    motion = Motion(yaw=yaw, controls={"jawOpen": 1.0, "eyeWideLeft": 1.0, "eyeWideRight": 1.0})
    picture, _, landmarks = _drawn(renderer, motion)
    face = np.zeros(picture.shape[:2], np.uint8)
    # The silhouette itself is half covered.
    hull = cv2.convexHull(np.rint(landmarks * len(face)).astype(np.int32))
    inside = cv2.erode(cv2.fillConvexPoly(face, hull, (1,)), np.ones((7, 7), np.uint8)) > 0
    assert inside.sum() > 1000
    assert picture[..., 3][inside].min() == 255


def _drawn(renderer: Renderer, motion: Motion) -> tuple[NDArray[np.uint8], NDArray[np.floating], Array]:
    """Return the picture of the mean person, its layers and its landmarks, in its aligned crop."""
    kit, person = renderer.kit, mean_person()
    sampler = LandmarkSampler(kit)
    points = sampler.points(person, motion)
    camera = frontal_camera(points.middle, 12.0)
    camera = crop_camera(camera, project_landmarks(points, camera)[0])
    stage = Stage(camera, even_lighting(), np.zeros((8, 8, 3), np.uint8))
    picture, meshes = renderer.render(person, pose_head(kit, kit.body, kit.rig, person, motion), stage)
    layers = renderer.motion(meshes, meshes, camera, camera)[..., 3]
    return picture, layers, project_landmarks(points, camera)[0]


def _layers(renderer: Renderer, motion: Motion) -> NDArray[np.floating]:
    return _drawn(renderer, motion)[1]
