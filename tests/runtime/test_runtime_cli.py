# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: results where they were asked for, and one clear line for bad input."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bundle import K, disc_photo

from lpmm_runtime.cli import main
from lpmm_runtime.engine import Character, Engine
from lpmm_runtime.frame import evaluate_params
from lpmm_runtime.portrait import read_image
from lpmm_runtime.video import write_png

Pixels = NDArray[np.uint8]


@pytest.fixture
def options(bundle_folder: Path) -> list[str]:
    return ["--bundle", str(bundle_folder), "--device", "cpu", "--threads", "1"]


def refused(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> str:
    """Run a command that must fail, and return its one line."""
    assert main([str(arg) for arg in argv]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_rest_renders_the_photo_itself(photo_file: Path, photo: Pixels, tmp_path: Path, options: list[str]) -> None:
    out = tmp_path / "new" / "rest.png"
    assert main(["render", str(photo_file), "--out", str(out), *options]) == 0
    assert np.array_equal(read_image(out), photo)


def test_settings_render_what_the_engine_answers(
    photo_file: Path, tmp_path: Path, options: list[str], engine: Engine, character: Character
) -> None:
    out = tmp_path / "x.png"
    settings = ["--set", "headYaw=20", "--set", "p07=-1.5", "--set", "Smile=0.5"]
    assert main(["render", str(photo_file), "--out", str(out), "--crop", "--size", "96", *settings, *options]) == 0
    rig, smile = engine.bundle.rig, engine.bundle.presets["Smile"]
    params = evaluate_params(rig, character.params, {"headYaw": 20}, {"p07": -1.5}, [(smile, 0.5)])
    expected = engine.render(character, params, size=96)[..., :3]
    assert np.array_equal(read_image(out), expected)
    assert not np.array_equal(expected, engine.render(character, character.params, size=96)[..., :3])


def test_the_neutral_base_starts_from_the_mean_face(
    photo_file: Path, tmp_path: Path, options: list[str], engine: Engine, character: Character
) -> None:
    out = tmp_path / "x.png"
    assert main(["render", str(photo_file), "--out", str(out), "--base", "neutral", *options]) == 0
    expected = engine.render(character, np.zeros(K), base="NEUTRAL", view="full")
    assert np.array_equal(read_image(out), expected[..., :3])


def test_curves_render_numbered_frames_in_order(
    photo_file: Path, tmp_path: Path, options: list[str], engine: Engine, character: Character
) -> None:
    values = [0.0, 1.0, -1.0, 2.0]
    curves = tmp_path / "c.json"
    curves.write_text(json.dumps({"fps": 24, "channels": {"p08": values}}))
    out = tmp_path / "frames" / "%04d.png"
    assert main(["render", str(photo_file), "--curves", str(curves), "--out", str(out), *options]) == 0
    assert sorted(path.name for path in out.parent.iterdir()) == [f"{i:04d}.png" for i in range(1, 5)]
    for i, value in enumerate(values, 1):
        params = evaluate_params(engine.bundle.rig, character.params, {}, {"p08": value})
        expected = engine.render(character, params, view="full")[..., :3]
        assert np.array_equal(read_image(out.parent / f"{i:04d}.png"), expected)


def test_curves_render_a_clip(
    photo_file: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    curves = tmp_path / "c.json"
    curves.write_text(json.dumps({"fps": 30, "channels": {"headYaw": [0, 5, 10, 15, 20]}}))
    out = tmp_path / "clip.mp4"
    assert main(["render", str(photo_file), "--curves", str(curves), "--out", str(out), *options]) == 0
    assert capsys.readouterr().out == f"wrote {out}: 5 frames on cpu\n"
    av = pytest.importorskip("av")
    with av.open(str(out)) as container:
        assert container.streams.video[0].average_rate == 30
        assert len(list(container.decode(video=0))) == 5


def test_a_preset_file_becomes_a_channel(photo_file: Path, tmp_path: Path, options: list[str]) -> None:
    preset = tmp_path / "odd.json"
    content = {"format": "lpmm-preset", "format_version": 1, "name": "Very odd", "params": {"p08": 2.0}}
    preset.write_text(json.dumps(content))
    by_preset, by_param = tmp_path / "a.png", tmp_path / "b.png"
    given = ["--preset", str(preset), "--set", "Very odd=0.5"]
    assert main(["render", str(photo_file), "--out", str(by_preset), *given, *options]) == 0
    assert main(["render", str(photo_file), "--out", str(by_param), "--set", "p08=1", *options]) == 0
    assert by_preset.read_bytes() == by_param.read_bytes()


def test_render_names_what_is_wrong(
    photo_file: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "x.png"
    text = tmp_path / "notes.txt"
    text.write_text("no photo, no curves, no preset")
    empty = tmp_path / "empty.png"
    write_png(empty, disc_photo(x=-500))
    curves = tmp_path / "curves.json"
    curves.write_text(json.dumps({"fps": 24, "channels": {"tongueOut": [0, 1]}}))
    render = ["render", photo_file, "--out", out, *options]

    line = refused(capsys, "render", tmp_path / "gone.jpg", "--out", out, *options)
    assert line == f"lpmm render: error: {tmp_path / 'gone.jpg'}: no such file"
    assert f"{text}: not a picture" in refused(capsys, "render", text, "--out", out, *options)
    assert f"{empty}: no face found" in refused(capsys, "render", empty, "--out", out, *options)
    assert "'headyaw'; did you mean 'headYaw'?" in refused(capsys, *render, "--set", "headyaw=1")
    assert "--set p01: inf is not finite" in refused(capsys, *render, "--set", "p01=inf")
    assert f"{text}: not curves" in refused(capsys, *render, "--curves", text)
    assert f"{curves}: no such control, param or preset: 'tongueOut'" in refused(capsys, *render, "--curves", curves)
    assert f"{text}: not a preset" in refused(capsys, *render, "--preset", text)
    assert f"{photo_file}: face box" in refused(capsys, *render, "--box", "5000,0,6000,100")
    assert "unknown kind of output" in refused(capsys, "render", photo_file, "--out", "x.gif", *options)
    assert not out.exists()


def test_curves_and_settings_may_not_fight(
    photo_file: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    curves = tmp_path / "c.json"
    curves.write_text(json.dumps({"fps": 24, "channels": {"p01": [1]}}))
    given = ["--curves", curves, "--set", "p01=2", "--out", tmp_path / "x.png"]
    assert "'p01' is both here and in --set" in refused(capsys, "render", photo_file, *given, *options)


def test_a_damaged_bundle_is_named(
    photo_file: Path, own_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_bundle / "pose_encoder.onnx").write_bytes(b"damaged")
    line = refused(capsys, "render", photo_file, "--out", tmp_path / "x.png", "--bundle", own_bundle)
    assert f"{own_bundle / 'pose_encoder.onnx'}: damaged" in line
    assert "damaged" in refused(capsys, "bundle", "verify", own_bundle)


@pytest.mark.parametrize(
    "argv",
    [
        ["render", "p.png", "--out", "x.png", "--set", "headYaw"],
        ["render", "p.png", "--out", "x.png", "--box", "1,2,3"],
        ["render", "p.png", "--out", "x.png", "--size", "0"],
        ["render", "p.png"],
        ["dance"],
        [],
    ],
)
def test_a_wrong_usage_is_one_line_and_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("command", ["render", "sheet", "landmarks", "bundle", "bench"])
def test_help_is_everywhere(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: lpmm {command}" in capsys.readouterr().out


def test_a_sheet_shows_rest_expressions_and_poses(
    photo_file: Path, tmp_path: Path, options: list[str], engine: Engine, character: Character
) -> None:
    out = tmp_path / "sheet.png"
    argv = ["sheet", str(photo_file), str(photo_file), "--out", str(out), "--size", "256", "--columns", "3"]
    assert main([*argv, *options]) == 0
    sheet = read_image(out)
    expressions = [name for name in sorted(engine.bundle.presets) if not name.startswith("Viseme")]
    shown = 1 + len(expressions) + 9
    assert sheet.shape == (-(-shown // 3) * 256, 2 * 3 * 256, 3)
    assert np.array_equal(sheet[:, :768], sheet[:, 768:]), "one photo, twice"
    first = evaluate_params(engine.bundle.rig, character.params, {}, {}, [(engine.bundle.presets[expressions[0]], 1.0)])
    for column, params in enumerate((character.params, first)):
        tile = sheet[:220, column * 256 : (column + 1) * 256]
        assert np.array_equal(tile, engine.render(character, params, size=256)[:220, :, :3])


def test_a_sheet_names_what_is_wrong(
    photo_file: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    assert "text.png" in refused(capsys, "sheet", photo_file, text, "--out", tmp_path / "s.png", *options)
    assert "clip.mp4" in refused(capsys, "sheet", photo_file, "--out", tmp_path / "clip.mp4", *options)
    assert not (tmp_path / "s.png").exists()


def read_landmarks(out: Path) -> dict[str, Any]:
    answers: dict[str, Any] = json.loads(out.read_text())
    return answers


def test_landmarks_are_pixels_and_null_where_no_face_is(
    photo_file: Path, tmp_path: Path, options: list[str], character: Character
) -> None:
    empty, out = tmp_path / "empty.png", tmp_path / "out.json"
    write_png(empty, disc_photo(x=-500))
    assert main(["landmarks", str(photo_file), str(empty), "--json", str(out), *options]) == 0
    answers = read_landmarks(out)
    assert answers[str(empty)] is None
    answer = answers[str(photo_file)]
    # Labelled data sets put (0, 0) at the first pixel's centre.
    assert np.allclose(answer["landmarks"], character.landmarks - 0.5, atol=1e-3)
    assert np.allclose(answer["box"], np.array(character.box) - 0.5, atol=1e-3)
    assert np.allclose(answer["params"], character.params, atol=1e-5)
    assert list(answer["pose"].values()) == pytest.approx(character.head_angles, abs=1e-2)


def test_listed_boxes_are_used_instead_of_searching(photo_file: Path, tmp_path: Path, options: list[str]) -> None:
    two = disc_photo(400, 240, x=100, y=120, diameter=80)
    two[:, 200:] = disc_photo(400, 240, x=320, y=120, diameter=60)[:, 200:]
    path, boxes, out = tmp_path / "two.png", tmp_path / "boxes.json", tmp_path / "out.json"
    write_png(path, two)
    boxes.write_text(json.dumps({"two.png": [285, 85, 355, 155]}))
    assert main(["landmarks", str(path), str(photo_file), "--boxes", str(boxes), "--json", str(out), *options]) == 0
    answers = read_landmarks(out)
    assert np.mean(answers[str(path)]["landmarks"], axis=0)[0] == pytest.approx(320, abs=10)
    assert answers[str(photo_file)] is not None


def test_one_bad_picture_does_not_cost_the_others(
    photo_file: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    assert main(["landmarks", "gone.jpg", str(photo_file), "--json", str(out), *options]) == 1
    assert capsys.readouterr().err == "lpmm landmarks: error: gone.jpg: no such file\n"
    assert list(read_landmarks(out)) == [str(photo_file)]


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"a.png": [1, 2, 3]}', '{"a.png": "box"}', '{"a.png": [1, 2, 3, null]}']
)
def test_boxes_that_are_none_are_named(
    photo_file: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str], content: str
) -> None:
    boxes = tmp_path / "boxes.json"
    boxes.write_text(content)
    assert str(boxes) in refused(capsys, "landmarks", photo_file, "--boxes", boxes, *options)


def test_bundle_info_and_verify_tell_the_bundle(bundle_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "info", str(bundle_folder)]) == 0
    told = capsys.readouterr().out
    assert "tiny 1" in told and "eyeBlinkLeft" in told and "Smile" in told
    assert main(["bundle", "verify", str(bundle_folder)]) == 0
    assert "is whole: 8 files" in capsys.readouterr().out


def test_bench_writes_its_report(photo_file: Path, tmp_path: Path, options: list[str]) -> None:
    out = tmp_path / "bench.json"
    assert main(["bench", str(photo_file), "--frames", "2", "--json", str(out), *options]) == 0
    report = json.loads(out.read_text())
    assert report["device"] == "cpu"
    assert set(report["frame_ms"]) == {"crop 256", "crop 512", "crop 1024", "full native"}
    assert all(times["median"] > 0 for times in report["frame_ms"].values())


def test_the_module_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "lpmm_runtime.cli", "bundle", "verify", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"lpmm bundle: error: {tmp_path / 'bundle.json'}: no such file\n"


def test_help_needs_neither_onnxruntime_nor_opencv(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['onnxruntime', 'cv2', 'av', 'tqdm']));"
        "from lpmm_runtime.cli import main; main(['render', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_missing_package_is_one_line_with_the_cure(
    photo_file: Path, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("lpmm_runtime.onnx_sessions", "lpmm_runtime.engine", "lpmm_runtime.face_finding"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    line = refused(capsys, "render", photo_file, "--out", "x.png", "--bundle", bundle_folder)
    assert "the package onnxruntime is missing: pip install 'lpmm-blender[runtime]'" in line
