# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a bundle that has just been trained at toy size, and the parts that it is made of."""

import copy
import html
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from lpmm_runtime.bundle import load_bundle
from lpmm_runtime.engine import Engine
from training.__main__ import main
from training.adaptor import Readings
from training.evaluation.independent_reader import BundleReader
from training.evaluation.landmark_scores import LabelledFaces, ReaderByK, reading_by_k
from training.evaluation.step import PORTRAITS
from training.generator import GroupData
from training.paper.adaptor_items import MORPH, SAME, RiggedSubject, groups_of, make
from training.paper.adaptor_training import FULL, LATENT, MORPH_NAMES, NO_REGULARISER, Budget, SmallTrainings
from training.paper.bundle_head import BundleHead
from training.paper.landmark_items import fig4, table1
from training.paper.pose_items import fig8
from training.paper.step import ITEMS
from training.paper.studio import HeldOut, Studio, character_of_face
from training.paper.torch_graph import TorchGraph, UnknownOperatorError
from training.shards import read_all
from training.synth.samples import CONTROL_NAMES

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def engine(toy_run: Path) -> Engine:
    return Engine(load_bundle(toy_run / "bundle"), "cpu", 1)


@pytest.fixture(scope="module")
def held_out(toy_run: Path) -> HeldOut:
    arrays = read_all(toy_run / "data", "faces", "test")
    return HeldOut(arrays, LabelledFaces.of_shard(arrays, 24))


@pytest.fixture(scope="module")
def studio(engine: Engine, held_out: HeldOut) -> Studio:
    people = [character_of_face(engine, held_out, row, f"face {row}") for row in range(2)]
    return Studio(engine, BundleReader(engine), people, people[:1], held_out)


@pytest.fixture(scope="module")
def head(engine: Engine) -> BundleHead:
    return BundleHead(engine.sessions)


@pytest.fixture(scope="module")
def groups(toy_run: Path) -> GroupData:
    return GroupData(read_all(toy_run / "data", "groups", "train"))


@pytest.fixture(scope="module")
def trainings(engine: Engine, head: BundleHead, toy_run: Path) -> SmallTrainings:
    arrays = read_all(toy_run / "data", "faces", "train")
    return SmallTrainings(engine.sessions, head, arrays, Budget(60, 2, 2, 24, 5))


def identity_and_latents(head: BundleHead, groups: GroupData) -> tuple[object, torch.Tensor]:
    images = torch.from_numpy(groups.images[0, :2]).permute(0, 3, 1, 2).float() / 255.0
    latents = head.encode_pose(images)
    return head.identify(images[:1], torch.from_numpy(groups.landmarks[0, :1]), latents[:1]), latents


def test_the_graph_in_torch_says_what_onnxruntime_says(engine: Engine, head: BundleHead, groups: GroupData) -> None:
    identity, latents = identity_and_latents(head, groups)
    feeds = {name: value.numpy() for name, value in identity.features.items()} | {"pose_latent": latents[1:].numpy()}
    expected = engine.sessions.run(
        "generator", {name: feeds[name] for name in engine.sessions.input_names("generator")}
    )
    graph = TorchGraph(engine.bundle.graph("generator"))
    found = graph({name: torch.from_numpy(feeds[name]) for name in graph.inputs})
    for name, truth in expected.items():
        assert np.abs(found[name].numpy() - truth).max() < 5e-3, name


def test_a_picture_is_drawn_differentiably_and_is_the_portrait_at_its_own_latent(
    head: BundleHead, groups: GroupData
) -> None:
    identity, latents = identity_and_latents(head, groups)
    rest = head.draw(identity, latents[:1])
    picture = torch.from_numpy(groups.images[0, 0]).permute(2, 0, 1).float() / 255.0
    # An untrained matte blurs the background; where it says head, the portrait stands.
    head_there = groups.alpha[0, 0] > 250
    assert float((rest[0] - picture).abs().mean(dim=0)[torch.from_numpy(head_there)].mean()) < 0.12
    latent = latents[1:].clone().requires_grad_(True)
    drawn = head.draw(identity, latent)
    weights = torch.linspace(0, 1, drawn.numel()).reshape(drawn.shape)
    (drawn * weights).sum().backward()
    row = int(latent.grad[0].abs().argmax())
    step = torch.zeros_like(latents[1:])
    step[0, row] = 1e-2
    with torch.no_grad():
        change = ((head.draw(identity, latents[1:] + step) - head.draw(identity, latents[1:] - step)) * weights).sum()
    assert float(change) == pytest.approx(2e-2 * float(latent.grad[0, row]), rel=0.1)


def test_a_graph_with_an_operator_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    tensor = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])
    answer = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 4])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Erf", ["x"], ["y"])], "odd", [tensor], [answer])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "odd.onnx")
    with pytest.raises(UnknownOperatorError, match=r"odd\.onnx: Erf"):
        TorchGraph(tmp_path / "odd.onnx")


def test_the_regressor_uncut_reads_what_its_params_are_fitted_to(engine: Engine, held_out: HeldOut) -> None:
    scores = reading_by_k(engine, held_out.faces)
    assert list(scores) == ["5", "10", "20", "40", "136"]
    model = engine.bundle.rig.model
    read = ReaderByK(engine).read(held_out.faces.images[0], held_out.faces.landmarks[0])
    # What 40 components leave of the uncut landmarks is none of theirs: both are in one crop, placed alike.
    off = (read[136] - read[40]).reshape(-1) / np.linalg.norm(read[40][0] - read[40][16])
    assert np.abs(model.eigenvectors[:, : len(off)] @ off).max() < 0.05 * np.abs(off).max() * np.sqrt(len(off))


def test_eyes_that_are_shut_look_the_more_shut_the_more_components_are_kept(studio: Studio) -> None:
    found = studio.held_out
    assert found is not None
    rows = np.arange(len(found.faces.images))
    shut = {name: array.copy() for name, array in found.arrays.items()}
    shut["controls"][: len(rows), [CONTROL_NAMES.index(f"eyeBlink{side}") for side in ("Left", "Right")]] = 0.0
    shut["controls"][: len(rows) // 2, [CONTROL_NAMES.index(f"eyeBlink{side}") for side in ("Left", "Right")]] = 1.0
    points = found.faces.landmarks.copy()
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
        points[: len(rows) // 2, upper] = points[: len(rows) // 2, lower]
    ahead = np.zeros_like(found.faces.angles)
    closed = HeldOut(shut, LabelledFaces(found.faces.images, points, ahead))
    item = fig4(Studio(studio.engine, studio.reader, studio.characters, studio.drivers, closed))
    cut = item.figures["truth_cut"]
    assert item.figures["shut_faces"] == len(rows) // 2
    assert cut["136"] == pytest.approx(0.0, abs=1e-6) and cut["40"] < cut["5"]


def test_the_base_poses_are_drawn_from_their_own_latents(studio: Studio, engine: Engine) -> None:
    item = fig8(studio)
    assert set(item.figures["face 0"]) == {"p_zero", "v̄", "v_zero"}
    person = studio.characters[0]
    own = studio.draw_latent(person, person.pose_latent)
    at_rest = engine.render(person, person.params, view="crop", size=own.shape[0])
    assert np.abs(own.astype(int) - at_rest[..., :3]).mean() < 1.0
    far = studio.draw_latent(person, person.pose_latent + 2.0)
    assert np.abs(far.astype(int) - own).mean() > 1.0


def test_every_training_starts_alike_and_ends_elsewhere(trainings: SmallTrainings) -> None:
    made = trainings.lpmm()
    assert list(made) == [FULL, NO_REGULARISER, LATENT]
    params = torch.from_numpy(trainings.known.params)
    truth = torch.from_numpy(trainings.known.latents - trainings.mean)
    with torch.no_grad():
        answers = {name: network(params) for name, network in made.items()}
    for name, answer in answers.items():
        assert (answer - truth).abs().mean() < truth.abs().mean(), name
    assert not torch.equal(answers[FULL], answers[NO_REGULARISER])


def test_the_3dmm_rig_learns_yaw_from_degrees(trainings: SmallTrainings) -> None:
    taught = copy.copy(trainings)
    taught.budget = replace(trainings.budget, warm_up_steps=300)
    # An encoder of a toy's training says little: one whose latents are the yaw, in twentieths of a degree, stands in.
    yaw = np.asarray(trainings._faces.arrays["angles"][: trainings.face_count, :1], np.float32)
    way = np.linspace(-1.0, 1.0, trainings.known.latents.shape[1], dtype=np.float32)
    taught.known = Readings(trainings.known.params, yaw / 20.0 * way)
    morph = taught.morph()
    assert len(MORPH_NAMES) == len(morph.scale)
    moved = morph.offset_of({"headYaw": 20.0}) - morph.offset_of({"headYaw": -20.0})
    assert float(moved @ way) > 0.7 * float(np.linalg.norm(moved) * np.linalg.norm(way))
    assert 0.7 < float(np.linalg.norm(moved) / np.linalg.norm(2.0 * way)) < 1.3
    # However few faces there are, a control that none of them uses does not blow a face up.
    unused = morph.scale == morph.scale.min()
    most = [np.abs(morph.offset_of({name: 1.0}) - morph.offset_of({})).max() for name in np.array(MORPH_NAMES)[unused]]
    assert len(most) and max(most) < 5.0


def test_a_subject_under_another_rig_answers_with_that_rigs_latents(studio: Studio, engine: Engine) -> None:
    person = studio.characters[0]
    asked: list[dict[str, float]] = []

    def latent_of(values: dict[str, float]) -> NDArray[np.float32]:
        asked.append(dict(values))
        return person.pose_latent + np.float32(0.5 * values.get("headYaw", 0.0))

    subject = RiggedSubject("one", False, engine, person, studio.reader, latent_of)
    moved = subject.crop({"headYaw": 3.0})
    assert asked == [{"headYaw": 3.0}]
    assert np.array_equal(moved, studio.draw_latent(person, person.pose_latent + np.float32(1.5)))


def test_faces_are_grouped_by_what_they_show(held_out: HeldOut) -> None:
    groups = groups_of(held_out)
    assert (np.abs(held_out.angles[groups["yaw"], 0]) > 20).all()
    openness = landmarks68.eye_openness(held_out.faces.landmarks)
    for row in groups["winks"]:
        left, right = openness[row]
        assert (left < right) == (held_out.control("eyeBlinkLeft")[row] > held_out.control("eyeBlinkRight")[row])


def test_the_command_writes_every_item_and_one_page(toy_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    arguments = ["--bundle", str(toy_run / "bundle"), "--data", str(toy_run / "data"), "--out", str(out)]
    arguments += ["--portraits", str(sorted(PORTRAITS.glob("*.jpg"))[0])]
    assert main(["report", *arguments, "--size", "toy", "--threads", "1"]) == 0
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert list(report["items"]) == list(ITEMS)
    pictures = [file for item in report["items"].values() for file in item["pictures"]]
    assert {"fig3.jpg", "fig9.jpg", "ablation.jpg"} <= set(pictures) and all(
        (out / file).is_file() for file in pictures
    )
    assert set(report["items"]["table1"]["lp_regressor"]) == {"5", "10", "20", "40", "136"}
    assert {MORPH, SAME} <= set(report["items"]["fig9"]["commanded"])
    assert report["items"]["ablation"]["budget"]["steps"] == 2
    page = html.unescape((out / "report.html").read_text("utf-8"))
    assert page.count("data:image/jpeg;base64,") == len(pictures)
    assert all(item["title"] in page for item in report["items"].values())


def test_what_cannot_be_made_without_data_says_so(engine: Engine) -> None:
    alone = Studio(engine, BundleReader(engine), [], [], None)
    items = [table1(alone), fig4(alone), *make(["fig9", "ablation"], alone, None, Budget(1, 1, 1, 1, 1))]
    assert all(len(item.missing) == 1 and "--data" in item.missing[0] and not item.figures for item in items)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--data", "{tmp}"], "holds no faces shards"),
        (["--photo", "{tmp}/nobody.png"], "nobody.png"),
        (["--drive", "{tmp}/nobody.png"], "nobody.png"),
        (["--steps", "-1"], "--steps -1"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: list[str], named: str, toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [argument.format(tmp=tmp_path) for argument in arguments]
    start = ["report", "--bundle", str(toy_run / "bundle"), "--out", str(tmp_path / "out")]
    assert main([*start, *filled]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("training: ") and named in lines[0]
