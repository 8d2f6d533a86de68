# SPDX-License-Identifier: GPL-3.0-or-later
"""Photos of every kind come in upright, as 8-bit RGB; what is no photo is refused; crops are the photo's pixels."""

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lpmm_runtime.crop import CropSquare
from lpmm_runtime.errors import PhotoError
from lpmm_runtime.portrait import as_bytes, crop_at, cut_square, portrait_crop, read_image, whole_square

Pixels = NDArray[np.uint8]


def write(path: Path, bgr: NDArray[Any], *flags: int) -> Path:
    encoded, data = cv2.imencode(path.suffix, bgr, list(flags))
    assert encoded
    path.write_bytes(data.tobytes())
    return path


def turn_by_exif(path: Path, orientation: int) -> None:
    """Insert an EXIF segment with an orientation after a JPEG's start marker."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)
    jpeg = path.read_bytes()
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])


def test_a_png_comes_in_exactly(photo_file: Path, photo: Pixels) -> None:
    assert np.array_equal(read_image(photo_file), photo)


def test_a_path_beyond_ascii_is_read(photo: Pixels, tmp_path: Path) -> None:
    path = write(tmp_path / "Porträt 肖像.png", photo[..., ::-1])
    assert np.array_equal(read_image(path), photo)


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 3), (8, 1)])
def test_exif_turns_a_photo_upright(photo: Pixels, tmp_path: Path, orientation: int, turns: int) -> None:
    path = write(tmp_path / "p.jpg", photo[..., ::-1], cv2.IMWRITE_JPEG_QUALITY, 100)
    stored = read_image(path)
    turn_by_exif(path, orientation)
    assert np.array_equal(read_image(path), np.rot90(stored, turns))


def test_a_grey_photo_becomes_rgb(photo: Pixels, tmp_path: Path) -> None:
    grey = photo[..., 1]
    read = read_image(write(tmp_path / "p.png", grey))
    assert np.array_equal(read, np.repeat(grey[..., None], 3, axis=2))


def test_a_transparent_photo_is_laid_over_white(photo: Pixels, tmp_path: Path) -> None:
    alpha = np.full(photo.shape[:2], 255, np.uint8)
    alpha[:, :50] = 0
    alpha[:, 50:60] = 128
    read = read_image(write(tmp_path / "p.png", np.dstack([photo[..., ::-1], alpha])))
    assert (read[:, :50] == 255).all()
    assert np.array_equal(read[:, 60:], photo[:, 60:])
    assert (read[:, 50:60] >= photo[:, 50:60]).all()


def test_a_16_bit_photo_keeps_its_look(photo: Pixels, tmp_path: Path) -> None:
    deep = photo[..., ::-1].astype(np.uint16) * 257
    assert np.array_equal(read_image(write(tmp_path / "p.png", deep)), photo)


def test_a_16_bit_transparent_photo_keeps_its_look(photo: Pixels, tmp_path: Path) -> None:
    deep = np.dstack([photo[..., ::-1].astype(np.uint16) * 257, np.full(photo.shape[:2], 65535, np.uint16)])
    assert np.array_equal(read_image(write(tmp_path / "p.png", deep)), photo)


@pytest.mark.parametrize("content", [b"", b"hello, I am no picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.png"
    path.write_bytes(content)
    with pytest.raises(PhotoError, match=r"notes\.png: not a picture"):
        read_image(path)


def test_a_photo_cut_short_is_named(photo_file: Path) -> None:
    data = photo_file.read_bytes()
    photo_file.write_bytes(data[: len(data) // 2])
    with pytest.raises(PhotoError, match="not a picture"):
        read_image(photo_file)


def test_a_missing_photo_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"gone\.jpg: no such file"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(PhotoError, match="cannot be read"):
        read_image(tmp_path)


def test_a_photo_too_small_for_a_face_is_named(photo: Pixels, tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"tiny\.png: 320 × 20 pixels is too small"):
        read_image(write(tmp_path / "tiny.png", photo[:20]))


def test_a_whole_square_is_near_and_has_whole_edges() -> None:
    for square in (CropSquare(10.3, 20.7, 31.4), CropSquare(-3.5, 2.0, 30.5), CropSquare(8.0, 8.0, 7.0)):
        whole = whole_square(square)
        assert (whole.left, whole.top, whole.side) == (round(whole.left), round(whole.top), round(whole.side))
        assert max(abs(whole.x - square.x), abs(whole.y - square.y), abs(whole.side - square.side)) <= 0.5


def test_a_crop_is_the_photos_own_pixels_and_repeats_its_edge(photo: Pixels) -> None:
    cut = cut_square(photo, CropSquare(10.0, 20.0, 60.0))
    assert np.array_equal(cut[10:, 20:], photo[:50, :40])
    assert np.array_equal(cut[10:, :20], np.repeat(photo[:50, :1], 20, axis=1))
    padded = cut_square(photo, CropSquare(10.0, 20.0, 60.0), border=7)
    assert (padded[:10] == 7).all() and (padded[:, :20] == 7).all()
    assert np.array_equal(padded[10:, 20:], photo[:50, :40])


def test_a_portraits_crop_is_folded_at_the_photos_upper_edge_and_its_sides(photo: Pixels) -> None:
    square = CropSquare(20.0, 50.0, 100.0)
    crop = as_bytes(portrait_crop(photo, square, 100))
    own, outside = crop[:, 30:], crop[:, :30]
    assert np.array_equal(own, photo[:100, :70])
    # Six pixels deep, to and fro.
    strip = photo[:100, :6]
    assert np.array_equal(outside, np.hstack([strip[:, ::-1], strip, strip[:, ::-1], strip, strip[:, ::-1]]))
    above = as_bytes(portrait_crop(photo, CropSquare(150.0, 44.0, 100.0), 100))
    assert np.array_equal(above[6:], photo[:94, 100:200]) and np.array_equal(above[:6], photo[5::-1, 100:200])
    # What is cut off below is repeated, and what lies within the photo is as it is.
    for other in (CropSquare(150.0, photo.shape[0] - 40.0, 100.0), CropSquare(150.0, 110.0, 100.0)):
        assert np.array_equal(portrait_crop(photo, other, 100), crop_at(photo, other, 100))


def test_a_native_crop_returns_to_the_same_bytes(photo: Pixels) -> None:
    square = CropSquare(150.0, 110.0, 100.0)
    assert np.array_equal(as_bytes(crop_at(photo, square, 100)), cut_square(photo, square))


def test_every_byte_survives_the_way_through_floats() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(as_bytes(levels.astype(np.float32) / np.float32(255)), levels)
