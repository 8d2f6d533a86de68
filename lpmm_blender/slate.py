# SPDX-License-Identifier: GPL-3.0-or-later
"""The error slate: an unmistakable picture that says why a frame could not be had.

An exception in a handler does not stop a render, so a missing frame must be visible in the rendered file
itself. Blender 4.2 cannot draw text into an image (`blf.bind_imbuf` is younger), hence the small letters here.
"""

import textwrap

import numpy as np
from numpy.typing import NDArray

BACKGROUND = (96, 0, 40, 255)
BORDER = (255, 0, 160, 255)
INK = (255, 255, 255, 255)

GLYPH_WIDTH, GLYPH_HEIGHT = 5, 7
CELL_WIDTH, CELL_HEIGHT = GLYPH_WIDTH + 1, GLYPH_HEIGHT + 3

# The characters from space to underscore, five columns each, the lowest bit on top.
_COLUMNS = bytes.fromhex(
    "0000000000 00005f0000 0007000700 147f147f14 242a7f2a12 2313086462 3649562050 0000070000"
    "001c224100 0041221c00 2a1c7f1c2a 08083e0808 0050300000 0808080808 0060600000 2010080402"
    "3e5149453e 00427f4000 4261514946 2141454b31 1814127f10 2745454539 3c4a494930 0171090503"
    "3649494936 064949291e 0036360000 0056360000 0008142241 1414141414 4122140800 0201510906"
    "324979413e 7e1111117e 7f49494936 3e41414122 7f4141221c 7f49494941 7f09090901 3e4149497a"
    "7f0808087f 00417f4100 2040413f01 7f08142241 7f40404040 7f020c027f 7f0408107f 3e4141413e"
    "7f09090906 3e4151215e 7f09192946 4649494931 01017f0101 3f4040403f 1f2040201f 3f4038403f"
    "6314081463 0708700807 6151494543 007f414100 0204081020 0041417f00 0402010204 4040404040"
)


def paint_slate(width: int, height: int, reason: str) -> NDArray[np.uint8]:
    """Return a slate [height, width, 4] uint8 RGBA, first row on top, with the reason in capitals."""
    slate = np.empty((height, width, 4), np.uint8)
    slate[:] = BACKGROUND
    edge = max(1, min(width, height) // 40)
    for strip in (slate[:edge], slate[-edge:], slate[:, :edge], slate[:, -edge:]):
        strip[:] = BORDER
    margin = 2 * edge
    scale = max(1, (width - 2 * margin) // (34 * CELL_WIDTH))
    columns = max(1, (width - 2 * margin) // (scale * CELL_WIDTH))
    lines = ["LPMM: NO FRAME", "", *textwrap.wrap(reason.upper(), columns)]
    for row, line in enumerate(lines):
        _write(slate, line, margin, margin + row * scale * CELL_HEIGHT, scale)
    return slate


def _write(picture: NDArray[np.uint8], line: str, left: int, top: int, scale: int) -> None:
    for place, character in enumerate(line):
        glyph = np.kron(_glyph(character), np.ones((scale, scale), bool))
        start = left + place * scale * CELL_WIDTH
        region = picture[top : top + glyph.shape[0], start : start + glyph.shape[1]]
        region[glyph[: region.shape[0], : region.shape[1]]] = INK


def _glyph(character: str) -> NDArray[np.bool_]:
    code = ord(character) - 32
    if not 0 <= code < len(_COLUMNS) // GLYPH_WIDTH:
        code = ord("?") - 32
    columns = np.frombuffer(_COLUMNS, np.uint8, GLYPH_WIDTH, code * GLYPH_WIDTH)
    return (columns[None, :] >> np.arange(GLYPH_HEIGHT)[:, None]) & 1 == 1
