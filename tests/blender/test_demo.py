# SPDX-License-Identifier: GPL-3.0-or-later
"""`lpmm demo`: from a photo to a clip, a .blend and a contact sheet, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import av
import bpy
import numpy as np
import pytest
from reference import Reference, difference, read_png, shown_by


def run_demo(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [sys.executable, "-m", "lpmm_runtime.cli", "demo", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(tiny_bundle: Path, portrait: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short demo."""
    out = tmp_path_factory.mktemp("demo")
    result = run_demo(
        "--photo", portrait, "--bundle", tiny_bundle, "--out", out, "--frames", 24, "--size", 159, "--device", "cpu"
    )
    assert result.returncode == 0, result.stderr
    for name in ("lpmm-demo.mp4", "lpmm-demo.blend", "lpmm-demo.png"):
        assert str(out / name) in result.stdout
    return out


def test_the_clip_is_h264_and_begins_at_rest_and_moves(demo: Path, reference: Reference) -> None:
    with av.open(str(demo / "lpmm-demo.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 24)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 24 and frames[0].shape == (160, 160, 3)
    rest = reference.frame({})[..., :3].astype(float)
    errors = [np.abs(frame[:159, :159] - rest).mean() for frame in frames]
    assert errors[0] < 8 and max(errors) > 20


def test_the_contact_sheet_shows_every_8th_frame(demo: Path) -> None:
    sheet = read_png(demo / "lpmm-demo.png")
    assert sheet.shape[1] == 4 * sheet.shape[0]
    tiles = np.split(sheet, 4, axis=1)
    assert [bool(tile.any()) for tile in tiles] == [True, True, True, False]


def test_the_blend_holds_keys_and_the_presets_strip_and_plays(
    runtime: object, demo: Path, reference: Reference
) -> None:
    bpy.ops.wm.open_mainfile(filepath=str(demo / "lpmm-demo.blend"))
    rig = bpy.data.objects["Ada"]
    strips = [track.strips[0] for track in rig.animation_data.nla_tracks]
    assert [(strip.name, strip.blend_type) for strip in strips] == [("Performance", "REPLACE"), ("Smile", "ADD")]
    scene = bpy.context.scene
    for number in (6, 12, 22):
        scene.frame_set(number)
        evaluated = rig.evaluated_get(bpy.context.evaluated_depsgraph_get())
        names = ("headYaw", "headPitch", "headRoll", "jawOpen", "eyeBlinkLeft")
        channels = {name: evaluated[name] for name in names} | {"Smile": evaluated["preset:Smile"]}
        assert any(channels.values())
        expected = reference.frame(channels)
        assert shown_by(rig).shape == expected.shape
        assert difference(shown_by(rig), expected) <= 1


@pytest.mark.parametrize("photo", ["nobody.jpg", "text.png"])
def test_a_bad_photo_ends_with_one_line_that_names_it(tiny_bundle: Path, tmp_path: Path, photo: str) -> None:
    (tmp_path / "text.png").write_text("no picture")
    result = run_demo("--photo", tmp_path / photo, "--bundle", tiny_bundle, "--out", tmp_path / "out")
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1 and photo in result.stderr
