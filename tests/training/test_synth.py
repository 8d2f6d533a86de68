# SPDX-License-Identifier: GPL-3.0-or-later
"""Synthetic samples: repeatable, labelled truly, with motion that really is the motion between the frames."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lpmm_runtime.crop import square_of_landmarks
from training.augment import CropJitter, apply_matrix, crop_matrix, cut, distort
from training.shards import ShardPlan, make_shards, read_all
from training.synth.canonical import CanonicalFrame
from training.synth.facekit import FaceKit
from training.synth.head import LandmarkSampler, evenly_spaced_jaw, frontal_camera, project_landmarks
from training.synth.motion import Motion
from training.synth.people import HELD_OUT, sample_person
from training.synth.samples import FACE_MARGIN, SampleMaker

SIZE = 96
BLINK = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}


@pytest.fixture(scope="module")
def maker(loaded_toy_kit: FaceKit) -> SampleMaker:
    return SampleMaker(loaded_toy_kit, SIZE)


def test_the_same_seed_draws_the_same_face(maker: SampleMaker) -> None:
    first, again = (maker.face(np.random.default_rng(5), "train") for _ in range(2))
    other = maker.face(np.random.default_rng(6), "train")
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.landmarks, again.landmarks)
    assert not np.array_equal(first.image, other.image)


def test_a_face_stands_in_its_aligned_crop_with_the_margin_around(maker: SampleMaker) -> None:
    face = maker.face(np.random.default_rng(1), "train")
    square = square_of_landmarks(face.landmarks)
    assert square.side * FACE_MARGIN == pytest.approx(1.0, abs=1e-3)
    assert (square.x, square.y) == pytest.approx((0.5, 0.5), abs=1e-3)


def test_the_jaw_is_spaced_evenly_from_the_eyes_down_to_the_chin(maker: SampleMaker) -> None:
    for seed in range(6):
        points = maker.face(np.random.default_rng(seed), "train").landmarks
        gaps = np.linalg.norm(np.diff(points[:17], axis=0), axis=1)
        # Chords of even arcs: shorter only where the outline bends.
        assert gaps[:8].max() < 1.35 * gaps[:8].min() and gaps[8:].max() < 1.35 * gaps[8:].min()


def test_the_jaw_begins_at_one_place_of_the_head(maker: SampleMaker) -> None:
    person = sample_person(maker.kit, np.random.default_rng(0), "train")
    rest = Motion(controls={"jawOpen": 0.3})
    camera = frontal_camera(maker.sampler.points(person, rest).middle, 12.0)

    def seen(motion: Motion) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        return project_landmarks(maker.sampler.points(person, motion), camera)

    (level, irises), (blink, _) = seen(rest), seen(Motion(controls=rest.controls | BLINK))
    face = level[8, 1] - level[27, 1]
    # On a level head that is where the eyes are; a blink, which takes their corners along, leaves it alone.
    assert np.abs(level[[0, 16], 1] - irises[:, 1]).max() < 0.1 * face
    np.testing.assert_allclose(blink[:17], level[:17], atol=1e-6)
    # So it is on either side of a head that is turned, though the outline runs elsewhere.
    for yaw in (-30.0, 30.0):
        turned, irises = seen(Motion(yaw=yaw, controls=rest.controls))
        assert np.abs(turned[[0, 16], 1] - irises[:, 1]).max() < 0.12 * face
    # It lies behind the eyes: in a nod, these move past it.
    (up, up_irises), (down, down_irises) = (
        seen(Motion(pitch=pitch, controls=rest.controls)) for pitch in (15.0, -15.0)
    )
    rises = [float((eyes - points[[0, 16]])[:, 1].mean()) for points, eyes in ((up, up_irises), (down, down_irises))]
    assert rises[0] < -0.02 * face and rises[1] - rises[0] > 0.15 * face


def test_an_outline_that_begins_elsewhere_still_starts_at_the_eyes() -> None:
    # A turned head's outline runs over other vertices: nearer the eyes on one side, above them on the other.
    below = np.array([0.4, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 0.7, -0.5])
    outline = np.stack([np.linspace(-1.0, 1.0, 17), below], axis=1)
    jaw = evenly_spaced_jaw(outline, below)
    assert jaw[0, 1] == pytest.approx(0.0, abs=1e-6) and jaw[16, 1] == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(jaw[8], outline[8])


def test_inner_lip_points_stand_under_and_over_the_outer_ones(maker: SampleMaker) -> None:
    off = []
    for seed in range(20):
        person = sample_person(maker.kit, np.random.default_rng(seed), "train")
        points = maker.sampler.points(person, Motion()).fixed
        along = points[54] - points[48]
        away = (points[[61, 63, 65, 67]] - points[[50, 52, 56, 58]]) @ along / (along @ along)
        off.append(np.abs(away).mean())
    assert np.mean(off) < 0.05


def test_the_source_warped_by_the_flow_is_the_target_where_it_is_visible(maker: SampleMaker) -> None:
    group = maker.group(np.random.default_rng(3), "train")
    x, y = np.meshgrid(np.arange(SIZE, dtype=np.float32), np.arange(SIZE, dtype=np.float32))
    better = []
    for (source, target), flow, layers in zip(group.pairs, group.flow.astype(np.float32), group.layers, strict=True):
        seen = ((layers & 1) > 0) & ((layers >> 1) > 0)
        colours = group.images[source, ..., :3].astype(np.float32), group.images[target, ..., :3].astype(np.float32)
        warped = cv2.remap(colours[0], x + flow[..., 0] * SIZE, y + flow[..., 1] * SIZE, cv2.INTER_LINEAR)
        before = np.abs(colours[0] - colours[1])[seen].mean()
        after = np.abs(warped - colours[1])[seen].mean()
        better.append(after / before)
    assert np.median(better) < 0.5


def test_landmarks_move_as_the_flow_says(maker: SampleMaker) -> None:
    group = maker.group(np.random.default_rng(4), "train")
    inner = [27, 28, 29, 30, 33]  # the nose: skin, well inside
    errors = []
    for (source, target), flow, layers in zip(group.pairs, group.flow.astype(np.float32), group.layers, strict=True):
        for point in inner:
            place = group.landmarks[target, point]
            column, row = (int(v * SIZE) for v in place)
            if layers[row, column] & 1:
                errors.append(np.abs(place + flow[row, column] - group.landmarks[source, point]).max() * SIZE)
    assert len(errors) > 8
    assert np.median(errors) < 1.5


def test_alpha_covers_the_head_and_not_the_corners(maker: SampleMaker) -> None:
    group = maker.group(np.random.default_rng(7), "train")
    nose = (group.landmarks[0, 30] * SIZE).astype(int)
    assert group.images[0, nose[1], nose[0], 3] == 255
    assert group.images[0, 0, 0, 3] == 0


def test_halves_of_an_expression_move_one_corner_and_add_up_to_the_whole(loaded_toy_kit: FaceKit) -> None:
    frame = CanonicalFrame(LandmarkSampler(loaded_toy_kit))
    rest, right, left = frame.points(Motion()), 48, 54

    def moved(**targets: float) -> np.ndarray:
        return frame.points(Motion(targets={name.replace("_", "-"): value for name, value in targets.items()})) - rest

    one, other = moved(mouth_left_corner_puller=1.0), moved(mouth_right_corner_puller=1.0)
    assert np.abs(one[right]).max() < 0.02 * np.abs(one[left]).max()
    assert np.abs(other[left]).max() < 0.02 * np.abs(other[right]).max()
    # Projection is not linear, by little.
    assert one + other == pytest.approx(moved(mouth_corner_puller=1.0), abs=0.02 * np.abs(one).max())


@pytest.mark.parametrize("control", ["mouthSmile", "mouthStretch"])
def test_a_smile_is_wider_than_a_mouth_at_rest_and_leaves_its_middle(loaded_toy_kit: FaceKit, control: str) -> None:
    frame = CanonicalFrame(LandmarkSampler(loaded_toy_kit))
    rest, posed = (
        frame.points(Motion()),
        frame.points(Motion(controls={f"{control}{s}": 1.0 for s in ("Left", "Right")})),
    )
    wider = np.linalg.norm(posed[54] - posed[48]) / np.linalg.norm(rest[54] - rest[48])
    assert wider > 1.1
    lifted = rest[:, 1] - posed[:, 1]
    assert abs(lifted[66]) < 0.2 * np.linalg.norm(posed[48] - rest[48])


def test_lips_follow_a_corner_that_is_pulled(loaded_toy_kit: FaceKit) -> None:
    frame = CanonicalFrame(LandmarkSampler(loaded_toy_kit))
    rest = frame.points(Motion())

    def moved(target: str) -> np.ndarray:
        return frame.points(Motion(targets={target: 1.0})) - rest

    aside, up = moved("mouth-left-aside"), moved("mouth-left-up")
    corner, beside, middle = 54, [53, 55], [51, 57, 62, 66]
    assert aside[corner, 0] > 0.01 and up[corner, 1] < -0.01
    for point in beside:
        assert 0.2 * aside[corner, 0] < aside[point, 0] < aside[corner, 0]
        assert 0.05 * up[corner, 1] > up[point, 1] > up[corner, 1]
    assert np.abs(aside[middle, 0]).max() < 0.02 * aside[corner, 0]
    assert np.abs(up[middle]).max() < 0.02 * np.abs(up[corner, 1])
    # Lips that are drawn aside get thinner, and do not part.
    assert aside[52, 1] > 0.0 > aside[56, 1]
    assert abs(aside[66, 1] - aside[62, 1]) < 0.02 * aside[corner, 0]
    # Nothing else moves: the other corner, the nose, the eyes, the chin.
    still = [48, 8, *range(27, 31), *range(36, 48)]
    assert max(np.abs(aside[still]).max(), np.abs(up[still]).max()) < 0.05 * np.abs(up[corner, 1])


def test_train_people_never_wear_what_is_held_out(loaded_toy_kit: FaceKit) -> None:
    worn = set()
    for seed in range(60):
        person = sample_person(loaded_toy_kit, np.random.default_rng(seed), "train")
        worn |= {person.skin, person.hair.proxy if person.hair else ""}
    held_out = HELD_OUT & (loaded_toy_kit.textures() | set(loaded_toy_kit.proxies))
    assert not worn & held_out


def test_shards_go_on_where_they_stopped_and_are_the_same_again(toy_kit, tmp_path) -> None:
    plan = ShardPlan(toy_kit, tmp_path / "a", "faces", "train", 64, 2, seed=3, per_shard=3)
    make_shards(plan, workers=1)
    stamps = [plan.path(shard).stat().st_mtime_ns for shard in range(2)]
    plan.path(1).unlink()
    make_shards(plan, workers=1)
    assert plan.path(0).stat().st_mtime_ns == stamps[0]
    whole = read_all(tmp_path / "a", "faces", "train")
    other = ShardPlan(toy_kit, tmp_path / "b", "faces", "train", 64, 2, seed=3, per_shard=3)
    make_shards(other, workers=1)
    fresh = read_all(tmp_path / "b", "faces", "train")
    assert whole["images"].shape == (6, 64, 64, 3)
    assert all(np.array_equal(whole[name], fresh[name]) for name in whole)


def test_a_jittered_crop_keeps_its_landmarks_on_the_face(maker: SampleMaker) -> None:
    face = maker.face(np.random.default_rng(9), "train")
    marked = np.zeros_like(face.image)
    nose = face.landmarks[30]
    cv2.circle(marked, (int(nose[0] * SIZE), int(nose[1] * SIZE)), 2, (255, 255, 255), -1)
    matrix = crop_matrix(np.random.default_rng(2), CropJitter(), square_of_landmarks(face.landmarks))
    crop = cut(marked, matrix, 128).max(axis=2)
    row, column = np.unravel_index(crop.argmax(), crop.shape)
    expected = apply_matrix(matrix, nose) * 128
    assert abs(column - expected[0]) < 4 and abs(row - expected[1]) < 4


def test_distortion_is_repeatable_and_stays_a_picture(maker: SampleMaker) -> None:
    face = maker.face(np.random.default_rng(9), "train")
    points = face.landmarks * SIZE
    outs = [distort(face.image, points, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert outs[0].dtype == np.uint8 and outs[0].shape == face.image.shape
    assert np.array_equal(outs[0], outs[1])
    assert not np.array_equal(outs[0], outs[2])
