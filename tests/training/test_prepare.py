# SPDX-License-Identifier: GPL-3.0-or-later
"""Videos to shards: what is kept, what is left out and why, and runs that are stopped and go on."""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from making_videos import cut_file, empty, square, talking, wandering, write_sound, write_video

from lpmm_runtime.bundle import DEFAULT_BUNDLE, load_bundle
from lpmm_runtime.engine import Engine
from lpmm_runtime.landmarks68 import interocular_nme
from lpmm_runtime.portrait import read_image
from lpmm_runtime.video_frames import open_video
from training.backbones.lpd_crop import padded_crop
from training.videos import step
from training.videos.frame_shards import read_index, read_shard, stream_shards
from training.videos.readers import ReaderChoice
from training.videos.visible_faces import CUT_OFF, NO_FACE, SMALL, UNSURE, FaceLook, FaceSample, Visibility

TALK, SHORT = 14, 6
OPTIONS = ["--workers", "1", "--shortest", "4", "--coding", "png"]


def run_step(*argv: str | Path) -> int:
    parser = argparse.ArgumentParser()
    step.add_parser(parser.add_subparsers())
    args = parser.parse_args(["prepare", *map(str, argv)])
    return int(args.run(args))


@pytest.fixture(scope="module")
def faces() -> dict[str, list[Any]]:
    """Frames of the astronaut, rendered by our own runtime, and of another person."""
    astronaut = pytest.importorskip("skimage.data").astronaut()
    engine = Engine(load_bundle(), device="cpu", threads=1)
    other = square(read_image(DEFAULT_BUNDLE.parents[1] / "portraits" / "ada.jpg"))
    return {"astronaut": talking(engine, astronaut, TALK), "other": wandering(other, SHORT)}


@pytest.fixture(scope="module")
def videos(faces: dict[str, list[Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("videos")
    talk, other = faces["astronaut"], faces["other"]
    write_video(folder / "talk.mp4", talk)
    write_video(folder / "cut.mp4", [*talk[:SHORT], *other])
    write_video(folder / "lost.mp4", [*talk[:SHORT], *empty(2), *talk[SHORT : 2 * SHORT]])
    # Stored lying on its side; the file tells players to turn it back.
    write_video(folder / "turned.mp4", [np.ascontiguousarray(np.rot90(frame, -1)) for frame in talk[:4]], rotation=90)
    write_video(folder / "ten_bit.mkv", talk[:4], pix_fmt="yuv420p10le")
    wide = [
        np.concatenate([frame, cv2.copyMakeBorder(square(small, 256), 128, 128, 0, 0, cv2.BORDER_REPLICATE)], 1)
        for frame, small in zip(other, talk[:SHORT], strict=True)
    ]
    write_video(folder / "two.mp4", wide)
    cut_file(write_video(folder / "short.mp4", talk, faststart=True), 0.6)
    cut_file(write_video(folder / "headless.mp4", talk[:4]), 0.6)
    write_video(folder / "nobody.mp4", empty(3))
    write_sound(folder / "sound.mp4")
    (folder / "text.mp4").write_text("This is no video, whatever its name says.\n" * 50)
    (folder / "notes.txt").write_text("no video, and not called one")
    return folder


@pytest.fixture(scope="module")
def prepared(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp("prepared") / "set"
    assert run_step(videos, "--out", out, *OPTIONS) == 0
    return out


def shard(prepared: Path, name: str) -> dict[str, Any]:
    arrays: dict[str, Any] = read_shard(prepared / "shards" / f"{name}-000.npz")
    return arrays


def in_picture(arrays: dict[str, Any]) -> np.ndarray:
    side = arrays["square"][:, 2] - arrays["square"][:, 0]
    return np.asarray(arrays["landmarks"] * side[:, None, None] + arrays["square"][:, None, :2])


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_frame_of_a_clear_face_is_kept_with_its_landmarks(prepared: Path, faces: dict[str, list[Any]]) -> None:
    arrays = shard(prepared, "talk.mp4")
    assert arrays["images"].shape == (TALK, 256, 256, 3)
    assert arrays["frame"].tolist() == list(range(TALK))
    assert arrays["seconds"] == pytest.approx(np.arange(TALK) / 25, abs=1e-3)
    assert set(arrays["clip"].tolist()) == {0}
    engine = Engine(load_bundle(), device="cpu", threads=1)
    for number in (0, TALK - 1):
        truth = engine.read_face(faces["astronaut"][number]).landmarks
        assert interocular_nme(in_picture(arrays)[number], truth) < 4.0
    # The head turns to the picture's right: the nose moves against the eye corners.
    nose = arrays["landmarks"][:, 30, 0] - arrays["landmarks"][:, (36, 45), 0].mean(axis=1)
    assert nose[-1] - nose[0] > 0.01


def test_crops_are_lpds_to_the_bit(prepared: Path, videos: Path) -> None:
    arrays = shard(prepared, "talk.mp4")
    with open_video(videos / "talk.mp4") as video:
        for row, frame in enumerate(video.frames()):
            crop = padded_crop(frame.pixels, tuple(arrays["square"][row].tolist()))
            assert crop.shape[0] < 256, "the enlarging branch of the policy"
            cubic = cv2.resize(crop.astype(np.float32), (256, 256), interpolation=cv2.INTER_CUBIC)
            assert np.array_equal(arrays["images"][row], np.clip(np.rint(cubic), 0, 255).astype(np.uint8))
    landmarks = arrays["landmarks"]
    low, high = landmarks.min(axis=1), landmarks.max(axis=1)
    top = low[:, 1] - 0.25 * (high[:, 1] - low[:, 1])
    sides = np.maximum(high[:, 0] - low[:, 0], high[:, 1] - top)
    assert sides == pytest.approx(1 / 1.8, abs=0.02), "the box was enlarged by 80 %"
    assert 0.5 * (low[:, 0] + high[:, 0]) == pytest.approx(0.5, abs=0.01)


def test_a_shot_cut_and_a_lost_face_split_clips(prepared: Path) -> None:
    cut, lost = shard(prepared, "cut.mp4"), shard(prepared, "lost.mp4")
    assert cut["frame"].tolist() == list(range(2 * SHORT))
    assert cut["clip"].tolist() == [0] * SHORT + [1] * SHORT
    assert lost["frame"].tolist() == [*range(SHORT), *range(SHORT + 2, 2 * SHORT + 2)]
    assert lost["clip"].tolist() == [0] * SHORT + [1] * SHORT


def test_a_turned_and_a_ten_bit_video_read_as_the_plain_one(prepared: Path) -> None:
    plain = shard(prepared, "talk.mp4")
    for name in ("turned.mp4", "ten_bit.mkv"):
        arrays = shard(prepared, name)
        assert arrays["frame"].tolist() == [0, 1, 2, 3]
        assert interocular_nme(in_picture(arrays), in_picture(plain)[:4]).max() < 3.0
        assert np.abs(arrays["images"].mean(axis=(0, 1, 2)) - plain["images"][:4].mean(axis=(0, 1, 2))).max() < 4.0


def test_of_two_faces_the_larger_is_followed(prepared: Path) -> None:
    arrays = shard(prepared, "two.mp4")
    assert len(arrays["frame"]) == SHORT and set(arrays["clip"].tolist()) == {0}
    assert (in_picture(arrays)[..., 0] < 512).all()


def test_what_a_cut_off_file_still_holds_is_kept_and_said(prepared: Path) -> None:
    arrays = shard(prepared, "short.mp4")
    assert 4 <= len(arrays["frame"]) < TALK
    summary = json.loads((prepared / "summary.json").read_text())
    (line,) = summary["damaged"]
    assert "short.mp4: cut short" in line and f"of {TALK} frames" in line


def test_every_bad_file_is_one_line_with_its_reason(prepared: Path) -> None:
    summary = json.loads((prepared / "summary.json").read_text())
    lines = {Path(line.split(": ")[0]).name: line for line in summary["rejected"]}
    assert sorted(lines) == ["headless.mp4", "nobody.mp4", "sound.mp4", "text.mp4"]
    assert "not a video that can be read" in lines["headless.mp4"]
    assert "not a video that can be read" in lines["text.mp4"]
    assert "sound only, no picture" in lines["sound.mp4"]
    assert "nothing usable in 3 frames: no face found (3)" in lines["nobody.mp4"]
    assert not any("\n" in line for line in lines.values())
    assert summary["sources"] == 11 and summary["kept"] == 7


def test_the_index_tells_what_the_shards_hold(prepared: Path) -> None:
    entries = read_index(prepared)
    assert sorted(entry.source for entry in entries) == sorted(
        ["cut.mp4", "lost.mp4", "short.mp4", "talk.mp4", "ten_bit.mkv", "turned.mp4", "two.mp4"]
    )
    for entry in entries:
        path = prepared / entry.file
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
        assert len(read_shard(path, decode=False)["frame"]) == entry.frames
    everything = sorted(str(arrays["videos"][0]) for arrays in stream_shards(prepared, seed=3))
    halves = [str(a["videos"][0]) for part in (0, 1) for a in stream_shards(prepared, seed=3, part=part, parts=2)]
    assert sorted(halves) == everything and len(everything) == len(entries)


def test_a_second_run_touches_no_shard(prepared: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = digests(prepared)
    assert run_step(videos, "--out", prepared, *OPTIONS) == 0
    after = digests(prepared)
    assert {name: digest for name, (digest, _) in after.items() if name != "summary.json"} == {
        name: digest for name, (digest, _) in before.items() if name != "summary.json"
    }
    assert all(after[name] == before[name] for name in before if name.startswith(("shards", "records")))
    told = capsys.readouterr().out
    assert "11 videos done before" in told and "rejected: " in told


def test_a_killed_run_goes_on_and_gives_the_same_shards(prepared: Path, videos: Path, tmp_path: Path) -> None:
    names = ["cut.mp4", "talk.mp4", "ten_bit.mkv"]
    folder, out = tmp_path / "videos", tmp_path / "set"
    folder.mkdir()
    for name in names:
        shutil.copy2(videos / name, folder / name)
    argv = ["prepare", str(folder), "--out", str(out), *OPTIONS, "--workers", "2"]
    code = (
        "import argparse; from training.videos import step; p = argparse.ArgumentParser();"
        f"step.add_parser(p.add_subparsers()); a = p.parse_args({argv!r}); a.run(a)"
    )
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not list(out.glob("records/*.json")) and running.poll() is None:
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    assert running.stderr is not None
    running.stderr.close()
    assert running.wait() == -signal.SIGKILL, "it was to be stopped before its end"
    assert not (out / "index.jsonl").exists()
    done = {path: path.stat().st_mtime_ns for path in out.glob("shards/*.npz")}

    assert run_step(folder, "--out", out, *OPTIONS) == 0
    for name in names:
        assert (out / "shards" / f"{name}-000.npz").read_bytes() == (
            prepared / "shards" / f"{name}-000.npz"
        ).read_bytes()
    first = json.loads((out / "summary.json").read_text())["done_before"]
    assert first >= 1 and sum(path.stat().st_mtime_ns == stamp for path, stamp in done.items()) >= first
    assert not list(out.rglob(".*.tmp"))


def test_sampled_frames_are_spread_over_the_video(videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy2(videos / "talk.mp4", folder / "talk.mp4")
    out = tmp_path / "set"
    assert run_step(folder, "--out", out, "--workers", "1", "--sample", "4") == 0
    assert shard(out, "talk.mp4")["frame"].tolist() == [0, 4, 7, 11]


def test_a_face_that_is_not_clearly_seen_is_left_out_with_the_reason(faces: dict[str, list[Any]]) -> None:
    frame = faces["astronaut"][0]
    finder, reader = ReaderChoice().open()
    seen = FaceLook(finder, reader, Visibility()).look(frame, None)
    assert isinstance(seen, FaceSample)
    assert FaceLook(finder, reader, Visibility(smallest_face=400)).look(frame, None) == SMALL
    assert FaceLook(finder, reader, Visibility(least_score=1.01)).look(frame, None) == NO_FACE
    left, top, right, _ = seen.square
    eyes = top + (right - left) * float(seen.landmarks[36:48, 1].mean())
    cut_off = np.ascontiguousarray(frame[int(eyes) :])
    assert FaceLook(finder, reader, Visibility()).look(cut_off, None) in (CUT_OFF, UNSURE, NO_FACE, SMALL)


def test_mediapipes_face_mesh_reads_the_points_too(prepared: Path, videos: Path, tmp_path: Path) -> None:
    """Needs mediapipe in this Python, or in the one that LPMM_READER_PYTHON names."""
    python = os.environ.get("LPMM_READER_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import mediapipe"], capture_output=True, check=False).returncode:
        pytest.skip("mediapipe is not installed")
    folder, out = tmp_path / "videos", tmp_path / "set"
    folder.mkdir()
    for name in ("ten_bit.mkv", "nobody.mp4"):
        shutil.copy2(videos / name, folder / name)
    assert run_step(folder, "--out", out, *OPTIONS, "--reader", "mediapipe", "--reader-python", python) == 0
    mesh, own = shard(out, "ten_bit.mkv"), shard(prepared, "ten_bit.mkv")
    assert mesh["frame"].tolist() == own["frame"].tolist()
    off = interocular_nme(in_picture(mesh), in_picture(own)).mean()
    assert 0.1 < off < 12.0, "another reader, of the same face"
    assert "no face found" in json.loads((out / "summary.json").read_text())["rejected"][0]
    with pytest.raises(ValueError, match="made with another reader"):
        run_step(folder, "--out", out, *OPTIONS)


def test_nothing_kept_is_a_failure(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy2(videos / "text.mp4", folder / "text.mp4")
    assert run_step(folder, "--out", tmp_path / "set", *OPTIONS) == 1
    assert "rejected: " in capsys.readouterr().out


def test_a_set_is_not_mixed_with_other_settings(prepared: Path, videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="made with another sample"):
        run_step(videos, "--out", prepared, *OPTIONS, "--sample", "4")
    foreign = tmp_path / "home"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("dear all")
    with pytest.raises(ValueError, match="holds other things"):
        run_step(videos, "--out", foreign, *OPTIONS)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        run_step(tmp_path / "gone", "--out", tmp_path / "set")
    with pytest.raises(ValueError, match="holds no video files"):
        run_step(foreign, "--out", tmp_path / "set")
