# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages: what goes over comes back as it was, and what is no message is refused with a reason."""

import numpy as np
import pytest

from lpmm_runtime.crop import CropSquare
from lpmm_runtime.protocol import CharacterInfo, RenderRequest, RuntimeRequestError, TakeFrame, decode, encode


def test_a_request_keeps_its_float32_params_bit_for_bit() -> None:
    params = np.random.default_rng(0).normal(size=40).astype(np.float32)
    take = TakeFrame(pose_latent=params[:5], params=params, influence=0.25, driven_params=2 * params)
    sent = RenderRequest("c1", params, "live", "NEUTRAL", "full", 512, take)
    received = RenderRequest.of_message(decode(encode(sent.message())))
    assert received == sent
    np.testing.assert_array_equal(np.array(received.params, np.float32), params)


def test_character_information_comes_back_as_it_was() -> None:
    rng = np.random.default_rng(0)
    info = CharacterInfo(
        id="c1",
        params=rng.normal(size=40).astype(np.float32),
        landmarks=rng.normal(size=(68, 2)).astype(np.float32),
        box=(1.5, 2.0, 3.25, 4.0),
        square=CropSquare(10.5, 20.25, 33.0),
        photo_size=(640, 480),
        head_angles=np.array([1, 2, 3], np.float32),
    )
    back = CharacterInfo.of_message(decode(encode(info.message())))
    np.testing.assert_array_equal(back.params, info.params)
    np.testing.assert_array_equal(back.landmarks, info.landmarks)
    np.testing.assert_array_equal(back.head_angles, info.head_angles)
    assert (back.id, back.box, back.square, back.photo_size) == (info.id, info.box, info.square, info.photo_size)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"params": None}, "bad_params"),
        ({"params": "1234"}, "bad_params"),
        ({"params": [1, "x"]}, "bad_params"),
        ({"params": [[1], [2]]}, "bad_params"),
        ({"params": [0, float("nan")]}, "bad_params"),
        ({"params": [float("inf")]}, "bad_params"),
        ({"params": [1e300]}, "bad_params"),
        ({"view": "side"}, "bad_request"),
        ({"view": ["crop"]}, "bad_request"),
        ({"base": None}, "bad_request"),
        ({"mode": "later"}, "bad_request"),
        ({"size": 2.5}, "bad_request"),
        ({"size": True}, "bad_request"),
        ({"character": 3}, "bad_request"),
        ({"take": [1]}, "bad_request"),
        ({"take": {"latent": [1]}}, "bad_request"),
        ({"take": {"pose_latent": [float("nan")]}}, "bad_params"),
        ({"take": {"pose_latent": [0], "influence": None}}, "bad_params"),
    ],
)
def test_a_bad_field_is_refused(changes: dict[str, object], code: str) -> None:
    message = {"op": "render", "character": "c1", "params": [0.0], **changes}
    with pytest.raises(RuntimeRequestError) as refused:
        RenderRequest.of_message(decode(encode(message)))
    assert refused.value.code == code


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[1]", b"3", b"{", b"[" * 100_000])
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(RuntimeRequestError, match="not a JSON"):
        decode(data)
