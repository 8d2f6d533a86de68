# SPDX-License-Identifier: GPL-3.0-or-later
"""One item of the report: a table or a figure of the paper with what was measured, in words, numbers and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from training.evaluation.page import Cell
from training.evaluation.sheets import captioned, sheet

Pixels = NDArray[np.uint8]

TILE = 160
_LINE = (40, 40, 40)


@dataclass(frozen=True)
class Table:
    """A table with its caption."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, eq=False)
class Item:
    """A table or figure of the paper, for one bundle.

    Attributes:
        key: names its files and its entry in report.json: "table1", "fig3", …
        title: its heading; text: paragraphs; tables, pictures: with their captions.
        figures: everything measured, for JSON.
        missing: why there is nothing here, or not all, in one line each.
    """

    key: str
    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[tuple[str, Pixels]] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    missing: Sequence[str] = ()


def grid(rows: Sequence[Sequence[tuple[str, Pixels]]], side: int = TILE) -> Pixels:
    """Return rows of captioned pictures as one; short rows are filled up."""
    width = max(len(row) for row in rows)
    tiles = []
    for row in rows:
        tiles += [captioned(picture, caption, side) for caption, picture in row]
        tiles += [np.full((side, side, 3), 255, np.uint8)] * (width - len(row))
    return sheet(tiles, width)


def landmark_tile(landmarks: NDArray[np.floating], side: int = 2 * TILE) -> Pixels:
    """Return a drawing uint8 [side, side, 3] of the landmarks [68, 2] of an aligned crop, somewhat enlarged."""
    return draw_landmarks(np.full((side, side, 3), 255, np.uint8), 1.35 * (landmarks - 0.5) + 0.5, _LINE, 2)


def draw_landmarks(
    picture: Pixels, landmarks: NDArray[np.floating], colour: tuple[int, int, int], thick: int = 1
) -> Pixels:
    """Return a copy of a square picture with landmarks [68, 2] (unit square) drawn as lines."""
    drawn = picture.copy()
    for line in landmarks68.POLYLINES:
        points = np.round((landmarks[list(line)] * drawn.shape[0] - 0.5) * 16).astype(np.int32)
        cv2.polylines(drawn, [points], False, colour, thick, cv2.LINE_AA, 4)
    return drawn


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of what is known, None of nothing."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def said(value: float | None, digits: int = 2, unit: str = "") -> str:
    """Return a number as a sentence says it."""
    return "unknown" if value is None else f"{value:.{digits}f}{unit}"
