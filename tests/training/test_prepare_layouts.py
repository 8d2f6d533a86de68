# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose videos there are: plain folders, VoxCeleb's clips, and whole videos with VoxCeleb's tracks."""

from pathlib import Path

import numpy as np
import pytest

from training.videos.layout import find_sources, read_track
from training.videos.shot_cuts import ShotCuts

TRACK = """Identity  : \tid00017
Reference : \t_mjZ87sK6cA
Offset    : \t-1
FV Conf   : \t16.1\t(1)
ASD Conf  : \t5.1

FRAME \tX \tY \tW \tH
000050 \t0.100 \t0.200 \t0.300 \t0.400
000051 \t0.100 \t0.200 \t0.300 \t0.400
000075 \t0.200 \t0.200 \t0.300 \t0.400
"""


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_any_folder_gives_a_source_a_video(tmp_path: Path) -> None:
    touch(tmp_path, "b.MP4", "a/x.mov", "a/readme.txt", ".hidden/y.mp4", "c.jpg")
    sources = find_sources(tmp_path)
    assert [source.name for source in sources] == ["a/x.mov", "b.MP4"]
    assert [source.speaker for source in sources] == ["", ""]


def test_voxceleb_clips_are_gathered_by_video_and_speaker(tmp_path: Path) -> None:
    root = "dev/mp4"
    touch(tmp_path, f"{root}/id00012/21Uxsk56VDQ/00001.mp4", f"{root}/id00012/21Uxsk56VDQ/00002.mp4")
    touch(tmp_path, f"{root}/id00012/2DLq_Kkc1r8/00016.mp4", f"{root}/id00015/0fijmz4vTVU/00001.mp4")
    sources = find_sources(tmp_path)
    assert [source.name for source in sources] == ["id00012/21Uxsk56VDQ", "id00012/2DLq_Kkc1r8", "id00015/0fijmz4vTVU"]
    assert [source.speaker for source in sources] == ["id00012", "id00012", "id00015"]
    assert [entry.path.name for entry in sources[0].files] == ["00001.mp4", "00002.mp4"]
    assert len(find_sources(tmp_path, "folder")) == 4


def test_voxceleb_tracks_say_where_in_a_whole_video_to_look(tmp_path: Path) -> None:
    touch(tmp_path, "videos/_mjZ87sK6cA.mkv", "videos/unlisted.mp4")
    track = tmp_path / "txt/id00017/_mjZ87sK6cA/00001.txt"
    track.parent.mkdir(parents=True)
    track.write_text(TRACK)
    (source,) = find_sources(tmp_path)
    assert (source.name, source.speaker) == ("id00017/_mjZ87sK6cA", "id00017")
    (entry,) = source.files
    (read,) = entry.tracks
    assert read.box_at(1.99, 1000, 500) is None and read.box_at(3.01, 1000, 500) is None
    assert read.box_at(2.0, 1000, 500) == pytest.approx((100, 100, 400, 300))
    assert read.box_at(3.0, 1000, 500) == pytest.approx((200, 100, 500, 300))


def test_tracks_in_pixels_are_told_from_shares(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("FRAME X Y W H\n000010 120 40 90 90\n000011 122 40 90 90\n")
    assert read_track(path).box_at(0.4, 640, 480) == pytest.approx((120, 40, 210, 130))
    path.write_text("Identity : id00017\n")
    with pytest.raises(ValueError, match=r"t\.txt: holds no track"):
        read_track(path)


def test_a_layout_that_is_not_there_is_said(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    with pytest.raises(ValueError, match="not VoxCeleb's layout"):
        find_sources(tmp_path, "voxceleb")


def test_a_cut_is_told_from_motion_and_from_changing_light() -> None:
    rng = np.random.default_rng(0)
    first, second = (np.kron(rng.integers(0, 255, (9, 16, 3)), np.ones((40, 40, 1))).astype(np.uint8) for _ in "ab")

    def starts(frames: list[np.ndarray]) -> list[int]:
        shots = ShotCuts()
        return [number for number, frame in enumerate(frames) if shots.starts_shot(frame)]

    moving = [np.roll(first, 4 * n, axis=1) for n in range(10)]
    assert starts(moving) == []
    assert starts([*moving, *(np.roll(second, 4 * n, axis=1) for n in range(10))]) == [10]
    brighter = [np.clip(first * (0.6 + 0.03 * n), 0, 255).astype(np.uint8) for n in range(10)]
    assert starts(brighter) == []
