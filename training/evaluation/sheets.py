# SPDX-License-Identifier: GPL-3.0-or-later
"""Contact sheets: controls at their extremes, presets, head poses, ramps, labelled faces, and pairs of frames."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from lpmm_runtime.controls import HEAD_CONTROLS
from training.evaluation.photo_scores import LabelledPhoto
from training.evaluation.subjects import Subject

Pixels = NDArray[np.uint8]
Points = NDArray[np.floating]

_TILE = 176
_COLUMNS = 8
_QUALITY = 86
_TRUE, _READ = (60, 220, 60), (255, 70, 40)


def captioned(picture: Pixels, text: str, side: int = _TILE) -> Pixels:
    """Return a square picture at `side` pixels with a caption."""
    tile = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    for colour, thick in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(tile, text, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.36, colour, thick, cv2.LINE_AA)
    return tile


def sheet(tiles: Sequence[Pixels], columns: int = _COLUMNS) -> Pixels:
    """Return tiles of one size in rows."""
    side = tiles[0].shape[0]
    rows = -(-len(tiles) // columns)
    out = np.full((rows * side, min(columns, len(tiles)) * side, 3), 32, np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        out[row * side : (row + 1) * side, column * side : (column + 1) * side] = tile
    return out


def write_jpeg(path: Path, picture: Pixels) -> Path:
    """Write a picture uint8 RGB."""
    data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    path.write_bytes(data.tobytes())
    return path


def control_sheet(subject: Subject) -> Pixels:
    """Return rest, and every control at its extremes."""
    tiles = [captioned(subject.rest, f"{subject.name}: rest")]
    for control in subject.engine.bundle.rig.control_list:
        ends = (control.minimum, control.maximum) if control.name in HEAD_CONTROLS else (control.maximum,)
        for value in ends:
            tiles.append(captioned(subject.crop({control.name: value}), f"{control.name} {value:g}"))
    if {"eyeBlinkLeft", "eyeBlinkRight"} <= set(subject.engine.bundle.rig.control_names):
        tiles.append(captioned(subject.crop({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}), "both blink 1"))
    return sheet(tiles)


def preset_sheet(subject: Subject) -> Pixels | None:
    """Return rest and every preset at full weight, None for a bundle without presets."""
    presets = subject.engine.bundle.presets
    if not presets:
        return None
    tiles = [captioned(subject.rest, f"{subject.name}: rest")]
    tiles += [captioned(subject.crop({}, preset), name) for name, preset in sorted(presets.items())]
    return sheet(tiles)


def pose_sheet(subject: Subject) -> Pixels:
    """Return nine head poses in the whole picture's crop."""
    tiles = []
    for pitch in (12.0, 0.0, -12.0):
        for yaw in (-25.0, 0.0, 25.0):
            text = f"yaw {yaw:g} pitch {pitch:g}"
            tiles.append(captioned(subject.crop({"headYaw": yaw, "headPitch": pitch}), text))
    for roll in (-20.0, -10.0, 20.0):
        tiles.append(captioned(subject.crop({"headRoll": roll}), f"roll {roll:g}"))
    return sheet(tiles, 6)


def ramp_sheet(subject: Subject) -> Pixels:
    """Return slow ramps, one a row, with the last tile the change between their middle frames, four times as strong."""
    ramps: dict[str, list[dict[str, float]]] = {
        "yaw": [{"headYaw": float(value)} for value in np.linspace(-30, 30, 7)],
        "jaw": [{"jawOpen": float(value)} for value in np.linspace(0, 1, 7)],
        "blink": [{"eyeBlinkLeft": float(v), "eyeBlinkRight": float(v)} for v in np.linspace(0, 1, 7)],
    }
    known = set(subject.engine.bundle.rig.control_names)
    tiles = []
    for name, steps in ramps.items():
        if not known.issuperset(steps[0]):
            continue
        frames = [subject.crop(step) for step in steps]
        tiles += [captioned(frame, f"{name} {row + 1}/7") for row, frame in enumerate(frames)]
        change = np.abs(frames[4].astype(int) - frames[3]) * 4
        tiles.append(captioned(change.clip(0, 255).astype(np.uint8), "4 to 5, change x4"))
    return sheet(tiles)


def photo_sheet(photos: list[LabelledPhoto], read: list[Points], nme: Sequence[float], most: int = 32) -> Pixels:
    """Return the faces read worst first: human labels green, the reading red."""
    tiles = []
    for number in np.argsort(nme)[::-1][:most]:
        photo = photos[number]
        left, top, right, bottom = photo.box
        side = 1.5 * max(right - left, bottom - top)
        origin = np.array([0.5 * (left + right) - 0.5 * side, 0.5 * (top + bottom) - 0.5 * side])
        scale = 2 * _TILE / side
        matrix = np.array([[scale, 0, -origin[0] * scale], [0, scale, -origin[1] * scale]])
        tile = cv2.warpAffine(photo.picture, matrix, (2 * _TILE, 2 * _TILE), borderMode=cv2.BORDER_REPLICATE)
        for points, colour in ((photo.landmarks, _TRUE), (read[number], _READ)):
            placed = (points - origin) * scale
            for line in landmarks68.POLYLINES:
                corners = np.round(placed[list(line)] * 16).astype(np.int32)
                cv2.polylines(tile, [corners], False, colour, 1, cv2.LINE_AA, 4)
        tiles.append(captioned(tile, f"{Path(photo.name).stem}: {nme[number]:.1f} %", 2 * _TILE))
    return sheet(tiles, 4)


def pair_sheet(rows: list[list[Pixels]], columns: Sequence[str]) -> Pixels:
    """Return a row a pair: source, target, then what each of `columns` makes of it."""
    names = ("source", "target", *columns)
    width = max(len(row) for row in rows)
    tiles = []
    for row in rows:
        tiles += [captioned(picture, name) for picture, name in zip(row, names, strict=False)]
        tiles += [np.full((_TILE, _TILE, 3), 32, np.uint8)] * (width - len(row))
    return sheet(tiles, width)
