# SPDX-License-Identifier: GPL-3.0-or-later
"""Faces are found, characters made, and frames follow the arithmetic, over a tiny bundle that really computes."""

import threading

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bundle import K, W, disc_photo

from lpmm_runtime.bundle import Bundle
from lpmm_runtime.crop import CropSquare, square_of_landmarks
from lpmm_runtime.engine import Character, Engine
from lpmm_runtime.errors import BoxError, BundleError, DeviceError, NoFaceError, ParamsError, PhotoError
from lpmm_runtime.face_finding import Finding, find_faces, iou, main_first, suppress

Pixels = NDArray[np.uint8]

SMILE = np.eye(K)[6].astype(np.float32)


@pytest.mark.parametrize(
    "disc",
    [
        {},
        {"x": 60, "y": 60, "diameter": 50},
        {"width": 2000, "height": 1500, "x": 1500, "y": 300, "diameter": 160},
        {"width": 300, "height": 500, "x": 150, "y": 250, "diameter": 290},
        {"width": 4000, "height": 500, "x": 3600, "y": 250, "diameter": 300},
    ],
    ids=["plain", "corner", "small in a large photo", "fills the photo", "panorama"],
)
def test_the_crop_settles_on_the_face_wherever_it_is(engine: Engine, disc: dict[str, int]) -> None:
    photo = disc_photo(**disc)
    x, y, diameter = (disc.get(key, value) for key, value in (("x", 150), ("y", 110), ("diameter", 80)))
    character = engine.create_character(photo)
    assert abs(character.square.x - x) < 0.06 * character.square.side
    assert abs(character.square.y - y) < 0.06 * character.square.side
    assert character.square.side == pytest.approx(2 * diameter, rel=0.1)
    settled = square_of_landmarks(character.landmarks)
    assert abs(settled.side - character.square.side) < 0.05 * character.square.side


def test_a_bad_box_by_hand_is_refined_to_the_face(engine: Engine, photo: Pixels, character: Character) -> None:
    by_hand = engine.create_character(photo, box=(90.0, 60.0, 200.0, 190.0))
    assert by_hand.square.side == pytest.approx(character.square.side, rel=0.05)
    assert abs(by_hand.square.x - character.square.x) < 5


def test_of_two_faces_both_are_found(engine: Engine) -> None:
    photo = disc_photo(400, 240, x=100, y=120, diameter=60)
    right = disc_photo(400, 240, x=300, y=120, diameter=60)
    photo[:, 200:] = right[:, 200:]
    assert len(find_faces(engine.sessions, photo)) >= 2


def test_a_portraits_face_comes_before_a_bystanders() -> None:
    bystander, portrait = Finding((0, 0, 9, 9), 0.95), Finding((20, 0, 60, 40), 0.9)
    doubtful = Finding((0, 0, 42, 42), 0.5)
    assert main_first([bystander, doubtful, portrait]) == [portrait, doubtful, bystander]


def test_no_face_is_said_with_the_photos_name(engine: Engine) -> None:
    empty = disc_photo(x=-500)
    with pytest.raises(NoFaceError, match=r"wall\.png: no face found"):
        engine.create_character(empty, name="wall.png")


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ((10.0, 10.0, 10.0, 50.0), "is empty"),
        ((50.0, 10.0, 10.0, 50.0), "is empty"),
        ((float("nan"), 10.0, 20.0, 50.0), "is empty"),
        ((400.0, 10.0, 500.0, 50.0), "outside the photo"),
        ((-1e9, -1e9, 1e9, 1e9), "far larger"),
    ],
)
def test_a_box_that_is_none_is_refused(
    engine: Engine, photo: Pixels, box: tuple[float, float, float, float], fault: str
) -> None:
    with pytest.raises(BoxError, match=rf"me\.png: .*{fault}"):
        engine.create_character(photo, box=box, name="me.png")


def test_a_face_too_small_to_animate_is_refused(engine: Engine) -> None:
    with pytest.raises(PhotoError, match="face is too small"):
        engine.create_character(disc_photo(100, 100, x=50, y=50, diameter=24))


def test_overlapping_findings_leave_the_surest() -> None:
    near, nearer, far = Finding((0, 0, 10, 10), 0.6), Finding((1, 0, 11, 10), 0.9), Finding((30, 0, 40, 10), 0.7)
    assert suppress([near, nearer, far]) == [nearer, far]
    assert iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert iou((0, 0, 1, 1), (2, 2, 3, 3)) == 0


def test_a_character_knows_its_photo(engine: Engine, character: Character, photo: Pixels) -> None:
    assert character.photo_size == (320, 240)
    unit = character.square.to_unit(character.landmarks)
    model = engine.bundle.rig.model
    assert np.allclose(unit, model.landmarks(character.params), atol=1e-4)
    assert character.head_angles == pytest.approx(tuple(10 * character.params[3:6]), abs=1e-4)


def test_at_rest_the_full_picture_is_the_photo_exactly(engine: Engine, character: Character, photo: Pixels) -> None:
    picture = engine.render(character, character.params, view="full")
    assert np.array_equal(picture[..., :3], photo)
    assert (picture[..., 3] == 255).all()


def test_at_rest_the_crop_is_the_photos_own_pixels(engine: Engine, character: Character, photo: Pixels) -> None:
    square = character.square
    left, top, side = round(square.left), round(square.top), round(square.side)
    assert left >= 0 and top >= 0
    crop = engine.render(character, character.params)
    assert np.array_equal(crop[..., :3], photo[top : top + side, left : left + side])


def test_a_moved_face_leaves_everything_outside_the_crop_untouched(
    engine: Engine, character: Character, photo: Pixels
) -> None:
    picture = engine.render(character, character.params + SMILE, view="full")
    changed = (picture[..., :3] != photo).any(axis=-1)
    rows, columns = np.nonzero(changed)
    square = character.square
    assert changed.mean() > 0.1
    assert columns.min() >= square.left and columns.max() < square.left + square.side
    assert rows.min() >= square.top and rows.max() < square.top + square.side


@pytest.mark.parametrize("size", [40, 100, 300])
def test_a_scaled_full_picture_at_rest_is_the_scaled_photo(
    engine: Engine, character: Character, photo: Pixels, size: int
) -> None:
    picture = engine.render(character, character.params, view="full", size=size)
    height, width = picture.shape[:2]
    factor = size / character.square.side
    assert (width, height) == (round(320 * factor), round(240 * factor))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    assert np.array_equal(picture[..., :3], cv2.resize(photo, (width, height), interpolation=how))


def test_a_very_large_crop_keeps_the_photo_at_rest_and_moves(engine: Engine) -> None:
    photo = disc_photo(2600, 2400, x=1300, y=1200, diameter=1100)
    character = engine.create_character(photo)
    assert character.square.side > 2048
    rest = engine.render(character, character.params, view="full")
    assert np.array_equal(rest[..., :3], photo)
    moved = engine.render(character, character.params + SMILE, view="full")
    assert (moved[..., :3] != photo).any(axis=-1).mean() > 0.1
    assert engine.render(character, character.params).shape == (1024, 1024, 4)


def test_the_latent_follows_the_two_bases(engine: Engine, character: Character, bundle: Bundle) -> None:
    def offset(params: NDArray[np.float32]) -> NDArray[np.float32]:
        return engine.sessions.run("lp_adaptor", {"params": params[None]})["pose_offset"][0]

    moved = character.params + SMILE
    on_photo = engine.pose_latent_of(character, moved)
    assert np.allclose(on_photo, character.pose_latent + offset(moved) - offset(character.params), atol=1e-6)
    neutral = engine.pose_latent_of(character, SMILE, base="NEUTRAL")
    assert np.allclose(neutral, bundle.rig.mean_pose_latent + offset(SMILE), atol=1e-6)
    resting = engine.pose_latent_of(character, character.params)
    assert resting.tobytes() == character.pose_latent.tobytes()


def test_a_take_is_mixed_in_by_its_influence(engine: Engine, character: Character) -> None:
    taken = np.linspace(-1, 1, W).astype(np.float32)
    still = engine.pose_latent_of(character, character.params)
    full = engine.pose_latent_of(character, character.params, pose_latent=taken, influence=1.0)
    half = engine.pose_latent_of(character, character.params, pose_latent=taken, influence=0.5)
    assert np.allclose(full, taken, atol=1e-6)
    assert np.allclose(half, 0.5 * (still + taken), atol=1e-6)
    none = engine.render(character, character.params, pose_latent=taken, influence=0.0)
    assert np.array_equal(none, engine.render(character, character.params))
    edited = engine.pose_latent_of(
        character, SMILE, pose_latent=taken, influence=1.0, take_params=np.zeros(K, np.float32)
    )
    neutral = engine.pose_latent_of(character, SMILE, base="NEUTRAL")
    assert np.allclose(edited - taken, neutral - engine.bundle.rig.mean_pose_latent, atol=1e-6)


def test_the_same_params_give_the_same_bytes_in_any_order(engine: Engine, character: Character) -> None:
    frames = [character.params + i * SMILE for i in range(5)]
    forwards = [engine.render(character, params, view="full").tobytes() for params in frames]
    backwards = [engine.render(character, params, view="full").tobytes() for params in reversed(frames)]
    assert forwards == backwards[::-1]
    assert len(set(forwards)) == len(frames)


def test_another_engine_over_the_same_bundle_gives_the_same_bytes(bundle: Bundle, photo: Pixels) -> None:
    first, second = (Engine(bundle, device="cpu", threads=1) for _ in range(2))
    pictures = []
    for engine in (first, second):
        character = engine.create_character(photo)
        pictures.append(engine.render(character, character.params + SMILE).tobytes())
    assert pictures[0] == pictures[1]


def test_threads_do_not_mix_up_their_frames(engine: Engine, photo: Pixels) -> None:
    character = engine.create_character(photo)
    frames = [character.params + i * SMILE for i in range(8)]
    alone = [engine.render(character, params, view="full", size=80 + 8 * i) for i, params in enumerate(frames)]
    together: dict[int, Pixels] = {}

    def work(i: int) -> None:
        for _ in range(3):
            together[i] = engine.render(character, frames[i], view="full", size=80 + 8 * i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(np.array_equal(together[i], alone[i]) for i in range(8))


def test_a_lent_photo_may_change_afterwards(engine: Engine) -> None:
    photo = disc_photo()
    character = engine.create_character(photo)
    before = engine.render(character, character.params, view="full")
    photo[:] = 0
    assert np.array_equal(engine.render(character, character.params, view="full"), before)


@pytest.mark.parametrize(
    ("params", "options", "fault"),
    [
        (np.zeros(K + 1), {}, r"params: shape \(9,\), not \(8,\)"),
        (np.full(K, np.nan), {}, "params: not finite"),
        (np.zeros(K), {"size": 4}, "size 4 is not"),
        (np.zeros(K), {"size": 100_000}, "size 100000 is not"),
        (np.zeros(K), {"pose_latent": np.zeros(W + 2), "influence": 0.5}, "pose latent: shape"),
        (np.zeros(K), {"pose_latent": np.zeros(W), "influence": 1.5}, "influence 1.5"),
    ],
)
def test_params_that_do_not_fit_are_refused(
    engine: Engine, character: Character, params: NDArray[np.float64], options: dict[str, object], fault: str
) -> None:
    with pytest.raises(ParamsError, match=fault):
        engine.render(character, params, **options)  # type: ignore[arg-type]


def test_a_full_view_beyond_reason_is_refused(engine: Engine) -> None:
    photo = disc_photo(3000, 2000, x=500, y=500, diameter=100)
    character = engine.create_character(photo, box=(450, 450, 550, 550))
    with pytest.raises(ParamsError, match="too large"):
        engine.render(character, character.params, view="full", size=4096)


def test_an_unknown_backbone_is_named(bundle: Bundle) -> None:
    from dataclasses import replace

    with pytest.raises(BundleError, match="unknown backbone kind 'nerf'"):
        Engine(replace(bundle, backbone_kind="nerf"), device="cpu", threads=1)


def test_cuda_is_said_to_be_missing_where_it_is(bundle: Bundle) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(DeviceError, match="device cuda"):
        Engine(bundle, device="cuda")
    assert Engine(bundle, device="auto", threads=1).device == "cpu"


def test_a_square_far_outside_leaves_the_photo_alone(photo: Pixels) -> None:
    from lpmm_runtime.paste import paste

    frame = np.ones((50, 50, 4), np.float32)
    picture = paste(photo, CropSquare(-200.0, -200.0, 50.0), frame, frame * 0, matte=False)
    assert np.array_equal(picture[..., :3], photo)


def test_a_box_by_hand_holds_where_the_reading_would_leave_it(engine: Engine, photo: Pixels) -> None:
    box = (200.0, 20.0, 290.0, 110.0)
    character = engine.create_character(photo, box=box)
    assert (character.square.x, character.square.y) == pytest.approx((245, 65), abs=0.5)
    assert character.square.side == pytest.approx(1.8 * 90, abs=0.5)
