# SPDX-License-Identifier: GPL-3.0-or-later
"""The measures of the evaluation: each must say what is known beforehand, and change when the thing does."""

import cv2
import numpy as np
import pytest

from lpmm_runtime import landmarks68
from lpmm_runtime.crop import CropSquare
from training.evaluation import control_effects, head_pose, measures
from training.evaluation.control_summary import head_summary, summarise
from training.evaluation.photo_scores import calibrated
from training.evaluation.rivals import moved, radial_flow


def a_face(scale: float = 200.0) -> np.ndarray:
    """Return landmarks [68, 2] of a plain face, pixels."""
    angles = np.linspace(np.pi, 0, 17)
    jaw = np.stack([np.cos(angles), 0.2 + np.sin(angles)], axis=1)

    def ring(x: float, y: float, rx: float, ry: float, count: int) -> np.ndarray:
        turn = np.pi + np.arange(count) * 2 * np.pi / count
        return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], axis=1)

    def line(x0: float, y0: float, x1: float, y1: float, count: int) -> np.ndarray:
        return np.linspace((x0, y0), (x1, y1), count)

    parts = [jaw, line(-0.8, -0.5, -0.2, -0.55, 5), line(0.2, -0.55, 0.8, -0.5, 5)]
    parts += [line(0, -0.3, 0, 0.2, 4), line(-0.2, 0.3, 0.2, 0.3, 5)]
    parts += [ring(-0.45, -0.3, 0.15, 0.06, 6), ring(0.45, -0.3, 0.15, 0.06, 6)]
    parts += [ring(0, 0.7, 0.35, 0.12, 12), ring(0, 0.7, 0.25, 0.03, 8)]
    return np.concatenate(parts) * 0.6 * scale + 1.3 * scale


def faces(count: int = 24) -> np.ndarray:
    """Return different faces [n, 68, 2] of different sizes, places and tilts."""
    rng = np.random.default_rng(0)
    out = []
    for _ in range(count):
        points = a_face(float(rng.uniform(60, 300))) + rng.normal(0, 2.0, (68, 2))
        turn = np.radians(rng.uniform(-25, 25))
        out.append(points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]))
    return np.stack(out)


def test_landmarks_that_are_all_shifted_cost_the_shift() -> None:
    truth = faces()
    shift = 0.07 * measures.interocular(truth)[:, None, None] * np.array([0.6, 0.8])
    scores = measures.nme_by_region(truth + shift, truth)
    assert all(value == pytest.approx(7.0) for value in scores.values())


def test_an_error_counts_in_its_own_region_alone() -> None:
    truth = faces()
    for name, region in landmarks68.REGIONS.items():
        predicted = truth.copy()
        predicted[:, region, 0] += 0.05 * measures.interocular(truth)[:, None]
        scores = measures.nme_by_region(predicted, truth)
        count = len(range(*region.indices(68)))
        assert scores[name] == pytest.approx(5.0)
        assert scores["all"] == pytest.approx(5.0 * count / 68)
        assert all(scores[other] == 0.0 for other in landmarks68.REGIONS if other != name)


def test_the_error_does_not_depend_on_the_size_of_the_picture() -> None:
    truth = faces()
    predicted = truth + np.random.default_rng(1).normal(0, 3, truth.shape)
    once, thrice = measures.nme_by_region(predicted, truth), measures.nme_by_region(3 * predicted, 3 * truth)
    assert once == pytest.approx(thrice)


def test_a_fixed_offset_is_calibrated_away_and_noise_is_not() -> None:
    truth = faces(60)
    rng = np.random.default_rng(2)
    across = truth[:, 45] - truth[:, 36]
    down = np.stack([-across[:, 1], across[:, 0]], axis=-1)
    habit = rng.normal(0, 0.06, (68, 2))
    biased = truth + habit[None, :, :1] * across[:, None] + habit[None, :, 1:] * down[:, None]
    assert measures.nme_by_region(biased, truth)["all"] > 5
    scores = calibrated(biased, truth)
    # The eyes that give the frame are biased too, so a trace stays.
    assert scores["offset"]["all"] < 0.1 * measures.nme_by_region(biased, truth)["all"]
    noisy = truth + 0.05 * measures.interocular(truth)[:, None, None] * rng.normal(0, 1, truth.shape)
    raw = measures.nme_by_region(noisy, truth)["all"]
    assert calibrated(noisy, truth)["linear"]["all"] > 0.7 * raw


def test_labels_that_count_pixels_from_elsewhere_are_told_by_one_shift() -> None:
    truth = faces(40) * 100.0
    sizes = np.random.default_rng(4).uniform(0.5, 2.0, (40, 1, 1))
    labels = truth * sizes + [1.0, 1.0]
    scores = calibrated(truth * sizes, labels)
    assert scores["shift"]["all"] < 1e-6 < scores["offset"]["all"]


def test_psnr_counts_only_where_it_is_asked_to() -> None:
    truth = np.full((40, 40, 3), 100, np.uint8)
    off = truth.copy()
    off[:, 20:] += 10
    left = np.zeros((40, 40), bool)
    left[:, :20] = True
    assert measures.psnr(off, truth, left) == measures.LARGEST_PSNR
    assert measures.psnr(off, truth, ~left) == pytest.approx(20 * np.log10(255 / 10))
    assert measures.psnr(off, truth) == pytest.approx(20 * np.log10(255 / 10) + 10 * np.log10(2))
    assert measures.psnr(off, truth, np.zeros((40, 40), bool)) is None


def test_an_even_motion_has_no_second_difference_and_a_jump_has() -> None:
    even = np.arange(9.0)[:, None] * np.array([1.0, -2.0])
    assert np.abs(measures.second_difference(even)).max() < 1e-12
    even[5:] += 1.0
    assert np.abs(measures.second_difference(even)).max() == pytest.approx(1.0)


def test_a_turned_head_is_read_back_in_degrees_and_signed_as_the_controls() -> None:
    points = np.random.default_rng(3).normal(0, 50, (20, 3))
    flip = np.diag([1.0, -1.0, -1.0])
    for angles in ((25.0, 0.0, 0.0), (0.0, -15.0, 0.0), (0.0, 0.0, 20.0), (-18.0, 9.0, -7.0)):
        rotation = head_pose.rotation_of_angles(np.array(angles))
        assert head_pose.euler_angles(rotation) == pytest.approx(angles)
        turned = 1.3 * points @ flip @ rotation.T @ flip + np.array([5.0, -8.0, 2.0])
        assert head_pose.euler_angles(head_pose.rotation_between(points, turned)) == pytest.approx(angles)
    nose = head_pose.rotation_of_angles(np.array([20.0, 0.0, 0.0])) @ np.array([0.0, 0.0, 1.0])
    assert nose[0] > 0  # toward the picture's right
    nose = head_pose.rotation_of_angles(np.array([0.0, 20.0, 0.0])) @ np.array([0.0, 0.0, 1.0])
    assert nose[1] > 0  # up
    crown = head_pose.rotation_of_angles(np.array([0.0, 0.0, 20.0])) @ np.array([0.0, 1.0, 0.0])
    assert crown[0] > 0  # clockwise as seen


def test_a_landmark_warp_takes_each_point_where_it_goes_and_leaves_the_border() -> None:
    square = CropSquare(260.0, 280.0, 520.0)
    source = square.to_unit(a_face()).astype(np.float32)
    target = source + np.array([0.03, -0.02], np.float32)
    flow = radial_flow(source, target, 128)
    for point in target[[8, 30, 36, 54]]:
        x, y = (point * 128).astype(int)
        assert flow[y, x] == pytest.approx([-0.03, 0.02], abs=0.008)
    assert np.abs(flow[[0, -1]]).max() < 0.01
    assert np.abs(radial_flow(source, source, 128)).max() < 1e-6


def test_a_picture_moves_against_its_flow() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[30:34, 20:24] = 255
    flow = np.zeros((64, 64, 2), np.float32)
    flow[..., 0] = -10 / 64  # what shows here was ten pixels to the left
    assert moved(picture, flow)[30:34, 30:34].min() == 255


def test_what_moves_elsewhere_is_leakage_and_what_only_the_reader_moves_is_not() -> None:
    rest = a_face()
    mouth = rest.copy()
    mouth[48:68, 0] += 8
    clean = control_effects.leakage("mouthLeft", rest, mouth)
    assert clean["leakage"] == 0.0 and clean["along"] > 0
    assert clean["motion"] == pytest.approx(100 * 8 / measures.interocular(rest))
    everything = control_effects.leakage("mouthLeft", rest, rest + np.array([8.0, 0.0]))
    assert everything["leakage"] == pytest.approx(1.0)
    dragged = mouth.copy()
    dragged[27:36, 0] += 4
    leaked = control_effects.leakage("mouthLeft", rest, dragged)
    assert leaked["worst_part"] == "nose" and leaked["worst_leakage"] == pytest.approx(0.5)
    by_reader = control_effects.leakage("mouthLeft", rest, dragged, alone=dragged)
    assert by_reader["leakage"] == 0.0 and by_reader["reader_leakage"] == pytest.approx(leaked["leakage"])
    assert control_effects.leakage("mouthLeft", rest, rest)["leakage"] is None


def test_left_and_right_are_the_subjects() -> None:
    rest = a_face()
    winked = rest.copy()
    for upper, lower in ((43, 47), (44, 46)):
        winked[[upper, lower]] = 0.5 * (rest[upper] + rest[lower])
    left, right = control_effects.lid_gaps(winked) / control_effects.lid_gaps(rest)
    assert left == pytest.approx(0.0, abs=1e-9) and right == pytest.approx(1.0)
    assert control_effects.leakage("eyeBlinkLeft", rest, winked)["leakage"] == 0.0
    assert control_effects.leakage("eyeBlinkRight", rest, winked)["leakage"] is None


def test_what_a_gaze_control_moves_is_its_iris() -> None:
    rest = a_face()
    irises = np.stack([rest[list(eye)].mean(axis=0) for eye in (landmarks68.EYE_RIGHT, landmarks68.EYE_LEFT)])
    moved = irises + np.array(
        [[1.0, 0.0], [8.0, 0.0]]
    )  # both to the picture's right, where the subject's left eye looks out
    out = control_effects.leakage("eyeLookOutLeft", rest, rest, irises=(irises, moved))
    percent = 100 * 8 / measures.interocular(rest)
    assert out["motion"] == pytest.approx(percent, rel=1e-3)
    assert out["along"] == pytest.approx(percent, rel=1e-3)
    assert out["other_iris"] == pytest.approx(1 / 8) and out["leakage"] == 0.0
    inward = control_effects.leakage("eyeLookInRight", rest, rest, irises=(irises, moved))
    assert inward["along"] == pytest.approx(percent / 8, rel=1e-3) and inward["other_iris"] == pytest.approx(8)
    unseen = control_effects.leakage("eyeLookOutLeft", rest, rest)
    assert unseen["motion"] == 0.0 and unseen["leakage"] is None and unseen["other_iris"] is None


def test_only_the_moved_parts_differ_from_rest() -> None:
    rest = a_face()
    before = np.random.default_rng(0).integers(0, 256, (560, 560, 3)).astype(np.uint8)
    after = 255 - before
    mixed = control_effects.only_moved_parts("eyeBlinkLeft", (rest, rest), (before, after))
    eye, mouth = (rest[list(points)].mean(axis=0).astype(int) for points in (landmarks68.EYE_LEFT, range(48, 68)))
    assert np.array_equal(mixed[eye[1], eye[0]], after[eye[1], eye[0]])
    assert np.array_equal(mixed[mouth[1], mouth[0]], before[mouth[1], mouth[0]])


def test_eye_white_is_seen_until_the_lid_covers_it() -> None:
    points = a_face()
    picture = np.full((560, 560, 3), (190, 130, 100), np.uint8)
    shut = control_effects.eye_white(picture, points, landmarks68.EYE_LEFT)
    outline = np.round(points[list(landmarks68.EYE_LEFT)]).astype(np.int32)
    cv2.fillPoly(picture, [outline], (235, 230, 228))
    assert shut == 0
    assert control_effects.eye_white(picture, points, landmarks68.EYE_LEFT) > 50
    assert control_effects.eye_white(picture, points, landmarks68.EYE_RIGHT) == 0


def rows(gain: float) -> list[dict]:
    commands = (-25.0, -15.0, 15.0, 25.0)
    return [{"control": "headYaw", "commanded": c, "achieved": gain * c, "crosstalk": 0.0} for c in commands]


def test_a_head_that_stays_has_no_gain_and_an_exact_one_has_all() -> None:
    still = head_summary(rows(0.0), {})["headYaw"]
    assert still["gain"] == 0.0 and still["within_3"] == 0.0 and still["error"]["worst"] == 25.0
    exact = head_summary(rows(1.0), {})["headYaw"]
    assert exact["gain"] == pytest.approx(1.0) and exact["within_3"] == 1.0
    mirrored = head_summary(rows(-1.0), {})["headYaw"]
    assert mirrored["gain"] == pytest.approx(-1.0) and mirrored["error"]["worst"] == 50.0
    read_short = head_summary(rows(0.8), {"headYaw": 0.8})["headYaw"]
    assert read_short["error"]["worst"] == pytest.approx(5.0)
    assert read_short["for_reader_slope"]["error"]["worst"] == pytest.approx(0.0)


def test_subjects_that_could_not_be_read_are_counted_and_score_nothing() -> None:
    lost = {"name": "a", "labelled": False, "read": False, "rest": {"psnr": 50.0, "psnr_nudged": 45.0}}
    summary = summarise([lost], None)
    assert (summary["subjects"], summary["read"]) == (1, 0)
    assert summary["blink"] is None and summary["leakage"] is None
    assert summary["rest_psnr_nudged"]["lowest"] == 45.0
