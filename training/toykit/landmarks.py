# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the 68 iBUG points lie on the toy head, and which vertices the jaw's silhouette may follow."""

import numpy as np

from lpmm_runtime.landmarks68 import MIRROR
from training.toykit import mesh, surface
from training.toykit.mesh import HeadMesh

# A landmark: vertices with weights that sum to 1.
Mix = list[tuple[int, float]]

# Heights of the first five jaw points at the side of the head, then the columns of the next four on the jaw line.
_SIDE_HEIGHTS = (7.28, 7.06, 6.87, 6.73, 6.60)
_JAW_COLUMNS = (12, 9, 4, 0)
_SIDE_COLUMN = len(surface.FRONT_SINES) - 1
_BROW_ROWS = (8, 9)
_NOSE_ROWS = (12, 16, 17, 19)
_NOSE_BASE_ROW = 21
_LIP_TOP_ROW = 24
_LIP_BOTTOM_ROW = 29


def _corner(head: HeadMesh, row: int, column: int) -> Mix:
    """Return the grid place `column` columns from the middle, negative to the subject's right."""
    return [(int(head.above[row, mesh.middle_column() + column]), 1.0)]


def _jaw_rows(head: HeadMesh) -> list[int]:
    """Return the grid rows whose heights at the side are those of the first five jaw points."""
    heights = head.points[head.above[: surface.JAW_ROW + 1, mesh.middle_column() + _SIDE_COLUMN], 1]
    return [int(np.abs(heights - height).argmin()) for height in _SIDE_HEIGHTS]


def landmark_mixes(head: HeadMesh) -> list[Mix]:
    """Return the 68 landmarks in iBUG order."""
    at = _corner
    half_jaw = [at(head, row, -_SIDE_COLUMN) for row in _jaw_rows(head)]
    half_jaw += [at(head, surface.JAW_ROW, -column) for column in _JAW_COLUMNS[:-1]]
    other_jaw = [at(head, surface.JAW_ROW, column) for column in _JAW_COLUMNS[:-1]][::-1]
    other_jaw += [at(head, row, _SIDE_COLUMN) for row in _jaw_rows(head)][::-1]

    high, low = _BROW_ROWS

    def brow(sign: int) -> list[Mix]:
        """The five points of a brow, outer end first."""

        def between(row: int, first: int, second: int, share: float) -> Mix:
            (a, _), (b, _) = at(head, row, sign * first)[0], at(head, row, sign * second)[0]
            return [(a, share), (b, 1.0 - share)]

        middle = [at(head, high, sign * 6), at(head, high, sign * 4)]
        return [at(head, low, sign * 11), between(high, 8, 9, 0.6), *middle, between(low, 2, 3, 0.6)]

    nose = [at(head, row, 0) for row in _NOSE_ROWS] + [at(head, _NOSE_BASE_ROW, column) for column in (-3, -1, 0, 1, 3)]
    eyes: list[Mix] = []
    for eye in head.eyes:
        outline = [eye.upper[0], eye.upper[2], eye.upper[4], eye.upper[6], eye.lower[4], eye.lower[2]]
        eyes += [[(int(vertex), 1.0)] for vertex in outline]

    upper, lower = head.mouth.upper, head.mouth.lower
    top = [at(head, _LIP_TOP_ROW, column) for column in (-3, -1, 0, 1, 3)]
    bottom = [at(head, _LIP_BOTTOM_ROW, column) for column in (3, 1, 0, -1, -3)]
    corners: tuple[Mix, Mix] = ([(int(upper[0]), 1.0)], [(int(upper[-1]), 1.0)])
    inner_corners: tuple[Mix, Mix] = (
        [(int(upper[0]), 0.85), (int(upper[1]), 0.15)],
        [(int(upper[-1]), 0.85), (int(upper[-2]), 0.15)],
    )
    inner_top: list[Mix] = [[(int(upper[place]), 1.0)] for place in (3, 5, 7)]
    inner_bottom: list[Mix] = [[(int(lower[place]), 1.0)] for place in (7, 5, 3)]
    return [
        *half_jaw,
        at(head, surface.JAW_ROW, 0),
        *other_jaw,
        *brow(-1),
        *brow(1)[::-1],
        *nose,
        *eyes,
        *(corners[0], *top, corners[1], *bottom),
        *(inner_corners[0], *inner_top, inner_corners[1], *inner_bottom),
    ]


def contour_candidates(head: HeadMesh) -> list[list[int]]:
    """Return the 17 rows of vertices, outermost at rest first, among which the silhouette picks a jaw point."""
    middle = mesh.middle_column()

    def side(sign: int) -> list[list[int]]:
        columns = [middle + sign * column for column in range(_SIDE_COLUMN, 6, -1)]
        heights = head.points[head.above[: surface.JAW_ROW + 1], 1]
        rows = []
        for row in _jaw_rows(head):
            # The grid's rows sink towards the chin; level with the ear is what a turned cheek shows.
            level = heights[row, columns[0]]
            across = [int(np.abs(heights[:, column] - level).argmin()) for column in columns]
            rows.append([int(head.above[place]) for place in zip(across, columns, strict=True)])
        upwards = range(surface.JAW_ROW, surface.MOUTH_ROW + 1, -1)
        return rows + [[int(head.above[row, middle + sign * c]) for row in upwards] for c in _JAW_COLUMNS[:-1]]

    chin = [int(head.above[row, middle]) for row in range(surface.JAW_ROW, surface.MOUTH_ROW + 1, -1)]
    return [*side(-1), chin, *side(1)[::-1]]


def landmark_document(head: HeadMesh) -> dict[str, object]:
    """Return what a kit's `landmarks68.json` holds."""
    mixes = landmark_mixes(head)
    nearest = [max(mix, key=lambda pair: pair[1])[0] for mix in mixes]
    return {
        "order": (
            "iBUG / 300-W 68 (0-based); 0-16 jaw from image left to image right; 17-21 image-left brow; 22-26 "
            "image-right brow; 27-35 nose; 36-41 image-left eye; 42-47 image-right eye; 48-59 outer lips; "
            "60-67 inner lips"
        ),
        "hm08_vertex": nearest,
        "kit_vertex": nearest,
        "refined_kit": mixes,
        "flip": MIRROR.tolist(),
        "contour_candidates_kit": contour_candidates(head),
        "contour_centre_rest_xy": [0.0, 6.85],
    }
