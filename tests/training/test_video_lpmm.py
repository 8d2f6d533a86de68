# SPDX-License-Identifier: GPL-3.0-or-later
"""From the frames of videos: an LPMM of their own, an LP-regressor, and a rig whose sliders still do what they did."""

import json
from dataclasses import replace
from pathlib import Path

import made_up_faces
import numpy as np
import pytest
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from lpmm_runtime.bundle import DEFAULT_BUNDLE, load_bundle
from lpmm_runtime.engine import Engine
from lpmm_runtime.portrait import read_image
from training import landmark_model
from training.__main__ import main
from training.rebase import Rebase
from training.video_lpmm import aligned
from training.videos.clips import ClipFrame
from training.videos.frame_shards import ShardEntry, ShardWriter, held_out_split, open_frames, write_index
from training.videos.visible_faces import FaceSample

pytestmark = pytest.mark.skipif(not (DEFAULT_BUNDLE / "bundle.json").is_file(), reason="carries its sliders over")
PORTRAIT = DEFAULT_BUNDLE.parents[1] / "portraits" / "ada.jpg"
PEOPLE, EACH = 6, 40


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames as `prepare` writes them, of made-up people who move as the default LPMM does, but less to the sides."""
    folder = tmp_path_factory.mktemp("frames")
    model, whole = load_bundle().rig.model, (0, 0, 256, 256)
    entries: list[ShardEntry] = []
    for person in range(PEOPLE):
        made = made_up_faces.faces(EACH, side=256, seed=person)
        params = np.random.default_rng(person).standard_normal((EACH, model.k), np.float32)
        params[:, 0] *= 0.6
        writer = ShardWriter(folder, f"video{person}", f"id{person}", [f"{person}.mp4"], per_shard=25, coding="jpeg")
        for number, (picture, points) in enumerate(
            zip(made["images"], model.landmarks(params)[:, : landmarks68.COUNT], strict=True)
        ):
            landmarks = (0.7 * points + 0.15).astype(np.float32)
            sample = FaceSample(picture, landmarks, whole, whole, whole, 0.9)
            writer.add(ClipFrame(0, 0, number, number / 25, sample))
        writer.flush()
        entries += writer.entries
    write_index(folder, iter(entries))
    return folder


@pytest.fixture(scope="module")
def run(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    assert main(["lpmm", "--data", str(frames), "--out", str(out), *OPTIONS]) == 0
    return out


OPTIONS = ["--size", "64", "--width", "0.25", "--steps", "30", "--batch", "8", "--rate", "1e-2"]


def of_frames(frames: Path) -> NDArray[np.float32]:
    return np.concatenate(list(aligned(open_frames(frames)["landmarks"])))


def test_landmarks_in_parts_give_the_model_of_them_all(frames: Path) -> None:
    faces = of_frames(frames)
    whole, parts = landmark_model.fit(faces, 20), landmark_model.fit_parts(np.array_split(faces, 7), 20)
    assert np.allclose(parts.mean, whole.mean, atol=1e-6) and np.allclose(parts.sigma, whole.sigma, rtol=1e-4)
    for face in faces[:5]:
        assert np.allclose(parts.landmarks(parts.params(face)), whole.landmarks(whole.params(face)), atol=1e-4)


def test_everybodys_frames_are_on_one_side_and_stay_there(frames: Path) -> None:
    entries = [
        ShardEntry(f"{shard}.npz", f"v{person}", f"id{person}", 5, 1, 1, "") for person in range(200) for shard in "ab"
    ]
    train, test = held_out_split(entries)
    people = [{entry.speaker for entry in part} for part in (train, test)]
    assert not people[0] & people[1] and 2 <= len(people[1]) <= 30
    fewer = held_out_split(entries[:100])
    assert {e.speaker for e in fewer[0]} <= people[0] and {e.speaker for e in fewer[1]} <= people[1]
    unnamed = [replace(entry, speaker="") for entry in entries[:4]]
    assert len(held_out_split(unnamed)[1]) == 2
    with pytest.raises(ValueError, match="at least two"):
        held_out_split(unnamed[:2])


def test_the_lpmm_is_that_of_the_videos(run: Path, frames: Path) -> None:
    bundle = load_bundle(run / "bundle", graphs=True)
    theirs, shipped = bundle.rig.model, load_bundle().rig.model
    faces = of_frames(frames)
    own = landmarks68.interocular_nme(theirs.landmarks(theirs.params(faces)), faces).mean()
    assert own < 1.0
    assert theirs.sigma[0] < 0.7 * shipped.sigma[0], "these heads turn less"
    card = bundle.manifest["model_card"]
    assert f"{PEOPLE * EACH} frames of {PEOPLE} speakers" in card["data"]
    assert card["scores"]["truncation_nme"]["136"] < card["scores"]["truncation_nme"]["5"]
    assert card["scores"]["lp_regressor"]["step"] == 30
    assert bundle.rig.component_names[0] == "yaw"


def test_the_sliders_say_of_the_new_params_what_they_said_of_the_old(run: Path) -> None:
    old, new = load_bundle().rig, load_bundle(run / "bundle").rig
    for values in ({"jawOpen": 0.5}, {"eyeBlinkLeft": 1.0}, {"headYaw": 15.0, "headRoll": 8.0}):
        before, after = (rig.controls.offset(values, np.zeros(rig.k, np.float32)) for rig in (old, new))
        moved = [
            (rig.model.landmarks(offset) - rig.model.landmarks(0 * offset))[: landmarks68.COUNT]
            for rig, offset in ((old, before), (new, after))
        ]
        assert np.abs(moved[0]).max() > 0.01
        assert np.linalg.norm(moved[1] - moved[0]) < 0.25 * np.linalg.norm(moved[0]), values
    angles = new.controls.head_angles(new.controls.offset({"headYaw": 15.0}, np.zeros(new.k, np.float32)))
    assert angles[0] - new.controls.head_angles(np.zeros(new.k, np.float32))[0] == pytest.approx(15.0, abs=3.0)


def test_the_adaptor_gives_the_latents_of_the_same_face(run: Path, frames: Path) -> None:
    engines = [Engine(bundle, "cpu", 1) for bundle in (load_bundle(), load_bundle(run / "bundle"))]
    old, new = (engine.bundle.rig.model for engine in engines)
    faces = of_frames(frames)[:20]
    answers = [
        engine.sessions.run("lp_adaptor", {"params": model.likeliest_params(faces)})["pose_offset"]
        for engine, model in zip(engines, (old, new), strict=True)
    ]
    rebased = engines[0].sessions.run("lp_adaptor", {"params": Rebase(old, new).old_params(new.params(faces))})
    np.testing.assert_allclose(answers[1], rebased["pose_offset"], atol=1e-4)
    spread = answers[0].std(axis=0).mean()
    assert np.abs(answers[1] - answers[0]).mean() < 0.25 * spread


def test_the_bundle_draws(run: Path) -> None:
    engine = Engine(load_bundle(run / "bundle"), "cpu", 1)
    photo = read_image(PORTRAIT)
    box = Engine(load_bundle(), "cpu", 1).read_face(photo).box
    reading = Engine(load_bundle(), "cpu", 1).read_face(photo)
    # A regressor of thirty steps knows next to nothing: only that the bundle is whole is seen here.
    assert reading.params.shape == (40,)
    character = engine.create_character(photo, box)
    turned = character.params + engine.bundle.rig.controls.offset({"headYaw": 15.0}, character.params)
    rest, moved = (engine.render(character, params) for params in (character.params, turned))
    assert np.abs(rest.astype(int) - moved).mean() > 1


def test_a_report_measures_on_frames_and_says_what_they_do_not_tell(frames: Path, tmp_path: Path) -> None:
    arguments = ["--bundle", str(DEFAULT_BUNDLE), "--data", str(frames), "--out", str(tmp_path), "--size", "toy"]
    items = ["--only", "table1", "fig4", "ablation", "--portraits", str(PORTRAIT), "--threads", "1"]
    assert main(["report", *arguments, *items]) == 0
    found = json.loads((tmp_path / "report.json").read_text("utf-8"))["items"]
    assert found["table1"]["faces"] == 24
    assert 0 < found["table1"]["truth_cut"]["40"]["all"] < found["table1"]["truth_cut"]["5"]["all"]
    assert all(len(found[key]["missing"]) == 1 for key in ("fig4", "ablation"))


def test_a_folder_is_not_gone_on_with_for_other_frames_and_bad_input_is_one_line(
    run: Path, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tmp_path / "one"
    one.mkdir()
    lines = (frames / "index.jsonl").read_text("utf-8").splitlines()
    (one / "index.jsonl").write_text("\n".join(line for line in lines if "id0" in line or "format" in line) + "\n")
    log = json.loads((run / "lp_regressor.jsonl").read_text("utf-8").splitlines()[-1])
    cases = [
        (["--data", str(frames), "--out", str(run), *OPTIONS, "--k", "30"], "another --out"),
        (["--data", str(one), "--out", str(tmp_path / "out")], "at least two"),
        (["--data", str(tmp_path), "--out", str(tmp_path / "out")], "index.jsonl: no such file"),
        (["--data", str(frames), "--out", str(tmp_path / "out"), "--k", "3"], "6 to 136"),
    ]
    for arguments, message in cases:
        assert main(["lpmm", *arguments]) == 1
        error = capsys.readouterr().err.strip()
        assert message in error and "\n" not in error, error
    assert json.loads((run / "lp_regressor.jsonl").read_text("utf-8").splitlines()[-1]) == log
