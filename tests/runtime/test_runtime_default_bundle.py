# SPDX-License-Identifier: GPL-3.0-or-later
"""The shipped bundle on a real portrait: found, exact at rest, and moved as told. Skipped where it is absent."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from lpmm_runtime import face_finding, face_tracking
from lpmm_runtime.bundle import DEFAULT_BUNDLE, load_bundle
from lpmm_runtime.cli import main
from lpmm_runtime.cli.demo import PORTRAITS
from lpmm_runtime.crop import square_of_box
from lpmm_runtime.engine import Character, Engine
from lpmm_runtime.errors import NoFaceError
from lpmm_runtime.face_finding import FaceReading
from lpmm_runtime.frame import evaluate_params
from lpmm_runtime.landmarks68 import EYE_LEFT, EYE_RIGHT, eye_openness, mouth_openness
from lpmm_runtime.portrait import read_image

Pixels = NDArray[np.uint8]

CONTROLS = {
    *("headYaw", "headPitch", "headRoll", "eyeBlinkLeft", "eyeBlinkRight", "jawOpen", "mouthSmileLeft"),
    *("mouthSmileRight", "mouthPucker", "browInnerUp", "browDownLeft", "browDownRight"),
    *("browOuterUpLeft", "browOuterUpRight"),
    *(f"eyeLook{way}{side}" for way in ("In", "Out", "Up", "Down") for side in ("Left", "Right")),
}


@pytest.fixture(scope="module")
def portrait(default_engine: Engine, astronaut: Pixels) -> Character:
    return default_engine.create_character(astronaut, name="astronaut")


def moved(engine: Engine, character: Character, **controls: float) -> Pixels:
    params = evaluate_params(engine.bundle.rig, character.params, controls, {})
    return engine.render(character, params, view="full")[..., :3]


def read_back(engine: Engine, picture: Pixels, character: Character) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the landmarks [68, 2] (crop units) and head angles (yaw, pitch, roll) that the bundle reads in a picture.

    The landmarks are those of a new portrait: its eyes and mouth are read twice.
    """
    seen = engine.create_character(picture, character.box)
    return seen.identity.landmarks, np.array(seen.head_angles, np.float32)


def test_the_shipped_bundle_is_whole_and_small(default_engine: Engine) -> None:
    bundle = load_bundle(graphs=True)
    assert CONTROLS.issubset(bundle.rig.control_names)
    assert bundle.k == 40
    assert sum((DEFAULT_BUNDLE / name).stat().st_size for name in bundle.manifest["files"]) <= 30e6
    assert bundle.unlisted_files == ()


def test_the_astronauts_face_is_found(portrait: Character) -> None:
    x, y = portrait.landmarks.mean(axis=0)
    assert 190 < x < 260 and 80 < y < 160
    left, top, right, bottom = portrait.box
    assert 70 < right - left < 150 and 70 < bottom - top < 170


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_the_same_face_is_found_at_other_sizes(
    default_engine: Engine, astronaut: Pixels, portrait: Character, scale: float
) -> None:
    from lpmm_runtime.portrait import resize

    side = round(512 * scale)
    reading = default_engine.read_face(resize(astronaut, side, side))
    distance = np.linalg.norm(reading.landmarks / scale - portrait.landmarks, axis=1).mean()
    assert distance < 0.05 * portrait.square.side


@pytest.mark.parametrize("name", ["coffee", "chelsea"])
def test_what_only_looks_like_a_face_from_afar_is_none(default_engine: Engine, name: str) -> None:
    picture = np.asarray(getattr(skimage.data, name)())
    photo = np.ascontiguousarray(picture[..., :3])
    findings = face_finding.find_faces(default_engine.sessions, photo)
    assert findings, "the finder is deceived"
    with pytest.raises(NoFaceError, match=f"{name}: no face found"):
        default_engine.read_face(photo, name=name)
    assert face_tracking.track(default_engine.sessions, photo, None) is None
    # Whoever gives a box knows better.
    assert default_engine.read_face(photo, findings[0].box).landmarks.shape == (68, 2)


def test_a_face_is_read_alike_from_boxes_that_are_off(default_engine: Engine, astronaut: Pixels) -> None:
    reading = default_engine.read_face(astronaut)
    assert face_finding.reading_spread(default_engine.sessions, astronaut, reading.box) < 0.02


@pytest.mark.parametrize(("name", "other"), [("ada", "ben"), ("ben", "cleo"), ("cleo", "ada")])
def test_a_face_is_read_as_well_with_another_cheek_to_cheek(default_engine: Engine, name: str, other: str) -> None:
    own, neighbour = (read_image(PORTRAITS / f"{who}.jpg") for who in (name, other))
    alone, beside = (default_engine.read_face(photo) for photo in (own, neighbour))
    # The other's face as large as this one's, its cheek at this one's.
    scale = (alone.box[3] - alone.box[1]) / (beside.box[3] - beside.box[1])
    edge = round(alone.box[2])
    shift = (edge - scale * beside.box[0], alone.box[1] - scale * beside.box[1])
    moved = cv2.warpAffine(
        neighbour, np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]]), (own.shape[1], own.shape[0])
    )
    both = own.copy()
    both[:, edge:] = moved[:, edge:]
    left, top, right, bottom = alone.box
    found = default_engine.read_face(both, (left + 4, top - 6, right + 8, bottom))
    eyes = np.linalg.norm(alone.landmarks[36] - alone.landmarks[45])
    assert np.linalg.norm(found.landmarks - alone.landmarks, axis=1).mean() < 0.02 * eyes


def test_what_is_no_likely_face_is_read_with_its_surroundings_painted_over(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def refine(_: object, photo: Pixels, box: face_finding.Box) -> FaceReading:
        seen.append(photo)
        # Two heads make an impossible one.
        params = np.full(40, 2.5 if photo[20, 90].any() else 0.6, np.float32)
        square = square_of_box(box)
        return FaceReading(square, params, np.zeros((68, 2), np.float32), box)

    monkeypatch.setattr(face_finding, "refine", refine)
    photo = np.zeros((100, 100, 3), np.uint8)
    photo[:, 80:] = 200
    reading = face_finding.read_box(None, photo, (10.0, 20.0, 60.0, 80.0))  # type: ignore[arg-type]
    assert reading is not None and reading.likely and reading.length == pytest.approx(0.6 * 40**0.5) and len(seen) == 2
    assert np.array_equal(seen[1][20:80, 10:60], photo[20:80, 10:60]) and not seen[1][:, 80:].any()
    photo[:, 80:] = 0
    assert face_finding.read_box(None, photo, (10.0, 20.0, 60.0, 80.0)) and len(seen) == 3  # type: ignore[arg-type]


def test_a_part_of_a_face_is_read_in_a_wider_view_and_what_leaves_its_box_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refine(_: object, photo: Pixels, box: face_finding.Box) -> FaceReading:
        wide = box[2] - box[0] > 50
        params = np.full(40, 0.6 if wide else 2.5, np.float32)
        place = (0.0, 0.0, 1.0, 1.0) if photo[0, 0].any() else box
        return FaceReading(square_of_box(box), params, np.zeros((68, 2), np.float32), place)

    monkeypatch.setattr(face_finding, "refine", refine)
    photo = np.zeros((100, 100, 3), np.uint8)
    reading = face_finding.read_box(None, photo, (30.0, 30.0, 70.0, 70.0))  # type: ignore[arg-type]
    assert reading is not None and reading.likely and reading.box == pytest.approx((18, 18, 82, 82))
    photo[0, 0] = 255
    alone = face_finding.read_box(None, photo, (30.0, 30.0, 70.0, 70.0))  # type: ignore[arg-type]
    # Only with its surroundings painted over is it read where it was found.
    assert alone is not None and not alone.likely and alone.box == (30.0, 30.0, 70.0, 70.0)
    photo[:] = 255
    assert face_finding.read_box(None, photo, (30.0, 30.0, 70.0, 70.0)) is None  # type: ignore[arg-type]


def test_landmarks_are_those_that_frames_are_drawn_with(default_engine: Engine, tmp_path: Path) -> None:
    photo, out = PORTRAITS / "ada.jpg", tmp_path / "ada.json"
    assert main(["landmarks", str(photo), "--json", str(out)]) == 0
    answer = json.loads(out.read_text())[str(photo)]
    character = default_engine.create_character(read_image(photo))
    drawn = character.square.to_picture(character.identity.landmarks)
    eyes = np.linalg.norm(drawn[36] - drawn[45])
    said = np.array(answer["landmarks"]) + 0.5
    # Lids and lips are looked at twice.
    assert np.abs(said - drawn).max() < 0.002 * eyes
    assert np.abs(said - character.landmarks)[36:].max() > 0.006 * eyes
    assert answer["params"] == pytest.approx(character.params.tolist(), abs=1e-3)


def test_no_face_is_found_where_there_is_none(default_engine: Engine) -> None:
    from lpmm_runtime.errors import NoFaceError

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    for picture in (noise, np.full((300, 400, 3), 128, np.uint8)):
        with pytest.raises(NoFaceError):
            default_engine.create_character(picture)


def test_at_rest_the_frame_is_the_photo_exactly(default_engine: Engine, portrait: Character, astronaut: Pixels) -> None:
    assert np.array_equal(moved(default_engine, portrait), astronaut)


def test_a_slider_that_has_hardly_moved_changes_hardly_anything(
    default_engine: Engine, portrait: Character, astronaut: Pixels
) -> None:
    picture = moved(default_engine, portrait, headYaw=0.01, jawOpen=0.001)
    assert np.abs(picture.astype(int) - astronaut).max() <= 5


@pytest.mark.parametrize("turn", [{"headYaw": 4.0}, {"headYaw": -8.0}, {"headRoll": 6.0}, {"headPitch": 5.0}])
def test_a_head_that_turns_keeps_its_white_teeth_and_its_contrast(
    default_engine: Engine, portrait: Character, turn: dict[str, float]
) -> None:
    def seen(controls: dict[str, float]) -> tuple[float, float]:
        """Return the brightness of the teeth, and the contrast of the face's features."""
        params = evaluate_params(default_engine.bundle.rig, portrait.params, controls, {})
        frame = default_engine.render(portrait, params, view="crop", size=512)
        grey = cv2.cvtColor(frame[..., :3], cv2.COLOR_RGB2GRAY).astype(np.float32)
        mouth, features = (
            grey[
                tuple(slice(low, high) for low, high in zip(box.min(axis=0)[::-1], box.max(axis=0)[::-1], strict=True))
            ]
            for box in (
                (512 * portrait.identity.landmarks[points]).astype(int) for points in (slice(48, 68), slice(17, 68))
            )
        )
        return float(np.percentile(mouth, 97)), float(np.std(features - cv2.GaussianBlur(features, (0, 0), 8)))

    (teeth, contrast), (teeth_at_rest, contrast_at_rest) = seen(turn), seen({})
    assert teeth > 0.97 * teeth_at_rest
    assert contrast > 0.92 * contrast_at_rest


@pytest.mark.parametrize("control", [{"headYaw": 20.0, "jawOpen": 0.8}, {"headRoll": 15.0}])
def test_outside_the_crop_nothing_changes_but_the_head(
    default_engine: Engine, portrait: Character, astronaut: Pixels, control: dict[str, float]
) -> None:
    params = evaluate_params(default_engine.bundle.rig, portrait.params, control, {})
    rest, picture = (default_engine.render(portrait, p, view="full") for p in (portrait.params, params))
    square = portrait.square
    outside = np.ones(picture.shape[:2], bool)
    top, left = max(round(square.top), 0), max(round(square.left), 0)
    outside[top : round(square.top + square.side), left : round(square.left + square.side)] = False
    head = (np.maximum(rest[..., 3], picture[..., 3]) > 0).astype(np.uint8)
    far = cv2.dilate(head, np.ones((31, 31), np.uint8)) == 0
    assert np.array_equal(picture[..., :3][outside & far], astronaut[outside & far])
    changed = (picture[..., :3] != astronaut).any(axis=-1) & outside
    assert changed.sum() < 0.02 * square.side**2


def test_the_same_frame_has_the_same_bytes(default_engine: Engine, portrait: Character) -> None:
    first = moved(default_engine, portrait, headYaw=12, mouthSmileLeft=0.7)
    moved(default_engine, portrait, headYaw=-20)
    assert np.array_equal(moved(default_engine, portrait, headYaw=12, mouthSmileLeft=0.7), first)


@pytest.mark.parametrize(("control", "axis"), [("headYaw", 0), ("headPitch", 1), ("headRoll", 2)])
def test_the_head_turns_the_way_it_is_told(
    default_engine: Engine, portrait: Character, control: str, axis: int
) -> None:
    turned = []
    for degrees in (-12.0, 12.0):
        picture = moved(default_engine, portrait, **{control: degrees})
        turned.append(read_back(default_engine, picture, portrait)[1][axis])
    assert turned[1] - turned[0] > 8


def test_each_eye_closes_alone(default_engine: Engine, portrait: Character, astronaut: Pixels) -> None:
    open_left, open_right = eye_openness(read_back(default_engine, astronaut, portrait)[0])
    wink = moved(default_engine, portrait, eyeBlinkLeft=1.0)
    left, right = eye_openness(read_back(default_engine, wink, portrait)[0])
    assert left < 0.65 * open_left
    assert open_left - left > 2 * abs(open_right - right)


def dark_place(picture: Pixels, eye: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the middle [2] of the darkest fifth between the lids [6, 2], photo pixels: where the iris is."""
    inside = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.round(eye * 16).astype(np.int32)], 1, shift=4)
    y, x = np.nonzero(inside)
    grey = picture[y, x].mean(axis=-1)
    dark = np.clip(np.percentile(grey, 20) - grey, 0.0, None)
    return np.array([(x * dark).sum(), (y * dark).sum()]) / dark.sum()


def test_what_is_known_to_be_a_full_blink_shuts_the_eyes(default_engine: Engine, portrait: Character) -> None:
    rig, backbone = default_engine.bundle.rig, default_engine._backbone
    some, full = (
        default_engine.pose_latent_of(
            portrait,
            evaluate_params(rig, portrait.params, {"eyeBlinkLeft": amount, "eyeBlinkRight": amount}, {}),
        )
        for amount in (0.5, 1.0)
    )
    # As if the portrait's eyes had been read as half shut.
    misread = backbone.with_full_blink(portrait.identity, some)
    assert min(misread.gains) > 1.3
    eyes = portrait.identity.landmarks[36:48] * 256
    (left, top), (right, bottom) = eyes.min(axis=0).astype(int), eyes.max(axis=0).astype(int)
    open_, half, mended, shut = (
        backbone.render(identity, latent, 256)[top:bottom, left:right, :3]
        for identity, latent in (
            (portrait.identity, portrait.pose_latent),
            (portrait.identity, some),
            (misread, some),
            (portrait.identity, full),
        )
    )
    assert np.abs(mended - shut).mean() < 0.4 * np.abs(half - shut).mean() < np.abs(open_ - shut).mean()


@pytest.mark.parametrize(
    ("left", "right", "way"), [("Out", "In", 1.0), ("In", "Out", -1.0)], ids=["subject's left", "subject's right"]
)
def test_the_eyes_look_aside_together_and_alone(
    default_engine: Engine, portrait: Character, astronaut: Pixels, left: str, right: str, way: float
) -> None:
    eyes = [portrait.landmarks[list(eye)] for eye in (EYE_LEFT, EYE_RIGHT)]
    rest = [dark_place(astronaut, eye) for eye in eyes]
    sides = {f"eyeLook{left}Left": 1.0}, {f"eyeLook{right}Right": 1.0}
    for controls, looks in ((sides[0] | sides[1], (1, 1)), (sides[0], (1, 0)), (sides[1], (0, 1))):
        picture = moved(default_engine, portrait, **controls)
        for eye, start, share in zip(eyes, rest, looks, strict=True):
            width = float(np.linalg.norm(eye[3] - eye[0]))
            shift = way * (dark_place(picture, eye) - start)[0] / width
            assert shift > 0.04 if share else abs(shift) < 0.03


def test_the_mouth_opens(default_engine: Engine, portrait: Character, astronaut: Pixels) -> None:
    closed = mouth_openness(read_back(default_engine, astronaut, portrait)[0])
    wide = moved(default_engine, portrait, jawOpen=0.8)
    assert mouth_openness(read_back(default_engine, wide, portrait)[0]) > closed + 0.08


def test_the_commands_run_on_the_shipped_bundle(
    default_engine: Engine, astronaut: Pixels, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from lpmm_runtime.video import write_png

    folder = tmp_path_factory.mktemp("default")
    write_png(folder / "a.png", astronaut)
    assert main(["bundle", "verify"]) == 0
    assert main(["landmarks", str(folder / "a.png"), "--json", str(folder / "l.json")]) == 0
    answer = json.loads((folder / "l.json").read_text())[str(folder / "a.png")]
    assert np.array(answer["landmarks"]).shape == (68, 2)
    settings = ["--set", "headYaw=15", "--set", "eyeBlinkLeft=1"]
    assert main(["render", str(folder / "a.png"), "--out", str(folder / "f.png"), *settings]) == 0
