# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes: a driving video in, per-frame params and latents out, and portraits that follow them."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bundle import K, W, disc_photo

from lpmm_runtime.cli import main
from lpmm_runtime.driving import Drive, Driver
from lpmm_runtime.engine import Character, Engine
from lpmm_runtime.errors import TakeError
from lpmm_runtime.frame import evaluate_channels
from lpmm_runtime.portrait import read_image
from lpmm_runtime.steadying import filled, smoothed, steadied
from lpmm_runtime.take import Take, check_take, load_take, models_of, save_take
from lpmm_runtime.video import write_video
from lpmm_runtime.video_frames import VideoFrame, at_rate, open_video, usual_rate

COUNT = 12
GONE = (4, 5)


@pytest.fixture
def options(bundle_folder: Path) -> list[str]:
    return ["--bundle", str(bundle_folder), "--device", "cpu", "--threads", "1"]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disc that slides to the right and grows, and is away in frames 4 and 5."""
    path: Path = tmp_path_factory.mktemp("driving") / "disc.mp4"
    frames = [disc_photo(x=-500 if n in GONE else 120 + 6 * n, diameter=70 + n) for n in range(COUNT)]
    write_video(path, frames, Fraction(30000, 1001))
    return path


@pytest.fixture
def taken(video: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> Path:
    out = tmp_path / "take.json"
    assert main(["capture", str(video), "--out", str(out), *options]) == 0
    return out


@pytest.fixture(scope="module")
def take(engine: Engine) -> Take:
    """A made-up take of three frames."""
    rng = np.random.default_rng(1)
    return Take(
        source="made.mp4",
        fps=Fraction(25),
        bundle="tiny 1",
        models=models_of(engine.bundle),
        seen=np.array([True, True, False]),
        params=rng.normal(size=(3, K)).astype(np.float32),
        pose_latents=rng.normal(size=(3, W)).astype(np.float32),
        head_angles=rng.normal(size=(3, 3)).astype(np.float32),
        squares=rng.uniform(10, 90, (3, 3)).astype(np.float32),
    )


def refused(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> str:
    assert main([str(part) for part in argv]) == 1
    # A slow machine shows a progress bar before the line.
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lpmm ")]
    assert len(lines) == 1, lines
    return lines[0]


def test_a_video_becomes_a_take_of_every_frame(taken: Path, engine: Engine) -> None:
    take = load_take(taken)
    assert take.frame_count == COUNT and take.fps == Fraction(30000, 1001)
    assert take.source == "disc.mp4" and take.bundle == "tiny 1"
    assert take.params.shape == (COUNT, K) and take.pose_latents.shape == (COUNT, W)
    assert take.squares[:, 0] == pytest.approx(120 + 6 * np.arange(COUNT), abs=3.0)
    assert (np.diff(take.squares[:, 2]) > 0).all(), "the disc grows"
    check_take(take, engine.bundle, "take.json")
    assert take.head_angles[3] == pytest.approx(engine.bundle.rig.controls.head_angles(take.params[3]), abs=2e-3)


def test_frames_without_a_face_are_marked_filled_in_and_said(
    video: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "take.json"
    assert main(["capture", str(video), "--out", str(out), *options]) == 0
    told = capsys.readouterr().out
    assert f"wrote {out}: {COUNT} frames at 29.97 a second on cpu" in told
    assert "no face in 2 frames, filled in from those beside: 4–5" in told
    take = load_take(out)
    assert np.flatnonzero(~take.seen).tolist() == list(GONE)
    between = take.params[3] + (take.params[6] - take.params[3]) * np.array([[1 / 3], [2 / 3]])
    assert take.params[4:6] == pytest.approx(between, abs=1e-4)
    assert np.isfinite(take.pose_latents).all()


def test_a_part_of_a_video_at_another_rate_can_be_captured(video: Path, tmp_path: Path, options: list[str]) -> None:
    out = tmp_path / "take.json"
    assert (
        main(["capture", str(video), "--out", str(out), "--start", "0.2", "--end", "0.36", "--fps", "50", *options])
        == 0
    )
    take = load_take(out)
    assert take.fps == 50 and take.frame_count == 8
    assert take.squares[0, 0] == pytest.approx(120 + 6 * 6, abs=4)


def test_a_take_comes_back_as_it_was_saved(take: Take, tmp_path: Path) -> None:
    path = tmp_path / "take.json"
    save_take(take, path)
    again = load_take(path)
    for name in ("seen", "params", "pose_latents", "head_angles", "squares"):
        assert np.allclose(getattr(again, name), getattr(take, name), atol=1e-3), name
    assert (again.source, again.fps, again.bundle, again.models) == (take.source, take.fps, take.bundle, take.models)
    assert again.unseen_runs() == [(2, 2)]
    assert len(path.read_text().splitlines()) < 20, "a line a frame"


def test_a_steadied_square_neither_trembles_nor_lags() -> None:
    rng = np.random.default_rng(0)
    path = np.stack([100 + 2.0 * np.arange(60), np.full(60, 80.0), np.full(60, 50.0)], axis=1)
    trembling = path + rng.normal(scale=1.5, size=path.shape)
    steady = steadied(trembling, 4.0)
    assert np.abs(np.diff(steady - path, axis=0)).mean() < 0.1 * np.abs(np.diff(trembling - path, axis=0)).mean()
    assert smoothed(path, 4.0) == pytest.approx(path), "a steady movement is left alone, at its ends too"
    cut = np.concatenate([path[:20], path[:20] + np.array([150, 0, 0])])
    assert steadied(cut, 4.0) == pytest.approx(cut), "two shots do not flow into each other"


def test_what_was_not_seen_is_interpolated_or_held() -> None:
    values = np.array([[9.0], [1.0], [9.0], [3.0], [9.0]])
    known = np.array([False, True, False, True, False])
    assert filled(values, known)[:, 0].tolist() == [1, 1, 2, 3, 3]


def test_a_driven_frame_is_the_takes_latent_plus_the_edits(engine: Engine, character: Character, take: Take) -> None:
    rig = engine.bundle.rig

    def offset(params: NDArray[np.float32]) -> NDArray[np.float32]:
        return engine.sessions.run("lp_adaptor", {"params": params[None]})["pose_offset"][0]

    def at_latent(latent: NDArray[np.float32]) -> Any:
        return engine.render(character, character.params, pose_latent=latent, influence=1.0)

    def driven(values: dict[str, float], **how: Any) -> Any:
        return Driver(engine, character, Drive(take, **how)).render(1, values, {})

    edits = {"jawOpen": 0.7, "headYaw": 12.0, "p08": 1.0}
    assert np.array_equal(driven({}), at_latent(take.pose_latents[1]))
    edited = evaluate_channels(rig, take.params[1], edits, {})
    wanted = take.pose_latents[1] + (offset(edited) - offset(take.params[1]))
    assert np.abs(driven(edits).astype(int) - at_latent(wanted)).max() <= 1
    own = engine.pose_latent_of(character, evaluate_channels(rig, character.params, edits, {}))
    half = own + 0.5 * (wanted - own)
    assert np.abs(driven(edits, influence=0.5).astype(int) - at_latent(half)).max() <= 1
    assert np.array_equal(driven({}, influence=0.0), engine.render(character, character.params))
    by_params = engine.render(character, take.params[1])
    assert np.array_equal(driven({}, route="params"), by_params)
    assert not np.array_equal(by_params, driven({}))


def test_relative_driving_starts_from_the_portraits_own_pose(engine: Engine, character: Character, take: Take) -> None:
    rest = engine.render(character, character.params)
    drive = Drive(take, relative=True, reference=1)
    assert np.array_equal(Driver(engine, character, drive).render(1, {}, {}), rest)
    assert not np.array_equal(Driver(engine, character, drive).render(0, {}, {}), rest)
    near = take.nearest_frame(take.params[2] + 1e-3, engine.bundle.rig.model.sigma)
    assert near in (0, 1), "frame 2 was not seen"


def test_render_follows_a_take(
    taken: Path, photo_file: Path, tmp_path: Path, options: list[str], engine: Engine, character: Character
) -> None:
    out = tmp_path / "frames" / "%02d.png"
    argv = [
        "render",
        str(photo_file),
        "--take",
        str(taken),
        "--out",
        str(out),
        "--set",
        "p08=1.5",
        "--influence",
        "0.8",
    ]
    assert main([*argv, *options]) == 0
    assert len(list(out.parent.iterdir())) == COUNT
    expected = Driver(engine, character, Drive(load_take(taken), 0.8)).render(6, {"p08": 1.5}, {}, view="full")
    assert np.array_equal(read_image(out.parent / "07.png"), expected[..., :3])


def test_capture_names_what_is_wrong(
    video: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "take.json"
    text, empty = tmp_path / "text.mp4", tmp_path / "empty.mp4"
    text.write_text("no video")
    write_video(empty, [disc_photo(x=-500)] * 3, Fraction(25))
    gone = tmp_path / "gone.mp4"
    assert refused(capsys, "capture", gone, "--out", out, *options) == f"lpmm capture: error: {gone}: no such file"
    assert f"{text}: not a video that can be read" in refused(capsys, "capture", text, "--out", out, *options)
    assert f"{empty}: no face found in any of 3" in refused(capsys, "capture", empty, "--out", out, *options)
    assert "has no frame from 9 s on" in refused(capsys, "capture", video, "--out", out, "--start", "9", *options)
    assert "is not after --start" in refused(
        capsys, "capture", video, "--out", out, "--start", "2", "--end", "1", *options
    )
    assert "a take is a .json file" in refused(capsys, "capture", video, "--out", tmp_path / "x.mp4", *options)
    assert not out.exists()


def test_a_take_outlives_new_controls_and_no_new_landmark_model(take: Take, engine: Engine) -> None:
    bundle, rig = engine.bundle, engine.bundle.rig
    files = bundle.manifest["files"]
    manifest = {**bundle.manifest, "files": {**files, "lpmm.npz": {"sha256": "1" * 64}}}
    new_controls = replace(rig.controls, directions=2.0 * rig.controls.directions)
    check_take(take, replace(bundle, rig=replace(rig, controls=new_controls), manifest=manifest), "take.json")
    new_model = replace(rig.model, sigma=np.float32(1.01) * rig.model.sigma)
    with pytest.raises(TakeError, match="captured with another LPMM"):
        check_take(take, replace(bundle, rig=replace(rig, model=new_model)), "take.json")
    # Takes of before name the file that holds both.
    by_file = {"pose_encoder.onnx": take.models["pose_encoder.onnx"], "lpmm.npz": files["lpmm.npz"]["sha256"]}
    older = replace(take, models=by_file)
    check_take(older, bundle, "take.json")
    with pytest.raises(TakeError, match="another LPMM"):
        check_take(older, replace(bundle, manifest=manifest), "take.json")


def test_render_refuses_a_take_that_does_not_fit(
    take: Take, photo_file: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path, curves = tmp_path / "take.json", tmp_path / "c.json"
    save_take(take, path)
    curves.write_text(json.dumps({"fps": 25, "channels": {"p01": [0, 1]}}))
    argv = ["render", photo_file, "--take", path, "--out", tmp_path / "%d.png", *options]
    assert "2 frames at 25 a second do not fit" in refused(capsys, *argv, "--curves", curves)
    assert "has no frame 3, only 0 to 2" in refused(capsys, *argv, "--relative", "--reference", "3")
    content = json.loads(path.read_text())
    content["models"]["pose_encoder.onnx"] = "0" * 64
    path.write_text(json.dumps(content))
    line = refused(capsys, *argv)
    assert line == f"lpmm render: error: {path}: captured with another pose_encoder.onnx (of tiny 1); capture it again"
    assert main([str(part) for part in argv] + ["--drive-by", "params"]) == 0, "params do not rest on the encoder"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda c: c.update(format="lpmm-curves"), '"format" is not "lpmm-take"'),
        (lambda c: c.update(format_version=2), "a take of version 2, not 1"),
        (lambda c: c.update(extra=1), "unknown key 'extra'"),
        (lambda c: c.update(fps=0), '"fps" is 0'),
        (lambda c: c.update(frames=[]), '"frames" is empty'),
        (lambda c: c["frames"][1].pop("seen"), "frame 1 is none"),
        (lambda c: c["frames"][1]["params"].pop(), '"params" of frame 1'),
        (lambda c: c["frames"][2]["pose_latent"].__setitem__(0, float("nan")), '"pose_latent" of frame 2'),
        (lambda c: c["frames"][0]["head"].pop("yaw"), '"head" of frame 0'),
    ],
)
def test_a_file_that_is_no_take_is_named_with_its_fault(take: Take, tmp_path: Path, damage: Any, said: str) -> None:
    path = tmp_path / "take.json"
    save_take(take, path)
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(TakeError) as caught:
        load_take(path)
    assert str(path) in str(caught.value) and said in str(caught.value)


def test_a_phones_uneven_frames_come_at_a_constant_rate() -> None:
    picture = np.zeros((1, 1, 3), np.uint8)
    frames = [VideoFrame(n, seconds, picture) for n, seconds in enumerate([0, 0.034, 0.066, 0.21, 0.212, 0.233])]
    ticks = list(at_rate(frames, Fraction(30)))
    assert [tick.number for tick in ticks] == list(range(8))
    assert usual_rate(Fraction(2997, 100)) == Fraction(30000, 1001)
    assert usual_rate(Fraction(24)) == 24 and usual_rate(Fraction(17)) == 17 and usual_rate(None) == 25


def test_frames_are_read_back_as_they_were_written(video: Path) -> None:
    with open_video(video) as opened:
        frames = list(opened.frames())
        assert opened.frame_count == COUNT and opened.fault is None
    assert [frame.number for frame in frames] == list(range(COUNT))
    assert frames[2].seconds == pytest.approx(2 * 1001 / 30000, abs=1e-4)
    original = disc_photo(x=132, diameter=72).astype(int)
    assert np.abs(frames[2].pixels.astype(int) - original).mean() < 4
