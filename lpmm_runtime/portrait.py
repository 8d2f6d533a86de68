# SPDX-License-Identifier: GPL-3.0-or-later
"""Portraits: photos from files as upright 8-bit RGB, and the aligned crop as pixels."""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.crop import CropSquare
from lpmm_runtime.errors import PhotoError

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

SMALLEST_PHOTO = 64
# Beyond its edge a photo is folded as deep as this share of a crop's side: hair is hair so far, no face comes twice.
_FOLDED = 0.06
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"


def read_image(path: Path) -> Pixels:
    """Read a photo as [H, W, 3] uint8 RGB, turned upright as its EXIF says.

    Grey and 16-bit pictures are converted; transparent ones are laid over white.

    Raises:
        PhotoError: if there is no such file, it is no picture, or it is too small to hold a face.
    """
    path = Path(path)
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except FileNotFoundError as error:
        raise PhotoError(f"{path}: no such file") from error
    except OSError as error:
        raise PhotoError(f"{path}: cannot be read: {error.strerror or error}") from error
    pixels = _decode(data)
    if pixels is None:
        raise PhotoError(f"{path}: not a picture that can be read (JPEG, PNG, WebP, TIFF, BMP)")
    height, width = pixels.shape[:2]
    if min(height, width) < SMALLEST_PHOTO:
        raise PhotoError(f"{path}: {width} × {height} pixels is too small; {SMALLEST_PHOTO} are needed each way")
    return pixels


def whole_square(square: CropSquare) -> CropSquare:
    """Return the nearest square with whole-pixel edges, so that a crop is the photo's own pixels."""
    side = max(1, round(square.side))
    left, top = math.floor(square.x - 0.5 * side + 0.5), math.floor(square.y - 0.5 * side + 0.5)
    return CropSquare(left + 0.5 * side, top + 0.5 * side, float(side))


def cut_square(photo: Pixels, square: CropSquare, border: int | None = None, *, folded: bool = False) -> Pixels:
    """Return the photo's own pixels [side, side, 3] uint8 in a whole-pixel square.

    Args:
        border: the value outside the photo; None repeats the photo's edge.
        folded: fold what is along the upper edge and those at the sides over them instead.
    """
    height, width = photo.shape[:2]
    side, left, top = round(square.side), round(square.left), round(square.top)
    rows, columns = np.arange(top, top + side), np.arange(left, left + side)
    depth = max(1, round(_FOLDED * side)) if folded else 1
    # Clothes that are cut off below hardly move, and a collar that comes twice is seen.
    upper = _folded(np.minimum(rows, height - 1), height, depth)
    pixels = photo[upper[:, None], _folded(columns, width, depth)[None, :]]
    if border is not None:
        pixels[(rows < 0) | (rows >= height)] = border
        pixels[:, (columns < 0) | (columns >= width)] = border
    return pixels


def _folded(places: NDArray[np.int_], count: int, depth: int) -> NDArray[np.int_]:
    """Return the places themselves from 0 to `count` − 1; outside, those up to `depth` inside, there and back again."""
    depth = min(depth, count)
    beyond = np.maximum(np.maximum(-places, places - count + 1), 0)
    way = np.maximum(beyond - 1, 0) % (2 * depth)
    inward = np.minimum(way, 2 * depth - 1 - way)
    return np.where(beyond == 0, places, np.where(places < 0, inward, count - 1 - inward))


def resize(image: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """Return an image [h, w] or [h, w, c] at another size, averaging when it shrinks; itself at its own.

    Float images may leave their range a little: the enlargement is cubic.
    """
    if image.shape[:2] == (height, width):
        return image
    shrinks = width * height < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def crop_at(photo: Pixels, square: CropSquare, side: int) -> Array:
    """Return the crop of a square as [side, side, 3] float32 RGB in [0, 1], the photo's edge repeated outside."""
    return as_floats(resize(cut_square(photo, whole_square(square)), side, side))


def portrait_crop(photo: Pixels, square: CropSquare, side: int) -> Array:
    """Return the crop that frames are drawn of, as `crop_at` does, but folded at the photo's upper edge and its sides.

    Hair that the photo cuts off goes on as hair when the head moves away from the edge. A network that reads faces
    might find one twice there.
    """
    return as_floats(resize(cut_square(photo, whole_square(square), folded=True), side, side))


def portrait_surroundings(photo: Pixels, square: CropSquare, side: int, margin: float) -> Pixels:
    """Return what `portrait_crop` does with so much about it on every side, in crop sides; last where the photo is.

    Returns:
        [w, w, 4] uint8, w = side + 2 round(margin · side).
    """
    square = whole_square(square)
    square = CropSquare(square.x, square.y, square.side + 2 * round(margin * square.side))
    wide = side + 2 * round(margin * side)
    inside = cut_square(np.full_like(photo[..., :1], 255), square, border=0)
    picture = np.concatenate([cut_square(photo, square, folded=True), inside], axis=2)
    return np.asarray(resize(picture, wide, wide), np.uint8)


def as_floats(pixels: NDArray[np.uint8]) -> Array:
    """Return a uint8 image in [0, 1]."""
    return np.asarray(pixels, np.float32) / np.float32(255)


def as_bytes(image: Array) -> Pixels:
    """Return an image in [0, 1] as uint8, rounded."""
    # Six to ten times as fast as numpy's; a uint8 picture over 255 comes back exactly.
    return np.asarray(cv2.convertScaleAbs(image, alpha=255.0), np.uint8)


def as_batch(images: Array) -> Array:
    """Return images [..., H, W, C] as NCHW [n, C, H, W]."""
    stacked = images.reshape(-1, *images.shape[-3:])
    return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))


def _decode(data: NDArray[np.uint8]) -> Pixels | None:
    cut_short = data[:8].tobytes() == PNG_START and PNG_END not in data[-64:].tobytes()
    if not data.size or cut_short:  # libpng would print a line of its own
        return None
    try:
        stored = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        if stored is None:
            return None
        if stored.ndim == 3 and stored.shape[2] == 4:
            return _over_white(_to_8_bit(stored))
        # Only this flag obeys the EXIF orientation.
        colour = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        return None
    return None if colour is None else np.ascontiguousarray(_to_8_bit(colour)[..., ::-1])


def _to_8_bit(pixels: NDArray[Any]) -> Pixels:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.clip(np.nan_to_num(pixels) * 255.0 + 0.5, 0, 255).astype(np.uint8)


def _over_white(pixels: Pixels) -> Pixels:
    alpha = pixels[..., 3:].astype(np.float32) / 255
    over = pixels[..., 2::-1] * alpha + 255 * (1 - alpha)
    return np.rint(over).astype(np.uint8)
