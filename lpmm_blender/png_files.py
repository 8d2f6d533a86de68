# SPDX-License-Identifier: GPL-3.0-or-later
"""PNG from pixels, with nothing but numpy and zlib: it runs on any thread, where Blender's own writer does not."""

import struct
import zlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Bits = Literal[8, 16]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB, _RGBA = 2, 6
_UP = 2
# Level 1 takes a third of the time of zlib's own default, for files about 15 % larger.
_LEVEL = 1


def encode_png(pixels: NDArray[np.uint8], bits: Bits = 8, alpha: bool = True) -> bytes:
    """Return a PNG file's bytes.

    Args:
        pixels: [H, W, 4] uint8 RGBA, not premultiplied, first row on top.
        bits: a channel; 16 holds the same values (v · 257), for pipelines that want it.
        alpha: whether the file has a fourth channel.
    """
    height, width = pixels.shape[:2]
    samples = pixels if alpha else pixels[..., :3]
    if bits == 16:
        samples = samples.astype(">u2") * np.array(257, ">u2")
    rows = np.ascontiguousarray(samples).view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, bits, _RGBA if alpha else _RGB, 0, 0, 0)
    body = zlib.compress(filtered.data, _LEVEL)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
