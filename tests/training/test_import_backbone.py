# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints become bundles whose graphs agree with the goldens, which the runtime draws with, and whose LP-adaptor
trains.
"""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from filled_weights import golden, lpd_embedder, lpd_generator, picture, unit_batch
from importing import Published, import_bundle, train_adaptor
from numpy.typing import NDArray

from lpmm_runtime.bundle import DEFAULT_BUNDLE, load_bundle
from lpmm_runtime.cli import main as lpmm
from lpmm_runtime.client import RuntimeClient, RuntimeProcess
from lpmm_runtime.driving import Drive, Driver
from lpmm_runtime.engine import Engine
from lpmm_runtime.take import Take
from training.__main__ import main
from training.backbones import lpd_backbone
from training.backbones.lpd import lpd_of_states
from training.export import export_graph
from training.paper.bundle_head import BundleHead

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (DEFAULT_BUNDLE / "bundle.json").is_file(), reason="borrows the default bundle's readers"),
]
BOX = (150.0, 130.0, 330.0, 350.0)


@pytest.fixture(scope="module")
def lia(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return import_bundle("lia", tmp_path_factory.mktemp("lia"))[0]


@pytest.fixture(scope="module")
def lpd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuned checkpoint whose running averages are what counts."""
    return import_bundle("lpd-tuned", tmp_path_factory.mktemp("lpd"))[0]


@pytest.fixture(scope="module")
def lia_engine(lia: Path) -> Engine:
    return Engine(load_bundle(lia), device="cpu", threads=2)


@pytest.fixture(scope="module")
def lpd_engine(lpd: Path) -> Engine:
    return Engine(load_bundle(lpd), device="cpu", threads=2)


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(picture("source"), (480, 480), interpolation=cv2.INTER_CUBIC))


def close(found: NDArray, truth: NDArray, most: float = 1e-4, mean: float = 1e-4) -> bool:
    off = np.abs(found - truth)
    return bool(off.max() <= most and off.mean() <= mean)


def test_the_graphs_of_a_lia_import_agree_with_the_goldens(lia_engine: Engine) -> None:
    expected, sessions = golden("lia_256"), lia_engine.sessions
    both = np.concatenate([unit_batch("source").numpy(), unit_batch("driving").numpy()])
    alpha = sessions.run("pose_encoder", {"image": both})["pose_latent"]
    assert close(alpha, np.concatenate([expected["alpha_source"], expected["alpha_driving"]]), 2e-5)
    features = sessions.run("identity_encoder", {"image": both[:1]})
    assert close(features["appearance"], expected["w_source"], 2e-5)
    free = expected["alpha_free"]
    frames = {"abs_sub2": alpha[1:], "free_sub4": free, "rel_sub4": free - alpha[1:] + alpha[:1], "src_sub4": alpha[:1]}
    for name, latent in frames.items():
        step = int(name[-1])
        image = sessions.run("generator", {**features, "pose_latent": latent})["image"]
        # The goldens are in [−1, 1].
        assert close(2 * image[..., ::step, ::step] - 1, expected[f"img_{name}"], 1e-4, 5e-6), name


def test_the_graphs_of_a_fine_tuned_lpd_import_agree_with_the_goldens(lpd_engine: Engine) -> None:
    expected, sessions = golden("lpd_256"), lpd_engine.sessions
    both = np.concatenate([unit_batch("source").numpy(), unit_batch("driving").numpy()])
    pose = sessions.run("pose_encoder", {"image": both})["pose_latent"]
    assert close(pose, np.concatenate([expected["pose_source"], expected["pose_driving"]]))
    own = sessions.run("identity_encoder", {"image": both})["identity"]
    assert np.array_equal(own, np.repeat(expected["identity_embedding_ft"], 2, axis=0))
    cases = {
        "ft_free_sub4": (own[:1], expected["pose_free"]),
        "A_sub2": (expected["id_source"], pose[1:]),
        "B_sub4": (expected["id_mean_src_drv"], pose[:1]),
    }
    for name, (identity, latent) in cases.items():
        step = int(name[-1])
        drawn = sessions.run("generator", {"identity": identity, "pose_latent": latent})
        assert close(drawn["image"][..., ::step, ::step], expected[f"rgb_{name}"]), name
        assert close(drawn["alpha"][..., ::step, ::step], expected[f"segm_{name}"]), name


@pytest.mark.parametrize("kind", ["lia_engine", "lpd_engine"])
def test_an_imported_generator_is_differentiable_without_its_checkpoint(
    kind: str, request: pytest.FixtureRequest
) -> None:
    head = BundleHead(request.getfixturevalue(kind).sessions)
    portrait = unit_batch("source")
    own, driving = head.encode_pose(portrait), head.encode_pose(unit_batch("driving"))
    identity = head.identify(portrait, torch.zeros(1, 68, 2), own)
    plain = head.draw(identity, driving)
    latent = driving.clone().requires_grad_(True)
    drawn = head.draw(identity, latent)
    assert close(drawn.detach().numpy(), plain.numpy(), 1e-3)
    (drawn - head.draw(identity, own)).abs().mean().backward()
    assert latent.grad is not None and float(latent.grad.abs().max()) > 0


def test_an_lpd_identity_is_the_portraits_own_or_the_mean_of_several(tmp_path: Path) -> None:
    expected = golden("lpd_256")
    model = lpd_of_states(lpd_embedder(), lpd_generator(), Path("filled"))
    photos = torch.cat([unit_batch("source"), unit_batch("driving")])
    own = lpd_backbone.backbone_of(model)
    graph = tmp_path / "identity_encoder.onnx"
    # It checks onnxruntime against torch.
    export_graph(own.identity_encoder, graph, {"image": photos}, ["identity"], tolerance=1e-4)
    assert close(own.identify(photos, photos, photos)[0].numpy()[:1], expected["id_source"])
    several = lpd_backbone.backbone_of(model, photos)
    assert close(several.identify(photos[:1], photos, photos)[0].numpy(), expected["id_mean_src_drv"])


@pytest.mark.parametrize("kind", ["lia", "lpd"])
def test_the_runtime_draws_with_it(kind: str, photo, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(f"{kind}_engine")
    character = engine.create_character(photo, box=BOX)
    rest = engine.render(character, character.params, view="full")
    assert np.array_equal(rest[..., :3], photo)
    taken = character.pose_latent + np.float32(0.5)
    driven = {"pose_latent": taken, "influence": 1.0}
    moved = engine.render(character, character.params, view="full", **driven)
    assert np.abs(moved[..., :3].astype(int) - photo).max() > 20
    assert np.array_equal(moved, engine.render(character, character.params, view="full", **driven))
    nearly = character.pose_latent + np.float32(1e-4)
    beside = engine.render(character, character.params, view="full", pose_latent=nearly, influence=1.0)
    assert np.abs(beside[..., :3].astype(int) - photo).mean() < 2, "the photo gives way at once"
    assert (rest[..., 3] < 255).any() == (kind == "lpd")


def test_the_licence_is_shown(lia: Path, lpd: Path, capsys: pytest.CaptureFixture) -> None:
    for folder, words in ((lia, "non-commercial"), (lpd, "Apache-2.0")):
        assert lpmm(["bundle", "info", str(folder)]) == 0
        assert any(line.startswith("licence") and words in line for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("published", ["lia", "lpd-tuned"])
def test_the_adaptor_of_an_import_trains_and_then_sliders_move(
    published: Published, photo, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    imported = request.getfixturevalue(published.partition("-")[0])
    own, checkpoint = Path(shutil.copytree(imported, tmp_path / "own")), imported.parent / f"{published}.pt"
    training = ["--steps", "6", "--batch", "1", "--rate", "1e-4", "--warm-up-steps", "200"]
    out = train_adaptor(own, checkpoint, tmp_path, *training)
    lines = [json.loads(line) for line in (out / "lp_adaptor_warm.jsonl").read_text("utf-8").splitlines()]
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    assert json.loads((out / "lp_adaptor.jsonl").read_text("utf-8").splitlines()[-1])["step"] == 6
    check_frames_come_nearer(own, out, photo)
    trained = load_bundle(own)
    assert trained.manifest["model_card"]["lp_adaptor"].startswith("trained on 4 faces")
    assert np.abs(trained.rig.mean_pose_latent).max() > 0
    check_sliders(own, photo, tmp_path)
    check_driving(own, photo)
    stranger = tmp_path / "stranger.pt"
    torch.save({"gen": {}}, stranger)
    arguments = ["--bundle", str(own), "--data", str(tmp_path), "--out", str(out)]
    assert main(["adaptor", *arguments, "--checkpoint", str(stranger), *training]) == 1


def check_frames_come_nearer(bundle: Path, training: Path, photo: NDArray[np.uint8]) -> None:
    """Check that faces drawn with the params of training faces come nearer to those drawn with their latents."""
    engine = Engine(load_bundle(bundle), device="cpu", threads=1)
    features = engine.create_character(photo, box=BOX).identity.features
    with np.load(training / "readings.npz") as readings:
        params, latents = readings["params"], readings["latents"]
    offsets = engine.sessions.run("lp_adaptor", {"params": params})["pose_offset"]

    def drawn(latent: NDArray[np.float32]) -> NDArray[np.float32]:
        return engine.sessions.run("generator", {**features, "pose_latent": latent[None]})["image"]

    mean = latents.mean(axis=0)
    average = drawn(mean)
    pairs = [(drawn(latent), drawn(mean + offset)) for latent, offset in zip(latents, offsets, strict=True)]
    before, after = (
        np.mean([np.abs(part - true).mean() for true, part in rows])
        for rows in ([(t, average) for t, _ in pairs], pairs)
    )
    assert after < 0.7 * before


def check_sliders(bundle: Path, photo: NDArray[np.uint8], folder: Path) -> None:
    """Check that `lpmm render` and a runtime of its own process draw a turned head, and alike."""
    path, picture = folder / "photo.png", folder / "turned.png"
    cv2.imwrite(str(path), photo[..., ::-1])
    box = ",".join(f"{edge:g}" for edge in BOX)
    arguments = ["--bundle", str(bundle), "--box", box, "--crop", "--device", "cpu", "--threads", "1"]
    assert lpmm(["render", str(path), "--set", "headYaw=20", "--out", str(picture), *arguments]) == 0
    rendered = cv2.imread(str(picture))[..., ::-1]
    with (
        RuntimeProcess.start(bundle=bundle, device="cpu", threads=1, log=folder / "runtime.log") as process,
        RuntimeClient(process, timeout=300.0) as client,
    ):
        character = client.create_character(path, box=BOX)
        rig = load_bundle(bundle).rig
        turned = character.params + rig.controls.offset({"headYaw": 20.0}, character.params)
        rest, moved = (client.render_exact(character.id, params, "crop") for params in (character.params, turned))
    assert np.array_equal(moved.pixels[..., :3], rendered)
    assert np.abs(moved.pixels.astype(int) - rest.pixels).max() > 3, "sliders move nothing"


def check_driving(bundle: Path, photo: NDArray[np.uint8]) -> None:
    """Check that a performance drives absolutely and relatively, and that edits add to its latents."""
    engine = Engine(load_bundle(bundle), device="cpu", threads=1)
    person, rig = engine.create_character(photo, box=BOX), engine.bundle.rig
    rng = np.random.default_rng(0)
    params = (person.params + rng.normal(0, 0.5, (2, rig.k))).astype(np.float32)
    latents = (person.pose_latent + rng.normal(0, 0.3, (2, len(person.pose_latent)))).astype(np.float32)
    nothing = np.zeros((2, 3), np.float32)
    take = Take("film.mp4", Fraction(25), "", {}, np.ones(2, bool), params, latents, nothing, nothing)
    jaw = {"jawOpen": 0.6}

    def offset(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return engine.sessions.run("lp_adaptor", {"params": values[None]})["pose_offset"][0]

    cases = {
        False: (latents[1], params[1]),
        True: (person.pose_latent + latents[1] - latents[0], person.params + params[1] - params[0]),
    }
    for relative, (latent, taken) in cases.items():
        edited = latent + offset(taken + rig.controls.offset(jaw, taken)) - offset(taken)
        expected = engine.render(person, person.params, pose_latent=edited, influence=1.0)
        drive = Drive(take, relative=relative, reference=0)
        found = Driver(engine, person, drive).render(1, jaw, {})
        assert np.abs(found.astype(int) - expected).max() <= 1, relative


def test_a_folder_that_is_no_bundle_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    arguments = ["--kind", "lia", "--checkpoint", str(tmp_path / "none.pt"), "--out", str(tmp_path)]
    assert main(["import-backbone", *arguments]) == 1
    assert "is no bundle" in capsys.readouterr().err and (tmp_path / "thesis.txt").exists()
