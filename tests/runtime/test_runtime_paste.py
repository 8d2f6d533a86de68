# SPDX-License-Identifier: GPL-3.0-or-later
"""Paste-back: soft towards the photo, hard nowhere, and never beyond the crop."""

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.crop import CropSquare
from lpmm_runtime.paste import change_mask, crop_mask, paste

SQUARE = CropSquare(100.0, 80.0, 100.0)


def flat(value: float, alpha: float = 1.0) -> NDArray[np.float32]:
    frame = np.full((100, 100, 4), value, np.float32)
    frame[..., 3] = alpha
    return frame


def test_the_mask_is_soft_at_the_crops_edges_and_full_within() -> None:
    mask = crop_mask(100, SQUARE, (300, 300))
    assert (mask[20:80, 20:80] == 1).all()
    assert mask[0].max() < 0.02 and mask[:, -1].max() < 0.02
    assert np.abs(np.diff(mask, axis=0)).max() < 0.25


def test_an_edge_beyond_the_photo_needs_no_ramp() -> None:
    mask = crop_mask(100, CropSquare(40.0, 80.0, 100.0), (300, 130))
    assert (mask[20:, 0:80] == 1).all()
    assert mask[:, -1].max() < 0.02


def test_the_paste_goes_from_photo_to_frame_without_a_seam() -> None:
    photo = np.full((200, 300, 3), 50, np.uint8)
    picture = paste(photo, SQUARE, flat(1.0), flat(0.0), matte=False)
    assert (picture[40:120, 70:130, :3] == 255).all()
    steps = np.abs(np.diff(picture[80, :, 0].astype(int)))
    assert steps.max() < 50


def test_the_matte_is_the_alpha_and_nothing_outside_the_crop() -> None:
    photo = np.full((200, 300, 3), 50, np.uint8)
    picture = paste(photo, SQUARE, flat(0.5, alpha=0.6), flat(0.0), matte=True)
    assert (picture[70:90, 90:110, 3] == 153).all()
    assert (picture[:, :50, 3] == 0).all() and (picture[:30, :, 3] == 0).all()


def test_where_nothing_changed_a_rescaled_frame_leaves_the_photo_exactly() -> None:
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (200, 300, 3), dtype=np.uint8)
    rest = rng.random((50, 50, 4), dtype=np.float32)
    frame = rest.copy()
    frame[20:25, 20:25, :3] = 1 - frame[20:25, 20:25, :3]
    picture = paste(photo, SQUARE, frame, rest, matte=False)
    changed = (picture[..., :3] != photo).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert changed[72:78, 92:98].mean() > 0.9
    assert rows.min() >= 50 and rows.max() <= 100 and columns.min() >= 70 and columns.max() <= 120


def test_the_change_mask_is_exactly_zero_without_a_change() -> None:
    rest = np.random.default_rng(0).random((64, 64, 4), dtype=np.float32)
    assert not change_mask(rest, rest).any()
