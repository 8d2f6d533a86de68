# SPDX-License-Identifier: GPL-3.0-or-later
"""The face finder: scenes are labelled as the crop rule says, and a finder learns from them and exports."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from lpmm_runtime.crop import face_box
from training import face_finder, loop
from training.face_finder import FaceFinder
from training.face_scenes import BAR, FaceScenes, Scene
from training.shards import ShardPlan, make_shards, read_all

SIDE = 96


@pytest.fixture(scope="session")
def heads(toy_kit: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray]:
    """Four toy people, four frames each."""
    folder = tmp_path_factory.mktemp("heads")
    make_shards(ShardPlan(toy_kit, folder, "groups", "train", 64, shards=1, per_shard=4), workers=1)
    return read_all(folder, "groups", "train")


@pytest.fixture(scope="session")
def scenes(heads: dict[str, NDArray]) -> FaceScenes:
    return FaceScenes(heads, size=SIDE, backdrops=8)


def _some(scenes: FaceScenes, count: int) -> list[Scene]:
    return [scenes.scene(np.random.default_rng([1, number])) for number in range(count)]


def _at(box: tuple[float, float, float, float], sure: bool = True) -> Scene:
    return Scene(np.zeros((SIDE, SIDE, 3), np.uint8), np.array([box], np.float32), np.array([sure]))


def test_the_same_generator_gives_the_same_scene(heads: dict[str, NDArray], scenes: FaceScenes) -> None:
    again = FaceScenes(heads, size=SIDE, backdrops=8)
    for one, other in zip(_some(scenes, 5), _some(again, 5), strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.boxes, other.boxes)


def test_scenes_hold_none_one_and_many_faces_of_all_sizes(scenes: FaceScenes) -> None:
    made = _some(scenes, 120)
    assert {0, 1, 2} <= {len(scene.boxes) for scene in made}
    sizes = np.concatenate([(scene.boxes[:, 2:] - scene.boxes[:, :2]).max(axis=1) for scene in made])
    assert sizes.min() < 0.1 and sizes.max() > 0.6
    assert any((scene.image[0] == BAR).all() for scene in made), "no photo with bars"
    assert any((scene.image[0] != BAR).any() for scene in made), "no photo that fills the square"


def test_a_face_stands_where_its_box_says(heads: dict[str, NDArray]) -> None:
    # Heads painted in one signal colour, so that it can be found again.
    painted = heads | {"images": np.full_like(heads["images"], (0, 255, 0)), "alpha": np.zeros_like(heads["alpha"])}
    painted["landmarks"] = heads["landmarks"].copy()
    side = painted["images"].shape[1]
    alpha = painted["alpha"].reshape(-1, side, side)
    for mask, points in zip(alpha, painted["landmarks"].reshape(-1, 68, 2), strict=True):
        left, top, right, bottom = (round(edge * side) for edge in face_box(points))
        mask[max(0, top) : bottom, max(0, left) : right] = 255
    scenes = FaceScenes(painted, size=SIDE, backdrops=8)
    hits = []
    for scene in _some(scenes, 80):
        signal = scene.image.astype(int)
        green = signal[..., 1] - signal[..., [0, 2]].max(axis=2) > 90
        for box in scene.boxes[scene.sure]:
            x, y = (int(v * SIDE) for v in 0.5 * (box[:2] + box[2:]))
            if 0 <= x < SIDE and 0 <= y < SIDE:
                hits.append(green[y, x])
    # Beards, grey cameras and hands hide some.
    assert len(hits) > 40 and np.mean(hits) > 0.6


def test_targets_point_at_the_face() -> None:
    box = (0.30, 0.40, 0.55, 0.70)
    heat, counts, boxes, near = face_finder.targets(_at(box), SIDE)
    centres = face_finder.cell_centres(SIDE)
    assert np.count_nonzero(heat == 1.0) == 1 and counts.all()
    np.testing.assert_allclose(centres[heat.argmax()], [0.425, 0.55], atol=0.5 * face_finder.STRIDE / SIDE)
    np.testing.assert_allclose(boxes[near > 0], np.tile(np.float32(box), (np.count_nonzero(near), 1)))


def test_a_face_hardly_seen_counts_neither_way() -> None:
    heat, counts, _, near = face_finder.targets(_at((0.3, 0.3, 0.7, 0.7), sure=False), SIDE)
    assert not heat.any() and not near.any()
    middle = np.abs(face_finder.cell_centres(SIDE) - 0.5).max(axis=1) < 0.1
    assert not counts[middle].any() and counts[~middle].any()


def test_the_loss_falls_as_the_boxes_come_right() -> None:
    made = [torch.from_numpy(column[None]) for column in face_finder.targets(_at((0.3, 0.4, 0.5, 0.7)), SIDE)]
    batch = face_finder.SceneBatch(torch.zeros(1, 3, SIDE, SIDE), *made)
    logits = torch.where(batch.heat == 1.0, 4.0, -8.0)
    right = float(face_finder.loss(batch.boxes, logits, batch)[0])
    shifted = float(face_finder.loss(batch.boxes + 0.05, logits, batch)[0])
    silent = float(face_finder.loss(batch.boxes, torch.full_like(logits, -8.0), batch)[0])
    assert right < 0.1 and right < shifted and right < silent


def test_findings_of_one_face_become_one() -> None:
    boxes = np.array([[0.1, 0.1, 0.3, 0.3], [0.11, 0.1, 0.31, 0.3], [0.6, 0.6, 0.8, 0.8]], np.float32)
    found = face_finder.findings(boxes, np.array([0.7, 0.9, 0.4], np.float32))
    assert [finding.score for finding in found] == pytest.approx([0.9])


def test_a_finder_learns_where_a_face_is(heads: dict[str, NDArray], tmp_path: Path) -> None:
    """A tiny finder tells apart a few scenes it has seen: the targets, the loss and the boxes agree."""

    class Few(FaceScenes):
        def scene(self, rng: np.random.Generator) -> Scene:
            return kept[int(rng.integers(len(kept)))]

    few = Few(heads, size=64, backdrops=2)
    made = [super(Few, few).scene(np.random.default_rng([2, number])) for number in range(60)]
    kept = [
        scene
        for scene in made
        if len(scene.boxes) == 1 and scene.sure.all() and 0.3 < scene.boxes[0, 3] - scene.boxes[0, 1] < 0.7
    ][:4]
    torch.manual_seed(0)
    model = FaceFinder(size=64, width=8)
    schedule = loop.Schedule(steps=150, batch=8, rate=5e-3, bf16=False, log_every=150)
    face_finder.train(model, few, few, schedule, tmp_path)
    scores = face_finder.evaluate(model, few, count=8)
    assert (tmp_path / "face_finder.pt").exists() and (tmp_path / "face_finder.jsonl").exists()
    assert scores["recall"] > 0.7


def test_the_finder_exports_with_a_free_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = FaceFinder(size=64, width=8).eval()
    path = tmp_path / "face_finder.onnx"
    torch.onnx.export(
        model,
        (torch.rand(2, 3, 64, 64),),
        path,
        input_names=["image"],
        output_names=["boxes", "scores"],
        dynamic_axes={name: {0: "n"} for name in ("image", "boxes", "scores")},
        dynamo=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    # The runtime checks the cells before it runs anything.
    assert [output.shape[1] for output in session.get_outputs()] == [64, 64]
    for count in (1, 3):
        images = torch.rand(count, 3, 64, 64)
        boxes, scores = session.run(None, {"image": images.numpy()})
        with torch.no_grad():
            expected = model(images)
        np.testing.assert_allclose(boxes, expected[0].numpy(), atol=1e-4)
        np.testing.assert_allclose(scores, expected[1].numpy(), atol=1e-4)
        assert boxes.shape == (count, 64, 4) and scores.shape == (count, 64)
        assert scores.min() >= 0 and scores.max() <= 1


def test_the_shipped_size_stays_small() -> None:
    parameters = sum(parameter.numel() for parameter in FaceFinder().parameters())
    assert parameters < 300_000
