# SPDX-License-Identifier: GPL-3.0-or-later
"""Portraits rendered by Cycles: strands grow as hair does, and a picture shows the person in front of a room."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.portraiture.strands import Hair, Scalp, grow, grow_beard
from training.portraiture.surface import Surface
from training.synth.facekit import FaceKit
from training.synth.head import LandmarkSampler, pose_head
from training.synth.motion import Motion
from training.synth.paint import MASKS, paint_masks
from training.synth.people import mean_person

COUNT = 300


@pytest.fixture(scope="module")
def scalp(loaded_toy_kit: FaceKit) -> Scalp:
    kit, person = loaded_toy_kit, mean_person()
    head = pose_head(kit, kit.body, kit.rig, person, Motion())
    skin = Surface(kit.body.skinned(head.rest, head.transforms), kit.render_vertex[kit.triangles])
    marks = LandmarkSampler(kit).points(person, Motion()).fixed
    return Scalp(skin, paint_masks(kit)[:, MASKS.index("scalp")], marks)


def depth_within(skin: Surface, points: np.ndarray) -> np.ndarray:
    """Return how far points [n, 3] lie within the skin, decimetres; negative outside."""
    feet = [skin.nearest(point) for point in points.astype(np.float64)]
    return np.array([(foot - point) @ normal for (foot, normal), point in zip(feet, points, strict=True)])


def test_hair_grows_from_the_scalp_and_stays_out_of_the_head(scalp: Scalp) -> None:
    for style, length in (("long", 1.5), ("tied", 0.0), ("curls", 0.25)):
        hair = Hair(style, COUNT, length, parting=-0.1, locks=0.3, frizz=0.004)  # type: ignore[arg-type]
        strands = grow(scalp, hair, np.random.default_rng(0))
        assert np.abs(depth_within(scalp.skin, strands[:, 0])).max() < 0.01, style
        assert np.quantile(depth_within(scalp.skin, strands[:, 1:].reshape(-1, 3)), 0.99) < 0.03, style


def test_long_hair_falls_to_its_own_side_and_not_over_the_face(scalp: Scalp) -> None:
    hair = Hair("long", COUNT, 1.5, parting=-0.1, locks=0.0, frizz=0.0)
    strands = grow(scalp, hair, np.random.default_rng(1))
    roots, tips = strands[:, 0], strands[:, -1]
    assert (tips[:, 1] < roots[:, 1] - 0.5).all()
    assert (((tips[:, 0] > hair.parting) == (roots[:, 0] > hair.parting)).mean()) > 0.99
    eyes, chin = scalp.landmarks[36:48], scalp.landmarks[8]
    low = strands.reshape(-1, 3)
    over = (np.abs(low[:, 0]) < np.abs(eyes[:, 0]).max()) & (low[:, 1] < eyes[0, 1]) & (low[:, 1] > chin[1])
    assert not (over & (low[:, 2] > eyes[:, 2].mean())).any()


def test_tied_hair_ends_at_the_knot(scalp: Scalp) -> None:
    strands = grow(scalp, Hair("tied", COUNT, 0.0, 0.0, locks=0.0, frizz=0.0), np.random.default_rng(2))
    left = np.linalg.norm(strands[:, -1] - scalp.knot, axis=1)
    assert np.quantile(left, 0.9) < 0.5 < np.median(np.linalg.norm(strands[:, 0] - scalp.knot, axis=1))


def test_a_beard_hangs_where_it_grows(scalp: Scalp, loaded_toy_kit: FaceKit) -> None:
    chin = paint_masks(loaded_toy_kit)[:, MASKS.index("chin")]
    strands = grow_beard(scalp.skin, chin, COUNT, 0.05, np.random.default_rng(3))
    assert np.linalg.norm(strands[:, 0] - scalp.landmarks[8], axis=1).max() < 1.0
    assert (strands[:, -1, 1] < strands[:, 0, 1]).mean() > 0.9


def test_a_portrait_shows_a_face_a_shirt_and_a_room(toy_kit: Path, tmp_path: Path) -> None:
    # In a process of its own: rendering loses what Blender has open.
    command = [sys.executable, "-m", "training", "portraits", "--kit", str(toy_kit), "--out", str(tmp_path)]
    command += ["--only", "ada", "--size", "64", "--samples", "4"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert [path.name for path in tmp_path.iterdir()] == ["ada.jpg"]
    picture = cv2.imread(str(tmp_path / "ada.jpg"))[..., ::-1].astype(float)
    assert picture.shape == (64, 64, 3)
    cheeks, shirt, room = picture[34:40, 26:38], picture[60:, 26:38], picture[:8, :8]
    red, green, blue = cheeks.mean(axis=(0, 1))
    assert red > green > blue and red > 100
    assert shirt[..., 0].mean() > 1.8 * shirt[..., 1].mean()
    assert room.mean() < 0.7 * cheeks.mean()


def test_a_portrait_of_nobody_is_said_to_be_none(toy_kit: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training", "portraits", "--kit", str(toy_kit), "--out", str(tmp_path)]
    done = subprocess.run([*command, "--only", "eve"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr == "training: no portrait eve; there are ada, ben, cleo\n"
