# SPDX-License-Identifier: GPL-3.0-or-later
"""Columns on disk: they read as the arrays in memory do, and memory does not grow with the data."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import made_up_faces
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training import loop, lp_regressor
from training.adaptor import open_faces
from training.draws import Draw
from training.face_scenes import FaceScenes
from training.generator import GroupData
from training.lp_regressor import FaceData, LpRegressor
from training.shard_columns import Column
from training.shards import Kind, open_all, read_all, write_shard
from training.videos.clips import ClipFrame
from training.videos.frame_shards import ShardWriter, write_index
from training.videos.visible_faces import FaceSample

PER_SHARD = 5


def write(folder: Path, kind: Kind, shards: int) -> Path:
    folder.mkdir(exist_ok=True)
    for shard in range(shards):
        arrays = made_up_faces.faces(PER_SHARD, seed=shard) if kind == "faces" else made_up_faces.groups(2, seed=shard)
        pictures = list(arrays.pop("images"))
        write_shard(folder / f"{kind}-train-{shard:05d}.npz", arrays, pictures)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(tmp_path_factory.mktemp("data"), "faces", 3)
    return write(folder, "groups", 2)


@pytest.mark.parametrize("kind", ["faces", "groups"])
def test_columns_read_what_arrays_hold(data: Path, kind: Kind) -> None:
    columns, arrays = open_all(data, kind, "train"), read_all(data, kind, "train")
    assert set(columns) == set(arrays)
    for name, array in arrays.items():
        column = columns[name]
        assert (column.shape, column.dtype, len(column)) == (array.shape, array.dtype, len(array)), name
        last = len(array) - 1
        for index in (0, last, np.array([last, 0, 3]), slice(1, 4)):
            assert np.array_equal(column[index], array[index]), (name, index)
        with pytest.raises(IndexError):
            column[len(array)]


def test_columns_are_indexed_by_group_and_frame(data: Path) -> None:
    columns, arrays = open_all(data, "groups", "train"), read_all(data, "groups", "train")
    both = np.array([3, 0, 2]), np.array([2, 0, 1])
    for name in ("images", "alpha", "flow", "landmarks"):
        shape = (4, 3, *arrays[name].shape[1:]) if name in ("images", "alpha") else arrays[name].shape
        column, array = columns[name].reshape(shape), arrays[name].reshape(shape)
        assert column.shape == array.shape
        assert np.array_equal(column[both], array[both]) and np.array_equal(column[1, 2], array[1, 2])
    assert np.array_equal(columns["landmarks"].reshape(-1, 68, 2)[7], arrays["landmarks"].reshape(-1, 68, 2)[7])


def test_part_of_a_picture_is_read(data: Path) -> None:
    pictures, array = open_all(data, "faces", "train")["images"], read_all(data, "faces", "train")["images"]
    assert np.array_equal(pictures[7, 3:9, 10:20], array[7, 3:9, 10:20])


def same(one: object, other: object) -> bool:
    values = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in values)


def test_streamed_batches_are_those_of_memory(data: Path) -> None:
    faces = [FaceData(source(data, "faces", "train"), 64) for source in (open_all, read_all)]
    groups = [source(data, "groups", "train") for source in (open_all, read_all)]
    pairs = [GroupData(arrays) for arrays in groups]
    scenes = [FaceScenes(arrays, part.arrays, 64, backdrops=3) for arrays, part in zip(groups, faces, strict=True)]

    def draws() -> list[Draw]:
        return [Draw(0, 0, 6, 0, 6) for _ in range(2)]

    assert same(*(part.batch(draw.rows(len(part)), draw.own, True) for part, draw in zip(faces, draws(), strict=True)))
    assert same(*(part.batch(draw.rows(len(part))) for part, draw in zip(pairs, draws(), strict=True)))
    for number in range(6):
        assert same(*(part.scene(np.random.default_rng(number)) for part in scenes))


def test_a_training_from_disk_gives_the_weights_of_one_from_memory(data: Path, tmp_path: Path) -> None:
    weights = []
    for source in (open_all, read_all):
        torch.manual_seed(0)
        faces = FaceData(source(data, "faces", "train"), 64)
        model = LpRegressor(made_up_faces.landmark_model(6), 64, 0.25)
        schedule = loop.Schedule(2, 4, bf16=False, log_every=2)
        lp_regressor.train(model, faces, faces, schedule, tmp_path / source.__name__)
        weights.append(model.state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def peak(read: Callable[[], Column | NDArray]) -> int:
    tracemalloc.start()
    images = read()
    for row in range(0, len(images), 4):
        assert images[row].any()
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return taken


def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    small, large = write(tmp_path / "small", "faces", 2), write(tmp_path / "large", "faces", 40)
    pictures = 38 * PER_SHARD * 64 * 64 * 3
    grown = [
        peak(lambda source=source: source(large, "faces", "train")["images"])
        - peak(lambda source=source: source(small, "faces", "train")["images"])
        for source in (open_all, read_all)
    ]
    # A few kilobytes a shard say where things lie.
    assert grown[0] < 38 * 8_000 < pictures < grown[1]


def test_frames_of_videos_are_faces_too(tmp_path: Path) -> None:
    made, whole = made_up_faces.faces(5, side=256), (0, 0, 256, 256)
    frames = [
        ClipFrame(0, 0, number, number / 25, FaceSample(picture, landmarks, whole, whole, whole, 0.9))
        for number, (picture, landmarks) in enumerate(zip(made["images"], made["landmarks"], strict=True))
    ]
    writer = ShardWriter(tmp_path, "ada", "", ["ada.mp4"], per_shard=3, coding="png")
    for frame in frames:
        writer.add(frame)
    writer.flush()
    write_index(tmp_path, iter(writer.entries))
    faces = FaceData(open_faces(tmp_path), 128)
    assert len(faces) == 5
    assert np.array_equal(faces.arrays["images"][4], made["images"][4])
    batch = faces.batch(np.array([4]), np.random.default_rng(0), train=False)
    expected = FaceData(made, 128).batch(np.array([4]), np.random.default_rng(0), train=False)
    assert torch.equal(batch.images, expected.images) and torch.equal(batch.landmarks, expected.landmarks)


def test_what_is_no_shard_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, "faces", 1)
    good = folder / "faces-train-00000.npz"
    with np.load(good) as archive:
        np.savez_compressed(folder / "faces-train-00001.npz", **archive)
    with pytest.raises(ValueError, match=r"faces-train-00001\.npz: not a shard .* compressed"):
        open_all(folder, "faces", "train")
    (folder / "faces-train-00001.npz").write_bytes(good.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"faces-train-00001\.npz: not a shard"):
        open_all(folder, "faces", "train")
    with pytest.raises(FileNotFoundError, match="no groups shards"):
        open_all(folder, "groups", "train")


def test_shards_of_different_pictures_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, "faces", 1)
    arrays = made_up_faces.faces(2, side=32)
    arrays = {**arrays, "landmarks": arrays["landmarks"][:, :5]}
    write_shard(folder / "faces-train-00001.npz", arrays, list(arrays.pop("images")))
    with pytest.raises(ValueError, match=r"faces-train-00001\.npz: its landmarks"):
        open_all(folder, "faces", "train")
