# SPDX-License-Identifier: GPL-3.0-or-later
"""The evaluation on real graphs: the default bundle, and the same with an LP-adaptor that says nothing."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from lpmm_runtime.bundle import DEFAULT_BUNDLE, load_bundle, write_manifest
from lpmm_runtime.crop import face_box
from lpmm_runtime.engine import Engine
from lpmm_runtime.portrait import read_image, resize
from lpmm_runtime.video import write_png
from training.__main__ import main
from training.evaluation.control_scores import background_change, expressions, head_angles, mouth, rest_fidelity
from training.evaluation.control_summary import head_summary
from training.evaluation.drives import LandmarkDrive, subgraph
from training.evaluation.generator_scores import HeldOutPairs, region_masks, score_pairs, scored
from training.evaluation.independent_reader import MESH_OF_68, BundleReader, FaceMeshReader, ReaderError, aligned_box
from training.evaluation.landmark_scores import LabelledFaces, reading_as_shipped, truncation
from training.evaluation.measures import LARGEST_PSNR, interocular
from training.evaluation.rivals import Rivals, TruePair, moved, rivals_of
from training.evaluation.step import PORTRAITS
from training.evaluation.subjects import READ_SIDE, Subject
from training.evaluation.true_heads import true_heads
from training.shards import ShardPlan, make_shards, read_all

pytestmark = pytest.mark.skipif(not (DEFAULT_BUNDLE / "bundle.json").is_file(), reason="no default bundle here")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load_bundle(), "cpu", 1)


@pytest.fixture(scope="module")
def still_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default bundle with D ≡ 0: a rig whose sliders move nothing."""
    folder = Path(shutil.copytree(DEFAULT_BUNDLE, tmp_path_factory.mktemp("bundle") / "still"))
    manifest = json.loads((folder / "bundle.json").read_text("utf-8"))
    k, w = manifest["k"], manifest["backbone"]["latent_size"]
    zero = onnx.numpy_helper.from_array(np.zeros((k, w), np.float32), "zero")
    node = onnx.helper.make_node("MatMul", ["params", "zero"], ["pose_offset"])
    tensors = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", size])
        for name, size in (("params", k), ("pose_offset", w))
    ]
    graph = onnx.helper.make_graph([node], "still", tensors[:1], tensors[1:], [zero])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, folder / "lp_adaptor.onnx")
    kept = {key: value for key, value in manifest.items() if key not in ("files", "format", "format_version")}
    write_manifest(folder, kept)
    return folder


@pytest.fixture(scope="module")
def still(still_bundle: Path) -> Subject:
    return subject_of(Engine(load_bundle(still_bundle), "cpu", 1))


@pytest.fixture(scope="module")
def subject(engine: Engine) -> Subject:
    return subject_of(engine)


def subject_of(engine: Engine) -> Subject:
    path = sorted(PORTRAITS.glob("*.jpg"))[0]
    return Subject(path.stem, False, engine, engine.create_character(read_image(path)), BundleReader(engine))


@pytest.fixture(scope="module")
def data(toy_kit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Test shards of toy people."""
    folder = tmp_path_factory.mktemp("data")
    make_shards(ShardPlan(toy_kit, folder, "faces", "test", 160, 1, 1, 6), workers=1)
    make_shards(ShardPlan(toy_kit, folder, "groups", "test", 128, 1, 1, 2), workers=1)
    return folder


@pytest.fixture(scope="module")
def pairs(data: Path) -> HeldOutPairs:
    return HeldOutPairs(read_all(data, "groups", "test"))


def test_sliders_that_move_nothing_score_nothing(still: Subject) -> None:
    rest = still.rest_read
    assert rest is not None
    for entry in head_summary(head_angles(still, rest), {}).values():
        assert entry["gain"] == pytest.approx(0.0, abs=1e-6) and entry["within_3"] == 0.0
    assert mouth(still, rest)["opened"] == pytest.approx(0.0, abs=1e-6)
    for scores in expressions(still, rest).values():
        assert scores["motion"] == pytest.approx(0.0, abs=1e-4) and scores["leakage"] is None
    assert all(row["by_matte"] == 0.0 for row in background_change(still))


def test_sliders_that_move_the_head_are_read_with_their_sign(subject: Subject) -> None:
    rest = subject.rest_read
    assert rest is not None
    for name, entry in head_summary(head_angles(subject, rest), {}).items():
        assert entry["gain"] > 0.4, name
    assert mouth(subject, rest)["opened"] > 0.1
    assert rest_fidelity(subject)["psnr"] > 40


def test_a_frame_that_is_drawn_shifted_is_no_rest(subject: Subject) -> None:
    spoilt = Subject("spoilt", False, subject.engine, subject.character, subject.reader)
    spoilt.__dict__["rest"] = np.roll(subject.rest, 3, axis=1)
    assert rest_fidelity(spoilt)["psnr"] < 35


def test_copying_scores_what_a_still_rig_scores(still: Subject, pairs: HeldOutPairs) -> None:
    scores, _ = score_pairs(still.engine, pairs, 4)
    assert scores["unread"] == 0
    for name in ("params", "nowhere"):
        for region, value in scores["copy"]["psnr"].items():
            assert scores[name]["psnr"][region] == pytest.approx(value, abs=1e-6)
    assert scores["pose_latent"]["psnr"]["whole"] != pytest.approx(scores["copy"]["psnr"]["whole"], abs=1e-3)


def test_the_exact_motion_beats_copying_and_its_reverse_does_not(pairs: HeldOutPairs) -> None:
    off: dict[str, float] = {}
    for _, pair in pairs.chosen(4):
        pictures = rivals_of(pair).pictures | {"reversed": moved(pair.source, -pair.flow)}
        seen = pair.visible & (pair.layer > 0)
        for name, picture in pictures.items():
            off[name] = off.get(name, 0.0) + float(np.abs(picture.astype(float) - pair.target)[seen].mean())
    assert off["exact_flow"] < 0.8 * off["copy"] < 0.8 * off["reversed"]
    assert off["landmark_warp"] < off["copy"]


def test_a_perfect_frame_and_a_perfect_flow_score_perfectly_and_none_other_does(pairs: HeldOutPairs) -> None:
    _, pair = pairs.chosen(1)[0]
    scores = scored(
        Rivals({"true": pair.target, "copy": pair.source}, {"true": pair.flow, "copy": 0 * pair.flow}), pair
    )
    assert all(value == LARGEST_PSNR for value in scores["true"]["psnr"].values())
    assert all(value == pytest.approx(1.0) for value in scores["true"]["ssim"].values())
    assert all(value == 0.0 for value in scores["true"]["flow_px"].values())
    assert scores["copy"]["psnr"]["face"] < 40 and scores["copy"]["flow_px"]["face"] > 0.5
    shifted = Rivals({"true": pair.target}, {"true": pair.flow + np.array([3 / pair.side, 4 / pair.side], np.float32)})
    assert scored(shifted, pair)["true"]["flow_px"]["face"] == pytest.approx(5.0, abs=1e-3)


def test_regions_lie_where_they_are_called(pairs: HeldOutPairs) -> None:
    for _, pair in pairs.chosen(4):
        masks = region_masks(pair)
        assert not (masks["background"] & (pair.layer == 1)).any()
        assert (masks["face"] & masks["eyes_and_mouth"]).sum() / masks["eyes_and_mouth"].sum() > 0.9
        x, y = (pair.target_landmarks[[62, 37]] * pair.side).astype(int).T
        assert masks["eyes_and_mouth"][y, x].all()


def test_a_region_swapped_for_another_changes_the_scores(pairs: HeldOutPairs) -> None:
    _, pair = pairs.chosen(1)[0]
    masks = region_masks(pair)
    spoilt = pair.target.copy()
    # In profile the hull of an eye reaches a little beyond the head.
    spoilt[masks["background"] & ~masks["eyes_and_mouth"]] //= 2
    scores = scored(Rivals({"spoilt": spoilt}, {}), pair)["spoilt"]["psnr"]
    assert scores["background"] < 25 and scores["eyes_and_mouth"] == LARGEST_PSNR


def test_the_generator_is_driven_to_the_landmarks_it_is_given(engine: Engine, pairs: HeldOutPairs) -> None:
    assert LandmarkDrive.available(engine)
    drive = LandmarkDrive(engine)
    _, pair = pairs.chosen(2)[1]
    stays = TruePair(
        pair.source,
        pair.source,
        pair.source_alpha,
        pair.source_alpha,
        pair.source_landmarks,
        pair.source_landmarks,
        pair.source_irises,
        pair.source_irises,
        0 * pair.flow,
        pair.visible,
        pair.layer,
    )
    frame, alone, _, residual = drive.render(stays)
    assert residual < 0.002
    assert np.abs(frame.astype(int) - pair.source).mean() < 3
    assert alone is not None and np.abs(alone.astype(int) - pair.source).mean() < 3
    _, alone, _, residual = drive.render(pair)
    assert alone is not None and np.abs(alone.astype(int) - pair.source).mean() > 3
    apart = np.linalg.norm(pair.target_landmarks - pair.source_landmarks, axis=-1).mean()
    assert residual < 0.5 * apart


def test_a_part_of_the_generator_says_what_the_whole_says(engine: Engine) -> None:
    part = subgraph(engine.bundle.graph("generator"), "landmarks")
    onnx.checker.check_model(part)
    assert len(part.graph.node) < len(onnx.load(engine.bundle.graph("generator")).graph.node)


def test_labels_moved_at_the_mouth_cost_at_the_mouth(engine: Engine, data: Path) -> None:
    faces = LabelledFaces.of_shard(read_all(data, "faces", "test"), 6)
    scores = reading_as_shipped(engine, faces)
    assert scores["reading"]["all"] > 0
    # Labels with the mouth half the eyes' distance lower: the reading is off by so much more there, if the
    # reader looks at the picture and not at the labels.
    lowered = faces.landmarks.copy()
    lowered[:, 48:68, 1] += 0.5 * interocular(lowered)[:, None]
    box_kept = LabelledFaces(faces.images, lowered, faces.angles)
    wrong = reading_as_shipped(engine, box_kept)
    assert wrong["reading"]["mouth"] > scores["reading"]["mouth"] + 20


def test_more_components_cost_less_and_all_cost_nothing(engine: Engine, data: Path) -> None:
    faces = LabelledFaces.of_shard(read_all(data, "faces", "test"), 6)
    scores = truncation(engine.bundle.rig.model, faces.landmarks)
    errors = [scores[k]["all"] for k in ("5", "10", "20", "40", "136")]
    assert errors == sorted(errors, reverse=True) and errors[-1] == 0.0


@pytest.fixture
def labelled_photos(data: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Photographs and labels as the command line takes them: toy people, drawn larger."""
    arrays = read_all(data, "faces", "test")
    faces = []
    for row in range(4):
        write_png(tmp_path / f"{row}.png", np.ascontiguousarray(resize(arrays["images"][row], 480, 480)))
        points: NDArray[np.float64] = arrays["landmarks"][row].astype(np.float64) * 480
        faces.append({"image": f"{row}.png", "box": list(face_box(points)), "landmarks": (points - 0.5).tolist()})
    labels = tmp_path / "landmarks.json"
    labels.write_text(json.dumps({"faces": faces}), "utf-8")
    return tmp_path, labels


def test_a_true_head_does_what_it_is_told_and_nothing_else(toy_kit: Path, subject: Subject) -> None:
    (head,) = true_heads(toy_kit, subject.reader, 1, 3)
    again = true_heads(toy_kit, subject.reader, 1, 3)[0]
    assert np.array_equal(head.rest, again.rest) and head.person.glasses is None
    assert {control.name for control in head.controls} == set(subject.engine.bundle.rig.control_names)

    def changed(controls: dict[str, float]) -> NDArray[np.float64]:
        change = np.abs(head.crop(controls).astype(np.float64) - head.rest).mean(axis=-1)
        return change.reshape(4, len(change) // 4, -1).mean(axis=(1, 2))

    top, upper, lower, bottom = changed({"jawOpen": 1.0})
    assert max(lower, bottom) > 3.0 * max(top, upper, 0.01)
    assert changed({"headYaw": 25.0}).min() > 0.05


@pytest.mark.timeout(900)
def test_the_command_writes_figures_and_one_page_that_needs_nothing_else(
    data: Path, toy_kit: Path, labelled_photos: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "report"
    photos, labels = labelled_photos
    portrait = sorted(PORTRAITS.glob("*.jpg"))[0]
    arguments = ["evaluate", "--bundle", str(DEFAULT_BUNDLE), "--out", str(out), "--data", str(data)]
    arguments += ["--kit", str(toy_kit), "--photos", str(photos), "--labels", str(labels), "--portraits", str(portrait)]
    assert main([*arguments, "--size", "toy", "--threads", "1"]) == 0
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert {"bundle", "reader", "landmarks", "generator", "photographs", "controls", "speed", "targets"} <= set(report)
    assert report["photographs"]["photos"] == 4 and report["controls"]["subjects"] == 2
    truth = report["true_heads"]
    assert truth["subjects"] == 1 and set(truth["controls"]) == set(report["controls"]["controls"])
    measured = [line for line in report["targets"] if line["measured"] is not None]
    assert len(measured) > 15
    for line in measured:
        reached = line["measured"] <= line["wanted"] if line["way"] == "at most" else line["measured"] >= line["wanted"]
        assert line["met"] == reached
    page = (out / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == len(report["sheets"])
    assert 'src="http' not in page and '.jpg"' not in page


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--bundle", "{tmp}"], "bundle.json"),
        (["--bundle", "{bundle}", "--data", "{tmp}", "--only", "landmarks"], "holds no faces shards"),
        (["--bundle", "{bundle}", "--labels", "{tmp}/labels.json"], "labels.json"),
        (["--bundle", "{bundle}", "--portraits", "{tmp}/nobody.png"], "nobody.png"),
        (["--bundle", "{bundle}", "--reader-python", "{tmp}/python"], "cannot be started"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [argument.format(tmp=tmp_path, bundle=DEFAULT_BUNDLE) for argument in arguments]
    assert main(["evaluate", "--out", str(tmp_path / "out"), "--size", "toy", *filled]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("training: ") and named in lines[0]


def test_labels_that_are_none_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "landmarks.json").write_text('{"faces": [{"image": "a.jpg", "box": [1, 2, 3]}]}', "utf-8")
    arguments = ["evaluate", "--bundle", str(DEFAULT_BUNDLE), "--out", str(tmp_path / "out"), "--photos", str(tmp_path)]
    assert main(arguments) == 1
    assert "face 0: needs image, box and landmarks" in capsys.readouterr().err


def test_every_landmark_has_its_place_in_the_mesh() -> None:
    assert len(MESH_OF_68) == 68
    alone = [indices for indices in MESH_OF_68 if len(indices) == 1]
    assert len(set(alone)) == len(alone)


def test_a_python_without_mediapipe_is_no_reader() -> None:
    if importlib.util.find_spec("mediapipe") is not None:
        pytest.skip("mediapipe is here")
    with pytest.raises(ReaderError, match="No module named 'mediapipe'") as caught:
        FaceMeshReader(sys.executable)
    assert "\n" not in str(caught.value)


def test_the_face_mesh_reads_a_portrait(engine: Engine) -> None:
    pytest.importorskip("mediapipe", reason="the independent reader is not installed")
    subject = subject_of(engine)
    with FaceMeshReader() as reader:
        read = reader.read(subject.rest, aligned_box(READ_SIDE))
        assert read is not None
        own = BundleReader(engine).read(subject.rest, aligned_box(READ_SIDE))
        assert own is not None
        # Two readers of one face agree roughly, point by point and not only as a cloud.
        assert np.linalg.norm(read.landmarks - own.landmarks, axis=-1).mean() < 0.05 * READ_SIDE
        assert reader.turned(read, read) == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)
