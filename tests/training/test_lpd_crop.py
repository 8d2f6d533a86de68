# SPDX-License-Identifier: GPL-3.0-or-later
"""LPD's crops agree with the goldens to the bit."""

import numpy as np
import pytest
from filled_weights import golden

from training.backbones import lpd_crop


@pytest.mark.parametrize("number", range(4))
def test_crops_are_exact(number: int) -> None:
    arrays = golden("lpd_crop")
    left, top, right, bottom = (float(edge) for edge in arrays["boxes_ltrb"][number])
    crop = lpd_crop.crop_face(arrays["image_u8"], (left, top, right, bottom))
    assert np.array_equal(crop, arrays[f"crop{number}"])


def test_what_the_published_loader_makes_of_a_crop_is_exact() -> None:
    arrays = golden("lpd_crop")
    assert np.array_equal(lpd_crop.pad_as_loaded(arrays["drive_in_u8"]), arrays["drive_pad257_u8"])
    assert np.array_equal(lpd_crop.recrop_as_loaded(arrays["drive_in_u8"]), arrays["drive_out_u8"])


def test_a_square_within_the_picture_is_its_own_pixels() -> None:
    image = golden("lpd_crop")["image_u8"]
    assert np.array_equal(lpd_crop.padded_crop(image, (30, 20, 90, 80)), image[20:80, 30:90])


def test_the_largest_face_is_chosen() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 5, 30, 25], [0, 0, 12, 30]], float)
    assert lpd_crop.choose_box(boxes) == (5, 5, 30, 25)
    assert lpd_crop.choose_box(boxes[:0]) == lpd_crop.NO_FACE


def test_large_pictures_are_shrunk() -> None:
    assert lpd_crop.shrink(np.zeros((600, 2304, 3), np.uint8)).shape == (300, 1152, 3)
    small = np.zeros((600, 800, 3), np.uint8)
    assert lpd_crop.shrink(small) is small
